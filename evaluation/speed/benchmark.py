"""Speed of our layers beside keras-lmu, LSTM, GRU, ReLU: python -m evaluation benchmark

Same shapes, same machine, one process, taking turns (see timing.py); ratios below 1 mean faster
than the reference. With --lengths instead: time and memory against sequence length.

Layers are listed in cases.py and the timed model stands in steps.py, streaming cells in
streaming.py, converted networks in simulations.py, lengths in lengths.py, counts of operations in
flops.py, peers that need an environment of their own in peers.py.
"""

import json
import sys

from evaluation.console import (
    add_backend,
    add_jit,
    count,
    make_parser,
    not_negative,
    positive,
    start_engine,
)
from evaluation.files import WriteError, check_writable, write
from evaluation.speed.tables import MODE_TITLES, format_records
from training.errors import TrainingError


def parser():
    p = make_parser("benchmark", __doc__)
    add = p.add_argument_group("what").add_argument
    add("--mode", choices=tuple(MODE_TITLES), action="append",
        help="what to time: training step, inference of a batch, streaming step of one sample; "
        "repeatable (default: all)")  # fmt: skip
    add("--group", action="append", metavar="GROUP",
        help="only cases of this group (see --list); repeatable (default: all)")  # fmt: skip
    add("--case", action="append", metavar="TEXT",
        help="only cases whose name contains TEXT, and their references; repeatable; a whole name "
        "runs a case that is left out otherwise")  # fmt: skip
    add("--lengths", type=count, nargs="*", metavar="STEPS",
        help="time and memory against sequence length instead, without numbers from 784 to 131072 "
        "steps; --case applies")  # fmt: skip
    add("--peer-python", metavar="FILE", help="interpreter with KerasSpiking, to time it there")
    add("--list", action="store_true", help="list groups and cases, time nothing")
    add = p.add_argument_group("sizes").add_argument
    add("--batch", type=count, metavar="N", default=100, help="samples a batch (default: 100)")
    add("--timesteps", type=count, metavar="N", default=784,
        help="steps a sample, and theta (default: 784)")  # fmt: skip
    add("--order", type=count, metavar="N", default=256,
        help="order of the Legendre memory (default: 256)")  # fmt: skip
    add("--units", type=count, metavar="N", default=212,
        help="hidden units, width of activations (default: 212)")  # fmt: skip
    add("--memory-resolution", type=positive, default=16.0, metavar="FLOAT",
        help="resolution of the memory in the spiking cases (default: 16)")  # fmt: skip
    add("--hidden-resolution", type=positive, default=4.0, metavar="FLOAT",
        help="resolution of the hidden units in the spiking cases (default: 4)")  # fmt: skip
    group = p.add_argument_group("timing and files")
    add = group.add_argument
    add("--repeats", type=count, metavar="N", default=5, help="timed rounds (default: 5)")
    add("--warmup", type=not_negative, metavar="N", default=2,
        help="calls before the first round (default: 2)")  # fmt: skip
    add_backend(group)
    add_jit(group)
    add("--json", metavar="FILE", help="write every timing, sizes and versions there")
    add("--plot", metavar="FILE", help="draw the ratios, or --lengths, into a PNG file")
    return p


def main(argv=None):
    """Command line. Returns the status: 0, 1 if a case or a file failed, 2 for a bad request."""
    args = parser().parse_args(argv)
    try:
        start_engine(args.backend)
    except TrainingError as e:
        return _refused(str(e))
    from evaluation.speed.registry import GROUPS, Sizes

    sizes = Sizes(
        args.batch,
        args.timesteps,
        args.order,
        args.units,
        args.memory_resolution,
        args.hidden_resolution,
    )
    try:
        cases = _select(args)
    except ValueError as e:
        return _refused(str(e))
    if args.list:
        _list(cases, GROUPS)
        return 0
    for option in ("json", "plot"):  # found out now, not after ten minutes of measuring
        try:
            if getattr(args, option):
                check_writable(getattr(args, option))
        except WriteError as e:
            return _refused(f"--{option}: {e}")

    content = _measured(args, cases, sizes)
    failed = any("failed" in r for r in content["records"])
    for option, data in (("json", _as_json), ("plot", _as_png)):
        try:
            if getattr(args, option):
                write(getattr(args, option), data(content))
        except WriteError as e:  # the results are on the screen
            print(f"error: --{option}: {e}", file=sys.stderr)
            failed = True
    return 1 if failed else 0


def _refused(message):
    print(f"error: {message}", file=sys.stderr)
    return 2


def _select(args):
    from evaluation.speed import (
        cases,  # noqa: F401  # register
        lengths,  # noqa: F401  # register
        registry,  # noqa: F401  # register
        simulations,  # noqa: F401  # register
        streaming,  # noqa: F401  # register
    )

    if args.lengths is None:
        return registry.select(args.group, args.case)
    if args.group or args.mode or args.peer_python:
        raise ValueError(
            "--lengths has cases of its own; expected no --group, --mode, --peer-python"
        )
    return lengths.select(args.case)


def _list(cases, groups):
    for key in dict.fromkeys(getattr(c, "group", "lengths") for c in cases):
        print(f"{key}: {groups[key].title}" if key in groups else "lengths:")
        for case in (c for c in cases if getattr(c, "group", "lengths") == key):
            why = None if key == "lengths" else case.unavailable()
            print(f"    {getattr(case, 'name', case)}" + (f"  (skipped: {why})" if why else ""))


def _measured(args, cases, sizes):
    """Measures and prints; returns what --json writes."""
    from training.environment import describe_environment

    facts = describe_environment()
    versions = {k: v for k, v in facts["versions"].items() if v}
    print(", ".join(f"{k} {v}" for k, v in versions.items()))
    machine = facts["machine"]
    print(f"{facts['backend']} backend, {machine['cpu']}, {machine['cores']} cores")
    chosen = ("batch", "timesteps") if args.lengths is not None else ()  # by each length
    print(
        ", ".join(f"{k} {v:g}" for k, v in vars(sizes).items() if k not in chosen)
        + f", jit {args.jit}, {args.repeats} rounds, cases taking turns"
    )
    print("Ratios: median [quartiles] of the ratios formed round by round; below 1 = faster.")
    content = {
        "environment": facts,
        "sizes": vars(sizes),
        "jit": args.jit,
        "repeats": args.repeats,
    }
    jit = {"auto": "auto", "on": True, "off": False}[args.jit]
    if args.lengths is None:
        content.update(_cases(args, cases, sizes, jit))
    else:
        from evaluation.speed import lengths

        records = lengths.measure_lengths(
            args.lengths or lengths.LENGTHS, sizes, args.repeats, jit, args.case, _progress
        )
        _progress("")
        print(lengths.format_lengths(records))
        content["records"] = records
    return content


def _cases(args, cases, sizes, jit):
    from evaluation.speed import peers
    from evaluation.speed.flops import machine_rate
    from evaluation.speed.measure import measure
    from evaluation.speed.registry import GROUPS

    modes = tuple(args.mode or MODE_TITLES)
    rate = machine_rate() if "train" in modes else None
    if rate:
        print(f"float32 product of two matrices: {rate / 1e9:.4g} GFLOP/s")
    records = measure(cases, GROUPS, sizes, args.repeats, args.warmup, jit, modes, _progress)
    if args.peer_python:
        _progress("KerasSpiking in its own environment")
        records += peers.measure_peers(args.peer_python, sizes, args.repeats, args.warmup, modes)
    _progress("")
    print(format_records(records, {**GROUPS, **peers.GROUPS}, rate))
    return {"machine_flop_per_second": rate, "records": records}


def _as_json(content):
    return json.dumps(content, indent=1) + "\n"


def _as_png(content):
    from evaluation.speed import peers, plot
    from evaluation.speed.registry import GROUPS
    from evaluation.style import to_png

    records = content["records"]
    if any(r.get("mode") == "length" for r in records):
        return to_png(plot.lengths(records))
    return to_png(plot.ratios(records, {**GROUPS, **peers.GROUPS}))


def _progress(text):
    """One line on a terminal, overwritten; silent elsewhere."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
