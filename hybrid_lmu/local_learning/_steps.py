"""A pass of spiking layers over a batch of sequences, with or without learning: pure functions.

One step of a layer, with P, Q the traces of its inputs s_in and R what is left of its own spikes::

    P <- alpha P + Q;    Q <- beta Q + s_in
    u = c (W P + b) - R;    s = [u >= 0];    R <- gamma R + s
    r = B s / sqrt(N);    loss = L(r, y)

W and b are the weights, ``c = 1 / sqrt(fan_in)``, B is a fixed random matrix of +1 and -1, and N is
the number of spikes read. P, Q, R, u and s are those of `hybrid_lmu.neurons.SRMCell`. Nothing is
propagated back through layers or steps. The gradient of a layer's own loss has three factors: the
error of the readout, the surrogate derivative at the potential, and the trace of the input::

    dL/dW = c (dL/dr B / sqrt(N) * ds/du) outer P

The weights are updated at each step.

Source: Jang, Skatchkovsky & Simeone (2020), arXiv:2012.08300, and the authors' code; the local
losses are those of Kaiser, Mostafa & Neftci (2020), "Synaptic Plasticity Dynamics for Deep
Continuous Local Learning (DECOLLE)", arXiv:1811.10766.
"""

import dataclasses
import math
from typing import Any

import keras
from keras import ops

from hybrid_lmu.local_learning._connections import Connection
from hybrid_lmu.neurons import SRMCell


@dataclasses.dataclass(frozen=True)
class LocalLayer:
    """One layer of a local network: everything but its weights and its states.

    Attributes:
        connection: a `DenseConnection` or `Conv2DConnection`.
        inputs: shape of the inputs, without the batch.
        readout: B transposed, [N, outputs].
        neuron: an `SRMCell`. Its filter runs on the inputs, before the weights; so the states P
            and Q have the shape of the inputs, and R that of the neurons.
    """

    connection: Connection
    inputs: tuple[int, ...]
    readout: Any
    neuron: SRMCell

    @property
    def scale(self):
        """``c = 1 / sqrt(fan_in)``."""
        return 1.0 / math.sqrt(self.connection.fan_in(self.inputs))

    def initial_state(self, batch_size):
        """Return (P, Q, R), zeros."""
        inputs = ops.zeros((batch_size, *self.inputs))
        return inputs, inputs, ops.zeros((batch_size, *self.connection.neurons(self.inputs)))

    def advance(self, weights, state, inputs):
        """Run one step.

        Returns:
            ``(spikes, potential, state)``. The spikes are pooled, the potential is not.
        """
        neuron, (p, q, r) = self.neuron, state
        p, q = neuron.filter.step(inputs, p, q)
        potential = neuron.charge(self.scale * self.connection.current(weights, p), r)
        r = neuron.after(potential, neuron.fires(potential), r)
        return neuron.fires(self.connection.pooled(potential)), potential, (p, q, r)

    def read(self, spikes):
        """Return ``r``, [batch, outputs]."""
        flat = ops.reshape(spikes, (-1, self.readout.shape[0]))
        return ops.matmul(flat, self.readout) / math.sqrt(self.readout.shape[0])

    def gradients(self, state, potential, by_read):
        """Return the gradients to the weights, of a loss whose gradient to ``r`` is `by_read`.

        `state` and `potential` are those after the step.
        """
        pooled = self.connection.pooled(potential)
        by_spikes = ops.matmul(by_read, ops.transpose(self.readout))
        by_spikes = ops.reshape(by_spikes, (-1, *pooled.shape[1:]))
        slope = self.neuron.surrogate.derivative(self.neuron.excess(pooled))
        slope = slope / math.sqrt(self.readout.shape[0])
        by_potential = self.connection.unpooled(potential, by_spikes * slope)
        return self.connection.gradients(state[0], self.scale * by_potential)


def learn(layers, rule, loss, latents, seed, x, target, sample_weight, learning_rate, burn_in):
    """Learn from one batch: the weights change at each step after the first `burn_in` ones.

    A rule that draws its weights draws them once for the burn-in, and then at every step.

    Args:
        layers: list of `LocalLayer`.
        rule: a `LearningRule`.
        loss: a `StepLoss`; the loss of a step is the sum over the layers.
        latents: for each layer the list of latent values of its weights.
        seed: ``(generator, state)``: a `keras.random.SeedGenerator` and the state to draw from.
        x: [time, batch, features...].
        target: [batch, outputs], the same at all steps.
        sample_weight: [batch], or a number.
        learning_rate: of one step's update.
        burn_in: number of steps that only advance the states; < time.

    Returns:
        ``(latents, state of the seed, loss, prediction)``: the loss [] is the mean over samples
        and steps, the prediction [batch, outputs] the mean over steps of the last layer's.
    """
    generator, seed = seed
    batch = ops.shape(x)[1]
    share = sample_weight / ops.cast(batch, "float32")
    noise, seed = _draw(rule, latents, generator, seed)
    states = _burned_in(layers, _map(rule.training_weight, latents, noise), x, burn_in)

    def step(t, values):
        latents, states, seed, total, prediction = values
        noise, seed = _draw(rule, latents, generator, seed)
        weights = _map(rule.training_weight, latents, noise)
        spikes, new_states, new_latents = x[t], [], []
        for i, layer in enumerate(layers):
            spikes, potential, state = layer.advance(weights[i], states[i], spikes)
            read = layer.read(spikes)
            total = total + ops.sum(share * loss.value(read, target))
            by_read = ops.expand_dims(share, -1) * loss.gradient(read, target)
            gradients = layer.gradients(state, potential, by_read)
            new_states.append(state)
            new_latents.append(
                [
                    rule.updated(*of_weight, learning_rate)
                    for of_weight in zip(latents[i], gradients, noise[i], strict=True)
                ]
            )
        return new_latents, new_states, seed, total, prediction + loss.prediction(read)

    outputs = layers[-1].readout.shape[1]
    start = (latents, states, seed, ops.zeros(()), ops.zeros((batch, outputs)))
    latents, _, seed, total, prediction = ops.fori_loop(burn_in, ops.shape(x)[0], step, start)
    steps = ops.cast(ops.shape(x)[0] - burn_in, "float32")
    return latents, seed, total / steps, prediction / steps


def run(layers, loss, weights, x, burn_in, target=None):
    """Run a batch with fixed weights.

    Args:
        layers: list of `LocalLayer`.
        loss: a `StepLoss`.
        weights: for each layer the list of its weights.
        x: [time, batch, features...].
        burn_in: number of steps that only advance the states; < time.
        target: [batch, outputs], the same at all steps; or None.

    Returns:
        ``(loss, prediction)``, [batch] and [batch, outputs], each the mean over the steps after
        `burn_in`; the loss is 0 without a target.
    """
    batch, outputs = ops.shape(x)[1], layers[-1].readout.shape[1]

    def step(t, values):
        states, total, prediction = values
        spikes, new_states = x[t], []
        for layer, layer_weights, state in zip(layers, weights, states, strict=True):
            spikes, _, state = layer.advance(layer_weights, state, spikes)
            new_states.append(state)
            if target is not None:
                total = total + loss.value(layer.read(spikes), target)
        return new_states, total, prediction + loss.prediction(layers[-1].read(spikes))

    states = _burned_in(layers, weights, x, burn_in)
    start = (states, ops.zeros((batch,)), ops.zeros((batch, outputs)))
    _, total, prediction = ops.fori_loop(burn_in, ops.shape(x)[0], step, start)
    steps = ops.cast(ops.shape(x)[0] - burn_in, "float32")
    return total / steps, prediction / steps


def drawn_weights(rule, latents, seed, share):
    """Return the weights after training, [layer][weight]: draws if `share` is 1, modes if 0."""
    noise, _ = _draw(rule, latents, *seed)
    if not rule.stochastic:
        return _map(rule.weight, latents, noise)
    return _map(lambda latent, delta: rule.weight(latent, share * delta), latents, noise)


def _burned_in(layers, weights, x, burn_in):
    def step(t, states):
        spikes, new_states = x[t], []
        for layer, layer_weights, state in zip(layers, weights, states, strict=True):
            spikes, _, state = layer.advance(layer_weights, state, spikes)
            new_states.append(state)
        return new_states

    states = [layer.initial_state(ops.shape(x)[1]) for layer in layers]
    return ops.fori_loop(0, burn_in, step, states) if burn_in else states


def _draw(rule, latents, generator, seed):
    """Return noise for all latent values, and the next state of the seed.

    The state of `generator` itself does not change.
    """
    mapping = [(generator.state, seed)]
    with keras.StatelessScope(state_mapping=mapping, initialize_variables=False) as scope:
        noise = [[rule.noise(latent.shape, generator) for latent in layer] for layer in latents]
    return noise, scope.get_current_value(generator.state)


def _map(function, latents, noise):
    return [
        [function(*pair) for pair in zip(*layer, strict=True)]
        for layer in zip(latents, noise, strict=True)
    ]
