"""The layers that the benchmark times: one entry each, registered by `@case`.

To add one, write a decorated function below. `products` says what a training step costs.
"""

import functools

import keras

from evaluation.speed import flops
from evaluation.speed.registry import case
from hybrid_lmu import HybridCell, HybridLMU, LegendreMemory, LegendreMemoryCell, SigmaDelta

# Its best setting: measured on CPU, XLA makes the FFT of keras-lmu ten times slower, or aborts.
KERAS_LMU = {"package": "keras_lmu", "backends": ("tensorflow",), "jit": False}
HEAVY = "takes up to 12 GB at the default sizes"


@case("ReLU", "activation")
def _relu(s):
    return keras.layers.Activation("relu")


@case("SigmaDelta(ReLU)", "activation")
def _sigma_delta(s):
    return SigmaDelta("relu", resolution=s.hidden_resolution)


@case("SigmaDelta(ReLU) in a loop", "activation")
def _sigma_delta_loop(s):
    relu = keras.layers.Activation("relu")
    relu.units = s.order  # so that it is a cell without recurrence
    return keras.layers.RNN(HybridCell(relu, s.hidden_resolution), return_sequences=True)


def _both(name, memory=False, products=None, left_out=None, **options):
    """Registers build(sizes, return_sequences) in the -last and the -all group.

    products(sizes, return_sequences). left_out: of the second case.
    """

    def register(build):
        last, every = ("memory-last", "memory-all") if memory else ("network", "network-all")
        for group, full, label in ((last, False, name), (every, True, f"{name}, all")):
            case(
                label,
                group,
                products=products and functools.partial(products, every=full),
                left_out=left_out if full else None,
                **options,
            )(functools.partial(build, return_sequences=full))
        return build

    return register


def lmu_arguments(s, recurrent):
    """The arguments that HybridLMU and keras_lmu.LMU share."""
    cell = keras.layers.SimpleRNNCell if recurrent else keras.layers.Dense
    return {
        "memory_d": 1,
        "order": s.order,
        "theta": s.timesteps,
        "hidden_cell": cell(s.units, activation="tanh" if recurrent else "relu"),
        "input_to_hidden": True,
    }


def hybrid_arguments(s, recurrent, spiking=True, feedback="exact"):
    """The arguments of HybridLMU."""
    return {
        **lmu_arguments(s, recurrent),
        "memory_resolution": s.memory_resolution if spiking else None,
        "hidden_resolution": s.hidden_resolution if spiking else None,
        "memory_feedback": feedback,
    }


@_both("keras-lmu memory (FFT)", memory=True, **KERAS_LMU)
def _keras_lmu_memory(s, return_sequences):
    import keras_lmu

    return keras_lmu.LMUFeedforward(
        1, s.order, s.timesteps, hidden_cell=None, return_sequences=return_sequences
    )


@_both("LegendreMemory", memory=True, products=flops.memory)
def _legendre_memory(s, return_sequences):
    return LegendreMemory(s.order, s.timesteps, return_sequences=return_sequences)


@_both("LegendreMemoryCell in keras.layers.RNN", memory=True, products=flops.memory_loop)
def _legendre_loop(s, return_sequences):
    cell = LegendreMemoryCell(s.order, s.timesteps)
    return keras.layers.RNN(cell, return_sequences=return_sequences)


@_both("LSTM", products=functools.partial(flops.gated, gates=4))
def _lstm(s, return_sequences):
    return keras.layers.LSTM(s.units, return_sequences=return_sequences)


@_both("GRU", products=functools.partial(flops.gated, gates=3))
def _gru(s, return_sequences):
    return keras.layers.GRU(s.units, return_sequences=return_sequences)


@_both("keras-lmu LMU (recurrent)", **KERAS_LMU)
def _keras_lmu_recurrent(s, return_sequences):
    import keras_lmu

    return keras_lmu.LMU(**lmu_arguments(s, True), return_sequences=return_sequences)


@_both("keras-lmu LMU (feed-forward)", left_out=HEAVY, **KERAS_LMU)
def _keras_lmu_feedforward(s, return_sequences):
    import keras_lmu

    return keras_lmu.LMUFeedforward(**lmu_arguments(s, False), return_sequences=return_sequences)


@case("keras-lmu memory (FFT) + Dense, all", "network-all", **KERAS_LMU)
def _keras_lmu_dense(s):
    """The same network as the one before, put together so that it is fast over all steps."""
    import keras_lmu

    memory = keras_lmu.LMUFeedforward(
        1, s.order, s.timesteps, hidden_cell=None, input_to_hidden=True, return_sequences=True
    )
    return keras.Sequential([memory, keras.layers.Dense(s.units, activation="relu")])


def _hybrid(name, recurrent, **arguments):
    """Registers one HybridLMU in both groups."""
    count = functools.partial(flops.hybrid, recurrent=recurrent, quantized="feedback" in arguments)

    @_both(name, products=count)
    def build(s, return_sequences):
        return HybridLMU(
            **hybrid_arguments(s, recurrent, **arguments), return_sequences=return_sequences
        )


_hybrid("HybridLMU (recurrent), spiking", True)
_hybrid("HybridLMU (feed-forward), spiking", False)
_hybrid("HybridLMU (feed-forward), non-spiking", False, spiking=False)
_hybrid("HybridLMU (recurrent), spiking, quantized feedback", True, feedback="quantized")
_hybrid("HybridLMU (feed-forward), spiking, quantized feedback", False, feedback="quantized")
