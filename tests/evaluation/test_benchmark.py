import json

import keras
import numpy as np
import pytest

from evaluation import benchmark
from evaluation.cases import CASES, GROUPS, Case, Group, Sizes, case, select
from evaluation.steps import batch_of, build_model, prepare

SMALL = Sizes(batch=2, timesteps=6, order=3, units=4)
GROUP = {"toy": Group("Toy", lambda s: 3, ("absent", "plain"))}


def toy(name, build=lambda s: keras.layers.Activation("relu"), **options):
    return Case(name, "toy", build, **options)


def test_every_group_has_a_reference_without_an_optional_package():
    for key, group in GROUPS.items():
        known = [CASES[r] for r in group.references]
        assert all(c.group == key for c in known)
        assert any(c.package is None for c in known)


@pytest.mark.parametrize("name", [n for n, c in CASES.items() if c.package is None])
def test_cases_build_and_run(name):
    functions, facts = prepare(CASES[name], GROUPS[CASES[name].group], SMALL, jit=False)
    assert np.isfinite(functions["train"]())
    assert functions["infer"]().shape == (2, 10)
    assert facts["parameters"] > 0 and facts["first_call_seconds"]["train"] > 0


def test_a_training_step_trains_through_the_layer():
    model = build_model(keras.layers.Activation("relu"), 6, 3, jit=False)
    x, y = batch_of(SMALL, 3)
    assert model.layers[2].input.shape == (None, 6, 3)  # an unknown length would slow keras-lmu
    factors = model.layers[1].kernel
    before = keras.ops.convert_to_numpy(factors).copy()
    model.train_on_batch(x, y)
    assert np.all(keras.ops.convert_to_numpy(factors) != before)


def test_measure_gives_paired_ratios_to_the_first_reference_that_runs():
    cases = [toy("plain"), toy("other")]
    records = benchmark.measure(cases, GROUP, SMALL, repeats=3, warmup=0, jit=False)
    assert [(r["case"], r["mode"]) for r in records] == [
        ("plain", "train"),
        ("other", "train"),
        ("plain", "infer"),
        ("other", "infer"),
    ]
    for plain, other in (records[:2], records[2:]):
        assert plain["ratios"] == {"plain": {"median": 1.0, "low": 1.0, "high": 1.0}}
        expected = np.median(np.array(other["seconds"]) / np.array(plain["seconds"]))
        assert other["ratios"]["plain"]["median"] == pytest.approx(expected)
        assert len(other["seconds"]) == 3
    text = benchmark.format_records(records, GROUP)
    assert "Toy: training step" in text and "Toy: inference of a batch" in text
    assert "1 [1, 1]" in text


def test_a_case_that_cannot_run_costs_only_itself():
    def broken(sizes):
        raise ValueError("no such layer\nsecond line")

    cases = [
        toy("plain"),
        toy("broken", broken),
        toy("elsewhere", backends=("abacus",)),
        toy("unheard of", package="no_such_package_here"),
    ]
    records = benchmark.measure(
        cases, GROUP, SMALL, repeats=1, warmup=0, jit=False, modes=("infer",)
    )
    assert {r["case"]: r.get("failed") or r.get("skipped") for r in records} == {
        "plain": None,
        "broken": "ValueError: no such layer",
        "elsewhere": f"needs the abacus backend, this is {keras.backend.backend()}",
        "unheard of": "no_such_package_here is not installed",
    }
    text = benchmark.format_records(records, GROUP)
    assert "failed: broken (ValueError: no such layer)" in text
    assert "skipped: elsewhere" in text


def test_selection_keeps_the_references():
    names = [c.name for c in select(["network"], ["hybridlmu (recurrent)"])]
    assert "HybridLMU (recurrent), spiking" in names and "LSTM" in names
    assert "HybridLMU (feed-forward), spiking" not in names
    with pytest.raises(ValueError, match="unknown group 'nets'; expected one of: activation"):
        select(["nets"])
    with pytest.raises(
        ValueError, match='no case contains "perceptron"; .*"HybridLMU .recurrent., spiking", "'
    ):
        select(None, ["perceptron"])
    with pytest.raises(ValueError, match="two benchmark cases are named 'ReLU'"):
        case("ReLU", "activation")(None)


def test_command_line_writes_what_it_prints(tmp_path, capsys):
    file = tmp_path / "bench.json"
    status = benchmark.main(
        [
            "--backend",
            keras.backend.backend(),
            "--group",
            "activation",
            "--batch",
            "2",
            "--timesteps",
            "6",
            "--units",
            "4",
            "--repeats",
            "2",
            "--warmup",
            "0",
            "--jit",
            "off",
            "--json",
            str(file),
        ]
    )
    assert status == 0
    assert "SigmaDelta(ReLU)" in capsys.readouterr().out
    content = json.loads(file.read_text())
    assert content["sizes"]["units"] == 4
    assert content["environment"]["backend"] == keras.backend.backend()
    assert {r["case"] for r in content["records"]} == {"ReLU", "SigmaDelta(ReLU)"}


def test_bad_requests_end_in_one_line(tmp_path, capsys):
    backend = ["--backend", keras.backend.backend()]
    assert benchmark.main([*backend, "--group", "nets"]) == 2
    assert capsys.readouterr().err.startswith("error: unknown group 'nets'")
    (tmp_path / "file").write_text("")
    assert benchmark.main([*backend, "--json", str(tmp_path / "file" / "x.json")]) == 2
    assert "error: --json: cannot write" in capsys.readouterr().err
    assert benchmark.main([*backend, "--json", str(tmp_path)]) == 2
    assert "expected a file name; received a folder" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        benchmark.main(["--batch", "0"])
    assert "expected a number >= 1; received: 0" in capsys.readouterr().err


def test_every_option_has_a_text():
    assert [a.dest for a in benchmark.parser()._actions if not a.help] == []
