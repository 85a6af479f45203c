"""Fake run folders in the format that training/ writes."""

import json

import numpy as np
import pytest

from training.config import make_config


def activity_dict(spiking=True):
    resolution = 2.0 if spiking else None
    product = {
        "name": "hybrid_lmu/memory A",
        "kind": "memory",
        "weights": 2304,
        "dense_macs": 147456,
        "effective_macs": 140000.0,
        "effective_acs": 0,
        "strict_acs": 0,
        "graded_acs": 0,
        "input_resolution": None,
    }
    hidden = product | {
        "name": "hybrid_lmu/hidden kernel",
        "kind": "hidden",
        "weights": 3500,
        "dense_macs": 224000,
        "effective_macs": 100.5,
        "effective_acs": 9000,
        "strict_acs": 8000,
        "graded_acs": 12000,
        "input_resolution": 2.0,
    }
    activities = [
        {
            "name": name,
            "layer": "hybrid_lmu",
            "resolution": resolution,
            "neurons": 48,
            "activity_bits": bits,
            "provisioned_bits": 4,
            "significant_bits": 0.7,
            "significant_bits_nonzero": 1.4,
            "entropy_bits": 1.2,
            "share_of_zeros": 0.61,
            "mean_abs_count": 0.5,
            "count_min": -7,
            "count_max": 8,
        }
        for name, bits in (("hybrid_lmu/memory", 3.6), ("hybrid_lmu/hidden", 2.1))
    ]
    return {
        "unit": "per sample (whole sequence)",
        "samples": 256,
        "timesteps": 64,
        "activities": activities if spiking else [],
        "products": [product, hidden],
        "totals": {
            "dense_macs": 371456,
            "effective_macs": 140100.5,
            "effective_acs": 9000,
            "strict_acs": 8000,
            "graded_acs": 12000,
            "activity_bits": 2.85 if spiking else None,
            "significant_bits": 0.7 if spiking else None,
            "share_of_zeros": 0.61 if spiking else None,
        },
        "neurobench": {},
        "footprint": {"stored_bytes": 24000, "packed_bytes": 24000},
        "energy": [
            {
                "preset": "horowitz-fp32",
                "process_nm": 45,
                "source": "Horowitz, ISSCC 2014 <table>",
                "compute_joules": 6.4e-7,
                "memory_joules": None,
                "total_joules": 6.4e-7,
                "precision": "float32",
            },
        ],
    }


def make_run(folder, model="hybrid-lmu", seed=0, epochs=12, task="digits", accuracy=0.95):
    spiking = model.startswith("hybrid")
    rng = np.random.default_rng(seed)
    t = np.arange(1, epochs + 1)
    curve = accuracy - 0.8 * np.exp(-t / 3) + 0.004 * rng.standard_normal(epochs)
    history = {
        "epoch": (t - 1).tolist(),
        "loss": np.exp(-t / 4).tolist(),
        "val_loss": np.exp(-t / 5).tolist(),
        "accuracy": np.minimum(curve + 0.02, 1).tolist(),
        "val_accuracy": curve.tolist(),
    }
    if spiking:
        history["resolutions"] = [
            [64 * (final / 64) ** min(s / (0.7 * epochs), 1) for final in (8, 2)] for s in t
        ]
    config = {"task": task, "model": model, "seed": seed, "epochs": epochs, "batch_size": 32}
    metrics = {
        "task": task,
        "model": model,
        "seed": seed,
        "test": {"accuracy": accuracy, "interval": [accuracy - 0.02, accuracy + 0.015], "n": 360},
        "validation": {
            "accuracy": accuracy,
            "interval": [accuracy - 0.02, accuracy + 0.02],
            "n": 270,
        },
        "best_epoch": epochs - 1,
        "parameters": 6000 + seed,
        "non_trainable": 2352,
        "activity": activity_dict(spiking),
        "seconds": 21.5,
        "config": config,
        "environment": {
            "versions": {"python": "3.11", "keras": "3.15.1"},
            "backend": "tensorflow",
            "commit": "abc1234",
            "date": "2026-11-21T00:00:00",
            "machine": {"cpu": "a cpu", "cores": 4},
        },
    }
    if spiking:
        metrics["non_spiking_test"] = dict(metrics["test"], accuracy=accuracy + 0.004)
    path = folder / f"{task}-{model}-seed{seed}"
    path.mkdir(parents=True)
    for name, content in (("config", config), ("history", history), ("metrics", metrics)):
        (path / f"{name}.json").write_text(json.dumps(content))
    return path


@pytest.fixture
def write_run():
    """Function that writes one fake run folder and returns its path."""
    return make_run


@pytest.fixture
def run_folders(tmp_path):
    """A parent folder with two hybrid runs, an LSTM and a GRU run, without saved models."""
    parent = tmp_path / "runs"
    for model, seed, accuracy in (
        ("hybrid-lmu", 0, 0.96),
        ("hybrid-lmu", 1, 0.95),
        ("lstm", 0, 0.93),
        ("gru", 0, 0.94),
    ):
        make_run(parent, model, seed, accuracy=accuracy)
    return parent


@pytest.fixture
def add_run(write_run, tmp_path):
    """Function that adds a fake run with a complete configuration to tmp_path / "results"."""

    def add(model="hybrid-lmu", seed=0, accuracy=0.95, task="digits", backend=None, **options):
        path = write_run(tmp_path / "new", model, seed, task=task, accuracy=accuracy)
        config = make_config(task, model, seed, **options)
        stored = config.to_dict() | ({"backend": backend} if backend else {})
        metrics = json.loads((path / "metrics.json").read_text()) | {"config": config.to_dict()}
        (path / "metrics.json").write_text(json.dumps(metrics))
        (path / "config.json").write_text(json.dumps(stored))
        target = tmp_path / "results" / config.name
        while target.exists():
            target = target.with_name(target.name + "-b")
        target.parent.mkdir(exist_ok=True)
        return path.rename(target)

    return add


@pytest.fixture
def results(tmp_path):
    return tmp_path / "results"
