import doctest

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.data import EpochBatches, SetEpoch
from training.events import Events, augmentation, base, event_frames, frames, stack_frames
from training.tasks import Split


def make_events(n=200, height=6, width=9, seed=0, end=1000):
    rng = np.random.default_rng(seed)
    t = np.sort(rng.integers(0, end, n))
    return Events(t, rng.integers(0, width, n), rng.integers(0, height, n),
                  rng.integers(0, 2, n), height, width)  # fmt: skip


def frames_of(samples=3, steps=5, height=12, width=10, seed=0):
    rng = np.random.default_rng(seed)
    return rng.poisson(0.7, (samples, steps, height, width, 2)).astype("uint8")


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 40), st.integers(1, 7), st.integers(1, 4),
       st.sampled_from(["time", "number", "duration"]), st.integers(0, 99))  # fmt: skip
def test_frames_are_what_counting_one_event_after_another_gives(n, steps, factor, rule, seed):
    events = make_events(n, seed=seed)
    expected = np.zeros((steps, -(-6 // factor), -(-9 // factor), 2), int)
    for i in range(n):
        t, length = int(events.t[i]), int(events.t[-1] - events.t[0]) + 1
        step = {
            "time": (t - int(events.t[0])) * steps // length,
            "number": i * steps // n,
            "duration": t * steps // 600,
        }[rule]
        if step < steps:
            place = (step, events.y[i] // factor, events.x[i] // factor, events.p[i])
            expected[place] += 1
    options = dict(by="number" if rule == "number" else "time")
    options["duration"] = 600 if rule == "duration" else None
    found = event_frames(events, steps, factor=factor, **options)
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == "uint8"


def test_steps_of_equal_number_and_of_equal_time():
    events = make_events(203)
    per_step = event_frames(events, 10, by="number").sum(axis=(1, 2, 3))
    assert per_step.sum() == 203 and set(per_step) == {20, 21}
    assert event_frames(events, 7).sum() == 203  # from the first event to the last: none is lost


def test_counts_above_255_widen_the_frames():
    pixel = np.zeros(300, int)
    many = Events(np.arange(300), pixel, pixel, pixel, 1, 1)
    assert event_frames(many, 1).tolist() == [[[[300, 0]]]]
    few = Events(np.arange(2), pixel[:2], pixel[:2], pixel[:2], 1, 1)
    x = stack_frames(iter([few, many, few]), 3, steps=1)
    assert x.dtype == "uint16" and x[:, 0, 0, 0, 0].tolist() == [2, 300, 2]


@pytest.mark.parametrize("module", [base, frames])
def test_examples_of_the_docstrings(module):
    result = doctest.testmod(module)
    assert result.attempted and not result.failed


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(by="count"), "`by` must be one of time, number; received: 'count'"),
        (dict(by="number", duration=5), "`duration` must be None with by='number'; received: 5"),
        (dict(steps=0), "`steps` must be an integer > 0; received: 0"),
        (dict(factor=1.5), "`factor` must be an integer > 0; received: 1.5"),
        (dict(duration=-1), "`duration` must be an integer > 0; received: -1"),
        (dict(duration=0), "`duration` must be an integer > 0; received: 0"),
    ],
)
def test_wrong_options_of_frames(options, message):
    with pytest.raises(ValueError, match=message):
        event_frames(make_events(), **{"steps": 3, **options})


def test_events_refuse_what_no_camera_sends():
    zero, one = np.zeros(2, int), np.ones(2, int)
    with pytest.raises(ValueError, match="`t` must not fall"):
        Events(np.array([3, 2]), zero, zero, zero, 2, 2)
    with pytest.raises(ValueError, match=r"equally long; received: \[2, 2, 1, 2\]"):
        Events(zero, zero, zero[:1], zero, 2, 2)
    with pytest.raises(ValueError, match=r"`p` must be in 0..1 .* received: 2 \(2 of 2 events"):
        Events(zero, zero, zero, 2 * one, 2, 2)
    with pytest.raises(ValueError, match="`x` must be in 0..1 .* received: -1"):
        Events(zero, -one, zero, zero, 2, 2)


def test_between_takes_the_start_and_not_the_end():
    events = make_events(100)
    start, end = int(events.t[20]), int(events.t[60])
    part = events.between(start, end)
    assert len(part) == np.sum((events.t >= start) & (events.t < end))
    assert part.t[0] == 0 and part.t[-1] < end - start
    assert len(events.between(2000, 3000)) == 0


CHANGES = {
    "warp": lambda x, rng: augmentation.warp(x, rng, shift=2, degrees=20.0, shear=0.2),
    "flip": augmentation.flip,
    "cutout": lambda x, rng: augmentation.cutout(x, rng, size=4),
    "drop_events": lambda x, rng: augmentation.drop_events(x, rng, share=0.5),
    "jitter_time": lambda x, rng: augmentation.jitter_time(x, rng, share=0.5),
    "digits": augmentation.digits,
    "objects": augmentation.objects,
    "gestures": augmentation.gestures,
}


@pytest.mark.parametrize("name", CHANGES)
def test_changes_are_pure_functions_of_counts_and_draws(name):
    x = frames_of(samples=16)
    before = x.copy()
    one, same, other = (CHANGES[name](x, np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(x, before)
    np.testing.assert_array_equal(one, same)
    assert one.shape == x.shape and one.dtype.kind in "iu" and one.min() >= 0
    assert not np.array_equal(one, other) and not np.array_equal(one, x)
    empty = np.zeros_like(x)
    np.testing.assert_array_equal(CHANGES[name](empty, np.random.default_rng(1)), empty)


def test_warp_without_bounds_changes_nothing():
    x = frames_of()
    np.testing.assert_array_equal(augmentation.warp(x, np.random.default_rng(0)), x)


def test_shift_moves_whole_recordings_and_brings_nothing_in():
    x = frames_of(samples=30)
    rng = np.random.default_rng(3)
    seen = set()
    for before, after in zip(x, augmentation.warp(x, rng, shift=2), strict=True):
        padded = np.pad(before, ((0, 0), (2, 2), (2, 2), (0, 0)))
        found = [
            (down, right)
            for down in range(-2, 3)
            for right in range(-2, 3)
            if np.array_equal(after, padded[:, 2 - down : 14 - down, 2 - right : 12 - right])
        ]
        assert len(found) == 1
        seen |= set(found)
    assert len(seen) > 10


def test_a_turn_keeps_the_distance_from_the_centre_and_shear_the_row():
    x = np.zeros((20, 1, 41, 41, 2), "uint8")
    x[:, 0, 20, 36, 1] = 3  # 16 pixels right of the centre
    turned = augmentation.warp(x, np.random.default_rng(0), degrees=30.0)
    _, _, row, column, _ = np.nonzero(turned)
    assert len(set(row)) > 5
    np.testing.assert_allclose(np.hypot(row - 20, column - 20), 16, atol=1.0)
    assert np.all(np.abs(np.rad2deg(np.arctan2(row - 20, column - 20))) < 33)
    x = np.zeros_like(x)
    x[:, 0, 4, 20, 1] = 3  # 16 pixels above
    _, _, row, column, _ = np.nonzero(augmentation.warp(x, np.random.default_rng(0), shear=0.5))
    assert set(row) == {4} and len(set(column)) > 5 and np.all(np.abs(column - 20) <= 8)


def test_flip_mirrors_columns():
    x = frames_of(samples=40)
    result = augmentation.flip(x, np.random.default_rng(0))
    mirrored = [np.array_equal(a, b[:, :, ::-1]) for a, b in zip(result, x, strict=True)]
    kept = [np.array_equal(a, b) for a, b in zip(result, x, strict=True)]
    assert all(a != b for a, b in zip(mirrored, kept, strict=True)) and 10 < sum(mirrored) < 30


def test_cutout_empties_one_square():
    x = np.ones((50, 2, 12, 10, 2), "uint8")
    result = augmentation.cutout(x, np.random.default_rng(0), size=4)
    for sample in result:
        _, row, column, _ = np.nonzero(sample == 0)
        height, width = np.ptp(row) + 1, np.ptp(column) + 1
        assert height <= 4 and width <= 4 and len(row) == 2 * 2 * height * width


def test_lost_events_and_moved_events():
    x = frames_of(samples=40, steps=6)
    kept = augmentation.drop_events(x, np.random.default_rng(0), share=0.5)
    assert np.all(kept <= x)
    lost = 1 - kept.sum(axis=(1, 2, 3, 4)) / x.sum(axis=(1, 2, 3, 4))
    assert 0 <= lost.min() < 0.1 and 0.4 < lost.max() < 0.6  # each sample has its own share
    moved = augmentation.jitter_time(x, np.random.default_rng(0), share=0.5)
    np.testing.assert_array_equal(moved.sum(axis=1), x.sum(axis=1))  # nothing lost, no pixel left
    one = np.zeros((1, 5, 1, 1, 2), "uint8")
    one[0, 2] = 200
    spread = augmentation.jitter_time(one, np.random.default_rng(0), share=0.4)[0, :, 0, 0, 0]
    assert spread[0] == spread[4] == 0
    np.testing.assert_allclose(spread[1:4], [40, 120, 40], atol=25)


def augmented(n=12, augment=augmentation.digits):
    return Split(frames_of(samples=n), np.arange(n), augment=augment)


def test_augmented_batches_depend_on_seed_epoch_and_index_alone():
    def drawn(seed, epoch):
        batches = EpochBatches(augmented(), batch_size=4, seed=seed)
        batches.set_epoch(epoch)
        return [batches[index] for index in (2, 0, 1, 2)]

    (again, first, second, last), other = drawn(1, 5), drawn(1, 5)
    for one, two in zip((again, first, second, last), other, strict=True):
        np.testing.assert_array_equal(one[0], two[0])
        assert one[0].dtype == "float32"
    np.testing.assert_array_equal(again[0], last[0])  # any order of asking
    plain = EpochBatches(augmented(augment=None), batch_size=4, seed=1)
    plain.set_epoch(5)
    for index, batch in enumerate((first, second, last)):
        np.testing.assert_array_equal(batch[1], plain[index][1])
        assert not np.array_equal(batch[0], plain[index][0])


def test_every_seed_epoch_and_batch_has_its_own_draws():
    split = augmented(augment=lambda x, rng: np.full(x.shape, rng.random()))
    draws = {np.float32(np.random.default_rng((seed, epoch)).random())  # those of the order
             for seed in (1, 2) for epoch in range(3)}  # fmt: skip
    for seed in (1, 2):
        batches = EpochBatches(split, batch_size=4, seed=seed)
        for epoch in range(3):
            batches.set_epoch(epoch)
            draws |= {batches[index][0][0, 0, 0, 0, 0] for index in range(3)}
    assert len(draws) == 2 * 3 * (3 + 1)


def test_a_part_of_a_split_keeps_its_augmentation():
    assert augmented().take([0, 1]).augment is augmentation.digits


def test_fit_that_starts_late_sees_the_batches_that_it_would_have_seen():
    def losses(initial_epoch):
        batches = EpochBatches(augmented(), batch_size=4, seed=3)
        weigh = keras.layers.Dense(1, kernel_initializer=keras.initializers.RandomUniform(seed=0))
        model = keras.Sequential([keras.Input((5, 12, 10, 2)), keras.layers.Flatten(), weigh])
        model.compile(keras.optimizers.SGD(0.0), loss="mse")  # so the loss shows the inputs alone
        seen = {}

        class Watch(keras.callbacks.Callback):
            def on_epoch_end(self, epoch, logs=None):
                seen[epoch] = logs["loss"]

        model.fit(batches, epochs=4, initial_epoch=initial_epoch, shuffle=False, verbose=0,
                  callbacks=[SetEpoch(batches), Watch()])  # fmt: skip
        return seen

    whole, late = losses(0), losses(2)
    assert len(set(whole.values())) == 4  # every epoch has other draws
    assert late == {epoch: whole[epoch] for epoch in (2, 3)}
