"""Events to frames: how many events each pixel had in each time step."""

from collections.abc import Iterable

import numpy as np

from training.events.base import Events

RULES = ("time", "number")


def event_frames(
    events: Events, steps: int, by: str = "time", duration: int | None = None, factor: int = 1
) -> np.ndarray:
    """Counts [steps, rows, columns, 2] (OFF, ON) of the smallest unsigned integers that hold them.

    ``by="time"``: steps of equal time, over [0, duration) microseconds (later events are left
    out), or without `duration` from the first event to the last. ``by="number"``: steps of equally
    many events, to one. `factor` x `factor` pixels are added up to one, so rows =
    ceil(height / factor). No events give zeros. ValueError: an unknown rule, `duration` with
    ``by="number"``, numbers that are no integers > 0.

    >>> import numpy as np
    >>> events = Events(np.array([0, 5, 9]), np.array([0, 0, 1]), np.zeros(3, int), np.ones(3, int),
    ...                 height=1, width=2)
    >>> event_frames(events, steps=2)[..., 1].tolist()
    [[[1, 0]], [[1, 1]]]
    >>> event_frames(events, steps=2, by="number")[..., 1].tolist()
    [[[2, 0]], [[0, 1]]]
    """
    _check(steps, by, duration, factor)
    rows, columns = -(-events.height // factor), -(-events.width // factor)
    if by == "number":
        step = np.arange(len(events)) * steps // max(len(events), 1)
    else:
        start = 0 if duration or not len(events) else events.t[0]
        length = duration or (int(events.t[-1] - start) + 1 if len(events) else 1)
        step = (events.t - start) * steps // length
    index = ((step * rows + events.y // factor) * columns + events.x // factor) * 2 + events.p
    shape = (steps, rows, columns, 2)
    size = int(np.prod(shape))
    counts = np.bincount(index[(step >= 0) & (step < steps)], minlength=size)
    return counts.reshape(shape).astype(np.min_scalar_type(counts.max()))


def stack_frames(recordings: Iterable[Events], count: int, **options) -> np.ndarray:
    """[count, *frame] of `count` recordings (an iterable), with the options of `event_frames`.

    Recordings are read one at a time; counts stay in 8 bits unless one is above 255.
    """
    x = None
    for row, events in enumerate(recordings):
        frames = event_frames(events, **options)
        if x is None:
            x = np.zeros((count, *frames.shape), frames.dtype)
        x = x.astype(np.promote_types(x.dtype, frames.dtype), copy=False)
        x[row] = frames
    return x


def _check(steps, by, duration, factor):
    if by not in RULES:
        raise ValueError(f"`by` must be one of {', '.join(RULES)}; received: {by!r}")
    if by == "number" and duration is not None:
        raise ValueError(f"`duration` must be None with by='number'; received: {duration!r}")
    numbers = dict(steps=steps, factor=factor)
    if duration is not None:
        numbers["duration"] = duration
    for name, value in numbers.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"`{name}` must be an integer > 0; received: {value!r}")
