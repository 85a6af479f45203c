"""From a model that trains on its last step to the same model with all steps simulated."""

from __future__ import annotations

import keras
from keras import ops

from hybrid_lmu._internal.copies import copy_layer, copy_model
from hybrid_lmu._internal.traversal import all_layers, copy_weights
from hybrid_lmu.lmu._layer import HybridLMU
from hybrid_lmu.weights._quantized_weights import QuantizedWeights, inside


def full_simulation(model: keras.Model, *, every_layer: bool = True) -> keras.Model:
    """Return the model with every step simulated; the output is that of the last step.

    A recurrent layer without `return_sequences`, and the layers after it, compute the last step
    alone, with diffusion errors like those of a first step (`HybridLMU`, and `SigmaDelta` on
    [batch, features]). A hybrid-spiking network on hardware runs through all steps and carries its
    errors. Both outputs have the same distribution. `full_simulation` shows this, and its model is
    the one to count::

        model.fit(x, y)                                 # on the last step
        full_simulation(model).predict(x)               # all steps
        activity_report(full_simulation(model), x)

    Args:
        model: a `Sequential` or functional model of layers, built, with one output and without
            masks. The layers after a recurrent layer without `return_sequences` must act on the
            last axis, as Dense, Dropout, Activation, LayerNormalization and SigmaDelta do. Or a
            model whose `HybridLMU` has `return_last`: this layer then simulates all steps.
        every_layer: whether the layers after the recurrent layer run at every step too. Default
            True. With False only the `HybridLMU` layers, at whatever place, simulate all their
            steps; the rest of the model, which can be of any kind, stays as it is. Its seed
            generators go on from their states. A model without `HybridLMU` is returned itself.

    Returns:
        a new model, not compiled, with copies of the weights.

    Raises:
        ValueError: if the model is of another kind; if no layer of it reduces a sequence to its
            last step; or if a part of it may not act on the last axis alone: a model or wrapper
            (except `QuantizedWeights`) inside it, an operation that is no layer, an `axis` other
            than the last, a mask.

    Example:

    >>> model = keras.Sequential([
    ...     keras.Input((50, 1)),
    ...     HybridLMU(1, 8, 50, keras.layers.Dense(16, "relu"), memory_resolution=8),
    ...     keras.layers.Dense(8),
    ...     SigmaDelta("relu", resolution=4),
    ... ])
    >>> tuple(full_simulation(model)(np.ones((2, 50, 1), "float32")).shape)
    (2, 8)
    """
    if not every_layer:
        return _with_simulated_lmus(model)
    reducing = _reducing_layers(model)
    if not reducing:
        return _every_step(model)
    for operation in model.operations if hasattr(model, "operations") else model.layers:
        _check_movable(operation)
    rule = f"The layers after {', '.join(reducing)} must act on the last axis alone"
    try:
        every = _every_step(model)
    except ValueError as e:
        raise ValueError(
            f"{rule}, so that they can run at every step; received a model for which this fails: "
            f"{e}"
        ) from e
    expected, found = tuple(model.output_shape), tuple(every.output_shape)
    if (*found[:1], *found[2:]) != expected:
        raise ValueError(
            f"{rule}: expected all outputs as {(expected[0], 'time', *expected[1:])}; received "
            f"shape {found}."
        )
    inputs = every.inputs[0] if len(every.inputs) == 1 else every.inputs
    return keras.Model(inputs, every.outputs[0][:, -1], name=f"{model.name}_full")


def _reducing_layers(model):
    """Return the names of the layers that reduce a sequence to its last step; check the model.

    There are none in a model that is valid because its `HybridLMU` has `return_last`.
    """
    if not isinstance(model, keras.Model) or not getattr(model, "outputs", None):
        raise ValueError(
            "`model` must be a Sequential or functional keras.Model, built; received: "
            f"{type(model).__name__}"
        )
    reducing = [layer.name for layer in model.layers if _reduces(layer)]
    if not reducing and any(getattr(inside(one), "return_last", None) for one in model.layers):
        return []
    if not reducing or len(model.outputs) != 1:
        raise ValueError(
            "`model` must have one output, and a recurrent layer without `return_sequences`; "
            f"received: {len(model.outputs)} outputs, {len(reducing)} such layers in {model.name!r}"
        )
    return reducing


def _every_step(model):
    """Return a copy of the model, weights included, whose layers give all steps."""
    every = copy_model(model, _with_all_steps)
    copy_weights(model, every)
    return every


def _with_simulated_lmus(model):
    if not any(isinstance(layer, HybridLMU) for layer in all_layers(model)):
        return model

    def simulated(layer):
        config = layer.get_config()
        if isinstance(inside(layer), HybridLMU):
            own = config["layer"]["config"] if isinstance(layer, QuantizedWeights) else config
            own["simulation"] = "full"
        return copy_layer(layer, config)

    copy = copy_model(model, simulated)
    # `variables` holds the states of seed generators too, which `get_weights` leaves out.
    for old, new in zip(model.variables, copy.variables, strict=True):
        # By way of NumPy: JAX would share the array, and deletes it when one of the models runs.
        new.assign(ops.convert_to_numpy(old))
    for layer in all_layers(copy):
        if isinstance(layer, HybridLMU) and layer.simulation != "full":
            raise ValueError(
                "Each HybridLMU must be a layer of the model itself, or in a QuantizedWeights; "
                f"received {layer.name!r} inside another layer or model."
            )
    return copy


def _reduces(layer):
    layer = inside(layer)
    return isinstance(layer, keras.layers.RNN) and not layer.return_sequences


def _check_movable(operation):
    """Raise ValueError for an operation that may act over time, once there is a time axis."""
    operation = inside(operation)
    masks = isinstance(operation, keras.layers.Masking) or getattr(operation, "mask_zero", False)
    holds = isinstance(operation, (keras.Model, keras.layers.Wrapper))
    axis = operation.get_config().get("axis", -1) if hasattr(operation, "get_config") else None
    if isinstance(operation, keras.layers.Layer) and axis in (-1, [-1]) and not (masks or holds):
        return
    raise ValueError(
        "The model must consist of layers that act on the last axis, without models or wrappers "
        f"inside it and without masks; received {operation.name!r} of class "
        f"{type(operation).__name__}."
    )


def _with_all_steps(layer):
    """Return a copy of a layer that gives all steps."""
    config = layer.get_config()
    inner = config["layer"]["config"] if isinstance(layer, QuantizedWeights) else config
    if _reduces(layer):
        if inside(layer).return_state:
            raise ValueError(f"layer {layer.name!r} returns its states too (`return_state`)")
        inner["return_sequences"] = True
    if isinstance(inside(layer), HybridLMU):
        inner["simulation"] = "full"
    return copy_layer(layer, config)
