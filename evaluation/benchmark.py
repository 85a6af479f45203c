"""Speed of our layers beside keras-lmu, LSTM, GRU, ReLU: python -m evaluation.benchmark

Same shapes, same machine, one process, taking turns (see timing.py); ratios below 1 mean faster
than the reference. Cases are listed in cases.py, the timed model in steps.py.
"""

import argparse
import json
import os
import sys

from evaluation.report import WriteError, check_writable, write
from evaluation.timing import Spread, alternate, paired_ratio
from training.cli import BACKENDS
from training.errors import TrainingError
from training.startup import describe_engine, prepare_environment


def measure(
    cases,
    groups,
    sizes,
    repeats=5,
    warmup=2,
    jit="auto",
    modes=("train", "infer"),
    note=lambda text: None,
):
    """Times cases, group by group and mode by mode.

    Returns a list of records {"case", "group", "mode", "seconds": [repeats], "median",
    "parameters", "first_call_seconds", "ratios": {reference: {"median", "low", "high"}}}.
    A case that cannot run gives {"case", "group", "skipped": why} or {..., "failed": message}.
    """
    from evaluation.steps import prepare

    records = []
    for key in dict.fromkeys(c.group for c in cases):
        group, ready = groups[key], {}
        for case in (c for c in cases if c.group == key):
            why = case.unavailable()
            if why:
                records.append({"case": case.name, "group": key, "skipped": why})
                continue
            note(f"{group.title}: compiling {case.name}")
            try:
                ready[case.name] = prepare(case, group, sizes, jit, modes)
            except Exception as e:  # one broken layer must not cost the other measurements
                message = f"{type(e).__name__}: {str(e).strip().splitlines()[0]}"
                records.append({"case": case.name, "group": key, "failed": message})
        for mode in modes:
            records += _measure_group(key, group, mode, ready, repeats, warmup, note)
    return records


def _measure_group(key, group, mode, ready, repeats, warmup, note):
    """Records of the cases of one group in one mode."""
    if not ready:
        return []
    functions = {name: functions[mode] for name, (functions, _) in ready.items()}

    def progress(i):
        note(f"{group.title}: {mode}, round {i} of {repeats}")

    seconds = alternate(functions, repeats, warmup, progress)
    references = [r for r in group.references if r in seconds] or [next(iter(seconds))]
    records = []
    for name, values in seconds.items():
        facts = ready[name][1]
        ratios = {r: vars(paired_ratio(values, seconds[r])) for r in references}
        records.append(
            {
                "case": name,
                "group": key,
                "mode": mode,
                "seconds": values.tolist(),
                "median": Spread.of(values).median,
                "parameters": facts["parameters"],
                "first_call_seconds": facts["first_call_seconds"][mode],
                "ratios": ratios,
            }
        )
    return records


MODE_TITLES = {"train": "training step", "infer": "inference of a batch"}


def format_records(records, groups):
    """The tables as text: one for each group and mode, then what was skipped or failed."""
    lines = []
    done = dict.fromkeys((r["group"], r["mode"]) for r in records if "mode" in r)
    for key, mode in done:
        rows = [r for r in records if r["group"] == key and r.get("mode") == mode]
        references = list(rows[0]["ratios"])
        heads = [f"/ {r}" for r in references]
        widths = [max(len(h), 19) for h in heads]
        name_width = max(len(r["case"]) for r in rows)
        lines.append(f"\n{groups[key].title}: {MODE_TITLES[mode]}")
        lines.append(
            f"{'':{name_width}}  {'median s':>9}  {'first s':>8}  {'params':>9}  "
            + "  ".join(f"{h:>{w}}" for h, w in zip(heads, widths, strict=True))
        )
        for r in rows:
            cells = [
                f"{_ratio(r['ratios'][name]):>{w}}"
                for name, w in zip(references, widths, strict=True)
            ]
            lines.append(
                f"{r['case']:{name_width}}  {r['median']:9.4g}  {r['first_call_seconds']:8.3g}  "
                f"{r['parameters']:9,}  " + "  ".join(cells)
            )
    for state in ("skipped", "failed"):
        left_out = [f"{state}: {r['case']} ({r[state]})" for r in records if state in r]
        lines += ["", *left_out] if left_out else []
    return "\n".join(lines)


def _ratio(ratio):
    return f"{ratio['median']:.3g} [{ratio['low']:.3g}, {ratio['high']:.3g}]"


def _number(kind, least):
    def parse(text):
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or not value >= least:
            raise argparse.ArgumentTypeError(f"expected a number >= {least:g}; received: {text}")
        return value

    return parse


def parser():
    p = argparse.ArgumentParser(
        prog="python -m evaluation.benchmark",
        description=__doc__.split("\n\n")[1],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    count, natural = _number(int, 1), _number(int, 0)
    p.add_argument("--batch", type=count, metavar="INT", default=100, help="samples a batch")
    p.add_argument(
        "--timesteps", type=count, metavar="INT", default=784, help="steps a sample; theta too"
    )
    p.add_argument(
        "--order", type=count, metavar="INT", default=256, help="order of the Legendre memory"
    )
    p.add_argument(
        "--units", type=count, metavar="INT", default=212, help="hidden units; width of activations"
    )
    p.add_argument(
        "--memory-resolution",
        type=_number(float, 1e-9),
        default=16.0,
        metavar="FLOAT",
        help="resolution of the memory's activity in the spiking cases",
    )
    p.add_argument(
        "--hidden-resolution",
        type=_number(float, 1e-9),
        default=4.0,
        metavar="FLOAT",
        help="resolution of the hidden units' activity in the spiking cases",
    )
    p.add_argument("--repeats", type=count, metavar="INT", default=5, help="timed rounds")
    p.add_argument(
        "--warmup", type=natural, metavar="INT", default=2, help="calls before the first round"
    )
    p.add_argument(
        "--backend",
        choices=BACKENDS,
        default=os.environ.get("KERAS_BACKEND") or "tensorflow",
        help="engine under Keras; without: $KERAS_BACKEND, then tensorflow",
    )
    p.add_argument(
        "--jit", choices=("auto", "on", "off"), default="auto", help="jit_compile of Model.compile"
    )
    p.add_argument(
        "--mode",
        choices=("train", "infer"),
        action="append",
        help="what to time: training step or inference; repeatable; without: both",
    )
    p.add_argument(
        "--group",
        action="append",
        metavar="GROUP",
        help="only cases of this group (see --list); repeatable; without: all",
    )
    p.add_argument(
        "--case",
        action="append",
        metavar="TEXT",
        help="only cases whose name contains TEXT, and their references; repeatable",
    )
    p.add_argument("--list", action="store_true", help="list groups and cases, time nothing")
    p.add_argument("--json", metavar="FILE", help="write every timing, sizes and versions there")
    return p


def main(argv=None):
    """Command line. Returns the status: 0, 1 if a case or --json failed, 2 for a bad request."""
    args = parser().parse_args(argv)
    try:
        _start(args.backend)
    except TrainingError as e:
        print(f"error: {e}", file=sys.stderr)
        return 2
    from evaluation.cases import GROUPS, Sizes, select
    from training.environment import describe_environment

    sizes = Sizes(
        args.batch,
        args.timesteps,
        args.order,
        args.units,
        args.memory_resolution,
        args.hidden_resolution,
    )
    try:
        cases = select(args.group, args.case)
    except ValueError as e:
        print(f"error: {e}", file=sys.stderr)
        return 2
    if args.list:
        for key in dict.fromkeys(c.group for c in cases):
            print(f"{key}: {GROUPS[key].title}")
            for case in (c for c in cases if c.group == key):
                why = case.unavailable()
                print(f"    {case.name}" + (f"  (skipped: {why})" if why else ""))
        return 0
    if args.json:  # found out now, not after ten minutes of measuring
        try:
            check_writable(args.json)
        except WriteError as e:
            print(f"error: --json: {e}", file=sys.stderr)
            return 2

    facts = describe_environment()
    versions = {k: v for k, v in facts["versions"].items() if v}
    print(", ".join(f"{k} {v}" for k, v in versions.items()))
    machine = facts["machine"]
    print(f"{facts['backend']} backend, {machine['cpu']}, {machine['cores']} cores")
    print(
        ", ".join(f"{k} {v:g}" for k, v in vars(sizes).items())
        + f", jit {args.jit}, {args.repeats} rounds, cases taking turns"
    )
    print("Ratios: median [quartiles] of the ratios formed round by round; below 1 = faster.")
    jit = {"auto": "auto", "on": True, "off": False}[args.jit]
    records = measure(
        cases,
        GROUPS,
        sizes,
        args.repeats,
        args.warmup,
        jit,
        tuple(args.mode or ("train", "infer")),
        _progress,
    )
    _progress("")
    print(format_records(records, GROUPS))
    if args.json:
        content = {
            "environment": facts,
            "sizes": vars(sizes),
            "jit": args.jit,
            "repeats": args.repeats,
            "records": records,
        }
        try:
            write(args.json, json.dumps(content, indent=1) + "\n")
        except WriteError as e:  # the results are on the screen
            print(f"error: --json: {e}", file=sys.stderr)
            return 1
    return 1 if any("failed" in r for r in records) else 0


def _start(backend):
    """Start Keras without the engine's notes; `TrainingError` if that cannot be done."""
    if backend not in BACKENDS:  # argparse does not look at defaults
        raise TrainingError(
            f"KERAS_BACKEND must be one of {', '.join(BACKENDS)}; received: {backend!r}"
        )
    prepare_environment(backend, devices=1)
    describe_engine()


def _progress(text):
    """One line on a terminal, overwritten; silent elsewhere."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
