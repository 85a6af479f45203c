"""Percentile and early exit as validation data choose them."""

import dataclasses

import keras
import numpy as np
import pytest
from keras import layers

from hybrid_lmu.conversion import (
    EXIT_RULES,
    Simulation,
    early_exit,
    record_activations,
    search_exit,
    search_percentile,
    simulate,
    to_spiking,
)


def ahead(each):
    """A simulation of two classes, of which the right one, 0, is ahead by so much at each step."""
    each = np.asarray(each, "float32")
    sums = np.stack([each.cumsum(axis=1), np.zeros_like(each)], axis=-1)
    return Simulation(sums, np.ones(each.shape).cumsum(axis=1), {}, 1)


def test_exit_with_the_fewest_steps_that_keeps_the_accuracy():
    # A mean of 1 is as sure of the wrong class in the last image at first as of the right one in
    # the others at all times; sums are not.
    simulation = ahead([[1, 1, 1, 1]] * 3 + [[-1, 0, 3, 1]])
    rule, left = search_exit(simulation, np.zeros(4, int), accuracy=1.0)
    assert rule == {"confidence": 0.8, "norm": "sum", "first": 1}
    assert left.steps.tolist() == [2, 2, 2, 3]


def test_nobody_leaves_before_a_spike_has_passed_all_layers():
    simulation = dataclasses.replace(ahead([[9, 0, 0, 0]] * 2), depth=3)
    assert early_exit(simulation, 0.9).steps.tolist() == [3, 3]
    assert early_exit(simulation, 0.9, first=1).steps.tolist() == [1, 1]
    assert early_exit(dataclasses.replace(simulation, depth=9), 0.9).steps.tolist() == [4, 4]


def test_depth_is_the_longest_way_through_neurons():
    a = keras.Input((6,))
    h = layers.Dense(5, "relu")(a)
    for _ in range(2):
        h = layers.Add()([h, layers.Dense(5, "relu")(layers.Dense(5, layers.LeakyReLU(0.3))(h))])
    aside = layers.Dense(5, "relu")(a)
    model = keras.Model(a, layers.Dense(3)(layers.Concatenate()([h, aside])))
    x = np.random.default_rng(0).uniform(size=(9, 6)).astype("float32")
    simulation = simulate(to_spiking(model, x, 5), x)
    assert simulation.depth == 5 and len(simulation.by_layer) == 8


def test_nobody_leaves_where_where_every_exit_loses():
    simulation = ahead([[9, 0, 0], [-9, 0, 10]])
    labels, rules = np.zeros(2, int), [{"confidence": 0.9}]
    rule, left = search_exit(simulation, labels, accuracy=1.0, rules=rules)
    assert rule["confidence"] == 1.0 and left.steps.tolist() == [3, 3]
    rule, left = search_exit(simulation, labels, accuracy=0.5, rules=rules)
    assert rule == rules[0] and left.steps.tolist() == [1, 1]


@pytest.fixture(scope="module")
def trained():
    rng = np.random.default_rng(0)
    model = keras.Sequential([keras.Input((6,)), layers.Dense(20, "relu"), layers.Dense(4)])
    for weight in model.trainable_weights:
        weight.assign(rng.normal(size=weight.shape))
    x = rng.uniform(size=(60, 6)).astype("float32")
    return model, x, model.predict(x, verbose=0).argmax(axis=-1)


def test_percentile_with_the_fewest_steps_that_keeps_the_accuracy(trained):
    model, x, labels = trained
    record, seen = record_activations(model, x), []
    options = dict(timesteps=30, initial_potential="half")
    best = search_percentile(
        model, record, (x, labels), 0.9, percentiles=iter((60.0, 95.0, 100.0)),
        rules=iter(EXIT_RULES), callback=seen.append, **options,
    )  # fmt: skip
    assert best.exit_rule in EXIT_RULES and not any(best.exit_rule is one for one in EXIT_RULES)
    assert [point.percentile for point in seen] == [60.0, 95.0, 100.0]
    kept = [p for p in seen if min(p.accuracy, p.exit.accuracy(labels)) >= 0.9]
    assert kept and best.exit.steps.mean() == min(p.exit.steps.mean() for p in kept)
    again = simulate(to_spiking(model, record, percentile=best.percentile, **options), x)
    assert again.accuracy(labels)[-1] == pytest.approx(best.accuracy)
    left = early_exit(again, **best.exit_rule)
    np.testing.assert_array_equal(left.steps, best.exit.steps)


def test_the_most_accurate_percentile_where_none_keeps_the_accuracy(trained):
    model, x, labels = trained
    seen = []
    wrong = np.where(np.arange(60) < 30, labels, (labels + 1) % 4)  # not to be reached
    best = search_percentile(
        model, x, (x, wrong), 0.9, percentiles=(1.0, 60.0, 99.0), timesteps=10, callback=seen.append
    )
    assert [point.percentile for point in seen] == [60.0, 99.0]  # at 1 the threshold would be 0
    assert best.accuracy == max(point.accuracy for point in seen)


def test_what_it_refuses(trained):
    model, x, labels = trained
    with pytest.raises(ValueError, match="at least one number"):
        search_percentile(model, x, (x, labels), 0.9, percentiles=())
    with pytest.raises(ValueError, match="would be 0"):
        search_percentile(model, x, (x, labels), 0.9, percentiles=(1.0,))
    with pytest.raises(ValueError, match="one class for each of 60 samples"):
        search_percentile(model, x, (x, labels[:7]), 0.9, timesteps=2)
