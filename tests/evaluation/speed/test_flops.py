import math

import keras
import numpy as np
import pytest

from evaluation.speed import flops
from evaluation.speed.registry import Sizes
from hybrid_lmu import LegendreMemory

SIZES = Sizes(batch=3, timesteps=100, order=7, units=5)


class Counter:
    """Stands in for the products of keras.ops and counts their multiply-adds."""

    def __init__(self, monkeypatch):
        self.count = 0
        self.matmul, self.einsum = keras.ops.matmul, keras.ops.einsum
        monkeypatch.setattr(keras.ops, "matmul", self.counted_matmul)
        monkeypatch.setattr(keras.ops, "einsum", self.counted_einsum)

    def counted_matmul(self, a, b):
        result = self.matmul(a, b)
        self.count += math.prod(result.shape) * a.shape[-1]
        return result

    def counted_einsum(self, equation, *tensors):
        sizes = {}
        for letters, x in zip(equation.split("->")[0].split(","), tensors, strict=True):
            sizes.update(zip(letters, x.shape, strict=True))
        self.count += math.prod(sizes.values())
        return self.einsum(equation, *tensors)


@pytest.mark.parametrize("every", [False, True])
@pytest.mark.parametrize("timesteps", [100, 101])  # 101 is padded
def test_the_memory_executes_what_is_counted(monkeypatch, every, timesteps):
    s = Sizes(batch=3, timesteps=timesteps, order=7)
    layer = LegendreMemory(7, 50, return_sequences=every)
    x = np.ones((3, timesteps, 1), "float32")
    counter = Counter(monkeypatch)
    layer(x)
    assert counter.count == flops.memory_forward(s, every)


def test_a_recurrent_network_counts_every_step_also_for_the_last_state():
    last, every = (flops.hybrid(SIZES, e, recurrent=True, quantized=False) for e in (False, True))
    assert last == every
    hidden = 3 * 3 * 100 * 5 * (7 + 1 + 5)
    assert every - flops.memory(SIZES, True) == hidden


def test_quantized_feedback_adds_a_loop_forward():
    plain, quantized = (
        flops.hybrid(SIZES, False, recurrent=False, quantized=q) for q in (False, True)
    )
    assert 2 * (quantized - plain) == flops.memory_loop(SIZES, False)
    assert plain - flops.memory(SIZES, False) == 3 * 3 * 8 * 5


def test_machine_rate_is_of_a_product():
    assert 1e6 < flops.machine_rate(size=64, repeats=3) < 1e16
