"""Trained networks outside of Keras: as step models and as files for other runtimes."""

from hybrid_lmu.deployment._export import export
from hybrid_lmu.deployment._step_model import initial_states, step_model

__all__ = ["export", "initial_states", "step_model"]
