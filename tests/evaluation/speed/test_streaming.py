import keras
import numpy as np
import pytest

from evaluation.speed.registry import CASES, GROUPS, Case, Sizes
from evaluation.speed.streaming import compiled, initial_states, prepare_cell
from hybrid_lmu import LegendreMemory, LegendreMemoryCell
from hybrid_lmu.memory import legendre

SIZES = Sizes(batch=1, timesteps=40, order=5, units=3)


def test_states_are_carried_from_call_to_call():
    case = Case("memory", "stream", lambda s: LegendreMemoryCell(s.order, s.timesteps))
    functions, facts = prepare_cell(case, GROUPS["stream"], SIZES)
    output = functions["stream"](calls=6)  # and one when it was prepared
    u = np.random.default_rng(0).random((1, 1), dtype="float32")[0, 0]
    response = legendre.impulse_response(5, 40.0, "zoh", 7)
    np.testing.assert_allclose(output[0], u * response.sum(axis=0), rtol=1e-4)
    assert facts["calls"] > 1


def test_a_compiled_stateful_layer_goes_on_where_it_was():
    x = np.random.default_rng(0).random((1, 12, 1), dtype="float32")
    layer = LegendreMemory(5, 40, return_sequences=True, stateful=True)
    layer.build((1, 4, 1))
    function = compiled(layer)
    pieces = [keras.ops.convert_to_numpy(function(x[:, i : i + 4])) for i in (0, 4, 8)]
    whole = keras.ops.convert_to_numpy(LegendreMemory(5, 40, return_sequences=True)(x))
    np.testing.assert_allclose(np.concatenate(pieces, axis=1), whole, rtol=1e-4, atol=1e-6)


def test_a_cell_that_does_not_say_its_initial_states_starts_from_zeros():
    class Cell:
        state_size = [3, [2]]

    assert [tuple(s.shape) for s in initial_states(Cell())] == [(1, 3), (1, 2)]


@pytest.mark.parametrize("discretizer", ["euler", "bilinear"])
def test_the_structured_case_steps_as_the_dense_product(discretizer):
    case = CASES[f"O(order) form, {discretizer}"]
    memory, u = np.linspace(-1, 1, 5, dtype="float32"), np.float32(0.7)
    a_bar, b_bar = legendre.discretize(5, 40, discretizer)
    np.testing.assert_allclose(case.build(SIZES)(memory, u), a_bar @ memory + b_bar * u, rtol=1e-4)
    assert case.products(Sizes(order=256)) * 20 <= CASES["dense product"].products(Sizes(order=256))


def test_the_dense_case_steps_as_its_matrices():
    memory, u = np.linspace(-1, 1, 5, dtype="float32"), np.float32(0.7)
    a_bar, b_bar = legendre.discretize(5, 40, "euler")
    result = CASES["dense product"].build(SIZES)(memory, u)
    np.testing.assert_allclose(result, a_bar @ memory + b_bar * u, rtol=1e-4)
    assert result.dtype == "float32"
