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

DISCRETIZERS = ("zoh", "pade", "euler", "bilinear")


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
    pade       the [3/3] Pade approximation of zoh: with ``Z = A / theta`` and
               ``N(Z) = I + Z / 2 + Z**2 / 10 + Z**3 / 120``, ``Abar = N(-Z)**-1 N(Z)`` and
               ``Bbar = N(-Z)**-1 (I + Z**2 / 60) B / theta``; a step in O(order) exists
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
    if discretizer == "pade":
        square = a @ a
        even, odd = identity + square / 10, a / 2 + a @ square / 120
        right = np.column_stack([even + odd, b + square @ b / 60])
        solved = np.linalg.solve(even - odd, right)
        return solved[:, :order], solved[:, order]
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
    """Return ``Abar m + Bbar u`` in O(order) operations, for all rules except zoh.

    A is dense, but with ``P_i = sum_{j<=i} m_j``, ``R_i = sum_{j<=i} (-1)**j m_j``::

        (A m + B u)_i = (2i + 1) * (P_i - P_last - (-1)**i * (R_i - u))

    which is Euler's step. The bilinear rule, ``m' = m + D z`` with ``D_i = (2i + 1) / (2 theta)``,
    has the tridiagonal system ``K z = -4 m + (4u, 0, ..., 0)``: below its diagonal K has 1, above
    it -1, on it ``2 D_i``, plus 1 in the first and in the last row.
    (From ``g_i - g_{i+2} = -2 m_{i+1}`` for ``g_i = (A m)_i / (2i + 1)``.)

    The Pade rule has three poles ``1 / h``, one real and a complex pair::

        m' = m + sum_k c_k h_k D g_k + Bbar u;    K(h_k) g_k = -2 m;    D_i = (2i + 1) / theta

    with the same K, on whose diagonal stands ``2 h_k D_i``. (``N(Z) / N(-Z) = -1 + sum_k c_k / (1 -
    h_k Z)``, and ``(I - h Z) x = m`` is ``x = m + h D g``.)

    Args:
        memory: [..., order]; floating.
        u: the input, [...].
        theta: length of the window in steps.
        discretizer: ``"euler"``, ``"bilinear"`` or ``"pade"``.

    Returns:
        The next memory, [..., order], in the dtype of `memory`.

    Raises:
        ValueError: for ``"zoh"``, whose Abar has no such structure.

    Source: ours; compare `discretize`, which gives the dense matrices.
    """
    if discretizer not in ("euler", "bilinear", "pade"):
        raise ValueError(
            "The step in O(order) operations needs discretizer='euler', 'bilinear' or 'pade'; "
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
    if discretizer == "pade":
        return _pade_step(memory, u, theta)
    scale /= 2.0 * theta
    right = -4.0 * memory.reshape(-1, len(i)).T
    right[0] += 4.0 * u.reshape(-1)
    z = solve_banded((1, 1), _bands(len(i), theta, 0.5), right, check_finite=False)
    return memory + (scale * z.T.reshape(memory.shape)).astype(memory.dtype)


def _pade_step(memory, u, theta):
    order = memory.shape[-1]
    flat = memory.reshape(-1, order).T
    after = flat + discretize(order, theta, "pade")[1][:, None] * u.reshape(-1)
    for h, c in pade_terms():
        bands = _bands(order, theta, h)
        g = solve_banded((1, 1), bands, (-2.0 * flat).astype(bands.dtype), check_finite=False)
        weight = (c * h * (2.0 * np.arange(order) + 1.0) / theta)[:, None]
        after = after + (weight * g).real
    return after.T.reshape(memory.shape).astype(memory.dtype)


@functools.cache
def pade_terms():
    """Return ``[(h, c), (h, c)]`` of the poles of ``N(Z) / N(-Z)``, see `structured_step`.

    The first is real. The second stands for a complex pair, so that its c is doubled, and the real
    part of its term is to be taken.
    """
    poles = np.roots([1.0, -12.0, 60.0, -120.0])  # of N(-Z), times -120
    real = poles[np.argmin(np.abs(poles.imag))].real
    upper = poles[np.argmax(poles.imag)]

    def term(pole):
        above = 1 + pole / 2 + pole**2 / 10 + pole**3 / 120
        slope = -1 / 2 + pole / 5 - pole**2 / 40  # of N(-Z)
        return 1 / pole, above / (-pole * slope)

    (h, c), (h_pair, c_pair) = term(real), term(upper)
    return [(float(h), float(c)), (complex(h_pair), 2 * complex(c_pair))]


@functools.lru_cache(maxsize=64)
def _bands(order, theta, h):
    """The matrix K(h) of `structured_step`, as `scipy.linalg.solve_banded` wants it."""
    bands = np.empty((3, order), dtype=np.result_type(h, "float64"))
    bands[0], bands[2] = -1.0, 1.0
    bands[1] = 2.0 * h * (2.0 * np.arange(order) + 1.0) / theta
    bands[1, 0] += 1.0
    bands[1, -1] += 1.0
    return bands


def step_operations(order, discretizer):
    """Return the operations of one step of one memory, ``{"dense": ..., "structured": ...}``.

    A multiply-add is one operation, an addition or a multiplication by itself too. Dense: Abar and
    Bbar, ``order**2 + order``. Structured, for each polynomial: Euler 5 additions and a
    multiply-add; bilinear 8, of which 3 are the elimination that could be done once; Pade 17, of
    the factors that are computed once: 4 for the real pole (1 down, 2 up, 1 for the sum), 12 for
    the complex one, 1 for the input. None for zoh.
    """
    structured = {"euler": 6, "bilinear": 8, "pade": 17}.get(discretizer)
    structured = None if structured is None else structured * order
    return {"dense": order**2 + order, "structured": structured}
