import json
import re
import statistics

import pytest

from evaluation.committed.plot import accuracy_against_bits, spread
from evaluation.committed.published import PSMNIST, TAGS, published_table
from evaluation.committed.results import (
    BEGIN,
    END,
    commands,
    main,
    markdown,
    read_rows,
    replace_between_marks,
)
from evaluation.runs import RESULTS, RunError
from evaluation.style import to_png
from evaluation.tables import ranges
from training.cli import make_configs, make_parser
from training.config import make_config

REPOSITORY = RESULTS.parents[1]


def edit(path, change):
    metrics = json.loads((path / "metrics.json").read_text())
    change(metrics)
    (path / "metrics.json").write_text(json.dumps(metrics))


def peer_record(seed=0, accuracy=0.9, **extra):
    test = {"accuracy": accuracy, "interval": [accuracy - 0.03, accuracy + 0.03], "n": 360}
    activity = {"neurons": 42, "activity_bits": 3.73, "significant_bits": 1.72}
    return {
        "task": "digits", "model": "hgq2-QGRU", "seed": seed, "units": 42, "parameters": 5_900,
        "bits": 3.84, "test": test, "activity": activity, "config": {"epochs": 60},
        "environment": {"commit": "abc1234", "date": "2026-11-22T01:00:00"},
        "command": f"evaluation/peers/hgq2.py --task digits --seed {seed} --out /tmp/x.json",
        **extra,
    }  # fmt: skip


def test_the_folds_of_a_cross_validation_are_one_row(add_run, results):
    for fold, accuracy in enumerate((0.94, 0.95, 0.97)):
        add_run("spiking-cnn", accuracy=accuracy, task="nmnist", fold=fold)
    add_run("spiking-cnn", accuracy=0.99, task="nmnist")
    rows = read_rows(results)
    assert sorted(row.label for row in rows) == ["spiking-cnn", "spiking-cnn, folds of 5"]
    (row,) = [row for row in rows if "folds" in row.name]
    assert row.score()[0] == pytest.approx(statistics.fmean((0.94, 0.95, 0.97)))
    assert [f"--fold {fold} --seeds 0" in line for fold, line in enumerate(commands(row))] == [
        True, True, True,
    ]  # fmt: skip


def test_runs_that_differ_in_the_seed_alone_are_one_row(add_run, results):
    for seed, accuracy in enumerate((0.94, 0.95, 0.97)):
        add_run(seed=seed, accuracy=accuracy)
    add_run(rounding="memoryless", accuracy=0.80)
    add_run("lstm", accuracy=0.90)
    rows = read_rows(results)
    assert [row.label for row in rows] == ["hybrid-lmu", "hybrid-lmu, memoryless", "lstm"]
    mean, low, high = rows[0].score()
    assert mean == pytest.approx(statistics.fmean((0.94, 0.95, 0.97)))
    assert high - mean == pytest.approx(statistics.stdev((0.94, 0.95, 0.97))) == mean - low
    assert rows[1].score() == (0.80, pytest.approx(0.78), pytest.approx(0.815))
    assert rows[0].mean_bits("activity_bits") == pytest.approx(2.85)
    assert rows[0].bits_by_activity("activity_bits") == {"memory": 3.6, "hidden": 2.1}
    assert rows[2].mean_bits("activity_bits") is None and rows[2].non_spiking() is None


def test_table_text(add_run, results):
    add_run(seed=0, accuracy=0.94)
    add_run(seed=1, accuracy=0.96)
    last = add_run(seed=4, accuracy=0.95)
    edit(last, lambda m: m["environment"].update(commit="f" * 40 + "-dirty", date="2026-12-01T00"))
    add_run("gru", accuracy=0.9)
    text = markdown(read_rows(results))
    hybrid, gru = (line for line in text.splitlines() if line.startswith(("| hybrid", "| gru")))
    assert hybrid == (
        "| hybrid-lmu | 0-1 4 | 60 | 6,002 | 95.00 ± 1.00 | 95.40 | 2.85 (memory 3.60, hidden 2.10)"
        " | 0.70 (memory 0.70, hidden 0.70) | 2026-11-21 to 2026-12-01, abc1234 to fffffff-dirty |"
    )
    assert "| 90.00 [88.00, 91.50] | – | – | – | 2026-11-21, abc1234 |" in gru
    lines = text.splitlines()
    heads = next(line for line in lines if line.startswith("| model"))
    assert heads.count("|") == hybrid.count("|") == lines[lines.index(heads) + 1].count("|")


def test_rows_of_one_name_and_two_configurations_are_told_apart(add_run, results):
    add_run(hidden_resolution=1.0)
    add_run(hidden_resolution=2.0)
    labels = [row.label for row in read_rows(results)]
    assert labels == ["hybrid-lmu (hidden resolution 1)", "hybrid-lmu (hidden resolution 2)"]


def test_tasks_come_in_their_order_with_the_published_marks_of_psmnist_alone(add_run, results):
    add_run()
    add_run(task="psmnist")
    text = markdown(read_rows(results))
    assert text.index("### psmnist") < text.index("published") < text.index("### digits")
    assert text.count("98.49") == 1 and text.count("3.74") == 1


@pytest.mark.parametrize(
    "task, model, options, flags",
    [
        ("digits", "hybrid-lmu", {}, ""),
        ("psmnist", "hybrid-lmu", {"rounding": "memoryless", "permutation": 1},
         "--permutation 1 --rounding memoryless"),
        ("digits", "gru", {"learning_rate": 0.0031, "units": 7},
         "--units 7 --learning-rate 0.0031"),
        ("digits", "lmu", {"hidden": "gru", "input_to_hidden": True},
         "--hidden gru --input-to-hidden"),
        ("ecg", "hybrid-lmu", {"epochs": 3, "report_samples": 9}, "--epochs 3 --report-samples 9"),
    ],
)  # fmt: skip
def test_command_gives_the_recorded_configuration(add_run, results, task, model, options, flags):
    for seed in (0, 1, 2):
        add_run(model, seed, task=task, backend="jax", **options)
    (line,) = commands(read_rows(results)[0])
    words = line.split()
    assert words[:3] == ["python", "-m", "training"] and line.endswith("--backend jax --seeds 0-2")
    given = set(words[3:-4]) - {"--task", "--model", task, model}
    assert given == set(flags.split())
    made = make_configs(make_parser().parse_args(words[3:]))
    assert made == [make_config(task, model, seed, **options) for seed in (0, 1, 2)]


def test_command_says_what_no_option_can_set(add_run, results):
    path = add_run("lstm")
    for name in ("config.json", "metrics.json"):
        content = json.loads((path / name).read_text())
        content.get("config", content)["clip_norm"] = None  # the recipe clips; no option says not
        (path / name).write_text(json.dumps(content))
    (line,) = commands(read_rows(results)[0])
    assert "# at commit abc1234: no option here sets clip_norm to none" in line


def test_a_second_engine_has_a_command_of_its_own(add_run, results):
    add_run(seed=0, backend="tensorflow")
    add_run(seed=1, backend="jax")
    (row,) = read_rows(results)
    assert commands(row) == [
        "python -m training --task digits --model hybrid-lmu --seeds 0",
        "python -m training --task digits --model hybrid-lmu --backend jax --seeds 1",
    ]


def test_peers_are_rows_and_broken_ones_are_named(add_run, results):
    add_run()
    folder = results / "peers"
    folder.mkdir()
    for seed, accuracy in ((0, 0.90), (1, 0.92)):
        (folder / f"q{seed}.json").write_text(json.dumps(peer_record(seed, accuracy)))
    validated = {key: value for key, value in peer_record(2).items() if key != "test"}
    (folder / "tuning.json").write_text(json.dumps(validated))
    notes = []
    rows = read_rows(results, notes.append)
    assert [row.label for row in rows] == ["hybrid-lmu", "hgq2-QGRU, peer"]
    assert rows[1].score()[0] == pytest.approx(0.91)
    assert rows[1].bits_by_activity("significant_bits") == {"hidden": 1.72}
    assert len(notes) == 1 and "tuning.json" in notes[0]
    (line,) = commands(rows[1])
    assert line.endswith("peers/hgq2.py --task digits --seed SEED --out FILE  # SEED: 0-1")
    (folder / "bad.json").write_text('{"test": {}}')
    with pytest.raises(RunError, match="bad.json; expected a record of .*hgq2"):
        read_rows(results)


def test_marks_hold_what_their_sources_state():
    assert {mark.tag for mark in PSMNIST} <= set(TAGS)
    accuracies = {mark.name: mark.accuracy for mark in PSMNIST}
    assert accuracies["NRU"] == 95.38 and accuracies["LMU"] == 97.15
    assert accuracies["hybrid-spiking LMU"] is None
    row = next(line for line in published_table(PSMNIST).splitlines() if "hybrid-spiking" in line)
    assert "not known to us" in row and "at most 3.74" in row and "1.26" in row


def test_text_between_the_marks_is_replaced(tmp_path):
    path = tmp_path / "README.md"
    path.write_text(f"above\n{BEGIN}\nold\n{END}\nbelow\n")
    for content in ("new", "newer"):
        replace_between_marks(path, content)
        assert path.read_text() == f"above\n{BEGIN}\n\n{content}\n\n{END}\nbelow\n"


@pytest.mark.parametrize("text", ["none", f"{BEGIN}", f"{END}{BEGIN}", f"{BEGIN}{BEGIN}{END}"])
def test_missing_marks_are_an_error_and_change_nothing(add_run, results, tmp_path, capsys, text):
    add_run()
    path = tmp_path / "README.md"
    path.write_text(text)
    assert main([str(results), "--write", str(path)]) == 1
    assert "expected one <!-- results --> and after it one" in capsys.readouterr().err
    assert path.read_text() == text


def test_committed_results_as_the_command_prints_them(tmp_path, capsys):
    path = tmp_path / "README.md"
    path.write_text(f"{BEGIN}{END}")
    assert main([str(RESULTS), "--write", str(path)]) == 0
    printed = capsys.readouterr().out
    assert printed.strip() in path.read_text()
    assert printed.strip() in (REPOSITORY / "docs" / "results.md").read_text()
    runs = [json.loads(p.read_text()) for p in RESULTS.glob("digits-lmu-seed*/metrics.json")]
    mean = 100 * statistics.fmean(run["test"]["accuracy"] for run in runs)
    assert any(
        line.startswith("| lmu |") and f"{mean:.2f} ±" in line for line in printed.splitlines()
    )
    summary = (REPOSITORY / "README.md").read_text().split("## Measured")[1].split("## Develop")[0]
    spread = set(re.findall(r"\d+\.\d+ ± \d+\.\d+", summary))
    assert len(spread) >= 6 and all(figure in printed for figure in spread)
    assert all(figure in printed for figure in re.findall(r"\b\d\d\.\d\d\b", summary))


def test_plots_of_the_tasks_with_quantized_rows(add_run, results, tmp_path, capsys):
    add_run(task="psmnist", accuracy=1.0)  # an error of 0 on a log axis
    add_run(task="psmnist", rounding="stochastic", accuracy=0.9)
    add_run("lstm", task="psmnist", accuracy=0.93)
    add_run("gru", task="digits")
    assert main([str(results), "--plots", str(tmp_path / "plots")]) == 0
    assert [p.name for p in (tmp_path / "plots").iterdir()] == ["psmnist-bits.png"]
    assert "no plot of digits" in capsys.readouterr().err


def test_figure_shows_every_row_and_mark(add_run, results):
    add_run(task="psmnist", accuracy=0.98)
    add_run(task="psmnist", rounding="stochastic", accuracy=0.97)
    add_run("lstm", task="psmnist", accuracy=0.93)
    figure = accuracy_against_bits(read_rows(results), PSMNIST)
    significant, activity = figure.axes
    texts = [text.get_text() for text in activity.texts]
    assert "lstm 93.00" in texts and "NRU 95.38, published" in texts
    assert any("at most 3.74 bits" in text for text in texts)
    assert any("1.26 bits" in text.get_text() for text in significant.texts)
    for ax, bits in ((significant, 0.7), (activity, 2.85)):
        points = {
            (round(float(c[0].get_xdata()[0]), 3), round(float(c[0].get_ydata()[0]), 3))
            for c in ax.containers
        }
        assert points == {(bits, 2.0), (bits, 3.0)}  # errors in percent
    dashed = [line for line in significant.get_lines() if line.is_dashed()]
    assert len(dashed) == 6  # five accuracies and one number of bits
    assert to_png(figure).startswith(b"\x89PNG")


def test_labels_are_moved_apart_and_stay_in_order():
    moved = spread([0.5, 0.1, 0.51, 0.99, 1.0], 0.1, 0.0, 1.0)
    assert moved == pytest.approx([0.455, 0.1, 0.555, 0.9, 1.0])
    assert spread([], 0.1, 0, 1).size == 0


def test_seeds_as_ranges():
    assert ranges([4, 0, 1, 2, 7, 8]) == "0-2 4 7-8"
    assert make_parser().parse_args(["--seeds", *ranges([0, 1, 5]).split()]).seeds == [[0, 1], [5]]


def test_no_results_are_an_error_in_one_line(tmp_path, capsys):
    assert main([str(tmp_path)]) == 1
    assert capsys.readouterr().err.count("\n") == 1
