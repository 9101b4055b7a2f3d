"""The initializers of Keras that claims are about, what is documented of each, and weights drawn from them."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from initcheck.core.errors import InitializerError
from initcheck.models.initializers import INITIALIZERS, InitializerSpec
from initcheck.spec.defects import DEFECTS
from initcheck.spec.distributions import EntryDistribution, entry_distribution

if TYPE_CHECKING:
    from initcheck.spec.claim import RunContext


class InitializerSource(Protocol):
    """What makes an initializer: an ``InitializerSpec``, or the user's code; hashable."""

    @property
    def label(self) -> str:
        """Name it."""
        ...

    def create(self, seed: int | None) -> Any:
        """Make an initializer with a seed."""
        ...


@dataclass(frozen=True)
class Subject:
    """An initializer that claims are about.

    Attributes:
        declared: the distribution of its entries whatever the shape; None takes it from the target, which is then an
            ``InitializerSpec``.
    """

    slug: str
    target: InitializerSource
    declared: EntryDistribution | None = None

    @property
    def label(self) -> str:
        """The initializer as text."""
        return self.target.label

    @property
    def spec(self) -> InitializerSpec:
        """The initializer of Keras; an error for the user's own."""
        if not isinstance(self.target, InitializerSpec):
            raise InitializerError(f"{self.label} declares no distribution. Give one, as its mean and variance.")
        return self.target

    def distribution(self, shape: tuple[int, ...]) -> EntryDistribution:
        """Give the documented distribution of an entry of a weight of this shape."""
        return entry_distribution(self.spec, shape) if self.declared is None else self.declared


@dataclass(frozen=True)
class Draws:
    """Weights of one shape, each from a seed of its own.

    Attributes:
        defect: name of a defect of :data:`initcheck.spec.defects.DEFECTS` that is applied to what was drawn, for
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

    def draw(self, context: RunContext) -> NDArray[Any]:
        """Draw, or recall what was drawn before.

        Returns:
            Shape [count, *shape], in the dtype that the initializer returned (bfloat16 as float32, which holds all its
            values).
        """
        key = ("draws", self.subject, self.shape, self.count, self.dtype)
        drawn = context.remember(key, lambda: self._draw(context))
        if not self.defect:
            return drawn
        random = np.random.default_rng(context.seed(f"defect/{self}"))
        return DEFECTS[self.defect].apply(drawn.astype(np.float64), self.subject.distribution(self.shape), random)

    def _draw(self, context: RunContext) -> NDArray[Any]:
        label = f"draws/{self.subject.slug}/{self.shape}/{self.dtype}"
        drawn = []
        for seed in context.seeds(label, self.count):
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


def _subject(slug: str, class_name: str, **arguments: Any) -> Subject:
    return Subject(slug, InitializerSpec(class_name, tuple(arguments.items())))


FAMILY: Final = (
    _subject("glorot_normal", "GlorotNormal"),
    _subject("glorot_uniform", "GlorotUniform"),
    _subject("he_normal", "HeNormal"),
    _subject("he_uniform", "HeUniform"),
    _subject("lecun_normal", "LecunNormal"),
    _subject("lecun_uniform", "LecunUniform"),
)
"""The named initializers that scale with the fans."""

VARIANCE_SCALING: Final = (
    _subject("variance_scaling", "VarianceScaling"),
    *(
        _subject(
            f"variance_scaling_{mode}_{distribution}",
            "VarianceScaling",
            scale=1.7,
            mode=mode,
            distribution=distribution,
        )
        for mode, distribution in itertools.product(
            ("fan_in", "fan_out", "fan_avg"), ("truncated_normal", "untruncated_normal", "uniform")
        )
    ),
)
"""VarianceScaling by default, and in all of its modes and distributions."""

FIXED_SCALE: Final = (
    _subject("random_normal", "RandomNormal"),
    _subject("random_normal_with_arguments", "RandomNormal", mean=0.3, stddev=0.2),
    _subject("random_uniform", "RandomUniform"),
    _subject("random_uniform_with_arguments", "RandomUniform", minval=-0.1, maxval=0.3),
    _subject("truncated_normal", "TruncatedNormal"),
    _subject("truncated_normal_with_arguments", "TruncatedNormal", mean=-0.3, stddev=0.2),
)
"""The initializers whose standard deviation or limits the user sets."""

INDEPENDENT: Final = (*FAMILY, *VARIANCE_SCALING, *FIXED_SCALE)
"""All whose entries are independent draws from one distribution."""

ORTHOGONAL: Final = (
    _subject("orthogonal", "Orthogonal"),
    _subject("orthogonal_with_gain", "Orthogonal", gain=1.5),
)

FIXED_VALUES: Final = (
    _subject("zeros", "Zeros"),
    _subject("ones", "Ones"),
    _subject("constant", "Constant"),
    _subject("constant_with_value", "Constant", value=0.37),
    _subject("identity", "Identity"),
    _subject("identity_with_gain", "Identity", gain=1.7),
    _subject("stft", "STFT"),
    _subject("stft_imaginary_spectrum", "STFT", side="imag", window="hamming", scaling="spectrum", periodic=True),
    _subject("stft_without_window", "STFT", window=None, scaling=None),
)
"""Those that leave nothing to chance."""

ALL: Final = (*INDEPENDENT, *ORTHOGONAL, *FIXED_VALUES)

CLASSES: Final = tuple(sorted({subject.spec.class_name for subject in ALL}))
"""The classes of Keras that the specification knows."""


def cite(subject: Subject) -> str:
    """Name the documentation of a subject's class, and the paper behind it."""
    name = subject.spec.class_name
    known = INITIALIZERS.get(name)
    paper = known.source if known is not None else ""
    return f"Keras, keras.initializers.{name}" + (f"; {paper}" if paper else "")
