"""Measure trained models again: python -m evaluation remeasure RUN... (or --all)

Loads RUN/best.keras, simulates every step on the whole test set of the run's task, counts bits, and
prints the measured numbers beside the recorded ones. --all takes the committed results that have
a best.keras. The exit status is 1 if any number differs by more than the first errors of the
quantizers explain, which older records drew at random.
"""

import functools
import time

from evaluation.console import (
    UserError,
    add_data_dir,
    count,
    make_parser,
    note,
    run_command,
)
from evaluation.runs import (
    RESULTS,
    RunError,
    find_runs,
    load_best,
    load_data,
    start_backend,
)
from evaluation.tables import NOTHING, Table, metric_of

BATCH = 100
KEYS = ("activity_bits", "significant_bits")


def remeasure(run, task, model, samples=None):
    """Score, bits and size of the run's best `model` on the test split of `task` (`TaskData`).

    `samples`: count bits on that many first ones. Default: as many as the record, all of them as
    a rule. Returns {"test", "activity", "parameters"}, as in metrics.json.
    """
    from hybrid_lmu.accounting import activity_report
    from training.models import count_parameters
    from training.scores import evaluate

    counted = samples or run.config.get("report_samples")
    report = activity_report(model, task.test.x[:counted], batch_size=BATCH)
    return {
        "test": evaluate(model, task.test, task.kind, BATCH),
        "activity": report.to_dict(),
        "parameters": count_parameters(model),
    }


def compare(recorded, measured):
    """Rows (what, recorded, measured, verdict) of texts; a verdict is "" where they agree.

    The score has to lie in the recorded 95 % interval, bits within `tolerances`, parameters have
    to be equal. Bits that were counted on other samples are not judged.
    """
    score = metric_of(recorded["test"])
    old, new = recorded["test"][score], measured["test"][score]
    low, high = recorded["test"]["interval"]
    inside = low - 1e-9 <= new <= high + 1e-9
    outside = "" if inside else f"outside the recorded 95 % interval [{low:.4f}, {high:.4f}]"
    same = recorded["parameters"] == measured["parameters"]
    rows = [
        (f"test {score}", f"{old:.4f}", f"{new:.4f}", outside),
        ("trainable parameters", f"{recorded['parameters']:,}", f"{measured['parameters']:,}",
         "" if same else "not equal"),
    ]  # fmt: skip
    judged = recorded["activity"].get("samples") == measured["activity"]["samples"]
    before, after = (_bits(metrics["activity"]) for metrics in (recorded, measured))
    room = tolerances(measured["activity"])
    for name, key in dict.fromkeys([*before, *after]):
        values = before.get((name, key)), after.get((name, key))
        verdict = _difference(*values, room.get((name, key), 0.0)) if judged else ""
        rows.append((f"{name} {key.replace('_', ' ')}", *map(_text, values), verdict))
    return rows


def tolerances(activity):
    """Dict of (activity or "mean", key of its bits) -> largest difference that is no finding.

    Two draws of the first errors differ by at most 0.043 activity and 0.0006 significant bits on
    the digits model (12 draws), and by more in small layers: a neuron's range moves by a count or
    two, and significant bits are means over neurons, samples and steps. So activity bits get 0.1,
    or 1 / sqrt(neurons) if that is more; significant bits 0.02, or 4 / sqrt(counts).
    """
    room = {}
    for a in activity["activities"]:
        counts = a["neurons"] * activity["samples"] * activity["timesteps"]
        room[a["name"], "activity_bits"] = max(0.1, a["neurons"] ** -0.5)
        room[a["name"], "significant_bits"] = max(0.02, 4 * counts**-0.5)
    most = {("mean", key): max((v for (_, k), v in room.items() if k == key), default=0.0)
            for key in KEYS}  # fmt: skip
    return {**room, **most}


def _bits(activity):
    """Dict of (activity or "mean", key of its bits) -> number."""
    listed = {a["name"]: a for a in activity.get("activities", [])}
    rows = {**listed, "mean": activity["totals"]} if listed else {}
    return {(name, key): row.get(key) for name, row in rows.items() for key in KEYS}


def _text(value):
    return NOTHING if value is None else f"{value:.3f}"


def _difference(old, new, room):
    if None in (old, new):
        return "" if old is new else "only in one of the two"
    return "" if abs(old - new) <= room else f"differ by more than {room:.2g} bits"


def parser():
    p = make_parser("remeasure", __doc__)
    p.add_argument("runs", nargs="*", metavar="RUN", help="run folder, or a folder of runs")
    p.add_argument("--all", action="store_true",
                   help="all committed models, in place of RUN")  # fmt: skip
    add_data_dir(p)
    p.add_argument("--samples", type=count, metavar="N",
                   help="count bits on the first N test samples (default: as recorded, all); "
                   "the score is of all")  # fmt: skip
    return p


def main(argv: list[str] | None = None) -> int:
    """Command line. Returns the exit status: 0, or 1 if the numbers differ or on an error."""
    return run_command(parser(), _remeasure_all, argv)


def _remeasure_all(args):
    runs = _chosen(args)
    note(start_backend(runs[0]))
    data = functools.cache(lambda *options: load_data(by_options[options], args.data_dir))
    by_options = {_options(run): run for run in runs}
    summary = []
    for i, run in enumerate(runs):
        note(f"measuring {run.path} ({i + 1} of {len(runs)})")
        started = time.monotonic()
        try:
            measured = remeasure(run, data(*_options(run)), load_best(run), args.samples)
        except ValueError as e:
            raise RunError(f"cannot measure {run.path}: {e}") from e
        summary.append(_tell(run, measured, time.monotonic() - started))
    if len(runs) > 1:
        columns = ("run", "score", "measured", "activity bits", "measured", "seconds", "")
        print(f"\n{Table(columns, summary).text()}")
    differing = [row[0] for row in summary if row[-1] != SAME]
    if differing:
        print(f"{len(differing)} of {len(runs)} DIFFER by more than random first errors explain.")
        return 1
    print("The numbers agree." if len(runs) == 1 else f"The numbers of all {len(runs)} runs agree.")
    return 0


def _chosen(args):
    if bool(args.runs) == args.all:
        raise UserError("expected one or several RUN, or --all; received "
                        f"{'both' if args.all else 'neither'}")  # fmt: skip
    if args.all:
        found = [run for run in find_runs([RESULTS], note) if run.best_model]
        if not found:
            raise RunError(f"no run with a best.keras in {RESULTS}")
        return found
    runs = find_runs(args.runs, note)
    for run in runs:
        if run.best_model is None:
            raise RunError(f"{run.path} has no best.keras; expected a run with its trained model")
    return runs


def _options(run):
    """What the data of a run depend on."""
    return run.task, run.config.get("permutation", 0), run.config.get("fold")


SAME = "same"


def _tell(run, measured, seconds):
    """Print the comparison of one run; returns its row of the summary."""
    rows = compare(run.metrics, measured)
    print(Table(("", "recorded", "measured", ""), rows, f"\n{run.path.name}").text())
    counted, before = (m["activity"].get("samples") for m in (measured, run.metrics))
    tested = measured["test"]["n"]
    print(f"{tested:,} test labels or sequences; bits counted on {counted:,}; {seconds:.0f} s")
    if counted != before:
        print(f"The record counted bits on {before} samples: they are not compared.")
    bits = next((row for row in rows if row[0] == "mean activity bits"), ("", NOTHING, NOTHING, ""))
    differ = ", ".join(row[0] for row in rows if row[3])
    verdict = f"{differ} differ" if differ else SAME
    return (run.path.name, rows[0][1], rows[0][2], bits[1], bits[2], f"{seconds:.0f}", verdict)
