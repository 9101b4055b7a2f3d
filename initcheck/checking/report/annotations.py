"""The result of ``initcheck check`` as lines that tools read: annotations on GitHub, and a line a problem elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from initcheck.audit.findings import CheckResult, Severity
from initcheck.audit.problems import Problem
from initcheck.checking.gate.causes import find_causes
from initcheck.checking.gate.comparison import Comparison
from initcheck.checking.gate.report import describe_cause, format_verdict
from initcheck.checking.report.locations import Location, file_of_model, locate
from initcheck.checking.report.text import (
    describe_problem,
    describe_verdict,
    find_place,
    list_changes,
    list_failed,
    title_problem,
)

CHANGED: Final = "gate-changed"
INCONCLUSIVE: Final = "gate-inconclusive"
_LEVELS: Final[dict[Severity, str]] = {"wrong": "error", "unjudged": "warning", "note": "notice"}


def format_annotations(result: CheckResult, comparison: Comparison | None = None, baseline: str = "") -> str:
    """Format a line for each problem and note; a notice if there is none.

    It stands at the call that made the problem's first layer, if that is in a file below the root; else beside the
    baseline's file, or the model's.
    """
    lines = []
    for change in list_gate_changes(result, comparison, baseline):
        level = "error" if change.code == CHANGED else "warning"
        message = "\n".join(change.details) or change.title
        lines.append(_annotation(level, change.place, f"initcheck: {change.title}", message))
    for problem in list_failed(result, comparison):
        title = f"initcheck: {title_problem(problem)} ({' '.join(problem.codes)})"
        said = [f"{word}: {text}" for word, text in describe_problem(problem, find_place(result, problem))]
        if problem.fix is not None and result.fix_command:
            said.append(f"write: {result.fix_command}")
        place = locate_problem(result, problem, baseline)
        lines.append(_annotation(_LEVELS[problem.level], place, title, "\n".join(said)))
    if not lines:
        verdict = describe_verdict(result) if comparison is None else f"{result.model}: {format_verdict(comparison)}"
        place = locate(result, (), baseline or file_of_model(result.model))
        lines.append(_annotation("notice", place, "initcheck", verdict))
    return "\n".join(lines)


@dataclass(frozen=True)
class GateChange:
    """One thing that a gate fails for.

    Attributes:
        code: ``gate-changed`` or ``gate-inconclusive``.
        title: what it is, in one line.
        details: what else there is to say, a line each.
        layers: names of the layers or weights that it is about.
    """

    code: str
    title: str
    details: tuple[str, ...]
    layers: tuple[str, ...]
    place: Location


def list_gate_changes(result: CheckResult, comparison: Comparison | None, baseline: str) -> list[GateChange]:
    """List what has changed since a baseline, or is undecided; new findings are problems and not among it."""
    if comparison is None or comparison.verdict == "same":
        return []
    code = CHANGED if comparison.verdict == "changed" else INCONCLUSIVE
    causes = find_causes(comparison)
    titles = [describe_cause(each) for each in causes] or [format_verdict(comparison)]
    layers = [each.layers for each in causes] or [()]
    # What was measured is one list, whatever the causes are: it stands at the first.
    details = [tuple(list_changes(comparison)), *[()] * (len(titles) - 1)]
    places = [locate(result, [name for path in each for name in _list_holders(path)], baseline) for each in layers]
    return [GateChange(code, *each) for each in zip(titles, details, layers, places, strict=True)]


def _list_holders(path: str) -> Iterator[str]:
    """List a layer, or the layer of a weight or of a call, and the layers that hold it."""
    path = path.partition("#")[0]
    while path:
        yield path
        path = path.rpartition("/")[0]


def locate_problem(result: CheckResult, problem: Problem, baseline: str) -> Location:
    """Find where a problem lies: the call that made its first layer, else the file of the baseline or the model."""
    names = (*problem.layers, *problem.main.named)
    return locate(result, names, baseline or file_of_model(result.model))


def _annotation(level: str, place: Location, title: str, message: str) -> str:
    properties = ",".join(f"{name}={_escape_property(value)}" for name, value in _list_properties(place, title))
    return f"::{level} {properties}::{_escape_data(message)}"


def _list_properties(place: Location, title: str) -> Iterator[tuple[str, str]]:
    if place.file:
        yield "file", place.file
    if place.line:
        yield "line", str(place.line)
    if place.end_line:
        yield "endLine", str(place.end_line)
    if place.column and place.end_line == place.line:  # GitHub takes no columns of several lines
        yield "col", str(place.column)
        yield "endColumn", str(place.end_column)
    yield "title", title


def _escape_data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _escape_property(text: str) -> str:
    return _escape_data(text).replace(":", "%3A").replace(",", "%2C")


# --- a line a problem -------------------------------------------------------------------------------------------------


def format_concise(result: CheckResult, comparison: Comparison | None = None, baseline: str = "") -> str:
    """Format ``path:line: CODE text`` for each problem and note, as linters do; empty where there is none.

    What has no line of its own stands in the first one of the baseline's file or the model's; where no file is known,
    the name of the model stands for it.
    """
    lines = [
        _line(result, each.place, each.code, each.title) for each in list_gate_changes(result, comparison, baseline)
    ]
    for problem in list_failed(result, comparison):
        place = locate_problem(result, problem, baseline)
        lines.append(_line(result, place, problem.main.code, title_problem(problem)))
    return "".join(f"{each}\n" for each in lines)


def _line(result: CheckResult, place: Location, code: str, text: str) -> str:
    # Names of layers may hold anything, and each problem is one line.
    return " ".join(f"{place.file or result.model}:{place.line or 1}: {code} {text}".splitlines())
