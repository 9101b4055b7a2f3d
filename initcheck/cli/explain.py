"""``initcheck explain``: what a finding means, why it matters, and how to fix it."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

import click

from initcheck.core.errors import name_unknown
from initcheck.core.formatting import LINE_WIDTH, to_json

if TYPE_CHECKING:
    from initcheck.audit.findings import Rule

_TEXT_WIDTH: Final = 100
_INDENT: Final = "    "


@click.command()
@click.argument("codes", nargs=-1, metavar="[CODE]...")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array, an object for each finding.")
@click.option("--quiet", is_flag=True, hidden=True, expose_value=False, help="Does nothing.")
def explain(codes: tuple[str, ...], as_json: bool) -> None:
    """Explain findings by CODE (IC101), name (vanishing-activations) or family (IC1).

    Without a CODE, list all findings in one line each. Nothing is measured, and Keras is not loaded.
    """
    # Plain text, without pandas: the answer comes at once.
    from initcheck.audit.rules import FAMILIES, RULES

    chosen = _choose(codes, RULES, FAMILIES)
    if as_json:
        click.echo(to_json([_fields(rule, FAMILIES) for rule in chosen]))
    elif codes:
        click.echo("\n\n\n".join(_format_rule(rule, FAMILIES) for rule in chosen))
    else:
        click.echo("\n".join(_format_line(rule) for rule in chosen))


def _choose(words: Sequence[str], rules: Mapping[str, Rule], families: Mapping[str, str]) -> list[Rule]:
    """Find the rules that are asked for, each once, in the order asked; all by code where nothing is."""
    by_code = [rules[code] for code in sorted(rules)]
    if not words:
        return by_code
    chosen: dict[str, Rule] = {}
    for word in words:
        code, name = word.strip().upper(), word.strip().lower()
        found = [rule for rule in by_code if rule.code == code or rule.name == name]
        if not found and code in families:
            found = [rule for rule in by_code if rule.code.startswith(code)]
        if not found:
            raise name_unknown("finding", word, [*rules, *families, *(rule.name for rule in by_code)])
        chosen.update((rule.code, rule) for rule in found)
    return list(chosen.values())


def _fields(rule: Rule, families: Mapping[str, str]) -> dict[str, str]:
    texts = {name: getattr(rule, name) for name in ("what", "why", "example", "fix", "source", "harm")}
    return {"code": rule.code, "name": rule.name, "family": families[rule.family], **texts}


def _format_rule(rule: Rule, families: Mapping[str, str]) -> str:
    parts = [f"{rule.code} {rule.name} ({families[rule.family]})"]
    for heading, text in (("What", rule.what), ("Why it matters", rule.why), ("Harm", rule.harm)):
        if text:
            parts.append(f"{heading}\n{_wrap(text)}")
    parts.append(f"Example\n{textwrap.indent(rule.example.strip(), _INDENT)}")
    for heading, text in (("What to do", rule.fix), ("Source", rule.source)):
        parts.append(f"{heading}\n{_wrap(text)}")
    return "\n\n".join(parts)


def _format_line(rule: Rule) -> str:
    head = f"{rule.code}  {rule.name:<23}"
    return f"{head} {textwrap.shorten(rule.what, LINE_WIDTH - len(head) - 1, placeholder=' ...')}"


def _wrap(text: str) -> str:
    return textwrap.fill(text, _TEXT_WIDTH, initial_indent=_INDENT, subsequent_indent=_INDENT, break_on_hyphens=False)
