"""Wall time until a validation accuracy: python -m evaluation time-to-accuracy

Trains each model with its task's recipe until its validation accuracy has reached the highest
target, or until the cap, and prints when each target was first reached. The clock runs from before
the model is built: building, compiling and validating are in it. A hybrid model is validated at its
final resolutions only, and is tested twice: as its layer chooses to compute (the last step alone,
where that is exact) and in a simulation of every step. Tests are not in the time, and choose
nothing.
"""

import json
import os
import sys
import time
from pathlib import Path

import numpy as np

from evaluation.console import (
    add_backend,
    add_data_dir,
    add_jit,
    add_seed,
    make_parser,
    percentage,
    positive,
    start_engine,
)
from evaluation.files import WriteError, check_writable, write
from evaluation.tables import Table, percent
from training.config import (
    DEFAULT_MODELS,
    LMU_MODELS,
    MODELS,
    OPTIMIZERS,
    SCHEDULES,
    TASK_NAMES,
    make_config,
)
from training.errors import TrainingError

_SHORT_RNN = dict(
    epochs=30, batch_size=100, parameters=166_000, schedule="cosine", clip_norm=1.0
)  # fmt: skip

# In place of training/tasks: shorter runs, the hybrid one at higher resolutions. Chosen on
# validation, seed 0 (98.3 % there), among 8 to 30 epochs, batches 100 to 250, rate 1e-3 to 6e-3,
# order 200 to 468, final resolutions 2 to 16 and 1 to 4; near 166,000 parameters, as the others.
SHORT_RECIPES = {
    "psmnist": {
        "hybrid-lmu": dict(
            epochs=20, batch_size=100, learning_rate=2e-3, dropout=0.4, order=468, units=346,
            start_resolution=64.0, memory_resolution=16.0, hidden_resolution=4.0,
            anneal_fraction=0.5, theta=784.0, hidden="dense", schedule="cosine",
        ),
        "lmu": dict(
            epochs=30, batch_size=100, parameters=166_000, schedule="cosine", dropout=0.5,
            order=256, theta=784.0, hidden="dense",
        ),
        "lstm": _SHORT_RNN,
        "gru": _SHORT_RNN,
    },
}  # fmt: skip


def parser():
    p = make_parser(
        "time-to-accuracy",
        __doc__,
        epilog="Exit status: 0 done, 1 a file could not be written, 2 wrong request, "
        "130 interrupted.",
    )
    add = p.add_argument_group("what").add_argument
    add("--task", choices=TASK_NAMES, default="psmnist", help="data set (default: psmnist)")
    add("--model", action="append", choices=MODELS, metavar="MODEL",
        help=f"one of {', '.join(MODELS)}; repeatable (default: "
        f"{' '.join(DEFAULT_MODELS)})")  # fmt: skip
    add("--target", nargs="+", type=percentage, default=[97.0, 98.0], metavar="PERCENT",
        help="validation accuracies (default: 97 98)")  # fmt: skip
    add("--cap", type=positive, default=600.0, metavar="SECONDS",
        help="no new epoch of a model after that time (default: 600)")  # fmt: skip
    add("--all-epochs", action="store_true",
        help="train to the recipe's last epoch, or the cap, whatever is reached")  # fmt: skip
    add_seed(p)

    add = p.add_argument_group(
        "recipe of hybrid-lmu and lmu",
        "default: the task's in training/tasks; hybrid-lmu on psmnist: "
        + ", ".join(f"{k} {v}" for k, v in SHORT_RECIPES["psmnist"]["hybrid-lmu"].items()),
    ).add_argument
    add("--epochs", type=int, metavar="INT", help="passes over the training data")
    add("--batch-size", type=int, metavar="INT", help="samples a step")
    add("--learning-rate", type=float, metavar="FLOAT", help="step size of the optimizer")
    add("--schedule", choices=SCHEDULES, help="of the learning rate over all epochs")
    add("--optimizer", choices=OPTIMIZERS, help="optimizer")
    add("--dropout", type=float, metavar="FLOAT", help="dropout before the readout")
    add("--order", type=int, metavar="INT", help="order of the memory")
    add("--units", type=int, metavar="INT", help="hidden units; without: as many as parameters fit")
    add("--start-resolution", type=float, metavar="FLOAT", help="resolution at the start")
    add("--memory-resolution", type=float, metavar="FLOAT", help="final, memory activity")
    add("--hidden-resolution", type=float, metavar="FLOAT", help="final, hidden activity")
    add("--anneal-fraction", type=float, metavar="FLOAT", help="share of all steps until final")

    group = p.add_argument_group("machine and files")
    add = group.add_argument
    add_backend(group)
    add_jit(group)
    add_data_dir(group)
    add("--json", type=Path, metavar="FILE", help="write curves, settings and versions there")
    add("--plot", type=Path, metavar="FILE.png", help="draw accuracy over wall time there")
    return p


LMU_OPTIONS = (
    "epochs", "batch_size", "learning_rate", "schedule", "optimizer", "dropout", "order", "units",
    "start_resolution", "memory_resolution", "hidden_resolution", "anneal_fraction",
)  # fmt: skip


def make_configs(args):
    """One RunConfig a model; ValueError if an option is out of its range."""
    given = {key: getattr(args, key) for key in LMU_OPTIONS if getattr(args, key) is not None}
    models = dict.fromkeys(args.model or DEFAULT_MODELS)
    if given and not set(models) & set(LMU_MODELS):
        raise ValueError(
            f"recipe options are for {' and '.join(LMU_MODELS)}; received {', '.join(given)} with "
            f"{', '.join(models)} only"
        )
    short = SHORT_RECIPES.get(args.task, {})

    def config(model):
        options = given if model in LMU_MODELS else {}
        return make_config(
            args.task, model, args.seed, recipe=short.get(model), jit=args.jit, **options
        )

    return [config(model) for model in models]


def main(argv=None):
    """Command line. Returns the status: 0, 1 if a file failed, 2 for a bad request."""
    started = time.monotonic()
    args = parser().parse_args(argv)
    args.target = sorted(set(args.target))
    try:
        configs = make_configs(args)
        for path in filter(None, (args.json, args.plot)):
            check_writable(path)  # found out now, not after minutes of training
        task, facts = _prepare(args, started)
        from training.data import EpochBatches  # imports Keras

        for config in configs:  # a batch larger than the data costs no earlier model its minutes
            EpochBatches(task.train, config.batch_size, config.seed)
    except (TrainingError, ValueError, WriteError) as e:
        return _error(e, 2)
    try:
        return _measure_all(configs, task, facts, args)
    except (TrainingError, ValueError, WriteError) as e:
        return _error(e, 1)
    except KeyboardInterrupt:
        return _error("interrupted", 130)


def _prepare(args, started):
    """The task, and what is known before the first model begins."""
    from training.environment import describe_environment
    from training.tasks import load_task

    print(start_engine(args.backend))
    loading = time.monotonic()
    task = load_task(args.task, args.data_dir)
    if task.kind != "classes":
        raise ValueError(f"`task` must have classes; received: {args.task} (regression)")
    now = time.monotonic()
    facts = {
        "task": args.task,
        "seed": args.seed,
        "targets": args.target,
        "cap_seconds": args.cap,
        "all_epochs": args.all_epochs,
        "jit": args.jit,
        "start_seconds": loading - started,
        "data_seconds": now - loading,
        "load_average": os.getloadavg() if hasattr(os, "getloadavg") else None,
        "environment": describe_environment(),
    }
    print(
        f"task {task.name}: {len(task.train)} training, {len(task.validation)} validation, "
        f"{len(task.test)} test sequences of {task.timesteps} steps x {task.features}\n"
        f"{facts['start_seconds']:.1f} s to start Keras, {facts['data_seconds']:.1f} s to load the "
        f"data"
    )
    return task, facts


def _measure_all(configs, task, facts, args):
    from evaluation.speed.timed_training import train_and_test

    records = []
    before = facts["start_seconds"] + facts["data_seconds"]
    for config in configs:
        record = train_and_test(config, task, args.target, args.cap, args.all_epochs)
        record["end_to_end_seconds"] = before + record["trained_seconds"]
        records.append(record)
        print(_test_line(record), flush=True)
        if args.json:  # after each model: the next one may take long
            write(args.json, json.dumps({**facts, "models": records}, indent=1) + "\n")
        if args.plot:
            write(args.plot, draw(records, facts))
    print(f"\n{format_table(records, args.target, facts)}")
    return 0


def _test_line(record):
    test, full = record["test"], record["test_full_simulation"]
    line = f"{record['model']:<12} test {100 * test['accuracy']:.2f} % in {test['seconds']:.1f} s"
    if full is None:
        return line
    return (
        f"{line}; every step simulated {100 * full['accuracy']:.2f} % in {full['seconds']:.1f} s, "
        f"difference {record['difference_points']:+.2f} points"
    )


def format_table(records, targets, facts):
    """The table as text, one line a model, and what its columns mean."""
    heads = ["model", "parameters", *(f"s to {t:g} %" for t in targets),
             "s end to end", "s an epoch", "epochs", "validation", "test",
             "test, every step"]  # fmt: skip
    rows = []
    for r in records:
        missed = f"not in {r['trained_seconds']:.0f} s (best {percent(r['best_validation'], 2)})"
        times = [r["reached"][f"{t:g}"] for t in targets]
        full = r["test_full_simulation"]
        rows.append([
            r["model"],
            f"{r['parameters']:,}",
            *(missed if seconds is None else f"{seconds:.1f}" for seconds in times),
            f"{r['end_to_end_seconds']:.1f}",
            f"{r['epoch_seconds']:.2f}",
            f"{len(r['curve'])}/{r['config']['epochs']}",
            percent(r["validation"], 2),
            percent(r["test"]["accuracy"], 2),
            percent(full and full["accuracy"], 2),
        ])  # fmt: skip
    lines = [Table(heads, rows).text()]
    before = facts["start_seconds"] + facts["data_seconds"]
    lines += [
        "",
        "Seconds to a target count from before the model is built; compiling and validating are in "
        "them,\ntests are not. End to end is the time until training stopped, with "
        f"{before:.1f} s to start Keras and load\nthe data. Validation and test are of the network "
        "as training left it.",
    ]
    lines += [
        f"{r['model']}: training diverged in epoch {len(r['curve'])}."
        for r in records
        if r["stopped"] == "diverged"
    ]
    return "\n".join(lines)


def draw(records, facts):
    """PNG: validation accuracy over wall time, all models, one marker an epoch."""
    from evaluation.style import MUTED, colours, plt, styled, to_png  # slow to import

    marks = [mark for mark in TICKS if mark >= _floor(records)]
    with styled():
        figure, axes = plt.subplots(figsize=(8, 4.8))
        for name, colour in colours(r["model"] for r in records).items():
            curve = next(r["curve"] for r in records if r["model"] == name)
            seconds = [point["seconds"] for point in curve]
            axes.plot(seconds, [100 * point["accuracy"] for point in curve], "o-", markersize=4,
                color=colour, label=name)  # fmt: skip
        for target in facts["targets"]:
            axes.axhline(target, color=MUTED, linewidth=1, linestyle="--", zorder=1)
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter(lambda x, _: f"{x:g}" if f"{x:g}"[0] in "25" else "")
        axes.set_yscale("function", functions=(_stretch, _unstretch))
        axes.set_yticks(marks, [f"{mark:g}" for mark in marks])
        axes.set_ylim(marks[0], 99.8)
        axes.set_xlabel("wall time in s, from before the model is built")
        axes.set_ylabel("validation accuracy in %, error on a log scale")
        axes.set_title(f"{facts['task']}: accuracy over wall time")
        axes.legend(loc="lower left", bbox_to_anchor=(1, 0))
        return to_png(figure)


TICKS = (0, 50, 80, 90, 95, 97, 98, 99, 99.5, 99.8)


def _floor(records):
    """The highest tick that no point lies below."""
    lowest = 100 * min(point["accuracy"] for r in records for point in r["curve"])
    return max(mark for mark in TICKS[:-3] if mark <= lowest)


def _stretch(accuracy):
    return -np.log10(np.maximum(100 - np.asarray(accuracy), 0.05))


def _unstretch(height):
    return 100 - 10.0 ** -np.asarray(height)


def _error(message, status):
    text = " ".join(str(message).split())
    print(f"python -m evaluation time-to-accuracy: error: {text}", file=sys.stderr)
    return status
