"""The loss that a model was compiled with, as a function of the outputs alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, Final

from initcheck.diagnosis.arrays import check_values, flatten, to_arrays
from initcheck.diagnosis.label_checks import check_labels
from initcheck.diagnosis.user_code import RaisedError, run_user_code
from initcheck.errors import DataError, ModelError
from initcheck.keras_runtime import import_keras
from initcheck.probe.gradients import outside_trace

_SCOPE: Final = "stateless_scope"


def compiled_loss(model: Any, labels: Any, sample_weight: Any = None) -> Callable[[Any], Any]:
    """Make the loss of a compiled model a function of its outputs.

    It is the loss given to ``compile``, for all outputs, with their loss weights and the reduction that Keras applies.
    Left out is what does not depend on the labels: regularization losses and ``add_loss``. A model with a
    ``compute_loss`` of its own is asked through that method, with ``x=None``, and decides for itself.

    Neither the model nor its metrics and optimizer are changed. The function can be called eagerly, and while a graph
    is traced inside a gradient tape.

    Args:
        model: a compiled Keras model.
        labels: arrays of shape [samples, ...], in the structure that ``fit`` takes.
        sample_weight: weights of the samples, as ``fit`` takes them.

    Returns:
        A function from the outputs for the same samples to a scalar tensor. It raises DataError where outputs and
        labels do not match, as far as the shapes and, for Keras' sparse losses, the class indices tell; and
        ModelError where the loss is no scalar or a ``compute_loss`` of the user's own raises.

    Raises:
        ModelError: the model is not compiled, or without a loss.
        DataError: the labels or weights are empty, not finite or no numbers, or differ in number.
    """
    keras = import_keras()
    overridden = type(model).compute_loss is not keras.Model.compute_loss
    if not model.compiled or (getattr(model, "_compile_loss", None) is None and not overridden):
        how = "compiled without a loss" if model.compiled else "not compiled"
        raise ModelError(
            f"The model {model.name!r} is {how}, so its loss is unknown. Call model.compile(loss=...), "
            "or leave out the labels to measure with the default functional."
        )
    targets = _read(labels, "y")
    weights = None if sample_weight is None else _read(sample_weight, "sample_weight")
    counts = {len(leaf) for leaf in [*flatten(targets), *flatten(weights if weights is not None else [])]}
    if len(counts) > 1:
        raise DataError(
            f"Labels and sample weights must be equal in number. Received: {', '.join(map(str, sorted(counts)))}. "
            "Cut them to one length."
        )
    targets = keras.tree.map_structure(keras.ops.convert_to_tensor, targets)
    if weights is not None:
        weights = keras.tree.map_structure(keras.ops.convert_to_tensor, weights)
    if overridden:
        return lambda outputs: _ask_model(model, targets, outputs, weights)
    own = model._compile_loss
    fresh = _untracked_loss_class()(own._user_loss, own._user_loss_weights, own.reduction, own.output_names)
    return lambda outputs: _evaluate(model, fresh, targets, outputs, weights)


def _read(data: Any, name: str) -> Any:
    arrays = to_arrays(data, name)
    leaves = flatten(arrays)
    for position, leaf in enumerate(leaves):
        title = name if len(leaves) == 1 else f"{name}, output {position},"
        if leaf.dtype.kind in "US":
            raise DataError(f"{title} must hold numbers. Received: dtype {leaf.dtype}. Encode the labels as numbers.")
        check_values(leaf, title)
    return arrays


def _evaluate(model: Any, fresh: Any, targets: Any, outputs: Any, weights: Any) -> Any:
    try:
        # A loss may hold variables of its own: what it assigns to them is dropped with the scope.
        with import_keras().StatelessScope(initialize_variables=False):
            value = run_user_code(lambda: fresh(targets, outputs, weights))
    except RaisedError as error:
        raise DataError(
            f"The compiled loss of the model {model.name!r} cannot be computed on these labels: {error}. "
            "Give labels in the structure and shape of the outputs."
        ) from error
    return _check_scalar(model, value)


def _ask_model(model: Any, targets: Any, outputs: Any, weights: Any) -> Any:
    try:
        with import_keras().StatelessScope(initialize_variables=False):
            value = run_user_code(lambda: model._compute_loss(None, targets, outputs, weights, training=True))
    except RaisedError as error:
        raise ModelError(
            f"compute_loss of the model {model.name!r} raised {error}. It is called with x=None; "
            "leave out the labels to measure with the default functional."
        ) from error
    return _check_scalar(model, value)


def _check_scalar(model: Any, value: Any) -> Any:
    shape = getattr(value, "shape", None)
    if shape is None or len(shape):
        received = "none" if value is None else f"shape {tuple(shape)}" if shape is not None else type(value).__name__
        raise ModelError(
            f"The loss of the model {model.name!r} must be one number. Received: {received}. "
            'Give the loss a reduction, such as reduction="sum_over_batch_size".'
        )
    return value


@cache
def _untracked_loss_class() -> Any:
    """Make the class of a compiled loss that checks the labels of each output and tracks no metrics."""
    from keras.src.trainers.compile_utils import CompileLoss

    class UntrackedLoss(CompileLoss):  # type: ignore[misc]
        _flat_losses: Any

        def build(self, y_true: Any, y_pred: Any) -> None:
            # Keras makes a metric for each output here, which would be a variable of the graph or the scope.
            with outside_trace(), _outside_scope():
                super().build(y_true, y_pred)
            several = len(self._flat_losses) > 1
            self._flat_losses = [
                each._replace(loss=_check_first(each.loss, f"Output {each.name!r}" if several else "The output"))
                for each in self._flat_losses
            ]

        @property
        def metrics(self) -> list[Any]:
            return [None] * len(self._flat_losses or ())

    return UntrackedLoss


def _check_first(loss: Any, subject: str) -> Callable[..., Any]:
    def checked(y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        with outside_trace():
            labels = import_keras().ops.convert_to_numpy(y_true)
        check_labels(loss, labels, tuple(y_pred.shape), subject)
        return loss(y_true, y_pred, sample_weight)

    return checked


@contextmanager
def _outside_scope() -> Iterator[None]:
    """Make variables as if no StatelessScope were active, in which they would have no values."""
    from keras.src.backend.common import global_state

    scope = global_state.get_global_attribute(_SCOPE)
    global_state.set_global_attribute(_SCOPE, None)
    try:
        yield
    finally:
        global_state.set_global_attribute(_SCOPE, scope)
