import os

import keras
import pytest

from training.errors import TrainingError
from training.startup import describe_engine, prepare_environment, quiet


def test_quiet_holds_back_what_libraries_write(capfd):
    with quiet():
        os.write(2, b"a note")
    os.write(2, b"after")
    assert capfd.readouterr().err == "after"


def test_quiet_shows_everything_when_something_fails(capfd):
    with pytest.raises(ImportError):
        with quiet():
            os.write(2, b"the reason")
            raise ImportError
    assert capfd.readouterr().err == "the reason"


def test_the_backend_of_a_running_process_cannot_change():
    prepare_environment(keras.backend.backend(), 1)
    other = "jax" if keras.backend.backend() == "tensorflow" else "tensorflow"
    with pytest.raises(TrainingError, match=f"already running on .* cannot be {other}"):
        prepare_environment(other, 1)


def test_engine_in_one_line():
    line = describe_engine()
    assert keras.__version__ in line and keras.backend.backend() in line and "\n" not in line
