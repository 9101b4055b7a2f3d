"""The command that writes a page of ``docs/``, or holds it against what would be written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click

from initcheck.core.errors import InitcheckError
from initcheck.core.files import publish_files


def make_page_command(write_page: Callable[[], str], module: str) -> click.Command:
    """Make the command of a module that generates a page.

    Args:
        write_page: returns the text of the page.
        module: the module's full name, for messages.

    Returns:
        A command that takes the path of the page and writes it; with ``--check`` it writes nothing and fails if the
        page is not what would be written.
    """

    @click.command(help="Write the page to PATH.")
    @click.argument("path", type=click.Path(path_type=Path, dir_okay=False))
    @click.option("--check", is_flag=True, help="Write nothing; fail if the page is not what would be written.")
    def main(path: Path, *, check: bool) -> None:
        text = write_page()
        if not check:
            try:
                publish_files(path.absolute().parent, {path.name: text})
            except InitcheckError as error:
                raise click.ClickException(str(error)) from error
        elif not path.is_file() or path.read_text(encoding="utf-8") != text:
            raise click.ClickException(f"{path} is out of date. Run: python -m {module} {path}")

    return main
