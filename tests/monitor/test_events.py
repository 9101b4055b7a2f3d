"""Event files: their checksums and messages, compared with known ones."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from initcheck.core.errors import OutputError
from initcheck.monitor.events import EventFile, checksum

# From RFC 3720, B.4, and the check value of the polynomial.
KNOWN = [
    (b"123456789", 0xE3069283),
    (bytes(32), 0x8A9136AA),
    (b"\xff" * 32, 0x62A8AB43),
    (bytes(range(32)), 0x46DD794E),
    (bytes(range(31, -1, -1)), 0x113FDB5C),
]


@pytest.mark.parametrize(("message", "expected"), KNOWN)
def test_checksums_are_the_published_ones(message, expected):
    assert checksum(message) == expected


def plain_checksum(message):
    state = 0xFFFFFFFF
    for byte in message:
        state ^= byte
        for _ in range(8):
            state = state >> 1 ^ (0x82F63B78 if state & 1 else 0)
    return state ^ 0xFFFFFFFF


@pytest.mark.parametrize("length", [4, 255, 256, 257, 1000])
def test_checksums_of_any_length_are_those_taken_bit_by_bit(length):
    message = np.random.default_rng(length).integers(0, 256, length).astype(np.uint8).tobytes()
    assert checksum(message) == plain_checksum(message)


def test_a_record_is_the_length_and_the_message_each_with_its_checksum(tmp_path):
    events = EventFile(tmp_path / "logs")
    events.write(300, 1.5, {"a/b": 0.25})
    events.flush()
    held, messages = events.path.read_bytes(), []
    while held:
        (length,) = struct.unpack("<Q", held[:8])
        messages.append(held[12 : 12 + length])
        for part, place in ((held[:8], 8), (messages[-1], 12 + length)):
            (masked,) = struct.unpack("<I", held[place : place + 4])
            turned = (masked - 0xA282EAD8) & 0xFFFFFFFF
            assert (turned >> 17 | turned << 15) & 0xFFFFFFFF == plain_checksum(part)
        held = held[16 + length :]
    time = b"\x09" + struct.pack("<d", 1.5)
    value = b"\x0a\x03a/b" + b"\x15" + struct.pack("<f", 0.25)
    assert messages == [time + b"\x1a\x0dbrain.Event:2", time + b"\x10\xac\x02" + b"\x2a\x0c\x0a\x0a" + value]


@pytest.mark.parametrize(("value", "held"), [(1e39, np.inf), (-1e39, -np.inf), (np.inf, np.inf), (np.nan, np.nan)])
def test_a_signal_that_explodes_is_written(tmp_path, value, held):
    events = EventFile(tmp_path)
    events.write(0, 0.0, {"a": value})
    events.flush()
    np.testing.assert_equal(np.frombuffer(events.path.read_bytes()[-8:-4], "<f4")[0], np.float32(held))


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="choose another log_dir"):
        EventFile(tmp_path / "file" / "logs").write(0, 0.0, {"a": 1.0})
