"""Every number of the reference table, against the public functions of the theory.

An entry passes if |got - value| <= abs + rel |value|, with its own tolerance.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache

import pytest
import reference_layers
import reference_signals
from reference_table import EXPRESSIONS, Entry, Numbers, find_expressions, read_entries

from initcheck.theory.gaussian import compute_moments

# They register what computes the entries.
assert reference_layers and reference_signals

NOT_EXPRESSED = {
    "pub.torch_gain.sigmoid": "PyTorch's recommendation 1 follows from no law: 1/sqrt(E phi^2) is 1.846 at q = 1",
    "pub.torch_gain.tanh": "PyTorch's recommendation 5/3 follows from no law: 1/sqrt(E phi^2) is 1.593 at q = 1",
    "pub.torch_gain.selu": "PyTorch's recommendation 3/4 follows from no law: SELU keeps its second moment at gain 1",
    "mup.SP.adam.input": "the exponent of a training step, after initialization",
    "mup.SP.adam.hidden": "the exponent of a training step, after initialization",
    "mup.SP.adam.logit": "the exponent of a training step, after initialization",
    "data.mnist.Ex2": "a property of a data set",
    "lsuv.tol": "a setting of another program",
}
"""Entries that no function of the theory can give, with the reasons."""

ENTRIES = read_entries()
EXPRESSED = [entry for entry in ENTRIES.values() if entry.id not in NOT_EXPRESSED]
MOMENT_ENTRIES = [entry for entry in EXPRESSED if entry.id.startswith("mom.")]


@cache
def compute(entry_id: str) -> Numbers:
    (expression,) = find_expressions(entry_id)
    return expression(ENTRIES[entry_id].inputs)


@pytest.mark.parametrize("entry", [pytest.param(entry, id=entry.id) for entry in EXPRESSED])
def test_theory_gives_the_reference(entry: Entry) -> None:
    got = compute(entry.id)
    assert entry.agrees(got), f"{got} instead of {entry.value}, ± {entry.tolerance}"


@pytest.mark.parametrize("entry", [pytest.param(entry, id=entry.id) for entry in MOMENT_ENTRIES])
def test_the_functions_of_keras_themselves_give_the_reference(entry: Entry) -> None:
    moments = compute_moments(reference_signals.keras_activation_of(entry.inputs["activation"]), entry.inputs["q"])
    got = float(getattr(moments, reference_signals.MOMENTS[entry.id.rpartition(".")[2]]))
    assert entry.agrees(got), f"{got} instead of {entry.value}, ± {entry.tolerance}"


def test_every_entry_is_expressed_once_or_listed_with_a_reason() -> None:
    assert len(ENTRIES) == 397
    expressed = {entry_id: len(find_expressions(entry_id)) for entry_id in ENTRIES}
    assert {entry_id: count for entry_id, count in expressed.items() if count > 1} == {}
    assert {entry_id for entry_id, count in expressed.items() if not count} == set(NOT_EXPRESSED)
    assert all(NOT_EXPRESSED.values())


def test_no_expression_has_lost_its_entries() -> None:
    stale = [
        pattern.pattern for pattern, _ in EXPRESSIONS if not any(pattern.fullmatch(entry_id) for entry_id in ENTRIES)
    ]
    assert stale == []


@pytest.mark.parametrize("tolerances", [-3.0, 3.0])
def test_every_reference_that_is_off_by_three_tolerances_is_noticed(tolerances: float) -> None:
    # Negative control. Entries are exact to a small part of their tolerances, or they would pass on one side.
    wrong = [replace(entry, value=entry.value + tolerances * entry.tolerance) for entry in EXPRESSED]
    assert [entry.id for entry in wrong if entry.agrees(compute(entry.id))] == []


def test_nan_and_nothing_agree_with_no_reference() -> None:
    entry = ENTRIES["mom.tanh.q1.m2"]
    assert not entry.agrees(math.nan)
    assert not entry.agrees([entry.value, math.nan])
    assert not entry.agrees([])
