"""The report's figures. Each function takes plain data and returns a matplotlib figure."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import BoundaryNorm, LinearSegmentedColormap, Normalize
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from evaluation.style import BLUES, INK, MUTED, PALETTE, REDS, colours, styled

WIDTH = 8.6
SCORES = ("accuracy", "nrmse")
TRAINING = {"ls": (0, (3, 2)), "lw": 0.8, "alpha": 0.5}
LINES = ("-", "--", ":", "-.")


def _percent_axis(axis):
    axis.set_major_formatter(FuncFormatter(lambda v, _: f"{100 * v:g}"))


def _log_if_wide(ax, values, base):
    """Log y axis with plain numbers (0.5, 8, 128) where values span a factor of `base` or more.

    Narrower ones, or such that are not all positive, keep a linear axis: a log axis labels only
    powers of its base, so that it could be left without a label.
    """
    values = np.asarray(values, dtype="float64")
    if values.size == 0 or values.min() <= 0 or values.max() < base * values.min():
        return
    ax.set_yscale("log", base=2 if base < 10 else 10)
    if base >= 10:
        ax.yaxis.set_major_locator(LogLocator(10, subs=(1, 2, 5)))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
    ax.yaxis.set_minor_formatter(NullFormatter())


def _whole(bins, **options):
    """Ticks at integers only, also where a single one is in sight."""
    return MaxNLocator(bins, integer=True, min_n_ticks=1, **options)


def name_of(metric):
    """The score's name for a reader: accuracy, NRMSE."""
    return "NRMSE" if metric == "nrmse" else metric


def score_key(runs):
    """What the histories hold: "accuracy", "nrmse", or "loss" if neither."""
    return next((k for k in SCORES if any(f"val_{k}" in r.history for r in runs)), "loss")


def epochs_title(runs):
    """What `epochs` shows of these runs."""
    both = any(r.history.get("resolutions") for r in runs)
    return f"{name_of(score_key(runs))}{' and resolution' if both else ''} over epochs"


def epochs(runs, title=None):
    """Validation score of every run over its epochs; below it the resolutions.

    One colour a model; runs of one model (seeds) share it. Training curves are dashed. Returns
    None if no run has a history.
    """
    shown = [r for r in runs if r.history.get("epoch")]
    if not shown:
        return None
    palette = colours(r.model for r in shown)
    key = score_key(shown)
    curves = [resolution_curves(r) for r in shown]
    names = list(dict.fromkeys(name for c in curves for name in c))
    with styled():
        figure, axes = plt.subplots(
            2 if names else 1,
            1,
            sharex=True,
            squeeze=False,
            layout="constrained",
            figsize=(WIDTH, 5.4 if names else 3.6),
            height_ratios=[2.2, 1] if names else [1],
        )
        axes = axes[:, 0]
        for run, resolutions in zip(shown, curves, strict=True):
            x = np.asarray(run.history["epoch"]) + 1
            style = {"color": palette[run.model], "marker": "o" if len(x) < 3 else None}
            width = 1.8 if len(shown) <= 8 else 1.1
            for name, extra in ((key, TRAINING), (f"val_{key}", {"lw": width})):
                if name in run.history:
                    axes[0].plot(x, run.history[name], **style, **extra)
            for name, values in resolutions.items():
                axes[1].plot(x, values, ls=LINES[names.index(name) % len(LINES)], **style)
        axes[0].set_title(title or epochs_title(shown))
        _score_axis(axes[0], key, shown)
        _legend(
            axes[0],
            [
                *((model, {"color": colour}) for model, colour in palette.items()),
                ("validation", {"color": MUTED}),
                *([("training", {"color": MUTED, **TRAINING})] if key in shown[0].history else []),
            ],
        )
        if names:
            _log_if_wide(axes[1], np.concatenate([v for c in curves for v in c.values()]), base=4)
            axes[1].set_ylabel("resolution\n(levels per unit)")
            _legend(
                axes[1],
                [
                    (name, {"color": MUTED, "ls": LINES[i % len(LINES)]})
                    for i, name in enumerate(names)
                ],
            )
        axes[-1].margins(y=0.1)  # the last epoch's marker, or that of a single one, is whole
        axes[-1].set_xlabel("epoch")
        axes[-1].xaxis.set_major_locator(_whole(12, steps=(1, 2, 5, 10)))
    return figure


def resolution_curves(run):
    """Dict of activity name -> resolution by epoch, from history["resolutions"] [epoch][which]."""
    rows = run.history.get("resolutions")
    if not rows:
        return {}
    columns = np.asarray(rows, dtype="float64").reshape(len(rows), -1).T
    names = [a.name.split("/")[-1] for a in run.activity.activities]
    if len(set(names)) != len(columns):
        names = [f"activity {i + 1}" for i in range(len(columns))]
    return dict(zip(names, columns, strict=True))


def _score_axis(ax, key, runs):
    validation = [r.history.get(f"val_{key}", []) for r in runs]
    if key == "accuracy":
        ax.set_ylabel("accuracy (%)")
        _percent_axis(ax.yaxis)
        ax.set_ylim(bottom=_lowest_shown(validation))
    else:
        ax.set_ylabel(name_of(key))
        drawn = [*validation, *(r.history.get(key, []) for r in runs)]
        _log_if_wide(ax, np.concatenate(drawn), base=10)


def _legend(ax, entries):
    """Legend to the right of the axes, clear of the data. entries: (label, line style) pairs."""
    ax.legend(
        [plt.Line2D([], [], **style) for _, style in entries],
        [label for label, _ in entries],
        loc="upper left",
        bbox_to_anchor=(1.01, 1.0),
    )


def _lowest_shown(curves):
    """Lower end of the accuracy axis: where the curves settle needs the room, not their start."""
    values = np.concatenate([np.asarray(c, dtype="float64") for c in curves if len(c)] or [[0, 1]])
    settled = min(np.median(c) for c in curves if len(c)) if any(map(len, curves)) else 0
    return max(values.min(), settled - 4 * (values.max() - settled)) - 0.02


def accuracy_against_bits(points, metric="accuracy", reference=None, title=None):
    """Score of one trained model against its activity bits, one marker a resolution.

    points: list of {"factor", "score", "low", "high", "activity_bits", "resolutions"} (see
    measure.resolution_sweep). reference: non-spiking score, drawn as a dashed line, or None.
    """
    points = sorted(points, key=lambda p: p["activity_bits"])
    bits = [p["activity_bits"] for p in points]
    scores = np.array([p["score"] for p in points])
    with styled():
        figure, ax = plt.subplots(figsize=(WIDTH, 4.2), layout="constrained")
        if all(p.get("low") is not None for p in points):
            ax.fill_between(
                bits,
                [p["low"] for p in points],
                [p["high"] for p in points],
                color=PALETTE[0],
                alpha=0.13,
                lw=0,
                label="95 % interval",
            )
        ax.plot(bits, scores, color=PALETTE[0], marker="o", ms=6, label="spiking, same weights")
        for p in points:
            trained = p["factor"] == 1
            if trained:
                ax.plot(
                    p["activity_bits"],
                    p["score"],
                    "o",
                    ms=11,
                    mfc="none",
                    mec=PALETTE[1],
                    mew=1.8,
                    label="as trained",
                )
            ax.annotate(
                _factor(p["factor"]),
                (p["activity_bits"], p["score"]),
                (5, -13),
                textcoords="offset points",
                fontsize=8.5,
                color=PALETTE[1] if trained else MUTED,
            )
        if reference is not None:
            ax.axhline(reference, color=INK, lw=1.1, ls=(0, (4, 3)), label="non-spiking")
        ax.margins(x=0.07, y=0.12)
        ax.set_xlabel("activity bits (mean over quantized neurons, test samples)")
        if metric == "accuracy":
            ax.set_ylabel("test accuracy (%)")
            _percent_axis(ax.yaxis)
        else:
            ax.set_ylabel(f"test {name_of(metric)}")
        ax.set_title(
            title or f"{name_of(metric)} against bits, all resolutions scaled by one factor"
        )
        ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0))
    return figure


def _factor(factor):
    return f"×{factor:g}" if factor >= 1 else f"×1/{1 / factor:g}"


def raster(x, activities, title="Counts of one test sample"):
    """The input sequence of one sample and, below it, the counts of every activity over time.

    x: [time, features]. activities: dict of name -> (counts [time, neurons], resolution).
    """
    x = np.asarray(x, dtype="float64").reshape(len(x), -1)
    rows = len(activities)
    with styled():
        figure, axes = plt.subplots(
            1 + rows,
            1,
            sharex=True,
            squeeze=False,
            layout="constrained",
            figsize=(WIDTH, 1.7 + 2.5 * rows),
            height_ratios=[0.75] + [1.6] * rows,
        )
        axes = axes[:, 0]
        if x.shape[1] <= 4:
            for i in range(x.shape[1]):
                axes[0].step(
                    np.arange(len(x)), x[:, i], where="mid", lw=1.1, color=PALETTE[i % len(PALETTE)]
                )
            axes[0].set_ylabel("input")
        else:
            axes[0].imshow(
                x.T, aspect="auto", cmap="Greys", interpolation="nearest", origin="lower"
            )
            axes[0].grid(False)
            axes[0].yaxis.set_major_locator(_whole(4))
            axes[0].set_ylabel("input\nfeature")
        axes[0].set_title(title)
        for ax, (name, (counts, resolution)) in zip(axes[1:], activities.items(), strict=True):
            counts = np.asarray(counts).reshape(len(counts), -1)
            colour_map, norm = _count_colours(counts)
            image = ax.imshow(
                counts.T,
                aspect="auto",
                cmap=colour_map,
                norm=norm,
                interpolation="nearest",
                origin="lower",
            )
            ax.set_title(_activity_title(name, resolution), fontsize=10, pad=5)
            ax.set_ylabel("neuron")
            ax.yaxis.set_major_locator(_whole(5))
            ax.grid(False)
            bar = figure.colorbar(image, ax=ax, pad=0.015, fraction=0.04, aspect=16)
            bar.set_label("count", fontsize=9)
            bar.outline.set(edgecolor="#B8BEC8", linewidth=0.6)  # else the white end is lost
            bar.locator = _whole(7, symmetric=bool(counts.min(initial=0) < 0))
            bar.update_ticks()
            bar.ax.minorticks_off()
        axes[-1].set_xlabel("time step")
        axes[-1].xaxis.set_major_locator(_whole(12, steps=(1, 2, 5, 10)))
    return figure


def _count_colours(counts):
    """Colour map and norm: white at 0, to red above and, only if any is negative, blue below.

    One colour a count while there are few of them.
    """
    limit = max(int(np.abs(counts).max(initial=0)), 1)
    signed = bool(counts.min(initial=0) < 0)
    lowest = -limit if signed else 0
    shades = [*reversed(BLUES[1:]), *REDS] if signed else list(REDS)
    few = limit <= 12
    number = limit - lowest + 1 if few else 257  # odd if signed: the middle colour is white itself
    colour_map = LinearSegmentedColormap.from_list("counts", shades, N=number)
    if few:
        return colour_map, BoundaryNorm(np.arange(lowest, limit + 2) - 0.5, number)
    return colour_map, Normalize(lowest, limit)


def _activity_title(name, resolution):
    values = np.unique(np.asarray(resolution, dtype="float64"))
    if values.size == 1:
        return f"{name}, resolution {values[0]:g}"
    return f"{name}, resolutions {values[0]:g} to {values[-1]:g}"


def histograms(histogram, title="How often each count occurs"):
    """Share of neuron steps by count, on a log axis, one panel an activity.

    histogram: dict of name -> (values [K] ascending integers, shares [K], resolution).
    """
    columns = min(2, len(histogram))
    rows = -(-len(histogram) // columns)
    palette = colours(histogram)
    with styled():
        figure, axes = plt.subplots(
            rows,
            columns,
            squeeze=False,
            sharey=True,
            figsize=(WIDTH, 0.5 + 2.9 * rows),
            layout="constrained",
        )
        for ax in axes.flat[len(histogram) :]:
            ax.set_visible(False)
        for ax, (name, (values, shares, resolution)) in zip(
            axes.flat, histogram.items(), strict=False
        ):
            ax.bar(
                values, shares, width=0.82 if len(values) < 80 else 1.0, color=palette[name], lw=0
            )
            ax.set_yscale("log")
            ax.set_title(_activity_title(name, resolution), fontsize=10)
            ax.set_xlabel("count in one step")
            ax.xaxis.set_major_locator(_whole(9))
            ax.grid(axis="x", visible=False)
            side = 0.7 if len(values) > 1 else 2
            ax.set_xlim(values[0] - side, values[-1] + side)
        for ax in axes[:, 0]:
            ax.set_ylabel("share of neuron steps (%)")
            _percent_log(ax)
        figure.suptitle(title, x=0.01, ha="left", fontsize=11.5, fontweight="bold")
    return figure


def _percent_log(ax):
    """Percent on a log axis from a power of ten below the lowest bar, so that one has a label."""
    lowest = min(bar.get_height() for a in ax.figure.axes for bar in a.patches)
    ax.set_ylim(bottom=10.0 ** np.floor(np.log10(0.9 * lowest)))
    _percent_axis(ax.yaxis)
    ax.yaxis.set_minor_formatter(NullFormatter())
