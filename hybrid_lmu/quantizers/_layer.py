"""SigmaDelta: the quantizer as a layer over whole sequences."""

import keras
from keras import ops

from hybrid_lmu._internal.checks import check_floating, check_rank
from hybrid_lmu.layers._stateful_activation import StatefulActivation
from hybrid_lmu.quantizers._sigma_delta import SigmaDeltaQuantizer


@keras.saving.register_keras_serializable(package="hybrid_lmu")
class SigmaDelta(StatefulActivation):
    """Spiking activation: any activation, quantized with its rounding error carried in time.

    ``n_t = floor(S_t) - floor(S_{t-1})`` with ``S_t = v_0 + w * sum_{i<=t} f(x_i)``; the output is
    ``y_t = n_t / w`` (see `SigmaDeltaQuantizer`). All steps are computed in parallel.

    Args:
        activation: ``f``, default ``None`` (identity).
        resolution: ``w``: levels per unit of activation per step; scalar, one per neuron (last
            axis), or ``None`` for the non-spiking ``y = f(x)``. Default 1.
        initial_error: ``v_0``: ``"uniform"`` (default), ``"zeros"``, ``"half"`` or numbers in
            [0, 1) that broadcast to the shape of the neurons.
        seed: seed of the uniform draw.
        return_state: also return the error after the last step.
        stateful: keep the error from one call to the next, so that a sequence fed in chunks gives
            what one long call gives; needs a fixed batch size. `reset_state()` draws anew.

    Without a time axis, [batch, features], the layer is one step at some time: ``n = floor(v_0 +
    w * f(x))`` with a uniform ``v_0``. This is how a layer after the last step of a sequence
    trains: an error that starts uniform and independent of the input is so at every step, so the
    output has the distribution of the last step of the whole simulation
    (`hybrid_lmu.full_simulation`).

    Inputs: floating [batch, time, features...] or [batch, features]. Masked steps emit 0 and leave
    the error alone; without a resolution they are ``f(x)``, as all others.
    Output: the same shape; with `return_state`, ``(outputs, error)``.

    Example:

    >>> layer = SigmaDelta("relu", resolution=1.0, initial_error="half")
    >>> [int(y) for y in layer(np.full((1, 10, 1), 0.3, "float32"))[0, :, 0]]
    [0, 1, 0, 0, 1, 0, 0, 0, 1, 0]

    Source: Voelker, Rasmussen & Eliasmith (2020), arXiv:2002.03553.
    """

    state_names = ("diffusion error",)

    def __init__(
        self,
        activation=None,
        resolution=1.0,
        initial_error="uniform",
        seed=None,
        return_state=False,
        stateful=False,
        **kwargs,
    ):
        super().__init__(return_state, stateful, **kwargs)
        self.quantizer = SigmaDeltaQuantizer(
            activation, resolution, initial_error, seed, dtype="float32", name="quantizer"
        )

    def build(self, input_shape):
        self.check_shape(input_shape)
        self.quantizer.build(input_shape)
        if self.stateful and self.quantizer.spiking:
            self.add_states(input_shape)

    def initial_states(self, shape):
        return [self.quantizer.get_initial_error(shape)]

    def call(self, inputs, initial_state=None, mask=None):
        if len(inputs.shape) != 2:
            return super().call(inputs, initial_state, mask)
        self.check_shape(inputs.shape, initial_state)
        check_floating(self, inputs)
        error = self.quantizer.get_initial_error(ops.shape(inputs))
        return self.quantizer.step(inputs, error)[0]

    def sequence(self, inputs, states, mask):
        outputs, error = self.quantizer.sequence(inputs, states[0], mask)
        return outputs, [error]

    def check_shape(self, shape, initial_state=None):
        uniform = self.quantizer.initial_error == "uniform" or not self.quantizer.spiking
        if len(shape) != 2:
            check_rank(self, shape, 3, "[batch, time, features...]", at_least=True)
        elif not uniform or self.stateful or self.return_state or initial_state is not None:
            raise ValueError(
                f"`{self.name}` takes inputs without a time axis only with initial_error='uniform' "
                "and without states (`stateful`, `return_state`, `initial_state`); expected "
                f"[batch, time, features...], received shape {tuple(shape)}."
            )

    def get_config(self):
        config = self.quantizer.get_config()
        own = ("activation", "resolution", "initial_error", "seed")
        return {**super().get_config(), **{key: config[key] for key in own}}
