"""The options of one run: `RunConfig`, made from the recipe of its task by `make_config`.

An option is one field of one part (`Experiment`, `Network`, `Fit`, `Quantization`, `Budget`,
`LowBit`, `Machine`): the field declares default, check, help and flag.
"""

import dataclasses
import typing
from collections.abc import Iterable, Mapping, Sequence

from training._options import Options, integer, one_of, option, positive, probability, share, switch
from training.tasks import FOLD_TASKS, FOLDS, TASK_NAMES, TASKS

SEQUENCE_MODELS = (
    "hybrid-lmu", "hybrid-lmu-recurrent", "hybrid-lmu-integer",
    "lmu", "lstm", "gru", "hybrid-lstm", "hybrid-gru",
)  # fmt: skip
DEFAULT_MODELS = ("hybrid-lmu", "lmu", "lstm", "gru")
EVENT_MODELS = ("spiking-cnn",)  # for tasks with one image a step
MODELS = (*SEQUENCE_MODELS, *EVENT_MODELS)
# One network with three recipes: feed-forward hidden units; recurrent hidden units; feedback of
# counts, so that every weight meets integers.
HYBRID_LMUS = ("hybrid-lmu", "hybrid-lmu-recurrent", "hybrid-lmu-integer")
HYBRID_MODELS = (*HYBRID_LMUS, "hybrid-lstm", "hybrid-gru")
LMU_MODELS = ("hybrid-lmu", "lmu")
# Levels of the kernels by name. "full": float32.
WEIGHTS = {
    "full": None, "binary": (-1, 1), "ternary": (-1, 0, 1),
    "2-bit": (-3, -1, 1, 3), "3-bit": tuple(range(-7, 8, 2)), "4-bit": tuple(range(-15, 16, 2)),
}  # fmt: skip
WEIGHT_RULES = ("sigmoids", "scaled", "sign", "bernoulli")
HIDDEN = ("dense", "rnn", "relu-rnn", "gru")
OPTIMIZERS = ("adam", "adamw", "rmsprop", "sgd")
READOUTS = ("last", "mean", "leaky")
ROUNDINGS = ("diffused", "memoryless", "stochastic")
SCHEDULES = ("constant", "cosine")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Experiment(Options):
    """What is trained on which data."""

    title: typing.ClassVar[str] = "what"
    task: str = option("digits", one_of(TASK_NAMES), "data set", in_recipe=False)
    model: str = option("hybrid-lmu", one_of(MODELS), "network", flag=False)
    seed: int = option(0, integer(0), "seed of weights, draws and order of samples", flag=False)
    fold: int | None = option(None, one_of(range(FOLDS)),
        f"of an event task: test on this one of {FOLDS} parts of all samples")  # fmt: skip
    permutation: int = option(0, integer(0), "seed of the order of pixels (psmnist)")

    def _check_together(self):
        possible = models_of(self.task)
        if self.model not in possible:
            raise ValueError(
                f"`model` must be one of {', '.join(possible)} for the task {self.task}; received: "
                f"{self.model!r}"
            )
        if self.fold is not None:
            one_of(FOLD_TASKS)("task", self.task)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Network(Options):
    """Sizes and parts of the network."""

    title: typing.ClassVar[str] = "network (default: recipe)"
    parameters: int = option(6_000, integer(1), "trainable parameters, if --units is not given: "
        "the number of units comes as near to them as it can")  # fmt: skip
    units: int | None = option(None, integer(1),
        "hidden units, or channels of the first layer of a spiking-cnn")  # fmt: skip
    order: int = option(32, integer(1), "order of the memory")
    theta: float = option(64.0, positive, "window of the memory in steps")
    memory_d: int = option(1, integer(1), "number of memories")
    hidden: str = option("dense", one_of(HIDDEN),
        "hidden units of an LMU: ReLU layer, tanh or ReLU recurrence, GRU")  # fmt: skip
    input_to_hidden: bool = option(False, switch, "the hidden units of an LMU see the input too")
    tau: float = option(2.0, positive, "time constant of spiking neurons in steps")
    readout: str = option("last", one_of(READOUTS),
        "readout of the last step, or of the last --readout-steps: their mean, or a leaky average "
        "with the time constant --readout-steps / 4")  # fmt: skip
    readout_steps: int = option(1, integer(1), "number of last steps to read out")
    simulated_steps: int | None = option(None, integer(1),
        "train recurrent hidden units on that many last steps only")  # fmt: skip

    def _check_together(self):
        if self.readout == "last" and self.readout_steps != 1:
            raise ValueError(
                "`readout_steps` must be 1 with readout 'last'; choose 'mean' or 'leaky'. "
                f"Received: {self.readout_steps}"
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fit(Options):
    """How weights are trained."""

    title: typing.ClassVar[str] = "training (default: recipe)"
    epochs: int = option(30, integer(1), "passes over the training data")
    batch_size: int = option(32, integer(1), "samples a step, over all devices")
    learning_rate: float = option(1e-3, positive, "step size of the optimizer")
    schedule: str = option("constant", one_of(SCHEDULES),
        "learning rate over all steps: constant, or falling to 0 along a cosine")  # fmt: skip
    clip_norm: float | None = option(None, positive, "bound on the norm of the whole gradient")
    optimizer: str = option("adam", one_of(OPTIMIZERS), "optimizer (recipe: adam)")
    dropout: float = option(0.0, probability, "dropout before the readout (recipe: 0)")
    memory_dropout: float = option(0.0, probability, "dropout on the quantized memory")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Quantization(Options):
    """How the activities of hybrid models are quantized.

    The resolutions fall geometrically from `start_resolution` to their final values over the first
    `anneal_fraction` of all training steps, and then stay. With `memory_unit` "deviation" the
    resolution of the memory counts levels per standard deviation of each neuron, measured on
    `Budget.budget_samples` sequences; the input then enters the memory without an encoder, whose
    learned gain would change the deviations. "normalized": the activities are divided by the
    deviations, so that all neurons have one resolution and the weights behind them meet counts.
    """

    title: typing.ClassVar[str] = "quantization of hybrid models (default: recipe)"
    start_resolution: float = option(64.0, positive, "resolution at the start; it falls "
        "geometrically, step by step, to the final ones")  # fmt: skip
    memory_resolution: float = option(8.0, positive, "final resolution of the memory")
    memory_unit: str = option("activity", one_of(("activity", "deviation", "normalized")),
        "unit of the memory's resolution and limit: levels per unit of activity, or per deviation "
        "of each neuron; normalized: activities are divided by their deviations")  # fmt: skip
    hidden_resolution: float = option(2.0, positive, "final resolution of the hidden units")
    anneal_fraction: float = option(0.7, share, "share of all steps until resolutions are final")
    memory_feedback: str = option("exact", one_of(("exact", "quantized", "integrated")),
        "what the memory recurs on")  # fmt: skip
    rounding: str = option("diffused", one_of(ROUNDINGS),
        "diffused (sigma-delta), or without memory of errors, as a control")  # fmt: skip
    memory_limit: float | None = option(None, positive, "where the memory saturates")
    hidden_limit: float | None = option(None, positive, "where hidden units saturate")
    input_resolution: float | None = option(None, positive,
        "quantize the input to that many levels a unit, and leave the encoder out")  # fmt: skip
    initial_error: str = option("uniform", one_of(
        ("uniform", "uniform_each_call", "zeros", "half")),
        "first diffusion error; uniform: drawn in training, fixed in inference")  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class Budget(Options):
    """Activity bits that set the resolutions, in place of final resolutions.

    The bits fall from `start_bits` over the same steps as resolutions do. With `bit_budget` the
    resolutions of all neurons are learned. With `memory_bits` and `hidden_bits` each neuron gets
    that many bits, by its range.
    """

    title: typing.ClassVar[str] = "budgets of bits, in place of resolutions (default: recipe)"
    bit_budget: float | None = option(None, positive,
        "learn the resolutions under that many activity bits")  # fmt: skip
    memory_bits: float | None = option(None, positive, "bits of each memory neuron, by its range")
    hidden_bits: float | None = option(None, positive, "bits of each hidden neuron, by its range")
    start_bits: float = option(8.0, positive, "bits at the start")
    budget_samples: int = option(500, integer(1),
        "training sequences on which ranges and deviations are measured")  # fmt: skip

    def _check_together(self):
        if (self.memory_bits is None) != (self.hidden_bits is None) or (
            self.bit_budget is not None and self.memory_bits is not None
        ):
            raise ValueError(
                "`memory_bits` and `hidden_bits` go together, and not with `bit_budget`; received: "
                f"{self.memory_bits!r}, {self.hidden_bits!r} and {self.bit_budget!r}"
            )

    @property
    def budgeted(self) -> bool:
        """Whether budgets of bits set the resolutions."""
        return self.bit_budget is not None or self.memory_bits is not None


@dataclasses.dataclass(frozen=True, kw_only=True)
class LowBit(Options):
    """Weights of few bits: all kernels but those that `exempt` names.

    The rule "sigmoids" is `SumOfSigmoids`. Its temperature rises geometrically from
    `start_temperature` to `temperature` (for levels one apart) over the first
    `weight_anneal_fraction` of all steps. For binary weights there are three other rules: "scaled"
    (`ScaledBinary`), "sign" (`StraightThroughSign`) and "bernoulli" (`Bernoulli`).
    """

    title: typing.ClassVar[str] = "weights of few bits (default: recipe)"
    weights: str = option("full", one_of(WEIGHTS), "levels of all kernels (recipe: full precision)")
    weight_rule: str = option("sigmoids", one_of(WEIGHT_RULES),
        "how kernels get their levels: a sum of sigmoids, or a rule for binary ones")  # fmt: skip
    power_of_two: bool = option(False, switch, "scales of kernels are powers of two: shifts")
    weight_gradient: str = option("auto", one_of(("auto", "true", "wide")),
        "slope of the sigmoids; auto: wide for binary levels")  # fmt: skip
    exempt: str = option("none", one_of(("none", "first", "last", "both")),
        "layers whose kernels stay at full precision")  # fmt: skip
    start_temperature: float = option(1.0, positive, "temperature of the sigmoids at the start")
    temperature: float = option(100.0, positive, "final temperature of the sigmoids")
    weight_anneal_fraction: float = option(0.8, share,
        "share of all steps until the temperature is final")  # fmt: skip

    def _check_together(self):
        if self.weight_rule != "sigmoids" and (self.power_of_two or self.weights != "binary"):
            raise ValueError(
                "`weights` must be 'binary' and `power_of_two` False with weight_rule "
                f"{self.weight_rule!r}; received: {self.weights!r} and {self.power_of_two}"
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Machine(Options):
    """How a run is computed, and how much of the test split its report counts."""

    title: typing.ClassVar[str] = "machine"
    precision: str = option("float32", one_of(("float32", "mixed_float16", "mixed_bfloat16")),
        "dtype policy", in_recipe=False)  # fmt: skip
    jit: str = option("auto", one_of(("auto", "on", "off")), "compile the training step",
        in_recipe=False)  # fmt: skip
    devices: int = option(1, integer(1), "devices to divide each batch over; spike counts and "
        "random draws may differ from those of one device: training/distribution.py",
        in_recipe=False)  # fmt: skip
    report_samples: int | None = option(None, integer(1),
        "test samples to count bits and operations on (recipe: all)")  # fmt: skip


# The groups of flags, in the order of --help.
PARTS = (Experiment, Network, Fit, Quantization, Budget, LowBit, Machine)


# A dataclass takes the fields of its last base class first: the fields come in the order of PARTS.
@dataclasses.dataclass(frozen=True, kw_only=True)
class RunConfig(Machine, LowBit, Budget, Quantization, Fit, Network, Experiment):
    """Every option of one run: one task, one model, one seed. It has the fields of all `PARTS`.

    config.json holds the fields in one flat object, so files of earlier versions stay readable.
    """

    def _check_together(self):
        if self.batch_size % self.devices:
            raise ValueError(
                "`batch_size` must be a multiple of `devices` (each device gets an equal part); "
                f"received: batch_size={self.batch_size}, devices={self.devices}"
            )

    @property
    def name(self) -> str:
        """Name of the run folder."""
        return "-".join([self.task, self.model, *variants(self.to_dict()), f"seed{self.seed}"])

    @property
    def is_hybrid(self) -> bool:
        """Whether the model has quantized activities with resolutions."""
        return self.model in HYBRID_MODELS

    def to_dict(self) -> dict:
        """The content of config.json."""
        return dataclasses.asdict(self)


_LOW_BIT = tuple(f.name for f in dataclasses.fields(LowBit) if f.name != "weights")
DEFAULTS = {field.name: field.default for field in dataclasses.fields(RunConfig)}


def make_config(
    task: str, model: str, seed: int = 0, *, recipe: Mapping | None = None, **options
) -> RunConfig:
    """Return a recipe with options on top.

    Args:
        task: name of the task.
        model: name of the model.
        seed: seed of weights, draws and order of samples.
        recipe: the recipe. Default: that of `task` for `model`.
        options: fields of `RunConfig`; an option that is None leaves the choice to the recipe.

    With low-bit weights among the options, `Task.low_bit` comes between recipe and options.

    Raises:
        ValueError: unknown task or model, or an option out of its range.
    """
    one_of(TASK_NAMES)("task", task)
    one_of(MODELS)("model", model)
    one_of(models_of(task))("model", model)
    recipes = TASKS[task].recipes
    merged = dict(recipe or {**recipes["*"], **recipes.get(model, {})})
    if options.get("weights") not in (None, "full"):
        merged["weight_gradient"] = "wide"
        if model in (*HYBRID_LMUS, *EVENT_MODELS) and model != "hybrid-lmu-integer":
            merged |= TASKS[task].low_bit
        if options.get("weight_rule") not in (None, "sigmoids"):  # they have scales of their own
            merged.pop("power_of_two", None)
    merged.update({key: value for key, value in options.items() if value is not None})
    return RunConfig(task=task, model=model, seed=seed, **merged)


# Options that only some models have, and those that a budget of bits takes the place of.
_RESOLUTIONS = ("start_resolution", "memory_resolution", "hidden_resolution")
_BITS = ("bit_budget", "memory_bits", "hidden_bits", "start_bits")
_OF_MODELS = {
    **dict.fromkeys(("order", "theta", "memory_d"), (*HYBRID_LMUS, "lmu")),
    **dict.fromkeys(("memory_resolution", "memory_unit", "memory_limit"), HYBRID_LMUS),
    **dict.fromkeys((*_RESOLUTIONS[::2], *_BITS, "hidden_limit", "rounding"), HYBRID_MODELS),
}


def check_used(configs: Sequence[RunConfig], given: Iterable[str]) -> None:
    """Raise ValueError for an option that was given and that none of the runs uses.

    Args:
        configs: the runs.
        given: names of the options that were given, in place of those of the recipes.
    """
    for name in given:
        why = None
        if not any(config.model in _OF_MODELS.get(name, MODELS) for config in configs):
            why = f"is for the models {', '.join(_OF_MODELS[name])}"
        elif name == "parameters" and all(config.units for config in configs):
            why = "gives the number of units, and not together with `units`"
        elif name in _RESOLUTIONS and all(config.budgeted for config in configs):
            why = "is found by a budget of bits, and not given together with one"
        elif name == "start_bits" and not any(config.budgeted for config in configs):
            why = "needs `bit_budget`, or `memory_bits` and `hidden_bits`"
        elif name in _LOW_BIT and all(config.weights == "full" for config in configs):
            why = "needs `weights` of few bits"
        if why:
            models = ", ".join(dict.fromkeys(config.model for config in configs))
            raise ValueError(f"`{name}` {why}; received it for: {models}")


def models_of(task: str) -> tuple[str, ...]:
    """The models that can be trained on a task."""
    return EVENT_MODELS if TASKS[task].image_steps else SEQUENCE_MODELS


def variants(config: Mapping) -> list[str]:
    """What tells a run from other runs of its task and model, such as ["memoryless"].

    `config` is the content of a config.json; options that it lacks have their defaults.
    """
    config = {**DEFAULTS, **config}
    permutation, fold, budget = config["permutation"], config["fold"], config["bit_budget"]
    found = [config["rounding"]] if config["rounding"] != "diffused" else []
    found += [f"permutation{permutation}"] if permutation else []
    found += [f"budget{budget:g}"] if budget else []
    is_low_bit = config["weights"] != "full"
    if is_low_bit:
        found.append(config["weights"])
        found += [config["weight_rule"]] if config["weight_rule"] != "sigmoids" else []
    elif config["memory_unit"] == "normalized":
        found.append("normalized")
    found += [f"fold{fold}"] if fold is not None else []
    found += [f"{config['exempt']}-exempt"] if is_low_bit and config["exempt"] != "none" else []
    return found
