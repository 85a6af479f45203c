"""Spiking networks whose layers learn from local losses, with binary or real weights (BiSNN)."""

from hybrid_lmu.local_learning._connections import (
    Connection,
    Conv2DConnection,
    DenseConnection,
)
from hybrid_lmu.local_learning._network import LocalSpikingNetwork
from hybrid_lmu.local_learning._predictors import PREDICTORS, predict_samples
from hybrid_lmu.local_learning._rules import (
    BayesianRule,
    FullPrecisionRule,
    LearningRule,
    StraightThroughRule,
)

__all__ = [
    "BayesianRule",
    "Connection",
    "Conv2DConnection",
    "DenseConnection",
    "FullPrecisionRule",
    "LearningRule",
    "LocalSpikingNetwork",
    "PREDICTORS",
    "StraightThroughRule",
    "predict_samples",
]
