"""Labels held against the outputs that a loss of Keras compares them with."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from initcheck.errors import DataError
from initcheck.keras_runtime import import_keras

_SPARSE: Final = ("sparse_categorical_crossentropy", "categorical_generalized_cross_entropy")
"""Losses of outputs with a class axis and labels without one."""

_FREE: Final = ("ctc", "circle")
"""Losses whose labels have shapes of their own."""

Shape = tuple[int | None, ...]


def check_labels(loss: Any, labels: NDArray[Any], outputs: Shape, subject: str) -> None:
    """Check the labels of one output.

    Args:
        loss: a ``keras.losses.Loss``. Of one that Keras does not ship, only the number of samples is checked.
        labels: shape [samples, ...].
        outputs: shape of the output, [samples, ...]; None for an axis whose length is unknown.
        subject: the output in words, at the start of a sentence.

    Raises:
        DataError: the number of labels, their shape, or a class index does not fit.
    """
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
        remedy = "Give labels of the shape of the output."
        if name.startswith("categorical") and _fits(labels.shape, outputs[:-1]):
            remedy = "Give one-hot labels (keras.utils.to_categorical), or compile with a sparse loss."
        raise DataError(
            f"{subject} has the shape {_show(outputs)}, which {name} compares with labels of the same shape. "
            f"Received: labels of shape {labels.shape}. {remedy}"
        )


def _check_sparse(loss: Any, name: str, labels: NDArray[Any], outputs: Shape, subject: str) -> None:
    settings = getattr(loss, "_fn_kwargs", {})
    axis = settings.get("axis", -1) % len(outputs)
    classes = outputs[axis]
    expected = outputs[:axis] + outputs[axis + 1 :]
    if not _matches(labels.shape, expected) and not _matches(labels.shape, (*expected, 1)):
        one_hot = _matches(labels.shape, outputs)
        remedy = "Give the class index (labels.argmax(-1))" + (", or compile without sparse." if one_hot else ".")
        raise DataError(
            f"{subject} has the shape {_show(outputs)}, for which {name} takes labels of shape {_show(expected)}. "
            f"Received: labels of shape {labels.shape}. {remedy}"
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
    """Tell whether shapes are equal, but for a last axis of one entry, which Keras adds and drops."""
    if len(labels) == len(outputs) + 1 and labels[-1] == 1:
        labels = labels[:-1]
    elif len(outputs) == len(labels) + 1 and outputs[-1] == 1:
        outputs = outputs[:-1]
    return _matches(labels, outputs)


def _matches(labels: tuple[int, ...], shape: Shape) -> bool:
    return len(labels) == len(shape) and all(size in (None, mine) for size, mine in zip(shape, labels, strict=True))


def _show(shape: Shape) -> str:
    return str(shape).replace("None", "any")
