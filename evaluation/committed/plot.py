"""Figure of the results: test accuracy against significant bits and against activity bits."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from evaluation.style import INK, MUTED, colours, styled

WIDTH, HEIGHT = 10.2, 5.6  # inches
PANELS = {"significant_bits": "significant bits", "activity_bits": "activity bits"}
MARKERS = {"diffused": "o", "memoryless": "s", "stochastic": "^"}
PEER, PERMUTED = "D", "P"
DASHED = (0, (4, 3))
GAP = 0.048  # between two labels at the right edge, as a share of the axis
LEAST_ERROR = 0.01  # percent: a log axis has no 0
TICKS = (99.9, 99.8, 99.5, 99, 98.5, 98, 97, 96, 95, 93, 90, 85, 80, 70, 60, 40, 20)


def accuracy_against_bits(rows, marks=()):
    """Two panels: accuracy (log axis of the error) against mean bits, one point a quantized row.

    `rows`: `results.Row`s of one task. Bars: standard deviation over seeds, or 95 % interval of
    one seed. A control is joined to the row with diffused rounding that is nearest in options.
    Models without quantized activity are lines across both panels, named at the right edge; so are
    published marks (`published.Mark`), dashed; a mark with bits and no accuracy is a vertical line.
    Returns None if nothing is quantized or the scores are no accuracies.
    """
    rows = [row for row in rows if row.metric == "accuracy"]
    points = [row for row in rows if all(row.mean_bits(key) is not None for key in PANELS)]
    if not points:
        return None
    plain = [row for row in rows if row not in points]
    palette = colours(row.model for row in points)
    lines = [(f"{row.label} {_score(row)}", _error(row.score()[0]), False) for row in plain]
    lines += [(f"{mark.name} {mark.accuracy:.2f}, published", 100 - mark.accuracy, True)
              for mark in marks if mark.accuracy is not None]  # fmt: skip
    with styled():
        figure, axes = plt.subplots(
            1, 2, sharey=True, layout="constrained", figsize=(WIDTH, HEIGHT)
        )
        _error_axis(axes[0], points, [error for _, error, _ in lines])
        for ax, (key, title) in zip(axes, PANELS.items(), strict=True):
            for _, error, published in lines:
                ax.axhline(error, **_line_style(published))
            for row in points:
                _join(ax, row, points, key, palette)
            for row in sorted(points, key=lambda row: row.rounding == "diffused"):  # on top
                _point(ax, row, key, palette)
            _published_bits(ax, marks, key)
            _bits_axis(ax, points, marks, key)
            for row in points:
                _name_of_alike(ax, row, points, key, palette)
            ax.set_xlabel(f"{title}, mean over quantized activities")
        _edge_labels(axes[1], lines)
        figure.suptitle(
            f"{rows[0].task}: test accuracy against bits", x=0.01, ha="left",
            fontsize=11.5, fontweight="bold",
        )  # fmt: skip
        handles = _legend(points, palette, plain, marks)
        figure.legend(handles=handles, loc="outside lower left", ncols=3, fontsize=8.5)
    return figure


def _score(row):
    mean, low, high = (100 * value for value in row.score())
    return f"{mean:.2f}" if len(row.records) == 1 else f"{mean:.2f} ± {high - mean:.2f}"


def _error(accuracy):
    """Error in percent of an accuracy given as a share."""
    return max(100 * (1 - accuracy), LEAST_ERROR)


def _line_style(published):
    if published:
        return {"color": MUTED, "ls": DASHED, "lw": 0.9, "zorder": 1}
    return {"color": INK, "ls": "-", "lw": 0.9, "alpha": 0.75, "zorder": 1}


def _error_axis(ax, points, errors):
    """Log axis of the error, best on top, with accuracies as its labels."""
    ends = [_error(value) for row in points for value in row.score()]
    low, high = min([*ends, *errors]) / 1.15, min(max([*ends, *errors]) * 1.15, 100)
    ax.set_yscale("log")
    ax.set_ylim(high, low)
    ticks = [100 - t for t in TICKS if low <= 100 - t <= high]
    ax.yaxis.set_major_locator(FixedLocator(ticks or [low, high]))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_formatter(FuncFormatter(lambda error, _: f"{100 - error:g}"))
    ax.set_ylabel("test accuracy (%), log axis of the error")


def _bits_axis(ax, points, marks, key):
    """All points and marks with room beside them, over at least a third of the largest bits."""
    known = [getattr(mark, key) for mark in marks if getattr(mark, key) is not None]
    bits = [*(row.mean_bits(key) for row in points), *known]
    span = max(max(bits) - min(bits), max(bits) / 3, 0.1)
    middle = (max(bits) + min(bits)) / 2
    ax.set_xlim(max(0, middle - 0.62 * span), middle + 0.62 * span)


def _marker(row):
    if row.peer:
        return PEER
    permuted = row.rounding == "diffused" and row.config.get("permutation")
    return PERMUTED if permuted else MARKERS[row.rounding]


def _point(ax, row, key, palette):
    mean, low, high = row.score()
    error = _error(mean)
    bar = [[error - _error(high)], [_error(low) - error]]
    style = {"color": palette[row.model], "marker": _marker(row), "ms": 7, "mec": "white"}
    ax.errorbar(
        row.mean_bits(key), error, yerr=np.maximum(bar, 0), elinewidth=1.1, capsize=2.5, mew=0.8,
        ls="", zorder=4, **style,
    )  # fmt: skip


def _name_of_alike(ax, row, points, key, palette):
    """The options of a row beside its point, if other points have the same colour and marker."""
    style = palette[row.model], _marker(row)
    alike = [other for other in points if (palette[other.model], _marker(other)) == style]
    options = row.name.partition(", ")[2]
    if len(alike) > 1 and options:
        bits = row.mean_bits(key)
        to_left = bits > np.mean(ax.get_xlim())
        ax.annotate(options, (bits, _error(row.score()[0])), (-7 if to_left else 7, -9),
                    textcoords="offset points", ha="right" if to_left else "left",
                    fontsize=8, color=palette[row.model])  # fmt: skip


def _join(ax, row, points, key, palette):
    """A thin line from a control to its row with diffused rounding."""
    same = [
        other
        for other in points
        if other.rounding == "diffused" and other.model == row.model and not other.peer
        and other.config.get("permutation") == row.config.get("permutation")
    ]  # fmt: skip
    if row.rounding == "diffused" or row.peer or not same:
        return
    nearest = min(same, key=lambda o: sum(o.config.get(k) != v for k, v in row.config.items()))
    ends = (row, nearest)
    ax.plot([r.mean_bits(key) for r in ends], [_error(r.score()[0]) for r in ends],
            color=palette[row.model], lw=1, alpha=0.5, zorder=2)  # fmt: skip


def _published_bits(ax, marks, key):
    """Vertical lines of marks whose bits are known and whose accuracy is not."""
    for mark in marks:
        bits = getattr(mark, key)
        if bits is None or mark.accuracy is not None:
            continue
        ax.axvline(bits, **_line_style(True))
        bound = "at most " if key == "activity_bits" else ""
        ax.annotate(
            f"{mark.name}, published:\n{bound}{bits:.2f} bits,\naccuracy not known to us",
            (bits, 1), (0, 4), xycoords=("data", "axes fraction"), textcoords="offset points",
            ha="center", va="bottom", fontsize=8, color=MUTED,
        )  # fmt: skip


def spread(positions, gap, low, high):
    """Positions moved apart to at least `gap`, each as near to its own as the others allow.

    Neighbours that are too close form a cluster around their mean, kept within [low, high].
    Returned in the order given.
    """
    order = np.argsort(positions, kind="stable")
    clusters = []  # [indices, lowest, highest]
    for i in order:
        cluster = _placed([i], positions, gap, low, high)
        while clusters and clusters[-1][2] + gap > cluster[1]:
            cluster = _placed(clusters.pop()[0] + cluster[0], positions, gap, low, high)
        clusters.append(cluster)
    moved = np.empty(len(positions))
    for indices, first, _ in clusters:
        moved[indices] = first + gap * np.arange(len(indices))
    return moved


def _placed(indices, positions, gap, low, high):
    length = gap * (len(indices) - 1)
    first = np.mean([positions[i] for i in indices]) - length / 2
    first = max(min(first, high - length), low)
    return [indices, first, first + length]


def _edge_labels(ax, lines):
    """Names of the lines right of the axis, moved apart, each joined to its line."""
    bottom, top = np.log(ax.get_ylim())
    heights = [(np.log(error) - bottom) / (top - bottom) for _, error, _ in lines]
    placed = spread(heights, GAP, 0.0, 1.0)
    for (text, _, published), height, label in zip(lines, heights, placed, strict=True):
        style = {**_line_style(published), "ls": "-", "lw": 0.7}
        ax.plot([1, 1.02, 1.045], [height, label, label], transform=ax.transAxes,
                clip_on=False, **style)  # fmt: skip
        ax.text(1.055, label, text, transform=ax.transAxes, va="center", fontsize=8.5,
                color=MUTED if published else INK)  # fmt: skip


def _legend(points, palette, plain, marks):
    shown = {row.name: (palette[row.model], _marker(row)) for row in points}
    handles = [Line2D([], [], color=colour, marker=marker, ls="", ms=7, mec="white", label=name)
               for name, (colour, marker) in shown.items()]  # fmt: skip
    if plain:
        handles.append(Line2D([], [], label="nothing quantized", **_line_style(False)))
    if marks:
        handles.append(Line2D([], [], label="published, not measured here", **_line_style(True)))
    bar = "bar: standard deviation over seeds, or 95 % interval of one"
    return [*handles, Line2D([], [], color=MUTED, marker="|", ls="", ms=9, label=bar)]
