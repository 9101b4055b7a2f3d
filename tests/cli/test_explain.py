"""``initcheck explain``: every code explained at once, and unknown ones with what was probably meant."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from initcheck.audit.rules import RULES
from initcheck.cli import main

HEAVY = {"keras", "tensorflow", "pandas", "matplotlib", "numpy", "scipy", "statsmodels", "jinja2", "rich"}


def _run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    exit_code = main(["explain", *words])
    captured = capsys.readouterr()
    return exit_code, captured.out, captured.err


def test_without_a_code_each_finding_has_one_line(capsys):
    exit_code, out, err = _run(capsys)
    assert (exit_code, err) == (0, "")
    lines = out.splitlines()
    assert [line.split()[0] for line in lines] == sorted(RULES)
    assert all(RULES[line[:5]].name in line and len(line) <= 110 for line in lines)


@pytest.mark.parametrize("code", sorted(RULES))
def test_a_code_and_its_name_tell_the_same_whatever_the_case(code, capsys):
    told = {_run(capsys, word)[1] for word in (code, code.lower(), RULES[code].name, RULES[code].name.upper())}
    assert len(told) == 1
    words = " ".join(told.pop().split())
    rule = RULES[code]
    for part in (rule.what, rule.why, rule.example, rule.fix, rule.source):
        assert " ".join(part.split()) in words


def test_several_are_told_in_the_order_asked_each_once(capsys):
    _, out, _ = _run(capsys, "IC401", "zero-gradients", "IC401")
    heads = [line for line in out.splitlines() if line.startswith("IC")]
    assert heads == ["IC401 fan-mismatch (fans)", "IC203 zero-gradients (gradients)"]


def test_json_has_the_whole_rules_of_a_family(capsys):
    exit_code, out, _ = _run(capsys, "IC1", "--json")
    told = json.loads(out)
    assert exit_code == 0
    assert [each["code"] for each in told] == ["IC101", "IC102", "IC103"]
    assert set(told[0]) == {"code", "name", "family", "what", "why", "example", "fix", "source"}
    assert told[0]["why"] == RULES["IC101"].why and told[0]["family"] == "forward signal"


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("vanishing-gradient", "Did you mean vanishing-gradients"),
        ("IC111", "Did you mean IC"),
        ("nonsense", "Known: "),
        ("IC", "Did you mean IC"),
        ("", "Known: "),
    ],
)
def test_an_unknown_one_is_one_line_with_near_matches_and_exits_2(word, told, capsys):
    exit_code, out, err = _run(capsys, "IC101", word)
    assert (exit_code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"initcheck: error: Unknown finding {word!r}. ") and told in err


def _python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    return done.stdout.splitlines()[-1]


@pytest.mark.parametrize("words", [["explain"], ["explain", "IC101"], ["explain", "--help"], ["explain", "nonsense"]])
def test_nothing_heavy_is_imported(words):
    code = f"from initcheck.cli import main; main({words!r}); import sys; print('|', *{HEAVY!r} & set(sys.modules))"
    assert _python(code) == "|"
