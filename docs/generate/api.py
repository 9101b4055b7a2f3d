"""``docs/api.md``: the public names with their signatures and docstrings."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, Final

import initcheck
from initcheck.pages.markdown import code_span, escape_text

_INTRODUCTION: Final = """\
<!-- Written by: tox run -e docs -->

# The Python interface

These are the public names of the package: `import initcheck`, then `initcheck.check(...)`. Importing the package
imports neither Keras nor pandas; each name is loaded when it is first used. Everything else may change without notice.
"""

_HEADING: Final = re.compile(r"^(Args|Attributes|Returns|Raises|References|Yields):$")
_ENTRY: Final = re.compile(r"^(\*{0,2}\w+(?:, \*{0,2}\w+)*): (.*)$")
_ROLE: Final = re.compile(r":\w+:`~?([^`]+)`|``([^`]+)``|`([^`]+)`")
_FUNCTION: Final = re.compile(r"<function (\w+) at 0x[0-9a-f]+>")
_WIDTH: Final = 110


def write_page(public: Mapping[str, Any] | None = None) -> str:
    """Write the page in Markdown: a table of contents, a section for each function and class, and the exceptions."""
    objects = _public_objects() if public is None else dict(public)
    errors = {name: each for name, each in objects.items() if _is_error(each)}
    others = {name: each for name, each in objects.items() if name not in errors}
    parts = [_INTRODUCTION, "\n| Name | |\n| --- | --- |\n"]
    parts += [f"| [`{name}`](#{name.lower()}) | {_mark_up(_summary(each))} |\n" for name, each in others.items()]
    if errors:
        parts.append("| [exceptions](#exceptions) | What is raised on purpose. |\n")
    parts += [
        _write_class(name, each) if inspect.isclass(each) else _write_function(name, each)
        for name, each in others.items()
    ]
    if errors:
        parts.append(_write_errors(errors))
    return "".join(parts)


def _public_objects() -> dict[str, Any]:
    return {name: getattr(initcheck, name) for name in sorted(initcheck.__all__, key=str.lower) if name[0] != "_"}


def _is_error(value: object) -> bool:
    return inspect.isclass(value) and issubclass(value, Exception)


def _write_function(name: str, function: Callable[..., Any]) -> str:
    return _write_section(name, name, _signature(name, function), function)


def _write_class(name: str, cls: type) -> str:
    parts = [_write_section(name, name, "" if is_dataclass(cls) else _signature(name, cls), cls)]
    for member, value in _members(cls):
        if isinstance(value, property):
            text = f"`{_annotation(value.fget)}`: {_mark_up(_summary(value))}"
            parts.append(f"\n### {name}.{member}\n\n{text}\n")
        else:
            function = value.__func__ if isinstance(value, classmethod | staticmethod) else value
            parts.append(_write_section(f"{name}.{member}", "", _signature(member, function), function, level=3))
    return "".join(parts)


def _write_section(title: str, anchor: str, signature: str, value: object, level: int = 2) -> str:
    blocks = [f'<a id="{anchor.lower()}"></a>'] if anchor else []
    blocks.append(f"{'#' * level} {title}")
    if signature:
        blocks.append(f"```text\n{signature}\n```")
    blocks += _write_docstring(value)
    return "\n" + "\n\n".join(blocks) + "\n"


def _write_errors(errors: Mapping[str, type]) -> str:
    rows = [
        f"| `{name}` | {', '.join(f'`{base.__name__}`' for base in error.__bases__)} | {_mark_up(_summary(error))} |"
        for name, error in errors.items()
    ]
    table = "\n".join(["| Exception | Derives from | |", "| --- | --- | --- |", *rows])
    return f'\n<a id="exceptions"></a>\n\n## Exceptions\n\n{table}\n'


def _members(cls: type) -> Iterator[tuple[str, Any]]:
    """List the public methods and properties that have a docstring, in the order of the source."""
    for name, value in vars(cls).items():
        function = value.fget if isinstance(value, property) else getattr(value, "__func__", value)
        if not name.startswith("_") and inspect.isfunction(function) and function.__doc__:
            yield name, value


def _signature(name: str, value: Callable[..., Any]) -> str:
    """Write a signature on one line, or with one parameter a line where that is too long."""
    signature = inspect.signature(value)
    kept = [each for each in signature.parameters.values() if each.name not in ("self", "cls")]
    # Annotations are texts; the quotes around them are taken off, those of a default are not. A function has its name.
    words = [re.sub(r": '([^']*)'", r": \1", _FUNCTION.sub(r"\1", str(each))) for each in kept]
    first_keyword = next((place for place, each in enumerate(kept) if each.kind is each.KEYWORD_ONLY), None)
    if first_keyword is not None and not any(each.kind is each.VAR_POSITIONAL for each in kept):
        words.insert(first_keyword, "*")
    returned = "" if inspect.isclass(value) else f" -> {_annotation(value)}"
    line = f"{name}({', '.join(words)}){returned}"
    if len(line) <= _WIDTH:
        return line
    return f"{name}(\n" + "".join(f"    {word},\n" for word in words) + f"){returned}"


def _annotation(function: Any) -> str:
    return str(inspect.get_annotations(function).get("return", "None"))


def _default(field: Any) -> str:
    if field.default is not MISSING:
        return code_span(repr(field.default))
    return "required" if field.default_factory is MISSING else code_span(f"{field.default_factory.__name__}()")


def _summary(value: object) -> str:
    return (inspect.getdoc(value) or "").split("\n\n")[0]


def _write_docstring(value: object) -> list[str]:
    """Write a docstring in Google's style: paragraphs as they are, sections as bold words with lists.

    The attributes of a dataclass become a table with their types and defaults.
    """
    blocks: list[str] = []
    for chunk in _chunks((inspect.getdoc(value) or "").splitlines()):
        found = _HEADING.match(chunk[0])
        body = textwrap.dedent("\n".join(chunk[1:] if found else chunk)).strip()
        if not found:
            blocks += _write_body("", body)
        elif found[1] == "Attributes" and inspect.isclass(value) and is_dataclass(value):
            blocks.append(_write_fields(value, body))
        else:
            blocks += [f"**{found[1]}**", *_write_body(found[1], body)]
    return blocks


def _write_fields(cls: type, body: str) -> str:
    texts = {found[1]: found[2] for found in map(_ENTRY.match, _hang(body)) if found}
    rows = [
        f"| `{each.name}` | {code_span(str(each.type))} | {_default(each)} | {_mark_up(texts.get(each.name, ''))} |"
        for each in fields(cls)
    ]
    return "\n".join(["| Field | Type | Default | |", "| --- | --- | --- | --- |", *rows])


def _chunks(lines: Sequence[str]) -> Iterator[list[str]]:
    """Split a docstring at its section headings and, outside of sections, at blank lines."""
    chunk: list[str] = []
    inside = False
    for line in [*lines, ""]:
        heading = bool(_HEADING.match(line))
        ends = not line.strip() and not inside
        if heading or ends or (inside and line.strip() and not line.startswith(" ")):
            if any(each.strip() for each in chunk):
                yield chunk
            chunk, inside = [], heading
        if line.strip() or chunk:
            chunk.append(line)
    if any(each.strip() for each in chunk):
        yield chunk


def _write_body(heading: str, body: str) -> list[str]:
    if heading in ("Args", "Attributes", "Raises"):
        return ["\n".join(_write_entry(each) for each in _hang(body))]
    if all(line.startswith(("- ", "  ")) for line in body.splitlines()):
        return ["\n".join(f"- {_mark_up(each.removeprefix('- '))}" for each in _hang(body))]
    return [_mark_up(each) for each in body.split("\n\n")]


def _hang(body: str) -> list[str]:
    """Join each entry with the lines that hang from it."""
    entries: list[str] = []
    for line in filter(str.strip, body.splitlines()):
        if line.startswith(" ") and entries:
            entries[-1] += f" {line.strip()}"
        else:
            entries.append(line)
    return entries


def _write_entry(entry: str) -> str:
    found = _ENTRY.match(entry)
    return f"- `{found[1]}`: {_mark_up(found[2])}" if found else f"- {_mark_up(entry)}"


def _mark_up(text: str) -> str:
    """Escape a docstring's text, and write its literals and references as code."""
    parts, end = [], 0
    for found in _ROLE.finditer(text):
        parts += [escape_text(text[end : found.start()]), code_span(next(filter(None, found.groups())))]
        end = found.end()
    return "".join([*parts, escape_text(text[end:])])
