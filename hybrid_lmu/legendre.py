"""The Legendre delay system: matrices, discretization, response. NumPy in float64, no Keras.

The system ``theta * dm/dt = A m + B u`` keeps in ``m`` the coefficients of the last ``theta`` steps
of ``u`` in shifted Legendre polynomials (i, j = 0 ... order - 1)::

    A[i, j] = (2i + 1) * (-1 if i < j else (-1)**(i - j + 1));    B[i] = (2i + 1) * (-1)**i

Source: Voelker, Kajic & Eliasmith (2019), "Legendre Memory Units: Continuous-Time Representation
in Recurrent Neural Networks", NeurIPS 32.
"""

import functools

import numpy as np
from scipy.linalg import expm

DISCRETIZERS = ("zoh", "euler", "bilinear")


def legendre_system(order):
    """Return the continuous ``(A, B)``, of shapes [order, order] and [order]; float64."""
    i = np.arange(order)
    scale = 2.0 * i + 1.0
    row, column = i[:, None], i[None, :]
    a = np.where(row < column, -1.0, (-1.0) ** (row - column + 1)) * scale[:, None]
    return a, scale * (-1.0) ** i


@functools.lru_cache(maxsize=64)
def discretize(order, theta, discretizer):
    """Return ``(Abar, Bbar)`` of ``m_t = Abar m_{t-1} + Bbar u_t`` for a time step of 1; float64.

    ========== =============================================================================
    zoh        ``[[Abar, Bbar], [0, 1]] = expm([[A, B], [0, 0]] / theta)``: exact for an input
               that is constant during a step
    euler      ``Abar = I + A / theta``, ``Bbar = B / theta``: cheap; needs a large theta
    bilinear   ``(I - A / 2theta) Abar = I + A / 2theta``, ``(I - A / 2theta) Bbar = B / theta``
    ========== =============================================================================
    """
    a, b = legendre_system(order)
    a, b = a / theta, b / theta
    identity = np.eye(order)
    if discretizer == "zoh":
        exponent = np.zeros((order + 1, order + 1))
        exponent[:order, :order], exponent[:order, order] = a, b
        result = expm(exponent)
        return result[:order, :order], result[:order, order]
    if discretizer == "euler":
        return identity + a, b
    solved = np.linalg.solve(identity - a / 2, np.column_stack([identity + a / 2, b]))
    return solved[:, :order], solved[:, order]


@functools.lru_cache(maxsize=64)
def smallest_euler_theta(order):
    """Return the theta below which Euler's rule makes the memory of this order unstable.

    An eigenvalue ``l`` of A becomes ``1 + l / theta``, inside the unit circle if and only if
    ``theta > -|l|**2 / (2 Re l)``.
    """
    eigenvalues = np.linalg.eigvals(legendre_system(order)[0])
    return float(np.max(-(np.abs(eigenvalues) ** 2) / (2 * eigenvalues.real)))


@functools.lru_cache(maxsize=16)
def powers(order, theta, discretizer, length):
    """Return ``Abar**k`` for k = 0 ... length, of shape [length + 1, order, order]."""
    a_bar, _ = discretize(order, theta, discretizer)
    result = np.empty((length + 1, order, order))
    result[0] = np.eye(order)
    for k in range(length):
        result[k + 1] = result[k] @ a_bar
    return result


@functools.lru_cache(maxsize=16)
def impulse_response(order, theta, discretizer, length):
    """Return ``H[k] = Abar**k Bbar`` for k = 0 ... length - 1, of shape [length, order].

    So that ``m_t = sum_{k<t} H[k] u_{t-k}`` when the memory starts at zero.
    """
    a_bar, b_bar = discretize(order, theta, discretizer)
    result = np.empty((length, order))
    state = b_bar
    for k in range(length):
        result[k] = state
        state = a_bar @ state
    return result
