"""SigmaDelta: the quantizer as a layer over whole sequences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from hybrid_lmu._internal.checks import check_floating, check_no_other, check_rank
from hybrid_lmu.cells.contract import Activity, Products, Signal, resolution_of
from hybrid_lmu.layers._stateful_activation import StatefulActivation
from hybrid_lmu.quantizers._sigma_delta import SigmaDeltaQuantizer
from hybrid_lmu.quantizers.contract import Quantizer, check_quantizer, own_quantizer


@keras.saving.register_keras_serializable(package="hybrid_lmu")
class SigmaDelta(StatefulActivation):
    """Spiking activation: any activation, quantized with its rounding error carried in time.

    ``n_t = floor(S_t) - floor(S_{t-1})`` with ``S_t = v_0 + w * sum_{i<=t} f(x_i)``; the output is
    ``y_t = n_t / w`` (see `SigmaDeltaQuantizer`). All steps are computed in parallel.

    Args:
        activation: ``f``, a name or callable of Keras. Default ``None``: identity.
        resolution: ``w`` > 0, levels per unit of activation per step: a number, one per neuron
            (last axis), or ``None`` for the non-spiking ``y = f(x)``. Default 1.
        initial_error: ``v_0``: ``"uniform"`` (default; drawn in training, fixed in inference),
            ``"uniform_each_call"``, ``"zeros"``, ``"half"`` or numbers in [0, 1) that broadcast to
            the shape of the neurons; see `SigmaDeltaQuantizer`.
        seed: integer seed of the draws and of the fixed numbers. Default ``None``: a random seed
            for the draws, and 0 for the fixed numbers.
        return_state: True also returns the error after the last step. Default False.
        stateful: True keeps the error from one call to the next, so a sequence fed in chunks gives
            the outputs of one long call. The batch size must be fixed; `reset_state()` starts
            anew. Default False.
        quantizer: a `Quantizer` in place of the four arguments before `return_state`. Default
            ``None``: a `SigmaDeltaQuantizer`.

    Inputs without a time axis, [batch, features], are one step at some time: ``n = floor(v_0 + w *
    f(x))`` with a uniform ``v_0``. A layer after the last step of a sequence trains in this way. An
    error that starts uniform and independent of the input stays so at every step. The output thus
    has the distribution of the last step of the whole simulation (`hybrid_lmu.full_simulation`).

    Inputs: floating [batch, time, features...] or [batch, features]. Masked steps emit 0 and leave
    the error as it is. Without a resolution the layer ignores the mask. An `initial_state` holds
    errors in [0, 1); its values are not checked, because reading them would stop the device.
    Output: the same shape; with `return_state`, ``(outputs, error)``. Under mixed precision the
    error stays exact, and the output ``n / w`` is rounded: float16 tells counts up to 1,024 apart,
    bfloat16 up to 128. `activity_report` warns of larger ones; ``dtype="float32"`` keeps them.

    Raises:
        ValueError: for inputs without a time axis, if the quantizer is not stationary or the layer
            has states; for a bad argument, see `SigmaDeltaQuantizer`.

    Example:

    >>> layer = SigmaDelta("relu", resolution=1.0, initial_error="half")
    >>> [int(y) for y in layer(np.full((1, 10, 1), 0.3, "float32"))[0, :, 0]]
    [0, 1, 0, 0, 1, 0, 0, 0, 1, 0]

    Source: Voelker, Rasmussen & Eliasmith (2020), arXiv:2002.03553.
    """

    state_names = ("diffusion error",)

    def __init__(
        self,
        activation: Any = None,
        resolution: float | Sequence[float] | None = 1.0,
        *,
        initial_error: str | float | Sequence[float] = "uniform",
        seed: int | None = None,
        return_state: bool = False,
        stateful: bool = False,
        quantizer: Quantizer | None = None,
        **kwargs,
    ):
        super().__init__(return_state, stateful, **kwargs)
        check_quantizer("quantizer", quantizer)
        check_no_other(
            "quantizer",
            quantizer,
            activation=(activation, None),
            resolution=(resolution, 1.0),
            initial_error=(initial_error, "uniform"),
            seed=(seed, None),
        )
        self._quantizer_is_given = quantizer is not None
        self.quantizer = own_quantizer("quantizer", quantizer) or SigmaDeltaQuantizer(
            activation, resolution, initial_error, seed, dtype="float32", name="quantizer"
        )

    def build(self, input_shape):
        self.check_shape(input_shape)
        self.quantizer.build(input_shape)
        self._neurons = input_shape[-1]
        if self.stateful and self.quantizer.spiking:
            self.add_states(input_shape)

    @property
    def keeps_state(self) -> bool:
        return self.quantizer.spiking

    def products(self) -> Products:
        output = Signal("output", resolution_of(self.quantizer))
        return Products((Activity("", output),), output)

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
        if self.built and self.quantizer.per_neuron and shape[-1] not in (None, self._neurons):
            raise ValueError(
                f"`{self.name}` was built for {self._neurons} neurons, each with numbers of its "
                f"own; received inputs of shape {tuple(shape)}."
            )
        if len(shape) != 2:
            check_rank(self, shape, 3, "[batch, time, features...]", at_least=True)
        elif (
            not self.quantizer.stationary
            or self.stateful
            or self.return_state
            or initial_state is not None
        ):
            raise ValueError(
                f"`{self.name}` takes inputs without a time axis only with a uniform "
                "`initial_error` and without states (`stateful`, `return_state`, `initial_state`); "
                f"expected [batch, time, features...], received shape {tuple(shape)}."
            )

    def get_config(self):
        config = super().get_config()
        if self._quantizer_is_given:
            return {**config, "quantizer": keras.saving.serialize_keras_object(self.quantizer)}
        quantizer = self.quantizer.get_config()
        own = ("activation", "resolution", "initial_error", "seed")
        return {**config, **{key: quantizer[key] for key in own}}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        quantizer = config.get("quantizer")
        if quantizer is not None:
            make = keras.saving.deserialize_keras_object
            config = {**config, "quantizer": make(quantizer, custom_objects=custom_objects)}
        return cls(**config)
