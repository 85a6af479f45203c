"""The rules that quantize a kernel: vectors of the papers' formulas, gradients, bad input."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from hybrid_lmu.weights import (
    Bernoulli,
    ScaledBinary,
    StraightThroughSign,
    SumOfSigmoids,
    uniform_levels,
)
from hybrid_lmu.weights._levels import check_levels, kmeans_boundaries
from hybrid_lmu.weights._sum_of_sigmoids import sum_of_sigmoids

to_numpy = ops.convert_to_numpy
kernel = np.random.default_rng(0).normal(size=(6, 5)).astype("float32")


def built(rule, shape=(6, 5)):
    rule.build(shape)
    return rule


def gradient(function, *arrays):
    """Gradients of ``sum(function(*arrays))`` on any backend."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tensors = [tf.convert_to_tensor(a) for a in arrays]
        with tf.GradientTape() as tape:
            tape.watch(tensors)
            total = ops.sum(function(*tensors))
        return [g.numpy() for g in tape.gradient(total, tensors)]
    if keras.backend.backend() == "jax":
        import jax

        grads = jax.grad(lambda *a: ops.sum(function(*a)), tuple(range(len(arrays))))(
            *[jax.numpy.asarray(a) for a in arrays]
        )
        return [np.asarray(g) for g in grads]
    import torch

    tensors = [torch.tensor(a, requires_grad=True) for a in arrays]
    ops.sum(function(*tensors)).backward()
    return [tensor.grad.numpy() for tensor in tensors]


# methods.md 0f, 1f, 2f.


def test_scaled_binary_vector():
    latent = np.array([[0.5, -0.2, 0.9], [-0.4, 0.1, 0.3]], "float32").T
    upstream = np.array([[1, 2, -1], [0, 1, 1]], "float32").T
    rule = built(ScaledBinary(), (3, 2))
    kept = rule.prepare(latent)
    np.testing.assert_allclose(kept.T, [[0.1, -0.6, 0.5], [-0.4, 0.1, 0.3]], atol=1e-6)
    np.testing.assert_allclose(to_numpy(rule.scale(kept)), [[0.4, 0.266667]], atol=1e-6)
    (found,) = gradient(lambda w: ops.multiply(rule(w, training=True), upstream), kept)
    # The published vector has the constant n = 3 that this rule leaves out.
    expected = [[-0.533333, 2.933333, -2.133333], [-1.333333, 1.866667, 1.866667]]
    np.testing.assert_allclose(3 * found.T, expected, atol=1e-5)


def test_sum_of_sigmoids_vector():
    def q(w, alpha, beta):
        return sum_of_sigmoids(w, alpha, beta, (-1, 0, 1), np.zeros(2, "float32"), 7.0)

    found = gradient(q, np.float32(0.11), np.float32(0.8), np.float32(1.3))
    np.testing.assert_allclose(found, [2.861347, 0.462510, 0.242114], rtol=1e-5)
    w, sigmoid = np.float32(0.11), 1 / (1 + np.exp(-7 * 1.3 * 0.11))
    two = sum_of_sigmoids(w, 1.0, 1.3, (-1, 1), np.zeros(1, "float32"), 7.0)
    assert float(two) == pytest.approx(2 * sigmoid - 1, abs=1e-6)
    assert float(q(w, 1.0, 1.3)) == pytest.approx(float(two), abs=1e-6)


def test_wide_gradient_has_the_slope_of_temperature_one():
    def q(w):
        return sum_of_sigmoids(w, 0.8, 1.3, (-1, 1), np.zeros(1, "float32"), 500.0, wide=True)

    (found,) = gradient(q, np.float32(0.4))
    s = 1 / (1 + np.exp(-1.3 * 0.4))
    assert float(found) == pytest.approx(0.8 * 1.3 * 500 * 2 * s * (1 - s), rel=1e-4)


def test_bernoulli_gradient_is_the_natural_one():
    rule = built(Bernoulli(temperature=0.5, rho=0.0, scale=2.0, seed=1), (1, 1))
    eps = keras.random.uniform((1, 1), seed=keras.random.SeedGenerator(1))
    lam, noise = 0.4, 0.5 * np.log(to_numpy(eps) / (1 - to_numpy(eps)))
    w = np.tanh((lam + noise) / 0.5)
    expected = 2.0 * (1 - w**2) / (0.5 * (1 - np.tanh(lam) ** 2))
    (found,) = gradient(lambda x: rule(x, training=True), np.array([[lam]], "float32"))
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_bernoulli_divergence_has_its_natural_gradient():
    rule = built(Bernoulli(rho=0.25, prior=0.3, clip=1e-9))

    def loss(latent):
        rule(latent, training=True)
        (added,) = rule.losses
        return added

    if keras.backend.backend() == "jax":  # losses are collected in a scope there
        pytest.skip("losses of a layer outside of a model are eager ones")
    (found,) = gradient(loss, kernel)
    prior = 0.5 * np.log(0.3 / 0.7)
    np.testing.assert_allclose(found, 0.25 * (kernel - prior), rtol=1e-5, atol=1e-7)


# What holds for all rules.

RULES = {
    "sign": lambda: StraightThroughSign(clip=1.0),
    "binary": lambda: ScaledBinary(),
    "bernoulli": lambda: Bernoulli(initial=None),
    "sigmoids-1": lambda: SumOfSigmoids("binary"),
    "sigmoids-t": lambda: SumOfSigmoids("ternary"),
    "sigmoids-2": lambda: SumOfSigmoids("ternary", power_of_two=True),
    "sigmoids-7": lambda: SumOfSigmoids((-4, -2, -1, 0, 1, 2, 4)),
    "sigmoids-4": lambda: SumOfSigmoids(uniform_levels(4), biases="midpoints"),
}


def test_scales_that_are_shifts():
    rule = built(SumOfSigmoids("ternary", power_of_two=True))
    latent = rule.prepare(kernel)
    for log_alpha in (-7.3, -0.01, 0.4, 2.0):
        rule.log_alpha.assign(log_alpha)
        scale = float(rule.packed(latent).scale)
        assert np.log2(scale) == np.rint(log_alpha / np.log(2))
    (found,) = gradient(lambda w: rule(w, training=True), latent)
    assert np.any(found != 0)


@pytest.mark.parametrize("name", RULES)
def test_packed_weights_are_the_weights_at_inference(name):
    rule = built(RULES[name]())
    latent = rule.prepare(kernel)
    packed = rule.packed(latent)
    np.testing.assert_array_equal(packed.values, to_numpy(rule(latent, training=False)))
    assert set(packed.codes.ravel()) <= set(packed.levels)
    assert 2**packed.bits >= len(packed.levels) > 2 ** (packed.bits - 1)
    assert packed.bytes == -(-30 * packed.bits // 8) + 4 * packed.scale.size


@pytest.mark.parametrize("name", RULES)
def test_gradients_are_finite_and_there(name):
    rule = built(RULES[name]())
    (found,) = gradient(lambda w: rule(w, training=True) ** 2 + w * 0, rule.prepare(kernel))
    assert np.all(np.isfinite(found)) and np.any(found != 0)


@pytest.mark.parametrize("name", RULES)
def test_a_rule_goes_through_its_configuration(name):
    rule = RULES[name]()
    again = type(rule).from_config(rule.get_config())
    assert again.get_config() == rule.get_config()


@pytest.mark.parametrize("name", RULES)
def test_zero_has_a_level(name):
    rule = built(RULES[name]())
    latent = rule.prepare(kernel)
    code = to_numpy(rule.code(np.zeros_like(latent)))
    assert set(code.ravel()) <= set(rule.levels)


def test_soft_weights_become_the_hard_ones():
    rule = built(SumOfSigmoids("ternary"))
    latent = rule.prepare(kernel)
    gaps = []
    for temperature in (1.0, 30.0, 1e6):
        rule.temperature.assign(temperature)
        gaps.append(np.abs(to_numpy(rule.soft(latent)) - to_numpy(rule.hard(latent))).max())
    assert gaps[0] > gaps[2] and gaps[2] < 1e-6
    assert rule.between_levels(latent) == 0.0
    rule.temperature.assign(1.0)
    assert rule.between_levels(latent) == 1.0


def test_a_low_temperature_is_nearly_full_precision():
    rule = built(SumOfSigmoids(uniform_levels(2), temperature=0.05, biases="midpoints"))
    latent = rule.prepare(kernel)
    correlation = np.corrcoef(to_numpy(rule.soft(latent)).ravel(), latent.ravel())[0, 1]
    assert correlation > 0.999


@given(st.integers(1, 7))
def test_uniform_levels_are_symmetric_and_even(bits):
    levels = uniform_levels(bits)
    assert len(levels) == 2**bits and levels == tuple(-level for level in reversed(levels))
    assert set(np.diff(levels)) == {2}


@settings(deadline=None, max_examples=30)
@given(st.integers(2, 9), st.integers(0, 2**31 - 1))
def test_kmeans_boundaries_separate_well_separated_clusters(number, seed):
    random = np.random.default_rng(seed)
    centres = np.cumsum(random.uniform(1.0, 3.0, number)) - 5
    values = np.concatenate([c + random.uniform(-0.05, 0.05, 20) for c in centres])
    boundaries = kmeans_boundaries(random.permutation(values), centres)
    assert np.all(boundaries > centres[:-1] + 0.05) and np.all(boundaries < centres[1:] - 0.05)


@pytest.mark.parametrize("values", [[1.0, -1.0] * 5, [0.1, 0.1, 0.1, 0.1, 5.0, -5.0]])
def test_too_few_weights_for_clusters_get_midpoints(values):
    levels = uniform_levels(2)
    np.testing.assert_array_equal(kmeans_boundaries(values, levels), [-2.0, 0.0, 2.0])


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(-9, 9), min_size=2, max_size=6))
def test_levels_are_checked(levels):
    good = all(a < b for a, b in zip(levels, levels[1:], strict=False))
    good = good and levels[0] < 0 < levels[-1]
    if good:
        assert check_levels(levels) == tuple(levels)
    else:
        with pytest.raises(ValueError, match="levels"):
            check_levels(levels)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: SumOfSigmoids((-1, 1, 0)), "increasing order.*received"),
        (lambda: SumOfSigmoids((-1, 0, 0, 1)), "increasing order"),
        (lambda: SumOfSigmoids((-1, 0.5, 1)), "integers"),
        (lambda: SumOfSigmoids((-1, 300)), "at most 127"),
        (lambda: SumOfSigmoids((0, 1)), "both sides of 0"),
        (lambda: SumOfSigmoids("quaternary"), "'binary', 'ternary'"),
        (lambda: SumOfSigmoids(temperature=0.0), "temperature.*> 0.*received: 0.0"),
        (lambda: SumOfSigmoids(temperature=float("nan")), "temperature"),
        (lambda: SumOfSigmoids(biases="random"), "'kmeans', 'midpoints'"),
        (lambda: SumOfSigmoids(inference="firm"), "'hard', 'soft'"),
        (lambda: uniform_levels(0), "from 1 to 7; received: 0"),
        (lambda: uniform_levels(2.5), "integer"),
        (lambda: StraightThroughSign(scale=-1.0), "scale"),
        (lambda: StraightThroughSign(clip=0), "clip"),
        (lambda: Bernoulli(rho=-1.0), "rho"),
        (lambda: Bernoulli(prior=1.0), "received: 1.0"),
        (lambda: Bernoulli(temperature=-1), "temperature"),
        (lambda: Bernoulli(inference="hard"), "'mode', 'sample'"),
        (lambda: ScaledBinary().build((3, 3, 1, 8)), "at least 2"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    "bad, message",
    [
        (np.zeros((6, 5)), "entries other than 0"),
        (np.full((6, 5), np.nan), "must be finite; received 30"),
    ],
)
def test_kernels_without_a_range(bad, message):
    with pytest.raises(ValueError, match=message):
        built(SumOfSigmoids("ternary")).prepare(bad.astype("float32"))


def test_a_constant_kernel_has_no_centred_signs():
    constant = np.full((3, 2), 0.7, "float32")
    with pytest.raises(ValueError, match="received a constant kernel of shape \\(3, 2\\)"):
        built(ScaledBinary(), (3, 2)).prepare(constant)
    rule = built(ScaledBinary(centre=False), (3, 2))
    np.testing.assert_array_equal(to_numpy(rule.prepare(constant)), constant)
