"""Times KerasSpiking's activation beside ReLU, with an interpreter of its own.

`evaluation/speed/peers.py` runs this file.

Reads {"batch", "timesteps", "features", "repeats", "warmup"} from the first argument. Prints one
line of JSON, {"versions", "seconds": {case: {mode: [repeats]}}, "parameters"}.
"""

import json
import os
import platform
import sys
import time

os.environ["TF_USE_LEGACY_KERAS"] = "1"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def build(layer, timesteps, features):
    """The model of evaluation/speed/steps.py around a layer, in Keras 2."""
    import tensorflow as tf

    layers = tf.keras.layers

    class Factors(layers.Layer):
        def build(self, shape):
            self.factors = self.add_weight(name="factors", shape=shape[-1:], initializer="ones")

        def call(self, inputs):
            return inputs * self.factors

    inputs = tf.keras.Input((timesteps, features))
    x = layers.GlobalAveragePooling1D()(layer(Factors()(inputs)))
    model = tf.keras.Model(inputs, layers.Dense(10)(x))
    loss = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer="adam", loss=loss)
    return model


def main(argument):
    import importlib.metadata

    import keras_spiking
    import numpy as np
    import tensorflow as tf

    s = json.loads(argument)
    rng = np.random.default_rng(0)
    x = rng.random((s["batch"], s["timesteps"], s["features"]), dtype="float32")
    x, y = tf.constant(x), tf.constant(rng.integers(0, 10, s["batch"]).astype("int32"))
    made = {
        "ReLU (Keras 2)": tf.keras.layers.Activation("relu"),
        "KerasSpiking SpikingActivation(ReLU)": keras_spiking.SpikingActivation("relu"),
    }
    models = {name: build(layer, s["timesteps"], s["features"]) for name, layer in made.items()}
    modes = {
        "train": lambda model: float(model.train_on_batch(x, y)),
        "infer": lambda model: model.predict_on_batch(x),
    }
    seconds = {name: {mode: [] for mode in modes} for name in models}
    for mode, call in modes.items():
        for i in range(s["warmup"] + 1 + s["repeats"]):  # taking turns; the first one compiles
            for name, model in models.items():
                start = time.perf_counter()
                call(model)
                if i > s["warmup"]:
                    seconds[name][mode].append(time.perf_counter() - start)
    packages = ("tensorflow", "tf_keras", "keras-spiking", "numpy")
    versions = {name: importlib.metadata.version(name) for name in packages}
    result = {
        "versions": {"python": platform.python_version(), **versions},
        "seconds": seconds,
        "parameters": int(sum(np.prod(w.shape) for w in next(iter(models.values())).weights)),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main(sys.argv[1])
