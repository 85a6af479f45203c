"""Rows with low-bit weights: their table beside their baseline, and the figure."""

import json

import pytest

from evaluation.committed.low_bit import accuracy_against_weights, weight_bits, with_baselines
from evaluation.committed.results import main, markdown, read_rows
from evaluation.style import to_png

NORMALIZED = {"memory_unit": "normalized", "memory_resolution": 2.0}


@pytest.fixture
def rows(add_run, results):
    def add(seed=0, packed=1000, **options):
        path = add_run(seed=seed, **options) / "metrics.json"
        metrics = json.loads(path.read_text())
        products = metrics["activity"]["products"]
        for product, additions in zip(products, (0.0, 9000.0), strict=True):
            product["additions"] = additions if "weights" in options else 0.0
        total = sum(product["additions"] for product in products)
        metrics["activity"]["totals"]["additions"] = total
        metrics["weights"] = {"packed_bytes": packed, "saving": 4000 / packed}
        metrics["soft_test"] = {"accuracy": 0.961}
        path.write_text(json.dumps(metrics))

    add(**NORMALIZED, accuracy=0.97, packed=4000)
    for seed in (0, 1):
        add(seed, weights="binary", accuracy=0.95)
    add(weights="ternary", accuracy=0.96, exempt="last")
    add(weights="binary", weight_rule="sign", accuracy=0.90)
    add_run(accuracy=0.955)
    return read_rows(results)


def test_each_low_bit_row_has_the_baseline_of_its_recipe(rows):
    pairs = with_baselines(rows)
    names = [(row.config["weights"], row.config["weight_rule"]) for row, _ in pairs]
    assert names == [("binary", "sigmoids"), ("ternary", "sigmoids"), ("binary", "sign")]
    assert [baseline.config["memory_unit"] for _, baseline in pairs] == ["normalized"] * 3
    assert [weight_bits(row) for row, _ in pairs] == [1, 2, 1]
    assert weight_bits(pairs[0][1]) == 32


def test_the_table_stands_apart_from_that_of_full_precision(rows):
    text = markdown(rows)
    first, second = text.split("Weights of few bits, digits:")
    assert "95.50" in first and "| 97.00 [" not in first and "binary" not in first
    lines = [line for line in second.splitlines() if line.startswith("| hybrid-lmu")]
    assert [line.split(" | ")[1] for line in lines] == [
        "full", "binary", "ternary (last exempt)", "binary (sign)",
    ]  # fmt: skip
    full, binary = lines[:2]
    assert "4,000 (1.0) | 0 | 149,100" in full
    assert "0-1" in binary and "95.00 ± 0.00" in binary and "96.10" in binary
    assert "1,000 (4.0) | 9,000 | 140,000" in binary
    assert f" {2.85:.1f} |" in binary  # 1 bit times the mean of 3.6 and 2.1
    assert "--weights binary --seeds 0-1" in second


def test_the_figure_is_drawn(rows, results, tmp_path):
    assert to_png(accuracy_against_weights(rows))[:4] == b"\x89PNG"
    assert accuracy_against_weights([row for row in rows if "binary" not in row.name][:1]) is None
    assert main([str(results), "--plots", str(tmp_path / "plots")]) == 0
    assert (tmp_path / "plots" / "weight-bits.png").is_file()
