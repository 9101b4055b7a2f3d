"""The statements of the founding notebook about zeros and about what learns better."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from initcheck.claims.base import Claim
from initcheck.claims.decisions import AllWithin, SeedMeanWithin
from initcheck.claims.learning import Learner, make_task
from initcheck.claims.rates import CLAIM_FALSE_ALARM
from initcheck.claims.training import Accuracy
from initcheck.initializers import InitializerSpec
from initcheck.keras_runtime import import_keras

if TYPE_CHECKING:
    from pandas import DataFrame

    from initcheck.claims.laboratory import Laboratory

_SOURCE: Final = "the founding notebook"
ZEROS: Final = InitializerSpec("Zeros")
GLOROT: Final = InitializerSpec("GlorotNormal")
HE: Final = InitializerSpec("HeNormal")
WILD: Final = Learner(InitializerSpec("RandomNormal", (("stddev", 1.0),)))
SMALL: Final = Learner(InitializerSpec("RandomNormal"))


def claims() -> tuple[Claim, ...]:
    """List the claims."""
    return (*_zeros(), *_better())


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
            experiment=Accuracy(Learner(ZEROS), linear),
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


# --- which learns better ----------------------------------------------------------------------------------------------

_PAIRS: Final = 12
_PAIRS_AGAINST_ONE: Final = 24
"""Pairs of one task each. In a pilot of 40 the difference in accuracy between GlorotNormal and a deviation of .05 was
.003 with a standard deviation of .011 (bound .1), and against one of 1 it was .052 with .017 (bound 0, hence more
pairs); the difference in loss in the first epoch was .67 with .10 (bound .1). At 1.5 times these deviations the
noncentral t gives less than 3e-8 for another verdict than the expected one."""


@dataclass(frozen=True)
class FirstLoss:
    """The mean training loss of the first epoch of other networks, less that of one, seed by seed on the same task.

    Attributes:
        learner: the one.
        others: the others by name.
        count: seeds.
    """

    learner: Learner
    others: tuple[tuple[str, Learner], ...]
    count: int = _PAIRS

    def measure(self, laboratory: Laboratory) -> DataFrame:
        """Measure; see :class:`~initcheck.claims.decisions.SeedMeanWithin` for the columns."""
        import pandas as pd

        own = self.learner.train(laboratory, "training", self.count)
        rows = [
            (name, place, other.losses[0] - one.losses[0])
            for name, learner in self.others
            for place, (other, one) in enumerate(
                zip(learner.train(laboratory, "training", self.count), own, strict=True)
            )
        ]
        return pd.DataFrame(rows, columns=["member", "seed", "value"])


def _better() -> list[Claim]:
    glorot, zeros, he = Learner(GLOROT), Learner(ZEROS), Learner(HE)
    return [
        Claim(
            id="notebook.random_normal_of_one.cannot_learn",
            statement="With a standard deviation of 1 a network does not learn.",
            source=_SOURCE,
            condition="2 × 64 relu, 300 steps at .05; 8 seeds. Its first losses are far above ln 10",
            experiment=Accuracy(WILD),
            decide=SeedMeanWithin("accuracy on test samples", 0.0, 0.2),
            control=Accuracy(Learner(ZEROS)),
            control_note="zero kernels, which do not learn",
            expected="refuted",
            slow=True,
            false_alarm=CLAIM_FALSE_ALARM,
            rows=("NB4",),
        ),
        Claim(
            id="notebook.xavier.more_accurate_than_zeros",
            statement="A network that starts with Xavier's initialization learns more accurately than one of zeros.",
            source=_SOURCE,
            condition="2 × 64 relu, 300 steps at .05, the same task; 8 seeds",
            experiment=Accuracy(glorot, zeros),
            decide=SeedMeanWithin("difference in accuracy", 0.3, 1.01),
            control=Accuracy(glorot, he),
            control_note="against HeNormal",
            slow=True,
            false_alarm=CLAIM_FALSE_ALARM,
            rows=("NB9",),
        ),
        Claim(
            id="notebook.xavier.more_accurate_than_small_random",
            statement="A network that starts with Xavier's initialization learns more accurately, by a tenth or "
            "more, than one of random weights of a standard deviation of .05.",
            source=_SOURCE,
            condition=f"2 × 64 relu, 300 steps at .05, the same task; {_PAIRS} seeds. In the end they are level",
            experiment=Accuracy(glorot, SMALL, _PAIRS),
            decide=SeedMeanWithin("difference in accuracy", 0.1, 1.01),
            control=Accuracy(glorot, zeros, _PAIRS),
            control_note="against zeros, where it does",
            expected="refuted",
            slow=True,
            false_alarm=CLAIM_FALSE_ALARM,
            rows=("NB9",),
        ),
        Claim(
            id="notebook.xavier.more_accurate_than_unit_random",
            statement="A network that starts with Xavier's initialization learns more accurately than one of random "
            "weights of a standard deviation of 1.",
            source=_SOURCE,
            condition=f"2 × 64 relu, 300 steps at .05, the same task; {_PAIRS_AGAINST_ONE} seeds",
            experiment=Accuracy(glorot, WILD, _PAIRS_AGAINST_ONE),
            decide=SeedMeanWithin("difference in accuracy", 0.0, 1.01),
            control=Accuracy(WILD, glorot, _PAIRS_AGAINST_ONE),
            control_note="the two exchanged",
            slow=True,
            false_alarm=CLAIM_FALSE_ALARM,
            rows=("NB4", "NB9"),
        ),
        Claim(
            id="notebook.xavier.faster_than_random_and_zeros",
            statement="A network that starts with Xavier's initialization learns faster than one of random weights of "
            "a fixed spread, or of zeros: its loss in the first epoch is lower.",
            source=_SOURCE,
            condition="2 × 64 relu, the first 50 steps at .05, against standard deviations of .05 and 1 and against "
            f"zeros, the same task; {_PAIRS} seeds",
            experiment=FirstLoss(glorot, (("sd .05", SMALL), ("sd 1", WILD), ("zeros", zeros))),
            decide=SeedMeanWithin("loss in the first epoch, other less Xavier's", 0.1, 1e6),
            control=FirstLoss(glorot, (("HeNormal", he),)),
            control_note="against HeNormal, which is faster still",
            slow=True,
            false_alarm=CLAIM_FALSE_ALARM,
            rows=("NB9",),
        ),
    ]
