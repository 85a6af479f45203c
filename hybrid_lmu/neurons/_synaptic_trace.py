"""SynapticTrace: a trace of the spikes that came in, filtered by synapse and membrane."""

import keras
from keras import ops

from hybrid_lmu._internal.checks import check_positive_integer
from hybrid_lmu._internal.masks import zero_masked_steps
from hybrid_lmu.cells.contract import INPUT, Activity, Cell, Products, Signal, state_dtype
from hybrid_lmu.layers._stateful_activation import StatefulActivation
from hybrid_lmu.neurons._synaptic_filter import SynapticFilter


@keras.saving.register_keras_serializable(package="hybrid_lmu")
class SynapticTraceCell(Cell):
    """One step of a `SynapticTrace`.

    ::

        P_t = alpha P_{t-1} + Q_{t-1};    Q_t = beta Q_{t-1} + x_t

    Args:
        units: number of inputs.
        tau_mem: time constant of the membrane in steps, > 0: ``alpha = exp(-1 / tau_mem)``.
            Default 10.
        tau_syn: time constant of the synapse in steps, > 0: ``beta = exp(-1 / tau_syn)``.
            Default 6.

    Inputs: ``x_t``, [batch, units]. States: ``P_t`` and ``Q_t``, float32. Output: ``P_t``.

    Raises:
        ValueError: if an argument is out of range.

    Source: Jang, Skatchkovsky & Simeone (2020), arXiv:2012.08300.
    """

    takes_sequences = True

    def __init__(self, units: int, tau_mem: float = 10.0, tau_syn: float = 6.0, **kwargs):
        super().__init__(**kwargs)
        self.units = self.output_size = check_positive_integer("units", units)
        self.filter = SynapticFilter(tau_mem, tau_syn)
        self.state_size = [self.units, self.units]

    def products(self, inputs: tuple[Signal, ...] = (INPUT,)) -> Products:
        return Products((), Signal("output"))

    def call(self, inputs, states, training=False):
        p, q = self.filter.step(ops.cast(inputs, self.compute_dtype), *states)
        return ops.cast(p, self.dtype_policy.compute_dtype), [p, q]

    def sequence(self, x, states, training=False):
        """Run all steps of x, [batch, time, units]; return ``(P, [p, q])``."""
        outputs, p, q = self.filter.sequence(ops.cast(x, self.compute_dtype), *states)
        return ops.cast(outputs, self.dtype_policy.compute_dtype), [p, q]

    def get_config(self):
        taus = {"tau_mem": self.filter.tau_mem, "tau_syn": self.filter.tau_syn}
        return {**super().get_config(), "units": self.units, **taus}


@keras.saving.register_keras_serializable(package="hybrid_lmu")
class SynapticTrace(StatefulActivation):
    """The feed-forward kernel of a spike response model, over whole sequences.

    ::

        P_t = alpha P_{t-1} + Q_{t-1};    Q_t = beta Q_{t-1} + x_t

    P is computed for all steps in parallel (`hybrid_lmu.neurons._synaptic_filter`). With spikes as
    input it is ``du/dW``, the presynaptic factor of a local learning rule.

    The trace is real. In front of a `Dense` layer it makes the products of that layer
    multiplications. Behind the layer (as in `SRM`) the weights meet spikes, so that the same
    network needs only additions. The bias of the layer is filtered in the second case only.

    Args:
        tau_mem: time constant of the membrane in steps, > 0: ``alpha = exp(-1 / tau_mem)``.
            Default 10.
        tau_syn: time constant of the synapse in steps, > 0: ``beta = exp(-1 / tau_syn)``.
            Default 6.
        return_state: also return P and Q after the last step. Default False.
        stateful: keep P and Q from one call to the next; needs a fixed batch size. `reset_state()`
            starts anew. Default False.
        **kwargs: `name`, `dtype` and `trainable` of `keras.layers.Layer`.

    Inputs: floating [batch, time, neurons...], and optionally an `initial_state`, [P, Q]. Masked
    steps emit 0 and leave the states alone.
    Output: ``P``, of the same shape; with `return_state`, ``(outputs, P, Q)``.

    Example:

    >>> spike = np.zeros((1, 5, 1), "float32")
    >>> spike[0, 0] = 1
    >>> [round(float(p), 2) for p in SynapticTrace(tau_mem=10, tau_syn=6)(spike)[0, :, 0]]
    [0.0, 1.0, 1.75, 2.3, 2.69]

    Source: Jang, Skatchkovsky & Simeone (2020), arXiv:2012.08300.
    """

    state_names = ("membrane trace", "synaptic trace")

    def __init__(
        self,
        tau_mem: float = 10.0,
        tau_syn: float = 6.0,
        *,
        return_state: bool = False,
        stateful: bool = False,
        **kwargs,
    ):
        super().__init__(return_state=return_state, stateful=stateful, **kwargs)
        self.filter = SynapticFilter(tau_mem, tau_syn)
        self.state_dtype = state_dtype(self.dtype_policy)

    def build(self, input_shape):
        self.check_shape(input_shape)
        if self.stateful:
            self.add_states(input_shape)

    def products(self) -> Products:
        output = Signal("output")
        return Products((Activity("output", output),), output)

    def initial_states(self, shape):
        return [ops.zeros(shape, dtype=self.state_dtype) for _ in self.state_names]

    def sequence(self, inputs, states, mask):
        if inputs.shape[1] == 0:
            return inputs, states
        x = ops.cast(inputs, self.state_dtype)
        outputs, p, q = self.filter.sequence(x, *states, mask)
        return ops.cast(zero_masked_steps(outputs, mask), self.compute_dtype), [p, q]

    def get_config(self):
        taus = {"tau_mem": self.filter.tau_mem, "tau_syn": self.filter.tau_syn}
        return {**super().get_config(), **taus}
