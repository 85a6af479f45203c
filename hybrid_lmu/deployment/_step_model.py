"""From a model over sequences to a model of one step, whose states are inputs and outputs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np
from keras import ops

from hybrid_lmu._internal.copies import copy_layer
from hybrid_lmu._internal.traversal import all_layers, copy_weights
from hybrid_lmu.conversion._graph import as_functional, rebuild
from hybrid_lmu.deployment._steps import Step, at_one_step, keeps_states
from hybrid_lmu.deployment._streamable import (
    LEFT_OUT,
    after,
    check,
    on_last_axis,
    takes_last_step,
    why_not,
)
from hybrid_lmu.weights._quantized_weights import QuantizedWeights, inside


def step_model(model: keras.Model, *, batch_size: int | None = None) -> keras.Model:
    """Return a functional model of one step, whose states are inputs and outputs.

    The model takes and gives dictionaries::

        {"x": x_t, "lmu_state_0": ..., ...}  ->  {"y": y_t, "lmu_state_0_next": ..., ...}

    ``x`` is the input without its time axis, and ``y`` the output at this step. States are named by
    their layer and a number; ``initial_states(steps, batch)`` gives those before the first step.
    Several inputs are ``x_0``, ``x_1``, ..., several outputs ``y_0``, ``y_1``, ... The model uses
    built-in operations only, without loops and random draws, so that ``steps.export`` writes files
    that run in onnxruntime, LiteRT and TensorFlow.

    All steps are simulated, as in `hybrid_lmu.full_simulation`. A layer with `return_sequences`
    gives its output at the step. A layer without it gives at each step what it would give for the
    sequence so far, and so do averages over time; ``return_last=k`` averages the last k steps.

    Args:
        model: a Sequential or functional model, built, of layers: HybridLMU, HybridRNN,
            LegendreMemory, SigmaDelta, neurons, readouts, Keras's recurrent layers, and layers
            that act on each step alone, also in `QuantizedWeights` and `EachStep`.
        batch_size: size of the batch in all inputs. Default None: any.

    Returns:
        a new model, not compiled, with copies of the weights. Kernels of `QuantizedWeights` are
        plain weights with the quantized values.

    Raises:
        ValueError: if the model is of another kind, or layers of it cannot run step by step; the
            message names all of them.

    Example:

    >>> from hybrid_lmu.deployment import initial_states, step_model
    >>> model = keras.Sequential([keras.Input((20, 1)), HybridLMU(
    ...     1, 8, 20, keras.layers.Dense(4, "relu"), memory_resolution=8, name="lmu")])
    >>> steps = step_model(model)
    >>> outputs = steps({"x": np.ones((2, 1), "float32"), **initial_states(steps, 2)})
    >>> tuple(outputs["y"].shape), tuple(outputs["lmu_state_1_next"].shape)
    ((2, 4), (2, 8))
    """
    model = as_functional(model)
    builder = _Builder(model, batch_size)
    inputs = {**builder.inputs, **builder.states}
    outputs = dict(zip(_names("y", builder.outputs), builder.outputs, strict=True))
    outputs |= {f"{name}_next": state for name, state in builder.next_states.items()}
    outputs = {name: keras.layers.Identity(name=name)(y) for name, y in outputs.items()}
    steps = keras.Model(inputs, outputs, name=f"{model.name}_step")
    # `export` to ONNX needs a model that was called.
    steps({name: np.zeros((batch_size or 1, *x.shape[1:]), x.dtype) for name, x in inputs.items()})
    return steps


def initial_states(
    model: keras.Model, batch_size: int = 1, *, seed: int | None = None
) -> dict[str, np.ndarray]:
    """Return the states of a step model before the first step, as NumPy arrays by name.

    Args:
        model: a model from `step_model`, also after it was saved and loaded, or the model over
            sequences.
        batch_size: number of samples. Default 1.
        seed: None (default): the states with which Keras predicts, the same for each sample. An
            integer: first errors that are uniform are drawn, as in training.

    Raises:
        ValueError: if the model has no states.
    """
    if not any(isinstance(layer, Step) for layer in getattr(model, "layers", [])):
        model = step_model(model)
    generators = [
        one
        for layer in all_layers(model)
        for one in vars(layer).values()
        if isinstance(one, keras.random.SeedGenerator)
    ]
    if seed is not None:
        for index, generator in enumerate(generators):
            state = np.random.SeedSequence([seed, index]).generate_state(2)
            generator.state.assign(state.astype("uint32"))
    first = _FirstStates(model, batch_size)(ops.zeros(()), training=seed is not None)
    return {name: np.array(ops.convert_to_numpy(state)) for name, state in first.items()}


class _FirstStates(keras.layers.Layer):
    """Makes the initial states in a call, which tells quantizers whether it is training."""

    def __init__(self, model, batch_size):
        super().__init__()
        self.steps = [layer for layer in model.layers if isinstance(layer, Step)]
        self.batch_size = batch_size

    def call(self, x, training=False):
        return {
            f"{layer.name}_state_{index}": state
            for layer in self.steps
            for index, state in enumerate(layer.initial_states(self.batch_size))
        }


@dataclass(frozen=True)
class Stream:
    """A tensor of the step model, and what it was in the model over sequences.

    Attributes:
        tensor: without the axis of time.
        over_time: whether the tensor has an axis of time in the model over sequences.
        window: number of its steps, if they are only the last ones; None if they are all.
        rank: number of its axes in the model over sequences.
    """

    tensor: Any
    over_time: bool
    window: int | None
    rank: int


class _Builder:
    """Walks through a functional model and builds the graph of one step beside it.

    `rebuild` runs on tokens, symbolic tensors without a meaning: a model of Keras can only be
    rebuilt with as many inputs as it has, and the step model has more.
    """

    def __init__(self, model, batch_size):
        self.batch_size = batch_size
        self.inputs, self.states, self.next_states = {}, {}, {}
        self.problems, self.streams, self.tokens = [], {}, []
        named = zip(_names("x", model.inputs), model.inputs, strict=True)
        tokens = [self._input(name, x) for name, x in named]
        check(self.problems)
        rebuilt = rebuild(model, self.visit, inputs=tokens[0] if len(tokens) == 1 else tokens)
        check(self.problems)
        self.outputs = [self.streams[id(token)].tensor for token in rebuilt.outputs]

    def _input(self, name, x):
        if len(x.shape) < 3:
            self.problems.append((x, f"has shape {x.shape}; expected [batch, time, features]"))
        shape = (self.batch_size, *x.shape[2:])
        self.inputs[name] = keras.Input(batch_shape=shape, dtype=x.dtype, name=name)
        token = keras.Input(batch_shape=x.shape, dtype=x.dtype)
        return self._keep(token, Stream(self.inputs[name], True, None, len(x.shape)))

    def _keep(self, token, stream):
        self.tokens.append(token)  # so that no other one gets its id
        self.streams[id(token)] = stream
        return token

    def visit(self, layer, path, *args, **kwargs):
        """Add one call of a layer; return the token of its output."""
        found = [
            self.streams[id(t)] for t in keras.tree.flatten((args, kwargs)) if self._is_token(t)
        ]
        token = keras.layers.Identity()(next(t for t in keras.tree.flatten(args)))
        reason = why_not(layer, args, kwargs, found)
        if reason is not None:
            self.problems.append((layer, reason))
        if self.problems:
            return self._keep(token, found[0])
        args = keras.tree.map_structure(
            lambda t: self.streams[id(t)].tensor if self._is_token(t) else t, args
        )
        if takes_last_step(layer, args):
            return self._keep(token, replace(found[0], over_time=False, rank=found[0].rank - 1))
        over_time, window = after(layer, found[0])
        y = self._call(layer, path.replace("#", "_call_"), args, found[0].window)
        return self._keep(token, Stream(y, over_time, window, len(y.shape) + over_time))

    def _is_token(self, value):
        return isinstance(value, keras.KerasTensor) and id(value) in self.streams

    def _call(self, layer, name, args, window):
        own = inside(layer)
        if isinstance(own, LEFT_OUT):
            return args[0]
        if not isinstance(own, keras.layers.Layer):
            return own(*args)
        if keeps_states(own):
            return self._step(layer, name, args[0], window)
        copy = copy_layer(at_one_step(own), **on_last_axis(own), name=name)
        y = copy(*args)
        _copy_values(layer, copy)
        return y

    def _step(self, layer, name, x, window):
        own = inside(layer)
        changes = {"stateful": False} if getattr(own, "stateful", False) else {}
        copy = Step(copy_layer(own, **changes), window, name=name)
        copy.build((x.shape,))
        _copy_values(layer, copy.layer)
        first = copy.initial_states(1)
        names = [f"{name}_state_{index}" for index in range(len(first))]
        for key, state in zip(names, first, strict=True):
            self.states[key] = keras.Input(
                batch_shape=(self.batch_size, *state.shape[1:]),
                dtype=keras.backend.standardize_dtype(state.dtype),
                name=key,
            )
        y, *states = copy([x, *(self.states[key] for key in names)])
        self.next_states |= zip(names, states, strict=True)
        return y


def _copy_values(layer, copy):
    """Give a copy the weights with which a layer computes in inference."""
    copy_weights(
        at_one_step(inside(layer)) if not keeps_states(inside(layer)) else inside(layer), copy
    )
    if isinstance(layer, QuantizedWeights):
        rules = {id(variable): rule for variable, rule in layer.quantized()}
        for own, new in zip(layer.layer.weights, copy.weights, strict=True):
            if id(own) in rules:
                latent = ops.cast(ops.convert_to_tensor(own), "float32")
                new.assign(ops.convert_to_numpy(rules[id(own)](latent, training=False)))


def _names(letter, tensors):
    """Return "x" for one tensor, "x_0", "x_1" and so on for several."""
    return [letter] if len(tensors) == 1 else [f"{letter}_{i}" for i in range(len(tensors))]
