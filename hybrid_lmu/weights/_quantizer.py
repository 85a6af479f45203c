"""The contract of a weight quantizer, and the integers that come out of one.

A weight quantizer makes the weights of a layer from a **latent kernel**, the real kernel that the
optimizer trains. The weights after training, the *hard* weights, are ``code * scale``: a code is an
integer, one of `levels`; the scale is a positive factor. In training a quantizer may give other
weights (*soft*), and a gradient of its own.

A quantizer of your own is a subclass of `WeightQuantizer` that defines three methods:

    @keras.saving.register_keras_serializable(package="mine")
    class Ternary(WeightQuantizer):
        levels = (-1, 0, 1)

        def call(self, latent, training=False):
            return latent + ops.stop_gradient(self.hard(latent) - latent)  # straight-through

        def code(self, latent):
            return ops.clip(ops.round(latent / self.scale(latent)), -1.0, 1.0)

        def scale(self, latent):
            return ops.mean(ops.abs(latent))

`call(latent, training)` returns the weights of a call, [same shape as latent]: the hard weights if
not `training`. `code` and `scale` have to agree with it, because reports, footprints and conversion
read only these two. The rest has defaults: `build(shape)` adds variables of the quantizer,
`prepare` sets them from a kernel, `constrain` keeps the latent kernel in a range, `get_config`
returns the arguments of the constructor. `QuantizedWeights` makes one copy of the quantizer for
each kernel, by its configuration, and saves its variables with the model.
"""

import abc
from dataclasses import dataclass

import keras
import numpy as np
from keras import ops


@dataclass(frozen=True)
class PackedWeights:
    """A kernel as integers: the network's weights are ``codes * scale``.

    Attributes:
        codes: int8, in the shape of the kernel.
        scale: float32, broadcasts against the kernel (a number, or one per output).
        bits: bits of one code, ``ceil(log2(number of levels))``.
        levels: the integers that a code can be, in increasing order.
    """

    codes: np.ndarray
    scale: np.ndarray
    bits: int
    levels: tuple[int, ...]

    @property
    def values(self) -> np.ndarray:
        """The weights, float32."""
        return self.codes.astype("float32") * self.scale

    @property
    def bytes(self) -> int:
        """Packed size: the bits of all codes, in whole bytes, and 4 bytes a scale."""
        return -(-self.codes.size * self.bits // 8) + 4 * self.scale.size


class WeightQuantizer(keras.layers.Layer, abc.ABC):
    """Base of the weight quantizers; the module `hybrid_lmu.weights._quantizer` has the contract.

    `hybrid_lmu.weights.QuantizedWeights` applies a quantizer to any layer. A quantizer belongs to
    one kernel. All kernels are float32.

    Attributes:
        levels: the integers that a code can be, in increasing order, within -127 and 127. Default
            -1 and 1.
        inferences: the choices of the argument `inference` of the constructor, if there is one; see
            `with_inference`. Default: none.
        by_axes: whether the quantizer tells inputs from outputs. It then needs kernels with the
            outputs on the last axis and the input features on the axis before, as Dense,
            convolutions and recurrent layers of Keras have them. Depthwise and transposed
            convolutions and EinsumDense are then an error. Default False.
    """

    levels: tuple[int, ...] = (-1, 1)
    inferences: tuple[str, ...] = ()
    by_axes = False

    def __init__(self, **kwargs):
        super().__init__(**{"dtype": "float32", "autocast": False, **kwargs})

    @property
    def bits(self) -> int:
        """Bits that a code takes, ``ceil(log2(number of levels))``."""
        return max(1, int(np.ceil(np.log2(len(self.levels)))))

    def prepare(self, latent):
        """Set the variables of the quantizer for a kernel; return the latent kernel to start from.

        Args:
            latent: array, a kernel of full precision: trained, or fresh from its initializer.
        """
        return latent

    def constrain(self, latent):
        """Return the latent kernel to keep after an update; by default `latent` itself."""
        return latent

    @abc.abstractmethod
    def code(self, latent):
        """Return the codes: integers as float32, in the shape of the kernel."""

    @abc.abstractmethod
    def scale(self, latent):
        """Return the scale: positive, float32, broadcasts against the kernel."""

    def hard(self, latent):
        """Return the hard weights, ``code * scale``."""
        return self.code(latent) * self.scale(latent)

    def packed(self, latent) -> PackedWeights:
        """Return the `PackedWeights` of a latent kernel.

        Raises:
            ValueError: if an entry of the kernel is NaN or infinite.
        """
        latent = ops.cast(ops.convert_to_tensor(latent), "float32")
        bad = int(np.sum(~np.isfinite(ops.convert_to_numpy(latent))))
        if bad:
            raise ValueError(f"A kernel must be finite; received {bad} NaN or infinite entries.")
        return PackedWeights(
            ops.convert_to_numpy(self.code(latent)).astype("int8"),
            np.asarray(ops.convert_to_numpy(self.scale(latent)), "float32"),
            self.bits,
            tuple(self.levels),
        )

    def get_build_config(self):
        """Return None: `QuantizedWeights` builds the quantizer, also one from a file."""


def sign(x):
    """Return -1 or +1, float32; 0 becomes +1; NaN stays NaN, so that it shows."""
    return keep_nan(ops.where(x >= 0, 1.0, -1.0), x)


def keep_nan(code, latent):
    """Return the code, with NaN where the latent kernel is NaN."""
    return ops.where(ops.isnan(latent), latent, code)


def check_kernel(name, latent):
    """Return a kernel as a float32 array; raise ValueError if it has no range to set a scale from.

    Raises:
        ValueError: if an entry is not finite, or all are zero.
    """
    latent = np.asarray(ops.convert_to_numpy(latent), "float32")
    if not np.all(np.isfinite(latent)):
        raise ValueError(
            f"The kernel of `{name}` must be finite; received "
            f"{int(np.sum(~np.isfinite(latent)))} NaN or infinite entries."
        )
    if latent.size == 0 or np.max(np.abs(latent)) == 0:
        raise ValueError(
            f"The kernel of `{name}` must have entries other than 0, whose range sets the scale; "
            f"received a kernel of shape {latent.shape} of zeros."
        )
    return latent
