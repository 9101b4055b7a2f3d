"""The loss that a model was compiled with, as a function of the outputs alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from initcheck.backend.interface import backend
from initcheck.backend.keras_private import compile_loss_class, outside_stateless_scope
from initcheck.backend.random_state import preserved_random_state
from initcheck.backend.runtime import import_keras, is_float_dtype
from initcheck.checking.input_specs import Shape, flatten, matches, read_labels, show_shape
from initcheck.core.errors import DataError, ModelError
from initcheck.core.loading import RaisedError, run_user_code

_SPARSE: Final = ("sparse_categorical_crossentropy", "categorical_generalized_cross_entropy")
"""Losses of outputs with a class axis and labels without one."""

_FREE: Final = ("ctc", "circle")
"""Losses whose labels have shapes of their own."""

LABEL_SEED: Final = 1
"""Seed of labels that are made, another one than that of the inputs."""

_SUM_TOLERANCE: Final = 1e-3


def check_labels(loss: Any, labels: NDArray[Any], outputs: Shape, subject: str) -> None:
    """Check the labels, shape [samples, ...], of one output of a shape, in which None is an axis of unknown length."""
    if outputs and outputs[0] is not None and labels.shape[0] != outputs[0]:
        raise DataError(
            f"{subject} has {outputs[0]} samples. Received: {labels.shape[0]} labels. Give one label for each sample."
        )
    name = _name_of(loss)
    if name is None or name in _FREE:
        return
    if name in _SPARSE:
        _check_sparse(loss, name, labels, outputs, subject)
    elif not _fits(labels.shape, outputs):
        advice = "Give labels of the shape of the output."
        if name.startswith("categorical") and _fits(labels.shape, outputs[:-1]):
            advice = "Give one-hot labels (keras.utils.to_categorical), or compile with a sparse loss."
        raise DataError(
            f"{subject} has the shape {show_shape(outputs)}, which {name} compares with labels of the same shape. "
            f"Received: labels of shape {labels.shape}. {advice}"
        )


def _check_sparse(loss: Any, name: str, labels: NDArray[Any], outputs: Shape, subject: str) -> None:
    settings = getattr(loss, "_fn_kwargs", {})
    axis = settings.get("axis", -1) % len(outputs)
    classes = outputs[axis]
    expected = outputs[:axis] + outputs[axis + 1 :]
    if not matches(labels.shape, expected) and not matches(labels.shape, (*expected, 1)):
        one_hot = matches(labels.shape, outputs)
        advice = "Give the class index (labels.argmax(-1))" + (", or compile without sparse." if one_hot else ".")
        raise DataError(
            f"{subject} has the shape {show_shape(outputs)}, for which {name} takes labels of shape "
            f"{show_shape(expected)}. Received: labels of shape {labels.shape}. {advice}"
        )
    indices = labels[labels != settings["ignore_class"]] if settings.get("ignore_class") is not None else labels
    if not np.array_equal(indices, np.floor(indices)):
        raise DataError(f"{subject} needs class indices for {name}. Received: labels that are no whole numbers.")
    wrong = indices[(indices < 0) | (indices >= classes)] if classes is not None else indices[indices < 0]
    if wrong.size:
        binary = " For two classes and one output, compile with binary_crossentropy." if classes == 1 else ""
        most = "" if classes is None else f" to {classes - 1}"
        raise DataError(
            f"{subject} takes class indices from 0{most}. Received: {int(wrong.flat[0])} among the labels. "
            f"Count classes from 0, or give the output more units.{binary}"
        )


def _name_of(loss: Any) -> str | None:
    """Return the name of the function behind a loss that Keras ships; None for others."""
    function = getattr(loss, "fn", None)
    module = str(getattr(function, "__module__", ""))
    shipped = isinstance(loss, import_keras().losses.Loss) and module.startswith("keras.")
    return str(function.__name__) if shipped else None  # type: ignore[union-attr]


def _fits(labels: tuple[int, ...], outputs: Shape) -> bool:
    """Find whether shapes are equal, but for a last axis of one entry, which Keras adds and drops."""
    if len(labels) == len(outputs) + 1 and labels[-1] == 1:
        labels = labels[:-1]
    elif len(outputs) == len(labels) + 1 and outputs[-1] == 1:
        outputs = outputs[:-1]
    return matches(labels, outputs)


def compiled_loss(model: Any, labels: Any, sample_weight: Any = None) -> Callable[[Any], Any]:
    """Make the loss of a compiled model a function of its outputs, called eagerly or while a graph is traced.

    It is the loss given to ``compile``, for all outputs, with their loss weights and the reduction that Keras applies.
    Left out is what does not depend on the labels: regularization losses and ``add_loss``. A model with a
    ``compute_loss`` of its own is asked through that method, with ``x=None``, and decides for itself. Neither the model
    nor its metrics and optimizer are changed.
    """
    keras = import_keras()
    overridden = type(model).compute_loss is not keras.Model.compute_loss
    if not model.compiled or (getattr(model, "_compile_loss", None) is None and not overridden):
        how = "compiled without a loss" if model.compiled else "not compiled"
        raise ModelError(
            f"The model {model.name!r} is {how}, so its loss is unknown. Call model.compile(loss=...), "
            "or leave out the labels to measure with the default functional."
        )
    targets = read_labels(labels, "y", "output")
    weights = None if sample_weight is None else read_labels(sample_weight, "sample_weight", "output")
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
        return lambda outputs: _evaluate(
            model,
            lambda: model._compute_loss(None, targets, outputs, weights, training=True),
            lambda error: ModelError(
                f"compute_loss of the model {model.name!r} raised {error}. It is called with x=None; "
                "leave out the labels to measure with the default functional."
            ),
        )
    fresh = _make_untracked_loss(model)
    return lambda outputs: _evaluate(
        model,
        lambda: fresh(targets, outputs, weights),
        lambda error: DataError(
            f"The compiled loss of the model {model.name!r} cannot be computed on these labels: {error}. "
            "Give labels in the structure and shape of the outputs."
        ),
    )


def _make_untracked_loss(model: Any, guess: Guess | None = None) -> Any:
    own = model._compile_loss
    fresh: Any = _untracked_loss_class()(own._user_loss, own._user_loss_weights, own.reduction, own.output_names)
    fresh.guess = guess
    return fresh


def _evaluate(model: Any, compute: Callable[[], Any], refuse: Callable[[RaisedError], Exception]) -> Any:
    try:
        # A loss may hold variables of its own: what it assigns to them is dropped with the scope.
        with import_keras().StatelessScope(initialize_variables=False):
            value = run_user_code(compute)
    except RaisedError as error:
        raise refuse(error) from error
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
    base: Any = compile_loss_class()

    class UntrackedLoss(base):  # type: ignore[misc]
        _flat_losses: Any
        guess: Guess | None = None

        def build(self, y_true: Any, y_pred: Any) -> None:
            # Keras makes a metric for each output here, which would be a variable of the graph or the scope.
            with backend().outside_trace(), outside_stateless_scope():
                super().build(y_true, y_pred)
            several = len(self._flat_losses) > 1
            self._flat_losses = [
                each._replace(
                    loss=_check_first(each.loss, f"Output {each.name!r}" if several else "The output", self.guess)
                )
                for each in self._flat_losses
            ]

        @property
        def metrics(self) -> list[Any]:
            return [None] * len(self._flat_losses or ())

    return UntrackedLoss


def _check_first(loss: Any, subject: str, guess: Guess | None) -> Callable[..., Any]:
    def checked(y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        with backend().outside_trace():
            labels = import_keras().ops.convert_to_numpy(y_true)
        check_labels(loss, labels, tuple(y_pred.shape), subject)
        return loss(y_true, y_pred if guess is None else guess(loss, labels, y_pred), sample_weight)

    return checked


# --- chance level -----------------------------------------------------------------------------------------------------

_CROSS_ENTROPIES: Final[Mapping[str | None, Callable[[int], float]]] = {
    "categorical_crossentropy": lambda classes: 1.0 / classes,
    "sparse_categorical_crossentropy": lambda classes: 1.0 / classes,
    "binary_crossentropy": lambda _: 0.5,
}
"""By the name of the loss: the probability that an even choice gives to a class."""

_DISTANCES: Final[Mapping[str | None, Any]] = {"mean_squared_error": np.mean, "mean_absolute_error": np.median}
"""By the name of the loss: the best constant for labels."""

Guess = Callable[[Any, NDArray[Any], Any], Any]
"""From a loss, the labels and the outputs to outputs that do not depend on the inputs."""


@dataclass(frozen=True)
class ChanceLevel:
    """The compiled loss of outputs that do not depend on the input.

    Attributes:
        value: with an even choice among the classes, and the best constant where labels are numbers.
        at_zero: with 0 in place of that constant.
        of_classes: whether all losses are cross-entropies.
    """

    value: float
    at_zero: float
    of_classes: bool


def find_chance_level(model: Any, labels: Any, outputs: Any) -> ChanceLevel | None:
    """Compute the compiled loss of guesses in place of the outputs; None for a loss for which none is known."""
    keras = import_keras()
    if type(model).compute_loss is not keras.Model.compute_loss:
        return None
    targets = keras.tree.map_structure(keras.ops.convert_to_tensor, read_labels(labels, "y", "output"))
    names: list[str | None] = []

    def guess_with(constant: bool) -> Guess:
        def guess(loss: Any, given: NDArray[Any], predicted: Any) -> Any:
            names.append(_name_of(loss))
            return _guess_outputs(loss, names[-1], given, predicted, constant)

        return guess

    values = [
        float(keras.ops.convert_to_numpy(_make_untracked_loss(model, guess_with(constant))(targets, outputs)))
        for constant in (True, False)
    ]
    if any(name not in _CROSS_ENTROPIES and name not in _DISTANCES for name in names):
        return None
    return ChanceLevel(values[0], values[1], all(name in _CROSS_ENTROPIES for name in names))


def _guess_outputs(loss: Any, name: str | None, labels: NDArray[Any], outputs: Any, constant: bool) -> Any:
    ops: Any = import_keras().ops
    settings = getattr(loss, "_fn_kwargs", {})
    shape = tuple(outputs.shape)
    if name in _CROSS_ENTROPIES:
        share = _CROSS_ENTROPIES[name](shape[settings.get("axis", -1)])
        return ops.full(shape, 0.0 if settings.get("from_logits") else share, outputs.dtype)
    if name not in _DISTANCES:
        return outputs
    centre = _DISTANCES[name](labels.reshape(shape), axis=0, keepdims=True) if constant else 0.0
    return ops.convert_to_tensor(np.broadcast_to(centre, shape), outputs.dtype)


def make_labelled_loss(model: Any, inputs: Any) -> tuple[Callable[[Any], Any], str]:
    """Make labels at random, and a loss of them.

    An output whose last axis has two units or more gets a random class for each position, and cross-entropy; where its
    values are probabilities already, the cross-entropy of probabilities. Another output gets normal numbers, and the
    mean squared error. The losses of several outputs are added.
    """
    keras = import_keras()
    with preserved_random_state():
        example = keras.tree.flatten(model(inputs, training=False))
    random = np.random.default_rng(LABEL_SEED)
    losses: list[Callable[[Any], Any] | None] = [
        _make_loss(np.asarray(keras.ops.convert_to_numpy(output)), random) if is_float_dtype(output.dtype) else None
        for output in example
    ]
    if not any(losses):
        raise ModelError(f"The model {model.name!r} has no floating-point output to train on. Give labels of your own.")

    def loss(outputs: Any) -> Any:
        pairs = zip(losses, keras.tree.flatten(outputs), strict=True)
        return sum(each(keras.ops.cast(output, "float32")) for each, output in pairs if each is not None)

    classes = [len(output.shape) >= 2 and output.shape[-1] >= 2 for output in example]
    if all(classes):
        return loss, "cross-entropy of classes made at random"
    if not any(classes):
        return loss, "mean squared error of normal targets made at random"
    return loss, "cross-entropy and mean squared error of classes and targets made at random"


def _make_loss(output: np.ndarray[Any, Any], random: np.random.Generator) -> Callable[[Any], Any]:
    keras = import_keras()
    if output.ndim < 2 or output.shape[-1] < 2:
        targets = random.standard_normal(output.shape).astype(np.float32)
        return lambda values: keras.ops.mean(keras.ops.square(keras.ops.subtract(values, targets)))
    classes = random.integers(0, output.shape[-1], output.shape[:-1]).astype(np.int32)
    sums = np.asarray(output, dtype=np.float64).sum(axis=-1)
    logits = bool((output < 0.0).any() or not (np.abs(sums - 1.0) <= _SUM_TOLERANCE).all())

    def cross_entropy(values: Any) -> Any:
        losses = keras.ops.sparse_categorical_crossentropy(classes, values, from_logits=logits)
        return keras.ops.mean(losses)

    return cross_entropy
