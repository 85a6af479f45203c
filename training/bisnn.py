"""BiSNN experiments: one network, three learning rules, the recipe of each on each task.

What was tried for the recipes stands in evaluation/results/README.md.
"""

import dataclasses

import keras
import numpy as np

from hybrid_lmu.local_learning import (
    BayesianRule,
    FullPrecisionRule,
    LocalSpikingNetwork,
    StraightThroughRule,
)
from training import tasks
from training.tasks import Split, TaskData, nmnist

RULES = {
    "full-precision": FullPrecisionRule,
    "straight-through": StraightThroughRule,
    "bayesian": BayesianRule,
}

# "*": what all rules of a task share; "rule": the arguments of the rule's class. Rates are large
# because gradients are means over the batch and small by the factors of a layer.
RECIPES = {
    "two-moons": {
        "*": dict(hidden=(256, 256), burn_in=10, batch_size=40, epochs=300),
        "full-precision": dict(learning_rate=0.1, rule={}),
        "straight-through": dict(learning_rate=100.0, rule=dict(clip=30.0)),
        "bayesian": dict(learning_rate=50.0, rule=dict(temperature=0.1, rho=1e-6)),
    },
    "bisnn-1d": {
        "*": dict(hidden=(128, 128), burn_in=10, batch_size=30, epochs=600),
        "full-precision": dict(learning_rate=3.0, rule=dict(initial_latent=0.5)),
        "straight-through": dict(learning_rate=1.0, rule={}),
        "bayesian": dict(learning_rate=300.0, rule=dict(temperature=0.3, rho=1e-6)),
    },
    "nmnist": {
        "*": dict(hidden=(512, 512), burn_in=10, batch_size=50, epochs=50),
        "full-precision": dict(learning_rate=1.0, rule=dict(initial_latent=0.3)),
        "straight-through": dict(learning_rate=50.0, rule=dict(initial_latent=1.0)),
        "bayesian": dict(
            learning_rate=10.0, rule=dict(temperature=0.5, rho=1e-7, initial_latent=1.0)
        ),
    },
}


# Of N-MNIST: 50 steps of 6.4 ms are five time constants of a membrane; 2 x 2 pixels as one.
NMNIST = dict(steps=50, factor=2, augment=False)


def load(task: str, data_dir=None) -> TaskData:
    """The data of a task of `RECIPES`, as spikes [N, T, F].

    N-MNIST: [N, 50, 578], 1 where a pixel of 17 x 17 saw an event of a polarity within a step of
    6.4 ms, whatever their number.
    """
    if task != "nmnist":
        return tasks.load_task(task, data_dir)
    data = nmnist.load(data_dir, **NMNIST)
    splits = {}
    for part in ("train", "validation", "test"):
        x, y = getattr(data, part).x, getattr(data, part).y
        splits[part] = Split((x > 0).astype("uint8").reshape(*x.shape[:2], -1), y)
    return dataclasses.replace(data, **splits).check()


def recipe(task: str, rule: str) -> dict:
    """The recipe of a rule on a task; ValueError for unknown names."""
    for name, value, known in (("task", task, RECIPES), ("rule", rule, RULES)):
        if value not in known:
            raise ValueError(f"`{name}` must be one of {', '.join(known)}; received: {value!r}")
    return {**RECIPES[task]["*"], **RECIPES[task][rule]}


def make_network(data: TaskData, rule: str, recipe: dict, seed: int) -> LocalSpikingNetwork:
    """A compiled network for a task with one label or target a sequence.

    One output with a binary cross entropy for two classes, else one a class; the smooth L1 loss
    for regression. The learning rate falls to 0 along a cosine over all batches.
    """
    if data.per_step:
        raise ValueError(
            f"a local network learns one label a sequence; task {data.name!r} has one a step"
        )
    if data.kind == "regression":
        loss, outputs = "huber", data.outputs
    elif data.outputs == 2:
        loss, outputs = "binary_crossentropy", 1
    else:
        loss, outputs = "sparse_categorical_crossentropy", data.outputs
    network = LocalSpikingNetwork(
        list(recipe["hidden"]), outputs, RULES[rule](**recipe["rule"]), loss,
        burn_in=recipe["burn_in"], seed=seed,
    )  # fmt: skip
    network.build((None, data.timesteps, data.features))
    steps = recipe["epochs"] * -(-len(data.train) // recipe["batch_size"])
    rate = keras.optimizers.schedules.CosineDecay(recipe["learning_rate"], steps)
    metrics = ["accuracy"] if data.kind == "classes" else []
    network.compile(keras.optimizers.SGD(rate), metrics=metrics)
    return network


def train(data: TaskData, rule: str, recipe: dict, seed: int, callbacks=()) -> tuple:
    """``(network, history)`` after all epochs; `seed` sets weights, draws and order of samples."""
    keras.utils.set_random_seed(seed)
    network = make_network(data, rule, recipe, seed)
    history = network.fit(
        data.train.x, data.train.y, batch_size=recipe["batch_size"], epochs=recipe["epochs"],
        verbose=0, callbacks=list(callbacks),
    ).history  # fmt: skip
    return network, {name: [float(v) for v in values] for name, values in history.items()}


def class_probabilities(outputs: np.ndarray) -> np.ndarray:
    """[..., classes] from the outputs of a network, [..., 1] for two classes."""
    if outputs.shape[-1] > 1:
        return outputs
    return np.concatenate([1 - outputs, outputs], axis=-1)
