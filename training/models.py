"""The models of an experiment: one recurrent core, one linear readout, equal parameter counts."""

import keras
import numpy as np

import hybrid_lmu
from training.config import RunConfig


def build_model(config: RunConfig, task, units: int) -> keras.Model:
    """``[T, F] -> core -> Dense(outputs)``; logits of the last step, or of every step.

    The readout is float32 under mixed precision. Every layer gets its own seed derived from
    `config.seed`, so that a rebuilt model starts from the same weights.
    """
    inputs = keras.Input((task.timesteps, task.features), name="sequence")
    hidden = _core(config, task, units)(inputs)
    if config.dropout:
        hidden = keras.layers.Dropout(config.dropout, seed=config.seed * 1000 + 1)(hidden)
    readout = keras.layers.Dense(
        task.outputs, dtype="float32", kernel_initializer=_glorot(config, 2), name="readout"
    )
    return keras.Model(inputs, readout(hidden), name=config.model.replace("-", "_"))


def solve_units(config: RunConfig, task) -> int:
    """Units that bring the model nearest to `config.parameters` trainable parameters.

    The count of every model here is a polynomial of degree 2 in its units, so counts at 1, 2
    and 3 units give it exactly. Raises ValueError if even one unit has more than 1.5 times as many
    parameters as asked for.
    """
    sizes = np.arange(1, 4)
    counts = [count_parameters(build_model(config, task, int(size))) for size in sizes]
    polynomial = np.polynomial.Polynomial.fit(sizes, counts, 2)
    if counts[0] > 1.5 * config.parameters:
        raise ValueError(
            f"`parameters` must be at least {counts[0]} for {config.model} on {config.task} "
            f"(its count with one unit); received: {config.parameters}"
        )
    roots = (polynomial - config.parameters).roots()
    real = [root.real for root in roots if abs(root.imag) < 1e-6]
    guess = max(1, int(np.floor(max(real, default=1))))
    return min((guess, guess + 1), key=lambda size: abs(polynomial(size) - config.parameters))


def count_parameters(model: keras.Model, trainable: bool = True) -> int:
    """Number of trainable (or non-trainable) weights, as in `model.summary()`."""
    weights = model.trainable_weights if trainable else model.non_trainable_weights
    return int(sum(np.prod(weight.shape) for weight in weights))


def uses_keras_lmu(config: RunConfig) -> bool:
    """Whether the "lmu" model is `keras_lmu.LMU` itself: it runs on TensorFlow in float32 only."""
    return keras.backend.backend() == "tensorflow" and config.precision == "float32"


def _core(config, task, units):
    options = dict(return_sequences=task.per_step, name=config.model.replace("-", "_"))
    if config.model in ("lstm", "gru"):
        layer = {"lstm": keras.layers.LSTM, "gru": keras.layers.GRU}[config.model]
        return layer(units, seed=config.seed, **_rnn_kernels(config), **options)
    if config.model in ("hybrid-lstm", "hybrid-gru"):
        cell_class = {"hybrid-lstm": keras.layers.LSTMCell, "hybrid-gru": keras.layers.GRUCell}
        cell = cell_class[config.model](units, seed=config.seed, **_rnn_kernels(config))
        return keras.layers.RNN(
            hybrid_lmu.HybridCell(
                cell,
                resolution=config.start_resolution,
                initial_error=config.initial_error,
                seed=config.seed * 1000 + 5,
                name="hybrid_cell",
            ),
            **options,
        )
    options.update(
        memory_d=config.memory_d,
        order=config.order,
        theta=config.theta,
        hidden_cell=_hidden_cell(config, units),
        kernel_initializer=_encoder(config, task),
    )
    if config.model == "lmu" and uses_keras_lmu(config):
        import keras_lmu

        return keras_lmu.LMU(**options)
    if config.model == "lmu":
        return hybrid_lmu.HybridLMU(seed=config.seed, **options)
    return hybrid_lmu.HybridLMU(
        memory_resolution=config.start_resolution,
        hidden_resolution=config.start_resolution,
        memory_feedback=config.memory_feedback,
        initial_error=config.initial_error,
        seed=config.seed * 1000 + 5,
        **options,
    )


def _hidden_cell(config, units):
    if config.hidden == "dense":
        return keras.layers.Dense(units, activation="relu", kernel_initializer=_glorot(config, 3))
    return keras.layers.SimpleRNNCell(units, seed=config.seed, **_rnn_kernels(config))


def _encoder(config, task):
    # One pixel into one memory: a gain of one, so that the memory holds the signal itself.
    same = task.features == config.memory_d == 1
    return keras.initializers.Ones() if same else _glorot(config, 6)


def _rnn_kernels(config):
    return dict(
        kernel_initializer=_glorot(config, 3),
        recurrent_initializer=keras.initializers.Orthogonal(seed=config.seed * 1000 + 4),
    )


def _glorot(config, offset):
    return keras.initializers.GlorotUniform(seed=config.seed * 1000 + offset)
