"""What the project says of itself is the same wherever it says it."""

from __future__ import annotations

import tomllib

import yaml
from documentation import ROOT

import initcheck

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))


def test_the_citation_is_that_of_the_package():
    assert CITATION["title"] == PROJECT["name"]
    assert CITATION["version"] == initcheck.__version__
    assert CITATION["abstract"] == PROJECT["description"]
    assert (CITATION["license"], CITATION["keywords"]) == (PROJECT["license"], PROJECT["keywords"])


def test_the_recipe_of_a_release_names_every_file_with_a_placeholder():
    recipe = (
        (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("### Make a release")[2].partition("##")[0]
    )
    pages = [*ROOT.glob("*.*"), *(ROOT / "docs").glob("*.md")]
    held = {
        path.relative_to(ROOT).as_posix()
        for path in pages
        if path.is_file() and path.name != "CONTRIBUTING.md" and "OWNER" in path.read_text(encoding="utf-8")
    }
    assert held and all(f"`{name}`" in recipe for name in held)
    assert all(url.startswith("https://github.com/OWNER/initcheck") for url in PROJECT["urls"].values())
