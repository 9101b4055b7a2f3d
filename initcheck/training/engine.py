"""Training several networks of one architecture at once, inside one compiled graph.

A loop in Python over steps and seeds spends most of its time between the steps. Here an epoch of all replicates is one
call: steps are a loop in the graph, and two replicates are in flight at a time. What is computed is what ``model.fit``
computes with plain stochastic gradient descent: the same loss, the same batches in the same order, the last batch of an
epoch as small as it comes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from initcheck.backend.gradients import PARALLEL_REPLICATES
from initcheck.backend.random_state import preserved_random_state
from initcheck.backend.runtime import import_keras, import_tensorflow
from initcheck.core.seeds import derive_seed
from initcheck.training.data import LabelledData

METRICS: Final = ("loss", "accuracy", "validation_loss", "validation_accuracy")

Weights = list[Any]
"""For each weight of the model its values, shape [replicates, ...]."""


@dataclass(frozen=True)
class Descent:
    """Plain stochastic gradient descent.

    Attributes:
        learning_rate: of each step.
        batch_size: samples of each step.
    """

    learning_rate: float = 0.01
    batch_size: int = 32


class Trainer:
    """Trains networks of one architecture on the same data, from weights that the caller supplies.

    Args:
        model: a built Keras model whose outputs are probabilities of the classes. It is not changed.
        data: what to learn.
        descent: how.
    """

    def __init__(self, model: Any, data: LabelledData, descent: Descent) -> None:
        tf = import_tensorflow()
        self._model = model
        self._descent = descent
        self._x, self._y = tf.constant(data.x), tf.constant(data.y)
        self._x_valid, self._y_valid = tf.constant(data.x_valid), tf.constant(data.y_valid)
        self._samples = len(data.x)
        trainable = {id(weight) for weight in model.trainable_variables}
        self._trainable = [id(weight) in trainable for weight in model.weights]
        self._loss = import_keras().losses.SparseCategoricalCrossentropy(reduction="sum")
        self._epoch = self._compile(self._run_epoch)
        self._steps: dict[int, Callable[..., Any]] = {}
        self._evaluation = self._compile(lambda weights, _: (weights, self._evaluate(weights)))

    def evaluate(self, weights: Weights) -> NDArray[np.float64]:
        """Evaluate the networks without training them.

        Returns:
            Loss and accuracy on the samples to validate on, shape [replicates, 2].
        """
        order = import_tensorflow().zeros((weights[0].shape[0], 0), "int32")
        return np.asarray(self._evaluation(weights, order)[1], dtype=np.float64)

    def train_epoch(self, weights: Weights, orders: NDArray[np.int32]) -> tuple[Weights, NDArray[np.float64]]:
        """Train all networks for one epoch.

        Args:
            weights: the networks.
            orders: for each network the order of the samples, shape [replicates, samples].

        Returns:
            The weights afterwards, and :data:`METRICS` of shape [replicates, 4]. Loss and accuracy of the training are
            means over the epoch, as ``model.fit`` tells them; the others are of its end.
        """
        with preserved_random_state():
            trained, metrics = self._epoch(weights, import_tensorflow().constant(orders))
        return list(trained), np.asarray(metrics, dtype=np.float64)

    def train_steps(self, weights: Weights, orders: NDArray[np.int32]) -> tuple[Weights, NDArray[np.float64]]:
        """Train for as many whole batches as the orders hold, without evaluation.

        Returns:
            The weights afterwards, and the mean loss of each step, shape [replicates, steps].
        """
        steps = orders.shape[1] // self._descent.batch_size
        if steps not in self._steps:
            self._steps[steps] = self._compile(lambda one, order: self._run_steps(one, order, steps))
        with preserved_random_state():
            trained, losses = self._steps[steps](weights, import_tensorflow().constant(orders))
        return list(trained), np.asarray(losses, dtype=np.float64)

    def _compile(self, one: Callable[[Weights, Any], Any]) -> Callable[..., Any]:
        tf = import_tensorflow()
        types = [weight.dtype for weight in self._model.weights]

        def run(weights: Weights, orders: Any) -> Any:
            return tf.map_fn(
                lambda replicate: one(list(replicate[0]), replicate[1]),
                (tuple(weights), orders),
                fn_output_signature=(types, "float32"),
                parallel_iterations=PARALLEL_REPLICATES,
            )

        return tf.function(run, autograph=False)  # type: ignore[no-any-return]

    def _run_epoch(self, weights: Weights, order: Any) -> tuple[Weights, Any]:
        tf = import_tensorflow()
        size = self._descent.batch_size
        whole = self._samples // size
        zero = tf.zeros((2,), "float32")

        def step(place: Any, current: Weights, sums: Any) -> tuple[Any, Weights, Any]:
            taken = order[place * size : (place + 1) * size]
            updated, told = self._step(current, taken, size)
            return place + 1, updated, sums + told

        _, weights, sums = tf.while_loop(
            lambda place, *_: place < whole, step, [tf.constant(0), weights, zero], parallel_iterations=1
        )
        rest = self._samples - whole * size
        if rest:
            weights, told = self._step(weights, order[whole * size :], rest)
            sums += told
        return weights, tf.concat([sums / self._samples, self._evaluate(weights)], axis=0)

    def _run_steps(self, weights: Weights, order: Any, steps: int) -> tuple[Weights, Any]:
        tf = import_tensorflow()
        size = self._descent.batch_size

        def step(place: Any, current: Weights, losses: Any) -> tuple[Any, Weights, Any]:
            updated, told = self._step(current, order[place * size : (place + 1) * size], size)
            return place + 1, updated, losses.write(place, told[0] / size)

        losses = tf.TensorArray("float32", steps)
        _, weights, losses = tf.while_loop(
            lambda place, *_: place < steps, step, [tf.constant(0), weights, losses], parallel_iterations=1
        )
        return weights, losses.stack()

    def _step(self, weights: Weights, taken: Any, size: int) -> tuple[Weights, Any]:
        """Make one step of the descent.

        Returns:
            The weights afterwards, and the sums of loss and hits over the batch, before the step.
        """
        tf = import_tensorflow()
        x, y = tf.gather(self._x, taken), tf.gather(self._y, taken)
        trained = [weight for weight, kept in zip(weights, self._trainable, strict=True) if kept]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(trained)
            outputs, others = self._call(weights, x, training=True)
            loss = self._loss(y, outputs)
        gradients = iter(tape.gradient(loss, trained, unconnected_gradients="zero"))
        rest = iter(others)
        rate = self._descent.learning_rate / size
        updated = [
            weight - tf.cast(rate, weight.dtype) * next(gradients) if kept else next(rest)
            for weight, kept in zip(weights, self._trainable, strict=True)
        ]
        return updated, tf.stack([tf.cast(loss, "float32"), _count_hits(outputs, y)])

    def _evaluate(self, weights: Weights) -> Any:
        tf = import_tensorflow()
        outputs, _ = self._call(weights, self._x_valid, training=False)
        told = tf.stack([tf.cast(self._loss(self._y_valid, outputs), "float32"), _count_hits(outputs, self._y_valid)])
        return told / self._y_valid.shape[0]

    def _call(self, weights: Weights, x: Any, *, training: bool) -> tuple[Any, list[Any]]:
        """Call the model with other weights than its own.

        Returns:
            The outputs, and the weights that are not trained as the call leaves them (statistics of normalization).
        """
        model = self._model
        by_id = {id(variable): value for variable, value in zip(model.weights, weights, strict=True)}
        held = [by_id.get(id(variable), variable.value) for variable in model.non_trainable_variables]
        trained = [by_id[id(variable)] for variable in model.trainable_variables]
        outputs, left = model.stateless_call(trained, held, x, training=training)
        after = {id(variable): value for variable, value in zip(model.non_trainable_variables, left, strict=True)}
        others = [
            after[id(variable)] for variable, kept in zip(model.weights, self._trainable, strict=True) if not kept
        ]
        return outputs, others


def orders_of(seeds: Sequence[int], samples: int, epoch: int) -> NDArray[np.int32]:
    """Shuffle the samples for one epoch, for each seed: the same for every initializer.

    Returns:
        Shape [len(seeds), samples].
    """
    return np.stack(
        [
            np.random.default_rng(derive_seed(seed, f"order of epoch {epoch}")).permutation(samples).astype(np.int32)
            for seed in seeds
        ]
    )


def train(
    trainer: Trainer, weights: Weights, seeds: Sequence[int], samples: int, epochs: int
) -> Iterator[NDArray[np.float64]]:
    """Train networks for some epochs.

    Yields:
        :data:`METRICS` of shape [replicates, 4]: first those of the start, where the first two are NaN, then those of
        each epoch.
    """
    start = trainer.evaluate(weights)
    yield np.concatenate([np.full_like(start, np.nan), start], axis=1)
    for epoch in range(1, epochs + 1):
        weights, metrics = trainer.train_epoch(weights, orders_of(seeds, samples, epoch))
        yield metrics


def _count_hits(outputs: Any, y: Any) -> Any:
    tf = import_tensorflow()
    return tf.reduce_sum(tf.cast(tf.equal(tf.argmax(outputs, axis=-1, output_type="int32"), y), "float32"))
