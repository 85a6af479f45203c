"""What the tests of the accounting share: small models, random inputs, rows of a report."""

import keras
import numpy as np
import pytest
from keras import layers

import hybrid_lmu

RNG = np.random.default_rng(0)


def sequential(*stack):
    return keras.Sequential(list(stack))


def real(*shape):
    """Normal numbers, about half of them zero."""
    x = RNG.standard_normal(shape)
    return (x * (RNG.random(shape) < 0.5)).astype("float32")


def rows(report):
    return {row["name"]: row for row in report.products}


def kinds(report, kind):
    return sum(row["dense_macs"] for row in report.products if row["kind"] == kind)


def check(row, dense, macs, effective_acs=0, strict=0, graded=0):
    keys = ("dense_macs", "effective_macs", "effective_acs", "strict_acs", "graded_acs")
    expected = (dense, macs, effective_acs, strict, graded)
    assert [row[key] for key in keys] == pytest.approx(expected, rel=1e-6)


def set_kernel(layer, kernel):
    layer.kernel.assign(np.asarray(kernel, "float32"))


X = np.random.default_rng(0).random((10, 6, 2)).astype("float32")


def hybrid(initial_error="zeros", resolution=8):
    lmu = hybrid_lmu.HybridLMU(
        1,
        4,
        6,
        layers.SimpleRNNCell(5),
        input_to_hidden=True,
        memory_resolution=resolution,
        hidden_resolution=resolution,
        initial_error=initial_error,
        return_sequences=True,
        seed=1,
        name="lmu",
    )
    return keras.Sequential([keras.Input((6, 2)), lmu, layers.Dense(3, "softmax", name="head")])
