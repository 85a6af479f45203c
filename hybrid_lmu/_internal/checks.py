"""Checks of arguments and inputs that several layers share; each error says what it received."""

import numbers

import keras
import numpy as np


def check_rank(layer, shape, rank, expected, at_least=False):
    """Raise ValueError unless `shape` has the given rank."""
    if len(shape) < rank or (len(shape) > rank and not at_least):
        raise ValueError(
            f"`{layer.name}` expects inputs of shape {expected}; received shape {tuple(shape)}."
        )


def check_floating(layer, inputs):
    """Raise ValueError unless `inputs` is a floating-point tensor."""
    dtype = keras.backend.standardize_dtype(inputs.dtype)
    if "float" not in dtype:
        raise ValueError(
            f"`{layer.name}` expects floating-point inputs; received dtype {dtype}. "
            "Cast them first, for instance with `keras.ops.cast(x, 'float32')`."
        )


def check_mask(layer, inputs, mask):
    """Raise ValueError for a mask whose first sizes are known not to be (batch, time)."""
    if mask is None:
        return
    known = zip(inputs.shape[:2], mask.shape, strict=False)
    if len(mask.shape) < 2 or any(a != b for a, b in known if None not in (a, b)):
        raise ValueError(
            f"`{layer.name}` expects a mask of shape (batch, time) = {tuple(inputs.shape[:2])} for "
            f"inputs of shape {tuple(inputs.shape)}; received shape {tuple(mask.shape)}."
        )


def check_batch_size(layer, shape):
    """Raise ValueError unless the batch size in `shape` is known, as a stateful layer needs."""
    if shape[0] is None:
        raise ValueError(
            f"Stateful `{layer.name}` expects a fixed batch size; received inputs of shape "
            f"{tuple(shape)}. Give the model's `Input` a `batch_shape`."
        )


def check_state_count(layer, states, names):
    """Raise ValueError unless there is one state for each name."""
    if len(states) != len(names):
        raise ValueError(
            f"`{layer.name}` expects an `initial_state` of {len(names)} tensors "
            f"({', '.join(names)}); received {len(states)}."
        )


def check_state_shape(layer, name, inputs_shape, state_shape):
    """Raise ValueError if the known sizes of a state are not those of the neurons."""
    neurons = (inputs_shape[0], *inputs_shape[2:])
    known = zip(neurons, state_shape, strict=False)
    if len(neurons) != len(state_shape) or any(a != b for a, b in known if None not in (a, b)):
        raise ValueError(
            f"`{layer.name}` expects a {name} of shape {neurons} for inputs of shape "
            f"{tuple(inputs_shape)}; received shape {tuple(state_shape)}. A stateful layer was "
            "built for one batch size."
        )


def check_positive_integer(name, value):
    """Return `value` as int; raise ValueError unless it is an integer >= 1."""
    if isinstance(value, bool) or not hasattr(value, "__index__") or value < 1:
        raise ValueError(f"`{name}` must be an integer >= 1; received: {value!r}")
    return int(value)


def check_positive(name, value, others=""):
    """Return `value` as float; raise ValueError unless it is a finite number > 0.

    `others`: what else is allowed, for the message.
    """
    number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not number or not 0 < value < float("inf"):
        raise ValueError(f"`{name}` must be a finite number > 0{others}; received: {value!r}")
    return float(value)


def check_choice(name, value, choices):
    """Return `value`; raise ValueError unless it is one of `choices`."""
    known = isinstance(value, (str, bool, np.bool_, numbers.Number)) or value is None
    if not known or value not in choices:
        expected = ", ".join(repr(choice) for choice in choices)
        raise ValueError(f"`{name}` must be one of {expected}; received: {value!r}")
    return value


def check_flag(name: str, value: bool) -> bool:
    """Return `value`; raise ValueError unless it is True or False."""
    return check_choice(name, value, (True, False))


def check_seed(name: str, seed: int | None) -> int | None:
    """Return `seed`; raise ValueError unless it is an integer or None."""
    if seed is None or (isinstance(seed, numbers.Integral) and not isinstance(seed, bool)):
        return None if seed is None else int(seed)
    raise ValueError(f"`{name}` must be an integer or None; received: {seed!r}")


def deserialized(name: str, value):
    """Return the object of a configuration; another value as it is. ValueError if it is none."""
    if not isinstance(value, dict):
        return value
    try:
        return keras.saving.deserialize_keras_object(value)
    except Exception as e:  # a configuration that Keras cannot read fails in many ways
        raise ValueError(
            f"`{name}` must not be a dictionary that is no configuration of an object; "
            f"received: {value!r}"
        ) from e


def check_activation(name: str, activation):
    """Return a function; raise ValueError unless Keras knows the activation."""
    try:
        return keras.activations.get(activation)
    except (ValueError, TypeError) as e:
        raise ValueError(
            f"`{name}` must be the name of an activation of Keras, a function or None; "
            f"received: {activation!r}"
        ) from e


def check_rate(name, rate):
    """Return `rate`; raise ValueError unless it is in [0, 1)."""
    number = isinstance(rate, numbers.Real) and not isinstance(rate, bool)
    if not number or not 0 <= rate < 1:
        raise ValueError(f"`{name}` must be in [0, 1); received: {rate!r}")
    return rate


def check_no_hidden_cell(hidden_to_memory, hidden_resolution):
    """Raise ValueError for what an LMU without a hidden cell cannot have."""
    if hidden_to_memory or hidden_resolution is not None:
        raise ValueError(
            "Without a hidden cell, `hidden_to_memory` must be False and `hidden_resolution` None; "
            f"received hidden_to_memory={hidden_to_memory}, hidden_resolution={hidden_resolution}."
        )


def check_no_gain(memory_feedback, quantizer):
    """Raise ValueError if a memory would recur on activities that are not its own."""
    if memory_feedback != "exact" and getattr(quantizer, "gain", None) is not None:
        raise ValueError(
            "A memory that recurs on its counts must have a quantizer without `gain`; received "
            f"memory_feedback={memory_feedback!r} with a gain. Use a resolution per neuron."
        )


def check_no_other(quantizer_name, quantizer, **others):
    """Raise ValueError if a quantizer is given together with arguments that it takes the place of.

    `others`: ``name=(value, default)``.
    """
    if quantizer is None:
        return
    given = {name: value for name, (value, default) in others.items() if value is not default}
    # An array has no truth value of its own, so the defaults are compared as what they are.
    equal = [n for n, v in given.items() if isinstance(v, type(others[n][1])) and v == others[n][1]]
    received = [f"{name}={value!r}" for name, value in given.items() if name not in equal]
    if received:
        raise ValueError(
            f"`{quantizer_name}` takes the place of {', '.join(others)}; received it together with "
            f"{', '.join(received)}."
        )


def check_positive_array(name: str, given, none_is: str) -> np.ndarray | None:
    """Return a number, or one per neuron, as a float32 array; None stays None.

    Args:
        name: name of the argument.
        given: a finite number > 0, a 1-D sequence of them, or None.
        none_is: what None stands for, for the message.

    Raises:
        ValueError: if `given` is anything else.
    """
    if given is None:
        return None
    value = as_numbers(given, "float32")
    known = value is not None and value.ndim <= 1 and value.size
    if not known or not np.all(np.isfinite(value) & (value > 0)):
        raise ValueError(
            f"`{name}` must be a finite number > 0, a 1-D sequence of them (one per neuron), "
            f"or None for {none_is}; received: {given!r}"
        )
    return value


def check_not_negative(name: str, value: float) -> float:
    """Return `value` as float; raise ValueError unless it is a finite number >= 0."""
    number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not number or not 0 <= value < float("inf"):
        raise ValueError(f"`{name}` must be a finite number >= 0; received: {value!r}")
    return float(value)


def check_positive_per_neuron(name: str, value) -> np.ndarray:
    """Return a number, or one number per neuron, as a float64 array of rank 0 or 1.

    Raises:
        ValueError: if `value` is something else, empty, or has an entry that is not finite and > 0.
    """
    array = as_numbers(value)
    wrong = array is None or array.ndim > 1 or not array.size
    if wrong or not np.all(np.isfinite(array) & (array > 0)):
        raise ValueError(
            f"`{name}` must be a finite number > 0 or a 1-D sequence of them (one per neuron); "
            f"received: {value!r}"
        )
    return array


def check_entries(name: str, array: np.ndarray, input_shape: tuple) -> None:
    """Raise ValueError if `array` has rank 1 and not one entry per neuron (last axis)."""
    if array.ndim and len(array) != input_shape[-1]:
        raise ValueError(
            f"`{name}` must be a number or have one entry per neuron, {input_shape[-1]} for "
            f"inputs of shape {tuple(input_shape)}; received {len(array)} entries."
        )


def as_numbers(value, dtype: str = "float64") -> np.ndarray | None:
    """Return `value` as an array; None for text, a boolean, or what has no numbers."""
    if isinstance(value, (bool, str)):
        return None
    try:
        return np.asarray(value, dtype=dtype)
    except (TypeError, ValueError):
        return None
