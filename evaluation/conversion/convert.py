"""Convert a trained recurrent model to a hybrid-spiking one, and see what it costs:
python -m evaluation convert MODEL.keras --data TASK --bits 3.74 --finetune-epochs 1

Gives the model (SimpleRNN, GRU, LSTM, keras-lmu layers, Dense) quantized activities whose
resolutions are calibrated on training data to each number of activity bits, without touching its
weights; scores it on the test split of the task; trains it on for some epochs while the bits fall
from 8 to that number; and scores it again. Prints a table and writes OUT/convert.json,
OUT/convert.png and the converted models. Nothing is chosen by the test split: the last weights are
those that are judged.
"""

import json
import sys
import time
from pathlib import Path

from evaluation.console import (
    UserError,
    add_backend,
    add_data_dir,
    add_out,
    add_seed,
    count,
    make_parser,
    not_negative,
    note,
    one_line,
    positive,
    run_command,
    start_engine,
)
from evaluation.files import check_writable, write, write_json
from evaluation.runs import load_model
from evaluation.tables import Table, metric_of, score_text, score_value
from training.config import TASK_NAMES

START_BITS = 8.0


class CannotConvert(UserError):
    """The model does not fit the task, or has a layer without a conversion. One line."""


def parser():
    p = make_parser("convert", __doc__)
    p.add_argument("model", type=Path, metavar="MODEL", help="a .keras file, or a run folder")
    p.add_argument("--data", required=True, choices=TASK_NAMES, metavar="TASK",
                   help=f"task that it was trained on: {', '.join(TASK_NAMES)}")  # fmt: skip
    add_data_dir(p)
    p.add_argument("--as-keras-lmu", action="store_true",
                   help="first put non-spiking HybridLMU layers, trained in a fraction of the "
                   "time, into keras_lmu.LMU; TensorFlow only")  # fmt: skip
    p.add_argument("--bits", nargs="+", type=positive, default=[3.74], metavar="BITS",
                   help="activity bits, one or several (default: 3.74)")  # fmt: skip
    p.add_argument("--per", choices=("neuron", "layer"), default="neuron",
                   help="resolutions by neuron (default) or by layer")  # fmt: skip
    p.add_argument("--finetune-epochs", type=not_negative, default=1, metavar="N",
                   help="epochs of training at each number of bits (default: 1)")  # fmt: skip
    p.add_argument("--learning-rate", type=positive, default=1e-3, metavar="RATE",
                   help="at first; falls to 0 along a cosine (default: 0.001)")  # fmt: skip
    p.add_argument("--batch-size", type=count, default=100, metavar="N", help="default: 100")
    p.add_argument("--calibration-samples", type=count, default=500, metavar="N",
                   help="training samples to calibrate on (default: 500)")  # fmt: skip
    p.add_argument("--report-samples", type=count, default=500, metavar="N",
                   help="test samples to count bits on (default: 500)")  # fmt: skip
    add_seed(p)
    add_out(p, "runs/convert")
    add_backend(p)
    return p


def main(argv=None):
    """Command line. Returns the exit status: 0, or 1 after one line on stderr."""
    return run_command(parser(), _convert, argv)


def _convert(args):
    check_writable(args.out / "convert.json")
    note(start_engine(args.backend))
    from training.tasks import load_task

    source = source_run(args.model)
    config = source["config"] if source else {}
    if config.get("task", args.data) != args.data:
        raise CannotConvert(
            f"{args.model} was trained on {config['task']}; received: --data {args.data}"
        )
    model = load_model(best_of(args.model))
    if args.as_keras_lmu:
        model = as_keras_lmu(model)
    options = config.get("permutation", 0), config.get("fold")
    task = load_task(args.data, args.data_dir, *options)
    record = {**convert(model, task, args), "run": source}
    print(table(record))
    write_json(args.out / "convert.json", record)
    write(args.out / "convert.png", _plot(record))
    print(f"\nRecord, plot and converted models: {args.out}")


def best_of(path):
    """The file of a model: the path itself, or best.keras in a run folder."""
    return path / "best.keras" if path.is_dir() else path


def source_run(path):
    """Configuration, commit and date of the run in a folder; None of a file; `CannotConvert`."""
    if not path.is_dir():
        return None
    found = []
    for name in ("config.json", "metrics.json"):
        try:
            found.append(json.loads((path / name).read_text()))
        except FileNotFoundError:  # stopped before it was judged
            found.append({})
        except (OSError, ValueError) as e:
            raise CannotConvert(f"cannot read {path / name}: {e}") from e
    config, metrics = found
    environment = metrics.get("environment") or {}
    return {"config": config, **{key: environment.get(key) for key in ("commit", "date")}}


def as_keras_lmu(model):
    """The model with layers of keras-lmu; `CannotConvert`."""
    import keras

    from hybrid_lmu.conversion import to_keras_lmu

    if keras.backend.backend() != "tensorflow":
        raise CannotConvert(
            f"--as-keras-lmu needs the TensorFlow backend; received: {keras.backend.backend()}"
        )
    try:
        return to_keras_lmu(model)
    except ImportError as e:
        raise CannotConvert(f"--as-keras-lmu needs keras-lmu: {e}") from e
    except ValueError as e:
        raise CannotConvert(f"--as-keras-lmu: {e}") from e


def convert(model, task, args):
    """Convert at all numbers of bits, with and without training; the record of it all."""
    import keras
    import numpy as np

    from hybrid_lmu.conversion import to_hybrid
    from training.environment import describe_environment

    keras.utils.set_random_seed(args.seed)
    x = task.train.x[: args.calibration_samples].astype("float32")
    try:
        plain = to_hybrid(model)
        probe = task.test.x[:50].astype("float32")
        given, found = model.predict(probe, verbose=0), plain.predict(probe, verbose=0)
    except ValueError as e:
        raise CannotConvert(f"cannot convert {args.model}: {one_line(e)}") from e
    _check_outputs(given, task, args.model)
    logits = task.kind != "classes" or not _are_probabilities(given)
    source = _score(model, task, args, logits)
    note(f"source model: {_score_line(source)}")
    rows = []
    for bits in args.bits:
        try:
            hybrid = to_hybrid(model, x, bits=bits, per=args.per, seed=args.seed)
        except ValueError as e:
            raise CannotConvert(
                f"cannot convert {args.model} to {bits:g} bits: {one_line(e)}"
            ) from e
        rows.append(_judged(hybrid, task, args, bits, 0, logits))
        name = f"{bits:g}-bits"
        if args.finetune_epochs:
            started = time.monotonic()
            finetune(hybrid, task, args, bits, logits)
            seconds = time.monotonic() - started
            judged = _judged(hybrid, task, args, bits, args.finetune_epochs, logits)
            rows.append({**judged, "seconds": round(seconds, 1)})
            name += f"-{args.finetune_epochs}-epochs"
        hybrid.save(args.out / f"{name}.keras")
    return {
        "model": str(args.model),
        "task": task.name,
        "options": {k: v for k, v in vars(args).items() if k not in ("model", "out", "data_dir")},
        "source": source,
        "largest_difference": float(np.abs(given - found).max() / np.abs(given).max()),
        "rows": rows,
        "environment": describe_environment(),
    }


def _check_outputs(outputs, task, path):
    """`CannotConvert` if the outputs of the first test samples are not of the task's shape."""
    shape = getattr(outputs, "shape", None)  # None of several, or in a dictionary
    expected = task.test.y[:50].shape + ((task.outputs,) if task.kind == "classes" else ())
    if shape != expected:
        raise CannotConvert(
            f"{path} does not fit {task.name}: expected one output of shape "
            f"{('N', *expected[1:])}, received "
            f"{type(outputs).__name__ if shape is None else ('N', *shape[1:])}"
        )


def _are_probabilities(outputs):
    """Whether the outputs are those of a softmax, whatever layer it is in."""
    import numpy as np

    return bool((outputs >= 0).all() and np.allclose(outputs.sum(axis=-1), 1.0, atol=1e-3))


def finetune(model, task, args, bits, logits):
    """Train a converted model while its activity bits fall to `bits`, in half of the steps.

    `logits`: whether its outputs are (of classes), or probabilities.
    """
    import keras

    from hybrid_lmu import BitBudget
    from training.data import EpochBatches
    from training.fit import fit, make_loss
    from training.progress import ProgressLine

    epochs, batches = args.finetune_epochs, EpochBatches(task.train, args.batch_size, args.seed)
    steps = epochs * len(batches)
    schedule = keras.optimizers.schedules
    model.compile(
        keras.optimizers.Adam(schedule.CosineDecay(args.learning_rate, steps), global_clipnorm=1.0),
        make_loss(task, from_logits=logits),
    )
    falling = schedule.PolynomialDecay(max(START_BITS, bits), max(1, steps // 2), float(bits))
    x = task.train.x[: args.calibration_samples].astype("float32")
    callbacks = [
        BitBudget(falling, x, batch_size=args.batch_size),
        ProgressLine(f"{bits:g} bits", epochs, len(batches), stream=sys.stderr),
    ]
    fit(model, batches, epochs=epochs, callbacks=callbacks)


def _judged(model, task, args, bits, epochs, logits):
    from keras import ops

    from hybrid_lmu import activity_report, resolution_variables

    part = task.test.x[: args.report_samples].astype("float32")
    totals = activity_report(model, part, batch_size=args.batch_size).totals
    every = {p: ops.convert_to_numpy(v) for p, v in resolution_variables(model).items()}
    row = {
        "bits": bits,
        "epochs": epochs,
        "score": _score(model, task, args, logits),
        "activity_bits": totals["activity_bits"],
        "significant_bits": totals["significant_bits"],
        "resolutions": {p: [float(v.min()), float(v.mean()), float(v.max())]
                        for p, v in every.items()},
    }  # fmt: skip
    trained = f"after {epochs_text(epochs)}" if epochs else "converted"
    note(f"{bits:g} bits, {trained}: {_score_line(row['score'])}")
    return row


def _score(model, task, args, logits):
    from training.scores import evaluate

    return evaluate(model, task.test, task.kind, args.batch_size, logits)


def _score_line(score):
    metric = metric_of(score)
    return f"{metric} {score_value(score[metric], metric)}{' %' * (metric == 'accuracy')}"


def epochs_text(count):
    """How long a converted network was trained, for a table."""
    return f"{count} epoch{'s' * (count != 1)}" if count else "no"


def table(record) -> str:
    """Text of a record: one row for each number of bits, with and without training."""
    metric = metric_of(record["source"])
    sign = 1 if metric == "accuracy" else -1
    columns = ("bits wanted", "trained", "mean resolutions", "activity bits", "significant",
               f"test {metric}{' %' * (metric == 'accuracy')}", "lost")  # fmt: skip
    rows = [("source", "", "", "", "", score_text(record["source"]), "")]
    for row in record["rows"]:
        lost = sign * (record["source"][metric] - row["score"][metric])
        rows.append((
            f"{row['bits']:g}", epochs_text(row["epochs"]),
            "/".join(f"{mean:.3g}" for _, mean, _ in row["resolutions"].values()),
            f"{row['activity_bits']:.2f}", f"{row['significant_bits']:.2f}",
            score_text(row["score"]), score_value(lost, metric),
        ))  # fmt: skip
    return Table(
        columns,
        rows,
        f"{record['model']} on {record['task']}; without resolutions its outputs are the same to "
        f"{record['largest_difference']:.1e}\n",
        f"\nBits on the first {record['options']['report_samples']} test samples, [95 % interval] "
        "of the whole test split.",
    ).text()


def _plot(record):
    import matplotlib.pyplot as plt

    from evaluation.style import MUTED, colours, styled, to_png

    metric = metric_of(record["source"])
    factor = 100 if metric == "accuracy" else 1
    with styled():
        figure, axes = plt.subplots(figsize=(6.4, 4.2))
        source = factor * record["source"][metric]
        axes.axhline(source, color=MUTED, linestyle="--", linewidth=1.2, label="source network")
        kinds = {"converted": [r for r in record["rows"] if not r["epochs"]]}
        epochs = record["options"]["finetune_epochs"]
        if epochs:
            label = f"trained for {epochs_text(epochs)}"
            kinds[label] = [r for r in record["rows"] if r["epochs"]]
        for (label, rows), colour in zip(kinds.items(), colours(kinds).values(), strict=True):
            rows = sorted(rows, key=lambda r: r["activity_bits"])
            x, y = ([r["activity_bits"] for r in rows], [factor * r["score"][metric] for r in rows])
            low, high = ([factor * r["score"]["interval"][i] for r in rows] for i in (0, 1))
            below = [value - end for value, end in zip(y, low, strict=True)]
            above = [end - value for value, end in zip(y, high, strict=True)]
            axes.errorbar(x, y, [below, above], color=colour, marker="o", capsize=3, label=label)
        low, high = axes.get_xlim()
        missing = max(0.0, 0.5 - (high - low))  # or hundredths of a bit look large
        axes.set_xlim(low - missing / 2, high + missing / 2)
        axes.set_xlabel("activity bits (test samples)")
        axes.set_ylabel(f"test {metric}{' %' if factor == 100 else ''}")
        axes.set_title(f"{Path(record['model']).name} on {record['task']}")
        axes.legend()
        return to_png(figure)
