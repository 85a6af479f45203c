"""Table and HTML report of any trained runs: python -m evaluation RUN...

A RUN is a run folder written by `python -m training`, or a parent of several, such as runs/.
Prints the table of all runs and writes one self-contained HTML page with plots.
"""

import argparse
import importlib.util
import os
import sys
from pathlib import Path

from evaluation import figures, report
from evaluation.pages import build
from evaluation.report import WriteError
from evaluation.runs import RunError, common_parent, find_runs
from training.cli import BACKENDS
from training.cli import make_parser as training_parser
from training.errors import TrainingError
from training.startup import describe_engine, prepare_environment
from training.summary import summary_table


def parser():
    p = argparse.ArgumentParser(
        prog="python -m evaluation",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument("runs", nargs="+", metavar="RUN", help="run folder, or a folder of runs")
    p.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="the HTML page (default: report.html in the runs' common parent)",
    )
    p.add_argument("--plots", type=Path, metavar="DIR", help="write the plots there as PNG too")
    p.add_argument(
        "--data-dir",
        type=Path,
        metavar="DIR",
        default=training_parser().get_default("data_dir"),
        help="prepared data (default: as for `python -m training`)",
    )
    p.add_argument(
        "--samples",
        type=_count,
        default=500,
        metavar="N",
        help="test samples for the sweep over resolutions (default: 500)",
    )
    p.add_argument(
        "--no-model",
        action="store_true",
        help="leave out the plots that need a trained model and its data",
    )
    return p


def _count(text):
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected an integer >= 1; received: {text}")
    return int(text)


def main(argv=None):
    """Command line. Returns the exit status: 0, or 1 after one line on stderr."""
    args = parser().parse_args(argv)
    try:
        _run(args)
    except (RunError, TrainingError, WriteError) as e:
        print(f"error: {e}", file=sys.stderr)
        return 1
    return 0


def _run(args):
    runs = find_runs(args.runs, _note)
    out = args.out or common_parent(runs) / "report.html"
    report.check_writable(out)  # found out now, not after minutes of measuring
    if args.plots:
        report.check_writable(args.plots / "plot.png")
    notes = []
    pictures = _figures(runs, args, notes)
    print(summary_table([run.metrics for run in runs]))
    report.write(out, build(runs, pictures, notes))
    for picture in pictures if args.plots else ():
        report.write(args.plots / f"{picture.name}.png", picture.png)
    print(f"\nReport: {out}")
    if args.plots:
        print(f"Plots:  {args.plots}")


def _figures(runs, args, notes):
    """All figures. What the reader of the page should know about the choice goes to `notes`."""
    found = figures.of_histories(runs)
    if args.no_model:
        return found
    chosen = figures.detailed_runs(runs)
    if not chosen:
        _note("no run with quantized activities and a best.keras: plots of a model left out")
        return found
    _start(chosen)
    names = ", ".join(run.path.name for run in chosen)
    notes.append(f"Plots of a model: of the first spiking run of each task ({names}).")
    _note(notes[-1])
    for run in chosen:
        try:
            found += _model_figures(run, args)
        except (TrainingError, figures.ModelUnreadable, ValueError) as e:
            reason = str(e).strip().splitlines()[0] or type(e).__name__
            notes.append(f"Plots of {run.path.name} left out: {reason}")
            _note(notes[-1])
    return found


def _model_figures(run, args):
    from training.tasks import load_task

    data = load_task(run.task, args.data_dir, run.config.get("permutation", 0))
    _note(f"measuring {run.path}")
    return figures.of_model(
        run, data.test, data.kind, args.samples, note=lambda text: _note(f"    {text}")
    )


def _start(runs):
    """Start Keras on the user's KERAS_BACKEND; else on the runs' own, if it is installed here."""
    backend = os.environ.get("KERAS_BACKEND") or _backend_of(runs[0])
    if backend not in BACKENDS:
        raise TrainingError(
            f"KERAS_BACKEND must be one of {', '.join(BACKENDS)}; received: {backend!r}"
        )
    prepare_environment(backend, devices=1)
    _note(describe_engine())


def _backend_of(run):
    backend = (run.metrics.get("environment") or {}).get("backend")
    return backend if backend in BACKENDS and importlib.util.find_spec(backend) else "tensorflow"


def _note(text):
    print(text, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
