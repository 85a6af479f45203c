"""Time and memory against sequence length: python -m evaluation benchmark --lengths

The cost of one step of one sample must not grow with the length. Each case at each length runs in a
process of its own, so that its peak memory is its own; the processes of one case take turns, as in
timing.py. The number of samples is chosen so that samples x steps stays the same. They are one
batch; but a stream has one sample at a time, fed piece by piece, and the samples follow each other.
theta is the shortest length everywhere.

Memory is the peak of the resident memory from before the first call (which also traces and
compiles) to after it. Started with an argument, this module is such a process: it builds the case,
then makes one call for every line it reads and answers with a line of JSON.
"""

import contextlib
import dataclasses
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from evaluation.speed.timing import Spread, paired_ratio
from evaluation.tables import Table, ratio_text

LENGTHS = (784, 4096, 16384, 131072)
CASES = {
    "SigmaDelta, training step": "train",
    "LegendreMemory, streaming": "stream",
    "LegendreMemory, all steps, training step": "train",
    "HybridLMU (feed-forward), last state, training step": "train",
}
COLUMNS = ("steps", "samples", "call s", "peak MB", "us", "bytes", "time / shortest",
           "memory / shortest")  # fmt: skip
ROOT = Path(__file__).resolve().parents[2]


def samples(steps, lengths):
    """Number of samples: as many as make the longest length's number of steps, at least one."""
    return max(1, max(lengths) // steps)


def piece_of(steps):
    """Steps of one piece of a stream: 64 to 128 that divide the length if there are such, so that
    there is one shape to compile."""
    return next((n for n in range(128, 63, -1) if steps % n == 0), min(steps, 128))


def measure_lengths(lengths, sizes, repeats=5, jit="auto", names=None, note=lambda text: None):
    """Times the cases whose name contains one of `names` (all by default).

    Returns records {"case", "mode": "length", "steps", "samples", "seconds": [repeats], "median",
    "bytes" (None where the system does not tell), "first_call_seconds", "seconds_per_step",
    "bytes_per_step" (both of one sample), "time_ratio": {"median", "low", "high"}, "memory_ratio"
    (per step, to the shortest length)}; or {"case", "steps", "failed": message}.
    """
    lengths, records = sorted(set(lengths)), []
    for name in select(names):
        records += _measure_case(name, lengths, sizes, repeats, jit, note)
    return records


def select(names=None):
    """Names of the cases that contain one of `names`; all by default."""
    chosen = [c for c in CASES if not names or any(n.lower() in c.lower() for n in names)]
    if not chosen:
        known = ", ".join(f'"{c}"' for c in CASES)
        raise ValueError(f"no case of --lengths contains {names}; expected part of one of: {known}")
    return chosen


def _measure_case(name, lengths, sizes, repeats, jit, note):
    records, first, seconds = [], {}, {steps: [] for steps in lengths}
    with contextlib.ExitStack() as stack:
        workers = {}
        for steps in lengths:
            case = {
                "name": name,
                "steps": steps,
                "theta": lengths[0],
                "jit": jit,
                "sizes": {
                    **dataclasses.asdict(sizes),
                    "timesteps": steps,
                    "batch": samples(steps, lengths),
                },
            }
            workers[steps] = stack.enter_context(Worker(case))
        for i in range(2 + repeats):  # the first call and another one to warm up
            note(f"{name}: call {i + 1} of {2 + repeats} at each length")
            for steps in list(workers):
                try:
                    answer = workers[steps].call()
                except RuntimeError as e:
                    records.append({"case": name, "steps": steps, "failed": str(e)})
                    del workers[steps], seconds[steps]
                    continue
                if i == 0:
                    first[steps] = answer
                if i > 1:
                    seconds[steps].append(answer["seconds"])
    return records + [_record(name, s, samples(s, lengths), first, seconds) for s in seconds]


def _record(name, steps, batch, first, seconds):
    count, shortest = steps * batch, min(seconds)
    values = np.array(seconds[steps]) / count
    other = np.array(seconds[shortest]) / first[shortest]["count"]
    memory, least = first[steps]["bytes"], first[shortest]["bytes"]
    known = memory is not None and bool(least)
    return {
        "case": name,
        "mode": "length",
        "steps": steps,
        "samples": batch,
        "seconds": seconds[steps],
        "median": Spread.of(seconds[steps]).median,
        "bytes": memory,
        "first_call_seconds": first[steps]["seconds"],
        "seconds_per_step": Spread.of(values).median,
        "bytes_per_step": memory / count if known else None,
        "time_ratio": vars(paired_ratio(values, other)),
        "memory_ratio": memory / count / (least / first[shortest]["count"]) if known else None,
    }


def format_lengths(records):
    """The table of `measure_lengths` as text; the largest ratio of each case below it."""
    lines = []
    for name in dict.fromkeys(r["case"] for r in records):
        rows = [r for r in records if r["case"] == name and "failed" not in r]
        cells = [
            (
                f"{r['steps']:,}", f"{r['samples']:,}", f"{r['median']:.4g}",
                _or_dash(r["bytes"], 1e6, ".4g"), f"{1e6 * r['seconds_per_step']:.4g}",
                _or_dash(r["bytes_per_step"], 1, ".5g"), ratio_text(r["time_ratio"]),
                _or_dash(r["memory_ratio"], 1, ".3g"),
            )
            for r in rows
        ]  # fmt: skip
        lines.append(Table(COLUMNS, cells, f"\n{name}: of one step of one sample").text())
        if rows:
            memory = [r["memory_ratio"] for r in rows if r["memory_ratio"] is not None]
            lines.append(
                f"largest ratio: time {max(r['time_ratio']['median'] for r in rows):.3g}, "
                f"memory {_or_dash(max(memory, default=None), 1, '.3g')}"
            )
        lines += [
            f"failed: {r['steps']:,} steps ({r['failed']})"
            for r in records
            if r["case"] == name and "failed" in r
        ]
    return "\n".join(lines)


def _or_dash(value, unit, form):
    return "-" if value is None else format(value / unit, form)


class Worker:
    """A process that holds one case at one length."""

    def __init__(self, case):
        self.errors = tempfile.TemporaryFile("w+")  # a pipe that nobody reads could fill
        self.process = subprocess.Popen(
            [sys.executable, "-m", "evaluation.speed.lengths", json.dumps(case)],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, text=True,
        )  # fmt: skip

    def call(self):
        """One call of the case: its {"seconds"}, after the first also "bytes" and "count"."""
        with contextlib.suppress(OSError):  # it has ended: there is no answer either
            self.process.stdin.write("\n")
            self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            status = self.process.wait()
            self.errors.seek(0)
            last = (self.errors.read().strip().splitlines() or ["no message"])[-1]
            raise RuntimeError(f"its process ended with status {status}: {last}")
        return json.loads(answer)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.process.kill()
        self.process.communicate()
        self.errors.close()


def build(case):
    """A callable without arguments for one case at one length; blocks until the result exists."""
    from evaluation.speed.cases import hybrid_arguments
    from evaluation.speed.registry import Sizes
    from evaluation.speed.steps import batch_of, build_model, step_functions
    from hybrid_lmu import HybridLMU, LegendreMemory, SigmaDelta

    s, jit, name = Sizes(**case["sizes"]), case["jit"], case["name"]
    if CASES[name] == "stream":
        return _stream(s, case["theta"], jit)
    features = s.order if name.startswith("SigmaDelta") else 1
    if name.startswith("SigmaDelta"):
        layer = SigmaDelta("relu", resolution=s.hidden_resolution)
    elif name.startswith("LegendreMemory"):
        layer = LegendreMemory(s.order, case["theta"], return_sequences=True)
    else:
        layer = HybridLMU(**{**hybrid_arguments(s, False), "theta": case["theta"]})
    model = build_model(layer, s.timesteps, features, jit)
    return step_functions(model, *batch_of(s, features), ("train",))["train"]


def _stream(s, theta, jit):
    """The memory over all samples, one at a time, a piece a call, its state carried on."""
    import keras

    from evaluation.speed.streaming import compiled
    from hybrid_lmu import LegendreMemory

    piece = piece_of(s.timesteps)
    layer = LegendreMemory(s.order, theta, return_sequences=True, return_state=True)
    layer.build((1, piece, 1))
    function = compiled(layer, jit)
    x = np.random.default_rng(0).random((s.batch, s.timesteps, 1), dtype="float32")
    zeros = keras.ops.zeros((1, s.order))

    def call():
        for i in range(s.batch):
            state = zeros
            for start in range(0, s.timesteps, piece):
                u = keras.ops.convert_to_tensor(x[i : i + 1, start : start + piece])
                _, state = function(u, [state])
        return keras.ops.convert_to_numpy(state)

    return call


def resident(field):
    """Bytes of a field of /proc/self/status, such as VmRSS or VmHWM (its peak); None without it."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return None
    found = re.search(rf"^{field}:\s+(\d+) kB", status, re.M)
    return 1024 * int(found[1]) if found else None


def _serve(case):
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    from evaluation.speed.steps import keras  # the engine starts here, before memory is looked at

    keras.ops.convert_to_numpy(keras.ops.matmul(keras.ops.ones((2, 2)), keras.ops.ones((2, 2))))
    call, first = build(case), True
    for _ in sys.stdin:
        if first:
            with contextlib.suppress(OSError):
                Path("/proc/self/clear_refs").write_text("5")  # the peak starts at the present
            before = resident("VmRSS")
        start = time.perf_counter()
        call()
        answer = {"seconds": time.perf_counter() - start}
        if first:
            peak = resident("VmHWM")
            answer["bytes"] = None if peak is None else max(0, peak - before)
            answer["count"] = case["sizes"]["timesteps"] * case["sizes"]["batch"]
        first = False
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    _serve(json.loads(sys.argv[1]))
