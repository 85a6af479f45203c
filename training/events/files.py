"""Readers of event files: bytes to `Events`, checked.

Every reader raises BrokenData for a file that is truncated, is of another format, holds no event or
an event from outside the sensor. Times that fall are no error: cameras send events of neighbouring
pixels a few microseconds out of order, so events are sorted by time (equal times stay in the
order of the file).
"""

import struct
from pathlib import Path

import numpy as np

from training.errors import BrokenData, DataNotFound
from training.events.base import Events

ATIS_OVERFLOW_ROW, ATIS_OVERFLOW_TIME = 240, 2**13
DVS128 = 128  # pixels a side
PACKET_HEADER = struct.Struct("<hhiiiiii")
POLARITY_EVENT = 1


def read_atis(path: Path, height: int, width: int) -> Events:
    """`.bin` of N-MNIST and N-Caltech101 (`.bs2` elsewhere), written from an ATIS camera.

    5 bytes an event, no header: x, y, then 24 bits big-endian: polarity (1 ON) and 23 bits of time
    in microseconds. An event of row 240 is no pixel's: it adds 2^13 microseconds to later times.

    Source: Orchard et al. 2015, "Converting static image datasets to spiking neuromorphic
    datasets using saccades", and its authors' reader.
    """
    content = _content(path)
    if len(content) % 5:
        raise BrokenData(
            f"{path} must have 5 bytes an event; received: {len(content)} bytes (truncated?)"
        )
    data = np.frombuffer(content, np.uint8).reshape(-1, 5).astype(np.int64)
    t = (data[:, 2] & 127) << 16 | data[:, 3] << 8 | data[:, 4]
    overflow = data[:, 1] == ATIS_OVERFLOW_ROW
    t += ATIS_OVERFLOW_TIME * np.cumsum(overflow)
    pixel = ~overflow
    x, y, p = data[:, 0], data[:, 1], data[:, 2] >> 7
    return _events(path, t[pixel], x[pixel], y[pixel], p[pixel], height, width)


def read_aedat2(path: Path) -> Events:
    """`.aedat` of CIFAR10-DVS: AEDAT 2.0 of a DVS128 camera, 128 x 128 pixels.

    Lines of text that begin with #, then big-endian 32-bit address and 32-bit time in microseconds
    by turns. Address: bit 0 is 0 for ON, bits 1-7 count columns from the right, bits 8-14 rows from
    the bottom; bit 15 or bit 31 marks what is no pixel's (left out). CIFAR10-DVS shows its pictures
    on their side, so rows and columns are exchanged to make them upright. Times start at 0.

    Source: jAER's AEDAT 2.0; the orientation as in the readers of events-tfds and SpikingJelly.
    """
    content = _content(path)
    start = _end_of_text(path, content, b"#!AER-DAT2")
    if (len(content) - start) % 8:
        raise BrokenData(
            f"{path} must have 8 bytes an event after its text; received: "
            f"{len(content) - start} bytes (truncated?)"
        )
    words = np.frombuffer(content, ">u4", offset=start).astype(np.uint32).reshape(-1, 2)
    address, stamp = words[words[:, 0] & 0x80008000 == 0].T
    if np.any(address > 0x7FFF):
        raise BrokenData(
            f"{path} must have addresses of 15 bits (a DVS128 of {DVS128} x {DVS128} pixels); "
            f"received: {address.max():#x}"
        )
    t = (stamp - stamp[:1]).astype(np.int32).astype(np.int64)  # right where 32 bits overflow
    t -= t.min(initial=0)
    from_right, from_bottom = (address >> 1 & 127).astype(int), (address >> 8 & 127).astype(int)
    last = DVS128 - 1
    on = 1 - (address & 1).astype(int)
    return _events(path, t, last - from_bottom, last - from_right, on, DVS128, DVS128)


def read_aedat3(path: Path) -> Events:
    """`.aedat` of DVS128 Gesture: AEDAT 3.1, 128 x 128 pixels; times as in its labels.

    Lines of text that begin with #, then little-endian packets of a 28-byte header (int16 type and
    source; int32 size of an event, offset of its time, overflows of time, capacity, number, valid)
    and `capacity` events. Of packets of type 1 (polarity) each event is 32 bits (bit 0 valid, 1 ON,
    2-16 row, 17-31 column) and 32 bits of time in microseconds, to which each overflow adds 2^31.
    Other packets and events that are not valid are left out.

    Source: iniVation's AEDAT 3.1; Amir et al. 2017 (the data set).
    """
    content = _content(path)
    offset = _end_of_text(path, content, b"#!AER-DAT3.1")
    data, times = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    while offset < len(content):
        start = offset + PACKET_HEADER.size
        if start > len(content):
            raise BrokenData(f"{path} ends within the header of a packet (truncated?)")
        kind, _, size, _, overflows, capacity, number, _ = PACKET_HEADER.unpack_from(
            content, offset
        )
        offset = start + size * capacity
        if size < 1 or overflows < 0 or not 0 <= number <= capacity:
            raise BrokenData(
                f"{path} has a packet of {number} events, capacity {capacity}, {size} bytes each "
                f"and {overflows} overflows of time at byte {start - PACKET_HEADER.size}; expected "
                "0 <= number <= capacity, at least 1 byte and no less than 0 overflows"
            )
        if offset > len(content):
            raise BrokenData(
                f"{path} ends within a packet (truncated?): expected at least {offset} bytes; "
                f"received: {len(content)}"
            )
        if kind == POLARITY_EVENT:
            if size != 8:
                raise BrokenData(f"{path} must have 8 bytes a polarity event; received: {size}")
            words = np.frombuffer(content, "<u4", 2 * number, start).astype(np.int64)
            valid = words[::2] & 1 == 1
            data.append(words[::2][valid])
            times.append(words[1::2][valid] + (overflows << 31))
    data = np.concatenate(data)
    x, y, p = data >> 17, data >> 2 & 0x7FFF, data >> 1 & 1
    return _events(path, np.concatenate(times), x, y, p, DVS128, DVS128)


def read_trials(path: Path, classes: int) -> list[tuple[int, int, int]]:
    """`*_labels.csv` of DVS128 Gesture as (class from 0, start, end) in microseconds.

    One line of heads, then class (from 1), startTime_usec, endTime_usec.
    """
    lines = [
        line for line in _content(path).decode("utf-8", "replace").splitlines() if line.strip()
    ]
    trials = []
    for line in lines[1:]:
        try:
            label, start, end = map(int, line.split(","))
        except ValueError:
            label = start = end = 0
        if not (1 <= label <= classes and start < end):
            raise BrokenData(
                f"{path} must have lines of class (1 to {classes}), start < end in microseconds; "
                f"received: {line!r}"
            )
        trials.append((label - 1, start, end))
    if not trials:
        raise BrokenData(f"{path} must have at least 1 trial; received: 0")
    return trials


def _content(path):
    try:
        return Path(path).read_bytes()
    except FileNotFoundError as error:
        raise DataNotFound(f"no such file: {path}") from error


def _end_of_text(path, content, first):
    """Where the lines that begin with # end; binary data of both versions never begin with it."""
    if not content.startswith(first):
        raise BrokenData(
            f"{path} must begin with {first.decode()!r}; received: {content[: len(first)]!r}"
        )
    offset = 0
    while content[offset : offset + 1] == b"#":
        end = content.find(b"\n", offset)
        if end < 0:
            raise BrokenData(f"{path} ends within its lines of text (truncated?)")
        offset = end + 1
    return offset


def _events(path, t, x, y, p, height, width):
    if not len(t):
        raise BrokenData(f"{path} must hold at least 1 event; received: 0")
    order = np.argsort(t, kind="stable")
    try:
        return Events(t[order], x[order], y[order], p[order], height, width)
    except ValueError as error:
        raise BrokenData(f"{path}: {error}") from error
