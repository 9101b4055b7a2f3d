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
from initcheck.study.run import StudyOptions, run_study
from initcheck.theory.forecast import forecast

FEW = StudyOptions(
    networks=("mlp",),
    initializers=("GlorotUniform", "HeNormal", "Orthogonal", "Identity", "Zeros"),
    activations=("tanh", "relu", "sigmoid"),
    depth=10,
    width=64,
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


def test_where_nothing_is_known_of_deeper_layers_nothing_is_said():
    """Behind layers of different widths no layer is like the others."""
    summary = run_study(StudyOptions(networks=("notebook",), initializers=("GlorotUniform",), seeds=(0, 1, 2))).summary
    assert summary["forward_layers_until_thousandth"].isna().all()
    assert summary["backward_thousandfold_change"].isna().all()
