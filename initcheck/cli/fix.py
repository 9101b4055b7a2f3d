"""``initcheck fix``: writes the fixes of a model's problems into its code, and checks that they hold there."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from initcheck.cli.measuring import Measuring, finding_options, finding_words, measuring_options, show_progress
from initcheck.core.errors import UsageError
from initcheck.core.formatting import count, format_names, wrap

if TYPE_CHECKING:
    from initcheck.audit.findings import CheckResult
    from initcheck.audit.problems import Problem
    from initcheck.checking.check import Report
    from initcheck.checking.rewrite import ChangedFile, Rewriting
    from initcheck.checking.source_code import Unwritten

_PROGRAM: Final = "import sys; from initcheck.cli import main; sys.exit(main())"
_INDENT: Final = "   "
_FARTHEST: Final = 1e3
"""Distance from 1, in nats, of a value that is zero or not finite."""


@click.command()
@click.argument("model")
@measuring_options
@finding_options
@click.option("--write", is_flag=True, help="Change the files, and check the model again.")
@click.option("--diff", "only_diff", is_flag=True, help="Print the diff, and nothing else, on standard output.")
@click.option(
    "--problem", "number", type=click.IntRange(1), metavar="N", help="Fix this problem alone, as check numbers it."
)
@click.option("--anywhere", is_flag=True, help="Rewrite files outside of the working folder too.")
@click.option("--quiet", is_flag=True, help="Show no progress.")
def fix(
    model: str,
    measuring: Measuring,
    select: tuple[str, ...],
    ignore: tuple[str, ...],
    waive: tuple[str, ...],
    allow_inconclusive: bool,
    write: bool,
    only_diff: bool,
    number: int | None,
    anywhere: bool,
    quiet: bool,
) -> None:
    """Write the fixes that 'initcheck check' finds into the code of a model.

    MODEL is package.module:factory or path/file.py:factory. It is checked as by 'initcheck check MODEL', with the same
    settings, and nothing of the code is executed but the factory and what it imports.

    What is printed: each problem with its fix, then all changes as a unified diff, which 'git apply' takes. A fix that
    cannot be written without a guess, such as one for some of the layers that a loop makes, is described with its place
    and the reason. No file is changed, unless --write is given.

    With --write the files are changed, all or none, and the model is checked again in a fresh process. If that finds it
    no better, or cannot make it, each file is put back to the byte.

    Exit codes: 0 nothing to fix, or, with --write, nothing left; 1 there are problems, or some are left; 2 cannot judge
    (bad input, something unmeasured, or undecided).
    """
    # Imported only now: these bring SciPy, pandas, LibCST and Keras along.
    from initcheck.checking.report.text import describe_verdict
    from initcheck.checking.rewrite import write_fixes
    from initcheck.checking.settings import override, read_project_settings, split_words

    settings = override(
        read_project_settings(Path.cwd()),
        **measuring.settings,
        select=split_words(select),
        ignore=split_words(ignore),
        waive=waive,
        allow_inconclusive=allow_inconclusive or None,
        fixes=True,
        prove=0,
    )
    loaded_at = time.time()
    report = _check(model, measuring, settings, quiet=quiet)
    problems = _choose(report.result, number)
    with_fix = [(place, each.fix.edits) for place, each in problems.items() if each.fix is not None]
    rewriting, refused = write_fixes(
        [edits for _, edits in with_fix], Path.cwd(), anywhere=anywhere, loaded_at=loaded_at
    )
    unwritten = {with_fix[place][0]: each for place, each in refused.items()}

    blocks = ["\n".join(wrap(describe_verdict(report.result)))]
    blocks += [_describe(report.result, place, each, unwritten.get(place, ())) for place, each in problems.items()]
    click.echo("\n\n".join(blocks), err=only_diff)
    if rewriting.files and only_diff:
        click.echo(rewriting.diff, nl=False)  # to the byte, whatever the encodings of the files are
    elif rewriting.files:
        click.echo("" if write else f"\nNot written yet; this is what --write changes in {_name(rewriting)}:\n")
        click.echo(rewriting.diff.decode(errors="replace"), nl=False)
    code = report.exit_code
    if write and rewriting.files:
        words = measuring.to_words()
        words += finding_words(select, ignore, waive, allow_inconclusive=allow_inconclusive)
        written = [each for place, each in problems.items() if place not in unwritten]
        promised = all(each.fix is None or each.fix.cures for each in written)
        code = _write(rewriting, report, [model, *words], promised=promised, err=only_diff, quiet=quiet)
    if code:
        raise click.exceptions.Exit(code)


def _check(model: str, measuring: Measuring, settings: Any, *, quiet: bool) -> Report:
    from initcheck.checking.check import check as check_model
    from initcheck.checking.load_model import load_model

    x, y = measuring.read_batch()
    loaded = load_model(model, measuring.arguments)
    with show_progress(quiet=quiet) as progress:
        return check_model(loaded, x, y, settings=settings, progress=progress)


def _choose(result: CheckResult, number: int | None) -> dict[int, Problem]:
    """Choose all problems, or one, by the numbers that ``initcheck check`` gives them."""
    problems = dict(enumerate((each for each in result.problems if each.level != "note"), 1))
    if number is None:
        return problems
    if number not in problems:
        known = f"initcheck check numbers {count(len(problems), 'problem')}" if problems else "nothing was found"
        raise UsageError(f"There is no problem {number}: {known}. Received: --problem {number}. Leave it out for all.")
    return {number: problems[number]}


def _describe(result: CheckResult, number: int, problem: Problem, unwritten: Sequence[Unwritten]) -> str:
    """Describe a problem, its fix, and why that is not written."""
    from initcheck.audit.findings import describe_fix
    from initcheck.checking.report.text import describe_tried, find_place, title_problem

    parts = (title_problem(problem), find_place(result, problem), " ".join(problem.codes))
    lines = wrap(f"{number}  {'  '.join(each for each in parts if each)}", "", _INDENT)
    fix = problem.fix
    if fix is None:
        return "\n".join([*lines, *wrap(describe_tried(problem) or "no change was tried", _INDENT)])
    lines += wrap(f"fix    {fix.change} {describe_fix(fix)}.", _INDENT, f"{_INDENT}       ")
    if unwritten:
        lines.append(f"{_INDENT}not written; by hand:")
        lines += [line for each in _describe_unwritten(fix.edits, unwritten) for line in each]
    return "\n".join(lines)


def _describe_unwritten(edits: Sequence[Any], unwritten: Sequence[Unwritten]) -> Iterator[list[str]]:
    """Describe all edits of a fix, those that are alike together, with the reasons of those that cannot be written."""
    reasons = {each.edit: each.reason for each in unwritten}
    groups: dict[tuple[str, str, str], list[str]] = {}
    for each in edits:
        site = "" if each.site is None else str(each.site)
        groups.setdefault((site, each.written, reasons.get(each, "")), []).append(each.layer)
    for (site, written, reason), layers in groups.items():
        place = f"{site}  " if site else ""
        why = f" ({reason})" if reason else ""
        yield wrap(f"{place}{written} for {format_names(layers)}{why}", f"{_INDENT}  ", f"{_INDENT}    ")


def _name(rewriting: Rewriting) -> str:
    return format_names([each.shown for each in rewriting.files])


# --- on the disk, and checked again -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Outcome:
    """What a check found, as far as two checks are compared.

    Attributes:
        titles: of the problems.
        findings: how many findings say that something is wrong.
        distance: how far their values are from 1 in all, in nats.
    """

    exit_code: int
    titles: tuple[str, ...]
    findings: int
    distance: float

    def is_better(self, before: _Outcome, *, promised: bool) -> bool:
        """Find whether the exit code is lower or there are fewer problems; where a cure was not promised, any gain."""
        if self.exit_code < before.exit_code or len(self.titles) < len(before.titles):
            return True
        same = self.exit_code == before.exit_code and len(self.titles) == len(before.titles)
        gain = (self.findings, self.distance) < (before.findings, before.distance)
        return not promised and same and self.findings <= before.findings and gain


def _read_outcome(document: Mapping[str, Any], exit_code: int) -> _Outcome:
    wrong = [each for each in document["findings"] if each["severity"] == "wrong"]
    titles = tuple(each["title"] for each in document["problems"] if each["level"] == "wrong")
    return _Outcome(exit_code, titles, len(wrong), sum(_measure_distance(each["measured"]) for each in wrong))


def _measure_distance(measured: Mapping[str, Any] | None) -> float:
    value = 1.0 if measured is None or measured["value"] is None else float(measured["value"])
    return min(abs(math.log(value)), _FARTHEST) if 0.0 < value < math.inf else _FARTHEST


def _write(
    rewriting: Rewriting, report: Report, words: Sequence[str], *, promised: bool, err: bool, quiet: bool
) -> int:
    """Write the files and check again; put them back if that finds the model no better. Return the exit code."""
    from initcheck.checking.rewrite import write_files

    before = _read_outcome(json.loads(report.to_json()), report.exit_code)
    names = _name(rewriting)
    try:
        write_files(rewriting.files)
        click.echo(f"wrote {names}{'' if quiet else '; checking again'}", err=True)
        after = _check_again(words)
    except BaseException:
        _put_back(rewriting.files)
        raise
    if isinstance(after, _Outcome) and after.is_better(before, promised=promised):
        click.echo("\n".join(["", *_describe_outcome(after)]), err=err)
        return after.exit_code
    _put_back(rewriting.files)
    why = f"the changed model cannot be checked: {after}" if isinstance(after, str) else "it is no better"
    lines = wrap(f"{names} is as it was: checked again, {why}.")
    click.echo("\n".join(["", *lines, *(_describe_outcome(after) if isinstance(after, _Outcome) else ())]), err=err)
    return 1


def _put_back(files: Sequence[ChangedFile]) -> None:
    from initcheck.checking.rewrite import put_back

    for each in put_back(files):
        click.echo(f"put back {each.shown}", err=True)


def _check_again(words: Sequence[str]) -> _Outcome | str:
    """Check a model in a fresh process, which knows nothing of the former code; return the error where that ends so."""
    # Without -P the working folder would come before the library itself.
    command = [sys.executable, "-P", "-c", _PROGRAM, "check", *words, "--no-fixes", "--json", "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", errors="replace", check=False)
    try:
        return _read_outcome(json.loads(done.stdout), done.returncode)
    except json.JSONDecodeError:
        lines = done.stderr.strip().splitlines() or [f"the process ended with {done.returncode}"]
        return lines[-1].removeprefix("initcheck: error: ").rstrip(".")


def _describe_outcome(outcome: _Outcome) -> Iterator[str]:
    """Say in a line what a check found, and name the problems."""
    if not outcome.titles:
        yield "Checked again: " + ("nothing left." if not outcome.exit_code else "not everything could be judged.")
        return
    yield f"Checked again: {count(len(outcome.titles), 'problem')} left:"
    for title in outcome.titles:
        yield from wrap(title, _INDENT)
