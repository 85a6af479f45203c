import dataclasses

import numpy as np
import pytest

from training import bisnn
from training.tasks import Split, TaskData

random = np.random.RandomState(0)
SMALL = dict(hidden=(6, 5), burn_in=2, batch_size=4, epochs=2, learning_rate=0.1, rule={})


def data(kind="classes", outputs=2):
    if kind == "classes":
        y = np.arange(8, dtype="int32") % outputs
    else:
        y = random.normal(0, 1, (8, outputs)).astype("float32")
    split = Split(random.binomial(1, 0.5, (8, 7, 3)).astype("float32"), y)
    return TaskData("small", kind, False, outputs, split, split, split).check()


@pytest.mark.parametrize(
    "rule, kind, outputs, width",
    [(rule, "classes", 2, 1) for rule in bisnn.RULES]
    + [("bayesian", "classes", 3, 3), ("bayesian", "regression", 2, 2)],
)
@pytest.mark.slow
def test_a_network_fits_the_task(rule, kind, outputs, width):
    task = data(kind, outputs)
    network, history = bisnn.train(task, rule, SMALL, seed=0)
    assert len(history["loss"]) == 2 and np.isfinite(history["loss"]).all()
    predictions = network.predict(task.test.x, verbose=0)
    assert predictions.shape == (8, width)
    if kind == "classes":
        assert 0 <= history["accuracy"][-1] <= 1
        np.testing.assert_allclose(bisnn.class_probabilities(predictions).sum(-1), 1, rtol=1e-5)
    assert float(network.optimizer.learning_rate) == pytest.approx(0, abs=1e-8)  # 4 batches of 4


@pytest.mark.slow
def test_a_run_is_repeated_by_its_seed():
    task = data()
    runs = [bisnn.train(task, "bayesian", SMALL, seed)[1]["loss"] for seed in (3, 3, 4)]
    assert runs[0] == runs[1] != runs[2]


def test_every_recipe_makes_its_rule():
    for task in bisnn.RECIPES:
        for rule in bisnn.RULES:
            recipe = bisnn.recipe(task, rule)
            assert isinstance(bisnn.RULES[rule](**recipe["rule"]), bisnn.RULES[rule])
            assert recipe["learning_rate"] > 0 and recipe["epochs"] > 0


def test_bad_arguments():
    with pytest.raises(ValueError, match="`task` must be one of .*two-moons, .*received: 'moons'"):
        bisnn.recipe("moons", "bayesian")
    with pytest.raises(ValueError, match="`rule` must be one of full-.*received: 'hebb'"):
        bisnn.recipe("two-moons", "hebb")
    with pytest.raises(ValueError, match="task 'small' has one a step"):
        bisnn.make_network(dataclasses.replace(data(), per_step=True), "bayesian", SMALL, 0)
