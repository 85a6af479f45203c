"""One table in three renderings, and the texts of single values."""

import pytest

from evaluation import tables
from evaluation.tables import Table

TABLE = Table(
    ("name", "value", "source"),
    [("a", "1.5", "a <text>"), ("bcd", "–", "more"), ("sum", "12", "")],
    "Title",
    "A note.",
)


def test_text_puts_words_left_and_numbers_right():
    lines = TABLE.text().splitlines()
    assert (lines[0], lines[-1]) == ("Title", "A note.")
    head, first, second, _ = lines[1:-1]
    assert head.index("source") == first.index("a <text>") == second.index("more")
    assert head.index("value") + len("value") == first.index("1.5") + 3 == second.index("–") + 1


def test_markdown_has_a_row_for_each_row_and_equal_cells():
    lines = TABLE.markdown().splitlines()
    assert len(lines) == 2 + len(TABLE.rows)
    assert {line.count("|") for line in lines} == {4}
    assert [cell.strip() for cell in lines[2].strip("|").split("|")] == list(TABLE.rows[0])


def test_html_escapes_and_sets_words_left():
    html = TABLE.html()
    assert '<td class="text">a &lt;text&gt;</td>' in html and "<td>1.5</td>" in html
    assert html.count("<tr") == 1 + len(TABLE.rows) and html.count("class=sum") == 1
    assert "Title" in html and "A note." in html


def test_a_table_without_rows_is_only_heads_or_nothing():
    empty = Table(("name", "value"), [], "Title")
    assert empty.html() == "" and "name" in empty.text()


def test_a_row_of_another_length_is_refused():
    with pytest.raises(ValueError, match="must have 2 cells"):
        Table(("name", "value"), [("a",)])


@pytest.mark.parametrize(
    "value, text",
    [
        (None, "–"),
        (0, "0"),
        (12345.0, "12,345"),
        (0.12345, "0.123"),
        (45678.9, "45,679"),
    ],
)
def test_numbers(value, text):
    assert tables.number(value) == text


@pytest.mark.parametrize(
    "value, text",
    [
        (None, "–"),
        (2e-12, "2 pJ"),
        (4.6e-9, "4.6 nJ"),
        (1.25e-5, "12.5 uJ"),
        (3, "3 J"),
    ],
)
def test_joules(value, text):
    assert tables.joules(value) == text
