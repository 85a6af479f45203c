"""The range of counts of every neuron, what activity bits are made of."""

import numpy as np

from hybrid_lmu.accounting.record import Recorder


def count_ranges(model, x, batch_size=32):
    """Simulate every step and return the least and the largest count of each neuron.

    Args:
        model, x, batch_size: see `hybrid_lmu.activity_report`.

    Returns:
        ``{activity: (low, high)}``, arrays of integers [neurons], named and ordered as in
        `activity_report`, over all samples and steps.
    """
    ranges = {}
    for _, items, arrays in Recorder(model).run(x, batch_size):
        for item, recorded in zip(items, arrays, strict=True):
            if item.meeting.role != "activity":
                continue
            counts = np.rint(recorded["counts"]).astype("int64")
            counts = counts.reshape(-1, counts.shape[-1])
            low, high = ranges.get(item.name, (counts[0], counts[0]))
            ranges[item.name] = np.minimum(low, counts.min(0)), np.maximum(high, counts.max(0))
    return ranges
