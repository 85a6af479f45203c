import re

import pytest

from evaluation import report, tables
from evaluation.runs import load_run


@pytest.fixture
def hybrid(run_folders):
    return load_run(run_folders / "digits-hybrid-lmu-seed0")


def test_products_list_the_memory_by_itself_and_add_up(hybrid):
    table = tables.products(hybrid)
    assert [row[0] for row in table.rows] == [
        "hybrid_lmu/memory A",
        "hybrid_lmu/hidden kernel",
        "sum",
    ]
    dense = table.columns.index("dense MACs")
    assert [row[dense] for row in table.rows] == ["147,456", "224,000", "371,456"]
    assert table.rows[1][table.columns.index("input resolution")] == "1 to 2"
    assert all(len(row) == len(table.columns) for row in table.rows)


def test_energy_names_source_and_process(hybrid):
    table = tables.energy(hybrid)
    assert table.rows == [
        (
            "horowitz-fp32",
            "45 nm",
            "float32",
            "640 nJ",
            "–",
            "640 nJ",
            "Horowitz, ISSCC 2014 <table>",
        )
    ]


def test_activities_and_environment(hybrid, run_folders):
    table = tables.activities(hybrid)
    row = dict(zip(table.columns, table.rows[0], strict=True))
    assert row["activity bits"] == "3.6" and row["zeros"] == "61.0 %" and row["counts"] == "-7 to 8"
    assert tables.activities(load_run(run_folders / "digits-lstm-seed0")).rows == []
    facts = dict(tables.environment(hybrid).rows)
    assert facts["keras"] == "3.15.1" and facts["commit"] == "abc1234"
    assert dict(tables.options(hybrid).rows)["batch_size"] == "32"


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
        (1.25e-5, "12.5 µJ"),
        (3, "3 J"),
    ],
)
def test_joules(value, text):
    assert tables.joules(value) == text


def test_page_needs_nothing_from_outside_and_escapes_text():
    page = report.page(
        "Runs <1>",
        "made now",
        [
            report.section("A & B", report.table(("name", "n"), [("x<y", "1,000"), ("sum", "2")])),
            report.figure("plot", b"png bytes", "caption"),
        ],
    )
    assert page.startswith("<!doctype html>") and page.rstrip().endswith("</html>")
    assert not re.search(r'(src|href)="(?!data:)', page)
    assert "<script" not in page and "@import" not in page and "http" not in page
    assert "Runs &lt;1&gt;" in page and "A &amp; B" in page and "x&lt;y" in page
    assert "data:image/png;base64,cG5nIGJ5dGVz" in page


def test_words_are_set_left_and_numbers_right():
    html = report.table(("name", "value", "source"), [("a", "1.5", "a text"), ("b", "–", "more")])
    assert '<td class="text">a text</td>' in html and "<td>1.5</td>" in html


def test_write_leaves_the_earlier_file_whole(tmp_path, monkeypatch):
    path = tmp_path / "deep" / "report.html"
    report.write(path, "first")
    assert path.read_text() == "first"

    def fail(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(report.os, "replace", fail)
    with pytest.raises(OSError):
        report.write(path, "second")
    assert path.read_text() == "first"
    assert [p.name for p in path.parent.iterdir()] == ["report.html"]
