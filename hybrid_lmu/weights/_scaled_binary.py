"""Binary weights with one scale per output, for networks that are to be converted to spiking."""

import keras
import numpy as np
from keras import ops

from hybrid_lmu._internal.checks import check_choice
from hybrid_lmu._internal.gradients import custom_gradient
from hybrid_lmu.weights._quantizer import WeightQuantizer, check_kernel, sign


@keras.saving.register_keras_serializable(package="hybrid_lmu")
class ScaledBinary(WeightQuantizer):
    """``W[..., o] = a[o] * sign(latent[..., o])`` with ``a[o] = mean |latent[..., o]|``.

    After each update the latent kernel is centred over its input features (separately for each
    output and position of a convolution) and clipped to [-1, 1]. Backward, with n entries per
    output, I input features, and G = dL/dW, for ``|latent| <= 1``::

        dL/dlatent_k = (1 - 1/I) * (a G_k + sign_k / n * sum_j sign_j G_j)

    The first term is the straight-through gradient, the second comes from the scale, the factor
    from the centring. (The authors' code multiplies by a further constant, n * 1e9. Adam divides it
    out, except for its epsilon, and coupled weight decay vanishes beside it. We leave it out.)

    Args:
        centre: centre the latent kernel; needs 2 input features. Default True.

    Source: the training of Lu & Sengupta (2020), Front. Neurosci. 14:535, after the first author's
    code; the form is that of XNOR-Net's binary-weight networks.

    Example:

    >>> rule = ScaledBinary(centre=False)
    >>> rule.build((3, 1))
    >>> packed = rule.packed(np.array([[0.1], [-0.6], [0.5]], "float32"))
    >>> packed.codes.ravel().tolist(), round(float(packed.scale[0, 0]), 6)
    ([1, -1, 1], 0.4)
    """

    by_axes = True

    def __init__(self, *, centre: bool = True, **kwargs):
        super().__init__(**kwargs)
        self.centre = check_choice("centre", centre, (True, False))

    def build(self, shape):
        if self.centre and (len(shape) < 2 or shape[-2] < 2):
            raise ValueError(
                f"`{self.name}` centres a kernel over its input features and expects at least 2 on "
                f"the axis before the last; received shape {tuple(shape)}. Use `centre=False`, or "
                "leave the layer out."
            )

    def prepare(self, latent):
        latent = check_kernel(self.name, latent)
        if self.centre and np.all(np.ptp(latent, axis=-2) == 0):
            raise ValueError(
                f"`{self.name}` centres a kernel over its input features, so that nothing is left "
                "of one that is constant over them; expected an initializer that draws, or "
                f"`centre=False`; received a constant kernel of shape {latent.shape}."
            )
        return check_kernel(self.name, self.constrain(ops.convert_to_tensor(latent)))

    def constrain(self, latent):
        if self.centre:
            latent = latent - ops.mean(latent, axis=-2, keepdims=True)
        return ops.clip(latent, -1.0, 1.0)

    def call(self, latent, training=False):
        return _scaled_sign(latent, 1.0 - 1.0 / latent.shape[-2] if self.centre else 1.0)

    def code(self, latent):
        return sign(latent)

    def scale(self, latent):
        return _mean_size(latent)

    def get_config(self):
        return {**super().get_config(), "centre": self.centre}


def _mean_size(latent):
    return ops.mean(ops.abs(latent), axis=tuple(range(len(latent.shape) - 1)), keepdims=True)


def _scaled_sign(latent, share):
    """``a * sign(latent)`` with the gradient of `ScaledBinary`, times `share`."""

    @custom_gradient
    def weights(latent):
        scale, signs = _mean_size(latent), sign(latent)
        axes = tuple(range(len(latent.shape) - 1))
        n = int(np.prod(latent.shape[:-1]))

        def gradient(upstream):
            of_scale = signs * ops.sum(signs * upstream, axis=axes, keepdims=True) / n
            within = ops.cast(ops.abs(latent) <= 1.0, upstream.dtype)
            return share * (scale * within * upstream + of_scale)

        return scale * signs, gradient

    return weights(latent)
