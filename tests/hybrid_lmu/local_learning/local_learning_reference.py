"""The local rule of methods as loops over time and layers in NumPy, for comparison."""

import numpy as np

ALPHA, BETA, GAMMA = np.exp(-1 / np.array([10.0, 6.0, 2.0]))
BURN_IN = 3


def sign(latent):
    return np.where(latent >= 0, 1.0, -1.0)


def losses(loss, read, y):
    """Value, derivative and prediction of one step's loss of single samples."""
    if loss == "binary_crossentropy":
        p = 1 / (1 + np.exp(-read))
        return -np.log(np.where(y == 1, p, 1 - p)).mean(-1), (p - y) / read.shape[-1], p
    if loss == "huber":
        error = read - y
        size = np.abs(error)
        value = np.where(size < 1, error**2 / 2, size - 0.5).mean(-1)
        return value, np.clip(error, -1, 1) / read.shape[-1], read
    p = np.exp(read) / np.exp(read).sum(-1, keepdims=True)
    hot = np.eye(read.shape[-1])[y]
    return -np.log((p * hot).sum(-1)), p - hot, p


def train(x, y, latents, readouts, loss, training_weight, update, weight=None):
    """One batch. `training_weight(latent, t, i)` and `update(latent, gradient, t, i)`; t is -1 for
    the draw of the burn-in. Returns latents, loss, prediction."""
    latents = [np.array(w, "float64") for w in latents]
    batch, time, width = x.shape
    weight = np.ones(batch) if weight is None else weight
    sizes = [width] + [w.shape[1] for w in latents]
    traces = [np.zeros((batch, n)) for n in sizes[:-1]]
    currents = [np.zeros((batch, n)) for n in sizes[:-1]]
    refractory = [np.zeros((batch, n)) for n in sizes[1:]]
    total, prediction = 0.0, 0.0
    held = [training_weight(w, -1, i) for i, w in enumerate(latents)]
    for t in range(time):
        spikes = x[:, t]
        for i, readout in enumerate(readouts):
            used = held[i] if t < BURN_IN else training_weight(latents[i], t, i)
            traces[i] = ALPHA * traces[i] + currents[i]
            currents[i] = BETA * currents[i] + spikes
            scale = 1 / np.sqrt(sizes[i])
            potential = scale * traces[i] @ used - refractory[i]
            spikes = (potential >= 0).astype(float)
            refractory[i] = GAMMA * refractory[i] + spikes
            if t < BURN_IN:
                continue
            width = sizes[i + 1]
            value, slope, probability = losses(loss, spikes @ readout / np.sqrt(width), y)
            total += (weight * value).mean()
            near = (potential > -0.5) & (potential <= 0.5)
            factor = (weight[:, None] * slope / batch) @ readout.T / np.sqrt(width) * near
            latents[i] = update(latents[i], scale * traces[i].T @ factor, t, i)
        prediction = prediction + (probability if t >= BURN_IN else 0.0)
    return latents, total / (time - BURN_IN), prediction / (time - BURN_IN)
