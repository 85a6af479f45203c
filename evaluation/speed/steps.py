"""From a layer to the two callables the benchmark times: a training step and an inference.

Every layer stands in the same model: [batch, time, features], one trainable factor per feature
(so that a gradient has to pass the layer, also one without weights), the layer, an average over
time if it returns sequences, and a linear readout of 10 classes; loss softmax cross-entropy, Adam.
Both callables end in NumPy values: an asynchronous backend is waited for, not only its queue.
"""

import time

import keras
import numpy as np

from evaluation.speed.registry import LAYER_MODES

CLASSES = 10


class Factors(keras.layers.Layer):
    """One trainable factor per feature. As cheap as can be: it is part of every time."""

    def build(self, shape):
        self.factors = self.add_weight(name="factors", shape=shape[-1:], initializer="ones")

    def call(self, inputs):
        return inputs * self.factors


def build_model(layer, timesteps, features, jit="auto"):
    """The benchmark's model around a layer. jit: "auto", True or False."""
    inputs = keras.Input((timesteps, features))
    x = layer(Factors()(inputs))
    if len(x.shape) == 3:
        x = keras.layers.GlobalAveragePooling1D()(x)
    model = keras.Model(inputs, keras.layers.Dense(CLASSES)(x))
    model.compile(
        optimizer="adam",
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=jit,
    )
    return model


def batch_of(sizes, features, seed=0):
    """One synthetic batch (inputs uniform on [0, 1), labels), on the backend's device."""
    rng = np.random.default_rng(seed)
    x = rng.random((sizes.batch, sizes.timesteps, features), dtype="float32")
    y = rng.integers(0, CLASSES, sizes.batch).astype("int32")
    return keras.ops.convert_to_tensor(x), keras.ops.convert_to_tensor(y)


def step_functions(model, x, y, modes=LAYER_MODES):
    """Dict of mode -> callable without arguments, blocking until the numbers exist."""

    def train():
        loss = float(model.train_on_batch(x, y))
        for weight in model.trainable_variables:
            keras.ops.convert_to_numpy(weight.value)
        return loss

    def infer():
        return np.asarray(model.predict_on_batch(x))

    functions = {"train": train, "infer": infer}
    return {mode: functions[mode] for mode in modes}


def prepare(case, group, sizes, jit="auto", modes=LAYER_MODES):
    """Builds a case and makes its first calls.

    Returns (functions by mode, facts); facts: number of trainable parameters, by mode the seconds
    of the first call, which traces and compiles, the number of calls in one timing, whether it is
    compiled by XLA, and FLOP of the products in a training step, None if not known.
    """
    features = group.features(sizes)
    keras.utils.set_random_seed(0)
    jit = jit if case.jit is None else case.jit
    model = build_model(case.build(sizes), sizes.timesteps, features, jit)
    functions = step_functions(model, *batch_of(sizes, features), modes)
    first = {}
    for mode, function in functions.items():
        start = time.perf_counter()
        result = function()
        first[mode] = time.perf_counter() - start
        if not np.all(np.isfinite(result)):
            raise ValueError(f"the {mode} step of {case.name!r} gave values that are not finite")
    parameters = sum(int(np.prod(w.shape)) for w in model.trainable_variables)
    return functions, {
        "parameters": parameters,
        "first_call_seconds": first,
        "calls": 1,
        "jit": bool(model.jit_compile),
        "flop": 2 * case.products(sizes) if case.products else None,
    }
