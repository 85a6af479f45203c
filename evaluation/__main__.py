"""Table and HTML report of any trained runs: python -m evaluation RUN...

A RUN is a run folder written by `python -m training`, or a parent of several, such as runs/.
Prints the table of all runs and writes one self-contained HTML page with plots.
"""

import argparse
import sys
from pathlib import Path

from evaluation import figures, report
from evaluation.commands import count, note, one_line, start_backend
from evaluation.pages import build
from evaluation.report import WriteError
from evaluation.runs import RunError, common_parent, find_runs
from training.cli import make_parser as training_parser
from training.errors import TrainingError
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
        type=count,
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
    runs = find_runs(args.runs, note)
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
        note("no run with quantized activities and a best.keras: plots of a model left out")
        return found
    note(start_backend(chosen[0]))
    names = ", ".join(run.path.name for run in chosen)
    notes.append(f"Plots of a model: of the first spiking run of each task ({names}).")
    note(notes[-1])
    for run in chosen:
        try:
            found += _model_figures(run, args)
        except (TrainingError, figures.ModelUnreadable, ValueError) as e:
            notes.append(f"Plots of {run.path.name} left out: {one_line(e)}")
            note(notes[-1])
    return found


def _model_figures(run, args):
    from training.tasks import load_task

    data = load_task(
        run.task, args.data_dir, run.config.get("permutation", 0), run.config.get("fold")
    )
    note(f"measuring {run.path}")
    return figures.of_model(
        run, data.test, data.kind, args.samples, note=lambda text: note(f"    {text}")
    )


if __name__ == "__main__":
    sys.exit(main())
