import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from hybrid_lmu.weights import _bernoulli_posterior as posterior

NATURALS = np.array([-50, -20, -10, -9, -1.5, -1e-3, 0, 0.4, 8.5, 9.5, 10, 30, 50], "float32")
naturals = st.floats(-50, 50, width=32)
noises = st.floats(-8.25, 8.25, width=32)


def array(*values):
    return ops.convert_to_tensor(values, "float32")


def uniform(seed, size):
    return ops.convert_to_tensor(np.random.default_rng(seed).random(size), "float32")


def numbers(tensor):
    return ops.convert_to_numpy(tensor)


def exact_factor(natural, noise, temperature):
    """(1 - w^2) / (tau (1 - mu^2)) in float64, with 1 - tanh(x)^2 = 1 / cosh(x)^2."""
    natural, noise = np.float64(natural), np.float64(noise)
    return (np.cosh(natural) / np.cosh((natural + noise) / temperature)) ** 2 / temperature


def test_published_vectors():
    natural, noise = array(0.4), posterior.logistic_noise(array(0.3))
    factor = numbers(posterior.reparameterization_factor(natural, noise, 0.5))
    np.testing.assert_allclose(factor, 2.332214, atol=1e-6)
    np.testing.assert_allclose(numbers(posterior.kl_gradient(natural, -0.2)), 0.6, atol=1e-6)


def test_the_factor_is_the_derivative_of_the_sample_with_respect_to_the_mean():
    natural, noise, temperature, step = 0.7, -0.3, 0.8, 1e-6
    by_natural = [np.tanh((natural + d + noise) / temperature) for d in (-step, step)]
    by_mean = np.diff(by_natural)[0] / (np.tanh(natural + step) - np.tanh(natural - step))
    factor = posterior.reparameterization_factor(array(natural), array(noise), temperature)
    np.testing.assert_allclose(numbers(factor), by_mean, rtol=1e-5)


@settings(deadline=None, max_examples=50)
@given(naturals, noises, st.sampled_from([0.5, 1.0, 1.5]))
def test_the_factor_is_exact_where_the_mean_is_one_in_float32(natural, noise, temperature):
    factor = posterior.reparameterization_factor(array(natural), array(noise), temperature)
    exact = exact_factor(natural, noise, temperature)
    np.testing.assert_allclose(numbers(factor), exact, rtol=3e-5, atol=1e-37)


def test_half_of_the_factors_at_ten_are_below_one_and_a_limit_cuts_the_tail():
    noise = posterior.logistic_noise(uniform(0, 100_001))
    natural = ops.full((100_001,), 10.0)
    factors = numbers(posterior.reparameterization_factor(natural, noise, 1.0))
    assert abs(np.median(factors) - 1) < 0.05
    assert factors.mean() > 3
    clipped = numbers(posterior.reparameterization_factor(natural, noise, 1.0, clip=5.0))
    np.testing.assert_array_equal(clipped, np.minimum(factors, 5))


def test_noise_is_finite_and_odd():
    noise = numbers(posterior.logistic_noise(array(0.0, 0.3, 0.5, 0.7, 1 - 2.0**-24)))
    assert np.all(np.isfinite(noise)) and np.all(np.abs(noise) < 8.4)
    np.testing.assert_allclose(noise, -noise[::-1], atol=1e-6)


def probability_of_plus(natural):
    return 1 / (1 + np.exp(-2 * natural))


@pytest.mark.parametrize("natural", [-0.9, 0.4, 10.0])
def test_samples_have_the_probability_of_their_natural_parameter(natural):
    noise = posterior.logistic_noise(uniform(1, 40_000))
    values = ops.full((40_000,), natural)
    hard = np.sign(numbers(values + noise))
    assert abs((hard > 0).mean() - probability_of_plus(natural)) < 4 * np.sqrt(0.25 / 40_000)
    soft = numbers(posterior.relaxed_sample(values, noise, 1e-3))
    assert np.all(np.abs(soft - hard)[np.abs(natural + numbers(noise)) > 0.01] < 1e-3)  # tau -> 0


@pytest.mark.parametrize("prior", [0.0, -0.2, 3.0])
def test_divergence_is_exact(prior):
    natural = NATURALS.astype("float64")

    def log_probability(sign, lam):
        return -np.logaddexp(0, -2 * sign * lam)

    exact = sum(
        np.exp(log_probability(s, natural))
        * (log_probability(s, natural) - log_probability(s, np.float64(np.float32(prior))))
        for s in (-1, 1)
    )
    np.testing.assert_allclose(numbers(posterior.kl_divergence(NATURALS, prior)), exact, atol=2e-6)
    assert numbers(posterior.kl_divergence(array(prior), prior))[0] == 0


def test_the_gradient_of_the_divergence_is_with_respect_to_the_mean():
    mean, step, prior = np.tanh(0.4), 1e-2, -0.2
    sides = [
        numbers(posterior.kl_divergence(array(np.arctanh(mean + d)), prior))[0]
        for d in (-step, step)
    ]
    np.testing.assert_allclose((sides[1] - sides[0]) / (2 * step), 0.6, atol=1e-3)


def test_natural_gradient_update():
    updated = posterior.natural_gradient_update(
        array(2.0, -1.0), array(0.5, 0.0), array(3.0, 1.0), 0.1, rho=0.2, prior=0.7
    )
    # (1 - 0.02) * 2 - 0.1 * (1.5 - 0.14); without a gradient it moves to the prior
    np.testing.assert_allclose(numbers(updated), [1.824, -0.966], rtol=1e-6)
    at_prior = posterior.natural_gradient_update(
        array(0.7), array(0.0), array(9.0), 0.1, 0.2, prior=0.7
    )
    np.testing.assert_allclose(numbers(at_prior), 0.7, rtol=1e-6)


def test_plain_descent_on_the_objective_is_the_same_update():
    natural, gradient, factor, rate, rho, prior = array(2.0), array(0.5), array(3.0), 0.1, 0.2, 0.7
    by_descent = natural - rate * (gradient * factor + rho * posterior.kl_gradient(natural, prior))
    updated = posterior.natural_gradient_update(natural, gradient, factor, rate, rho, prior)
    np.testing.assert_allclose(numbers(updated), numbers(by_descent), rtol=1e-6)


def test_natural_parameter_of_a_probability():
    natural = posterior.natural_parameter(0.8)
    np.testing.assert_allclose(probability_of_plus(natural), 0.8, rtol=1e-6)
    assert probability_of_plus(0.4) == pytest.approx(0.689974, abs=1e-6)  # the published value
    for bad in (0.0, 1.0, -0.1, float("nan")):
        with pytest.raises(ValueError, match=r"must be in \(0, 1\); received"):
            posterior.natural_parameter(bad)
