"""Run a model and record what meets its weights.

The model runs as it is, compiled, with `training=False`; only `call` of its layers is replaced for
the time of the tracing by one that also tells a `Tape` what went in and out. Recurrent layers run a
second time, around a cell that outputs all of its signals; they are counted after the loop. Where a
`HybridLMU` computes all steps at once, its own run is recorded (see `parallel`).
What comes back from the device are sums, and the counts of quantized activities. The model's
variables (states, seeds) are put back afterwards.
"""

import contextlib

import keras
import numpy as np

from hybrid_lmu._internal.batches import batches
from hybrid_lmu._internal.traversal import sublayers
from hybrid_lmu.accounting.cells import unknown
from hybrid_lmu.accounting.exclusions import (
    operations,
    reason_not_counted,
    reason_operation,
    reason_unknown,
)
from hybrid_lmu.accounting.layers import find_rule
from hybrid_lmu.accounting.tape import Tape
from hybrid_lmu.accounting.watched import (
    watched_casts,
    watched_layer,
    watched_operation,
)


class Recorder:
    """Runs a model batch by batch and gives, for each, what was recorded.

    Args:
        model: a `keras.Model`.
        skip: names of layers to leave out.

    Attributes:
        not_counted: ``{path: reason}`` of layers and operations that no product is counted of.
        steps: length of the longest sequence so far that a recurrent layer received; at least 1.
    """

    def __init__(self, model, skip=()):
        if not isinstance(model, keras.Model):
            raise ValueError(f"`model` must be a keras.Model; received: {type(model).__name__}")
        self.model = model
        self.skip = (skip,) if isinstance(skip, str) else tuple(skip)
        self.leaves = self.not_counted = None
        self.operations = {}
        self.steps = 1
        self.tape = Tape()
        self.probe = _Probe(self)
        if keras.backend.backend() == "tensorflow":
            self.probe.jit_compile = False  # the convolution of keras-lmu cannot be compiled

    def run(self, x, batch_size):
        """Yield ``(items, arrays)`` per batch: the tape's items, and what was recorded of each."""
        saved = None
        try:
            for batch in batches(x, batch_size):
                if saved is None:
                    self._find_leaves(batch)
                    saved = [(v, keras.ops.convert_to_numpy(v)) for v in self._variables()]
                arrays = self.probe.predict_on_batch(batch)
                size = len(keras.tree.flatten(batch)[0])
                yield size, self.tape.items, self._by_item(arrays)
        finally:
            for variable, value in saved or []:
                variable.assign(value)

    def _variables(self):
        """Variables that a call may change; Keras does not list the states of stateful layers."""
        found = [v for v in self.model.variables if not v.trainable]
        for leaf in self.leaves.values():
            if getattr(leaf.layer, "stateful", False):
                found += keras.tree.flatten(getattr(leaf.layer, "states", None) or [])
        return found

    def _by_item(self, arrays):
        result = [{} for _ in self.tape.items]
        self.steps = max(self.steps, int(arrays.pop("steps", 1)))
        for key, value in arrays.items():
            index, name = key.split("/")
            result[int(index)][name] = np.asarray(value)
        for path, leaf in self.leaves.items():
            if leaf.layer.weights and path not in self.not_counted and path not in self.tape.paths:
                self.not_counted[path] = "not called by the model"
        return result

    def _find_leaves(self, batch):
        if not self.model.built:
            self.model(batch, training=False)
        self.leaves, self.not_counted = {}, {}
        self.operations = {}
        seen, names = set(), set()
        self._walk(self.model, "", seen, names)
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
            self.not_counted[path] = "skipped"
            self.leaves[path] = _Leaf(layer, None)
            return
        is_model = isinstance(layer, keras.Model)
        rule = None if is_model else find_rule(layer)
        reason = None if is_model else reason_not_counted(layer)
        children = [] if rule or reason else sublayers(layer)
        if not (is_model or rule or reason or children or layer.weights):
            reason = reason_unknown(layer)
        if reason is not None:
            self.not_counted[path] = reason
        inside = {id(w) for child in children for w in child.weights}
        recurrent = hasattr(layer, "cell") or hasattr(layer, "state_size")
        own = [w for w in layer.weights if recurrent or id(w) not in inside]
        if own and not rule and not reason:
            raise unknown(layer)
        if not children and not is_model:
            self.leaves[path] = _Leaf(layer, rule)
        for child in children:
            self._walk(child, f"{path}/{child.name}" if path else child.name, seen, names)
        if is_model:
            self._note_model(layer, path, names)

    def _note_model(self, model, path, names):
        for operation in operations(model):
            name = f"{path}/{operation.name}" if path else operation.name
            names.add(operation.name)
            self.operations[name] = operation
            reason = reason_operation(operation)
            if reason is not None:
                self.not_counted[name] = "skipped" if operation.name in self.skip else reason


class _Leaf:
    def __init__(self, layer, rule):
        self.layer, self.rule = layer, rule


class _Probe(keras.Model):
    """Calls the model with its layers watched, and outputs what the tape collected."""

    def __init__(self, recorder):
        super().__init__(name="probe", autocast=False)
        self.model = recorder.model
        self.recorder = recorder
        self.built = True

    def call(self, inputs):
        recorder = self.recorder
        recorder.tape = tape = Tape()
        inputs = _in_declared_dtypes(self.model, inputs)
        tape.start(inputs)
        with contextlib.ExitStack() as stack:
            stack.enter_context(watched_casts(tape))
            for path, operation in recorder.operations.items():
                stack.enter_context(watched_operation(operation, path, tape))
            for path, leaf in recorder.leaves.items():
                stack.enter_context(watched_layer(leaf.layer, leaf.rule, path, tape))
            self.model(inputs, training=False)
        tape.forget()
        return tape.tensors


def _in_declared_dtypes(model, inputs):
    """Integer inputs (such as uint8 pixels) as numbers of the dtype that the model declares.

    A functional model casts them itself, to tensors of which the tape would know nothing.
    """
    declared = getattr(model, "inputs", None)
    if not declared:
        return inputs
    names = sorted(inputs) if isinstance(inputs, dict) else []
    by_name = {tensor.name: tensor for tensor in declared}
    if names and set(names) <= set(by_name):
        declared = [by_name[name] for name in names]
    arrays = keras.tree.flatten(inputs)  # of a dictionary: in the order of its sorted names
    if len(arrays) != len(declared):
        return inputs
    cast = [
        keras.ops.cast(x, tensor.dtype) if _is_integer(x) else x
        for x, tensor in zip(arrays, declared, strict=True)
    ]
    return keras.tree.pack_sequence_as(inputs, cast)


def _is_integer(x):
    return "int" in keras.backend.standardize_dtype(x.dtype)
