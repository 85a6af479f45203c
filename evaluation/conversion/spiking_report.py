"""Table and plot of a record of the verb `spiking`."""

import numpy as np

from evaluation.style import MUTED, colours, styled, to_png
from evaluation.tables import Table, joules

PRESET = "horowitz-fp32"


def line(run):
    """One line about a run."""
    how = "all steps" if run["exit"] is None else f"exit at {_exit(run)}"
    return (
        f"percentile {run['percentile']:g}, {how}: test {100 * run['accuracy']:.2f} %, "
        f"{run['mean_steps']:.1f} steps, {run['spikes']:,.0f} spikes"
    )


def _exit(run):
    """The confidence, and what it is the confidence of."""
    rule = run["exit"]
    return f"{rule['confidence']:g} ({rule['norm']})"


def table(record) -> str:
    """Text of a record: one table for each design."""
    options, parts = record["options"], []
    for row in record["rows"]:
        title = f"{row['name']} (weights {row['footprint']['saving']:.1f} times smaller, packed)"
        parts.append(Table(COLUMNS, [_source_cells(row), *map(_cells, row["runs"])], title).text())
    head = (
        f"{record['data']}, {record['test_images']:,} test images, T = {options['timesteps']}, "
        f"{options['encoding']} input"
    )
    return "\n\n".join([head, *parts, LEGEND.format(options["energy_samples"])])


COLUMNS = ("thresholds at", "early exit", "test %", "steps", "spikes", "energy", "matched bits")
LEGEND = f"""\
Test %: after all T steps, or where each image leaves. Steps: until the accuracy stays within 0.3
points of the source's (> T: never), or the mean over images that leave early. Exit: at that
confidence of the outputs summed over the steps, or of their mean (rate). Spikes: up to there, a
mean over images. Energy: of that many steps, rounded up, over {{}} images, {PRESET},
computation alone / with memory accesses. Matched bits: of the source network with integer
activities of as many bits as numbers of spikes have."""


def _source_cells(row):
    accuracy = f"{100 * row['source_accuracy']:.2f}"
    return ("source", "", accuracy, "", "", joules(*row["source_energy"]), "")


def _cells(run):
    never = run["exit"] is None and run["steps_to_source"] is None
    return (
        "maximum" if run["percentile"] == 100 else f"{run['percentile']:g} %",
        "-" if run["exit"] is None else _exit(run),
        f"{100 * run['accuracy']:.2f}",
        f"> {run['mean_steps']}" if never else f"{run['mean_steps']:.1f}",
        f"{run['spikes']:,.0f}",
        joules(*run["energy"]),
        joules(*run["energy_matched"]),
    )


def plot(record):
    """PNG of accuracy against time steps, and of early exit against mean steps."""
    import matplotlib.pyplot as plt

    rows = record["rows"]
    with styled():
        columns = min(2, len(rows))
        lines = -(-len(rows) // columns)
        figure, grid = plt.subplots(lines, columns, figsize=(5.6 * columns, 3.4 * lines),
                                    squeeze=False)  # fmt: skip
        for axes, row in zip(grid.flat, rows, strict=False):
            _panel(axes, row)
        for axes in list(grid.flat)[len(rows):]:  # fmt: skip
            axes.set_visible(False)
        figure.tight_layout()
        return to_png(figure)


def _panel(axes, row):
    full = [run for run in row["runs"] if run["exit"] is None]
    early = [run for run in row["runs"] if run["exit"] is not None]
    source, names = 100 * row["source_accuracy"], ("maximum", "percentile")
    axes.axhline(source, color=MUTED, linestyle="--", linewidth=1.2, label="source network")
    for name, run, left in zip(names, full, early, strict=True):
        colour = colours(names)[name]
        label = name if name == "maximum" else f"percentile {run['percentile']:g}"
        steps = np.arange(1, len(run["curve"]) + 1)
        axes.plot(steps, 100 * np.array(run["curve"]), color=colour, label=label)
        tried = [(one["mean_steps"], 100 * one["accuracy"]) for one in left["trade_off"]]
        axes.plot(*zip(*tried, strict=True), "o--", color=colour, markersize=3, linewidth=1,
                  label=f"{label}, early exit")  # fmt: skip
        axes.plot([left["mean_steps"]], [100 * left["accuracy"]], "o", color=colour, markersize=8,
                  fillstyle="none")  # fmt: skip
    axes.set_xscale("log")
    ticks = [t for t in (1, 2, 5, 10, 20, 50, 100, 200, 500) if t <= len(full[0]["curve"])]
    axes.set_xticks(ticks, map(str, ticks))
    axes.minorticks_off()
    axes.set_ylim(max(0, source - 20), min(100.5, source + 2))
    axes.set_title(row["name"])
    axes.set_xlabel("time step (early exit: mean over images)")
    axes.set_ylabel("test accuracy %")
    axes.legend(fontsize=8, loc="lower right")
