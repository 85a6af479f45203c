"""Neurons whose spikes come back to them through a kernel."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from hybrid_lmu.cells._hybrid_cell import with_objects
from hybrid_lmu.cells.contract import INPUT, Activity, Cell, Product, Products, Signal, as_list
from hybrid_lmu.neurons._cell import SpikingCell


@keras.saving.register_keras_serializable(package="hybrid_lmu")
class RecurrentSpikingCell(Cell):
    """Neurons of any kind, each of which receives the spikes of all of them, one step later.

    With the neuron ``s_t, v_t = neuron(x_t, v_{t-1})``::

        s_t, v_t = neuron(x_t + s_{t-1} U, v_{t-1});    s_0 = 0

    Only spikes meet the kernel U: its products are additions.

    Args:
        neuron: a `SpikingCell` with `units`, such as ``LIFCell(128)`` or ``IFCell(128)``.
        recurrent_initializer: initializer of U. Default ``"orthogonal"``.
        recurrent_regularizer: regularizer of U. Default None.

    `hybrid_lmu.HybridRNN` or `keras.layers.RNN` runs the cell, behind the layer of weights that
    makes currents of the inputs.

    Inputs: the current ``x_t``, [batch, units]. States: ``s_t``, then those of the neuron.
    Output: ``s_t``, 0 or 1, [batch, units].

    Example:

    >>> from hybrid_lmu.neurons import LIFCell
    >>> layer = keras.layers.RNN(RecurrentSpikingCell(LIFCell(8)), return_sequences=True)
    >>> tuple(layer(np.ones((2, 10, 8), "float32")).shape)
    (2, 10, 8)

    Raises:
        ValueError: if `neuron` is no spiking cell, or has no units.

    Source: the recurrent layers of Neftci, Mostafa & Zenke (2019), arXiv:1901.09948.
    """

    def __init__(
        self,
        neuron: SpikingCell,
        *,
        recurrent_initializer: Any = "orthogonal",
        recurrent_regularizer: Any = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if not isinstance(neuron, SpikingCell) or neuron.units is None:
            raise ValueError(
                "`neuron` must be a spiking cell with `units`, such as LIFCell(128); "
                f"received: {neuron!r}"
            )
        self.neuron = neuron
        self.recurrent_initializer = keras.initializers.get(recurrent_initializer)
        self.recurrent_regularizer = keras.regularizers.get(recurrent_regularizer)
        self.output_size = neuron.units
        self.state_size = [neuron.units, *as_list(neuron.state_size)]
        self.needs_gradient_of_loop = True

    def build(self, input_shape):
        if not self.neuron.built:
            self.neuron.build(input_shape)
            self.neuron.built = True
        self.recurrent_kernel = self.add_weight(
            name="recurrent_kernel",
            shape=(self.neuron.units, self.neuron.units),
            initializer=self.recurrent_initializer,
            regularizer=self.recurrent_regularizer,
        )

    def call(self, inputs, states, training=False):
        dtype = self.dtype_policy.compute_dtype
        back = ops.matmul(ops.cast(states[0], dtype), ops.cast(self.recurrent_kernel, dtype))
        spikes, after = self.neuron(ops.cast(inputs, dtype) + back, list(states)[1:])
        return spikes, [ops.cast(spikes, self.compute_dtype), *after]

    def get_initial_state(self, batch_size=None):
        silent = ops.zeros((batch_size, self.neuron.units), dtype=self.compute_dtype)
        return [silent, *self.neuron.get_initial_state(batch_size)]

    def products(self, inputs: tuple[Signal, ...] = (INPUT,)) -> Products:
        before, spikes = Signal("state_0", 1.0), Signal("output", 1.0)
        product = Product("recurrent_kernel", "recurrent", self.recurrent_kernel, (before,))
        return Products((product, Activity("output", spikes, held=True)), spikes)

    def get_config(self):
        return {
            **super().get_config(),
            "neuron": keras.saving.serialize_keras_object(self.neuron),
            "recurrent_initializer": keras.initializers.serialize(self.recurrent_initializer),
            "recurrent_regularizer": keras.regularizers.serialize(self.recurrent_regularizer),
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        return cls(**with_objects(config, ("neuron",), custom_objects))
