"""After how many layers a signal is lost: ``initcheck report`` and ``initcheck predict`` give one answer."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pandas as pd
import pytest
from marked import slow

from initcheck.core.columns import DIRECTIONS
from initcheck.core.errors import TheoryError
from initcheck.models.initializers import study_initializers
from initcheck.models.networks import STUDY_ACTIVATIONS
from initcheck.prediction.chain import _find_repeated
from initcheck.prediction.signal import RepeatedLayers
from initcheck.study.run import StudyOptions, run_study
from initcheck.theory.dense_layers import DenseLayer
from initcheck.theory.forecast import forecast
from initcheck.theory.gaussian import find_activation
from initcheck.theory.weights import WeightDistribution

FEW = StudyOptions(
    networks=("mlp",),
    initializers=("GlorotUniform", "HeNormal", "Orthogonal", "Identity", "Zeros"),
    activations=("tanh", "relu", "sigmoid"),
    depth=10,
    widths=(64,),
    seeds=tuple(range(12)),
)
ALL = StudyOptions(networks=("mlp",), seeds=tuple(range(8)))
FACTOR = 1.4
"""``predict`` follows one input, the report the mean over a batch of a few drawn networks."""


SAID = ("layers_until_thousandth", "thousandfold_change", "steps")


def compare(options: StudyOptions) -> Iterator[tuple[str, dict[str, object], object]]:
    """Give for every pair and direction what the report says, and what theory does (None without a theory)."""
    for row in run_study(options).summary.to_dict("records"):
        try:
            found = forecast(
                row["activation"], initializer=row["initializer"], depth=int(row["depth"]), width=int(row["width"])
            ).layers_until
        except TheoryError:
            found = None
        for direction in DIRECTIONS:
            said = {end: row[f"{direction}_{end}"] for end in SAID}
            name = f"{row['initializer']} with {row['activation']}, {direction}"
            yield name, said, None if found is None else getattr(found, direction)


@pytest.mark.parametrize("options", [FEW, *slow("thorough", ALL)], ids=["few", "all 228 pairs"])
def test_report_and_predict_agree_on_every_pair(options):
    compared, beyond = 0, 0
    for name, said, expected in compare(options):
        layers, change = said["layers_until_thousandth"], said["thousandfold_change"]
        if expected is None:
            # Nothing is said of layers that were not measured.
            assert pd.isna(layers) or layers <= said["steps"], name
            continue
        compared += 1
        predicted = math.inf if expected.layers is None else expected.layers
        assert change == expected.direction, name
        assert layers == predicted or abs(layers - predicted) <= 1 or 1 / FACTOR < layers / predicted < FACTOR, name
        beyond += math.isfinite(predicted) and layers > said["steps"]
    pairs = len(options.initializers or study_initializers()) * len(options.activations or STUDY_ACTIVATIONS)
    assert compared > pairs
    assert beyond > 0


def test_theory_goes_on_from_the_last_measured_layer():
    """With ReLU each further layer adds ln 0.5 - 5 / (2 n), whatever was measured before."""
    options = StudyOptions(("mlp",), ("GlorotUniform",), ("relu",), depth=4, widths=(64,), seeds=tuple(range(6)))
    (row,) = run_study(options).summary.to_dict("records")
    for direction in DIRECTIONS:
        left = math.log(1000.0) + 3 * row[f"{direction}_log_gain"]
        expected = 3 + math.ceil(left / (math.log(2.0) + 2.5 / 64))
        assert row[f"{direction}_layers_until_thousandth"] == expected


def test_only_layers_that_are_alike_from_the_second_to_the_last_are_repeated():
    def make(inputs: int, units: int, scale: float = 2.0) -> DenseLayer:
        weights = WeightDistribution("normal", scale / inputs, 3.0, inputs, units)
        return DenseLayer(units, weights, find_activation("relu"))

    first, alike, other, head = make(784, 64), make(64, 64), make(64, 64, 1.0), make(64, 10)
    assert _find_repeated([first, alike, alike, head], [0, 1, 2], 0.5) == RepeatedLayers((first, alike, alike), 0.5)
    for layers, places in (
        ([first, alike, other, head], [0, 1, 2]),
        ([first, alike, alike, head], [1, 2]),
        ([first, make(64, 32), head], [0, 1]),
        ([first, head], [0]),
        ([first, alike, head], []),
    ):
        assert _find_repeated(layers, places, 0.5) is None


def test_where_nothing_is_known_of_deeper_layers_nothing_is_said():
    """Behind layers of different widths no layer is like the others."""
    summary = run_study(StudyOptions(networks=("notebook",), initializers=("GlorotUniform",), seeds=(0, 1, 2))).summary
    assert summary["forward_layers_until_thousandth"].isna().all()
    assert summary["backward_thousandfold_change"].isna().all()
