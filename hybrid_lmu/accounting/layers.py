"""Which signals meet which weights in a layer, and what becomes of a resolution on the way.

A rule for a class of layers is a function ``rule(layer, tape, call) -> resolution``: it tells the
`Tape` what meets what, and returns the resolution of the layer's output, or None if it is real.
`call` (a `LayerCall`) holds the inputs with their resolutions, the mask, the output, and the
states a recurrent layer started from.
"""

import math
from dataclasses import dataclass, field, replace
from typing import Any

import keras
from keras import ops

from hybrid_lmu.accounting.cells import check_cell, class_key
from hybrid_lmu.accounting.exclusions import reason_not_counted
from hybrid_lmu.accounting.parallel import pairs_at_once
from hybrid_lmu.accounting.signals import FromInput, Learned, Meeting, Raw, matrix
from hybrid_lmu.accounting.watch import FeedforwardLMU, WatchedCell

LAYERS = {}

# Output is the input, or some of its entries, moved or repeated: an integer code stays one.
TRANSPARENT = {
    *("Dropout", "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D"),
    *("GaussianNoise", "GaussianDropout", "AlphaDropout", "ActivityRegularization", "Identity"),
    *("Masking", "Flatten", "Reshape", "Permute", "RepeatVector"),
    *("Cropping1D", "Cropping2D", "Cropping3D", "UpSampling1D"),
    *("ZeroPadding1D", "ZeroPadding2D", "ZeroPadding3D"),
    *("MaxPooling1D", "MaxPooling2D", "MaxPooling3D"),
    *("GlobalMaxPooling1D", "GlobalMaxPooling2D", "GlobalMaxPooling3D"),
}


@dataclass
class LayerCall:
    """One call of a layer: `inputs` is a list of `Signal`s, `mask` booleans [batch, time] or None.

    `run` calls the layer once more, on other tensors. `caught` is what `parallel.caught` gave.
    """

    inputs: list
    output: Any
    mask: Any = None
    states: list | None = None
    kwargs: dict = field(default_factory=dict)
    run: Any = None
    caught: dict = field(default_factory=dict)

    @property
    def x(self):
        return self.inputs[0]


def register_layer(package, name):
    """Decorator: use the function as rule for layers of this exact class (not of subclasses).

    Args:
        package: top-level package of the module that defines the class, such as ``"keras"``.
        name: name of the class.
    """

    def decorate(rule):
        LAYERS[package, name] = rule
        return rule

    return decorate


def find_rule(layer):
    """Return the rule of the layer or None.

    Raises:
        ValueError: if it is a recurrent layer around a cell of an unknown class with weights.
    """
    key = class_key(layer)
    rule = LAYERS.get(key)
    if rule is None and key[0] == "keras" and key[1] in TRANSPARENT:
        rule = _transparent
    if rule is not None:
        for inner in CHECKED.get(rule, lambda layer: [])(layer):
            check_inner(inner)
    return rule


def check_inner(layer):
    """Raise ValueError if a layer inside another has weights but no rule."""
    if isinstance(layer, keras.layers.RNN):
        find_rule(layer) or check_cell(layer.cell)
    elif hasattr(layer, "state_size") or not (find_rule(layer) or reason_not_counted(layer)):
        check_cell(layer)


def known(resolution):
    """Whether the resolution is a tensor, and not that of a real or raw signal."""
    return resolution is not None and resolution is not Raw


def scalar(resolution):
    return known(resolution) and len(resolution.shape) == 0


def _transparent(layer, tape, call):
    resolution = call.x.resolution
    if not known(resolution) or scalar(resolution):
        return resolution
    name = class_key(layer)[1]
    last = getattr(layer, "data_format", None) in (None, "channels_last")
    if len(resolution.shape) == 1 and last and name not in ("Flatten", "Reshape", "Permute"):
        return resolution  # one per channel, and the channels stay where they are
    if "MaxPooling" in name:
        return None  # the largest may have any of the resolutions
    return call.run(ops.broadcast_to(resolution, ops.shape(call.x.tensor)))


@register_layer("keras", "Activation")
@register_layer("keras", "ReLU")
@register_layer("keras", "LeakyReLU")
@register_layer("keras", "ELU")
@register_layer("keras", "Softmax")
def _activation(layer, tape, call):
    function = getattr(layer, "activation", None)
    if function is keras.activations.linear:
        return call.x.resolution
    if not known(call.x.resolution):
        tape.add([(Meeting("output", "output"), call.output)], call.mask)
    plain = class_key(layer)[1] == "ReLU" and not (
        layer.max_value or layer.negative_slope or layer.threshold
    )
    return call.x.resolution if plain or function is keras.activations.relu else None


@register_layer("keras", "GlobalAveragePooling1D")
@register_layer("keras", "GlobalAveragePooling2D")
@register_layer("keras", "AveragePooling1D")
@register_layer("keras", "AveragePooling2D")
@register_layer("keras", "AveragePooling3D")
def _average(layer, tape, call):
    # An average over N entries of n / w is an integer over N * w; w may be one per channel.
    resolution, last = call.x.resolution, layer.data_format == "channels_last"
    per_neuron = known(resolution) and len(resolution.shape) == 1 and last
    uneven = getattr(layer, "padding", "valid") != "valid"
    if call.mask is not None or uneven or not (scalar(resolution) or per_neuron):
        return None
    if hasattr(layer, "pool_size"):
        return resolution * float(math.prod(layer.pool_size))
    shape = ops.shape(call.x.tensor)
    averaged = shape[1:-1] if last else shape[2:]
    for size in averaged:
        resolution = resolution * ops.cast(size, resolution.dtype)
    return resolution


@register_layer("keras", "Concatenate")
def _concatenate(layer, tape, call):
    if not all(known(x.resolution) for x in call.inputs):
        return Raw if all(x.resolution is Raw for x in call.inputs) else None
    wide = [ops.broadcast_to(x.resolution, ops.shape(x.tensor)) for x in call.inputs]
    return call.run(wide)


@register_layer("keras", "Dense")
def _dense(layer, tape, call):
    tape.add(matrix("kernel", "input", layer.kernel, [call.x]), call.mask)
    if layer.activation is not keras.activations.linear:
        tape.add([(Meeting("output", "output"), call.output)], call.mask)


@register_layer("keras", "Conv1D")
@register_layer("keras", "Conv2D")
@register_layer("keras", "Conv3D")
@register_layer("keras", "DepthwiseConv1D")
@register_layer("keras", "DepthwiseConv2D")
def _convolution(layer, tape, call):
    def convolve(x, kernel):
        if "Depthwise" in class_key(layer)[1]:
            return ops.depthwise_conv(
                x,
                kernel,
                strides=layer.strides,
                padding=layer.padding,
                dilation_rate=layer.dilation_rate,
                data_format=layer.data_format,
            )
        if getattr(layer, "padding", None) == "causal":
            left = layer.dilation_rate[0] * (layer.kernel_size[0] - 1)
            time = 1 if layer.data_format == "channels_last" else 2
            pads = [[left, 0] if axis == time else [0, 0] for axis in range(3)]
            return ops.conv(
                ops.pad(x, pads),
                kernel,
                strides=list(layer.strides),
                padding="valid",
                dilation_rate=layer.dilation_rate,
                data_format=layer.data_format,
            )
        return layer.convolution_op(x, kernel)

    if call.mask is not None:
        raise ValueError(
            f"Layer {layer.name!r} is a convolution that receives a mask; expected none. Use "
            f"`skip=({layer.name!r},)` to leave it out."
        )
    tape.convolution(layer, call.x, convolve)
    if layer.activation is not keras.activations.linear:
        tape.add([(Meeting("output", "output"), call.output)], None)


@register_layer("hybrid_lmu", "SigmaDelta")
def _sigma_delta(layer, tape, call):
    output = call.output[0] if isinstance(call.output, (list, tuple)) else call.output
    resolution = layer.quantizer.resolution
    if len(output.shape) == 2:
        output = ops.expand_dims(output, 1)  # one step
    tape.sequence(output, call.mask)
    role = "output" if resolution is None else "activity"
    tape.state(0 if resolution is None else math.prod(output.shape[2:]))
    variable = None if resolution is None else layer.quantizer.resolution_variable.path
    tape.add([(Meeting(role, "", resolution, variable=variable), output)], call.mask)
    return None if resolution is None else ops.convert_to_tensor(resolution)


@register_layer("keras", "TimeDistributed")
@register_layer("hybrid_lmu", "EachStep")
def _time_distributed(layer, tape, call):
    tape.sequence(call.x.tensor, call.mask)
    rule = find_rule(layer.layer)
    if rule is None:
        return None

    def flat(x):
        return ops.reshape(x, (-1, *x.shape[2:]))

    resolution, mask = call.x.resolution, call.mask
    if known(resolution) and len(resolution.shape) == len(call.x.tensor.shape):
        resolution = flat(resolution)
    inner = LayerCall(
        [replace(call.x, tensor=flat(call.x.tensor), resolution=resolution)],
        flat(call.output),
        None if mask is None else ops.reshape(mask, (-1,)),
        run=layer.layer,
    )
    resolution = rule(layer.layer, tape, inner)
    return resolution if not known(resolution) or scalar(resolution) else None


@register_layer("keras", "RNN")
@register_layer("keras", "SimpleRNN")
@register_layer("keras", "LSTM")
@register_layer("keras", "GRU")
@register_layer("hybrid_lmu", "HybridRNN")
@register_layer("hybrid_lmu", "LegendreMemory")
def _rnn(layer, tape, call, name=""):
    initial = call.kwargs.get("initial_state")
    return watch_sequence(
        layer.cell,
        tape,
        call,
        initial if initial is not None else call.states,
        layer.go_backwards,
        name,
    )


@register_layer("hybrid_lmu", "HybridLMU")
def _hybrid_lmu(layer, tape, call):
    pairs = pairs_at_once(layer, call)
    if pairs is None:
        return _rnn(layer, tape, call)
    return _add_sequence(layer.cell.state_size, tape, call, pairs, None)


@register_layer("keras", "Bidirectional")
def _bidirectional(layer, tape, call):
    initial = call.kwargs.get("initial_state")
    resolutions = []
    for index, direction in enumerate(("forward", "backward")):
        inner = getattr(layer, f"{direction}_layer")
        states = initial
        if initial is not None:
            half = len(initial) // 2
            states = initial[:half] if index == 0 else initial[half:]
        one = LayerCall([call.x], None, call.mask, None, {"initial_state": states})
        resolutions.append(_rnn(inner, tape, one, direction))
    if layer.merge_mode == "concat" and all(known(r) for r in resolutions):
        units = call.output.shape[-1] // 2
        return ops.concatenate([ops.broadcast_to(r, (units,)) for r in resolutions])
    return None


@register_layer("keras_lmu", "LMU")
def _keras_lmu(layer, tape, call):
    if isinstance(layer.layer, keras.layers.RNN):
        return _rnn(layer.layer, tape, call)
    return _keras_lmu_feedforward(layer.layer, tape, call)


@register_layer("keras_lmu", "LMUFeedforward")
def _keras_lmu_feedforward(layer, tape, call):
    return watch_sequence(FeedforwardLMU(layer), tape, call, None, False, "")


def watch_sequence(cell, tape, call, initial_state, go_backwards, name):
    """Run a cell once more over the inputs of a call, and put what its weights meet on the tape.

    The loop only collects tensors; they are counted after it.
    """
    x, mask, resolution = call.x.tensor, call.mask, call.x.resolution
    watched = WatchedCell(cell, resolution is not None, call.x.dtype)
    rnn = keras.layers.RNN(
        watched, return_sequences=True, go_backwards=go_backwards, dtype="float32", autocast=False
    )
    if initial_state is None:
        initial_state = watched.get_initial_state(batch_size=ops.shape(x)[0])
    if not isinstance(initial_state, (list, tuple)):
        initial_state = [initial_state]
    recording = rnn(x, initial_state=watched.prepare(x, initial_state), mask=mask)
    if go_backwards:
        mask = None if mask is None else ops.flip(mask, axis=1)
        if known(resolution) and len(resolution.shape) == len(x.shape):
            resolution = ops.flip(resolution, axis=1)
    start, pairs = 0, []
    for meeting, width in watched.layout:
        if meeting.resolution is FromInput:
            meeting = replace(meeting, resolution=resolution)
        pairs.append((meeting, recording[..., start : start + width]))
        start += width
    return _add_sequence(watched.inner_size, tape, call, pairs, mask, name)


def _add_sequence(state_size, tape, call, pairs, mask, name=""):
    """Put the pairs of a recurrent layer on the tape; return the resolution of its output."""
    tape.sequence(call.x.tensor, mask)
    tape.state(sum(keras.tree.flatten(state_size)))
    pairs = [(_with_resolution(meeting), tensor) for meeting, tensor in pairs]
    tape.add(pairs, mask, name)
    found = [m.resolution for m, _ in pairs if m.role in ("activity", "output")]
    output_resolution = found[-1] if found else None
    return ops.convert_to_tensor(output_resolution) if known(output_resolution) else None


def _with_resolution(meeting):
    learned = isinstance(meeting.resolution, Learned)
    return (
        replace(meeting, resolution=meeting.resolution.quantizer.resolution) if learned else meeting
    )


def _lmu_cells(layer):
    inner = layer.layer if class_key(layer)[1] == "LMU" else layer
    if isinstance(inner, keras.layers.RNN):
        return [inner.cell]
    return [] if inner.hidden_cell is None else [inner.hidden_cell]


# What a rule will look into, for the check before anything runs.
CHECKED = {
    _rnn: lambda layer: [layer.cell],
    _hybrid_lmu: lambda layer: [layer.cell],
    _bidirectional: lambda layer: [layer.forward_layer, layer.backward_layer],
    _time_distributed: lambda layer: [layer.layer],
    _keras_lmu: _lmu_cells,
    _keras_lmu_feedforward: _lmu_cells,
}
