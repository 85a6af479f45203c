"""What the commands of this package share: notes for the user, arguments, the start of Keras."""

import argparse
import importlib.util
import os
import sys

from training.cli import BACKENDS
from training.errors import TrainingError
from training.startup import describe_engine, prepare_environment


def note(text):
    """Tell the user, apart from the output proper."""
    print(text, file=sys.stderr)


def count(text):
    """An integer >= 1, for argparse."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected an integer >= 1; received: {text}")
    return int(text)


def start_backend(run):
    """Start Keras on KERAS_BACKEND, else on the run's own if it is installed; a line on it."""
    backend = os.environ.get("KERAS_BACKEND") or _recorded_backend(run)
    if backend not in BACKENDS:
        raise TrainingError(
            f"KERAS_BACKEND must be one of {', '.join(BACKENDS)}; received: {backend!r}"
        )
    prepare_environment(backend, devices=1)
    return describe_engine()


def _recorded_backend(run):
    backend = (run.metrics.get("environment") or {}).get("backend")
    return backend if backend in BACKENDS and importlib.util.find_spec(backend) else "tensorflow"
