"""Multiply-adds of the products that a training step executes, and the machine's rate for them.

Counted are matrix products of the timed layer, forward and backward, as the paths of
`hybrid_lmu.memory`, `hybrid_lmu.cells` and Keras's cells run them; elementwise work, the readout
and the optimizer are not. A product whose two factors both need a gradient costs three times its
forward part, one with a constant factor (the matrices of the memory) twice. With B samples,
T steps, order O, U units, chunks of C steps, n = ceil(T / C) of them, N = n C (forward):

====================== ============================================================
memory, last step      B T O + B O^2 (the state before, which gets no gradient)
memory, all steps      B N O (ends) + B (n-1) O^2 (jumps) + B N (O + C) O (inside)
memory in a loop       B T O^2
hidden units           B T (O + 1) U, for the last step alone B (O + 1) U
recurrence of hidden   B T U^2; LSTM, GRU with g gates: B T g U (U + 1)
quantized feedback     the loop, without a backward part, and the memory above
====================== ============================================================
"""

import time

import keras
import numpy as np

from hybrid_lmu.memory import chunk_length


def memory_forward(s, every):
    """Multiply-adds of the parallel memory, forward; with `every`, at all steps."""
    if not every:
        return s.batch * (s.timesteps * s.order + s.order**2)
    chunk = chunk_length(s.timesteps)
    count = -(-s.timesteps // chunk)
    steps = count * chunk
    return s.batch * s.order * (steps + (count - 1) * s.order + steps * (s.order + chunk))


def memory(s, every):
    """LegendreMemory."""
    no_gradient = 0 if every else s.batch * s.order**2
    return 2 * memory_forward(s, every) - no_gradient


def memory_loop(s, every):
    """LegendreMemoryCell in a loop."""
    return 2 * s.batch * s.timesteps * s.order**2


def gated(s, every, gates):
    """LSTM and GRU of Keras, fed one number a step."""
    return 3 * s.batch * s.timesteps * gates * s.units * (s.units + 1)


def hybrid(s, every, recurrent, quantized):
    """HybridLMU with one memory, fed one number a step."""
    all_steps = every or recurrent
    steps = s.timesteps if all_steps else 1
    hidden = s.batch * steps * (s.order + 1) * s.units
    if recurrent:
        hidden += s.batch * steps * s.units**2
    loop = s.batch * s.timesteps * s.order**2 if quantized else 0
    return memory(s, all_steps) + 3 * hidden + loop


def machine_rate(size=2048, repeats=5):
    """FLOP/s of a float32 product of two square matrices through keras.ops; median."""
    rng = np.random.default_rng(0)
    a, b = (
        keras.ops.convert_to_tensor(rng.random((size, size), dtype="float32")) for _ in range(2)
    )

    def seconds():
        start = time.perf_counter()
        c = keras.ops.matmul(a, b)
        keras.ops.convert_to_numpy(c[0, 0])  # waited for, copied hardly
        return time.perf_counter() - start

    seconds()
    return 2 * size**3 / float(np.median([seconds() for _ in range(repeats)]))
