"""Claims about the dtype of what initializers return, and about the resolution of its values."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

import numpy as np

from initcheck.backend.runtime import import_keras
from initcheck.core.errors import UsageError
from initcheck.models.initializers import InitializerSpec
from initcheck.spec import causes, subjects
from initcheck.spec.claim import Claim, EstimateRow, ExactRow, RunContext
from initcheck.spec.decisions import AllWithin, EstimateWithin, size_of_equivalence
from initcheck.spec.subjects import DEFECTS, Draws, Subject, precision, to_numpy
from initcheck.spec.topics.entries import Moments

DTYPES: Final = ("float16", "bfloat16", "float32", "float64")
_SHAPE: Final = (300, 500)
_MARGIN: Final = 0.03
_DRAWS: Final = math.ceil(size_of_equivalence(2.0, _MARGIN) / math.prod(_SHAPE))
_ROUNDED: Final = 0.006
"""How far off a variance may be in bfloat16: by 2^-8 where the standard deviation is rounded, .0053 were counted."""
_DRAWS_ROUNDED: Final = math.ceil(size_of_equivalence(2.0, _MARGIN - _ROUNDED) / math.prod(_SHAPE))


def claims() -> Iterator[Claim]:
    """List the claims."""
    for subject in subjects.ALL:
        yield from _returned(subject)
    for subject in subjects.INDEPENDENT:
        # float32 is the subject of the topic "distribution".
        for dtype in ("float64", "float16", "bfloat16"):
            yield from _calibrated(subject, dtype)
        yield _resolution(subject)
    for subject in subjects.ORTHOGONAL:
        yield _resolution(subject)
        yield _refuses_half(subject)
    yield from _uniform_in_bfloat16()
    yield from _float64_as_installed()


# --- the dtype returned -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ReturnedDtypes:
    """Whether an initializer returns the dtype asked for, and the default float dtype where none is named."""

    subject: Subject
    dtypes: tuple[str, ...]
    ignore: bool = False
    switched_on: bool = True
    """Whether float64 is switched on for it, on a backend that has it off."""

    def measure(self, context: RunContext) -> Iterator[ExactRow]:
        keras = import_keras()
        shape = (8, 1, 5) if self.subject.spec.class_name == "STFT" else (4, 6)
        seed = context.seed(f"dtype/{self.subject.slug}")
        default = keras.config.floatx()
        for dtype in (*self.dtypes, None):
            asked = "float32" if self.ignore else dtype
            with precision(asked if self.switched_on else None):
                value = self.subject.target.create(seed)(shape, dtype=asked)
            got = keras.backend.standardize_dtype(value.dtype)
            wanted = dtype or default
            yield ExactRow(dtype or "none", float(got != wanted), seen=got)
        try:
            keras.config.set_floatx("float64")
            with precision("float64" if self.switched_on else None):
                got = keras.backend.standardize_dtype(self.subject.target.create(seed)(shape).dtype)
        finally:
            keras.config.set_floatx(default)
        yield ExactRow("none, floatx float64", float(got != "float64" or self.ignore), seen=got)


def _returned(subject: Subject) -> Iterator[Claim]:
    # No QR factorization is there in half precision: a claim of its own.
    dtypes = ("float32", "float64") if subject in subjects.ORTHOGONAL else DTYPES
    returned = ReturnedDtypes(subject, dtypes)
    claim = partial(
        Claim,
        id=f"dtype.{subject.slug}.returned",
        statement=f"{subject.label} returns the dtype that it is asked for, by default keras.config.floatx().",
        source=f"{subjects.cite(subject)}, argument dtype of the call",
        condition=", ".join(dtypes),
        experiment=returned,
        decide=AllWithin("another dtype"),
    )
    narrowed = subject.slug in ("stft", "stft_imaginary_spectrum")
    for setup in causes.setups_without(causes.STFT_FLOAT64) if narrowed else ({},):
        yield claim(
            control=replace(returned, ignore=True), control_note="float32 asked for in place of each dtype", **setup
        )
    if narrowed:
        yield claim(
            control=replace(
                returned, subject=next(each for each in subjects.ALL if each.slug == "stft_without_window")
            ),
            control_note="without a window",
            expected="refuted",
            cause=causes.STFT_FLOAT64,
            keras=causes.STFT_FLOAT64.keras,
            backends=causes.STFT_FLOAT64.backends,
        )


def _float64_as_installed() -> Iterator[Claim]:
    subject = Subject("he_normal", InitializerSpec("HeNormal"))
    as_installed = ReturnedDtypes(subject, ("float64",), switched_on=False)
    claim = partial(
        Claim,
        id="dtype.float64.returned_as_installed",
        statement="Asked for float64, HeNormal returns it without any other setting.",
        source=f"{subjects.cite(subject)}, argument dtype of the call",
        condition="dtype='float64', and keras.config.set_floatx('float64')",
        experiment=as_installed,
        decide=AllWithin("another dtype"),
    )
    yield claim(
        control=replace(as_installed, ignore=True),
        control_note="float32 asked for",
        backends=("tensorflow", "torch"),
    )
    yield claim(
        control=replace(as_installed, switched_on=True),
        control_note="inside jax.enable_x64(True)",
        expected="refuted",
        cause=causes.FLOAT64_OFF,
        backends=("jax",),
    )


# --- moments in every dtype -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class BothMoments:
    """Mean and variance together: the mean in standard deviations plus one, so that both should be 1."""

    draws: Draws

    def measure(self, context: RunContext) -> Iterator[EstimateRow]:
        for mean in Moments((self.draws,), "mean").measure(context):
            yield replace(mean, member="1 + mean", estimate=1.0 + mean.estimate)
        for variance in Moments((self.draws,), "variance").measure(context):
            yield replace(variance, member="variance")


def _calibrated(subject: Subject, dtype: str) -> Iterator[Claim]:
    coarse = subject.distribution(_SHAPE).kind == "uniform" and dtype == "bfloat16"
    # bfloat16's uniform numbers are rounded down to one of 128 steps: their mean is off by half a step, 2^-8 of the
    # range or .0135 standard deviations, which takes half of the margin, and so asks for more entries. JAX makes its
    # normal numbers of them, with means that are off by .012 to .018.
    counts: dict[int, tuple[str, ...]] = {(3 if coarse else 1) * _DRAWS: ()}
    if dtype == "bfloat16" and not coarse:
        counts = {_DRAWS_ROUNDED: ("tensorflow", "torch"), 6 * _DRAWS: ("jax",)}
    for count, backends in counts.items():
        draws = Draws(subject, _SHAPE, count, dtype)
        yield Claim(
            id=f"dtype.{subject.slug}.{dtype}_calibrated",
            statement=f"{subject.label} has its documented mean and variance in {dtype}.",
            source=subjects.cite(subject),
            condition=f"{count} weights of shape {_SHAPE}",
            experiment=BothMoments(draws),
            decide=EstimateWithin("moment over its documented value", 1.0 - _MARGIN, 1.0 + _MARGIN),
            control=BothMoments(replace(draws, defect="variance")),
            control_note=DEFECTS["variance"].note,
            rows=("D1",) if dtype != "float64" and not coarse else (),
            backends=backends,
        )


# --- resolution -------------------------------------------------------------------------------------------------------


_HANDFUL: Final = 16


@dataclass(frozen=True)
class Resolution:
    """The share of values that a coarser dtype holds as well: of numbers drawn finely, next to none.

    Equal values count once, and a handful of values shows nothing of the dtype: a weight of zeros and ones is another
    fault.
    """

    subject: Subject
    dtypes: tuple[tuple[str, str], ...]
    through: bool = False

    def measure(self, context: RunContext) -> Iterator[ExactRow]:
        # Rounding leaves all values to the coarser dtype. Of finer ones it holds 1 in 2^b, b the bits that it lacks: 13
        # or more, or 3 of float16's. But arithmetic in float16 rounds at each step: a normal number that is multiplied
        # by a standard deviation and added to a mean is in bfloat16 in .12 to .23 of all cases (standard deviation over
        # seeds .007), so the limit is .5. A uniform number in float16 starts as one of 1,024 steps, of which bfloat16
        # holds three quarters before they are scaled: there the limit is 0.9.
        seed = context.seed(f"resolution/{self.subject.slug}")
        for dtype, coarser in self.dtypes:
            with precision(dtype):
                values = to_numpy(self.subject.target.create(seed)((64, 48), dtype=dtype))
            if self.through:
                values = _round(values, coarser)
            values = np.unique(values)
            held = values == _round(values, coarser)
            share = float(np.mean(held)) if values.size >= _HANDFUL else 0.0
            limit = 0.125
            if coarser == "bfloat16":
                limit = 0.9 if self.subject.distribution((64, 48)).kind == "uniform" else 0.5
            yield ExactRow(f"{dtype} against {coarser}", share, limit, values.size, f"{values.size} different values")


def _round(values: np.ndarray, dtype: str) -> np.ndarray:
    if dtype != "bfloat16":
        return values.astype(dtype).astype(values.dtype)
    keras = import_keras()
    rounded = keras.ops.cast(keras.ops.cast(values.astype(np.float32), "bfloat16"), "float32")
    return np.asarray(rounded).astype(values.dtype)


def _resolution(subject: Subject) -> Claim:
    pairs = (("float32", "float16"), ("float64", "float32"), ("float16", "bfloat16"))
    resolution = Resolution(subject, pairs[: 2 if subject in subjects.ORTHOGONAL else 3])
    return Claim(
        id=f"dtype.{subject.slug}.resolution",
        statement=f"{subject.label}'s values are as fine as their dtype: few of them fit into a coarser one.",
        source=subjects.cite(subject),
        condition="3,072 values of each dtype; float16 has 3 bits more than bfloat16, float32 13 more than float16",
        experiment=resolution,
        # The largest expected share, .23 of 3,072 values, is 30 binomial standard errors from its limit.
        decide=AllWithin("share that the coarser dtype holds", "entries", false_alarm=1e-9),
        control=replace(resolution, through=True),
        control_note="the values rounded through the coarser dtype",
    )


# --- documented and false ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class AcceptsDtype:
    """Whether an initializer makes weights of a dtype at all; 1: the backend refuses."""

    subject: Subject

    def measure(self, context: RunContext) -> Iterator[ExactRow]:
        keras = import_keras()
        seed = context.seed(f"accepts/{self.subject.slug}")
        for dtype in DTYPES:
            seen, deviation = "made", 0.0
            try:
                with precision(dtype):
                    value = self.subject.target.create(seed)((4, 4), dtype=dtype)
                if keras.backend.standardize_dtype(value.dtype) != dtype:
                    raise UsageError(f"another dtype: {value.dtype}")
            # TensorFlow's errors (InvalidArgumentError, NotFoundError, ...) have no other base.
            except Exception as error:  # noqa: BLE001 - a refusal of any kind is the measurement
                seen, deviation = f"{type(error).__name__}: {' '.join(str(error).split())[:80]}", 1.0
            yield ExactRow(dtype, deviation, seen=seen)


def _refuses_half(subject: Subject) -> Claim:
    return Claim(
        id=f"dtype.{subject.slug}.any_float",
        statement=f"{subject.label} works in any float dtype.",
        source=f"{subjects.cite(subject)}, argument dtype of the call",
        condition=", ".join(DTYPES),
        experiment=AcceptsDtype(subject),
        decide=AllWithin("refused"),
        control=AcceptsDtype(Subject("he_normal", InitializerSpec("HeNormal"))),
        control_note="HeNormal, which works in all of them",
        expected="refuted",
        cause=causes.BFLOAT16,
        rows=("D4", "S6"),
    )


def _uniform_in_bfloat16() -> Iterator[Claim]:
    subject = next(each for each in subjects.INDEPENDENT if each.slug == "random_uniform")
    # The mean is off by half a step of 2^-7 of the range, .0135 sd: 1,000,000 entries show 13 standard errors.
    biased = Draws(subject, (1000, 1000), 2, "bfloat16")
    condition = "RandomUniform's defaults, 2,000,000 entries in bfloat16"
    claim = partial(Claim, source=subjects.cite(subject), condition=condition)
    yield claim(
        id="dtype.random_uniform.bfloat16_unbiased",
        statement="Uniform numbers have the mean zero in bfloat16, too.",
        experiment=Moments((biased,), "mean"),
        decide=EstimateWithin("mean, in standard deviations", -0.004, 0.004),
        control=Moments((Draws(subject, (1000, 1000), 5, "float32"),), "mean"),
        control_note="the same in float32, where they have",
        expected="refuted",
        cause=causes.BFLOAT16,
        rows=("D2", "S6"),
    )
    distinct = partial(
        claim,
        id="dtype.random_uniform.bfloat16_distinct_values",
        statement="Uniform numbers in bfloat16 take more than 256 different values.",
        source=f"{subjects.cite(subject)}; bfloat16 has 8 bits of precision at every magnitude",
        experiment=FewValues(biased),
        decide=AllWithin("256 over the number of different values", "entries"),
        rows=("D2",),
    )
    yield distinct(
        control=FewValues(Draws(subject, (1000, 1000), 2, "float32")),
        control_note="the same in float32",
        expected="refuted",
        cause=causes.BFLOAT16,
        backends=("tensorflow", "jax"),
    )
    yield distinct(
        control=FewValues(Draws(subject, (10, 10), 2, "bfloat16")),
        control_note="200 of them",
        backends=("torch",),
    )
    yield claim(
        id="dtype.random_uniform.bfloat16_support",
        statement="Uniform numbers in bfloat16 exceed their limits by no more than bfloat16's rounding.",
        experiment=BeyondLimit(biased),
        decide=AllWithin("largest magnitude over the limit", "entries"),
        control=BeyondLimit(Draws(subject, (1000, 1000), 2, "bfloat16", "support")),
        control_note=DEFECTS["support"].note,
        rows=("D3",),
    )


@dataclass(frozen=True)
class FewValues:
    """How many different values there are, as 256 over their number: at most 1 where there are 256 or more."""

    draws: Draws

    def measure(self, context: RunContext) -> Iterator[ExactRow]:
        distinct = np.unique(self.draws.draw(context)).size
        yield ExactRow(self.draws.name, 256.0 / distinct, 1.0, self.draws.entries, f"{distinct} different values")


@dataclass(frozen=True)
class BeyondLimit:
    """The largest magnitude over the documented limit; rounding to 8 bits may raise it by 2^-8."""

    draws: Draws

    def measure(self, context: RunContext) -> Iterator[ExactRow]:
        limit = self.draws.subject.distribution(self.draws.shape).support[1]
        largest = float(np.abs(np.asarray(self.draws.draw(context), dtype=np.float64)).max())
        yield ExactRow(self.draws.name, largest / limit, 1.0 + 2.0**-8, self.draws.entries)
