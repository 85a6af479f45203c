"""Options as fields of dataclasses: default, check, help and flag are declared in one place."""

import argparse
import dataclasses
import difflib
import math
import numbers
import re
import types
import typing
from collections.abc import Callable, Iterable


def option(
    default: object,
    check: Callable[[str, object], None],
    help: str,
    *,
    in_recipe: bool = True,
    flag: bool = True,
) -> dataclasses.Field:
    """A field of a subclass of `Options`.

    Args:
        default: the default value. None means "not set", and is then allowed beside what `check`
            allows.
        check: function of (name, value), which raises ValueError for a wrong value: `one_of`,
            `integer`, `positive`, `share`, `probability` or `switch`.
        help: the help of the flag on the command line.
        in_recipe: whether recipes set the option. The flag has the default None then, which leaves
            the choice to the recipe; otherwise it has `default`.
        flag: whether `add_flags` makes a flag.
    """
    metadata = {"check": check, "help": help, "in_recipe": in_recipe, "flag": flag}
    return dataclasses.field(default=default, metadata=metadata)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Base class of a group of options; its fields are made by `option`.

    Each value is checked when an object is made: first one by one, then by the method
    `_check_together` of every class in the bases that has one.
    """

    title: typing.ClassVar[str] = ""  # of the group on the command line

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value is not None or field.default is not None:
                field.metadata["check"](field.name, value)
        for part in type(self).__mro__:
            if "_check_together" in vars(part):
                part._check_together(self)


class Parser(argparse.ArgumentParser):
    """A parser whose errors are two lines: what is wrong, and where the options are listed."""

    def error(self, message: str):
        unknown = re.match(r"unrecognized arguments: (--[\w-]+)", message)
        if unknown:
            known = difflib.get_close_matches(
                unknown[1], self._option_string_actions, n=1, cutoff=0.75
            )
            message += f"; did you mean {known[0]}?" if known else ""
        self.exit(2, f"error: {message}\n`{self.prog} --help` lists the options.\n")


def add_flags(parser: argparse.ArgumentParser, part: type[Options]) -> None:
    """Add a group of flags, one for each field of `part`."""
    group = parser.add_argument_group(part.title)
    for field in dataclasses.fields(part):
        if not field.metadata["flag"]:
            continue
        kind, check = _value_type(field.type), field.metadata["check"]
        how = {"type": kind, "metavar": kind.__name__.upper()}
        if kind is bool:
            how = {"action": argparse.BooleanOptionalAction}
        elif isinstance(check, one_of) and kind is str:
            how = {"choices": check.allowed}
        group.add_argument(
            f"--{field.name.replace('_', '-')}",
            default=None if field.metadata["in_recipe"] else field.default,
            help=field.metadata["help"],
            **how,
        )


def _value_type(annotation):
    """int of `int` and of `int | None`."""
    if isinstance(annotation, types.UnionType):
        return next(kind for kind in typing.get_args(annotation) if kind is not types.NoneType)
    return annotation


class one_of:
    """Check that a value is one of `allowed`."""

    def __init__(self, allowed: Iterable):
        self.allowed = tuple(allowed)

    def __call__(self, name: str, value: object) -> None:
        if value not in self.allowed:
            expected = ", ".join(map(str, self.allowed))
            raise ValueError(f"`{name}` must be one of {expected}; received: {value!r}")


def integer(least: int) -> Callable[[str, object], None]:
    """Check that a value is an integer of at least `least`."""

    def check(name, value):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(f"`{name}` must be an integer >= {least}; received: {value!r}")

    return check


def positive(name: str, value: float) -> None:
    """Check that a value is a finite number above 0."""
    if not (isinstance(value, numbers.Real) and math.isfinite(value) and value > 0):
        raise ValueError(f"`{name}` must be a finite number > 0; received: {value!r}")


def share(name: str, value: float) -> None:
    """Check that a value is in [0, 1]."""
    if not 0 <= value <= 1:
        raise ValueError(f"`{name}` must be in [0, 1]; received: {value!r}")


def probability(name: str, value: float) -> None:
    """Check that a value is in [0, 1)."""
    if not 0 <= value < 1:
        raise ValueError(f"`{name}` must be in [0, 1); received: {value!r}")


def switch(name: str, value: bool) -> None:
    """Check that a value is True or False."""
    if not isinstance(value, bool):
        raise ValueError(f"`{name}` must be True or False; received: {value!r}")
