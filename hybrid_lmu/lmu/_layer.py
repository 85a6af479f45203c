"""The hybrid-spiking Legendre Memory Unit as a layer: whole sequences."""

from __future__ import annotations

import inspect
from typing import Any

import keras
from keras import ops

from hybrid_lmu._internal.checks import check_flag, check_floating, check_positive_integer
from hybrid_lmu._internal.keras_compat import ensure_shape
from hybrid_lmu._internal.masks import Compacted
from hybrid_lmu.cells._hybrid_cell import with_objects
from hybrid_lmu.cells._rnn import HybridRNN
from hybrid_lmu.lmu._cell import CELL_ARGUMENTS, OBJECTS_OF_LMU, HybridLMUCell
from hybrid_lmu.lmu._plan import Plan, plan
from hybrid_lmu.lmu._sequences import last_step, last_steps


def _signature() -> inspect.Signature:
    """Return the signature of `HybridLMU.__init__`: that of the cell, and what the layer adds."""
    *of_cell, rest = inspect.signature(HybridLMUCell.__init__).parameters.values()
    by_position = [p for p in of_cell if p.kind is p.POSITIONAL_OR_KEYWORD]
    by_keyword = [p for p in of_cell if p.kind is p.KEYWORD_ONLY]

    def parameter(name, annotation, default, kind=inspect.Parameter.KEYWORD_ONLY):
        return inspect.Parameter(name, kind, annotation=annotation, default=default)

    return_sequences = parameter(
        "return_sequences", "bool", False, inspect.Parameter.POSITIONAL_OR_KEYWORD
    )
    of_rnn = ("return_state", "go_backwards", "stateful", "unroll", "zero_output_for_mask")
    return inspect.Signature(
        [
            *by_position,
            return_sequences,
            *by_keyword,
            *(parameter(name, "bool", False) for name in of_rnn),
            parameter("simulation", "str | int", "auto"),
            parameter("return_last", "int | None", None),
            rest,
        ]
    )


@keras.saving.register_keras_serializable(package="hybrid_lmu")
class HybridLMU(HybridRNN):
    """The hybrid-spiking Legendre Memory Unit over whole sequences.

    The layer takes the place of `keras_lmu.LMU`. The arguments of `keras_lmu.LMU` come first, in
    the same order, and may be given by position. Without resolutions (the default) the same weights
    give the same results. The equations are those of `HybridLMUCell`.

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
        return_sequences: whether the output is that of all steps. Default False.
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
        return_state: whether the states follow the output. Default False.
        go_backwards: whether the layer reads the sequence from its end. Default False.
        stateful: whether the states of one batch start the next one. The layer then needs a fixed
            batch size, and `reset_state()` sets the initial states of inference. Default False.
        unroll: whether the steps are written out in place of a loop. Default False.
        zero_output_for_mask: whether the output of a masked step is 0 in place of the last output.
            Default False.
        simulation: which steps are computed if only the last output is asked for. ``"auto"``: the
            last ones if that gives the same distribution. ``"full"``: all steps. An integer s: for
            a recurrent hidden cell, only its last s steps are run, starting from its initial state.
            This is an approximation (truncated backpropagation through time); judge a model trained
            with it by ``simulation="full"``. Default ``"auto"``.
        return_last: number k of last steps to return, [batch, k, units], in place of
            `return_sequences`. Default None.

    Input: floating [batch, time, features]. Output: [batch, units], or [batch, time, units] with
    `return_sequences`. With `return_state`, the states follow the output.

    The layer chooses how a call is computed; `plan` says how, and why. All ways give the same
    counts for the same initial error, except where only last steps are computed: their outputs have
    the same distribution. Float32 rounding of the memory may move a count by one step where a sum
    is close to an integer. Behind an activation that is not linear, such moves add up: in a stream
    of 10,000 steps, fed in chunks of 50, 2 % of the hidden counts came at another step.

    Example:

    >>> layer = HybridLMU(1, 8, 50, keras.layers.SimpleRNNCell(16),
    ...                   memory_resolution=8, hidden_resolution=2)
    >>> tuple(layer(np.ones((2, 100, 1), "float32")).shape)
    (2, 16)

    Raises:
        ValueError: if an argument is out of range, or arguments exclude each other.

    Sources: see `HybridLMUCell`.
    """

    def __init__(self, *args: Any, **kwargs: Any):
        given = _SIGNATURE.bind(self, *args, **kwargs)
        given.apply_defaults()
        options = {**given.arguments, **given.arguments["kwargs"]}
        del options["kwargs"], options["self"]
        of_cell = {name: options.pop(name) for name in CELL_ARGUMENTS}
        return_last, simulation = options.pop("return_last"), options.pop("simulation")
        self.return_last = _check_return_last(
            return_last, options["return_sequences"], options["return_state"]
        )
        cell = HybridLMUCell(**of_cell, dtype=options.get("dtype"), name="lmu_cell")
        check_flag("return_sequences", options["return_sequences"])
        options["return_sequences"] = options["return_sequences"] or return_last is not None
        super().__init__(cell, **options)
        self.simulation = _check_simulation(simulation)

    @property
    def layer(self) -> HybridLMU:
        """The layer itself, because `keras_lmu.LMU` makes another layer under this name."""
        return self

    def __dir__(self):
        # Keras loads the weights of all that `dir` names. It would follow `layer` without end.
        return [name for name in super().__dir__() if name != "layer"]

    def plan(self, shape: tuple, *, mask: bool = False, initial_state: bool = False) -> Plan:
        """Return how a call is computed, and why. `str()` of it is plain English.

        Args:
            shape: shape of the input, (batch, time, features); unknown sizes are None.
            mask: whether the call has a mask. Default False.
            initial_state: whether the call has an initial state. Default False.

        Example:

        >>> layer = HybridLMU(1, 8, 50, keras.layers.Dense(16), memory_resolution=8)
        >>> layer.plan((None, 100, 1)).way.name
        'LAST_STEP'
        """
        return plan(self, shape, mask, initial_state)

    def runs_in_parallel(self, sequences, mask) -> bool:
        return self.plan(sequences.shape, mask=mask is not None).takes_sequences

    def call(self, sequences, initial_state=None, mask=None, training=False):
        if self.return_last is not None:
            self._check_last(sequences.shape[1], mask)
        chosen = self.plan(
            sequences.shape, mask=mask is not None, initial_state=initial_state is not None
        )
        if chosen.takes_last_steps:
            return self._last_steps(sequences, chosen.steps, mask, training)
        output = super().call(sequences, initial_state=initial_state, mask=mask, training=training)
        return output if self.return_last is None else self._last_part(output)

    def _last_part(self, outputs):
        outputs = outputs[:, -self.return_last :]
        return ensure_shape(
            outputs,
            (None, self.return_last, outputs.shape[-1]),
            f"`{self.name}` has `return_last`={self.return_last}: expected sequences of at least "
            "that many steps; outputs of all steps:",
        )

    def _last_steps(self, sequences, steps, mask, training):
        check_floating(self, sequences)
        cell, left = self.cell, None
        if self.go_backwards:
            sequences = ops.flip(sequences, axis=1)
            mask = None if mask is None else ops.flip(mask, axis=1)
        if mask is not None:
            left = Compacted(mask, to_end=True)
            sequences = left.take(sequences)
        size = ops.shape(sequences)[0]
        if training:  # `keras.layers.RNN.call`, which would draw the masks, is not called
            cell.get_dropout_mask(sequences[:, 0])
            cell.get_recurrent_dropout_mask(ops.zeros((size, cell.output_size)))
        states = self.get_initial_state(size)
        if self.return_last is None and not cell.hidden.recurrent:
            valid = None if left is None else left.valid
            output = last_step(cell, sequences, states, training, valid)
            if left is not None:
                output = left.last_output(output, zeros=self.zero_output_for_mask)
        else:
            outputs = last_steps(cell, sequences, states, steps, training)
            last = self.return_last
            output = outputs[:, -1] if last is None else outputs[:, -last:]
        cell.reset_dropout_mask()
        cell.reset_recurrent_dropout_mask()
        return ops.cast(output, self.dtype_policy.compute_dtype)

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


_SIGNATURE = _signature()
HybridLMU.__init__.__signature__ = _SIGNATURE


def _of_cell(name):
    return property(lambda self: getattr(self.cell, name), doc=f"`{name}` of the cell.")


# The layer has the attributes of its cell under the same names, as `keras_lmu.LMU` has.
_WITHOUT_ATTRIBUTE = ("memory_resolution", "hidden_resolution")
_VARIABLES = ("kernel", "recurrent_kernel", "bias", "theta_inv", "A", "B")
for _name in (*CELL_ARGUMENTS, *_VARIABLES):
    if _name not in _WITHOUT_ATTRIBUTE:
        setattr(HybridLMU, _name, _of_cell(_name))


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
