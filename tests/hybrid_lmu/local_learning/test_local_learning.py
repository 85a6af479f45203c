import keras
import numpy as np
import pytest
from keras import ops

from hybrid_lmu.local_learning import (
    BayesianRule,
    DenseConnection,
    FullPrecisionRule,
    LearningRule,
    LocalSpikingNetwork,
    StraightThroughRule,
    predict_samples,
)
from hybrid_lmu.local_learning import _steps as steps
from hybrid_lmu.neurons import Sigmoid, SRMCell
from tests.hybrid_lmu.local_learning import local_learning_reference as reference

RATE = 0.3
data = np.random.RandomState(0)
x = data.binomial(1, 0.5, (12, 15, 6)).astype("float32")
TARGETS = {
    "binary_crossentropy": (1, data.binomial(1, 0.5, 12)),
    "sparse_categorical_crossentropy": (3, data.randint(0, 3, 12)),
    "huber": (2, data.normal(0, 2, (12, 2)).astype("float32")),
}
RULES = {
    "straight-through": lambda: StraightThroughRule(initial_latent=0.05),
    "bayesian": lambda: BayesianRule(temperature=0.7, rho=0.02, prior=0.6, initial_latent=0.5),
    "full precision": FullPrecisionRule,
}


def network(rule, loss="binary_crossentropy", rate=RATE, hidden=(7, 5), **options):
    options = {"burn_in": reference.BURN_IN, "seed": 3, **options}
    model = LocalSpikingNetwork(list(hidden), TARGETS[loss][0], rule, loss, **options)
    model.build((None, None, 6))
    metrics = [] if loss == "huber" else ["accuracy"]
    model.compile(keras.optimizers.SGD(rate), metrics=metrics)
    return model


def arrays(variables):
    return [np.array(ops.convert_to_numpy(v)) for v in variables]


def kernels(model):
    return arrays([layer[0] for layer in model.latents])


class Recorded:
    """The rule's noise, call by call: once for the burn-in, then at each step, layer by layer."""

    def __init__(self, monkeypatch, shapes, count):
        random = np.random.RandomState(1)
        self.noise = [[random.normal(0, 1, s).astype("float32") for s in shapes]] + [
            [random.normal(0, 1, s).astype("float32") for s in shapes] for _ in range(count)
        ]
        table = [ops.convert_to_tensor(np.stack([n[i] for n in self.noise])) for i in (0, 1)]

        def draw(rule, latents, generator, seed):
            # In place of the generator's state: how many draws there have been.
            return [[table[0][seed[1]]], [table[1][seed[1]]]], seed + ops.cast([0, 1], seed.dtype)

        monkeypatch.setattr(steps, "_draw", draw)


@pytest.mark.parametrize("loss", TARGETS)
@pytest.mark.parametrize("name", RULES)
@pytest.mark.broad(4)
def test_a_batch_is_the_published_formulas_step_by_step(name, loss, monkeypatch):
    rule, (outputs, y) = RULES[name](), TARGETS[loss]
    model = network(rule, loss)
    start, readouts = kernels(model), arrays(model.readouts)
    if loss == "binary_crossentropy":
        y_shaped = y[:, None]
    else:
        y_shaped = y
    recorded = Recorded(monkeypatch, [w.shape for w in start], x.shape[1])
    training_weight = {
        "straight-through": lambda w, t, i: reference.sign(w),
        "full precision": lambda w, t, i: w,
        "bayesian": lambda w, t, i: np.tanh((w + noise(t, i)) / 0.7),
    }[name]

    def noise(t, i):
        return recorded.noise[0 if t < 0 else 1 + t - reference.BURN_IN][i].astype("float64")

    def bayesian(latent, gradient, t, i):
        w, mu, prior = training_weight(latent, t, i), np.tanh(latent), 0.5 * np.log(0.6 / 0.4)
        factor = (1 - w**2 + 1e-10) / (0.7 * (1 - mu**2 + 1e-10))
        return (1 - RATE * 0.02) * latent - RATE * (gradient * factor - 0.02 * prior)

    def descent(latent, gradient, t, i):
        return latent - RATE * gradient

    update = bayesian if name == "bayesian" else descent
    weight = data.uniform(0.5, 2, len(x)).astype("float32")
    latents, loss_value, prediction = reference.train(
        x, y_shaped, start, readouts, loss, training_weight, update, weight
    )
    model.training_seed.assign([3, 0])
    logs = model.train_on_batch(x, y, sample_weight=weight, return_dict=True)
    np.testing.assert_allclose(logs["loss"], loss_value, rtol=1e-5)
    for mine, theirs, before in zip(kernels(model), latents, start, strict=True):
        assert np.abs(theirs - before).max() > 1e-3
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=2e-5)
    assert prediction.shape == (12, outputs)
    assert int(ops.convert_to_numpy(model.optimizer.iterations)) == 1


@pytest.mark.parametrize("name", RULES)
@pytest.mark.broad(2)
def test_evaluation_and_prediction_are_a_loop_with_fixed_weights(name):
    rule, (_, y) = RULES[name](), TARGETS["binary_crossentropy"]
    model = network(rule)
    still = lambda latent, *_: latent  # noqa: E731
    weight = still if name == "full precision" else lambda latent, *_: reference.sign(latent)
    _, loss, prediction = reference.train(
        x, y[:, None], kernels(model), arrays(model.readouts), "binary_crossentropy", weight, still
    )
    np.testing.assert_allclose(model.predict(x, batch_size=6, verbose=0), prediction, rtol=1e-5)
    np.testing.assert_allclose(ops.convert_to_numpy(model(x)), prediction, rtol=1e-5)
    scores = model.evaluate(x, y, batch_size=6, verbose=0, return_dict=True)
    np.testing.assert_allclose(scores["loss"], loss, rtol=1e-5)
    assert scores["accuracy"] == pytest.approx(((prediction[:, 0] > 0.5) == y).mean())


def test_published_kernel_of_the_neuron():
    layer = steps.LocalLayer(DenseConnection(1), (1,), None, SRMCell(None))
    state, weights, kernel = layer.initial_state(1), [ops.ones((1, 1))], []
    for t in range(400):
        spike = ops.ones((1, 1)) if t == 0 else ops.zeros((1, 1))
        _, _, state = layer.advance(weights, state, spike)
        kernel.append(float(ops.convert_to_numpy(state[0])[0, 0]))
    assert kernel[:2] == [0, 1] and np.argmax(kernel) == 8
    np.testing.assert_allclose([max(kernel), sum(kernel)], [3.182754, 68.450040], rtol=1e-6)


@pytest.mark.parametrize("options", [{"steps_per_execution": 2}, {"run_eagerly": True}, {}])
@pytest.mark.broad(1)
def test_forms_of_execution(options):
    """Also without burn-in, with the other surrogate, and with batches of two sizes."""
    if "steps_per_execution" in options and keras.backend.backend() == "torch":
        pytest.skip("Keras on PyTorch has one step an execution")
    y = TARGETS["binary_crossentropy"][1]
    model = network(RULES["bayesian"](), burn_in=0, surrogate="sigmoid")
    model.compile(keras.optimizers.SGD(0.1), metrics=["accuracy"], **options)
    history = model.fit(x, y, batch_size=8, epochs=2, shuffle=False, verbose=0).history
    reference_model = network(RULES["bayesian"](), rate=0.1, burn_in=0, surrogate="sigmoid")
    expected = [
        [reference_model.train_on_batch(x[rows], y[rows], return_dict=True)["loss"] for rows in cut]
        for cut in [(slice(0, 8), slice(8, 12))] * 2
    ]
    for epoch, (first, second) in enumerate(expected):
        np.testing.assert_allclose(history["loss"][epoch], (8 * first + 4 * second) / 12, rtol=1e-4)
    assert int(ops.convert_to_numpy(model.optimizer.iterations)) == 4


def test_a_sample_without_weight_changes_nothing():
    y = TARGETS["binary_crossentropy"][1]
    models = [network(StraightThroughRule(initial_latent=0.05)) for _ in range(2)]
    weight = np.r_[np.full(11, 2.0), 0].astype("float32")
    for model, row in zip(models, (0, 1), strict=True):
        changed = x.copy()
        changed[-1] = row
        model.train_on_batch(changed, y, sample_weight=weight)
    for one, other in zip(*map(kernels, models), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
def test_training_separates_two_groups_of_inputs():
    y = np.arange(40) % 2
    rates = np.where(y[:, None, None] == (np.arange(6) < 3), 0.7, 0.3)
    inputs = np.random.RandomState(2).binomial(1, rates, (40, 15, 6)).astype("float32")
    chance = 2 * np.log(2)  # of two layers
    for rule, rate in (
        (StraightThroughRule(initial_latent=1.0), 0.3),
        (BayesianRule(initial_latent=1.0), 3.0),
        (FullPrecisionRule(), 0.3),
    ):
        model = network(rule, rate=rate, hidden=(20, 20))
        model.fit(inputs, y, batch_size=20, epochs=30, verbose=0)
        scores = model.evaluate(inputs, y, verbose=0, return_dict=True)
        assert scores["loss"] < 0.8 * chance
        if not isinstance(rule, StraightThroughRule):
            assert scores["accuracy"] > 0.9


@pytest.mark.parametrize("name", RULES)
@pytest.mark.broad(1)
def test_a_saved_model_goes_on_as_if_it_had_not_been_saved(name, tmp_path):
    y = TARGETS["binary_crossentropy"][1]
    schedule = keras.optimizers.schedules.ExponentialDecay(0.5, 2, 0.5)

    def fit(model):
        return model.fit(x, y, batch_size=6, epochs=2, shuffle=False, verbose=0).history["loss"]

    model = network(RULES[name](), rate=schedule)
    fit(model)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), model.predict(x, verbose=0))
    assert fit(loaded) == fit(model)
    for one, other in zip(kernels(loaded), kernels(model), strict=True):
        np.testing.assert_array_equal(one, other)
    assert loaded.get_config() == model.get_config()


def test_a_seed_repeats_a_run_and_a_model_builds_itself():
    y, histories = TARGETS["binary_crossentropy"][1], []
    for _ in range(2):
        model = LocalSpikingNetwork([7, 5], 1, RULES["bayesian"](), burn_in=3, seed=3)
        model.compile(keras.optimizers.SGD(RATE), metrics=["accuracy"])
        histories.append(model.fit(x, y, batch_size=6, shuffle=False, verbose=0).history)
    assert histories[0] == histories[1]


def test_a_sigmoid_of_an_old_file_keeps_its_steepness():
    """Up to now the name meant alpha=1 here; it is that of `hybrid_lmu.neurons` now, alpha=4."""
    model = network(StraightThroughRule(), surrogate=Sigmoid(alpha=0.5))
    config = model.get_config()
    assert LocalSpikingNetwork.from_config(config).neuron.surrogate.alpha == 0.5
    old = LocalSpikingNetwork.from_config({**config, "surrogate": "sigmoid"})
    assert old.neuron.surrogate.alpha == 1.0
    assert network(StraightThroughRule(), surrogate="sigmoid").neuron.surrogate.alpha == 4.0


class DecayingRule(LearningRule):
    """A learning rule of a user's own: real weights that decay."""

    def initial(self, shape, random):
        return random.normal(size=shape)

    def weight(self, latent, noise=None):
        return latent

    def updated(self, latent, gradient, noise, learning_rate):
        return 0.5 * latent - learning_rate * gradient


def test_a_learning_rule_of_your_own():
    model = network(DecayingRule(), rate=0.0)
    before = kernels(model)
    model.train_on_batch(x, TARGETS["binary_crossentropy"][1])
    for one, other in zip(kernels(model), before, strict=True):
        np.testing.assert_allclose(one, other * 0.5 ** (15 - reference.BURN_IN), rtol=1e-5)


def test_callbacks_set_the_learning_rate():
    y = TARGETS["binary_crossentropy"][1]
    model = network(StraightThroughRule(initial_latent=0.05))
    before = kernels(model)
    callback = keras.callbacks.LearningRateScheduler(lambda epoch: 0.0)
    model.fit(x, y, verbose=0, callbacks=[callback])
    for one, other in zip(kernels(model), before, strict=True):
        np.testing.assert_array_equal(one, other)


def test_samples_of_the_posterior():
    model = network(BayesianRule(initial_latent=0.3))
    mode = model.predict(x, verbose=0)
    one = predict_samples(model, x, "mode", samples=7)
    assert one.shape == (1, 12, 1)
    np.testing.assert_allclose(one[0], mode, rtol=1e-6)
    same = np.tile(x[:1], (12, 1, 1))
    committee = predict_samples(model, same, "committee", samples=6, batch_size=4)
    assert np.ptp(committee, axis=1).max() < 1e-6  # one network for all inputs
    assert len(np.unique(committee[:, 0].round(6))) > 1  # and other networks
    ensemble = predict_samples(model, same, "ensemble", samples=6, batch_size=4)
    assert np.ptp(ensemble[:, :4], axis=1).max() < 1e-6  # one network a batch
    assert np.ptp(ensemble, axis=1).max() > 1e-3  # another for the next
    again = predict_samples(model, same, "ensemble", samples=6, batch_size=4)
    np.testing.assert_array_equal(again, ensemble)
    np.testing.assert_allclose(model.predict(x, verbose=0), mode, rtol=1e-6)  # nothing is left
    certain = network(BayesianRule(initial_latent=30.0))
    drawn = predict_samples(certain, x, "ensemble", samples=2)
    np.testing.assert_allclose(drawn[1], certain.predict(x, verbose=0), rtol=1e-6)


@pytest.mark.parametrize(
    "optimizer, message",
    [
        (keras.optimizers.Adam, "Adam"),
        (lambda: keras.optimizers.SGD(0.1, momentum=0.9), "momentum=0.9"),
        (lambda: keras.optimizers.SGD(0.1, clipnorm=1.0), "clipnorm=1.0"),
    ],
)
def test_other_optimizers_are_refused(optimizer, message):
    model = network(StraightThroughRule())
    model.compile(optimizer())
    with pytest.raises(ValueError, match=f"plain keras.optimizers.SGD.*received: .*{message}"):
        model.fit(x, TARGETS["binary_crossentropy"][1], verbose=0)


def test_bad_data():
    y = TARGETS["binary_crossentropy"][1]
    message = r"more than burn_in=3 steps; received shape \((None|12), 3, 6\)"
    with pytest.raises(ValueError, match=message):
        network(StraightThroughRule()).predict(x[:, :3], verbose=0)
    with pytest.raises(ValueError, match=r"\[batch, time, 6\]; received shape \(.*, 15, 5\)"):
        network(StraightThroughRule()).fit(x[..., :5], y, verbose=0)
    with pytest.raises(ValueError, match=r"\[batch, time, features...\]; received"):
        network_of([4]).build((None, 6))
    model = network(StraightThroughRule())
    model.compile(keras.optimizers.SGD(0.1), loss="mse")
    with pytest.raises(ValueError, match="`compile` takes none. Received: 'mse'"):
        model.fit(x, y, verbose=0)
    model = network(StraightThroughRule())
    with pytest.raises(ValueError, match=r"expects 1 number\(s\) a sample .* \(.*, 2\)"):
        network(StraightThroughRule()).fit(x, np.stack([y, y], -1), verbose=0)
    message = r"loss='huber' and outputs=2 expects 2 number\(s\) a sample"
    with pytest.raises(ValueError, match=message):
        network(StraightThroughRule(), "huber").fit(x, y, verbose=0)
    with pytest.raises(ValueError, match="must be built or trained first"):
        predict_samples(network_of([4]), x, "mode")
    with pytest.raises(ValueError, match="must be 'mode'; received: 'ensemble'"):
        predict_samples(model, x)
    with pytest.raises(ValueError, match="`predictor` must be one of .* received: 'median'"):
        predict_samples(model, x, "median")


def network_of(hidden=(4,), outputs=1, rule=None, **options):
    return LocalSpikingNetwork(hidden, outputs, rule or StraightThroughRule(), **options)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: network_of([]), "`hidden` must be a list of one layer or more; received"),
        (lambda: network_of([0]), "`hidden` must be an integer >= 1; received: 0"),
        (lambda: network_of(outputs=0), "`outputs` must be an integer >= 1"),
        (lambda: network_of(rule="bayes"), "`rule` must be one of Straight.*received: 'bayes'"),
        (lambda: network_of(loss="mse"), "`loss` must be one of 'binary_crossentropy'"),
        (lambda: network_of(burn_in=-1), "`burn_in` must be an integer >= 0; received: -1"),
        (lambda: network_of(tau_syn=0.0), "`tau_syn` must be .* steps > 0; received: 0.0"),
        (lambda: network_of(surrogate="step"), "`surrogate` must be .* received: 'step'"),
        (lambda: network_of(dtype="float16"), "computes in float32; received dtype 'float16'"),
        (lambda: BayesianRule(temperature=0), "`temperature` must be a finite number > 0"),
        (lambda: BayesianRule(rho=-1), "`rho` must be a finite number >= 0; received: -1"),
        (
            lambda: BayesianRule(prior=1.0),
            r"`prior` must be a probability.*received: 1.0",
        ),
        (lambda: StraightThroughRule(clip=0), "`clip` must be a finite number > 0 or None"),
        (lambda: FullPrecisionRule(float("nan")), "`initial_latent` must be a finite number"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_clips():
    latent, large = ops.convert_to_tensor([0.9, -0.9]), ops.convert_to_tensor([-5.0, 5.0])
    free = StraightThroughRule().updated(latent, large, None, 0.1)
    np.testing.assert_allclose(ops.convert_to_numpy(free), [1.4, -1.4], rtol=1e-6)
    kept = StraightThroughRule(clip=1.0).updated(latent, large, None, 0.1)
    np.testing.assert_allclose(ops.convert_to_numpy(kept), [1, -1], rtol=1e-6)
    # At natural 3, noise -3 the exact factor is cosh(3)^2 = 101.
    at = [ops.convert_to_tensor([v]) for v in (3.0, 1.0, -3.0)]
    moved = [
        float(ops.convert_to_numpy(BayesianRule(rho=0.0, clip=clip).updated(*at, 0.01))[0])
        for clip in (None, 10.0)
    ]
    np.testing.assert_allclose(moved, [3 - 0.01 * np.cosh(3) ** 2, 2.9], rtol=1e-5)
