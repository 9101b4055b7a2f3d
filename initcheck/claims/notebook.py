"""The statements of the founding notebook, one by one, as it makes them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from initcheck.claims.base import Claim
from initcheck.claims.decisions import AllWithin, EstimateWithin, SeedMeanWithin, size_of_equivalence
from initcheck.claims.learning import Learner, make_task
from initcheck.claims.rates import CLAIM_FALSE_ALARM
from initcheck.claims.sampling import Draws, Subject
from initcheck.claims.training import Accuracy
from initcheck.initializers import InitializerSpec
from initcheck.keras_runtime import import_keras
from initcheck.networks import MlpSpec, NotebookSpec

if TYPE_CHECKING:
    from pandas import DataFrame

    from initcheck.claims.laboratory import Laboratory

_SOURCE: Final = "the founding notebook"
ZEROS: Final = InitializerSpec("Zeros")
GLOROT: Final = InitializerSpec("GlorotNormal")
LECUN: Final = InitializerSpec("LecunNormal")
HE: Final = InitializerSpec("HeNormal")
UNIT: Final = InitializerSpec("RandomNormal", (("stddev", 1.0),))


def claims() -> tuple[Claim, ...]:
    """List the claims."""
    return (*_zeros(), *_spread(), *_xavier(), *_course(), *_better())


# --- zero initialization ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class GradientsAlike:
    """Whether all kernel gradients of a network are the same number other than zero.

    Attributes:
        learner: the network.
    """

    learner: Learner

    def measure(self, laboratory: Laboratory) -> DataFrame:
        """Measure; the deviation is their range over their largest magnitude, 1 where all of them are zero."""
        import pandas as pd

        trained = self.learner.train(laboratory, "symmetry", 3)
        rows = []
        for place, each in enumerate(trained):
            gradients = np.concatenate([gradient.ravel() for gradient in each.gradients[::2]])
            largest = float(np.abs(gradients).max())
            deviation = float(np.ptp(gradients)) / largest if largest else 1.0
            told = "all are zero" if not largest else "they differ"
            rows.append((f"seed {place}", deviation, 1e-4, gradients.size, told))
        return pd.DataFrame(rows, columns=["member", "deviation", "limit", "count", "told"])


@dataclass(frozen=True)
class OneUnit:
    """A network whose weights have all the same gradient: linear, one input repeated, one output; for a control.

    Its inputs are all equal, so that each kernel's entry sees the same.
    """

    def measure(self, laboratory: Laboratory) -> DataFrame:
        """Measure, as :class:`GradientsAlike`."""
        import pandas as pd
        import tensorflow as tf

        keras = import_keras()
        model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(1, kernel_initializer="zeros")])
        x = np.repeat(np.random.default_rng(laboratory.seed("one unit")).normal(size=(16, 1)), 8, axis=1)
        with tf.GradientTape() as tape:
            loss = keras.ops.mean(model(x.astype(np.float32)))
        gradient = np.asarray(tape.gradient(loss, model.layers[0].kernel.value))
        deviation = float(np.ptp(gradient) / np.abs(gradient).max())
        row = ("one unit", deviation, 1e-4, gradient.size, "all equal")
        return pd.DataFrame([row], columns=["member", "deviation", "limit", "count", "told"])


@dataclass(frozen=True)
class Descent:
    """How much a small step from the zero weights lowers the loss, at the best output bias.

    The step goes to a small multiple of trained weights; their network is homogeneous, so that its outputs are those of
    the trained network, scaled down. A step whose outputs have the opposite sign raises the loss.

    Attributes:
        step: the multiple of the trained kernels.
        sign: -1 for the opposite step.
    """

    step: float = 0.3
    sign: float = 1.0

    def measure(self, laboratory: Laboratory) -> DataFrame:
        """Measure; the deviation is the decrease of the loss, relative to that at zero."""
        import pandas as pd

        learner = Learner(HE)
        keras = import_keras()
        model = learner.build()
        rows = []
        for place, trained in enumerate(learner.train(laboratory, "training", 3)):
            x, y = make_task(laboratory.seeds("training", 3)[place])
            frequencies = np.bincount(y, minlength=10) / y.size
            weights = [np.zeros_like(each) for each in trained.end]
            weights[-1] = np.log(np.maximum(frequencies, 1e-9)).astype(np.float32)
            losses = []
            for scale in (0.0, self.step):
                moved = [each.copy() for each in weights]
                for index in range(0, len(moved), 2):
                    last = index == len(moved) - 2
                    moved[index] = scale * (self.sign if last else 1.0) * trained.end[index]
                model.set_weights(moved)
                loss = model.compute_loss(y=y, y_pred=model(x))
                losses.append(float(keras.ops.convert_to_numpy(loss)))
            rows.append((f"seed {place}", (losses[0] - losses[1]) / losses[0], 0.0, y.size))
        return pd.DataFrame(rows, columns=["member", "deviation", "limit", "count"])


def _zeros() -> list[Claim]:
    zeros = Learner(ZEROS, "relu", 2, 37, epochs=1, learning_rate=0.5)
    linear = Learner(ZEROS, "linear", 0, epochs=6)
    deep_linear = Learner(ZEROS, "linear", 2, epochs=6)
    return [
        Claim(
            id="notebook.zeros.every_weight_has_the_same_gradient",
            statement="With zero initialization every weight gets the same gradient.",
            source=_SOURCE,
            condition="2 hidden relu layers; kernels' gradients are all exactly zero, so nothing is learned from them",
            experiment=GradientsAlike(zeros),
            decide=AllWithin("range of the gradients, relative"),
            control=OneUnit(),
            control_note="a single linear unit of equal inputs, where they are equal",
            expected="refuted",
            rows=("NB1",),
        ),
        Claim(
            id="notebook.zeros.as_good_as_a_linear_model",
            statement="With zero initialization a network is no worse than a linear model.",
            source=_SOURCE,
            condition="2 × 64 relu after 300 steps against a linear model on the same task; 8 seeds",
            experiment=Accuracy(Learner(ZEROS, "relu", 2, epochs=6), linear),
            decide=SeedMeanWithin("difference in accuracy", -0.1, 1.0),
            control=Accuracy(linear, Learner(GLOROT, "linear", 0, epochs=6)),
            control_note="a linear model that starts from zero, against one that does not",
            expected="refuted",
            slow=True,
            false_alarm=CLAIM_FALSE_ALARM,
            rows=("NB1",),
        ),
        Claim(
            id="notebook.zeros.linear_model_learns",
            statement="Without a hidden layer, zero initialization is fine.",
            source=_SOURCE,
            condition="a linear model, 300 steps at .05; 8 seeds",
            experiment=Accuracy(linear),
            decide=SeedMeanWithin("accuracy on test samples", 0.7, 1.01),
            control=Accuracy(deep_linear),
            control_note="two hidden linear layers",
            slow=True,
            false_alarm=CLAIM_FALSE_ALARM,
            rows=("NB2",),
        ),
        Claim(
            id="notebook.zeros.deep_linear_network_learns",
            statement="With linear activations zero initialization is fine, hidden layers or not.",
            source=_SOURCE,
            condition="2 × 64 linear, 300 steps at .05; 8 seeds",
            experiment=Accuracy(deep_linear),
            decide=SeedMeanWithin("accuracy on test samples", 0.7, 1.01),
            control=Accuracy(linear),
            control_note="no hidden layer",
            expected="refuted",
            slow=True,
            false_alarm=CLAIM_FALSE_ALARM,
            rows=("NB2",),
        ),
        Claim(
            id="notebook.zeros.local_minimum",
            statement="Zero weights are a local minimum of the loss: no small step from them lowers it.",
            source=_SOURCE,
            condition="2 × 64 relu at the best output bias; steps to a small multiple of trained kernels; 3 seeds",
            experiment=Descent(),
            decide=AllWithin("decrease of the loss, relative"),
            control=Descent(sign=-1.0),
            control_note="the opposite step, which raises it",
            expected="refuted",
            slow=True,
            rows=("NB10",),
        ),
    ]


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

    def measure(self, laboratory: Laboratory) -> DataFrame:  # noqa: ARG002 - nothing here is drawn
        """Measure; see :class:`~initcheck.claims.decisions.AllWithin` for the columns."""
        import pandas as pd

        config = getattr(import_keras().initializers, self.class_name)().get_config()
        value = float(config[self.argument])
        row = (self.class_name, abs(value - 1.0), 0.0, 1, f"{self.argument}={value:g}")
        return pd.DataFrame([row], columns=["member", "deviation", "limit", "count", "told"])


def _spread() -> list[Claim]:
    wild = replace(Learner(UNIT), epochs=6)
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
        Claim(
            id="notebook.random_normal_of_one.cannot_learn",
            statement="With a standard deviation of 1 a network does not learn.",
            source=_SOURCE,
            condition="2 × 64 relu, 300 steps at .05; 8 seeds. Its first loss is in the hundreds, and it learns anyway",
            experiment=Accuracy(wild),
            decide=SeedMeanWithin("accuracy on test samples", 0.0, 0.2),
            control=Accuracy(Learner(ZEROS, "relu", 2, epochs=6)),
            control_note="zero kernels, which do not learn",
            expected="refuted",
            slow=True,
            false_alarm=CLAIM_FALSE_ALARM,
            rows=("NB4",),
        ),
    ]


# --- formulas ---------------------------------------------------------------------------------------------------------


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

    def measure(self, laboratory: Laboratory) -> DataFrame:
        """Measure; see :class:`~initcheck.claims.decisions.EstimateWithin` for the columns."""
        import pandas as pd

        values = np.asarray(self.draws.draw(laboratory), dtype=np.float64)
        estimate = float(np.mean(values**2)) * self.factor
        error = estimate * math.sqrt((self.draws.subject.law(self.draws.shape).moment(4) - 1.0) / values.size)
        row = (self.draws.name, estimate, error, math.inf, values.size)
        return pd.DataFrame([row], columns=["member", "estimate", "standard_error", "freedom", "count"])


def _xavier() -> list[Claim]:
    shape, square = (1000, 500), (700, 700)
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
            rows=("NB8",) if subject is he else (("NB6",) if "output" in name else ("NB5",)),
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
        formula(
            "xavier.output_variance_equals_input_variance",
            "With Xavier's initialization the variance of a linear layer's output equals that of its input.",
            glorot,
            shape,
            1000.0,
            True,
        ),
        formula(
            "xavier.output_variance_is_that_of_the_fans",
            "With Xavier's initialization a linear layer's output has 2 inputs / (inputs + units) times its input's "
            "variance: 1.33 for 1000 inputs and 500 units.",
            glorot,
            shape,
            750.0,
            False,
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

    def measure(self, laboratory: Laboratory) -> DataFrame:
        """Measure; see :class:`~initcheck.claims.decisions.SeedMeanWithin` for the columns."""
        import pandas as pd

        from initcheck.probe import Probe

        random = np.random.default_rng(laboratory.seed("gradient course"))
        x = random.standard_normal((1, *self.spec.sample_shape)).astype(np.float32)
        model = self.spec.build(self.spec.sample_shape, seed=0)
        table = Probe(model, x).measure(laboratory.seeds("gradient course", self.count))
        names = self.spec.signal_layers()
        by_layer = table.pivot(index="seed", columns="layer", values="gradient_second_moment")
        values = (by_layer[names[0]] / by_layer[names[1]]).to_numpy(dtype=np.float64)
        return pd.DataFrame({"member": "first over second layer", "seed": range(len(values)), "value": values})


def _course() -> list[Claim]:
    notebook = NotebookSpec(initializer=GLOROT)
    square = MlpSpec(initializer=GLOROT, activation="linear", depth=2, width=128)
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
        )
    ]


# --- which learns better ----------------------------------------------------------------------------------------------


def _better() -> list[Claim]:
    glorot, zeros = Learner(GLOROT), Learner(ZEROS, "relu", 2, epochs=6)
    small = Learner(InitializerSpec("RandomNormal"))
    return [
        Claim(
            id="notebook.xavier.more_accurate_than_zeros",
            statement="A network that starts with Xavier's initialization learns more accurately than one of zeros.",
            source=_SOURCE,
            condition="2 × 64 relu, 300 steps at .05, the same task; 8 seeds",
            experiment=Accuracy(glorot, zeros),
            decide=SeedMeanWithin("difference in accuracy", 0.3, 1.01),
            control=Accuracy(glorot, Learner(HE)),
            control_note="against HeNormal",
            slow=True,
            false_alarm=CLAIM_FALSE_ALARM,
            rows=("NB9",),
        ),
        Claim(
            id="notebook.xavier.more_accurate_than_random",
            statement="A network that starts with Xavier's initialization learns more accurately than one of random "
            "weights of a fixed spread, by a tenth or more.",
            source=_SOURCE,
            condition="2 × 64 relu, 300 steps at .05, against RandomNormal's default, the same task; 8 seeds",
            experiment=Accuracy(glorot, small),
            decide=SeedMeanWithin("difference in accuracy", 0.1, 1.01),
            control=Accuracy(glorot, zeros),
            control_note="against zeros, where it does",
            expected="refuted",
            slow=True,
            false_alarm=CLAIM_FALSE_ALARM,
            rows=("NB9",),
        ),
    ]
