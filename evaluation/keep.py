"""Keep finished runs as results: python -m evaluation.keep RUN...

Copies config.json and metrics.json of each run, and with --model its best.keras without the
optimizer, to a folder of the run's name in evaluation/results. Results of another commit or
configuration are not replaced, unless told to.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

from evaluation.commands import note as tell
from evaluation.commands import one_line, start_backend
from evaluation.report import WriteError, check_writable, write
from evaluation.runs import RunError, find_runs
from training.config import variants
from training.errors import TrainingError

FOLDER = Path(__file__).parent / "results"
LARGEST = 2_000_000  # bytes of a model that is committed


class KeepError(RuntimeError):
    """A run that cannot be kept. The message is one line for the user."""


def keep(runs, folder, model=False, overwrite=False, note=lambda text: None):
    """Copy the runs below `folder`; returns their new folders.

    A result counts from its metrics.json, which is written last. Everything is checked before
    anything is written.

    Raises:
        KeepError: two runs of one name; another result in the way; no model, or one of more than
            `LARGEST` bytes.
        RunError: config.json missing.
        WriteError: a file that cannot be written.
    """
    folder = Path(folder)
    targets = [folder / name_of(run) for run in runs]
    for run, target in zip(runs, targets, strict=True):
        if targets.count(target) > 1:
            raise KeepError(f"more than one of these runs is to be kept as {target}; expected one")
        if not (run.path / "config.json").is_file():
            raise RunError(f"{run.path} has no config.json; expected one written by `training`")
        if not overwrite:
            _check_replaceable(run, target)
    check_writable(folder / "metrics.json")  # found out before models are loaded
    models = [bare_model(run) if model else None for run in runs]
    for run, target, content in zip(runs, targets, models, strict=True):
        _write(run, target, content)
        note(f"kept {run.path} as {target}{_caveat(run)}")
    return targets


def name_of(run):
    """The folder's name, as `training.config.RunConfig.name`."""
    return "-".join([run.task, run.model, *variants(run.config), f"seed{run.seed}"])


def _caveat(run):
    commit = _made_by(run.metrics)
    if commit is None:
        return " (its commit is not known)"
    return " (made with changes that are not committed)" if commit.endswith("-dirty") else ""


def _made_by(metrics):
    return (metrics.get("environment") or {}).get("commit")


def _check_replaceable(run, target):
    """KeepError if the target holds another result, of another commit or configuration."""
    path = target / "metrics.json"
    if not path.exists():
        return
    try:
        earlier = json.loads(path.read_text())
        commit, config = _made_by(earlier), earlier.get("config")
    except (OSError, ValueError, AttributeError) as e:
        raise KeepError(f"{path} is in the way and cannot be read; --overwrite replaces it") from e
    if earlier == run.metrics:
        return
    received = _made_by(run.metrics)
    if commit is None or commit != received:
        raise KeepError(
            f"{target} holds a result of commit {commit}; received one of commit {received}. "
            "--overwrite replaces it"
        )
    if config != run.metrics.get("config"):
        raise KeepError(
            f"{target} holds a result of another configuration, of the same commit {commit}. "
            "--overwrite replaces it"
        )


def bare_model(run):
    """Bytes of the run's best.keras saved again without the optimizer.

    KeepError: there is none, it cannot be read, or it has more than `LARGEST` bytes.
    """
    import hybrid_lmu  # noqa: F401  # Keras finds its layers only once they are registered
    from training.runfolder import RunFolder

    if run.best_model is None:
        raise KeepError(f"{run.path} has no best.keras; expected one, because of --model")
    try:
        model = RunFolder(run.path).read_model("best.keras")
    except Exception as e:  # a damaged file fails in zipfile, json, h5py or Keras, each its own way
        raise KeepError(f"cannot read {run.best_model}: {one_line(e)}") from e
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "best.keras"
        model.save(path)
        content = path.read_bytes()
    if len(content) > LARGEST:
        raise KeepError(
            f"the model of {run.path} must have at most {LARGEST:,} bytes without its optimizer; "
            f"received: {len(content):,}"
        )
    return content


def _write(run, target, model):
    result = target / "metrics.json"
    metrics = (run.path / "metrics.json").read_bytes()
    if not (result.is_file() and result.read_bytes() == metrics):
        result.unlink(missing_ok=True)  # from here on unfinished, whatever stops this
        (target / "best.keras").unlink(missing_ok=True)
    if model is not None:
        write(target / "best.keras", model)
    write(target / "config.json", (run.path / "config.json").read_bytes())
    write(result, metrics)


def parser():
    p = argparse.ArgumentParser(
        prog="python -m evaluation.keep",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument("runs", nargs="+", metavar="RUN", help="run folder, or a folder of runs")
    p.add_argument("--to", type=Path, default=FOLDER, metavar="DIR",
                   help=f"folder of the results (default: {FOLDER})")  # fmt: skip
    p.add_argument("--model", action="store_true", help="keep the trained models too")
    p.add_argument("--overwrite", action="store_true", help="replace results that are in the way")
    return p


def main(argv=None):
    """Command line. Returns the exit status: 0, or 1 after one line on stderr."""
    args = parser().parse_args(argv)
    try:
        runs = find_runs(args.runs, tell)
        if args.model:
            tell(start_backend(runs[0]))
        keep(runs, args.to, args.model, args.overwrite, tell)
    except (KeepError, RunError, WriteError, TrainingError) as e:
        print(f"error: {e}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
