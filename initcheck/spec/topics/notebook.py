"""The statements of the notebook that the project began with, one by one, as it makes them.

It compares zero, random, Xavier's and He's initialization on MNIST, with a network of 784, 300, 100 and 10 units.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np

from initcheck.backend.runtime import import_keras
from initcheck.models.initializers import InitializerSpec
from initcheck.models.networks import MlpSpec, NotebookSpec
from initcheck.probe.weight_copies import weight_gradients
from initcheck.spec import causes
from initcheck.spec.claim import Claim, EstimateRow, ExactRow, RunContext, SeedRow, seed_rows
from initcheck.spec.decisions import AllWithin, EstimateWithin, SeedMeanWithin, size_of_equivalence
from initcheck.spec.subjects import Draws, Subject, to_numpy
from initcheck.spec.topics.deep.networks import draw_normal, measure_model, pivot_by_layer
from initcheck.spec.topics.training import HE, LECUN, ZEROS, Accuracy, Learner, make_task

_SOURCE: Final = "the notebook that initcheck began with"
GLOROT: Final = InitializerSpec("GlorotNormal")
WILD: Final = Learner(InitializerSpec("RandomNormal", (("stddev", 1.0),)))
SMALL: Final = Learner(InitializerSpec("RandomNormal"))


def claims() -> tuple[Claim, ...]:
    """List the claims."""
    return (_usual_deviation(), *_formulas(), *_gradients(), *_zeros(), *_better())


# --- the usual standard deviation -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class DefaultDeviation:
    """The difference of a class's default standard deviation from 1, in the argument that holds it."""

    class_name: str
    argument: str

    def measure(self, context: RunContext) -> list[ExactRow]:  # noqa: ARG002 - nothing here is drawn
        config = getattr(import_keras().initializers, self.class_name)().get_config()
        value = float(config[self.argument])
        return [ExactRow(self.class_name, abs(value - 1.0), seen=f"{self.argument}={value:g}")]


def _usual_deviation() -> Claim:
    return Claim(
        id="notebook.random_normal.default_is_one",
        statement="The usual standard deviation of random weights is 1.",
        source=_SOURCE,
        condition="the default of Keras' RandomNormal",
        experiment=DefaultDeviation("RandomNormal", "stddev"),
        decide=AllWithin("difference from 1"),
        control=DefaultDeviation("VarianceScaling", "scale"),
        control_note="VarianceScaling's default scale, which is 1",
        expected="refuted",
        cause=causes.NOTEBOOK,
        rows=("NB4",),
    )


# --- formulas ---------------------------------------------------------------------------------------------------------

_INPUTS: Final = 1000
_UNITS: Final = 500


@dataclass(frozen=True)
class VarianceTimes:
    """The variance of the entries times a number; for N of kurtosis k its relative error is sqrt((k - 1) / N)."""

    draws: Draws
    factor: float

    def measure(self, context: RunContext) -> list[EstimateRow]:
        values = np.asarray(self.draws.draw(context), dtype=np.float64)
        estimate = float(np.mean(values**2)) * self.factor
        error = estimate * math.sqrt((self.draws.subject.distribution(self.draws.shape).moment(4) - 1.0) / values.size)
        return [EstimateRow(self.draws.name, estimate, error, values.size)]


@dataclass(frozen=True)
class OutputVariance:
    """Mean square of a linear Dense layer's output over that of its input, by seed of the kernel."""

    # With 64 normal inputs and 500 units its standard deviation is about sqrt(2 / 32,000), .8%, of its mean. Over 16
    # seeds the noncentral t gives 1e-18 for a true claim that a margin of 3% does not pass.
    spec: InitializerSpec

    def measure(self, context: RunContext) -> list[SeedRow]:
        keras = import_keras()
        values = []
        for seed in context.seeds("notebook output variance", 16):
            x = np.random.default_rng(seed).standard_normal((64, _INPUTS)).astype(np.float32)
            layer = keras.layers.Dense(_UNITS, kernel_initializer=self.spec.create(seed))
            y = to_numpy(layer(x)).astype(np.float64)
            values.append(float(np.mean(y**2) / np.mean(x.astype(np.float64) ** 2)))
        return seed_rows(self.spec.label, values)


def _output(name: str, statement: str, ratio: float, *, refuted: bool = False) -> Claim:
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
        cause=causes.NOTEBOOK,
        rows=("NB6",),
    )


def _formulas() -> Iterator[Claim]:
    shape, square = (_INPUTS, _UNITS), (700, 700)
    assert math.prod(square) >= size_of_equivalence(2.0, 0.03)
    glorot, lecun, he = (Subject(f"notebook_{spec.class_name.lower()}", spec) for spec in (GLOROT, LECUN, HE))

    def formula(
        name: str, statement: str, subject: Subject, factor: float, at: tuple[int, int] = shape, refuted: bool = False
    ) -> Claim:
        other = lecun if refuted or subject is he else he
        return Claim(
            id=f"notebook.{name}",
            statement=statement,
            source=_SOURCE,
            condition=f"a layer of {at[0]} inputs and {at[1]} units",
            experiment=VarianceTimes(Draws(subject, at, 1), factor),
            decide=EstimateWithin("variance over the formula's", 0.97, 1.03),
            control=VarianceTimes(Draws(other, at, 1), factor),
            control_note=f"{other.label}, which {'has' if refuted else 'has not'} that variance",
            expected="refuted" if refuted else "holds",
            cause=causes.NOTEBOOK,
            rows=("NB8",) if subject is he else ("NB5",),
        )

    yield formula(
        "xavier.one_over_fan_in",
        "Xavier's initialization is a standard normal number times the square root of 1 / n, n the inputs.",
        glorot,
        1000.0,
        refuted=True,
    )
    yield formula(
        "xavier.two_over_both_fans", "Xavier's initialization has the variance 2 / (inputs + units).", glorot, 750.0
    )
    yield formula(
        "xavier.one_over_fan_in_in_square_layers",
        "In a layer of as many units as inputs, Xavier's variance is 1 / n.",
        glorot,
        700.0,
        square,
    )
    yield _output(
        "xavier.output_variance_equals_input_variance",
        "With Xavier's initialization the variance of a linear layer's output equals that of its input.",
        1.0,
        refuted=True,
    )
    yield _output(
        "xavier.output_variance_is_that_of_the_fans",
        "With Xavier's initialization a linear layer's output has 2 inputs / (inputs + units) times its input's "
        "variance: 1.33 for 1000 inputs and 500 units.",
        2.0 * _INPUTS / (_INPUTS + _UNITS),
    )
    yield formula(
        "he.two_over_fan_in", "He's initialization has the standard deviation sqrt(2 / n), n the inputs.", he, 500.0
    )


# --- gradients from layer to layer ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class GradientRatio:
    """The mean square of the gradient in the first hidden layer over that in the second, by seed, one sample."""

    spec: MlpSpec | NotebookSpec

    def measure(self, context: RunContext) -> list[SeedRow]:
        x = draw_normal(context, "gradient course", (1, *self.spec.sample_shape))
        model = self.spec.build(self.spec.sample_shape, seed=0)
        table = measure_model(model, x, context.seeds("gradient course", 60))
        gradient = pivot_by_layer(table, "gradient_second_moment", self.spec.signal_layers())
        return seed_rows("first over second layer", gradient[:, 0] / gradient[:, 1])


def _gradients() -> Iterator[Claim]:
    notebook = GradientRatio(NotebookSpec(initializer=GLOROT))
    claim = partial(
        Claim,
        source=_SOURCE,
        # By seed the ratio varies by sqrt(2 / 128 + 2 / 128) = .18 at most in the square network: 60 seeds, .023.
        decide=SeedMeanWithin("mean square of the gradient, first over second layer", 0.75, 1.25),
        slow=True,
    )
    yield claim(
        id="notebook.xavier.gradients_keep_their_variance",
        statement="With Xavier's initialization the variance of the gradients is about the same in each layer.",
        condition="the notebook's network of 784, 300, 100 and 10, relu; 60 seeds",
        experiment=notebook,
        control=GradientRatio(MlpSpec(initializer=GLOROT, activation="linear", depth=2, width=128)),
        control_note="square linear layers, where it is",
        expected="refuted",
        cause=causes.NOTEBOOK,
        rows=("NB7",),
    )
    yield claim(
        id="notebook.he.gradients_keep_their_variance",
        statement="With He's initialization the variance of the gradients is about the same in each layer, where "
        "layers are square.",
        condition="two hidden relu layers of 128 units, 128 inputs; 60 seeds",
        experiment=GradientRatio(MlpSpec(initializer=HE, activation="relu", depth=2, width=128)),
        control=notebook,
        control_note="the notebook's network of 784, 300 and 100 with GlorotNormal",
        rows=("NB8",),
    )


# --- zero initialization ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class GradientsAlike:
    """Whether all kernel gradients of a network are the same number other than zero."""

    learner: Learner

    def measure(self, context: RunContext) -> Iterator[ExactRow]:
        """Measure; the deviation is their range over their largest magnitude, 1 where all of them are zero."""
        trained = self.learner.train(context, "symmetry", 3)
        for place, each in enumerate(trained):
            gradients = np.concatenate([gradient.ravel() for gradient in each.gradients[::2]])
            largest = float(np.abs(gradients).max())
            deviation = float(np.ptp(gradients)) / largest if largest else 1.0
            seen = "they differ" if largest else "all are zero"
            yield ExactRow(f"seed {place}", deviation, 1e-4, gradients.size, seen)


@dataclass(frozen=True)
class OneUnit:
    """A network whose weights have all the same gradient: linear, equal inputs, one output; for a control."""

    def measure(self, context: RunContext) -> list[ExactRow]:
        keras = import_keras()
        model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(1, kernel_initializer="zeros")])
        x = np.repeat(np.random.default_rng(context.seed("one unit")).normal(size=(16, 1)), 8, axis=1)
        (gradient,) = weight_gradients(model, x.astype(np.float32), keras.ops.mean, positions=[0])
        assert gradient is not None
        deviation = float(np.ptp(gradient) / np.abs(gradient).max())
        return [ExactRow("one unit", deviation, 1e-4, gradient.size, "all equal")]


@dataclass(frozen=True)
class Descent:
    """How much a small step from the zero weights, to a multiple of trained ones, lowers the loss at the best bias."""

    # The network is homogeneous, so that its outputs are the trained network's, scaled down, or of the opposite sign.
    sign: float = 1.0

    def measure(self, context: RunContext) -> Iterator[ExactRow]:
        """Measure; the deviation is the decrease of the loss, relative to that at zero."""
        learner = Learner(HE)
        keras = import_keras()
        model = learner.build()
        for place, trained in enumerate(learner.train(context, "training", 3)):
            x, y = make_task(context.seeds("training", 3)[place])
            frequencies = np.bincount(y, minlength=10) / y.size
            weights = [np.zeros_like(each) for each in trained.final]
            weights[-1] = np.log(np.maximum(frequencies, 1e-9)).astype(np.float32)
            losses = []
            for scale in (0.0, 0.3):
                moved = [each.copy() for each in weights]
                for index in range(0, len(moved), 2):
                    last = index == len(moved) - 2
                    moved[index] = scale * (self.sign if last else 1.0) * trained.final[index]
                model.set_weights(moved)
                loss = model.compute_loss(y=y, y_pred=model(x))
                losses.append(float(keras.ops.convert_to_numpy(loss)))
            yield ExactRow(f"seed {place}", (losses[0] - losses[1]) / losses[0], count=y.size)


def _zeros() -> Iterator[Claim]:
    zeros = Learner(ZEROS, "relu", 2, 37, epochs=1, learning_rate=0.5)
    linear = Learner(ZEROS, "linear", 0, epochs=6)
    deep_linear = Learner(ZEROS, "linear", 2, epochs=6)
    claim = partial(Claim, source=_SOURCE)
    yield claim(
        id="notebook.zeros.every_weight_has_the_same_gradient",
        statement="With zero initialization every weight gets the same gradient.",
        condition="2 hidden relu layers; kernels' gradients are all exactly zero, so nothing is learned from them",
        experiment=GradientsAlike(zeros),
        decide=AllWithin("range of the gradients, relative"),
        control=OneUnit(),
        control_note="a single linear unit of equal inputs, where they are equal",
        expected="refuted",
        cause=causes.NOTEBOOK,
        rows=("NB1",),
    )
    yield claim(
        id="notebook.zeros.as_good_as_a_linear_model",
        statement="With zero initialization a network is no worse than a linear model.",
        condition="2 × 64 relu after 300 steps against a linear model on the same task; 8 seeds",
        experiment=Accuracy(Learner(ZEROS), linear),
        decide=SeedMeanWithin("difference in accuracy", -0.1, 1.0),
        control=Accuracy(linear, Learner(GLOROT, "linear", 0, epochs=6)),
        control_note="a linear model initialized with zeros, against one that is not",
        expected="refuted",
        cause=causes.NOTEBOOK,
        slow=True,
        rows=("NB1",),
    )
    yield claim(
        id="notebook.zeros.linear_model_learns",
        statement="Without a hidden layer, zero initialization is fine.",
        condition="a linear model, 300 steps at .05; 8 seeds",
        experiment=Accuracy(linear),
        decide=SeedMeanWithin("accuracy on test samples", 0.7, 1.01),
        control=Accuracy(deep_linear),
        control_note="two hidden linear layers",
        slow=True,
        rows=("NB2",),
    )
    yield claim(
        id="notebook.zeros.deep_linear_network_learns",
        statement="With linear activations zero initialization is fine, hidden layers or not.",
        condition="2 × 64 linear, 300 steps at .05; 8 seeds",
        experiment=Accuracy(deep_linear),
        decide=SeedMeanWithin("accuracy on test samples", 0.7, 1.01),
        control=Accuracy(linear),
        control_note="no hidden layer",
        expected="refuted",
        cause=causes.NOTEBOOK,
        slow=True,
        rows=("NB2",),
    )
    yield claim(
        id="notebook.zeros.local_minimum",
        statement="Zero weights are a local minimum of the loss: no small step from them lowers it.",
        condition="2 × 64 relu at the best output bias; steps to a small multiple of trained kernels; 3 seeds",
        experiment=Descent(),
        decide=AllWithin("decrease of the loss, relative"),
        control=Descent(sign=-1.0),
        control_note="the opposite step, which raises it",
        expected="refuted",
        cause=causes.NOTEBOOK,
        slow=True,
        rows=("NB10",),
    )


# --- which learns better ----------------------------------------------------------------------------------------------

_PAIRS: Final = 12
_PAIRS_AGAINST_ONE: Final = 24
"""Pairs of one task each. In a pilot of 40 the difference in accuracy between GlorotNormal and a deviation of .05 was
.003 with a standard deviation of .011 (bound .1), and against one of 1 it was .052 with .017 (bound 0, hence more
pairs); the difference in loss in the first epoch was .67 with .10 (bound .1). At 1.5 times these deviations the
noncentral t gives less than 3e-8 for another verdict than the expected one."""


@dataclass(frozen=True)
class FirstLoss:
    """The mean training loss of the first epoch of other networks, less that of one, seed by seed on the same task."""

    learner: Learner
    others: tuple[tuple[str, Learner], ...]
    count: int = _PAIRS

    def measure(self, context: RunContext) -> Iterator[SeedRow]:
        own = self.learner.train(context, "training", self.count)
        for name, learner in self.others:
            others = learner.train(context, "training", self.count)
            yield from seed_rows(name, (each.losses[0] - one.losses[0] for each, one in zip(others, own, strict=True)))


def _better() -> Iterator[Claim]:
    glorot, zeros, he = Learner(GLOROT), Learner(ZEROS), Learner(HE)
    claim = partial(Claim, source=_SOURCE, slow=True)
    yield claim(
        id="notebook.random_normal_of_one.cannot_learn",
        statement="With a standard deviation of 1 a network does not learn.",
        condition="2 × 64 relu, 300 steps at .05; 8 seeds. Its first losses are far above ln 10",
        experiment=Accuracy(WILD),
        decide=SeedMeanWithin("accuracy on test samples", 0.0, 0.2),
        control=Accuracy(Learner(ZEROS)),
        control_note="zero kernels, which do not learn",
        expected="refuted",
        cause=causes.NOTEBOOK,
        rows=("NB4",),
    )
    yield claim(
        id="notebook.xavier.more_accurate_than_zeros",
        statement="A network initialized by Xavier's rule learns more accurately than one of zeros.",
        condition="2 × 64 relu, 300 steps at .05, the same task; 8 seeds",
        experiment=Accuracy(glorot, zeros),
        decide=SeedMeanWithin("difference in accuracy", 0.3, 1.01),
        control=Accuracy(glorot, he),
        control_note="against HeNormal",
        rows=("NB9",),
    )
    yield claim(
        id="notebook.xavier.more_accurate_than_small_random",
        statement="A network initialized by Xavier's rule learns more accurately, by a tenth or "
        "more, than one of random weights of a standard deviation of .05.",
        condition=f"2 × 64 relu, 300 steps at .05, the same task; {_PAIRS} seeds. After training they are level",
        experiment=Accuracy(glorot, SMALL, _PAIRS),
        decide=SeedMeanWithin("difference in accuracy", 0.1, 1.01),
        control=Accuracy(glorot, zeros, _PAIRS),
        control_note="against zeros, where it does",
        expected="refuted",
        cause=causes.NOTEBOOK,
        rows=("NB9",),
    )
    yield claim(
        id="notebook.xavier.more_accurate_than_unit_random",
        statement="A network initialized by Xavier's rule learns more accurately than one of random "
        "weights of a standard deviation of 1.",
        condition=f"2 × 64 relu, 300 steps at .05, the same task; {_PAIRS_AGAINST_ONE} seeds",
        experiment=Accuracy(glorot, WILD, _PAIRS_AGAINST_ONE),
        decide=SeedMeanWithin("difference in accuracy", 0.0, 1.01),
        control=Accuracy(WILD, glorot, _PAIRS_AGAINST_ONE),
        control_note="the two exchanged",
        rows=("NB4", "NB9"),
    )
    yield claim(
        id="notebook.xavier.faster_than_random_and_zeros",
        statement="A network initialized by Xavier's rule learns faster than one of random weights of "
        "a fixed standard deviation, or of zeros: its loss in the first epoch is lower.",
        condition="2 × 64 relu, the first 50 steps at .05, against standard deviations of .05 and 1 and against "
        f"zeros, the same task; {_PAIRS} seeds",
        experiment=FirstLoss(glorot, (("sd .05", SMALL), ("sd 1", WILD), ("zeros", zeros))),
        decide=SeedMeanWithin("loss in the first epoch, other less Xavier's", 0.1, 1e6),
        control=FirstLoss(glorot, (("HeNormal", he),)),
        control_note="against HeNormal, which is faster still",
        rows=("NB9",),
    )
