"""The recipe "Add a claim" of CONTRIBUTING.md, followed with a claim about zeros."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from generate import claims as page

from initcheck.backend.runtime import import_keras
from initcheck.cli import main
from initcheck.spec.catalogue import catalogue, find_claim
from initcheck.spec.claim import Claim, ExactRow, RunContext
from initcheck.spec.decisions import AllWithin
from initcheck.spec.topics import dtype

ID = "dtype.toy.is_zero"


@dataclass(frozen=True)
class LargestEntry:
    """How large the largest entry is that an initializer draws."""

    initializer: str

    def measure(self, context: RunContext) -> Iterator[ExactRow]:
        ops = import_keras().ops
        drawn = import_keras().initializers.get(self.initializer)((3, 4))
        yield ExactRow(self.initializer, float(ops.max(ops.abs(drawn))))


@pytest.fixture
def claim(monkeypatch):
    made = Claim(
        id=ID,
        statement="zeros draws zeros",
        source="Keras, Zeros",
        condition="shape (3, 4)",
        experiment=LargestEntry("zeros"),
        decide=AllWithin("largest entry", 0.0, 0.0),
        control=LargestEntry("ones"),
        control_note="ones in place of zeros",
        rows=("A1",),
    )
    others = dtype.claims
    monkeypatch.setattr(dtype, "claims", lambda: (*others(), made))
    catalogue.cache_clear()
    yield made
    catalogue.cache_clear()


def test_a_claim_of_a_topic_is_listed_judged_and_on_the_page(claim, capsys):
    assert find_claim(ID) is claim
    assert main(["spec", "--list", "-k", "toy"]) == 0
    assert ID in capsys.readouterr().out
    outcome = RunContext(0).judge(claim)
    assert outcome.status == "holds" and outcome.green
    (row,) = [line for line in page.write_page().splitlines() if line.startswith("| A1 |")]
    assert f"`{ID}`" in row


def test_without_the_claim_nothing_knows_it():
    assert ID not in {each.id for each in catalogue()}


def test_a_claim_whose_control_does_not_fail_is_not_shown(claim):
    twin = Claim(**{**{name: getattr(claim, name) for name in claim.__dataclass_fields__}, "control": claim.experiment})
    assert RunContext(0).judge(twin).status == "not shown"
