"""Legendre memory: its matrices, one step of it, and whole sequences."""
