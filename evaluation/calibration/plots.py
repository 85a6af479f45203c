"""Figures of calibration. Each function takes plain data and returns a matplotlib figure."""

import math

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import LinearSegmentedColormap

from evaluation.style import BLUES, INK, MUTED, PALETTE, REDS, colours, styled

WIDTH = 8.6


def reliability(curves: dict, title: str):
    """Accuracy against confidence, one curve a name; below, the share of predictions in each bin.

    `curves`: {name: `scores.reliability`}. On the diagonal the confidence comes true; below the
    diagonal a network is too sure of itself.
    """
    palette = colours(curves)
    with styled():
        figure, (upper, lower) = plt.subplots(
            2, 1, sharex=True, layout="constrained", figsize=(6.2, 6.4), height_ratios=[3, 1]
        )
        upper.plot([0, 1], [0, 1], color=MUTED, lw=1, ls="--")
        for i, (name, curve) in enumerate(curves.items()):
            counts = np.array(curve["count"])
            full = counts > 0
            confidence = np.array([v for v in curve["confidence"] if v is not None])
            accuracy = np.array([v for v in curve["accuracy"] if v is not None])
            upper.plot(confidence, accuracy, marker="o", ms=5, color=palette[name], label=name)
            width = 1 / len(counts)
            place = (np.arange(len(counts)) + (i + 1) / (len(curves) + 1)) * width
            lower.bar(
                place[full], counts[full] / counts.sum(), width * 0.8 / len(curves),
                color=palette[name],
            )  # fmt: skip
        upper.set_title(title)
        upper.set_ylabel("accuracy")
        upper.set_ylim(-0.03, 1.03)
        upper.legend(loc="lower right")
        lower.set_ylabel("share")
        lower.set_xlabel("confidence")
        lower.set_xlim(_least_confidence(curves), 1.0)
    return figure


def quantiles(shares: dict, levels, title: str):
    """Share of targets below each predicted quantile against its level, one curve a name."""
    palette = colours(shares)
    with styled():
        figure, axes = plt.subplots(layout="constrained", figsize=(5.6, 4.8))
        axes.plot([0, 1], [0, 1], color=MUTED, lw=1, ls="--")
        for name, values in shares.items():
            axes.plot(levels, values, marker="o", ms=4, color=palette[name], label=name)
        axes.set(xlim=(0, 1), ylim=(-0.02, 1.02))
        axes.set_xlabel("level of the predicted quantile")
        axes.set_ylabel("share of targets below it")
        axes.set_title(title)
        axes.legend(loc="upper left")
    return figure


def decision_maps(maps: dict, points, labels, title: str):
    """Predicted probability over the unit square and, where there are draws, its deviation.

    `maps`: {name: (mean, deviation)}, values on a square grid over [0, 1)^2, second coordinate
    slowest; a deviation is None where there is one network. `points`, `labels`: training data.
    """
    signed = LinearSegmentedColormap.from_list("signed", (*BLUES[::-1], *REDS[1:]))
    spread = LinearSegmentedColormap.from_list("spread", ("#FFFFFF", "#CC79A7", "#3B0F2E"))
    deviations = [deviation for _, deviation in maps.values() if deviation is not None]
    largest = max((float(np.max(d)) for d in deviations), default=1.0)
    with styled():
        rows = 2 if deviations else 1
        figure, axes = plt.subplots(
            rows, len(maps), squeeze=False, layout="constrained",
            figsize=(0.6 + 2.9 * len(maps), 2.9 * rows + 0.3),
        )  # fmt: skip
        for column, (name, (mean, deviation)) in enumerate(maps.items()):
            upper = _map(axes[0, column], mean, signed, 1.0)
            for label in (0, 1):
                chosen = points[labels == label]
                colour = (PALETTE[0], PALETTE[1])[label]
                axes[0, column].scatter(
                    *chosen.T, s=7, color=colour, edgecolors="white", linewidths=0.4
                )
            axes[0, column].set_title(name)
            if rows == 2:
                if deviation is None:
                    axes[1, column].axis("off")
                else:
                    lower = _map(axes[1, column], deviation, spread, largest)
        for ax in axes[:, 0]:
            ax.set_ylabel("second coordinate")
        for column in axes.T:
            [ax for ax in column if ax.axison][-1].set_xlabel("first coordinate")
        figure.colorbar(upper, ax=axes[0], label="probability of class 1", shrink=0.85)
        if rows == 2:
            figure.colorbar(lower, ax=axes[1], label="deviation between draws", shrink=0.85)
        figure.suptitle(title, x=0.01, ha="left", fontweight="bold", fontsize=11.5)
    return figure


def curves(x, truth, predictions: dict, seen, title: str):
    """A curve, what is predicted of it and a band of two deviations, one panel a name.

    `predictions`: {name: (mean, deviation)} at the places `x`; `seen`: (places, values) of the
    training points.
    """
    palette = colours(predictions)
    with styled():
        figure, axes = plt.subplots(
            len(predictions), 1, sharex=True, sharey=True, squeeze=False, layout="constrained",
            figsize=(WIDTH, 1.9 * len(predictions) + 0.7),
        )  # fmt: skip
        for ax, (name, (mean, deviation)) in zip(axes[:, 0], predictions.items(), strict=True):
            ax.fill_between(
                x, mean - 2 * deviation, mean + 2 * deviation, color=palette[name], alpha=0.25, lw=0
            )
            ax.plot(x, mean, color=palette[name], lw=1.4, label=name)
            ax.plot(x, truth, color=INK, lw=1, ls="--", label="truth")
            ax.scatter(*seen, s=9, color=INK, zorder=3, label="training points")
            ax.legend(loc="upper left", ncols=3, fontsize=8.5)
            ax.set_ylabel("y")
        axes[0, 0].set_title(title)
        axes[-1, 0].set_xlabel("x")
    return figure


def _map(axes, values, colormap, largest):
    side = math.isqrt(len(values))
    image = axes.imshow(
        np.reshape(values, (side, side)), origin="lower", extent=(0, 1, 0, 1), cmap=colormap,
        vmin=0.0, vmax=largest, interpolation="nearest",
    )  # fmt: skip
    axes.set(xticks=(0, 0.5, 1), yticks=(0, 0.5, 1))
    axes.grid(False)
    return image


def _least_confidence(curves):
    bins = [len(c["count"]) for c in curves.values()]
    first = [next(i for i, n in enumerate(c["count"]) if n) for c in curves.values()]
    return min(i / n for i, n in zip(first, bins, strict=True))
