"""What the verbs share on the command line: notes, errors, types of arguments, common options."""

import argparse
import math
import os
import sys
from collections.abc import Callable
from pathlib import Path

from training._options import Parser
from training.cli import BACKENDS, default_data_dir, parse_seeds
from training.errors import TrainingError
from training.startup import describe_engine, prepare_environment


class UserError(Exception):
    """An error that the user can mend. The message is one line."""


def note(text: str) -> None:
    """Print a line to standard error, apart from the output proper."""
    print(text, file=sys.stderr)


def one_line(error: Exception) -> str:
    """The first line of an exception's message, or its class if the message is empty."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def make_parser(verb: str, description: str, **options) -> argparse.ArgumentParser:
    """The parser of `python -m evaluation VERB`."""
    return Parser(
        prog=f"python -m evaluation {verb}".strip(),
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        **options,
    )


def run_command(
    parser: argparse.ArgumentParser, work: Callable, argv: list[str] | None = None
) -> int:
    """Parse `argv` and call ``work(args)``.

    Returns:
        The exit status: what `work` returns, 0 for None, 1 after an error of one line.
    """
    args = parser.parse_args(argv)
    try:
        return work(args) or 0
    except (UserError, TrainingError) as e:
        print(f"error: {e}", file=sys.stderr)
        return 1


def start_engine(backend: str) -> str:
    """Start Keras on `backend` without the engine's notes; a line on what was started.

    Raises:
        TrainingError: no such backend, or one that cannot be imported.
    """
    if backend not in BACKENDS:  # argparse does not look at defaults
        raise TrainingError(
            f"KERAS_BACKEND must be one of {', '.join(BACKENDS)}; received: {backend!r}"
        )
    prepare_environment(backend, devices=1)
    return describe_engine()


def count(text: str) -> int:
    """An integer >= 1, for argparse."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected an integer >= 1; received: {text}")
    return int(text)


def not_negative(text: str) -> int:
    """An integer >= 0, for argparse."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"expected an integer >= 0; received: {text}")
    return int(text)


def positive(text: str) -> float:
    """A finite number > 0, for argparse."""
    value = _float(text)
    if value is None or not (value > 0 and math.isfinite(value)):
        raise argparse.ArgumentTypeError(f"expected a number > 0; received: {text}")
    return value


def percentage(text: str) -> float:
    """A number > 0 and at most 100, for argparse."""
    value = _float(text)
    if value is None or not 0 < value <= 100:
        raise argparse.ArgumentTypeError(
            f"expected a percentage > 0 and at most 100; received: {text!r}"
        )
    return value


def _float(text):
    try:
        return float(text)
    except ValueError:
        return None


def add_runs(parser) -> None:
    """Add RUN..., run folders or parents of run folders."""
    parser.add_argument("runs", nargs="+", metavar="RUN", help="run folder, or a folder of runs")


def add_data_dir(parser) -> None:
    """Add --data-dir, with the default of `python -m training`."""
    parser.add_argument(
        "--data-dir", type=Path, metavar="DIR", default=default_data_dir(),
        help="prepared data (default: as for `python -m training`)",
    )  # fmt: skip


def add_out(parser, default: str) -> None:
    """Add --out, the folder of the results."""
    parser.add_argument("--out", type=Path, default=Path(default), metavar="DIR",
                        help=f"folder of the results (default: {default})")  # fmt: skip


def add_backend(parser, default: str = "tensorflow") -> None:
    """Add --backend; KERAS_BACKEND comes before `default`."""
    parser.add_argument("--backend", choices=BACKENDS,
                        default=os.environ.get("KERAS_BACKEND") or default,
                        help=f"engine under Keras (default: $KERAS_BACKEND, then {default})",
                        )  # fmt: skip


def add_jit(parser) -> None:
    """Add --jit, as in `Model.compile`."""
    parser.add_argument("--jit", choices=("auto", "on", "off"), default="auto",
                        help="compile the training step by XLA (default: auto)")  # fmt: skip


def add_seed(parser) -> None:
    """Add --seed, one integer."""
    parser.add_argument("--seed", type=not_negative, default=0, metavar="N",
                        help="seed of weights and draws (default: 0)")  # fmt: skip


def add_seeds(parser, first: int, last: int) -> None:
    """Add --seeds, integers and ranges; `read_seeds` flattens them."""
    parser.add_argument("--seeds", nargs="+", type=parse_seeds,
                        default=[list(range(first, last + 1))], metavar="SEED",
                        help=f"integers and ranges such as 0-2 (default: {first}-{last})",
                        )  # fmt: skip


def read_seeds(args) -> list[int]:
    """The seeds of `add_seeds`, each once, in the order given."""
    return list(dict.fromkeys(seed for group in args.seeds for seed in group))
