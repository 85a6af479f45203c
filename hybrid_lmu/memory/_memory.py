"""Legendre memory as a cell and as a layer that computes whole sequences in parallel."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import keras
import numpy as np
from keras import ops

from hybrid_lmu._internal.checks import check_choice, check_positive_integer
from hybrid_lmu._internal.nonfinite import set_apart
from hybrid_lmu.cells._rnn import HybridRNN
from hybrid_lmu.cells.contract import INPUT, Cell, Product, Products, Signal, one_step_before
from hybrid_lmu.memory import _chunks as chunks
from hybrid_lmu.memory import legendre
from hybrid_lmu.memory._discrete_system import DiscreteSystem, check_discretizer
from hybrid_lmu.memory._theta import InRange, check_theta, inverse_range

_LONGEST_RESPONSE = 4096
_ORDER_OF_PREFIX_SUMS = 1024  # below, a product with the dense matrix is faster (measured on CPU)


@keras.saving.register_keras_serializable(package="hybrid_lmu")
class LegendreMemoryCell(Cell):
    """One step of the Legendre delay system, ``m_t = Abar m_{t-1} + Bbar u_t``.

    Args:
        order: number of Legendre polynomials, the size of the memory of one input; >= 1.
        theta: length of the remembered window in steps; > 0.
        memory_d: number of inputs; each has a memory of its own. Default 1.
        discretizer: ``"zoh"``, ``"pade"``, ``"euler"`` or ``"bilinear"`` (see
            `hybrid_lmu.memory.legendre.discretize`), or a `hybrid_lmu.DiscreteSystem`. Default
            ``"zoh"``.
        trainable_theta: whether theta is trained, as the weight `theta_inv` = 1 / theta. It then
            stays between a 16th of the first theta and 16 times it, and with Euler's rule not
            below its bound of stability. Default False.

    Inputs: ``u_t``, [batch, memory_d]. State and output: ``m_t``, [batch, memory_d * order],
    float32, the memory of the first input first.

    Raises:
        ValueError: if an argument is out of range, or theta is too small for Euler's rule to be
            stable at this order.

    Source: Voelker, Kajic & Eliasmith (2019).
    """

    takes_sequences = True

    def __init__(
        self,
        order: int,
        theta: float,
        memory_d: int = 1,
        *,
        discretizer: str | DiscreteSystem = "zoh",
        trainable_theta: bool = False,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.order = check_positive_integer("order", order)
        self.memory_d = check_positive_integer("memory_d", memory_d)
        self.discretizer = check_discretizer(discretizer, self.order, trainable_theta)
        self.initial_theta = check_theta(theta, self.order, discretizer)
        self.trainable_theta = check_choice("trainable_theta", trainable_theta, (True, False))
        self.state_size = self.output_size = self.memory_d * self.order
        self.theta_inv = None
        self._theta_range = InRange(*inverse_range(self.initial_theta, self.order, discretizer))

    @property
    def theta(self):
        """The present theta in steps: the trained one if `trainable_theta`."""
        if self.theta_inv is None:
            return self.initial_theta
        return float(1.0 / ops.convert_to_numpy(self._bounded_theta_inv()))

    def _bounded_theta_inv(self):
        # The constraint acts on the steps of an optimizer, not on values that a user assigns.
        return self._theta_range(ops.convert_to_tensor(self.theta_inv))

    def build(self, input_shape):
        if input_shape[-1] != self.memory_d:
            raise ValueError(
                f"`{self.name}` expects {self.memory_d} input features (`memory_d`); "
                f"received inputs of shape {tuple(input_shape)}."
            )
        if self.trainable_theta:
            self.theta_inv = self.add_weight(
                name="theta_inv",
                shape=(),
                initializer=keras.initializers.Constant(1.0 / self.initial_theta),
                constraint=self._theta_range,
                autocast=False,
            )

    def call(self, inputs, states, training=False):
        memory = self.step(states[0], inputs)
        return memory, [memory]

    def step(self, memory, u):
        """Return ``m_t`` from ``m_{t-1}``, [batch, memory_d * order], and ``u_t``.

        By the product with Abar, or for Euler's rule and a large order by prefix sums.
        """
        shape = ops.shape(memory)
        # Products of two matrices: XLA on TensorFlow cannot differentiate others in a loop.
        memory = ops.reshape(memory, (-1, self.order))
        u = ops.reshape(ops.cast(u, memory.dtype), (-1, 1))
        if self.discretizer == "euler" and self.order >= _ORDER_OF_PREFIX_SUMS:
            return ops.reshape(self.prefix_sum_step(memory, u), shape)
        a_bar, b_bar = self.transition(memory.dtype)
        return ops.reshape(ops.matmul(memory, ops.transpose(a_bar)) + u * b_bar, shape)

    def prefix_sum_step(self, memory, u):
        """Euler's step of [n, order] with inputs [n, 1]: `legendre.structured_step`."""
        i = np.arange(self.order)
        scale = ops.convert_to_tensor(2.0 * i + 1.0, dtype=memory.dtype)
        sign = ops.convert_to_tensor((-1.0) ** i, dtype=memory.dtype)
        trained = self.theta_inv is not None
        theta_inv = self._bounded_theta_inv() if trained else 1.0 / self.initial_theta
        p, r = ops.cumsum(memory, axis=-1), ops.cumsum(memory * sign, axis=-1)
        change = scale * (p - p[:, -1:] - sign * (r - u))
        return memory + change * ops.cast(theta_inv, memory.dtype)

    def transition(self, dtype="float32"):
        """Return ``(Abar, Bbar)`` as tensors; differentiable in `theta_inv` if it is trained."""
        if self.theta_inv is None:
            pair = legendre.discretize(self.order, self.initial_theta, self.discretizer)
            return tuple(ops.convert_to_tensor(x, dtype=dtype) for x in pair)
        a, b = (ops.convert_to_tensor(x, dtype) for x in legendre.legendre_system(self.order))
        theta_inv = ops.cast(self._bounded_theta_inv(), dtype)
        a, b = a * theta_inv, b * theta_inv
        identity = ops.eye(self.order, dtype=dtype)
        if self.discretizer == "euler":
            return identity + a, b
        if self.discretizer == "bilinear":
            right = ops.concatenate([identity + a / 2, b[:, None]], axis=1)
            solved = ops.solve(identity - a / 2, right)
            return solved[:, : self.order], solved[:, self.order]
        if self.discretizer == "pade":
            square = ops.matmul(a, a)
            even, odd = identity + square / 10, a / 2 + ops.matmul(a, square) / 120
            input_ = b[:, None] + ops.matmul(square, b[:, None]) / 60
            solved = ops.solve(even - odd, ops.concatenate([even + odd, input_], axis=1))
            return solved[:, : self.order], solved[:, self.order]
        exponent = ops.pad(ops.concatenate([a, b[:, None]], axis=1), [[0, 1], [0, 0]])
        change = _expm1(exponent, self._squarings())
        return identity + change[: self.order, : self.order], change[: self.order, self.order]

    def _squarings(self):
        """Enough halvings of the exponent for its Taylor series, down to a 16th of theta."""
        a, b = legendre.legendre_system(self.order)
        norm = np.abs(np.column_stack([a, b])).sum(axis=0).max() / self.initial_theta
        return max(0, int(np.ceil(np.log2(norm)))) + 4

    def last(self, u, memory):
        """Return the memory after a whole sequence, by a product with the impulse response.

        Args:
            u: [batch, time, memory_d].
            memory: the memory before it, [batch, memory_d * order].
        """
        u = ops.transpose(ops.cast(u, memory.dtype), (0, 2, 1))
        shape, time = ops.shape(memory), int(u.shape[2])  # `torch.jit.trace` has tensors
        memory = ops.reshape(memory, (-1, self.memory_d, self.order))
        # Long sequences in parts, or the impulse response would take more room than the sequence.
        bounds = [0, *range(time % _LONGEST_RESPONSE or _LONGEST_RESPONSE, time, _LONGEST_RESPONSE)]
        parts = list(itertools.pairwise([*bounds, time]))
        lengths = {stop - start for start, stop in parts}
        matrices = {n: tuple(self._last_matrices(n, memory.dtype)) for n in lengths}
        for start, stop in parts:
            response, decay = matrices[stop - start]
            newest_first = ops.flip(u[:, :, start:stop], axis=2)
            memory = ops.matmul(newest_first, response) + ops.matmul(memory, ops.transpose(decay))
        return ops.reshape(memory, shape)

    def sequence(self, inputs, states, training=False):
        m = self.all_steps(inputs, states[0])
        return m, [m[:, -1]]

    def products(self, inputs: tuple[Signal, ...] = (INPUT,)) -> Products:
        u = replace(inputs[0], label=None) if len(inputs) == 1 else Signal("input")
        return Products(self.memory_products(Signal("state_0"), u), Signal("output"))

    def memory_products(self, memory: Signal, u: Signal) -> tuple[Product, Product]:
        """Return the products of A and B, whose matrices are constants of the model.

        A trained theta changes the matrices, but not which entries are zero, so the matrices of the
        initial theta are given.

        Args:
            memory: the signal that meets A.
            u: the signal that meets B.
        """
        key = (self.order, self.initial_theta, self.discretizer)
        a_bar, b_bar = legendre.discretize(*key)
        structured = legendre.step_operations(self.order, self.discretizer)["structured"]
        return (
            Product("memory A", "memory", a_bar.T, (memory,), constant=True, structured=structured),
            Product("memory B", "memory", b_bar[None, :], (u,), constant=True),
        )

    def sequence_signals(self, inputs, states):
        m = self.all_steps(inputs, states[0])
        return {"input": inputs, "state_0": one_step_before(m, states[0]), "output": m}

    def all_steps(self, u, memory):
        """Return the memory at all steps, [batch, time, memory_d * order].

        The sequence is cut into chunks. The memory at the start of each chunk comes from a
        recurrence over chunks, everything inside the chunks from one product::

            m_{s+j} = Abar**j m_s + sum_{i<j} H[i] u_{s+j-i}

        Args:
            u: [batch, time, memory_d].
            memory: the memory before it, [batch, memory_d * order].
        """
        dtype = memory.dtype
        time, order = u.shape[1], self.order
        chunk = chunks.length(time)
        count = -(-time // chunk)
        u, marks = set_apart(ops.cast(u, dtype))
        u = ops.pad(u, [[0, 0], [0, count * chunk - time], [0, 0]])
        u = ops.reshape(ops.transpose(u, (0, 2, 1)), (-1, count, chunk))
        start = ops.reshape(memory, (-1, order))
        decays, inside = self._chunk_matrices(chunk, dtype)

        ends = ops.matmul(u, inside[:, -1, :])
        jump = ops.reshape(decays, (order, chunk, order))[:, -1, :]
        starts = chunks.starts(start, ends, jump)
        combined = ops.concatenate([starts, u], axis=-1)
        kernel = ops.concatenate([decays, ops.reshape(inside, (chunk, chunk * order))], axis=0)
        m = ops.reshape(ops.matmul(combined, kernel), (-1, self.memory_d, count * chunk, order))
        if count * chunk > time:  # each of these copies is of the size of the result
            m = m[:, :, :time]
        m = m + ops.expand_dims(ops.transpose(marks[:, 1:], (0, 2, 1)), -1)
        if self.memory_d > 1:
            m = ops.transpose(m, (0, 2, 1, 3))
        return ops.reshape(m, (-1, time, self.memory_d * order))

    def advance(self, memory, q, u, feedback):
        """Return ``m_t`` under a feedback: ``"exact"``, ``"quantized"`` or ``"integrated"``.

        Args:
            memory: ``m_{t-1}``, [batch, memory_d * order].
            q: its quantized value, of the same shape; not used by exact feedback.
            u: [batch, memory_d].
        """
        if feedback == "integrated":
            return memory + (self.step(q, u) - q)
        return self.step(q if feedback == "quantized" else memory, u)

    def _last_matrices(self, time, dtype):
        if self.theta_inv is None:
            key = (self.order, self.initial_theta, self.discretizer)
            response = legendre.impulse_response(*key, time)
            decay = np.linalg.matrix_power(legendre.discretize(*key)[0], time)
            return (ops.convert_to_tensor(x, dtype=dtype) for x in (response, decay))
        a_bar, b_bar = self.transition(dtype)
        # Doubling: from the first k columns of [B, AB, ...] and A**k, the first 2k.
        response, power, decay = b_bar[:, None], a_bar, ops.eye(self.order, dtype=dtype)
        bits = time.bit_length()
        for bit in range(bits):
            if time >> bit & 1:
                decay = ops.matmul(decay, power)
            if response.shape[1] < time:
                response = ops.concatenate([response, ops.matmul(power, response)], axis=1)
            if bit < bits - 1:
                power = ops.matmul(power, power)
        return ops.transpose(response[:, :time]), decay

    def _chunk_matrices(self, chunk, dtype):
        """State to steps, [order, chunk * order], and input to steps, [chunk, chunk, order]."""
        lag = np.arange(chunk)[None, :] - np.arange(chunk)[:, None]
        if self.theta_inv is None:
            key = (self.order, self.initial_theta, self.discretizer)
            decays = legendre.powers(*key, chunk)[1:]
            inside = np.where(
                (lag >= 0)[..., None], legendre.impulse_response(*key, chunk)[np.maximum(lag, 0)], 0
            )
            decays = np.reshape(np.transpose(decays, (2, 0, 1)), (self.order, -1))
            return (ops.convert_to_tensor(x, dtype=dtype) for x in (decays, inside))
        a_bar, b_bar = self.transition(dtype)
        decays = a_bar[None]
        while decays.shape[0] < chunk:
            decays = ops.concatenate([decays, ops.matmul(decays[-1], decays)], axis=0)
        decays = decays[:chunk]
        response = ops.concatenate([b_bar[None], ops.matmul(decays[:-1], b_bar)], axis=0)
        inside = ops.take(response, np.maximum(lag, 0), axis=0)
        inside = inside * ops.cast((lag >= 0)[..., None], dtype)
        return ops.reshape(ops.transpose(decays, (2, 0, 1)), (self.order, -1)), inside

    def get_config(self):
        return {
            **super().get_config(),
            "order": self.order,
            "theta": self.initial_theta,
            "memory_d": self.memory_d,
            "discretizer": keras.saving.serialize_keras_object(self.discretizer),
            "trainable_theta": self.trainable_theta,
        }


@keras.saving.register_keras_serializable(package="hybrid_lmu")
class LegendreMemory(HybridRNN):
    """The Legendre delay system, ``m_t = Abar m_{t-1} + Bbar u_t``, over whole sequences.

    Without a mask and with a known length there is no loop over time. With `return_sequences`,
    products over chunks of the sequence give all steps. Without it, one product with the impulse
    response gives the last step. With a mask, an unknown length or `unroll=True` the layer runs
    step by step. The three ways agree to float32 rounding.

    Args:
        order: number of Legendre polynomials, the size of the memory of one input; >= 1.
        theta: length of the remembered window in steps; > 0.
        memory_d: number of inputs; each has a memory of its own. Default 1.
        discretizer: ``"zoh"``, ``"pade"``, ``"euler"`` or ``"bilinear"`` (see
            `hybrid_lmu.memory.legendre.discretize`), or a `hybrid_lmu.DiscreteSystem`. Default
            ``"zoh"``.
        trainable_theta: whether theta is trained, as the weight `theta_inv` = 1 / theta. Default
            False.
        return_sequences: whether the output is that of all steps. Default False.
        **kwargs: the other arguments of `keras.layers.RNN`: `return_state` (the state follows the
            output), `go_backwards` (read from the end), `stateful` (the state of one batch starts
            the next one), `unroll` (steps written out in place of a loop), `zero_output_for_mask`
            (0 at masked steps).

    Inputs: [batch, time, memory_d]. Output: ``m``, [batch, memory_d * order], or
    [batch, time, memory_d * order] with `return_sequences`.

    Example:

    >>> tuple(LegendreMemory(order=8, theta=50)(np.ones((2, 100, 1), "float32")).shape)
    (2, 8)
    """

    def __init__(
        self,
        order: int,
        theta: float,
        memory_d: int = 1,
        *,
        discretizer: str | DiscreteSystem = "zoh",
        trainable_theta: bool = False,
        return_sequences: bool = False,
        **kwargs: Any,
    ):
        cell = LegendreMemoryCell(
            order,
            theta,
            memory_d,
            discretizer=discretizer,
            trainable_theta=trainable_theta,
            dtype=kwargs.get("dtype"),
            name="memory_cell",
        )
        super().__init__(cell, return_sequences=return_sequences, **kwargs)

    @property
    def theta(self):
        """The present theta in steps."""
        return self.cell.theta

    def whole(self, sequences, states, training, every=False):
        if self.return_sequences or every:
            outputs = self.cell.all_steps(sequences, states[0])
            last = outputs[:, -1]
        else:
            outputs = last = self.cell.last(sequences, states[0])
        return last, outputs, [last]

    def get_config(self):
        cell = self.cell.get_config()
        own = ("order", "theta", "memory_d", "discretizer", "trainable_theta")
        config = {**super().get_config(), **{key: cell[key] for key in own}}
        del config["cell"]  # made again from the arguments
        return config

    @classmethod
    def from_config(cls, config, custom_objects=None):
        return cls(**config)


def _expm1(matrix, squarings):
    """``expm(matrix) - 1``, by a Taylor series of degree 8 and repeated squaring.

    Squaring the exponential less one, ``F <- 2F + F F``, keeps the digits that ``1 + small`` would
    round away.
    """
    matrix = matrix / 2.0**squarings
    term = result = matrix
    for k in range(2, 9):
        term = ops.matmul(term, matrix) / k
        result = result + term
    for _ in range(squarings):
        result = 2.0 * result + ops.matmul(result, result)
    return result
