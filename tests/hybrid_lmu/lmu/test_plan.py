"""The plan of a call of `HybridLMU`: the way that the table names is the way that is taken."""

import inspect
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops

from hybrid_lmu import HybridLMU, HybridLMUCell, SigmaDeltaQuantizer
from hybrid_lmu.cells import Activity
from hybrid_lmu.cells._products import cell_products, cell_signals
from hybrid_lmu.lmu import Plan, Way, _layer

x = np.random.default_rng(0).normal(size=(2, 6, 2)).astype("float32")
counts = {"memory_feedback": "quantized"}
limited = {"limit": 2.0}

TABLE = [
    ({}, {}, Way.LAST_STEP, 1),
    (counts, {}, Way.LAST_STEP, 1),
    ({"return_last": 3}, {}, Way.LAST_STEPS, 3),
    ({"return_last": 3, "simulation": 5}, {}, Way.LAST_STEPS, 5),
    ({"hidden": "LSTM", "simulation": 4}, {}, Way.LAST_STEPS, 4),
    ({"return_sequences": True}, {}, Way.PARALLEL, None),
    ({"simulation": "full"}, {}, Way.PARALLEL, None),
    ({"initial_error": "half"}, {}, Way.PARALLEL, None),
    ({"return_state": True}, {}, Way.PARALLEL, None),
    ({"hidden": "LSTM"}, {}, Way.MEMORY_FIRST, None),
    ({"hidden": "LSTM", **counts}, {}, Way.COUNTS_FIRST, None),
    ({"return_sequences": True, **counts}, {}, Way.COUNTS_FIRST, None),
    ({"hidden_to_memory": True}, {}, Way.STEP_BY_STEP, None),
    ({"memory_to_memory": True}, {}, Way.STEP_BY_STEP, None),
    ({"unroll": True}, {}, Way.STEP_BY_STEP, None),
    ({"trainable_theta": True, **counts}, {}, Way.STEP_BY_STEP, None),
    ({**limited, **counts}, {}, Way.STEP_BY_STEP, None),
    (limited, {}, Way.LAST_STEP, 1),
    ({}, {"mask": np.ones((2, 6), bool)}, Way.LAST_STEP, 1),
    ({"hidden": "LSTM", "simulation": 4}, {"mask": np.ones((2, 6), bool)}, Way.MEMORY_FIRST, None),
    ({"return_sequences": True}, {"mask": np.ones((2, 6), bool)}, Way.PARALLEL, None),
    ({"return_state": True}, {"mask": np.ones((2, 6), bool)}, Way.STEP_BY_STEP, None),
]


def lmu(hidden="Dense", **options):
    hidden = {"Dense": keras.layers.Dense(3), "LSTM": keras.layers.LSTMCell(3)}[hidden]
    options = {"memory_resolution": 4.0, "hidden_resolution": 2.0, **options}
    if "limit" in options:
        limit, resolution = options.pop("limit"), options.pop("memory_resolution")
        options["memory_quantizer"] = SigmaDeltaQuantizer(resolution=resolution, limit=limit)
    return HybridLMU(1, 4, 6.0, hidden, **options)


@pytest.mark.parametrize("options, call, way, steps", TABLE)
def test_the_call_goes_the_way_of_the_plan(options, call, way, steps, monkeypatch):
    layer = lmu(**options)
    chosen = layer.plan(x.shape, mask="mask" in call)
    assert (chosen.way, chosen.steps) == (way, steps)
    assert chosen.reason in str(chosen)
    layer.build(x.shape)
    taken = {}

    def noted(owner, name):
        run = getattr(owner, name)

        def note(cell, inputs, *arguments, **given):
            taken.setdefault(name, inputs.shape[1])
            return run(cell, inputs, *arguments, **given)

        return note

    for owner, names in (
        (HybridLMUCell, ("call", "sequence")),
        (_layer, ("last_step", "last_steps")),
    ):
        for name in names:
            monkeypatch.setattr(owner, name, noted(owner, name))
    layer(x, **{name: ops.convert_to_tensor(value) for name, value in call.items()})
    expected = {
        Way.LAST_STEP: {"last_step": 6},
        Way.LAST_STEPS: {"last_steps": 6},
        Way.STEP_BY_STEP: {"call": 2},
    }.get(way, {"sequence": 6})
    assert taken == expected


def test_unknown_lengths_and_initial_states():
    assert lmu().plan((None, None, 2)).way is Way.STEP_BY_STEP
    assert lmu().plan((None, 6, 2), initial_state=True).way is Way.PARALLEL


def test_the_table_has_a_row_for_each_way_and_each_way_is_tested():
    assert {row[2] for row in TABLE} == set(Way)
    rows = Plan.table().splitlines()
    assert len(rows) == 2 + len(Way)
    assert all(way.how in row for way, row in zip(Way, rows[2:], strict=True))


def test_signature_begins_with_that_of_keras_lmu():
    ours = list(inspect.signature(HybridLMU).parameters.values())
    assert [p.name for p in ours[:4]] == ["memory_d", "order", "theta", "hidden_cell"]
    positional = [p.name for p in ours if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert len(positional) == 19 and positional[-1] == "return_sequences"
    with pytest.raises(TypeError, match="missing a required argument: 'hidden_cell'"):
        HybridLMU(1, 4, 6.0)


def test_attributes_are_those_of_the_cell():
    layer = lmu(use_bias=True)
    layer.build(x.shape)
    assert (layer.order, layer.theta, layer.memory_d) == (4, 6.0, 1)
    assert layer.kernel is layer.cell.kernel and layer.bias is layer.cell.bias
    assert layer.hidden_cell is layer.cell.hidden_cell
    assert layer.layer is layer and float(layer.theta_inv) == pytest.approx(1 / 6)
    assert tuple(layer.A.shape) == (4, 4) and tuple(layer.B.shape) == (1, 4)
    m = layer.cell.memory.step(ops.ones((1, 4)), ops.ones((1, 1)))
    by_attributes = ops.matmul(ops.ones((1, 4)), layer.A) + layer.B
    np.testing.assert_allclose(
        ops.convert_to_numpy(m), ops.convert_to_numpy(by_attributes), atol=1e-6
    )


@keras.saving.register_keras_serializable(package="own")
class OwnLMU(HybridLMU):
    """A subclass with an argument of its own."""

    def __init__(self, *args, factor=2.0, **kwargs):
        super().__init__(*args, **kwargs)
        self.factor = factor

    def call(self, sequences, initial_state=None, mask=None, training=False):
        return self.factor * super().call(sequences, initial_state, mask, training)

    def get_config(self):
        return {**super().get_config(), "factor": self.factor}


def test_a_subclass_runs_and_is_saved(tmp_path):
    layer = OwnLMU(1, 4, 6.0, keras.layers.Dense(3), memory_resolution=4.0, factor=3.0, seed=1)
    model = keras.Sequential([keras.Input((6, 2)), layer])
    model.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    assert loaded.layers[0].factor == 3.0
    np.testing.assert_array_equal(model.predict(x, verbose=0), loaded.predict(x, verbose=0))


@pytest.mark.parametrize("hidden", ["Dense", "LSTM"])
@pytest.mark.parametrize("options", [{"input_to_hidden": True}, counts, {"hidden_to_memory": True}])
def test_products_name_signals_that_the_step_has(hidden, options):
    cell = lmu(hidden, **options).cell
    cell.build((2, 2))
    signals, _ = cell_signals(cell, ops.convert_to_tensor(x[:, 0]), cell.get_initial_state(2))
    for item in cell_products(cell).items:
        parts = item.inputs if hasattr(item, "inputs") else (item.signal,)
        width = sum(part.value(signals).shape[-1] for part in parts)
        if hasattr(item, "weight"):
            assert width % item.weight.shape[0] == 0, item.name
    u = signals["memory_input"]
    kernel = next(item for item in cell_products(cell).items if item.name == "kernel")
    met = ops.concatenate([part.value(signals) for part in kernel.inputs], axis=-1)
    product = ops.convert_to_numpy(ops.matmul(met, kernel.weight))
    np.testing.assert_allclose(ops.convert_to_numpy(u), product, atol=1e-6)
    named = [item.name for item in cell_products(cell).items if isinstance(item, Activity)]
    assert named == ["memory", "hidden"]


def test_signals_of_a_sequence_are_those_of_its_steps():
    cell = lmu("LSTM", input_to_hidden=True, initial_error="half").cell
    cell.build((2, 2))
    states = cell.get_initial_state(2)
    whole = cell.sequence_signals(ops.convert_to_tensor(x), states)
    for t in range(6):
        step, states = cell.signals(ops.convert_to_tensor(x[:, t]), states)
        assert set(step) == set(whole)
        for name, value in step.items():
            np.testing.assert_allclose(
                ops.convert_to_numpy(value), ops.convert_to_numpy(whole[name])[:, t], atol=1e-5
            )


def test_the_documents_show_the_table():
    design = Path(__file__).resolve().parents[3] / "docs" / "design.md"
    assert Plan.table() in design.read_text(encoding="utf-8")
