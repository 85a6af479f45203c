"""Runs `python -m training` as a user does: in a process of its own."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras

ROOT = Path(__file__).resolve().parents[2]


def command(*arguments):
    backend = keras.backend.backend()
    return [sys.executable, "-m", "training", "--backend", backend, *map(str, arguments)]


def train(*arguments, status=0):
    """Run to the end; returns standard output and standard error together."""
    done = subprocess.run(
        command(*arguments), cwd=ROOT, env=environment(), text=True, timeout=300,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert done.returncode == status, done.stdout
    return done.stdout


def train_and_kill(*arguments, when):
    """Run until `when()` is true, then SIGKILL."""
    process = subprocess.Popen(
        command(*arguments), cwd=ROOT, env=environment(), stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    end = time.monotonic() + 120
    while process.poll() is None and not when() and time.monotonic() < end:
        time.sleep(0.005)
    assert process.poll() is None, "the run ended before it could be killed"
    process.send_signal(signal.SIGKILL)
    process.wait()


def environment():
    return {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}


def read(folder, name):
    return json.loads((Path(folder) / name).read_text())
