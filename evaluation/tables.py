"""Tables as data: columns, rows of texts, a title and a note; and the texts of single values."""

import dataclasses
import html
from collections.abc import Iterable, Sequence

from training.summary import si

NOTHING = "–"


@dataclasses.dataclass(frozen=True)
class Table:
    """A table that renders as text, Markdown and HTML.

    Args:
        columns: heads of the columns.
        rows: one sequence of texts a row, as long as `columns`.
        title: a line above the table; "" for none.
        note: a line for the reader below the table; "" for none.

    Raises:
        ValueError: if a row has more or fewer cells than there are columns.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    title: str = ""
    note: str = ""

    def __post_init__(self):
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(
                    f"a row must have {len(self.columns)} cells, one a column; received: {row}"
                )

    def text(self) -> str:
        """Aligned text: columns of words to the left, columns of numbers to the right."""
        lines = [self.columns, *self.rows]
        widths = [max(len(line[i]) for line in lines) for i in range(len(self.columns))]
        left = self._word_columns()

        def aligned(line):
            cells = (
                cell.ljust(width) if words else cell.rjust(width)
                for cell, width, words in zip(line, widths, left, strict=True)
            )
            return "  ".join(cells).rstrip()

        above, below = ([part] if part else [] for part in (self.title, self.note))
        return "\n".join([*above, *map(aligned, lines), *below])

    def markdown(self) -> str:
        """Markdown of columns and rows alone."""
        lines = (f"| {' | '.join(line)} |" for line in (self.columns, *self.rows))
        head, *body = lines
        return "\n".join([head, "|" + "---|" * len(self.columns), *body])

    def html(self) -> str:
        """HTML with title and note, "" of a table without rows."""
        if not self.rows:
            return ""
        left = self._word_columns()

        def cells(tag, line):
            return "".join(
                f"<{tag}{_classes(text, words)}>{html.escape(text)}</{tag}>"
                for text, words in zip(line, left, strict=True)
            )

        body = "".join(
            f"<tr{' class=sum' if row[0] == 'sum' else ''}>{cells('td', row)}</tr>"
            for row in self.rows
        )
        above = f"<h3>{html.escape(self.title)}</h3>" if self.title else ""
        below = f'<p class="note">{html.escape(self.note)}</p>' if self.note else ""
        return (
            f'{above}<div class="scroll"><table><thead><tr>{cells("th", self.columns)}</tr></thead>'
            f"<tbody>{body}</tbody></table></div>{below}"
        )

    def _word_columns(self):
        """For each column, whether any cell is neither empty nor a number."""
        return [
            i == 0 or any(row[i] and not _numeric(row[i]) for row in self.rows)
            for i in range(len(self.columns))
        ]


def _numeric(text):
    return text[0] in "0123456789-–+.[>"


def _classes(text, words):
    names = (["text"] if words else []) + (["wide"] if len(text) > 48 else [])
    return f' class="{" ".join(names)}"' if names else ""


def number(value: float | str | None, digits: int = 3) -> str:
    """Text of a number: thousands separated, small ones with `digits` digits, a dash for None."""
    if value is None:
        return NOTHING
    if isinstance(value, str):
        return value
    if float(value).is_integer() and abs(value) < 1e15:
        return f"{int(value):,}"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.{digits}g}"


def joules(*values: float | None) -> str:
    """Energies with SI prefixes, separated by slashes; a dash for None."""
    return " / ".join(NOTHING if value is None else si(value, "J") for value in values)


def percent(value: float | None, digits: int = 1) -> str:
    """Text of a share in percent, a dash for None."""
    return NOTHING if value is None else f"{100 * value:.{digits}f} %"


def metric_of(score: dict) -> str:
    """The key of the score in a record of `training.scores`: "accuracy" or "nrmse"."""
    return "accuracy" if "accuracy" in score else "nrmse"


def score_value(value: float, metric: str) -> str:
    """An accuracy in percent with 2 digits, or an NRMSE with 4."""
    return f"{100 * value:.2f}" if metric == "accuracy" else f"{value:.4f}"


def score_text(score: dict) -> str:
    """The score with its 95 % interval: "98.10 [97.80, 98.40]"."""
    metric = metric_of(score)
    middle, low, high = (score_value(v, metric) for v in (score[metric], *score["interval"]))
    return f"{middle} [{low}, {high}]"


def ratio_text(ratio: dict) -> str:
    """Median and quartiles of a ratio: "0.5 [0.48, 0.52]"."""
    return "{median:.3g} [{low:.3g}, {high:.3g}]".format(**ratio)


def short_commit(commit: str | None) -> str:
    """A whole commit cut to 7 digits, with what follows it, such as "-dirty"."""
    name, dash, rest = str(commit).partition("-")
    return f"{name[:7]}{dash}{rest}" if len(name) == 40 else str(commit)


def ranges(numbers: Iterable[int]) -> str:
    """Text of integers as --seeds takes it: [0, 1, 2, 5] -> "0-2 5"."""
    parts = []
    for n in sorted(set(numbers)):
        if parts and parts[-1][1] == n - 1:
            parts[-1][1] = n
        else:
            parts.append([n, n])
    return " ".join(f"{a}" if a == b else f"{a}-{b}" for a, b in parts)
