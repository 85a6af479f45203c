"""What a case of the benchmark is, and how cases are chosen.

Its group fixes what a case is fed, what is timed (`modes`) and what it is compared with; the first
reference of a group that can run here is the denominator of the first ratio.
"""

import dataclasses
import importlib.util

import keras

LAYER_MODES, STREAM_MODES, SIMULATION_MODES = ("train", "infer"), ("stream",), ("infer",)
MODES = (*LAYER_MODES, *STREAM_MODES)


@dataclasses.dataclass(frozen=True)
class Sizes:
    """Shapes of one benchmark run; the defaults are those of permuted sequential MNIST."""

    batch: int = 100
    timesteps: int = 784
    order: int = 256
    units: int = 212
    memory_resolution: float = 16.0
    hidden_resolution: float = 4.0


@dataclasses.dataclass(frozen=True)
class Group:
    """Cases of one kind: a layer fed [batch, time, width], a cell or an array step of one sample,
    a simulation of images.

    `features(sizes)` is the width.
    """

    title: str
    features: object
    references: tuple
    modes: tuple = LAYER_MODES
    kind: str = "layer"  # or "cell", "array", "simulation"


@dataclasses.dataclass(frozen=True)
class Case:
    """`build(sizes)` makes what the group times. jit: a setting of its own, before that of the run.
    left_out: why the case runs only on request. products(sizes): multiply-adds of a training step
    (see flops.py), or the step's operations in an array group."""

    name: str
    group: str
    build: object
    package: str | None = None
    backends: tuple | None = None
    jit: bool | None = None
    left_out: str | None = None
    products: object = None

    def unavailable(self):
        """Why this case does not run here, or None."""
        backend = keras.backend.backend()
        if self.backends and backend not in self.backends:
            return f"needs the {' or '.join(self.backends)} backend, this is {backend}"
        if self.package and importlib.util.find_spec(self.package) is None:
            return f"{self.package} is not installed"
        if self.left_out:
            return f'{self.left_out}; run it with --case "{self.name}"'
        return None


GROUPS = {
    "activation": Group("Activation, whole sequences", lambda s: s.order, ("ReLU",)),
    "memory-last": Group(
        "Memory alone, last state",
        lambda s: 1,
        ("keras-lmu memory (FFT)", "LegendreMemoryCell in keras.layers.RNN"),
    ),
    "memory-all": Group(
        "Memory alone, whole sequences",
        lambda s: 1,
        ("keras-lmu memory (FFT), all", "LegendreMemoryCell in keras.layers.RNN, all"),
    ),
    "network": Group(
        "Network, last state", lambda s: 1, ("keras-lmu LMU (recurrent)", "LSTM", "GRU")
    ),
    "network-all": Group(
        "Network, whole sequences",
        lambda s: 1,
        (
            "keras-lmu LMU (recurrent), all",
            "keras-lmu memory (FFT) + Dense, all",
            "LSTM, all",
            "GRU, all",
        ),
    ),
    "stream": Group(
        "Network, one step of one sample",
        lambda s: 1,
        ("keras-lmu LMUCell (recurrent)", "LSTMCell", "GRUCell"),
        STREAM_MODES,
        "cell",
    ),
    "memory-step": Group(
        "Memory alone, one step of one sample (NumPy)",
        lambda s: 1,
        ("dense product",),
        STREAM_MODES,
        "array",
    ),
    "simulation": Group(
        "Converted convolutional network, 8 x 8 images",
        lambda s: 1,
        ("T = 1", "source network"),
        SIMULATION_MODES,
        "simulation",
    ),
}
CASES = {}


def case(name, group, **options):
    """Registers a function of sizes under a name; options: the other fields of `Case`."""

    def register(build):
        if name in CASES:
            raise ValueError(f"two benchmark cases are named {name!r}")
        CASES[name] = Case(name, group, build, **options)
        return build

    return register


def select(groups=None, names=None):
    """Cases of the groups (all of them by default) whose name contains one of `names`,
    together with the references of their groups. A whole name requests a case that is left out."""
    groups = list(groups or GROUPS)
    for group in groups:
        if group not in GROUPS:
            raise ValueError(f"unknown group {group!r}; expected one of: {', '.join(GROUPS)}")
    chosen = [c for c in CASES.values() if c.group in groups]
    if not names:
        return chosen
    wanted = {c.name for c in chosen if any(n.lower() in c.name.lower() for n in names)}
    if not wanted:
        raise ValueError(
            f"no case contains {_quoted(names)}; expected part of one of: "
            f"{_quoted(c.name for c in chosen)}"
        )
    used = {c.group for c in chosen if c.name in wanted}
    asked = {n.lower() for n in names}
    return [
        dataclasses.replace(c, left_out=None) if c.name.lower() in asked else c
        for c in chosen
        if c.name in wanted or (c.group in used and c.name in GROUPS[c.group].references)
    ]


def _quoted(names):
    """Names in a row; in quotes, as many of them have commas."""
    return ", ".join(f'"{name}"' for name in names)
