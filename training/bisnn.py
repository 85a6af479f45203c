"""BiSNN experiments: one network, three learning rules.

The tasks with `spike_recipes` (`training.tasks`) are those of this experiment.
evaluation/results/README.md lists what was tried for the recipes.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

import keras
import numpy as np

from hybrid_lmu.local_learning import (
    BayesianRule,
    FullPrecisionRule,
    LocalSpikingNetwork,
    StraightThroughRule,
)
from training import tasks
from training.tasks import SPIKE_TASKS, TASKS, TaskData

RULES = {
    "full-precision": FullPrecisionRule,
    "straight-through": StraightThroughRule,
    "bayesian": BayesianRule,
}
# Learning rates are large: gradients are means over the batch, and small by the factors of a layer.
RECIPES = {name: TASKS[name].spike_recipes for name in SPIKE_TASKS}


def load(task: str, data_dir: Path | None = None) -> TaskData:
    """The data of a task of `RECIPES`, as spikes [N, T, F].

    DataNotFound: no data; the message says how to get them.
    """
    _check_known("task", task, RECIPES)
    load_spikes = TASKS[task].load_spikes
    return load_spikes(data_dir).check() if load_spikes else tasks.load_task(task, data_dir)


def recipe(task: str, rule: str) -> dict:
    """The recipe of a rule on a task; ValueError for unknown names."""
    _check_known("task", task, RECIPES)
    _check_known("rule", rule, RULES)
    return {**RECIPES[task]["*"], **RECIPES[task][rule]}


def make_network(data: TaskData, rule: str, recipe: Mapping, seed: int) -> LocalSpikingNetwork:
    """A compiled network for a task with one label or target a sequence.

    Two classes have one output with a binary cross entropy; more classes have one output each. A
    regression has the smooth L1 loss. The learning rate falls to 0 along a cosine over all
    batches.
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


def train(
    data: TaskData,
    rule: str,
    recipe: Mapping,
    seed: int,
    *,
    callbacks: Iterable[keras.callbacks.Callback] = (),
) -> tuple[LocalSpikingNetwork, dict[str, list[float]]]:
    """``(network, history)`` after all epochs; `seed` sets weights, draws and order of samples.

    Keras shuffles the arrays and keeps the last incomplete batch: the data sets are small, so
    `training.fit`, whose batches are all of one size, does not fit here.
    """
    keras.utils.set_random_seed(seed)
    network = make_network(data, rule, recipe, seed)
    history = network.fit(
        data.train.x, data.train.y, batch_size=recipe["batch_size"], epochs=recipe["epochs"],
        verbose=0, callbacks=list(callbacks),
    ).history  # fmt: skip
    return network, {name: [float(v) for v in values] for name, values in history.items()}


def class_probabilities(outputs: np.ndarray) -> np.ndarray:
    """[..., classes] from the outputs of a network, which are [..., 1] for two classes."""
    if outputs.shape[-1] > 1:
        return outputs
    return np.concatenate([1 - outputs, outputs], axis=-1)


def _check_known(name, value, known):
    if value not in known:
        raise ValueError(f"`{name}` must be one of {', '.join(known)}; received: {value!r}")
