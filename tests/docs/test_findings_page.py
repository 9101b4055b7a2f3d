"""``docs/findings.md``: true to the table of rules, and current."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from click.testing import CliRunner
from generate.findings_page import main, write_page

from initcheck.audit.findings import RULES

_PAGE = Path(__file__).parents[2] / "docs" / "findings.md"


def test_the_committed_page_is_current():
    done = CliRunner().invoke(main, [str(_PAGE), "--check"])
    assert done.exit_code == 0, done.output


def test_every_code_is_in_the_contents_and_has_a_section_that_the_contents_lead_to():
    page = write_page()
    links = re.findall(r"\| \[(IC\d{3})\]\(#(ic\d{3})\)", page)
    assert [code for code, _ in links] == sorted(RULES)
    assert [anchor for _, anchor in links] == re.findall(r'<a id="([^"]+)"></a>', page)
    assert all(f"\n## {code} {rule.name}\n" in page for code, rule in RULES.items())


def test_examples_stand_in_the_page_as_they_are_run():
    blocks = re.findall(r"```python\n(.*?)\n```", write_page(), flags=re.DOTALL)
    assert blocks == [RULES[code].example.strip() for code in sorted(RULES)]


def test_markup_in_a_rule_is_text():
    rule = replace(RULES["IC101"], what="<b>|E h^2|</b> *much* `less`")
    page = write_page({"IC101": rule})
    assert "<b>" not in page
    assert "\\|E h^2\\|" in page and "\\*much\\*" in page


def test_a_page_that_is_out_of_date_is_told_and_left(tmp_path):
    path = tmp_path / "findings.md"
    path.write_text("old")
    done = CliRunner().invoke(main, [str(path), "--check"])
    assert done.exit_code == 1 and "out of date" in done.output
    assert path.read_text() == "old"
    assert CliRunner().invoke(main, [str(path)]).exit_code == 0
    assert path.read_text() == write_page()
