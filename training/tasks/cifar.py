"""CIFAR-10 and CIFAR-100: small colour pictures."""

import functools
from pathlib import Path

import numpy as np

from training.tasks.base import ImageRecipe, Split, Task, TaskData
from training.tasks.tfds_data import read_tfds

# Mean and standard deviation of the channels, as Lu & Sengupta's converter has them.
_MEAN, _DEVIATION = (0.507, 0.487, 0.441), (0.267, 0.256, 0.276)


def load_images(
    data_dir: Path | None = None, *, name: str = "cifar10", classes: int = 10
) -> TaskData:
    """[N, 32, 32, 3], normalized; 45,000 training, 5,000 validation, 10,000 test images.

    tensorflow-datasets reads them: from ``<data_dir>/tfds`` or `data_dir` itself; without
    `data_dir` it downloads them. Validation is the last 5,000 images of its training split.
    """
    parts = {}
    for part, split in (("train", "train[:45000]"), ("validation", "train[45000:]"),
                        ("test", "test")):  # fmt: skip
        images, labels = read_tfds(name, split, data_dir)
        x = (images / np.float32(255) - np.float32(_MEAN)) / np.float32(_DEVIATION)
        parts[part] = Split(x.astype("float32"), labels.astype("int32"))
    return TaskData(name=name, kind="classes", per_step=False, outputs=classes, **parts)


# VGG-15 with Lu & Sengupta's recipe for CIFAR-100 (README of their code). The weight decay of the
# binary part is left out: their scaling of the gradient leaves it without effect.
_VGG15 = ImageRecipe(
    blocks=((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512)), dense=4096,
    batch_size=256, epochs=(200, 200), rates=(5e-2, 5e-4), optimizers=("sgd", "adam"),
    factors=({81: 0.1, 122: 0.01}, {epoch: 0.5 ** (epoch // 30) for epoch in range(30, 200, 30)}),
    decays=(1e-4, None), augment=True,
)  # fmt: skip
CIFAR10 = Task(name="cifar10", load_images=load_images, image_recipe=_VGG15)
CIFAR100 = Task(
    name="cifar100",
    load_images=functools.partial(load_images, name="cifar100", classes=100),
    image_recipe=_VGG15,
)
