"""Population code: a number in [0, 1] as the random spikes of neurons with overlapping bumps."""

import numpy as np


def rates(values: np.ndarray, neurons: int, overlap: float = 1.0) -> np.ndarray:
    """Probabilities of a spike a step, ``[..., F] -> [..., F * neurons]``.

    Neuron k has its centre at ``c_k = k / (neurons - 1)`` and the rate::

        0.5 + 0.5 cos(clip(pi (x - c_k) / D, -pi, pi)),   D = overlap / (neurons - 1)

    so that its bump ends `overlap` centres away (Jang, Skatchkovsky & Simeone 2020, and the
    authors' code). ValueError for fewer than 2 neurons or an overlap that is not positive.
    """
    if neurons < 2:
        raise ValueError(f"`neurons` must be an integer >= 2; received: {neurons!r}")
    if not overlap > 0:
        raise ValueError(f"`overlap` must be > 0; received: {overlap!r}")
    centres = np.arange(neurons) / (neurons - 1)
    angle = np.pi * (np.asarray(values)[..., None] - centres) * (neurons - 1) / overlap
    bumps = 0.5 + 0.5 * np.cos(np.clip(angle, -np.pi, np.pi))
    return bumps.reshape(*bumps.shape[:-2], -1)


def spikes(probabilities: np.ndarray, steps: int, seed: int) -> np.ndarray:
    """Independent spikes [N, steps, F], 0 or 1 in float32, drawn once with `seed`."""
    random = np.random.RandomState(seed)
    shape = (len(probabilities), steps, probabilities.shape[-1])
    return (random.random_sample(shape) < probabilities[:, None]).astype("float32")
