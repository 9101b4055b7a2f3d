"""Training several networks of one architecture at once, inside one compiled graph.

A loop in Python over steps and seeds spends most of its time between the steps. Here an epoch of all replicates is one
call: steps are a loop in the graph, and two replicates are computed at a time. The result is what ``model.fit``
computes with plain stochastic gradient descent: the same loss, the same batches in the same order, the last batch of an
epoch as small as it comes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from initcheck.backend.gradients import update_step
from initcheck.backend.interface import backend
from initcheck.backend.random_state import preserved_random_state
from initcheck.backend.runtime import import_keras
from initcheck.core.seeds import derive_seed
from initcheck.training.data import LabelledData

METRICS: Final = ("loss", "accuracy", "validation_loss", "validation_accuracy")

Weights = list[Any]
"""For each weight of the model its values, shape [replicates, ...]."""


@dataclass(frozen=True)
class Descent:
    """Plain stochastic gradient descent."""

    learning_rate: float = 0.01
    batch_size: int = 32


class Trainer:
    """Trains networks of one architecture on the same data, from weights that the caller supplies."""

    def __init__(self, model: Any, data: LabelledData, descent: Descent) -> None:
        keras = import_keras()
        self._model = model
        self._descent = descent
        self._x, self._y, self._x_valid, self._y_valid = (
            keras.ops.convert_to_tensor(values) for values in (data.x, data.y, data.x_valid, data.y_valid)
        )
        self._samples = len(data.x)
        trainable = {id(weight) for weight in model.trainable_variables}
        self._trainable = [id(weight) in trainable for weight in model.weights]
        self._loss = keras.losses.SparseCategoricalCrossentropy(reduction="sum")
        self._epoch = self._compile(self._run_epoch, self._samples)
        self._steps: dict[int, Callable[..., Any]] = {}
        self._evaluation = self._compile(lambda weights, _: (weights, self._evaluate(weights)), 0)

    def evaluate(self, weights: Weights) -> NDArray[np.float64]:
        """Evaluate the networks: loss and accuracy on the samples to validate on, shape [replicates, 2]."""
        order = np.zeros((weights[0].shape[0], 0), dtype=np.int32)
        return self._run(self._evaluation, weights, order)[1]

    def train_epoch(self, weights: Weights, orders: NDArray[np.int32]) -> tuple[Weights, NDArray[np.float64]]:
        """Train all networks for one epoch, each with an order of the samples; return weights and :data:`METRICS`.

        Loss and accuracy of the training run are means over the epoch, as ``model.fit`` reports them; the others are of
        its end.
        """
        return self._run(self._epoch, weights, orders)

    def train_steps(self, weights: Weights, orders: NDArray[np.int32]) -> tuple[Weights, NDArray[np.float64]]:
        """Train for as many whole batches as the orders hold; return weights and losses, [replicates, steps]."""
        steps = orders.shape[1] // self._descent.batch_size
        if steps not in self._steps:
            self._steps[steps] = self._compile(lambda one, order: self._run_steps(one, order, steps), None)
        return self._run(self._steps[steps], weights, orders)

    def _run(
        self, compiled: Callable[..., Any], weights: Weights, orders: NDArray[np.int32]
    ) -> tuple[Weights, NDArray[np.float64]]:
        with preserved_random_state():
            after, metrics = compiled(weights, import_keras().ops.convert_to_tensor(orders))
        return list(after), np.asarray(metrics, dtype=np.float64)

    def _compile(self, one: Callable[[Weights, Any], Any], order_length: int | None) -> Callable[..., Any]:
        """Compile a function of one network's weights and the order of its samples into a loop over networks."""
        weights = [(tuple(weight.shape), weight.dtype) for weight in self._model.weights]
        loop = backend().compile_over_replicates(
            lambda *given: one(list(given[:-1]), given[-1]),
            [*weights, ((order_length,), "int32")],
            ([dtype for _, dtype in weights], "float32"),
        )
        return lambda weights, orders: loop(*weights, orders)

    def _run_epoch(self, weights: Weights, order: Any) -> tuple[Weights, Any]:
        ops = import_keras().ops
        size = self._descent.batch_size

        def step(number: Any, current: Weights, sums: Any) -> tuple[Weights, Any]:
            updated, found = self._step(current, _take_batch(order, number, size), size)
            return updated, sums + found

        whole = self._samples // size
        weights, sums = backend().repeat(step, whole, weights, ops.zeros((2,), "float32"))
        rest = self._samples - whole * size
        if rest:
            weights, found = self._step(weights, order[whole * size :], rest)
            sums += found
        return weights, ops.concatenate([sums / self._samples, self._evaluate(weights)])

    def _run_steps(self, weights: Weights, order: Any, steps: int) -> tuple[Weights, Any]:
        size = self._descent.batch_size

        def step(number: Any, current: Weights, losses: Any) -> tuple[Weights, Any]:
            updated, found = self._step(current, _take_batch(order, number, size), size)
            return updated, losses.write(number, found[0] / size)

        weights, losses = backend().repeat(step, steps, weights, backend().make_rows(steps, "float32"))
        return weights, losses.stack()

    def _step(self, weights: Weights, taken: Any, size: int) -> tuple[Weights, Any]:
        """Make one step of the descent."""
        x, y = backend().take_rows(self._x, taken), backend().take_rows(self._y, taken)

        def compute_loss(trained: Sequence[Any]) -> tuple[Any, Any]:
            given = iter(trained)
            pairs = zip(weights, self._trainable, strict=True)
            current = [next(given) if trains else weight for weight, trains in pairs]
            outputs, others = self._call(current, x, training=True)
            return self._loss(y, outputs), (outputs, others)

        trained = [weight for weight, trains in zip(weights, self._trainable, strict=True) if trains]
        step = update_step(compute_loss, trained, self._descent.learning_rate / size)
        outputs, others = step.extra
        updated, left = iter(step.weights), iter(others)
        return [next(updated if trains else left) for trains in self._trainable], _sum_up(step.loss, outputs, y)

    def _evaluate(self, weights: Weights) -> Any:
        outputs, _ = self._call(weights, self._x_valid, training=False)
        return _sum_up(self._loss(self._y_valid, outputs), outputs, self._y_valid) / self._y_valid.shape[0]

    def _call(self, weights: Weights, x: Any, *, training: bool) -> tuple[Any, list[Any]]:
        """Call the model with other weights than its own."""
        model = self._model
        by_id = {id(variable): value for variable, value in zip(model.weights, weights, strict=True)}
        held = [by_id.get(id(variable), variable.value) for variable in model.non_trainable_variables]
        trained = [by_id[id(variable)] for variable in model.trainable_variables]
        outputs, left = model.stateless_call(trained, held, x, training=training)
        after = {id(variable): value for variable, value in zip(model.non_trainable_variables, left, strict=True)}
        others = [
            after[id(variable)] for variable, trains in zip(model.weights, self._trainable, strict=True) if not trains
        ]
        return outputs, others


def orders_of(seeds: Sequence[int], samples: int, epoch: int) -> NDArray[np.int32]:
    """Shuffle the samples for one epoch, for each seed: the same for every initializer."""
    return np.stack(
        [
            np.random.default_rng(derive_seed(seed, f"order of epoch {epoch}")).permutation(samples).astype(np.int32)
            for seed in seeds
        ]
    )


def train(
    trainer: Trainer, weights: Weights, seeds: Sequence[int], samples: int, epochs: int
) -> Iterator[NDArray[np.float64]]:
    """Train networks for some epochs; yield :data:`METRICS` of the initialization, then of each epoch."""
    initial = trainer.evaluate(weights)
    yield np.concatenate([np.full_like(initial, np.nan), initial], axis=1)
    for epoch in range(1, epochs + 1):
        weights, metrics = trainer.train_epoch(weights, orders_of(seeds, samples, epoch))
        yield metrics


def _take_batch(order: Any, number: Any, size: int) -> Any:
    """Take the samples of one batch. A slice between two tensors would have no known length."""
    return import_keras().ops.slice(order, (number * size,), (size,))


def _sum_up(loss: Any, outputs: Any, y: Any) -> Any:
    """Return the sum of the loss and the number of hits."""
    ops = import_keras().ops
    hits = ops.sum(ops.cast(ops.equal(backend().find_largest(outputs), y), "float32"))
    return ops.stack([ops.cast(loss, "float32"), hits])
