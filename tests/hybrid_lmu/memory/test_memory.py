"""The Legendre memory: its matrices, and the agreement of its three ways of computing."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops
from scipy.signal import cont2discrete

from hybrid_lmu import LegendreMemory, LegendreMemoryCell, SigmaDeltaQuantizer
from hybrid_lmu.lmu._feedback import run_with_counts_fed_back
from hybrid_lmu.memory import legendre

to_numpy = ops.convert_to_numpy


def simulate(u, order, theta, discretizer):
    """The recurrence in float64."""
    a_bar, b_bar = legendre.discretize(order, float(theta), discretizer)
    m = np.zeros((u.shape[0], u.shape[2], order))
    steps = []
    for t in range(u.shape[1]):
        m = m @ a_bar.T + u[:, t, :, None] * b_bar
        steps.append(m.reshape(u.shape[0], -1))
    return np.stack(steps, axis=1)


def test_published_matrices():
    a, b = legendre.legendre_system(3)
    np.testing.assert_array_equal(a, [[-1, -1, -1], [3, -3, -3], [-5, 5, -5]])
    np.testing.assert_array_equal(b, [1, -3, 5])
    a_bar, b_bar = legendre.discretize(2, 4.0, "zoh")
    np.testing.assert_allclose(a_bar, [[0.717509, -0.148493], [0.445480, 0.420522]], atol=1e-6)
    np.testing.assert_allclose(b_bar, [0.282491, -0.445480], atol=1e-6)


@pytest.mark.parametrize("method", ["zoh", "euler", "bilinear"])
def test_discretization_agrees_with_scipy(method):
    a, b = legendre.legendre_system(5)
    system = (a / 30, b[:, None] / 30, np.eye(5), np.zeros((5, 1)))
    a_ref, b_ref, *_ = cont2discrete(system, dt=1.0, method=method)
    a_bar, b_bar = legendre.discretize(5, 30.0, method)
    np.testing.assert_allclose(a_bar, a_ref, atol=1e-12)
    np.testing.assert_allclose(b_bar, b_ref[:, 0], atol=1e-12)


def test_memory_holds_the_window():
    """Decoding the memory at relative age r gives back the input of r * theta steps ago.

    A held input is, on average, half a step younger.
    """
    theta, order = 100, 12
    u = np.sin(np.arange(400) * 2 * np.pi / 80)[None, :, None].astype("float32")
    m = to_numpy(LegendreMemory(order, theta, discretizer="zoh")(u))[0]
    for age in (0.25, 0.5, 0.75):
        decoder = np.polynomial.legendre.legvander(np.array([2 * age - 1]), order - 1)[0]
        assert abs(decoder @ m - np.sin((399.5 - age * theta) * 2 * np.pi / 80)) < 0.01


@pytest.mark.parametrize("trainable_theta", [False, True])
@pytest.mark.parametrize("discretizer", ["zoh", "euler", "bilinear"])
@pytest.mark.parametrize(
    "order, theta, steps, memory_d",
    [(6, 100, 200, 1), (1, 3, 7, 2), (16, 130, 33, 3), (4, 500, 64 * 67 + 5, 1)],
)
@pytest.mark.broad(6)
def test_parallel_last_and_stepwise_agree(
    order, theta, steps, memory_d, discretizer, trainable_theta
):
    u = np.random.default_rng(0).normal(size=(2, steps, memory_d)).astype("float32")
    expected = simulate(u, order, theta, discretizer)
    options = {"discretizer": discretizer, "trainable_theta": trainable_theta}
    layer = LegendreMemory(order, theta, memory_d, return_sequences=True, **options)
    tolerance = {"rtol": 0, "atol": 3e-5 * np.abs(expected).max()}
    np.testing.assert_allclose(to_numpy(layer(u)), expected, **tolerance)
    if steps < 1000:  # a loop of thousands takes a minute uncompiled, and says no more
        stepwise = keras.layers.RNN(layer.cell, return_sequences=True)
        np.testing.assert_allclose(to_numpy(stepwise(u)), expected, **tolerance)
    last = LegendreMemory(order, theta, memory_d, **options)
    np.testing.assert_allclose(to_numpy(last(u)), expected[:, -1], **tolerance)


@pytest.mark.parametrize("steps", [4096, 2 * 4096 + 37])
def test_the_last_state_of_a_long_sequence(steps):
    u = np.random.default_rng(0).normal(size=(1, steps, 2)).astype("float32")
    expected = simulate(u, 4, 3000.0, "zoh")[:, -1]
    for trainable_theta in (False, True):
        layer = LegendreMemory(4, 3000.0, 2, trainable_theta=trainable_theta)
        tolerance = 3e-4 * np.abs(expected).max()
        np.testing.assert_allclose(to_numpy(layer(u)), expected, atol=tolerance)


@pytest.mark.parametrize("return_sequences", [False, True])
def test_streaming_from_a_state_is_one_long_call(return_sequences):
    u = np.random.default_rng(0).normal(size=(2, 70, 2)).astype("float32")
    make = lambda **kwargs: LegendreMemory(5, 40, 2, return_sequences=return_sequences, **kwargs)  # noqa: E731
    whole = to_numpy(make()(u))
    streaming = make(stateful=True)
    parts = [to_numpy(streaming(part)) for part in (u[:, :9], u[:, 9:10], u[:, 10:])]
    joined = np.concatenate(parts, axis=1) if return_sequences else parts[-1]
    np.testing.assert_allclose(joined, whole, atol=2e-6)
    _, state = make(return_state=True)(u[:, :30])
    after = to_numpy(make()(u[:, 30:], initial_state=[state]))
    np.testing.assert_allclose(after, whole[:, 30:] if return_sequences else whole, atol=2e-6)


def test_backwards_and_masked():
    u = np.random.default_rng(0).normal(size=(2, 20, 1)).astype("float32")
    backwards = LegendreMemory(4, 10, go_backwards=True, return_sequences=True)(u)
    forwards = LegendreMemory(4, 10, return_sequences=True)(u[:, ::-1])
    np.testing.assert_allclose(to_numpy(backwards), to_numpy(forwards), atol=1e-6)
    mask = np.arange(20)[None] < np.array([[12], [20]])
    masked = to_numpy(LegendreMemory(4, 10)(u, mask=ops.convert_to_tensor(mask)))
    np.testing.assert_allclose(masked[0], to_numpy(LegendreMemory(4, 10)(u[:1, :12]))[0], atol=1e-6)


@pytest.mark.slow
def test_theta_is_learned():
    """The delay of the input is found by gradient descent on theta."""
    rng = np.random.default_rng(0)
    u = np.cumsum(rng.normal(size=(16, 60, 1)), axis=1).astype("float32") / 8
    layer = LegendreMemory(3, 30.0, trainable_theta=True)
    target = to_numpy(LegendreMemory(3, 24.0)(u))
    model = keras.Sequential([keras.Input((60, 1)), layer])
    model.compile(keras.optimizers.Adam(3e-4), "mse")
    model.fit(u, target, epochs=60, batch_size=16, verbose=0)
    assert abs(layer.theta - 24.0) < 1.0


@pytest.mark.parametrize("discretizer", ["zoh", "euler", "bilinear"])
def test_a_trained_theta_stays_where_the_memory_is_stable(discretizer):
    u = np.random.default_rng(0).normal(size=(1, 80, 1)).astype("float32")
    smallest = {"euler": legendre.smallest_euler_theta(8)}.get(discretizer, 100.0 / 16)
    layer = LegendreMemory(8, 100.0, discretizer=discretizer, trainable_theta=True)
    layer(u)
    inverse = layer.cell.theta_inv
    for moved, kept in ((1.0, smallest), (np.inf, 1600.0), (90.0, 90.0)):
        inverse.assign(1 / moved)
        assert layer.theta == pytest.approx(kept)
        whole, steps = to_numpy(layer(u)), to_numpy(layer.cell.transition()[0])
        assert np.abs(np.linalg.eigvals(steps)).max() < 1 + 1e-4
        assert np.abs(whole).max() < 100
        assert to_numpy(inverse.constraint(inverse)) == pytest.approx(1 / kept)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"order": 0, "theta": 4}, "`order` must be an integer >= 1; received: 0"),
        ({"order": 2.5, "theta": 4}, "`order` must be an integer >= 1; received: 2.5"),
        ({"order": 2, "theta": 0}, "`theta` must be a finite number of steps > 0; received: 0"),
        ({"order": 2, "theta": float("nan")}, "`theta` must be a finite number"),
        ({"order": 2, "theta": True}, "`theta` must be a finite number .*; received: True"),
        ({"order": 2, "theta": 4, "memory_d": -1}, "`memory_d` must be an integer >= 1"),
        (
            {"order": 2, "theta": 4, "discretizer": "tustin"},
            "must be one of 'zoh', 'pade', 'euler', 'bil",
        ),
        ({"order": 20, "theta": 40, "discretizer": "euler"}, "needs theta >= 87.86"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        LegendreMemoryCell(**arguments)


@settings(max_examples=40, deadline=None)
@given(
    order=st.integers(1, 40),
    ratio=st.floats(0.5, 50),
    discretizer=st.sampled_from(["euler", "bilinear", "pade"]),
    seed=st.integers(0, 999),
)
def test_structured_step_is_the_dense_one(order, ratio, discretizer, seed):
    """In O(order) operations, in float64 and float32, for any number of memories."""
    rng, theta = np.random.default_rng(seed), order * ratio
    memory, u = rng.normal(size=(2, 3, order)), rng.normal(size=(2, 3))
    a_bar, b_bar = legendre.discretize(order, theta, discretizer)
    expected = memory @ a_bar.T + u[..., None] * b_bar
    size = np.abs(expected).max() + np.abs(a_bar).max()
    for dtype, accuracy in (("float64", 1e-12), ("float32", 1e-5)):
        new = legendre.structured_step(memory.astype(dtype), u.astype(dtype), theta, discretizer)
        assert new.dtype == dtype
        np.testing.assert_allclose(new, expected, atol=accuracy * size * order)


def test_structured_step_counts_its_operations_and_refuses_zoh():
    assert legendre.step_operations(256, "euler") == {"dense": 65_792, "structured": 1_536}
    assert legendre.step_operations(256, "zoh")["structured"] is None
    assert legendre.step_operations(256, "pade")["structured"] == 17 * 256
    with pytest.raises(ValueError, match="'euler', 'bilinear' or 'pade'; received: 'zoh'"):
        legendre.structured_step(np.zeros(4), 1.0, 20.0, "zoh")


@pytest.mark.parametrize(
    "order, theta, bound", [(2, 10, 1e-7), (8, 50, 1e-4), (16, 100, 1e-3), (468, 784, None)]
)
def test_pade_is_close_to_the_zero_order_hold(order, theta, bound):
    """Stable for all; and where the polynomials are slow beside a step, the same response."""
    a_bar, _ = legendre.discretize(order, theta, "pade")
    assert np.abs(np.linalg.eigvals(a_bar)).max() < 1
    if bound is not None:
        exact = legendre.impulse_response(order, theta, "zoh", 2 * theta)
        found = legendre.impulse_response(order, theta, "pade", 2 * theta)
        assert np.abs(found - exact).max() < bound * np.abs(exact).max()


def test_trained_theta_of_the_pade_rule():
    """The matrices from the weight are those of `legendre`, and theta has a gradient."""
    cell = LegendreMemoryCell(8, 20.0, discretizer="pade", trainable_theta=True)
    cell.build((None, 1))
    for found, expected in zip(
        cell.transition(), legendre.discretize(8, 20.0, "pade"), strict=True
    ):
        np.testing.assert_allclose(ops.convert_to_numpy(found), expected, atol=1e-5)


@pytest.mark.parametrize("trainable_theta", [False, True])
def test_prefix_sums_take_the_place_of_a_large_product(trainable_theta):
    """From order 1,024 on, the cell does not make the dense matrices at all."""
    theta, order = 3e6, 1024
    cell = LegendreMemoryCell(order, theta, 1, discretizer="euler", trainable_theta=trainable_theta)
    cell.build((None, 1))
    rng = np.random.default_rng(0)
    memory, u = rng.normal(size=(2, order)), rng.normal(size=(2, 1))
    a_bar, b_bar = legendre.discretize(order, theta, "euler")
    cell.transition = None
    new = cell.step(ops.convert_to_tensor(memory, "float32"), ops.convert_to_tensor(u, "float32"))
    np.testing.assert_allclose(to_numpy(new), memory @ a_bar.T + u * b_bar, atol=1e-5)


def test_euler_bound_is_where_it_becomes_unstable():
    for order in (2, 5, 12):
        bound = legendre.smallest_euler_theta(order)
        radius = [
            np.abs(np.linalg.eigvals(legendre.discretize(order, bound * s, "euler")[0])).max()
            for s in (0.99, 1.01)
        ]
        assert radius[0] > 1 > radius[1]


def test_bad_inputs():
    with pytest.raises(ValueError, match=r"expects 1 input features \(`memory_d`\)"):
        LegendreMemory(4, 10)(np.zeros((2, 5, 3), "float32"))
    with pytest.raises(ValueError, match=r"\[batch, time, features\]; received shape \(5, 3\)"):
        LegendreMemory(4, 10)(np.zeros((5, 3), "float32"))
    with pytest.raises(ValueError, match="Stateful .* was built for a batch size of 2"):
        layer = LegendreMemory(4, 10, stateful=True)
        layer(np.zeros((2, 5, 1), "float32"))
        layer(np.zeros((3, 5, 1), "float32"))


@pytest.mark.slow
def test_integrated_feedback_leaves_less_noise_than_quantized_feedback():
    """White input, resolution 2 levels per standard deviation; both against the exact memory."""
    order, steps = 64, 400
    u = np.random.default_rng(0).uniform(size=(40, steps, 1)).astype("float32")
    cell = LegendreMemoryCell(order, steps)
    cell.build((None, 1))
    zero = ops.zeros((40, order))
    exact = to_numpy(cell.last(ops.convert_to_tensor(u), zero))
    quantizer = SigmaDeltaQuantizer(resolution=2.0 / exact.std(0), seed=1)
    quantizer.build((None, order))
    error = quantizer.get_initial_error((40, order))
    noise = {}
    for feedback in ("quantized", "integrated"):
        q = run_with_counts_fed_back(
            cell, quantizer, feedback, ops.convert_to_tensor(u), (zero, zero, error),
            return_sequences=False,
        )  # fmt: skip
        noise[feedback] = np.mean(((to_numpy(q[0]) - exact) / exact.std(0)) ** 2)
    assert noise["integrated"] < 0.6 * noise["quantized"]
    assert noise["integrated"] > 0.02  # the rounding of the last step itself
