"""Peers that cannot live in our environment, run by an interpreter of their own.

KerasSpiking needs Keras 2:

    python3 -m venv peer && peer/bin/pip install tensorflow tf_keras keras-spiking
    python -m evaluation benchmark --group activation --peer-python peer/bin/python

Their ratio is to a ReLU that they time themselves, at the same sizes, in the same run.
"""

import json
import subprocess
from pathlib import Path

from evaluation.speed.registry import LAYER_MODES, Group
from evaluation.speed.timing import Spread, paired_ratio

SCRIPT = Path(__file__).parents[1] / "peers" / "keras_spiking.py"
GROUPS = {
    "peer-activation": Group(
        "Activation, whole sequences, KerasSpiking in its own environment",
        lambda s: s.order,
        ("ReLU (Keras 2)",),
    )
}
NAME = "KerasSpiking"


def measure_peers(python, sizes, repeats, warmup, modes=LAYER_MODES, timeout=900):
    """Records as `benchmark.measure` makes them, with the peer's "versions" and "python"."""
    key, group = next(iter(GROUPS.items()))
    request = {
        "batch": sizes.batch,
        "timesteps": sizes.timesteps,
        "features": group.features(sizes),
        "repeats": repeats,
        "warmup": warmup,
    }
    try:
        done = subprocess.run(
            [str(python), str(SCRIPT), json.dumps(request)],
            capture_output=True, text=True, timeout=timeout,
        )  # fmt: skip
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise ValueError(f"exit status {done.returncode}: {last}")
        result = json.loads(done.stdout.strip().splitlines()[-1])
    except (OSError, ValueError, IndexError, subprocess.TimeoutExpired) as e:
        message = f"{type(e).__name__}: {str(e).splitlines()[0] if str(e) else e!r}"
        return [{"case": NAME, "group": key, "failed": message}]
    seconds, reference = result["seconds"], group.references[0]
    return [
        {
            "case": name,
            "group": key,
            "mode": mode,
            "seconds": seconds[name][mode],
            "median": Spread.of(seconds[name][mode]).median,
            "parameters": result["parameters"],
            "first_call_seconds": None,
            "ratios": {
                reference: vars(paired_ratio(seconds[name][mode], seconds[reference][mode]))
            },
            "versions": result["versions"],
            "python": str(python),
        }
        for mode in modes
        if mode in LAYER_MODES
        for name in seconds
    ]
