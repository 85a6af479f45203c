"""The report's figures from runs: what to measure for each, its file name and its caption."""

import dataclasses

from evaluation import measure, plots
from evaluation.style import to_png

METRICS = {"classes": "accuracy", "regression": "nrmse"}
BATCH = 64
HISTOGRAM_SAMPLES = 128


@dataclasses.dataclass(frozen=True)
class Figure:
    name: str
    title: str
    png: bytes
    caption: str


def of_histories(runs):
    """Accuracy and resolution over epochs, one figure a task."""
    figures = []
    for task in dict.fromkeys(r.task for r in runs):
        title = f"{task}: accuracy and resolution over epochs"
        figure = plots.epochs([r for r in runs if r.task == task], title)
        if figure is not None:
            figures.append(
                Figure(
                    f"{task}-epochs",
                    title,
                    to_png(figure),
                    "Every line is one run; runs that differ only in the seed share a colour. The "
                    "best epoch is chosen on the validation data, never on the test data.",
                )
            )
    return figures


def detailed_run(runs):
    """The run whose model is looked at closely: the first spiking one with a saved model."""
    return next((r for r in runs if r.spiking and r.best_model), None)


def of_model(run, test, kind, samples=500, factors=measure.FACTORS, note=lambda text: None):
    """Three figures of one trained spiking model: accuracy against bits, raster, histograms.

    test: the task's test split; its first `samples` samples are used. kind: "classes" or
    "regression".
    """
    from hybrid_lmu.accounting import record_activity
    from training.runfolder import RunFolder

    model = RunFolder(run.path).read_model("best.keras")
    part = test.take(slice(0, samples))
    metric = METRICS[kind]
    points = sweep(model, part, kind, factors, note)
    note("counts of the activities")
    sample = {
        name: (activity.counts[0], activity.resolution)
        for name, activity in record_activity(model, part.x[:1]).items()
    }
    few = part.x[:HISTOGRAM_SAMPLES]
    histogram = measure.count_histograms(lambda x: record_activity(model, x), few)
    where = f"{run.task}, {run.label}"
    seen = f"first {len(part):,} test samples"
    title = f"{where}: {metric} against bits"
    reference = (run.metrics.get("non_spiking_test") or {}).get(metric)
    chart = plots.accuracy_against_bits(points, metric, reference, title)
    return [
        Figure(
            f"{run.path.name}-bits",
            title,
            to_png(chart),
            f"One set of weights ({run.path.name}/best.keras); every resolution is multiplied by "
            f"the factor at the marker, nothing is trained again. Measured on the {seen}; "
            "the dashed line is the non-spiking score of the same weights on the whole test set.",
        ),
        Figure(
            f"{run.path.name}-raster",
            "Counts of one test sample",
            to_png(plots.raster(part.x[0], sample, f"{where}: counts of the first test sample")),
            "Each row is a neuron, each column a time step; white is no event, red a positive "
            "and blue a negative count. The input of the network is on top.",
        ),
        Figure(
            f"{run.path.name}-histograms",
            "How often each count occurs",
            to_png(plots.histograms(histogram, f"{where}: how often each count occurs")),
            f"Over all neurons and steps of {len(few)} test samples.",
        ),
    ]


def sweep(model, part, kind, factors=measure.FACTORS, note=lambda text: None):
    """`measure.resolution_sweep` with the task's score and the activity bits, both on one split."""
    from hybrid_lmu.accounting import activity_report
    from training.scores import evaluate

    def score():
        result = evaluate(model, part, kind, BATCH)
        low, high = result["interval"]
        return {"score": result[METRICS[kind]], "low": low, "high": high}

    def bits():
        report = activity_report(model, part.x, batch_size=BATCH)
        return report.to_dict()["totals"]["activity_bits"]

    return measure.resolution_sweep(model, score, bits, factors, note)
