import dataclasses

import keras
import numpy as np
import pytest

from evaluation.speed import lengths
from evaluation.speed.plot import lengths as figure_of
from evaluation.speed.registry import Sizes
from evaluation.style import to_png
from hybrid_lmu import LegendreMemory

SMALL = Sizes(order=4, units=3)
CASE = {"steps": 20, "theta": 8, "jit": False}
TRAIN, STREAM = "SigmaDelta, training step", "LegendreMemory, streaming"


class FakeWorker:
    """Answers at once: a step of a sample takes 1 us and 10 bytes, twice as much beyond 16 steps;
    at 64 steps the process ends with the second call."""

    log = []

    def __init__(self, case):
        self.case, self.calls = case, 0

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def call(self):
        steps, count = self.case["steps"], self.case["steps"] * self.case["sizes"]["batch"]
        self.log.append(steps)
        self.calls += 1
        if steps == 64 and self.calls == 2:
            raise RuntimeError("its process ended with status -9: no message")
        factor = 2 if steps > 16 else 1
        seconds = 1e-6 * factor * count * (10 if self.calls == 1 else 1)
        return {"seconds": seconds, "bytes": 10 * factor * count, "count": count}


def test_lengths_take_turns_and_are_compared_per_step(monkeypatch):
    monkeypatch.setattr(lengths, "Worker", FakeWorker)
    FakeWorker.log.clear()
    records = lengths.measure_lengths([32, 8, 16, 64], SMALL, repeats=2, names=["sigmadelta"])
    assert FakeWorker.log == [8, 16, 32, 64, 8, 16, 32, 64, 8, 16, 32, 8, 16, 32]
    failed, *timed = records
    assert failed == {
        "case": TRAIN,
        "steps": 64,
        "failed": "its process ended with status -9: no message",
    }
    assert [(r["steps"], r["samples"]) for r in timed] == [(8, 8), (16, 4), (32, 2)]
    assert [r["time_ratio"]["median"] for r in timed] == pytest.approx([1, 1, 2])
    assert [r["memory_ratio"] for r in timed] == [1, 1, 2]
    assert [r["seconds_per_step"] for r in timed] == pytest.approx([1e-6, 1e-6, 2e-6])
    assert all(len(r["seconds"]) == 2 for r in timed)  # without first call and warm-up
    text = lengths.format_lengths(records)
    assert "largest ratio: time 2, memory 2" in text and "failed: 64 steps (its process" in text
    assert to_png(figure_of(timed)).startswith(b"\x89PNG")


def test_every_length_has_about_the_same_number_of_steps():
    assert [lengths.samples(n, lengths.LENGTHS) for n in lengths.LENGTHS] == [167, 32, 8, 1]


def test_pieces_of_a_stream_leave_no_rest_if_possible():
    assert [lengths.piece_of(n) for n in (*lengths.LENGTHS, 131, 20)] == [112, *[128] * 4, 20]


def test_a_stream_ends_where_the_whole_sequence_does():
    sizes = dataclasses.replace(SMALL, timesteps=131, batch=3)  # prime: a rest of 3
    state = lengths.build({**CASE, "name": STREAM, "sizes": dataclasses.asdict(sizes)})()
    u = np.random.default_rng(0).random((3, 131, 1), dtype="float32")[-1:]
    whole = keras.ops.convert_to_numpy(LegendreMemory(4, 8)(u))
    np.testing.assert_allclose(state, whole, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", [n for n, kind in lengths.CASES.items() if kind == "train"])
@pytest.mark.broad(1)
def test_every_case_trains(name):
    sizes = dataclasses.asdict(dataclasses.replace(SMALL, timesteps=20, batch=2))
    call = lengths.build({**CASE, "name": name, "sizes": sizes})
    first, second = call(), call()
    assert np.isfinite(first) and first != second


@pytest.mark.slow
def test_a_process_measures_its_own_memory():
    sizes = dataclasses.asdict(dataclasses.replace(SMALL, timesteps=16, batch=2))
    case = {"name": TRAIN, "steps": 16, "theta": 16, "jit": False, "sizes": sizes}
    bad = {**case, "name": "no such case"}
    with lengths.Worker(case) as worker, lengths.Worker(bad) as broken:
        first, second = worker.call(), worker.call()
        with pytest.raises(RuntimeError, match="ended with status 1: KeyError: 'no such case'"):
            broken.call()
    assert first["seconds"] > 0 and second["seconds"] > 0 and "bytes" not in second
    assert first["count"] == 32
    if lengths.resident("VmRSS") is not None:
        assert first["bytes"] > 0


def test_the_peak_is_at_least_the_present():
    if lengths.resident("VmHWM") is not None:
        assert lengths.resident("VmHWM") >= lengths.resident("VmRSS") > 0
    assert lengths.resident("NoSuchField") is None
