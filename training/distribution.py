"""Several devices on one machine: which engine Keras 3 really has for which backend.

Found by running both with Keras 3.15 (digits, batch 32, two virtual CPU devices):

- JAX: `keras.distribution.DataParallel` splits every batch over the devices.
- TensorFlow: `keras.distribution.set_distribution(DataParallel())` is accepted, and without any
  effect: the model runs on one device. What works is `tf.distribute.MirroredStrategy`: build and
  compile the model in its scope, then `fit` as usual.
- PyTorch: neither; more than one device is an error here.

Loss curves against those of one device, for both engines: equal up to float32 rounding for
networks without random draws and without spiking activities, such as the LSTM. Otherwise:

- Spiking activities. Another order of summation rounds differently, and a value at the edge of
  two counts can then give the other count. Hybrid LMU on JAX, resolutions of the recipe, dropout
  0, initial errors zero: losses of the first two epochs 1.66634 and 0.75431 on one device, 1.66653
  and 0.75567 on two. At resolution 1e6 the difference is that of rounding again.
- Random draws. Under MirroredStrategy each replica draws its own initial errors and dropout masks,
  so a run on several devices is another sample of the same experiment.
- `clip_norm`. Under MirroredStrategy Keras clips the gradient of each replica, not their sum: the
  digits LSTM (clip_norm 1) ends epoch 2 at loss 1.9372 on two devices, 1.8935 on one.

`batch_size` is the global batch: every device gets an equal part of it, which is why batches are
never incomplete (`training.data`, `training.scores.predict`). GPUs are used when there are enough
of them, else the CPU is divided into virtual devices (for tests, not for speed).
"""

import contextlib
import functools

from training.errors import TrainingError


def device_scope(devices: int) -> contextlib.AbstractContextManager:
    """Context manager to build and compile a model in, so that `fit` uses `devices` devices.

    Raises TrainingError if the backend has no way to, or there are too few devices.
    """
    if devices == 1:
        return contextlib.nullcontext()
    import keras

    backend = keras.backend.backend()
    if backend == "jax":
        return _jax_scope(devices)
    if backend == "tensorflow":
        return _tensorflow_scope(devices)
    raise TrainingError(
        f"`devices` must be 1 with the {backend} backend (Keras distributes over several "
        f"devices with JAX and TensorFlow only); received: {devices}"
    )


@contextlib.contextmanager
def _jax_scope(devices):
    import keras

    # keras.distribution lists one kind of device: the GPUs where there are any.
    names = keras.distribution.list_devices()
    if len(names) < devices:
        names = keras.distribution.list_devices("cpu")
    if len(names) < devices:
        raise TrainingError(
            f"`devices` must be at most the number of JAX devices ({len(names)}: "
            f"{', '.join(names)}; virtual CPU devices are set before JAX starts); "
            f"received: {devices}"
        )
    before = keras.distribution.distribution()
    keras.distribution.set_distribution(keras.distribution.DataParallel(devices=names[:devices]))
    try:
        yield
    finally:
        keras.distribution.set_distribution(before)


def _tensorflow_scope(devices):
    return _tensorflow_strategy(devices).scope()


@functools.cache
def _tensorflow_strategy(devices):
    # One strategy a process: each new one numbers its collective operations from the same start,
    # and a second model would then exchange gradients under the first one's numbers.
    import tensorflow as tf

    return tf.distribute.MirroredStrategy(_tensorflow_devices(devices))


def _tensorflow_devices(devices):
    import tensorflow as tf

    if len(tf.config.list_physical_devices("GPU")) >= devices:
        return [gpu.name for gpu in tf.config.list_logical_devices("GPU")][:devices]
    virtual_tensorflow_cpus(devices)
    return [f"/CPU:{index}" for index in range(devices)]


def virtual_tensorflow_cpus(devices: int) -> None:
    """Divide the CPU into that many devices; TrainingError if TensorFlow has started without."""
    import tensorflow as tf

    cpu = tf.config.list_physical_devices("CPU")[0]
    existing = tf.config.get_logical_device_configuration(cpu) or [None]
    if len(existing) >= devices:
        return
    try:
        tf.config.set_logical_device_configuration(
            cpu, [tf.config.LogicalDeviceConfiguration()] * devices
        )
    except RuntimeError as error:
        raise TrainingError(
            f"TensorFlow has already started with {len(existing)} CPU device(s), so it cannot "
            f"have {devices}: start the command afresh"
        ) from error
