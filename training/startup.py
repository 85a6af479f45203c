"""What happens before and while Keras is imported: backend, devices, a quiet console."""

import contextlib
import logging
import os
import sys
import tempfile
from collections.abc import Iterator

from training.distribution import virtual_tensorflow_cpus
from training.errors import TrainingError


def prepare_environment(backend: str, devices: int) -> None:
    """Set what must be set before Keras is imported or data are read: backend, CPU devices.

    (Reading MNIST starts TensorFlow, and a started engine no longer takes virtual devices.)
    """
    loaded = sys.modules.get("keras")
    if loaded is not None and loaded.backend.backend() != backend:
        raise TrainingError(
            f"Keras is already running on {loaded.backend.backend()}, so `backend` cannot be "
            f"{backend} in this process"
        )
    os.environ["KERAS_BACKEND"] = backend
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # advice on retracing
    if backend == "jax" and devices > 1:
        flag = f"--xla_force_host_platform_device_count={devices}"
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flag}".strip()
    if backend == "tensorflow" and devices > 1:
        with quiet():
            virtual_tensorflow_cpus(devices)


def describe_engine() -> str:
    """Import Keras and its backend without their notes; one line on what was started."""
    with quiet():
        try:
            import keras

            keras.ops.convert_to_numpy(keras.ops.zeros(()))  # looks for devices
            with contextlib.suppress(ImportError):
                import tensorflow  # noqa: F401  # Keras's data adapters do, whatever the backend
            torch = keras.backend.backend() == "torch"  # Keras cannot list its devices
            devices = [] if torch else keras.distribution.list_devices()
        except ImportError as error:
            raise TrainingError(
                f"the {os.environ['KERAS_BACKEND']} backend cannot be imported ({error}). "
                'Install it: pip install -e ".[train]"'
            ) from error
    text = f"Keras {keras.__version__} on {keras.backend.backend()}"
    return f"{text} ({', '.join(devices)})" if devices else text


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hold back what C++ libraries write to standard error; show it if an exception ends it."""
    sys.stderr.flush()
    try:
        saved = os.dup(2)
    except OSError:  # no standard error at all
        yield
        return
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(saved, held.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(saved, 2)
            os.close(saved)
