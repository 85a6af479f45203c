"""Tables of the committed conversions: records of the verbs `convert` and `spiking`."""

import json
from pathlib import Path

from evaluation.conversion import convert, spiking
from evaluation.runs import RunError
from evaluation.tables import Table, joules, metric_of, short_commit

HYBRID = """\
Source: the trained network, not spiking. Same to: the largest difference of the outputs of the \
converted network without resolutions, over the largest output (50 test samples). Resolutions \
are calibrated on training samples; trained: epochs of training on while the bits fall from 8 to \
those wanted. Test: the whole test set, [95 % interval], with each step of a recurrent layer \
simulated, and the last one of a feed-forward LMU drawn from its distribution; lost: points below \
the source. Activity and significant bits of all steps of the first test samples \
(--report-samples)."""
SPIKING = """\
Steps: until the accuracy stays within 0.3 points of the source network's, > T if it never does \
in T steps; with exit the mean over images, each of which leaves when the network is sure. \
Percentile and rule of the exit are chosen on validation images. Fewer: steps at the maximum \
without exit over steps at the percentile with exit. Start: potentials before the first step, in \
thresholds. Spikes with exit; energy (horowitz-fp32, computation and memory accesses, 100 images) \
of the source network, then at the percentile without exit and, of the mean steps rounded up, with \
it; matched: the source network with integer activities of as many bits as the numbers of spikes \
with exit have."""


def conversions(folder, training_command):
    """Markdown of all records ``*.json`` in `folder`, "" if there are none; `RunError`.

    ``training_command(records)``: the command that trains runs again, from their metrics.
    """
    hybrid, spikes = [], []
    for path in sorted(folder.glob("*.json")):
        try:
            record = json.loads(path.read_text())
            (hybrid if "source" in record else spikes).append((path.stem, record))
        except (OSError, ValueError) as e:
            raise RunError(f"cannot read {path} as a record of a conversion: {e}") from e
    parts = []
    try:
        if hybrid:
            parts += ["### Recurrent networks, converted", _hybrid_table(hybrid), HYBRID]
            lines = [line for _, r in hybrid for line in _commands(r, training_command)]
            once = dict.fromkeys(lines)  # two conversions may be of one network
            parts.append("\n".join(f"    {line}" for line in once))
        if spikes:
            parts += ["### Convolutional networks, converted to integrate-and-fire neurons",
                      _spiking_table(spikes), SPIKING]  # fmt: skip
            parts.append("\n".join(f"    {_spiking_command(r)}" for _, r in spikes))
    except (KeyError, TypeError, IndexError) as e:
        raise RunError(
            f"a record in {folder} lacks what the verbs `convert` and `spiking` write; "
            f"received: {type(e).__name__} {e}"
        ) from e
    return "\n\n".join(parts)


def _hybrid_table(records):
    header = ["network", "source", "same to", "bits wanted", "trained", "activity bits",
              "significant bits", "test", "lost", "date, commit"]  # fmt: skip
    rows = []
    for name, record in records:
        metric = metric_of(record["source"])
        source = record["source"][metric]
        for i, row in enumerate(record["rows"]):
            lost = (source - row["score"][metric]) * (1 if metric == "accuracy" else -1)
            rows.append([
                "" if i else name, "" if i else _score(record["source"], metric),
                "" if i else f"{record['largest_difference']:.1g}",
                f"{row['bits']:g}", convert.epochs_text(row["epochs"]),
                f"{row['activity_bits']:.2f}",
                f"{row['significant_bits']:.2f}", _score(row["score"], metric),
                f"{100 * lost:.2f}" if metric == "accuracy" else f"{lost:.4f}",
                "" if i else _made(record),
            ])  # fmt: skip
    return Table(header, rows).markdown()


def _score(score, metric):
    values = (score[metric], *score["interval"])
    if metric == "accuracy":
        return "{:.2f} % [{:.2f}, {:.2f}]".format(*(100 * v for v in values))
    return "NRMSE {:.4f} [{:.4f}, {:.4f}]".format(*values)


def _made(record):
    environment = record["environment"]
    return f"{str(environment['date'])[:10]}, {short_commit(environment['commit'])}"


def _commands(record, training_command):
    """Lines that train the source network and convert it, as far as they are known."""
    run, lines = record.get("run"), []
    if run and run["config"]:
        one = {"config": run["config"], "seed": run["config"]["seed"], "environment": run}
        lines = [f"{training_command([one])} --out {Path(record['model']).parent}"]
    words = [f"python -m evaluation convert {record['model']} --data {record['task']}"]
    return [*lines, " ".join(words + _options(record["options"], convert.parser()))]


def _spiking_command(record):
    words = ["python -m evaluation spiking", f"--data {record['data']}"]
    return " ".join(words + _options(record["options"], spiking.parser()))


def _options(options, parser):
    """Those that are not the defaults, as on the command line."""
    words = []
    for key, value in options.items():
        if key == "data" or value == (
            "tensorflow" if key == "backend" else parser.get_default(key)
        ):
            continue
        flag = f"--{key.replace('_', '-')}"
        values = value if isinstance(value, list) else [] if value is True else [value]
        words.append(" ".join([flag, *map(_plain, values)]))
    return words


def _plain(value):
    return f"{value:g}" if isinstance(value, float) else str(value)


def _spiking_table(records):
    header = ["data, network", "start", "source %", "maximum: test %", "steps", "percentile",
              "test %", "steps", "with exit: test %", "steps", "fewer", "spikes",
              "energy: source / spiking / with exit / matched", "date, commit"]  # fmt: skip
    rows = []
    for _, record in records:
        start = {"zeros": "0", "half": "1/2"}[record["options"]["initial_potential"]]
        for i, row in enumerate(record["rows"]):
            full, _, best, left = row["runs"]
            ratio = full["mean_steps"] / left["mean_steps"]
            energies = (
                row["source_energy"],
                best["energy"],
                left["energy"],
                left["energy_matched"],
            )
            rows.append([
                f"{record['data']}, {row['name']}", start, f"{100 * row['source_accuracy']:.2f}",
                f"{100 * full['accuracy']:.2f}", _steps(full), f"{best['percentile']:g} %",
                f"{100 * best['accuracy']:.2f}", _steps(best), f"{100 * left['accuracy']:.2f}",
                f"{left['mean_steps']:.1f}",
                f"{'> ' * (full['steps_to_source'] is None)}{ratio:.1f} times",
                f"{left['spikes']:,.0f}", joules(*(total for _, total in energies)),
                "" if i else _made(record),
            ])  # fmt: skip
    return Table(header, rows).markdown()


def _steps(run):
    return f"> {run['mean_steps']}" if run["steps_to_source"] is None else str(run["mean_steps"])
