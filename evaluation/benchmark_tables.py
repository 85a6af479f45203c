"""The benchmark's records as text: one table for each group and mode, then what did not run."""

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
        lines += _table(f"{groups[key].title}: {MODE_TITLES[mode]}", rows, rate)
    for state in ("skipped", "failed"):
        left_out = [f"{state}: {r['case']} ({r[state]})" for r in records if state in r]
        lines += ["", *left_out] if left_out else []
    return "\n".join(lines)


def _table(title, rows, rate):
    references = list(rows[0]["ratios"])
    letters = "ABCDEFGH"[: len(references)]
    columns = {
        "median s": (9, lambda r: f"{r['median']:.4g}"),
        "first s": (8, lambda r: _optional(r["first_call_seconds"])),
        "params": (9, lambda r: f"{r['parameters']:,}"),
    }
    if any(r.get("operations") for r in rows):
        columns["operations"] = (10, lambda r: f"{r['operations']:,}")
    if any(r.get("flop") for r in rows):
        columns["GFLOP/s"] = (8, lambda r: _speed(r, 1e9, ".4g"))
        if rate:
            columns["of rate"] = (7, lambda r: _speed(r, rate, ".1%"))
    for letter, reference in zip(letters, references, strict=True):
        columns[f"/ {letter}"] = (21, lambda r, name=reference: _ratio(r["ratios"][name]))
    width = max(len(r["case"]) for r in rows)
    legend = ", ".join(f"{a} = {name}" for a, name in zip(letters, references, strict=True))
    return [
        f"\n{title}   ({legend})",
        _row("", width, [(w, name) for name, (w, _) in columns.items()]),
        *(_row(r["case"], width, [(w, cell(r)) for w, cell in columns.values()]) for r in rows),
    ]


def _row(name, width, cells):
    return "  ".join([f"{name:{width}}", *(f"{text:>{w}}" for w, text in cells)])


def _speed(record, unit, form):
    return format(record["flop"] / record["median"] / unit, form) if record.get("flop") else "-"


def _ratio(ratio):
    return f"{ratio['median']:.3g} [{ratio['low']:.3g}, {ratio['high']:.3g}]"


def _optional(seconds):
    return "-" if seconds is None else f"{seconds:.3g}"
