"""One seed for every weight, derived from the seed of the network and the weight's path.

Keras' initializers repeat themselves: an initializer that holds an integer seed returns the same values
on every call, and kernels of different shapes or classes that were drawn with one seed are proportional
to each other. So each weight gets a seed of its own, which depends on nothing but the network's seed and
the weight's path: it is the same on every platform, in every process and in every version of Python.
"""

from __future__ import annotations

import hashlib
import operator
from collections.abc import Iterable
from typing import Final

from initcheck.core.errors import UsageError

FEWEST_SEEDS: Final = 2
"""Networks are the replicates: an interval needs two of them."""

BATCH_SEED: Final = 0
"""Seed of a batch that is made, whatever the seeds of the weights: so that networks differ in their weights alone."""

LARGEST_SEED = 2**31 - 3
"""The largest derived seed.

Keras' TensorFlow backend reduces a seed modulo int32.max - 1 = 2147483646 before it draws, so that seeds
from there on repeat the values of smaller ones.
"""

_DOMAIN = b"initcheck seed"  # keeps these digests apart from any other use of blake2b on the same text


def derive_seed(seed: int, path: str) -> int:
    """Derive the seed of a weight: a 64-bit BLAKE2b digest of ``"<seed>/<path>"``, from 1 to :data:`LARGEST_SEED`.

    The reduction favours no value by more than one part in 2**33.
    """
    return _reduce(_digest(f"{check_seed(seed)}/{path}", 0))


def derive_seeds(seed: int, paths: Iterable[str]) -> tuple[int, ...]:
    """Derive the seeds of all weights of one network, no two of them equal.

    Each is what :func:`derive_seed` gives, unless an earlier path of the list has that seed already (the chance is
    about 4e-7 for a network of 40 weights): then the later path is derived again with a salt, until its seed is free.
    The result depends on nothing but the arguments.
    """
    seed = check_seed(seed)
    derived: dict[int, None] = {}  # in order of insertion; a membership test costs the same for any length
    for path in paths:
        salt = 0
        candidate = derive_seed(seed, path)
        while candidate in derived:
            salt += 1
            candidate = _reduce(_digest(f"{seed}/{path}", salt))
        derived[candidate] = None
    return tuple(derived)


def check_seed(seed: int) -> int:
    """Return the seed of a network as Python's own int, the only one that Keras takes; refuse all but whole numbers."""
    number = whole_number(seed, 0)
    if number is None:
        raise UsageError(f"A seed must be a whole number of at least 0. Received: seed={seed!r}.")
    return number


def _digest(text: str, salt: int) -> int:
    digest = hashlib.blake2b(
        text.encode(),
        digest_size=8,
        person=_DOMAIN,
        salt=salt.to_bytes(hashlib.blake2b.SALT_SIZE, "little"),
    )
    return int.from_bytes(digest.digest(), "little")


def _reduce(digest: int) -> int:
    return digest % LARGEST_SEED + 1


def whole_number(value: object, least: int) -> int | None:
    """Take a whole number of at least ``least`` as Python's own; None for all else, True and False among it."""
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        return None
    return None if isinstance(value, bool) or number < least else number
