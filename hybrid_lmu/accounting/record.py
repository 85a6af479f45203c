"""Run a model and record what meets its weights.

The model runs as it is, compiled, with `training=False`; only `call` of its layers is replaced for
the time of the tracing by one that also tells a `Tape` what went in and out. Recurrent layers run a
second time, around a cell that outputs all of its signals; they are counted after the loop.
What comes back from the device are sums, and the counts of quantized activities. The model's
variables (states, seeds) are put back afterwards.
"""

import contextlib
import inspect

import keras
import numpy as np
from keras import ops

from hybrid_lmu.accounting.cells import unknown
from hybrid_lmu.accounting.layers import LayerCall, find_rule, reason_not_counted
from hybrid_lmu.accounting.signals import Signal
from hybrid_lmu.accounting.tape import Tape


def batches(x, batch_size):
    """Yield batches of inputs, as NumPy arrays or structures of them.

    Args:
        x: an array, or a list or dictionary of arrays (a model with several inputs); or anything
            that yields batches (`keras.utils.PyDataset`, `tf.data.Dataset`, a generator), each of
            them inputs or a tuple ``(inputs, targets, ...)``.
        batch_size: of arrays.

    Raises:
        ValueError: if there is no sample, or a NaN in an input.
    """
    empty = True
    for index, batch in enumerate(_batches(x, batch_size)):
        batch = keras.tree.map_structure(np.asarray, batch)
        for array in keras.tree.flatten(batch):
            if not array.ndim:
                raise ValueError(f"`x` must hold batches of inputs; received a scalar: {array!r}")
            if array.dtype.kind == "f" and np.isnan(array).any():
                raise ValueError(f"`x` must not contain NaN; batch {index} does.")
        if len(keras.tree.flatten(batch)[0]):
            empty = False
            yield batch
    if empty:
        raise ValueError("`x` must hold at least one sample; received none.")


def _batches(x, batch_size):
    if isinstance(x, keras.utils.PyDataset):
        if x.num_batches is None:
            raise ValueError("`x` must be finite; received a PyDataset without a length.")
        for index in range(x.num_batches):
            yield keras.utils.unpack_x_y_sample_weight(x[index])[0]
    elif isinstance(x, (list, dict)) or hasattr(x, "shape"):
        size = len(keras.tree.flatten(x)[0])
        for start in range(0, size, batch_size):
            stop = start + batch_size
            yield keras.tree.map_structure(lambda array: array[start:stop], x)  # noqa: B023
    elif hasattr(x, "__iter__"):
        for batch in x:
            yield keras.utils.unpack_x_y_sample_weight(batch)[0]
    else:
        raise ValueError(
            "`x` must be an array, a list or dictionary of arrays, or something that yields "
            f"batches (PyDataset, tf.data.Dataset, generator); received: {type(x).__name__}"
        )


class Recorder:
    """Runs a model batch by batch and gives, for each, what was recorded.

    Args:
        model: a `keras.Model`.
        skip: names of layers to leave out.

    Attributes:
        not_counted: ``{path: reason}`` of layers with weights that no product is counted of.
    """

    def __init__(self, model, skip=()):
        if not isinstance(model, keras.Model):
            raise ValueError(f"`model` must be a keras.Model; received: {type(model).__name__}")
        self.model = model
        self.skip = (skip,) if isinstance(skip, str) else tuple(skip)
        self.leaves = self.not_counted = None
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
        if reason is not None:
            self.not_counted[path] = reason
        children = [] if rule or reason else sublayers(layer)
        inside = {id(w) for child in children for w in child.weights}
        recurrent = hasattr(layer, "cell") or hasattr(layer, "state_size")
        own = [w for w in layer.weights if recurrent or id(w) not in inside]
        if own and not rule and not reason:
            raise unknown(layer)
        if not children and not is_model:
            self.leaves[path] = _Leaf(layer, rule)
        for child in children:
            self._walk(child, f"{path}/{child.name}" if path else child.name, seen, names)


def sublayers(layer):
    """Return the layers that a layer holds in its attributes, in order."""
    if isinstance(layer, keras.Model):
        return list(layer.layers)
    found = {}
    for value in list(vars(layer).values()):
        held = isinstance(value, (keras.layers.Layer, list, tuple, dict))
        for item in keras.tree.flatten(value) if held else []:
            if isinstance(item, keras.layers.Layer) and item is not layer:
                found[id(item)] = item
    return list(found.values())


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
        tape.start(inputs)
        with contextlib.ExitStack() as stack:
            for path, leaf in recorder.leaves.items():
                stack.enter_context(_watched(leaf, path, tape))
            self.model(inputs, training=False)
        tape.forget()
        return tape.tensors


@contextlib.contextmanager
def _watched(leaf, path, tape):
    """Replace `call` of the layer by one that reports to the tape, and put it back."""
    layer = leaf.layer
    name = "call" if layer.quantization_mode is None else "quantized_call"
    original = getattr(layer, name)
    signature = inspect.signature(layer.call)

    def call(*args, **kwargs):
        states = None
        if getattr(layer, "stateful", False) and getattr(layer, "states", None) is not None:
            states = keras.tree.map_structure(ops.copy, list(layer.states))
        output = original(*args, **kwargs)
        arguments = dict(signature.bind(*args, **kwargs).arguments)
        arguments.update(arguments.pop("kwargs", {}))
        inputs = keras.tree.flatten(arguments.pop(next(iter(arguments))))
        traces = [tape.trace(x) for x in inputs]
        masks = [trace.mask for trace in traces]
        if arguments.get("mask") is not None:
            masks = keras.tree.flatten(arguments["mask"])
        tape.enter(path)
        resolution = None
        if leaf.rule is not None:
            signals = [
                Signal(x, trace.resolution, dtype=trace.dtype)
                for x, trace in zip(inputs, traces, strict=True)
            ]
            details = LayerCall(signals, output, masks[0], states, arguments, original)
            resolution = leaf.rule(layer, tape, details)
        dtypes = [trace.dtype for trace in traces]
        tape.remember(output, resolution, _output_mask(layer, inputs, masks), dtypes)
        return output

    object.__setattr__(layer, name, call)
    try:
        yield
    finally:
        object.__delattr__(layer, name)


def _output_mask(layer, inputs, masks):
    if not layer.supports_masking:
        return None
    makes_mask = type(layer).__name__ in ("Masking", "Embedding")
    if all(mask is None for mask in masks) and not makes_mask:
        return None
    single = len(inputs) == 1
    mask = layer.compute_mask(inputs[0] if single else inputs, masks[0] if single else masks)
    return mask[0] if isinstance(mask, (list, tuple)) else mask
