"""Does the initializer change the time of a training step, or of making the model?"""

from __future__ import annotations

import numpy as np
import pytest
from interleaved import estimate_ratio, time_in_turns

from initcheck.initializers import STUDY_INITIALIZERS, InitializerSpec
from initcheck.keras_runtime import import_keras
from initcheck.networks import NotebookSpec

STEPS = 40
TRAINED = ("Zeros", "RandomNormal", "GlorotUniform", "HeNormal", "Orthogonal")
SQUARE = (512, 512)
RANDOM = [spec for spec in STUDY_INITIALIZERS if spec.class_name not in ("Zeros", "Ones", "Constant", "Identity")]


def make_training(initializer):
    """The notebook network's compiled training step on one batch, STEPS times."""
    import_keras()
    import tensorflow as tf

    random = np.random.default_rng(0)
    batch = tf.constant(random.random((32, 28, 28)).astype(np.float32))
    labels = tf.constant(random.integers(0, 10, 32))
    model = NotebookSpec(initializer=InitializerSpec(initializer)).build((28, 28), seed=0)
    model.compile("sgd", "sparse_categorical_crossentropy")
    iterator = iter(tf.data.Dataset.from_tensors((batch, labels)).repeat())
    model.make_train_function()
    step = model.train_function

    def train():
        for _ in range(STEPS):
            logs = step(iterator)
        return float(logs["loss"])

    return train


def test_the_training_step_takes_as_long_whatever_the_initializer(benchmark, report_ratio):
    trainings = {name: make_training(name) for name in TRAINED}
    timed = time_in_turns(trainings, rounds=30)
    typical = np.median(np.stack(list(timed.values())), axis=0)
    ratios = {name: estimate_ratio(seconds, typical) for name, seconds in timed.items()}
    for name, ratio in ratios.items():
        report_ratio(f"training step: {name} / median initializer", ratio, "within 0.9 to 1.1")
    benchmark.pedantic(trainings["HeNormal"], rounds=3)
    # Equivalence, not absence of a difference: the whole interval lies within 10 %.
    for name, ratio in ratios.items():
        assert ratio.low >= 0.9 and ratio.high <= 1.1, name


def test_orthogonal_pays_for_its_decomposition(benchmark, report_ratio):
    import_keras()

    def make(spec):
        initializer = spec.create(seed=1)
        return lambda: [initializer(SQUARE) for _ in range(4)][-1].numpy()

    draws = {spec.label: make(spec) for spec in RANDOM}
    timed = time_in_turns(draws, rounds=20)
    ratios = {name: estimate_ratio(seconds, timed["RandomUniform"]) for name, seconds in timed.items()}
    for name, ratio in ratios.items():
        report_ratio(f"initialization of 512 x 512: {name} / RandomUniform", ratio)
    benchmark.pedantic(draws["Orthogonal"], rounds=3)
    assert ratios["Orthogonal"].low > max(ratio.high for name, ratio in ratios.items() if name != "Orthogonal")


def test_a_step_that_is_slower_is_noticed():
    """Negative control: a candidate that does a fifth more work falls out of the bounds of equivalence."""
    train = make_training("HeNormal")
    matrix = np.random.default_rng(0).normal(size=(300, 300))

    def busier():
        train()
        for _ in range(200):
            matrix @ matrix

    timed = time_in_turns({"plain": train, "busier": busier}, rounds=10)
    assert estimate_ratio(timed["busier"], timed["plain"]).low > 1.1


@pytest.mark.parametrize("seconds", [0.001, 0.002])
def test_the_ratio_of_a_candidate_to_itself_is_one(seconds):
    same = np.full(20, seconds)
    assert estimate_ratio(same, same).value == pytest.approx(1.0)
