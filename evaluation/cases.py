"""What the benchmark times: one entry a layer, registered by `@case`.

A case makes a layer from `Sizes`. Its group fixes what the layer is fed and what it is compared
with; the first reference of a group that can run here is the denominator of the first ratio.
To add a case, write one decorated function below.
"""

import dataclasses
import importlib.util

import keras

from hybrid_lmu import HybridLMU, LegendreMemory, LegendreMemoryCell, SigmaDelta


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
    """Cases of one input shape [batch, time, width]; `features(sizes)` is the width."""

    title: str
    features: object
    references: tuple


@dataclasses.dataclass(frozen=True)
class Case:
    name: str
    group: str
    build: object
    package: str | None = None
    backends: tuple | None = None

    def unavailable(self):
        """Why this case cannot run here, or None."""
        backend = keras.backend.backend()
        if self.backends and backend not in self.backends:
            return f"needs the {' or '.join(self.backends)} backend, this is {backend}"
        if self.package and importlib.util.find_spec(self.package) is None:
            return f"{self.package} is not installed"
        return None


GROUPS = {
    "activation": Group("Activation, whole sequences", lambda s: s.units, ("ReLU",)),
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
        ("keras-lmu LMU (recurrent), all", "LSTM, all", "GRU, all"),
    ),
}
CASES = {}


def case(name, group, package=None, backends=None):
    """Registers a function sizes -> Keras layer under a name."""

    def register(build):
        if name in CASES:
            raise ValueError(f"two benchmark cases are named {name!r}")
        CASES[name] = Case(name, group, build, package, backends)
        return build

    return register


def select(groups=None, names=None):
    """Cases of the groups (all of them by default) whose name contains one of `names`,
    together with the references of their groups."""
    groups = list(groups or GROUPS)
    for group in groups:
        if group not in GROUPS:
            raise ValueError(f"unknown group {group!r}; expected one of: {', '.join(GROUPS)}")
    chosen = [c for c in CASES.values() if c.group in groups]
    if names:
        wanted = {c.name for c in chosen if any(n.lower() in c.name.lower() for n in names)}
        if not wanted:
            raise ValueError(
                f"no case contains {_quoted(names)}; expected part of one of: "
                f"{_quoted(c.name for c in chosen)}"
            )
        used = {c.group for c in chosen if c.name in wanted}
        chosen = [
            c
            for c in chosen
            if c.name in wanted or (c.group in used and c.name in GROUPS[c.group].references)
        ]
    return chosen


def _quoted(names):
    """Names in a row; in quotes, as many of them have commas."""
    return ", ".join(f'"{name}"' for name in names)


# --- activations ---------------------------------------------------------------------------


@case("ReLU", "activation")
def _relu(s):
    return keras.layers.Activation("relu")


@case("SigmaDelta(ReLU)", "activation")
def _sigma_delta(s):
    return SigmaDelta("relu", resolution=s.hidden_resolution)


# --- the two forms of every other case: last state, whole sequences --------------------------


def _both(name, memory=False, package=None, backends=None):
    """Registers build(sizes, return_sequences) in the -last and the -all group."""

    def register(build):
        last, every = ("memory-last", "memory-all") if memory else ("network", "network-all")
        case(name, last, package, backends)(lambda s: build(s, False))
        case(f"{name}, all", every, package, backends)(lambda s: build(s, True))
        return build

    return register


def _lmu_arguments(s, recurrent):
    cell = keras.layers.SimpleRNNCell if recurrent else keras.layers.Dense
    return {
        "memory_d": 1,
        "order": s.order,
        "theta": s.timesteps,
        "hidden_cell": cell(s.units, activation="tanh" if recurrent else "relu"),
        "input_to_hidden": True,
    }


@_both("keras-lmu memory (FFT)", memory=True, package="keras_lmu", backends=("tensorflow",))
def _keras_lmu_memory(s, return_sequences):
    import keras_lmu

    return keras_lmu.LMUFeedforward(
        1, s.order, s.timesteps, hidden_cell=None, return_sequences=return_sequences
    )


@_both("LegendreMemory", memory=True)
def _legendre_memory(s, return_sequences):
    return LegendreMemory(s.order, s.timesteps, return_sequences=return_sequences)


@_both("LegendreMemoryCell in keras.layers.RNN", memory=True)
def _legendre_loop(s, return_sequences):
    cell = LegendreMemoryCell(s.order, s.timesteps)
    return keras.layers.RNN(cell, return_sequences=return_sequences)


@_both("LSTM")
def _lstm(s, return_sequences):
    return keras.layers.LSTM(s.units, return_sequences=return_sequences)


@_both("GRU")
def _gru(s, return_sequences):
    return keras.layers.GRU(s.units, return_sequences=return_sequences)


@_both("keras-lmu LMU (recurrent)", package="keras_lmu", backends=("tensorflow",))
def _keras_lmu_recurrent(s, return_sequences):
    import keras_lmu

    return keras_lmu.LMU(**_lmu_arguments(s, True), return_sequences=return_sequences)


@_both("keras-lmu LMU (feed-forward)", package="keras_lmu", backends=("tensorflow",))
def _keras_lmu_feedforward(s, return_sequences):
    import keras_lmu

    return keras_lmu.LMUFeedforward(**_lmu_arguments(s, False), return_sequences=return_sequences)


@_both("HybridLMU (recurrent), spiking")
def _hybrid_recurrent(s, return_sequences):
    return _hybrid(s, True, True, return_sequences)


@_both("HybridLMU (feed-forward), spiking")
def _hybrid_feedforward(s, return_sequences):
    return _hybrid(s, False, True, return_sequences)


@_both("HybridLMU (feed-forward), non-spiking")
def _hybrid_plain(s, return_sequences):
    return _hybrid(s, False, False, return_sequences)


def _hybrid(s, recurrent, spiking, return_sequences):
    return HybridLMU(
        **_lmu_arguments(s, recurrent),
        memory_resolution=s.memory_resolution if spiking else None,
        hidden_resolution=s.hidden_resolution if spiking else None,
        return_sequences=return_sequences,
    )
