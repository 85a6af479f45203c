"""The hybrid-spiking Legendre Memory Unit as a cell: its arguments, weights and states."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from hybrid_lmu._internal.checks import (
    check_choice,
    check_no_gain,
    check_positive_array,
    check_positive_integer,
    check_seed,
)
from hybrid_lmu.cells._hybrid_cell import with_objects
from hybrid_lmu.cells.contract import INPUT, Cell, Products, Signal
from hybrid_lmu.lmu import _parts
from hybrid_lmu.lmu._plan import why_step_by_step
from hybrid_lmu.lmu._products import lmu_products
from hybrid_lmu.lmu._sequences import run_sequence, sequence_signals
from hybrid_lmu.lmu._step import complete_states, run_step
from hybrid_lmu.memory._discrete_system import DiscreteSystem
from hybrid_lmu.memory._memory import LegendreMemoryCell

OBJECTS_OF_LMU = ("hidden_cell", "memory_quantizer", "hidden_quantizer")


@keras.saving.register_keras_serializable(package="hybrid_lmu")
class HybridLMUCell(Cell):
    """One step of a Legendre Memory Unit whose memory and hidden activity are quantized.

    With ``Q`` the sigma-delta quantizer and [ , ] concatenation::

        u_t = kernel [x_t, h_{t-1}] + recurrent_kernel q_{t-1} + bias
        m_t = Abar m_{t-1} + Bbar u_t        (exact feedback)
            = Abar q_{t-1} + Bbar u_t        (quantized feedback)
            = m_{t-1} + (Abar - I) q_{t-1} + Bbar u_t        (integrated feedback)
        q_t = Q_memory(m_t)
        h_t = Q_hidden(hidden_cell([q_t, x_t], h_{t-1}))

    `hidden_to_memory`, `memory_to_memory` and `input_to_hidden` say whether ``h_{t-1}`` and
    ``q_{t-1}`` are part of u, and ``x_t`` of the input of the hidden cell.

    Args:
        memory_d: number of memories, which is the size of u; >= 1.
        order: number of Legendre polynomials of each memory; >= 1.
        theta: length of the remembered window in steps; > 0.
        hidden_cell: a recurrent cell, a feed-forward layer such as `Dense`, a `Sequential` model of
            feed-forward layers, or None: the memory is the output. See `hybrid_lmu.HybridCell`.
        trainable_theta: whether theta is trained, within the range of
            `hybrid_lmu.LegendreMemoryCell`. Default False.
        hidden_to_memory: whether ``h_{t-1}`` is part of the input of `kernel`. Default False.
        memory_to_memory: whether ``q_{t-1}`` meets `recurrent_kernel`. Default False.
        input_to_hidden: whether ``x_t`` is part of the input of the hidden cell. Default False.
        discretizer: ``"zoh"``, ``"pade"``, ``"euler"`` or ``"bilinear"``, see
            `hybrid_lmu.memory.legendre.discretize`, or a `hybrid_lmu.DiscreteSystem`. Default
            ``"zoh"``.
        kernel_initializer: initializer of `kernel`; None for no kernel, so that ``u_t`` is the
            input itself. Default ``"glorot_uniform"``.
        recurrent_initializer: initializer of `recurrent_kernel`. Default ``"orthogonal"``.
        kernel_regularizer: regularizer of `kernel`. Default None.
        recurrent_regularizer: regularizer of `recurrent_kernel`. Default None.
        use_bias: whether ``u_t`` has a bias. Default False.
        bias_initializer: initializer of the bias. Default ``"zeros"``.
        bias_regularizer: regularizer of the bias. Default None.
        dropout: dropout rate of the input of `kernel`, in [0, 1). All rates drop the same units at
            all steps of a sequence. Default 0.
        recurrent_dropout: dropout rate of the input of `recurrent_kernel`, in [0, 1). Default 0.
        input_d: size of ``x_t``, if it should be checked. Default None.
        seed: seed of dropout and of the initial diffusion errors; an integer or None. Default None.
        memory_resolution: levels per unit of activity per step of ``Q_memory``: a number, one
            number per neuron, or None for non-spiking. Default None.
        hidden_resolution: the same for ``Q_hidden``. Default None.
        memory_feedback: ``"exact"``, ``"quantized"`` or ``"integrated"``, see the equations. With
            the last two, all weights, including A, meet counts. A neuron of integrated feedback
            keeps its own state, and only the change of the state comes through weights. The memory
            then has less noise: a third of the variance at order 128 on psMNIST. Default
            ``"exact"``.
        initial_error: ``v_0`` of both quantizers, see `hybrid_lmu.SigmaDeltaQuantizer`. Default
            ``"uniform"``.
        memory_dropout: dropout rate of ``q_t`` as input of the hidden cell, in [0, 1). Default 0.
        memory_quantizer: a quantizer in place of `memory_resolution`, such as
            `SigmaDeltaQuantizer(learn_resolution=True)` or `RoundingQuantizer`. Default None.
        hidden_quantizer: the same in place of `hidden_resolution`. Default None.

    Without resolutions, this is the LMU of Voelker et al. (2019), as `keras_lmu.LMUCell`, whose
    arguments and attributes have the same names, order and meaning.

    Input: [batch, features]. Output: [batch, units]. States, float32: those of the hidden cell (the
    first is the output), then m, then q and the diffusion error of the memory if they are used.

    Raises:
        ValueError: if an argument is out of range, or arguments exclude each other.

    Sources: Voelker, Kajic & Eliasmith (2019), NeurIPS 32; Voelker, Rasmussen & Eliasmith (2020),
    arXiv:2002.03553. The latter does not say which activities it quantizes; that choice is ours.
    """

    def __init__(
        self,
        memory_d: int,
        order: int,
        theta: float,
        hidden_cell: keras.layers.Layer | None,
        trainable_theta: bool = False,
        hidden_to_memory: bool = False,
        memory_to_memory: bool = False,
        input_to_hidden: bool = False,
        discretizer: str | DiscreteSystem = "zoh",
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        kernel_regularizer: Any = None,
        recurrent_regularizer: Any = None,
        use_bias: bool = False,
        bias_initializer: Any = "zeros",
        bias_regularizer: Any = None,
        dropout: float = 0,
        recurrent_dropout: float = 0,
        *,
        input_d: int | None = None,
        seed: int | None = None,
        memory_resolution: float | Sequence[float] | None = None,
        hidden_resolution: float | Sequence[float] | None = None,
        memory_feedback: str = "exact",
        initial_error: str | float | Sequence[float] = "uniform",
        memory_dropout: float = 0,
        memory_quantizer: keras.layers.Layer | None = None,
        hidden_quantizer: keras.layers.Layer | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.memory = LegendreMemoryCell(
            order,
            theta,
            memory_d,
            discretizer=discretizer,
            trainable_theta=trainable_theta,
            dtype=self.compute_dtype,
            name="memory",
        )
        for name, given in (("memory", memory_resolution), ("hidden", hidden_resolution)):
            check_positive_array(f"{name}_resolution", given, "non-spiking")
        self._given = _parts.check_quantizers(
            memory_quantizer, memory_resolution, hidden_quantizer, hidden_resolution
        )
        self.memory_quantizer = _parts.make_memory_quantizer(
            memory_quantizer, memory_resolution, initial_error, seed
        )
        inner = hidden_cell
        if hidden_cell is None:
            quantized = hidden_quantizer if hidden_resolution is None else hidden_resolution
            inner = _parts.make_pass_on(
                self.memory.output_size, hidden_to_memory, quantized, input_to_hidden, input_d
            )
        self.hidden = _parts.make_hidden(
            inner, hidden_quantizer, hidden_resolution, initial_error, seed, self.compute_dtype
        )
        self.hidden_cell = hidden_cell
        self.hidden_to_memory = check_choice("hidden_to_memory", hidden_to_memory, (True, False))
        self.memory_to_memory = check_choice("memory_to_memory", memory_to_memory, (True, False))
        self.input_to_hidden = check_choice("input_to_hidden", input_to_hidden, (True, False))
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.recurrent_initializer = keras.initializers.get(recurrent_initializer)
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)
        self.recurrent_regularizer = keras.regularizers.get(recurrent_regularizer)
        self.use_bias = check_choice("use_bias", use_bias, (True, False))
        self.bias_initializer = keras.initializers.get(bias_initializer)
        self.bias_regularizer = keras.regularizers.get(bias_regularizer)
        self.dropout = dropout
        self.recurrent_dropout = recurrent_dropout
        self.input_d = None if input_d is None else check_positive_integer("input_d", input_d)
        self.seed = check_seed("seed", seed)
        self.memory_feedback = check_choice(
            "memory_feedback", memory_feedback, ("exact", "quantized", "integrated")
        )
        check_no_gain(self.memory_feedback, self.memory_quantizer)
        own = "memory" not in self._given
        self.initial_error = self.memory_quantizer.initial_error if own else initial_error
        self.memory_dropout = memory_dropout
        self.kernel = self.recurrent_kernel = self.bias = None
        self.seed_generator, dropouts = _parts.make_dropout(
            seed,
            dropout=dropout,
            recurrent_dropout=recurrent_dropout,
            memory_dropout=memory_dropout,
        )
        self.drop_input, self.drop_recurrent, self.drop_memory = dropouts

    @property
    def output_size(self) -> int | None:
        """Number of outputs; None if it is not known before the inputs are."""
        return self.hidden.output_size

    @property
    def memory_states(self):
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
        return [*self.hidden.state_size, *[self.memory.output_size] * len(self.memory_states)]

    @property
    def takes_sequences(self) -> bool:
        """Whether the memory depends on the input alone."""
        return why_step_by_step(self) is None

    @property
    def needs_gradient_of_loop(self) -> bool:
        return not self.takes_sequences or self.hidden.needs_gradient_of_loop

    @property
    def feeds_back_counts(self) -> bool:
        """Whether the memory gets its own counts back."""
        return self.memory_feedback != "exact" and self.memory_quantizer.spiking

    @property
    def hidden_quantizer(self) -> keras.layers.Layer:
        """The quantizer of the hidden cell."""
        return self.hidden.quantizer

    @property
    def memory_d(self) -> int:
        """Number of memories."""
        return self.memory.memory_d

    @property
    def order(self) -> int:
        """Number of Legendre polynomials of each memory."""
        return self.memory.order

    @property
    def theta(self) -> float:
        """The present theta in steps."""
        return self.memory.theta

    @property
    def discretizer(self) -> str | DiscreteSystem:
        """The rule or the matrices of the memory."""
        return self.memory.discretizer

    @property
    def trainable_theta(self) -> bool:
        """Whether theta is trained."""
        return self.memory.trainable_theta

    @property
    def theta_inv(self) -> Any:
        """The variable of 1 / theta if theta is trained; otherwise a float32 tensor."""
        if self.memory.theta_inv is None:
            return ops.convert_to_tensor(1 / self.theta, dtype="float32")
        return self.memory.theta_inv

    @property
    def A(self) -> Any:
        """The present Abar, transposed, [order, order]."""
        return ops.transpose(self.memory.transition(self.compute_dtype)[0])

    @property
    def B(self) -> Any:
        """The present Bbar as a row, [1, order]."""
        return ops.expand_dims(self.memory.transition(self.compute_dtype)[1], 0)

    def build(self, input_shape):
        input_d = input_shape[-1]
        if self.input_d is not None and input_d != self.input_d:
            raise ValueError(
                f"`{self.name}` was given `input_d`={self.input_d}; "
                f"received inputs of shape {tuple(input_shape)}."
            )
        hidden_d = self.memory.output_size + self.input_to_hidden * input_d
        self.hidden.learn_size((input_shape[0], hidden_d))
        encoder_d = input_d + (self.output_size if self.hidden_to_memory else 0)
        if self.kernel_initializer is not None:
            self.kernel = self._add("kernel", (encoder_d, self.memory_d), "kernel")
        elif encoder_d != self.memory_d:
            raise ValueError(
                f"Without a kernel (`kernel_initializer=None`) the input of the memory must have "
                f"`memory_d`={self.memory_d} features; received {encoder_d}."
            )
        if self.memory_to_memory:
            shape = (self.memory.output_size, self.memory_d)
            self.recurrent_kernel = self._add("recurrent_kernel", shape, "recurrent")
        if self.use_bias:
            self.bias = self._add("bias", (self.memory_d,), "bias")
        self.memory.build((input_shape[0], self.memory_d))
        self.memory_quantizer.build((input_shape[0], self.memory.output_size))
        self.hidden.build((input_shape[0], hidden_d))

    def _add(self, name, shape, options):
        return self.add_weight(
            name=name,
            shape=shape,
            initializer=getattr(self, f"{options}_initializer"),
            regularizer=getattr(self, f"{options}_regularizer"),
        )

    def call(self, inputs, states, training=False):
        signals, states = self.signals(inputs, states, training)
        return signals["hidden"], states

    def signals(self, inputs, states, training=False):
        """Run one step and return ``(signals, states)``.

        Args:
            inputs: [batch, features].
            states: the states before the step.
            training: as in `call`.

        Returns:
            the tensors by name and the states after the step. The names are ``input``,
            ``hidden_before`` (``h_{t-1}``), ``memory_recurrent`` (input of `recurrent_kernel`, if
            there is one), ``memory_input`` (u, input of B), ``memory_before`` (input of A),
            ``memory`` (q), ``memory_to_hidden`` (q as input of the hidden cell) and ``hidden`` (h,
            the output).
        """
        return run_step(self, inputs, states, training)

    def sequence(self, inputs, states, training=False):
        return run_sequence(self, inputs, states, training)[1:]

    def sequence_signals(self, inputs, states: Sequence) -> dict[str, Any] | None:
        return sequence_signals(self, inputs, states)

    def products(self, inputs: tuple[Signal, ...] = (INPUT,)) -> Products:
        return lmu_products(self, inputs)

    def split_states(self, states):
        count = len(self.hidden.state_size)
        memory_states = dict(zip(self.memory_states, states[count:], strict=True))
        return list(states[:count]), memory_states

    def get_initial_state(self, batch_size=None):
        states = self.hidden.get_initial_state(batch_size)
        shape = (batch_size, self.memory.output_size)
        for name in self.memory_states:
            error = name == "memory_error"
            state = self.memory_quantizer.get_initial_error(shape) if error else ops.zeros(shape)
            states.append(ops.cast(state, self.compute_dtype))
        return states

    @property
    def source_states(self) -> tuple[int, ...]:
        return (*self.hidden.source_states, len(self.hidden.state_size))

    complete_states = complete_states

    def get_dropout_mask(self, step_input):
        batch_size, dtype = ops.shape(step_input)[0], self.dtype_policy.compute_dtype
        if self.kernel is not None:
            self.drop_input.draw((batch_size, self.kernel.shape[0]), dtype)
        self.drop_memory.draw((batch_size, self.memory.output_size), dtype)
        hidden_d = self.memory.output_size + self.input_to_hidden * step_input.shape[-1]
        self.hidden.get_dropout_mask(ops.ones((batch_size, hidden_d), dtype=dtype))

    def get_recurrent_dropout_mask(self, step_input):
        if self.memory_to_memory:
            shape = (ops.shape(step_input)[0], self.memory.output_size)
            self.drop_recurrent.draw(shape, self.compute_dtype)
        self.hidden.get_recurrent_dropout_mask(step_input)

    def reset_dropout_mask(self):
        self.drop_input.forget()
        self.drop_memory.forget()
        self.hidden.reset_dropout_mask()

    def reset_recurrent_dropout_mask(self):
        self.drop_recurrent.forget()
        self.hidden.reset_recurrent_dropout_mask()

    def get_config(self):
        config = super().get_config()
        for name in CELL_ARGUMENTS:
            if name not in ("memory_quantizer", "hidden_quantizer"):
                value = getattr(self, name, None)
                config[name] = keras.saving.serialize_keras_object(value)
        config["theta"] = self.memory.initial_theta
        for name in ("memory", "hidden"):
            quantizer = getattr(self, f"{name}_quantizer")
            if name in self._given:
                config[f"{name}_quantizer"] = keras.saving.serialize_keras_object(quantizer)
                del config[f"{name}_resolution"]
            else:
                config[f"{name}_resolution"] = quantizer.get_config()["resolution"]
        return config

    @classmethod
    def from_config(cls, config, custom_objects=None):
        return cls(**with_objects(config, OBJECTS_OF_LMU, custom_objects))


# The names of the arguments of `HybridLMUCell`, which are those of its configuration too.
CELL_ARGUMENTS = tuple(
    name
    for name, parameter in inspect.signature(HybridLMUCell).parameters.items()
    if parameter.kind is not parameter.VAR_KEYWORD
)
