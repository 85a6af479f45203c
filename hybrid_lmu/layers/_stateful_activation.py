"""An activation over whole sequences with a state that goes on from step to step."""

import keras
from keras import ops

from hybrid_lmu._internal.checks import (
    check_batch_size,
    check_flag,
    check_floating,
    check_mask,
    check_rank,
    check_state_count,
    check_state_shape,
)
from hybrid_lmu.cells._rnn import CarriedState, of_batch_size
from hybrid_lmu.cells.contract import as_list


class StatefulActivation(CarriedState, keras.layers.Layer):
    """Base of layers over [batch, time, neurons...] that keep some numbers per neuron.

    This class checks shapes, takes, carries and returns states, and keeps dtypes and files. A
    subclass computes: it has the methods ``initial_states(shape)``, which returns a list of tensors
    of the shape (batch, neurons...), and ``sequence(inputs, states, mask)``, which returns
    ``(outputs, states)``.

    Args:
        return_state: True also returns the states after the last step. Default False.
        stateful: True keeps the states from one call to the next, so a sequence fed in chunks gives
            the outputs of one long call. The batch size must be fixed; `reset_state()` starts anew.
            Default False.

    Attributes:
        state_names: names of the states in errors and variables.
        state_dtype: dtype of the states.
        states: the variables that carry the states; None if the layer is not stateful.

    Call arguments: ``inputs``, floating [batch, time, neurons...]; ``initial_state``, the states
    before the first step, default None; ``mask``, booleans [batch, time], default None.

    Raises:
        ValueError: for inputs or states of another shape or dtype, or a stateful layer without a
            fixed batch size.
    """

    state_names = ()
    state_dtype = "float32"

    def __init__(self, return_state: bool = False, stateful: bool = False, **kwargs):
        super().__init__(**kwargs)
        self.return_state = check_flag("return_state", return_state)
        self.stateful = check_flag("stateful", stateful)
        self.supports_masking = True
        self.states = None

    @property
    def keeps_state(self) -> bool:
        """Whether the layer keeps numbers from step to step."""
        return True

    def check_shape(self, shape, initial_state=None):
        """Raise ValueError for inputs of another shape than the layer takes."""
        check_rank(self, shape, 3, "[batch, time, neurons...]", at_least=True)

    def add_states(self, input_shape):
        """Make the variables that carry the states of a stateful layer."""
        check_batch_size(self, input_shape)
        shape = (input_shape[0], *input_shape[2:])
        self.states = [
            self.add_weight(
                name=name.replace(" ", "_"),
                shape=shape,
                initializer=lambda shape, dtype, index=index: self.initial_states(shape)[index],
                trainable=False,
                dtype=self.state_dtype,
                autocast=False,
            )
            for index, name in enumerate(self.state_names)
        ]

    def call(self, inputs, initial_state=None, mask=None):
        self.check_shape(inputs.shape, initial_state)
        check_floating(self, inputs)
        check_mask(self, inputs, mask)
        if self.states is not None:
            inputs = of_batch_size(self, inputs, self.states[0].shape[0])
        outputs, states = self.sequence(inputs, self._start(inputs, initial_state), mask)
        if self.states is not None:
            for variable, state in zip(self.states, states, strict=True):
                variable.assign(state)
        return (outputs, *states) if self.return_state else outputs

    def _start(self, inputs, initial_state):
        shape = ops.shape(inputs)
        shape = (shape[0], *shape[2:])
        if initial_state is None:
            if self.states is None:
                return self.initial_states(shape)
            # PyTorch: the variables of the states are changed in place.
            given = [ops.copy(state) for state in self.states]
        else:
            given = as_list(initial_state)
        check_state_count(self, given, self.state_names)
        for name, state in zip(self.state_names, given, strict=True):
            check_state_shape(self, name, inputs.shape, state.shape)
        # Reshaped, so that no state of another batch size is broadcast.
        return [ops.reshape(ops.cast(state, self.state_dtype), shape) for state in given]

    def compute_output_spec(self, inputs, initial_state=None, mask=None):
        outputs = keras.KerasTensor(self.shape_of_outputs(inputs.shape), dtype=self.compute_dtype)
        if not self.return_state:
            return outputs
        shape = (inputs.shape[0], *inputs.shape[2:])
        states = [keras.KerasTensor(shape, dtype=self.state_dtype) for _ in self.state_names]
        return outputs, *states

    def shape_of_outputs(self, input_shape):
        """Return the shape of the outputs, without the states."""
        return tuple(input_shape)

    def compute_output_shape(self, input_shape, initial_state_shape=None):
        outputs = self.shape_of_outputs(input_shape)
        if not self.return_state:
            return outputs
        return outputs, *[(input_shape[0], *input_shape[2:])] * len(self.state_names)

    def carried_states(self):
        return self.states or []

    def reset_state(self):
        """Start the next call of a stateful layer from fresh initial states."""
        if self.states is not None:
            fresh = self.initial_states(self.states[0].shape)
            for variable, value in zip(self.states, fresh, strict=True):
                variable.assign(value)

    reset_states = reset_state  # the name of Keras 2

    def get_config(self):
        return {
            **super().get_config(),
            "return_state": self.return_state,
            "stateful": self.stateful,
        }
