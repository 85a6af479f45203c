"""Recurrent cells and layers whose states stay float32 under mixed precision.

`keras.layers.RNN` casts states to the compute dtype of the cell when a call starts and to that of
the layer when it ends. A diffusion error in half precision would lose counts, and a long memory its
content. So here both report float32 as compute dtype, which is the dtype of their states, and use
that of their dtype policy for inputs, products and outputs only.
"""

import keras
from keras import ops, tree

from hybrid_lmu._internal import masks
from hybrid_lmu._internal.checks import (
    check_batch_size,
    check_flag,
    check_floating,
    check_rank,
    check_state_count,
)
from hybrid_lmu._internal.keras_compat import ensure_shape
from hybrid_lmu._internal.traversal import freeze
from hybrid_lmu.cells.contract import as_list, state_dtype

_FLAGS = ("return_sequences", "return_state", "go_backwards", "stateful", "unroll",
          "zero_output_for_mask")  # fmt: skip


class CarriedState:
    """Mixin of a stateful layer that owns no variables but its carried states.

    They are variables of the layer, so that every backend carries them from batch to batch, but not
    weights: stateful and stateless layers exchange weights and files.
    """

    @property
    def weights(self):
        own = {id(v) for v in self.carried_states()}
        return [w for w in super().weights if id(w) not in own]

    def carried_states(self):
        """The variables that hold the states; none if not stateful."""
        return []

    def save_own_variables(self, store):
        """Save nothing: states are not part of a model."""

    def load_own_variables(self, store):
        """Load nothing, see `save_own_variables`."""


def of_batch_size(layer, inputs, batch_size):
    """Return the inputs of a stateful layer; an error if their batch size is another one.

    The error is a ValueError, or if the batch size is known only when compiled code runs, one of
    TensorFlow with the same message.
    """
    message = f"Stateful `{layer.name}` was built for a batch size of {batch_size}"
    if inputs.shape[0] is None:
        return ensure_shape(inputs, (batch_size, *inputs.shape[1:]), f"{message};")
    if inputs.shape[0] != batch_size:
        raise ValueError(
            f"{message}; received inputs of shape {tuple(inputs.shape)}. Give a number of samples "
            "that is a multiple of it, or leave the last batch out."
        )
    return inputs


@keras.saving.register_keras_serializable(package="hybrid_lmu")
class HybridRNN(CarriedState, keras.layers.RNN):
    """`keras.layers.RNN` for a `HybridCell`, with exact states in every setting.

    It differs from `keras.layers.RNN`, which runs a `HybridCell` as well, in this: under mixed
    precision the states that it returns and carries stay float32 (a diffusion error in half
    precision loses counts); `reset_state()` sets the initial state of the cell, where Keras
    sets zeros; and it is faster with SimpleRNNCell, GRUCell, LSTMCell and feed-forward layers
    inside a `HybridCell`, whose products with the input are taken out of the loop.

    Args:
        cell: a `HybridCell` or another cell of this package.
        return_sequences, return_state, go_backwards, stateful, unroll, zero_output_for_mask: as in
            `keras.layers.RNN`.

    Inputs: floating [batch, time, features]. Output: as `keras.layers.RNN`.

    Example:

    >>> layer = HybridRNN(HybridCell(keras.layers.GRUCell(8), resolution=4), stateful=True)
    >>> tuple(layer(np.ones((2, 10, 3), "float32")).shape)
    (2, 8)
    """

    def __init__(self, cell, **kwargs):
        for name in _FLAGS:
            check_flag(name, kwargs.get(name, False))
        super().__init__(cell, **{"autocast": False, **kwargs})
        if self.unroll or getattr(cell, "needs_gradient_of_loop", True):
            _avoid_xla(self)

    def carried_states(self):
        return tree.flatten(self.states or [])

    @property
    def compute_dtype(self):
        return state_dtype(self.dtype_policy)

    def build(self, sequences_shape, initial_state_shape=None):
        check_rank(self, sequences_shape, 3, "[batch, time, features]")
        self.input_spec = keras.layers.InputSpec(shape=(None, None, sequences_shape[-1]))
        if not self.cell.built:
            self.cell.build((sequences_shape[0], *sequences_shape[2:]))
        self.state_size = as_list(self.cell.state_size)
        if self.stateful:
            check_batch_size(self, sequences_shape)
            # Stacked cells have a list of states each.
            self.states = tree.map_structure(
                self._state_variable, as_list(self.get_initial_state(sequences_shape[0]))
            )
        if not self.trainable:
            freeze(self)

    def _state_variable(self, state):
        return self.add_weight(
            name="state",
            shape=state.shape,
            initializer=lambda shape, dtype: state,
            dtype=self.compute_dtype,
            trainable=False,
            autocast=False,
        )

    def runs_in_parallel(self, sequences, mask):
        """Whether the cell gets the whole sequence at once."""
        whole = getattr(self.cell, "takes_sequences", False)
        takes_mask = mask is None or not (self.return_state or self.stateful)
        return whole and takes_mask and not self.unroll and bool(sequences.shape[1])

    def inner_loop(self, sequences, initial_state, mask, training=False):
        if self.runs_in_parallel(sequences, mask):
            if self.go_backwards:
                sequences = ops.flip(sequences, axis=1)
                mask = None if mask is None else ops.flip(mask, axis=1)
            if self.stateful:  # PyTorch: the variables of the states are changed in place
                initial_state = tree.map_structure(ops.copy, initial_state)
            if mask is None:
                return self.whole(sequences, initial_state, training)
            steps = masks.Compacted(mask)
            compacted = steps.take(sequences)
            _, outputs, states = self.whole(compacted, initial_state, training, every=True)
            last = not self.return_sequences
            outputs = steps.put_back(outputs, zeros=self.zero_output_for_mask, last=last)
            return outputs[:, -1], outputs, states
        return super().inner_loop(sequences, _plain_lists(initial_state), mask, training)

    def whole(self, sequences, states, training, every=False):
        """Compute a sequence without mask, of known length: ``(last, outputs, states)``.

        With `every`, `outputs` must be those of all steps, even if only the last is returned.
        """
        outputs, states = self.cell.sequence(sequences, states, training)
        return outputs[:, -1], outputs, states

    def call(self, sequences, initial_state=None, mask=None, training=False):
        check_floating(self, sequences)
        if self.stateful:
            sequences = of_batch_size(self, sequences, self.carried_states()[0].shape[0])
        self._check_state_count(initial_state)
        if initial_state is not None and hasattr(self.cell, "complete_states"):
            initial_state = self.cell.complete_states(as_list(initial_state))
        dtype = self.dtype_policy.compute_dtype
        result = super().call(
            ops.cast(sequences, dtype), initial_state=initial_state, mask=mask, training=training
        )
        if self.return_state:
            return ops.cast(result[0], dtype), *result[1:]
        return ops.cast(result, dtype)

    def compute_output_spec(self, sequences, initial_state=None, mask=None, training=False):
        self._check_state_count(initial_state)
        if not self.runs_in_parallel(sequences, mask):
            _avoid_xla(self)
        spec = super().compute_output_spec(sequences, initial_state, mask, training)
        output = spec[0] if self.return_state else spec
        output = keras.KerasTensor(output.shape, dtype=self.dtype_policy.compute_dtype)
        return (output, *spec[1:]) if self.return_state else output

    def _check_state_count(self, states):
        if states is not None:
            states, expected = as_list(states), self.state_size
            source = getattr(self.cell, "source_states", ())
            if len(states) == len(source):
                expected = [expected[index] for index in source]
            sizes = [f"[batch, {size}]" for size in expected]
            check_state_count(self, states, sizes)
            shapes = [tuple(getattr(state, "shape", ())) for state in states]
            if any(
                len(shape) != 2 or shape[-1] not in (None, size)
                for shape, size in zip(shapes, expected, strict=True)
                if isinstance(size, int)
            ):
                raise ValueError(
                    f"`{self.name}` expects an `initial_state` of shapes {', '.join(sizes)}; "
                    f"received shapes {shapes}."
                )

    def reset_state(self):
        if self.states is not None:
            variables = self.carried_states()
            fresh = tree.flatten(self.get_initial_state(variables[0].shape[0]))
            for variable, value in zip(variables, fresh, strict=True):
                variable.assign(value)


def _plain_lists(states):
    """Return states in lists that JAX knows, which those that Keras keeps in a layer are not."""
    return [_plain_lists(s) if isinstance(s, (list, tuple)) else s for s in states]


def _avoid_xla(layer):
    """Tell Keras that this layer should not be compiled by XLA.

    XLA on TensorFlow needs several times longer than TensorFlow alone for the gradient of a loop
    that returns all steps (an LSTM of 212 units, 784 steps, on a CPU: 3.7 s and 0.43 s; records of
    `python -m evaluation.benchmark` in evaluation/results/speed).
    """
    if keras.backend.backend() == "tensorflow":
        layer.supports_jit = False
