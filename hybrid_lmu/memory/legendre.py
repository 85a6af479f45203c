"""The Legendre delay system: matrices, discretization, response. NumPy in float64, no Keras.

The system ``theta * dm/dt = A m + B u`` keeps in ``m`` the coefficients of the last ``theta`` steps
of ``u`` in shifted Legendre polynomials (i, j = 0 ... order - 1)::

    A[i, j] = (2i + 1) * (-1 if i < j else (-1)**(i - j + 1));    B[i] = (2i + 1) * (-1)**i

Source: Voelker, Kajic & Eliasmith (2019), "Legendre Memory Units: Continuous-Time Representation
in Recurrent Neural Networks", NeurIPS 32.
"""

import functools

import numpy as np
from scipy.linalg import expm, solve_banded

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

    Of a `hybrid_lmu.DiscreteSystem` as `discretizer`: its matrices, whatever theta.
    """
    if not isinstance(discretizer, str):
        return discretizer.matrices()
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


def structured_step(memory, u, theta, discretizer):
    """Return ``Abar m + Bbar u`` in O(order) operations, for Euler's and the bilinear rule.

    A is dense, but with ``P_i = sum_{j<=i} m_j``, ``R_i = sum_{j<=i} (-1)**j m_j``::

        (A m + B u)_i = (2i + 1) * (P_i - P_last - (-1)**i * (R_i - u))

    which is Euler's step. The bilinear rule, ``m' = m + D z`` with ``D_i = (2i + 1) / (2 theta)``,
    has the tridiagonal system ``K z = -4 m + (4u, 0, ..., 0)``: below its diagonal K has 1, above
    it -1, on it ``2 D_i``, plus 1 in the first and in the last row.
    (From ``g_i - g_{i+2} = -2 m_{i+1}`` for ``g_i = (A m)_i / (2i + 1)``.)

    Args:
        memory: [..., order]; floating.
        u: the input, [...].
        theta: length of the window in steps.
        discretizer: ``"euler"`` or ``"bilinear"``.

    Returns:
        The next memory, [..., order], in the dtype of `memory`.

    Raises:
        ValueError: for ``"zoh"``, whose Abar has no such structure.

    Source: ours; compare `discretize`, which gives the dense matrices.
    """
    if discretizer not in ("euler", "bilinear"):
        raise ValueError(
            "The step in O(order) operations needs discretizer='euler' or 'bilinear'; "
            f"received: {discretizer!r}"
        )
    memory, u = np.asarray(memory), np.asarray(u)
    i = np.arange(memory.shape[-1])
    scale, sign = 2.0 * i + 1.0, (-1.0) ** i
    if discretizer == "euler":
        scale, sign = scale.astype(memory.dtype), sign.astype(memory.dtype)
        p, r = np.cumsum(memory, axis=-1), np.cumsum(memory * sign, axis=-1)
        change = scale * (p - p[..., -1:] - sign * (r - u[..., None]))
        return memory + (change / theta).astype(memory.dtype)
    scale /= 2.0 * theta
    right = -4.0 * memory.reshape(-1, len(i)).T
    right[0] += 4.0 * u.reshape(-1)
    z = solve_banded((1, 1), _bilinear_bands(len(i), theta), right, check_finite=False)
    return memory + (scale * z.T.reshape(memory.shape)).astype(memory.dtype)


@functools.lru_cache(maxsize=64)
def _bilinear_bands(order, theta):
    """The matrix K of `structured_step`, as `scipy.linalg.solve_banded` wants it."""
    bands = np.empty((3, order))
    bands[0], bands[2] = -1.0, 1.0
    bands[1] = (2.0 * np.arange(order) + 1.0) / theta
    bands[1, 0] += 1.0
    bands[1, -1] += 1.0
    return bands


def step_operations(order, discretizer):
    """Return the operations of one step of one memory, ``{"dense": ..., "structured": ...}``.

    A multiply-add is one operation, an addition or a multiplication by itself too. Dense: Abar and
    Bbar, ``order**2 + order``. Structured, for each polynomial: Euler 5 additions and a
    multiply-add; bilinear 8, of which 3 are the elimination that could be done once. None for zoh.
    """
    structured = {"euler": 6 * order, "bilinear": 8 * order}.get(discretizer)
    return {"dense": order**2 + order, "structured": structured}
