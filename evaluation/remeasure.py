"""Measure a trained run again: python -m evaluation.remeasure RUN

Loads RUN/best.keras, simulates every step on the whole test set of the run's task, counts bits, and
prints the measured numbers beside the recorded ones. Exit status 1 if they differ by more than the
random first errors of the quantizers explain.
"""

import argparse
import sys
import time

from evaluation.commands import add_run, count, open_run
from evaluation.runs import RunError
from training.errors import TrainingError

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
    score = "accuracy" if "accuracy" in recorded["test"] else "nrmse"
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
    return "–" if value is None else f"{value:.3f}"


def _difference(old, new, room):
    if None in (old, new):
        return "" if old is new else "only in one of the two"
    return "" if abs(old - new) <= room else f"differ by more than {room:.2g} bits"


def parser():
    p = argparse.ArgumentParser(
        prog="python -m evaluation.remeasure",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_run(p)
    p.add_argument("--samples", type=count, metavar="N",
                   help="count bits on the first N test samples (default: as recorded, all); "
                   "the score is of all")  # fmt: skip
    return p


def main(argv=None):
    """Command line. Returns the exit status: 0, or 1 if the numbers differ or on an error."""
    args = parser().parse_args(argv)
    try:
        run, task, model = open_run(args)
        started = time.monotonic()
        measured = remeasure(run, task, model, args.samples)
    except (RunError, TrainingError, ValueError) as e:
        print(f"error: {e}", file=sys.stderr)
        return 1
    return _tell(run, measured, time.monotonic() - started)


def _tell(run, measured, seconds):
    rows = compare(run.metrics, measured)
    table = [("", "recorded", "measured", ""), *rows]
    widths = [max(len(row[i]) for row in table) for i in range(3)]
    for what, old, new, verdict in table:
        line = f"{what:<{widths[0]}}  {old:>{widths[1]}}  {new:>{widths[2]}}  {verdict}"
        print(line.rstrip())
    counted, before = (m["activity"].get("samples") for m in (measured, run.metrics))
    tested = measured["test"]["n"]
    print(f"\n{tested:,} test labels or sequences; bits counted on {counted:,}; {seconds:.0f} s")
    if counted != before:
        print(f"The record counted bits on {before} samples: they are not compared.")
    if any(row[3] for row in rows):
        print("The numbers DIFFER by more than random first errors explain.")
        return 1
    print("The numbers agree.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
