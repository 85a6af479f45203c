"""Finds and reads run folders (written by training/): config, history, metrics, best model."""

import dataclasses
import json
from pathlib import Path

from evaluation.contents import ContentError, check_history, check_metrics
from training.config import MODELS


class RunError(ValueError):
    """A run that is missing, unfinished or unreadable. The message is one line for the user."""


@dataclasses.dataclass(frozen=True)
class Run:
    """One trained model: `metrics` as in metrics.json, `history` as in history.json (or empty)."""

    path: Path
    metrics: dict
    history: dict
    config: dict

    @property
    def task(self):
        return self.metrics["task"]

    @property
    def model(self):
        return self.metrics["model"]

    @property
    def seed(self):
        return self.metrics["seed"]

    @property
    def label(self):
        return f"{self.model}, seed {self.seed}"

    @property
    def activity(self):
        return self.metrics.get("activity") or {}

    @property
    def spiking(self):
        """Whether any activity of the model is quantized."""
        return any(a.get("resolution") is not None for a in self.activity.get("activities", []))

    @property
    def best_model(self):
        """Path of the best model of the run, or None if it was not kept."""
        path = self.path / "best.keras"
        return path if path.is_file() else None


REQUIRED = ("task", "model", "seed", "test", "parameters", "activity")
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
    metrics, history, config = (_read(path / name) for name in FILES)
    missing = [key for key in REQUIRED if key not in metrics]
    if missing:
        raise RunError(f"{path / 'metrics.json'} lacks {', '.join(missing)}")
    _check(path / "metrics.json", check_metrics, metrics)
    _check(path / "history.json", check_history, history)
    return Run(path, metrics, history, config or metrics.get("config") or {})


def _check(path, check, content):
    try:
        check(content)
    except ContentError as e:
        raise RunError(f"{path} is damaged: {e}") from e


def _is_run(path):
    return any((path / name).is_file() for name in FILES)


def _read(path):
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
