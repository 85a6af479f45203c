"""The examples of the docstrings run, and say what comes out."""

import doctest
import importlib
import pkgutil

import keras
import numpy as np
import pytest

import hybrid_lmu

MODULES = [
    module.name for module in pkgutil.walk_packages(hybrid_lmu.__path__, prefix="hybrid_lmu.")
]
GLOBALS = {"np": np, "keras": keras, **vars(hybrid_lmu), **vars(hybrid_lmu.weights)}


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    module = importlib.import_module(name)
    assert doctest.testmod(module, extraglobs=GLOBALS).failed == 0
    for attribute in vars(module).values():
        if isinstance(attribute, type) and attribute.__module__ == name:
            assert attribute.__name__.startswith("_") or attribute.__doc__


def test_there_are_examples():
    finder = doctest.DocTestFinder()
    examples = [
        example
        for name in MODULES
        for test in finder.find(importlib.import_module(name))
        for example in test.examples
    ]
    assert len(examples) > 10


def test_everything_public_is_listed():
    for name in hybrid_lmu.__all__:
        assert getattr(hybrid_lmu, name).__doc__
