"""A loss for a model without labels: random classes where it can classify, random targets where it cannot."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np

from initcheck.errors import ModelError
from initcheck.keras_runtime import import_keras, is_float_dtype
from initcheck.random_state import preserved_random_state

LABEL_SEED: Final = 1
"""Seed of the labels, another one than that of the inputs."""

_SUM_TOLERANCE: Final = 1e-3


def make_labelled_loss(model: Any, inputs: Any) -> tuple[Callable[[Any], Any], str]:
    """Make labels at random, and a loss of them.

    An output whose last axis has two units or more gets a random class for each position, and cross-entropy; where its
    values are probabilities already, the cross-entropy of probabilities. Another output gets normal numbers, and the
    mean squared error. The losses of several outputs are added.

    Args:
        model: a built Keras model; it is called once and not changed.
        inputs: the batch.

    Returns:
        A function from the outputs to a scalar tensor; and what it is, in words.

    Raises:
        ModelError: the model has no floating-point output.
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

    classes = [output.ndim >= 2 and output.shape[-1] >= 2 for output in map(np.asarray, example)]
    if all(classes):
        return loss, "cross-entropy of classes made at random"
    if not any(classes):
        return loss, "mean squared error of normal targets made at random"
    return loss, "cross-entropy and mean squared error of classes and targets made at random"


def _make_loss(output: np.ndarray[Any, Any], random: np.random.Generator) -> Callable[[Any], Any]:
    keras = import_keras()
    if output.ndim < 2 or output.shape[-1] < 2:
        targets = random.standard_normal(output.shape).astype(np.float32)
        return lambda values: keras.ops.mean(keras.ops.square(values - targets))
    classes = random.integers(0, output.shape[-1], output.shape[:-1]).astype(np.int32)
    sums = np.asarray(output, dtype=np.float64).sum(axis=-1)
    logits = bool((output < 0.0).any() or not (np.abs(sums - 1.0) <= _SUM_TOLERANCE).all())

    def cross_entropy(values: Any) -> Any:
        losses = keras.ops.sparse_categorical_crossentropy(classes, values, from_logits=logits)
        return keras.ops.mean(losses)

    return cross_entropy
