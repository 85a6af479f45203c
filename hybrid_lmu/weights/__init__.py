"""Weights of a few levels: rules that quantize a kernel, and the wrapper that applies them."""

from hybrid_lmu.weights.bernoulli import Bernoulli
from hybrid_lmu.weights.levels import uniform_levels
from hybrid_lmu.weights.models import (
    between_levels,
    packed_weights,
    quantize_weights,
    weight_footprint,
    with_inference,
)
from hybrid_lmu.weights.quantized_weights import QuantizedWeights
from hybrid_lmu.weights.quantizer import PackedWeights, WeightQuantizer
from hybrid_lmu.weights.scaled_binary import ScaledBinary
from hybrid_lmu.weights.straight_through import StraightThroughSign
from hybrid_lmu.weights.sum_of_sigmoids import SumOfSigmoids
from hybrid_lmu.weights.temperature import AnnealTemperature, LinearTemperature

__all__ = [
    "AnnealTemperature",
    "Bernoulli",
    "LinearTemperature",
    "PackedWeights",
    "QuantizedWeights",
    "ScaledBinary",
    "StraightThroughSign",
    "SumOfSigmoids",
    "WeightQuantizer",
    "between_levels",
    "packed_weights",
    "quantize_weights",
    "uniform_levels",
    "weight_footprint",
    "with_inference",
]
