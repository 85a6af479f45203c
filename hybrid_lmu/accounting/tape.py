"""The tape: while a model is traced, it collects what meets what, reduced to sums on the device."""

from dataclasses import dataclass, replace
from typing import Any

import keras
from keras import ops

from hybrid_lmu.accounting.signals import EPSILON, Meeting, Raw, coarsest


@dataclass(frozen=True)
class Trace:
    """What is known of a tensor: its resolution, mask, and the coarsest dtype on its way."""

    tensor: Any = None
    resolution: Any = None
    mask: Any = None
    dtype: str = "float32"


@dataclass(frozen=True)
class Item:
    """One entry of the tape: a `Meeting`, where it was, and what it is called.

    The tensors of item i are in ``tape.tensors["i/..."]``.
    """

    layer: str
    name: str
    meeting: Meeting


class Tape:
    """Collects items and tensors; made anew for each tracing."""

    def __init__(self):
        self.items, self.tensors = [], {}
        self.paths = {}
        self.state_entries = 0
        self.digits = {}  # of low-bit kernels: {id of the variable: digits of its codes}
        self._traces, self._path = [], ""

    # What is known of the tensors that layers pass to each other.

    def trace(self, tensor):
        """Return the `Trace` of a tensor; an empty one if it did not come from a known place."""
        for trace in reversed(self._traces):
            if trace.tensor is tensor:
                return trace
        return Trace()

    def remember(self, output, resolution, mask, dtypes):
        """Note what is known of the first tensor that a layer puts out; `dtypes` of its inputs."""
        first = keras.tree.flatten(output)[0]
        dtype = coarsest(first.dtype, *dtypes)
        self._traces.append(Trace(first, resolution, mask, dtype))

    def same(self, tensor, cast, **changes):
        """Note that the tensor `cast` is `tensor` in another dtype."""
        trace = self.trace(tensor)
        if trace.tensor is not None and cast is not tensor:
            dtype = coarsest(trace.dtype, cast.dtype)
            self._traces.append(replace(trace, tensor=cast, dtype=dtype, **changes))

    def forget(self):
        """Let the tensors of the model go; only the sums stay."""
        self._traces.clear()

    def start(self, inputs):
        """Note the inputs of the model."""
        self._traces += [Trace(x, Raw) for x in keras.tree.flatten(inputs)]

    def enter(self, path):
        """Start a call of the layer at `path`; a second call is called path#2."""
        self.paths[path] = self.paths.get(path, 0) + 1
        self._path = path if self.paths[path] == 1 else f"{path}#{self.paths[path]}"

    # What the rules of layers report.

    def sequence(self, tensor, mask):
        """Note that axis 1 of a tensor is time."""
        steps = ops.cast(ops.shape(tensor)[1], "int32")
        known = self.tensors.get("steps")
        self.tensors["steps"] = steps if known is None else ops.maximum(known, steps)

    def state(self, entries):
        """Note that the layer keeps so many numbers per sample from step to step."""
        self.state_entries += entries

    def add(self, pairs, mask, prefix=""):
        """Add ``(Meeting, tensor)`` pairs; `mask` leaves out positions on the leading axes."""
        for meeting, tensor in pairs:
            meeting = replace(meeting, dtype=coarsest(meeting.dtype, tensor.dtype))
            if meeting.resolution is Raw:
                meeting = replace(meeting, resolution=None, raw=True)
            if meeting.resolution is not None:
                resolution = ops.cast(ops.convert_to_tensor(meeting.resolution), "float32")
                meeting = replace(meeting, resolution=resolution)
            label = " ".join(part for part in (prefix, meeting.name) if part)
            reduced = _REDUCTIONS[meeting.role](meeting, tensor, _leading(mask, tensor))
            self._append(label, meeting, reduced)

    def convolution(self, layer, x, convolve):
        """Add the products of a convolution, ``convolve(inputs, kernel)``."""
        resolution = None if x.resolution is Raw else x.resolution
        meeting = Meeting(
            "product",
            "kernel",
            resolution,
            "input",
            layer.kernel,
            dtype=x.dtype,
            raw=x.resolution is Raw,
        )
        y, code, error = _code(meeting, x.tensor, None)
        events = y != 0 if resolution is None else code != 0
        kernel = ops.cast(ops.convert_to_tensor(layer.kernel) != 0, "float32")
        # Ones that XLA does not know when it compiles: with a kernel that is one number, and more
        # than 16 outputs, jaxlib 0.10.2 convolves wrongly on a CPU.
        every = ops.cast(kernel >= 0, "float32")

        def count(z, weight=kernel):
            axes = tuple(range(1, len(z.shape)))
            return ops.sum(convolve(ops.cast(z, "float32"), weight), axis=axes)

        reduced = {
            "dense": count(ops.ones_like(y), every),
            "effective": count(events),
            "strict": count(ops.abs(code) == 1),
            "graded": count(ops.abs(code)),
            **_range(code),
            "error": error,
        }
        digits = self.digits.get(id(layer.kernel))
        if digits is not None:
            reduced["additions"] = count(events, digits)
        self._append("kernel", meeting, reduced)

    def _append(self, label, meeting, reduced):
        name = f"{self._path}/{label}" if label else self._path
        if meeting.resolution is not None:
            reduced["resolution"] = ops.cast(meeting.resolution, "float32")
        for key, value in reduced.items():
            self.tensors[f"{len(self.items)}/{key}"] = value
        # Tensors of the tracing must not outlive it.
        integer = meeting.resolution is not None
        self.items.append(Item(self._path, name, replace(meeting, resolution=integer)))


def _leading(mask, tensor):
    """The mask as booleans that broadcast against the tensor, or None."""
    if mask is None or len(mask.shape) >= len(tensor.shape):
        return None
    rest = (1,) * (len(tensor.shape) - len(mask.shape))
    return ops.reshape(ops.cast(mask, "bool"), (*ops.shape(mask), *rest))


def _masked(tensor, mask):
    return tensor if mask is None else ops.where(mask, tensor, ops.zeros_like(tensor))


def _code(meeting, tensor, mask):
    """Return the tensor, its integer code, and how far off the integers it is at most.

    Without a resolution the code is that of resolution 1: it holds if it is exact on all the data.
    """
    y = ops.cast(_masked(tensor, mask), "float32")
    exact = meeting.resolution is None
    levels = y if exact else y * ops.cast(meeting.resolution, "float32")
    code = ops.round(levels)
    error = ops.abs(levels - code)
    if not exact:
        error = error - 2.0 * EPSILON.get(meeting.dtype, 0.0) * ops.abs(levels)
    return y, code, ops.max(error)


def _range(code):
    return {"low": ops.min(code), "high": ops.max(code)}


def _positions(tensor, mask):
    one = ops.ones_like(tensor[..., :1], dtype="int32")
    return ops.sum(one if mask is None else one * ops.cast(mask, "int32"))


def _product(meeting, tensor, mask):
    start, stop = meeting.rows
    rows = meeting.weight.shape[0] if stop is None else stop - start
    positions = _positions(tensor, mask) * (tensor.shape[-1] // rows)

    def per_row(x, dtype="int32"):
        return ops.sum(ops.reshape(ops.cast(x, dtype), (-1, rows)), axis=0)

    if meeting.resolution is None and not meeting.raw:  # real: only its zeros are asked for
        return {"positions": positions, "events": per_row(_masked(tensor, mask) != 0)}
    y, code, error = _code(meeting, tensor, mask)
    size = ops.abs(code)
    return {
        "positions": positions,
        "events": per_row(y != 0 if meeting.resolution is None else code != 0),
        "units": per_row(size == 1),
        "graded": per_row(size, "float32"),
        **_range(code),
        "error": error,
    }


def _activity(meeting, tensor, mask):
    _, code, error = _code(meeting, tensor, mask)
    shape = ops.shape(code)
    neurons = 1
    for size in code.shape[2:]:
        neurons *= size
    reduced = {"counts": ops.reshape(code, (*shape[:2], neurons)), "error": error}
    if mask is not None:
        reduced["mask"] = ops.reshape(mask, shape[:2])
    return reduced


def _output(meeting, tensor, mask):
    zeros = ops.cast(tensor == 0, "int32")
    if mask is not None:
        zeros = zeros * ops.cast(mask, "int32")
    return {"zeros": ops.sum(zeros), "entries": _positions(tensor, mask) * tensor.shape[-1]}


def _gates(meeting, tensor, mask):
    return {"positions": _positions(tensor, mask)}


_REDUCTIONS = {"product": _product, "activity": _activity, "output": _output, "gates": _gates}
