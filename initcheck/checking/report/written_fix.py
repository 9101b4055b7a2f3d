"""The fix of a problem, written into the text of the files that it is for; no file is changed."""

from __future__ import annotations

from pathlib import Path

from initcheck.audit.findings import CheckResult
from initcheck.audit.problems import Problem
from initcheck.checking.rewrite import ChangedFile, write_edits


def write_fix(result: CheckResult, problem: Problem) -> tuple[ChangedFile, ...]:
    """Write a problem's fix into the files of the working folder; nothing where any of its edits cannot be written."""
    if problem.fix is None or not problem.fix.is_within(Path.cwd().resolve()):
        return ()
    rewriting = write_edits(problem.fix.edits, Path.cwd(), loaded_at=result.loaded_at)
    return () if rewriting.unwritten else rewriting.files


def format_diff(result: CheckResult, problem: Problem) -> str:
    """Write the lines that a problem's fix changes as a unified diff; empty where it cannot be written."""
    return b"".join(each.diff for each in write_fix(result, problem)).decode(errors="replace")
