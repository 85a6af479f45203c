"""Keep finished runs as results: python -m evaluation keep RUN...

Copies config.json and metrics.json of each run, and with --model its best.keras without the
optimizer, to a folder of the run's name in evaluation/results. Results of another commit or
configuration are not replaced, unless told to.
"""

import json
import tempfile
from pathlib import Path

from evaluation.console import UserError, add_runs, make_parser, run_command
from evaluation.console import note as tell
from evaluation.files import check_writable, write
from evaluation.runs import RESULTS, RunError, find_runs, load_model, start_backend
from training.config import variants

LARGEST = 2_000_000  # bytes of a model that is committed


class KeepError(UserError):
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

    Raises:
        KeepError: there is none, or it has more than `LARGEST` bytes.
        ModelUnreadable: it cannot be read.
    """
    if run.best_model is None:
        raise KeepError(f"{run.path} has no best.keras; expected one, because of --model")
    model = load_model(run.best_model)
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
    p = make_parser("keep", __doc__)
    add_runs(p)
    p.add_argument("--to", type=Path, default=RESULTS, metavar="DIR",
                   help=f"folder of the results (default: {RESULTS})")  # fmt: skip
    p.add_argument("--model", action="store_true", help="keep the trained models too")
    p.add_argument("--overwrite", action="store_true", help="replace results that are in the way")
    return p


def main(argv=None):
    """Command line. Returns the exit status: 0, or 1 after one line on stderr."""
    return run_command(parser(), _keep, argv)


def _keep(args):
    runs = find_runs(args.runs, tell)
    if args.model:
        tell(start_backend(runs[0]))
    keep(runs, args.to, args.model, args.overwrite, tell)
