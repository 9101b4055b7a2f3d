"""The examples in README and CONTRIBUTING are true; those of ``docs/`` are in ``test_docs.py``."""

from __future__ import annotations

import click
import pytest
from documentation import ROOT, SYBIL, check_accepted
from sybil import Example


def _examples() -> list[object]:
    return [
        pytest.param(example, id=f"{name}-line-{example.line}")
        for name in ("README.md", "CONTRIBUTING.md")
        for example in SYBIL.parse(ROOT / name)
    ]


@pytest.mark.parametrize("example", _examples())
def test_the_example_is_true(example: Example):
    example.evaluate()


@pytest.mark.parametrize("environment", ["report", "py"])
def test_readme_gives_the_main_job_and_the_tests_as_one_command_each(environment: str):
    assert f"\npip install tox && tox run -e {environment}\n" in (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "words",
    [
        "report --nonsense",
        "baseline model.py:build -o b.json --nonsense",
        "baseline record model.py:build -o b.json --nonsense",
        "baseline verify b.json --nonsense",
    ],
)
def test_a_wrong_option_in_an_example_would_be_found(words: str):
    with pytest.raises(Exception, match="No such option"):
        check_accepted(words.split())


def test_a_missing_option_and_an_unknown_command_in_an_example_would_be_found():
    with pytest.raises(click.MissingParameter):
        check_accepted(["baseline", "model.py:build"])
    with pytest.raises(Exception, match="Unknown command"):
        check_accepted(["bassline", "model.py:build"])


@pytest.mark.parametrize("words", ["--help", "baseline --help", "baseline verify --help", "baseline m.py:f -o b.json"])
def test_what_the_program_accepts_is_accepted(words: str):
    check_accepted(words.split())
