"""From a trained ReLU network to a network of integrate-and-fire neurons."""

from __future__ import annotations

import keras

from hybrid_lmu._internal.checks import check_choice, check_positive_integer
from hybrid_lmu._internal.traversal import all_layers
from hybrid_lmu.conversion._activations import ActivationRecord, record_activations
from hybrid_lmu.conversion._graph import as_functional, layers_of, rebuild
from hybrid_lmu.conversion._spiking_builder import SpikingBuilder
from hybrid_lmu.conversion._spiking_layers import check_known

ENCODINGS = ("analog", "poisson", None)
PROPAGATIONS = ("one-step", "synchronous")


def to_spiking(
    model: keras.Model,
    x,
    timesteps: int | None = 100,
    *,
    percentile: float = 99.9,
    encoding: str | None = "analog",
    initial_potential: str = "zeros",
    propagation: str = "one-step",
    stateful: bool = False,
    batch_size: int = 32,
    seed: int | None = None,
) -> keras.Model:
    """Convert a trained ReLU network into a spiking network of `hybrid_lmu.neurons.IF` neurons.

    Each ReLU becomes neurons that integrate the input z and fire at a threshold lam::

        u_t = v_{t-1} + z_t;    s_t = [u_t >= lam];    v_t = u_t - lam s_t

    The rate ``lam * (s_1 + ... + s_T) / T`` approaches ``relu(z)`` within ``lam / T`` for a
    constant ``z <= lam``. lam is a percentile of what the ReLU puts out on the data `x`, zeros
    included. The weights keep their values and the thresholds take all scales: spikes are 0 or 1,
    and the threshold of layer l is ``lam_l / lam_{l-1}``. A kernel of few bits (`QuantizedWeights`)
    becomes its integer codes, with a threshold of ``lam_l / (scale * lam_{l-1})``.

    A leaky ReLU of slope a is the difference of two neurons, of z and of -z, with thresholds lam
    and lam / a: their spikes are 1 and -1.

    Other layers: BatchNormalization is folded into the weights before it. A separable convolution
    becomes its two convolutions. Dropout is left out.
    Flatten, padding and average pooling run at each step. Max pooling works on sums
    (`MaxPoolSums`). Add and Concatenate bring their inputs to one scale. A softmax or sigmoid at
    the end is left out. `spiking_layer` is the list of classes, to which you can add your own. All
    steps of a layer are computed at once. Layers before the first neurons run once for all steps.

    Args:
        model: Sequential or functional, built. It may have models inside it, whose layers become
            layers of the new model, and several inputs and outputs.
        x: data for the percentiles, as for `hybrid_lmu.activity_report`; or an `ActivationRecord`
            of the model, to try several percentiles with one pass over the data.
        timesteps: number of steps T, >= 1. Default 100. None: any number; with ``encoding=None``
            only.
        percentile: in (0, 100]; 100 is the largest activity. Default 99.9.
        encoding: ``"analog"`` (default): the input is a constant current. ``"poisson"``: the input
            is random spikes (`PoissonEncoder`). ``None``: the input has a time axis,
            [batch, time, ...].
        initial_potential: ``"zeros"`` (default), as in the paper, or ``"half"`` of the threshold.
            With ``"half"`` a rate is rounded to the nearest number of spikes instead of down, so
            that fewer steps suffice.
        propagation: ``"one-step"`` (default): a spike passes all layers within its step.
            ``"synchronous"``: neurons, poolings and the readout see the step before.
        stateful: keep potentials and sums from call to call, so that each call runs T more steps.
            The input of the model then needs a fixed batch size. `reset_states` starts anew.
            Default False.
        batch_size: number of samples in a batch of `x`, if `x` is arrays. Default 32.
        seed: seed of the Poisson input.

    Returns:
        a functional model, not compiled. Its inputs are those of `model`. Its output,
        [batch, T, outputs], holds the sums ``z_1 + ... + z_t`` of the readout's input at each step
        t. The sums divided by t approach the output of `model` before a softmax or sigmoid. If
        `model` has several outputs, so has the new model, in the same structure.

    Raises:
        ValueError: if the model is of another kind or has a layer of an unknown class; if a
            threshold is 0 because the percentile of a layer is 0; for arguments out of range.

    Example:

    >>> model = keras.Sequential([
    ...     keras.Input((4,)), keras.layers.Dense(8, "relu"), keras.layers.Dense(3, "softmax")
    ... ])
    >>> images = np.random.default_rng(0).uniform(size=(50, 4)).astype("float32")
    >>> spiking = to_spiking(model, images, timesteps=20)
    >>> tuple(spiking(images[:2]).shape)
    (2, 20, 3)

    Source: Lu & Sengupta (2020), arXiv:2002.10064, and the authors' code (percentiles, neurons,
    analog input, sums of the readout). They normalize the weights and keep thresholds of 1, which
    computes the same. Biases, batch normalization, max pooling, Add, Concatenate and leaky ReLUs
    are ours.
    """
    check_choice("encoding", encoding, ENCODINGS)
    check_choice("propagation", propagation, PROPAGATIONS)
    check_choice("initial_potential", initial_potential, ("zeros", "half"))
    if (encoding, timesteps) != (None, None):
        check_positive_integer("timesteps", timesteps)
    model = as_functional(model, nested=True)
    check_known(*layers_of(model))
    if not isinstance(x, ActivationRecord):
        x = record_activations(model, x, batch_size=batch_size)
    build = SpikingBuilder(
        model,
        x,
        timesteps=timesteps,
        percentile=percentile,
        initial_potential=initial_potential,
        propagation=propagation,
        stateful=stateful,
    )
    inputs = []
    for index, source in enumerate(model.inputs):
        shape = source.shape if encoding else (source.shape[0], timesteps, *source.shape[1:])
        inputs.append(keras.Input(batch_shape=shape, dtype=source.dtype, name=source.name))
        build.encoded(inputs[-1], encoding, seed, index)
    inputs = keras.tree.pack_sequence_as(model.input, inputs)
    converted = rebuild(model, build.visit, inputs=inputs)
    sums = [build.readout(output) for output in converted.outputs]
    sums = keras.tree.pack_sequence_as(model.output, sums)
    return keras.Model(inputs, sums, name=f"{model.name}_spiking")


def reset_states(model: keras.Model) -> None:
    """Set all stateful layers of a spiking network back to their initial states."""
    for layer in all_layers(model):
        if hasattr(layer, "reset_state"):
            layer.reset_state()
