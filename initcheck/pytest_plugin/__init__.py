"""The plugin of pytest: the fixture ``initcheck``, models without any test code, and the summary at the end.

pytest finds it by its entry point. Here stand options, hooks and fixtures only, and what they need is imported inside
them: every run of pytest pays for this file, and few of them measure anything.

It works with pytest-xdist: what was measured is sent in the reports of the tests, and summarized from the reports.
"""

from __future__ import annotations

import warnings
from collections.abc import Generator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter

    from initcheck.pytest_plugin.fixture import Initcheck

ROOT: Final = "initcheck"
"""Where the ids of the tests of models begin; no file has this name, since it has no suffix."""

FOLDER: Final = "initcheck-baselines"
"""The folder of baselines, beside the tests that compare with them."""

ATTRIBUTE: Final = "initcheck_records"
"""The attribute of a test's report that holds what was measured in it, as plain dictionaries."""

RECORDS_OF_ITEM: Final = pytest.StashKey[list[dict[str, Any]]]()
"""What a test has measured, and no report has taken yet."""

IDS: Final = pytest.StashKey[list[str]]()
"""The arguments of pytest that are ids of models, or of their tests."""

without_warnings: Final = partial(warnings.catch_warnings, action="ignore")
"""Around what is not the user's code: where a project turns warnings into errors, those of Keras are not the test's."""

_GATHERED: Final = pytest.StashKey["_Gatherer"]()
_MARKER: Final = "initcheck"
_READS_NUMBERS: Final = pytest.version_tuple >= (8, 4)
"""Whether pytest has settings that are numbers; before, they are read as text."""

_KINDS: Final[Mapping[str, str]] = {
    "initcheck_models": "a list of models",
    "initcheck_seeds": "a whole number",
    "initcheck_margin": "a number",
    "initcheck_strict": "true or false",
}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options and the settings."""
    group = parser.getgroup("initcheck", "initialization of Keras models")
    group.addoption(
        "--initcheck-model",
        action="append",
        default=[],
        dest="initcheck_model",
        metavar="MODEL",
        help="check this model too, without any test code: package.module:factory, path/file.py:factory, a .keras "
        "file, or applications:NAME; repeatable",
    )
    group.addoption(
        "--initcheck-update",
        action="store_true",
        dest="initcheck_update",
        help="write the baselines of the tests that run, in place of comparing with them; with --initcheck-model those "
        "of these models alone",
    )
    group.addoption(
        "--initcheck-strict",
        action="store_true",
        dest="initcheck_strict",
        help="fail the run for baselines that no test compares with, and for what is ignored or waived without need",
    )
    group.addoption(
        "--initcheck-report",
        dest="initcheck_report",
        metavar="DIR",
        help="write a page of all that was measured, DIR/index.html, the failures open",
    )
    parser.addini("initcheck_models", "models that are checked without any test code", type="linelist", default=[])
    whole, number = ("int", "float") if _READS_NUMBERS else ("string", "string")
    add: Any = parser.addini  # its types name the kinds of settings one by one
    add("initcheck_seeds", "draws of each model", type=whole, default=None)
    add("initcheck_margin", "share that a baseline allows to differ", type=number, default=None)
    add("initcheck_strict", "as --initcheck-strict", type="bool", default=False)


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker, and read the settings once, so that a wrong one is reported before anything runs."""
    config.addinivalue_line(
        "markers",
        "initcheck(seeds=None, margin=None, ...): settings of the fixture initcheck for a test: seeds, first_seed, "
        "weights, batch_size, input_shapes, select, ignore, waive, allow_inconclusive, fixes, prove, stop_early, "
        "limits, margin, auto_seeds",
    )
    config.stash[_GATHERED] = _Gatherer()
    config.pluginmanager.register(config.stash[_GATHERED], "initcheck-records")
    for name, kind in _KINDS.items():
        try:
            read_setting(config, name)
        except (TypeError, ValueError, pytest.UsageError) as error:
            # pytest words an error in several ways, each of which ends with the value.
            received = " ".join(str(error).split()).rpartition(": ")[2].removeprefix("invalid truth value ")
            raise pytest.UsageError(f"The setting {name} must be {kind}. Received: {received}.") from error
    seeds, margin = read_setting(config, "initcheck_seeds"), read_setting(config, "initcheck_margin")
    if seeds is None and margin is None:
        return
    from initcheck.checking.settings import CheckSettings, check_margin
    from initcheck.core.errors import UsageError

    try:
        CheckSettings(seeds=seeds)
        check_margin(1.0 if margin is None else margin)
    except UsageError as error:
        raise pytest.UsageError(f"The setting initcheck_{error}") from error


def read_setting(config: pytest.Config, name: str) -> Any:
    """Read a setting of pytest; None where it is a number and not set."""
    value = config.getini(name)
    if isinstance(value, str):
        return int(value) if _KINDS[name] == "a whole number" else float(value)
    return value


@pytest.hookimpl(tryfirst=True)
def pytest_collection(session: pytest.Session) -> None:
    """Take the ids of models out of the arguments: pytest would look for files of these names."""
    config = session.config
    config.stash[IDS] = [each for each in config.args if each.startswith(f"{ROOT}::")]
    config.args = [each for each in config.args if each not in config.stash[IDS]]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: list[pytest.Item]) -> None:
    """Add the tests of the models that were named; first, so that ``-k`` and pytest-xdist see them too."""
    if config.getoption("initcheck_model") or config.getini("initcheck_models") or config.stash.get(IDS, []):
        with without_warnings():
            from initcheck.pytest_plugin.collection import collect_models

            items.extend(collect_models(session))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Refuse a marker that says what nobody reads, whether the test uses the fixture or not."""
    if item.get_closest_marker(_MARKER) is None:
        return
    from initcheck.core.errors import UsageError
    from initcheck.pytest_plugin.settings import read_marker

    try:
        read_marker(item)
    except UsageError as error:
        raise pytest.fail.Exception(str(error), pytrace=False) from None


@pytest.fixture
def initcheck(request: pytest.FixtureRequest) -> Initcheck:
    """Measure how a Keras model starts: check, gate, assert_preserves, assert_independent_weights, assert_claim."""
    with without_warnings():
        from initcheck.pytest_plugin.fixture import Initcheck

    item = request.node
    assert isinstance(item, pytest.Item)
    return Initcheck(item)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Give what was measured to the report of the phase in which it was."""
    report = yield
    records = item.stash.get(RECORDS_OF_ITEM, None)
    if records:
        setattr(report, ATTRIBUTE, list(records))
        records.clear()
    return report


class _Gatherer:
    """Keeps what this process has collected and measured, or its workers.

    Attributes:
        records: what was measured.
        unfinished: the ids of tests that failed or were skipped.
        left_out: the files of which tests were not run, or not collected.
        surveys: what was collected, by process.
        closing: lines at the end of the table.
        warning: that the page of the job could not be written; empty else.
        failure: why the run fails though no test does; empty else.
    """

    def __init__(self) -> None:
        self.records: list[Mapping[str, Any]] = []
        self.unfinished: set[str] = set()
        self.left_out: set[str] = set()
        self.surveys: list[Mapping[str, Any]] = []
        self.closing: list[str] = []
        self.warning = ""
        self.failure = ""

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Take note of a file that could not be collected."""
        if report.failed:
            self.left_out.add(report.nodeid.partition("::")[0])

    def pytest_deselected(self, items: Sequence[pytest.Item]) -> None:
        """Take note of files of which not all tests run."""
        self.left_out.update(item.nodeid.partition("::")[0] for item in items)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take what a report brought along."""
        self.records.extend(getattr(report, ATTRIBUTE, ()))
        if not report.passed:
            self.unfinished.add(report.nodeid)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Take what a worker of pytest-xdist has collected."""
        survey = getattr(node, "workeroutput", {}).get(ROOT)
        if survey:
            self.surveys.append(survey)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> Generator[None, object, object]:
    """Conclude; a worker of pytest-xdist, which knows a part of the tests only, hands on what it has collected.

    Around all others, so that the last line stands below pytest's own.
    """
    config = session.config
    gathered = config.stash[_GATHERED]
    with without_warnings():
        _conclude(session, gathered)
    result = yield
    terminal = config.pluginmanager.get_plugin("terminalreporter")
    if gathered.failure and terminal is not None:
        terminal.write_line(gathered.failure, red=True)
    return result


def _conclude(session: pytest.Session, gathered: _Gatherer) -> None:
    from initcheck.pytest_plugin.unused import survey_items

    config = session.config
    # A controller of pytest-xdist collects nothing by itself.
    survey = survey_items(session, gathered.left_out) if getattr(session, "items", None) else None
    output = getattr(config, "workeroutput", None)
    if output is not None:
        output[ROOT] = survey
        return
    gathered.surveys += [] if survey is None else [survey]
    complete = not (session.shouldstop or session.shouldfail) and session.exitstatus in (0, 1)
    report = "" if config.getoption("collectonly") else config.getoption("initcheck_report")
    if not gathered.records and not report and not any(each["items"] for each in gathered.surveys):
        return
    from initcheck.pytest_plugin.summary import add_suite_properties, append_job_summary, describe_unused

    if complete:
        gathered.closing = describe_unused(config, gathered.surveys, gathered.records, gathered.unfinished)
    if gathered.records:
        add_suite_properties(config, gathered.records)
        gathered.warning = append_job_summary(gathered.records)
    if gathered.closing and (config.getoption("initcheck_strict") or config.getini("initcheck_strict")):
        count = len(gathered.closing)
        gathered.failure = f"initcheck: the run fails (--initcheck-strict): no test needs {count} of the above."
    if report:
        from initcheck.core.errors import OutputError
        from initcheck.pytest_plugin.page import write_page

        try:
            write_page(config.invocation_params.dir / report, gathered.records, gathered.closing)
        except OutputError as error:
            gathered.failure = f"initcheck: {error}"
    if gathered.failure and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: TerminalReporter, config: pytest.Config) -> None:
    """Write what was measured."""
    gathered = config.stash[_GATHERED]
    if not gathered.records and not gathered.closing:
        return
    from initcheck.pytest_plugin.summary import closing_lines

    terminalreporter.section("initcheck")
    for line in closing_lines(gathered.records) if gathered.records else ():
        terminalreporter.line(line)
    for line in gathered.closing:
        terminalreporter.line(line, yellow=True)
    if gathered.warning:
        terminalreporter.line(gathered.warning, yellow=True)
