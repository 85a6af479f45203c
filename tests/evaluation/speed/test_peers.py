import sys

import pytest

from evaluation.speed import peers
from evaluation.speed.registry import Sizes
from evaluation.speed.tables import format_records

SIZES = Sizes(batch=2, timesteps=3, order=5)
ANSWER = """
import json, sys
s = json.loads(sys.argv[1])
assert s == {"batch": 2, "timesteps": 3, "features": 5, "repeats": 2, "warmup": 1}, s
print("a note of a library")
times = {"ReLU (Keras 2)": [1.0, 2.0], "KerasSpiking SpikingActivation(ReLU)": [6.0, 12.0]}
seconds = {name: {"train": t, "infer": t} for name, t in times.items()}
print(json.dumps({"versions": {"tf_keras": "2"}, "seconds": seconds, "parameters": 7}))
"""


@pytest.fixture
def script(tmp_path, monkeypatch):
    def make(text):
        monkeypatch.setattr(peers, "SCRIPT", tmp_path / "peer.py")
        peers.SCRIPT.write_text(text)

    return make


def test_the_ratio_is_to_the_relu_of_the_peer(script):
    script(ANSWER)
    records = peers.measure_peers(sys.executable, SIZES, repeats=2, warmup=1, modes=("train",))
    assert [r["case"] for r in records] == list(
        ("ReLU (Keras 2)", "KerasSpiking SpikingActivation(ReLU)")
    )
    assert [r["ratios"]["ReLU (Keras 2)"]["median"] for r in records] == [1, 6]
    assert records[1]["versions"] == {"tf_keras": "2"} and records[1]["mode"] == "train"
    assert "KerasSpiking in its own environment: training step" in format_records(
        records, peers.GROUPS
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("raise ImportError('no keras_spiking')", "exit status 1: ImportError: no keras_spiking"),
        ("", "IndexError"),
        ("print('no json')", "JSONDecodeError"),
    ],
)
def test_a_peer_that_fails_costs_only_itself(script, text, message):
    script(text)
    (record,) = peers.measure_peers(sys.executable, SIZES, 1, 0)
    assert message in record["failed"]


def test_an_interpreter_that_is_not_there(tmp_path):
    (record,) = peers.measure_peers(tmp_path / "python", SIZES, 1, 0)
    assert "No such file" in record["failed"]


def test_the_script_needs_nothing_of_ours():
    assert "from evaluation" not in peers.SCRIPT.read_text()
    assert "import evaluation" not in peers.SCRIPT.read_text()
