"""What the commands of this package share: notes for the user, arguments, the start of Keras."""

import argparse
import importlib.util
import os
import sys
from pathlib import Path

from evaluation.runs import RunError, load_run
from training.cli import BACKENDS, make_parser
from training.errors import TrainingError
from training.startup import describe_engine, prepare_environment


def note(text):
    """Tell the user, apart from the output proper."""
    print(text, file=sys.stderr)


def count(text):
    """An integer >= 1, for argparse."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected an integer >= 1; received: {text}")
    return int(text)


def not_negative(text):
    """An integer >= 0, for argparse."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"expected an integer >= 0; received: {text}")
    return int(text)


def one_line(error):
    """The first line of an exception's message, or its class: damaged files fail each its way."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def add_run(parser):
    """Add the arguments of a command that works on one trained run: RUN and --data-dir."""
    parser.add_argument("run", type=Path, metavar="RUN", help="run folder with its best.keras")
    add_data_dir(parser)


def add_data_dir(parser):
    """Add --data-dir, with the default of `python -m training`."""
    parser.add_argument(
        "--data-dir", type=Path, metavar="DIR", default=make_parser().get_default("data_dir"),
        help="prepared data (default: as for `python -m training`)",
    )  # fmt: skip


def add_out_and_backend(parser, out):
    """Add --out, a folder of results (default: `out`), and --backend."""
    parser.add_argument("--out", type=Path, default=Path(out), metavar="DIR",
                        help=f"folder of the results (default: {out})")  # fmt: skip
    parser.add_argument("--backend", choices=BACKENDS,
                        default=os.environ.get("KERAS_BACKEND", "tensorflow"),
                        help="default: KERAS_BACKEND or tensorflow")  # fmt: skip


def open_run(args):
    """The run, task data and best model that the arguments of `add_run` name; Keras is started.

    The model simulates every step.

    Raises:
        RunError: no run, no best.keras, or one that cannot be read.
        TrainingError: no data, or no such backend.
    """
    run = load_run(args.run)
    if run.best_model is None:
        raise RunError(f"{run.path} has no best.keras; expected a run with its trained model")
    note(start_backend(run))
    from evaluation.figures import ModelUnreadable, load
    from training.tasks import load_task

    config = run.config
    task = load_task(run.task, args.data_dir, config.get("permutation", 0), config.get("fold"))
    try:
        return run, task, load(run)
    except ModelUnreadable as e:
        raise RunError(f"cannot read {run.best_model}: {e}") from e


def start_backend(run):
    """Start Keras on KERAS_BACKEND, else on the run's own if it is installed; a line on it."""
    backend = os.environ.get("KERAS_BACKEND") or _recorded_backend(run)
    if backend not in BACKENDS:
        raise TrainingError(
            f"KERAS_BACKEND must be one of {', '.join(BACKENDS)}; received: {backend!r}"
        )
    prepare_environment(backend, devices=1)
    return describe_engine()


def _recorded_backend(run):
    backend = (run.metrics.get("environment") or {}).get("backend")
    return backend if backend in BACKENDS and importlib.util.find_spec(backend) else "tensorflow"
