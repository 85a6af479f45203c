"""The command line of `python -m training`."""

import argparse
import os
import sys
import time
from pathlib import Path

from training.config import (
    DEFAULT_MODELS,
    EVENT_MODELS,
    EXEMPT,
    FEEDBACKS,
    FOLDS,
    HIDDEN,
    MODELS,
    OPTIMIZERS,
    PRECISIONS,
    READOUTS,
    ROUNDINGS,
    SCHEDULES,
    TASK_NAMES,
    UNITS,
    WEIGHT_GRADIENTS,
    WEIGHT_RULES,
    WEIGHTS,
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
An option that shows "recipe" has its own default for every task and model: training/config.py.
Exit status: 0 done, 1 cannot go on (data, folder, training), 2 wrong options, 130 interrupted."""


class _Help(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    def _get_help_string(self, action):
        shown = action.default is not None and "(default" not in action.help
        return super()._get_help_string(action) if shown else action.help


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m training", description=DESCRIPTION, epilog=EPILOG, formatter_class=_Help
    )
    add = parser.add_argument_group("what").add_argument
    add("--task", choices=TASK_NAMES, default="digits", help="data set")
    add("--model", nargs="+", choices=(*MODELS, "all"), metavar="MODEL",
        help=f"one or more of {', '.join(MODELS)}, or all "
        f"(default: {' '.join(DEFAULT_MODELS)}; for events {' '.join(EVENT_MODELS)})")  # fmt: skip
    add("--seeds", nargs="+", type=parse_seeds, default=[[0]], metavar="SEED",
        help="seeds, such as 0 1 2, or a range 0-4 (default: 0)")  # fmt: skip

    add = parser.add_argument_group("sizes (default: recipe)").add_argument
    add("--parameters", type=int, metavar="INT", help="trainable parameters; units follow")
    add("--units", type=int, metavar="INT", help="hidden units, instead of --parameters")
    add("--order", type=int, metavar="INT", help="order of the memory")
    add("--theta", type=float, metavar="FLOAT", help="window of the memory in steps")
    add("--memory-d", type=int, metavar="INT", help="number of memories")
    add("--fold", type=int, metavar="INT",
        help=f"of an event task: test on this one of {FOLDS} parts of all samples")  # fmt: skip
    add("--tau", type=float, metavar="FLOAT", help="time constant of spiking neurons in steps")
    add("--permutation", type=int, metavar="INT", help="seed of the order of pixels (psmnist)")
    add(
        "--hidden", choices=HIDDEN, help="units of an LMU: ReLU layer, tanh or ReLU recurrence, GRU"
    )
    add("--input-to-hidden", action=argparse.BooleanOptionalAction,
        help="the hidden units of an LMU see the input itself too")  # fmt: skip

    add = parser.add_argument_group("training (default: recipe)").add_argument
    add("--epochs", type=int, metavar="INT", help="passes over the training data")
    add("--batch-size", type=int, metavar="INT", help="samples a step, over all devices")
    add("--learning-rate", type=float, metavar="FLOAT", help="step size of the optimizer")
    add("--schedule", choices=SCHEDULES, help="of the learning rate over all steps")
    add("--clip-norm", type=float, metavar="FLOAT", help="bound on the norm of the gradient")
    add("--optimizer", choices=OPTIMIZERS, help="optimizer (recipe: adam)")
    add("--dropout", type=float, metavar="FLOAT", help="dropout before the readout (recipe: 0)")
    add("--memory-dropout", type=float, metavar="FLOAT", help="dropout on the quantized memory")
    add("--readout", choices=READOUTS, help="of the last step, or of several")
    add("--readout-steps", type=int, metavar="INT", help="number of last steps to read out")
    add("--simulated-steps", type=int, metavar="INT",
        help="train recurrent hidden units on the last steps only")  # fmt: skip

    add = parser.add_argument_group(
        "resolutions of the hybrid models, annealed geometrically at every step (default: recipe)"
    ).add_argument
    add("--start-resolution", type=float, metavar="FLOAT", help="resolution at the start")
    add("--memory-resolution", type=float, metavar="FLOAT", help="final, memory activity")
    add(
        "--memory-unit",
        choices=UNITS,
        help="of its resolution: per unit of activity, or per deviation of each neuron",
    )
    add("--hidden-resolution", type=float, metavar="FLOAT", help="final, hidden activity")
    add("--anneal-fraction", type=float, metavar="FLOAT", help="share of all steps until final")
    add("--memory-feedback", choices=FEEDBACKS, help="what the memory recurs on")
    add("--rounding", choices=ROUNDINGS, help="diffused, or a control without memory")
    add("--bit-budget", type=float, metavar="FLOAT",
        help="learn the resolutions under this many activity bits")  # fmt: skip
    add("--memory-bits", type=float, metavar="FLOAT", help="bits of each memory neuron, by range")
    add("--hidden-bits", type=float, metavar="FLOAT", help="bits of each hidden neuron, by range")
    add("--memory-limit", type=float, metavar="FLOAT", help="where the memory saturates")
    add("--hidden-limit", type=float, metavar="FLOAT", help="where hidden units saturate")
    add("--start-bits", type=float, metavar="FLOAT", help="bits at the start")
    add("--input-resolution", type=float, metavar="FLOAT", help="quantize the input too")
    add("--initial-error", choices=("uniform", "zeros", "half"), help="first diffusion error")

    add = parser.add_argument_group("weights of few bits (default: recipe)").add_argument
    add("--weights", choices=WEIGHTS, help="levels of all kernels (recipe: full precision)")
    add("--weight-rule", choices=WEIGHT_RULES, help="sum of sigmoids; or, binary, another")
    add("--weight-gradient", choices=WEIGHT_GRADIENTS, help="slope of the sigmoids")
    add("--power-of-two", action=argparse.BooleanOptionalAction,
        help="scales of the kernels are powers of two: shifts")  # fmt: skip
    add("--exempt", choices=EXEMPT, help="layers whose kernels stay at full precision")
    add("--start-temperature", type=float, metavar="FLOAT", help="of the sigmoids, at the start")
    add("--temperature", type=float, metavar="FLOAT", help="of the sigmoids, final")
    add("--weight-anneal-fraction", type=float, metavar="FLOAT", help="share of steps until final")

    add = parser.add_argument_group("machine").add_argument
    add("--backend", choices=BACKENDS, default=os.environ.get("KERAS_BACKEND", "tensorflow"),
        help="engine under Keras")  # fmt: skip
    add("--precision", choices=PRECISIONS, default="float32", help="dtype policy")
    add("--jit", choices=("auto", "on", "off"), default="auto", help="compile the training step")
    add("--devices", type=int, default=1, metavar="INT", help="devices to divide each batch over; "
        "spike counts and random draws may differ from one device's: training/distribution.py",
    )  # fmt: skip

    add = parser.add_argument_group("files").add_argument
    add("--out", type=Path, default=Path("runs"), metavar="DIR", help="folder of the run folders")
    add("--data-dir", type=Path, default=default_data_dir(), metavar="DIR",
        help="prepared data; without: $HYBRID_LMU_DATA, then ../shared/data")  # fmt: skip
    add("--report-samples", type=int, metavar="INT",
        help="test samples to count bits and operations on (recipe: all)")  # fmt: skip
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--resume", action="store_true", help="go on with runs that were killed")
    group.add_argument("--overwrite", action="store_true",
        help="replace earlier runs, each when its new one starts")  # fmt: skip
    return parser


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


def make_configs(options: argparse.Namespace) -> list:
    """One RunConfig for every model and seed, in the order of the options."""
    possible = models_of(options.task)
    default = [model for model in (*DEFAULT_MODELS, *EVENT_MODELS) if model in possible]
    models = tuple(dict.fromkeys(options.model or default))
    models = possible if "all" in models else models
    seeds = dict.fromkeys(seed for group in options.seeds for seed in group)
    apart = ("task", "model", "seeds", "backend", "out", "data_dir", "resume", "overwrite")
    rest = {key: value for key, value in vars(options).items() if key not in apart}
    return [make_config(options.task, model, seed, **rest) for model in models for seed in seeds]


def _train_all(configs, options):
    from training.runfolder import RunFolder
    from training.tasks import load_task

    started = time.monotonic()
    task = load_task(options.task, options.data_dir, configs[0].permutation, configs[0].fold)
    folders = [RunFolder(options.out / config.name) for config in configs]

    def folder_options(config):
        stored = {**config.to_dict(), "backend": options.backend}
        return stored, options.resume, options.overwrite

    for config, folder in zip(configs, folders, strict=True):
        folder.check(*folder_options(config))
    print(describe_engine())
    print(
        f"task {task.name}: {len(task.train)} training, {len(task.validation)} validation, "
        f"{len(task.test)} test sequences of {task.timesteps} steps x "
        f"{' x '.join(map(str, task.sample_shape[1:]))}"
    )
    from training.runner import check_run, run  # imports Keras: after what can fail without
    from training.summary import summary_table

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
        folder.prepare(*folder_options(config))
        label = f"{config.model:<11} s{config.seed}" if several_seeds else config.model
        results.append(run(config, task, folder, label=label))
    print(f"\n{summary_table(results)}\n")
    many = len(folders) > len(DEFAULT_MODELS)
    paths = f"{options.out}/{task.name}-*" if many else " ".join(str(f.path) for f in folders)
    print(f"{time.monotonic() - started:.0f} s in all. Run folders: {paths}")
    print(f"Report with plots: python -m evaluation {paths}")
    return 0


def parse_seeds(text):
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


def default_data_dir():
    if os.environ.get("HYBRID_LMU_DATA"):
        return Path(os.environ["HYBRID_LMU_DATA"])
    return SHARED_DATA if SHARED_DATA.is_dir() else None
