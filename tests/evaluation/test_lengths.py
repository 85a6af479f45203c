import dataclasses

import numpy as np
import pytest

from evaluation import lengths
from evaluation.benchmark_plot import lengths as figure_of
from evaluation.registry import Sizes
from evaluation.style import to_png

SMALL = Sizes(order=4, units=3)
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


def test_a_stream_has_one_sample_at_any_length():
    assert [lengths.samples(STREAM, n, lengths.LENGTHS) for n in lengths.LENGTHS] == [1] * 4
    assert [lengths.samples(TRAIN, n, lengths.LENGTHS) for n in lengths.LENGTHS] == [167, 32, 8, 1]


@pytest.mark.parametrize("name", lengths.CASES)
def test_every_case_makes_its_call(name):
    sizes = dataclasses.replace(SMALL, timesteps=20, batch=lengths.samples(name, 20, [20, 40]))
    case = {
        "name": name,
        "steps": 20,
        "piece": 8,
        "jit": False,
        "sizes": dataclasses.asdict(sizes),
    }
    call = lengths.build(case)
    first, second = call(), call()
    assert np.isfinite(first) and first != second  # it has trained, or the state went on


def test_a_process_measures_its_own_memory():
    sizes = dataclasses.asdict(dataclasses.replace(SMALL, timesteps=16, batch=2))
    case = {"name": TRAIN, "steps": 16, "piece": 16, "jit": False, "sizes": sizes}
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
