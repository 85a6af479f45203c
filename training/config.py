"""One run's options: `RunConfig`, made from a recipe (`training.recipes`) by `make_config`."""

import dataclasses
import math

from training.recipes import LOW_BIT, RECIPES

SEQUENCE_MODELS = (
    "hybrid-lmu", "hybrid-lmu-recurrent", "hybrid-lmu-integer",
    "lmu", "lstm", "gru", "hybrid-lstm", "hybrid-gru",
)  # fmt: skip
DEFAULT_MODELS = ("hybrid-lmu", "lmu", "lstm", "gru")
EVENT_MODELS = ("spiking-cnn",)  # of images a step
MODELS = (*SEQUENCE_MODELS, *EVENT_MODELS)
# One network with three recipes: feed-forward hidden units; recurrent ones; feedback of counts, so
# that every weight sees integers.
HYBRID_LMUS = ("hybrid-lmu", "hybrid-lmu-recurrent", "hybrid-lmu-integer")
HYBRID_MODELS = (*HYBRID_LMUS, "hybrid-lstm", "hybrid-gru")
LMU_MODELS = ("hybrid-lmu", "lmu")
SEQUENCE_TASKS = ("digits", "psmnist", "smnist", "mackey-glass", "ecg")
EVENT_TASKS = ("nmnist", "dvs-gesture", "cifar10-dvs", "ncaltech101")
TASK_NAMES = (*SEQUENCE_TASKS, *EVENT_TASKS)
FOLDS = 5  # of cross-validation
FOLD_TASKS = ("nmnist", "cifar10-dvs", "ncaltech101")  # no person is in two parts of dvs-gesture
PRECISIONS = ("float32", "mixed_float16", "mixed_bfloat16")
OPTIMIZERS = ("adam", "adamw", "rmsprop", "sgd")
SCHEDULES = ("constant", "cosine")
UNITS = ("activity", "deviation", "normalized")
# Levels of the kernels by name; "full": float32.
WEIGHTS = {
    "full": None, "binary": (-1, 1), "ternary": (-1, 0, 1),
    "2-bit": (-3, -1, 1, 3), "3-bit": tuple(range(-7, 8, 2)), "4-bit": tuple(range(-15, 16, 2)),
}  # fmt: skip
WEIGHT_RULES = ("sigmoids", "scaled", "sign", "bernoulli")
WEIGHT_GRADIENTS = ("auto", "true", "wide")
EXEMPT = ("none", "first", "last", "both")
ROUNDINGS = ("diffused", "memoryless", "stochastic")
READOUTS = ("last", "mean", "leaky")
HIDDEN = ("dense", "rnn", "relu-rnn", "gru")
FEEDBACKS = ("exact", "quantized", "integrated")


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """Every option of one run: one task, one model, one seed.

    `units = None` means: as many hidden units as bring the model nearest to `parameters`
    trainable parameters. `schedule = "cosine"` lowers the learning rate to 0 over all steps;
    `clip_norm` bounds the norm of the whole gradient; `report_samples = None` counts bits and
    operations on the whole test split. The resolutions of the hybrid models fall geometrically from
    `start_resolution` to `memory_resolution` and `hidden_resolution` over the first
    `anneal_fraction` of all training steps, and then stay. With `memory_unit` "deviation" those of
    the memory are levels per standard deviation of each neuron, on `budget_samples` sequences; one
    input then goes into one memory without an encoder, whose gain would be learned. "normalized":
    the activities themselves are divided by it, so that all neurons have one resolution and the
    weights behind them see plain counts.

    `weights`: levels of the kernels (of the hidden units, of the encoder, of the readout), all but
    those that `exempt` says, through `weight_rule`: "sigmoids" (`SumOfSigmoids`), whose temperature
    rises geometrically from `start_temperature` to `temperature` (for levels one apart) over the
    first `weight_anneal_fraction` of all steps, or, for binary weights, "scaled" (`ScaledBinary`),
    "sign" (`StraightThroughSign`) or "bernoulli" (`Bernoulli`).
    `power_of_two`: the scales of the kernels are powers of two, so that sums of integers are exact.
    `weight_gradient`: slope of the sigmoids, "true", "wide", or "auto": wide for binary levels.

    With `bit_budget` the resolutions of all neurons are learned instead, under a budget of activity
    bits that falls from `start_bits` in the same time; with `memory_bits` and `hidden_bits` (not
    None) each neuron gets that many bits, by its range. Ranges are measured on `budget_samples`
    training sequences.

    `hidden`: the hidden units of an LMU, a ReLU layer, a tanh or ReLU recurrence, or a GRU;
    `input_to_hidden`: they see the input itself too.

    `memory_limit` (in `memory_unit`) and `hidden_limit`: where activities saturate (None: nowhere).

    `input_resolution`: quantize the input to that many levels per unit, and drop the encoder.
    `tau`: time constant of the neurons of a spiking CNN, in steps; `units` are the channels of its
    first layer. `fold`: cross-validation over all samples of an event task: the test split is one
    of `FOLDS` parts, validation a share of the rest; None: the splits of the task.

    `simulated_steps`: train recurrent hidden units on that many last steps only. `readout`: of the
    last step, the mean of the last `readout_steps`, or a leaky average of them (time constant
    `readout_steps` / 4). `rounding`: diffused (sigma-delta), or memoryless or stochastic as
    controls. `permutation`: seed of the order of the pixels (psmnist).
    """

    task: str = "digits"
    model: str = "hybrid-lmu"
    seed: int = 0
    epochs: int = 30
    batch_size: int = 32
    parameters: int = 6_000
    units: int | None = None
    order: int = 32
    theta: float = 64.0
    memory_d: int = 1
    hidden: str = "dense"
    input_to_hidden: bool = False
    learning_rate: float = 1e-3
    schedule: str = "constant"
    clip_norm: float | None = None
    optimizer: str = "adam"
    dropout: float = 0.0
    memory_dropout: float = 0.0
    readout: str = "last"
    readout_steps: int = 1
    simulated_steps: int | None = None
    permutation: int = 0
    start_resolution: float = 64.0
    memory_resolution: float = 8.0
    hidden_resolution: float = 2.0
    memory_unit: str = "activity"
    anneal_fraction: float = 0.7
    bit_budget: float | None = None
    memory_limit: float | None = None
    hidden_limit: float | None = None
    memory_bits: float | None = None
    hidden_bits: float | None = None
    start_bits: float = 8.0
    budget_samples: int = 500
    input_resolution: float | None = None
    rounding: str = "diffused"
    memory_feedback: str = "exact"
    initial_error: str = "uniform"
    tau: float = 2.0
    fold: int | None = None
    weights: str = "full"
    weight_rule: str = "sigmoids"
    power_of_two: bool = False
    weight_gradient: str = "auto"
    exempt: str = "none"
    start_temperature: float = 1.0
    temperature: float = 100.0
    weight_anneal_fraction: float = 0.8
    precision: str = "float32"
    jit: str = "auto"
    devices: int = 1
    report_samples: int | None = None

    def __post_init__(self):
        _one_of("task", self.task, TASK_NAMES)
        _one_of("model", self.model, MODELS)
        if self.model not in models_of(self.task):
            raise ValueError(
                f"`model` must be one of {', '.join(models_of(self.task))} for the task "
                f"{self.task}; received: {self.model!r}"
            )
        if self.fold is not None:
            _one_of("fold", self.fold, range(FOLDS))
            _one_of("task", self.task, FOLD_TASKS)
        _one_of("hidden", self.hidden, HIDDEN)
        _one_of("optimizer", self.optimizer, OPTIMIZERS)
        _one_of("schedule", self.schedule, SCHEDULES)
        _one_of("memory_feedback", self.memory_feedback, FEEDBACKS)
        _one_of("memory_unit", self.memory_unit, UNITS)
        _one_of("rounding", self.rounding, ROUNDINGS)
        _one_of("readout", self.readout, READOUTS)
        _one_of("weights", self.weights, tuple(WEIGHTS))
        _one_of("weight_rule", self.weight_rule, WEIGHT_RULES)
        _one_of("exempt", self.exempt, EXEMPT)
        _one_of("weight_gradient", self.weight_gradient, WEIGHT_GRADIENTS)
        _one_of("initial_error", self.initial_error, ("uniform", "zeros", "half"))
        _one_of("precision", self.precision, PRECISIONS)
        _one_of("jit", self.jit, ("auto", "on", "off"))
        for name in ("epochs", "batch_size", "parameters", "order", "memory_d", "devices",
                     "readout_steps", "budget_samples"):  # fmt: skip
            _integer(name, getattr(self, name), 1)
        for name in ("units", "report_samples", "simulated_steps"):
            if getattr(self, name) is not None:
                _integer(name, getattr(self, name), 1)
        _integer("seed", self.seed, 0)
        _integer("permutation", self.permutation, 0)
        for name in ("theta", "learning_rate", "start_resolution", "memory_resolution",
                     "hidden_resolution", "clip_norm", "bit_budget", "memory_bits", "hidden_bits",
                     "start_bits", "input_resolution", "memory_limit", "hidden_limit",
                     "start_temperature", "temperature", "tau"):  # fmt: skip
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise ValueError(f"`{name}` must be a finite number > 0; received: {value!r}")
        for name in ("anneal_fraction", "weight_anneal_fraction"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"`{name}` must be in [0, 1]; received: {getattr(self, name)!r}")
        if self.weight_rule != "sigmoids" and (self.power_of_two or self.weights != "binary"):
            raise ValueError(
                "`weights` must be 'binary' and `power_of_two` False with weight_rule "
                f"{self.weight_rule!r}; received: {self.weights!r} and {self.power_of_two}"
            )
        for name in ("dropout", "memory_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be in [0, 1); received: {getattr(self, name)!r}")
        if (self.memory_bits is None) != (self.hidden_bits is None) or (
            self.bit_budget is not None and self.memory_bits is not None
        ):
            raise ValueError(
                "`memory_bits` and `hidden_bits` go together, and not with `bit_budget`; received: "
                f"{self.memory_bits!r}, {self.hidden_bits!r} and {self.bit_budget!r}"
            )
        if self.readout == "last" and self.readout_steps != 1:
            raise ValueError(
                "`readout_steps` must be 1 with readout 'last'; choose 'mean' or 'leaky'. "
                f"Received: {self.readout_steps}"
            )
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
    def budgeted(self) -> bool:
        """Whether budgets of bits set the resolutions."""
        return self.bit_budget is not None or self.memory_bits is not None

    @property
    def is_hybrid(self) -> bool:
        return self.model in HYBRID_MODELS

    def to_dict(self) -> dict:
        return dataclasses.asdict(self)


def make_config(task: str, model: str, seed: int = 0, recipe=None, **options) -> RunConfig:
    """A recipe (default: that of `task` for `model`), with `options` that are not None on top.

    With low-bit weights among the options, what `LOW_BIT` says of the task comes between the two.
    """
    _one_of("task", task, TASK_NAMES)
    _one_of("model", model, MODELS)
    _one_of("model", model, models_of(task))
    merged = dict(recipe or {**RECIPES[task]["*"], **RECIPES[task].get(model, {})})
    if options.get("weights") not in (None, "full"):
        merged |= LOW_BIT["*"]
        fits = model in (*HYBRID_LMUS, *EVENT_MODELS) and model != "hybrid-lmu-integer"
        merged |= LOW_BIT.get(task, {}) if fits else {}
        if options.get("weight_rule") not in (None, "sigmoids"):  # they have scales of their own
            merged.pop("power_of_two", None)
    merged.update({key: value for key, value in options.items() if value is not None})
    return RunConfig(task=task, model=model, seed=seed, **merged)


def models_of(task: str) -> tuple:
    """The models that can be trained on a task."""
    return EVENT_MODELS if task in EVENT_TASKS else SEQUENCE_MODELS


def variants(config: dict) -> list[str]:
    """What tells a run from others of its task and model, such as ["memoryless"]."""
    rounding, permutation = config.get("rounding", "diffused"), config.get("permutation", 0)
    budget, fold = config.get("bit_budget"), config.get("fold")
    weights, rule = config.get("weights", "full"), config.get("weight_rule", "sigmoids")
    exempt = config.get("exempt", "none")
    low_bit, normalized = weights != "full", config.get("memory_unit") == "normalized"
    found = (
        rounding if rounding != "diffused" else None,
        f"permutation{permutation}" if permutation else None,
        f"budget{budget:g}" if budget else None,
        weights if low_bit else "normalized" if normalized else None,
        rule if low_bit and rule != "sigmoids" else None,
        f"fold{fold}" if fold is not None else None,
        f"{exempt}-exempt" if low_bit and exempt != "none" else None,
    )
    return [name for name in found if name]


def _one_of(name, value, allowed):
    if value not in allowed:
        expected = ", ".join(map(str, allowed))
        raise ValueError(f"`{name}` must be one of {expected}; received: {value!r}")


def _integer(name, value, least):
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"`{name}` must be an integer >= {least}; received: {value!r}")
