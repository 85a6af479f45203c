"""Measures the cases of the benchmark: group after group, the cases of each taking turns."""

import gc

import keras

from evaluation.speed.simulations import prepare_simulation
from evaluation.speed.steps import prepare
from evaluation.speed.streaming import prepare_array, prepare_cell
from evaluation.speed.timing import Spread, alternate, paired_ratio

PREPARED_BY = {"layer": prepare, "cell": prepare_cell, "array": prepare_array,
               "simulation": prepare_simulation}  # fmt: skip


def measure(
    cases,
    groups,
    sizes,
    repeats=5,
    warmup=2,
    jit="auto",
    modes=None,
    note=lambda text: None,
):
    """Times cases, group by group and mode by mode; modes: of those of the groups, None for all.

    Returns a list of records {"case", "group", "mode", "seconds": [repeats], "median",
    "parameters", "first_call_seconds", "ratios": {reference: {"median", "low", "high"}}} and, where
    known, "jit" (compiled by XLA), "flop" (of the products in a training step), "operations" (of a
    streaming step). Seconds are those of one call.
    A case that cannot run gives {"case", "group", "skipped": why} or {..., "failed": message}.
    """
    records = []
    for key in dict.fromkeys(c.group for c in cases):
        group, ready = groups[key], {}
        timed = [m for m in group.modes if modes is None or m in modes]
        if not timed:
            continue
        for case in (c for c in cases if c.group == key):
            why = case.unavailable()
            if why:
                records.append({"case": case.name, "group": key, "skipped": why})
                continue
            note(f"{group.title}: compiling {case.name}")
            try:
                ready[case.name] = PREPARED_BY[group.kind](case, group, sizes, jit, timed)
            except Exception as e:  # one broken layer must not cost the other measurements
                message = f"{type(e).__name__}: {str(e).strip().splitlines()[0]}"
                records.append({"case": case.name, "group": key, "failed": message})
        for mode in timed:
            records += _measure_group(key, group, mode, ready, repeats, warmup, note)
        del ready  # the models of one group take gigabytes
        keras.backend.clear_session()
        gc.collect()
    return records


def _measure_group(key, group, mode, ready, repeats, warmup, note):
    """Records of the cases of one group in one mode."""
    if not ready:
        return []
    functions = {name: functions[mode] for name, (functions, _) in ready.items()}

    def progress(i):
        note(f"{group.title}: {mode}, round {i} of {repeats}")

    seconds = alternate(functions, repeats, warmup, progress)
    calls = {name: facts["calls"] for name, (_, facts) in ready.items()}
    seconds = {name: values / calls[name] for name, values in seconds.items()}
    references = [r for r in group.references if r in seconds] or [next(iter(seconds))]
    records = []
    for name, values in seconds.items():
        facts = {k: v for k, v in ready[name][1].items() if k != "calls"}
        first = facts.pop("first_call_seconds")[mode]
        if mode != "train":
            facts.pop("flop", None)
        ratios = {r: vars(paired_ratio(values, seconds[r])) for r in references}
        records.append(
            {
                "case": name,
                "group": key,
                "mode": mode,
                "seconds": values.tolist(),
                "median": Spread.of(values).median,
                **facts,
                "first_call_seconds": first,
                "ratios": ratios,
            }
        )
    return records
