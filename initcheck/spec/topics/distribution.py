"""Claims about the values that initializers draw: moments, support, distribution, independence.

Every claim is made of every initializer, on weights of one to five dimensions whose fans differ. Sizes follow from the
margins: with N entries in each of five shapes a true claim fails with probability 1e-6 at most, and one that is off by
its margin passes with probability 1e-3 at most (:func:`~initcheck.spec.decisions.size_of_equivalence`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

import numpy as np

from initcheck.backend.runtime import import_keras
from initcheck.models.initializers import INITIALIZERS, InitializerSpec, installed_initializers
from initcheck.spec import causes, subjects
from initcheck.spec.claim import Claim, Decision, EstimateRow, ExactRow, Experiment, RunContext
from initcheck.spec.decisions import AllWithin, EstimateWithin, NoDifference, size_of_equivalence
from initcheck.spec.subjects import DEFECTS, Draws, Subject, documented_values, precision, to_numpy
from initcheck.spec.topics.entries import Between, Beyond, Extremes, Finite, Fit, Independence, Moment, Moments, Repeats
from initcheck.spec.topics.orthogonality import FourthPowers, Haar, Orthonormality

SHAPES: Final = ((1500,), (200, 350), (3, 100, 60), (3, 3, 32, 56), (2, 2, 3, 24, 60))
"""One to five dimensions; in all but the first fan_in and fan_out differ."""

MARGIN: Final = 0.03
"""Of a mean in standard deviations, and of a variance relative to its documented value."""

ENTRIES: Final = size_of_equivalence(2.0, MARGIN, len(SHAPES))
"""Entries of each shape: what the variance of a normal distribution needs, the widest of the distributions (K = 2)."""

_MOMENTS: Final[dict[Moment, tuple[str, str, float]]] = {
    # moment: (statement, quantity, margin)
    "mean": ("The mean of {0}'s entries is {1}.", "mean, in standard deviations", MARGIN),
    "variance": ("The variance of {0}'s entries is {2}.", "variance over its documented value", MARGIN),
    "tails": ("The tails of {0}'s entries are those of {3}.", "kurtosis over its documented value", 0.1),
    "sign": ("{0} draws as many entries above its mean as below.", "share above the mean, minus 1/2", 0.015),
}

_VARIANCES: Final = {
    "RandomNormal": "stddev squared",
    "RandomUniform": "(maxval - minval) squared over 12",
    "TruncatedNormal": ".774 stddev squared, since what lies beyond two stddev is redrawn",
    "GlorotNormal": "2 / (fan_in + fan_out)",
    "GlorotUniform": "2 / (fan_in + fan_out)",
    "fan_in": "{scale:g} / fan_in",
    "fan_out": "{scale:g} / fan_out",
    "fan_avg": "2 · {scale:g} / (fan_in + fan_out)",
}
"""In words, by class, or by mode of those that scale with the fans."""


def members(subject: Subject, defect: str = "") -> tuple[Draws, ...]:
    """List the weights that claims about one initializer look at; one of them has the defect."""
    counts = (max(4, math.ceil(ENTRIES / math.prod(shape))) for shape in SHAPES)
    return _spoil_one([Draws(subject, shape, count) for shape, count in zip(SHAPES, counts, strict=True)], defect)


_SPOILED: Final = 2
"""The place of the member that has a control's defect, of three dimensions: the others are as they are drawn."""


def _spoil_one(drawn: list[Draws], defect: str) -> tuple[Draws, ...]:
    return tuple(replace(each, defect=defect if place == _SPOILED else "") for place, each in enumerate(drawn))


def claims() -> Iterator[Claim]:
    """List the claims."""
    for subject in subjects.INDEPENDENT:
        yield from _independent(subject)
    for subject in subjects.ORTHOGONAL:
        yield from _orthogonal(subject)
    for subject in subjects.FIXED_VALUES:
        yield _fixed(subject)
    yield from _constant_precision()
    yield from _identity_ranks()
    yield from _truncated_deviation()
    yield _uniform_end()
    yield _constant_array()
    yield _complete()


def _describe(subject: Subject) -> tuple[str, str, str, str]:
    """Name the initializer, and say its mean, its variance and its distribution in words."""
    target, entry = subject.spec, subject.distribution((3, 5))
    kinds = {
        "normal": "a normal distribution",
        "uniform": "a uniform distribution",
        "truncated_normal": "a normal distribution truncated at two standard deviations",
    }
    known = INITIALIZERS[target.class_name]
    settings = {**known.arguments, **known.fixed, **dict(target.arguments)}
    words = _VARIANCES[target.class_name if target.class_name in _VARIANCES else settings["mode"]]
    variance = words.format(scale=settings.get("scale"))
    return target.label, f"{entry.mean:g}", variance, kinds[entry.kind]


BITS: Final = 22
"""Of float32 numbers: TensorFlow's uniform ones have 23, and half as many equal pairs as numbers of 22."""

_CONDITION: Final = f"float32 weights of the shapes {', '.join(map(str, SHAPES))}, {ENTRIES:,} entries of each or more"


_MATRICES: Final = (((200, 350), 1), ((3, 30, 50), 4), ((3, 3, 10, 40), 4), ((2, 2, 3, 8, 20), 4))
"""Shapes and draws for what is tested pair by pair: one matrix is large, for what repeats at a distance."""
_MATRICES_CONDITION: Final = (
    f"float32 weights of the shapes {', '.join(str(shape) for shape, _ in _MATRICES)} as matrices of all axes but "
    "the last by the last"
)

_SMALL: Final = (64, 48)
_OTHER_DTYPES: Final = ("float64", "float16", "bfloat16")

_BETWEEN: Final[tuple[tuple[Between, str, str], ...]] = (
    # between, which is the control's defect too; name; statement
    ("columns", "independence_within_rows", "The entries of a row of {0}'s weights are independent."),
    ("rows", "independence_within_columns", "The entries of a column of {0}'s weights are independent."),
    ("draws", "independence_across_layers", "Weights that {0} draws from different seeds are independent."),
    ("order", "independence_of_neighbours", "Entries of {0}'s weights near each other are independent."),
)


def _independent(subject: Subject) -> Iterator[Claim]:
    """Claim all that holds of independent entries of one distribution."""
    words = _describe(subject)
    label, *_, kind = words
    source = subjects.cite(subject)

    def claim(
        name: str,
        statement: str,
        test: Callable[[tuple[Draws, ...]], Experiment],
        decide: Decision,
        defect: str,
        weights: Callable[..., tuple[Draws, ...]] = members,
        **fields: Any,
    ) -> Claim:
        shared = {"source": source, "condition": _CONDITION, "rows": _rows(subject, name)}
        return Claim(
            id=f"distribution.{subject.slug}.{name}",
            statement=statement,
            experiment=test(weights(subject)),
            decide=decide,
            control=test(spoiled := weights(subject, defect)),
            control_note=f"{DEFECTS[defect].note}, of the shape {next(each for each in spoiled if each.defect).shape}",
            **(shared | fields),
        )

    yield _finite(subject, (*members(subject), *(Draws(subject, _SMALL, 1, dtype) for dtype in _OTHER_DTYPES)))
    # Causes come before what follows: equal rows have a mean of their own, a wrong variance has other extremes.
    for between, name, statement in _BETWEEN:
        pairwise = between in ("columns", "rows")
        yield claim(
            name,
            statement.format(label),
            partial(Independence, between=between),
            NoDifference("statistic"),
            between,
            _matrices if pairwise else members,
            source=f"{source}; independent and identically distributed entries",
            condition=_MATRICES_CONDITION if pairwise else _CONDITION,
            rows=("A10",),
        )
    fit = NoDifference("largest distance between distribution functions", largest_detectable=0.02)
    for moment, (statement, quantity, margin) in _MOMENTS.items():
        centre = 0.0 if moment in ("mean", "sign") else 1.0
        decide = EstimateWithin(quantity, centre - margin, centre + margin)
        name = "sign_balance" if moment == "sign" else moment
        defect = {"tails": "distribution", "sign": "positive"}.get(moment, moment)
        if moment == "tails":
            yield claim("distribution", f"{label}'s entries follow {kind}, up to mean and variance.", Fit, fit, "half")
        yield claim(name, statement.format(*words), partial(Moments, moment=moment), decide, defect)
    bounded = math.isfinite(subject.distribution(SHAPES[1]).support[1])
    ends = f"lie within the support of {kind}" if bounded else "have no bound"
    support = partial(
        claim,
        "support",
        f"{label}'s entries {ends}, and its smallest and largest entries are as extreme as they should be.",
    )
    truncated = subject.distribution(SHAPES[1]).kind == "truncated_normal"
    yield support(
        Extremes,
        NoDifference("extreme entry, over the end of the support" if bounded else "extreme entry, in sd"),
        "support",
        backends=("tensorflow", "jax") if truncated else (),
    )
    if truncated:
        many = Draws(subject, (1000, 1000), 6)
        yield support(
            Beyond,
            # Of an entry's four normal numbers all are beyond with probability 4.3e-6: 26 are expected, none comes with
            # probability 7e-12.
            AllWithin("entries beyond the support", "entries", false_alarm=1e-11),
            "clipped",
            lambda _, defect="": (replace(many, defect=defect),),
            condition=f"{many.entries:,} float32 entries",
            expected="refuted",
            cause=causes.TRUNCATION,
            backends=("torch",),
        )
    yield claim(
        "resolution",
        f"{label}'s entries have a resolution of {BITS} bits or more: equal ones are as rare as that makes them.",
        partial(Repeats, bits=BITS),
        # Half as many pairs is dozens of standard deviations from the limit: chance has no part.
        AllWithin("equal pairs, over those of numbers with so many bits", "entries"),
        "float16",
    )


def _finite(subject: Subject, weights: tuple[Draws, ...]) -> Claim:
    return Claim(
        id=f"distribution.{subject.slug}.finite",
        statement=f"All of {subject.label}'s entries are finite.",
        source=subjects.cite(subject),
        condition="weights of the shapes " + ", ".join(each.name for each in weights),
        experiment=Finite(weights),
        decide=AllWithin("entries that are NaN or infinite", "entries"),
        control=Finite(weights, spoiled=True),
        control_note="one entry made NaN",
    )


def _matrices(subject: Subject, defect: str = "") -> tuple[Draws, ...]:
    return _spoil_one([Draws(subject, shape, count) for shape, count in _MATRICES], defect)


def _rows(subject: Subject, quantity: str) -> tuple[str, ...]:
    """Say which rows of the catalogue of documented claims a claim covers."""
    target = subject.spec
    name, entry = target.class_name, subject.distribution((3, 5))
    scaled = name not in ("RandomNormal", "RandomUniform", "TruncatedNormal")
    family = subject in subjects.FAMILY
    covered = {
        "A1": name == "RandomNormal" and not target.arguments and quantity in ("mean", "variance", "distribution"),
        "A3": name == "TruncatedNormal" and quantity == "support",
        "A5": scaled and entry.kind == "truncated_normal" and quantity in ("variance", "support"),
        "A6": scaled and entry.kind == "uniform" and quantity in ("variance", "support"),
        "A7": family and quantity == "variance",
        "A8": family and entry.kind == "truncated_normal" and quantity in ("distribution", "support"),
        "A9": entry.kind == "normal" and quantity == "tails",
        "A16": scaled and quantity == "variance",
    }
    return tuple(row for row, whether in covered.items() if whether)


# --- orthogonal matrices ----------------------------------------------------------------------------------------------

_ORTHOGONAL_SHAPES: Final = ((96, 96), (120, 40), (40, 120), (3, 20, 30), (3, 3, 8, 24), (2, 2, 3, 8, 12))
_HAAR_SHAPES: Final = ((12, 12), (6, 18), (3, 2, 5))
_HAAR_DRAWS: Final = 300
_SMALL_DRAWS: Final = 2000


def _orthogonal(subject: Subject) -> Iterator[Claim]:
    gain = float(dict(subject.spec.arguments).get("gain", 1.0))
    normal = InitializerSpec("RandomNormal", (("stddev", gain / math.sqrt(96)),))
    wrong = replace(subject, target=normal, slug=f"{subject.slug}_control")
    exact, controls = (tuple(Draws(each, shape, 4) for shape in _ORTHOGONAL_SHAPES) for each in (subject, wrong))
    haar = tuple(Draws(subject, shape, _HAAR_DRAWS) for shape in _HAAR_SHAPES)
    source, shapes = subjects.cite(subject), ", ".join(map(str, _ORTHOGONAL_SHAPES))
    claim = partial(Claim, source=source, condition=f"float32 weights of the shapes {shapes}, 4 seeds")
    # No QR factorization is there in half precision.
    yield _finite(subject, (*exact, Draws(subject, _SMALL, 1, "float64")))
    yield claim(
        id=f"distribution.{subject.slug}.orthonormal",
        statement=f"The rows or the columns of {subject.label}'s weights, the fewer of them, are orthogonal and of "
        f"length {gain:g}, at any rank.",
        experiment=Orthonormality(exact, gain),
        decide=AllWithin("entry of Q'Q - I", "weights"),
        control=Orthonormality(controls, gain),
        control_note="independent normal entries of the same size",
        rows=("A11",),
    )
    yield claim(
        id=f"distribution.{subject.slug}.variance",
        statement=f"The mean square of {subject.label}'s entries is gain squared over the longer side.",
        experiment=Orthonormality(exact, gain, squares=True),
        decide=AllWithin("relative difference", "weights"),
        control=Orthonormality(exact, gain * math.sqrt(2.0), squares=True),
        control_note="a gain off by the square root of two",
        rows=("A13",),
    )
    yield claim(
        id=f"distribution.{subject.slug}.haar",
        statement=f"{subject.label} draws uniformly among all orthogonal matrices (Haar measure).",
        condition=f"{_HAAR_DRAWS} seeds of the shapes {', '.join(map(str, _HAAR_SHAPES))}",
        experiment=Haar(haar, gain),
        decide=NoDifference("distance from the distribution on the sphere", "weights"),
        control=Haar(haar, gain, unsigned=True),
        control_note="a QR factorization whose signs are not corrected",
        rows=("A12",),
        source=f"{source}; Mezzadri, 2007, Notices of the AMS 54",
    )
    if gain == 1.0:
        yield claim(
            id=f"distribution.{subject.slug}.haar_of_small_matrices",
            statement=f"{subject.label} draws uniformly among the orthogonal matrices of 2 and 3 dimensions too.",
            condition=f"{_SMALL_DRAWS:,} seeds of the shapes (2, 2) and (3, 3)",
            experiment=FourthPowers(small := tuple(Draws(subject, (n, n), _SMALL_DRAWS) for n in (2, 3))),
            decide=NoDifference(
                "fourth powers over their mean, distance from the sphere, or share of rotations", "weights"
            ),
            control=FourthPowers(small, of_uniform=True),
            control_note="a QR factorization of uniform entries, signs corrected",
            slow=True,
            rows=("A12",),
            source=f"{source}; Mezzadri, 2007, Notices of the AMS 54",
        )


# --- initializers that leave nothing to chance, and ranks that are refused --------------------------------------------

_ANY_SHAPES: Final = ((), (7,), (5, 8), (3, 4, 6), (2, 3, 4, 5), (2, 2, 3, 4, 5))
_EXACT_MATRICES: Final = ((6, 6), (4, 9), (9, 4))
_SPECTROGRAMS: Final = ((64, 1, 33), (50, 1, 33), (48, 1, 65))
_DTYPES: Final = ("float16", "bfloat16", "float32", "float64")


@dataclass(frozen=True)
class FixedValues:
    """The largest difference from the documented values, for each shape, over the largest documented value."""

    target: InitializerSpec
    shapes: tuple[tuple[int, ...], ...]
    dtypes: tuple[str, ...] = ("float32",)
    limit: float = 0.0
    documented: InitializerSpec | None = None
    """The initializer whose values are expected; None for the target itself."""

    def measure(self, context: RunContext) -> Iterator[ExactRow]:  # noqa: ARG002 - nothing here is drawn
        for shape in self.shapes:
            for dtype in self.dtypes:
                with precision(dtype):
                    got = to_numpy(self.target.create(None)(shape, dtype=dtype)).astype(np.float64)
                wanted = documented_values(self.documented or self.target, shape)
                if got.shape == shape:
                    # The documented number is rounded to the dtype too; float32 holds all of bfloat16's values.
                    rounded = wanted.astype(dtype if dtype != "bfloat16" else np.float32).astype(np.float64)
                    scale = float(np.abs(wanted).max()) or 1.0
                    deviation = float(np.abs(got - rounded).max()) / scale
                else:
                    deviation = np.inf
                limit = 2.0**-8 if dtype == "bfloat16" and self.limit == 0.0 else self.limit
                yield ExactRow(f"{shape} {dtype}".replace(", ", ","), deviation, limit, int(np.prod(shape)))


@dataclass(frozen=True)
class RefusesRanks:
    """Whether an initializer refuses the ranks that it documents to refuse, with ValueError; 1: it does not."""

    target: InitializerSpec
    shapes: tuple[tuple[int, ...], ...]

    def measure(self, context: RunContext) -> Iterator[ExactRow]:  # noqa: ARG002 - nothing here is drawn
        for shape in self.shapes:
            try:
                self.target.create(None)(shape)
                deviation, seen = 1.0, "accepted"
            except ValueError:
                deviation, seen = 0.0, "ValueError"
            yield ExactRow(str(shape), deviation, seen=seen)


def _fixed(subject: Subject) -> Claim:
    target = subject.spec
    arguments = dict(target.arguments)
    shapes: tuple[tuple[int, ...], ...]
    dtypes: tuple[str, ...]
    if target.class_name == "STFT":
        # cos and the window are computed in float32: angles up to 2 pi T are off by their last digit.
        shapes, dtypes, limit = _SPECTROGRAMS, ("float32",), 2.0 * math.pi * 65 * 2.0**-23
        wrong = InitializerSpec("STFT", tuple((arguments | {"window": "blackman"}).items()))
        values = "the windowed Fourier kernel that it documents"
    elif target.class_name == "Identity":
        shapes, dtypes, limit = _EXACT_MATRICES, _DTYPES, 0.0
        wrong = InitializerSpec("Identity", (("gain", float(arguments.get("gain", 1.0)) * 1.01),))
        values = f"{arguments.get('gain', 1.0):g} on the diagonal and 0 elsewhere"
    else:
        # In float64 a constant is coarser than its dtype: a claim of its own.
        shapes, dtypes, limit = _ANY_SHAPES, _DTYPES[: 3 if subject.slug == "constant_with_value" else 4], 0.0
        value = {"Zeros": 0.0, "Ones": 1.0}.get(target.class_name, float(arguments.get("value", 0.0)))
        wrong = InitializerSpec("Constant", (("value", value + 0.01),))
        values = f"{value:g} everywhere"
    return Claim(
        id=f"distribution.{subject.slug}.values",
        statement=f"{subject.label} is {values}.",
        source=subjects.cite(subject),
        condition=f"shapes {', '.join(map(str, shapes))}; {', '.join(dtypes)}",
        experiment=FixedValues(target, shapes, dtypes, limit),
        decide=AllWithin("largest relative difference", "entries"),
        control=FixedValues(target, shapes, dtypes, limit, documented=wrong),
        control_note=f"the values documented of {wrong.label}",
    )


def _constant_precision() -> Iterator[Claim]:
    constant = FixedValues(InitializerSpec("Constant", (("value", 0.37),)), _EXACT_MATRICES, ("float64",))
    claim = partial(
        Claim,
        id="distribution.constant_with_value.float64_precision",
        statement="Constant's value has the precision of the dtype asked for, float64 too.",
        source="Keras, keras.initializers.Constant, argument dtype of the call",
        condition="the value 0.37, which no binary number equals, in float64",
        experiment=constant,
        decide=AllWithin("largest relative difference", "entries"),
    )
    yield claim(
        control=replace(constant, target=InitializerSpec("Identity", (("gain", 0.37),))),
        control_note="Identity with the gain 0.37, which has it",
        expected="refuted",
        cause=causes.CONSTANT_PRECISION,
        backends=("tensorflow",),
    )
    rounded = InitializerSpec("Constant", (("value", float(np.float32(0.37))),))
    yield claim(
        control=replace(constant, target=rounded, documented=constant.target),
        control_note="the value as float32 has it",
        backends=("jax", "torch"),
    )


def _identity_ranks() -> Iterator[Claim]:
    zeros = InitializerSpec("Zeros")
    identity = RefusesRanks(InitializerSpec("Identity"), ((4,), (3, 4, 4), (3, 3, 4, 4)))
    orthogonal = RefusesRanks(InitializerSpec("Orthogonal"), ((), (4,)))
    claim = partial(Claim, decide=AllWithin("accepted"), control_note="Zeros, which takes every rank")
    yield claim(
        id="distribution.identity.two_dimensions_only",
        statement="Identity makes matrices only, and refuses all other ranks.",
        source="Keras, keras.initializers.Identity",
        condition="shapes of 1, 3 and 4 dimensions",
        experiment=identity,
        control=replace(identity, target=zeros),
        rows=("A14",),
    )
    yield claim(
        id="distribution.orthogonal.two_dimensions_or_more",
        statement="Orthogonal refuses shapes of fewer than two dimensions.",
        source="Keras, keras.initializers.Orthogonal",
        condition="shapes of 0 and 1 dimensions",
        experiment=orthogonal,
        control=replace(orthogonal, target=zeros),
    )


# --- single arguments -------------------------------------------------------------------------------------------------

_DEVIATION_ROWS: Final = math.ceil(size_of_equivalence(0.5, 0.02) / (4 * 300))


@dataclass(frozen=True)
class DeviationOverArgument:
    """The standard deviation of the entries over the argument ``stddev``."""

    class_name: str
    stddev: float

    def measure(self, context: RunContext) -> list[EstimateRow]:
        slug = f"{self.class_name.lower()}_deviation_{self.stddev:g}".replace(".", "_")
        subject = Subject(slug, InitializerSpec(self.class_name, (("stddev", self.stddev),)))
        draws = Draws(subject, (_DEVIATION_ROWS, 300), 4)
        estimate = float(np.std(np.asarray(draws.draw(context), dtype=np.float64)))
        # With N entries of kurtosis k the standard error is sqrt((k - 1) / 4N) of the deviation.
        error = estimate * math.sqrt((subject.distribution(draws.shape).moment(4) - 1.0) / (4.0 * draws.entries))
        return [EstimateRow(draws.name, estimate / self.stddev, error / self.stddev, draws.entries)]


def _truncated_deviation() -> Iterator[Claim]:
    for name, stddev in (("0_05", 0.05), ("1", 1.0)):
        yield Claim(
            id=f"distribution.truncated_normal.stddev_{name}_is_the_standard_deviation",
            statement=f"The standard deviation of TruncatedNormal's values is its argument stddev ({stddev:g}).",
            source="Keras, keras.initializers.TruncatedNormal",
            condition=f"float32 weights of shape ({_DEVIATION_ROWS}, 300), 4 seeds",
            experiment=DeviationOverArgument("TruncatedNormal", stddev),
            decide=EstimateWithin("standard deviation over stddev", 0.98, 1.02),
            control=DeviationOverArgument("RandomNormal", stddev),
            control_note="RandomNormal, whose stddev is one",
            expected="refuted",
            cause=causes.TRUNCATED_DEVIATION,
            rows=("A2",),
        )


@dataclass(frozen=True)
class ReachesEnd:
    """How often a uniform initializer returns its upper bound itself or more, of ``count`` entries."""

    minval: float
    maxval: float
    count: int

    def measure(self, context: RunContext) -> Iterator[ExactRow]:
        target = InitializerSpec("RandomUniform", (("maxval", self.maxval), ("minval", self.minval)))
        seed = context.seed(f"reaches end/{self.minval}/{self.maxval}")
        values = to_numpy(target.create(seed)((self.count // 1000, 1000), dtype="float32"))
        reached = int(np.count_nonzero(values >= np.float32(self.maxval)))
        yield ExactRow(f"({self.minval:g}, {self.maxval:g})", float(reached), 0.0, values.size)


def _uniform_end() -> Claim:
    # At 100 numbers are 2^-17 apart: u in [0, 1) is rounded up to the end with probability 2^-18, of 6 million numbers
    # 23 on average, none with probability 1e-10.
    count = 6_000_000
    return Claim(
        id="distribution.random_uniform.excludes_maxval",
        statement="RandomUniform never returns its upper bound maxval.",
        source="Keras, keras.initializers.RandomUniform",
        condition=f"float32, {count:,} numbers from 100 to 101, where float32 is coarse",
        experiment=ReachesEnd(100.0, 101.0, count),
        decide=AllWithin("entries equal to maxval", "entries", false_alarm=2e-10),
        control=ReachesEnd(0.0, 1.0, 1_000_000),
        control_note="numbers from 0 to 1, of which the end cannot be reached by rounding",
        expected="refuted",
        cause=causes.UPPER_BOUND,
        rows=("A4",),
    )


@dataclass(frozen=True)
class TakesArrays:
    """Whether an initializer refuses an array in place of a scalar argument; 1: it was accepted and used."""

    class_name: str
    argument: str

    def measure(self, context: RunContext) -> Iterator[ExactRow]:  # noqa: ARG002 - nothing here is drawn
        initializer_class = getattr(import_keras().initializers, self.class_name)
        try:
            values = to_numpy(initializer_class(**{self.argument: np.asarray([1.0, 2.0, 3.0])})((2, 3)))
            yield ExactRow(self.class_name, 1.0, seen=f"returned {values.tolist()}")
        except (TypeError, ValueError) as error:
            yield ExactRow(self.class_name, 0.0, seen=type(error).__name__)


def _constant_array() -> Claim:
    return Claim(
        id="distribution.constant.scalars_only",
        statement="Constant takes a scalar only.",
        source="Keras, keras.initializers.Constant",
        condition="an array of 3 numbers for the shape (2, 3)",
        experiment=TakesArrays("Constant", "value"),
        decide=AllWithin("accepted"),
        control=TakesArrays("VarianceScaling", "scale"),
        control_note="VarianceScaling, which refuses an array for its scale",
        expected="refuted",
        cause=causes.CONSTANT_ARRAY,
        rows=("A15",),
    )


# --- completeness -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ClassesKnown:
    """Whether every initializer that the installed Keras exports has claims here, and the other way round."""

    known: tuple[str, ...]

    def measure(self, context: RunContext) -> Iterator[ExactRow]:  # noqa: ARG002 - nothing here is drawn
        installed = set(installed_initializers())
        for name in sorted(installed | set(self.known)):
            deviation = float(name not in installed or name not in self.known)
            yield ExactRow(name, deviation, seen="exported" if name in installed else "not exported")


def _complete() -> Claim:
    return Claim(
        id="distribution.keras.every_initializer_has_claims",
        statement="The specification has claims about every initializer that Keras exports, and about no other.",
        source="Keras, keras.initializers",
        condition="the classes exported by the installed Keras",
        experiment=ClassesKnown(subjects.CLASSES),
        decide=AllWithin("exported without claims, or claimed and not exported"),
        control=ClassesKnown(subjects.CLASSES[1:]),
        control_note="one class left out of the list",
    )
