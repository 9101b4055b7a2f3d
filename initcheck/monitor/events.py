"""Scalars for TensorBoard, without TensorBoard: a file of events in its own format.

All scalars of one step are one event, written with the time of the step. ``tf.summary.scalar`` needs the package
TensorBoard, and writes an event for each scalar, with the time of writing.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import Any, Final

from initcheck.backend.runtime import import_tensorflow
from initcheck.core.errors import OutputError

_VERSION: Final = "brain.Event:2"
_numbers = count()


class EventFile:
    """One file of TensorBoard events."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # TensorBoard reads all files whose names hold "tfevents", in the order of the names.
        self._path = folder / f"events.out.tfevents.{int(time.time())}.initcheck.{os.getpid()}.{next(_numbers)}"
        self._writer: Any = None

    @property
    def path(self) -> Path:
        """Where the events go."""
        return self._path

    def write(self, step: int, wall_time: float, scalars: Mapping[str, float]) -> None:
        """Write the scalars of one step, by tag; ``wall_time`` is in seconds since 1970."""
        tf = import_tensorflow()
        try:
            if self._writer is None:
                self._folder.mkdir(parents=True, exist_ok=True)
                self._writer = tf.io.TFRecordWriter(str(self._path))
                start = tf.compat.v1.Event(wall_time=wall_time, file_version=_VERSION)
                self._writer.write(start.SerializeToString())
            event = tf.compat.v1.Event(wall_time=wall_time, step=step)
            for tag, value in scalars.items():
                event.summary.value.add(tag=tag, simple_value=value)
            self._writer.write(event.SerializeToString())
        except (OSError, tf.errors.OpError) as error:
            raise self._failed(error) from error

    def flush(self) -> None:
        """Let readers see what was written."""
        if self._writer is None:
            return
        tf = import_tensorflow()
        try:
            self._writer.flush()
        except (OSError, tf.errors.OpError) as error:
            raise self._failed(error) from error

    def _failed(self, error: Exception) -> OutputError:
        reason = " ".join(str(getattr(error, "strerror", None) or error).split())
        return OutputError(f"Cannot write to {str(self._folder)!r}: {reason}. Make room or choose another log_dir.")
