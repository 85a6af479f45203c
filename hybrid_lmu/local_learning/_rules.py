"""Learning rules: which weights a network computes with, and how a local gradient changes them.

A learning rule keeps a real latent value for each weight. It holds no state: its methods are pure
functions of the latent values. The binary weights are those of `hybrid_lmu.weights`, with scale 1.

Source: Jang, Skatchkovsky & Simeone (2020), "BiSNN: Training Spiking Neural Networks with Binary
Weights via Bayesian Learning", arXiv:2012.08300 (the two rules for binary weights).
"""

import abc

import keras
import numpy as np

from hybrid_lmu._internal.checks import check_positive
from hybrid_lmu.weights import Bernoulli, StraightThroughSign, WeightQuantizer


class LearningRule(abc.ABC):
    """Base of the learning rules, and the contract for one of your own.

    A subclass defines `initial`, `weight` and `updated`. A rule that draws its weights sets
    `stochastic` and defines `noise` and `training_weight` too. A saved model keeps the attributes
    that `arguments` names; for that the class is registered with Keras
    (`keras.saving.register_keras_serializable`). All tensors are float32.

    Attributes:
        stochastic: whether each weight has a distribution to draw from.
        arguments: names of the arguments of the constructor, which are attributes too.
    """

    stochastic = False
    arguments: tuple[str, ...] = ()

    @abc.abstractmethod
    def initial(self, shape: tuple, random: np.random.Generator) -> np.ndarray:
        """Return the first latent values, an array of the given shape."""

    def noise(self, shape: tuple, seed: keras.random.SeedGenerator):
        """Return the noise of one draw of weights; None for a rule that draws none."""
        return None

    def training_weight(self, latent, noise):
        """Return the weights that a training step computes with."""
        return self.weight(latent)

    @abc.abstractmethod
    def weight(self, latent, noise=None):
        """Return the weights after training: a draw by `noise`, or the modes without noise."""

    @abc.abstractmethod
    def updated(self, latent, gradient, noise, learning_rate):
        """Return the latent values after one step.

        Args:
            latent: the latent values before.
            gradient: gradient of the loss with respect to `training_weight(latent, noise)`.
            noise: the noise that these weights were drawn with.
            learning_rate: size of the step, a scalar tensor.
        """

    def get_config(self) -> dict:
        return {name: getattr(self, name) for name in self.arguments}

    @classmethod
    def from_config(cls, config: dict):
        return cls(**config)


class BinaryRule(LearningRule):
    """Base of the rules for weights of +1 and -1, by a weight quantizer with scale 1.

    The latent values start at +initial_latent or -initial_latent, each with probability 1/2.

    Args:
        quantizer: the `WeightQuantizer`.
        initial_latent: size of the first latent values, > 0.
    """

    def __init__(self, quantizer: WeightQuantizer, initial_latent: float):
        self.quantizer = quantizer
        self.initial_latent = check_positive("initial_latent", initial_latent)

    def initial(self, shape, random):
        return random.choice([-1.0, 1.0], shape) * self.initial_latent

    def weight(self, latent, noise=None):
        return self.quantizer.code(latent)


@keras.saving.register_keras_serializable(package="hybrid_lmu")
class StraightThroughRule(BinaryRule):
    """Binary weights by the straight-through estimator (ST-BiSNN)::

        w = sign(latent);    latent <- latent - learning_rate * dL/dw

    The weights are those of `hybrid_lmu.weights.StraightThroughSign`.

    Args:
        initial_latent: size of the first latent values, > 0. Default 10.
        clip: the latent values stay within [-clip, clip]; > 0. Default ``None``: no limit. Without
            a limit latent values drift away from 0, so that signs freeze in long runs.

    Raises:
        ValueError: if an argument is not a finite number > 0.
    """

    arguments = ("initial_latent", "clip")

    def __init__(self, initial_latent: float = 10.0, *, clip: float | None = None):
        super().__init__(StraightThroughSign(scale=1.0, clip=clip), initial_latent)
        self.clip = clip

    def updated(self, latent, gradient, noise, learning_rate):
        return self.quantizer.constrain(latent - learning_rate * gradient)


@keras.saving.register_keras_serializable(package="hybrid_lmu")
class BayesianRule(BinaryRule):
    """Binary weights with a Bernoulli posterior, by natural-gradient steps (Bayes-BiSNN)::

        w = tanh((latent + delta) / tau),  delta = 0.5 log(eps / (1 - eps)),  eps ~ U(0, 1)
        latent <- latent - learning_rate * (dL/dw * dw/dmu + rho * (latent - latent_0))

    The weights are those of `hybrid_lmu.weights.Bernoulli`: the latent value is the natural
    parameter, ``P(w = +1) = sigma(2 latent)``, the mean weight is ``mu = tanh(latent)``, and
    ``latent_0`` is the natural parameter of the prior. A step descends the expected loss plus rho
    times the divergence from the prior.

    Args:
        temperature: ``tau`` of the relaxed samples in training, > 0. Default 1.
        rho: weight of the divergence, >= 0. Default 5e-4.
        prior: probability of +1 before any data, in (0, 1). Default 0.5.
        initial_latent: size of the first latent values, > 0. Default 10.
        clip: largest ``dw/dmu``, whose distribution has a heavy tail; > 0. Default ``None``: no
            limit.

    Raises:
        ValueError: if an argument is not in its range.
    """

    stochastic = True
    arguments = ("temperature", "rho", "prior", "initial_latent", "clip")

    def __init__(
        self,
        temperature: float = 1.0,
        *,
        rho: float = 5e-4,
        prior: float = 0.5,
        initial_latent: float = 10.0,
        clip: float | None = None,
    ):
        # The seed is unused: the network draws the noise. Without one, Keras would draw a seed.
        weights = Bernoulli(temperature, rho=rho, prior=prior, scale=1.0, clip=clip, seed=0)
        super().__init__(weights, initial_latent)
        self.temperature, self.rho, self.prior, self.clip = temperature, rho, prior, clip

    def noise(self, shape, seed):
        return self.quantizer.noise(shape, seed)

    def training_weight(self, latent, noise):
        return self.quantizer.relaxed(latent, noise)

    def weight(self, latent, noise=None):
        return self.quantizer.code(latent if noise is None else latent + noise)

    def updated(self, latent, gradient, noise, learning_rate):
        return self.quantizer.natural_step(latent, gradient, noise, learning_rate)


@keras.saving.register_keras_serializable(package="hybrid_lmu")
class FullPrecisionRule(LearningRule):
    """Real weights by gradient descent, the baseline: ``w <- w - learning_rate * dL/dw``.

    Args:
        initial_latent: the weights start uniform on (-initial_latent, initial_latent), > 0. Default
            1, a usual choice together with the factor ``1 / sqrt(fan_in)`` of a layer.

    Raises:
        ValueError: if `initial_latent` is not a finite number > 0.
    """

    arguments = ("initial_latent",)

    def __init__(self, initial_latent: float = 1.0):
        self.initial_latent = check_positive("initial_latent", initial_latent)

    def initial(self, shape, random):
        return random.uniform(-self.initial_latent, self.initial_latent, shape)

    def weight(self, latent, noise=None):
        return latent

    def updated(self, latent, gradient, noise, learning_rate):
        return latent - learning_rate * gradient


def check_rule(rule) -> LearningRule:
    """Return `rule`; raise ValueError unless it is a `LearningRule`."""
    if not isinstance(rule, LearningRule):
        raise ValueError(
            "`rule` must be one of StraightThroughRule(), BayesianRule(), FullPrecisionRule(), or "
            f"another LearningRule; received: {rule!r}"
        )
    return rule
