"""What the documentation site is made of; that it can be built, ``tox run -e site`` shows."""

from __future__ import annotations

import inspect
import logging
import re
import tomllib
from types import SimpleNamespace

import pytest
import yaml
from documentation import ROOT
from generate.site_hooks import on_page_markdown, on_post_page

import initcheck
from initcheck.cli.main import command_line

DOCS = ROOT / "docs"
REPOSITORY = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]["Homepage"]


CONFIG = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))


def _list_pages(node: object) -> list[str]:
    if isinstance(node, str):
        return [node]
    return [page for each in (node.values() if isinstance(node, dict) else node) for page in _list_pages(each)]


def test_every_page_is_in_the_navigation_once():
    pages = [path.relative_to(DOCS).as_posix() for path in [*DOCS.glob("*.md"), DOCS / "decisions" / "README.md"]]
    assert sorted(_list_pages(CONFIG["nav"])) == sorted(pages)


def test_the_repository_is_that_of_the_package():
    assert CONFIG["extra"]["repository"] == REPOSITORY


def test_the_decisions_are_listed_with_their_titles():
    index = (DOCS / "decisions" / "README.md").read_text(encoding="utf-8")
    for path in (DOCS / "decisions").glob("0*.md"):
        number, _, title = path.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ").partition(". ")
        assert f"\n{number}. [{title}]({path.name})\n" in index


# --- the pages of which a part is read from the code ------------------------------------------------------------------


def test_every_public_name_is_on_the_page_of_the_package_once():
    listed = re.findall(r"^::: initcheck\.(\w+)$", (DOCS / "api.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert sorted(listed) == sorted(set(initcheck.__all__) - {"__version__"})


def test_every_command_is_on_the_page_of_the_command_line():
    page = (DOCS / "command-line.md").read_text(encoding="utf-8")
    assert set(re.findall(r"`initcheck (\w+)`", page)) == set(command_line.list_commands(None))


def _list_docstrings() -> list[object]:
    public = {name: getattr(initcheck, name) for name in initcheck.__all__ if name[0] != "_"}
    members = {
        f"{name}.{member}": value
        for name, cls in public.items()
        if inspect.isclass(cls)
        for member, value in inspect.getmembers(cls)
        if member[0] != "_" and (inspect.isroutine(value) or isinstance(value, property))
    }
    return [pytest.param(inspect.getdoc(value) or "", id=name) for name, value in {**public, **members}.items()]


@pytest.mark.parametrize("docstring", _list_docstrings())
def test_public_docstrings_are_markdown(docstring):
    assert not re.search(r":\w+:`", docstring)


def test_the_gate_is_public_whatever_was_imported_before():
    from initcheck.checking.gate.gate import gate_model

    assert initcheck.Comparison.__module__ == "initcheck.checking.gate.comparison"
    assert initcheck.gate_model is gate_model
    assert set(initcheck.__all__) <= set(dir(initcheck))


# --- the hooks --------------------------------------------------------------------------------------------------------


@pytest.fixture
def warnings(caplog):
    caplog.set_level(logging.WARNING, logger="mkdocs.site_hooks")
    return caplog


@pytest.mark.parametrize(
    ("page", "link", "expected"),
    [
        ("check.md", "../CONTRIBUTING.md#set-up", f"{REPOSITORY}/blob/main/CONTRIBUTING.md#set-up"),
        ("decisions/0010-the-layout.md", "../../tests/README.md", f"{REPOSITORY}/blob/main/tests/README.md"),
        ("decisions/0010-the-layout.md", "../architecture.md", "../architecture.md"),
        ("check.md", "gate.md", "gate.md"),
    ],
)
def test_links_out_of_the_folder_lead_to_the_repository_and_others_stay(page, link, expected, warnings):
    assert _replace(page, f"See [this]({link}).") == f"See [this]({expected})."
    assert warnings.messages == []


def test_a_link_to_a_file_that_is_not_there_is_a_warning(warnings):
    _replace("check.md", "[this](../none.md)")
    assert warnings.messages == ["check.md: there is no none.md"]


def _replace(page: str, markdown: str) -> str:
    config = SimpleNamespace(docs_dir=str(DOCS), extra=CONFIG["extra"])
    return on_page_markdown(markdown, page=SimpleNamespace(file=SimpleNamespace(src_uri=page)), config=config)


@pytest.mark.parametrize(
    ("html", "foreign"),
    [
        ('<script src="https://example.org/a.js"></script>', True),
        ('<link rel="stylesheet" href=//example.org/a.css>', True),
        ('<img alt="a" src="http://example.org/a.svg">', True),
        ('<script src="assets/a.js"></script>', False),
        ('<a href="https://example.org">a page</a>', False),
    ],
)
def test_what_would_be_loaded_from_elsewhere_is_a_warning(html, foreign, warnings):
    assert on_post_page(html, page=SimpleNamespace(file=SimpleNamespace(src_uri="a.md"))) == html
    assert len(warnings.messages) == foreign
