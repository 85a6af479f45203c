import keras
import numpy as np
import pytest
from keras import ops

from hybrid_lmu.local_learning import (
    BayesianRule,
    Conv2DConnection,
    DenseConnection,
    LocalSpikingNetwork,
    StraightThroughRule,
)

random = np.random.RandomState(0)


def tensor(*shape):
    return ops.convert_to_tensor(random.normal(0, 1, shape).astype("float32"))


def numbers(value):
    return ops.convert_to_numpy(value)


@pytest.mark.parametrize(
    "connection, inputs",
    [
        (DenseConnection(3, use_bias=True), (4,)),
        (DenseConnection(3), (2, 5)),
        (Conv2DConnection(2, kernel_size=3), (4, 5, 2)),
        (Conv2DConnection(2, kernel_size=5, use_bias=False), (3, 4, 1)),
    ],
)
def test_gradients_are_those_of_the_current(connection, inputs):
    """The current is linear in the weights, so its derivatives are differences, exactly."""
    shapes = connection.weight_shapes(inputs)
    weights = [tensor(*shape) for shape in shapes.values()]
    traces, by_current = tensor(6, *inputs), tensor(6, *connection.neurons(inputs))
    gradients = connection.gradients(traces, by_current)
    assert [tuple(g.shape) for g in gradients] == list(shapes.values())
    base = numbers(connection.current(weights, traces))
    for i, gradient in enumerate(gradients):
        differences = np.zeros(gradient.shape)
        for place in np.ndindex(*gradient.shape):
            moved = [np.array(numbers(w)) for w in weights]
            moved[i][place] += 1
            current = numbers(connection.current([ops.convert_to_tensor(w) for w in moved], traces))
            differences[place] = np.sum((current - base) * numbers(by_current))
        np.testing.assert_allclose(numbers(gradient), differences, rtol=1e-3, atol=1e-4)


def test_the_bias_is_added_once():
    connection = Conv2DConnection(2, kernel_size=1)
    kernel, traces = tensor(1, 1, 3, 2), tensor(2, 4, 4, 3)
    current = connection.current([kernel, ops.convert_to_tensor([1.0, -2.0])], traces)
    expected = numbers(traces) @ numbers(kernel)[0, 0] + np.array([1, -2])
    np.testing.assert_allclose(numbers(current), expected, rtol=1e-5, atol=1e-5)


def test_pooling_takes_the_largest_and_sends_the_gradient_there():
    connection = Conv2DConnection(1, kernel_size=1, pool_size=2)
    potential = np.zeros((1, 5, 4, 1), "float32")
    potential[0, :4, :, 0] = [[1, 2, 0, 0], [3, 0, 0, 0], [-1, -2, 5, 5], [-4, -3, 5, 4]]
    pooled = connection.pooled(ops.convert_to_tensor(potential))
    np.testing.assert_array_equal(numbers(pooled)[0, ..., 0], [[3, 0], [-1, 5]])
    gradient = ops.convert_to_tensor(np.array([[7, 8], [9, 10]], "float32")[None, ..., None])
    back = numbers(connection.unpooled(ops.convert_to_tensor(potential), gradient))[0, ..., 0]
    expected = [[0, 0, 8, 0], [7, 0, 0, 0], [9, 0, 10, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    np.testing.assert_array_equal(back, expected)  # ties: the first; the last row is not seen


@pytest.mark.parametrize("rule", [StraightThroughRule(5.0), BayesianRule(initial_latent=0.5)])
@pytest.mark.broad(1)
def test_a_convolutional_network_learns_and_is_saved(rule, tmp_path):
    x = random.binomial(1, 0.3, (8, 9, 6, 6, 2)).astype("float32")
    y = np.arange(8) % 3
    hidden = [Conv2DConnection(4, 3), Conv2DConnection(3, 3, pool_size=2), 5]
    model = LocalSpikingNetwork(
        hidden, 3, rule, "sparse_categorical_crossentropy", burn_in=4, seed=0
    )
    model.compile(keras.optimizers.SGD(1.0), metrics=["accuracy"])
    history = model.fit(x, y, batch_size=4, epochs=12, verbose=0).history["loss"]
    assert history[-1] < history[0]
    assert [len(layer) for layer in model.latents] == [2, 2, 1]
    assert [tuple(r.shape) for r in model.readouts] == [(144, 3), (27, 3), (5, 3)]
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), model.predict(x, verbose=0))


def test_a_convolution_with_the_whole_image_as_its_kernel_is_dense():
    """The middle neuron of a 3x3 image sees all of it."""
    image, kernel = tensor(4, 3, 3, 2), tensor(3, 3, 2, 5)
    whole = Conv2DConnection(5, 3, use_bias=False).current([kernel], image)
    dense = DenseConnection(5).current([ops.reshape(kernel, (18, 5))], image)
    np.testing.assert_allclose(numbers(whole)[:, 1, 1], numbers(dense), rtol=1e-4, atol=1e-5)


def test_bad_arguments():
    with pytest.raises(ValueError, match="`kernel_size` must be odd; received: 4"):
        Conv2DConnection(2, kernel_size=4)
    with pytest.raises(ValueError, match="`filters` must be an integer >= 1; received: 0"):
        Conv2DConnection(0)
    with pytest.raises(ValueError, match=r"\(height, width, channels\), .* received: \(6,\)"):
        Conv2DConnection(2).weight_shapes((6,))
    with pytest.raises(ValueError, match=r"below pool_size=4; received: \(3, 8, 1\)"):
        Conv2DConnection(2, pool_size=4).weight_shapes((3, 8, 1))
