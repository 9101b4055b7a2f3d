"""Claims about what becomes of an initialization in training.

Seeds are the replicates: each draws the kernels and the task. The effects are large (an accuracy of .1 against .8), and
the margins stand in the middle, several standard errors of the mean from either side.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from initcheck.backend.runtime import import_keras, import_tensorflow
from initcheck.core.seeds import derive_seeds
from initcheck.models.initializers import InitializerSpec
from initcheck.spec.claim import Claim
from initcheck.spec.decisions import CLAIM_FALSE_ALARM, AllWithin, SeedMeanWithin

if TYPE_CHECKING:
    from pandas import DataFrame

    from initcheck.spec.claim import RunContext


INPUTS: Final = 64
CLASSES: Final = 10
_TRAINED_ON: Final = 1600
_TESTED_ON: Final = 400
BATCH: Final = 32

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Learner:
    """A plain network of Dense layers and plain stochastic gradient descent.

    Attributes:
        initializer: of the hidden kernels.
        activation: of the hidden layers.
        depth: hidden layers; 0 is a linear model.
        width: units of each.
        head: initializer of the output's kernel; None for that of the hidden ones.
        learning_rate: of the descent.
        epochs: over 1,600 samples in batches of 32; 0 for the first gradients alone.
        random_biases: whether biases are drawn with a standard deviation of .05 instead of zero.
        dtype: of weights, outputs and loss.
    """

    initializer: InitializerSpec
    activation: str = "relu"
    depth: int = 2
    width: int = 64
    head: InitializerSpec | None = None
    learning_rate: float = 0.05
    epochs: int = 6
    random_biases: bool = False
    dtype: str = "float32"

    def train(self, context: RunContext, label: str, count: int) -> list[Trained]:
        """Train networks of several seeds, each on a task of its own.

        Args:
            context: the source of the seeds.
            label: of the seeds; learners of one label get the same tasks, and kernels of the same seeds.
            count: how many.
        """
        found: list[Trained] = context.remember(("trained", self, label), list)
        if len(found) < count:  # a seed does not depend on how many are asked for: train those that are missing
            found += self._train(context.seeds(label, count)[len(found) :])
        return found[:count]

    def build(self) -> Any:
        """Build the model, compiled; its weights are set seed by seed."""
        keras = import_keras()
        hidden = [
            keras.layers.Dense(self.width, activation=self.activation, dtype=self.dtype) for _ in range(self.depth)
        ]
        head = keras.layers.Dense(CLASSES, dtype=self.dtype)
        model = keras.Sequential([keras.Input((INPUTS,), dtype=self.dtype), *hidden, head])
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, dtype=self.dtype)
        # An epoch is one call of the compiled function; XLA would take longer to compile than there is to compute.
        options = {"jit_compile": False, "steps_per_execution": _TRAINED_ON // BATCH}
        model.compile(keras.optimizers.SGD(self.learning_rate), loss, **options)
        return model

    def draw(self, model: Any, seed: int) -> list[NDArray[Any]]:
        """Draw kernels and biases for one seed."""
        seeds = derive_seeds(seed, [f"layer {place}" for place in range(2 * len(model.layers))])
        weights: list[NDArray[Any]] = []
        for place, layer in enumerate(model.layers):
            last = place == len(model.layers) - 1
            spec = self.head if last and self.head is not None else self.initializer
            weights.append(np.asarray(spec.create(seeds[2 * place])(tuple(layer.kernel.shape))))
            bias = np.zeros(layer.bias.shape, dtype=np.float32)
            if self.random_biases:
                random = np.random.default_rng(seeds[2 * place + 1])
                bias = random.normal(0.0, 0.05, layer.bias.shape).astype(np.float32)
            weights.append(bias)
        return weights

    def _train(self, seeds: tuple[int, ...]) -> list[Trained]:
        model = self.build()
        found = []
        for seed in seeds:
            x, y = make_task(seed)
            start = self.draw(model, seed)
            model.set_weights(start)
            gradients = take_gradients(model, x[:BATCH], y[:BATCH])
            losses: list[float] = []
            if self.epochs:
                history = model.fit(
                    x[:_TRAINED_ON], y[:_TRAINED_ON], batch_size=BATCH, epochs=self.epochs, shuffle=False, verbose=0
                )
                losses = [float(loss) for loss in history.history["loss"]]
            logits = np.asarray(model(x[_TRAINED_ON:]))
            accuracy = float(np.mean(logits.argmax(axis=1) == y[_TRAINED_ON:]))
            found.append(Trained(start, model.get_weights(), gradients, logits, accuracy, losses))
        return found


@dataclass(frozen=True, eq=False)
class Trained:
    """One network after its training.

    Attributes:
        start: kernels and biases before.
        end: and after.
        gradients: of the loss on the first batch at the start, in the order of the weights.
        logits: for the test samples, at the end.
        accuracy: on the test samples.
        losses: mean training loss by epoch.
    """

    start: list[NDArray[Any]]
    end: list[NDArray[Any]]
    gradients: list[NDArray[Any]]
    logits: NDArray[Any]
    accuracy: float
    losses: list[float]


def make_task(seed: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Draw samples and labels: 1,600 to train on, then 400 to test on."""
    random = np.random.default_rng(seed)
    centres = random.standard_normal((CLASSES, INPUTS))
    labels = random.integers(0, CLASSES, _TRAINED_ON + _TESTED_ON)
    noise = 1.5 * random.standard_normal((labels.size, INPUTS))
    return ((centres[labels] + noise) / np.sqrt(3.25)).astype(np.float32), labels


def take_gradients(model: Any, x: NDArray[Any], y: NDArray[Any]) -> list[NDArray[Any]]:
    """Differentiate the loss with respect to each weight."""
    tf = import_tensorflow()

    with tf.GradientTape() as tape:
        loss = model.compute_loss(y=y, y_pred=model(x, training=True))
    return [np.asarray(each) for each in tape.gradient(loss, [weight.value for weight in model.trainable_weights])]


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

    def measure(self, context: RunContext) -> DataFrame:
        """Measure; see :class:`~initcheck.spec.decisions.SeedMeanWithin` for the columns."""
        import pandas as pd

        values = [each.accuracy for each in self.learner.train(context, "training", self.count)]
        if self.against is not None:
            others = self.against.train(context, "training", self.count)
            values = [value - other.accuracy for value, other in zip(values, others, strict=True)]
        return pd.DataFrame({"member": "accuracy", "seed": range(len(values)), "value": values})


@dataclass(frozen=True)
class NeverLearns:
    """Whether all samples are still predicted alike after training, in every seed.

    Attributes:
        learners: the networks.
    """

    learners: tuple[Learner, ...]

    def measure(self, context: RunContext) -> DataFrame:
        """Measure; the deviation is the number of classes predicted, less one."""
        import pandas as pd

        rows = []
        for learner in self.learners:
            for place, trained in enumerate(learner.train(context, "training", 3)):
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


_SOURCE: Final = "the founding notebook"
GLOROT_NORMAL: Final = InitializerSpec("GlorotNormal")
WILD: Final = Learner(InitializerSpec("RandomNormal", (("stddev", 1.0),)))
SMALL: Final = Learner(InitializerSpec("RandomNormal"))


def notebook_claims() -> tuple[Claim, ...]:
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

    def measure(self, context: RunContext) -> DataFrame:
        """Measure; the deviation is their range over their largest magnitude, 1 where all of them are zero."""
        import pandas as pd

        trained = self.learner.train(context, "symmetry", 3)
        rows = []
        for place, each in enumerate(trained):
            gradients = np.concatenate([gradient.ravel() for gradient in each.gradients[::2]])
            largest = float(np.abs(gradients).max())
            deviation = float(np.ptp(gradients)) / largest if largest else 1.0
            told = "all are zero" if not largest else "they differ"
            rows.append((f"seed {place}", deviation, 1e-4, gradients.size, told))
        return pd.DataFrame(rows, columns=["member", "deviation", "limit", "count", "seen"])


@dataclass(frozen=True)
class OneUnit:
    """A network whose weights have all the same gradient: linear, one input repeated, one output; for a control.

    Its inputs are all equal, so that each kernel's entry sees the same.
    """

    def measure(self, context: RunContext) -> DataFrame:
        """Measure, as :class:`GradientsAlike`."""
        import pandas as pd

        tf = import_tensorflow()

        keras = import_keras()
        model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(1, kernel_initializer="zeros")])
        x = np.repeat(np.random.default_rng(context.seed("one unit")).normal(size=(16, 1)), 8, axis=1)
        with tf.GradientTape() as tape:
            loss = keras.ops.mean(model(x.astype(np.float32)))
        gradient = np.asarray(tape.gradient(loss, model.layers[0].kernel.value))
        deviation = float(np.ptp(gradient) / np.abs(gradient).max())
        row = ("one unit", deviation, 1e-4, gradient.size, "all equal")
        return pd.DataFrame([row], columns=["member", "deviation", "limit", "count", "seen"])


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

    def measure(self, context: RunContext) -> DataFrame:
        """Measure; the deviation is the decrease of the loss, relative to that at zero."""
        import pandas as pd

        learner = Learner(HE)
        keras = import_keras()
        model = learner.build()
        rows = []
        for place, trained in enumerate(learner.train(context, "training", 3)):
            x, y = make_task(context.seeds("training", 3)[place])
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
            control=Accuracy(linear, Learner(GLOROT_NORMAL, "linear", 0, epochs=6)),
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

    def measure(self, context: RunContext) -> DataFrame:
        """Measure; see :class:`~initcheck.spec.decisions.SeedMeanWithin` for the columns."""
        import pandas as pd

        own = self.learner.train(context, "training", self.count)
        rows = [
            (name, place, other.losses[0] - one.losses[0])
            for name, learner in self.others
            for place, (other, one) in enumerate(zip(learner.train(context, "training", self.count), own, strict=True))
        ]
        return pd.DataFrame(rows, columns=["member", "seed", "value"])


def _better() -> list[Claim]:
    glorot, zeros, he = Learner(GLOROT_NORMAL), Learner(ZEROS), Learner(HE)
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
