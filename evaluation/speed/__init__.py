"""Timings of layers, streams and trainings beside keras-lmu and Keras."""
