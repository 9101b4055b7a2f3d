"""``docs/glossary.md``: the terms of the pages, with the definitions that every page links to."""

from __future__ import annotations

from typing import Final

from initcheck.pages.glossary import TERMS
from initcheck.pages.markdown import escape_text

_INTRODUCTION: Final = """\
<!-- Written by: tox run -e docs -->

# Glossary

The terms of this documentation and of the pages that initcheck writes.

| term | meaning |
| --- | --- |
"""


def write_page() -> str:
    """Write the page in Markdown: a row for each term, by the alphabet."""
    return _INTRODUCTION + "".join(f"| {term} | {escape_text(TERMS[term])} |\n" for term in sorted(TERMS))
