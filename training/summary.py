"""The table that ends a training: one row a run, made from metrics.json contents alone."""

import math
import statistics
import textwrap

NOTHING = "-"

# Title, preset, key of its entry: compute only, and with memory.
ENERGY = (
    ("E comp.", "horowitz-fp32", "compute_joules"),
    ("E +mem.", "horowitz-fp32", "total_joules"),
)


def summary_table(runs: list[dict]) -> str:
    """Text table of metrics.json contents, at most 120 columns wide, with its legend.

    One row a run, in the order given, under the name of its task if there are several; models
    with several seeds get one more row with the mean over seeds and, in place of the interval,
    the standard deviation between them. ValueError if `runs` is empty.
    """
    header, rows, legend = summary_rows(runs)
    return "\n".join([*_grid(header, rows), "", *legend])


def summary_rows(runs: list[dict]) -> tuple[list[str], list[list[str]], list[str]]:
    """Header, rows and lines of the legend of `summary_table`, each cell a text."""
    if not runs:
        raise ValueError("`runs` must have at least 1 metrics dict; received: 0")
    tasks = list(dict.fromkeys(run["task"] for run in runs))
    several_seeds = len({run["seed"] for run in runs}) > 1
    header = ["model", _score_title(runs), "non-sp.", "params", "act.b", "sig.b", "zeros",
              "ACs", "MACs", *(title for title, *_ in ENERGY)]  # fmt: skip
    rows = []
    for task in tasks:
        if len(tasks) > 1:
            rows.append([task] + [""] * (len(header) - 1))
        rows += _task_rows([run for run in runs if run["task"] == task], several_seeds)
    return header, rows, _legend(runs, several_seeds)


def _task_rows(runs, several_seeds):
    groups, rows = {}, []
    for run in runs:
        groups.setdefault(run["model"], []).append(run)
    for model, group in groups.items():
        for run in group:
            rows.append([f"{model} s{run['seed']}" if several_seeds else model, *_cells([run])])
        if len(group) > 1:
            rows.append([f"{model} mean", *_cells(group)])
    return rows


def _joules(preset, key):
    """Function of a run: that entry of its energy list, None if its report lacks the preset."""

    def joules(run):
        entries = {entry["preset"]: entry for entry in run["activity"]["energy"]}
        return entries[preset][key] if preset in entries else None

    return joules


def si(value: float | None, unit: str = "") -> str:
    """Three digits and an SI prefix: 12345 -> "12.3k", 4.2e-7 -> "420 nJ"."""
    if value is None:
        return NOTHING
    if value == 0:
        return f"0 {unit}".strip()
    powers = {-12: "p", -9: "n", -6: "u", -3: "m", 0: "", 3: "k", 6: "M", 9: "G", 12: "T"}
    power = 3 * math.floor(math.log10(abs(float(f"{value:.3g}"))) / 3)
    power = min(max(power, -12), 12)
    digits = f"{value / 10.0**power:.3g}"
    return f"{digits}{' ' if unit else ''}{powers[power]}{unit}"


def _cells(runs):
    def mean(function):
        values = [function(run) for run in runs]
        return None if None in values else statistics.fmean(values)

    def total(name):
        return mean(lambda run: run["activity"]["totals"].get(name))

    return [
        _score(runs),
        _plain_score(mean(lambda run: _value(run.get("non_spiking_test"))), runs[0]),
        f"{mean(lambda run: run['parameters']):,.0f}",
        _fixed(total("activity_bits")),
        _fixed(total("significant_bits")),
        _percent(total("share_of_zeros")),
        si(mean(accumulates)),
        si(mean(multiplies)),
        *(si(mean(_joules(preset, key)), "J") for _, preset, key in ENERGY),
    ]


def accumulates(run: dict) -> float:
    """Graded accumulates a sample: sum of |count| over all weights a spiking input meets."""
    return run["activity"]["totals"]["graded_acs"]


def multiplies(run: dict) -> float:
    """Effective multiply-accumulates a sample: products of real-valued, non-zero inputs."""
    return run["activity"]["totals"]["effective_macs"]


def _value(score):
    if score is None:
        return None
    return score["accuracy"] if "accuracy" in score else score["nrmse"]


def _score_title(runs):
    names = _score_names(runs)
    return f"test {names[0]} [95 % CI]" if len(names) == 1 else f"test {' or '.join(names)} [CI]"


def _score_names(runs):
    return [name for name, key in (("%", "accuracy"), ("NRMSE", "nrmse"))
            if any(key in run["test"] for run in runs)]  # fmt: skip


def _score(runs):
    value = statistics.fmean(_value(run["test"]) for run in runs)
    if len(runs) > 1:
        spread = statistics.stdev(_value(run["test"]) for run in runs)
        return f"{_plain_score(value, runs[0])} +- {_plain_score(spread, runs[0])}"
    low, high = runs[0]["test"]["interval"]
    shown = [_plain_score(v, runs[0]) for v in (value, low, high)]
    return f"{shown[0]} [{shown[1]}, {shown[2]}]"


def _plain_score(value, run):
    if value is None:
        return NOTHING
    if "accuracy" in run["test"]:
        return f"{100 * value:.2f}"
    return f"{value:.4f}" if value < 10 else f"{value:.4g}"


def _fixed(value):
    return NOTHING if value is None else f"{value:.2f}"


def _percent(value):
    return NOTHING if value is None else f"{100 * value:.0f} %"


def _grid(header, rows):
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]

    def line(cells):
        padded = [cell.rjust(width) for cell, width in zip(cells, widths, strict=True)]
        return "  ".join([cells[0].ljust(widths[0]), *padded[1:]]).rstrip()

    return [line(header), "  ".join("-" * width for width in widths), *map(line, rows)]


def _legend(runs, several_seeds):
    explained = {
        "%": "test %: accuracy.",
        "NRMSE": "test NRMSE: root of the mean squared error over the standard deviation of the "
        "targets (0 is perfect, 1 as good as their mean).",
    }
    notes = [
        *(explained[name] for name in _score_names(runs)),
        f"CI: 95 % interval{'; +-: standard deviation between seeds' if several_seeds else ''}.",
        "non-sp.: the same weights at resolution 2^20.",
        "act.b, sig.b, zeros: activity bits, significant bits and share of counts that are 0, "
        "means over quantized activities.",
        "ACs: additions for integer counts (a count n costs |n|), MACs: products of non-zero real "
        f"inputs, both per sample ({_steps(runs)}), without biases.",
    ]
    lines = _wrap("  ".join(notes))
    presets = {entry["preset"]: entry for run in runs for entry in run["activity"]["energy"]}
    for name in dict.fromkeys(preset for _, preset, _ in ENERGY):
        if name in presets:
            titles = [title for title, preset, _ in ENERGY if preset == name]
            entry = presets[name]
            lines += _wrap(
                f"{', '.join(titles)}: preset {name}, {entry['process_nm']} nm, "
                f"{entry['precision']}; {entry['source']}."
            )
    implementations = {run.get("implementation") for run in runs if run["model"] == "lmu"}
    if implementations:
        lines.append(f"lmu is built from {', '.join(sorted(filter(None, implementations)))}.")
    return lines


def _steps(runs):
    """Such as "a whole sequence: 64 steps", or the steps of every task."""
    steps = {run["task"]: run["activity"]["timesteps"] for run in runs}
    if len(set(steps.values())) == 1:
        return f"a whole sequence: {runs[0]['activity']['timesteps']} steps"
    return f"a whole sequence: {', '.join(f'{task} {n}' for task, n in steps.items())} steps"


def _wrap(text):
    return textwrap.wrap(text, width=118, break_on_hyphens=False)
