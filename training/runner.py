"""Train one model on one task with one seed, judge it, write its run folder."""

from collections.abc import Callable
from typing import TextIO, TypeVar

import keras
import numpy as np
from numpy.typing import ArrayLike

import hybrid_lmu
from hybrid_lmu import full_simulation, weights
from hybrid_lmu.accounting import activity_report
from training._recorder import EpochRecorder, restore
from training.config import RunConfig
from training.data import EpochBatches
from training.distribution import device_scope
from training.environment import describe_environment
from training.fit import fit, make_loss, make_metrics, make_optimizer
from training.models import build_model, count_parameters, solve_units, uses_keras_lmu
from training.progress import ProgressLine, ScoringLine
from training.runfolder import RunFolder
from training.schedule import annealing, first_final_epoch
from training.scores import evaluate
from training.tasks import TaskData

NON_SPIKING_RESOLUTION = 2.0**20
T = TypeVar("T")


def check_run(config: RunConfig, task: TaskData) -> None:
    """Find out cheaply, without writing anything, what would stop `run`.

    ValueError: more samples a batch than training samples, or fewer parameters than one unit has.
    TrainingError: more devices than there are, or than the backend can use.
    """
    EpochBatches(task.train, config.batch_size, config.seed)
    with device_scope(config.devices):
        pass
    start_afresh(config)
    try:
        build_model(config, task, config.units or solve_units(config, task))
    finally:
        keras.config.set_dtype_policy("float32")


def run(
    config: RunConfig,
    task: TaskData,
    folder: RunFolder,
    *,
    stream: TextIO | None = None,
    label: str | None = None,
) -> dict:
    """Train, or go on from the folder's checkpoint, and return the content of metrics.json.

    `folder` is prepared (`RunFolder.prepare`). Training is a pure function of `config` and
    `task`: the weights' seeds, the order of the data and every seed generator are either derived
    from `config.seed` or restored from the checkpoint, so a killed and resumed run ends in the
    same weights as an uninterrupted one, at the cost of at most one epoch.

    Lines of progress go to `stream` (default: standard output) and begin with `label` (default:
    the model's name).
    """
    label = label or config.model
    start_afresh(config)
    try:
        units = config.units or solve_units(config, task)
        if config.model == "lmu" and not uses_keras_lmu(config):
            print(
                "lmu: keras-lmu runs on TensorFlow in float32 only; the same network is built from "
                "a non-spiking hybrid_lmu.HybridLMU instead.",
                file=stream,
            )
        start_afresh(config)  # names and draws as if nothing had been counted
        recorder = _train(config, task, units, folder, stream, label)
        print(f"{label:<12} testing on {len(task.test)} sequences", file=stream, flush=True)
        line = ScoringLine(label, stream)
        metrics = _judge(config, task, units, folder, recorder, line)
        line.end()
        folder.write_json("metrics.json", metrics)
        folder.remove_checkpoints()
        return metrics
    finally:
        keras.config.set_dtype_policy("float32")


def start_afresh(config: RunConfig) -> None:
    """No names, draws or dtype policy of an earlier model: what follows depends on config only."""
    keras.utils.clear_session()  # also takes the dtype policy back, so it comes first
    keras.config.set_dtype_policy(config.precision)
    keras.utils.set_random_seed(config.seed)


def _train(config, task, units, folder, stream, label):
    # Only the training is distributed: the best model is judged on one device.
    batches = EpochBatches(task.train, config.batch_size, config.seed)
    steps = config.epochs * len(batches)
    with device_scope(config.devices):
        model = compiled_model(config, task, units, steps)
        recorder = EpochRecorder(folder, task, config, first_final_epoch(config, len(batches)))
        start = restore(model, recorder, folder)
        fit(
            model,
            batches,
            initial_epoch=start,
            epochs=config.epochs,
            callbacks=[
                *annealing(config, len(batches), task.train.x),
                recorder,
                ProgressLine(label, config.epochs, len(batches), recorder.score_key, stream),
            ],
        )
    return recorder


def compiled_model(config: RunConfig, task: TaskData, units: int, steps: int) -> keras.Model:
    """A new model, ready to be trained for that many steps."""
    model = build_model(config, task, units)
    model.compile(
        optimizer=make_optimizer(config, steps),
        loss=make_loss(task),
        weighted_metrics=make_metrics(task),
        jit_compile={"auto": "auto", "on": True, "off": False}[config.jit],
    )
    return model


def _judge(config, task, units, folder, recorder, line):
    """Scores, bits and operations of best.keras; only this looks at the test split."""
    keras.utils.set_random_seed(config.seed)  # the same draws whether or not it was resumed
    model = folder.read_model("best.keras")

    def score(model, split, what):
        line.begin(what, len(split), config.batch_size)
        return evaluate(model, split, task.kind, config.batch_size, callbacks=[line])

    metrics = {
        "task": config.task,
        "model": config.model,
        "implementation": implementation(config),
        "seed": config.seed,
        "validation": score(model, task.validation, "validation"),
        "best_epoch": recorder.best["epoch"],
        "units": units,
        "parameters": count_parameters(model),
        "non_trainable": count_parameters(model, trainable=False),
    }
    if config.is_hybrid:
        # Records without this entry are from versions that drew new errors in each call.
        drawn = config.initial_error == "uniform_each_call"
        metrics["initial_errors"] = "drawn in each call" if drawn else "fixed"
        metrics["non_spiking_test"] = at_resolutions(
            model, lambda: score(model, task.test, "not spiking"), NON_SPIKING_RESOLUTION
        )
    # The test counts every step, however the model was trained.
    model = full_simulation(model, every_layer=False)
    metrics["test"] = score(model, task.test, "every step")
    counted = task.test.x[: config.report_samples]
    line.begin("counts", len(counted), config.batch_size)
    report = activity_report(model, line.batches(counted), batch_size=config.batch_size)
    if config.weights != "full" and config.weight_rule == "sigmoids":
        metrics["soft_test"] = score(
            weights.with_inference(model, "soft"), task.test, "soft weights"
        )
        metrics["between_levels"] = weights.between_levels(model)
    return {
        **metrics,
        "weights": weights.weight_footprint(model),
        "activity": report.to_dict(),
        "seconds": round(recorder.trained_seconds, 3),
        "config": config.to_dict(),
        "environment": describe_environment(),
    }


def at_resolutions(model: keras.Model, function: Callable[[], T], resolutions: ArrayLike) -> T:
    """Return ``function()``, called while the model has other resolutions.

    `resolutions`: one number for all resolution variables, or one for each, in the model's order.
    """
    variables = list(hybrid_lmu.resolution_variables(model).values())
    before = [np.array(keras.ops.convert_to_numpy(variable)) for variable in variables]
    values = np.broadcast_to(resolutions, len(variables))
    try:
        for variable, value in zip(variables, values, strict=True):
            variable.assign(np.full(variable.shape, value, "float32"))
        return function()
    finally:
        for variable, value in zip(variables, before, strict=True):
            variable.assign(value)


def implementation(config: RunConfig) -> str:
    """The package that the recurrent layer comes from."""
    if config.model in ("lstm", "gru"):
        return "keras"
    return "keras_lmu" if config.model == "lmu" and uses_keras_lmu(config) else "hybrid_lmu"
