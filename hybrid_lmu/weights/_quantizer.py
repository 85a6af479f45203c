"""The contract of a weight quantizer, and what comes out of one for hardware."""

import abc
from dataclasses import dataclass

import keras
import numpy as np
from keras import ops


@dataclass(frozen=True)
class PackedWeights:
    """A kernel as integers: the network's weights are ``codes * scale``.

    Attributes:
        codes: int8, of the kernel's shape.
        scale: float32, broadcasts against the kernel (a number, or one per output).
        bits: of one code: ``ceil(log2(number of levels))``.
        levels: the integers that a code can be, in order.
    """

    codes: np.ndarray
    scale: np.ndarray
    bits: int
    levels: tuple

    @property
    def values(self):
        """The weights, float32."""
        return self.codes.astype("float32") * self.scale

    @property
    def bytes(self):
        """Packed size: the bits of all codes, in whole bytes, and 4 bytes a scale."""
        return -(-self.codes.size * self.bits // 8) + 4 * self.scale.size


class WeightQuantizer(keras.layers.Layer, abc.ABC):
    """Base of the rules by which a real (latent) kernel becomes one of few levels.

    A rule gives, for a latent kernel, `code` (integers, one of `levels`) and a positive `scale`;
    the weights at inference are their product, the *hard* weights. In training the rule may give
    others (*soft*), or a gradient of its own. `hybrid_lmu.weights.QuantizedWeights` applies it to
    any layer; a rule belongs to one kernel.

    A rule with `by_axes` wants kernels with the outputs on their last axis and the input features
    on the one before, as those of Dense, convolutions and recurrent layers of Keras; not those of
    depthwise and transposed convolutions and of EinsumDense.
    """

    levels = (-1, 1)
    inferences = ()  # the choices of the argument `inference`, if a rule has it
    by_axes = False  # whether it tells outputs from inputs

    def __init__(self, **kwargs):
        super().__init__(**{"dtype": "float32", "autocast": False, **kwargs})

    @property
    def bits(self):
        """Bits that a code takes."""
        return max(1, int(np.ceil(np.log2(len(self.levels)))))

    def prepare(self, latent):
        """Set the rule's own variables for a given kernel, and return the latent one to start from.

        Args:
            latent: array, of a kernel with full precision or fresh from its initializer.
        """
        return latent

    def constrain(self, latent):
        """Return the latent kernel as it is kept after an update; by default as it is."""
        return latent

    @abc.abstractmethod
    def code(self, latent):
        """Integers, float32, of the kernel's shape; for a rule to define."""

    @abc.abstractmethod
    def scale(self, latent):
        """A positive factor that broadcasts against the kernel; for a rule to define."""

    def hard(self, latent):
        """The weights at inference, without a gradient to the latent kernel."""
        return self.code(latent) * self.scale(latent)

    def packed(self, latent):
        """Return the `PackedWeights` of a latent kernel."""
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
        """Nothing: the layer that owns the rule builds it, also one read from a file."""


def sign(x):
    """-1 or +1, float32; 0 becomes +1; NaN stays, so that it is seen."""
    return keep_nan(ops.where(x >= 0, 1.0, -1.0), x)


def keep_nan(code, latent):
    """The code, but NaN where the latent kernel is."""
    return ops.where(ops.isnan(latent), latent, code)


def check_kernel(name, latent):
    """Return a kernel as a float32 array; raise ValueError if nothing can be learned of its range.

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
