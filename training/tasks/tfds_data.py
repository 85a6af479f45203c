"""Data sets of tensorflow-datasets."""

from pathlib import Path

import numpy as np

from training.errors import DataNotFound
from training.startup import quiet

HELP = (
    "  python -c \"import tensorflow_datasets as d; d.load('{name}', data_dir='DIR/tfds')\"\n"
    "on a machine with a network, then pass --data-dir DIR (or set HYBRID_LMU_DATA=DIR);\n"
    "without --data-dir it is downloaded to tensorflow-datasets' own folder."
)


def read_tfds(name: str, split: str, data_dir: Path | None) -> tuple[np.ndarray, np.ndarray]:
    """``(images, labels)`` of a split of a data set.

    Args:
        name: name of the data set.
        split: split in the notation of tensorflow-datasets, such as "train[:50000]".
        data_dir: folder that holds the prepared data set, below ``tfds`` or directly. None: the
            data set is downloaded.

    Raises:
        DataNotFound: the data set cannot be read; the message says how to get it.
    """
    try:
        with quiet():  # TensorFlow writes a note about GPUs that it does not find
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
