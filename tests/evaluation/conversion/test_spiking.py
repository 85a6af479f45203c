"""python -m evaluation spiking: a study of a tiny network, and its choices on validation."""

import json

import keras
import pytest

from evaluation.conversion import spiking
from hybrid_lmu import conversion
from training import images
from training.tasks import ImageRecipe


@pytest.fixture
def tiny(monkeypatch):
    recipe = ImageRecipe(((4, 4),), 8, 32, (2, 1), (1e-2, 1e-2))
    monkeypatch.setitem(images.RECIPES, "digits", recipe)
    monkeypatch.setattr(conversion, "PERCENTILES", (99.0, 99.9))


@pytest.mark.skipif(
    keras.backend.backend() == "jax", reason="minutes of compiling for what no backend changes"
)
@pytest.mark.slow
def test_record_table_and_plot(tiny, tmp_path, capsys):
    argv = ["--data", "digits", "--samples", "60", "--timesteps", "12", "--energy-samples", "5",
            "--out", str(tmp_path), "--backend", keras.backend.backend()]  # fmt: skip
    assert spiking.main(argv) == 0
    record = json.loads((tmp_path / "digits.json").read_text())
    assert [row["name"] for row in record["rows"]] == [
        "average pool before ReLU", "average pool before ReLU, binary",
    ]  # fmt: skip
    for row in record["rows"]:
        assert row["percentile"] in (99.0, 99.9)
        assert [(run["percentile"] == 100, run["exit"] is None) for run in row["runs"]] == [
            (True, True), (True, False), (False, True), (False, False),
        ]  # fmt: skip
        for full, early in (row["runs"][:2], row["runs"][2:]):
            assert len(full["curve"]) == 12 and full["curve"][-1] == full["accuracy"]
            assert 1 <= early["mean_steps"] <= 12 and early["spikes"] <= full["spikes_at_the_end"]
            assert early["exit"]["norm"] in ("rate", "sum")
            for run in (full, early):
                assert all(value > 0 for value in (*run["energy"], *run["energy_matched"]))
    assert record["rows"][1]["footprint"]["quantized"] > 0
    assert (tmp_path / "digits.png").read_bytes().startswith(b"\x89PNG")
    assert spiking.table(record) in capsys.readouterr().out
    source = keras.saving.load_model(
        tmp_path / "digits-average_pool_before_ReLU-binary-seed0.keras"
    )
    assert source.output_shape == (None, 10)


def test_data_that_are_not_there(tmp_path, capsys):
    argv = ["--data", "cifar10", "--data-dir", str(tmp_path), "--out", str(tmp_path)]
    assert spiking.main([*argv, "--backend", keras.backend.backend()]) == 1
    assert "no prepared cifar10" in capsys.readouterr().err


def test_networks_trained_before_are_taken(tmp_path, capsys):
    (tmp_path / "digits-average_pool_before_ReLU-seed0.keras").write_bytes(b"cut off")
    argv = ["--data", "digits", "--out", str(tmp_path), "--backend", keras.backend.backend()]
    assert spiking.main(argv) == 1
    error = capsys.readouterr().err
    assert "trained before" in error and "remove it to train anew" in error


@pytest.mark.parametrize(
    "options, name",
    [
        ([], "digits.json"),
        (["--initial-potential", "half"], "digits-half.json"),
        (["--encoding", "poisson", "--propagation", "synchronous", "--seed", "1"],
         "digits-poisson-synchronous-seed1.json"),
    ],
)  # fmt: skip
def test_runs_with_other_options_keep_each_others_records(options, name, tmp_path):
    args = spiking.parser().parse_args([*options, "--out", str(tmp_path)])
    assert spiking.record_path(args) == tmp_path / name
