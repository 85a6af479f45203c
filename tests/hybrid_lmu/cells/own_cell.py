"""A cell of a user: weights of its own, a quantizer, and the products that it makes."""

import keras
from keras import ops

from hybrid_lmu import SigmaDeltaQuantizer
from hybrid_lmu.cells import INPUT, Activity, Cell, Product, Products, Signal


@keras.saving.register_keras_serializable(package="own")
class LeakyCell(Cell):
    """``h_t = 0.8 h_{t-1} + tanh(kernel x_t + recurrent_kernel y_{t-1})``, ``y_t = Q(h_t)``.

    States: y, h and the diffusion error of Q.
    """

    def __init__(self, units, resolution, *, seed=None, **kwargs):
        super().__init__(**kwargs)
        self.units, self.resolution, self.seed = units, resolution, seed
        self.quantizer = SigmaDeltaQuantizer(resolution=resolution, seed=seed, name="quantizer")
        self.state_size, self.output_size = [units, units, units], units

    def build(self, input_shape):
        self.kernel = self.add_weight(shape=(input_shape[-1], self.units), name="kernel")
        shape = (self.units, self.units)
        self.recurrent_kernel = self.add_weight(shape=shape, name="recurrent_kernel")
        self.quantizer.build((None, self.units))

    def get_initial_state(self, batch_size=None):
        error = self.quantizer.get_initial_error((batch_size, self.units))
        return [*super().get_initial_state(batch_size)[:2], error]

    def call(self, inputs, states, training=False):
        y, h, error = states
        drive = ops.matmul(inputs, self.kernel) + ops.matmul(y, self.recurrent_kernel)
        h = 0.8 * h + ops.tanh(drive)
        y, error = self.quantizer.step(h, error)
        return y, [y, h, error]

    def products(self, inputs=(INPUT,)):
        output = Signal("output", self.quantizer)
        before = Signal("state_0", self.quantizer)
        return Products(
            (
                Product("kernel", "input", self.kernel, inputs),
                Product("recurrent_kernel", "recurrent", self.recurrent_kernel, (before,)),
                Activity("output", output, held=True),
            ),
            output,
        )

    def get_config(self):
        own = {"units": self.units, "resolution": self.resolution, "seed": self.seed}
        return {**super().get_config(), **own}
