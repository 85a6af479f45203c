"""Which layers can run step by step, and what to do about the others."""

from __future__ import annotations

import keras
from keras import layers

from hybrid_lmu._internal.keras_compat import ACTIVATION_OPERATIONS, operation_name
from hybrid_lmu.conversion._graph import describe
from hybrid_lmu.conversion._over_time import Scale
from hybrid_lmu.deployment._steps import AVERAGES, keeps_states
from hybrid_lmu.layers._stateful_activation import StatefulActivation
from hybrid_lmu.weights._quantized_weights import inside

# They do nothing in inference.
LEFT_OUT = (
    *(layers.Dropout, layers.SpatialDropout1D, layers.AlphaDropout, layers.GaussianDropout),
    *(layers.GaussianNoise, layers.ActivityRegularization, layers.Identity),
)
BY_ENTRY = (
    *(layers.Activation, layers.ReLU, layers.LeakyReLU, layers.ELU, layers.Rescaling, Scale),
    *(layers.Add, layers.Subtract, layers.Multiply, layers.Average),
    *(layers.Maximum, layers.Minimum, layers.Dense),
)
BY_LAST_AXIS = (
    *(layers.LayerNormalization, layers.BatchNormalization, layers.UnitNormalization),
    *(layers.Normalization, layers.Softmax, layers.Concatenate),
    *((layers.RMSNormalization,) if hasattr(layers, "RMSNormalization") else ()),
)
OPERATIONS = {
    *("Add", "Subtract", "Multiply", "Divide", "Negative", "Maximum", "Minimum", "Abs", "Square"),
    *(ACTIVATION_OPERATIONS - {"Softmax", "LogSoftmax", "Sparsemax"}),
}


def takes_last_step(operation, args) -> bool:
    """Whether an operation is ``x[:, -1]``."""
    return operation_name(operation) == "GetItem" and args[1:] == ((slice(None), -1),)


def why_not(layer, args, kwargs, streams) -> str | None:
    """Return why one call of a layer cannot run step by step, and what to do; None if it can.

    Args:
        layer: a layer or operation of the model over sequences.
        args, kwargs: of the call.
        streams: the `Stream` of each input.
    """
    if not isinstance(layer, layers.Layer):
        if operation_name(layer) in OPERATIONS:
            return _why_not_together(streams)
        if takes_last_step(layer, args):
            return None if streams[0].over_time else "takes an entry of an axis that is not time"
        return "may act over time; put it into a layer of an allowed class, or after the model"
    layer = inside(layer)
    if getattr(layer, "return_state", False):
        return "returns its states; set `return_state=False`, as the step model returns them anyway"
    if getattr(layer, "go_backwards", False) or isinstance(layer, layers.Bidirectional):
        return "reads the sequence from its end, which is not there yet; train it forwards"
    if keeps_states(layer):
        return _why_no_state(layer, kwargs, streams)
    if isinstance(layer, (layers.TimeDistributed, *LEFT_OUT)):
        return None
    if isinstance(layer, BY_ENTRY):
        return _why_not_together(streams)
    if isinstance(layer, BY_LAST_AXIS):
        axis, last = layer.get_config().get("axis", -1), streams[0].rank - 1
        if axis not in (-1, last, [-1], [last], (-1,), (last,)):
            return f"acts on axis {axis}; expected the last one"
        return _why_not_together(streams)
    return (
        "may act over time; if it acts on each step alone, wrap it in `EachStep`; if not, "
        "train a model without it"
    )


def _why_no_state(layer, kwargs, streams):
    if len(streams) != 1 or kwargs.get("initial_state") is not None:
        return "is called with states; a step model has its own"
    if isinstance(layer, (layers.ConvLSTM1D, layers.ConvLSTM2D, layers.ConvLSTM3D)):
        return "has states of images; use a cell of vectors"
    stream = streams[0]
    if isinstance(layer, AVERAGES):
        first = getattr(layer, "data_format", "channels_last") == "channels_first"
        return "has data_format='channels_first'; expected 'channels_last'" if first else None
    if stream.window is not None:
        return "keeps states behind `return_last`; set `return_sequences=True` there"
    if not stream.over_time and isinstance(layer, layers.RNN):
        return "is recurrent over an axis that is not that of time"
    return None


def _why_not_together(streams):
    if len({(s.over_time, s.window, s.rank) for s in streams}) > 1:
        return "joins tensors with and without an axis of time"
    return None


def check(problems: list[tuple]) -> None:
    """Raise ValueError that names all calls that cannot run step by step, if there are any."""
    if problems:
        listed = "\n".join(f"- {describe(layer)}: {reason}." for layer, reason in problems)
        raise ValueError(f"`model` cannot run step by step. Received layers:\n{listed}")


def after(layer, stream):
    """Return ``(over_time, window)`` of the output of a call."""
    layer = inside(layer)
    if isinstance(layer, AVERAGES):
        return False, None
    if isinstance(layer, (layers.RNN, StatefulActivation)):
        window = getattr(layer, "return_last", None)
        return stream.over_time and getattr(layer, "return_sequences", True), window
    return stream.over_time, stream.window


def on_last_axis(layer: keras.layers.Layer) -> dict:
    """Return the changes of a layer's configuration for inputs without an axis of time."""
    if not isinstance(layer, BY_LAST_AXIS):
        return {}
    axis = layer.get_config().get("axis", -1)
    return {"axis": [-1] if isinstance(axis, (list, tuple)) else -1}
