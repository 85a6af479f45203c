"""BiSNN experiments: one network, three learning rules, the recipe of each on each task.

What was tried for the recipes stands in evaluation/results/README.md.
"""

import keras
import numpy as np

from hybrid_lmu.local_learning import (
    BayesianRule,
    FullPrecisionRule,
    LocalSpikingNetwork,
    StraightThroughRule,
)
from training.tasks import TaskData

RULES = {
    "full-precision": FullPrecisionRule,
    "straight-through": StraightThroughRule,
    "bayesian": BayesianRule,
}

# "*": what all rules of a task share; "rule": the arguments of the rule's class.
RECIPES = {
    "two-moons": {
        "*": dict(hidden=(64, 64), burn_in=10, batch_size=40, epochs=600),
        "full-precision": dict(learning_rate=0.3, rule={}),
        "straight-through": dict(learning_rate=30.0, rule={}),
        "bayesian": dict(learning_rate=1.0, rule=dict(rho=5e-4)),
    },
    "bisnn-1d": {
        "*": dict(hidden=(128, 128), burn_in=10, batch_size=30, epochs=600),
        "full-precision": dict(learning_rate=0.3, rule={}),
        "straight-through": dict(learning_rate=30.0, rule={}),
        "bayesian": dict(learning_rate=1.0, rule=dict(rho=5e-4)),
    },
}


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
