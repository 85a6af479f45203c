"""Streaming: one step of one sample, with the states carried from call to call.

Of every network the cell is timed, compiled as the backend does it (tf.function, jax.jit; PyTorch
calls it as it is), by the same code: (input, states) -> (output, states). `Model.predict_on_batch`
would add a millisecond of Python to each. The memory alone is timed in NumPy, where a dense product
with Abar stands beside the O(order) form.
"""

import functools
import time

import keras
import numpy as np

from evaluation.speed.cases import KERAS_LMU, hybrid_arguments, lmu_arguments
from evaluation.speed.registry import case
from hybrid_lmu import HybridLMUCell
from hybrid_lmu.memory import legendre

CALLS = 200  # in one timing: a single one is too short for the clock


def compiled(layer, jit="auto"):
    """A function of tensors that calls a built layer for inference, compiled; it returns at once.

    The layer's own variables (such as the states of a stateful one) go on from call to call. jit:
    XLA on TensorFlow only if True; on JAX always, unless False.
    """
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        return tf.function(lambda *a: layer(*a), autograph=False, jit_compile=jit is True or None)
    if backend == "jax":
        import jax

        def call(fixed, changing, *a):
            return layer.stateless_call(fixed, changing, *a)

        call = jax.jit(call) if jit else call
        fixed = [v.value for v in layer.trainable_variables]
        changing = [v.value for v in layer.non_trainable_variables]

        def function(*a):
            nonlocal changing
            result, changing = call(fixed, changing, *a)
            return result

        return function
    import torch

    return torch.no_grad()(lambda *a: layer(*a))


def initial_states(cell):
    """The states of a cell for one sample, as a list of tensors."""
    if hasattr(cell, "get_initial_state"):
        states = cell.get_initial_state(batch_size=1)
        return list(states) if isinstance(states, (list, tuple)) else [states]
    return [keras.ops.zeros((1, size)) for size in keras.tree.flatten(cell.state_size)]


def prepare_cell(case, group, sizes, jit="auto", modes=("stream",)):
    """As `steps.prepare`, for a cell; one timing makes `CALLS` calls."""
    keras.utils.set_random_seed(0)
    cell = case.build(sizes)
    x = np.random.default_rng(0).random((1, group.features(sizes)), dtype="float32")
    x = keras.ops.convert_to_tensor(x)
    cell.build(x.shape)
    function = compiled(cell, jit if case.jit is None else case.jit)
    states = initial_states(cell)

    def step(calls=CALLS):
        nonlocal states
        for _ in range(calls):
            output, states = function(x, list(states))
        return keras.ops.convert_to_numpy(output)

    parameters = sum(int(np.prod(v.shape)) for v in cell.trainable_variables)
    return {"stream": step}, _facts(case, step, parameters)


def prepare_array(case, group, sizes, jit="auto", modes=("stream",)):
    """The same for a NumPy function (memory [order], u) -> memory, always from the same memory: at
    a small theta Euler's rule is not stable."""
    step_once, rng = case.build(sizes), np.random.default_rng(0)
    memory, u = rng.random(sizes.order, dtype="float32"), np.float32(0.5)

    def step(calls=CALLS):
        for _ in range(calls):
            result = step_once(memory, u)
        return result

    facts = _facts(case, step, parameters=0)
    return {"stream": step}, {**facts, "operations": case.products(sizes)}


def _facts(case, step, parameters):
    """Facts of a step, from its first call."""
    start = time.perf_counter()
    result = step(calls=1)
    first = time.perf_counter() - start
    if not np.all(np.isfinite(result)):
        raise ValueError(f"the step of {case.name!r} gave values that are not finite")
    return {
        "parameters": parameters,
        "first_call_seconds": {"stream": first},
        "calls": CALLS,
    }


@case("LSTMCell", "stream")
def _lstm(s):
    return keras.layers.LSTMCell(s.units)


@case("GRUCell", "stream")
def _gru(s):
    return keras.layers.GRUCell(s.units)


@case("keras-lmu LMUCell (recurrent)", "stream", **KERAS_LMU)
def _keras_lmu_recurrent(s):
    import keras_lmu

    return keras_lmu.LMUCell(**lmu_arguments(s, True))


@case("keras-lmu LMUCell (feed-forward)", "stream", **KERAS_LMU)
def _keras_lmu_feedforward(s):
    import keras_lmu

    return keras_lmu.LMUCell(**lmu_arguments(s, False))


@case("HybridLMUCell (recurrent), spiking", "stream")
def _recurrent(s):
    return HybridLMUCell(**hybrid_arguments(s, True))


@case("HybridLMUCell (feed-forward), spiking", "stream")
def _feedforward(s):
    return HybridLMUCell(**hybrid_arguments(s, False))


@case("HybridLMUCell (recurrent), spiking, quantized feedback", "stream")
def _recurrent_quantized(s):
    return HybridLMUCell(**hybrid_arguments(s, True, feedback="quantized"))


@case("HybridLMUCell (feed-forward), spiking, quantized feedback", "stream")
def _feedforward_quantized(s):
    return HybridLMUCell(**hybrid_arguments(s, False, feedback="quantized"))


def _operations(s, form, discretizer):
    return legendre.step_operations(s.order, discretizer)[form]


@case(
    "dense product",
    "memory-step",
    products=functools.partial(_operations, form="dense", discretizer="euler"),
)
def _dense(s):
    pair = legendre.discretize(s.order, s.timesteps, "euler")
    a_bar, b_bar = (x.astype("float32") for x in pair)
    return lambda memory, u: memory @ a_bar.T + u[..., None] * b_bar


def _structured(discretizer):
    count = functools.partial(_operations, form="structured", discretizer=discretizer)

    @case(f"O(order) form, {discretizer}", "memory-step", products=count)
    def build(s):
        return lambda memory, u: legendre.structured_step(memory, u, s.timesteps, discretizer)


_structured("euler")
_structured("bilinear")
_structured("pade")
