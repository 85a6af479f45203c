"""Fixtures shared by all tests: quiet backends, and the same random numbers in each test."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras  # noqa: E402
import pytest  # noqa: E402


@pytest.fixture(autouse=True)
def _same_start():
    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy("float32")
