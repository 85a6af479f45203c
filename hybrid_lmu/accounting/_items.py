"""What a recording is made of: items, and the sums over a batch that each of them needs.

An item is one row of the report: a product, an activity, an output or gates. `Tape` collects them
while the probe of a model is traced. It reduces tensors to sums on the device at once, so that only
sums, and the counts of quantized activities, come back.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from keras import ops

from hybrid_lmu._internal.masks import last_steps
from hybrid_lmu.accounting._statistics import signed_digits
from hybrid_lmu.cells.contract import Activity, Gates, Product, Products
from hybrid_lmu.codes import EPSILON, RAW, Code, coarsest, is_known, resolution_of


@dataclass(frozen=True)
class Item:
    """One row of a report.

    Attributes:
        layer: path of the layer, with #2 and so on for further calls.
        name: path of the item.
        coded: whether the tensor has a resolution, so that it has to be on the grid of integers.
    """

    layer: str
    name: str
    coded: bool = False


@dataclass(frozen=True)
class ProductItem(Item):
    """Inputs that meet a weight.

    Attributes:
        kind: ``"input"``, ``"hidden"``, ``"recurrent"`` or ``"memory"``.
        weight: variable, array, or a function that returns an array after the run.
        rows, columns: the part of the weight that meets this input.
        constant: whether the weight is no variable of the model.
        structured: operations a step of a cheaper form of the product, or None.
        raw: whether the input is an input of the model, and so may be integers or real.
        weight_bits: bits of the integer codes of a low-bit weight; None at full precision.
    """

    kind: str = "input"
    weight: Any = None
    rows: tuple = (None, None)
    columns: tuple = (None, None)
    constant: bool = False
    structured: int | None = None
    raw: bool = False
    weight_bits: int | None = None

    def block(self, weight):
        """Return the part of the weight that meets the input."""
        return weight[slice(*self.rows), slice(*self.columns)]


@dataclass(frozen=True)
class ActivityItem(Item):
    """A quantized activity; `variable` holds its resolution, and `held` ones are states too."""

    held: bool = False
    variable: Any = None
    dtype: str = "float32"  # the coarsest that the counts went through


@dataclass(frozen=True)
class OutputItem(Item):
    """A real activity, of which only zeros are counted."""


@dataclass(frozen=True)
class GatesItem(Item):
    """`count` products of two activations in each step of each sample."""

    count: int = 0


@dataclass
class Tape:
    """Collects the items of one tracing, and the tensors ``{"index/key": tensor}`` of each.

    Args:
        read_once: whether what only an output needs is counted at the steps that are read.
    """

    read_once: bool = False

    items: list = field(default_factory=list)
    tensors: dict = field(default_factory=dict)
    paths: dict = field(default_factory=dict)
    state_entries: int = 0
    _path: str = ""
    _codes: dict = field(default_factory=dict)  # {id of a kernel: (variable, quantizer, digits)}

    def enter(self, path: str) -> None:
        """Start a call of the layer at `path`; a second call is called path#2."""
        self.paths[path] = self.paths.get(path, 0) + 1
        self._path = path if self.paths[path] == 1 else f"{path}#{self.paths[path]}"

    def sequence(self, tensor) -> None:
        """Note that axis 1 of the tensor is time."""
        steps = ops.cast(ops.shape(tensor)[1], "int32")
        known = self.tensors.get("steps")
        self.tensors["steps"] = steps if known is None else ops.maximum(known, steps)

    def state(self, entries: int) -> None:
        """Note that the layer keeps so many numbers per sample from step to step."""
        self.state_entries += entries

    @contextlib.contextmanager
    def low_bit(self, quantized):
        """Count, within the context, products with these kernels on their integer codes.

        Args:
            quantized: ``[(variable, quantizer)]``; the variables must hold the latent weights.
        """
        self._codes = {id(v): (v, rule, _digits(v, rule)) for v, rule in quantized}
        try:
            yield
        finally:
            self._codes = {}

    def declared(
        self, products: Products, signals: dict, inputs: Code, mask, prefix="", last=None
    ) -> Any:
        """Add what a cell or layer has declared; return the resolution of its output.

        Args:
            products: the declaration.
            signals: the tensors, {name of the signal: tensor}.
            inputs: the code of the input.
            mask: booleans over the leading axes, or None.
            prefix: put before the name of each item.
            last: number of last steps whose output is read. Default None: all steps.
        """
        read = mask
        if self.read_once and last is not None:
            read = last_steps(inputs.tensor, mask, last)

        def code(signal, mask=mask):
            known = signal.name in signals
            tensor = signals[signal.name] if known else signal.value(signals)
            found = inputs.resolution if signal.from_input else resolution_of(signal)
            return Code(tensor, found, mask, coarsest(inputs.dtype, tensor.dtype))

        for item in products.items:
            label = " ".join(part for part in (prefix, item.name) if part)
            if isinstance(item, Product):
                steps = read if item.when_read else mask
                self._declared_product(item, label, [code(one, steps) for one in item.inputs])
            elif isinstance(item, Activity):
                quantizer = item.signal.quantizer
                variable = None if quantizer is None else quantizer.resolution_variable
                steps = read if item.when_read else mask
                self.activity(label, code(item.signal, steps), item.held, variable)
            elif isinstance(item, Gates):
                self.gates(label, code(item.signal), item.count)
        output = products.output
        return inputs.resolution if output.from_input else resolution_of(output)

    def _declared_product(self, item, label, codes):
        start, options = 0, {"columns": item.columns, "constant": item.constant}
        for signal, code in zip(item.inputs, codes, strict=True):
            rows, name = (None, None), label
            if len(codes) > 1:
                rows, name = (start, start + code.tensor.shape[-1]), f"{label} ({signal.label})"
            start += code.tensor.shape[-1]
            made = ProductItem("", "", False, item.kind, item.weight, rows,
                               structured=item.structured, **options)  # fmt: skip
            self.product(name, made, code)

    def product(self, name: str, item: ProductItem, code: Code) -> None:
        """Add the product that `item` describes, of the inputs in `code`."""
        made = replace(item, raw=code.resolution is RAW, **self._code_of(item.weight))
        self._append(name, made, _product(item, code), code)

    def convolution(self, item: ProductItem, code: Code, convolve) -> None:
        """Add the products of a convolution, ``convolve(inputs, kernel)``."""
        y, levels, error = _levels(replace(code, mask=None))
        events = y != 0 if not is_known(code.resolution) else levels != 0
        kernel = ops.cast(ops.convert_to_tensor(item.weight) != 0, "float32")
        # Ones that XLA does not know when it compiles: with a kernel that is one number, and more
        # than 16 outputs, jaxlib 0.10.2 convolves wrongly on a CPU.
        every = ops.cast(kernel >= 0, "float32")

        def count(z, weight=kernel):
            axes = tuple(range(1, len(z.shape)))
            return ops.sum(convolve(ops.cast(z, "float32"), weight), axis=axes)

        reduced = {
            "dense": count(ops.ones_like(y), every),
            "effective": count(events),
            "strict": count(ops.abs(levels) == 1),
            "graded": count(ops.abs(levels)),
            **_range(levels),
            "error": error,
        }
        if id(item.weight) in self._codes:
            reduced["additions"] = count(events, self._codes[id(item.weight)][2])
        made = replace(item, raw=code.resolution is RAW, **self._code_of(item.weight))
        self._append("kernel", made, reduced, code)

    def activity(self, name: str, code: Code, held: bool = False, variable: Any = None) -> None:
        """Add what neurons put out: counts if `code` has a resolution, else an output."""
        if not is_known(code.resolution):
            self.output(name, code)
            return
        _, counts, error = _levels(code)
        shape = ops.shape(counts)
        neurons = int(np.prod(counts.shape[2:], dtype=int))
        reduced = {"counts": ops.reshape(counts, (*shape[:2], neurons)), "error": error}
        if code.mask is not None:
            reduced["mask"] = ops.reshape(code.mask, shape[:2])
        made = ActivityItem("", "", held=held, variable=variable, dtype=code.dtype)
        self._append(name, made, reduced, code)

    def output(self, name: str, code: Code) -> None:
        """Add a real activity."""
        mask = _leading(code.mask, code.tensor)
        zeros = ops.cast(code.tensor == 0, "int32")
        if mask is not None:
            zeros = zeros * ops.cast(mask, "int32")
        entries = _positions(code.tensor, mask) * code.tensor.shape[-1]
        reduced = {"zeros": ops.sum(zeros), "entries": entries}
        self._append(name, OutputItem("", ""), reduced, replace(code, resolution=None))

    def gates(self, name: str, code: Code, count: int) -> None:
        """Add `count` products of two activations at each position of `code`."""
        positions = _positions(code.tensor, _leading(code.mask, code.tensor))
        made = GatesItem("", "", count=count)
        self._append(name, made, {"positions": positions}, replace(code, resolution=None))

    def _code_of(self, weight):
        if id(weight) not in self._codes:
            return {}
        variable, rule, _ = self._codes[id(weight)]
        return {"weight": lambda: rule.packed(variable).codes, "weight_bits": rule.bits}

    def _append(self, label, item, reduced, code):
        name = f"{self._path}/{label}" if label else self._path
        coded = is_known(code.resolution)
        if coded:
            resolution = ops.convert_to_tensor(code.resolution)
            reduced["resolution"] = ops.cast(resolution, "float32")
        for key, value in reduced.items():
            self.tensors[f"{len(self.items)}/{key}"] = value
        self.items.append(replace(item, layer=self._path, name=name, coded=coded))


def _leading(mask, tensor):
    """Return the mask as booleans that broadcast against the tensor, or None."""
    if mask is None or len(mask.shape) >= len(tensor.shape):
        return None
    rest = (1,) * (len(tensor.shape) - len(mask.shape))
    return ops.reshape(ops.cast(mask, "bool"), (*ops.shape(mask), *rest))


def _levels(code: Code):
    """Return the tensor, its integers, and how far it is off the integers at most.

    Without a resolution the integers are those of resolution 1: they hold if they are exact on all
    of the data.
    """
    mask = _leading(code.mask, code.tensor)
    y = code.tensor if mask is None else ops.where(mask, code.tensor, ops.zeros_like(code.tensor))
    y = ops.cast(y, "float32")
    exact = not is_known(code.resolution)
    levels = y
    if not exact:
        levels = y * ops.cast(ops.convert_to_tensor(code.resolution), "float32")
    counts = ops.round(levels)
    error = ops.abs(levels - counts)
    if not exact:
        error = error - 2.0 * EPSILON.get(code.dtype, 0.0) * ops.abs(levels)
    return y, counts, ops.max(error)


def _range(counts):
    return {"low": ops.min(counts), "high": ops.max(counts)}


def _positions(tensor, mask):
    one = ops.ones_like(tensor[..., :1], dtype="int32")
    return ops.sum(one if mask is None else one * ops.cast(mask, "int32"))


def _product(item: ProductItem, code: Code):
    start, stop = item.rows
    rows = item.weight.shape[0] if stop is None else stop - start
    mask = _leading(code.mask, code.tensor)
    positions = _positions(code.tensor, mask) * (code.tensor.shape[-1] // rows)

    def per_row(x, dtype="int32"):
        return ops.sum(ops.reshape(ops.cast(x, dtype), (-1, rows)), axis=0)

    if code.resolution is None:  # real: only its zeros are asked for
        tensor = code.tensor
        masked = tensor if mask is None else ops.where(mask, tensor, ops.zeros_like(tensor))
        return {"positions": positions, "events": per_row(masked != 0)}
    y, counts, error = _levels(code)
    size = ops.abs(counts)
    return {
        "positions": positions,
        "events": per_row(y != 0 if code.resolution is RAW else counts != 0),
        "units": per_row(size == 1),
        "graded": per_row(size, "float32"),
        **_range(counts),
        "error": error,
    }


def _digits(variable, rule):
    """Return the nonzero signed digits of each code, as a tensor of the kernel's shape."""
    code = rule.code(ops.cast(ops.convert_to_tensor(variable), "float32"))
    each = zip(rule.levels, signed_digits(rule.levels).tolist(), strict=True)
    return sum(digits * ops.cast(code == float(level), "float32") for level, digits in each)
