import argparse
import dataclasses
import typing

import pytest

from training._options import Options, Parser, add_flags, integer, one_of, option, positive, share


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cake(Options):
    title: typing.ClassVar[str] = "cake"
    layers: int = option(3, integer(1), "how many")
    cream: str = option("vanilla", one_of(("vanilla", "lemon")), "taste", in_recipe=False)
    sugar: float | None = option(None, positive, "in gram")
    iced: bool = option(False, one_of((False, True)), "whether it is iced")
    oven: str = option("gas", one_of(("gas", "wood")), "not on the command line", flag=False)

    def _check_together(self):
        if self.iced and self.sugar is None:
            raise ValueError("`sugar` must be given with `iced`")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Drink(Options):
    cold: float = option(0.5, share, "how cold")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Party(Drink, Cake):
    pass


def parse(*words):
    parser = argparse.ArgumentParser()
    add_flags(parser, Cake)
    return vars(parser.parse_args(words))


def test_a_field_makes_a_flag_of_its_type():
    given = parse("--layers", "2", "--cream", "lemon", "--sugar", "1.5", "--no-iced")
    assert given == {"layers": 2, "cream": "lemon", "sugar": 1.5, "iced": False}


def test_a_recipe_chooses_what_is_not_given():
    assert parse() == {"layers": None, "cream": "vanilla", "sugar": None, "iced": None}


@pytest.mark.parametrize("words", [("--cream", "chalk"), ("--layers", "2.5"), ("--oven", "gas")])
def test_wrong_words(words, capsys):
    with pytest.raises(SystemExit):
        parse(*words)
    assert words[1] in capsys.readouterr().err


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(layers=0), "`layers` must be an integer >= 1; received: 0"),
        (dict(layers=None), "`layers` must be an integer >= 1; received: None"),
        (dict(layers=True), "`layers` must be an integer >= 1; received: True"),
        (dict(sugar=-1.0), "`sugar` must be a finite number > 0; received: -1.0"),
        (dict(cream="chalk"), "`cream` must be one of vanilla, lemon; received: 'chalk'"),
        (dict(iced=True), "`sugar` must be given with `iced`"),
    ],
)
def test_each_value_and_then_all_together_are_checked(options, message):
    for kind in (Cake, Party):
        with pytest.raises(ValueError, match=message):
            kind(**options)
    assert Party(sugar=2.0, iced=True).cold == 0.5


@pytest.mark.parametrize(
    "given, message",
    [
        (["--epochz", "3"], "unrecognized arguments: --epochz 3; did you mean --epochs?"),
        (["--unlike"], "unrecognized arguments: --unlike"),
        (["--epochs", "x"], "argument --epochs: invalid int value: 'x'"),
    ],
)
def test_a_usage_error_is_two_lines(given, message, capsys):
    parser = Parser(prog="python -m example")
    parser.add_argument("--epochs", type=int)
    with pytest.raises(SystemExit, match="2"):
        parser.parse_args(given)
    expected = [f"error: {message}", "`python -m example --help` lists the options."]
    assert capsys.readouterr().err.splitlines() == expected
