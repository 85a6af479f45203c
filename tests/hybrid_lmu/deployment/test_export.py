"""Files for other runtimes: each is run twice, and over a whole sequence, beside Keras."""

import keras
import numpy as np
import pytest
from keras import ops

from hybrid_lmu import HybridCell, HybridRNN, LegendreMemory, SigmaDelta
from hybrid_lmu.deployment import export, initial_states, step_model
from hybrid_lmu.neurons import IF, LIF, SRM, SynapticTrace
from tests.hybrid_lmu.deployment.test_step_model import MODELS, TIME, lmu, model_of, run, x

if keras.backend.backend() != "tensorflow":
    pytest.skip("files are written on TensorFlow", allow_module_level=True)
NEEDED = {"onnx": "onnxruntime", "litert": "ai_edge_litert", "tf_saved_model": "tensorflow"}
formats = pytest.mark.parametrize("format", NEEDED)
layers = keras.layers


def path_of(folder, format):
    pytest.importorskip(NEEDED[format], reason=f"{NEEDED[format]} is not installed")
    if format == "onnx":
        pytest.importorskip("tf2onnx", reason="tf2onnx is not installed")
    return folder / {"onnx": "m.onnx", "litert": "m.tflite", "tf_saved_model": "m"}[format]


def reader(path, format):
    from hybrid_lmu.deployment._export import _READERS

    return _READERS[format](path)


@formats
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.slow
def test_step_models_run_over_a_sequence(name, format, tmp_path):
    path = path_of(tmp_path, format)
    model = model_of(name)
    steps = step_model(model, batch_size=3 if format == "litert" else None)
    first = initial_states(steps, 3)
    expected, _ = run(steps, first)
    steps.export(path, format=format, verbose=False)
    names = _outputs(path, format)
    for _ in range(2):
        states = first
        for t in range(TIME):
            made = names({"x": x[:, t], **states})
            np.testing.assert_allclose(made.pop("y"), expected[:, t], atol=1e-6)
            states = {name.removesuffix("_next"): value for name, value in made.items()}


def _outputs(path, format):
    """A function from inputs by name to outputs by name."""
    if format == "onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(str(path))
        names = [one.name for one in session.get_outputs()]
        return lambda given: dict(zip(names, session.run(None, given), strict=True))
    if format == "litert":
        from ai_edge_litert.interpreter import Interpreter

        runner = Interpreter(model_path=str(path)).get_signature_runner()
        return lambda given: runner(**given)
    import tensorflow as tf

    loaded = tf.saved_model.load(str(path))  # its function needs it alive
    return lambda given: {k: np.array(v) for k, v in loaded.serve(given).items()}


# The table of docs/guides/export.md: layers, and the formats that run whole sequences of them.
SEQUENCES = {
    "SigmaDelta": (lambda: SigmaDelta("relu", 4.0), "onnx litert tf_saved_model"),
    "LegendreMemory": (lambda: LegendreMemory(4, 10, memory_d=2), "onnx litert tf_saved_model"),
    "SynapticTrace": (SynapticTrace, "onnx litert tf_saved_model"),
    "HybridLMU": (lmu, "onnx litert tf_saved_model"),
    "all steps": (lambda: lmu(return_sequences=True), "onnx litert tf_saved_model"),
    "last steps": (lambda: lmu(return_last=3), "onnx litert tf_saved_model"),
    "counts fed back": (lambda: lmu(memory_feedback="integrated"), "onnx litert tf_saved_model"),
    "recurrent": (lambda: lmu(layers.LSTMCell(5)), "onnx tf_saved_model"),
    "GRU": (lambda: HybridRNN(HybridCell(layers.GRUCell(4), 2.0)), "onnx tf_saved_model"),
    "LSTM of Keras": (lambda: layers.LSTM(4), "onnx tf_saved_model"),
    "IF": (IF, "tf_saved_model"),
    "LIF": (LIF, "tf_saved_model"),
    "SRM": (SRM, "tf_saved_model"),
}


@formats
@pytest.mark.parametrize("name", SEQUENCES)
@pytest.mark.slow
def test_whole_sequences_run_with_the_same_counts_or_are_refused(name, format, tmp_path):
    path = path_of(tmp_path, format)
    make, runs = SEQUENCES[name]
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((TIME, 2)), make()])
    if format not in runs.split():
        with pytest.raises(ValueError, match="cannot be run: .*step_model"):
            export(model, path, format, x=x)
        assert not list(tmp_path.iterdir())
        return
    export(model, path, format, x=x)
    (found,) = reader(path, format)(x)
    np.testing.assert_allclose(found, ops.convert_to_numpy(model(x)), atol=1e-6)
    assert [one.name for one in tmp_path.iterdir()] == [path.name]


@pytest.mark.slow
def test_a_file_that_cannot_run_is_not_left(tmp_path):
    path = path_of(tmp_path, "onnx")
    model = model_of("neurons")
    path.write_text("the file before")
    with pytest.raises(ValueError, match="cannot be run: .*step_model"):
        export(model, path)
    assert path.read_text() == "the file before" and len(list(tmp_path.iterdir())) == 1


def test_bad_arguments(tmp_path):
    model = model_of("lmu")
    with pytest.raises(ValueError, match="`format` must be one of 'onnx', .*; received: 'tflite'"):
        export(model, tmp_path / "m.tflite", "tflite")
    with pytest.raises(ValueError, match="`path` must end in '.onnx'; received: .*m.tflite'"):
        export(model, tmp_path / "m.tflite")
    stateful = keras.Sequential(
        [keras.Input((5, 2), batch_size=1), lmu(stateful=True, name="carries")]
    )
    with pytest.raises(ValueError, match=r"stateful layers \['carries'\].*step_model"):
        export(stateful, tmp_path / "m.onnx")
