"""``initcheck explain``: every code explained at once, and unknown ones with what was probably meant."""

from __future__ import annotations

import json

import pytest

from initcheck.audit.rules import RULES


def test_without_a_code_each_finding_has_one_line(run):
    exit_code, out, err = run("explain")
    assert (exit_code, err) == (0, "")
    lines = out.splitlines()
    assert [line.split()[0] for line in lines] == sorted(RULES)
    assert all(RULES[line[:5]].name in line and len(line) <= 110 for line in lines)


@pytest.mark.parametrize("code", sorted(RULES))
def test_a_code_and_its_name_give_the_same_whatever_the_case(code, run):
    found = {run("explain", word)[1] for word in (code, code.lower(), RULES[code].name, RULES[code].name.upper())}
    assert len(found) == 1
    words = " ".join(found.pop().split())
    rule = RULES[code]
    for part in (rule.what, rule.why, rule.example, rule.fix, rule.source):
        assert " ".join(part.split()) in words


def test_what_the_defect_costs_is_quoted_where_it_was_trained_and_nowhere_else(run):
    words = " ".join(run("explain", "IC101")[1].split())
    assert "Harm Models were trained with the defect and without it" in words and RULES["IC101"].harm in words
    assert "Harm" not in run("explain", "IC603")[1]


def test_several_come_in_the_order_asked_each_once(run):
    _, out, _ = run("explain", "IC401", "zero-gradients", "IC401")
    heads = [line for line in out.splitlines() if line.startswith("IC")]
    assert heads == ["IC401 fan-mismatch (fans)", "IC203 zero-gradients (gradients)"]


def test_json_has_the_whole_rules_of_a_family(run):
    exit_code, out, _ = run("explain", "IC1", "--json")
    found = json.loads(out)
    assert exit_code == 0
    assert [each["code"] for each in found] == [f"IC10{number}" for number in range(1, 8)]
    assert set(found[0]) == {"code", "name", "family", "what", "why", "example", "fix", "source", "harm"}
    assert found[0]["why"] == RULES["IC101"].why and found[0]["family"] == "forward signal"


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("vanishing-gradient", "Did you mean vanishing-gradients"),
        ("IC111", "Did you mean IC"),
        ("nonsense", "Known: "),
        ("IC", "Did you mean IC"),
        ("", "Known: "),
    ],
)
def test_an_unknown_one_is_one_line_with_near_matches_and_exits_2(word, message, refused):
    line = refused("explain", "IC101", word)
    assert line.startswith(f"initcheck: error: Unknown finding {word!r}. ") and message in line
