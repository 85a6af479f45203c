"""Spiking networks with binary weights whose layers learn from local losses (BiSNN)."""

from hybrid_lmu.local_learning._connections import Conv2DConnection, DenseConnection
from hybrid_lmu.local_learning._network import LocalSpikingNetwork
from hybrid_lmu.local_learning._predictors import predict_samples
from hybrid_lmu.local_learning._rules import BayesianRule, FullPrecisionRule, StraightThroughRule

__all__ = [
    "BayesianRule",
    "Conv2DConnection",
    "DenseConnection",
    "FullPrecisionRule",
    "LocalSpikingNetwork",
    "StraightThroughRule",
    "predict_samples",
]
