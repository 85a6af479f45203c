import json

import keras
import numpy as np
import pytest

from evaluation.speed import benchmark
from evaluation.speed.measure import PREPARED_BY, measure
from evaluation.speed.registry import CASES, GROUPS, Case, Group, Sizes, case, select
from evaluation.speed.steps import batch_of, build_model, prepare
from evaluation.speed.tables import format_records

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
@pytest.mark.broad(3)
def test_cases_build_and_run(name):
    group = GROUPS[CASES[name].group]
    jit = "auto" if group.kind == "simulation" else False  # a hundred calls: JAX has to compile
    functions, facts = PREPARED_BY[group.kind](CASES[name], group, SMALL, jit, group.modes)
    assert set(functions) == set(facts["first_call_seconds"]) == set(group.modes)
    results = {mode: np.asarray(function()) for mode, function in functions.items()}
    assert all(np.all(np.isfinite(r)) for r in results.values())
    shapes = {"layer": (2, 10), "cell": (1, 4), "array": (3,), "simulation": (2, 10)}
    result = results["stream" if "stream" in results else "infer"]
    if group.kind == "simulation" and name != "source network":
        assert result.shape[1] == (100 if "at once" in name else 1)
        result = result[:, -1]
    assert result.shape == shapes[group.kind]
    assert (facts["parameters"] > 0) == (group.kind != "array")


def test_a_setting_of_the_case_goes_before_that_of_the_run():
    group = GROUPS["activation"]
    for own, run, expected in ((None, True, True), (False, True, False), (None, False, False)):
        _, facts = prepare(toy("plain", jit=own), group, SMALL, run, ("infer",))
        assert facts["jit"] is (expected and keras.backend.backend() != "torch")


def test_a_heavy_case_runs_only_by_its_whole_name():
    name = "keras-lmu LMU (feed-forward), all"
    for request, runs in ((None, False), (["keras-lmu LMU"], False), ([name.upper()], True)):
        (found,) = (c for c in select(["network-all"], request) if c.name == name)
        assert (found.left_out is None) == runs
    heavy = toy("heavy", left_out="takes much memory")
    assert heavy.unavailable() == 'takes much memory; run it with --case "heavy"'


def test_a_training_step_trains_through_the_layer():
    model = build_model(keras.layers.Activation("relu"), 6, 3, jit=False)
    x, y = batch_of(SMALL, 3)
    assert model.layers[2].input.shape == (None, 6, 3)  # an unknown length would slow keras-lmu
    factors = model.layers[1].factors
    before = keras.ops.convert_to_numpy(factors).copy()
    model.train_on_batch(x, y)
    assert np.all(keras.ops.convert_to_numpy(factors) != before)


def test_measure_gives_paired_ratios_to_the_first_reference_that_runs():
    cases = [toy("plain"), toy("other")]
    records = measure(cases, GROUP, SMALL, repeats=3, warmup=0, jit=False)
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
    text = format_records(records, GROUP)
    assert "Toy: training step" in text and "Toy: inference of a batch" in text
    assert "1 [1, 1]" in text and "(A = plain)" in text


def test_seconds_are_of_one_call_and_flop_of_a_training_step(monkeypatch):
    def prepare(case, group, sizes, jit, modes):
        facts = {"calls": 4, "flop": 8e9, "parameters": 1}
        first = dict.fromkeys(modes, 1.0)
        return dict.fromkeys(modes, lambda: None), {**facts, "first_call_seconds": first}

    monkeypatch.setitem(PREPARED_BY, "layer", prepare)
    monkeypatch.setattr(
        "evaluation.speed.measure.alternate",
        lambda functions, *rest: {"plain": np.array([8.0, 16.0])},
    )
    records = measure([toy("plain")], GROUP, SMALL)
    assert [r["seconds"] for r in records] == [[2.0, 4.0]] * 2
    assert [r.get("flop") for r in records] == [8e9, None]
    text = format_records(records, GROUP, rate=1e10)
    assert "2.667" in text and "26.7%" in text  # 8 GFLOP in 3 s, of 10 GFLOP/s


def test_only_modes_of_the_group_and_the_request_are_timed():
    assert measure([toy("plain")], GROUP, SMALL, modes=("stream",)) == []
    records = measure([CASES["dense product"]], GROUPS, SMALL, 1, 0)
    assert [(r["mode"], r["operations"]) for r in records] == [("stream", 12)]


def test_a_case_that_cannot_run_costs_only_itself():
    def broken(sizes):
        raise ValueError("no such layer\nsecond line")

    cases = [
        toy("plain"),
        toy("broken", broken),
        toy("elsewhere", backends=("abacus",)),
        toy("unheard of", package="no_such_package_here"),
    ]
    records = measure(cases, GROUP, SMALL, repeats=1, warmup=0, jit=False, modes=("infer",))
    assert {r["case"]: r.get("failed") or r.get("skipped") for r in records} == {
        "plain": None,
        "broken": "ValueError: no such layer",
        "elsewhere": f"needs the abacus backend, this is {keras.backend.backend()}",
        "unheard of": "no_such_package_here is not installed",
    }
    text = format_records(records, GROUP)
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
    file, plot = tmp_path / "bench.json", tmp_path / "bench.png"
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
            "--order",
            "4",
            "--repeats",
            "2",
            "--warmup",
            "0",
            "--jit",
            "off",
            "--json",
            str(file),
            "--plot",
            str(plot),
        ]
    )
    assert status == 0
    assert "SigmaDelta(ReLU)" in capsys.readouterr().out
    content = json.loads(file.read_text())
    assert content["sizes"]["order"] == 4
    assert content["machine_flop_per_second"] > 0
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert content["environment"]["backend"] == keras.backend.backend()
    assert {r["case"] for r in content["records"]} == {
        "ReLU",
        "SigmaDelta(ReLU)",
        "SigmaDelta(ReLU) in a loop",
    }


def test_bad_requests_end_in_one_line(tmp_path, capsys):
    backend = ["--backend", keras.backend.backend()]
    assert benchmark.main([*backend, "--group", "nets"]) == 2
    assert capsys.readouterr().err.startswith("error: unknown group 'nets'")
    (tmp_path / "file").write_text("")
    assert benchmark.main([*backend, "--json", str(tmp_path / "file" / "x.json")]) == 2
    assert "error: --json: cannot write" in capsys.readouterr().err
    assert benchmark.main([*backend, "--plot", str(tmp_path / "file" / "x.png")]) == 2
    assert "error: --plot: cannot write" in capsys.readouterr().err
    assert benchmark.main([*backend, "--lengths", "--group", "network"]) == 2
    assert "--lengths has cases of its own" in capsys.readouterr().err
    assert benchmark.main([*backend, "--lengths", "--case", "perceptron"]) == 2
    assert "no case of --lengths contains" in capsys.readouterr().err
    assert benchmark.main([*backend, "--json", str(tmp_path)]) == 2
    assert "expected a file name; received a folder" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        benchmark.main(["--batch", "0"])
    assert "expected an integer >= 1; received: 0" in capsys.readouterr().err


def test_every_option_has_a_text():
    assert [a.dest for a in benchmark.parser()._actions if not a.help] == []
