import keras
import numpy as np
import pytest

from training.scores import predict, score_classes, score_regression, wilson


def test_wilson_interval_against_published_values():
    # Newcombe (1998), Statistics in Medicine 17, table I, method 3.
    np.testing.assert_allclose(wilson(81 / 263, 263), [0.2553, 0.3662], atol=5e-5)
    np.testing.assert_allclose(wilson(15 / 148, 148), [0.0624, 0.1605], atol=5e-5)
    np.testing.assert_allclose(wilson(0.0, 20), [0.0, 0.1611], atol=5e-5)
    np.testing.assert_allclose(wilson(1 / 29, 29), [0.0061, 0.1718], atol=5e-5)


def test_class_scores_against_keras():
    rng = np.random.RandomState(0)
    logits, labels = rng.normal(size=(50, 4)) * 30, rng.randint(0, 4, 50)
    score = score_classes(logits, labels)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)(labels, logits)
    assert score["loss"] == pytest.approx(float(loss), rel=1e-5)
    assert score["accuracy"] == np.mean(logits.argmax(-1) == labels)
    assert score["n"] == 50


def test_steps_of_weight_zero_do_not_count():
    rng = np.random.RandomState(0)
    logits, labels = rng.normal(size=(6, 5, 3)), rng.randint(0, 3, (6, 5))
    weight = np.ones((6, 5))
    weight[:, 3:] = 0
    score = score_classes(logits, labels, weight)
    short = score_classes(logits[:, :3], labels[:, :3], weight[:, :3])
    assert score["n"] == 18
    for key, value in short.items():
        assert score[key] == pytest.approx(value), key


def test_dependent_steps_widen_the_interval():
    # Each sequence is all right or all wrong: 40 independent trials, not 40 * 25.
    right = np.random.RandomState(0).rand(40) < 0.7
    logits = np.zeros((40, 25, 2))
    logits[..., 0] = np.where(right, 1.0, -1.0)[:, None]
    score = score_classes(logits, np.zeros((40, 25), int))
    assert score["n"] == 1000
    assert 36 < score["n_effective"] < 42


def test_nrmse_is_one_for_the_mean_and_zero_for_the_truth():
    targets = np.random.RandomState(0).normal(size=(20, 30, 1))
    assert score_regression(np.full_like(targets, targets.mean()), targets)["nrmse"] == (
        pytest.approx(1.0)
    )
    assert score_regression(targets, targets)["nrmse"] == 0
    score = score_regression(targets + 0.1 * np.arange(20)[:, None, None], targets)
    low, high = score["interval"]
    assert low < score["nrmse"] < high


def test_predict_fills_the_last_batch_and_cuts_it_again():
    class Model:
        def predict(self, x, batch_size, verbose, callbacks):
            assert len(x) % batch_size == 0
            return 2 * x

    for size in (1, 4, 10):
        x = np.random.RandomState(0).rand(size, 3, 1)
        np.testing.assert_array_equal(predict(Model(), x, batch_size=4), 2 * x)
