"""The command line of `python -m training`."""

import argparse
import os
import sys
import time
from pathlib import Path

from training._options import Parser, add_flags
from training.config import (
    DEFAULT_MODELS,
    EVENT_MODELS,
    MODELS,
    PARTS,
    RunConfig,
    check_used,
    make_config,
    models_of,
)
from training.errors import TrainingError
from training.startup import describe_engine, prepare_environment

BACKENDS = ("tensorflow", "jax", "torch")
MOST_SEEDS = 1000
SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"

DESCRIPTION = """\
Train hybrid-spiking LMUs on real data, beside an LMU, LSTM and GRU with about equal numbers of
trainable parameters, and print accuracy next to activity bits, operations and energy. Each run
(task, model, seed) gets a folder with config, history, best model by validation and metrics."""

EPILOG = """\
A recipe holds the defaults of a task and a model: training/tasks has one file a task.
Exit status: 0 done, 1 cannot go on (data, folder, training), 2 wrong options, 130 interrupted."""


class _Help(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    def _get_help_string(self, action):
        shown = action.default is not None and "(default" not in action.help
        return super()._get_help_string(action) if shown else action.help


def make_parser() -> argparse.ArgumentParser:
    """The parser of the command line: its flags come from the fields of `training.config.PARTS`."""
    parser = Parser(
        prog="python -m training", description=DESCRIPTION, epilog=EPILOG, formatter_class=_Help
    )
    _add_runs(parser.add_argument_group("runs: one for each model and seed").add_argument)
    for part in PARTS:
        add_flags(parser, part)
    _add_files(parser)
    return parser


def _add_runs(add):
    add("--model", nargs="+", choices=(*MODELS, "all"), metavar="MODEL",
        help=f"one or more of {', '.join(MODELS)}, or all "
        f"(default: {' '.join(DEFAULT_MODELS)}; for events {' '.join(EVENT_MODELS)})")  # fmt: skip
    add("--seeds", nargs="+", type=parse_seeds, default=[[0]], metavar="SEED",
        help="seeds, such as 0 1 2, or a range 0-4 (default: 0)")  # fmt: skip
    add("--backend", choices=BACKENDS, default=os.environ.get("KERAS_BACKEND", "tensorflow"),
        help="engine under Keras")  # fmt: skip


def _add_files(parser):
    group = parser.add_argument_group("files")
    group.add_argument("--out", type=Path, default=Path("runs"), metavar="DIR",
        help="folder of the run folders")  # fmt: skip
    group.add_argument("--data-dir", type=Path, default=default_data_dir(), metavar="DIR",
        help="prepared data; without: $HYBRID_LMU_DATA, then ../shared/data")  # fmt: skip
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--resume", action="store_true", help="go on with runs that were killed")
    group.add_argument("--overwrite", action="store_true",
        help="replace earlier runs, each when its new one starts")  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = make_parser()
    options = parser.parse_args(arguments)
    if options.backend not in BACKENDS:  # argparse does not check defaults
        parser.error(
            f"KERAS_BACKEND must be one of {', '.join(BACKENDS)}; received: {options.backend!r}"
        )
    try:
        configs = make_configs(options)
    except ValueError as error:
        parser.error(str(error))
    try:
        prepare_environment(options.backend, options.devices)
        return _train_all(configs, options)
    except (TrainingError, ValueError) as error:
        print(f"\npython -m training: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ninterrupted; the same command with --resume goes on.", file=sys.stderr)
        return 130


def make_configs(options: argparse.Namespace) -> list[RunConfig]:
    """One RunConfig for every model and seed, in the order of the options."""
    possible = models_of(options.task)
    default = [model for model in (*DEFAULT_MODELS, *EVENT_MODELS) if model in possible]
    models = tuple(dict.fromkeys(options.model or default))
    models = possible if "all" in models else models
    seeds = dict.fromkeys(seed for group in options.seeds for seed in group)
    apart = ("task", "model", "seeds", "backend", "out", "data_dir", "resume", "overwrite")
    rest = {key: value for key, value in vars(options).items() if key not in apart}
    configs = [make_config(options.task, model, seed, **rest) for model in models for seed in seeds]
    check_used(configs, [name for name, value in rest.items() if value is not None])
    return configs


def _train_all(configs, options):
    from training.runfolder import RunFolder
    from training.tasks import load_task

    started = time.monotonic()
    task = load_task(options.task, options.data_dir, configs[0].permutation, configs[0].fold)
    folders = [RunFolder(options.out / config.name) for config in configs]
    for config, folder in zip(configs, folders, strict=True):
        folder.check(*_folder_options(config, options))
    print(describe_engine())
    print(
        f"task {task.name}: {len(task.train)} training, {len(task.validation)} validation, "
        f"{len(task.test)} test sequences of {task.timesteps} steps x "
        f"{' x '.join(map(str, task.sample_shape[1:]))}"
    )
    from training.summary import summary_table

    print(f"\n{summary_table(_run_all(configs, folders, task, options))}\n")
    many = len(folders) > len(DEFAULT_MODELS)
    paths = f"{options.out}/{task.name}-*" if many else " ".join(str(f.path) for f in folders)
    print(f"{time.monotonic() - started:.0f} s in all. Run folders: {paths}")
    print(f"Report with plots: python -m evaluation {paths}")
    return 0


def _folder_options(config, options):
    """The arguments of `RunFolder.check` and `RunFolder.prepare`."""
    stored = {**config.to_dict(), "backend": options.backend}
    return stored, options.resume, options.overwrite


def _run_all(configs, folders, task, options):
    """The metrics of all runs; those of finished runs are read from their folders."""
    from training.runner import check_run, run  # imports Keras: after what can fail without it

    to_do = [
        config
        for config, folder in zip(configs, folders, strict=True)
        if options.overwrite or not folder.is_finished
    ]
    by_seed = sorted(to_do, key=lambda config: config.seed)
    for config in {config.model: config for config in by_seed}.values():
        check_run(config, task)  # with the highest seed: the others cannot fail if it does not
    several_seeds = len({config.seed for config in configs}) > 1
    results = []
    for config, folder in zip(configs, folders, strict=True):
        if config not in to_do:
            print(f"{config.name}: finished earlier, skipped")
            results.append(folder.read_json("metrics.json"))
            continue
        folder.prepare(*_folder_options(config, options))
        label = f"{config.model:<11} s{config.seed}" if several_seeds else config.model
        results.append(run(config, task, folder, label=label))
    return results


def parse_seeds(text: str) -> list[int]:
    """Seeds from a word of the command line: "3" gives [3], "0-4" gives [0, 1, 2, 3, 4].

    Raises argparse.ArgumentTypeError for other words, and for more than `MOST_SEEDS` seeds.
    """
    first, dash, last = text.partition("-")
    try:
        seeds = range(int(first), int(last if dash else first) + 1)
    except ValueError:
        seeds = range(0)
    if not seeds or seeds[0] < 0:
        raise argparse.ArgumentTypeError(
            f"expected an integer >= 0 or a range such as 0-4; received: {text!r}"
        )
    if seeds[-1] - seeds[0] >= MOST_SEEDS:
        raise argparse.ArgumentTypeError(
            f"expected a range of at most {MOST_SEEDS} seeds; received: {text!r}"
        )
    return list(seeds)


def default_data_dir() -> Path | None:
    """The default of --data-dir: $HYBRID_LMU_DATA, else ../shared/data, else None."""
    if os.environ.get("HYBRID_LMU_DATA"):
        return Path(os.environ["HYBRID_LMU_DATA"])
    return SHARED_DATA if SHARED_DATA.is_dir() else None
