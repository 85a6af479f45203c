"""Binary weights with a Bernoulli posterior, and its natural-gradient update, as pure functions.

A weight ``w`` in {-1, +1} has the posterior ``q(w) = exp(lam w) / (2 cosh lam)``: natural
parameter ``lam``, mean ``mu = tanh(lam)``, ``q(w = +1) = sigma(2 lam)``. All functions are
elementwise and keep their precision in float32 for ``|lam|`` up to 50 at least: ``tanh(lam) ** 2``
is 1 from 9 on, so nothing is computed from ``1 - mu**2``, but from logarithms of ``2 cosh``.

Source: Jang, Skatchkovsky & Simeone (2020), "BiSNN: Training Spiking Neural Networks with Binary
Weights via Bayesian Learning", arXiv:2012.08300, and the authors' code for the formulas; the
relaxed sample is of Meng, Bachmann & Khan (2020), "Training Binary Neural Networks using the
Bayesian Learning Rule", arXiv:2002.10778.
"""

import math
import numbers

import keras
from keras import ops

# The smallest distance from 0 and 1 of what float32 uniform generators draw, other than 0 itself.
_SMALLEST = 2.0**-24


def natural_parameter(probability):
    """``lam = 0.5 log(p / (1 - p))`` of the probability p of +1, a Python number in (0, 1).

    >>> natural_parameter(0.5)
    0.0

    Raises:
        ValueError: if `probability` is not in (0, 1).
    """
    if not (isinstance(probability, numbers.Real) and 0 < probability < 1):
        raise ValueError(f"A probability of +1 must be in (0, 1); received: {probability!r}")
    return 0.5 * math.log(probability / (1 - probability))


def logistic_noise(eps):
    """``delta = 0.5 log(eps / (1 - eps))`` of `eps` uniform on [0, 1).

    `eps` is kept within [2**-24, 1 - 2**-24], the finest float32 draws, so that ``|delta| <= 8.4``
    and never infinite: probabilities below 6e-8 count as 0.
    """
    eps = ops.clip(eps, _SMALLEST, 1.0 - _SMALLEST)
    return 0.5 * (ops.log(eps) - ops.log1p(-eps))


def relaxed_sample(natural, noise, temperature):
    """``w = tanh((lam + delta) / tau)`` in [-1, 1]: a sample for tau > 0, made differentiable.

    Args:
        natural: ``lam``, a tensor.
        noise: ``delta`` of the same shape, of `logistic_noise`.
        temperature: ``tau`` > 0; in the limit 0 the sample is the sign of ``lam + delta``.
    """
    return ops.tanh((natural + noise) / temperature)


def reparameterization_factor(natural, noise, temperature, clip=None):
    """``dw / dmu``, which makes of a gradient to the relaxed sample one to the mean.

    It is ``(1 - w**2) / (tau (1 - mu**2))``, computed as::

        exp(2 (log 2cosh(lam) - log 2cosh((lam + delta) / tau))) / tau

    The authors' code adds 1e-10 above and below the fraction bar. That keeps a division by
    ``1 - mu**2 = 0`` finite in float32, but makes the factor a thousand times too large from
    ``|lam|`` = 9 on (about 1.2e3 at 10, where half of the exact factors are below 1). In logarithms
    nothing is divided by, so the two terms have no purpose and are left out.

    The factor has a heavy tail all the same: at ``lam`` = 10 and ``tau`` = 1 its mean is far above
    its median of 1.

    Args:
        natural, noise, temperature: see `relaxed_sample`.
        clip: largest factor, or ``None`` (default) for no limit.

    >>> float(reparameterization_factor(np.float32(10.0), np.float32(0.0), 1.0))
    1.0
    """
    distance = log_two_cosh(natural) - log_two_cosh((natural + noise) / temperature)
    factor = ops.exp(2.0 * distance) / temperature
    return factor if clip is None else ops.minimum(factor, clip)


def natural_gradient_update(natural, gradient, factor, learning_rate, rho, prior=0.0):
    """One step of the Bayesian learning rule on ``E_q[L] + rho KL(q || prior)``::

        lam <- (1 - eta rho) lam - eta (dL/dw factor - rho lam_0)

    Args:
        natural: ``lam``.
        gradient: ``dL/dw`` at the relaxed sample, of the same shape.
        factor: ``dw/dmu`` of `reparameterization_factor`.
        learning_rate: ``eta`` > 0.
        rho: weight of the divergence, >= 0.
        prior: natural parameter ``lam_0`` of the prior (see `natural_parameter`). Default 0.
    """
    return (1.0 - learning_rate * rho) * natural - learning_rate * (gradient * factor - rho * prior)


def kl_divergence(natural, prior=0.0):
    """``KL(q || prior)`` of each weight in nats, at most ``2 |lam_0|`` + log 2.

    Its derivative with respect to the mean is ``lam - lam_0``: `kl_gradient`.

    >>> round(float(kl_divergence(np.float32(50.0))), 6)  # a certain weight, a fair coin: log 2
    0.693147
    """
    natural, prior = ops.convert_to_tensor(natural), ops.cast(prior, _dtype(natural))

    def part(sign):  # q(w) log(q(w) / p(w)) at w = sign
        log_ratio = ops.softplus(-2.0 * sign * prior) - ops.softplus(-2.0 * sign * natural)
        return ops.sigmoid(2.0 * sign * natural) * log_ratio

    return ops.maximum(part(1.0) + part(-1.0), 0.0)


def kl_gradient(natural, prior=0.0):
    """``dKL / dmu = lam - lam_0``, exactly."""
    return natural - prior


def log_two_cosh(x):
    """``log(2 cosh x) = |x| + log(1 + exp(-2 |x|))``, finite for all finite x."""
    size = ops.abs(x)
    return size + ops.log1p(ops.exp(-2.0 * size))


def _dtype(tensor):
    return keras.backend.standardize_dtype(tensor.dtype)
