"""``docs/command-line.md``: every command with its options and exit codes, from the program itself."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Final

import click

from initcheck.cli.main import command_line
from initcheck.pages.markdown import code_span, escape_text

_INTRODUCTION: Final = """\
<!-- Written by: tox run -e docs -->

# The command line

This page has what `initcheck COMMAND --help` prints. Data goes to standard output or into files, progress and errors go
to standard error. Every error is one line that says what is wrong and what to do.
"""

_EXIT_CODES: Final = "Exit codes: "
_QUOTED: Final = re.compile(r"'(initcheck [^']+)'")


def write_page(root: click.Command = command_line) -> str:
    """Write the page in Markdown: a table of contents, and a section for each command, by name."""
    found = list(_walk(click.Context(root, info_name="initcheck", **root.context_settings)))
    parts = [_INTRODUCTION, "\n| Command | |\n| --- | --- |\n"]
    parts += [
        f"| [`{context.command_path}`](#{_anchor(context)}) | {_mark_up(_first_sentence(context.command))} |\n"
        for context in found
    ]
    parts += [_write_command(context) for context in found]
    return "".join(parts)


def _walk(context: click.Context) -> Iterator[click.Context]:
    yield context
    if isinstance(context.command, click.Group):
        for name in context.command.list_commands(context):
            command = context.command.get_command(context, name)
            if command is not None and not command.hidden:
                yield from _walk(click.Context(command, info_name=name, parent=context))


def _write_command(context: click.Context) -> str:
    usage = " ".join([context.command_path, *context.command.collect_usage_pieces(context)])
    sections = [f'<a id="{_anchor(context)}"></a>', f"## {context.command_path}", f"Usage: {code_span(usage)}"]
    exit_codes = ""
    for paragraph in _paragraphs(context.command):
        if paragraph.startswith(_EXIT_CODES):
            exit_codes = _write_exit_codes(paragraph.removeprefix(_EXIT_CODES))
        else:
            sections.append(_mark_up(paragraph))
    records = [param.get_help_record(context) for param in context.command.get_params(context)]
    rows = [
        f"| {code_span(names)} | {_mark_up(' '.join(text.split()))} |" for names, text in filter(None, records) if text
    ]
    sections.append("\n".join(["| Option | |", "| --- | --- |", *rows]))
    if exit_codes:
        sections.append(exit_codes)
    return "\n" + "\n\n".join(sections) + "\n"


def _write_exit_codes(text: str) -> str:
    pairs = re.findall(r"(\d+) (.*?)(?:; (?=\d)|\.?$)", text)
    rows = [f"| {code} | {_mark_up(meaning)} |" for code, meaning in pairs]
    return "\n".join(["| Exit code | |", "| --- | --- |", *rows])


def _paragraphs(command: click.Command) -> list[str]:
    return [" ".join(each.split()) for each in inspect.cleandoc(command.help or "").split("\n\n")]


def _first_sentence(command: click.Command) -> str:
    return re.split(r"(?<=\.) (?=[A-Z])", _paragraphs(command)[0])[0]


def _anchor(context: click.Context) -> str:
    return context.command_path.replace(" ", "-")


def _mark_up(text: str) -> str:
    """Escape a text of the help, and write the command lines that it quotes as code."""
    parts = _QUOTED.split(text)
    return "".join(code_span(part) if index % 2 else escape_text(part) for index, part in enumerate(parts))
