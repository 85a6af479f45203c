"""Export to a file that is known to run: it is run before it gets its name."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np

from hybrid_lmu._internal.checks import check_choice

FORMATS = {"onnx": ".onnx", "litert": ".tflite", "tf_saved_model": ""}
_ADVICE = (
    "`hybrid_lmu.deployment.step_model(model)` runs one step without loops and carries its states "
    "as inputs and outputs, so that it can be exported"
)


def export(
    model: keras.Model,
    path: str | os.PathLike,
    format: str = "onnx",
    *,
    x: np.ndarray | dict | list | None = None,
    tolerance: float = 1e-4,
) -> None:
    """Write a model to a file for another runtime, and run the file before it gets its name.

    `model.export` of Keras reports success for files that do not load, and for files that lose the
    states of stateful layers. This function runs the file twice on `x` and compares the outputs
    with those of the model, so that no such file is left.

    Args:
        model: a model with one output or more, built.
        path: the file, or the folder of a saved model; replaced if it exists.
        format: ``"onnx"`` (needs onnx, tf2onnx on TensorFlow, and onnxruntime), ``"litert"`` (needs
            TensorFlow and ai-edge-litert), or ``"tf_saved_model"`` (needs TensorFlow). The extra
            ``hybrid_lmu[export]`` has all of them. Default ``"onnx"``.
        x: inputs to compare on: an array, or a list or dictionary of them. Default None: normal
            numbers, of length 16 on axes of unknown size. A LiteRT file takes batches of the size
            of x, by default 1.
        tolerance: largest difference that is allowed, relative to the largest output. Default 1e-4.

    Raises:
        ValueError: if the model has stateful layers, or the file cannot be written, does not load,
            or gives other outputs. Nothing is left at `path` then that was not there before.
        ImportError: if a package that the format needs is not installed.

    Example::

        export(model, "model.onnx", x=x_test[:1])
    """
    check_choice("format", format, tuple(FORMATS))
    path = Path(path)
    if FORMATS[format] and path.suffix != FORMATS[format]:
        raise ValueError(f"`path` must end in {FORMATS[format]!r}; received: {str(path)!r}")
    stateful = [layer.name for layer in model.layers if getattr(layer, "stateful", False)]
    if stateful:
        raise ValueError(
            f"A file does not carry states from call to call; received the stateful layers "
            f"{stateful}. {_ADVICE}."
        )
    inputs = _inputs_of(model, x)
    expected = _flat(model(inputs, training=False))
    with tempfile.TemporaryDirectory(dir=path.absolute().parent) as folder:
        written = Path(folder) / path.name
        try:
            _batch_of(model, inputs, format).export(written, format=format, verbose=False)
            run = _READERS[format](written)
            found = [run(inputs) for _ in range(2)][-1]
        except ImportError:
            raise
        except Exception as e:  # of a converter or a runtime, which have classes of their own
            raise ValueError(
                f"The {format} file of `{model.name}` cannot be run: {_first_line(e)}. {_ADVICE}."
            ) from e
        _compare(model, format, found, expected, tolerance)
        _replace(written, path)


def _inputs_of(model, x):
    """Return the inputs by name, as float32 or the dtype of the model's inputs."""
    names = [tensor.name for tensor in model.inputs]
    if x is None:
        rng = np.random.default_rng(0)
        given = [
            rng.normal(size=[1, *(16 if s is None else s for s in tensor.shape[1:])])
            for tensor in model.inputs
        ]
    elif isinstance(x, dict):
        given = [x[name] for name in names]
    else:
        given = list(x) if isinstance(x, (list, tuple)) else [x]
    arrays = [np.asarray(a, t.dtype) for a, t in zip(given, model.inputs, strict=True)]
    if len(arrays) == 1 and isinstance(model, keras.Sequential):
        return arrays[0]  # its `input` is not there before a call
    if isinstance(model.input, dict):
        return dict(zip(model.input, arrays, strict=True))
    return arrays[0] if len(arrays) == 1 else arrays


def _batch_of(model, inputs, format):
    """Return the model for inputs of exactly these shapes, as LiteRT wants it."""
    if format != "litert":
        return model
    symbolic = keras.tree.map_structure(
        lambda a: keras.Input(batch_shape=a.shape, dtype=str(a.dtype)), inputs
    )
    if isinstance(symbolic, dict):
        symbolic = {
            name: keras.Input(batch_shape=a.shape, dtype=str(a.dtype), name=name)
            for name, a in inputs.items()
        }
    return keras.Model(symbolic, model(symbolic), name=model.name)


def _flat(outputs):
    return [keras.ops.convert_to_numpy(y) for y in keras.tree.flatten(outputs)]


def _compare(model, format, found, expected, tolerance):
    by_shape = sorted(found, key=lambda y: y.shape), sorted(expected, key=lambda y: y.shape)
    for y, reference in zip(*by_shape, strict=True):
        difference = np.abs(y - reference).max(initial=0.0)
        if y.shape != reference.shape or not difference <= tolerance * max(
            1.0, np.abs(reference).max(initial=0.0)
        ):
            raise ValueError(
                f"The {format} file of `{model.name}` gives outputs that differ by {difference:.3g}"
                f" from those of the model; expected at most {tolerance:g} of the largest. "
                f"{_ADVICE}."
            )


def _replace(written, path):
    if path.is_dir():
        shutil.rmtree(path)
    os.replace(written, path)


def _first_line(error):
    return next((line.strip() for line in str(error).splitlines() if line.strip()), repr(error))


def _onnx(path) -> Callable:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_inputs()]
    return lambda x: session.run(None, _by_name(names, x))


def _litert(path) -> Callable:
    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(model_path=str(path)).get_signature_runner()
    names = list(runner.get_input_details())
    return lambda x: list(runner(**_by_name(names, x)).values())


def _saved_model(path) -> Callable:
    loaded = keras.layers.TFSMLayer(str(path), call_endpoint="serve")
    return lambda x: _flat(loaded(keras.tree.map_structure(keras.ops.convert_to_tensor, x)))


def _by_name(names, x):
    if isinstance(x, dict):
        return x
    return dict(zip(names, x if isinstance(x, list) else [x], strict=True))


_READERS = {"onnx": _onnx, "litert": _litert, "tf_saved_model": _saved_model}
