"""Speed of our layers beside keras-lmu, LSTM, GRU, ReLU: python -m evaluation.benchmark

Same shapes, same machine, one process, taking turns (see timing.py); ratios below 1 mean faster
than the reference. With --lengths instead: time and memory against sequence length.

Layers are listed in cases.py and the timed model stands in steps.py, streaming cells in
streaming.py, converted networks in simulations.py, lengths in lengths.py, counts of operations in
flops.py, peers that need an environment of their own in peers.py.
"""

import argparse
import json
import os
import sys

from evaluation.benchmark_tables import MODE_TITLES, format_records
from evaluation.report import WriteError, check_writable, write
from training.cli import BACKENDS
from training.errors import TrainingError
from training.startup import describe_engine, prepare_environment


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
        choices=tuple(MODE_TITLES),
        action="append",
        help="what to time: training step, inference of a batch, streaming step of one sample; "
        "repeatable; without: all",
    )
    p.add_argument(
        "--lengths",
        type=count,
        nargs="*",
        metavar="STEPS",
        help="time and memory against sequence length instead, from 784 to 131072 steps without "
        "numbers; --case applies",
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
        help="only cases whose name contains TEXT, and their references; repeatable; a whole name "
        "runs a case that is left out otherwise",
    )
    p.add_argument(
        "--peer-python",
        metavar="FILE",
        help="interpreter with KerasSpiking, to time it there; see evaluation/peers.py",
    )
    p.add_argument("--list", action="store_true", help="list groups and cases, time nothing")
    p.add_argument("--json", metavar="FILE", help="write every timing, sizes and versions there")
    p.add_argument("--plot", metavar="FILE", help="draw the ratios, or --lengths, into a PNG file")
    return p


def main(argv=None):
    """Command line. Returns the status: 0, 1 if a case or a file failed, 2 for a bad request."""
    args = parser().parse_args(argv)
    try:
        _start(args.backend)
    except TrainingError as e:
        return _refused(str(e))
    from evaluation.registry import GROUPS, Sizes

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
    from evaluation import cases, lengths, registry, simulations, streaming  # noqa: F401  # register

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
        from evaluation import lengths

        records = lengths.measure_lengths(
            args.lengths or lengths.LENGTHS, sizes, args.repeats, jit, args.case, _progress
        )
        _progress("")
        print(lengths.format_lengths(records))
        content["records"] = records
    return content


def _cases(args, cases, sizes, jit):
    from evaluation import peers
    from evaluation.flops import machine_rate
    from evaluation.registry import GROUPS
    from evaluation.speed import measure

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
    from evaluation import benchmark_plot, peers
    from evaluation.registry import GROUPS
    from evaluation.style import to_png

    records = content["records"]
    if any(r.get("mode") == "length" for r in records):
        return to_png(benchmark_plot.lengths(records))
    return to_png(benchmark_plot.ratios(records, {**GROUPS, **peers.GROUPS}))


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
