"""Sequential MNIST, 784 pixels one after another, in order (smnist) or permuted (psmnist)."""

from pathlib import Path

import numpy as np

from training.errors import DataNotFound
from training.startup import quiet
from training.tasks.base import Split, TaskData

HELP = (
    "  python -c \"import tensorflow_datasets as d; d.load('{name}', data_dir='DIR/tfds')\"\n"
    "on a machine with a network, then pass --data-dir DIR (or set HYBRID_LMU_DATA=DIR);\n"
    "without --data-dir it is downloaded to tensorflow-datasets' own folder."
)


def load(data_dir=None, permuted=True, permutation=0) -> TaskData:
    """[N, 784, 1] in [0, 1]; 50,000 training, 10,000 validation, 10,000 test images.

    Through tensorflow-datasets: from ``<data_dir>/tfds`` (or `data_dir` itself) when `data_dir`
    is given, else downloaded. Validation is the last 10,000 of its training split, whose order
    is shuffled and fixed. Permutation: ``RandomState(permutation).permutation(784)``.
    """
    images, labels = {}, {}
    for part, split in (("train", "train[:50000]"), ("validation", "train[50000:]"),
                        ("test", "test")):  # fmt: skip
        images[part], labels[part] = read_tfds("mnist", split, data_dir)
    order = np.random.RandomState(permutation).permutation(784) if permuted else np.arange(784)
    parts = {}
    for part in images:
        pixels = images[part].reshape(-1, 784)[:, order] / np.float32(255)
        parts[part] = Split(pixels[..., None], labels[part].astype("int32"))
    name = "psmnist" if permuted else "smnist"
    return TaskData(name=name, kind="classes", per_step=False, outputs=10, **parts)


def read_tfds(name, split, data_dir):
    """``(images, labels)`` of a split of a data set of tensorflow-datasets; DataNotFound."""
    try:
        with quiet():  # TensorFlow tells of the GPUs that it does not find
            import tensorflow
            import tensorflow_datasets as tfds

            tensorflow.zeros(())
    except ImportError as error:
        raise DataNotFound(
            f"{name} is read with tensorflow-datasets, which cannot be imported ({error}). "
            'Install it: pip install -e ".[train]"'
        ) from error
    options = {}
    if data_dir is not None:
        options = dict(data_dir=str(_prepared(name, Path(data_dir))), download=False, try_gcs=False)
    try:
        batch = tfds.as_numpy(tfds.load(name, split=split, batch_size=-1, **options))
    except Exception as error:  # tfds raises many types: network, checksums, missing packages
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        help_text = HELP.format(name=name)
        raise DataNotFound(
            f"{name} could not be loaded ({reason}). Get it with\n{help_text}"
        ) from error
    return batch["image"], batch["label"]


def _prepared(name, data_dir):
    for folder in (data_dir / "tfds", data_dir):
        if any((folder / name).glob("*/dataset_info.json")):
            return folder
    raise DataNotFound(
        f"no prepared {name} under {data_dir} (looked for tfds/{name}/*/dataset_info.json). "
        f"Get it with\n{HELP.format(name=name)}"
    )
