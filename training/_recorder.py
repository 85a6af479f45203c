"""After every epoch: validate, keep the best model, write history and checkpoint; and restore.

A checkpoint holds every variable of the model and of the optimizer, also the states of all seed
generators. A .keras file does not keep these states (Keras 3.15 starts the generators again from
their seeds), so a resumed run would draw other dropout masks and initial errors.
"""

import time

import keras
import numpy as np

from training.config import RunConfig
from training.errors import RunFolderError, TrainingError
from training.runfolder import RunFolder
from training.schedule import mean_resolutions
from training.scores import evaluate
from training.tasks import TaskData


class EpochRecorder(keras.callbacks.Callback):
    """Validates after each epoch and writes best.keras, history.json and a checkpoint.

    **Which epoch is best.** The one with the highest validation accuracy (the lowest validation
    NRMSE for a regression); of equal ones the one with the lower validation loss; of
    equal ones the first. Only epochs that end with every resolution at its final value compete. An
    epoch in mid annealing has higher resolutions: its score belongs to a less quantized network
    than the one that the run is about. `schedule.anneal_steps` makes sure that the last epoch
    competes.

    Args:
        folder: `RunFolder` to write to.
        task: `TaskData`; only its validation split is used.
        config: `RunConfig`.
        first_epoch: the first epoch, from 0, that competes.
    """

    def __init__(
        self, folder: RunFolder, task: TaskData, config: RunConfig, first_epoch: int = 0
    ) -> None:
        super().__init__()
        self.folder, self.task, self.config = folder, task, config
        self.first_epoch = first_epoch
        self.history: dict[str, list] = {"epoch": []}
        self.best = None
        self.trained_seconds = 0.0  # the parts before a resume included; a killed epoch's is lost
        self._since = time.monotonic()

    @property
    def score_key(self) -> str:
        return "val_accuracy" if self.task.kind == "classes" else "val_nrmse"

    def on_train_begin(self, logs=None):
        self._since = time.monotonic()

    def on_epoch_end(self, epoch, logs=None):
        logs = {} if logs is None else logs  # later callbacks see what is added here
        now = time.monotonic()
        self.trained_seconds += now - self._since
        self._since = now
        if not np.isfinite(logs.get("loss", 0.0)):
            raise TrainingError(
                f"training has diverged: the loss of epoch {epoch + 1} is {logs['loss']}. Lower "
                "--learning-rate."
            )
        score = evaluate(self.model, self.task.validation, self.task.kind, self.config.batch_size)
        logs["val_loss"] = score["loss"]
        logs[self.score_key] = score[self.score_key.removeprefix("val_")]
        resolutions = mean_resolutions(self.model)
        if resolutions:
            logs["resolutions"] = resolutions
        self._append(epoch, logs)
        self._keep_best(epoch, logs)
        arrays = {
            name: keras.ops.convert_to_numpy(variable)
            for name, variable in training_variables(self.model)
        }
        state = {
            "epoch": epoch + 1,
            "history": self.history,
            "best": self.best,
            "seconds": self.trained_seconds,
            "variables": [variable.path for _, variable in training_variables(self.model)],
        }
        self.folder.write_checkpoint(state, arrays)
        self.folder.write_json("history.json", self.history)

    def _append(self, epoch, logs):
        self.history["epoch"].append(epoch)
        for key, value in logs.items():
            plain = [float(v) for v in value] if isinstance(value, list) else float(value)
            self.history.setdefault(key, []).append(plain)

    def _keep_best(self, epoch, logs):
        if epoch < self.first_epoch:
            return
        score = logs[self.score_key] * (1 if self.task.kind == "classes" else -1)
        rank = [score, -logs["val_loss"]]
        if self.best is None or rank > self.best["rank"]:
            self.best = {"epoch": epoch, "rank": rank}
            self.folder.write_model("best.keras", self.model)

    def load_state(self, state: dict) -> None:
        self.history, self.best = state["history"], state["best"]
        self.trained_seconds = state["seconds"]


def training_variables(model: keras.Model) -> list:
    """(name, variable) of all that training changes: weights, seed generators, optimizer."""
    if not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)
    variables = [*model.variables, *model.optimizer.variables]
    return [(f"v{index:04d}", variable) for index, variable in enumerate(variables)]


def restore(model: keras.Model, recorder: EpochRecorder, folder: RunFolder) -> int:
    """Put the newest checkpoint into model and recorder; return the number of finished epochs.

    0 if there is no checkpoint. RunFolderError if it does not fit the model. Either way the
    optimizer is built here: `fit` builds a loss-scaling optimizer under other variable names, and
    a run that began without a checkpoint could then not be resumed.
    """
    variables = dict(training_variables(model))
    checkpoint = folder.read_checkpoint()
    if checkpoint is None:
        return 0
    state, arrays = checkpoint
    paths = [variable.path for variable in variables.values()]
    shapes = {name: tuple(variable.shape) for name, variable in variables.items()}
    if state["variables"] != paths or {k: v.shape for k, v in arrays.items()} != shapes:
        raise RunFolderError(
            f"the checkpoint in {folder.path} is of another model ({len(arrays)} variables there, "
            f"{len(shapes)} here, or other names or shapes). Start the run again (--overwrite)."
        )
    for name, variable in variables.items():
        variable.assign(arrays[name])
    recorder.load_state(state)
    return state["epoch"]
