"""One command for all verbs: python -m evaluation VERB."""

import importlib

import pytest

from evaluation import __main__ as command


def test_help_has_a_line_for_each_verb(capsys):
    assert command.main(["--help"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    for verb in command.VERBS:
        assert sum(words[:1] == [verb] and len(words) > 3 for words in lines) == 1


@pytest.mark.parametrize("verb", command.VERBS)
def test_each_verb_has_its_help(verb, capsys):
    with pytest.raises(SystemExit) as stop:
        command.main([verb, "--help"])
    assert stop.value.code == 0
    assert f"usage: python -m evaluation {verb}" in capsys.readouterr().out


def test_without_a_verb_it_is_the_report(monkeypatch):
    given = []
    module = importlib.import_module("evaluation.report.command")
    monkeypatch.setattr(module, "main", lambda argv: given.append(argv) or 0)
    assert command.main(["runs", "--no-model"]) == command.main(["report", "runs"]) == 0
    assert given == [["runs", "--no-model"], ["runs"]]


def test_without_arguments_it_shows_the_verbs(capsys):
    assert command.main([]) == 2
    assert "time-to-accuracy" in capsys.readouterr().out
