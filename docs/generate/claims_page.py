"""The page that says which claims cover each row: ``python -m docs.generate.claims_page docs/claims.md``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path

import click

from initcheck.core.errors import InitcheckError, name_unknown
from initcheck.core.files import publish_files
from initcheck.spec.catalogue import GROUPS, ROWS, TOPICS, catalogue
from initcheck.spec.claim import Claim

_INTRODUCTION = """\
<!-- Written by: python -m docs.generate.claims_page docs/claims.md -->

# What the specification covers

Each row is a statement that some document makes about weight initialization, or a surprise that was found; the claims
are those of `initcheck spec`, which tests them. Braces group claims that differ in their subject. A claim that is
*refuted* is documented, known to be false, and has to be shown false; a claim that *holds* has to be shown true. Where
a row has both, the one that holds says what is really so.

"""


def write_page(claims: Sequence[Claim]) -> str:
    """Write the page.

    Args:
        claims: all claims.

    Returns:
        Its text, in Markdown.

    Raises:
        UsageError: a claim names a row that there is not.
    """
    for claim in claims:
        for row in claim.rows:
            if row not in ROWS:
                raise name_unknown(f"row of the claim {claim.id}:", row, ROWS)
    covered = sum(any(row in claim.rows for claim in claims) for row in ROWS)
    refuted = sum(claim.expected == "refuted" for claim in claims)
    parts = [
        _INTRODUCTION,
        f"{len(claims)} claims, {refuted} of them refuted; {covered} of {len(ROWS)} rows have a claim.\n",
        _count_topics(claims),
    ]
    for letters, rows in groupby(ROWS, key=_letters):
        parts.append(f"\n## {GROUPS[letters]}\n\n| Row | Statement | Claims |\n| --- | --- | --- |\n")
        parts += [f"| {row} | {ROWS[row]} | {_name_claims(row, claims)} |\n" for row in rows]
    return "".join(parts)


def _letters(row: str) -> str:
    return row.rstrip("0123456789")


def _count_topics(claims: Sequence[Claim]) -> str:
    lines = ["\n| Topic | Claims | Refuted | Without a row | Slow |\n| --- | --- | --- | --- | --- |\n"]
    for topic in TOPICS:
        own = [claim for claim in claims if claim.topic == topic]
        counts = (
            len(own),
            sum(claim.expected == "refuted" for claim in own),
            sum(not claim.rows for claim in own),
            sum(claim.slow for claim in own),
        )
        lines.append(f"| {topic} | " + " | ".join(map(str, counts)) + " |\n")
    return "".join(lines)


def _name_claims(row: str, claims: Sequence[Claim]) -> str:
    told = []
    for expected in ("refuted", "holds"):
        ids = [claim.id for claim in claims if row in claim.rows and claim.expected == expected]
        if ids:
            told.append(f"{expected}: {', '.join(f'`{name}`' for name in _fold(ids))}")
    return "; ".join(told) or "none"


def _fold(ids: Iterable[str]) -> list[str]:
    """Write ids that differ in their subject alone as one: ``dtype.{he_normal, he_uniform}.variance``."""
    subjects: dict[tuple[str, str], list[str]] = {}
    for name in ids:
        topic, _, rest = name.partition(".")
        subject, _, aspect = rest.partition(".")
        subjects.setdefault((topic, aspect), []).append(subject)
    folded = []
    for (topic, aspect), names in subjects.items():
        middle = names[0] if len(names) == 1 else "{" + ", ".join(names) + "}"
        folded.append(".".join(part for part in (topic, middle, aspect) if part))
    return folded


@click.command()
@click.argument("path", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--check", is_flag=True, help="Write nothing; fail if the page is not what would be written.")
def main(path: Path, *, check: bool) -> None:
    """Write the page of the claims to PATH."""
    try:
        text = write_page(catalogue())
        if not check:
            publish_files(path.parent, {path.name: text})
            return
    except InitcheckError as error:
        raise click.ClickException(str(error)) from error
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        raise click.ClickException(f"{path} is out of date. Run: python -m docs.generate.claims_page {path}")


if __name__ == "__main__":
    main()
