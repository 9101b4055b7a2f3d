"""The phrases, for every combination of states."""

from __future__ import annotations

import itertools
import math
from typing import get_args

import pytest

from initcheck.audit.gains import DirectionVerdict, describe_propagation

WORDS: tuple[DirectionVerdict, ...] = get_args(DirectionVerdict)


@pytest.mark.parametrize(
    ("forward", "backward", "phrase"),
    [
        ("preserves", "preserves", "preserves in both directions"),
        ("vanishes", "vanishes", "vanishes forward and backward"),
        ("preserves", "explodes", "preserves forward, explodes backward"),
        ("inconclusive", "inconclusive", "inconclusive forward and backward"),
        ("dead", "dead", "dead: no signal"),
        ("dead", "vanishes", "dead: no signal forward; vanishes backward"),
    ],
)
def test_both_directions_are_put_into_one_phrase(
    forward: DirectionVerdict, backward: DirectionVerdict, phrase: str
) -> None:
    assert describe_propagation(forward, backward, symmetric=False, batch_variance_share=0.5) == phrase


@pytest.mark.parametrize("forward", [word for word in WORDS if word != "preserves"])
def test_indistinguishable_inputs_are_told_only_of_a_signal_that_is_preserved(forward: DirectionVerdict) -> None:
    phrase = describe_propagation(forward, "preserves", symmetric=False, batch_variance_share=1e-9)
    assert "indistinguishable" not in phrase
    assert "indistinguishable" in describe_propagation(
        "preserves", "preserves", symmetric=False, batch_variance_share=1e-9
    )


def test_symmetric_comes_first_in_every_combination() -> None:
    for forward, backward in itertools.product(WORDS, WORDS):
        phrase = describe_propagation(forward, backward, symmetric=True, batch_variance_share=math.nan)
        assert phrase.startswith("symmetric: all units of a layer stay alike")


def test_no_state_but_preserved_twice_reads_as_preserved_in_both_directions() -> None:
    for forward, backward in itertools.product(WORDS, WORDS):
        phrase = describe_propagation(forward, backward, symmetric=None, batch_variance_share=0.5)
        assert (phrase == "preserves in both directions") == (forward == backward == "preserves")
