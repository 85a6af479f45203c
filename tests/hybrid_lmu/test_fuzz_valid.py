"""Random valid options of every public layer: builds, trains, is saved, reports; chunks agree."""

import keras
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.hybrid_lmu import fuzz

KINDS = {
    "lmu": (fuzz.lmus(), {"return_sequences": True}),
    "recurrent": (fuzz.recurrent_layers(), {"return_sequences": True}),
    "activation": (fuzz.activations(), {}),
}
counts = pytest.mark.parametrize(
    "count", [pytest.param(2, id="few"), pytest.param(15, id="many", marks=pytest.mark.slow)]
)


def examples(count):
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large]
    return settings(
        max_examples=count, deadline=None, derandomize=True, database=None,
        suppress_health_check=checks,
    )  # fmt: skip


@counts
@pytest.mark.parametrize("kind", KINDS)
def test_valid_options_work(kind, count):
    makers, _ = KINDS[kind]

    @examples(count)
    @given(make=makers, last=st.booleans())
    def check(make, last):
        keras.utils.set_random_seed(0)
        more = {} if kind == "activation" or last else {"return_sequences": True}
        fuzz.check_model(fuzz.model_of(make(**more)), fuzz.data())

    check()


@counts
@pytest.mark.parametrize("kind", KINDS)
def test_steps_are_the_sequence_and_chunks_are(kind, count):
    makers, sequences = KINDS[kind]

    @examples(count)
    @given(make=makers, cut=st.integers(1, fuzz.TIME - 1))
    def check(make, cut):
        keras.utils.set_random_seed(0)
        fuzz.check_chunks(make, fuzz.data(1), cut, **sequences)

    check()
