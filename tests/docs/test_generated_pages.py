"""``docs/command-line.md`` and ``docs/api.md``: current, and true to the program and the package."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from generate import api, command_line
from generate.__main__ import PAGES, main
from keras_features import HAS_AXES

import initcheck

DOCS = Path(__file__).parents[2] / "docs"


def test_the_committed_pages_are_current():
    done = CliRunner().invoke(main, ["--folder", str(DOCS), "--check"])
    if not HAS_AXES:  # some claims are of the installed Keras, and the page is of the one in constraints.txt
        assert done.output == f"Error: out of date in {DOCS}: claims.md. Run: tox run -e docs\n"
        return
    assert done.exit_code == 0, done.output


def test_pages_that_are_out_of_date_are_named_and_left(tmp_path):
    for name, write_page in PAGES.items():
        (tmp_path / name).write_text(write_page(), encoding="utf-8")
    (tmp_path / "api.md").write_text("old")
    (tmp_path / "claims.md").unlink()
    done = CliRunner().invoke(main, ["--folder", str(tmp_path), "--check"])
    assert done.exit_code == 1
    assert "api.md, claims.md. Run: tox run -e docs" in done.output
    assert (tmp_path / "api.md").read_text() == "old" and not (tmp_path / "claims.md").exists()
    assert CliRunner().invoke(main, ["--folder", str(tmp_path)]).exit_code == 0
    assert (tmp_path / "api.md").read_text(encoding="utf-8") == PAGES["api.md"]()


@pytest.mark.parametrize("name", ["command-line.md", "api.md"])
def test_the_contents_lead_to_every_section(name):
    page = PAGES[name]()
    links = re.findall(r"^\| \[[^]]+\]\(#([^)]+)\)", page, flags=re.MULTILINE)
    assert links
    assert links == re.findall(r'<a id="([^"]+)"></a>', page)


@click.group()
def root():
    """Do things."""


@root.command()
@click.argument("words")
@click.option("--cut", metavar="A|B", default="A", show_default=True, help="Where to <cut>.")
@click.option("--secret", hidden=True, help="Nobody knows.")
def split(words, cut, secret):
    """Split WORDS. As 'initcheck split a_b' does.

    Exit codes: 0 split (whole; in 2 parts); 1 not split; 2 cannot
    split.
    """


@root.command(hidden=True)
def unseen():
    """Be not seen."""


def test_a_command_stands_with_its_options_and_a_row_for_each_exit_code():
    page = command_line.write_page(root)
    assert "Usage: `initcheck split [OPTIONS] WORDS`" in page
    assert "Split WORDS. As `initcheck split a_b` does.\n" in page
    assert "| `--cut A\\|B` | Where to &lt;cut&gt;. \\[default: A\\] |" in page
    assert page.endswith("| 0 | split (whole; in 2 parts) |\n| 1 | not split |\n| 2 | cannot split |\n")
    assert "unseen" not in page
    assert "secret" not in page


def make(first: int, *, second: str = "a 'b'", third: dict[str, tuple[int, ...]] | None = None, **rest: float) -> str:
    """Make *something* of :func:`make.others`.

    Not much.

    - one,
      and more;
    - ``two``.

    Args:
        first: a number
            of two lines.
        **rest: all else.

    Returns:
        What was made: of <it>.
    """
    return second


@dataclass(frozen=True)
class Plain:
    """Data.

    Attributes:
        size: how large.
        words: which.
    """

    size: int
    words: tuple[str, ...] = ()

    @property
    def half(self) -> float:
        """Half of it."""
        return self.size / 2

    def grow(self, by: int) -> Plain:
        """Grow."""
        return Plain(self.size + by)

    def undescribed(self) -> None:
        pass


class WrongError(ValueError):
    """It is wrong."""


def test_a_function_stands_with_its_signature_and_its_docstring():
    page = api.write_page({"make": make})
    signature = (
        "make(\n    first: int,\n    *,\n    second: str = \"a 'b'\",\n"
        "    third: dict[str, tuple[int, ...]] | None = None,\n    **rest: float,\n) -> str"
    )
    assert f"```text\n{signature}\n```" in page
    assert "Make \\*something\\* of `make.others`.\n\nNot much.\n\n- one, and more;\n- `two`.\n" in page
    assert "**Args**\n\n- `first`: a number of two lines.\n- `**rest`: all else.\n" in page
    assert page.endswith("**Returns**\n\nWhat was made: of &lt;it&gt;.\n")


def test_a_class_of_data_stands_as_a_table_and_its_methods_and_properties_after_it():
    page = api.write_page({"Plain": Plain})
    assert "| `size` | `int` | required | how large. |\n| `words` | `tuple[str, ...]` | `()` | which. |\n" in page
    assert "### Plain.half\n\n`float`: Half of it.\n" in page
    assert "### Plain.grow\n\n```text\ngrow(by: int) -> Plain\n```\n\nGrow.\n" in page
    assert "undescribed" not in page


def test_exceptions_stand_in_one_table_at_the_end():
    page = api.write_page({"WrongError": WrongError, "make": make})
    assert page.endswith("| `WrongError` | `ValueError` | It is wrong. |\n")
    assert page.index("## make") < page.index("## Exceptions")


def test_every_public_name_is_on_the_page_of_the_package():
    page = api.write_page()
    assert [name for name in initcheck.__all__ if f"`{name}`" not in page] == ["__version__"]
    assert not re.search(r"```text\n.*: '", page)  # an annotation that is still in quotes


def test_the_gate_is_public_whatever_was_imported_before():
    from initcheck.checking.gate.gate import gate_model

    assert initcheck.Comparison.__module__ == "initcheck.checking.gate.comparison"
    assert initcheck.gate_model is gate_model
    assert set(initcheck.__all__) <= set(dir(initcheck))
