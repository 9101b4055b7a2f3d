"""Calling an initializer under verification: in time, checked, and its weights kept for the statistical rules."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import special

from initcheck.claims.laws import EntryLaw
from initcheck.claims.sampling import Draws, Subject, to_numpy
from initcheck.claims.verification_target import Target, TookTooLongError, guarded
from initcheck.keras_runtime import import_keras

if TYPE_CHECKING:
    from initcheck.claims.laboratory import Laboratory

MOST_DRAWS: Final = 2000
_MOST_VECTORS: Final = 128
_MOST_LENGTH: Final = 512
_MOST_ENTRIES: Final = 2**19


@dataclass(frozen=True)
class Answer:
    """What one call returned.

    Attributes:
        values: as NumPy array; None where it cannot be made one of numbers.
        dtype: by name.
        is_tensor: whether it is a tensor of Keras' backend.
        type_name: of what was returned.
        seconds: how long it took.
    """

    values: NDArray[Any] | None
    dtype: str
    is_tensor: bool
    type_name: str
    seconds: float


def ask(target: Target, seed: int, shape: tuple[int, ...], dtype: str, seconds: float) -> Answer:
    """Make an initializer and call it.

    Raises:
        RefusedError: it raised.
        TookTooLongError: it took too long.
    """
    return ask_with(lambda: target.create(seed), shape, dtype, seconds)


def ask_with(make: Callable[[], Any], shape: tuple[int, ...], dtype: str, seconds: float) -> Answer:
    """Make an initializer in some way and call it; see :func:`ask`."""
    keras = import_keras()
    start = time.perf_counter()
    try:
        returned = guarded(lambda: make()(shape, dtype=dtype), seconds)
    except TookTooLongError:
        raise TookTooLongError(f"shape {shape}") from None
    taken = time.perf_counter() - start
    is_tensor = bool(keras.ops.is_tensor(returned))
    values: NDArray[Any] | None = None
    try:
        values = to_numpy(returned)
        if values.dtype.kind not in "fiub":
            values = None
        name = str(keras.backend.standardize_dtype(returned.dtype)) if hasattr(returned, "dtype") else "none"
    except (TypeError, ValueError):
        values, name = None, str(getattr(returned, "dtype", "none"))
    return Answer(values, name, is_tensor, type(returned).__name__, taken)


@dataclass(frozen=True)
class LawByShape(Subject):
    """A subject whose law is known shape by shape.

    Attributes:
        laws: pairs of shape and law.
    """

    laws: tuple[tuple[tuple[int, ...], EntryLaw], ...] = ()

    def law(self, shape: tuple[int, ...]) -> EntryLaw:
        """Give the law of a shape."""
        return dict(self.laws)[shape]


@dataclass(frozen=True)
class Kept(Draws):
    """Weights that were drawn already.

    Attributes:
        part: which part of them is held, in words; parts of one weight are different draws.
        weights: shape [count, ...].
    """

    part: str = "all"
    weights: NDArray[Any] = field(default_factory=lambda: np.zeros(0), compare=False, repr=False)

    @property
    def entries(self) -> int:
        """Entries of all that is held."""
        return int(self.weights.size)

    def draw(self, laboratory: Laboratory) -> NDArray[Any]:  # noqa: ARG002 - drawn already
        """Give what is held."""
        return self.weights


def keep(target: Target, shape: tuple[int, ...], dtype: str, weights: NDArray[Any], law: EntryLaw | None) -> Kept:
    """Hold drawn weights; without a law, as normal scores of their ranks, whose law is known if they are independent.

    Entries that are equal are put in order by chance, so that the scores of a discrete law are normal too.
    """
    if law is None:
        random = np.random.default_rng(0)
        order = np.lexsort((random.random(weights.size), weights.ravel()))
        scores = np.empty(weights.size)
        scores[order] = special.ndtri((np.arange(weights.size) + 0.5) / weights.size)
        weights, law = scores.reshape(weights.shape), EntryLaw("normal", 0.0, 1.0)
    subject = LawByShape("verified", target, None, ((shape, law),))
    return Kept(subject, shape, len(weights), dtype, "", "all", weights)


def cut(kept: Kept, between: str) -> Kept:
    """Leave out what would make the tests of independence slow: of large weights, the middle."""
    weights: NDArray[Any] = kept.weights.reshape(len(kept.weights), -1, kept.shape[-1])
    if between == "order":
        weights = weights[: max(1, _MOST_ENTRIES // weights[0].size)]
    elif between == "draws":
        weights = weights[:_MOST_VECTORS].reshape(min(len(weights), _MOST_VECTORS), -1)
        weights = weights[:, : max(2, 2 * _MOST_ENTRIES // len(weights))]
    else:
        # ``rows`` pairs rows, which are as long as there are columns; ``columns`` the other way round.
        rows, columns = (_MOST_VECTORS, _MOST_LENGTH) if between == "rows" else (_MOST_LENGTH, _MOST_VECTORS)
        weights = weights[:4][:, ends(weights.shape[1], rows)][:, :, ends(weights.shape[2], columns)]
    return Kept(kept.subject, kept.shape, len(weights), kept.dtype, "", between, weights)


def ends(size: int, most: int) -> NDArray[np.int64]:
    """Choose the first and the last of many indices."""
    if size <= most:
        return np.arange(size)
    return np.concatenate([np.arange(most // 2), np.arange(size - most // 2, size)])


def draw_many(
    target: Target, shape: tuple[int, ...], dtype: str, seeds: tuple[int, ...], seconds: float
) -> list[Answer]:
    """Draw from several seeds, until together they took ``seconds``; at least one.

    Raises:
        RefusedError: a call raised.
        TookTooLongError: a call took too long.
    """
    found: list[Answer] = []
    start = time.perf_counter()
    for seed in seeds:
        found.append(ask(target, seed, shape, dtype, seconds))
        if time.perf_counter() - start > seconds:
            break
    return found


def count_of(entries: int, shape: tuple[int, ...]) -> int:
    """Say how many weights of a shape hold that many entries, within limits."""
    return min(MOST_DRAWS, max(4, math.ceil(entries / math.prod(shape))))
