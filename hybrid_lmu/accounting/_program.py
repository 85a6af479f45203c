"""A copy of a model as a list of calls, which can be run with something done at each of them.

Reports run a copy, so that the model in use stays as it is: its states, seeds and dropout masks,
and whatever another thread does with it. The calls come from the graph of the copy. A model or
layer of the user's own class, which has no graph, is called once on symbolic inputs to get one.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras

from hybrid_lmu._internal.copies import copy_layer
from hybrid_lmu._internal.keras_compat import values_of
from hybrid_lmu._internal.traversal import all_layers


@dataclass(frozen=True)
class Step:
    """One call: `target` is a layer, an operation of Keras, or a `Program` of a model inside.

    Attributes:
        target: what is called.
        name: its name.
        args, kwargs: its arguments, with symbolic tensors in place of tensors.
        outputs: the symbolic tensors that it returns.
    """

    target: Any
    name: str
    args: tuple
    kwargs: dict
    outputs: Any


@dataclass(frozen=True)
class Program:
    """The calls of a model in order, between its symbolic inputs and outputs."""

    inputs: Any
    outputs: Any
    steps: tuple[Step, ...]


class ModelCopy:
    """A copy of a model, and which of its variables stands for which of the model's.

    Args:
        model: a `keras.Model` that is built.
        batch: a batch of its inputs, for a model of the user's own class.
        opaque: tells whether a layer is to be called as it is, though it may hold other layers.
        skip: names of layers that are left out; such a layer may be shared instead of copied.

    Attributes:
        program: the `Program` of the copy.
        layers: the copied layers.

    Raises:
        ValueError: for a layer that cannot be copied, or a model or layer that cannot be traced.
    """

    def __init__(
        self, model: keras.Model, batch: Any, opaque: Callable[[Any], bool], skip: tuple[str, ...]
    ):
        self._opaque, self._skip = opaque, skip
        self._made: dict[int, tuple[Any, Any]] = {}
        self._inner: dict[int, tuple[Program, keras.Model]] = {}
        if not has_graph(model):
            model = _traced(model, keras.tree.map_structure(_symbolic, batch))
        self.program, _ = self._copied_program(model)
        self.layers = [new for _, new in self._made.values()]
        self._pairs = list(self._variable_pairs())

    def refresh(self, model: keras.Model) -> None:
        """Give the copy the present weights, states and seeds of the model."""
        pairs = [(old, new) for old, new in self._pairs if old is not new]
        values = values_of(model, [old for old, _ in pairs])
        for (_, new), value in zip(pairs, values, strict=True):
            new.assign(value)
        for layer in self.layers:
            for one in all_layers(layer):
                if isinstance(one, keras.layers.Normalization):
                    one.finalize_state()

    def of(self, variable: keras.Variable) -> keras.Variable:
        """Return what stands for a variable of the model; the variable itself if nothing does."""
        return next((new for old, new in self._pairs if old is variable), variable)

    def unlisted_states(self) -> list[keras.Variable]:
        """Return the states of the copied layers that Keras does not count among their variables.

        On JAX, a model has to know of all variables that it reads or changes.
        """
        listed = {id(v) for layer in self.layers for v in layer.variables}
        found = [v for layer in self.layers for v in _variables(layer)]
        return [v for v in found if id(v) not in listed]

    def source(self, variable: keras.Variable) -> keras.Variable:
        """Return the model's variable that a variable of the copy stands for."""
        return next((old for old, new in self._pairs if new is variable), variable)

    def _variable_pairs(self):
        for old, new in self._made.values():
            yield from zip(_variables(old), _variables(new), strict=True)

    def _copied_program(self, graph):
        """Return the program of a functional model, with copies of its layers, and its model."""
        steps = []

        def call(target, *args, **kwargs):
            inner = self._inside(target, args, kwargs)
            if inner is not None:
                program, model = inner
                outputs = model(args[0] if len(args) == 1 else list(args))
                steps.append(Step(program, target.name, args, {}, outputs))
                return outputs
            new = self._copied(target)
            outputs = new(*args, **kwargs)
            steps.append(Step(new, target.name, args, kwargs, outputs))
            return outputs

        clone = keras.models.clone_model(
            _as_functional(graph), clone_function=lambda layer: layer, call_function=call
        )
        inputs = clone.inputs[0] if len(clone.inputs) == 1 else clone.input
        return Program(inputs, clone.outputs, tuple(steps)), clone

    def _copied(self, layer):
        if not isinstance(layer, keras.layers.Layer):
            return layer  # an operation has no state
        if id(layer) not in self._made:
            shared = self._may_be_shared(layer) and not _copyable(layer)
            self._made[id(layer)] = layer, layer if shared else _copy_layer(layer)
        return self._made[id(layer)][1]

    def _may_be_shared(self, layer):
        """Whether a call leaves the layer as it is, or the layer is left out of the report."""
        return layer.name in self._skip or not layer.non_trainable_variables

    def _inside(self, target, args, kwargs):
        """Return program and copy of a model, or of a layer of layers; None for other layers."""
        if not isinstance(target, keras.layers.Layer) or self._opaque(target):
            return None
        if id(target) not in self._inner:
            graph = target
            if not has_graph(target):
                graph = _traced(target, *keras.tree.map_structure(_like, args), **kwargs)
            self._inner[id(target)] = self._copied_program(graph)
        return self._inner[id(target)]


def _traced(target, *inputs, **kwargs):
    """Return a functional model of a layer or model that has no graph of its own.

    It shares the layers of `target`.
    """
    options = {k: v for k, v in kwargs.items() if not isinstance(v, keras.KerasTensor)}
    if "training" in inspect.signature(target.call).parameters:
        options["training"] = False
    try:
        outputs = target.call(*inputs, **options)
        inputs = inputs[0] if len(inputs) == 1 else list(inputs)
        return keras.Model(inputs, outputs, name=target.name)
    except Exception as e:  # whatever the code of the user raises
        raise ValueError(
            f"The calls inside {target.name!r} ({type(target).__name__}) cannot be followed: its "
            f"`call` failed on symbolic inputs with {type(e).__name__}: {e}. Use "
            f"operations of `keras.ops` in it; `activity_report` can leave it out with "
            f"`skip=({target.name!r},)`."
        ) from e


def _copy_layer(layer: keras.layers.Layer) -> keras.layers.Layer:
    """Return a new layer of the same configuration, without the weights."""
    try:
        return copy_layer(layer)
    except Exception as e:  # whatever the class of a user raises
        raise ValueError(
            f"Layer {layer.name!r} ({type(layer).__name__}) cannot be copied, as a report needs: "
            f"`from_config(get_config())` failed with {type(e).__name__}: {e}. Give it a "
            f"`get_config` with the arguments of its constructor."
        ) from e


def _copyable(layer):
    try:
        _copy_layer(layer)
    except ValueError:
        return False
    return True


def has_graph(model: Any) -> bool:
    """Return whether a model is Sequential or functional, so that its calls are known."""
    return isinstance(model, keras.Model) and bool(getattr(model, "outputs", None))


def _as_functional(model):
    inputs = model.inputs[0] if len(model.inputs) == 1 else model.input
    outputs = model.outputs[0] if isinstance(model, keras.Sequential) else model.output
    return keras.Model(inputs, outputs, name=model.name)


def _symbolic(array):
    dtype = keras.config.floatx() if array.dtype.kind == "f" else array.dtype
    return keras.Input(array.shape[1:], dtype=dtype)


def _like(tensor):
    return keras.Input(batch_shape=tensor.shape, dtype=tensor.dtype)


def _variables(layer):
    """Return all variables of a layer or model, and the states that Keras does not list."""
    found = {id(v): v for v in layer.variables}
    for one in all_layers(layer):
        if getattr(one, "stateful", False):
            states = keras.tree.flatten(getattr(one, "states", None) or [])
            found.update({id(v): v for v in states})
    return list(found.values())
