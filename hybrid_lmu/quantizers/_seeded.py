"""A quantizer whose first state is uniform on [0, 1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from hybrid_lmu._internal.checks import check_seed
from hybrid_lmu._internal.keras_compat import in_training
from hybrid_lmu.quantizers import _fixed_point
from hybrid_lmu.quantizers.contract import Quantizer

# When the first state of each name is drawn.
WHEN_DRAWN = {"uniform": "training", "uniform_each_call": "always"}

# The golden ratio's fraction, odd, on the grid: its multiples mod 1 are spread evenly.
_GOLDEN = 10_368_889


class SeededQuantizer(Quantizer):
    """A `Quantizer` with an argument `seed`, whose first state is uniform on [0, 1).

    In training (a call with ``training=True``, as in `fit`), each sample and neuron gets a draw of
    its own. In inference, each neuron gets a fixed number, the same for all samples (`fixed_errors`
    of `seed`). So `predict` and `evaluate` give the same each time, whatever the batch size.

    Its files keep the state of the random generator, so that training goes on as it would have.

    Args:
        activation: ``f``, see `Quantizer`.
        resolution: ``w``, see `Quantizer`.
        seed: integer seed of the draws and of the fixed numbers. Default ``None``: a random seed
            for the draws, and 0 for the fixed numbers.
        draws: when the first state is drawn: ``"training"``, ``"always"`` (in inference too), or
            ``"never"`` for a quantizer that starts otherwise. Default ``"training"``.
        kwargs: the other arguments of `Quantizer`.
    """

    def __init__(
        self,
        activation: Any,
        resolution: Any,
        *,
        seed: int | None,
        draws: str = "training",
        **kwargs,
    ):
        super().__init__(activation, resolution, **kwargs)
        self.seed = check_seed("seed", seed)
        self._always_draws = draws == "always"
        drawn = self.spiking and draws != "never"
        self.seed_generator = keras.random.SeedGenerator(self.seed) if drawn else None

    def get_initial_error(self, shape):
        if self.seed_generator is None:
            return super().get_initial_error(shape)
        if not (self._always_draws or in_training(self)):
            # A sum, as PyTorch's variables refuse a tensor that is a view of fewer numbers.
            return ops.zeros(shape, dtype="float32") + fixed_errors(shape[1:], self.seed)
        error = keras.random.uniform(shape, dtype="float32", seed=self.seed_generator)
        return _fixed_point.on_grid(error)

    def save_own_variables(self, store):
        super().save_own_variables(store)
        if self.seed_generator is not None:
            store["seed"] = ops.convert_to_numpy(self.seed_generator.state)

    def load_own_variables(self, store):
        super().load_own_variables(store)
        if self.seed_generator is not None and "seed" in store.keys():
            self.seed_generator.state.assign(store["seed"])

    def get_config(self):
        return {**super().get_config(), "seed": self.seed}


def fixed_errors(shape: Sequence, seed: int | None = None):
    """Return one number in [0, 1) for each neuron, the same on every backend, float32 of `shape`.

    The n numbers of the last axis are independent draws of `numpy.random.PCG64([seed, n])`, so that
    they have the distribution of the errors in training. From one place of the axes before it to
    the next, each number moves on by the golden ratio.

    Args:
        shape: (neurons...), the last size known.
        seed: integer seed. Default None: 0.
    """
    one = _fixed_point.ONE
    # NumPy keeps the bits of PCG64 in all versions, but not the draws that it makes of them.
    bits = np.random.PCG64([(seed or 0) % 2**32, shape[-1]]).random_raw(shape[-1])
    drawn = (bits >> np.uint64(64 - _fixed_point.FRACTION_BITS)).astype("int32")
    if len(shape) == 1:
        return ops.convert_to_tensor(drawn / np.float32(one), dtype="float32")
    places = 1
    for size in shape[:-1]:
        places = places * size
    step = ops.reshape(ops.arange(places, dtype="int32") * _GOLDEN, (*shape[:-1], 1))
    drawn = ops.convert_to_tensor(drawn, dtype="int32")
    return _fixed_point.from_grid(ops.bitwise_and(step + drawn, one - 1))
