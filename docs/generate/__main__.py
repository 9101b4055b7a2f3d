"""Writes the pages of ``docs/`` that follow from the program itself: ``tox run -e docs``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import click
from generate import claims, figures, findings, glossary, tutorial, which_initializer

from initcheck.core.files import replace_files

PAGES: Final[Mapping[str, Callable[[], str]]] = {
    "claims.md": claims.write_page,
    "figures/relu-forward.svg": figures.draw_relu_forward,
    "figures/seeds.svg": figures.draw_seeds,
    "figures/tanh-backward.svg": figures.draw_tanh_backward,
    "findings.md": findings.write_page,
    "glossary.md": glossary.write_page,
    "tutorial.md": tutorial.write_page,
    "which-initializer.md": which_initializer.write_page,
}


@click.command()
@click.option("--folder", type=click.Path(path_type=Path, file_okay=False), default="docs", show_default=True)
@click.option("--check", is_flag=True, help="Write nothing; fail if a page is not what would be written.")
def main(folder: Path, *, check: bool) -> None:
    """Write the generated pages into a folder."""
    pages = {name: write_page() for name, write_page in PAGES.items()}
    if not check:
        replace_files({folder.absolute() / name: text for name, text in pages.items()})
        return
    stale = [
        name
        for name, text in pages.items()
        if not (folder / name).is_file() or (folder / name).read_text(encoding="utf-8") != text
    ]
    if stale:
        raise click.ClickException(f"out of date in {folder}: {', '.join(stale)}. Run: tox run -e docs")


if __name__ == "__main__":
    main()
