"""The page that says which claims cover each row."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby

from initcheck.core.errors import name_unknown
from initcheck.spec.catalogue import GROUPS, ROWS, TOPICS, catalogue
from initcheck.spec.claim import Claim

_INTRODUCTION = """\
<!-- Written by: tox run -e docs -->

# What the specification covers

Each row is a statement about weight initialization that some document makes, or a surprise that was found. The claims
are those that `initcheck spec` tests. Braces group claims that differ only in their subject. A claim that is *refuted*
is documented but false, and has to be shown false; a claim that *holds* has to be shown true. If a row has both, the
one that holds says what is really true.

"""


def write_page(claims: Sequence[Claim] | None = None) -> str:
    """Write the page in Markdown; None takes the claims of the catalogue."""
    claims = catalogue() if claims is None else claims
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
    parts = []
    for expected in ("refuted", "holds"):
        ids = [claim.id for claim in claims if row in claim.rows and claim.expected == expected]
        if ids:
            parts.append(f"{expected}: {', '.join(f'`{name}`' for name in _fold(ids))}")
    return "; ".join(parts) or "none"


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
