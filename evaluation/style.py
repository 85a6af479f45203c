"""The look of all figures: a colour-blind safe palette (Okabe and Ito 2008), light grids, PNG."""

import contextlib
import io

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt  # noqa: E402

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F", "#000000")
INK = "#222833"
MUTED = "#697180"
BLUES = ("#FFFFFF", "#92C5DE", "#4393C3", "#2166AC", "#053061")  # halves of ColorBrewer's RdBu,
REDS = ("#FFFFFF", "#F4A582", "#D6604D", "#B2182B", "#67001F")  # with a true white for 0

_SETTINGS = {
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": "#B8BEC8",
    "axes.titlesize": 11.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E6E9EE",
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
}


@contextlib.contextmanager
def styled():
    """Figures made inside have the report's look; the caller's settings stay as they were."""
    with plt.rc_context(_SETTINGS):
        yield


def to_png(figure, dpi=160):
    """Renders a figure to the bytes of a PNG file and closes it."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, bbox_inches="tight", pad_inches=0.12)
    plt.close(figure)
    return buffer.getvalue()


def colours(names):
    """Dict of name -> colour, in order of appearance; repeats after eight names."""
    names = dict.fromkeys(names)
    return {name: PALETTE[i % len(PALETTE)] for i, name in enumerate(names)}
