"""Scores of a model on a split, computed in NumPy from its predictions, with 95 % intervals."""

import math
from collections.abc import Sequence

import numpy as np

from training.tasks import Split

Z95 = 1.959963984540054


def predict(
    model: "keras.Model",  # noqa: F821
    x: np.ndarray,
    batch_size: int,
    callbacks: Sequence = (),
) -> np.ndarray:
    """`model.predict` in batches of one size: the last one is filled up and cut again.

    One shape means one trace or compilation, and an equal share for each of several devices.
    """
    missing = -len(x) % batch_size
    padded = np.concatenate([x, np.repeat(x[-1:], missing, axis=0)]) if missing else x
    outputs = model.predict(padded, batch_size=batch_size, verbose=0, callbacks=list(callbacks))
    return outputs[: len(x)]


def evaluate(
    model: "keras.Model",  # noqa: F821
    split: Split,
    kind: str,
    batch_size: int,
    logits: bool = True,
    callbacks: Sequence = (),
) -> dict:
    """Score of `model` on `split`; see `score_classes` and `score_regression`.

    `logits`: whether a classifier puts out logits, or probabilities. `callbacks`: of Keras, for
    `predict`.
    """
    outputs = predict(model, split.x, batch_size, callbacks).astype("float64")
    if kind == "classes":
        outputs = outputs if logits else np.log(np.maximum(outputs, 1e-30))
        return score_classes(outputs, split.y, split.weight)
    return score_regression(outputs, split.y)


def score_classes(logits: np.ndarray, labels: np.ndarray, weight: np.ndarray | None = None) -> dict:
    """{"loss", "accuracy", "interval": [low, high], "n"} from logits [N(, T), K].

    Steps of weight 0 do not count; `n` is the number of labels that do. The interval is
    Wilson's. With a label per step, the steps of one sequence are not independent: `n` in the
    interval is then divided by the design effect (variance of the accuracy between sequences,
    as a ratio estimate, over the binomial variance) and given as "n_effective".
    """
    weight = np.ones(labels.shape) if weight is None else weight
    shifted = logits - logits.max(-1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    loss = -np.take_along_axis(log_p, labels[..., None].astype(int), -1)[..., 0]
    right = (logits.argmax(-1) == labels) * weight
    n, hits = float(weight.sum()), float(right.sum())
    accuracy = hits / n
    score = {"loss": float((loss * weight).sum() / n), "accuracy": accuracy}
    if labels.ndim == 1:
        return {**score, "interval": wilson(accuracy, n), "n": int(n)}
    residual = (right - accuracy * weight).sum(axis=1)  # one number a sequence
    sequences = len(residual)
    variance = sequences / max(sequences - 1, 1) * float((residual**2).sum()) / n**2
    effective = min(n, accuracy * (1 - accuracy) / variance) if variance > 0 else float(sequences)
    return {
        **score, "interval": wilson(accuracy, effective), "n": int(n), "n_effective": effective,
    }  # fmt: skip


def score_regression(outputs: np.ndarray, targets: np.ndarray) -> dict:
    """{"loss": mean squared error, "nrmse", "interval", "n": sequences}.

    nrmse = sqrt(mean((y - t)^2) / mean((t - mean(t))^2)) over all sequences and steps; 1 is as
    good as the mean. Interval: 2.5 and 97.5 percentile of 2,000 bootstrap samples of sequences.
    """
    squared = ((outputs - targets) ** 2).reshape(len(targets), -1).mean(axis=1)
    spread = float(np.var(targets))
    rows = np.random.RandomState(0).randint(len(squared), size=(2000, len(squared)))
    resampled = np.sqrt(squared[rows].mean(axis=1) / spread)
    return {
        "loss": float(squared.mean()),
        "nrmse": math.sqrt(squared.mean() / spread),
        "interval": [float(v) for v in np.percentile(resampled, [2.5, 97.5])],
        "n": len(targets),
    }


def wilson(share: float, n: float, z: float = Z95) -> list[float]:
    """Wilson's score interval (1927) for `share` of `n` independent trials: [low, high]; it
    contains `share`, as without rounding it does."""
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return [min(share, max(0.0, centre - half)), max(share, min(1.0, centre + half))]
