"""The rules of the house that a reader of one file cannot see: who may import whom."""

import pytest

from tests.structure.measure import ROOT, arrows, circle, imports, sources, table

PACKAGES = ("hybrid_lmu", "training", "evaluation")
# Keras has no assertion that compiled code makes; imported where TensorFlow is the backend.
ALLOWED = {("hybrid_lmu._internal.keras_compat", "tensorflow")}


def imported(package):
    """Return ``[(module, imported name)]`` of all files of a package."""
    return [(m, name) for m, tree in sources(ROOT, package).items() for name in imports(m, tree)]


@pytest.mark.parametrize("package", PACKAGES)
def test_no_files_import_each_other_in_a_circle(package):
    assert circle(arrows(sources(ROOT, package))) == []


@pytest.mark.parametrize(
    "package, forbidden",
    [
        ("hybrid_lmu", ("training", "evaluation", "tests", "tensorflow", "jax", "torch")),
        ("hybrid_lmu", ("keras.src", "keras_spiking", "hgq")),
        ("training", ("evaluation", "tests", "keras.src")),
        ("evaluation", ("tests", "keras.src")),
    ],
)
def test_imports_point_one_way(package, forbidden):
    wrong = [
        (module, name)
        for module, name in imported(package)
        if any(name == other or name.startswith(f"{other}.") for other in forbidden)
        and (module, name) not in ALLOWED
    ]
    assert wrong == []


@pytest.mark.parametrize("package", ("training", "evaluation"))
def test_private_modules_of_the_library_stay_private(package):
    wrong = [
        (module, name)
        for module, name in imported(package)
        if name.startswith("hybrid_lmu.") and any(p.startswith("_") for p in name.split("."))
    ]
    assert wrong == []


def test_a_circle_is_found():
    assert circle({("a", "b"), ("b", "c"), ("c", "b")}) == ["b", "c", "b"]
    assert circle({("a", "b"), ("a", "c"), ("b", "c")}) == []


def test_the_table_names_all_packages():
    text = table(ROOT)
    assert all(package in text for package in PACKAGES)
