"""A quantizer whose state starts from a uniform draw."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from hybrid_lmu.quantizers import _fixed_point
from hybrid_lmu.quantizers.contract import Quantizer


class SeededQuantizer(Quantizer):
    """A `Quantizer` with an argument `seed`, which draws its first state uniformly on [0, 1).

    Its files keep the state of the random generator, so a loaded model goes on as the saved one.

    Args:
        activation: ``f``, see `Quantizer`.
        resolution: ``w``, see `Quantizer`.
        seed: integer seed of the draw. Default ``None``: a random seed.
        draws: False for a quantizer that does not draw its first state after all. Default True.
        kwargs: the other arguments of `Quantizer`.
    """

    def __init__(
        self, activation: Any, resolution: Any, *, seed: int | None, draws: bool = True, **kwargs
    ):
        super().__init__(activation, resolution, **kwargs)
        self.seed = None if seed is None else int(seed)
        draws = draws and self.spiking
        self.seed_generator = keras.random.SeedGenerator(self.seed) if draws else None

    def get_initial_error(self, shape):
        if self.seed_generator is None:
            return super().get_initial_error(shape)
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
