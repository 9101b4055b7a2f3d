"""The result of ``initcheck check`` as SARIF 2.1.0 (OASIS, errata 01), which code scanning services read.

Each problem and note is a result of the rule of its main finding, at the call that made its first layer, with the fix
as replacements where it can be written into a file of the working folder. All columns count UTF-16 code units from 1.
"""

from __future__ import annotations

import difflib
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from initcheck.audit.findings import CheckResult, Rule, Severity
from initcheck.audit.problems import Problem
from initcheck.checking.gate.comparison import Comparison
from initcheck.checking.gate.report import format_verdict
from initcheck.checking.report.annotations import (
    CHANGED,
    INCONCLUSIVE,
    GateChange,
    list_gate_changes,
    locate_problem,
)
from initcheck.checking.report.locations import Location, count_units, find_root
from initcheck.checking.report.text import (
    describe_problem,
    exit_code_of,
    find_place,
    is_known,
    list_failed,
    title_problem,
)
from initcheck.checking.rewrite import ChangedFile, decode_source, write_fix
from initcheck.core.files import relative_path

SCHEMA: Final = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_ROOT: Final = "%SRCROOT%"
_FINGERPRINT: Final = "initcheckProblem/v1"
_LEVELS: Final[dict[Severity, str]] = {"wrong": "error", "unjudged": "warning", "note": "note"}

_GATE_LEVELS: Final = {CHANGED: "error", INCONCLUSIVE: "warning"}
_GATE_RULES: Final = {
    CHANGED: (
        "changed-initialization",
        "The initialization of the model is not the one that its baseline recorded.",
        "Renew the baseline if it was meant: 'initcheck baseline update FILE', or 'pytest --initcheck-update'.",
    ),
    INCONCLUSIVE: (
        "undecided-initialization",
        "It is not decided whether the initialization of the model is the one that its baseline recorded.",
        "Draw more seeds: the message says how many decide, or why none would.",
    ),
}
"""By its code, the name of what a gate fails for, what it is, and what to do."""


def format_sarif(result: CheckResult, comparison: Comparison | None = None, baseline: str = "") -> str:
    """Format the result as one SARIF log that ends in a line break.

    Args:
        comparison: what has changed since a baseline: the problems that it knows are *unchanged*, the others *new*.
        baseline: name of the baseline's file: the place of what has no line of code.
    """
    problems = result.problems
    rules = list(dict.fromkeys(finding.rule for problem in problems for finding in problem.findings))
    changes = list_gate_changes(result, comparison, baseline)
    codes = [*(each.code for each in rules), *dict.fromkeys(each.code for each in changes)]
    results = [_gate_result(result, change) for change in changes]
    results += [_result(result, problem, comparison, baseline) for problem in problems]
    seen: Counter[str] = Counter()
    for made in results:
        made["ruleIndex"] = codes.index(made["ruleId"])
        identity = made["partialFingerprints"][_FINGERPRINT]
        seen[identity] += 1
        if seen[identity] > 1:
            made["partialFingerprints"] = {_FINGERPRINT: f"{identity}:{seen[identity]}"}
    described = [*map(_rule, rules), *map(_gate_rule, codes[len(rules) :])]
    run = {
        "tool": {"driver": {"name": "initcheck", "version": result.versions["initcheck"], "rules": described}},
        "automationDetails": {"id": f"initcheck/{result.model}/"},
        "columnKind": "utf16CodeUnits",
        "originalUriBaseIds": {_ROOT: {"description": {"text": "On GitHub the repository, else the working folder."}}},
        "invocations": [_invocation(result, comparison)],
        "results": results,
    }
    return json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2) + "\n"


def _rule(rule: Rule) -> dict[str, Any]:
    parts = (rule.what, rule.why, ("What to do", rule.fix), ("Source", rule.source))
    return _describe_rule(rule.code, rule.name, _LEVELS[rule.severity], rule.what, parts)


def _gate_rule(code: str) -> dict[str, Any]:
    name, what, to_do = _GATE_RULES[code]
    return _describe_rule(code, name, _GATE_LEVELS[code], what, (what, ("What to do", to_do)))


def _describe_rule(
    code: str, name: str, level: str, what: str, parts: Iterable[str | tuple[str, str]]
) -> dict[str, Any]:
    """Describe a rule, with a help of paragraphs, of which some have a head."""
    text, markdown = [], []
    for part in parts:
        head, said = ("", part) if isinstance(part, str) else (f"{part[0]}:", part[1])
        text.append(f"{head} {said}".strip())
        markdown.append(f"**{head}** {said}" if head else said)
    return {
        "id": code,
        "name": name,
        "shortDescription": {"text": name.replace("-", " ").capitalize()},
        "fullDescription": {"text": what},
        "help": {"text": "\n\n".join(text), "markdown": "\n\n".join(markdown)},
        "defaultConfiguration": {"level": level},
    }


def _invocation(result: CheckResult, comparison: Comparison | None) -> dict[str, Any]:
    invocation: dict[str, Any] = {"executionSuccessful": True, "exitCode": exit_code_of(result, comparison)}
    if comparison is not None:
        level = {"same": "note", "changed": "error"}.get(comparison.verdict, "warning")
        message = {"text": format_verdict(comparison)}
        invocation["toolExecutionNotifications"] = [{"level": level, "message": message}]
    return invocation


def _gate_result(result: CheckResult, change: GateChange) -> dict[str, Any]:
    where = "".join(f":{result.keys.get(layer, layer)}" for layer in change.layers[:1])
    return {
        "ruleId": change.code,
        "level": _GATE_LEVELS[change.code],
        "message": {"text": "\n".join([change.title, *change.details])},
        "locations": [_location(change.place, change.layers)],
        "partialFingerprints": {_FINGERPRINT: f"{change.code}{where}"},
        "baselineState": "new",
    }


def _result(result: CheckResult, problem: Problem, comparison: Comparison | None, baseline: str) -> dict[str, Any]:
    described = describe_problem(problem, find_place(result, problem))
    lines = [title_problem(problem), *(f"{word}: {text}" for word, text in described)]
    main = problem.main
    made: dict[str, Any] = {
        "ruleId": main.code,
        "level": _LEVELS[problem.level],
        "message": {"text": "\n".join(lines)},
        "locations": [_location(locate_problem(result, problem, baseline), problem.layers)],
        "partialFingerprints": {_FINGERPRINT: f"{main.code}:{result.keys.get(main.layer, main.layer)}"},
        "properties": {"codes": list(problem.codes)},
    }
    if comparison is not None:
        made["baselineState"] = "unchanged" if is_known(problem, comparison.known) else "new"
        if made["baselineState"] == "new" and problem not in list_failed(result, comparison):
            made["level"] = "note"  # other seeds may have brought it about, and nothing fails for it
    if files := write_fix(result, problem):
        assert problem.fix is not None
        made["fixes"] = [
            {"description": {"text": problem.fix.change}, "artifactChanges": [_artifact_change(each) for each in files]}
        ]
    return made


# --- places -----------------------------------------------------------------------------------------------------------


def _location(place: Location, layers: Iterable[str]) -> dict[str, Any]:
    """Describe where a result is: its layers, and the call that made the first, or a file where that is not known."""
    location: dict[str, Any] = {}
    if place.file:
        location["physicalLocation"] = {"artifactLocation": _artifact(place.file)}
    if place.line:
        region = {"startLine": place.line}
        if place.column:
            region |= {"startColumn": place.column, "endLine": place.end_line, "endColumn": place.end_column}
        location["physicalLocation"]["region"] = region
    if names := [each for each in dict.fromkeys(layers) if each]:
        location["logicalLocations"] = [{"fullyQualifiedName": each} for each in names]
    return location


def _artifact(path: str) -> dict[str, str]:
    return {"uri": quote(path), "uriBaseId": _ROOT}


# --- fixes ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Replacement:
    """A piece of a text, by the offsets of its characters, and what takes its place."""

    start: int
    end: int
    text: str


def list_replacements(old: str, new: str) -> Iterator[Replacement]:
    """List the pieces of a text that change, one for each run of lines that do, without what they have in common."""
    before, after = (re.findall(r"[^\n]*\n|[^\n]+", each) for each in (old, new))
    offsets = [0]
    for line in before:
        offsets.append(offsets[-1] + len(line))
    for tag, first, last, new_first, new_last in difflib.SequenceMatcher(None, before, after, False).get_opcodes():
        if tag != "equal":
            yield _trim(offsets[first], "".join(before[first:last]), "".join(after[new_first:new_last]))


def _trim(start: int, old: str, new: str) -> Replacement:
    """Leave out what two texts have in common at their beginning and at their end."""
    shortest = min(len(old), len(new))
    head = next((place for place in range(shortest) if old[place] != new[place]), shortest)
    shortest -= head
    tail = next((place for place in range(shortest) if old[-1 - place] != new[-1 - place]), shortest)
    return Replacement(start + head, start + len(old) - tail, new[head : len(new) - tail])


def _artifact_change(file: ChangedFile) -> dict[str, Any]:
    old, new = (decode_source(each)[1] for each in (file.old, file.new))

    def position(offset: int) -> tuple[int, int]:
        before = old[:offset]
        return before.count("\n") + 1, count_units(before[before.rfind("\n") + 1 :]) + 1

    replacements = []
    for each in list_replacements(old, new):
        (line, column), (end_line, end_column) = position(each.start), position(each.end)
        region = {"startLine": line, "startColumn": column, "endLine": end_line, "endColumn": end_column}
        replacements.append({"deletedRegion": region, "insertedContent": {"text": each.text}})
    return {"artifactLocation": _artifact(relative_path(file.path, find_root())), "replacements": replacements}
