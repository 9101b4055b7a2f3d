"""Edits written into the user's files: which bytes change, as a diff that ``git apply`` takes, and on the disk.

Nothing is written without being asked for, and then all files or none; :func:`put_back` undoes it to the byte.
"""

from __future__ import annotations

import difflib
import io
import math
import os
import re
import shutil
import stat
import tokenize
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from initcheck.audit.findings import Edit
from initcheck.core.errors import OutputError
from initcheck.core.files import relative_path, replace_files

if TYPE_CHECKING:
    from initcheck.audit.findings import CheckResult
    from initcheck.audit.problems import Problem
    from initcheck.checking.source_code import Unwritten

_PACKAGES: Final = ("site-packages", "dist-packages")


@dataclass(frozen=True)
class ChangedFile:
    """A file and what it becomes.

    Attributes:
        path: the file itself, where a link leads to it.
        shown: its path from the folder, with slashes.
    """

    path: Path
    shown: str
    old: bytes = field(repr=False)
    new: bytes = field(repr=False)

    @property
    def diff(self) -> bytes:
        """The change as a unified diff, in the file's own encoding and with its own ends of lines."""
        before, after = (_quote(f"{side}/{self.shown}") for side in "ab")
        lines = difflib.diff_bytes(difflib.unified_diff, _split(self.old), _split(self.new), before, after)
        return b"".join(each if each.endswith(b"\n") else each + b"\n\\ No newline at end of file\n" for each in lines)


@dataclass(frozen=True)
class Rewriting:
    """What becomes of edits: the files that change, and the edits that cannot be written."""

    files: tuple[ChangedFile, ...]
    written: tuple[Edit, ...]
    unwritten: tuple[Unwritten, ...]

    @property
    def diff(self) -> bytes:
        """The changes of all files as one unified diff; empty where nothing changes."""
        return b"".join(each.diff for each in self.files)


def write_edits(
    edits: Iterable[Edit], folder: Path, *, anywhere: bool = False, loaded_at: float = math.inf
) -> Rewriting:
    """Write edits into the text of the files that they are in; no file is changed yet.

    Args:
        folder: what lies outside of it is not rewritten.
        anywhere: whether files outside of the folder may be rewritten too; those of installed packages never are.
        loaded_at: when the code was loaded, in seconds since the epoch; a file that was changed later is not rewritten,
            since the lines that were run may be others.
    """
    # Imported only now: it brings LibCST along.
    from initcheck.checking.source_code import Unwritten, edit_source

    edits, folder = list(dict.fromkeys(edits)), folder.resolve()
    unwritten = [Unwritten(each, "the line that makes it is not known") for each in edits if each.site is None]
    by_file: dict[Path, list[Edit]] = {}
    for each in edits:
        if each.site is not None:
            by_file.setdefault(Path(each.site.file).resolve(), []).append(each)
    files = []
    for path, here in by_file.items():
        reason = _find_obstacle(path, folder, anywhere=anywhere, loaded_at=loaded_at)
        try:
            old = b"" if reason else path.read_bytes()
            encoding, text = ("", "") if reason else decode_source(old)
        except (OSError, ValueError, SyntaxError, LookupError) as error:
            reason = f"{relative_path(path, folder)} cannot be read: {' '.join(str(error).split())}"
        if reason:
            unwritten += [Unwritten(each, reason) for each in here]
            continue
        changed, refused = edit_source(text, here)
        try:
            new = changed.encode(encoding)
        except UnicodeEncodeError:
            refused = [Unwritten(each, f"{encoding}, the file's encoding, has no such characters") for each in here]
            new = old
        unwritten += refused
        if new != old:
            files.append(ChangedFile(path, relative_path(path, folder), old, new))
    refused_edits = {each.edit for each in unwritten}
    unwritten.sort(key=lambda each: edits.index(each.edit))
    return Rewriting(tuple(files), tuple(each for each in edits if each not in refused_edits), tuple(unwritten))


def write_fix(result: CheckResult, problem: Problem) -> tuple[ChangedFile, ...]:
    """Write a problem's fix into the files of the working folder; nothing where any of its edits cannot be written."""
    if problem.fix is None or not problem.fix.is_within(Path.cwd().resolve()):
        return ()
    rewriting = write_edits(problem.fix.edits, Path.cwd(), loaded_at=result.loaded_at)
    return () if rewriting.unwritten else rewriting.files


def format_diff(result: CheckResult, problem: Problem) -> str:
    """Write the lines that a problem's fix changes as a unified diff; empty where it cannot be written."""
    return b"".join(each.diff for each in write_fix(result, problem)).decode(errors="replace")


def write_fixes(
    fixes: Sequence[Sequence[Edit]], folder: Path, *, anywhere: bool = False, loaded_at: float = math.inf
) -> tuple[Rewriting, dict[int, tuple[Unwritten, ...]]]:
    """Write the edits of several fixes, each fix whole or not at all: its edits were tried together.

    Of fixes that contradict each other the first is written.

    Returns:
        What is written, and by the number of each other fix its edits that cannot be.
    """

    def write(numbers: Iterable[int]) -> Rewriting:
        edits = [each for number in numbers for each in fixes[number]]
        return write_edits(edits, folder, anywhere=anywhere, loaded_at=loaded_at)

    kept = list(range(len(fixes)))
    refused: dict[int, tuple[Unwritten, ...]] = {}
    while (rewriting := write(kept)).unwritten:
        unwritten = {each.edit: each for each in rewriting.unwritten}
        last = max(number for number in kept if unwritten.keys() & set(fixes[number]))
        refused[last] = tuple(unwritten[each] for each in fixes[last] if each in unwritten)
        kept.remove(last)
    for number in sorted(refused):  # what stood against it may have been left out since
        again = write(sorted([*kept, number]))
        if not again.unwritten:
            kept, rewriting = sorted([*kept, number]), again
            del refused[number]
    return rewriting, refused


def _find_obstacle(path: Path, folder: Path, *, anywhere: bool, loaded_at: float) -> str:
    """Say why a file is not rewritten, whatever it holds; empty if it may be."""
    shown = relative_path(path, folder)
    if any(part in _PACKAGES for part in path.parts):
        return f"{path.name} belongs to an installed package"
    if not anywhere and not path.is_relative_to(folder):
        return f"{shown} lies outside of the working folder"
    try:
        changed = path.stat().st_mtime > loaded_at
    except OSError as error:
        return f"{shown} cannot be read: {error.strerror}"
    return f"{shown} has changed since it was loaded" if changed else ""


def decode_source(data: bytes) -> tuple[str, str]:
    """Return the encoding of a Python file, which its first lines may name, and its text without the mark before it."""
    encoding = tokenize.detect_encoding(io.BytesIO(data).readline)[0]
    text = data.decode(encoding)
    if text.encode(encoding) != data:
        raise ValueError(f"{encoding}, its encoding, does not give back the same bytes")
    return encoding, text


def _split(data: bytes) -> list[bytes]:
    """Split into lines as git does, at line feeds alone."""
    return re.findall(rb"[^\n]*\n|[^\n]+", data)


def _quote(path: str) -> bytes:
    """Write a path for a diff: as it is, or as git quotes one that holds quotes or control characters."""
    data = path.encode("utf-8", "surrogateescape")
    if not any(byte < 0x20 or byte in b'"\\\x7f' for byte in data):
        return data
    escaped = b"".join(b"\\" + bytes([byte]) if byte in b'"\\' else _octal(byte) for byte in data)
    return b'"' + escaped + b'"'


def _octal(byte: int) -> bytes:
    return bytes([byte]) if 0x20 <= byte < 0x7F else f"\\{byte:03o}".encode()


# --- on the disk ------------------------------------------------------------------------------------------------------


def write_files(files: Iterable[ChangedFile]) -> None:
    """Write what files become, all or none; a file keeps its mode, and a link to it stays one.

    Raises:
        OutputError: a file is read-only, or is no longer what was read.
    """
    files = list(files)
    for each in files:
        if each.path.exists() and not each.path.stat().st_mode & stat.S_IWUSR:
            raise OutputError(f"Cannot write {each.shown!r}: it is read-only. Make it writable, or take the diff.")
    _replace([(each, each.old, each.new) for each in files])


def put_back(files: Iterable[ChangedFile]) -> list[ChangedFile]:
    """Write what files were, all or none, and return them; those that are so already stay.

    Raises:
        OutputError: a file is neither what it was nor what was written.
    """
    changed = [each for each in files if _read(each.path) != each.old]
    _replace([(each, each.new, each.old) for each in changed])
    return changed


def _replace(changes: Sequence[tuple[ChangedFile, bytes, bytes]]) -> None:
    """Replace the bytes of files that hold what they are thought to hold."""
    for file, present, _ in changes:
        if _read(file.path) != present:
            raise OutputError(f"{file.shown!r} has changed meanwhile, and is left as it is. Run the command again.")
    replace_files({file.path: partial(_write_like, file.path, wanted) for file, _, wanted in changes})


def _read(path: Path) -> bytes | None:
    """Read a file; None where there is none any more."""
    return path.read_bytes() if path.is_file() else None


def _write_like(model: Path, data: bytes, path: Path) -> None:
    """Write a file with the mode of another one, whose place it will take."""
    path.write_bytes(data)
    shutil.copymode(model, path)
    before, after = model.stat(), path.stat()
    if before.st_size == after.st_size and int(before.st_mtime) == int(after.st_mtime):
        # Python takes a compiled module for that of a file which agrees in size and whole seconds.
        os.utime(path, (after.st_atime, after.st_mtime + 1.0))
