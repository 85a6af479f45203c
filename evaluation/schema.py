"""What metrics.json and history.json hold: dataclasses that read and check the content.

`read` makes a dataclass from a JSON object by the types of its fields. Entries without a field are
passed over. Fields with a default may be absent.
"""

import dataclasses
import math
import types
import typing


class ContentError(ValueError):
    """Content of the wrong kind. The message names the entry, what it must be and what it is."""


@dataclasses.dataclass(frozen=True)
class Score:
    """Score of one split: `accuracy` (a share) or `nrmse`, and its 95 % interval."""

    interval: tuple[float, float]
    accuracy: float | None = None
    nrmse: float | None = None

    def __post_init__(self):
        if self.accuracy is None and self.nrmse is None:
            raise ContentError("must have accuracy or nrmse; received neither")


@dataclasses.dataclass(frozen=True)
class Activity:
    """Statistics of one quantized activity."""

    name: str
    resolution: float | None = None
    neurons: int | None = None
    provisioned_bits: float | None = None
    activity_bits: float | None = None
    significant_bits: float | None = None
    entropy_bits: float | None = None
    share_of_zeros: float | None = None
    mean_abs_count: float | None = None
    count_min: float | None = None
    count_max: float | None = None


@dataclasses.dataclass(frozen=True)
class Product:
    """Operations of the products with one weight tensor, of one sample."""

    name: str
    kind: str = ""
    input_resolution: float | None = None
    weights: float | None = None
    dense_macs: float | None = None
    effective_macs: float | None = None
    effective_acs: float | None = None
    strict_acs: float | None = None
    graded_acs: float | None = None


@dataclasses.dataclass(frozen=True)
class Energy:
    """Energy of one sample by one preset, in joules."""

    preset: str
    precision: str
    source: str
    process_nm: float | None
    compute_joules: float | None
    total_joules: float | None
    memory_joules: float | None = None


@dataclasses.dataclass(frozen=True)
class Totals:
    """Sums over products and means over activities."""

    graded_acs: float
    effective_macs: float
    activity_bits: float | None = None
    significant_bits: float | None = None
    share_of_zeros: float | None = None


@dataclasses.dataclass(frozen=True)
class Report:
    """Entry "activity" of metrics.json: `ActivityReport.to_dict` of hybrid_lmu.accounting."""

    totals: Totals
    energy: list[Energy]
    timesteps: float
    activities: list[Activity] = dataclasses.field(default_factory=list)
    products: list[Product] = dataclasses.field(default_factory=list)
    samples: int | None = None
    unit: str = "per sample (whole sequence)"


@dataclasses.dataclass(frozen=True)
class Metrics:
    """metrics.json of a finished run."""

    task: str
    model: str
    seed: int
    parameters: float
    test: Score
    activity: Report
    non_spiking_test: dict | None = None
    config: dict | None = None
    environment: dict | None = None
    best_epoch: float | None = None
    seconds: float | None = None
    units: float | None = None
    non_trainable: float | None = None
    implementation: str | None = None

    def __post_init__(self):
        metric = "nrmse" if self.test.accuracy is None else "accuracy"
        if self.non_spiking_test is not None:
            _value(float, self.non_spiking_test.get(metric), f"non_spiking_test.{metric}")


def read(kind: type, content: object, where: str = ""):
    """A dataclass `kind` from a JSON object; `where` names the object in errors.

    Raises:
        ContentError: if an entry is missing or of another type than its field.
    """
    if not isinstance(content, dict):
        raise ContentError(f"{where or 'content'} must be an object; received: {_shown(content)}")
    prefix = f"{where}." if where else ""
    hints, fields = typing.get_type_hints(kind), dataclasses.fields(kind)
    missing = [f.name for f in fields if _required(f) and f.name not in content]
    if missing:
        raise ContentError(f"{', '.join(prefix + name for name in missing)} missing")
    values = {
        f.name: _value(hints[f.name], content[f.name], prefix + f.name)
        for f in fields
        if f.name in content
    }
    try:
        return kind(**values)
    except ContentError as e:
        raise ContentError(f"{where} {e}".strip()) from None


def _required(field):
    return field.default is field.default_factory is dataclasses.MISSING


def _value(kind, value, where):
    options = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
    if value is None and types.NoneType in options:
        return None
    kind = next(option for option in options if option is not types.NoneType)
    if dataclasses.is_dataclass(kind):
        return read(kind, value, where)
    if typing.get_origin(kind) is list and isinstance(value, list):
        (item,) = typing.get_args(kind)
        return [_value(item, v, f"{where}[{i}]") for i, v in enumerate(value)]
    if not _fits(kind, value):
        expected = _NAMES[typing.get_origin(kind) or kind]
        expected += " or null" if types.NoneType in options else ""
        raise ContentError(f"{where} must be {expected}; received: {_shown(value)}")
    return value


_NAMES = {str: "a text", int: "an integer", float: "a number", dict: "an object",
          list: "a list", tuple: "a list of 2 numbers"}  # fmt: skip


def _fits(kind, value):
    if typing.get_origin(kind) is tuple:
        return isinstance(value, list) and len(value) == 2 and all(map(_number, value))
    if kind is float:
        return _number(value)
    if kind is int:
        return _number(value) and float(value).is_integer()
    return isinstance(value, typing.get_origin(kind) or kind)


def _number(value):
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def check_history(history: dict) -> None:
    """Check history.json: each entry is a list with one number an epoch; {} passes.

    "resolutions" has one list an epoch instead, all equally long.

    Raises:
        ContentError: for the first entry that is not.
    """
    if not history:
        return
    epochs = len(_value(list[float], history.get("epoch"), "epoch"))
    for key, values in history.items():
        kind = list[list[float]] if key == "resolutions" else list[float]
        if len(_value(kind, values, key)) != epochs:
            raise ContentError(
                f"{key} must have one entry for each of the {epochs} epochs; "
                f"received: {len(values)}"
            )
    rows = history.get("resolutions", [])
    for i, row in enumerate(rows):
        if len(row) != len(rows[0]):
            raise ContentError(
                "resolutions must have equally many numbers in every epoch; "
                f"received: {sorted({len(row) for row in rows})}"
            )
        if min(row, default=1) <= 0:
            raise ContentError(f"resolutions[{i}] must be numbers > 0; received: {min(row)!r}")


def _shown(value):
    if value is None:
        return "null"
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    return repr(value)[:60]
