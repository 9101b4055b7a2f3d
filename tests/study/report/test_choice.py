"""Recommended is what is shown to keep the signal; noise does not rank, and where nothing keeps it the page says so."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest

from initcheck.core.statistics import Estimate
from initcheck.study.record import StudyRecord
from initcheck.study.report.choice import choose_initializers, ignores_width, make_choice_table
from initcheck.study.report.levels import SeedGains, SummaryRow, read_pairs

Interval = tuple[float, float]


@pytest.fixture
def pair(small_study: Callable[..., StudyRecord]) -> SummaryRow:
    """A pair that keeps the signal by all means."""
    study = small_study(("HeNormal",), ("relu",))
    (found,) = read_pairs(study.summary, study.table)
    kept = {
        way: replace(summary, verdict="preserves", low=0.9, high=1.1) for way, summary in found.by_direction.items()
    }
    return replace(found, by_direction=kept, symmetric=False, batch_variance_share=0.3)


def _gains(initializer: str, forward: Interval, backward: Interval) -> list[SeedGains]:
    found = []
    for direction, (low, high) in (("forward", forward), ("backward", backward)):
        estimate = Estimate(0.5 * (low + high), low, high, 0.95, 6, 0.01)
        found.append(SeedGains("mlp", initializer, "relu", direction, np.empty(0), estimate))  # type: ignore[arg-type]
    return found


def _name(pair: SummaryRow, initializer: str, verdicts: Sequence[str] = ("preserves", "preserves")) -> SummaryRow:
    ways = {
        way: replace(summary, verdict=verdict)
        for (way, summary), verdict in zip(pair.by_direction.items(), verdicts, strict=True)
    }
    return replace(pair, initializer=initializer, by_direction=ways)


def _rank(pairs: list[SummaryRow], gains: list[SeedGains]) -> list[str]:
    (choice,) = choose_initializers(pairs, gains)
    return [found.initializer for found in choice.ranked]


def test_the_gain_nearest_to_one_comes_first_only_where_that_is_shown(pair: SummaryRow):
    pairs = [_name(pair, "HeNormal"), _name(pair, "HeUniform")]
    apart = _gains("HeNormal", (0.02, 0.03), (0.0, 0.01)) + _gains("HeUniform", (-0.01, 0.01), (-0.01, 0.01))
    assert _rank(pairs, apart) == ["HeUniform", "HeNormal"]
    overlapping = _gains("HeNormal", (0.0, 0.03), (0.0, 0.02)) + _gains("HeUniform", (-0.01, 0.01), (-0.01, 0.01))
    assert _rank(pairs, overlapping) == ["HeNormal", "HeUniform"]


def test_the_worse_direction_decides(pair: SummaryRow):
    pairs = [_name(pair, "HeNormal"), _name(pair, "HeUniform")]
    gains = _gains("HeNormal", (0.0, 0.0), (-0.04, -0.03)) + _gains("HeUniform", (0.01, 0.02), (0.01, 0.02))
    assert _rank(pairs, gains) == ["HeUniform", "HeNormal"]


def test_what_keeps_the_signal_comes_before_what_is_nearer_to_one_and_is_not_shown_to(pair: SummaryRow):
    pairs = [_name(pair, "HeUniform", ("inconclusive", "preserves")), _name(pair, "HeNormal")]
    gains = _gains("HeUniform", (0.0, 0.0), (0.0, 0.0)) + _gains("HeNormal", (0.03, 0.04), (0.03, 0.04))
    assert _rank(pairs, gains) == ["HeNormal", "HeUniform"]


def test_weights_whose_size_ignores_the_width_are_named_and_not_recommended(pair: SummaryRow):
    pairs = [_name(pair, "RandomNormal"), _name(pair, "HeNormal", ("preserves", "explodes"))]
    gains = _gains("RandomNormal", (0.0, 0.0), (0.0, 0.0)) + _gains("HeNormal", (0.03, 0.04), (0.1, 0.2))
    assert _rank(pairs, gains) == ["HeNormal"]
    cells = make_choice_table(choose_initializers(pairs, gains), gains, "mlp").rows[0].cells
    assert (cells[0].text, cells[3].text) == ("none keeps it", "HeNormal")
    assert cells[-1].text.endswith("; at this width alone, RandomNormal")


@pytest.mark.parametrize(
    ("initializer", "ignores"),
    [("RandomNormal", True), ("TruncatedNormal", True), ("HeNormal", False), ("Orthogonal", False), ("Mine", False)],
)
def test_it_is_known_of_which_weights_the_size_follows_the_width(initializer: str, ignores: bool):
    assert ignores_width(initializer) == ignores


@pytest.mark.parametrize(
    "changes",
    [
        {"symmetric": True},
        {"nonfinite_from": 3},
        {"batch_variance_share": 0.001},
        {"batch_variance_share": math.nan},
    ],
)
def test_what_carries_no_signal_is_no_choice(pair: SummaryRow, changes: dict[str, object]):
    gains = _gains("HeNormal", (0.0, 0.0), (0.0, 0.0))
    assert _rank([replace(pair, **changes)], gains) == []  # type: ignore[arg-type]
    table = make_choice_table(choose_initializers([replace(pair, **changes)], gains), gains, "mlp")  # type: ignore[arg-type]
    assert [cell.text for cell in table.rows[0].cells][:4] == ["none keeps it", "–", "–", "none"]


def test_weights_without_chance_and_dead_signals_are_no_choice(pair: SummaryRow):
    gains = _gains("HeNormal", (0.0, 0.0), (0.0, 0.0))
    fixed = {way: replace(summary, low=1.0, high=1.0) for way, summary in pair.by_direction.items()}
    assert _rank([replace(pair, by_direction=fixed)], gains) == []
    assert _rank([_name(pair, "HeNormal", ("preserves", "dead"))], gains) == []


def test_where_nothing_keeps_the_signal_the_nearest_is_the_second_choice_and_says_what_it_does(pair: SummaryRow):
    near, far = _name(pair, "HeNormal", ("preserves", "explodes")), _name(pair, "HeUniform", ("explodes", "explodes"))
    gains = _gains("HeNormal", (0.0, 0.01), (0.1, 0.12)) + _gains("HeUniform", (1.0, 1.1), (1.0, 1.1))
    choices = choose_initializers([far, near], gains)
    assert [found.initializer for found in choices[0].ranked] == ["HeNormal"]  # the other is off by more than 2 a layer
    assert choices[0].best is None
    cells = make_choice_table(choices, gains, "mlp").rows[0].cells
    assert cells[0].text == "none keeps it"
    assert (cells[3].text, cells[3].notes) == ("HeNormal", ("1.005 forward", "1.12 backward: explodes"))
    assert cells[4].text.startswith("second choice: backward ")
