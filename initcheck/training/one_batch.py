"""Training one model on one batch by an optimizer of Keras, from weights that the caller supplies.

The steps are a loop in a compiled graph, which works on copies of the model's variables: the model itself, its
optimizer and its metrics stay as they are. The networks of several seeds are trained one after the other. On two cores
that takes as long as two at a time where layers are large, and a quarter of what ``vectorized_map`` takes for
convolutions; the optimizers of Keras work on variables, so the other ways would need arithmetic of their own.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from initcheck.backend.interface import backend
from initcheck.backend.random_state import preserved_random_state
from initcheck.backend.runtime import import_keras

MOST_STEPS: Final = 1024
"""So many steps are made at a time at most."""

State = list[Any]
"""Values of the model's variables, then of the optimizer's."""


class BatchTrainer:
    """Trains one model on one batch, as ``fit`` does with one batch an epoch.

    Args:
        loss: from the outputs to a scalar.
        optimizer: one that no variables were given to yet.
        with_own_losses: whether regularization losses and those of ``add_loss`` are added to the loss.
    """

    def __init__(
        self, model: Any, inputs: Any, loss: Callable[[Any], Any], optimizer: Any, *, with_own_losses: bool = True
    ) -> None:
        keras = import_keras()
        self._model = model
        self._loss = loss
        self._optimizer = optimizer
        self._with_own_losses = with_own_losses
        with preserved_random_state():
            self._inputs = keras.tree.map_structure(keras.ops.convert_to_tensor, inputs)
            self._trained = list(model.trainable_variables)
            trained = {id(variable) for variable in self._trained}
            self._variables = [*self._trained, *(each for each in model.variables if id(each) not in trained)]
            self._copies = [_copy_variable(each) for each in self._variables]
            optimizer.build(self._copies[: len(self._trained)])
            self._state = [*self._copies, *optimizer.variables]
            self._fresh = [keras.ops.copy(each.value) for each in optimizer.variables]
        signature = [(tuple(each.shape), each.dtype) for each in self._state]
        self._run = backend().compile_once(self._take_steps, [((), "int32"), *signature])

    def begin(self, values: Sequence[tuple[Any, Any]]) -> State:
        """Begin a training run, with values for some of the model's variables; the others have their own."""
        given = {id(variable): value for variable, value in values}
        own = [given.get(id(each), each.value) for each in self._variables]
        return [import_keras().ops.convert_to_tensor(each) for each in own] + self._fresh

    def train(self, state: State, steps: int) -> tuple[State, NDArray[np.float64]]:
        """Train for some steps; return the state after them, and the loss before each of them."""
        losses: list[NDArray[np.float64]] = []
        with preserved_random_state(), warnings.catch_warnings(action="ignore"):  # Keras warns of missing gradients
            for made in range(0, steps, MOST_STEPS):
                count = min(steps - made, MOST_STEPS)
                found, *state = self._run(import_keras().ops.convert_to_tensor(np.int32(count)), *state)
                losses.append(backend().as_array(found)[:count].astype(np.float64))
        return state, np.concatenate([np.zeros(0), *losses])

    def _take_steps(self, steps: Any, *state: Any) -> list[Any]:
        def step(number: Any, losses: Any) -> Any:
            return losses.write(number, import_keras().ops.cast(self._step(), "float32"))

        rows = backend().make_rows(steps, "float32", MOST_STEPS)
        after, losses = backend().repeat_on_variables(step, steps, self._state, state, rows)
        return [losses.stack(), *after]

    def _step(self) -> Any:
        """Make one step, and return the loss before it. Called while the graph is traced."""
        ops = import_keras().ops
        values = [backend().read_variable(each) for each in self._copies]
        count = len(self._trained)

        def compute_loss(trained: Sequence[Any]) -> tuple[Any, tuple[Any, list[Any]]]:
            scope = import_keras().StatelessScope(
                list(zip(self._variables, [*trained, *values[count:]], strict=True)),
                collect_losses=True,
                initialize_variables=False,
            )
            with scope:
                outputs = self._model(self._inputs, training=True)
                own = list(self._model.losses) if self._with_own_losses else []
            loss = self._loss(outputs)
            for each in own:
                loss += ops.sum(ops.cast(each, loss.dtype))
            left = [scope.get_current_value(each) for each in self._variables[count:]]
            return self._optimizer.scale_loss(loss), (loss, left)

        found = backend().differentiate(compute_loss, values[:count])
        loss, left = found.extra
        for place, value in enumerate(left, start=count):
            self._copies[place].assign(value)
        # Where no weight has a gradient the optimizer would refuse the step: nothing changes.
        if any(each is not None for each in found.gradients):
            self._optimizer.apply(found.gradients, self._copies[:count])
        return loss


def _copy_variable(variable: Any) -> Any:
    """Make a variable with the same value, name and path: some optimizers go by these."""
    keras = import_keras()
    *scopes, name = variable.path.split("/")
    with ExitStack() as stack:
        for each in filter(None, scopes):
            stack.enter_context(keras.name_scope(each))
        copied = keras.Variable(
            keras.ops.copy(variable.value), dtype=variable.dtype, trainable=variable.trainable, name=name
        )
    copied.constraint = getattr(variable, "constraint", None)
    return copied
