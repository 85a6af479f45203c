import re

import pytest

from training.summary import si, summary_table


def energy(preset, process_nm, precision, source, memory, total):
    return {
        "preset": preset, "process_nm": process_nm, "precision": precision, "source": source,
        "compute_joules": 4.6e-7, "memory_joules": memory, "total_joules": total,
    }  # fmt: skip


def make_run(model="hybrid-lmu", seed=0, accuracy=0.95, **changes):
    hybrid = model.startswith("hybrid")
    run = {
        "task": "digits", "model": model, "seed": seed, "implementation": "hybrid_lmu",
        "parameters": 6029,
        "test": {"accuracy": accuracy, "interval": [accuracy - 0.02, accuracy + 0.01], "n": 360},
        "activity": {
            "timesteps": 64,
            "totals": {
                "activity_bits": 3.21 if hybrid else None,
                "significant_bits": 0.87 if hybrid else None,
                "share_of_zeros": 0.5 if hybrid else None,
                "graded_acs": 123_456.0 if hybrid else 0,
                "effective_macs": 7_654_321.0,
            },
            "energy": [
                energy("loihi", 14, "int8", "A 2018", None, 9.9e-4),
                energy("horowitz-fp32", 45, "float32", "B 2014", 1e-5, 1.046e-5),
            ],
        },
        **changes,
    }  # fmt: skip
    if hybrid:
        run["non_spiking_test"] = {"accuracy": accuracy + 0.01}
    return run


def cells(line):
    return re.split(r"  +", line.strip())


def test_one_row_a_run_with_all_the_numbers():
    table = summary_table([make_run(), make_run("lstm", accuracy=0.8)])
    lines = table.splitlines()
    assert cells(lines[0])[-2:] == ["E comp.", "E +mem."]
    assert cells(lines[2]) == [
        "hybrid-lmu", "95.00 [93.00, 96.00]", "96.00", "6,029", "3.21", "0.87", "50 %", "123k",
        "7.65M", "460 nJ", "10.5 uJ",
    ]  # fmt: skip
    assert cells(lines[3])[:8] == [
        "lstm", "80.00 [78.00, 81.00]", "-", "6,029", "-", "-", "-", "0",
    ]  # fmt: skip
    assert "E comp., E +mem.: preset horowitz-fp32, 45 nm, float32; B 2014." in table
    assert max(map(len, lines)) <= 120


def test_several_seeds_get_a_row_with_mean_and_spread():
    runs = [make_run(seed=seed, accuracy=0.9 + 0.02 * seed) for seed in range(3)]
    lines = summary_table(runs).splitlines()
    assert [line.split()[1] for line in lines[2:5]] == ["s0", "s1", "s2"]
    assert lines[5].startswith("hybrid-lmu mean") and "92.00 +- 2.00" in lines[5]
    assert max(map(len, lines)) <= 120


def test_regression_shows_nrmse():
    run = make_run(test={"nrmse": 0.1234, "interval": [0.11, 0.13], "n": 32}, task="mackey-glass")
    run["non_spiking_test"] = {"nrmse": 0.1}
    table = summary_table([run])
    assert "test NRMSE" in table and "0.1234 [0.1100, 0.1300]" in table
    assert "test NRMSE: root of the mean squared error" in table and "test %" not in table
    assert "NRMSE" not in summary_table([make_run()])


def test_several_tasks_and_seeds_fit_and_are_told_apart():
    runs = []
    for task, steps in (("psmnist", 784), ("mackey-glass", 512)):
        for model in ("hybrid-lstm", "lstm"):
            for seed in (0, 2_147_483):
                run = make_run(model, seed, task=task, parameters=1_166_000)
                run["activity"]["timesteps"] = steps
                if task == "mackey-glass":
                    run["test"] = {"nrmse": 1.1234, "interval": [1.1, 1.2], "n": 32}
                    run["non_spiking_test"] = {"nrmse": 1.1}
                runs.append(run)
    table = summary_table(runs)
    lines = table.splitlines()
    assert max(map(len, lines)) <= 120
    assert [cells(line)[0] for line in lines[2:16]] == [
        "psmnist", "hybrid-lstm s0", "hybrid-lstm s2147483", "hybrid-lstm mean",
        "lstm s0", "lstm s2147483", "lstm mean",
        "mackey-glass", "hybrid-lstm s0", "hybrid-lstm s2147483", "hybrid-lstm mean",
        "lstm s0", "lstm s2147483", "lstm mean",
    ]  # fmt: skip
    legend = " ".join(lines[17:])
    assert "a whole sequence: psmnist 784, mackey-glass 512 steps" in legend
    assert "test %: accuracy" in legend and "test NRMSE: root" in legend
    assert "standard deviation between seeds" in legend
    assert "a whole sequence: 64 steps" in summary_table([make_run()]).replace("\n", " ")


def test_large_errors_stay_narrow():
    run = make_run("gru", test={"nrmse": 123456.7, "interval": [100000.1, 200000.2], "n": 32})
    assert "1.235e+05 [1e+05, 2e+05]" in summary_table([run])


@pytest.mark.parametrize(
    "value, unit, text",
    [(0, "J", "0 J"), (12345, "", "12.3k"), (999.9, "", "1k"), (4.2e-7, "J", "420 nJ"),
     (9.996e-7, "J", "1 uJ"), (1.5, "J", "1.5 J"), (None, "J", "-"), (-2e6, "", "-2M")],
)  # fmt: skip
def test_si(value, unit, text):
    assert si(value, unit) == text


def test_no_runs():
    with pytest.raises(ValueError, match="`runs` must have at least 1 metrics dict; received: 0"):
        summary_table([])
