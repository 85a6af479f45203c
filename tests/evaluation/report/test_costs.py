import pytest

from evaluation.report import costs
from evaluation.runs import load_run


@pytest.fixture
def hybrid(run_folders):
    return load_run(run_folders / "digits-hybrid-lmu-seed0")


def test_products_list_the_memory_by_itself_and_add_up(hybrid):
    table = costs.products(hybrid)
    assert [row[0] for row in table.rows] == [
        "hybrid_lmu/memory A",
        "hybrid_lmu/hidden kernel",
        "sum",
    ]
    dense = table.columns.index("dense MACs")
    assert [row[dense] for row in table.rows] == ["147,456", "224,000", "371,456"]
    assert table.rows[1][table.columns.index("input resolution")] == "2"
    assert all(len(row) == len(table.columns) for row in table.rows)


def test_energy_names_source_and_process(hybrid):
    table = costs.energy(hybrid)
    assert table.rows == [
        (
            "horowitz-fp32",
            "45 nm",
            "float32",
            "640 nJ",
            "–",
            "640 nJ",
            "Horowitz, ISSCC 2014 <table>",
        )
    ]


def test_activities_and_environment(hybrid, run_folders):
    table = costs.activities(hybrid)
    row = dict(zip(table.columns, table.rows[0], strict=True))
    assert row["activity bits"] == "3.6" and row["zeros"] == "61.0 %" and row["counts"] == "-7 to 8"
    assert costs.activities(load_run(run_folders / "digits-lstm-seed0")).rows == []
    facts = dict(costs.environment(hybrid).rows)
    assert facts["keras"] == "3.15.1" and facts["commit"] == "abc1234"
    assert dict(costs.options(hybrid).rows)["batch_size"] == "32"
