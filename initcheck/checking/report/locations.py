"""Where problems lie, as other tools read it: files named from one root, with lines and columns from 1."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from initcheck.audit.findings import CheckResult
from initcheck.checking.rewrite import decode_source
from initcheck.probe.places import CallSite


@dataclass(frozen=True)
class Location:
    """A file, and the part of it that is meant.

    Attributes:
        file: its path from the root, with slashes; empty where no file is known.
        line: where the part begins, from 1; 0 for the whole file.
        column: where it begins in its line, in UTF-16 code units from 1; 0 where that is not known.
        end_line: where it ends, likewise.
        end_column: behind its last unit, likewise.
    """

    file: str
    line: int = 0
    column: int = 0
    end_line: int = 0
    end_column: int = 0


def find_root() -> Path:
    """Find the folder from which files are named: the repository's on GitHub, else the working folder."""
    folder = Path.cwd().resolve()
    workspace = os.environ.get("GITHUB_WORKSPACE", "")
    root = Path(workspace).resolve()
    return root if workspace and folder.is_relative_to(root) else folder


def locate(result: CheckResult, names: Iterable[str], beside: str) -> Location:
    """Find the call that made the first of some layers or weights that was made in a file below the root.

    Args:
        beside: the file, named from the working folder, that stands for what was made by no file below the root.
    """
    root = find_root()
    for name in (each for each in names if result.places.get(each)):
        site = _find_site(result, name)
        if site is not None and Path(site.file).is_relative_to(root):
            return _locate_call(site, Path(site.file).relative_to(root).as_posix())
        file, _, line = result.places[name].rpartition(":")
        if site is None and Path(file).is_file():
            return Location(_name_from(file, root), int(line))
    return Location(_name_from(beside, root) if beside else "")


def file_of_model(model: str) -> str:
    """Find the file that a model's reference names; empty where it names none."""
    path, colon, _ = model.rpartition(":")
    return path if colon and path.endswith(".py") else ""


def count_units(text: str) -> int:
    """Count UTF-16 code units."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def _find_site(result: CheckResult, name: str) -> CallSite | None:
    """Find the call that made a layer or weight; a weight is made where its layer is."""
    place = result.places[name]
    while (site := result.sites.get(name)) is None or str(site) != place:
        if not name:
            return None
        name = name.rpartition("/")[0]
    return site


def _locate_call(site: CallSite, file: str) -> Location:
    """Find the columns of a call, as far as they are known."""
    if site.column < 0:
        return Location(file, site.line)
    try:
        lines = decode_source(Path(site.file).read_bytes())[1].split("\n")
        first, last = lines[site.line - 1].encode(), lines[site.end_line - 1].encode()
        begin, end = first[: site.column].decode(), last[: site.end_column].decode()
    except (OSError, ValueError, SyntaxError, LookupError):  # it is not as it was when it was loaded
        return Location(file, site.line)
    return Location(file, site.line, count_units(begin) + 1, site.end_line, count_units(end) + 1)


def _name_from(path: str, root: Path) -> str:
    """Name a file from the root; one that lies elsewhere keeps its name."""
    whole = Path(path).resolve()
    return whole.relative_to(root).as_posix() if whole.is_relative_to(root) else Path(path).as_posix()
