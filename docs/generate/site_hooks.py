"""What MkDocs does besides its own work while it builds the site (``hooks`` in ``mkdocs.yml``)."""

from __future__ import annotations

import logging
import posixpath
import re
from pathlib import Path
from typing import Any, Final

# MkDocs counts the warnings of this logger: with --strict one ends the build.
_LOGGER: Final = logging.getLogger("mkdocs.site_hooks")
_LINK_UP: Final = re.compile(r"\]\((\.\./[^)#\s]+)")
_FOREIGN_ASSET: Final = re.compile(r"<(?:iframe|img|link|script|source)\b[^>]*\b(?:href|src)=\"?(?:https?:)?//[^>]*>")


def on_page_markdown(markdown: str, *, page: Any, config: Any, **_: Any) -> str:
    """Let relative links that leave ``docs/``, which work in a checkout, lead to the public repository."""
    root = Path(config.docs_dir).parent

    def replace(found: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join("docs", posixpath.dirname(page.file.src_uri), found[1]))
        if path.startswith("docs/"):
            return found[0]
        if not (root / path).exists():
            _LOGGER.warning("%s: there is no %s", page.file.src_uri, path)
        return f"]({config.extra['repository']}/blob/main/{path}"

    return _LINK_UP.sub(replace, markdown)


def on_post_page(output: str, *, page: Any, **_: Any) -> str:
    """Warn of whatever a page would load from elsewhere."""
    for found in _FOREIGN_ASSET.findall(output):
        _LOGGER.warning("%s loads from elsewhere: %s", page.file.src_uri, found)
    return output
