"""Run a copy of a model on data and record what meets its weights.

`Recording` builds a probe: a Keras model that runs the `Program` of the copy call by call, follows
the integer codes through it, and puts out the sums on a `Tape`. The probe of a model is kept for
the next report, so that repeated reports neither trace again nor grow. Threads take turns.
"""

from __future__ import annotations

import json
import threading
import weakref
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from hybrid_lmu._internal.batches import batches
from hybrid_lmu._internal.keras_compat import (
    ACTIVATION_OPERATIONS,
    MOVES_AND_SUMS,
    PRODUCT_OPERATIONS,
    operation_name,
)
from hybrid_lmu._internal.traversal import all_layers, sublayers, variable_paths
from hybrid_lmu.accounting._items import Tape
from hybrid_lmu.accounting._keras_layers import (
    Call,
    check_known,
    is_known_layer,
    reason_not_counted,
    record,
    without_products,
)
from hybrid_lmu.accounting._program import ModelCopy, Program, has_graph
from hybrid_lmu.codes import RAW, Code, coarsest, is_known

_PRODUCTS = "products of two activations or with a constant"
_UNKNOWN = "products unknown"
_kept: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()
_kept_lock = threading.Lock()


def recording_of(
    model: keras.Model, skip: Sequence[str] | str = (), read_once: bool = False
) -> Recording:
    """Return the recording of a model: the one kept from before, if the model is still the same.

    Args:
        model: a `keras.Model`.
        skip: names of layers and operations to leave out.
        read_once: see `activity_report`.

    Raises:
        ValueError: if `model` is no model.
    """
    if not isinstance(model, keras.Model):
        raise ValueError(f"`model` must be a keras.Model; received: {type(model).__name__}")
    skip = (skip,) if isinstance(skip, str) else tuple(skip)
    with _kept_lock:
        kept = _kept.setdefault(model, {})
        key = skip, read_once
        if key not in kept:
            kept[key] = Recording(weakref.ref(model), skip, read_once)
        return kept[key]


class Recording:
    """Runs a model batch by batch and gives, for each batch, what was recorded.

    Args:
        model: weak reference to the `keras.Model`.
        skip: names of layers and operations to leave out.
        read_once: see `activity_report`.

    Attributes:
        not_counted: ``{path: reason}`` of layers and operations whose products are left out.
        steps: length of the longest sequence that a recurrent layer received; at least 1.
        state_entries: numbers per sample that layers keep from step to step.
    """

    def __init__(self, model: weakref.ref, skip: tuple[str, ...], read_once: bool):
        self._model = model
        self.skip, self.read_once = skip, read_once
        self.lock = threading.RLock()
        self._config = self._copy = self._probe = None
        self._unknown: dict[str, str] = {}
        self.not_counted: dict[str, str] = {}
        self.steps = 1

    @property
    def copy(self) -> ModelCopy:
        """The copy that was run; its weights are those of the model when the run began."""
        return self._copy

    @property
    def state_entries(self) -> int:
        return self._probe.tape.state_entries

    def run(
        self, x: Any, batch_size: int, products: bool = False
    ) -> Iterator[tuple[int, list, list]]:
        """Yield ``(samples, items, arrays)`` for each batch: arrays is a dictionary per item.

        With `products`, a layer with weights whose products are not known is a ValueError.
        """
        with self.lock:
            self.steps, shapes = 1, None
            for batch in batches(x, batch_size):
                found = self._shapes_that_matter(batch)
                if found != shapes:
                    self._prepare(batch, found, products)
                    shapes = found
                arrays = self._probe.predict_on_batch(batch)
                items = self._probe.tape.items
                yield len(keras.tree.flatten(batch)[0]), items, self._by_item(items, arrays)

    def source_path(self, variable: keras.Variable) -> str:
        """Return the path of the model's variable that a variable of the copy stands for."""
        old = self._copy.source(variable)
        return variable_paths(self._model()).get(id(old), old.path)

    def _shapes_that_matter(self, batch):
        """Return the shapes that the graph of a model depends on: none, if it has one already."""
        if has_graph(self._model()):
            return ()
        return tuple(array.shape[1:] for array in keras.tree.flatten(batch))

    def _prepare(self, batch, shapes, products):
        model = self._model()
        if not model.built:
            model(batch, training=False)
        config = _configuration(model, shapes)
        if self._probe is None or config != self._config:
            self._config = self._probe = None
            self._check(model)
            self._check_products(products)
            self._copy = ModelCopy(model, batch, self._is_opaque, self.skip)
            self._probe = _Probe(self._copy, (*self.skip, *self._unknown), self.read_once)
            self._config = config
        self._check_products(products)
        self._copy.refresh(model)
        self.not_counted = {**self._reasons}

    def _is_opaque(self, layer):
        if isinstance(layer, keras.Model):
            return layer.name in self.skip
        return (
            layer.name in self.skip
            or is_known_layer(layer)
            or reason_not_counted(layer) is not None
            or not sublayers(layer)
        )

    def _check(self, model):
        """Note what is left out, and an error for each unknown layer with weights."""
        self._reasons, self._unknown, names = {}, {}, set()
        self._walk(model, "", set(), names)
        missing = [name for name in self.skip if name not in names]
        if missing:
            raise ValueError(
                f"`skip` must name layers of the model, {sorted(names)}; received: {missing}"
            )

    def _walk(self, layer, path, seen, names):
        if id(layer) in seen:
            return
        seen.add(id(layer))
        names.add(layer.name)
        if layer.name in self.skip:
            self._reasons[path] = "skipped"
            return
        if not isinstance(layer, keras.Model):
            reason = reason_not_counted(layer)
            if is_known_layer(layer) and reason is None:
                self._note_unknown(layer)
                return
            if reason is None and not sublayers(layer):
                self._note_unknown(layer)
                reason = None if without_products(layer) else _UNKNOWN
            if reason is not None:
                self._reasons[path] = reason
            if reason is not None or not sublayers(layer):
                return
            self._note_unknown(layer)
        for child in sublayers(layer):
            self._walk(child, f"{path}/{child.name}" if path else child.name, seen, names)
        for operation in _operations(layer):
            names.add(operation.name)
            reason = _reason_of_operation(operation)
            if reason is not None:
                name = f"{path}/{operation.name}" if path else operation.name
                self._reasons[name] = "skipped" if operation.name in self.skip else reason

    def _note_unknown(self, layer):
        try:
            check_known(layer)
        except ValueError as e:
            self._unknown[layer.name] = str(e)

    def _check_products(self, needed):
        for message in self._unknown.values() if needed else ():
            raise ValueError(message)

    def _by_item(self, items, arrays):
        result = [{} for _ in items]
        self.steps = max(self.steps, int(arrays.pop("steps", 1)))
        for key, value in arrays.items():
            index, name = key.split("/")
            result[int(index)][name] = np.asarray(value)
        called = self._probe.tape.paths
        for path, layer in self._leaves():
            if layer.weights and path not in self.not_counted and path not in called:
                self.not_counted[path] = "not called by the model"
        return result

    def _leaves(self):
        """Yield ``(path, layer)`` of the layers that make products of their own."""
        waiting, seen = [("", self._model())], set()
        while waiting:
            path, layer = waiting.pop(0)
            if id(layer) in seen:
                continue
            seen.add(id(layer))
            if path and not isinstance(layer, keras.Model) and self._is_opaque(layer):
                yield path, layer
            elif layer.name not in self.skip:
                prefix = f"{path}/" if path else ""
                waiting[:0] = [(f"{prefix}{one.name}", one) for one in sublayers(layer)]


class _Probe(keras.Model):
    """Runs the program of a copy, and outputs what the tape collected."""

    def __init__(self, copy: ModelCopy, skip: tuple[str, ...], read_once: bool):
        super().__init__(name="probe", autocast=False)
        self.copied = copy.layers  # so that Keras knows their variables
        # The states of `keras.layers.RNN` are no variables of the layer for Keras.
        self.states = copy.unlisted_states()
        self.program, self.skip, self.read_once = copy.program, skip, read_once
        self.tape = Tape()
        self.built = True
        if keras.backend.backend() == "tensorflow":
            self.jit_compile = False  # the convolution of keras-lmu cannot be compiled

    def call(self, inputs, training=False):
        self.tape = Tape(read_once=self.read_once)
        run = _Run(self.tape, self.skip)
        given = keras.tree.flatten(_in_order_of(self.program.inputs, inputs))
        codes = []
        for tensor, symbolic in zip(given, keras.tree.flatten(self.program.inputs), strict=True):
            # A model casts integer inputs, such as pixels, to the dtype that it declares, and takes
            # inputs without their last axis if it has size 1.
            if len(tensor.shape) == len(symbolic.shape) - 1 and symbolic.shape[-1] == 1:
                tensor = ops.expand_dims(tensor, -1)
            codes.append(Code(ops.cast(tensor, symbolic.dtype), RAW))
        run.program(self.program, codes, "")
        return self.tape.tensors


class _Run:
    """One run of a program, on the tensors of one tracing."""

    def __init__(self, tape: Tape, skip: tuple[str, ...]):
        self.tape, self.skip = tape, skip
        self._paths: dict[int, str] = {}  # of a layer that several models share, the first

    def program(self, program: Program, inputs: list[Code], path: str) -> list[Code]:
        """Run a program on codes; return the codes of its outputs."""
        symbolic = keras.tree.flatten(program.inputs)
        codes = {id(s): code for s, code in zip(symbolic, inputs, strict=True)}
        for step in program.steps:
            name = f"{path}/{step.name}" if path else step.name
            made = self._step(step, codes, name)
            outputs = keras.tree.flatten(step.outputs)
            codes.update({id(s): code for s, code in zip(outputs, made, strict=True)})
        return [codes[id(s)] for s in keras.tree.flatten(program.outputs)]

    def _step(self, step, codes, path):
        found = [codes[id(x)] for x in keras.tree.flatten(step.args) if id(x) in codes]
        if isinstance(step.target, Program):
            return self.program(step.target, found, path)

        def tensor(x):
            return codes[id(x)].tensor if id(x) in codes else x

        args = keras.tree.map_structure(tensor, step.args)
        kwargs = keras.tree.map_structure(tensor, step.kwargs)
        if isinstance(step.target, keras.layers.Layer):
            return self._layer(step.target, args, kwargs, found, path)
        return self._operation(step.target, args, kwargs, found, path)

    def _layer(self, layer, args, kwargs, found, path):
        inputs = [_as_the_layer_takes(layer, code) for code in found[: _count(args[0])]]
        states = None
        if getattr(layer, "stateful", False) and getattr(layer, "states", None) is not None:
            states = keras.tree.map_structure(ops.copy, list(layer.states))
        masks = [code.mask for code in inputs]
        if kwargs.get("mask") is not None:
            masks = keras.tree.flatten(kwargs["mask"])
        before = _seeds(layer)
        output = layer(*args, **kwargs)
        self.tape.enter(self._paths.setdefault(id(layer), path))
        resolution = None
        if layer.name not in self.skip and reason_not_counted(layer) is None:
            call = Call(inputs, output, masks[0] if masks else None, states, kwargs, before)
            resolution = record(layer, call, self.tape)
            output = call.output
        dtypes = [code.dtype for code in inputs]
        first, *others = keras.tree.flatten(output)
        mask = _output_mask(layer, [code.tensor for code in inputs], masks)
        return [
            Code(first, resolution, mask, coarsest(first.dtype, *dtypes)),
            *(Code(x, dtype=coarsest(x.dtype, *dtypes)) for x in others),
        ]

    def _operation(self, operation, args, kwargs, found, path):
        output = operation(*args, **kwargs)
        name = operation_name(operation)
        first = found[0] if found else Code(None)
        resolution = None
        if name == "Cast":
            resolution = first.resolution
        elif name in ACTIVATION_OPERATIONS:
            if not is_known(first.resolution):
                self.tape.enter(path)
                self.tape.output("output", Code(output))
            resolution = first.resolution if name == "Relu" else None
        dtypes = [code.dtype for code in found]
        return [
            Code(x, resolution, None, coarsest(x.dtype, *dtypes))
            for x in keras.tree.flatten(output)
        ]


def _as_the_layer_takes(layer, code):
    """Return the code of an input in the dtype that the layer casts it to."""
    floating = "float" in keras.backend.standardize_dtype(code.tensor.dtype)
    cast = floating and getattr(layer, "autocast", False)
    return code.cast(layer.compute_dtype) if cast else code


def _output_mask(layer, inputs, masks):
    """Return the mask of the first output of a layer, or None.

    Keras attaches masks to tensors too, but not to those of JAX.
    """
    if not layer.supports_masking:
        return None
    own = type(layer).compute_mask is not keras.layers.Layer.compute_mask
    if all(mask is None for mask in masks):
        if not own:
            return None
        masks = [None] if len(inputs) == 1 else None
    if len(inputs) == 1:
        inputs, masks = inputs[0], masks[0]
    mask = layer.compute_mask(inputs, masks)
    return mask[0] if isinstance(mask, (list, tuple)) else mask


def _seeds(layer):
    """Return ``[(variable, value)]`` of the random draws of a layer, before its call."""
    generators = [getattr(one, "seed_generator", None) for one in all_layers(layer)]
    return [(g.state, ops.copy(g.state)) for g in generators if g is not None]


def _count(inputs):
    return len(keras.tree.flatten(inputs))


def _in_order_of(symbolic, inputs):
    """Return inputs given by name in the order in which the model declares them."""
    if not isinstance(inputs, dict) or isinstance(symbolic, dict):
        return inputs
    names = [tensor.name for tensor in keras.tree.flatten(symbolic)]
    return [inputs[name] for name in names] if set(names) <= set(inputs) else inputs


def _configuration(model, shapes):
    """Return what a kept probe of a model or layer depends on, as text."""
    try:
        return json.dumps(
            [type(model).__name__, shapes, model.get_config()], default=repr, sort_keys=True
        )
    except Exception:  # a class of the user without a configuration: what can be read of it
        plain = {k: v for k, v in vars(model).items() if isinstance(v, (bool, int, float, str))}
        parts = [(one.name, _configuration(one, ())) for one in sublayers(model)]
        held = [id(variable) for variable in model.variables]
        return repr([type(model).__name__, shapes, plain, parts, held])


def _operations(model):
    found = getattr(model, "operations", None) or []
    return [one for one in found if not isinstance(one, keras.layers.Layer)]


def _reason_of_operation(operation):
    name = operation_name(operation)
    if name in ACTIVATION_OPERATIONS or name in MOVES_AND_SUMS:
        return None
    return _PRODUCTS if name in PRODUCT_OPERATIONS else _UNKNOWN
