"""An `ActivityReport` as text, in lines of at most 120 columns: long names go on in a next line."""

import textwrap

_WIDTH = 120

_COUNTED = (
    "Counted: every product with a weight, at every step, and the gate products of LSTM and GRU.",
    "Counted: every product with a weight, and the gate products of LSTM and GRU. What only an "
    "output needs is counted at the steps that are read, the rest at every step.",
)
_EXCLUSIONS = (
    "Excluded: biases, activation functions, normalisation, look-ups, additions of outputs; "
    "products of two activations or with constants, outside the gates of LSTM and GRU.",
)


def summary(report):
    """Return the report as aligned tables."""
    steps = report.timesteps
    lines = [
        f"Activity report: {report.samples} samples, T = {steps} steps; "
        "products and energy per sample (whole sequence)",
        "",
    ]
    if report.activities:
        lines += _table(
            [
                "quantized activity",
                "neurons",
                "resolution",
                "act. bits",
                "prov.",
                "signif.",
                "n != 0",
                "entropy",
                "zeros",
                "mean |n|",
                "range",
            ],
            [_activity(row) for row in report.activities],
        )
    else:
        lines.append("No quantized activity.")
    lines.append("")
    rows = [_product(row) for row in report.products]
    total = [report.totals[key] for key in _COUNTS]
    rows.append(["total per sample", "", "", *(_number(value) for value in total), ""])
    rows.append(["total per step", "", "", *(_number(value / steps) for value in total), ""])
    header = ["product", "kind", "weights", "dense MACs", "eff. MACs", "eff. ACs", "strict ACs",
              "graded ACs", "input"]  # fmt: skip
    lines += _table(header, rows, rules=(len(rows) - 2,))
    lines += _low_bit(report)
    for row in report.products:
        if row["structured_operations"] is not None:
            lines += _wrapped(
                f"{row['name']}: {row['structured_operations']:,.0f} operations in the form of "
                "legendre.structured_step (O(order)) in place of the MACs of A and B"
            )
    notes = (_COUNTED[report.read_once], *_EXCLUSIONS)
    lines += ["", *(line for text in notes for line in _wrapped(text))]
    if report.not_counted:
        left = ", ".join(f"{path} ({reason})" for path, reason in report.not_counted.items())
        lines += _wrapped(f"Left out: {left}")
    sizes = report.footprint
    lines += [
        "",
        *_wrapped(
            f"Footprint: {sizes['parameters']:,} parameters; weights and buffers "
            f"{sizes['stored_bytes']:,} bytes stored, {sizes['packed_bytes']:,} packed; state per "
            f"sample {sizes['state_bytes']:,} bytes, {sizes['packed_state_bytes']:,} packed"
        ),
        "",
    ]
    lines += _table(
        ["energy per sample", "node", "precision", "compute", "memory", "total"],
        [_energy(row) for row in report.energy],
    )
    lines += ["", "Sources:"]
    sources = {}
    for row in report.energy:
        sources.setdefault(row["source"], []).append(row["preset"])
    for source, names in sources.items():
        lines += _wrapped(f"  {', '.join(names)}: {source}", "    ")
    lines.append("No memory figure: measured on a whole chip, its memory is inside.")
    return "\n".join(lines)


_COUNTS = ("dense_macs", "effective_macs", "effective_acs", "strict_acs", "graded_acs")


def _low_bit(report):
    """The lines on products with weights of few bits; none without any."""
    rows = [row for row in report.products if row["weight_bits"] < 32]
    if not rows:
        return []
    cells = [
        [row["name"], str(row["weight_bits"]), str(row["input_bits"]), _number(row["additions"]),
         _number(row["bit_operations"])]
        for row in rows
    ]  # fmt: skip
    table = _table(
        ["product with low-bit weights", "weight bits", "input bits", "additions", "bit ops"], cells
    )
    by_addition = [row["name"] for row in rows if row["additions"]]
    others = [row for row in report.products if row["name"] not in by_addition]
    rest = sum(row["effective_macs"] + row["effective_acs"] for row in others)
    text = ""
    if by_addition:
        text = (
            f"All products of {len(by_addition)} low-bit weight tensors are additions and shifts."
        )
        if rest:
            names = ", ".join(row["name"] for row in others)
            text += f" The other products, {_number(rest)} effective ones, are those of {names}."
    scaled = [row["name"] for row in rows if row["effective_acs"] and not row["additions"]]
    if scaled:
        text += (
            f" The products of {', '.join(scaled)} are not plain additions: the counts have a "
            "resolution for each neuron, so that each is multiplied by a factor of its own."
        )
    return ["", *table, *_wrapped(text.strip())]


def _wrapped(text, indent="  "):
    return textwrap.wrap(text, _WIDTH, subsequent_indent=indent, break_on_hyphens=False)


def _activity(row):
    entropy = row["entropy_bits"]
    return [
        row["name"],
        f"{row['neurons']:,}",
        f"{row['resolution']:g}",
        f"{row['activity_bits']:.2f}",
        str(row["provisioned_bits"]),
        f"{row['significant_bits']:.2f}",
        f"{row['significant_bits_nonzero']:.2f}",
        "-" if entropy is None else f"{entropy:.2f}",
        f"{100 * row['share_of_zeros']:.1f} %",
        f"{row['mean_abs_count']:.2f}",
        f"{row['count_min']} .. {row['count_max']}",
    ]


def _product(row):
    resolution = row["input_resolution"]
    return [
        row["name"],
        row["kind"],
        f"{row['weights']:,}",
        *(_number(row[key]) for key in _COUNTS),
        "real" if resolution is None else f"n / {resolution:g}",
    ]


def _energy(row):
    node = row["process_nm"]
    return [
        row["preset"],
        "-" if node is None else f"{node} nm",
        row["precision"],
        *(_joules(row[key]) for key in ("compute_joules", "memory_joules", "total_joules")),
    ]


def _number(value):
    return f"{value:,.0f}" if value == int(value) or value >= 1000 else f"{value:,.1f}"


def _joules(value):
    if value is None:
        return "-"
    for unit, scale in (("J", 1.0), ("mJ", 1e-3), ("uJ", 1e-6), ("nJ", 1e-9)):
        if value >= scale:
            return f"{value / scale:.3g} {unit}"
    return f"{value / 1e-12:.3g} pJ"


def _table(header, rows, rules=()):
    """Align columns: text left, numbers right; a rule before the rows named."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    room = max(_WIDTH - sum(widths[1:]) - 2 * len(widths[1:]), 20)
    widths[0] = min(widths[0], room)
    left = [all(not row[i][:1].isdigit() for row in rows) for i in range(len(header))]

    def line(row):
        cells = zip(row, widths, left, strict=True)
        return "  ".join(c.ljust(w) if is_left else c.rjust(w) for c, w, is_left in cells).rstrip()

    rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
    lines = [line(header), rule]
    for index, row in enumerate(rows):
        lines += [rule] if index in rules else []
        name, *rest = textwrap.wrap(row[0], room, subsequent_indent="  ") or [""]
        lines += [line([name, *row[1:]]), *rest]
    return lines
