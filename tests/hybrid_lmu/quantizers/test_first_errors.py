"""First errors: drawn in training, fixed in inference, drawn in both if that is asked for."""

import keras
import numpy as np
import pytest
from keras import ops

from hybrid_lmu import HybridCell, HybridLMU, HybridRNN, SigmaDelta, full_simulation
from hybrid_lmu.quantizers import SigmaDeltaQuantizer, StochasticQuantizer
from hybrid_lmu.quantizers._seeded import fixed_errors

layers, to_numpy = keras.layers, ops.convert_to_numpy
x = np.random.default_rng(0).normal(size=(9, 20, 2)).astype("float32")


def lmu(cell=None, **options):
    resolutions = {"memory_resolution": 4, "hidden_resolution": 2}
    return HybridLMU(2, 6, 20, cell or layers.Dense(5, "relu"), **{**resolutions, **options})


def stochastic():
    return HybridRNN(HybridCell(layers.Dense(4), quantizer=StochasticQuantizer(resolution=2)))


KINDS = {
    "last step": lmu,
    "last steps": lambda: lmu(return_last=3),
    "all steps": lambda: lmu(return_sequences=True),
    "recurrent": lambda: lmu(layers.SimpleRNNCell(5)),
    "step by step": lambda: lmu(memory_to_memory=True),
    "counts fed back": lambda: lmu(memory_feedback="integrated"),
    "HybridRNN": lambda: HybridRNN(HybridCell(layers.GRUCell(4), 2)),
    "RNN of Keras": lambda: layers.RNN(HybridCell(layers.GRUCell(4), 2)),
    "SigmaDelta": lambda: SigmaDelta(resolution=2),
    "stochastic": stochastic,
}


def model_of(layer):
    return keras.Sequential([keras.Input((20, 2)), layer, SigmaDelta(resolution=1.5)])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.broad(4)
def test_inference_repeats_and_training_draws(kind, tmp_path):
    model = model_of(KINDS[kind]())
    first = model.predict(x, verbose=0)
    np.testing.assert_array_equal(first, model.predict(x, verbose=0))
    np.testing.assert_array_equal(first, model.predict(x, verbose=0, batch_size=4))
    assert np.abs(to_numpy(model(x, training=True)) - to_numpy(model(x, training=True))).max() > 0

    model.compile("sgd", "mse")
    model.fit(x, first, verbose=0)  # draws, and leaves inference as it is
    again = model.predict(x, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again, loaded.predict(x, verbose=0))


def test_drawn_in_each_call_if_asked_for():
    def model(error):
        return keras.Sequential(
            [keras.Input((20, 2)), lmu(initial_error=error), SigmaDelta(initial_error=error)]
        )

    drawn = model("uniform_each_call")
    assert drawn.layers[0].plan(x.shape).takes_last_steps
    assert np.abs(drawn.predict(x, verbose=0) - drawn.predict(x, verbose=0)).max() > 0
    same = keras.Sequential.from_config(drawn.get_config())
    assert same.layers[0].initial_error == "uniform_each_call"


def test_the_same_samples_get_the_same_outputs():
    """Without a draw, a sample's outputs depend on nothing but the sample."""
    outputs = model_of(lmu()).predict(np.repeat(x[:1], 8, axis=0), verbose=0)
    np.testing.assert_array_equal(outputs, np.repeat(outputs[:1], 8, axis=0))


def test_fixed_errors_are_those_of_the_seed_on_every_backend():
    assert [round(float(e), 4) for e in fixed_errors((4,))] == [0.8831, 0.2286, 0.4106, 0.4467]
    same = to_numpy(fixed_errors((4,), 3))
    np.testing.assert_array_equal(same, to_numpy(fixed_errors((4,), 3)))
    assert np.abs(same - to_numpy(fixed_errors((4,), 4))).max() > 0
    for seed in (-1, 2**40):
        assert 0 <= float(fixed_errors((1,), seed)[0]) < 1


def test_fixed_errors_are_uniform():
    """Over seeds, neurons and places: as many in each tenth as a uniform draw has."""
    drawn = np.concatenate([to_numpy(fixed_errors((50,), seed)) for seed in range(200)])
    for errors in (drawn, to_numpy(fixed_errors((50, 40, 5))).ravel()):
        counts = np.histogram(errors, 10, (0, 1))[0]  # standard deviation 30
        assert np.abs(counts - 1000).max() < 150


def test_places_of_unknown_number():
    """An image of a size that is not known when the graph is made gets the same errors."""
    known, unknown = SigmaDelta(resolution=1.0), SigmaDelta(resolution=1.0)
    image = np.random.default_rng(1).uniform(size=(2, 3, 4, 5, 2)).astype("float32")
    model = keras.Sequential([keras.Input((3, None, None, 2)), unknown])
    np.testing.assert_array_equal(to_numpy(known(image)), model.predict(image, verbose=0))


def test_stateful_layers_start_from_the_fixed_errors():
    stream = keras.Sequential(
        [keras.Input((5, 2), batch_size=9), lmu(layers.SimpleRNNCell(5), stateful=True)]
    )
    whole = keras.Sequential([keras.Input((20, 2)), lmu(layers.SimpleRNNCell(5))])
    stream.set_weights(whole.get_weights())
    for _ in range(2):
        stream.layers[0].reset_state()
        last = [stream.predict(x[:, t : t + 5], verbose=0, batch_size=9) for t in (0, 5, 10, 15)]
        np.testing.assert_allclose(last[-1], whole.predict(x, verbose=0), atol=1e-6)


def test_expected_output_of_the_last_step_is_that_of_the_full_simulation():
    """Over seeds, so over the fixed numbers, for one sample; 4.9 standard errors, see test_lmu."""
    one = x[:1]

    def outputs(seed):
        model = keras.Sequential([keras.Input((20, 2)), lmu(seed=seed)])
        kernels = np.random.default_rng(5)
        model.set_weights(
            [w if w.ndim == 0 else kernels.normal(size=w.shape) for w in model.get_weights()]
        )
        full = full_simulation(model)
        return to_numpy(model(one))[0], to_numpy(full(one))[0]

    a, b = np.array([outputs(seed) for seed in range(60)]).transpose(1, 0, 2)
    assert (a.std(0) > 0).any() and (b.std(0) > 0).any()
    error = np.sqrt((a.var(0) + b.var(0)) / len(a))
    assert (np.abs(a.mean(0) - b.mean(0)) <= 4.9 * error + 1e-6).all()


def test_a_quantizer_that_is_not_named_uniform_does_not_draw():
    quantizer = SigmaDeltaQuantizer(initial_error="half")
    quantizer.build((None, 2))
    assert quantizer.seed_generator is None and not quantizer.stationary
