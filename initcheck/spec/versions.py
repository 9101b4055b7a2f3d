"""For which versions of Keras, and on which backends, something is expected; versions are ordered as in PEP 440."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

from packaging.version import InvalidVersion, Version

from initcheck.backend.runtime import BACKENDS, keras_version

_NIGHTLY: Final = re.compile(r"(\d+\.\d+)\.\d+\.dev(\d{4})(\d{2})(\d{2})\d*")


@dataclass(frozen=True)
class KerasVersions:
    """All versions from one on, before another, or both. What is not yet released begins with a nightly version."""

    since: str = ""
    """The first of them; empty for the oldest that there is."""
    until: str = ""
    """The first that is none of them any more; empty for none."""

    def __contains__(self, version: str) -> bool:
        return (not self.since or order(version) >= order(self.since)) and (
            not self.until or order(version) < order(self.until)
        )

    def __str__(self) -> str:
        """Say which: "3.15 and newer"."""
        since, until = format_version(self.since), format_version(self.until)
        if since and until:
            return f"{since} and newer, before {until}"
        return f"{since} and newer" if since else f"before {until}" if until else "all versions"


EVERY: Final = KerasVersions()

INITIALIZER_AXES: Final = KerasVersions(since="3.15")
"""Scaling initializers take the axes of their fans. EinsumDense, and with it attention, hands them its own."""
BEFORE_AXES: Final = KerasVersions(until=INITIALIZER_AXES.since)
"""They go by the shape alone."""


def describe_setup(keras: KerasVersions, backends: Sequence[str]) -> str:
    """Say for whom something is expected: "Keras 3.15 and newer on PyTorch"; empty for everybody."""
    words = ["Keras"] if backends or keras != EVERY else []
    words += [str(keras)] if keras != EVERY else []
    words += [f"on {' and '.join(BACKENDS[each] for each in backends)}"] if backends else []
    return " ".join(words)


@cache
def order(version: str) -> Version:
    """Give what versions are ordered by; what is no version is newer than all."""
    try:
        return Version(version)
    except InvalidVersion:
        return Version("9999")


def format_version(version: str) -> str:
    """Write a version for readers, a nightly one with its day: "3.16 (nightly of 2026-10-07)"."""
    nightly = _NIGHTLY.fullmatch(version)
    return version if nightly is None else f"{nightly[1]} (nightly of {nightly[2]}-{nightly[3]}-{nightly[4]})"


def installed_keras() -> str:
    """Give the version of the installed Keras, which is not imported for it."""
    return keras_version()


def initializers_take_axes() -> bool:
    """Find whether the installed Keras' scaling initializers take the axes of their fans."""
    return installed_keras() in INITIALIZER_AXES
