"""Tables and plots of the committed results: python -m evaluation results [RESULTS_DIR]

Reads all run folders below RESULTS_DIR, and the peers' records in RESULTS_DIR/peers, and prints
one Markdown table a task: one row for runs that differ in their seed alone, and the command that
trains each row again; then the tables of converted networks, of RESULTS_DIR/conversion.
"""

import dataclasses
import json
import statistics
from pathlib import Path

from evaluation.committed.conversions import conversions
from evaluation.committed.low_bit import LEGEND as LOW_BIT_LEGEND
from evaluation.committed.low_bit import is_low_bit, low_bit_table, without_low_bit
from evaluation.committed.published import MARKS, published_table
from evaluation.console import make_parser as verb_parser
from evaluation.console import note, run_command
from evaluation.files import WriteError, check_writable, write
from evaluation.runs import RESULTS, RunError, find_runs
from evaluation.tables import NOTHING, Table, ranges, score_value, short_commit
from training.cli import make_configs, make_parser
from training.config import FOLDS, MODELS, ROUNDINGS, TASK_NAMES, RunConfig, variants

FIRST_TASKS = ("psmnist", "ecg", "digits")
BEGIN, END = "<!-- results -->", "<!-- /results -->"
MACHINE = ("jit", "devices")  # options of the machine: they do not make another row
DEFAULTS = {field.name: field.default for field in dataclasses.fields(RunConfig)}
PEER = "evaluation/peers/hgq2.py"
BITS = ("activity_bits", "significant_bits")

LEGEND = """\
Every number is of the whole test set with every step simulated: mean ± standard deviation over \
seeds, or of one seed [95 % interval]. Non-spiking: the same weights at resolution 2^20. Bits are \
means over seeds and quantized activities (each in brackets): activity bits log2(range + 1) per \
neuron, significant bits the mean bit length of |count|, 0 for a zero. A dash: nothing quantized. \
Dates and commits are those of the first and the last run."""


@dataclasses.dataclass(frozen=True)
class Row:
    """Runs that differ in their seed alone, or in the fold of a cross-validation.

    `records`: contents of metrics.json, ordered by seed; of a peer, the same keys. `config`: their
    options without the seed. `variants`: as `training.config.variants`. `apart`: what tells the
    row from others of its task, model and variants. `peer`: made by another package.
    """

    task: str
    model: str
    variants: tuple
    config: dict
    records: list
    apart: str = ""
    peer: bool = False

    @property
    def name(self):
        return ", ".join([self.model, *self.variants, *(["peer"] if self.peer else [])])

    @property
    def label(self):
        return f"{self.name} ({self.apart})" if self.apart else self.name

    @property
    def rounding(self):
        return self.config.get("rounding", "diffused")

    @property
    def metric(self):
        return "accuracy" if "accuracy" in self.records[0]["test"] else "nrmse"

    @property
    def seeds(self):
        return [record["seed"] for record in self.records]

    def score(self):
        """(mean, low, high) of the test score: one standard deviation, or the 95 % interval."""
        values = [record["test"][self.metric] for record in self.records]
        if len(values) == 1:
            return (values[0], *self.records[0]["test"]["interval"])
        mean, spread = statistics.fmean(values), statistics.stdev(values)
        return mean, mean - spread, mean + spread

    def non_spiking(self):
        """Mean score of the same weights without quantization, or None."""
        scores = [record.get("non_spiking_test") for record in self.records]
        return None if None in scores else statistics.fmean(s[self.metric] for s in scores)

    def mean_bits(self, key):
        """Mean over seeds and activities of "activity_bits" or "significant_bits", or None."""
        values = [record["activity"]["totals"].get(key) for record in self.records]
        return None if None in values else statistics.fmean(values)

    def bits_by_activity(self, key):
        """Dict of activity name -> mean over seeds."""
        lists = [record["activity"].get("activities", []) for record in self.records]
        names = [activity["name"] for activity in lists[0]]
        short = [name.split("/")[-1] for name in names]
        shown = short if len(set(short)) == len(short) else names
        columns = zip(*([a.get(key) for a in activities] for activities in lists), strict=True)
        means = (None if None in c else statistics.fmean(c) for c in columns)
        return {name: mean for name, mean in zip(shown, means, strict=True) if mean is not None}


def read_rows(folder, note=lambda text: None):
    """Rows of all runs below `folder` and of its peers, in the order of the tables.

    `RunError`: no finished run, or a broken file.
    """
    groups = {}
    for run in find_runs([folder], note):
        config = {**DEFAULTS, **run.config, "task": run.task, "model": run.model}
        config["backend"] = config.get("backend") or _environment(run.metrics).get("backend")
        kept = {k: v for k, v in config.items() if k not in ("seed", "backend", *MACHINE)}
        if kept.get("fold") is not None:  # the folds of a cross-validation are one row
            kept["fold"] = f"s of {FOLDS}"
        record = {**run.metrics, "config": {**config, "seed": run.seed}}
        groups.setdefault(json.dumps(kept, sort_keys=True), (kept, []))[1].append(record)
    rows = [
        Row(c["task"], c["model"], tuple(variants(c)), c, sorted(r, key=lambda r: r["seed"]))
        for c, r in groups.values()
    ]
    rows = [dataclasses.replace(row, apart=_apart(row, rows)) for row in rows]
    return sorted([*rows, *read_peers(Path(folder) / "peers", note)], key=_order)


def _apart(row, rows):
    """Options, as text, in which rows of the same name differ."""
    same = [r for r in rows if (r.task, r.name) == (row.task, row.name)]
    keys = [k for k in row.config if any(r.config.get(k) != row.config[k] for r in same)]
    return ", ".join(f"{k.replace('_', ' ')} {_plain(row.config[k])}" for k in keys)


def _plain(value):
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _order(row):
    task = FIRST_TASKS.index(row.task) if row.task in FIRST_TASKS else len(FIRST_TASKS)
    model = MODELS.index(row.model) if row.model in MODELS else len(MODELS)
    rounding = ROUNDINGS.index(row.rounding) if row.rounding in ROUNDINGS else len(ROUNDINGS)
    permutation = row.config.get("permutation", 0)
    return task, row.task, model, row.model, permutation, rounding, row.apart


def read_peers(folder, note=lambda text: None):
    """Rows of the records of `evaluation/peers/hgq2.py` in `folder`; none if it is not there."""
    groups = {}
    for path in sorted(Path(folder).glob("*.json")):
        try:
            record = json.loads(path.read_text())
            if "test" not in record:
                note(f"passed over {path}: validation split only (no test)")
                continue
            config = {key: record[key] for key in ("task", "model", "units", "bits")}
            config |= record["config"]
            activity = {"name": "hidden", **record["activity"]}
            shaped = {"activities": [activity], "totals": {k: activity[k] for k in BITS}}
            record = {**record, "activity": shaped}
            key = (json.dumps(config, sort_keys=True), record["seed"], record["parameters"])
        except (OSError, ValueError, KeyError, TypeError) as e:
            raise RunError(
                f"cannot read {path}; expected a record of evaluation/peers/hgq2.py; "
                f"received: {type(e).__name__} {str(e)[:80]}"
            ) from e
        groups.setdefault(key[0], (config, []))[1].append(record)
    rows = [
        Row(c["task"], c["model"], (), c, sorted(r, key=lambda r: r["seed"]), peer=True)
        for c, r in groups.values()
    ]
    return [dataclasses.replace(row, apart=_apart(row, rows)) for row in rows]


def _environment(record):
    return record.get("environment") or {}


def commands(row):
    """Lines that train the row's runs again, one for every backend and machine option."""
    if row.peer:
        return [_peer_command(row)]
    groups = {}
    for record in row.records:
        key = {k: v for k, v in record["config"].items() if k != "seed"}
        groups.setdefault(json.dumps(key, sort_keys=True), []).append(record)
    return [training_command(records) for records in groups.values()]


def training_command(records):
    """The command of runs that differ in their seed alone: the options that the recipe lacks."""
    config = records[0]["config"]
    task, model = config["task"], config["model"]
    if task not in TASK_NAMES or model not in MODELS:
        return f"# no command: {model} on {task} is unknown to this version of training"
    words = ["--task", task, "--model", model]
    if config.get("weights", "full") != "full":  # it changes the recipe
        words += ["--weights", config["weights"]]
    options = make_parser().parse_args(words)
    recipe = {**make_configs(options)[0].to_dict(), "backend": "tensorflow"}
    missing = []
    for key, value in config.items():
        if key == "seed" or value == recipe.get(key, ...) or (key == "backend" and value is None):
            continue
        if value is None or key not in vars(options):
            missing.append(f"{key} to {_plain(value)}")
        else:
            words += _option(key.replace("_", "-"), value)
    line = " ".join(["python -m training", *words, "--seeds", ranges(r["seed"] for r in records)])
    if missing:
        commit = _environment(records[0]).get("commit")
        line += f"  # at commit {commit}: no option here sets {', '.join(missing)}"
    return line


def _option(name, value):
    if isinstance(value, bool):
        return [f"--{name}" if value else f"--no-{name}"]
    return [f"--{name}", str(value)]


def _peer_command(row):
    words = str(row.records[0].get("command", PEER)).split()
    words[0] = PEER  # where the script of older records lies now
    for flag, text in (("--seed", "SEED"), ("--out", "FILE")):
        if flag in words[:-1]:
            words[words.index(flag) + 1] = text
    return f"peer/bin/python {' '.join(words)}  # SEED: {ranges(row.seeds)}"


def markdown(rows):
    """All tables, with the published marks of a task, the commands and one legend."""
    parts = []
    for task in dict.fromkeys(row.task for row in rows):
        own = [row for row in rows if row.task == task]
        parts += [f"### {task}", table(without_low_bit(own) or own)]
        if task in MARKS:
            parts.append(published_table(MARKS[task]))
        low_bit = low_bit_table(own, lambda row: ranges(row.seeds), _score_text, _made)
        if low_bit:
            parts += [f"Weights of few bits, {task}:", low_bit]
        lines = [f"    {line}" for row in own for line in commands(row)]
        parts += ["Each row again:", "\n".join(lines)]
    legends = [LEGEND, LOW_BIT_LEGEND] if any(is_low_bit(row) for row in rows) else [LEGEND]
    return "\n\n".join([*parts, *legends])


def table(rows):
    """Markdown table of the rows of one task."""
    metric = "accuracy %" if rows[0].metric == "accuracy" else "NRMSE"
    columns = ("model", "seeds", "epochs", "trainable parameters", f"test {metric}",
               f"non-spiking {metric}", "activity bits", "significant bits",
               "date, commit")  # fmt: skip
    return Table(columns, [_cells(row) for row in rows]).markdown()


def _cells(row):
    parameters = statistics.fmean(record["parameters"] for record in row.records)
    plain = row.non_spiking()
    return (
        row.label,
        ranges(row.seeds),
        str(row.config.get("epochs", NOTHING)),
        f"{parameters:,.0f}",
        _score_text(row),
        NOTHING if plain is None else _score(row, plain),
        *(_bits(row, key) for key in BITS),
        _made(row),
    )


def _score_text(row):
    mean, low, high = row.score()
    if len(row.records) > 1:
        return f"{_score(row, mean)} ± {_score(row, high - mean)}"
    return f"{_score(row, mean)} [{_score(row, low)}, {_score(row, high)}]"


def _score(row, value):
    return score_value(value, row.metric)


def _bits(row, key):
    mean = row.mean_bits(key)
    if mean is None:
        return NOTHING
    each = ", ".join(f"{name} {bits:.2f}" for name, bits in row.bits_by_activity(key).items())
    some = row.config.get("report_samples")
    return f"{mean:.2f} ({each}{f'; first {some:,} samples' if some else ''})"


def _made(row):
    """Dates and commits of the first and the last run, one of each if they are the same."""
    runs = sorted(
        (str(e.get("date") or "")[:10], str(e.get("commit") or "unknown commit"))
        for e in map(_environment, row.records)
    )
    ends = (runs[0], runs[-1])
    dates = dict.fromkeys(date for date, _ in ends if date)
    found = dict.fromkeys(short_commit(commit) for _, commit in ends)
    return ", ".join(filter(None, (" to ".join(dates), " to ".join(found))))


def replace_between_marks(path, content):
    """Write `content` between the marks of the file `path`; `WriteError` if it lacks them."""
    try:
        text = Path(path).read_text()
    except (OSError, ValueError) as e:
        raise WriteError(f"cannot read {path}: {str(e).splitlines()[0]}") from e
    found = [text.count(mark) for mark in (BEGIN, END)]
    if found != [1, 1] or text.index(BEGIN) > text.index(END):
        raise WriteError(
            f"cannot write {path}: expected one {BEGIN} and after it one {END}; "
            f"received: {found[0]} and {found[1]}{', in the other order' * (found == [1, 1])}"
        )
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    write(path, f"{before}{BEGIN}\n\n{content}\n\n{END}{after}")


def parser():
    p = verb_parser("results", __doc__)
    p.add_argument("results", nargs="?", type=Path, default=RESULTS, metavar="RESULTS_DIR",
                   help=f"folder of run folders (default: {RESULTS})")  # fmt: skip
    p.add_argument("--write", type=Path, metavar="FILE",
                   help=f"put the tables between {BEGIN} and {END} of this file")  # fmt: skip
    p.add_argument("--plots", type=Path, metavar="DIR",
                   help="write accuracy against bits there, one PNG a task")  # fmt: skip
    return p


def main(argv=None):
    """Command line. Returns the exit status: 0, or 1 after one line on stderr."""
    return run_command(parser(), _results, argv)


def _results(args):
    rows = read_rows(args.results, note)
    converted = conversions(args.results / "conversion", training_command)
    text = "\n\n".join(filter(None, [markdown(rows), converted]))
    if args.write:
        replace_between_marks(args.write, text)
    print(text)
    if args.plots:
        _plot(rows, args.plots)


def _plot(rows, folder):
    from evaluation.committed.low_bit import accuracy_against_weights
    from evaluation.committed.plot import accuracy_against_bits
    from evaluation.style import to_png

    figure = accuracy_against_weights(rows)
    if figure is not None:
        path = folder / "weight-bits.png"
        check_writable(path)
        write(path, to_png(figure))
        note(f"wrote {path}")
    rows = without_low_bit(rows)
    for task in dict.fromkeys(row.task for row in rows):
        own = [row for row in rows if row.task == task]
        figure = accuracy_against_bits(own, MARKS.get(task, ()))
        if figure is None:
            note(f"no plot of {task}: no quantized activity with an accuracy")
            continue
        path = folder / f"{task}-bits.png"
        check_writable(path)
        write(path, to_png(figure))
        note(f"wrote {path}")
