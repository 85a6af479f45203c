"""The hybrid-spiking Legendre Memory Unit as a layer: whole sequences."""

import keras
from keras import ops

from hybrid_lmu._internal.checks import check_floating, check_positive_integer
from hybrid_lmu.cells._hybrid_cell import with_objects
from hybrid_lmu.cells._rnn import HybridRNN
from hybrid_lmu.lmu._cell import OBJECTS_OF_LMU, HybridLMUCell


@keras.saving.register_keras_serializable(package="hybrid_lmu")
class HybridLMU(HybridRNN):
    """The hybrid-spiking Legendre Memory Unit over whole sequences.

    It takes the place of `keras_lmu.LMU`: the same arguments in the same order, and with both
    resolutions ``None`` (the default) the same results for the same weights. The equations and all
    arguments are those of `HybridLMUCell`; in addition:

    Args:
        return_sequences, return_state, go_backwards, stateful, unroll, zero_output_for_mask: as in
            `keras.layers.RNN`. Note that `stateful` needs a fixed batch size, and that
            `reset_state()` draws new initial diffusion errors.
        simulation: ``"auto"`` (default), ``"full"`` or a number of steps, see below.
        return_last: number k of last steps to return, [batch, k, units], for a readout over several
            steps; in place of `return_sequences`. Default ``None``.

    Inputs: floating [batch, time, features]. Output: [batch, units], or [batch, time, units] with
    `return_sequences`; with `return_state` followed by the states.

    What is computed depends on what is asked for. The layer chooses; the output has the same
    distribution each way, and, but for the last step alone, the same counts for the same initial
    error (float32 rounding of the memory may move a count by one step where a sum is at an
    integer):

    - Where the memory depends on the input alone (no `hidden_to_memory` and `memory_to_memory`),
      the length is known and nothing is masked, it is computed before the hidden cell. With exact
      feedback, all steps and their counts in parallel; with quantized feedback, by a loop whose
      gradient is that of the linear memory, in parallel (not if theta is trained, or if the
      memory's quantizer has a limit or an activation).
    - The hidden cell then gets the whole sequence: in parallel if it is feed-forward; else by a
      loop, with the product of the input before it for SimpleRNNCell, GRUCell and LSTMCell, and
      with a gradient of our own for SimpleRNNCell.
    - If in addition only the last output, or the last k, are wanted (no `return_sequences`,
      `return_state`, `stateful` or `initial_state`), the hidden cell is feed-forward and
      `initial_error` is ``"uniform"``, only these steps are computed: one product with the impulse
      response gives the memory before them, and a diffusion error that starts uniform and
      independent of the input is so at every step, hence it is drawn where it is needed.
      `simulation="full"` computes all steps here too; `hybrid_lmu.full_simulation` does so for a
      whole model.
    - With a number s as `simulation`, so it is done for a recurrent hidden cell too, over the last
      s steps, before which its state is taken as its initial one. That is an *approximation*: with
      it, training costs s steps of the hidden cell (truncated backpropagation through time). Judge
      the trained model with `simulation="full"`.
    - With those connections, a mask, an unknown length or `unroll=True`: step by step.

    Example:

    >>> layer = HybridLMU(1, 8, 50, keras.layers.SimpleRNNCell(16),
    ...                   memory_resolution=8, hidden_resolution=2)
    >>> tuple(layer(np.ones((2, 100, 1), "float32")).shape)
    (2, 16)

    Sources: see `HybridLMUCell`.
    """

    def __init__(
        self,
        memory_d,
        order,
        theta,
        hidden_cell,
        trainable_theta=False,
        hidden_to_memory=False,
        memory_to_memory=False,
        input_to_hidden=False,
        discretizer="zoh",
        kernel_initializer="glorot_uniform",
        recurrent_initializer="orthogonal",
        kernel_regularizer=None,
        recurrent_regularizer=None,
        use_bias=False,
        bias_initializer="zeros",
        bias_regularizer=None,
        dropout=0,
        recurrent_dropout=0,
        return_sequences=False,
        input_d=None,
        seed=None,
        memory_resolution=None,
        hidden_resolution=None,
        memory_feedback="exact",
        initial_error="uniform",
        memory_dropout=0,
        memory_quantizer=None,
        hidden_quantizer=None,
        return_state=False,
        go_backwards=False,
        stateful=False,
        unroll=False,
        zero_output_for_mask=False,
        simulation="auto",
        return_last=None,
        **kwargs,
    ):
        self.return_last = _check_return_last(return_last, return_sequences, return_state)
        cell = HybridLMUCell(
            memory_d,
            order,
            theta,
            hidden_cell,
            trainable_theta=trainable_theta,
            hidden_to_memory=hidden_to_memory,
            memory_to_memory=memory_to_memory,
            input_to_hidden=input_to_hidden,
            discretizer=discretizer,
            kernel_initializer=kernel_initializer,
            recurrent_initializer=recurrent_initializer,
            kernel_regularizer=kernel_regularizer,
            recurrent_regularizer=recurrent_regularizer,
            use_bias=use_bias,
            bias_initializer=bias_initializer,
            bias_regularizer=bias_regularizer,
            dropout=dropout,
            recurrent_dropout=recurrent_dropout,
            input_d=input_d,
            seed=seed,
            memory_resolution=memory_resolution,
            hidden_resolution=hidden_resolution,
            memory_feedback=memory_feedback,
            initial_error=initial_error,
            memory_dropout=memory_dropout,
            memory_quantizer=memory_quantizer,
            hidden_quantizer=hidden_quantizer,
            dtype=kwargs.get("dtype"),
            name="lmu_cell",
        )
        super().__init__(
            cell,
            return_sequences=return_sequences or return_last is not None,
            return_state=return_state,
            go_backwards=go_backwards,
            stateful=stateful,
            unroll=unroll,
            zero_output_for_mask=zero_output_for_mask,
            **kwargs,
        )
        self.simulation = _check_simulation(simulation)

    @property
    def theta(self):
        """The present theta in steps."""
        return self.cell.memory.theta

    def call(self, sequences, initial_state=None, mask=None, training=False):
        if self.return_last is not None:
            self._check_last(sequences.shape[1], mask)
        if initial_state is None and self.computes_last_steps_only(sequences, mask):
            check_floating(self, sequences)
            if self.go_backwards:
                sequences = ops.flip(sequences, axis=1)
            if training:  # JAX cannot draw inside the loop of the hidden cell
                size = ops.shape(sequences)[0]
                self.cell.get_dropout_mask(sequences[:, 0])
                self.cell.get_recurrent_dropout_mask(ops.zeros((size, self.cell.output_size)))
            output = self._last_steps(sequences, training)
            self.cell.reset_dropout_mask()
            self.cell.reset_recurrent_dropout_mask()
            return ops.cast(output, self.dtype_policy.compute_dtype)
        output = super().call(sequences, initial_state=initial_state, mask=mask, training=training)
        return output if self.return_last is None else output[:, -self.return_last :]

    def _last_steps(self, sequences, training):
        states = self.get_initial_state(ops.shape(sequences)[0])
        if self.return_last is None and not self.cell.hidden.recurrent:
            return self.cell.last(sequences, states, training)
        steps = max(self.return_last or 1, 1 if self.simulation == "auto" else self.simulation)
        outputs = self.cell.tail(sequences, states, min(steps, sequences.shape[1]), training)
        return outputs[:, -1] if self.return_last is None else outputs[:, -self.return_last :]

    def computes_last_steps_only(self, sequences, mask=None):
        """Whether the last outputs are drawn without simulating the hidden cell before them."""
        cell = self.cell
        drawn = [cell.hidden.quantizer]
        if cell.memory_feedback == "exact":
            drawn.append(cell.memory_quantizer)
        every_step = self.return_sequences and self.return_last is None
        return (
            self.simulation != "full"
            and not (every_step or self.return_state or self.stateful)
            and (self.simulation != "auto" or not cell.hidden.recurrent)
            and all(quantizer.stationary for quantizer in drawn)
            and self.runs_in_parallel(sequences, mask)
        )

    def _check_last(self, time, mask):
        if mask is not None:
            raise ValueError(
                f"`{self.name}` has `return_last`={self.return_last}, which may be steps of "
                "padding: expected sequences without a mask (of one length, or padded before the "
                "first step), received a mask."
            )
        if time is not None and time < self.return_last:
            raise ValueError(
                f"`{self.name}` has `return_last`={self.return_last}: expected sequences of at "
                f"least that many steps, received {time}."
            )

    def compute_output_spec(self, sequences, initial_state=None, mask=None, training=False):
        spec = super().compute_output_spec(sequences, initial_state, mask, training)
        if self.return_last is None:
            return spec
        self._check_last(sequences.shape[1], mask)
        return keras.KerasTensor(self._last_of(spec.shape), dtype=spec.dtype)

    def compute_output_shape(self, sequences_shape, initial_state_shape=None):
        shape = super().compute_output_shape(sequences_shape, initial_state_shape)
        return shape if self.return_last is None else self._last_of(shape)

    def _last_of(self, shape):
        return (shape[0], self.return_last, *shape[2:])

    def get_config(self):
        config = {
            **self.cell.get_config(),
            **super().get_config(),
            "simulation": self.simulation,
            "return_last": self.return_last,
        }
        if self.return_last is not None:
            config["return_sequences"] = False
        del config["cell"]  # made again from the arguments
        return config

    @classmethod
    def from_config(cls, config, custom_objects=None):
        return cls(**with_objects(config, OBJECTS_OF_LMU, custom_objects))


def _check_return_last(steps, return_sequences, return_state):
    if steps is None:
        return None
    if return_sequences or return_state:
        raise ValueError(
            "`return_last` excludes `return_sequences` and `return_state`; received: "
            f"return_last={steps!r}, return_sequences={return_sequences}, "
            f"return_state={return_state}"
        )
    return check_positive_integer("return_last", steps)


def _check_simulation(simulation):
    if isinstance(simulation, str) and simulation in ("auto", "full"):
        return simulation
    if isinstance(simulation, str) or simulation is None:
        raise ValueError(
            "`simulation` must be 'auto', 'full' or a number of steps >= 1; "
            f"received: {simulation!r}"
        )
    return check_positive_integer("simulation", simulation)
