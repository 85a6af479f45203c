"""Predictions of a network whose weights have a distribution, averaged over draws of it."""

import numpy as np
from keras import ops

from hybrid_lmu._internal.checks import check_choice, check_positive_integer

PREDICTORS = ("mode", "ensemble", "committee")


def predict_samples(model, x, predictor="ensemble", samples=10, batch_size=32, seed=0):
    """Predictions of `samples` networks with weights drawn from the posterior of each.

    Args:
        model: a built `LocalSpikingNetwork`.
        x: array [N, time, features...].
        predictor: ``"ensemble"`` (default): each batch of each sample has weights of its own;
            ``"committee"``: `samples` sets of weights, each for all of `x`; ``"mode"``: the one
            network with each weight's mode, so one sample.
        samples: number of draws. Default 10.
        batch_size: of the batches. Default 32.
        seed: integer; the draws depend on it and nothing else. Default 0.

    Returns:
        Array [samples, N, outputs]; its mean over the first axis is the prediction.

    Raises:
        ValueError: for an unknown predictor, or one that draws from a rule that has no
            distribution, or for a model that is not built.

    Source: Jang, Skatchkovsky & Simeone (2020), arXiv:2012.08300, and the authors' code.
    """
    check_choice("predictor", predictor, PREDICTORS)
    samples = check_positive_integer("samples", samples)
    batch_size = check_positive_integer("batch_size", batch_size)
    if not model.built:
        raise ValueError(f"`{model.name}` must be built or trained first; received one that is not")
    if predictor == "mode":
        samples = 1
    elif not model.rule.stochastic:
        raise ValueError(
            f"{type(model.rule).__name__} has no distribution to draw from: `predictor` must be "
            f"'mode'; received: {predictor!r}"
        )
    starts = range(0, len(x), batch_size)
    rows, before = [], ops.convert_to_numpy(model.prediction_seed)
    model.drawing.assign(float(predictor != "mode"))
    try:
        for sample in range(samples):
            for i, first in enumerate(starts):
                draw = sample if predictor == "committee" else sample * len(starts) + i
                # A generator counts on from the second number, by one a weight matrix.
                model.prediction_seed.assign(np.array([seed, draw * 2**12], before.dtype))
                rows.append(model.predict_on_batch(x[first : first + batch_size]))
    finally:
        model.drawing.assign(0.0)
        model.prediction_seed.assign(before)
    return np.concatenate(rows).reshape(samples, len(x), -1)
