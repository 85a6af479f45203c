"""Table and HTML report of trained runs: python -m evaluation RUN...

A RUN is a run folder written by `python -m training`, or a parent of several, such as runs/.
Prints the table of all runs and writes one self-contained HTML page with plots.
"""

from pathlib import Path

from evaluation.console import add_data_dir, add_runs, count, make_parser, note, one_line
from evaluation.console import run_command as run_command
from evaluation.files import check_writable, write
from evaluation.report import figures
from evaluation.report.page import build
from evaluation.runs import ModelUnreadable, common_parent, find_runs, load_data, start_backend
from training.errors import TrainingError
from training.summary import summary_table


def parser():
    p = make_parser("report", __doc__)
    add_runs(p)
    p.add_argument("--out", type=Path, metavar="FILE",
                   help="the page (default: report.html in the runs' common parent)")  # fmt: skip
    p.add_argument("--plots", type=Path, metavar="DIR", help="write the plots there as PNG too")
    add_data_dir(p)
    p.add_argument("--samples", type=count, default=500, metavar="N",
                   help="test samples for the sweep over resolutions (default: 500)")  # fmt: skip
    p.add_argument("--no-model", action="store_true",
                   help="leave out the plots that need a trained model and its data")  # fmt: skip
    return p


def main(argv: list[str] | None = None) -> int:
    """Command line. Returns the exit status: 0, or 1 after one line on stderr."""
    return run_command(parser(), _report, argv)


def _report(args):
    runs = find_runs(args.runs, note)
    out = args.out or common_parent(runs) / "report.html"
    check_writable(out)  # found out now, not after minutes of measuring
    if args.plots:
        check_writable(args.plots / "plot.png")
    notes = []
    pictures = _figures(runs, args, notes)
    print(summary_table([run.metrics for run in runs]))
    write(out, build(runs, pictures, notes))
    for picture in pictures if args.plots else ():
        write(args.plots / f"{picture.name}.png", picture.png)
    print(f"\nReport: {out}")
    if args.plots:
        print(f"Plots:  {args.plots}")


def _figures(runs, args, notes):
    """All figures. `notes` gets what the reader of the page should know about the choice."""
    found = figures.history_figures(runs)
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
        except (TrainingError, ModelUnreadable, ValueError) as e:
            notes.append(f"Plots of {run.path.name} left out: {one_line(e)}")
            note(notes[-1])
    return found


def _model_figures(run, args):
    data = load_data(run, args.data_dir)
    note(f"measuring {run.path}")
    return figures.model_figures(
        run, data.test, data.kind, args.samples, note=lambda text: note(f"    {text}")
    )
