"""The statements of the founding notebook, one by one, as it makes them.

Those about zeros and about what learns better are in :mod:`initcheck.spec.topics.training`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from initcheck.backend.runtime import import_keras
from initcheck.models.initializers import InitializerSpec
from initcheck.models.networks import MlpSpec, NotebookSpec
from initcheck.spec.claim import Claim
from initcheck.spec.decisions import CLAIM_FALSE_ALARM, AllWithin, EstimateWithin, SeedMeanWithin, size_of_equivalence
from initcheck.spec.subjects import Draws, Subject
from initcheck.spec.topics import training

if TYPE_CHECKING:
    from pandas import DataFrame

    from initcheck.spec.claim import RunContext

_SOURCE: Final = "the founding notebook"
GLOROT: Final = InitializerSpec("GlorotNormal")
LECUN: Final = InitializerSpec("LecunNormal")
HE: Final = InitializerSpec("HeNormal")


def claims() -> tuple[Claim, ...]:
    """List the claims."""
    return (*_spread(), *_xavier(), *_course(), *training.notebook_claims())


# --- the usual spread -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class DefaultSpread:
    """The difference of a class's default standard deviation from 1.

    Attributes:
        class_name: of the initializer.
        argument: the argument that holds it.
    """

    class_name: str
    argument: str

    def measure(self, context: RunContext) -> DataFrame:  # noqa: ARG002 - nothing here is drawn
        """Measure; see :class:`~initcheck.spec.decisions.AllWithin` for the columns."""
        import pandas as pd

        config = getattr(import_keras().initializers, self.class_name)().get_config()
        value = float(config[self.argument])
        row = (self.class_name, abs(value - 1.0), 0.0, 1, f"{self.argument}={value:g}")
        return pd.DataFrame([row], columns=["member", "deviation", "limit", "count", "seen"])


def _spread() -> list[Claim]:
    return [
        Claim(
            id="notebook.random_normal.default_is_one",
            statement="The usual standard deviation of random weights is 1.",
            source=_SOURCE,
            condition="the default of Keras' RandomNormal",
            experiment=DefaultSpread("RandomNormal", "stddev"),
            decide=AllWithin("difference from 1"),
            control=DefaultSpread("VarianceScaling", "scale"),
            control_note="VarianceScaling's default scale, which is 1",
            expected="refuted",
            rows=("NB4",),
        ),
    ]


# --- formulas ---------------------------------------------------------------------------------------------------------

_INPUTS: Final = 1000
_UNITS: Final = 500


@dataclass(frozen=True)
class VarianceTimes:
    """The variance of the entries times a number.

    With N entries of kurtosis k its relative standard error is sqrt((k - 1) / N).

    Attributes:
        draws: the weights.
        factor: the number.
    """

    draws: Draws
    factor: float

    def measure(self, context: RunContext) -> DataFrame:
        """Measure; see :class:`~initcheck.spec.decisions.EstimateWithin` for the columns."""
        import pandas as pd

        values = np.asarray(self.draws.draw(context), dtype=np.float64)
        estimate = float(np.mean(values**2)) * self.factor
        error = estimate * math.sqrt((self.draws.subject.distribution(self.draws.shape).moment(4) - 1.0) / values.size)
        row = (self.draws.name, estimate, error, math.inf, values.size)
        return pd.DataFrame([row], columns=["member", "estimate", "standard_error", "freedom", "count"])


@dataclass(frozen=True)
class OutputVariance:
    """Mean square of a linear Dense layer's output over that of its input, by seed of the kernel.

    With 64 normal inputs and 500 units its standard deviation is about sqrt(2 / 32,000), .8%, of its mean. Over 16
    seeds the noncentral t gives 1e-18 for a true claim that a margin of 3% does not pass.

    Attributes:
        spec: the initializer.
    """

    spec: InitializerSpec

    def measure(self, context: RunContext) -> DataFrame:
        """Measure; see :class:`~initcheck.spec.decisions.SeedMeanWithin` for the columns."""
        import pandas as pd

        keras = import_keras()
        values = []
        for seed in context.seeds("notebook output variance", 16):
            x = np.random.default_rng(seed).standard_normal((64, _INPUTS)).astype(np.float32)
            layer = keras.layers.Dense(_UNITS, kernel_initializer=self.spec.create(seed))
            y = np.asarray(layer(x), dtype=np.float64)
            values.append(float(np.mean(y**2) / np.mean(x.astype(np.float64) ** 2)))
        return pd.DataFrame({"member": self.spec.label, "seed": range(len(values)), "value": values})


def _output(name: str, statement: str, ratio: float, *, refuted: bool) -> Claim:
    other = LECUN if refuted else HE
    return Claim(
        id=f"notebook.{name}",
        statement=statement,
        source=_SOURCE,
        condition=f"a Dense layer of {_INPUTS} inputs and {_UNITS} units, 64 normal inputs; 16 seeds",
        experiment=OutputVariance(GLOROT),
        decide=SeedMeanWithin("mean square of the output over the input's", 0.97 * ratio, 1.03 * ratio),
        control=OutputVariance(other),
        control_note=f"{other.label}, which {'does' if refuted else 'does not'}",
        expected="refuted" if refuted else "holds",
        false_alarm=CLAIM_FALSE_ALARM,
        rows=("NB6",),
    )


def _xavier() -> list[Claim]:
    shape, square = (_INPUTS, _UNITS), (700, 700)
    assert math.prod(square) >= size_of_equivalence(2.0, 0.03)
    glorot, lecun, he = (Subject(f"notebook_{spec.class_name.lower()}", spec) for spec in (GLOROT, LECUN, HE))

    def formula(
        name: str, statement: str, subject: Subject, at: tuple[int, int], factor: float, refuted: bool
    ) -> Claim:
        other = lecun if refuted or subject is he else he
        note = f"{other.label}, which {'has' if refuted else 'has not'} that variance"
        return Claim(
            id=f"notebook.{name}",
            statement=statement,
            source=_SOURCE,
            condition=f"a layer of {at[0]} inputs and {at[1]} units",
            experiment=VarianceTimes(Draws(subject, at, 1), factor),
            decide=EstimateWithin("variance over the formula's", 0.97, 1.03),
            control=VarianceTimes(Draws(other, at, 1), factor),
            control_note=note,
            expected="refuted" if refuted else "holds",
            false_alarm=CLAIM_FALSE_ALARM,
            rows=("NB8",) if subject is he else ("NB5",),
        )

    return [
        formula(
            "xavier.one_over_fan_in",
            "Xavier's initialization is a standard normal number times the square root of 1 / n, n the inputs.",
            glorot,
            shape,
            1000.0,
            True,
        ),
        formula(
            "xavier.two_over_both_fans",
            "Xavier's initialization has the variance 2 / (inputs + units).",
            glorot,
            shape,
            750.0,
            False,
        ),
        formula(
            "xavier.one_over_fan_in_in_square_layers",
            "In a layer of as many units as inputs, Xavier's variance is 1 / n.",
            glorot,
            square,
            700.0,
            False,
        ),
        _output(
            "xavier.output_variance_equals_input_variance",
            "With Xavier's initialization the variance of a linear layer's output equals that of its input.",
            1.0,
            refuted=True,
        ),
        _output(
            "xavier.output_variance_is_that_of_the_fans",
            "With Xavier's initialization a linear layer's output has 2 inputs / (inputs + units) times its input's "
            "variance: 1.33 for 1000 inputs and 500 units.",
            2.0 * _INPUTS / (_INPUTS + _UNITS),
            refuted=False,
        ),
        formula(
            "he.two_over_fan_in",
            "He's initialization has the standard deviation sqrt(2 / n), n the inputs.",
            he,
            shape,
            500.0,
            False,
        ),
    ]


# --- gradients from layer to layer ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class GradientCourse:
    """The mean square of the gradient in the first hidden layer over that in the second, by seed, one sample.

    Attributes:
        spec: the network.
        count: seeds.
    """

    spec: MlpSpec | NotebookSpec
    count: int = 40

    def measure(self, context: RunContext) -> DataFrame:
        """Measure; see :class:`~initcheck.spec.decisions.SeedMeanWithin` for the columns."""
        import pandas as pd

        from initcheck.probe import Probe

        random = np.random.default_rng(context.seed("gradient course"))
        x = random.standard_normal((1, *self.spec.sample_shape)).astype(np.float32)
        model = self.spec.build(self.spec.sample_shape, seed=0)
        table = Probe(model, x).measure(context.seeds("gradient course", self.count))
        names = self.spec.signal_layers()
        by_layer = table.pivot(index="seed", columns="layer", values="gradient_second_moment")
        values = (by_layer[names[0]] / by_layer[names[1]]).to_numpy(dtype=np.float64)
        return pd.DataFrame({"member": "first over second layer", "seed": range(len(values)), "value": values})


def _course() -> list[Claim]:
    notebook = NotebookSpec(initializer=GLOROT)
    square = MlpSpec(initializer=GLOROT, activation="linear", depth=2, width=128)
    relu = MlpSpec(initializer=HE, activation="relu", depth=2, width=128)
    # By seed the ratio varies by sqrt(2 / 128 + 2 / 128) = .18 at most in the square network: 60 seeds, .023.
    return [
        Claim(
            id="notebook.xavier.gradients_keep_their_variance",
            statement="With Xavier's initialization the variance of the gradients is about the same in each layer.",
            source=_SOURCE,
            condition="the notebook's network of 784, 300, 100 and 10, relu; 60 seeds",
            experiment=GradientCourse(notebook, 60),
            decide=SeedMeanWithin("mean square of the gradient, first over second layer", 0.75, 1.25),
            control=GradientCourse(square, 60),
            control_note="square linear layers, where it is",
            expected="refuted",
            slow=True,
            false_alarm=CLAIM_FALSE_ALARM,
            rows=("NB7",),
        ),
        Claim(
            id="notebook.he.gradients_keep_their_variance",
            statement="With He's initialization the variance of the gradients is about the same in each layer, where "
            "layers are square.",
            source=_SOURCE,
            condition="two hidden relu layers of 128 units, 128 inputs; 60 seeds",
            experiment=GradientCourse(relu, 60),
            decide=SeedMeanWithin("mean square of the gradient, first over second layer", 0.75, 1.25),
            control=GradientCourse(notebook, 60),
            control_note="the notebook's network of 784, 300 and 100 with GlorotNormal",
            slow=True,
            false_alarm=CLAIM_FALSE_ALARM,
            rows=("NB8",),
        ),
    ]
