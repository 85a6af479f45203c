"""Reports and measurements: `python -m evaluation RUN...`, `python -m evaluation.benchmark`.

Used from a checkout, not installed. Imports point one way: evaluation, training, hybrid_lmu.
"""
