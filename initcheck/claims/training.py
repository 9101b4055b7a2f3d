"""Claims about what becomes of an initialization in training.

Seeds are the replicates: each draws the kernels and the task. The effects are large (an accuracy of .1 against .8), and
the margins stand in the middle, several standard errors of the mean from either side.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from initcheck.claims.base import Claim
from initcheck.claims.decisions import AllWithin, SeedMeanWithin
from initcheck.claims.learning import CLASSES, Learner
from initcheck.claims.rates import CLAIM_FALSE_ALARM
from initcheck.initializers import InitializerSpec

if TYPE_CHECKING:
    from pandas import DataFrame

    from initcheck.claims.laboratory import Laboratory

SEEDS: Final = 8
"""In pilots the standard deviation was .011 for deep SELU (16 seeds, mean .94, bound .75), .020 for deep Glorot (16
seeds, .11, bound .3) and .002 for the difference that biases make (40 seeds, .00, bound .05). At 1.5 times these
figures the noncentral t gives less than 1e-8 for a true claim that does not pass."""
_DEEP_SEEDS: Final = 12
"""Of deep ReLU networks that learn. In a pilot of 60 seeds the mean was .73, the standard deviation .075, the least
.56; of 3,000,000 samples of 12 of them, none failed to show a mean above .3. With steps of .01 the accuracy still
swings at the end (1 network of 48 ended at chance): of such samples 9 in 10,000 failed, already at a bound of .2. Hence
steps of .005, and more of them."""

HE: Final = InitializerSpec("HeNormal")
GLOROT: Final = InitializerSpec("GlorotUniform")
LECUN: Final = InitializerSpec("LecunNormal")
ZEROS: Final = InitializerSpec("Zeros")

DEEP_HE: Final = Learner(HE, "relu", depth=30, learning_rate=0.005, epochs=20)
DEEP_GLOROT: Final = replace(DEEP_HE, initializer=GLOROT)
DEEP_SELU: Final = Learner(LECUN, "selu", depth=30, learning_rate=0.01, epochs=6)


@dataclass(frozen=True)
class Accuracy:
    """Accuracy on test samples after training, by seed.

    Attributes:
        learner: the network.
        against: another one; if given, the value is the difference in accuracy, seed by seed on the same task.
        count: seeds.
    """

    learner: Learner
    against: Learner | None = None
    count: int = SEEDS

    def measure(self, laboratory: Laboratory) -> DataFrame:
        """Measure; see :class:`~initcheck.claims.decisions.SeedMeanWithin` for the columns."""
        import pandas as pd

        values = [each.accuracy for each in self.learner.train(laboratory, "training", self.count)]
        if self.against is not None:
            others = self.against.train(laboratory, "training", self.count)
            values = [value - other.accuracy for value, other in zip(values, others, strict=True)]
        return pd.DataFrame({"member": "accuracy", "seed": range(len(values)), "value": values})


@dataclass(frozen=True)
class NeverLearns:
    """Whether all samples are still predicted alike after training, in every seed.

    Attributes:
        learners: the networks.
    """

    learners: tuple[Learner, ...]

    def measure(self, laboratory: Laboratory) -> DataFrame:
        """Measure; the deviation is the number of classes predicted, less one."""
        import pandas as pd

        rows = []
        for learner in self.learners:
            for place, trained in enumerate(learner.train(laboratory, "training", 3)):
                predicted = len(set(trained.logits.argmax(axis=1).tolist()))
                rows.append((f"{learner.activation}, seed {place}", predicted - 1.0, 0.0, len(trained.logits)))
        return pd.DataFrame(rows, columns=["member", "deviation", "limit", "count"])


_TASK: Final = "ten normal clouds in 64 dimensions, plain gradient descent, batches of 32"
_ACCURACY: Final = "accuracy on test samples"


def claims() -> tuple[Claim, ...]:
    """List the claims."""
    shallow = Learner(HE)
    drawn = replace(shallow, random_biases=True)
    zeros = tuple(Learner(ZEROS, activation, epochs=6) for activation in ("relu", "tanh", "linear"))
    return (
        Claim(
            id="training.he_normal.deep_relu_trains",
            statement="A ReLU network of 30 layers that starts with HeNormal learns.",
            source="He, Zhang, Ren & Sun, 2015, ICCV, section 2.2 and figure 3",
            condition=f"30 × 64, 1000 steps at .005; {_TASK}; {_DEEP_SEEDS} seeds",
            experiment=Accuracy(DEEP_HE, count=_DEEP_SEEDS),
            decide=SeedMeanWithin(_ACCURACY, 3.0 / CLASSES, 1.01),
            control=Accuracy(DEEP_GLOROT),
            control_note="GlorotUniform",
            slow=True,
            false_alarm=CLAIM_FALSE_ALARM,
            rows=("H1",),
        ),
        Claim(
            id="training.glorot_uniform.deep_relu_fails",
            statement="A ReLU network of 30 layers that starts with GlorotUniform does not learn: it stays at chance.",
            source="He, Zhang, Ren & Sun, 2015, ICCV, section 2.2 and figure 3",
            condition=f"30 × 64, 1000 steps at .005; {_TASK}; {SEEDS} seeds",
            experiment=Accuracy(DEEP_GLOROT),
            decide=SeedMeanWithin(_ACCURACY, 0.0, 3.0 / CLASSES),
            control=Accuracy(DEEP_HE, count=_DEEP_SEEDS),
            control_note="HeNormal",
            slow=True,
            false_alarm=CLAIM_FALSE_ALARM,
            rows=("H1",),
        ),
        Claim(
            id="training.lecun_normal.deep_selu_trains",
            statement="A SELU network of 30 layers that starts with LecunNormal learns, without normalization layers.",
            source="Klambauer, Unterthiner, Mayr & Hochreiter, 2017, NeurIPS, section 2",
            condition=f"30 × 64, 300 steps at .01; {_TASK}; {SEEDS} seeds",
            experiment=Accuracy(DEEP_SELU),
            decide=SeedMeanWithin(_ACCURACY, 0.75, 1.01),
            control=Accuracy(DEEP_GLOROT),
            control_note="ReLU with GlorotUniform",
            slow=True,
            false_alarm=CLAIM_FALSE_ALARM,
            rows=("H2",),
        ),
        Claim(
            id="training.zeros.never_trains",
            statement="A network that starts with zero kernels never learns to tell inputs apart.",
            source="the founding notebook; Goodfellow, Bengio & Courville, 2016, section 8.4",
            condition="2 × 64, relu, tanh and linear, 300 steps at .05; 3 seeds",
            experiment=NeverLearns(zeros),
            decide=AllWithin("classes predicted, less one", "samples"),
            control=NeverLearns((Learner(GLOROT),)),
            control_note="GlorotUniform",
            slow=True,
            rows=("G1", "NB1"),
        ),
        Claim(
            id="training.zero_biases.harmless",
            statement="Zero biases do no harm where kernels are random: networks learn as well as with random biases.",
            source="the founding notebook",
            condition="2 × 64, HeNormal, relu, 300 steps at .05; biases of standard deviation .05 beside; "
            f"{_TASK}; {SEEDS} seeds",
            experiment=Accuracy(shallow, drawn),
            decide=SeedMeanWithin("difference in accuracy", -0.05, 0.05),
            control=Accuracy(zeros[0], drawn),
            control_note="zero kernels, too",
            slow=True,
            false_alarm=CLAIM_FALSE_ALARM,
            rows=("G4", "NB3"),
        ),
    )
