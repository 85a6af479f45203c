"""Low-bit weights through a sum of sigmoids that is annealed into a staircase."""

import keras
import numpy as np
from keras import ops

from hybrid_lmu._internal.checks import check_choice, check_flag, check_positive
from hybrid_lmu._internal.gradients import custom_gradient, straight_through
from hybrid_lmu.weights._levels import check_levels, kmeans_boundaries, midpoints
from hybrid_lmu.weights._quantizer import (
    WeightQuantizer,
    check_kernel,
    keep_nan,
)


@keras.saving.register_keras_serializable(package="hybrid_lmu")
class SumOfSigmoids(WeightQuantizer):
    """Weights of a few levels, differentiable: a staircase whose steps are sigmoids.

    With levels ``q_0 < ... < q_n``, heights ``s_i = q_i - q_{i-1}``, boundaries ``b_i``, learned
    scales ``alpha, beta > 0`` and the temperature T, for a latent weight w::

        soft (training):   W = alpha * (q_0 + sum_i s_i * sigmoid(T * (beta * w - b_i)))
        hard (inference):  W = alpha * (q_0 + sum_i s_i * [beta * w > b_i])  =  alpha * q_j

    A small T makes a kernel of nearly full precision (nearly linear in w), a large one the levels;
    T is raised during training by `hybrid_lmu.weights.AnnealTemperature`, as a resolution is
    lowered.

    Args:
        levels: ``"binary"`` (-1, 1), ``"ternary"`` (-1, 0, 1), or integers in increasing order; see
            `uniform_levels` for 2**bits of them. Default ``"binary"``.
        temperature: T > 0 at first. Default 20. Kept in the non-trainable variable `temperature`.
        biases: ``"kmeans"`` (default): half-way between the clusters that k-means finds in the
            kernel, once, when the layer is built or a trained kernel is given to it; for binary
            levels 0. ``"midpoints"``: half-way between the levels, also where a kernel has too few
            different weights for clusters.
        learn_scales: train alpha and beta; kept positive as exponentials. Default True.
        power_of_two: round alpha to a power of two in the forward pass, so that it is a shift: the
            products of integer counts, and their sums, are then exact in float32 as in integers.
            Default False.
        gradient: ``"true"``, or ``"wide"``: with the slope of the sigmoids taken at temperature 1
            (times T), so that it does not vanish away from the boundaries. Default ``None``: wide
            for two levels, true for others.
        inference: ``"hard"`` (default), or ``"soft"`` to see what the staircase costs.

    The scales start as ``beta = 1.25 q_n / max |w|``, ``alpha = 1 / beta``.

    Sources: Shymyrbay, Fouda & Eltawil (2023), arXiv:2305.19295; the details (scales, clusters,
    gradient for binary weights) are of the code of "Quantization Networks" (CVPR 2019), on which
    that paper builds.

    Example:

    >>> rule = SumOfSigmoids("ternary", biases="midpoints")
    >>> rule.build((4, 1))
    >>> kernel = rule.prepare(np.array([[1.0], [0.1], [-0.2], [-0.9]], "float32"))
    >>> rule.packed(kernel).codes.ravel().tolist(), float(rule.packed(kernel).scale)
    ([1, 0, 0, -1], 0.800000011920929)
    """

    inferences = ("hard", "soft")

    def __init__(
        self,
        levels: str | tuple[int, ...] = "binary",
        *,
        temperature: float = 20.0,
        biases: str = "kmeans",
        learn_scales: bool = True,
        power_of_two: bool = False,
        gradient: str | None = None,
        inference: str = "hard",
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.levels = check_levels(levels)
        self.initial_temperature = check_positive("temperature", temperature)
        self.biases_from = check_choice("biases", biases, ("kmeans", "midpoints"))
        self.learn_scales = check_flag("learn_scales", learn_scales)
        self.power_of_two = check_flag("power_of_two", power_of_two)
        self.gradient = check_choice("gradient", gradient, (None, "true", "wide"))
        self.inference = check_choice("inference", inference, self.inferences)

    def build(self, shape):
        def add(name, value, trainable=False):
            value = np.asarray(value, "float32")
            return self.add_weight(
                name=name,
                shape=value.shape,
                initializer=lambda shape, dtype: ops.convert_to_tensor(value, dtype),
                trainable=trainable,
                autocast=False,
            )

        self.temperature = add("temperature", self.initial_temperature)
        self.biases = add("biases", midpoints(self.levels))
        self.log_alpha = add("log_alpha", 0.0, self.learn_scales)
        self.log_beta = add("log_beta", 0.0, self.learn_scales)

    def prepare(self, latent):
        latent = check_kernel(self.name, latent)
        beta = 1.25 * self.levels[-1] / np.max(np.abs(latent))
        self.log_beta.assign(np.log(beta))
        self.log_alpha.assign(-np.log(beta))
        if len(self.levels) > 2 and self.biases_from == "kmeans":
            self.biases.assign(kmeans_boundaries(beta * latent, self.levels))
        return latent

    def call(self, latent, training=False):
        if training or self.inference == "soft":
            return self.soft(latent)
        return self.hard(latent)

    def soft(self, latent):
        """The weights in training."""
        wide = self.gradient == "wide" or (self.gradient is None and len(self.levels) == 2)
        return sum_of_sigmoids(
            latent,
            self.scale(latent),
            ops.exp(ops.convert_to_tensor(self.log_beta)),
            self.levels,
            self.biases,
            self.temperature,
            wide,
        )

    def code(self, latent):
        scaled = self._scaled(latent)
        steps = [s * ops.cast(scaled > self.biases[i], "float32") for i, s in _heights(self.levels)]
        return keep_nan(float(self.levels[0]) + sum(steps), ops.convert_to_tensor(latent))

    def _scaled(self, latent):
        return ops.exp(ops.convert_to_tensor(self.log_beta)) * ops.convert_to_tensor(latent)

    def scale(self, latent):
        alpha = ops.exp(ops.convert_to_tensor(self.log_alpha))
        return _nearest_power_of_two(alpha) if self.power_of_two else alpha

    def between_levels(self, latent):
        """Share of the weights that the soft staircase leaves between two levels: ``|beta w - b|``
        below ``5 / T`` for some boundary b, so that the sigmoid is below 0.993."""
        scaled = self._scaled(latent)
        near = [ops.abs(scaled - self.biases[i]) for i, _ in _heights(self.levels)]
        nearest = ops.min(ops.stack(near), axis=0)
        return float(ops.mean(ops.cast(nearest * self.temperature < 5.0, "float32")))

    def get_config(self):
        return {
            **super().get_config(),
            "levels": list(self.levels),
            "temperature": self.initial_temperature,
            "biases": self.biases_from,
            "learn_scales": self.learn_scales,
            "power_of_two": self.power_of_two,
            "gradient": self.gradient,
            "inference": self.inference,
        }


def sum_of_sigmoids(w, alpha, beta, levels, biases, temperature, wide=False):
    """``alpha * (q_0 + sum_i s_i * sigmoid(T * (beta * w - b_i)))``, see `SumOfSigmoids`.

    With ``g`` the gradient of the output and ``D = T * sum_i s_i * sigmoid'(T * (beta * w - b_i))``
    (``sigmoid'(beta * w - b_i)`` if `wide`): ``dw = g alpha beta D``, ``dbeta = sum g alpha w D``,
    ``dalpha = sum g W / alpha``.

    Args:
        w: tensor of any shape.
        alpha, beta, temperature: scalars > 0.
        levels: integers, n + 1 of them, see `check_levels`.
        biases: [n]; they and the temperature get no gradient.
        wide: see above.
    """
    biases, temperature = ops.convert_to_tensor(biases), ops.convert_to_tensor(temperature)
    return alpha * _staircase(beta * ops.convert_to_tensor(w), levels, biases, temperature, wide)


def _staircase(scaled, levels, biases, temperature, wide):
    """``q_0 + sum_i s_i * sigmoid(T * (scaled - b_i))``, with D as its slope.

    By hand, so that the slope alone is kept for the backward pass, and not every sigmoid.
    """

    @custom_gradient
    def staircase(scaled):
        value, slope = float(levels[0]), 0.0
        for i, height in _heights(levels):
            step = ops.sigmoid(temperature * (scaled - biases[i]))
            value = value + height * step
            flat = ops.sigmoid(scaled - biases[i]) if wide else step
            slope = slope + height * flat * (1.0 - flat)

        def gradient(upstream):
            return upstream * temperature * slope

        return value, gradient

    return staircase(scaled)


def _nearest_power_of_two(x):
    """``2**round(log2(x))`` within 2**-30 and 2**30, with the gradient of x."""
    exponent = ops.cast(ops.clip(ops.round(ops.log2(ops.stop_gradient(x))), -30, 30), "int32")
    # From a table: a power that a backend computes may be off in the last place.
    table = ops.convert_to_tensor(np.exp2(np.arange(-30, 31)).astype("float32"))
    return straight_through(ops.take(table, exponent + 30), x)


def _heights(levels):
    return list(enumerate(np.diff(levels).astype("float32").tolist()))
