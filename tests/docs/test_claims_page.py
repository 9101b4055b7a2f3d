"""``docs/claims.md``: true to the catalogue, and current."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fake_specification import CLAIMS
from generate.claims import GROUPS, ROWS, write_page

from initcheck.core.errors import UsageError
from initcheck.spec.catalogue import catalogue


def test_every_row_has_a_claim():
    covered = {row for claim in catalogue() for row in claim.rows}
    assert set(ROWS) <= covered


def test_rows_name_their_claims_and_say_what_is_refuted():
    claims = CLAIMS["first"]
    twin = replace(claims[0], id="first.other.holds")
    page = write_page((*claims, twin))
    assert "`first.green.refuted`; holds: `first.{green, other}.holds` |" in page
    assert "| NB3 | zero biases cause no issue | none |" in page
    assert all(f"## {title}" in page for title in GROUPS.values())
    assert "4 claims, 1 of them refuted; 2 of" in page


def test_a_row_that_there_is_not_is_named():
    with pytest.raises(UsageError, match=r"first.green.holds.*A77"):
        write_page((replace(CLAIMS["first"][0], rows=("A77",)),))
