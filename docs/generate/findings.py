"""``docs/findings.md``: every finding with what it means, why it matters, an example and how to fix it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Final

from initcheck.audit.findings import Rule
from initcheck.audit.limits import Limits
from initcheck.audit.rules import FAMILIES, RULES
from initcheck.pages.markdown import escape_text

_INTRODUCTION: Final = """\
<!-- Written by: tox run -e docs -->

# What initcheck finds

`initcheck check` reports findings by these codes, and `initcheck explain CODE` prints the text of this page. Each
example builds a `model` that has the finding; the tests run it. Numbers in the texts are the default
[limits](#limits). `--select`, `--ignore` and `--waive` choose what is reported.
"""
_EXIT_CODES: Final = {"wrong": 1, "unjudged": 2}


def write_page(rules: Mapping[str, Rule] = RULES) -> str:
    """Write the page in Markdown: a table of contents, a section for each rule, by code, and the limits."""
    in_order = [rules[code] for code in sorted(rules)]
    parts = [_INTRODUCTION, "\n| Code | Name | Family | Exit code |\n| --- | --- | --- | --- |\n"]
    parts += [
        f"| [{rule.code}](#{rule.code.lower()}) | `{rule.name}` | {FAMILIES[rule.family]} | "
        f"{_EXIT_CODES[rule.severity]} |\n"
        for rule in in_order
    ]
    parts += [_write_rule(rule) for rule in in_order]
    parts.append(_write_limits())
    return "".join(parts)


def _write_rule(rule: Rule) -> str:
    limits = ", ".join(f"`{name.replace('_', '-')}`" for name in rule.limits)
    sections = [
        f'<a id="{rule.code.lower()}"></a>',
        f"## {rule.code} {rule.name}",
        escape_text(rule.what),
        f"**Why it matters.** {escape_text(rule.why)}",
        *([f"**Harm.** {escape_text(rule.harm)}"] if rule.harm else []),
        "**Example.**",
        f"```python\n{rule.example.strip()}\n```",
        f"**What to do.** {escape_text(rule.fix)}",
        *([f"**Limits.** {limits}."] if limits else []),
        f"**Source.** {escape_text(rule.source)}.",
    ]
    return "\n" + "\n\n".join(sections) + "\n"


def _write_limits() -> str:
    rows = [
        f"| `{each.name.replace('_', '-')}` | {each.default:g} | {escape_text(each.metadata['what'])} | "
        f"{escape_text(each.metadata['source'])} |"
        for each in fields(Limits)
    ]
    text = "Others are set in `[tool.initcheck.limits]` of `pyproject.toml`. Factors are those of squares."
    table = "\n".join(["| Limit | Default | What it limits | Why |", "| --- | --: | --- | --- |", *rows])
    return f"\n## Limits\n\n{text}\n\n{table}\n"
