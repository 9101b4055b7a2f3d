"""Weights that are drawn once, by seed, for all claims that look at them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from initcheck.claims.defects import DEFECTS
from initcheck.claims.laws import EntryLaw, entry_law
from initcheck.errors import InitializerError
from initcheck.initializers import InitializerSpec

if TYPE_CHECKING:
    from initcheck.claims.laboratory import Laboratory


class Target(Protocol):
    """What makes an initializer: an ``InitializerSpec``, or something of the user's own; hashable."""

    @property
    def label(self) -> str:
        """Name it."""
        ...

    def create(self, seed: int | None) -> Any:
        """Make an initializer with a seed."""
        ...


@dataclass(frozen=True)
class Subject:
    """An initializer as the specification speaks of it.

    Attributes:
        slug: its part of the claims' ids: ``he_normal``.
        target: what makes it.
        declared: the law of its entries whatever the shape; None takes it from the target, which is then an
            ``InitializerSpec``.
    """

    slug: str
    target: Target
    declared: EntryLaw | None = None

    @property
    def label(self) -> str:
        """The initializer as text."""
        return self.target.label

    def law(self, shape: tuple[int, ...]) -> EntryLaw:
        """Give the documented law of an entry of a weight of this shape."""
        if self.declared is not None:
            return self.declared
        if not isinstance(self.target, InitializerSpec):
            raise InitializerError(f"{self.label} declares no law. Give one, as its mean and variance.")
        return entry_law(self.target, shape)


@dataclass(frozen=True)
class Draws:
    """Weights of one shape, each from a seed of its own.

    Attributes:
        subject: the initializer.
        shape: of one weight.
        count: how many weights.
        dtype: the dtype asked for.
        defect: name of a defect of :data:`initcheck.claims.defects.DEFECTS` that is applied to what was drawn, for
            negative controls; empty for none.
    """

    subject: Subject
    shape: tuple[int, ...]
    count: int
    dtype: str = "float32"
    defect: str = ""

    @property
    def entries(self) -> int:
        """Entries of all weights together."""
        return self.count * int(np.prod(self.shape))

    @property
    def name(self) -> str:
        """The shape and the dtype, as the name of a claim's member."""
        return f"{self.shape}".replace(" ", "") + ("" if self.dtype == "float32" else f" {self.dtype}")

    def draw(self, laboratory: Laboratory) -> NDArray[Any]:
        """Draw, or recall what was drawn before.

        Args:
            laboratory: the source of the seeds.

        Returns:
            Shape [count, *shape], in the dtype that the initializer returned (bfloat16 as float32, which holds all its
            values).

        Raises:
            InitializerError: what the initializer returned has another shape.
        """
        key = ("draws", self.subject, self.shape, self.count, self.dtype)
        drawn = laboratory.remember(key, lambda: self._draw(laboratory))
        if not self.defect:
            return drawn
        random = np.random.default_rng(laboratory.seed(f"defect/{self}"))
        return DEFECTS[self.defect].apply(drawn.astype(np.float64), self.subject.law(self.shape), random)

    def _draw(self, laboratory: Laboratory) -> NDArray[Any]:
        label = f"draws/{self.subject.slug}/{self.shape}/{self.dtype}"
        drawn = []
        for seed in laboratory.seeds(label, self.count):
            value = self.subject.target.create(seed)(self.shape, dtype=self.dtype)
            array = to_numpy(value)
            if array.shape != self.shape:
                raise InitializerError(
                    f"{self.subject.label} returned the shape {array.shape}. Asked for: {self.shape}. An initializer "
                    "must return what it was asked for."
                )
            drawn.append(array)
        return np.stack(drawn)


def to_numpy(value: Any) -> NDArray[Any]:
    """Bring a backend's tensor into NumPy; bfloat16, which NumPy lacks, as float32."""
    array = np.asarray(value.numpy() if hasattr(value, "numpy") else value)
    return array.astype(np.float32) if array.dtype.name == "bfloat16" else array
