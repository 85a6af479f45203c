"""Sets of levels that weights are quantized to, and where one ends and the next begins."""

import warnings

import numpy as np
from scipy.cluster.vq import kmeans2

NAMED = {"binary": (-1, 1), "ternary": (-1, 0, 1)}
_LARGEST = 127  # codes are int8


def uniform_levels(bits: int) -> tuple[int, ...]:
    """``2**bits`` levels, equally spaced and symmetric: the odd integers around 0.

    Args:
        bits: 1 (binary) to 7.

    Example:

    >>> uniform_levels(2)
    (-3, -1, 1, 3)

    Raises:
        ValueError: if `bits` is not an integer in that range.
    """
    if isinstance(bits, bool) or not hasattr(bits, "__index__") or not 1 <= bits <= 7:
        raise ValueError(f"`bits` must be an integer from 1 to 7; received: {bits!r}")
    return tuple(range(1 - 2**bits, 2**bits, 2))


def check_levels(levels) -> tuple[int, ...]:
    """Return levels as a tuple of integers.

    Args:
        levels: ``"binary"``, ``"ternary"``, or integers in increasing order, such as
            ``(-4, -2, -1, 0, 1, 2, 4)``.

    Raises:
        ValueError: if they are fewer than 2, not integers up to 127 in size, not in order, or not
            on both sides of 0.
    """
    if isinstance(levels, str):
        if levels not in NAMED:
            raise ValueError(
                f"`levels` must be one of {', '.join(map(repr, NAMED))}, or integers in increasing "
                f"order; received: {levels!r}"
            )
        return NAMED[levels]
    try:
        values = np.asarray(levels, dtype="float64")
    except (TypeError, ValueError):
        values = np.zeros(0)
    whole = values.ndim == 1 and values.size >= 2 and bool(np.all(values == np.rint(values)))
    if not whole or np.any(np.abs(values) > _LARGEST):
        raise ValueError(
            f"`levels` must be at least 2 integers of at most {_LARGEST} in size; "
            f"received: {levels!r}"
        )
    if np.any(np.diff(values) <= 0):
        raise ValueError(
            "`levels` must be in increasing order, each of them once; expected "
            f"{tuple(int(v) for v in np.unique(values))}, received: {levels!r}"
        )
    if values[0] >= 0 or values[-1] <= 0:
        raise ValueError(f"`levels` must lie on both sides of 0; received: {levels!r}")
    return tuple(int(value) for value in values)


def midpoints(levels):
    """Boundaries half-way between neighbouring levels, float32 [number of levels - 1]."""
    levels = np.asarray(levels, "float32")
    return (levels[1:] + levels[:-1]) / 2


def kmeans_boundaries(values, levels):
    """Boundaries between the clusters of `values`, one a level, by k-means in one dimension.

    A boundary is half-way between the largest member of a cluster and the smallest of the next. The
    clusters start from quantiles, so the result depends on the values alone. `midpoints` of the
    levels where the values are too few, or too many of them equal, for as many clusters.

    Args:
        values: array of any shape, in units of the levels.
        levels: their number is that of the clusters.

    Returns:
        float32 [number of levels - 1], in increasing order.
    """
    values = np.sort(np.asarray(values, "float64").ravel())
    if len(np.unique(values)) < len(levels):
        return midpoints(levels)
    share = (np.arange(len(levels)) + 0.5) / len(levels)
    start = np.quantile(values, share)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an empty cluster is seen below
        _, labels = kmeans2(values[:, None], start[:, None], iter=100, minit="matrix")
    if len(np.unique(labels)) < len(levels):
        return midpoints(levels)
    last = np.searchsorted(labels, np.arange(len(levels) - 1), side="right")  # sorted as the values
    return ((values[last - 1] + values[last]) / 2).astype("float32")
