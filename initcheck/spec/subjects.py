"""The initializers that claims are about: what Keras documents of their entries, and weights drawn from them.

For negative controls the weights get a defect, which must turn the claims red that it breaks.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import signal, special, stats

from initcheck.backend.interface import backend
from initcheck.backend.runtime import import_keras
from initcheck.core.errors import InitializerError, UsageError, name_unknown
from initcheck.models.initializers import INITIALIZERS, InitializerSpec
from initcheck.spec.claim import RunContext
from initcheck.theory.weights import weight_distribution


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
    """An initializer that claims are about."""

    slug: str
    target: InitializerSource
    declared: EntryDistribution | None = None
    """Of its entries whatever the shape; None takes it from the target, which is then an ``InitializerSpec``."""

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

MODES_AND_DISTRIBUTIONS: Final = tuple(
    itertools.product(("fan_in", "fan_out", "fan_avg"), ("truncated_normal", "untruncated_normal", "uniform"))
)
"""All of VarianceScaling's."""

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
        for mode, distribution in MODES_AND_DISTRIBUTIONS
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

INDEPENDENT: Final = (*FIXED_SCALE, *VARIANCE_SCALING, *FAMILY)
"""All whose entries are independent draws from one distribution; classes come before those that draw by them."""

ORTHOGONAL: Final = (_subject("orthogonal", "Orthogonal"), _subject("orthogonal_with_gain", "Orthogonal", gain=1.5))

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


# --- what is documented of an entry -----------------------------------------------------------------------------------

Kind = Literal["normal", "truncated_normal", "uniform"]

KINDS: Final[tuple[Kind, ...]] = ("normal", "truncated_normal", "uniform")
EPSILON: Final = {"float64": 2.0**-52, "float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}
"""The distance from one to the next number, by dtype."""
CUT: Final = 2.0
"""Keras redraws a truncated normal's values beyond two standard deviations of the normal."""


_SCALE: Final = 1.0 / float(stats.truncnorm(-CUT, CUT).std())
"""Standard deviation of the normal that is cut, over that of what is left."""


@cache
def _standard(kind: Kind) -> Any:
    """Give the frozen distribution of (w - mean) / sd."""
    if kind == "normal":
        return stats.norm()
    if kind == "uniform":
        return stats.uniform(-math.sqrt(3.0), 2.0 * math.sqrt(3.0))
    if kind == "truncated_normal":
        return stats.truncnorm(-CUT, CUT, scale=_SCALE)
    raise name_unknown("distribution", kind, KINDS)


@dataclass(frozen=True)
class EntryDistribution:
    """The distribution of one entry."""

    kind: Kind
    mean: float
    standard_deviation: float

    @property
    def support(self) -> tuple[float, float]:
        """The smallest and the largest value possible; infinite for the normal."""
        low, high = _standard(self.kind).support()
        return self.mean + self.standard_deviation * float(low), self.mean + self.standard_deviation * float(high)

    def moment(self, order: int) -> float:
        """Give E((w - mean) / sd)^order."""
        return _moment(self.kind, order)

    def largest(self, probability: float, count: int) -> float:
        """Give the value that the largest of so many entries stays below with a probability, in standard deviations."""
        # F(x)^count = probability; the survival function keeps the digits that F close to 1 has not.
        return float(_standard(self.kind).isf(-math.expm1(math.log(probability) / count)))

    def standardize(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """Give (w - mean) / sd in float64."""
        return (np.asarray(values, dtype=np.float64) - self.mean) / self.standard_deviation

    def cdf(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """Give P(W <= w) for each value."""
        x = self.standardize(values)
        if self.kind == "uniform":
            return np.clip(0.5 + x / (2.0 * math.sqrt(3.0)), 0.0, 1.0)
        found: NDArray[np.float64]
        if self.kind == "normal":
            found = special.ndtr(x)
            return found
        # As scipy's truncnorm, and many times as fast.
        below = float(special.ndtr(-CUT))
        found = special.ndtr(np.clip(x / _SCALE, -CUT, CUT)) - below
        return found / (1.0 - 2.0 * below)


@cache
def _moment(kind: Kind, order: int) -> float:
    return float(_standard(kind).moment(order))


def entry_distribution(spec: InitializerSpec, shape: tuple[int, ...]) -> EntryDistribution:
    """Look up what Keras documents of the entries of a weight; fans as in ``weight_distribution``."""
    # A mean other than zero, which mean-field theory refuses, is taken from the arguments.
    arguments = dict(spec.arguments)
    mean = 0.0
    if spec.class_name == "RandomUniform":
        low, high = float(arguments.get("minval", -0.05)), float(arguments.get("maxval", 0.05))
        mean, half = (low + high) / 2.0, (high - low) / 2.0
        arguments |= {"minval": -half, "maxval": half}
    elif spec.class_name in ("RandomNormal", "TruncatedNormal"):
        mean = float(arguments.pop("mean", 0.0))
    weights = weight_distribution(InitializerSpec(spec.class_name, tuple(arguments.items())), shape)
    if weights.distribution == "orthogonal":
        raise UsageError(f"The entries of an orthogonal matrix have no distribution of their own: {spec.label}.")
    return EntryDistribution(weights.distribution, mean, math.sqrt(weights.variance))


def documented_values(spec: InitializerSpec, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Make the values that Keras documents, in float64 and without Keras.

    Returns:
        The values. For STFT, with frame length T and F = 2 (bins - 1) frequencies: window[t] / scaling times
        cos(2 pi t f / F) on the real side, -sin on the imaginary one; scaling is the window's L2 norm ("density")
        or its L1 norm ("spectrum").
    """
    arguments: dict[str, Any] = dict(spec.arguments)
    if spec.class_name == "Zeros":
        return np.zeros(shape)
    if spec.class_name == "Ones":
        return np.ones(shape)
    if spec.class_name == "Constant":
        return np.full(shape, float(arguments.get("value", 0.0)))
    if spec.class_name == "Identity":
        return float(arguments.get("gain", 1.0)) * np.eye(shape[0], shape[1])
    frame, _, bins = shape
    window, scaling = arguments.get("window", "hann"), arguments.get("scaling", "density")
    weights = np.ones(frame)
    norm = 1.0
    if window is not None:
        weights = signal.get_window(window, frame, fftbins=bool(arguments.get("periodic", False)))
        norms = {"density": np.sqrt(np.sum(weights**2)), "spectrum": np.sum(np.abs(weights)), None: 1.0}
        norm = float(norms[scaling])
    angle = 2.0 * np.pi * np.outer(np.arange(frame), np.arange(bins)) / (2 * (bins - 1))
    wave = np.cos(angle) if arguments.get("side", "real") == "real" else -np.sin(angle)
    found: NDArray[np.float64] = (weights[:, None] * wave / norm)[:, None, :]
    return found


# --- weights drawn ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Draws:
    """Weights of one shape, each from a seed of its own, with one of :data:`DEFECTS` for negative controls."""

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
        """Draw, or recall what was drawn before; shape [count, *shape], in the dtype returned (:func:`to_numpy`)."""
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
            with precision(self.dtype):
                value = self.subject.target.create(seed)(self.shape, dtype=self.dtype)
            array = to_numpy(value)
            if array.shape != self.shape:
                raise InitializerError(
                    f"{self.subject.label} returned the shape {array.shape}. Asked for: {self.shape}. An initializer "
                    "must return what it was asked for."
                )
            drawn.append(array)
        return np.stack(drawn)


@contextmanager
def precision(dtype: str | None) -> Iterator[None]:
    """Let the backend compute in float64 where that is the dtype: on JAX it is off unless it is turned on."""
    if dtype != "float64":
        yield
        return
    with backend().double_precision():
        yield


def to_numpy(value: Any) -> NDArray[Any]:
    """Bring a backend's tensor into NumPy; bfloat16, which NumPy lacks, as float32."""
    if hasattr(value, "detach"):  # of PyTorch, whose own way to NumPy knows neither bfloat16 nor what has derivatives
        value = import_keras().ops.convert_to_numpy(value)
    array = np.asarray(value.numpy() if hasattr(value, "numpy") else value)
    return array.astype(np.float32) if array.dtype.name == "bfloat16" else array


# --- defects of drawn weights -----------------------------------------------------------------------------------------

Weights = NDArray[Any]
"""Shape [draws, *shape of the weight]."""


Change = Callable[[Weights, EntryDistribution, np.random.Generator], Weights]
"""From weights, the documented distribution of an entry, and a source of chance to defective weights."""


@dataclass(frozen=True)
class Defect:
    """A change of drawn weights, and what it does in words."""

    note: str
    apply: Change


def _scale(factor: float) -> Change:
    return lambda weights, entry, _: entry.mean + (weights - entry.mean) * factor


def _shift(share: float) -> Change:
    return lambda weights, entry, _: weights + share * entry.standard_deviation


def _keep_half(weights: Weights, entry: EntryDistribution, random: np.random.Generator) -> Weights:
    kept = random.random(weights.shape) < 0.5
    return entry.mean + (weights - entry.mean) * kept * math.sqrt(2.0)


def _redraw(weights: Weights, entry: EntryDistribution, random: np.random.Generator) -> Weights:
    if entry.kind == "normal":
        return entry.mean + entry.standard_deviation * random.uniform(-math.sqrt(3.0), math.sqrt(3.0), weights.shape)
    return entry.mean + entry.standard_deviation * random.standard_normal(weights.shape)


def _stretch(weights: Weights, entry: EntryDistribution, random: np.random.Generator) -> Weights:
    """Put one entry in a thousand beyond the support, or for the normal, cut all at three standard deviations."""
    if entry.kind == "normal":
        reach = 3.0 * entry.standard_deviation
        return np.clip(weights, entry.mean - reach, entry.mean + reach)
    return np.where(random.random(weights.shape) < 1e-3, entry.mean + 1.5 * (entry.support[1] - entry.mean), weights)


def _repeat_rows(weights: Weights, _: EntryDistribution, __: np.random.Generator) -> Weights:
    flat = weights.reshape(len(weights), -1, weights.shape[-1]).copy()
    flat[:, 1::7] = flat[:, :-1:7][:, : flat[:, 1::7].shape[1]]
    return flat.reshape(weights.shape)


def _repeat_columns(weights: Weights, _: EntryDistribution, __: np.random.Generator) -> Weights:
    copy = weights.copy()
    copy[..., 1::7] = copy[..., :-1:7][..., : copy[..., 1::7].shape[-1]]
    return copy


def _repeat_draws(weights: Weights, _: EntryDistribution, __: np.random.Generator) -> Weights:
    copy = weights.copy()
    copy[1] = copy[0]
    return copy


def _smooth(weights: Weights, entry: EntryDistribution, _: np.random.Generator) -> Weights:
    """Give neighbours a correlation of .05."""
    flat = (weights.reshape(len(weights), -1) - entry.mean).copy()
    flat[:, 1:] = 0.05 * flat[:, :-1] + math.sqrt(1.0 - 0.05**2) * flat[:, 1:]
    return entry.mean + flat.reshape(weights.shape)


DEFECTS: Final = {
    "variance": Defect("a variance 5% too large", _scale(math.sqrt(1.05))),
    "mean": Defect("a mean off by .05 standard deviations", _shift(0.05)),
    "positive": Defect(
        "values below the mean mirrored above it", lambda w, entry, _: entry.mean + np.abs(w - entry.mean)
    ),
    "half": Defect("half the weights at the mean, with the variance kept", _keep_half),
    "distribution": Defect("another distribution of the same mean and variance", _redraw),
    "support": Defect("values beyond the support, or tails cut off", _stretch),
    "rows": Defect("every seventh row a copy of the one before", _repeat_rows),
    "columns": Defect("every seventh column a copy of the one before", _repeat_columns),
    "draws": Defect("the second seed gives the values of the first", _repeat_draws),
    "order": Defect("a correlation of .05 between neighbours", _smooth),
    "clipped": Defect("values beyond the support moved to its end", lambda w, entry, _: np.clip(w, *entry.support)),
    "float16": Defect("values rounded through float16", lambda w, _, __: w.astype(np.float16).astype(np.float64)),
}
"""The defects by name."""
