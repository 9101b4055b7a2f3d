"""The examples in README and CONTRIBUTING are true.

Python blocks run. In shell blocks every `initcheck` command line is one that the program accepts, every tox environment
stands in `tox.ini`, and every extra in `pyproject.toml`.
"""

from __future__ import annotations

import configparser
import re
import shlex
import tomllib
from pathlib import Path

import pytest
from sybil import Example, Sybil
from sybil.parsers.markdown import CodeBlockParser, PythonCodeBlockParser

from initcheck.cli.main import command_line

ROOT = Path(__file__).parent.parent


def _check_shell(example: Example) -> None:
    for line in example.parsed.splitlines():
        for command in line.partition("#")[0].split("&&"):
            words = shlex.split(command)
            if words[:1] == ["initcheck"]:
                _check_accepted(words[1:])
            if words[:3] == ["tox", "run", "-e"]:
                for environment in words[3].split(","):
                    assert environment == "py" or f"testenv:{environment}" in _tox_sections()
            for extras in re.findall(r"\.\[([\w,-]+)\]", command):
                assert set(extras.split(",")) <= _extras()


def _check_accepted(arguments: list[str]) -> None:
    context = command_line.make_context("initcheck", arguments[:1])
    command = command_line.get_command(context, arguments[0])
    assert command is not None
    if "--help" not in arguments:
        command.make_context(arguments[0], arguments[1:], parent=context)


def _tox_sections() -> list[str]:
    tox = configparser.ConfigParser(interpolation=None)
    tox.read(ROOT / "tox.ini", encoding="utf-8")
    return tox.sections()


def _extras() -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return set(project["optional-dependencies"])


SYBIL = Sybil([PythonCodeBlockParser(), CodeBlockParser("shell", _check_shell)])


def _examples() -> list[object]:
    return [
        pytest.param(example, id=f"{name}-line-{example.line}")
        for name in ("README.md", "CONTRIBUTING.md", "docs/check.md")
        for example in SYBIL.parse(ROOT / name)
    ]


@pytest.mark.parametrize("example", _examples())
def test_the_example_is_true(example: Example):
    example.evaluate()


@pytest.mark.parametrize("environment", ["report", "py"])
def test_readme_gives_the_main_job_and_the_tests_as_one_command_each(environment: str):
    assert f"\npip install tox && tox run -e {environment}\n" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_a_wrong_option_in_an_example_would_be_found():
    with pytest.raises(Exception, match="No such option"):
        _check_accepted(["report", "--nonsense"])
