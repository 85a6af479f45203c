"""Weights of a few levels: rules that quantize a kernel, and the wrapper that applies them."""

from hybrid_lmu.weights._bernoulli import Bernoulli
from hybrid_lmu.weights._levels import uniform_levels
from hybrid_lmu.weights._models import (
    between_levels,
    packed_weights,
    quantize_weights,
    weight_footprint,
    with_inference,
)
from hybrid_lmu.weights._quantized_weights import QuantizedWeights
from hybrid_lmu.weights._quantizer import PackedWeights, WeightQuantizer
from hybrid_lmu.weights._scaled_binary import ScaledBinary
from hybrid_lmu.weights._straight_through import StraightThroughSign
from hybrid_lmu.weights._sum_of_sigmoids import SumOfSigmoids
from hybrid_lmu.weights._temperature import AnnealTemperature, LinearTemperature

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
