"""Learning rules: what the weights of a network are, and how a local gradient changes them.

A rule keeps a real latent value for each weight. It is an object without state: pure functions of
the latent values, so that one network takes any of the three.

Source: Jang, Skatchkovsky & Simeone (2020), "BiSNN: Training Spiking Neural Networks with Binary
Weights via Bayesian Learning", arXiv:2012.08300 (the first two).
"""

import numbers

import keras
import numpy as np
from keras import ops

from hybrid_lmu._internal.checks import check_positive
from hybrid_lmu.weights import _bernoulli_rule as bernoulli_rule


class _Rule:
    """The functions that a network asks for; the base of the three rules."""

    stochastic = False  # whether a weight is drawn from a distribution

    def noise(self, shape, seed):
        """What a draw of weights of the given shape needs; None for a rule that draws none."""
        return None

    def training_weight(self, latent, noise):
        """The weight that a training step computes with."""
        return self.weight(latent)

    def get_config(self):
        return dict(self._config)

    @classmethod
    def from_config(cls, config):
        return cls(**config)


class _BinaryRule(_Rule):
    """Weights in {-1, +1}; latent values start at +initial or -initial, each with 1/2."""

    def initial(self, shape, random):
        return random.choice([-1.0, 1.0], shape) * self.initial_latent

    def weight(self, latent, noise=None):
        """The weight of a network at work: +1 where the latent value is >= 0, else -1."""
        return bernoulli_rule.mode(latent)


@keras.saving.register_keras_serializable(package="hybrid_lmu")
class StraightThroughRule(_BinaryRule):
    """Binary weights by the straight-through estimator (ST-BiSNN)::

        w = sign(latent);    latent <- latent - learning_rate * dL/dw

    Args:
        initial_latent: size of the latent values at first, > 0. Default 10.
        clip: latent values are kept within [-clip, clip]; ``None`` (default): they are free, so
            that they drift away from 0 and signs freeze in long runs.

    Raises:
        ValueError: if an argument is not positive.
    """

    def __init__(self, initial_latent=10.0, clip=None):
        self.initial_latent = check_positive("initial_latent", initial_latent)
        self.clip = None if clip is None else check_positive("clip", clip, " or None")
        self._config = {"initial_latent": initial_latent, "clip": clip}

    def updated(self, latent, gradient, noise, learning_rate):
        latent = latent - learning_rate * gradient
        return latent if self.clip is None else ops.clip(latent, -self.clip, self.clip)


@keras.saving.register_keras_serializable(package="hybrid_lmu")
class BayesianRule(_BinaryRule):
    """Binary weights with a Bernoulli posterior, by natural-gradient steps (Bayes-BiSNN)::

        w = tanh((latent + delta) / tau),  delta = 0.5 log(eps / (1 - eps)),  eps ~ U(0, 1)
        latent <- latent - learning_rate * (dL/dw * dw/dmu + rho * (latent - latent_0))

    The latent value is the natural parameter: ``P(w = +1) = sigma(2 latent)``, the mean weight is
    ``mu = tanh(latent)``, and ``latent_0`` is the prior's. It is descent on the expected loss plus
    rho times the divergence from the prior, exact in float32
    (`hybrid_lmu.weights._bernoulli_rule`).

    Args:
        temperature: ``tau`` > 0 of the relaxed samples in training. Default 1.
        rho: weight of the divergence, >= 0. Default 5e-4.
        prior: probability of +1 before any data, in (0, 1). Default 0.5.
        initial_latent: size of the latent values at first, > 0. Default 10.
        clip: largest ``dw/dmu``, whose distribution has a heavy tail; ``None`` (default): no limit.

    Raises:
        ValueError: if an argument is not in its range.
    """

    stochastic = True

    def __init__(self, temperature=1.0, rho=5e-4, prior=0.5, initial_latent=10.0, clip=None):
        self.temperature = check_positive("temperature", temperature)
        self.rho = _not_negative("rho", rho)
        self.natural_prior = bernoulli_rule.natural_parameter(prior)
        self.initial_latent = check_positive("initial_latent", initial_latent)
        self.clip = None if clip is None else check_positive("clip", clip, " or None")
        self._config = {
            "temperature": temperature, "rho": rho, "prior": prior,
            "initial_latent": initial_latent, "clip": clip,
        }  # fmt: skip

    def noise(self, shape, seed):
        return bernoulli_rule.logistic_noise(keras.random.uniform(shape, seed=seed))

    def training_weight(self, latent, noise):
        return bernoulli_rule.relaxed_sample(latent, noise, self.temperature)

    def weight(self, latent, noise=None):
        """A draw of the posterior, or its mode without noise."""
        if noise is None:
            return bernoulli_rule.mode(latent)
        return bernoulli_rule.hard_sample(latent, noise)

    def updated(self, latent, gradient, noise, learning_rate):
        factor = bernoulli_rule.reparameterization_factor(
            latent, noise, self.temperature, self.clip
        )
        return bernoulli_rule.natural_gradient_update(
            latent, gradient, factor, learning_rate, self.rho, self.natural_prior
        )


@keras.saving.register_keras_serializable(package="hybrid_lmu")
class FullPrecisionRule(_Rule):
    """Real weights by gradient descent, the baseline: ``w <- w - learning_rate * dL/dw``.

    Args:
        initial_latent: weights start uniform on (-initial_latent, initial_latent). Default 1: with
            the factor 1 / sqrt(inputs) of a layer it is a usual choice for real weights.

    Raises:
        ValueError: if `initial_latent` is not positive.
    """

    def __init__(self, initial_latent=1.0):
        self.initial_latent = check_positive("initial_latent", initial_latent)
        self._config = {"initial_latent": initial_latent}

    def initial(self, shape, random):
        return random.uniform(-self.initial_latent, self.initial_latent, shape)

    def weight(self, latent, noise=None):
        return latent

    def updated(self, latent, gradient, noise, learning_rate):
        return latent - learning_rate * gradient


RULES = (StraightThroughRule, BayesianRule, FullPrecisionRule)


def check_rule(rule):
    """Return `rule`; raise ValueError unless it is a rule."""
    if not isinstance(rule, _Rule):
        names = ", ".join(f"{kind.__name__}()" for kind in RULES)
        raise ValueError(f"`rule` must be one of {names}; received: {rule!r}")
    return rule


def _not_negative(name, value):
    if not isinstance(value, numbers.Real) or not np.isfinite(value) or value < 0:
        raise ValueError(f"`{name}` must be finite and >= 0; received: {value!r}")
    return float(value)
