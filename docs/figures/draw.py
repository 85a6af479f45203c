"""Draw the figures of Concepts: `python docs/figures/draw.py` writes them here."""

from pathlib import Path

import matplotlib
import numpy as np
from numpy.polynomial import legendre

from hybrid_lmu.memory.legendre import discretize

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

FOLDER = Path(__file__).parent
BLUE, ORANGE, GREY, GREEN = "#3f51b5", "#e8710a", "#777777", "#2e7d32"
plt.rcParams.update(
    {
        "font.size": 11,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "figure.dpi": 110,
    }
)


def save(figure, name):
    figure.savefig(FOLDER / f"{name}.png", bbox_inches="tight")
    plt.close(figure)


def lmu():
    """The cell as boxes."""
    figure, ax = plt.subplots(figsize=(11, 3.1))
    ax.set(xlim=(0, 11.2), ylim=(0, 3.1))
    ax.axis("off")

    def box(x, width, title, text, color):
        patch = plt.Rectangle(
            (x, 1.0), width, 1.1, facecolor=color + "22", edgecolor=color
        )
        ax.add_patch(patch)
        ax.text(x + width / 2, 1.72, title, ha="center", va="center", weight="bold")
        ax.text(x + width / 2, 1.32, text, ha="center", va="center", size=9)

    def arrow(x, to, label):
        ax.annotate(
            "", (to, 1.55), (x, 1.55), arrowprops={"arrowstyle": "->", "color": GREY}
        )
        ax.text((x + to) / 2, 1.68, label, ha="center", size=12)

    box(0.75, 1.15, "kernel", "learned", BLUE)
    box(2.5, 1.75, "memory", "A, B: fixed", GREEN)
    box(4.85, 1.45, "quantizer", "to counts", ORANGE)
    box(6.9, 1.45, "hidden cell", "learned", BLUE)
    arrow(0.1, 0.75, "$x_t$")
    arrow(1.9, 2.5, "$u_t$")
    arrow(4.25, 4.85, "$m_t$")
    arrow(6.3, 6.9, "$q_t$")
    box(8.75, 1.45, "quantizer", "to counts", ORANGE)
    ax.annotate(
        "", (8.75, 1.55), (8.35, 1.55), arrowprops={"arrowstyle": "->", "color": GREY}
    )
    arrow(10.2, 10.8, "$h_t$")
    curve = {"arrowstyle": "->", "color": GREY, "connectionstyle": "arc3,rad=0.9"}
    for x, text in ((3.38, "remembers $m_{t-1}$"),):
        ax.annotate("", (x - 0.4, 2.1), (x + 0.4, 2.1), arrowprops=curve)
        ax.text(x, 2.68, text, ha="center", size=9, color=GREY)
    back = {**curve, "connectionstyle": "arc3,rad=0.35"}
    ax.annotate("", (7.4, 2.1), (9.6, 2.1), arrowprops=back)
    ax.text(
        8.5, 2.68, "remembers $h_{t-1}$ (optional)", ha="center", size=9, color=GREY
    )
    for x, text in (
        (1.32, "reads the input"),
        (3.38, "keeps the last theta steps\nof u as `order` numbers"),
        (5.57, "memory_resolution"),
        (7.62, "a Dense layer or\na recurrent cell"),
        (9.47, "hidden_resolution"),
    ):
        ax.text(x, 0.85, text, ha="center", va="top", size=9, color=GREY)
    save(figure, "lmu")


def memory():
    """A window of a signal, and what memories of two orders keep of it."""
    theta, steps = 100, 220
    t = np.arange(steps)
    u = np.sin(t / 11.0) + 0.5 * np.sin(t / 4.3 + 1)
    figure, ax = plt.subplots(figsize=(9, 3.2))
    ax.axvspan(steps - 1 - theta, steps - 1, color=GREEN, alpha=0.1, lw=0)
    ax.plot(t, u, color=GREY, lw=3, alpha=0.6, label="input u")
    for order, color in ((6, ORANGE), (12, BLUE)):
        a, b = discretize(order, float(theta), "zoh")
        m = np.zeros(order)
        for value in u:
            m = a @ m + b * value
        delay = np.linspace(0, 1, theta)
        # The shifted Legendre polynomials, at a delay of `delay * theta` steps.
        window = legendre.legval(2 * delay - 1, m)
        ax.plot(
            steps - 1 - delay * theta,
            window,
            "--",
            color=color,
            lw=1.8,
            label=f"memory of order {order}",
        )
    ax.text(
        steps - 1 - theta / 2,
        2.05,
        "the window: theta = 100 steps",
        ha="center",
        color=GREEN,
    )
    ax.set(xlabel="time step", ylim=(-1.9, 2.5), xlim=(0, steps))
    ax.legend(loc="upper left", frameon=False, fontsize=10)
    save(figure, "memory")


def quantize(activity, resolution, error=0.5):
    """Counts and diffusion errors of one neuron, step by step."""
    counts, errors = [], []
    for value in activity:
        error += resolution * value
        counts.append(np.floor(error))
        error -= counts[-1]
        errors.append(error)
    return np.array(counts), np.array(errors)


def quantizer():
    """One activity, its outputs and its diffusion error at resolution 4."""
    t = np.arange(40)
    activity = 0.45 + 0.35 * np.sin(t / 6)
    counts, errors = quantize(activity, 4)
    figure, axes = plt.subplots(
        3, 1, figsize=(9, 5), sharex=True, height_ratios=[3, 1.2, 2]
    )
    axes[0].plot(t, activity, color=GREY, lw=2, label="activity f(x)")
    axes[0].step(t, counts / 4, where="mid", color=BLUE, label="output y = n / 4")
    axes[0].set(ylabel="size", ylim=(-0.1, 1.35))
    axes[0].legend(loc="upper right", ncols=2, frameon=False)
    axes[1].bar(t, errors, color=ORANGE, width=0.8)
    axes[1].set(ylabel="error v", ylim=(0, 1.05))
    axes[2].plot(t, np.cumsum(activity), color=GREY, lw=2, label="sum of f(x)")
    axes[2].step(t, np.cumsum(counts) / 4, where="mid", color=BLUE, label="sum of y")
    axes[2].set(xlabel="time step", ylabel="sum so far")
    axes[2].legend(loc="upper left", frameon=False)
    figure.align_ylabels(axes)
    save(figure, "quantizer")


def annealing():
    """The same activity at three resolutions, along a schedule."""
    figure, axes = plt.subplots(1, 4, figsize=(11, 2.7), width_ratios=[1.3, 1, 1, 1])
    step = np.arange(400)
    axes[0].plot(step, np.maximum(64 * (1 / 32) ** (step / 300), 2), color=ORANGE)
    axes[0].set(yscale="log", xlabel="training step", title="resolution")
    axes[0].set_yticks([2, 8, 64], ["2", "8", "64"])
    axes[0].minorticks_off()
    t = np.arange(30)
    activity = 0.5 + 0.45 * np.sin(t / 5)
    for ax, resolution in zip(axes[1:], (64, 8, 2), strict=True):
        counts, _ = quantize(activity, resolution)
        ax.plot(t, activity, color=GREY, lw=2)
        ax.step(t, counts / resolution, where="mid", color=BLUE)
        ax.set(title=f"output at {resolution}", xlabel="time step", ylim=(-0.15, 1.6))
    figure.tight_layout()
    save(figure, "annealing")


def bits():
    """Counts of one neuron and the four numbers of bits."""
    counts = np.repeat([0, 1, 2, 3, 4, 5], [58, 21, 11, 6, 3, 1])
    share = np.bincount(counts) / len(counts)
    lengths = np.array([int(n).bit_length() for n in range(6)])
    entropy = -np.sum(share * np.log2(share))
    significant = float(lengths @ share)
    figure, axes = plt.subplots(1, 2, figsize=(10.5, 3.3), width_ratios=[1.25, 1])
    axes[0].bar(range(6), 100 * share, color=BLUE, width=0.75)
    for n in range(6):
        axes[0].text(n, 100 * share[n] + 2, f"{lengths[n]}", ha="center", color=ORANGE)
    axes[0].text(
        1.8, 50, "orange: bits that write\nthe count (0 needs none)", color=ORANGE
    )
    axes[0].set(xlabel="count n of one step", ylabel="share of steps, %", ylim=(0, 70))
    axes[1].axis("off")
    rows = (
        ("significant bits", f"{significant:.2f}", "mean of the orange numbers"),
        ("entropy bits", f"{entropy:.2f}", "shortest code on average"),
        ("activity bits", f"{np.log2(6):.2f}", "log2(6): counts 0 to 5"),
        ("provisioned bits", "3", "whole bits of a wire for 0 to 5"),
    )
    for i, (name, number, meaning) in enumerate(rows):
        y = 0.88 - 0.25 * i
        axes[1].text(0.0, y, name, weight="bold")
        axes[1].text(0.58, y, number, ha="right", color=BLUE, weight="bold")
        axes[1].text(0.62, y, meaning, size=9.5)
    save(figure, "bits")


def operations():
    """Four inputs that meet twelve weights: which products cost what."""
    figure, ax = plt.subplots(figsize=(9.5, 3.5))
    ax.set(xlim=(0, 9.5), ylim=(0, 3.5))
    ax.axis("off")
    ax.text(0.85, 3.2, "count n", ha="center", weight="bold")
    ax.text(2.75, 3.2, "weights that it meets", ha="center", weight="bold")
    for row, (n, color) in enumerate(((0, GREY), (1, GREEN), (2, ORANGE), (0, GREY))):
        y = 2.55 - 0.75 * row
        ax.text(
            0.85,
            y,
            str(n),
            ha="center",
            va="center",
            size=15,
            color=color,
            weight="bold",
        )
        for column in range(3):
            face = "#ffffff" if n == 0 else color + "33"
            ax.add_patch(
                plt.Rectangle(
                    (1.7 + 0.75 * column, y - 0.28),
                    0.6,
                    0.56,
                    facecolor=face,
                    edgecolor=color,
                    ls=":" if n == 0 else "-",
                )
            )
            label = {0: "skip", 1: "+w", 2: "+2w"}[n]
            ax.text(
                2.0 + 0.75 * column,
                y,
                label,
                ha="center",
                va="center",
                size=10,
                color=color,
            )
    rows = (
        ("dense", "12", "every product: 4 inputs x 3 outputs"),
        ("effective", "6", "those whose count is not 0"),
        ("strict", "3", "those whose count is 1 or -1"),
        ("graded", "9", "sum of |n|: 3 x 1 and 3 x 2"),
    )
    for i, (name, number, meaning) in enumerate(rows):
        y = 2.6 - 0.72 * i
        ax.text(4.6, y, name, weight="bold", va="center")
        ax.text(6.15, y, number, ha="right", va="center", color=BLUE, weight="bold")
        ax.text(6.35, y, meaning, va="center", size=10)
    save(figure, "operations")


if __name__ == "__main__":
    for draw in (lmu, memory, quantizer, annealing, bits, operations):
        draw()
