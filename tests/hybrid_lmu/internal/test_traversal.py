"""What a layer holds is frozen with it."""

import keras

from hybrid_lmu import HybridLMU


def test_made_frozen_it_is_not_trained():
    layer = HybridLMU(2, 5, 12, keras.layers.SimpleRNNCell(5), trainable=False)
    model = keras.Sequential([keras.Input((24, 2)), layer, keras.layers.Dense(1)])
    assert len(model.trainable_weights) == 2
    layer.trainable = True
    assert len(model.trainable_weights) == 6
