import csv
import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tests.training.events.event_writers as writers
from training.cli import SHARED_DATA
from training.errors import BrokenData, DataNotFound
from training.events import read_aedat2, read_aedat3, read_atis, read_trials

EVENTS = Path(os.environ.get("HYBRID_LMU_DATA", SHARED_DATA)) / "events"
FORMATS = {
    "atis": (writers.atis, lambda path: read_atis(path, 128, 128)),
    "aedat2": (writers.aedat2, read_aedat2),
    "aedat3": (writers.aedat3, read_aedat3),
}
SOME = [
    (10, 0, 127, 1),
    (10, 127, 0, 0),
    (12, 5, 3, 1),
    (20, 64, 9, 0),
    (21, 7, 7, 1),
    (30, 1, 2, 1),
]


def as_rows(events):
    return list(zip(*(getattr(events, name).tolist() for name in "txyp"), strict=True))


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(*(st.integers(0, top) for top in (2**23 - 1, 127, 127, 1))),
        min_size=1,
        max_size=20,
    )
)
def test_what_a_camera_writes_is_read_in_order_of_time(name, events):
    write, read = FORMATS[name]
    with tempfile.TemporaryDirectory() as folder:
        found = read(writers.write(Path(folder) / "file", write(events)))
    first = min(event[0] for event in events) if name == "aedat2" else 0  # times start at 0
    in_order = sorted(events, key=lambda event: event[0])  # stable: equal times stay as they are
    assert as_rows(found) == [(t - first, x, y, p) for t, x, y, p in in_order]
    assert (found.height, found.width) == (128, 128)


def test_atis_bytes(tmp_path):
    content = bytes([3, 33, 0b10000001, 2, 3, 33, 0, 0b01111111, 255, 255])
    events = read_atis(writers.write(tmp_path / "a.bin", content), 34, 34)
    assert as_rows(events) == [(65536 + 512 + 3, 3, 33, 1), (2**23 - 1, 33, 0, 0)]


def test_atis_overflow_of_time_is_no_event_and_moves_all_later_ones(tmp_path):
    events = [(5, 1, 1, 1), (0, 0, 240, 0), (6, 2, 2, 0), (0, 0, 240, 1), (7, 3, 3, 1)]
    found = read_atis(writers.write(tmp_path / "a.bin", writers.atis(events)), 180, 240)
    assert as_rows(found) == [(5, 1, 1, 1), (6 + 8192, 2, 2, 0), (7 + 16384, 3, 3, 1)]


def test_aedat2_addresses(tmp_path):
    # x = 127 - bits 8-14, y = 127 - bits 1-7, ON where bit 0 is 0; bits 15 and 31: no pixel's.
    addresses = [0, 5 * 256 + 3 * 2 + 1, 0x8000, 0x80000000]
    content = b"".join(
        address.to_bytes(4, "big") + (100 + i).to_bytes(4, "big")
        for i, address in enumerate(addresses)
    )
    events = read_aedat2(writers.write(tmp_path / "a.aedat", writers.AEDAT2_TEXT + content))
    assert as_rows(events) == [(0, 127, 127, 1), (1, 122, 124, 0)]


def test_aedat2_time_that_overflows_32_bits_goes_on(tmp_path):
    events = [(2**32 - 3, 1, 1, 1), (2**32 - 1, 2, 2, 0), (2**32 + 4, 3, 3, 1)]
    found = read_aedat2(writers.write(tmp_path / "a.aedat", writers.aedat2(events)))
    assert found.t.tolist() == [0, 2, 7]


def test_aedat3_other_packets_invalid_events_spare_capacity_and_overflow(tmp_path):
    content = writers.AEDAT3_TEXT + b"".join([
        writers.packet([(3, 9, 9, 1)], kind=0),
        writers.packet([(4, 1, 2, 1)], capacity=3),
        writers.packet([(5, 8, 8, 1)], valid=0),
        writers.packet([], kind=2, size=36),
        writers.packet([(1, 3, 4, 0)], overflows=1),
    ])  # fmt: skip
    events = read_aedat3(writers.write(tmp_path / "a.aedat", content))
    assert as_rows(events) == [(4, 1, 2, 1), (2**31 + 1, 3, 4, 0)]


@pytest.mark.parametrize("name", FORMATS)
def test_truncated_files(tmp_path, name):
    write, read = FORMATS[name]
    content = write(SOME)
    step = {"atis": 5, "aedat2": 8, "aedat3": 8}[name]
    for cut in range(1, step):  # inside the last event
        path = writers.write(tmp_path / "cut", content[:-cut])
        with pytest.raises(BrokenData, match=r"(?s)cut .*\(truncated\?\)"):
            read(path)


@pytest.mark.parametrize("text, read", [(writers.AEDAT2_TEXT, read_aedat2),
                                        (writers.AEDAT3_TEXT, read_aedat3)])  # fmt: skip
def test_truncated_text_and_packet_head(tmp_path, text, read):
    with pytest.raises(BrokenData, match=r"ends within its lines of text \(truncated\?\)"):
        read(writers.write(tmp_path / "a", text[:-1]))
    if read is read_aedat3:
        whole = writers.aedat3(SOME)
        for cut in (len(text) + 1, len(text) + 27):
            with pytest.raises(BrokenData, match=r"within the header of a packet \(truncated\?\)"):
                read(writers.write(tmp_path / "a", whole[:cut]))


@pytest.mark.parametrize("name", FORMATS)
def test_recordings_without_events(tmp_path, name):
    write, read = FORMATS[name]
    with pytest.raises(BrokenData, match="empty must hold at least 1 event; received: 0"):
        read(writers.write(tmp_path / "empty", write([])))


def test_coordinates_out_of_range(tmp_path):
    path = writers.write(tmp_path / "a.bin", writers.atis([(1, 3, 3, 1), (2, 34, 3, 1)]))
    message = r"a.bin: `x` must be in 0..33 \(sensor of 34 x 34 .*received: 34 \(1 of 2 events"
    with pytest.raises(BrokenData, match=message):
        read_atis(path, 34, 34)
    with pytest.raises(BrokenData, match="`y` must be in 0..2 .*received: 3"):
        read_atis(path, 3, 35)
    writers.write(path, writers.AEDAT3_TEXT + writers.packet([(1, 4, 128, 1)]))
    with pytest.raises(BrokenData, match="`y` must be in 0..127 .*received: 128"):
        read_aedat3(path)
    record = (0x12345).to_bytes(4, "big") + bytes(4)
    writers.write(path, writers.AEDAT2_TEXT + record)
    with pytest.raises(BrokenData, match="addresses of 15 bits .*received: 0x12345"):
        read_aedat2(path)


def test_files_of_another_format(tmp_path):
    path = writers.write(tmp_path / "a.aedat", writers.aedat3(SOME))
    with pytest.raises(BrokenData, match="must begin with '#!AER-DAT2'; received: b'#!AER-DAT3'"):
        read_aedat2(path)
    writers.write(path, writers.aedat2(SOME))
    with pytest.raises(BrokenData, match="must begin with '#!AER-DAT3.1'; received: b'#!AER-DAT2"):
        read_aedat3(path)
    with pytest.raises(DataNotFound, match="no such file: .*none.bin"):
        read_atis(tmp_path / "none.bin", 34, 34)


@pytest.mark.parametrize(
    "packet, message",
    [
        (writers.packet(SOME, capacity=2), "a packet of 6 events, capacity 2, 8 bytes each"),
        (writers.packet(SOME, overflows=-1), "-1 overflows of time at byte "),
        (writers.packet([], size=0), "capacity 0, 0 bytes each"),
        (writers.packet([], size=16), "must have 8 bytes a polarity event; received: 16"),
    ],
)
def test_packets_that_cannot_be(tmp_path, packet, message):
    with pytest.raises(BrokenData, match=message):
        read_aedat3(writers.write(tmp_path / "a.aedat", writers.AEDAT3_TEXT + packet))


def test_trials(tmp_path):
    path = writers.write(tmp_path / "l.csv", writers.trials([(1, 100, 200), (11, 300, 450)]))
    assert read_trials(path, 11) == [(0, 100, 200), (10, 300, 450)]
    for row in ((0, 1, 2), (12, 1, 2), (3, 9, 9), (3, 5), ("x", 1, 2)):
        writers.write(path, writers.trials([(1, 100, 200), row]))
        with pytest.raises(BrokenData, match=r"class \(1 to 11\), start < end .*received: '"):
            read_trials(path, 11)
    with pytest.raises(BrokenData, match="at least 1 trial; received: 0"):
        read_trials(writers.write(path, writers.trials([])), 11)


@pytest.mark.skipif(not (EVENTS / "single_samples").is_dir(), reason="no single event samples")
def test_the_genuine_nmnist_sample():
    events = read_atis(EVENTS / "single_samples" / "sample_nmnist.bin", 34, 34)
    assert len(events) == 4325 and 300_000 < events.t[-1] < 320_000
    with pytest.raises(BrokenData, match="`x` must be in 0..31"):
        read_atis(EVENTS / "single_samples" / "sample_nmnist.bin", 34, 32)


@pytest.mark.parametrize("folder, pixels, count", [("nmnist_small", 34, 1100),
                                                   ("dvs_gesture_10", 128, 10)])  # fmt: skip
def test_genuine_recordings_have_the_events_that_their_list_says(folder, pixels, count):
    folder = EVENTS / folder
    if not folder.is_dir():
        pytest.skip(f"no {folder.name}")
    with open(folder / "labels.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == count
    for row in rows:
        events = read_atis(folder / row["file"], pixels, pixels)
        assert len(events) == int(row["events"])
        assert np.all(np.diff(events.t) >= 0) and 0.2 < events.p.mean() < 0.8
