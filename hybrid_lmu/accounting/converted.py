"""Layers of converted networks (`hybrid_lmu.conversion`): what becomes of integer codes in them."""

import math

from keras import ops

from hybrid_lmu.accounting.layers import known, register_layer


@register_layer("hybrid_lmu", "RepeatSteps")
def _repeated(layer, tape, call):
    tape.sequence(call.output, None)
    return call.x.resolution


@register_layer("hybrid_lmu", "PoissonEncoder")
def _random_spikes(layer, tape, call):
    tape.sequence(call.output, None)
    return ops.convert_to_tensor(1.0)


@register_layer("hybrid_lmu", "Delay")
@register_layer("hybrid_lmu", "Accumulate")
@register_layer("hybrid_lmu", "MaxPoolSums")
def _same_code(layer, tape, call):
    # Moved, added and compared: an integer code stays one.
    x = call.x
    tape.sequence(x.tensor, call.mask)
    tape.state(math.prod(x.tensor.shape[2:]))
    scalar = known(x.resolution) and not len(x.resolution.shape)
    return x.resolution if scalar else None
