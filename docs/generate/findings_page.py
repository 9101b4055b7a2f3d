"""``docs/findings.md``: every finding with what it means, why it matters, an example and the way out.

Run as ``python -m docs.generate.findings_page docs/findings.md``; with ``--check`` nothing is written.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import click

from initcheck.audit.findings import FAMILIES, RULES, UNJUDGED_CODES, Rule
from initcheck.core.errors import InitcheckError
from initcheck.core.files import publish_files
from initcheck.pages.markdown import escape_text

_INTRODUCTION: Final = """\
<!-- Written by: python -m docs.generate.findings_page docs/findings.md -->

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


@click.command()
@click.argument("path", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--check", is_flag=True, help="Write nothing; fail if the page is not what would be written.")
def main(path: Path, *, check: bool) -> None:
    """Write the page of the findings to PATH."""
    text = write_page()
    if not check:
        try:
            publish_files(path.parent, {path.name: text})
        except InitcheckError as error:
            raise click.ClickException(str(error)) from error
    elif not path.is_file() or path.read_text(encoding="utf-8") != text:
        raise click.ClickException(f"{path} is out of date. Run: python -m docs.generate.findings_page {path}")


if __name__ == "__main__":
    main()
