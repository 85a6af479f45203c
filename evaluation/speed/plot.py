"""Figures of the benchmark: ratios to the first reference of each group; cost against length."""

import matplotlib.pyplot as plt
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from evaluation.speed.tables import MODE_TITLES
from evaluation.style import INK, MUTED, PALETTE, colours, styled

WIDTH, BAR = 9.6, 0.24  # inches; of one bar
MODE_COLOURS = dict(zip(MODE_TITLES, PALETTE, strict=False))


def ratios(records, groups):
    """Horizontal bars, one panel a group: median ratio, quartiles as whiskers, on a log axis."""
    timed = [r for r in records if "ratios" in r]
    keys = list(dict.fromkeys(r["group"] for r in timed))
    heights = [2.2 + sum(r["group"] == key for r in timed) for key in keys]
    with styled():
        figure, axes = plt.subplots(
            max(1, len(keys)),
            1,
            squeeze=False,
            sharex=True,
            layout="constrained",
            figsize=(WIDTH, 0.7 + BAR * sum(heights)),
            height_ratios=heights or None,
        )
        for ax, key in zip(axes[:, 0], keys, strict=False):
            _panel(ax, [r for r in timed if r["group"] == key], groups[key].title)
        modes = [m for m in MODE_TITLES if any(r["mode"] == m for r in timed)]
        marks = [plt.Rectangle((0, 0), 1, 1, color=MODE_COLOURS[m]) for m in modes]
        figure.legend(
            marks, [MODE_TITLES[m] for m in modes], loc="outside upper left", ncols=len(modes) or 1
        )
        axes[-1, 0].set_xlabel("time / reference (log); whiskers: quartiles; left of 1 is faster")
    return figure


def _panel(ax, rows, title):
    reference = next(iter(rows[0]["ratios"]))
    y, ticks, names = 0.0, [], list(dict.fromkeys(r["case"] for r in rows))
    for name in names:
        own = [r for r in rows if r["case"] == name]
        ticks.append(y + (len(own) - 1) / 2)
        for r in own:
            ratio = r["ratios"][reference]
            middle = ratio["median"]
            whiskers = [[middle - ratio["low"]], [ratio["high"] - middle]]
            colour = MODE_COLOURS[r["mode"]]
            # Bars start at 1, so that their length shows how much faster or slower.
            ax.barh(y, middle - 1, left=1, height=0.8, color=colour, alpha=0.75, lw=0)
            ax.errorbar(middle, y, xerr=whiskers, fmt="o", ms=3, color=INK, elinewidth=1, capsize=2)
            _label(ax, y, ratio)
            y += 1
        y += 0.35
    ax.axvline(1, color=INK, lw=1.1)
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(LogLocator(10, subs=(1, 2, 5)))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.tick_params("x", labelbottom=True, labelsize=8)
    ax.set_yticks(ticks, names, fontsize=8.5, color=INK)
    ax.set_ylim(y - 0.4, -0.9)
    ax.margins(x=0.09)
    ax.grid(axis="y", visible=False)
    ax.set_title(f"{title}; 1 = {reference}", fontsize=9.5, pad=5)


def _label(ax, y, ratio):
    """The number beside the whisker, on the side away from 1."""
    right = ratio["median"] >= 1
    ax.annotate(
        f"{ratio['median']:.3g}",
        (ratio["high"] if right else ratio["low"], y),
        (5 if right else -5, 0),
        textcoords="offset points",
        ha="left" if right else "right",
        va="center",
        fontsize=7.5,
        color=MUTED,
    )


def lengths(records):
    """Time and memory of one step of one sample against length, as multiples of the shortest."""
    rows = [r for r in records if "time_ratio" in r]
    palette = colours(r["case"] for r in rows)
    with styled():
        figure, axes = plt.subplots(1, 2, layout="constrained", figsize=(WIDTH, 4.4))
        for name, colour in palette.items():
            own = sorted((r for r in rows if r["case"] == name), key=lambda r: r["steps"])
            steps, ratio = [r["steps"] for r in own], [r["time_ratio"] for r in own]
            middle = [q["median"] for q in ratio]
            whiskers = [
                [q["median"] - q["low"] for q in ratio],
                [q["high"] - q["median"] for q in ratio],
            ]
            style = {"color": colour, "marker": "o", "ms": 4}
            label = f"{name} ({1e6 * own[0]['seconds_per_step']:.3g} µs"
            known = [r for r in own if r["bytes_per_step"] is not None]
            if known:
                axes[1].plot(
                    [r["steps"] for r in known], [r["memory_ratio"] for r in known], **style
                )
                label += f", {known[0]['bytes_per_step']:,.0f} bytes"
            label += f" at {steps[0]:,} steps)"
            axes[0].errorbar(steps, middle, yerr=whiskers, capsize=2, label=label, **style)
        for ax, what in zip(axes, ("Time", "Peak memory"), strict=True):
            ax.axhspan(0.8, 1.2, color=MUTED, alpha=0.13, lw=0)
            ax.axhline(1, color=INK, lw=1.1)
            ax.set_xscale("log")
            ax.set_yscale("log")
            ax.yaxis.set_major_locator(LogLocator(10, subs=(1, 2, 5)))
            ax.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
            ax.yaxis.set_minor_formatter(NullFormatter())
            ticks = sorted({r["steps"] for r in rows})
            ax.set_xticks(ticks, [f"{t:,}" for t in ticks])
            ax.xaxis.set_minor_formatter(NullFormatter())
            low, high = ax.get_ylim()
            ax.set_ylim(min(low, 0.5), max(high, 2))
            ax.set_xlabel("steps of the sequence")
            ax.set_ylabel("multiple of that at the shortest")
            ax.set_title(f"{what} per step and sample", fontsize=10.5)
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower left", fontsize=8.5)
    return figure
