"""Train one model until its validation accuracy reaches targets; what it took, and its test.

Wall time of a model runs from before it is built to the end of the validation that is looked at:
building, compiling and all validations are in it, loading the data and all tests are not.
"""

import sys
import time

import keras
import numpy as np

from hybrid_lmu import full_simulation
from training.data import EpochBatches
from training.fit import fit
from training.models import count_parameters, solve_units
from training.runner import (
    at_resolutions,
    compiled_model,
    implementation,
    start_afresh,
)
from training.schedule import annealing, final_resolutions, mean_resolutions
from training.scores import evaluate


class TargetWatch(keras.callbacks.Callback):
    """Validates after each epoch at the final resolutions; stops training when it is time to.

    The annealed resolutions are put back after each validation. `curve` gets {"epoch",
    "seconds", "accuracy"} an epoch, epoch counted from 1, accuracy as a share; `stopped` says why
    training ended.

    Args:
        task: `TaskData`; only its validation split is used.
        config: `RunConfig`.
        targets: validation accuracies in percent; at the highest one training stops.
        cap: seconds after which no further epoch begins.
        start: the clock's time at which the model's wall time began.
        all_epochs: go on after the highest target, to the last epoch or the cap.
        stream: where lines of progress go. Default: standard output.
    """

    def __init__(
        self, task, config, targets, cap, start, all_epochs=False, clock=time.monotonic, stream=None
    ):
        super().__init__()
        self.task, self.config, self.targets, self.cap = task, config, targets, cap
        self.start, self.all_epochs, self.clock = start, all_epochs, clock
        self.stream = stream or sys.stdout
        self.live = self.stream.isatty()
        self.curve, self.stopped = [], "last epoch"
        self._epoch, self._drawn = 0, 0.0

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch + 1

    def on_train_batch_end(self, batch, logs=None):
        if not self.live:
            return
        now = self.clock()
        if now - self._drawn > 0.2:
            self._drawn = now
            self._print(f"{now - self.start:6.1f} s  batch {batch + 1}", end="")

    def on_epoch_end(self, epoch, logs=None):
        annealed = mean_resolutions(self.model)
        final = final_resolutions(self.config, self.model)

        def validate():
            return evaluate(self.model, self.task.validation, "classes", self.config.batch_size)

        accuracy = at_resolutions(self.model, validate, final)["accuracy"]
        seconds = self.clock() - self.start
        self.curve.append({"epoch": epoch + 1, "seconds": seconds, "accuracy": accuracy})
        levels = "/".join(f"{v:.3g}" for v in annealed)
        self._print(
            f"{seconds:6.1f} s  validation {100 * accuracy:5.2f} %"
            + (f"  trained at resolution {levels}" if levels else "")
        )
        if not np.isfinite((logs or {}).get("loss", 0.0)):
            self._stop("diverged")
        elif seconds >= self.cap:
            self._stop("cap")
        elif not self.all_epochs and first_reached(self.curve, max(self.targets)) is not None:
            self._stop("target")

    def _stop(self, why):
        self.stopped, self.model.stop_training = why, True

    def _print(self, text, end="\n"):
        line = f"{self.config.model:<12} {self._epoch:>3}/{self.config.epochs}  {text}"
        # \r: back to the line's start; \x1b[K: clear what a longer line left behind.
        print(f"\r{line}\x1b[K" if self.live else line, end=end, file=self.stream, flush=True)


def first_reached(curve, target):
    """Seconds of the first epoch with at least `target` percent; None if there is none."""
    # In percent on both sides, rounded: 0.98 * 100 must reach 98.
    at = [point["seconds"] for point in curve if round(100 * point["accuracy"], 9) >= target]
    return at[0] if at else None


def train_and_test(
    config, task, targets, cap, all_epochs=False, clock=time.monotonic, stream=None
) -> dict:
    """The record of one model: JSON content. See `TargetWatch` for the arguments.

    Tested is the network as training left it, at its final resolutions: once as its layer chooses
    to compute, and a hybrid LMU once more with every step simulated.
    """
    start = clock()
    try:
        start_afresh(config)
        units = config.units or solve_units(config, task)
        start_afresh(config)
        batches = EpochBatches(task.train, config.batch_size, config.seed)
        model = compiled_model(config, task, units, config.epochs * len(batches))
        watch = TargetWatch(task, config, targets, cap, start, all_epochs, clock, stream)
        callbacks = [*annealing(config, len(batches), task.train.x), watch]
        fit(model, batches, epochs=config.epochs, callbacks=callbacks)
        tests = at_resolutions(
            model, lambda: _test(model, config, task, clock), final_resolutions(config, model)
        )
    finally:
        keras.config.set_dtype_policy("float32")
    return {
        "model": config.model,
        "implementation": implementation(config),
        "units": units,
        "parameters": count_parameters(model),
        "config": config.to_dict(),
        "final_resolutions": final_resolutions(config, model),
        "curve": watch.curve,
        "stopped": watch.stopped,
        "trained_seconds": watch.curve[-1]["seconds"],
        "epoch_seconds": epoch_seconds(watch.curve),
        "reached": {f"{target:g}": first_reached(watch.curve, target) for target in targets},
        "validation": watch.curve[-1]["accuracy"],
        "best_validation": max(point["accuracy"] for point in watch.curve),
        **tests,
    }


def epoch_seconds(curve):
    """Median seconds an epoch with its validation; without the first, which also compiles."""
    seconds = [0.0, *(point["seconds"] for point in curve)]
    return float(np.median(np.diff(seconds)[1:] if len(curve) > 1 else np.diff(seconds)))


def _test(model, config, task, clock):
    def timed(model):
        start = clock()
        score = evaluate(model, task.test, "classes", config.batch_size)
        return {**score, "seconds": clock() - start}

    chosen = timed(model)
    every = full_simulation(model, every_layer=False)
    if not config.is_hybrid or every is model:
        return {"test": chosen, "test_full_simulation": None, "difference_points": None}
    full = timed(every)
    return {
        "test": chosen,
        "test_full_simulation": full,
        "difference_points": 100 * (full["accuracy"] - chosen["accuracy"]),
    }
