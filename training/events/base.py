"""One recording of an event camera."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Events:
    """Events in order of time, each a pixel that became darker or lighter.

    t [N] time in microseconds, never falling; x [N] column from the left; y [N] row from the top;
    p [N] polarity (0 OFF, 1 ON); all integers. `height`, `width`: pixels of the sensor. N may be 0.
    ValueError: arrays of different lengths, falling times, coordinates out of range.

    >>> import numpy as np
    >>> t, x, y, p = np.array([[0, 7], [3, 0], [1, 1], [1, 0]])
    >>> events = Events(t, x, y, p, height=2, width=4)
    >>> len(events.between(5, 9)), events.between(5, 9).t
    (1, array([2]))
    """

    t: np.ndarray
    x: np.ndarray
    y: np.ndarray
    p: np.ndarray
    height: int
    width: int

    def __post_init__(self):
        lengths = [len(getattr(self, name)) for name in "txyp"]
        if len(set(lengths)) > 1:
            raise ValueError(f"`t`, `x`, `y`, `p` must be equally long; received: {lengths}")
        for name, limit in (("x", self.width), ("y", self.height), ("p", 2)):
            values = getattr(self, name)
            outside = values[(values < 0) | (values >= limit)]
            if len(outside):
                raise ValueError(
                    f"`{name}` must be in 0..{limit - 1} (sensor of {self.width} x {self.height} "
                    f"pixels); received: {outside[0]} ({len(outside)} of {len(values)} events are "
                    "outside)"
                )
        if np.any(self.t[1:] < self.t[:-1]):
            raise ValueError("`t` must not fall; received: unsorted times")

    def __len__(self) -> int:
        return len(self.t)

    def between(self, start: int, end: int) -> "Events":
        """The events of start <= t < end, timed from `start`."""
        part = slice(*np.searchsorted(self.t, (start, end)))
        return Events(
            self.t[part] - start, self.x[part], self.y[part], self.p[part], self.height, self.width
        )
