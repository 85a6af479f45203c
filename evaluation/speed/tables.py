"""The benchmark's records as text: one table for each group and mode, then what did not run."""

from evaluation.tables import Table, ratio_text

MODE_TITLES = {
    "train": "training step",
    "infer": "inference of a batch",
    "stream": "streaming step",
}


def format_records(records, groups, rate=None):
    """All tables. rate: the machine's FLOP/s, None if not measured."""
    lines = []
    done = dict.fromkeys((r["group"], r["mode"]) for r in records if "mode" in r)
    for key, mode in done:
        rows = [r for r in records if r["group"] == key and r.get("mode") == mode]
        lines.append(_table(f"{groups[key].title}: {MODE_TITLES[mode]}", rows, rate))
    for state in ("skipped", "failed"):
        left_out = [f"{state}: {r['case']} ({r[state]})" for r in records if state in r]
        lines += ["", *left_out] if left_out else []
    return "\n".join(lines)


def _table(title, rows, rate):
    references = list(rows[0]["ratios"])
    letters = "ABCDEFGH"[: len(references)]
    columns = {
        "median s": lambda r: f"{r['median']:.4g}",
        "first s": lambda r: _optional(r["first_call_seconds"]),
        "params": lambda r: f"{r['parameters']:,}",
    }
    if any(r.get("operations") for r in rows):
        columns["operations"] = lambda r: f"{r['operations']:,}"
    if any(r.get("flop") for r in rows):
        columns["GFLOP/s"] = lambda r: _speed(r, 1e9, ".4g")
        if rate:
            columns["of rate"] = lambda r: _speed(r, rate, ".1%")
    for letter, reference in zip(letters, references, strict=True):
        columns[f"/ {letter}"] = lambda r, name=reference: ratio_text(r["ratios"][name])
    legend = ", ".join(f"{a} = {name}" for a, name in zip(letters, references, strict=True))
    cells = [[r["case"], *(cell(r) for cell in columns.values())] for r in rows]
    return Table(["", *columns], cells, f"\n{title}   ({legend})").text()


def _speed(record, unit, form):
    return format(record["flop"] / record["median"] / unit, form) if record.get("flop") else "-"


def _optional(seconds):
    return "-" if seconds is None else f"{seconds:.3g}"
