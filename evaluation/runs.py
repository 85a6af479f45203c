"""Finds and reads run folders (written by training/): config, history, metrics, best model."""

import dataclasses
import importlib.util
import json
import os
from pathlib import Path

from evaluation.console import UserError, note, one_line, start_engine
from evaluation.schema import ContentError, Metrics, check_history, read
from training.cli import BACKENDS
from training.config import MODELS

RESULTS = Path(__file__).parent / "results"  # the committed ones


class RunError(UserError):
    """A run that is missing, unfinished or unreadable. The message is one line."""


class ModelUnreadable(UserError):
    """A model file that cannot be loaded, or not run on its task's data. One line."""


@dataclasses.dataclass(frozen=True)
class Run:
    """One trained model.

    Args:
        path: its folder.
        record: metrics.json, read and checked.
        metrics: the same content as a dict, with the entries that the report does not read.
        history: history.json, {} without one.
        config: the options of the run.
    """

    path: Path
    record: Metrics
    metrics: dict
    history: dict
    config: dict

    @property
    def task(self):
        return self.record.task

    @property
    def model(self):
        return self.record.model

    @property
    def seed(self):
        return self.record.seed

    @property
    def label(self):
        return f"{self.model}, seed {self.seed}"

    @property
    def activity(self):
        return self.record.activity

    @property
    def spiking(self):
        """Whether any activity of the model is quantized."""
        return any(a.resolution is not None for a in self.activity.activities)

    @property
    def best_model(self):
        """Path of the best model of the run, or None if it was not kept."""
        path = self.path / "best.keras"
        return path if path.is_file() else None


FILES = ("metrics.json", "history.json", "config.json")


def find_runs(paths, note=lambda text: None):
    """Runs in the given folders: run folders themselves, or parents of any depth.

    Unfinished runs below a parent are passed over with a note; an unfinished run that was named
    itself, a folder without runs and a broken file raise `RunError`. Ordered by task, model (as
    in training.config.MODELS) and seed.
    """
    found = {}
    for path in map(Path, paths):
        if not path.is_dir():
            kind = "is not a folder" if path.exists() else "does not exist"
            raise RunError(f"run folder {path} {kind}; expected a folder written by `training`")
        if _is_run(path):
            below = [path]
        else:
            below = sorted({f.parent for name in FILES for f in path.rglob(name)})
            unfinished = [p for p in below if not (p / "metrics.json").is_file()]
            for p in unfinished:
                note(f"passed over {p}: not finished (no metrics.json)")
            below = [p for p in below if p not in unfinished]
            if not below:
                raise RunError(f"no finished run in {path}; expected folders with a metrics.json")
        for p in below:
            found.setdefault(p.resolve(), p)
    return sorted((load_run(p) for p in found.values()), key=_order)


def _order(run):
    known = MODELS.index(run.model) if run.model in MODELS else len(MODELS)
    return run.task, known, run.model, run.seed


def load_run(path):
    """Reads one run folder. metrics.json has to be there; history and config may be absent."""
    path = Path(path)
    if not (path / "metrics.json").is_file():
        raise RunError(
            f"run {path} is not finished: it has no metrics.json; "
            "continue it with `python -m training ... --resume`"
        )
    metrics, history, config = (_read_json(path / name) for name in FILES)
    record = _checked(path / "metrics.json", lambda: read(Metrics, metrics))
    _checked(path / "history.json", lambda: check_history(history))
    return Run(path, record, metrics, history, config or record.config or {})


def _checked(path, check):
    try:
        return check()
    except ContentError as e:
        raise RunError(f"{path} is damaged: {e}") from e


def _is_run(path):
    return any((path / name).is_file() for name in FILES)


def _read_json(path):
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as e:
        raise RunError(f"cannot read {path}: {str(e).splitlines()[0]}") from e
    if not isinstance(content, dict):
        raise RunError(f"{path} must hold a JSON object; received: {type(content).__name__}")
    return content


def common_parent(runs):
    """The deepest folder that contains all runs; of a single run the folder itself."""
    parents = [run.path.resolve() for run in runs]
    first = parents[0]
    return next(p for p in (first, *first.parents) if all(q.is_relative_to(p) for q in parents))


def load_model(path: Path | str):
    """The Keras model of a file, not compiled; layers of hybrid_lmu and keras-lmu are known.

    Raises:
        ModelUnreadable: if the file is missing, damaged, or has a layer of another package.
    """
    import keras

    import hybrid_lmu  # noqa: F401  # Keras finds its layers only once they are registered

    hint = ""
    if keras.backend.backend() == "tensorflow":
        if importlib.util.find_spec("keras_lmu"):
            import keras_lmu  # noqa: F401  # registers its layers
        else:
            hint = " (keras-lmu is not installed: its layers cannot be read)"
    try:
        return keras.saving.load_model(path, compile=False)
    except Exception as e:  # a damaged file fails in zipfile, json, h5py or Keras
        raise ModelUnreadable(f"cannot read {path} as a Keras model: {one_line(e)}{hint}") from e


def load_best(run: Run):
    """The run's best.keras, simulated at every step as in its test; `ModelUnreadable`."""
    from hybrid_lmu import full_simulation

    return full_simulation(load_model(run.path / "best.keras"), every_layer=False)


def load_data(run: Run, data_dir: Path | None):
    """The `TaskData` that the run was trained on; `TrainingError` without prepared data."""
    from training.tasks import load_task

    return load_task(run.task, data_dir, run.config.get("permutation", 0), run.config.get("fold"))


def open_run(path: Path, data_dir: Path | None):
    """(run, task data, best model) of a run folder; Keras is started on the run's backend.

    Raises:
        RunError: no run, or no best.keras.
        ModelUnreadable: a best.keras that cannot be read.
        TrainingError: no data, or no such backend.
    """
    run = load_run(path)
    if run.best_model is None:
        raise RunError(f"{run.path} has no best.keras; expected a run with its trained model")
    note(start_backend(run))
    return run, load_data(run, data_dir), load_best(run)


def start_backend(run: Run) -> str:
    """Start Keras on KERAS_BACKEND, else on the run's own if it is installed; a line on it."""
    backend = os.environ.get("KERAS_BACKEND") or _recorded_backend(run)
    return start_engine(backend)


def _recorded_backend(run):
    backend = (run.record.environment or {}).get("backend")
    return backend if backend in BACKENDS and importlib.util.find_spec(backend) else "tensorflow"
