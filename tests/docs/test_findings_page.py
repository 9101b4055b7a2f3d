"""``docs/findings.md``: true to the table of rules, and current."""

from __future__ import annotations

import re
from dataclasses import replace

from generate.findings import write_page

from initcheck.audit.limits import Limits
from initcheck.audit.rules import RULES


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


def test_every_limit_has_a_row_with_its_default():
    rows = re.findall(r"^\| `([\w-]+)` \| ([\d.]+) \|", write_page(), flags=re.MULTILINE)
    limits = Limits()
    assert {name.replace("-", "_"): float(value) for name, value in rows} == vars(limits)
