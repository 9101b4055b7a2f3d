"""Targets made for a model without labels: they depend on the inputs, and fit the form of the outputs."""

from __future__ import annotations

import numpy as np
import pytest

from initcheck.backend.runtime import import_keras
from initcheck.checking.made_task import make_task
from initcheck.core.errors import ModelError

SAMPLES = 16


def softmax(values):
    exponentials = np.exp(values)
    return (exponentials / exponentials.sum(axis=-1, keepdims=True)).astype(np.float32)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal((SAMPLES, *shape)).astype(np.float32)


def tokens(*shape):
    return np.random.default_rng(0).integers(0, 50, (SAMPLES, *shape)).astype(np.int32)


CASES = {
    "probabilities": (normal(6), softmax(normal(5)), "classes (cross-entropy)"),
    "logits": (normal(6), normal(5), "classes (cross-entropy of logits)"),
    "a sigmoid": (normal(6), 1.0 / (1.0 + np.exp(-normal(1))), "yes-or-no targets (binary cross-entropy)"),
    "a number": (normal(6), normal(1), "numbers of variance 1 (mean squared error)"),
    "without an axis of units": (normal(6), normal(), "numbers of variance 1 (mean squared error)"),
    "words": (tokens(7), normal(7, 30), "classes (cross-entropy of logits)"),
    "words from a vector": (normal(6), softmax(normal(7, 30)), "classes (cross-entropy)"),
    "an image": (normal(8, 8, 3), normal(8, 8, 3), "numbers of variance 1 (mean squared error)"),
    "a smaller map": (normal(8, 8, 3), softmax(normal(4, 4, 5)), "classes (cross-entropy)"),
    "a single number in": (normal(), normal(3), "classes (cross-entropy of logits)"),
}


@pytest.mark.parametrize(("inputs", "outputs", "words"), CASES.values(), ids=CASES)
def test_each_form_of_output_has_a_loss_that_its_values_change(inputs, outputs, words):
    ops = import_keras().ops
    loss, task = make_task(inputs, ops.convert_to_tensor(outputs), "net")
    assert task == f"{words} made by a fixed random function of the inputs"
    others = outputs[::-1].copy()
    values = [float(loss(ops.convert_to_tensor(each))) for each in (outputs, others)]
    assert np.isfinite(values).all()
    assert values[0] != pytest.approx(values[1], rel=1e-4)


def test_two_models_of_one_form_are_given_the_same_task():
    ops = import_keras().ops
    inputs = normal(6)
    first, _ = make_task(inputs, ops.convert_to_tensor(normal(5)), "one")
    second, _ = make_task(inputs, ops.convert_to_tensor(normal(5, seed=3)), "another")
    values = ops.convert_to_tensor(normal(5, seed=4))
    assert float(first(values)) == float(second(values))


def test_the_losses_of_several_outputs_are_added():
    ops = import_keras().ops
    outputs = {"a": ops.convert_to_tensor(normal(1)), "b": ops.convert_to_tensor(softmax(normal(3)))}
    loss, task = make_task([normal(6), tokens(4)], outputs, "net")
    assert task.startswith("numbers of variance 1 (mean squared error) and classes (cross-entropy)")
    assert float(loss(outputs)) > 0.0


def test_targets_at_a_place_depend_on_the_inputs_at_that_place():
    """Samples and places that hold the same token are given the same class."""
    ops = import_keras().ops
    inputs = np.asarray([[1, 2, 3], [3, 2, 1]], dtype=np.int32)
    loss, _ = make_task(inputs, ops.zeros((2, 3, 4)), "net")
    turned = np.random.default_rng(0).standard_normal((2, 3, 4)).astype(np.float32)
    mirrored = turned[::-1, ::-1].copy()
    assert float(loss(ops.convert_to_tensor(turned))) == pytest.approx(
        float(loss(ops.convert_to_tensor(mirrored))), rel=1e-6
    )


def test_a_model_without_numbers_for_outputs_is_refused():
    with pytest.raises(ModelError, match="'net' has no floating-point output to train on"):
        make_task(normal(6), import_keras().ops.zeros((SAMPLES, 2), dtype="int32"), "net")
