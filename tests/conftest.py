"""Fixtures shared by all tests: quiet backends, and the same random numbers in each test."""

import os
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
if os.environ.get("KERAS_BACKEND") == "jax" and "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    # JAX compiles a loop anew each time a layer is called by itself. Kept on disk, it is compiled
    # once for all calls, tests and workers (which inherit this); half the time of the tests.
    _cache = tempfile.TemporaryDirectory(prefix="hybrid_lmu-jax-")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = _cache.name
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"

import keras  # noqa: E402
import pytest  # noqa: E402


@pytest.fixture(autouse=True)
def _same_start():
    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy("float32")


def pytest_collection_modifyitems(items):
    """Mark the further parameters of a test that is marked `broad` as slow."""
    counts = {}
    for item in items:
        broad = item.get_closest_marker("broad")
        if broad is None:
            continue
        test = item.nodeid.partition("[")[0]
        counts[test] = counts.get(test, 0) + 1
        if counts[test] > broad.args[0]:
            item.add_marker(pytest.mark.slow)
