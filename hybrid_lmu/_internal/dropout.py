"""Dropout that drops the same units at all steps of a sequence."""

import keras
from keras import ops


class SequenceDropout:
    """A mask that is drawn once a sequence, outside any loop over time, and forgotten after it.

    Args:
        rate: share of the units to drop, in [0, 1); 0: nothing is drawn and nothing dropped.
        generator: `keras.random.SeedGenerator`, owned by the layer; may be None with rate 0.
    """

    def __init__(self, rate, generator):
        self.rate, self.generator = rate, generator
        self._mask = None

    def draw(self, shape, dtype):
        """Draw the mask, [batch, units], unless it is drawn."""
        if self.rate and self._mask is None:
            ones = ops.ones(shape, dtype=dtype)
            self._mask = keras.random.dropout(ones, self.rate, seed=self.generator)

    def __call__(self, x, training):
        """x, of shape [batch, units] or [batch, time, units], with the units dropped."""
        if not (training and self.rate):
            return x
        shape = ops.shape(x)
        self.draw((shape[0], shape[-1]), x.dtype)
        return x * (self._mask if len(shape) == 2 else ops.expand_dims(self._mask, 1))

    def forget(self):
        """Draw anew for the next sequence."""
        self._mask = None
