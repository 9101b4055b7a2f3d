"""The task that claims about training learn, and the networks that learn it.

The task is made with NumPy, so that nothing is fetched: ten classes in 64 dimensions, each a normal cloud of standard
deviation 1.5 around a centre that is drawn standard normal, scaled to unit variance. A linear model tells nearly all
samples apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from initcheck.initializers import InitializerSpec
from initcheck.keras_runtime import import_keras
from initcheck.seeds import derive_seeds

if TYPE_CHECKING:
    from initcheck.claims.laboratory import Laboratory

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

    def train(self, laboratory: Laboratory, label: str, count: int) -> list[Trained]:
        """Train networks of several seeds, each on a task of its own.

        Args:
            laboratory: the source of the seeds.
            label: of the seeds; learners of one label get the same tasks, and kernels of the same seeds.
            count: how many.
        """
        found: list[Trained] = laboratory.remember(("trained", self, label), list)
        if len(found) < count:  # a seed does not depend on how many are asked for: train those that are missing
            found += self._train(laboratory.seeds(label, count)[len(found) :])
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
    import tensorflow as tf

    with tf.GradientTape() as tape:
        loss = model.compute_loss(y=y, y_pred=model(x, training=True))
    return [np.asarray(each) for each in tape.gradient(loss, [weight.value for weight in model.trainable_weights])]
