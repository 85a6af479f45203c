"""Binary weights by the sign of a latent kernel, with a straight-through gradient."""

import keras
import numpy as np
from keras import ops

from hybrid_lmu._internal.checks import check_positive
from hybrid_lmu._internal.gradients import straight_through
from hybrid_lmu.weights._quantizer import WeightQuantizer, sign


@keras.saving.register_keras_serializable(package="hybrid_lmu")
class StraightThroughSign(WeightQuantizer):
    """``W = scale * sign(latent)``, sign(0) = 1; backward ``dL/dlatent = scale * dL/dW``.

    With plain `keras.optimizers.SGD` and scale 1 this is the rule of ST-BiSNN (Jang et al. 2020,
    arXiv:2012.08300, after the authors' code).

    Args:
        scale: positive factor between a sign and a weight: a number > 0, or ``"fan_in"``, which is
            ``1 / sqrt(fan_in)`` and keeps the variance of a sum over the inputs. Default
            ``"fan_in"``.
        clip: the latent kernel stays within ``[-clip, clip]``, so that a sign can change again; a
            number > 0, or ``None`` (default): no limit.

    Example:

    >>> rule = StraightThroughSign(scale=0.5)
    >>> rule.build((3, 1))
    >>> np.asarray(rule(np.array([[0.3], [-2.0], [0.0]], "float32"))).ravel().tolist()
    [0.5, -0.5, 0.5]
    """

    def __init__(self, scale: float | str = "fan_in", *, clip: float | None = None, **kwargs):
        super().__init__(**kwargs)
        self.factor = check_scale(scale)
        self.clip = None if clip is None else check_positive("clip", clip, " or None")

    def build(self, shape):
        self._scale = fan_in_scale(shape) if self.factor == "fan_in" else self.factor

    def constrain(self, latent):
        return latent if self.clip is None else ops.clip(latent, -self.clip, self.clip)

    @property
    def by_axes(self):
        return self.factor == "fan_in"

    def call(self, latent, training=False):
        return self._scale * straight_through(sign(latent), latent)

    def code(self, latent):
        return sign(latent)

    def scale(self, latent):
        return ops.convert_to_tensor(self._scale, "float32")

    def get_config(self):
        return {**super().get_config(), "scale": self.factor, "clip": self.clip}


def fan_in_scale(shape):
    """``1 / sqrt(fan_in)`` of a kernel of that shape."""
    return max(1, int(np.prod(shape[:-1]))) ** -0.5


def check_scale(scale):
    """Return ``"fan_in"`` or a float > 0; raise ValueError for anything else."""
    if isinstance(scale, str) and scale == "fan_in":
        return scale
    return check_positive("scale", scale, " or 'fan_in'")
