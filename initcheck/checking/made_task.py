"""A task for a model that comes without labels: targets that a fixed random function makes of the inputs.

The function, a network with one hidden layer of tanh units, depends on the inputs and on the form of the outputs alone,
so that two models of one form are given the same task. Where outputs have positions (steps of a sequence, pixels), a
target depends on the inputs at the same place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from initcheck.backend.runtime import import_keras, is_float_dtype
from initcheck.checking.input_specs import flatten
from initcheck.core.errors import ModelError

TASK_SEED: Final = 2
"""Seed of the function, another one than those of the inputs and of labels made at random."""

_HIDDEN: Final = 32
_MOST_FEATURES: Final = 256
_MOST_CLASSES: Final = 16
_OF_INTEGER: Final = 4
"""Numbers that stand for an integer."""
_SUM_TOLERANCE: Final = 1e-3

Array = NDArray[np.float64]


def make_task(inputs: Any, outputs: Any, name: str) -> tuple[Callable[[Any], Any], str]:
    """Make targets for outputs of a form, and the loss of any outputs compared with them; say which task it is.

    Probabilities that add up to 1, the outputs of shape (B, C), and those of models that take integers get a class for
    each position; other values between 0 and 1 get yes or no; all others get numbers of mean 0 and variance 1.

    Args:
        outputs: an example, whose values tell probabilities from other numbers.
        name: that of the model, for messages.
    """
    keras = import_keras()
    arrays = [np.asarray(each) for each in flatten(inputs)]
    random = np.random.default_rng(TASK_SEED)
    losses: list[Callable[[Any], Any] | None] = []
    words: dict[str, None] = {}
    for output in keras.tree.flatten(outputs):
        if not is_float_dtype(output.dtype):
            losses.append(None)
            continue
        loss, kind = _make_loss(np.asarray(keras.ops.convert_to_numpy(output), dtype=np.float64), arrays, random)
        losses.append(loss)
        words[kind] = None
    if not words:
        raise ModelError(f"The model {name!r} has no floating-point output to train on. Give labels of your own.")

    def compute(outputs: Any) -> Any:
        pairs = zip(losses, keras.tree.flatten(outputs), strict=True)
        return sum(each(keras.ops.cast(output, "float32")) for each, output in pairs if each is not None)

    return compute, f"{' and '.join(words)} made by a fixed random function of the inputs"


def _make_loss(
    output: Array, inputs: Sequence[NDArray[Any]], random: np.random.Generator
) -> tuple[Callable[[Any], Any], str]:
    ops = import_keras().ops
    shape = output.shape if output.ndim > 1 else (*output.shape, 1)
    probabilities = shape[-1] > 1 and bool((np.abs(output.sum(axis=-1) - 1.0) <= _SUM_TOLERANCE).all())
    takes_integers = any(not is_float_dtype(each.dtype) for each in inputs)
    features = _features(inputs, shape[1:-1], random)
    if probabilities and bool((output >= 0.0).all()):
        return _cross_entropy(features, shape[-1], random, from_logits=False), "classes (cross-entropy)"
    if bool(((output > 0.0) & (output < 1.0)).all()):
        answers = (_apply_teacher(features, shape[-1], random) > 0.0).astype(np.float32)

        def compare(values: Any) -> Any:
            return ops.mean(ops.binary_crossentropy(answers, ops.reshape(values, answers.shape)))

        return compare, "yes-or-no targets (binary cross-entropy)"
    if shape[-1] > 1 and (len(shape) == 2 or takes_integers):
        return _cross_entropy(features, shape[-1], random, from_logits=True), "classes (cross-entropy of logits)"
    targets = _apply_teacher(features, shape[-1], random).astype(np.float32)

    def square(values: Any) -> Any:
        return ops.mean(ops.square(ops.subtract(ops.reshape(values, targets.shape), targets)))

    return square, "numbers of variance 1 (mean squared error)"


def _cross_entropy(
    features: Array, classes: int, random: np.random.Generator, *, from_logits: bool
) -> Callable[[Any], Any]:
    ops = import_keras().ops
    # A few classes suffice: the scores of 50,000 for each word of a batch would fill the memory.
    labels = _apply_teacher(features, min(classes, _MOST_CLASSES), random).argmax(axis=-1).astype(np.int32)
    return lambda values: ops.mean(ops.sparse_categorical_crossentropy(labels, values, from_logits=from_logits))


def _apply_teacher(features: Array, units: int, random: np.random.Generator) -> Array:
    """Map features to numbers, each unit with mean 0 and variance 1 over all samples and positions."""
    first = random.standard_normal((features.shape[-1], _HIDDEN)) / np.sqrt(features.shape[-1])
    hidden = np.tanh(features @ first + random.standard_normal(_HIDDEN))
    values: Array = hidden @ random.standard_normal((_HIDDEN, units))
    over = tuple(range(values.ndim - 1))
    deviation = values.std(axis=over)
    standard: Array = (values - values.mean(axis=over)) / np.where(deviation > 0.0, deviation, 1.0)
    return standard


def _features(inputs: Sequence[NDArray[Any]], positions: tuple[int, ...], random: np.random.Generator) -> Array:
    """Collect from the inputs what targets at some positions depend on, shape [B, *positions, features]."""
    parts = [_at_positions(_to_numbers(each, random), positions, random) for each in inputs]
    features = np.concatenate(parts, axis=-1)
    some = np.unique(np.linspace(0, features.shape[-1] - 1, _MOST_FEATURES).astype(np.int64))
    return features[..., some]


def _to_numbers(values: NDArray[Any], random: np.random.Generator) -> Array:
    """Bring an input to variance 1 over all its entries; an integer becomes some random numbers of its own."""
    if is_float_dtype(values.dtype):
        numbers = values.astype(np.float64)
        deviation = float(numbers.std())
        scaled: Array = (numbers - numbers.mean()) / (deviation if deviation > 0.0 else 1.0)
        return scaled
    known, places = np.unique(values, return_inverse=True)
    table = random.standard_normal((len(known), _OF_INTEGER))
    found: Array = table[places.reshape(values.shape)]
    return found


def _at_positions(numbers: Array, positions: tuple[int, ...], random: np.random.Generator) -> Array:
    """Take the numbers at the nearest place for each position; where there are no places, all, and some random ones."""
    samples = numbers.shape[0]
    if not positions or numbers.ndim - 2 >= len(positions):
        for axis, length in enumerate(positions, start=1):
            numbers = np.take(numbers, np.arange(length) * numbers.shape[axis] // length, axis=axis)
        return np.reshape(numbers, (samples, *positions, -1))
    whole = numbers.reshape(samples, *(1 for _ in positions), -1)
    own = np.broadcast_to(random.standard_normal((*positions, _HIDDEN)), (samples, *positions, _HIDDEN))
    return np.concatenate([np.broadcast_to(whole, (samples, *positions, whole.shape[-1])), own], axis=-1)
