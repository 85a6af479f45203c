"""The range of counts of every neuron, what activity bits are made of."""

import numpy as np

from hybrid_lmu.accounting.record import Recorder
from hybrid_lmu.accounting.totals import valid_steps


def count_ranges(model, x, batch_size=32):
    """Simulate every step and return the least and the largest count of each neuron.

    Args:
        model, x, batch_size: see `hybrid_lmu.activity_report`.

    Returns:
        ``{path: (low, high)}``, arrays of integers [neurons], over all samples and steps that are
        not masked; `path` is that of the variable with the activity's resolution. Activities
        without such a variable are not in it.
    """
    ranges = {}
    for _, items, arrays in Recorder(model).run(x, batch_size):
        for item, recorded in zip(items, arrays, strict=True):
            if item.meeting.role != "activity":
                continue
            counts = np.rint(valid_steps(recorded)).astype("int64")
            path = item.meeting.variable
            if path is not None and len(counts):
                low, high = ranges.get(path, (counts[0], counts[0]))
                ranges[path] = np.minimum(low, counts.min(0)), np.maximum(high, counts.max(0))
    return ranges
