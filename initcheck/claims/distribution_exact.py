"""Claims about values that leave nothing to chance, and documented claims about values that are false."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from initcheck.claims import subjects
from initcheck.claims.base import Claim
from initcheck.claims.decisions import AllWithin, EstimateWithin, size_of_equivalence
from initcheck.claims.fixed_values import FixedValues, RefusesRanks
from initcheck.claims.rates import CLAIM_FALSE_ALARM
from initcheck.claims.sampling import Draws, Subject, to_numpy
from initcheck.initializers import InitializerSpec

if TYPE_CHECKING:
    from pandas import DataFrame

    from initcheck.claims.laboratory import Laboratory

_ANY_SHAPES: Final = ((), (7,), (5, 8), (3, 4, 6), (2, 3, 4, 5), (2, 2, 3, 4, 5))
_MATRICES: Final = ((6, 6), (4, 9), (9, 4))
_SPECTROGRAMS: Final = ((64, 1, 33), (50, 1, 33), (48, 1, 65))
_DTYPES: Final = ("float16", "bfloat16", "float32", "float64")


def exact_claims() -> list[Claim]:
    """List the claims."""
    fixed = [_fixed(subject) for subject in subjects.FIXED_VALUES]
    return [
        *fixed,
        _constant_precision(),
        *_identity_ranks(),
        *_truncated_deviation(),
        *_uniform_end(),
        *_constant_arrays(),
    ]


def _fixed(subject: Subject) -> Claim:
    target = subject.target
    assert isinstance(target, InitializerSpec)
    arguments = dict(target.arguments)
    shapes: tuple[tuple[int, ...], ...]
    dtypes: tuple[str, ...]
    if target.class_name == "STFT":
        # cos and the window are computed in float32: angles up to 2 pi T are off by their last digit.
        shapes, dtypes, limit = _SPECTROGRAMS, ("float32",), 2.0 * math.pi * 65 * 2.0**-23
        wrong = InitializerSpec(
            "STFT", (*((k, v) for k, v in target.arguments if k != "window"), ("window", "blackman"))
        )
        told = "the windowed Fourier kernel that it documents"
    elif target.class_name == "Identity":
        shapes, dtypes, limit = _MATRICES, _DTYPES, 0.0
        wrong = InitializerSpec("Identity", (("gain", float(arguments.get("gain", 1.0)) * 1.01),))
        told = f"{arguments.get('gain', 1.0):g} on the diagonal and 0 elsewhere"
    else:
        # In float64 a constant is coarser than its dtype: a claim of its own.
        shapes, dtypes, limit = _ANY_SHAPES, _DTYPES[: 3 if subject.slug == "constant_with_value" else 4], 0.0
        value = {"Zeros": 0.0, "Ones": 1.0}.get(target.class_name, float(arguments.get("value", 0.0)))
        wrong = InitializerSpec("Constant", (("value", value + 0.01),))
        told = f"{value:g} everywhere"
    return Claim(
        id=f"distribution.{subject.slug}.values",
        statement=f"{subject.label} is {told}.",
        source=subjects.cite(subject),
        condition=f"shapes {', '.join(map(str, shapes))}; {', '.join(dtypes)}",
        experiment=FixedValues(target, shapes, dtypes, limit),
        decide=AllWithin("largest relative difference", "entries"),
        control=FixedValues(target, shapes, dtypes, limit, documented=wrong),
        control_note=f"the values documented of {wrong.label}",
    )


def _constant_precision() -> Claim:
    return Claim(
        id="distribution.constant_with_value.float64_precision",
        statement="Constant's value has the precision of the dtype asked for, float64 too.",
        source="Keras, keras.initializers.Constant, argument dtype of the call",
        condition="the value 0.37, which no binary number equals, in float64",
        experiment=FixedValues(InitializerSpec("Constant", (("value", 0.37),)), _MATRICES, ("float64",)),
        decide=AllWithin("largest relative difference", "entries"),
        control=FixedValues(InitializerSpec("Identity", (("gain", 0.37),)), _MATRICES, ("float64",)),
        control_note="Identity with the gain 0.37, which has it",
        expected="refuted",
    )


def _identity_ranks() -> list[Claim]:
    identity = InitializerSpec("Identity")
    return [
        Claim(
            id="distribution.identity.two_dimensions_only",
            statement="Identity makes matrices only, and refuses all other ranks.",
            source="Keras, keras.initializers.Identity",
            condition="shapes of 1, 3 and 4 dimensions",
            experiment=RefusesRanks(identity, ((4,), (3, 4, 4), (3, 3, 4, 4))),
            decide=AllWithin("accepted"),
            control=RefusesRanks(InitializerSpec("Zeros"), ((4,), (3, 4, 4), (3, 3, 4, 4))),
            control_note="Zeros, which takes every rank",
            rows=("A14",),
        ),
        Claim(
            id="distribution.orthogonal.two_dimensions_or_more",
            statement="Orthogonal refuses shapes of fewer than two dimensions.",
            source="Keras, keras.initializers.Orthogonal",
            condition="shapes of 0 and 1 dimensions",
            experiment=RefusesRanks(InitializerSpec("Orthogonal"), ((), (4,))),
            decide=AllWithin("accepted"),
            control=RefusesRanks(InitializerSpec("Zeros"), ((), (4,))),
            control_note="Zeros, which takes every rank",
        ),
    ]


@dataclass(frozen=True)
class DeviationOverArgument:
    """The standard deviation of the entries over the argument ``stddev``.

    With N entries of kurtosis k its standard error is sqrt((k - 1) / 4N) of itself.

    Attributes:
        draws: the weights.
        argument: the value of ``stddev``.
    """

    draws: tuple[Draws, ...]
    argument: float

    def measure(self, laboratory: Laboratory) -> DataFrame:
        """Measure; see :class:`~initcheck.claims.decisions.EstimateWithin` for the columns."""
        import pandas as pd

        rows = []
        for draws in self.draws:
            law = draws.subject.law(draws.shape)
            deviation = float(np.std(np.asarray(draws.draw(laboratory), dtype=np.float64)))
            error = deviation * math.sqrt((law.moment(4) - 1.0) / (4.0 * draws.entries))
            rows.append((draws.name, deviation / self.argument, error / self.argument, math.inf, draws.entries))
        return pd.DataFrame(rows, columns=["member", "estimate", "standard_error", "freedom", "count"])


def _truncated_deviation() -> list[Claim]:
    draws = 4
    rows = math.ceil(size_of_equivalence(0.5, 0.02) / (draws * 300))

    def of(class_name: str, stddev: float) -> DeviationOverArgument:
        subject = Subject(
            f"{class_name.lower()}_deviation_{stddev:g}".replace(".", "_"),
            InitializerSpec(class_name, (("stddev", stddev),)),
        )
        return DeviationOverArgument((Draws(subject, (rows, 300), draws),), stddev)

    return [
        Claim(
            id=f"distribution.truncated_normal.stddev_{name}_is_the_standard_deviation",
            statement=f"The standard deviation of TruncatedNormal's values is its argument stddev ({stddev:g}).",
            source="Keras, keras.initializers.TruncatedNormal",
            condition=f"float32 weights of shape ({rows}, 300), 4 seeds",
            experiment=of("TruncatedNormal", stddev),
            decide=EstimateWithin("standard deviation over stddev", 0.98, 1.02),
            control=of("RandomNormal", stddev),
            control_note="RandomNormal, whose stddev is one",
            expected="refuted",
            false_alarm=CLAIM_FALSE_ALARM,
            rows=("A2",),
        )
        for name, stddev in (("0_05", 0.05), ("1", 1.0))
    ]


@dataclass(frozen=True)
class ReachesEnd:
    """How often a uniform initializer returns its upper bound itself.

    Attributes:
        minval: lower bound.
        maxval: upper bound.
        count: entries to draw.
    """

    minval: float
    maxval: float
    count: int

    def measure(self, laboratory: Laboratory) -> DataFrame:
        """Measure; the deviation counts entries at the bound or beyond."""
        import pandas as pd

        target = InitializerSpec("RandomUniform", (("maxval", self.maxval), ("minval", self.minval)))
        seed = laboratory.seed(f"reaches end/{self.minval}/{self.maxval}")
        values = to_numpy(target.create(seed)((self.count // 1000, 1000), dtype="float32"))
        reached = int(np.count_nonzero(values >= np.float32(self.maxval)))
        row = (f"({self.minval:g}, {self.maxval:g})", float(reached), 0.0, values.size)
        return pd.DataFrame([row], columns=["member", "deviation", "limit", "count"])


def _uniform_end() -> list[Claim]:
    # At 100 numbers are 2^-17 apart: u in [0, 1) is rounded up to the end with probability 2^-18, of 6 million numbers
    # 23 on average, none with probability 1e-10.
    count = 6_000_000
    return [
        Claim(
            id="distribution.random_uniform.excludes_maxval",
            statement="RandomUniform never returns its upper bound maxval.",
            source="Keras, keras.initializers.RandomUniform",
            condition=f"float32, {count:,} numbers from 100 to 101, where float32 is coarse",
            experiment=ReachesEnd(100.0, 101.0, count),
            decide=AllWithin("entries equal to maxval", "entries"),
            control=ReachesEnd(0.0, 1.0, 1_000_000),
            control_note="numbers from 0 to 1, of which the end cannot be reached by rounding",
            expected="refuted",
            false_alarm=2e-10,
            rows=("A4",),
        )
    ]


@dataclass(frozen=True)
class TakesArrays:
    """Whether an initializer refuses an array in place of a scalar.

    Attributes:
        class_name: of the initializer.
        argument: that gets the array.
    """

    class_name: str
    argument: str

    def measure(self, laboratory: Laboratory) -> DataFrame:  # noqa: ARG002 - nothing here is drawn
        """Measure; the deviation is 1 where the array was accepted and used."""
        import pandas as pd

        from initcheck.keras_runtime import import_keras

        initializer_class = getattr(import_keras().initializers, self.class_name)
        told, deviation = "refused", 0.0
        try:
            values = to_numpy(initializer_class(**{self.argument: np.asarray([1.0, 2.0, 3.0])})((2, 3)))
            deviation, told = 1.0, f"returned {values.tolist()}"
        except (TypeError, ValueError) as error:
            told = type(error).__name__
        row = (self.class_name, deviation, 0.0, 1, told)
        return pd.DataFrame([row], columns=["member", "deviation", "limit", "count", "told"])


def _constant_arrays() -> list[Claim]:
    return [
        Claim(
            id="distribution.constant.scalars_only",
            statement="Constant takes a scalar only.",
            source="Keras, keras.initializers.Constant",
            condition="an array of 3 numbers for the shape (2, 3)",
            experiment=TakesArrays("Constant", "value"),
            decide=AllWithin("accepted"),
            control=TakesArrays("VarianceScaling", "scale"),
            control_note="VarianceScaling, which refuses an array for its scale",
            expected="refuted",
            rows=("A15",),
        )
    ]
