"""The documents: their code runs and prints what they show, and the README stays short.

A page is a ```python block after another in one namespace. A ```text block behind one shows what
the blocks before it, back to the last such block, print. Words must be equal, and on
TensorFlow, whose random draws the pages show, numbers to a tenth.
"""

import contextlib
import io
import re
from pathlib import Path

import keras
import pytest
from sybil import Sybil
from sybil.evaluators.python import PythonEvaluator
from sybil.parsers.markdown import CodeBlockParser

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?(?:e-?\d+)?")
LINK = re.compile(r"\]\((?!https?://|#)([^)#\s]+)")
_python = PythonEvaluator()


def run(example):
    """Run a block and keep what it prints."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        _python(example)
    example.namespace["__printed__"] = example.namespace.get("__printed__", "") + printed.getvalue()


def compare(example):
    """Raise AssertionError unless the block shows what was printed."""
    printed = example.namespace.pop("__printed__", "")
    assert_shown(str(example.parsed), printed)


def assert_shown(shown, printed):
    assert NUMBER.sub("0", shown).split() == NUMBER.sub("0", printed).split(), printed
    for pair in zip(NUMBER.findall(shown), NUMBER.findall(printed), strict=True):
        expected, number = (float(text.replace(",", "")) for text in pair)
        same = number == pytest.approx(expected, rel=0.1, abs=0.02)
        assert same or keras.backend.backend() != "tensorflow", printed


PARSER = Sybil([CodeBlockParser("python", run), CodeBlockParser("text", compare)])
FAST = ("README.md", "your-data.md", "extend.md")
WITH_CODE = [
    pytest.param(
        page, marks=[] if page.name in FAST or "concepts" in page.parts else pytest.mark.slow
    )
    for page in PAGES
    if "```python" in page.read_text()
]


@pytest.mark.parametrize("page", WITH_CODE, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_code_of_the_page_runs_and_prints_what_is_shown(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    keras.utils.clear_session(free_memory=False)  # layers get the names of a new session
    examples = list(PARSER.parse(page).examples())
    assert examples
    for example in examples:
        example.evaluate()


@pytest.mark.parametrize("printed", ["3.74 bits", "4.9 words", "4.9"])
def test_other_output_than_the_one_shown_is_an_error(printed, monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "tensorflow")
    with pytest.raises(AssertionError):
        assert_shown("4.9 bits", printed)


def test_links_lead_somewhere():
    for page in [*PAGES, ROOT / "CONTRIBUTING.md"]:
        for link in LINK.findall(page.read_text()):
            assert (page.parent / link).exists(), f"{page.name} links to {link}"


def test_readme_is_short_and_has_the_lines_that_ci_runs():
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 120
    for command in (
        'pip install -e ".[train]" && python -m training',
        "python -m evaluation runs",
        'pip install -e ".[test]" && pytest',
    ):
        assert f"    {command}" in text.splitlines()


def test_every_page_is_in_the_navigation():
    navigation = (ROOT / "mkdocs.yml").read_text()
    for page in DOCS.rglob("*.md"):
        assert page.relative_to(DOCS).as_posix() in navigation


def test_every_public_package_has_a_page_of_the_reference():
    named = "".join(path.read_text() for path in (DOCS / "api").glob("*.md"))
    packages = [path.parent.name for path in (ROOT / "hybrid_lmu").glob("*/__init__.py")
                if "__all__" in path.read_text()]  # fmt: skip
    assert packages and all(f"::: hybrid_lmu.{name}" in named for name in packages)


def test_documents_name_no_folder_of_a_machine():
    for page in PAGES:
        assert not re.search(r"(^|[\s`(])/(work|root|tmp|home)/", page.read_text()), page
