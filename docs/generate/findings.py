"""``docs/findings.md``: every finding with what it means, why it matters, an example and the way out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from initcheck.audit.findings import FAMILIES, RULES, UNJUDGED_CODES, Rule
from initcheck.pages.markdown import escape_text

_INTRODUCTION: Final = """\
<!-- Written by: tox run -e docs -->

# What initcheck finds

`initcheck check` reports findings by these codes, and `initcheck explain CODE` prints what stands here. Each example
makes a `model` that has the finding; the tests run it. Where a text names a limit, it is the default:
`[tool.initcheck.limits]` in `pyproject.toml` changes it, `--select`, `--ignore` and `--waive` choose what is told.
"""


def write_page(rules: Mapping[str, Rule] = RULES) -> str:
    """Write the page.

    Args:
        rules: the rules by code.

    Returns:
        Its text, in Markdown: a table of contents, and a section for each rule, by code.
    """
    codes = sorted(rules)
    parts = [_INTRODUCTION, "\n| Code | Name | Family | Exit code |\n| --- | --- | --- | --- |\n"]
    parts += [
        f"| [{code}](#{code.lower()}) | `{rules[code].name}` | {FAMILIES[code[:3]]} | "
        f"{2 if code in UNJUDGED_CODES else 1} |\n"
        for code in codes
    ]
    parts += [_write_rule(rules[code]) for code in codes]
    return "".join(parts)


def _write_rule(rule: Rule) -> str:
    sections = [
        f'<a id="{rule.code.lower()}"></a>',
        f"## {rule.code} {rule.name}",
        escape_text(rule.what),
        f"**Why it matters.** {escape_text(rule.why)}",
        "**Example.**",
        f"```python\n{rule.example.strip()}\n```",
        f"**What to do.** {escape_text(rule.fix)}",
        f"**Source.** {escape_text(rule.source)}.",
    ]
    return "\n" + "\n\n".join(sections) + "\n"
