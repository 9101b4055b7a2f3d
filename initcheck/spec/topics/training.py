"""Claims about training, and the networks that are trained for them and for other topics.

Seeds are the replicates: each draws the kernels and the task. The effects are large (an accuracy of .1 against .8), and
the margins lie in the middle, several standard errors of the mean from either side.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from initcheck.backend.runtime import backend_name, import_keras
from initcheck.core.seeds import derive_seeds
from initcheck.models.initializers import InitializerSpec
from initcheck.probe.weight_copies import weight_gradients
from initcheck.spec.claim import Claim, ExactRow, RunContext, SeedRow, seed_rows
from initcheck.spec.decisions import AllWithin, SeedMeanWithin
from initcheck.spec.subjects import to_numpy

INPUTS: Final = 64
CLASSES: Final = 10
_TRAINED_ON: Final = 1600
_TESTED_ON: Final = 400
BATCH: Final = 32


@dataclass(frozen=True)
class Learner:
    """A plain network of Dense layers and plain stochastic gradient descent."""

    initializer: InitializerSpec
    activation: str = "relu"
    depth: int = 2
    width: int = 64
    head: InitializerSpec | None = None
    """Of the output's kernel; None for that of the hidden ones."""
    learning_rate: float = 0.05
    epochs: int = 6
    random_biases: bool = False
    dtype: str = "float32"

    def train(self, context: RunContext, label: str, count: int) -> list[Trained]:
        """Train networks of several seeds; learners of one label get the same tasks, and kernels of the same seeds."""
        found: list[Trained] = context.remember(("trained", self, label), list)
        if len(found) < count:  # a seed does not depend on how many are asked for: train those that are missing
            alike = replace(self, initializer=ZEROS, head=None, epochs=0, random_biases=False)
            model = context.remember(("learner", alike), self.build)
            found += self._train(model, context.seeds(label, count)[len(found) :])
        return found[:count]

    def build(self) -> Any:
        """Build the compiled model; its weights are set for each seed, and it is traced once for all initializers."""
        keras = import_keras()
        hidden = [
            keras.layers.Dense(self.width, activation=self.activation, dtype=self.dtype) for _ in range(self.depth)
        ]
        head = keras.layers.Dense(CLASSES, dtype=self.dtype)
        model = keras.Sequential([keras.Input((INPUTS,), dtype=self.dtype), *hidden, head])
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, dtype=self.dtype)
        # An epoch is one call of the compiled function; XLA would take longer to compile than there is to compute.
        # Keras takes no other number on PyTorch, and fails with one on JAX.
        steps = _TRAINED_ON // BATCH if backend_name() == "tensorflow" else 1
        options = {"jit_compile": False, "steps_per_execution": steps}
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

    def _train(self, model: Any, seeds: tuple[int, ...]) -> list[Trained]:
        found = []
        for seed in seeds:
            x, y = make_task(seed)
            initial = self.draw(model, seed)
            model.set_weights(initial)
            gradients = take_gradients(model, x[:BATCH], y[:BATCH])
            losses: list[float] = []
            if self.epochs:
                history = model.fit(
                    x[:_TRAINED_ON], y[:_TRAINED_ON], batch_size=BATCH, epochs=self.epochs, shuffle=False, verbose=0
                )
                losses = [float(loss) for loss in history.history["loss"]]
            logits = to_numpy(model(x[_TRAINED_ON:]))
            accuracy = float(np.mean(logits.argmax(axis=1) == y[_TRAINED_ON:]))
            found.append(Trained(initial, model.get_weights(), gradients, logits, accuracy, losses))
        return found


@dataclass(frozen=True, eq=False)
class Trained:
    """One network after its training."""

    initial: list[NDArray[Any]]
    final: list[NDArray[Any]]
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
    trained = {id(weight) for weight in model.trainable_weights}
    places = [place for place, weight in enumerate(model.weights) if id(weight) in trained]
    found = weight_gradients(model, x, lambda outputs: model.compute_loss(y=y, y_pred=outputs), positions=places)
    return [each for each in found if each is not None]


SEEDS: Final = 8
"""In pilots the standard deviation was .011 for deep SELU (16 seeds, mean .94, bound .75), .020 for deep Glorot (16
seeds, .11, bound .3) and .002 for the difference that biases make (40 seeds, .00, bound .05). At 1.5 times these
values the noncentral t gives less than 1e-8 for a true claim that does not pass."""
_DEEP_SEEDS: Final = 12
"""Of deep ReLU networks that learn. In a pilot of 60 seeds the mean was .73, the standard deviation .075, the least
.56; of 3,000,000 samples of 12 of them, none failed to show a mean above .3. With steps of .01 the accuracy still
varies in the last epochs (1 network of 48 ended at chance): of such samples 9 in 10,000 failed, already at a bound of
.2. Hence steps of .005, and more of them."""

HE: Final = InitializerSpec("HeNormal")
GLOROT: Final = InitializerSpec("GlorotUniform")
LECUN: Final = InitializerSpec("LecunNormal")
ZEROS: Final = InitializerSpec("Zeros")

DEEP_HE: Final = Learner(HE, "relu", depth=30, learning_rate=0.005, epochs=20)
DEEP_GLOROT: Final = replace(DEEP_HE, initializer=GLOROT)
DEEP_SELU: Final = Learner(LECUN, "selu", depth=30, learning_rate=0.01, epochs=6)


@dataclass(frozen=True)
class Accuracy:
    """Accuracy on test samples after training, by seed."""

    learner: Learner
    against: Learner | None = None
    count: int = SEEDS

    def measure(self, context: RunContext) -> list[SeedRow]:
        values = [each.accuracy for each in self.learner.train(context, "training", self.count)]
        if self.against is not None:
            others = self.against.train(context, "training", self.count)
            values = [value - other.accuracy for value, other in zip(values, others, strict=True)]
        return seed_rows("accuracy", values)


@dataclass(frozen=True)
class NeverLearns:
    """Whether all samples are still predicted alike after training, in every seed."""

    learners: tuple[Learner, ...]

    def measure(self, context: RunContext) -> Iterator[ExactRow]:
        """Measure; the deviation is the number of classes predicted, less one."""
        for learner in self.learners:
            for place, trained in enumerate(learner.train(context, "training", 3)):
                predicted = len(set(trained.logits.argmax(axis=1).tolist()))
                name = f"{learner.activation}, seed {place}"
                yield ExactRow(name, predicted - 1.0, count=len(trained.logits))


_TASK: Final = "ten normal clouds in 64 dimensions, plain gradient descent, batches of 32"
_ACCURACY: Final = "accuracy on test samples"


def claims() -> Iterator[Claim]:
    """List the claims."""
    shallow = Learner(HE)
    drawn = replace(shallow, random_biases=True)
    zeros = tuple(Learner(ZEROS, activation, epochs=6) for activation in ("relu", "tanh", "linear"))
    claim = partial(Claim, slow=True)
    yield claim(
        id="training.he_normal.deep_relu_trains",
        statement="A ReLU network of 30 layers initialized with HeNormal learns.",
        source="He, Zhang, Ren & Sun, 2015, ICCV, section 2.2 and figure 3",
        condition=f"30 × 64, 1000 steps at .005; {_TASK}; {_DEEP_SEEDS} seeds",
        experiment=Accuracy(DEEP_HE, count=_DEEP_SEEDS),
        decide=SeedMeanWithin(_ACCURACY, 3.0 / CLASSES, 1.01),
        control=Accuracy(DEEP_GLOROT),
        control_note="GlorotUniform",
        rows=("H1",),
    )
    yield claim(
        id="training.glorot_uniform.deep_relu_fails",
        statement="A ReLU network of 30 layers initialized with GlorotUniform does not learn: it stays at chance.",
        source="He, Zhang, Ren & Sun, 2015, ICCV, section 2.2 and figure 3",
        condition=f"30 × 64, 1000 steps at .005; {_TASK}; {SEEDS} seeds",
        experiment=Accuracy(DEEP_GLOROT),
        decide=SeedMeanWithin(_ACCURACY, 0.0, 3.0 / CLASSES),
        control=Accuracy(DEEP_HE, count=_DEEP_SEEDS),
        control_note="HeNormal",
        rows=("H1",),
    )
    yield claim(
        id="training.lecun_normal.deep_selu_trains",
        statement="A SELU network of 30 layers initialized with LecunNormal learns, without normalization layers.",
        source="Klambauer, Unterthiner, Mayr & Hochreiter, 2017, NeurIPS, section 2",
        condition=f"30 × 64, 300 steps at .01; {_TASK}; {SEEDS} seeds",
        experiment=Accuracy(DEEP_SELU),
        decide=SeedMeanWithin(_ACCURACY, 0.75, 1.01),
        control=Accuracy(DEEP_GLOROT),
        control_note="ReLU with GlorotUniform",
        rows=("H2",),
    )
    yield claim(
        id="training.zeros.never_trains",
        statement="A network initialized with zero kernels never learns to distinguish inputs.",
        source="the notebook that initcheck began with; Goodfellow, Bengio & Courville, 2016, section 8.4",
        condition="2 × 64, relu, tanh and linear, 300 steps at .05; 3 seeds",
        experiment=NeverLearns(zeros),
        decide=AllWithin("classes predicted, less one", "samples"),
        control=NeverLearns((Learner(GLOROT),)),
        control_note="GlorotUniform",
        rows=("G1", "NB1"),
    )
    yield claim(
        id="training.zero_biases.harmless",
        statement="Zero biases do no harm where kernels are random: networks learn as well as with random biases.",
        source="the notebook that initcheck began with",
        condition="2 × 64, HeNormal, relu, 300 steps at .05; biases of standard deviation .05 beside; "
        f"{_TASK}; {SEEDS} seeds",
        experiment=Accuracy(shallow, drawn),
        decide=SeedMeanWithin("difference in accuracy", -0.05, 0.05),
        control=Accuracy(zeros[0], drawn),
        control_note="zero kernels, too",
        rows=("G4", "NB3"),
    )
