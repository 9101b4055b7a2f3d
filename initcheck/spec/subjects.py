"""The initializers of Keras that the specification speaks of, each with its place in the documentation."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from initcheck.core.errors import InitializerError
from initcheck.models.initializers import InitializerSpec
from initcheck.spec.decisions import CLAIM_FALSE_ALARM, POWER
from initcheck.spec.defects import DEFECTS
from initcheck.spec.topics.gains import EntryLaw, entry_law

if TYPE_CHECKING:
    from pandas import DataFrame

    from initcheck.spec.claim import Laboratory


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

FIXED_SPREAD: Final = (
    _subject("random_normal", "RandomNormal"),
    _subject("random_normal_with_arguments", "RandomNormal", mean=0.3, stddev=0.2),
    _subject("random_uniform", "RandomUniform"),
    _subject("random_uniform_with_arguments", "RandomUniform", minval=-0.1, maxval=0.3),
    _subject("truncated_normal", "TruncatedNormal"),
    _subject("truncated_normal_with_arguments", "TruncatedNormal", mean=-0.3, stddev=0.2),
)
"""The initializers whose spread the user sets."""

INDEPENDENT: Final = (*FAMILY, *VARIANCE_SCALING, *FIXED_SPREAD)
"""All whose entries are independent draws from one law."""

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

CLASSES: Final = tuple(
    sorted({subject.target.class_name for subject in ALL if isinstance(subject.target, InitializerSpec)})
)
"""The classes of Keras that the specification knows."""


def cite(subject: Subject) -> str:
    """Name the documentation of a subject's class, and the paper behind it."""
    target = subject.target
    name = target.class_name if isinstance(target, InitializerSpec) else target.label
    for start, paper in _PAPERS.items():
        if name.startswith(start):
            return f"Keras, keras.initializers.{name}; {paper}"
    return f"Keras, keras.initializers.{name}"


_PAPERS: Final = {
    "Glorot": "Glorot & Bengio, 2010, AISTATS, eq. 12 and 16",
    "He": "He, Zhang, Ren & Sun, 2015, ICCV, eq. 10",
    "Lecun": "LeCun, Bottou, Orr & Müller, 1998, Efficient BackProp, section 4.6",
    "Orthogonal": "Saxe, McClelland & Ganguli, 2014, ICLR",
}


Moment = Literal["mean", "variance", "tails", "sign"]

_ROUNDING: Final = {"float64": 2.0**-52, "float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}


@dataclass(frozen=True)
class Moments:
    """A moment of the entries over its documented value, with its standard error.

    With x = (w - mean) / sd by the documented law and N entries:

    - ``mean``: the mean of x; standard error 1 / sqrt(N);
    - ``variance``: the mean of x^2; sqrt((E x^4 - 1) / N);
    - ``tails``: the mean of x^4 over E x^4; sqrt((E x^8 / (E x^4)^2 - 1) / N);
    - ``sign``: the share of entries above the mean, minus 1/2; 1 / (2 sqrt(N)).

    Attributes:
        members: the weights.
        moment: which.
    """

    members: tuple[Draws, ...]
    moment: Moment

    def measure(self, laboratory: Laboratory) -> DataFrame:
        """Measure; see :class:`~initcheck.spec.decisions.EstimateWithin` for the columns."""
        import pandas as pd

        rows = []
        for draws in self.members:
            law = draws.subject.law(draws.shape)
            x = law.standardize(draws.draw(laboratory))
            fourth = law.moment(4)
            if self.moment == "mean":
                estimate, term = float(x.mean()), 1.0
            elif self.moment == "variance":
                estimate, term = float(np.mean(x**2)), fourth - 1.0
            elif self.moment == "tails":
                estimate, term = float(np.mean(x**4)) / fourth, law.moment(8) / fourth**2 - 1.0
            else:
                estimate, term = float(np.mean(x > 0.0) + np.mean(x == 0.0) / 2.0) - 0.5, 0.25
            rows.append((draws.name, estimate, math.sqrt(term / x.size), math.inf, x.size))
        return pd.DataFrame(rows, columns=["member", "estimate", "standard_error", "freedom", "count"])


@dataclass(frozen=True)
class Fit:
    """Kolmogorov and Smirnov's test of the entries against the exact distribution function.

    The effect is the largest distance between the empirical and the documented distribution function.

    Attributes:
        members: the weights.
    """

    members: tuple[Draws, ...]

    def measure(self, laboratory: Laboratory) -> DataFrame:
        """Measure; see :class:`~initcheck.spec.decisions.NoDifference` for the columns."""
        import pandas as pd

        rows = []
        for draws in self.members:
            law = draws.subject.law(draws.shape)
            found = stats.kstest(law.cdf(draws.draw(laboratory).ravel()), "uniform", method="asymp")
            distance = detectable_distance(draws.entries, len(self.members))
            rows.append((draws.name, found.pvalue, found.statistic, distance, draws.entries))
        return pd.DataFrame(rows, columns=["member", "p_value", "effect", "detectable", "count"])


def detectable_distance(entries: int, members: int) -> float:
    """Give the distance between distribution functions that Kolmogorov and Smirnov's test surely sees.

    With (D) the critical value sqrt(ln(2 / level) / 2N) of the family's strictest test, and a distance d at some place,
    the empirical distance falls short of d by more than z / (2 sqrt(N)) with probability 1 - power at most.

    Args:
        entries: N.
        members: tests in the family.
    """
    critical = math.sqrt(math.log(2.0 * members / CLAIM_FALSE_ALARM) / 2.0)
    return float(critical + stats.norm.ppf(POWER) / 2.0) / math.sqrt(entries)


@dataclass(frozen=True)
class Extremes:
    """The smallest and the largest entry: none beyond the support, and both as extreme as N entries should be.

    With F the documented distribution function, F(max)^N is uniform on (0, 1), and so is (1 - F(min))^N. Two p-values a
    member, each two-sided: a largest value that is too small is a law with shorter tails, one too large with longer. An
    entry beyond the support by more than the dtype's rounding has p = 0. The effect is the larger of |max| and |min|
    over the bound of the support (over one standard deviation where there is none).

    Attributes:
        members: the weights.
    """

    members: tuple[Draws, ...]

    def measure(self, laboratory: Laboratory) -> DataFrame:
        """Measure; see :class:`~initcheck.spec.decisions.NoDifference` for the columns."""
        import pandas as pd

        rows = []
        for draws in self.members:
            law = draws.subject.law(draws.shape)
            weights = draws.draw(laboratory)
            low, high = law.support
            reach = (high - law.mean) if math.isfinite(high) else law.standard_deviation
            allowed = _ROUNDING.get(draws.dtype, 2.0**-23) * max(abs(low), abs(high), abs(law.mean))
            # Tails that are cut or shrunk by this much are seen: the largest entry, which stays below the first value
            # with the stated power, is then below the second, which is too small at the family's strictest level.
            strictest = CLAIM_FALSE_ALARM / (4.0 * len(self.members))
            detectable = law.largest(POWER, weights.size) - law.largest(strictest, weights.size)
            detectable *= law.standard_deviation / reach
            for side, value in (("smallest", float(weights.min())), ("largest", float(weights.max()))):
                outward = (law.mean - value) if side == "smallest" else (value - law.mean)
                # By symmetry the law of the smallest is that of the largest.
                survival = float(1.0 - law.cdf(np.asarray([law.mean + outward]))[0])
                share = 2.0 * min(
                    math.exp(weights.size * math.log1p(-min(survival, 1.0 - 1e-16))),
                    -math.expm1(weights.size * math.log1p(-min(survival, 1.0 - 1e-16))),
                )
                beyond = math.isfinite(high) and outward > reach + allowed
                if math.isfinite(high) and not beyond:
                    # A value that rounding brought to the very end of the support is no evidence of long tails.
                    share = max(share, 1.0) if survival <= 4.0 * allowed / reach else share
                p_value = 0.0 if beyond else min(share, 1.0)
                rows.append((f"{side} of {draws.name}", p_value, outward / reach, detectable, weights.size))
        return pd.DataFrame(rows, columns=["member", "p_value", "effect", "detectable", "count"])
