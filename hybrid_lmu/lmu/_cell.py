"""The hybrid-spiking Legendre Memory Unit as a cell: one step."""

import keras
from keras import ops

from hybrid_lmu._internal.checks import (
    check_choice,
    check_no_gain,
    check_no_hidden_cell,
    check_no_other,
    check_rate,
)
from hybrid_lmu._internal.dropout import SequenceDropout
from hybrid_lmu.cells._hybrid_cell import HybridCell, with_objects
from hybrid_lmu.cells.contract import Cell
from hybrid_lmu.lmu._sequences import WholeSequences
from hybrid_lmu.memory._memory import LegendreMemoryCell
from hybrid_lmu.quantizers._sigma_delta import SigmaDeltaQuantizer

# Dropout has a seed of its own: with that of the diffusion errors it would drop by the error.
_SEED_OF_DROPOUT = 1_000_003
# The arguments by how they stand in the configuration.
_OF_THE_MEMORY = ("memory_d", "order", "theta", "trainable_theta", "discretizer")
_PLAIN = ("hidden_to_memory", "memory_to_memory", "input_to_hidden", "use_bias", "dropout",
          "recurrent_dropout", "input_d", "seed", "memory_feedback", "initial_error",
          "memory_dropout")  # fmt: skip
OBJECTS_OF_LMU = ("hidden_cell", "memory_quantizer", "hidden_quantizer")
_OBJECTS = ("hidden_cell", "kernel_initializer", "recurrent_initializer", "bias_initializer",
            "kernel_regularizer", "recurrent_regularizer", "bias_regularizer")  # fmt: skip


@keras.saving.register_keras_serializable(package="hybrid_lmu")
class HybridLMUCell(WholeSequences, Cell):
    """One step of a Legendre Memory Unit whose memory and hidden activity are quantized.

    With ``Q`` the sigma-delta quantizer and [ , ] concatenation::

        u_t = kernel [x_t, h_{t-1}] + recurrent_kernel q_{t-1} + bias
        m_t = Abar m_{t-1} + Bbar u_t        (exact feedback)
            = Abar q_{t-1} + Bbar u_t        (quantized feedback)
            = m_{t-1} + (Abar - I) q_{t-1} + Bbar u_t        (integrated feedback)
        q_t = Q_memory(m_t)
        h_t = Q_hidden(hidden_cell([q_t, x_t], h_{t-1}))

    where ``h_{t-1}`` in u, ``q_{t-1}`` in u and ``x_t`` in h are present with `hidden_to_memory`,
    `memory_to_memory` and `input_to_hidden`.

    Args:
        memory_d: number of memories (the size of u); >= 1.
        order: number of Legendre polynomials of each; >= 1.
        theta: length of the remembered window in steps; > 0.
        hidden_cell: a recurrent cell, a layer with `units` such as `Dense` (no recurrence), or
            ``None``: the memory (and input) is the output.
        trainable_theta, discretizer: see `hybrid_lmu.LegendreMemoryCell`.
        hidden_to_memory, memory_to_memory, input_to_hidden: the optional connections. Default off.
        kernel_initializer: default ``"glorot_uniform"``; ``None``: no kernel, u_t = x_t.
        recurrent_initializer: of `memory_to_memory`. Default ``"orthogonal"``.
        kernel_regularizer, recurrent_regularizer: default ``None``.
        use_bias, bias_initializer, bias_regularizer: a bias in u. Default off, zeros, ``None``.
        dropout, recurrent_dropout: rates on the input of the kernel and of the recurrent kernel, in
            [0, 1); the same units are dropped at all steps of a sequence.
        input_d: size of x; needed only if `hidden_cell` is ``None`` with `input_to_hidden`.
        seed: seed of dropout and of the initial diffusion errors.
        memory_resolution, hidden_resolution: levels per unit of activity per step of ``Q_memory``
            and ``Q_hidden``: scalar, one per neuron, or ``None`` (default) for non-spiking.
        memory_feedback: ``"exact"`` (default), ``"quantized"`` or ``"integrated"``, see above. With
            the last two every weight, A's included, meets integers. A neuron of integrated feedback
            keeps its own state, as an integrator; only the change comes through weights, so that
            the diffused errors reach the memory as ``(Abar - I)`` times their difference, and much
            less noise is left (a third of the variance at order 128 on psMNIST).
        initial_error: of both quantizers, see `hybrid_lmu.SigmaDeltaQuantizer`.
        memory_dropout: rate of dropout on the quantized memory, as input of the hidden cell, in
            [0, 1); the same units are dropped at all steps of a sequence. Default 0.
        memory_quantizer, hidden_quantizer: quantizers in place of the two resolutions, such as
            `SigmaDeltaQuantizer(learn_resolution=True)` or `RoundingQuantizer`.

    All resolutions ``None``: the LMU of Voelker et al. (2019), as `keras_lmu.LMUCell`, whose
    arguments have the same names, order and meaning.

    States: those of the hidden cell (the first is the output), m, then, as far as they are used,
    q and the diffusion error of the memory; float32.

    Sources: Voelker, Kajic & Eliasmith (2019), NeurIPS 32; Voelker, Rasmussen & Eliasmith (2020),
    arXiv:2002.03553, which does not say which activities it quantizes: that choice is ours.
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
        input_d=None,
        seed=None,
        memory_resolution=None,
        hidden_resolution=None,
        memory_feedback="exact",
        initial_error="uniform",
        memory_dropout=0,
        memory_quantizer=None,
        hidden_quantizer=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.memory = LegendreMemoryCell(
            order,
            theta,
            memory_d,
            discretizer,
            trainable_theta,
            dtype=self.compute_dtype,
            name="memory",
        )
        self.memory_d = self.memory.memory_d
        check_no_other(
            "memory_quantizer", memory_quantizer, memory_resolution=(memory_resolution, None)
        )
        check_no_other(
            "hidden_quantizer", hidden_quantizer, hidden_resolution=(hidden_resolution, None)
        )
        given = {"memory": memory_quantizer, "hidden": hidden_quantizer}
        self._given = [name for name, quantizer in given.items() if quantizer is not None]
        self.memory_quantizer = memory_quantizer or SigmaDeltaQuantizer(
            None,
            memory_resolution,
            initial_error,
            seed,
            dtype="float32",
            name="memory_quantizer",
        )
        if hidden_cell is None:
            resolution = hidden_quantizer if hidden_resolution is None else hidden_resolution
            check_no_hidden_cell(hidden_to_memory, resolution, input_to_hidden, input_d)
            size = self.memory.output_size + (input_d if input_to_hidden else 0)
        own = (hidden_resolution, initial_error, None if seed is None else seed + 1)
        self.hidden = HybridCell(
            _PassOn(size, name="memory_output") if hidden_cell is None else hidden_cell,
            *(own if hidden_quantizer is None else ()),
            quantizer=hidden_quantizer,
            dtype=self.compute_dtype,
            name="hidden",
        )
        self.hidden_cell = hidden_cell
        self.hidden_to_memory = hidden_to_memory
        self.memory_to_memory = memory_to_memory
        self.input_to_hidden = input_to_hidden
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.recurrent_initializer = keras.initializers.get(recurrent_initializer)
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)
        self.recurrent_regularizer = keras.regularizers.get(recurrent_regularizer)
        self.use_bias = use_bias
        self.bias_initializer = keras.initializers.get(bias_initializer)
        self.bias_regularizer = keras.regularizers.get(bias_regularizer)
        self.dropout = check_rate("dropout", dropout)
        self.recurrent_dropout = check_rate("recurrent_dropout", recurrent_dropout)
        self.input_d = input_d
        self.seed = seed
        self.memory_feedback = check_choice(
            "memory_feedback", memory_feedback, ("exact", "quantized", "integrated")
        )
        check_no_gain(self.memory_feedback, self.memory_quantizer)
        own = "memory" not in self._given
        self.initial_error = self.memory_quantizer.initial_error if own else initial_error
        self.memory_dropout = check_rate("memory_dropout", memory_dropout)
        self.output_size = self.hidden.output_size
        self.kernel = self.recurrent_kernel = self.bias = None
        rates = (self.dropout, self.recurrent_dropout, self.memory_dropout)
        drawn = None if seed is None else seed + _SEED_OF_DROPOUT
        self.seed_generator = keras.random.SeedGenerator(drawn) if any(rates) else None
        self._drop_input, self._drop_recurrent, self._drop_memory = (
            SequenceDropout(rate, self.seed_generator) for rate in rates
        )

    @property
    def _memory_states(self):
        """Names of the states that follow those of the hidden cell, each of the memory's size."""
        spiking = self.memory_quantizer.spiking
        held = spiking and (
            self.memory_feedback == "integrated"
            or (self.memory_to_memory and self.memory_feedback == "exact")
        )
        used = {"memory": True, "memory_output": held, "memory_error": spiking}
        return [name for name, is_used in used.items() if is_used]

    @property
    def state_size(self):
        """Sizes of the states, in order."""
        return [*self.hidden.state_size, *[self.memory.output_size] * len(self._memory_states)]

    @property
    def takes_sequences(self):
        """Whether the memory depends on the input alone, so that the cell may get all of it."""
        parallel = not self._feeds_back_counts or (
            self.memory_quantizer.linear and not self.memory.trainable_theta
        )
        return parallel and not (self.hidden_to_memory or self.memory_to_memory)

    @property
    def needs_gradient_of_loop(self):
        return not self.takes_sequences or self.hidden.needs_gradient_of_loop

    @property
    def _feeds_back_counts(self):
        return self.memory_feedback != "exact" and self.memory_quantizer.spiking

    def build(self, input_shape):
        input_d = input_shape[-1]
        if self.input_d is not None and input_d != self.input_d:
            raise ValueError(
                f"`{self.name}` was given `input_d`={self.input_d}; "
                f"received inputs of shape {tuple(input_shape)}."
            )
        encoder_d = input_d + (self.output_size if self.hidden_to_memory else 0)
        if self.kernel_initializer is not None:
            self.kernel = self.add_weight(
                name="kernel",
                shape=(encoder_d, self.memory_d),
                initializer=self.kernel_initializer,
                regularizer=self.kernel_regularizer,
            )
        elif encoder_d != self.memory_d:
            raise ValueError(
                f"Without a kernel (`kernel_initializer=None`) the input of the memory must have "
                f"`memory_d`={self.memory_d} features; received {encoder_d}."
            )
        if self.memory_to_memory:
            self.recurrent_kernel = self.add_weight(
                name="recurrent_kernel",
                shape=(self.memory.output_size, self.memory_d),
                initializer=self.recurrent_initializer,
                regularizer=self.recurrent_regularizer,
            )
        if self.use_bias:
            self.bias = self.add_weight(
                name="bias",
                shape=(self.memory_d,),
                initializer=self.bias_initializer,
                regularizer=self.bias_regularizer,
            )
        self.memory.build((input_shape[0], self.memory_d))
        self.memory_quantizer.build((input_shape[0], self.memory.output_size))
        hidden_d = self.memory.output_size + (input_d if self.input_to_hidden else 0)
        self.hidden.build((input_shape[0], hidden_d))

    def call(self, inputs, states, training=False):
        signals, states = self.signals(inputs, states, training)
        return signals["hidden"], states

    def signals(self, inputs, states, training=False):
        """One step, with everything in it that meets a weight.

        Returns:
            ``(signals, states)``: a dictionary of [batch, ...] tensors: ``encoder`` (input of
            `kernel`), ``memory_input`` (u, input of B), ``memory_state`` (input of A),
            ``memory_recurrent`` (input of `recurrent_kernel`), ``memory`` (q), ``hidden_input`` and
            ``hidden_recurrent`` (inputs of the hidden cell) and ``hidden`` (h, the output), those
            that are in use; and the new states.
        """
        hidden_states, state = self._split(states)
        h = hidden_states[0]
        dtype = self.dtype_policy.compute_dtype
        inputs = ops.cast(inputs, dtype)
        signals = {}
        q = state.get("memory_output", state["memory"])
        u = inputs
        if self.hidden_to_memory:
            u = ops.concatenate([u, ops.cast(h, dtype)], axis=-1)
        if self.kernel is not None:
            u = self._drop_input(u, training)
            signals["encoder"] = u
        u = self.encode(u)
        if self.memory_to_memory:
            q = self._drop_recurrent(q, training)
            signals["memory_recurrent"] = q
            u = u + ops.matmul(ops.cast(q, dtype), ops.cast(self.recurrent_kernel, dtype))
        signals["memory_input"] = u
        feedback = self.memory_feedback if self._feeds_back_counts else "exact"
        fed_back = state["memory_output"] if feedback == "integrated" else state["memory"]
        signals["memory_state"] = fed_back
        m = self.memory.advance(state["memory"], fed_back, u, feedback)
        if feedback == "integrated":
            m = self.memory_quantizer.saturated(m)  # or what q lacks would add up without bound
        q, error = self.memory_quantizer.step(m, state.get("memory_error"))
        kept = q if feedback == "quantized" else m
        new = {"memory": kept, "memory_output": q, "memory_error": error}
        signals["memory"] = q
        signals["hidden_input"] = self.hidden_input(q, inputs, training)
        signals["hidden_recurrent"] = h
        output, hidden_states = self.hidden(
            signals["hidden_input"], hidden_states, training=training
        )
        signals["hidden"] = output
        return signals, hidden_states + [new[name] for name in self._memory_states]

    def encode(self, x):
        """Return ``kernel x + bias``, for inputs of any rank."""
        if self.kernel is not None:
            x = ops.matmul(x, ops.cast(self.kernel, x.dtype))
        if self.bias is not None:
            x = x + ops.cast(self.bias, x.dtype)
        return x

    def hidden_input(self, q, inputs, training=False):
        """Return the input of the hidden cell, in the compute dtype, for inputs of any rank."""
        q = self._drop_memory(ops.cast(q, inputs.dtype), training)
        return ops.concatenate([q, inputs], axis=-1) if self.input_to_hidden else q

    def _split(self, states):
        count = len(self.hidden.state_size)
        memory_states = dict(zip(self._memory_states, states[count:], strict=True))
        return list(states[:count]), memory_states

    def get_initial_state(self, batch_size=None):
        states = self.hidden.get_initial_state(batch_size)
        shape = (batch_size, self.memory.output_size)
        for name in self._memory_states:
            error = name == "memory_error"
            state = self.memory_quantizer.get_initial_error(shape) if error else ops.zeros(shape)
            states.append(ops.cast(state, self.compute_dtype))
        return states

    def get_dropout_mask(self, step_input):
        batch_size, dtype = ops.shape(step_input)[0], self.dtype_policy.compute_dtype
        if self.kernel is not None:
            self._drop_input.draw((batch_size, self.kernel.shape[0]), dtype)
        hidden_d = self.memory.output_size
        self._drop_memory.draw((batch_size, hidden_d), dtype)
        hidden_d += step_input.shape[-1] if self.input_to_hidden else 0
        self.hidden.get_dropout_mask(ops.ones((batch_size, hidden_d), dtype=dtype))

    def get_recurrent_dropout_mask(self, step_input):
        if self.memory_to_memory:
            shape = (ops.shape(step_input)[0], self.memory.output_size)
            self._drop_recurrent.draw(shape, self.compute_dtype)
        self.hidden.get_recurrent_dropout_mask(step_input)

    def reset_dropout_mask(self):
        self._drop_input.forget()
        self._drop_memory.forget()
        self.hidden.reset_dropout_mask()

    def reset_recurrent_dropout_mask(self):
        self._drop_recurrent.forget()
        self.hidden.reset_recurrent_dropout_mask()

    def get_config(self):
        memory = self.memory.get_config()
        config = {name: memory[name] for name in _OF_THE_MEMORY}
        config.update({name: getattr(self, name) for name in _PLAIN})
        for name in _OBJECTS:
            config[name] = keras.saving.serialize_keras_object(getattr(self, name))
        own = {"memory": self.memory_quantizer, "hidden": self.hidden.quantizer}
        for name, quantizer in own.items():
            if name in self._given:
                config[f"{name}_quantizer"] = keras.saving.serialize_keras_object(quantizer)
            else:
                config[f"{name}_resolution"] = quantizer.get_config()["resolution"]
        return {**super().get_config(), **config}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        return cls(**with_objects(config, OBJECTS_OF_LMU, custom_objects))


@keras.saving.register_keras_serializable(package="hybrid_lmu")
class _PassOn(keras.layers.Layer):
    """The hidden cell of an LMU that has none: passes its input on."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = units

    def call(self, inputs):
        return inputs
