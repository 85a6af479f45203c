"""Table and figure of the rows with low-bit weights: accuracy against bits.

Beside them stand the rows of the same recipe at full precision, their baseline.
"""

import math
import statistics

import matplotlib.pyplot as plt
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from evaluation.committed.plot import spread
from evaluation.style import MUTED, colours, styled
from evaluation.tables import NOTHING, Table
from training.config import WEIGHT_RULES, WEIGHTS

OWN = ("weights", "weight_rule", "power_of_two", "exempt", "start_temperature", "temperature",
       "weight_anneal_fraction", "weight_gradient", "report_samples")  # fmt: skip
TICKS = (99.5, 99, 98.75, 98.5, 98.25, 98, 97.5, 97, 96, 95, 94, 92, 90, 88, 87, 86, 85, 84, 80, 70)
FULL = 32

LEGEND = """\
Kernels of all layers have the bits named (exempt ones are named too); biases stay at 32. Packed: \
codes, scales and all that is not quantized, in bytes, and how many times smaller than all weights \
at 32 bits; the constant matrices of the memory are not in it. Weight x activity bits: bits of the \
codes times mean activity bits. Additions and other products: effective ones per sequence; the \
others are of the memory's own step, or have an input or weight that is no integer. Soft: the \
same network before its staircases are replaced by steps. Bits and products are counted on the \
first samples of the test set where a row's command has --report-samples."""


def is_low_bit(row):
    """Whether a row has low-bit weights."""
    return row.config.get("weights", "full") != "full"


def with_baselines(rows):
    """The low-bit rows of one task, each group after its baseline: `[(row, baseline or None)]`.

    The baseline is the row with the same options at full precision.
    """
    found = []
    for row in sorted((r for r in rows if is_low_bit(r)), key=_order):
        same = [r for r in rows if not (is_low_bit(r) or r.peer) and _rest(r) == _rest(row)]
        found.append((row, same[0] if same else None))
    return found


def without_low_bit(rows):
    """The rows that stand in the other tables: no low-bit ones, no baselines made for them."""
    made = [b for _, b in with_baselines(rows) if b and b.config["memory_unit"] == "normalized"]
    return [row for row in rows if not (is_low_bit(row) or row in made)]


def _order(row):
    config = row.config
    levels = list(WEIGHTS).index(config["weights"])
    rule = WEIGHT_RULES.index(config["weight_rule"])
    return config["model"], rule, levels, config["exempt"]


def _rest(row):
    return {key: value for key, value in row.config.items() if key not in OWN}


def weight_bits(row):
    """Bits of the codes of the quantized kernels; 32 at full precision."""
    levels = WEIGHTS[row.config.get("weights", "full")]
    return FULL if levels is None else max(1, (len(levels) - 1).bit_length())


def low_bit_table(rows, ranges, score, made):
    """Markdown table of the low-bit rows of one task and their baselines; None without any.

    Args:
        rows: `results.Row`s of one task.
        ranges, score, made: functions of a row for the texts of its seeds, its score and its date.
    """
    pairs = with_baselines(rows)
    if not pairs:
        return None
    columns = ("model", "weights", "seeds", "test accuracy %", "soft %", "activity bits",
               "weight x activity bits", "packed bytes (saving)", "additions",
               "other products", "date, commit")  # fmt: skip
    lines, seen = [], []
    for row, baseline in pairs:
        if baseline is not None and baseline not in seen:
            seen.append(baseline)
            lines.append(_cells(baseline, ranges, score, made))
        lines.append(_cells(row, ranges, score, made))
    return Table(columns, lines).markdown()


def _cells(row, ranges, score, made):
    config = row.config
    name = config.get("weights", "full")
    notes = (
        [config["weight_rule"]] if is_low_bit(row) and config["weight_rule"] != "sigmoids" else []
    )
    if is_low_bit(row) and config["exempt"] != "none":
        notes.append(f"{config['exempt']} exempt")
    activity = row.mean_bits("activity_bits")
    bits = FULL if activity is None else activity
    return (
        row.model + _fold(row),
        name + (f" ({', '.join(notes)})" if notes else ""),
        ranges(row),
        score(row),
        _soft(row),
        NOTHING if activity is None else f"{activity:.2f}",
        f"{weight_bits(row) * bits:.1f}",
        _packed(row),
        *_products(row),
        made(row),
    )


def _fold(row):
    fold = row.config.get("fold")
    return "" if fold is None else f", fold{fold}"


def _mean(row, pick):
    values = [pick(record) for record in row.records]
    return None if None in values else statistics.fmean(values)


def _soft(row):
    mean = _mean(row, lambda record: (record.get("soft_test") or {}).get("accuracy"))
    return NOTHING if mean is None else f"{100 * mean:.2f}"


def _packed(row):
    size = _mean(row, lambda record: (record.get("weights") or {}).get("packed_bytes"))
    saving = _mean(row, lambda record: (record.get("weights") or {}).get("saving"))
    return NOTHING if size is None else f"{size:,.0f} ({saving:.1f})"


def _products(row):
    totals = [record["activity"]["totals"] for record in row.records]
    if any("additions" not in one for one in totals):
        return NOTHING, NOTHING
    additions = statistics.fmean(one["additions"] for one in totals)
    others = statistics.fmean(
        sum(p["effective_macs"] + p["effective_acs"] for p in record["activity"]["products"]
            if not p["additions"])
        for record in row.records
    )  # fmt: skip
    return f"{additions:,.0f}", f"{others:,.0f}"


def accuracy_against_weights(rows):
    """Figure: error (log axis) against weight bits x activity bits (log axis); None without rows.

    `rows`: `results.Row`s of all tasks; one panel a task, one colour a model.
    """
    tasks = {task: with_baselines([r for r in rows if r.task == task])
             for task in dict.fromkeys(row.task for row in rows)}  # fmt: skip
    tasks = {task: pairs for task, pairs in tasks.items() if pairs}
    if not tasks:
        return None
    with styled():
        columns = min(2, len(tasks))  # wider, and a page would shrink the text
        lines = math.ceil(len(tasks) / columns)
        figure, axes = plt.subplots(
            lines, columns, layout="constrained", figsize=(1 + 4.5 * columns, 0.4 + 3.8 * lines),
            squeeze=False,
        )  # fmt: skip
        for ax in axes.flat[len(tasks) :]:
            ax.axis("off")
        for ax, (task, pairs) in zip(axes.flat, tasks.items(), strict=False):
            _panel(ax, task, pairs)
        for ax in axes[:, 0]:
            ax.set_ylabel("test accuracy (%), log axis of the error")
        figure.suptitle("Low-bit weights: accuracy against weight bits x activity bits", x=0.01,
                        ha="left", fontsize=11.5, fontweight="bold")  # fmt: skip
    return figure


def _panel(ax, task, pairs):
    rows = [row for row, _ in pairs]
    rows += [b for i, (_, b) in enumerate(pairs) if b and b not in [p[1] for p in pairs[:i]]]
    palette = colours(row.model for row in rows)
    errors, labels = [], []
    for row in rows:
        mean, low, high = (100 * (1 - value) for value in row.score())
        bits = weight_bits(row) * (row.mean_bits("activity_bits") or FULL)
        errors += [mean, low, high]
        rule = row.config.get("weight_rule", "sigmoids") if is_low_bit(row) else "sigmoids"
        ax.errorbar(bits, mean, yerr=[[mean - high], [low - mean]], color=palette[row.model],
                    marker="o" if rule == "sigmoids" else "s", ms=6.5, mec="white",
                    capsize=2.5, ls="", elinewidth=1.1)  # fmt: skip
        name = row.config.get("weights", "full") + ("" if rule == "sigmoids" else f" {rule}")
        labels.append((bits, mean, name + _fold(row)))
    ax.set_xscale("log", base=2)
    ax.xaxis.set_major_formatter(FuncFormatter(lambda bits, _: f"{bits:g}"))
    ax.set_yscale("log")
    low, high = min(errors) / 1.1, max(errors) * 1.1
    ax.set_ylim(high, low)
    every = [bits for bits, *_ in labels]
    ax.set_xlim(min(every) / 1.5, max(every) * 1.5)
    _name_points(ax, labels)
    ax.yaxis.set_major_locator(FixedLocator(_ticks(low, high) or [low, high]))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_formatter(FuncFormatter(lambda error, _: f"{100 - error:g}"))
    ax.set_xlabel("weight bits x activity bits, log axis")
    names = ", ".join(dict.fromkeys(row.model for row in rows))
    ax.set_title(f"{task}: {names}", fontsize=9.5, loc="left")


def _name_points(ax, labels):
    """Names beside their points, inside the panel, moved apart where they would overlap."""

    def share(value, limits):
        first, last = limits
        return math.log(value / first) / math.log(last / first)

    placed = [(share(bits, ax.get_xlim()), share(error, ax.get_ylim()), name)
              for bits, error, name in labels]  # fmt: skip
    for to_left in (False, True):
        side = [one for one in placed if (one[0] > 0.6) == to_left]
        heights = spread([y for _, y, _ in side], 0.06, 0.03, 0.97)
        for (x, y, name), height in zip(side, heights, strict=True):
            ax.annotate(
                name, (x, y), (x + (-0.03 if to_left else 0.03), height),
                xycoords="axes fraction", textcoords="axes fraction", fontsize=8, color=MUTED,
                ha="right" if to_left else "left", va="center",
            )  # fmt: skip


def _ticks(low, high):
    """Errors of `TICKS` within the range, far enough apart on its log axis to be read."""
    height, chosen = math.log(high / low), []
    for error in sorted(100 - accuracy for accuracy in TICKS):
        far = not chosen or math.log(error / chosen[-1]) >= 0.05 * height
        if low <= error <= high and far:
            chosen.append(error)
    return chosen
