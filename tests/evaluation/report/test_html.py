import re

from evaluation.report import html
from evaluation.tables import Table


def test_page_needs_nothing_from_outside_and_escapes_text():
    table = Table(("name", "n"), [("x<y", "1,000"), ("sum", "2")])
    page = html.page(
        "Runs <1>",
        "made now",
        [
            html.section("A & B", table.html()),
            html.figure("plot", b"png bytes", "caption"),
        ],
    )
    assert page.startswith("<!doctype html>") and page.rstrip().endswith("</html>")
    assert not re.search(r'(src|href)="(?!data:)', page)
    assert "<script" not in page and "@import" not in page and "http" not in page
    assert "Runs &lt;1&gt;" in page and "A &amp; B" in page and "x&lt;y" in page
    assert "data:image/png;base64,cG5nIGJ5dGVz" in page
