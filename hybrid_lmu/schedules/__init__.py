"""Callbacks that change a resolution, or another scalar, during training."""
