"""What the pages say is compared with the program: blocks of code are run, or checked to be accepted.

Python blocks run. In shell blocks every ``initcheck`` command line is one that the program accepts, every option
``--initcheck-...`` one that pytest knows, every tox environment stands in ``tox.ini``, and every extra in
``pyproject.toml``. A page can also be followed as a reader would: see :func:`follow`.
"""

from __future__ import annotations

import configparser
import contextlib
import io
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import click
from sybil import Example, Sybil
from sybil.parsers.markdown import CodeBlockParser, PythonCodeBlockParser

from initcheck.cli import main
from initcheck.cli.main import command_line

ROOT = Path(__file__).parents[2]
PROGRAMS = ("initcheck", "pytest")

_FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)
_FILE_NAME = re.compile(r"^# ([\w./-]+\.\w+)$")
_EXIT_CODE = re.compile(r"# exit code (\d+)\b")


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, and the line where it begins."""

    language: str
    text: str
    line: int

    @property
    def file_name(self) -> str:
        """The name in a comment on the first line: the block is that file."""
        found = _FILE_NAME.match(self.text.partition("\n")[0])
        return found[1] if found else ""


def read_blocks(page: str) -> list[Block]:
    return [Block(found[1], found[2], page.count("\n", 0, found.start()) + 1) for found in _FENCE.finditer(page)]


def read_commands(shell: str) -> Iterator[tuple[list[str], int]]:
    """Give the words of each command, and the exit code that its comment names."""
    for line in shell.replace("\\\n", " ").splitlines():
        found = _EXIT_CODE.search(line)
        for command in re.sub(r"(^|\s)#.*", "", line).split("&&"):
            words = shlex.split(command)
            while words and re.match(r"^[A-Z_]+=", words[0]):
                words = words[1:]
            if words:
                yield words, int(found[1]) if found else 0


def check_shell(example: Example) -> None:
    for words, _ in read_commands(example.parsed):
        check_command(words)


def check_command(words: list[str]) -> None:
    if words[0] == "initcheck":
        check_accepted(words[1:])
    if words[0] == "pytest":
        for word in words:
            assert not word.startswith("--initcheck") or f"{word.partition('=')[0]} " in pytest_options(), word
    if words[:3] == ["tox", "run", "-e"]:
        for environment in words[3].split(","):
            assert environment == "py" or f"testenv:{environment}" in tox_sections(), environment
    for extras in re.findall(r"(?:\.|initcheck)\[([\w,-]+)\]", " ".join(words)):
        assert set(extras.split(",")) <= known_extras(), extras


def check_accepted(arguments: list[str]) -> None:
    """Let click read the arguments of ``initcheck``; what it refuses raises."""
    name: str | None = "initcheck"
    command: click.Command | None = command_line
    context: click.Context | None = None
    while isinstance(command, click.Group):
        if arguments[:1] == ["--help"]:
            return
        context = command.make_context(name, list(arguments), parent=context)
        name, command, arguments = command.resolve_command(context, [*context._protected_args, *context.args])
    assert command is not None
    if "--help" not in arguments:
        command.make_context(name, arguments, parent=context)


@lru_cache(maxsize=1)
def pytest_options() -> str:
    """What ``pytest --help`` prints where initcheck is installed, one blank behind each option."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--help"], cwd=ROOT.anchor, capture_output=True, text=True, check=True
    )
    return re.sub(r"[=\s]", " ", done.stdout)


def tox_sections() -> list[str]:
    """The sections of ``tox.ini``; a name with alternatives, ``keras{312,315}``, gives one for each."""
    tox = configparser.ConfigParser(interpolation=None)
    tox.read(ROOT / "tox.ini", encoding="utf-8")
    sections = []
    for section in tox.sections():
        name, _, rest = section.partition("{")
        sections += [name + each for each in rest.rstrip("}").split(",")]
    return sections


def known_extras() -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return set(project["optional-dependencies"])


SYBIL = Sybil([PythonCodeBlockParser(), CodeBlockParser("shell", check_shell)])


def follow(page: str, folder: Path) -> None:
    """Do what a page says, block by block, in a folder.

    - A block whose first line is the comment ``# name`` is written to that file.
    - A block ``diff`` replaces the lines with a minus by those with a plus, in the one file that has them.
    - Other Python blocks run.
    - In shell blocks the lines run that begin with ``initcheck`` or ``pytest``; they have to end with 0, or with
      what a comment says: ``# exit code 1``. Other lines are checked only.
    - A block ``text`` behind them is what they print: line by line, ``...`` for anything.

    Args:
        page: the Markdown.
        folder: an empty folder, and the working directory of this process.
    """
    assert Path.cwd() == folder
    printed = ""
    names: dict[str, object] = {"__name__": "__page__"}
    for block in read_blocks(page):
        if block.file_name:
            path = folder / block.file_name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text, encoding="utf-8")
        elif block.language == "diff":
            apply_change(block.text, folder)
        elif block.language == "python":
            out = io.StringIO()
            with contextlib.redirect_stdout(out):
                exec(compile(block.text, f"line {block.line}", "exec"), names)
            printed = out.getvalue()
        elif block.language == "shell":
            printed = "".join(run_commands(block))
        elif block.language == "text":
            check_printed(block, printed)


def apply_change(change: str, folder: Path) -> None:
    before = "".join(f"{line[1:]}\n" for line in change.splitlines() if line[:1] in ("-", " "))
    after = "".join(f"{line[1:]}\n" for line in change.splitlines() if line[:1] in ("+", " "))
    (path,) = [each for each in folder.rglob("*.py") if before in each.read_text(encoding="utf-8")]
    path.write_text(path.read_text(encoding="utf-8").replace(before, after), encoding="utf-8")


def run_commands(block: Block) -> Iterator[str]:
    for words, wanted in read_commands(block.text):
        if words[0] in PROGRAMS:
            code, printed = run_initcheck(words[1:]) if words[0] == "initcheck" else run_pytest(words[1:])
            assert code == wanted, f"line {block.line}: {shlex.join(words)} ended with {code}:\n{printed}"
            yield printed
        else:
            check_command(words)


def run_initcheck(arguments: list[str]) -> tuple[int, str]:
    """Run the program in this process, where Keras is loaded already."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(arguments)
    return code, out.getvalue() + err.getvalue()


def run_pytest(arguments: list[str], folder: Path | None = None) -> tuple[int, str]:
    """Run pytest in a process of its own, as if nobody had set anything."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("PYTEST_") and name != "GITHUB_STEP_SUMMARY"
    }
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


def check_printed(block: Block, printed: str) -> None:
    """Find the lines of a block among those that were printed, in this order."""
    left = iter(" ".join(line.split()) for line in printed.splitlines())
    for line in block.text.splitlines():
        wanted = " ".join(line.split())
        if wanted in ("", "..."):
            continue
        pattern = ".*".join(map(re.escape, wanted.split("...")))
        assert any(re.fullmatch(pattern, each) for each in left), f"line {block.line}: {wanted!r} not in:\n{printed}"
