"""``docs/tutorial.ipynb`` runs, and prints what it was committed with."""

from __future__ import annotations

import json
import re

import pytest
from generate.tutorial import NOTEBOOK, execute

CELLS = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]


def print_words(outputs: list) -> str:
    """Give what a cell printed without its numbers, the last digits of which differ between processors."""
    printed = "".join("".join(out["text"]) for out in outputs)
    return " ".join(re.sub(r"[\d.,]*\d(×10[⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+)?", "#", printed).split())


@pytest.mark.followed
def test_the_tutorial_prints_what_it_shows():
    found = execute().cells
    assert [print_words(cell.get("outputs", [])) for cell in found] == [
        print_words(cell.get("outputs", [])) for cell in CELLS
    ]


def test_the_tutorial_goes_from_chance_to_a_gate():
    printed = [
        "".join("".join(out["text"]) for out in cell["outputs"]) for cell in CELLS if cell["cell_type"] == "code"
    ]
    before, after = (float(re.search(r"accuracy (\d+)%", text)[1]) for text in printed if "accuracy" in text)
    assert before < 15 < 30 < after
    assert any("1 problem" in text for text in printed) and any("healthy: nothing found" in text for text in printed)
    assert any("Gate: same" in text for text in printed)
    assert any("the model changed, not the library" in text for text in printed)
