"""One line of progress a run: redrawn in a terminal, about ten plain lines in a log file."""

import sys
import time
from collections.abc import Iterator
from typing import TextIO

import keras
import numpy as np

WIDTH = 24
LOG_LINES = 10
SECONDS_BETWEEN_LINES = 10


class ProgressLine(keras.callbacks.Callback):
    """Shows epoch, bar, loss, validation score, resolutions and time.

    Args:
        label: text in front, such as the model's name.
        epochs: total number of epochs.
        steps: steps an epoch.
        score: history key to show, such as "val_accuracy". Default: none.
        stream: where to write. Default: standard output.
    """

    def __init__(
        self,
        label: str,
        epochs: int,
        steps: int,
        score: str | None = None,
        stream: TextIO | None = None,
    ) -> None:
        super().__init__()
        self.label, self.epochs, self.steps, self.score = label, epochs, steps, score
        self.stream = stream or sys.stdout
        self.live = self.stream.isatty()
        self._text, self._epoch, self._drawn = "", 0, 0.0

    def on_train_begin(self, logs=None):
        self._start = time.monotonic()

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        now = time.monotonic()
        if self.live and now - self._drawn > 0.1:
            self._drawn = now
            self._draw(self._epoch + (batch + 1) / self.steps)

    def on_epoch_end(self, epoch, logs=None):
        self._text = self._describe(logs or {})
        if self.live:
            self._draw(epoch + 1)
        elif (epoch + 1) % max(1, self.epochs // LOG_LINES) == 0 or epoch + 1 == self.epochs:
            print(self._line(epoch + 1), file=self.stream, flush=True)

    def on_train_end(self, logs=None):
        if self.live:
            print(file=self.stream, flush=True)

    def _describe(self, logs):
        parts = [f"loss {logs['loss']:.4f}"] if "loss" in logs else []
        if self.score in logs:
            name = self.score.replace("val_", "val. ")
            parts.append(f"{name} {logs[self.score]:.4f}")
        levels = [f"{v:.3g}" for v in logs.get("resolutions", ())]
        return "  ".join([*parts, f"resolution {'/'.join(levels)}"] if levels else parts)

    def _line(self, done):
        filled = int(WIDTH * done / self.epochs)
        bar = "=" * filled + "." * (WIDTH - filled)
        seconds = time.monotonic() - self._start
        return (
            f"{self.label:<12} {int(done):>3}/{self.epochs} [{bar}] {seconds:4.0f} s  {self._text}"
        )

    def _draw(self, done):
        # \r: back to the line's start; \x1b[K: clear what a longer line left behind.
        print(f"\r{self._line(done)}\x1b[K", end="", file=self.stream, flush=True)


class ScoringLine(keras.callbacks.Callback):
    """Shows what is tested, how much of it is done, and the time: a callback of `predict`.

    In a log file a line comes every 10 seconds, so that a short test has the first line alone.

    Args:
        label: text in front, such as the model's name.
        stream: where to write. Default: standard output.
    """

    def __init__(self, label: str, stream: TextIO | None = None) -> None:
        super().__init__()
        self.label, self.stream = label, stream or sys.stdout
        self.live = self.stream.isatty()
        self._start = self._drawn = time.monotonic()

    def begin(self, what: str, sequences: int, batch_size: int) -> None:
        """Begin to test `sequences` sequences in batches."""
        self._what, self._sequences, self._batch_size = what, sequences, batch_size
        self._draw(0)

    def on_predict_batch_end(self, batch, logs=None):
        self._draw(batch + 1)

    def batches(self, x: np.ndarray) -> Iterator[np.ndarray]:
        """Yield the batches of x, and show how many are done."""
        for batch, start in enumerate(range(0, len(x), self._batch_size)):
            yield x[start : start + self._batch_size]
            self._draw(batch + 1)

    def end(self) -> None:
        """End the line of a terminal."""
        if self.live:
            print(file=self.stream, flush=True)

    def _draw(self, batches):
        now = time.monotonic()
        if now - self._drawn < (0.1 if self.live else SECONDS_BETWEEN_LINES):
            return
        self._drawn = now
        done = min(batches * self._batch_size, self._sequences)
        text = (
            f"{self.label:<12} testing: {self._what}, {done:,} of {self._sequences:,} sequences"
            f"  {now - self._start:4.0f} s"
        )
        ends = {"end": ""} if self.live else {}
        print(f"\r{text}\x1b[K" if self.live else text, **ends, file=self.stream, flush=True)
