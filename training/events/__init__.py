"""Recordings of event cameras: readers of their files, frames of counts, augmentation."""

from training.events.base import Events
from training.events.files import read_aedat2, read_aedat3, read_atis, read_trials
from training.events.frames import event_frames, stack_frames

__all__ = [
    "Events",
    "event_frames",
    "read_aedat2",
    "read_aedat3",
    "read_atis",
    "read_trials",
    "stack_frames",
]
