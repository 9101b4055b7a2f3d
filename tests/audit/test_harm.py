"""What ``explain`` quotes of ``tox run -e harm``: every rule that finds something wrong was trained."""

from __future__ import annotations

import re

import pytest

from initcheck.audit import findings
from initcheck.audit.rules import RULES

MEASURED = {
    "steps": 100,
    "chance": 2.303,
    "rules": {
        "IC101": {"pairs": 6, "higher": 5, "none": 1, "with": 2.3, "without": 0.4123},
        "IC301": {"pairs": 8, "higher": 0, "none": 4, "with": 0.2, "without": 0.2},
    },
}


@pytest.mark.parametrize("code", sorted(RULES))
def test_what_is_wrong_was_trained_and_nothing_else(code):
    assert bool(RULES[code].harm) == (RULES[code].severity == "wrong")


def test_the_sentence_has_the_measured_numbers(monkeypatch):
    monkeypatch.setattr(findings, "_read_harm", lambda: MEASURED)
    assert RULES["IC101"].harm.endswith(
        "after 100 steps the loss is higher with it in 5 of 6 pairs (median 2.3, 0.412 without; chance level 2.3)."
    )
    assert "in none of 8 pairs" in RULES["IC301"].harm
    assert RULES["IC601"].harm == ""


def test_no_number_is_more_than_can_be(monkeypatch):
    for code in sorted(RULES):
        found = re.search(r"in (none|\d+) of (\d+) pairs", RULES[code].harm)
        if found:
            assert int(found[2]) >= 6
            assert found[1] == "none" or int(found[1]) <= int(found[2])
