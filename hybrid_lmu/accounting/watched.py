"""Replacing what a model calls, for the time of a tracing, by calls that also tell a `Tape`."""

import contextlib
import inspect

import keras
from keras import ops

from hybrid_lmu.accounting.exclusions import ACTIVATION_OPERATIONS
from hybrid_lmu.accounting.layers import LayerCall, known
from hybrid_lmu.accounting.parallel import caught, replaced
from hybrid_lmu.accounting.signals import Meeting, Signal


def watched_layer(layer, rule, path, tape):
    """Return the context in which calls of the layer put what its `rule` finds on the tape."""
    name = "call" if layer.quantization_mode is None else "quantized_call"
    original = getattr(layer, name)
    signature = inspect.signature(layer.call)

    def call(*args, **kwargs):
        states = None
        if getattr(layer, "stateful", False) and getattr(layer, "states", None) is not None:
            states = keras.tree.map_structure(ops.copy, list(layer.states))
        with caught(layer) as parts:
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
        if rule is not None:
            signals = [
                Signal(x, trace.resolution, dtype=trace.dtype)
                for x, trace in zip(inputs, traces, strict=True)
            ]
            details = LayerCall(signals, output, masks[0], states, arguments, original, parts)
            resolution = rule(layer, tape, details)
        dtypes = [trace.dtype for trace in traces]
        tape.remember(output, resolution, _output_mask(layer, inputs, masks), dtypes)
        return output

    return replaced(layer, name, call)


def _output_mask(layer, inputs, masks):
    if not layer.supports_masking:
        return None
    makes_mask = type(layer).__name__ in ("Masking", "Embedding")
    if all(mask is None for mask in masks) and not makes_mask:
        return None
    single = len(inputs) == 1
    mask = layer.compute_mask(inputs[0] if single else inputs, masks[0] if single else masks)
    return mask[0] if isinstance(mask, (list, tuple)) else mask


def watched_operation(operation, path, tape):
    """Return the context in which a cast keeps a resolution and an activation function is seen.

    Other operations of a functional model are not watched: what comes out of them is real.
    """
    name, original = type(operation).__name__, operation.call
    if name != "Cast" and name not in ACTIVATION_OPERATIONS:
        return contextlib.nullcontext()

    def call(x, *args, **kwargs):
        output = original(x, *args, **kwargs)
        trace = tape.trace(x)
        if name == "Cast":
            tape.same(x, output, mask=None)
            return output
        if not known(trace.resolution):
            tape.enter(path)
            tape.add([(Meeting("output", "output"), output)], None)
        tape.remember(output, trace.resolution if name == "Relu" else None, None, [trace.dtype])
        return output

    return replaced(operation, "call", call)


@contextlib.contextmanager
def watched_casts(tape):
    """Follow the tensors that layers cast to their own dtype before they are called."""
    original = keras.DTypePolicy.convert_input

    def convert_input(self, x, *args, **kwargs):
        result = original(self, x, *args, **kwargs)
        tape.same(x, result)
        return result

    keras.DTypePolicy.convert_input = convert_input
    try:
        yield
    finally:
        keras.DTypePolicy.convert_input = original
