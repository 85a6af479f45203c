"""Convert convolutional networks to integrate-and-fire neurons, and see what each choice costs:
python -m evaluation spiking --data digits --designs all

Trains small VGGs of the pattern of Lu & Sengupta (2020) at full precision and with binary kernels,
converts them (thresholds at percentiles of the activity on training data), simulates them on the
test split and prints, for each design: accuracy of the source network and of the spiking one; time
steps to within 0.3 points of the source, for good; mean steps, spikes and energy; with thresholds
at the largest activity and at the best percentile, with and without early exit. Percentile and
rule of the exit (a ring in the plot, among all confidences) are chosen on the validation split.
Writes OUT/DATA.json and OUT/DATA.png, with initial potential, encoding, propagation and seed in the
name if they are not the default (DATA-half-poisson-seed1), and the trained networks, which a later
run with the same --out and --seed takes instead of training anew.
"""

import time

import numpy as np

from evaluation.console import (
    add_backend,
    add_data_dir,
    add_out,
    add_seed,
    count,
    make_parser,
    note,
    run_command,
    start_engine,
)
from evaluation.conversion.spiking_report import PRESET, line, plot, table
from evaluation.files import check_writable, write, write_json
from evaluation.runs import ModelUnreadable, load_model
from training.tasks import IMAGE_TASKS

ALLOWED = 0.003  # of accuracy, below the source network
CHOSEN_WITHIN = 0.001  # the same on validation, or one image: it flatters what is chosen by it


def designs():
    """``{name: designs}`` that the command knows."""
    from training.images import Design

    paper = (Design(), Design(binary=True))
    ends = (Design(binary=True, binary_first=True), Design(binary=True, binary_last=True),
            Design(binary=True, binary_first=True, binary_last=True))  # fmt: skip
    others = (Design(place="after"), Design(pooling="max"), Design(pooling="max", place="after"),
              Design(bias=True), Design(batch_norm=True, bias=True))  # fmt: skip
    return {"paper": paper, "all": (*paper, *ends, *others)}


def parser():
    p = make_parser("spiking", __doc__)
    p.add_argument("--data", choices=IMAGE_TASKS, default="digits",
                   help="default: digits, embedded; of cifar10 and cifar100 a VGG-15")  # fmt: skip
    add_data_dir(p)
    p.add_argument("--designs", choices=("paper", "all"), default="paper",
                   help="paper (default): full precision and binary, first and last layer exempt; "
                   "all: also pooling, biases, batch norm, binary ends")  # fmt: skip
    p.add_argument("--timesteps", type=count, default=100, metavar="T", help="default: 100")
    p.add_argument("--samples", type=count, metavar="N",
                   help="test images (default: all)")  # fmt: skip
    p.add_argument("--validation-samples", type=count, metavar="N",
                   help="validation images that percentile and exit are chosen on "
                   "(default: all)")  # fmt: skip
    p.add_argument("--energy-samples", type=count, default=100, metavar="N",
                   help="test images that operations are counted on (default: 100)")  # fmt: skip
    p.add_argument("--batch-size", type=count, default=10, metavar="N",
                   help="images simulated at once (default: 10: the states of more fit in no "
                   "cache)")  # fmt: skip
    p.add_argument("--initial-potential", choices=("zeros", "half"), default="zeros",
                   help="in thresholds (default: zeros)")  # fmt: skip
    p.add_argument("--encoding", choices=("analog", "poisson"), default="analog",
                   help="of the images (default: analog)")  # fmt: skip
    p.add_argument("--propagation", choices=("one-step", "synchronous"), default="one-step",
                   help="a step for all layers (default), or one for each")  # fmt: skip
    add_seed(p)
    add_out(p, "runs/spiking")
    add_backend(p)
    return p


def main(argv=None):
    """Command line. Returns the exit status: 0, or 1 after one line on stderr."""
    return run_command(parser(), _study, argv)


def _study(args):
    check_writable(record_path(args))
    note(start_engine(args.backend))
    from training import images

    data = images.load(args.data, args.data_dir)
    record = study(data, images.RECIPES[args.data], designs()[args.designs], args)
    print(table(record))
    write(record_path(args).with_suffix(".png"), plot(record))
    print(f"\nRecord, plot and source models: {args.out}")


def study(data, recipe, chosen, args):
    """Train, convert and simulate all designs; the record of it, written after each design."""
    import dataclasses

    from training import images
    from training.environment import describe_environment

    trained = {}
    record = {
        "data": data.name,
        "options": {k: v for k, v in vars(args).items() if k not in ("out", "data_dir")},
        "recipe": dataclasses.asdict(recipe),
        "test_images": len(data.test.x[: args.samples]),
        "rows": [],
        "environment": describe_environment(),
    }
    for design in chosen:
        note(f"\n{design.name}")
        name = design.name.replace(", ", "-").replace(" ", "_")
        path = args.out / f"{data.name}-{name}-seed{args.seed}.keras"
        plain = dataclasses.replace(design, binary=False, binary_first=False, binary_last=False)
        started, seconds = time.monotonic(), None
        if path.exists():
            model = _trained_before(path)
        else:
            start = trained.get(plain)
            model = images.train(data, recipe, design, args.seed, note=note, start=start)
            seconds = time.monotonic() - started
            model.save(path)
        if not design.binary:
            trained[plain] = model
        row = {"design": dataclasses.asdict(design), "name": design.name, "seconds": seconds}
        record["rows"].append({**row, **judge(model, data, args)})
        write_json(record_path(args), record)
    return record


def record_path(args):
    """Where the record goes; options that are in the name keep each other's records."""
    told = {
        "half": args.initial_potential == "half",
        "poisson": args.encoding == "poisson",
        "synchronous": args.propagation == "synchronous",
        f"seed{args.seed}": args.seed != 0,
    }
    name = "-".join([args.data, *(option for option, is_told in told.items() if is_told)])
    return args.out / f"{name}.json"


def _trained_before(path):
    note(f"trained before: {path}")
    try:
        return load_model(path)
    except ModelUnreadable as e:
        raise ModelUnreadable(f"{e}; remove it to train anew") from e


def judge(model, data, args):
    """Accuracies, steps, spikes and energy of one trained network, with thresholds at the maximum
    and at the percentile that validation chooses, with and without early exit."""
    from hybrid_lmu import activity_report, conversion
    from hybrid_lmu.weights import weight_footprint

    sizes = {"validation": args.validation_samples, "test": args.samples}
    part = {name: getattr(data, name).take(slice(0, size)) for name, size in sizes.items()}
    of_source = {name: _accuracy(model, split) for name, split in part.items()}
    record = conversion.record_activations(model, data.train.x[:5000], batch_size=100)
    counted = data.test.x[: args.energy_samples]
    source = activity_report(model, counted, batch_size=args.batch_size)
    found = {
        "source_accuracy": of_source["test"],
        "source_energy": _energy(source.energy),
        "footprint": weight_footprint(model),
        "runs": [],
    }
    at_maximum, best = (
        _operating_point(model, record, part["validation"], of_source, percentiles, args)
        for percentiles in ((100.0,), conversion.PERCENTILES)
    )
    for point in (at_maximum, best):
        of_test = conversion.simulate(
            _spiking(model, record, point.percentile, args),
            part["test"].x,
            batch_size=args.batch_size,
        )
        runs = _runs(of_test, point, part["test"].y, of_source["test"])
        for one in runs:
            steps = int(np.ceil(one["mean_steps"]))
            spiking = _spiking(model, record, point.percentile, args, steps)
            report = activity_report(spiking, counted, batch_size=args.batch_size)
            one["energy"] = _energy(report.energy)
            one["energy_matched"] = _energy([_matched(source, steps)])
            note(line(one))
        found["runs"] += runs
    found["percentile"] = best.percentile
    return found


def _matched(source, steps):
    """Energy of the source network with activities of as many bits as numbers of spikes have."""
    from hybrid_lmu.accounting import baseline_energy

    bits = int(np.ceil(np.log2(steps + 1)))
    return baseline_energy([{**row, "input_bits": bits} for row in source.products])


def _runs(of_test, point, labels, source):
    """Two runs on the test split: all steps, and with early exit by the rule of the point."""
    from hybrid_lmu.conversion import EXIT_RULES, early_exit

    curve = of_test.accuracy(labels)
    last = of_test.spikes[:, -1].mean()
    common = {"percentile": point.percentile, "neurons": of_test.neurons}
    step = of_test.steps_to(labels, source - ALLOWED)
    full = {
        **common,
        "exit": None,
        "accuracy": float(curve[-1]),
        "curve": curve.tolist(),
        "steps_to_source": step,
        "mean_steps": len(curve) if step is None else step,
        "spikes": float(of_test.spikes[:, (step or len(curve)) - 1].mean()),
        "spikes_at_the_end": float(last),
    }
    rule = point.exit_rule
    early = {
        **common,
        "exit": rule,
        **_summary(early_exit(of_test, **rule), labels),
        "trade_off": [
            {"confidence": one["confidence"], **_summary(early_exit(of_test, **one), labels)}
            for one in EXIT_RULES
            if one["norm"] == rule["norm"]
        ],
    }
    return [full, early]


def _summary(left, labels):
    return {
        "accuracy": left.accuracy(labels),
        "mean_steps": float(left.steps.mean()),
        "spikes": float(left.spikes.mean()),
    }


def _operating_point(model, record, validation, of_source, percentiles, args):
    """What validation chooses, with the progress shown."""
    from hybrid_lmu.conversion import search_percentile

    def show(point):
        note(f"percentile {point.percentile:g}: validation {100 * point.accuracy:.2f} %, "
             f"{point.exit.steps.mean():.1f} steps with exit")  # fmt: skip

    one_image = 1.001 / len(validation.y)
    return search_percentile(
        model,
        record,
        (validation.x, validation.y),
        of_source["validation"] - max(CHOSEN_WITHIN, one_image),
        percentiles=percentiles,
        batch_size=args.batch_size,
        callback=show,
        **_options(args),
    )


def _spiking(model, record, percentile, args, timesteps=None):
    from hybrid_lmu.conversion import to_spiking

    options = _options(args)
    options["timesteps"] = timesteps or args.timesteps
    return to_spiking(model, record, percentile=percentile, **options)


def _options(args):
    names = ("timesteps", "encoding", "initial_potential", "propagation", "seed")
    return {name: getattr(args, name) for name in names}


def _accuracy(model, split):
    logits = model.predict(split.x, batch_size=100, verbose=0)
    return float((logits.argmax(axis=-1) == split.y).mean())


def _energy(rows):
    """Joules of the computation alone, and with memory accesses, of the preset shown."""
    shown = {row["preset"]: row for row in rows}
    row = shown.get(PRESET) or shown["quantized-ann"]
    return [row["compute_joules"], row["total_joules"]]
