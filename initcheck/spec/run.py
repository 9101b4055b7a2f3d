"""The specification run in this process or in worker processes, isolated from the user's project.

pytest selects and runs the claims; it reads no configuration, no ``conftest.py``, no environment variable and no plugin
but the package's own, and writes nothing but the JUnit file that was asked for. What is shown is up to the caller.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import re
import sys
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import pytest

from initcheck.backend import runtime
from initcheck.core.errors import UsageError
from initcheck.core.formatting import Progress, no_progress
from initcheck.spec import plugin
from initcheck.spec.claim import Claim
from initcheck.spec.forecast import group_claims
from initcheck.spec.records import ClaimRecord, SpecificationRecord
from initcheck.spec.workers import judge_in_workers

_HERE: Final = Path(__file__).parent
_TESTS: Final[tuple[str, ...]] = ("initcheck.spec.test_catalogue", "test_catalogue")
"""What pytest calls the module of the tests: before 8.2 by its path below ``--rootdir``."""
_MARKS: Final = ("claim", "fast", "slow")
_FOREIGN: Final = ("PYTEST_ADDOPTS", "PYTEST_PLUGINS", "PYTEST_DISABLE_PLUGIN_AUTOLOAD")


@dataclass(frozen=True)
class Selection:
    """Which claims are run, and with what seed."""

    expression: str = ""
    """Of names, as pytest's ``-k`` takes it; empty for all."""
    marks: str = ""
    """An expression of marks, as pytest's ``-m`` takes it; empty for all."""
    seed: str = "0"

    def arguments(self) -> list[str]:
        """Give the arguments for pytest."""
        chosen = [("-k", self.expression), ("-m", self.marks)]
        return [word for option, value in chosen if value for word in (option, value)]


@dataclass(eq=False)  # by identity: pytest 8.0 keeps its plugins in a set
class _Collector:
    """A plugin that gathers what the command shows, in place of pytest's own terminal."""

    progress: Progress | None = None
    collected: list[Claim] = field(default_factory=list)
    left_out: int = 0
    records: list[ClaimRecord] = field(default_factory=list)
    wrong_expression: str = ""
    crashed: list[str] = field(default_factory=list)
    seed: int = 0
    judged: Mapping[str, ClaimRecord] | None = None
    """Where the claims were judged before, their records by id."""

    def pytest_configure(self, config: pytest.Config) -> None:
        if self.judged is not None:
            config.stash[plugin.JUDGED] = self.judged

    @pytest.hookimpl(wrapper=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> Generator[None]:
        self.seed = plugin.base_seed_of(config)
        listed = len(items)
        try:
            yield
        except pytest.UsageError as error:
            # Kept for the command's own error line: pytest would print it in its own way.
            self.wrong_expression = " ".join(str(error).split())
            items.clear()
        self.left_out = listed - len(items)
        for item in items:
            if isinstance(item, pytest.Function):
                claim = item.callspec.params["claim"]
                assert isinstance(claim, Claim)
                self.collected.append(claim)

    def _report(self, name: str) -> None:
        if self.progress is not None:
            self.progress(len(self.records), len(self.collected), name)

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._report(nodeid.partition("[")[2].removesuffix("]"))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        record = plugin.record_of(report)
        if record is not None:
            self.records.append(record)
            self._report(record.id)
        elif report.failed:
            self.crashed.append(report.longreprtext)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.crashed.append(report.longreprtext)

    def pytest_internalerror(self, excrepr: Any) -> None:
        self.crashed.append(str(excrepr))


def list_claims(selection: Selection) -> tuple[Claim, ...]:
    """List the claims of a selection; neither Keras nor its backend is imported."""
    collector = _Collector()
    _run(collector, selection, ["--collect-only"])
    return tuple(collector.collected)


def run_specification(
    selection: Selection,
    *,
    command_line: str,
    workers: int = 1,
    junit: Path | None = None,
    progress: Progress | None = None,
) -> SpecificationRecord:
    """Run the claims of a selection in this process, or in several workers; ``progress`` hears of each when it ends.

    In this process it hears of each claim before, too.
    """
    started, clock = datetime.datetime.now().astimezone(), time.perf_counter()
    to_junit = [] if junit is None else [f"--junit-xml={junit.absolute()}"]
    if workers == 1:
        # Fails here in one line, and not in each claim.
        runtime.import_keras()
        collector = _Collector(progress)
        _run(collector, selection, to_junit)
    else:
        collector = _Collector()
        _run(collector, selection, ["--collect-only"])
        judged = _judge_in_workers(collector.collected, collector.seed, workers, progress or no_progress)
        collector.records = [judged[claim.id] for claim in collector.collected]
        if to_junit:
            _run(_Collector(judged=judged), replace(selection, seed=str(collector.seed)), to_junit)
    return SpecificationRecord(
        claims=tuple(collector.records),
        left_out=collector.left_out,
        seed=collector.seed,
        command_line=command_line,
        started=started.isoformat(timespec="seconds"),
        duration_seconds=time.perf_counter() - clock,
        versions=runtime.versions(),
    )


def _judge_in_workers(claims: Sequence[Claim], seed: int, workers: int, progress: Progress) -> dict[str, ClaimRecord]:
    judged: dict[str, ClaimRecord] = {}

    def report(record: ClaimRecord) -> None:
        judged[record.id] = record
        progress(len(judged), len(claims), record.id)

    progress(0, len(claims), "starting")
    judge_in_workers(group_claims(claims), seed, workers, report)
    return judged


def _run(collector: _Collector, selection: Selection, arguments: list[str]) -> None:
    # Older versions of pytest take any word for a mark: "not sloow" would run everything.
    unknown = sorted({*re.findall(r"\w+", selection.marks)} - {"and", "or", "not", *_MARKS})
    if unknown:
        raise _wrong_expression(f"Unknown in -m: {', '.join(unknown)}")
    isolation = [f"--rootdir={_HERE}", "-c", str(_HERE / "pytest.ini"), "--noconftest", "--import-mode=importlib"]
    # Without pytest's terminal: the command shows progress and results itself. Plain assertions write no bytecode.
    isolation += ["-p", "no:terminal", "-p", "no:cacheprovider", "--assert=plain"]
    chosen = [*selection.arguments(), f"{plugin.OPTION}={selection.seed}"]
    with _own_environment():
        words = [*isolation, *chosen, *arguments, str(_HERE / "test_catalogue.py")]
        code = pytest.main(words, plugins=[plugin, collector])
    if code == pytest.ExitCode.INTERRUPTED and not collector.crashed:
        raise KeyboardInterrupt
    if collector.wrong_expression:
        raise _wrong_expression(collector.wrong_expression.rstrip("."))
    if collector.crashed or code in (pytest.ExitCode.INTERNAL_ERROR, pytest.ExitCode.USAGE_ERROR):
        raise RuntimeError("The specification could not be run.\n" + "\n".join(collector.crashed))
    if not collector.collected:
        raise UsageError(f"No claim is selected by {' '.join(selection.arguments())}. Try: initcheck spec --list")


def _wrong_expression(problem: str) -> UsageError:
    return UsageError(f"{problem}. Give words of ids (-k) or the marks fast and slow (-m), joined by and, or, not.")


@contextlib.contextmanager
def _own_environment() -> Iterator[None]:
    """Keep the user's settings of pytest, installed plugins, and the tests of an earlier run out of this one."""
    before = {name: os.environ.pop(name) for name in _FOREIGN if name in os.environ}
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    modules = {name: sys.modules.pop(name) for name in _TESTS if name in sys.modules}
    try:
        yield
    finally:
        for name in _TESTS:
            sys.modules.pop(name, None)
        sys.modules.update(modules)
        del os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"]
        os.environ.update(before)
