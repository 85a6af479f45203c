"""Checks that metrics.json and history.json hold what the report reads, before it is made."""

import math

METRICS = ("accuracy", "nrmse")


class ContentError(ValueError):
    """Content of the wrong kind. The message names the entry, what it must be and what it is."""


def check_metrics(metrics):
    """Raises `ContentError` for the first entry of metrics.json that the report cannot use."""
    for key in ("task", "model"):
        _need(metrics[key], key, _text, "a text")
    _need(metrics["seed"], "seed", lambda v: _number(v) and isinstance(v, int), "an integer")
    _need(metrics["parameters"], "parameters", _number, "a number")
    for key in ("best_epoch", "seconds", "units", "non_trainable"):
        _need(metrics.get(key), key, _number_or_null, "a number or null")
    _need(metrics.get("implementation"), "implementation", _text_or_null, "a text or null")
    for key in ("config", "environment"):
        _need(metrics.get(key), key, lambda v: v is None or isinstance(v, dict), "an object")
    _check_score(metrics["test"], "test")
    plain = metrics.get("non_spiking_test")
    if plain is not None:
        kind = "accuracy" if "accuracy" in metrics["test"] else "nrmse"
        _object(plain, "non_spiking_test", (kind,))
        _need(plain[kind], f"non_spiking_test.{kind}", _number, "a number")
    _check_activity(metrics["activity"])


def _check_score(score, where):
    _object(score, where, ("interval",))
    names = [name for name in METRICS if name in score]
    if not names:
        found = ", ".join(score) or "nothing"
        raise ContentError(f"{where} must have accuracy or nrmse; received: {found}")
    _need(score[names[0]], f"{where}.{names[0]}", _number, "a number")
    interval = score["interval"]
    two = isinstance(interval, list) and len(interval) == 2 and all(map(_number, interval))
    _need(interval, f"{where}.interval", lambda _: two, "a list of 2 numbers")


def _check_activity(activity):
    _object(activity, "activity", ("totals", "energy", "timesteps"))
    _need(activity["timesteps"], "activity.timesteps", _number, "a number")
    totals, where = activity["totals"], "activity.totals"
    _object(totals, where, ("graded_acs", "effective_macs"))
    for key, value in totals.items():
        needed = key in ("graded_acs", "effective_macs")
        kind = (_number, "a number") if needed else (_number_or_null, "a number or null")
        _need(value, f"{where}.{key}", *kind)
    for where, texts, numbers in (
        ("energy", ("preset", "precision", "source"), ("process_nm", "compute_joules",
                                                       "total_joules")),
        ("activities", ("name",), ()),
        ("products", ("name",), ()),
    ):  # fmt: skip
        _check_rows(activity.get(where, []), f"activity.{where}", texts, numbers)


MIXED = ("resolution", "input_resolution")  # one number, or one per neuron
OTHER = ("name", "layer", "kind", "preset", "precision", "source", "ternary_input")


def _check_rows(rows, where, texts, numbers):
    """A list of objects with the given entries; every other entry is a number or null."""
    _need(rows, where, lambda v: isinstance(v, list), "a list")
    for i, row in enumerate(rows):
        here = f"{where}[{i}]"
        _object(row, here, (*texts, *numbers))
        for key in texts:
            _need(row[key], f"{here}.{key}", _text, "a text")
        for key, value in row.items():
            if key in MIXED:
                _need(value, f"{here}.{key}", _resolution, "a number, a list of them or null")
            elif key not in OTHER:
                _need(value, f"{here}.{key}", _number_or_null, "a number or null")


def check_history(history):
    """Raises `ContentError` unless every entry is a list of numbers, one an epoch.

    "resolutions" has one list an epoch instead, all equally long. An empty history is fine.
    """
    if not history:
        return
    _need(history.get("epoch"), "epoch", lambda v: isinstance(v, list), "a list")
    epochs = len(history["epoch"])
    for key, values in history.items():
        _need(values, key, lambda v: isinstance(v, list), "a list")
        if len(values) != epochs:
            raise ContentError(
                f"{key} must have one entry for each of the {epochs} epochs; "
                f"received: {len(values)}"
            )
        if key == "resolutions":
            _check_resolutions(values)
        elif not all(map(_number, values)):
            raise ContentError(f"{key} must be a list of numbers; received: {_first(values)}")


def _check_resolutions(rows):
    for i, row in enumerate(rows):
        numbers = isinstance(row, list) and all(_number(v) and v > 0 for v in row)
        _need(row, f"resolutions[{i}]", lambda _, ok=numbers: ok, "a list of numbers > 0")
    lengths = sorted({len(row) for row in rows})
    if len(lengths) > 1:
        raise ContentError(
            f"resolutions must have equally many numbers in every epoch; received: {lengths}"
        )


def _first(values):
    return _shown(next(v for v in values if not _number(v)))


def _object(value, where, keys):
    _need(value, where, lambda v: isinstance(v, dict), "an object")
    missing = [f"{where}.{key}" for key in keys if key not in value]
    if missing:
        raise ContentError(f"{', '.join(missing)} missing")


def _need(value, where, good, expected):
    if not good(value):
        raise ContentError(f"{where} must be {expected}; received: {_shown(value)}")


def _shown(value):
    if value is None:
        return "null"
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    return repr(value)[:60]


def _number(value):
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _number_or_null(value):
    return value is None or _number(value)


def _resolution(value):
    if isinstance(value, list):
        return bool(value) and all(map(_number, value))
    return _number_or_null(value)


def _text(value):
    return isinstance(value, str)


def _text_or_null(value):
    return value is None or isinstance(value, str)
