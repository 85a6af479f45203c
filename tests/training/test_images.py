"""Networks and data of the conversion study."""

import keras
import numpy as np
import pytest

from training.errors import DataNotFound
from training.images import RECIPES, Design, build, load, moved, train
from training.tasks import ImageRecipe, Split, TaskData

TINY = ImageRecipe(((4, 4),), 8, 32, (1, 1), (1e-2, 1e-2))


def images_of(shape, outputs):
    split = Split(np.zeros((1, *shape), "float32"), np.zeros(1, "int32"))
    return TaskData("none", "classes", False, outputs, split, split, split)


def test_digits_are_the_images_of_scikit_learn():
    from sklearn.datasets import load_digits

    data = load("digits")
    every = {image.tobytes() for image in (load_digits().images / 16).astype("float32")}
    assert data.train.x.shape[1:] == (8, 8, 1)
    for split in (data.train, data.validation, data.test):
        assert all(image[..., 0].tobytes() in every for image in split.x)


def test_vgg_15_is_the_paper_s():
    model = build(images_of((32, 32, 3), 100), RECIPES["cifar100"], Design(), 0)
    kernels = [w for w in model.weights if w.name == "kernel"]
    sizes = [int(np.prod(w.shape)) for w in kernels]
    assert len(kernels) == len(model.weights) == 15
    assert sum(sizes) == 17_217_216 and sizes[0] + sizes[-1] == 411_328
    assert [layer for layer in model.layers if isinstance(layer, keras.layers.Flatten)][
        0
    ].output.shape == (None, 512)


@pytest.mark.parametrize(
    "design, order",
    [
        (Design(), ["Conv2D", "AveragePooling2D", "ReLU"]),
        (Design(place="after"), ["Conv2D", "ReLU", "AveragePooling2D"]),
        (Design(pooling="max", batch_norm=True),
         ["Conv2D", "BatchNormalization", "MaxPooling2D", "ReLU"]),
    ],
)  # fmt: skip
def test_the_designs(design, order):
    model = build(
        images_of((8, 8, 1), 3), ImageRecipe(((4,),), 8, 32, (1, 1), (0.1, 0.1)), design, 0
    )
    names = [type(layer).__name__ for layer in model.layers]
    assert names[1 : 1 + len(order)] == order


def test_names_tell_designs_apart():
    names = [
        Design(pooling, place, bias, norm, binary, first, last).name
        for pooling in ("average", "max")
        for place in ("before", "after")
        for bias in (False, True)
        for norm in (False, True)
        for binary, first, last in [(False, False, False), (True, False, False), (True, True, True)]
    ]
    assert len(set(names)) == len(names)


@pytest.mark.skipif(
    keras.backend.backend() == "jax", reason="minutes of compiling for what no backend changes"
)
def test_binary_kernels_are_trained_from_those_of_full_precision():
    data, notes = load("digits"), []
    design = Design(binary=True, binary_first=True, binary_last=True)
    start = train(data, TINY, Design(), 0, note=notes.append)
    before = start.get_weights()
    model = train(data, TINY, design, 0, note=notes.append, start=start)
    assert [layer.name for layer in model.layers if type(layer).__name__ == "QuantizedWeights"]
    assert len(notes) == 2 and all("val. accuracy" in note for note in notes)
    for kept, now in zip(before, start.get_weights(), strict=True):
        np.testing.assert_array_equal(kept, now)


@pytest.mark.slow
def test_without_a_start_both_parts_are_trained():
    notes = []
    model = train(load("digits"), TINY, Design(binary=True), 0, note=notes.append)
    assert len(notes) == 2
    assert any(type(layer).__name__ == "QuantizedWeights" for layer in model.layers)


def test_images_are_moved_and_mirrored_and_nothing_else():
    x = np.arange(1, 17, dtype="float32").reshape(1, 4, 4, 1)
    found = moved(np.repeat(x, 200, axis=0), np.random.default_rng(0), padding=1)
    assert found.shape == (200, 4, 4, 1)
    wide = np.pad(x[0, ..., 0], 1)
    cuts = [wide[a : a + 4, b : b + 4] for a in range(3) for b in range(3)]
    allowed = {c.tobytes() for cut in cuts for c in (cut, np.ascontiguousarray(cut[:, ::-1]))}
    assert {np.ascontiguousarray(image[..., 0]).tobytes() for image in found} == allowed


def test_bad_input(tmp_path):
    with pytest.raises(ValueError, match="received: 'imagenet'"):
        load("imagenet")
    with pytest.raises(DataNotFound, match="no prepared cifar10 under"):
        load("cifar10", tmp_path)
    with pytest.raises(ValueError, match="received: 'sum'"):
        Design(pooling="sum")
