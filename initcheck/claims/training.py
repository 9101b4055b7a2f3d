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
_DEEP_SEEDS: Final = 12
"""Of deep ReLU networks, whose accuracy varies most: in a pilot .58 on average, with a standard deviation of .09. At
.12, a mean of .58 is not shown to be above .2 with probability 1.4e-7 (noncentral t); at .09, far less."""

HE: Final = InitializerSpec("HeNormal")
GLOROT: Final = InitializerSpec("GlorotUniform")
LECUN: Final = InitializerSpec("LecunNormal")
ZEROS: Final = InitializerSpec("Zeros")

DEEP_HE: Final = Learner(HE, "relu", depth=30, learning_rate=0.01, epochs=12)
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


_TASK: Final = f"ten normal clouds in 64 dimensions, plain gradient descent, batches of 32; {SEEDS} seeds"
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
            condition=f"30 × 64, 600 steps at .01; {_TASK}",
            experiment=Accuracy(DEEP_HE, count=_DEEP_SEEDS),
            decide=SeedMeanWithin(_ACCURACY, 2.0 / CLASSES, 1.01),
            control=Accuracy(DEEP_GLOROT, count=_DEEP_SEEDS),
            control_note="GlorotUniform",
            slow=True,
            false_alarm=CLAIM_FALSE_ALARM,
            rows=("H1",),
        ),
        Claim(
            id="training.glorot_uniform.deep_relu_fails",
            statement="A ReLU network of 30 layers that starts with GlorotUniform does not learn: it stays at chance.",
            source="He, Zhang, Ren & Sun, 2015, ICCV, section 2.2 and figure 3",
            condition=f"30 × 64, 600 steps at .01; {_TASK}",
            experiment=Accuracy(DEEP_GLOROT, count=_DEEP_SEEDS),
            decide=SeedMeanWithin(_ACCURACY, 0.0, 2.0 / CLASSES),
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
            condition=f"30 × 64, 300 steps at .01; {_TASK}",
            experiment=Accuracy(DEEP_SELU),
            decide=SeedMeanWithin(_ACCURACY, 0.75, 1.01),
            control=Accuracy(DEEP_GLOROT, count=_DEEP_SEEDS),
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
            condition=f"2 × 64, HeNormal, relu, 300 steps at .05; biases of standard deviation .05 beside; {_TASK}",
            experiment=Accuracy(shallow, drawn),
            decide=SeedMeanWithin("difference in accuracy", -0.05, 0.05),
            control=Accuracy(zeros[0], drawn),
            control_note="zero kernels, too",
            slow=True,
            false_alarm=CLAIM_FALSE_ALARM,
            rows=("G4", "NB3"),
        ),
    )
