"""A discrete system of given matrices takes the place of a rule, in all forms of the memory."""

import keras
import numpy as np
import pytest

from hybrid_lmu import (
    DiscreteSystem,
    HybridLMU,
    HybridLMUCell,
    LegendreMemory,
    LegendreMemoryCell,
    activity_report,
)
from hybrid_lmu.memory import legendre

RNG = np.random.default_rng(0)
X = RNG.normal(size=(3, 30, 2)).astype("float32")
ROTATION = 0.9 * np.linalg.qr(RNG.normal(size=(4, 4)))[0]  # a system that is not Legendre's
SYSTEM = DiscreteSystem(ROTATION, RNG.normal(size=4))


def of(tensor):
    return keras.ops.convert_to_numpy(tensor)


def test_parallel_last_and_step_form_are_the_recurrence():
    a_bar, b_bar = SYSTEM.matrices()
    m, every = np.zeros((3, 2, 4)), []
    for t in range(30):
        m = m @ a_bar.T + X[:, t, :, None] * b_bar
        every.append(m.reshape(3, 8))
    options = dict(order=4, theta=9, memory_d=2, discretizer=SYSTEM)
    whole = of(LegendreMemory(**options, return_sequences=True)(X))
    np.testing.assert_allclose(whole, np.stack(every, axis=1), rtol=0, atol=1e-5)
    np.testing.assert_allclose(of(LegendreMemory(**options)(X)), every[-1], rtol=0, atol=1e-5)
    steps = keras.layers.RNN(LegendreMemoryCell(**options), return_sequences=True)
    np.testing.assert_allclose(of(steps(X)), whole, rtol=0, atol=1e-5)


def test_that_of_a_rule_is_the_rule():
    given = DiscreteSystem(*legendre.discretize(6, 20.0, "zoh"))
    rule, ours = (LegendreMemory(6, 20, 2, discretizer=one)(X) for one in ("zoh", given))
    np.testing.assert_allclose(of(ours), of(rule), rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", ["layer", "cell", "memory"])
def test_is_saved_and_cloned_with_the_model(kind, tmp_path):
    hidden = keras.layers.SimpleRNNCell(5)
    layer = {
        "layer": lambda: HybridLMU(2, 4, 9, hidden, discretizer=SYSTEM, memory_resolution=8),
        "cell": lambda: keras.layers.RNN(HybridLMUCell(2, 4, 9, hidden, discretizer=SYSTEM)),
        "memory": lambda: LegendreMemory(4, 9, 2, discretizer=SYSTEM),
    }[kind]()
    model = keras.Sequential([keras.Input((30, 2)), layer])
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(of(again(X)), of(model(X)))
    copy = keras.models.clone_model(model)
    cell = copy.layers[-1].cell
    assert getattr(cell, "memory", cell).discretizer == SYSTEM


def test_its_products_are_counted():
    layer = HybridLMU(2, 4, 9, None, kernel_initializer=None, discretizer=SYSTEM)
    model = keras.Sequential([keras.Input((30, 2)), layer])
    product = next(p for p in activity_report(model, X).products if p["name"].endswith("memory A"))
    assert product["weights"] == product["nonzero_weights"] == 16


def test_equal_if_all_values_are():
    same = DiscreteSystem(*SYSTEM.matrices())
    other = DiscreteSystem(np.eye(4), np.ones(4))
    assert same == SYSTEM and hash(same) == hash(SYSTEM) and other != SYSTEM and SYSTEM != "zoh"
    assert repr(SYSTEM) == "<DiscreteSystem of order 4>"


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: DiscreteSystem(np.ones((3, 2)), np.ones(3)), r"received shapes \(3, 2\) and"),
        (lambda: DiscreteSystem(np.ones((0, 0)), []), "order >= 1"),
        (lambda: LegendreMemory(4, 9, discretizer=np.eye(4)), "two matrices; received: array"),
        (lambda: DiscreteSystem(np.eye(2), [1, np.nan]), "must be finite; received NaN"),
        (lambda: LegendreMemory(5, 9, discretizer=SYSTEM), "order of the memory, 5; received <Dis"),
        (
            lambda: LegendreMemory(4, 9, discretizer=SYSTEM, trainable_theta=True),
            "`trainable_theta` needs a `discretizer` by name",
        ),
    ],
)
def test_what_it_refuses(make, message):
    with pytest.raises(ValueError, match=message):
        make()
