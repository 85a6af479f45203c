"""Event files as cameras write them, one event after another: (t, x, y, p) to bytes."""

import struct

AEDAT2_TEXT = b"#!AER-DAT2.0\r\n# This is a raw AE data file - do not edit\r\n"
AEDAT3_TEXT = b"#!AER-DAT3.1\r\n#Format: RAW\r\n#Source 1: DVS128\r\n#!END-HEADER\r\n"


def atis(events):
    return b"".join(bytes([x, y]) + (p * 2**23 + t).to_bytes(3, "big") for t, x, y, p in events)


def aedat2(events):
    """Pictures on their side, seen by a DVS128 that counts from the right and from the bottom."""
    records = [struct.pack(">II", (127 - x) * 256 + (127 - y) * 2 + 1 - p, t % 2**32)
               for t, x, y, p in events]  # fmt: skip
    return AEDAT2_TEXT + b"".join(records)


def packet(events, kind=1, overflows=0, capacity=None, valid=1, size=8):
    capacity = len(events) if capacity is None else capacity
    head = struct.pack(
        "<hhiiiiii", kind, 1, size, 4, overflows, capacity, len(events), len(events) * valid
    )
    body = b"".join(
        struct.pack("<II", x * 2**17 + y * 4 + p * 2 + valid, t) for t, x, y, p in events
    )
    return head + body + bytes(max(capacity - len(events), 0) * size)


def aedat3(events):
    return AEDAT3_TEXT + b"".join(packet(events[i : i + 5]) for i in range(0, len(events), 5))


def trials(rows):
    lines = ["class,startTime_usec,endTime_usec", *(",".join(map(str, row)) for row in rows)]
    return "\n".join(lines) + "\n"


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content) if isinstance(content, bytes) else path.write_text(content)
    return path
