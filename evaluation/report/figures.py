"""The report's figures from runs: what to measure for each, its file name and its caption."""

import dataclasses

from evaluation.report import plots
from evaluation.runs import ModelUnreadable, load_best
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


def history_figures(runs):
    """Score and resolution over epochs, one figure a task."""
    figures = []
    for task in dict.fromkeys(r.task for r in runs):
        of_task = [r for r in runs if r.task == task]
        title = f"{task}: {plots.epochs_title(of_task)}"
        figure = plots.epochs(of_task, title)
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


def detailed_runs(runs):
    """The runs whose models are looked at closely: of each task the first that sends counts.

    Runs without a saved model do not count.
    """
    first = {}
    for run in runs:
        if run.activity.activities and run.best_model:
            first.setdefault(run.task, run)
    return list(first.values())


def model_figures(run, test, kind, samples=500, factors=None, note=lambda text: None):
    """The figures of one trained spiking model: score against bits, raster, histograms.

    A network of spiking neurons has no resolution to change, and so no score against bits.

    Args:
        run: the `Run`.
        test: the task's test split.
        kind: "classes" or "regression".
        samples: the first `samples` samples of `test` are used.
        factors: as in `measure.resolution_sweep`.
        note: called with lines of progress.

    Raises:
        ModelUnreadable: if best.keras cannot be loaded or does not fit the data.
    """
    model = load_best(run)
    part = test.take(slice(0, samples))
    if model.input_shape[1:] != part.x.shape[1:] and None not in model.input_shape[1:]:
        raise ModelUnreadable(
            f"best.keras must take inputs of shape {part.x.shape[1:]}; "
            f"received: {model.input_shape[1:]}"
        )
    from hybrid_lmu import resolution_variables

    figures = _count_figures(run, model, part, note)
    if resolution_variables(model):
        figures.insert(0, _bits_figure(run, model, part, kind, factors, note))
    return figures


def _bits_figure(run, model, part, kind, factors, note):
    metric = METRICS[kind]
    reference, points = sweep(model, part, kind, factors, note)
    title = f"{run.task}, {run.label}: {plots.name_of(metric)} against bits"
    return Figure(
        f"{run.path.name}-bits",
        title,
        to_png(plots.accuracy_against_bits(points, metric, reference, title)),
        f"One set of weights ({run.path.name}/best.keras); every resolution is multiplied by "
        "the factor at the marker, nothing is trained again. The dashed line is the same weights "
        f"at resolution 2^20, as good as non-spiking. All on the first {len(part):,} test "
        "samples, so the values can differ from those of the whole test set in the table.",
    )


def _count_figures(run, model, part, note):
    from evaluation.report import measure
    from hybrid_lmu.accounting import record_activity

    note("counts of the activities")
    sample = {
        name: (activity.counts[0], activity.resolution)
        for name, activity in record_activity(model, part.x[:1]).items()
    }
    few = part.x[:HISTOGRAM_SAMPLES]
    histogram = measure.count_histograms(lambda x: record_activity(model, x), few)
    where = f"{run.task}, {run.label}"
    return [
        Figure(
            f"{run.path.name}-raster",
            "Counts of one test sample",
            to_png(plots.raster(part.x[0], sample, f"{where}: counts of the first test sample")),
            "Each row is a neuron, each column a time step; the white background is a count of 0 "
            "(no event), red a positive and blue a negative count. Above: the network's input.",
        ),
        Figure(
            f"{run.path.name}-histograms",
            "How often each count occurs",
            to_png(plots.histograms(histogram, f"{where}: how often each count occurs")),
            f"Over all neurons and steps of the first {len(few)} test samples.",
        ),
    ]


def sweep(model, part, kind, factors=None, note=lambda text: None):
    """Non-spiking score, and `measure.resolution_sweep` (its points), both on one split."""
    from evaluation.report import measure
    from hybrid_lmu.accounting import activity_report
    from training.scores import evaluate

    def score():
        result = evaluate(model, part, kind, BATCH)
        low, high = result["interval"]
        return {"score": result[METRICS[kind]], "low": low, "high": high}

    def bits():
        report = activity_report(model, part.x, batch_size=BATCH)
        return report.to_dict()["totals"]["activity_bits"]

    note("non-spiking")
    reference = measure.non_spiking(model, score)["score"]
    points = measure.resolution_sweep(model, score, bits, factors or measure.FACTORS, note)
    return reference, points
