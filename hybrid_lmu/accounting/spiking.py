"""Spiking neurons (`hybrid_lmu.neurons`): their spikes are an integer code of resolution 1.

So the products behind them are additions, at most one a spike. The decays and kernels inside a
neuron multiply its own state by a constant and meet no weights; like all work on the state of a
neuron they are in no product, and their states are in the footprint. The traces of a
`SynapticTrace` are real numbers: weights behind it are multiplied by them.
"""

import math

from keras import ops

from hybrid_lmu.accounting.layers import register_layer
from hybrid_lmu.accounting.signals import Meeting, Signal
from hybrid_lmu.accounting.watch import WATCHERS
from hybrid_lmu.cells.contract import as_list

_RESOLUTION = 1.0


@register_layer("hybrid_lmu", "IF")
@register_layer("hybrid_lmu", "LIF")
@register_layer("hybrid_lmu", "SRM")
@register_layer("hybrid_lmu", "Refractory")
def _spiking(layer, tape, call):
    spikes = _all_spikes(layer, call)
    tape.sequence(spikes, call.mask)
    tape.state(len(layer.state_names) * math.prod(spikes.shape[2:]))
    tape.add([(Meeting("activity", "", _RESOLUTION), spikes)], call.mask)
    return ops.convert_to_tensor(_RESOLUTION)


def _all_spikes(layer, call):
    """The spikes of all steps, of one more run if the layer has put out the last ones alone."""
    if layer.return_sequences:
        return call.output[0] if layer.return_state else call.output
    x = call.x.tensor
    states = call.kwargs.get("initial_state")
    if states is None:
        states = call.states
    if states is None:
        shape = ops.shape(x)
        states = layer.initial_states((shape[0], *shape[2:]))
    return layer.cell.sequence(x, as_list(states), mask=call.mask)[0]


@register_layer("hybrid_lmu", "SynapticTrace")
def _synaptic_trace(layer, tape, call):
    output = call.output[0] if layer.return_state else call.output
    tape.sequence(output, call.mask)
    tape.state(2 * math.prod(output.shape[2:]))
    tape.add([(Meeting("output", "output"), output)], call.mask)


def _watch_spiking(cell, x, states):
    output, states = cell(x.tensor, states)
    meeting = Meeting("activity", "output", _RESOLUTION)
    return Signal(output, _RESOLUTION), list(states), [(meeting, output)]


for _name in ("IFCell", "LIFCell", "SRMCell", "RefractoryCell"):
    WATCHERS["hybrid_lmu", _name] = _watch_spiking
