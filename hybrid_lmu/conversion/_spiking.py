"""From a trained ReLU network to a network of integrate-and-fire neurons."""

import itertools

import keras
import numpy as np

from hybrid_lmu._internal.checks import check_choice, check_positive_integer
from hybrid_lmu._internal.traversal import all_layers
from hybrid_lmu.conversion._activations import ActivationRecord, record_activations
from hybrid_lmu.conversion._graph import as_functional, copy_layer, describe, rebuild
from hybrid_lmu.conversion._over_time import (
    Accumulate,
    Delay,
    PoissonEncoder,
    RepeatSteps,
    Scale,
)
from hybrid_lmu.conversion._rules import check_known, convert_call
from hybrid_lmu.conversion._signal import Signal, build_linear
from hybrid_lmu.layers._each_step import EachStep
from hybrid_lmu.neurons import IF

ENCODINGS = ("analog", "poisson", None)
PROPAGATIONS = ("one-step", "synchronous")


def to_spiking(
    model,
    x,
    timesteps=100,
    percentile=99.9,
    encoding="analog",
    initial_potential="zeros",
    propagation="one-step",
    stateful=False,
    batch_size=32,
    seed=None,
):
    """Convert a trained ReLU network into a spiking one, of `hybrid_lmu.neurons.IF` neurons.

    Each ReLU becomes neurons that integrate its input z and fire at a threshold lam::

        u_t = v_{t-1} + z_t;    s_t = [u_t >= lam];    v_t = u_t - lam s_t

    so that ``lam * (s_1 + ... + s_T) / T`` approaches ``relu(z)`` within ``lam / T`` for a constant
    ``z <= lam``. lam is a percentile of what the ReLU puts out on the data `x`, zeros included.
    Weights stay as they are, all scales are in the thresholds: spikes are 0 or 1, thresholds
    ``lam_l / lam_{l-1}``, and kernels of few bits (`QuantizedWeights`) become their integer codes,
    with thresholds of ``lam_l / (scale * lam_{l-1})``.

    BatchNormalization is folded into the weights before it, Dropout left out, Flatten, padding
    and average pooling done at each step, max pooling on sums (`MaxPoolSums`), Add and
    Concatenate bring their inputs to one scale. A softmax or sigmoid at the end is left out. All
    steps of a layer are computed at once; what comes before the first neurons, once for all steps.

    Args:
        model: Sequential or functional, built; one input, one output; of the layers that
            `hybrid_lmu.conversion._rules` knows.
        x: data for the percentiles: what `hybrid_lmu.activity_report` takes, or an
            `ActivationRecord` of the model, to try several percentiles.
        timesteps: T, >= 1. Default 100. With ``encoding=None`` also ``None``: any number.
        percentile: in (0, 100]; 100: the largest activity. Default 99.9.
        encoding: ``"analog"`` (default): the input is a constant current; ``"poisson"``: spikes at
            random (`PoissonEncoder`); ``None``: inputs have a time axis, [batch, time, ...].
        initial_potential: ``"zeros"`` (default, as in the paper) or ``"half"`` of the threshold: a
            rate is then rounded to the nearest number of spikes and not down, and fewer steps do.
        propagation: ``"one-step"`` (default): a spike passes all layers within its step;
            ``"synchronous"``: neurons, poolings and the readout see what came a step before.
        stateful: keep potentials and sums from call to call: T more steps each (needs a fixed batch
            size in the model's input). ``reset_state()`` of the layers, or
            `hybrid_lmu.conversion.reset_states(model)`, starts anew.
        batch_size: of arrays, for the percentiles.
        seed: of Poisson input.

    Returns:
        a functional model, not compiled: inputs like those of `model`, output [batch, T, outputs]:
        the sums ``z_1 + ... + z_t`` of the readout's input at each step t. Divided by t they
        approach what `model` puts out, before a softmax or sigmoid at its end.

    Raises:
        ValueError: if the model is of another kind or has a layer without a rule; if a threshold
            is 0 (a layer whose percentile is 0); for arguments out of range.

    Example:

    >>> model = keras.Sequential([
    ...     keras.Input((4,)), keras.layers.Dense(8, "relu"), keras.layers.Dense(3, "softmax")
    ... ])
    >>> images = np.random.default_rng(0).uniform(size=(50, 4)).astype("float32")
    >>> spiking = to_spiking(model, images, timesteps=20)
    >>> tuple(spiking(images[:2]).shape)
    (2, 20, 3)

    Source: Lu & Sengupta (2020), arXiv:2002.10064, and the authors' code (percentiles, neurons,
    analog input, sums of the readout); there normalized weights and thresholds of 1, which is the
    same. Biases, batch normalization, max pooling, Add and Concatenate are ours.
    """
    check_choice("encoding", encoding, ENCODINGS)
    check_choice("propagation", propagation, PROPAGATIONS)
    check_choice("initial_potential", initial_potential, ("zeros", "half"))
    if (encoding, timesteps) != (None, None):
        check_positive_integer("timesteps", timesteps)
    model = as_functional(model)
    check_known(*model.layers)
    for what, tensors in (("input", model.inputs), ("output", model.outputs)):
        if len(tensors) != 1:
            raise ValueError(f"`model` must have one {what}; received {len(tensors)}.")
    if not isinstance(x, ActivationRecord):
        x = record_activations(model, x, batch_size)
    build = Builder(model, x, timesteps, percentile, initial_potential, propagation, stateful)
    (source,) = model.inputs
    shape = source.shape
    if encoding is None:
        shape = (shape[0], timesteps, *shape[1:])
    inputs = keras.Input(batch_shape=shape, dtype=source.dtype, name=source.name)
    signals = {id(inputs): build.encoded(inputs, encoding, seed)}

    def visit(layer, path, *tensors, **kwargs):
        if kwargs.get("training"):
            raise ValueError(
                f"{describe(layer)} is called with training=True; expected a network in inference."
            )
        build.path = path
        given = [id(t) for t in keras.tree.flatten(tensors)]  # and numbers, of an operation
        signal = convert_call(build, layer, [signals[i] for i in given if i in signals])
        signals[id(signal.tensor)] = signal
        return signal.tensor

    converted = rebuild(model, visit, inputs)
    outputs = build.readout(signals[id(converted.outputs[0])])
    return keras.Model(inputs, outputs, name=f"{model.name}_spiking")


class Builder:
    """A spiking network under construction; the rules add to it.

    Attributes:
        path: name of the layer that is being converted, for what takes its place.
        dtype: policy of new layers, that of the first layer of the source.
        stateful: whether its layers carry their states from call to call.
    """

    def __init__(
        self, model, record, timesteps, percentile, initial_potential, propagation, stateful
    ):
        self.record, self.timesteps, self.percentile = record, timesteps, percentile
        self.initial_potential, self.propagation = initial_potential, propagation
        self.stateful, self.path = stateful, None
        self.dtype = next(
            layer.dtype_policy
            for layer in model.layers
            if not isinstance(layer, keras.layers.InputLayer)
        )
        # Names of the source are for what takes the place of its layers.
        self._reserved = {one.name for one in (*model.operations, *model.layers)}
        self._taken = set()

    def encoded(self, inputs, encoding, seed):
        """The signal of the input."""
        if encoding != "poisson":
            return Signal(inputs, timed=encoding is None)
        size = self.record.inputs.largest
        if size == 0:
            raise ValueError("Poisson input needs data that are not all 0; received zeros only.")
        encoder = PoissonEncoder(self.timesteps, size, seed, dtype=self.dtype)
        return Signal(encoder(inputs), size, True)

    def name(self, suffix=""):
        """A name for a new layer, after the one that it takes the place of."""
        return self.unique(f"{self.path.replace('#', '_')}{suffix}")

    def unique(self, wanted):
        """The name, with a number if it is taken, or that of another layer of the source."""
        others = self._taken | self._reserved - {self.path}
        numbered = (f"{wanted}_{number}" for number in itertools.count(2))
        name = next(one for one in itertools.chain([wanted], numbered) if one not in others)
        self._taken.add(name)
        return name

    def options(self, suffix=""):
        """Name and dtype of a new layer."""
        return {"name": self.name(suffix), "dtype": self.dtype}

    def copy(self, layer, **changes):
        """A copy of a layer of the source, to take its place."""
        return copy_layer(layer, name=self.name(), **changes)

    def call(self, layer, *signals):
        """Run a layer on signals, at every step if they are timed; the tensor."""
        tensors = [signal.tensor for signal in signals]
        tensors = tensors[0] if len(tensors) == 1 else tensors
        timed = signals[0].timed and not isinstance(layer, _OF_ANY_RANK)
        if timed:
            layer = EachStep(layer, name=layer.name, dtype=layer.dtype_policy)
        return layer(tensors)

    def linear(self, linear, signal):
        """A layer of weights behind a signal."""
        if not signal.has_one_scale and not linear.takes_scales():
            signal = self.with_one_scale(signal)
        return build_linear(linear, signal, self.name(), self.call)

    def neurons(self, signal, layer):
        """Integrate-and-fire neurons behind a signal."""
        if self.path not in self.record.layers:
            raise ValueError(
                f"`x` must be a record of the activations of this model; received one without "
                f"{self.path!r}, of {list(self.record.layers)}."
            )
        lam = self.record.layers[self.path].percentile(self.percentile)
        if lam == 0:
            raise ValueError(
                f"The threshold of {describe(layer)} would be 0: its activity is 0 up to "
                f"percentile {self.percentile} of the data. Take a higher percentile or other data."
            )
        signal = self.delayed(self.timed(signal))
        threshold = lam / np.asarray(signal.scale, "float64")
        neurons = IF(
            threshold.tolist(),
            self.initial_potential,
            stateful=self.stateful,
            **self.options("_if"),
        )
        return Signal(neurons(signal.tensor), lam, True)

    def timed(self, signal):
        """The signal at every step."""
        if signal.timed:
            return signal
        repeat = RepeatSteps(self.timesteps, **self.options("_steps"))
        return signal.new(repeat(signal.tensor), timed=True)

    def delayed(self, signal):
        """The signal a step later, if layers run one behind the other."""
        if not signal.timed or self.propagation == "one-step":
            return signal
        delay = Delay(stateful=self.stateful, **self.options("_delay"))
        return signal.new(delay(signal.tensor))

    def with_one_scale(self, signal, scale=None):
        """The signal with one scale for all channels, `scale` if it is given."""
        if signal.has_one_scale and scale in (None, signal.scale):
            return signal
        scale = 1.0 if scale is None else scale
        rescale = Scale(np.asarray(signal.scale) / scale, **self.options("_scale"))
        return signal.new(rescale(signal.tensor), scale=scale)

    def equally_timed(self, signals):
        """All signals at every step, if one of them is."""
        if any(signal.timed for signal in signals):
            return [self.timed(signal) for signal in signals]
        return list(signals)

    def alike(self, signals):
        """All signals with the same scale, and at every step if one of them is."""
        scales = [signal.scale for signal in signals if signal.has_one_scale]
        scale = scales[0] if scales else 1.0
        return [self.with_one_scale(s, scale) for s in self.equally_timed(signals)]

    def of_one_rank(self, signals):
        """The signals with axes of one behind batch and time, as many as the largest has more."""
        rank = max(len(signal.tensor.shape) for signal in signals)

        def widened(signal):
            missing = rank - len(signal.tensor.shape)
            if not missing:
                return signal
            shape = (*(1,) * missing, *signal.tensor.shape[1 + signal.timed :])
            axes = keras.layers.Reshape(shape, **self.options("_axes"))
            return signal.new(self.call(axes, signal))

        return [widened(signal) for signal in signals]

    def readout(self, signal):
        """The sums of the outputs, in the units of the source network."""
        signal = self.delayed(self.timed(signal))
        # Of T large outputs, so that half precision would not do.
        name = self.unique("sums")
        sums = Accumulate(stateful=self.stateful, name=name, dtype="float32")(signal.tensor)
        if signal.has_one_scale and signal.scale == 1.0:
            return sums
        return Scale(signal.scale, name=self.unique("logits"), dtype="float32")(sums)


# Layers that act alike on tensors with and without a time axis.
_OF_ANY_RANK = (keras.layers.Dense, keras.layers.Add, keras.layers.Average)


def reset_states(model):
    """Start a stateful spiking network anew: all layers from their initial states."""
    for layer in all_layers(model):
        if hasattr(layer, "reset_state"):
            layer.reset_state()
