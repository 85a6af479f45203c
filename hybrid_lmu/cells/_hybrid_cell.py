"""HybridCell: any recurrent cell of Keras, with quantized activity inside the recurrence."""

from __future__ import annotations

import functools
import inspect
import numbers
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops, tree

from hybrid_lmu._internal.checks import check_choice, check_no_other
from hybrid_lmu.cells import _inner
from hybrid_lmu.cells import _keras_cells as loops
from hybrid_lmu.cells._products import cell_products, cell_signals, with_state
from hybrid_lmu.cells.contract import (
    INPUT,
    Activity,
    Cell,
    Products,
    Signal,
    one_step_before,
    resolution_of,
    zeros,
)
from hybrid_lmu.quantizers._sigma_delta import SigmaDeltaQuantizer
from hybrid_lmu.quantizers.contract import check_quantizer, own_quantizer


@keras.saving.register_keras_serializable(package="hybrid_lmu")
class HybridCell(Cell):
    """Wrap a recurrent cell so that its output and recurrent input are the quantized activity.

    With the wrapped cell ``h_t, s_t = cell(x_t, [y_{t-1}, ...])`` and the quantizer
    ``v <- v + w h_t; n_t = floor(v); v <- v - n_t`` the output is ``y_t = n_t / w``. The wrapper
    replaces each state that *is* the output of the cell (the same tensor: ``h`` of SimpleRNN, GRU
    and LSTM) by ``y_t``. Other states, such as ``c`` of an LSTM, stay as they are. The diffusion
    error ``v`` becomes one more state, the last one.

    A GRU uses its state twice in ``h_t = z_t h_{t-1} + (1 - z_t) g_t``: the update gate copies the
    state forward, and the state meets the weights of the gates and of ``g_t``. With
    ``carry="exact"`` only the weights get ``y_{t-1}``. The update gate copies ``h_{t-1}``, kept in
    a second state, so that rounding errors do not add up in the state.

    Args:
        cell: any recurrent cell of Keras (`SimpleRNNCell`, `GRUCell`, `LSTMCell`), a cell of your
            own, `StackedRNNCells`, or a feed-forward layer that makes [batch, units] of
            [batch, features], such as `Dense`, `Activation` or a `Sequential` model. A feed-forward
            layer becomes a cell without recurrence; its one state is its last output. Only what
            leaves `cell` is quantized: between the layers of a `Sequential` model and the cells of
            a stack the activity stays real, unless each cell of the stack is a `HybridCell`.
        resolution: ``w``: levels per unit of activity per step; a number, one number per unit, or
            None for non-spiking. A non-spiking cell has no diffusion error. Default 1.
        initial_error: ``v_0``, see `hybrid_lmu.SigmaDeltaQuantizer`. Default ``"uniform"``.
        seed: seed of the random ``v_0``; an integer or None. Default None.
        output_state: index of the state that equals the output, for a cell that returns a copy of
            it. None finds the state by identity. -1 quantizes the output only and leaves the states
            alone. Default None.
        quantizer: a `hybrid_lmu.quantizers` quantizer in place of `resolution`, `initial_error`
            and `seed`. Default None.
        carry: which value the update gate of a `GRUCell` interpolates with: ``"quantized"``, the
            output ``y_{t-1}`` (the state then holds only counts and diffusion errors), or
            ``"exact"``, the unquantized ``h_{t-1}``. Default ``"quantized"``.

    An initial state of `HybridRNN` may hold the states of `cell` alone. The output among them is
    then quantized as if the cell had put it out, with a new diffusion error.

    `keras.layers.RNN` and `hybrid_lmu.HybridRNN` run the cell. `HybridRNN` keeps the states exact
    under mixed precision and draws a new initial error in `reset_state()`. A masked step repeats
    the last output, because Keras assumes that the first state holds the output.

    Example:

    >>> rnn = keras.layers.RNN(HybridCell(keras.layers.LSTMCell(8), resolution=4))
    >>> tuple(rnn(np.ones((2, 10, 3), "float32")).shape)
    (2, 8)

    Raises:
        ValueError: if no state of the cell is its output and `output_state` is not given; if
            `carry` is ``"exact"`` and `cell` is not exactly a `GRUCell` without recurrent dropout,
            without activity regularizer and with ``implementation=2``, or `output_state` is given.

    Source: the wish of nengo/keras-spiking#13. The quantizer is that of Voelker, Rasmussen &
    Eliasmith (2020), arXiv:2002.03553. The exact carry is ours.
    """

    def __init__(
        self,
        cell: keras.layers.Layer,
        resolution: float | Sequence[float] | None = 1.0,
        *,
        initial_error: str | float | Sequence[float] = "uniform",
        seed: int | None = None,
        output_state: int | None = None,
        quantizer: keras.layers.Layer | None = None,
        carry: str = "quantized",
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        check_quantizer("quantizer", quantizer)
        _inner.check_inner(cell)
        self.cell = cell
        self.output_state = output_state
        self.carry = check_choice("carry", carry, ("quantized", "exact"))
        if carry == "exact":
            _check_can_carry(cell, output_state)
        check_no_other(
            "quantizer",
            quantizer,
            resolution=(resolution, 1.0),
            initial_error=(initial_error, "uniform"),
            seed=(seed, None),
        )
        self._given_quantizer = quantizer is not None
        self.names_of_parts = {}  # {attribute: name in paths}, for a part that has another there
        self.quantizer = own_quantizer("quantizer", quantizer) or SigmaDeltaQuantizer(
            resolution=resolution,
            initial_error=initial_error,
            seed=seed,
            dtype="float32",
            name="quantizer",
        )
        self.recurrent = hasattr(cell, "state_size")
        self.output_size = _inner.output_size(cell)  # None until a feed-forward layer is built
        count = len(self.source_states)
        index = output_state is None or isinstance(output_state, numbers.Integral)
        if not index or (output_state is not None and not -1 <= output_state < count):
            raise ValueError(
                f"`output_state` must be None, -1 or the index of one of {count} states; "
                f"received: {output_state!r}"
            )

    @property
    def state_size(self) -> list:
        """Sizes of the states: those of the cell, the carried one, the diffusion error."""
        sizes = [self.output_size]
        if self.recurrent:
            sizes = _inner.flat_states(self.cell, self.cell.state_size)
        own = (self.carry == "exact") + self.quantizer.spiking
        return sizes + [self.output_size] * own

    @property
    def takes_sequences(self) -> bool:
        """Whether `sequence` is better than a loop over `call`."""
        return not self.recurrent or loops.can_project(self.cell)

    @property
    def feeds_back(self) -> bool:
        """Whether the first state is the quantized output."""
        return self.output_state in (None, 0)

    @property
    def needs_gradient_of_loop(self) -> bool:
        return self.recurrent and not self._has_adjoint(training=True)

    def _has_adjoint(self, training):
        own = loops.has_adjoint(self.cell, training) and self.feeds_back
        return own and self.quantizer.linear

    def learn_size(self, input_shape: tuple) -> None:
        """Set the output size of a feed-forward layer that has it from its inputs."""
        if self.output_size is None:
            self.output_size = _inner.size_for(self.cell, input_shape)

    def build(self, input_shape):
        self.learn_size(input_shape)
        if not self.cell.built:
            self.cell.build(input_shape)
        self.quantizer.build((None, self.output_size))

    def call(self, inputs, states, training=False):
        if self.carry == "exact":
            z = loops.project(self.cell, ops.expand_dims(inputs, 1), training)
            return self.after_projection(z[:, 0], states, training)
        inner, error = self._split(states)
        if self.recurrent:
            packed = _inner.packed_states(self.cell, inner)
            output, inner = call_layer(self.cell, inputs, packed, training=training)
            inner = _inner.flat_states(self.cell, inner)
        else:
            output = call_layer(self.cell, inputs, training=training)
            inner = [output]
        return self._emit(output, inner, error)

    def signals(self, inputs, states):
        if not _inner.is_stack(self.cell):
            return super().signals(inputs, states)
        inner, error = self._split(states)
        signals, after = cell_signals(self.cell, inputs, _inner.packed_states(self.cell, inner))
        output = cell_products(self.cell).output.value(signals)
        y, after = self._emit(output, _inner.flat_states(self.cell, after), error)
        return {**signals, "output": y}, after

    def after_projection(self, z, states, training=False):
        """Run a step whose input is already multiplied with the kernel of the wrapped cell."""
        inner, error = self._split(states)
        output, inner = loops.advance(self.cell, z, inner, training)
        return self._emit(output, inner, error)

    def _emit(self, output, inner, error):
        y, error = self.quantizer.step(output, error)
        inner = self._to_state(self._feed_back(inner, output, y))
        return y, inner + ([error] if self.quantizer.spiking else [])

    def sequence(self, inputs, states, training=False):
        """Return ``(outputs, states)`` of a whole sequence, what a loop over `call` would give.

        A feed-forward cell computes all steps at once. `SimpleRNNCell`, `GRUCell` and `LSTMCell`
        multiply the inputs of all steps first and then loop. Other cells loop over `call`.

        Args:
            inputs: [batch, time, features].
            states: as in `call`.
            training: as in `call`.
        """
        inner, error = self._split(states)
        if not self.recurrent:
            shape = ops.shape(inputs)
            flat = ops.reshape(inputs, (-1, shape[-1]))
            outputs = call_layer(self.cell, flat, training=training)
            outputs = ops.reshape(outputs, (-1, shape[1], self.output_size))
            y, error = self.quantizer.sequence(outputs, error)
        elif self._has_adjoint(training):
            z = loops.project(self.cell, inputs, training)
            y, error = loops.simple_rnn(self.cell, z, inner[0], error, self.quantizer)
        else:
            return self._loop(inputs, states, training)
        states = self._to_state([y[:, -1]])
        return y, states + ([error] if self.quantizer.spiking else [])

    def _loop(self, inputs, states, training):
        """Return ``(outputs, states)`` by the loop of `keras.layers.RNN`.

        `ops.scan` would need no layer here, but on TensorFlow it stores all that is carried at each
        step, and a training step of an LSTM takes 1.3 times as long.
        """
        step = self
        if loops.can_project(self.cell):
            inputs = loops.project(self.cell, inputs, training)
            step = _AfterProjection(self)
        rnn = keras.layers.RNN(step, return_sequences=True, name="loop")
        _, outputs, states = rnn.inner_loop(inputs, states, None, training)
        return outputs, list(states)

    def products(self, inputs: tuple[Signal, ...] = (INPUT,)) -> Products:
        resolution = resolution_of(self.quantizer)
        output = Signal("output", resolution)
        products = cell_products(self.cell, inputs)
        name = _inner.output_state_name(self.cell)
        if resolution is not None or not _inner.is_stack(self.cell):
            state = Signal(name, resolution if self.feeds_back else None)
            products = with_state(products, state, name)
        # The output of the wrapped cell does not leave the wrapper.
        inside = [item for item in products.items if not _is_real_output(item)]
        made = Products((*inside, Activity("output", output, held=self.feeds_back)), output)
        # The error of a stationary quantizer needs no steps before this one.
        return made if self.recurrent or not self.quantizer.stationary else made.when_read()

    def sequence_signals(self, inputs, states: Sequence) -> dict[str, Any] | None:
        if not (self.takes_sequences and self.feeds_back):
            return None
        outputs, _ = self.sequence(inputs, states)
        before = one_step_before(outputs, states[0])
        return {"input": inputs, "state_0": before, "output": outputs}

    def _split(self, states):
        states = list(states)
        return (states[:-1], states[-1]) if self.quantizer.spiking else (states, None)

    def _to_state(self, states):
        return tree.map_structure(lambda s: ops.cast(s, self.compute_dtype), states)

    def _feed_back(self, states, output, y):
        if self.carry == "exact":
            return [y, output]
        if self.output_state is not None:
            if self.output_state >= 0:
                states[self.output_state] = y
            return states
        fed_back = [state is output for state in tree.flatten(states)]
        if not any(fed_back):
            raise ValueError(
                f"None of the states that `{self.cell.name}` ({type(self.cell).__name__}) returns "
                "is its output, so what to feed back is not known. Expected `output_state`: the "
                "index of the state that equals the output, or -1 to quantize the output only."
            )
        return tree.map_structure(lambda state: y if state is output else state, states)

    def get_initial_state(self, batch_size=None):
        states = zeros(self.state_size[:1], batch_size, self.compute_dtype)
        if self.recurrent:
            states = _inner.initial_state(self.cell, batch_size)
        if self.carry == "exact":
            states = [*states, ops.copy(states[0])]  # two states are never one tensor
        states = self._to_state(states)
        if self.quantizer.spiking:
            error = self.quantizer.get_initial_error((batch_size, self.output_size))
            states.append(ops.cast(error, self.compute_dtype))
        return states

    @property
    def source_states(self) -> tuple[int, ...]:
        """Indices of the states of the wrapped cell, which are the first ones."""
        own = (self.carry == "exact") + self.quantizer.spiking
        return tuple(range(len(self.state_size) - own))

    def complete_states(self, states):
        states = list(states)
        if len(states) != len(self.source_states) or len(states) == len(self.state_size):
            return states
        start = self.get_initial_state(ops.shape(states[0])[0])
        output = states[self.output_state or 0]
        y, error = output, start[-1] if self.quantizer.spiking else None
        if self.output_state != -1:
            y, error = self.quantizer.step(output, error)
            states[self.output_state or 0] = y
        states += [output] * (self.carry == "exact")
        return self._to_state(states + ([error] if self.quantizer.spiking else []))

    def get_dropout_mask(self, step_input):
        _inner.draw_dropout_masks(self.cell, step_input)

    def get_recurrent_dropout_mask(self, step_input):
        _inner.draw_recurrent_dropout_masks(self.cell, step_input)

    def reset_dropout_mask(self):
        _inner.forget_masks(self.cell, "reset_dropout_mask")

    def reset_recurrent_dropout_mask(self):
        _inner.forget_masks(self.cell, "reset_recurrent_dropout_mask")

    def get_config(self):
        config = {
            **super().get_config(),
            "cell": keras.saving.serialize_keras_object(self.cell),
            "output_state": self.output_state,
            "carry": self.carry,
        }
        if self._given_quantizer:
            config["quantizer"] = keras.saving.serialize_keras_object(self.quantizer)
            return config
        quantizer, own = self.quantizer.get_config(), ("resolution", "initial_error", "seed")
        return {**config, **{key: quantizer[key] for key in own}}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        return cls(**with_objects(config, ("cell", "quantizer"), custom_objects))


class _AfterProjection(keras.layers.Layer):
    """A `HybridCell` whose input is already multiplied with the kernel of its cell."""

    def __init__(self, cell):
        super().__init__(autocast=False, dtype=cell.dtype_policy)
        self.cell, self.state_size = cell, cell.state_size

    def call(self, z, states, training=False):
        return self.cell.after_projection(z, states, training)


def with_objects(config, names, custom_objects):
    """Return the configuration with the objects of the given names made again."""
    make = keras.saving.deserialize_keras_object
    found = [name for name in names if config.get(name) is not None]
    return {**config, **{n: make(config[n], custom_objects=custom_objects) for n in found}}


def call_layer(layer, *args, training, **kwargs):
    """Call a layer, with `training` if its `call` has that argument."""
    if _takes_training(getattr(layer.call, "__func__", layer.call)):
        kwargs["training"] = training
    return layer(*args, **kwargs)


@functools.lru_cache(maxsize=256)
def _takes_training(function):
    return "training" in inspect.signature(function).parameters


def _is_real_output(item):
    return isinstance(item, Activity) and item.signal.resolution is None


def _check_can_carry(cell, output_state):
    if not loops.can_carry(cell):
        raise ValueError(
            "`carry='exact'` is for a `keras.layers.GRUCell` without recurrent dropout and "
            f"activity regularizer, and of implementation 2; received: {cell.name!r} of class "
            f"{type(cell).__name__}. A SimpleRNN carries nothing, an LSTM its `c`, which is exact."
        )
    if output_state is not None:
        raise ValueError(
            "`carry='exact'` knows the states of its cell; expected `output_state=None`, "
            f"received: {output_state!r}"
        )
