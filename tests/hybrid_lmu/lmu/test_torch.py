"""An LMU in a module of PyTorch: what traces and exports it gives the same outputs."""

import keras
import numpy as np
import pytest

from hybrid_lmu import HybridLMU

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "torch", reason="modules of PyTorch, on its backend"
)


@pytest.fixture
def module_and_input():
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            hidden = keras.layers.Dense(6, "relu")
            self.lmu = HybridLMU(1, 8, 20, hidden, memory_resolution=8, hidden_resolution=2)
            self.lmu.build((None, 20, 1))
            self.out = torch.nn.Linear(6, 2)

        def forward(self, x):
            return self.out(self.lmu(x))

    x = torch.as_tensor(np.random.default_rng(0).normal(size=(4, 20, 1)).astype("float32"))
    return Net().eval(), x


def test_module_trains(module_and_input):
    module, x = module_and_input
    assert len(list(module.parameters())) >= 5
    module(x).square().sum().backward()
    assert all(p.grad is not None for name, p in module.named_parameters() if p.requires_grad)


@pytest.mark.parametrize(
    "way", ["trace", "export", pytest.param("compile", marks=pytest.mark.slow)]
)
def test_traced_and_exported_modules_are_equal(module_and_input, way):
    module, x = module_and_input
    if way == "trace":
        made = torch.jit.trace(module, x)
    elif way == "export":
        made = torch.export.export(module, (x,)).module()
    else:
        made = torch.compile(module)
    torch.testing.assert_close(made(x), module(x))
