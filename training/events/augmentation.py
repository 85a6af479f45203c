"""Random changes of frames of counts for training: pure functions of (x, generator).

x is a batch [B, T, H, W, 2] of counts; each sample gets its own draws, the same for all its steps.
The result has the shape of x. `digits`, `objects` and `gestures` are the policies of the tasks.
"""

import numpy as np


def warp(
    x: np.ndarray,
    rng: np.random.Generator,
    shift: int = 0,
    degrees: float = 0.0,
    shear: float = 0.0,
) -> np.ndarray:
    """Shift by up to `shift` pixels, turn by up to `degrees`, shear by up to `shear` pixels a row.

    Each uniform in [-bound, bound], shifts of whole pixels down and right. Every pixel takes the
    nearest one of the original, so counts stay whole; what comes from outside is 0.
    """
    samples, steps, height, width, polarities = x.shape
    centre = np.array([(height - 1) / 2, (width - 1) / 2]).reshape(2, 1)
    grid = np.indices((height, width)).reshape(2, -1) - centre
    flat = x.reshape(samples, steps, height * width, polarities)
    result = np.empty_like(flat)
    for sample in range(samples):
        down, right = rng.integers(-shift, shift + 1, 2)
        angle = np.deg2rad(rng.uniform(-degrees, degrees))
        slope = rng.uniform(-shear, shear)
        turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        back = turn @ np.array([[1.0, 0.0], [slope, 1.0]])
        moved = back @ (grid - np.array([[down], [right]])) + centre
        row, column = np.rint(moved).astype(int)
        inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
        result[sample] = flat[sample][:, np.where(inside, row * width + column, 0)]
        result[sample][:, ~inside] = 0
    return result.reshape(x.shape)


def flip(x: np.ndarray, rng: np.random.Generator, share: float = 0.5) -> np.ndarray:
    """Mirror left and right with probability `share`."""
    chosen = rng.random(len(x)) < share
    return np.where(chosen[:, None, None, None, None], x[:, :, :, ::-1], x)


def cutout(x: np.ndarray, rng: np.random.Generator, size: int) -> np.ndarray:
    """Set a square to 0: sides of 1 to `size` pixels, its centre anywhere."""
    result = x.copy()
    for sample in result:
        side = rng.integers(1, size + 1)
        top, left = (int(rng.integers(length)) - side // 2 for length in sample.shape[1:3])
        sample[:, max(top, 0) : top + side, max(left, 0) : left + side] = 0
    return result


def drop_events(x: np.ndarray, rng: np.random.Generator, share: float) -> np.ndarray:
    """Lose each event with a probability drawn from [0, `share`] for its sample."""
    keep = 1 - rng.uniform(0, share, len(x))
    result = x.copy()
    hit = np.nonzero(x)
    result[hit] = rng.binomial(x[hit], keep[hit[0]])
    return result


def jitter_time(x: np.ndarray, rng: np.random.Generator, share: float) -> np.ndarray:
    """Move each event to the step before or after with probability `share` / 2 each.

    Events that would leave the recording stay. Counts come back as int64, as they may grow.
    """
    counts = x.astype(np.int64)
    moving = np.zeros_like(counts)
    hit = np.nonzero(counts)
    moving[hit] = rng.binomial(counts[hit], share)
    later = np.zeros_like(counts)
    later[hit] = rng.binomial(moving[hit], 0.5)
    earlier = moving - later
    earlier[:, 0] = later[:, -1] = 0
    result = counts - earlier - later
    result[:, :-1] += earlier[:, 1:]
    result[:, 1:] += later[:, :-1]
    return result


def digits(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Shifts and small turns; a mirrored digit is another sign."""
    return warp(x, rng, shift=2, degrees=10.0)


def gestures(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Shifts, small turns, lost and moved events; mirrored, a right hand would be a left one."""
    return jitter_time(
        drop_events(warp(x, rng, shift=3, degrees=10.0), rng, share=0.2), rng, share=0.1
    )


def objects(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Mirror, then one of: shift, turn, shear, cut out.

    After the choice of changes in Li et al. 2022 (Neuromorphic Data Augmentation,
    arXiv:2203.06145); their sizes here are ours.
    """
    x = flip(x, rng)
    kind = rng.integers(4, size=len(x))
    size = max(1, x.shape[2] // 6)
    changes = (
        lambda part: warp(part, rng, shift=max(1, x.shape[2] // 12)),
        lambda part: warp(part, rng, degrees=15.0),
        lambda part: warp(part, rng, shear=0.15),
        lambda part: cutout(part, rng, size),
    )
    result = np.empty_like(x)
    for index, change in enumerate(changes):
        result[kind == index] = change(x[kind == index])
    return result
