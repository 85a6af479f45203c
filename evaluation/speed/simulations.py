"""Simulations of a converted network: what T steps cost, all at once and step by step.

The network is a small VGG as in `training/images.py`, on 8 x 8 images, untrained: how often its
neurons fire does not change the time of dense products.
"""

import time

import keras
import numpy as np

from evaluation.speed.registry import case
from evaluation.speed.streaming import compiled
from hybrid_lmu.conversion import to_spiking

STEPS = 100


def prepare_simulation(case, group, sizes, jit="auto", modes=("infer",)):
    """As `steps.prepare`; what is built is ``(model, calls)``: so many calls with a
    batch of images are one simulation."""
    keras.utils.set_random_seed(0)
    model, calls = case.build(sizes)
    function = compiled(model, jit if case.jit is None else case.jit)
    x = keras.ops.convert_to_tensor(_images(sizes))

    def simulate():
        for _ in range(calls):
            result = function(x)
        return keras.ops.convert_to_numpy(result)

    start = time.perf_counter()
    if not np.all(np.isfinite(simulate())):
        raise ValueError(f"{case.name!r} gave values that are not finite")
    first = time.perf_counter() - start
    parameters = sum(int(np.prod(v.shape)) for v in model.trainable_variables)
    facts = {"parameters": parameters, "first_call_seconds": {"infer": first}, "calls": 1}
    return {"infer": simulate}, facts


def _images(sizes):
    return np.random.default_rng(0).random((sizes.batch, 8, 8, 1), dtype="float32")


def _source(sizes):
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input(batch_shape=(sizes.batch, 8, 8, 1)),
            layers.Conv2D(16, 3, padding="same", use_bias=False, activation="relu"),
            layers.Conv2D(16, 3, padding="same", use_bias=False),
            layers.AveragePooling2D(2),
            layers.ReLU(),
            layers.Conv2D(32, 3, padding="same", use_bias=False, activation="relu"),
            layers.Flatten(),
            layers.Dense(64, "relu", use_bias=False),
            layers.Dense(10, use_bias=False),
        ]
    )


def _spiking(sizes, timesteps, stateful=False):
    return to_spiking(_source(sizes), _images(sizes), timesteps, stateful=stateful)


@case("source network", "simulation")
def _once(s):
    return _source(s), 1


@case("T = 1", "simulation")
def _one_step(s):
    return _spiking(s, 1), 1


@case(f"T = {STEPS}, all steps of a layer at once", "simulation")
def _all_at_once(s):
    return _spiking(s, STEPS), 1


@case(f"T = {STEPS}, one step after the other", "simulation")
def _step_by_step(s):
    return _spiking(s, 1, stateful=True), STEPS
