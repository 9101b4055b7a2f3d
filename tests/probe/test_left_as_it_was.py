"""The model and the random state are left bit-identical; memory does not grow with the seeds."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import example_models as models
import numpy as np
import pytest
import unusual_models
from traced_models import traced

from initcheck.backend.runtime import import_keras
from initcheck.probe import Probe


@pytest.mark.parametrize("build", [*models.BUILDERS, *unusual_models.CASES], ids=lambda build: build.__name__)
def test_a_measured_model_is_bit_identical(build):
    assert traced(build).before == traced(build).after


def test_batch_statistics_are_used_and_moving_statistics_kept():
    model, inputs = models.build_convolutional()
    moving = [np.asarray(weight).copy() for weight in model.non_trainable_variables]
    in_training = Probe(model, inputs).measure([0]).set_index("layer")
    at_inference = Probe(model, inputs, training=False).measure([0]).set_index("layer")
    assert float(in_training.loc["normalization", "activation_variance"]) == pytest.approx(1.0, rel=0.02)
    assert float(at_inference.loc["normalization", "activation_variance"]) != pytest.approx(1.0, rel=0.02)
    for before, after in zip(moving, model.non_trainable_variables, strict=True):
        np.testing.assert_array_equal(before, np.asarray(after))


def test_the_model_is_traced_once_whatever_the_number_of_seeds():
    keras = import_keras()
    calls = []

    class Counting(keras.layers.Layer):
        def call(self, inputs):
            calls.append(1)
            return inputs

    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(4), Counting()])
    calls.clear()
    probe = Probe(model, np.ones((2, 4), np.float32))
    for seeds in ([0], [1, 2, 3], range(20)):
        probe.measure(list(seeds))
    assert len(calls) == 1


@pytest.mark.thorough
def test_peak_memory_does_not_grow_with_the_number_of_seeds():
    """In a process of its own, since a peak cannot be taken back: 64 seeds after 8 must add next to nothing."""
    program = """
        import resource
        import numpy as np
        from initcheck.backend.runtime import import_keras
        keras = import_keras()
        from initcheck.probe import Probe
        model = keras.Sequential([keras.Input((512,)), *(keras.layers.Dense(512) for _ in range(8))])
        probe = Probe(model, np.ones((256, 512), np.float32))
        peaks = []
        for seeds in (8, 8, 64):
            probe.measure(list(range(seeds)))
            peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        print(peaks[2] - peaks[1])
    """
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=True, timeout=300
    )
    one_replicate = 2 * 8 * (512 * 512 + 256 * 512) * 4 / 2**20  # weights, activations and their gradients, in MiB
    assert float(result.stdout) < 2 * one_replicate  # 56 more seeds would be 56 of them, if they piled up
