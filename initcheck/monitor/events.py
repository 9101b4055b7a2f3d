"""TensorBoard's event files, written without TensorBoard and without TensorFlow.

Each event is a Protocol Buffers message, of the few fields that are needed here, in a record with two checksums:
https://github.com/tensorflow/tensorboard/blob/master/tensorboard/compat/proto/event.proto.
"""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Mapping
from functools import cache
from itertools import count
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from initcheck.core.errors import OutputError

_VERSION: Final = "brain.Event:2"
_numbers = count()

_VARINT, _DOUBLE, _BYTES, _FLOAT = 0, 1, 2, 5
"""How the value of a field is encoded."""

_POLYNOMIAL: Final = 0x82F63B78
"""That of the checksum CRC-32C (Castagnoli), with the bits reversed."""
_BLOCK: Final = 256


class EventFile:
    """One file of events: all scalars of one step are one event."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # TensorBoard reads all files whose names hold "tfevents", in the order of the names.
        self._path = folder / f"events.out.tfevents.{int(time.time())}.initcheck.{os.getpid()}.{next(_numbers)}"
        self._file: BinaryIO | None = None

    @property
    def path(self) -> Path:
        """Where the events go."""
        return self._path

    def write(self, step: int, wall_time: float, scalars: Mapping[str, float]) -> None:
        """Write the scalars of one step, by tag; ``wall_time`` is in seconds since 1970."""
        with np.errstate(over="ignore"):  # what float32 cannot hold is infinite
            singles = {tag: np.asarray(value).astype("<f4").tobytes() for tag, value in scalars.items()}
        values = [
            _encode(1, _BYTES, _encode(1, _BYTES, tag.encode()) + _encode(2, _FLOAT, single))
            for tag, single in singles.items()
        ]
        time_of = _encode(1, _DOUBLE, struct.pack("<d", wall_time))
        try:
            if self._file is None:
                self._folder.mkdir(parents=True, exist_ok=True)
                self._file = self._path.open("wb")
                self._file.write(_frame(time_of + _encode(3, _BYTES, _VERSION.encode())))
            self._file.write(
                _frame(time_of + _encode(2, _VARINT, _varint(step)) + _encode(5, _BYTES, b"".join(values)))
            )
        except OSError as error:
            raise self._failed(error) from error

    def flush(self) -> None:
        """Let readers see what was written."""
        try:
            if self._file is not None:
                self._file.flush()
        except OSError as error:
            raise self._failed(error) from error

    def _failed(self, error: OSError) -> OutputError:
        reason = error.strerror or error
        return OutputError(f"Cannot write to {str(self._folder)!r}: {reason}. Make room or choose another log_dir.")


def _encode(field: int, kind: int, value: bytes) -> bytes:
    """Encode one field of a message."""
    length = _varint(len(value)) if kind == _BYTES else b""
    return _varint(field << 3 | kind) + length + value


def _varint(number: int) -> bytes:
    """Encode a whole number that is not negative: seven bits a byte, the lowest first."""
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def _frame(message: bytes) -> bytes:
    """Put a message into a record."""
    length = struct.pack("<Q", len(message))
    return length + struct.pack("<I", _mask(checksum(length))) + message + struct.pack("<I", _mask(checksum(message)))


def _mask(found: int) -> int:
    return ((found >> 15 | found << 17) + 0xA282EAD8) & 0xFFFFFFFF


def checksum(message: bytes) -> int:
    """Compute the CRC-32C of a message of at least four bytes.

    It is linear: each byte adds what it would give by itself, with as many zero bytes behind it. So a block of bytes is
    looked up at once, and what came before a block is added to the first four bytes of it.
    """
    values = np.frombuffer(message, dtype=np.uint8)
    blocks = np.zeros((-(-len(values) // _BLOCK), _BLOCK), dtype=np.uint8)
    blocks.reshape(-1)[blocks.size - len(values) :] = values  # zero bytes in front change nothing
    blocks.reshape(-1)[blocks.size - len(values) :][:4] ^= 0xFF
    table = _table()
    state = 0
    for each in np.bitwise_xor.reduce(table[np.arange(_BLOCK), blocks], axis=1).tolist():
        for place in range(4):
            each ^= int(table[place, state >> 8 * place & 0xFF])
        state = each
    return state ^ 0xFFFFFFFF


@cache
def _table() -> NDArray[np.uint32]:
    """Tabulate what a byte adds to the checksum of a block, by its place in the block and its value."""
    row = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        row = np.where(row & 1, row >> 1 ^ np.uint32(_POLYNOMIAL), row >> 1)
    rows = [row]
    for _ in range(_BLOCK - 1):
        rows.append(rows[-1] >> 8 ^ row[rows[-1] & 0xFF])
    return np.stack(rows[::-1])
