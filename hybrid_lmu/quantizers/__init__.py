"""Quantizers: activities as integer counts, and the layer that applies one."""
