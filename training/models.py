"""The models of an experiment: one recurrent core, one linear readout, equal parameter counts."""

import keras
import numpy as np

import hybrid_lmu
from training.config import HYBRID_LMUS, WEIGHTS, RunConfig
from training.tasks import TaskData


def build_model(config: RunConfig, task: TaskData, units: int) -> keras.Model:
    """``[T, F] -> core -> Dense(outputs)``; logits of the last step, or of every step.

    The readout is float32 under mixed precision. Every layer gets its own seed derived from
    `config.seed`, so that a rebuilt model starts from the same weights. ValueError: a readout that
    the model or the task cannot have.
    """
    if config.model == "spiking-cnn":
        return _low_bit(config, spiking_cnn(config, task, units))
    if config.readout != "last" and (task.per_step or config.model not in HYBRID_LMUS):
        raise ValueError(
            f"`readout` must be 'last' for {config.model} on {config.task}: a readout of several "
            f"steps is for {', '.join(HYBRID_LMUS)} on a task with one label a sequence; received: "
            f"{config.readout!r}"
        )
    inputs = keras.Input((task.timesteps, task.features), name="sequence")
    x = inputs
    if config.input_resolution is not None and config.is_hybrid:
        quantizer = dict(resolution=config.input_resolution, seed=config.seed * 1000 + 7)
        x = hybrid_lmu.SigmaDelta(name="input_counts", **quantizer)(x)
    hidden = _core(config, task, units)(x)
    name = config.model.replace("-", "_")
    return _low_bit(config, keras.Model(inputs, _readout(config, task, hidden), name=name))


def spiking_cnn(config: RunConfig, task: TaskData, channels: int) -> keras.Model:
    """Images a step -> two convolutions with LIF neurons -> logits, their mean over all steps.

    [T, H, W, C] -> Conv 5x5/2 (channels) -> LIF -> Conv 3x3 (2 channels) -> AveragePooling 2x2 ->
    LIF -> Dense. Pooling comes before the neurons, so that all weights but the first see spikes;
    the first see counts of events. No biases: every weight is in a kernel.
    """
    layers = keras.layers
    options = dict(use_bias=False, data_format="channels_last")

    def kernel(offset):
        return keras.initializers.HeNormal(seed=config.seed * 1000 + offset)

    def neurons(name):
        return hybrid_lmu.neurons.LIF(tau=config.tau, decay_input=False, name=name)

    inputs = keras.Input(task.sample_shape, name="frames")
    conv1 = layers.Conv2D(channels, 5, 2, kernel_initializer=kernel(3), **options)
    x = hybrid_lmu.EachStep(conv1, name="conv1")(inputs)
    x = neurons("lif1")(x)
    conv2 = layers.Conv2D(2 * channels, 3, kernel_initializer=kernel(4), **options)
    x = hybrid_lmu.EachStep(conv2, name="conv2")(x)
    pool = layers.AveragePooling2D(2, data_format="channels_last")
    x = hybrid_lmu.EachStep(pool, name="pool")(x)
    x = neurons("lif2")(x)
    x = layers.Reshape((task.timesteps, -1), name="flat")(x)
    if config.dropout:
        # The same neurons at all steps.
        x = layers.Dropout(config.dropout, (None, 1, None), seed=config.seed * 1000 + 1)(x)
    x = layers.Dense(
        task.outputs, use_bias=False, kernel_initializer=_glorot(config, 2), dtype="float32",
        name="readout",
    )(x)  # fmt: skip
    logits = layers.GlobalAveragePooling1D(name="mean", dtype="float32")(x)
    return keras.Model(inputs, logits, name="spiking_cnn")


def _low_bit(config, model):
    """The model with kernels of the configured levels, its initial weights the latent ones."""
    if config.weights == "full":
        return model
    exempt = dict(
        exempt_first=config.exempt in ("first", "both"),
        exempt_last=config.exempt in ("last", "both"),
    )
    rule = weight_rule(config)
    return hybrid_lmu.weights.quantize_weights(model, rule, rule, **exempt)


def weight_rule(config: RunConfig):
    """The rule of the kernels."""
    others = {
        "scaled": hybrid_lmu.weights.ScaledBinary,
        "sign": lambda: hybrid_lmu.weights.StraightThroughSign(clip=1.0),
        # The divergence is a sum over all weights, beside the mean loss of a batch.
        "bernoulli": lambda: hybrid_lmu.weights.Bernoulli(rho=1e-6, seed=config.seed * 1000 + 8),
    }
    if config.weight_rule in others:
        return others[config.weight_rule]()
    levels = WEIGHTS[config.weights]
    return hybrid_lmu.weights.SumOfSigmoids(
        levels,
        temperature=config.start_temperature / level_step(config),
        power_of_two=config.power_of_two,
        gradient=None if config.weight_gradient == "auto" else config.weight_gradient,
    )


def level_step(config: RunConfig) -> int:
    """The distance between neighbouring levels of the kernels."""
    levels = WEIGHTS[config.weights]
    return levels[1] - levels[0]


def _readout(config, task, hidden):
    """Logits from the output of the core: of one step, or [batch, steps, units]."""
    if config.readout == "mean":
        # The mean of counts meets each weight once.
        hidden = keras.layers.GlobalAveragePooling1D(name="mean_count")(hidden)
    if config.dropout:
        noise = None if config.readout != "leaky" else (None, 1, None)
        drop = keras.layers.Dropout(config.dropout, noise_shape=noise, seed=config.seed * 1000 + 1)
        hidden = drop(hidden)
    logits = keras.layers.Dense(
        task.outputs, dtype="float32", kernel_initializer=_glorot(config, 2), name="readout"
    )(hidden)
    if config.readout == "leaky":
        average = hybrid_lmu.LeakyAverage(config.readout_steps / 4, dtype="float32", name="average")
        logits = average(logits)
    return logits


def solve_units(config: RunConfig, task: TaskData) -> int:
    """Units that bring the model nearest to `config.parameters` trainable parameters.

    The count of every model here is a polynomial of degree 2 in its units, so counts at 2, 3
    and 4 units give it exactly (`ScaledBinary` takes no kernel of one unit). Raises ValueError
    if even one unit has more than 1.5 times as many parameters as asked for.
    """
    sizes = np.arange(2, 5)
    counts = [count_parameters(build_model(config, task, int(size))) for size in sizes]
    polynomial = np.polynomial.Polynomial.fit(sizes, counts, 2)
    smallest = round(polynomial(1))
    if smallest > 1.5 * config.parameters:
        raise ValueError(
            f"`parameters` must be at least {smallest} for {config.model} on {config.task} "
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
                quantizer=_quantizer(config, "hidden", _by_neuron(config, units)),
                name="hybrid_cell",
            ),
            **options,
        )
    options.update(
        memory_d=config.memory_d,
        order=config.order,
        theta=config.theta,
        hidden_cell=_hidden_cell(config, units),
        input_to_hidden=config.input_to_hidden,
        kernel_initializer=_encoder(config, task),
    )
    if config.model == "lmu" and uses_keras_lmu(config):
        import keras_lmu

        return keras_lmu.LMU(**options)
    if config.model == "lmu":
        return hybrid_lmu.HybridLMU(seed=config.seed, **options)
    return hybrid_lmu.HybridLMU(
        memory_quantizer=_memory_quantizer(config, task),
        hidden_quantizer=_quantizer(
            config, "hidden", _by_neuron(config, units), config.hidden_limit
        ),
        memory_feedback=config.memory_feedback,
        memory_dropout=config.memory_dropout,
        simulation=config.simulated_steps or "auto",
        return_last=config.readout_steps if config.readout != "last" else None,
        seed=config.seed * 1000 + 5,
        **options,
    )


def deviations(config: RunConfig, x: np.ndarray) -> np.ndarray:
    """Standard deviation of each neuron of the memory over samples and steps, [memory_d * order].

    Of the memory of the inputs themselves, so for a kernel of one: `memory_d` = features of x.
    """
    memory = hybrid_lmu.LegendreMemory(
        config.order, config.theta, config.memory_d, return_sequences=True
    )
    parts = [
        keras.ops.convert_to_numpy(memory(x[start : start + 50])) for start in range(0, len(x), 50)
    ]
    return np.sqrt(np.mean([np.square(part).mean((0, 1)) for part in parts], axis=0))


def _memory_quantizer(config, task):
    if config.memory_unit != "activity" and not task.features == config.memory_d == 1:
        raise ValueError(
            f"`memory_unit` {config.memory_unit!r} is for a task of one feature in one memory; "
            f"received: {task.features} features of task {task.name!r}, memory_d={config.memory_d}"
        )
    resolution, limit = _by_neuron(config, config.memory_d * config.order), config.memory_limit
    if config.memory_unit == "deviation":
        unit = deviations(config, task.train.x[: config.budget_samples])
        resolution, limit = resolution / unit, None if limit is None else limit * unit
    gain = None
    if config.memory_unit == "normalized":
        gain = 1.0 / deviations(config, task.train.x[: config.budget_samples])
    return _quantizer(config, "memory", resolution, limit, gain)


def _by_neuron(config, size):
    """The resolution that training starts at; for each neuron, if budgets make them differ."""
    every = np.full(size, config.start_resolution)
    return every if config.memory_bits is not None else config.start_resolution


def _quantizer(config, name, resolution, limit=None, gain=None):
    common = dict(
        resolution=resolution,
        learn_resolution=config.bit_budget is not None,
        limit=limit,
        gain=gain,
        dtype="float32",
        name=f"{name}_quantizer",
    )
    seed = config.seed * 1000 + {"memory": 5, "hidden": 6}[name]
    if config.rounding == "memoryless":
        return hybrid_lmu.RoundingQuantizer(**common)
    if config.rounding == "stochastic":
        return hybrid_lmu.StochasticQuantizer(seed=seed, **common)
    return hybrid_lmu.SigmaDeltaQuantizer(initial_error=config.initial_error, seed=seed, **common)


def _hidden_cell(config, units):
    if config.hidden == "dense":
        return keras.layers.Dense(units, activation="relu", kernel_initializer=_glorot(config, 3))
    options = dict(seed=config.seed, **_rnn_kernels(config))
    if config.hidden == "gru":
        return keras.layers.GRUCell(units, **options)
    activation = {"rnn": "tanh", "relu-rnn": "relu"}[config.hidden]
    return keras.layers.SimpleRNNCell(units, activation, **options)


def _encoder(config, task):
    # One pixel into one memory: a gain of one, so that the memory holds the signal itself.
    # Counts enter as they are. A learned gain would change the deviation, to 1.9 times and more.
    fixed = config.memory_unit != "activity"
    if config.is_hybrid and (config.input_resolution is not None or fixed):
        return None
    same = task.features == config.memory_d == 1
    return keras.initializers.Ones() if same else _glorot(config, 6)


def _rnn_kernels(config):
    return dict(
        kernel_initializer=_glorot(config, 3),
        recurrent_initializer=keras.initializers.Orthogonal(seed=config.seed * 1000 + 4),
    )


def _glorot(config, offset):
    return keras.initializers.GlorotUniform(seed=config.seed * 1000 + offset)
