import matplotlib.pyplot as plt
import numpy as np
import pytest

from evaluation.report import plots
from evaluation.runs import find_runs
from evaluation.style import colours, to_png

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def test_epochs_draws_every_run_and_the_resolution_on_a_log_axis(run_folders):
    figure = plots.epochs(find_runs([run_folders]))
    top, bottom = figure.axes
    assert len(top.lines) == 4 * 2  # validation and training
    assert len(bottom.lines) == 2 * 2 and bottom.get_yscale() == "log"
    labels = [t.get_text() for t in top.get_legend().get_texts()]
    assert labels == ["hybrid-lmu", "lstm", "gru", "validation", "training"]
    assert bottom.get_xlabel() == "epoch" and "%" in top.get_ylabel()
    assert to_png(figure).startswith(PNG)


def test_epochs_without_resolution_or_history(run_folders, write_run, tmp_path):
    only = find_runs([run_folders / "digits-lstm-seed0"])
    assert len(plots.epochs(only).axes) == 1
    path = write_run(tmp_path / "bare", "gru")
    (path / "history.json").unlink()
    assert plots.epochs(find_runs([path])) is None


def test_epochs_of_a_regression_show_the_loss(write_run, tmp_path):
    path = write_run(tmp_path, "lstm", task="mackey-glass")
    run = find_runs([path])[0]
    for name in ("accuracy", "val_accuracy"):
        del run.history[name]
    top = plots.epochs([run]).axes[0]
    assert top.get_ylabel() == "loss" and len(top.lines) == 2


def tick_labels(axis):
    axis.axes.figure.canvas.draw()
    low, high = sorted(axis.get_view_interval())
    ticks = [*axis.get_major_ticks(), *axis.get_minor_ticks()]
    return [
        t.label1.get_text() for t in ticks if low <= t.get_loc() <= high and t.label1.get_text()
    ]


@pytest.mark.parametrize("last, scale", [(0.3, "linear"), (0.01, "log")])
def test_an_nrmse_axis_has_labels_at_any_range(write_run, tmp_path, last, scale):
    run = find_runs([write_run(tmp_path, "hybrid-lmu", epochs=5, task="mackey-glass")])[0]
    for name in ("accuracy", "val_accuracy"):
        del run.history[name]
    run.history["val_nrmse"] = np.geomspace(0.45, last, 5).tolist()
    run.history["resolutions"] = [[6.0, 5.0]] * 5
    top, bottom = plots.epochs([run]).axes
    assert top.get_ylabel() == "NRMSE" and top.get_yscale() == scale
    assert top.get_title(loc="left") == "NRMSE and resolution over epochs"
    assert len(tick_labels(top.yaxis)) >= 3 and len(tick_labels(bottom.yaxis)) >= 2


@pytest.mark.parametrize("epochs", [1, 2, 3, 40])
def test_epoch_ticks_are_integers(write_run, tmp_path, epochs):
    run = find_runs([write_run(tmp_path, "hybrid-lmu", epochs=epochs)])[0]
    bottom = plots.epochs([run]).axes[-1]
    labels = tick_labels(bottom.xaxis)
    assert labels and all(label.lstrip("−").isdecimal() for label in labels)


def test_titles_name_the_score(write_run, tmp_path):
    points = [point(1, 1.0, 0.4), point(2, 2.0, 0.3)]
    ax = plots.accuracy_against_bits(points, "nrmse").axes[0]
    assert ax.get_title(loc="left").startswith("NRMSE against bits")
    assert ax.get_ylabel() == "test NRMSE"
    lstm = find_runs([write_run(tmp_path, "lstm")])
    assert plots.epochs_title(lstm) == "accuracy over epochs"


def point(factor, bits, score):
    return {
        "factor": factor,
        "activity_bits": bits,
        "score": score,
        "low": score - 0.01,
        "high": score + 0.01,
        "resolutions": [factor],
    }


def test_accuracy_against_bits_marks_the_trained_resolution():
    points = [point(4, 5.0, 0.97), point(1, 3.0, 0.95), point(0.25, 1.0, 0.7)]
    ax = plots.accuracy_against_bits(points, reference=0.98).axes[0]
    assert list(ax.lines[0].get_xdata()) == [1.0, 3.0, 5.0]
    assert [t.get_text() for t in ax.texts] == ["×1/4", "×1", "×4"]
    labels = [t.get_text() for t in ax.get_legend().get_texts()]
    assert {"as trained", "non-spiking", "95 % interval"} <= set(labels)
    assert "bits" in ax.get_xlabel()


def test_raster_has_the_input_on_top_and_zero_in_the_middle_of_its_colours():
    counts = np.array([[0, 3], [-1, 0], [0, 0]])
    figure = plots.raster(np.zeros((3, 1)), {"memory": (counts, 8.0), "hidden": (counts, 2.0)})
    panels = [ax for ax in figure.axes if ax.get_label() != "<colorbar>"]
    assert panels[0].get_ylabel() == "input"
    assert panels[1].get_title(loc="left") == "memory, resolution 8"
    image = panels[1].images[0]
    assert image.get_array().shape == (2, 3)  # neurons up, time to the right
    red, green, blue, _ = image.to_rgba(np.array([0]))[0]
    assert min(red, green, blue) > 0.95
    assert panels[-1].get_xlabel() == "time step"


@pytest.mark.parametrize("counts", [[[0, 3], [1, 0]], [[0, 3], [-1, 0]], [[0, 40]], [[-40, 1, 0]]])
def test_colours_are_white_at_zero_and_symmetric_only_for_signed_counts(counts):
    counts = np.array(counts)
    figure = plots.raster(np.zeros((len(counts), 1)), {"a": (counts, 1.0)})
    image = figure.axes[1].images[0]
    assert image.to_rgba(np.array([0]))[0].tolist() == [1, 1, 1, 1]
    bar = next(ax for ax in figure.axes if ax.get_label() == "<colorbar>")
    labels = [int(t.replace("−", "-")) for t in tick_labels(bar.yaxis)]
    assert (min(labels) < 0) == (counts.min() < 0) and max(labels) > 0
    assert (image.norm.vmin < -0.6) == (counts.min() < 0)


def test_narrow_histograms_have_a_labelled_axis():
    figure = plots.histograms({"a": (np.array([0, 1]), np.array([0.55, 0.45]), 1.0)})
    assert len(tick_labels(figure.axes[0].yaxis)) >= 1


@pytest.mark.parametrize("features", [2, 9])
def test_raster_takes_wide_inputs_and_large_counts(features):
    counts = np.arange(-30, 30).reshape(10, 6)
    figure = plots.raster(np.zeros((10, features)), {"a": (counts, np.array([1.0, 2.0]))})
    assert figure.axes[1].get_title(loc="left") == "a, resolutions 1 to 2"
    assert to_png(figure).startswith(PNG)


def test_histograms_have_a_log_axis_and_one_bar_a_count():
    values, shares = np.array([-1, 0, 2]), np.array([0.001, 0.9, 0.099])
    figure = plots.histograms(
        {
            "memory": (values, shares, 8.0),
            "hidden": ([0], [1.0], 2.0),
            "third": (values, shares, 2.0),
        }
    )
    shown = [ax for ax in figure.axes if ax.get_visible()]
    assert len(shown) == 3
    assert shown[0].get_yscale() == "log" and len(shown[0].patches) == 3
    assert [p.get_height() for p in shown[0].patches] == shares.tolist()
    assert to_png(figure).startswith(PNG)


def test_colours_are_stable_and_distinct():
    assert colours(["a", "b", "a"]) == colours(["a", "b"])
    assert len(set(colours("abcdefgh").values())) == 8
