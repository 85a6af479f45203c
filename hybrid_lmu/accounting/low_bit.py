"""What low-bit weights change in the report: their codes are what counts, and they cost additions.

A product of an integer count and a code of few bits needs no multiplier: the count is added, or
shifted and added, once for each nonzero digit of the code (in the digits -1, 0, +1: one for binary
and ternary codes, two for 3 = 4 - 1, and so on).
"""

from dataclasses import replace

from keras import ops

from hybrid_lmu.accounting.digits import signed_digits
from hybrid_lmu.accounting.layers import CHECKED, find_rule, register_layer


@register_layer("hybrid_lmu", "QuantizedWeights")
def _quantized_weights(layer, tape, call):
    rule = find_rule(layer.layer)
    if rule is None:
        return None
    start = len(tape.items)
    tape.digits = {id(v): _digits(rule, v) for v, rule in layer.quantized()}
    with layer.hard_scope():
        resolution = rule(layer.layer, tape, call)
    tape.digits = {}
    rules = {id(variable): (variable, rule) for variable, rule in layer.quantized()}
    tape.items[start:] = [_with_codes(item, rules) for item in tape.items[start:]]
    return resolution


CHECKED[_quantized_weights] = lambda layer: [layer.layer]


def _digits(rule, variable):
    """Nonzero signed digits of each code, as a tensor of the kernel's shape."""
    code = rule.code(ops.cast(ops.convert_to_tensor(variable), "float32"))
    each = zip(rule.levels, signed_digits(rule.levels).tolist(), strict=True)
    return sum(digits * ops.cast(code == float(level), "float32") for level, digits in each)


def _with_codes(item, rules):
    """The item with the integer codes in place of the latent kernel."""
    if id(item.meeting.weight) not in rules:
        return item
    variable, rule = rules[id(item.meeting.weight)]
    meeting = replace(
        item.meeting, weight=lambda: rule.packed(variable).codes, weight_bits=rule.bits
    )
    return replace(item, meeting=meeting)
