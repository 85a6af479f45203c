"""The hybrid-spiking Legendre Memory Unit as a layer: whole sequences."""

import keras
from keras import ops

from hybrid_lmu.checks import check_choice, check_floating
from hybrid_lmu.hybrid_cell import with_cell
from hybrid_lmu.lmu_cell import HybridLMUCell
from hybrid_lmu.recurrent import HybridRNN


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
        simulation: ``"auto"`` (default) or ``"full"``, see below.

    Inputs: floating [batch, time, features]. Output: [batch, units], or [batch, time, units] with
    `return_sequences`; with `return_state` followed by the states.

    What is computed depends on what is asked for. The layer chooses; the output has the same
    distribution each way, and, but for the last step alone, the same counts for the same initial
    error (float32 rounding of the memory may move a count by one step where a sum is at an
    integer):

    - Where the memory depends on the input alone (no `hidden_to_memory` and `memory_to_memory`),
      the length is known and nothing is masked, it is computed before the hidden cell. With exact
      feedback, all steps and their counts in parallel; with quantized feedback, by a loop whose
      gradient is that of the linear memory, in parallel (not if theta is trained).
    - The hidden cell then gets the whole sequence: in parallel if it is feed-forward; else by a
      loop, with the product of the input before it for SimpleRNNCell, GRUCell and LSTMCell, and
      with a gradient of our own for SimpleRNNCell.
    - If in addition only the last output is wanted (no `return_sequences`, `return_state`,
      `stateful` or `initial_state`), the hidden cell is feed-forward and `initial_error` is
      ``"uniform"``, only the last step is computed: one product with the impulse response gives
      the memory, and a diffusion error that starts uniform and independent of the input is so at
      every step, hence it is drawn where it is needed. `simulation="full"` computes all steps here
      too; `hybrid_lmu.full_simulation` does so for a whole model.
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
        return_state=False,
        go_backwards=False,
        stateful=False,
        unroll=False,
        zero_output_for_mask=False,
        simulation="auto",
        **kwargs,
    ):
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
            dtype=kwargs.get("dtype"),
            name="lmu_cell",
        )
        super().__init__(
            cell,
            return_sequences=return_sequences,
            return_state=return_state,
            go_backwards=go_backwards,
            stateful=stateful,
            unroll=unroll,
            zero_output_for_mask=zero_output_for_mask,
            **kwargs,
        )
        self.simulation = check_choice("simulation", simulation, ("auto", "full"))

    @property
    def theta(self):
        """The present theta in steps."""
        return self.cell.memory.theta

    def call(self, sequences, initial_state=None, mask=None, training=False):
        if initial_state is None and self.computes_last_step_only(sequences, mask):
            check_floating(self, sequences)
            if self.go_backwards:
                sequences = ops.flip(sequences, axis=1)
            states = self.get_initial_state(ops.shape(sequences)[0])
            output = self.cell.last(sequences, states, training)
            self.cell.reset_dropout_mask()
            return ops.cast(output, self.dtype_policy.compute_dtype)
        return super().call(sequences, initial_state=initial_state, mask=mask, training=training)

    def computes_last_step_only(self, sequences, mask=None):
        """Whether the last output is drawn without simulating the hidden cell before it."""
        cell = self.cell
        drawn = [cell.hidden.quantizer]
        if cell.memory_feedback == "exact":
            drawn.append(cell.memory_quantizer)
        return (
            self.simulation == "auto"
            and not (self.return_sequences or self.return_state or self.stateful)
            and not cell.hidden.recurrent
            and all(q.initial_error == "uniform" for q in drawn if q.spiking)
            and self.runs_in_parallel(sequences, mask)
        )

    def get_config(self):
        config = {**self.cell.get_config(), **super().get_config(), "simulation": self.simulation}
        del config["cell"]  # made again from the arguments
        return config

    @classmethod
    def from_config(cls, config, custom_objects=None):
        return cls(**with_cell(config, "hidden_cell", custom_objects))
