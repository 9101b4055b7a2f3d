"""The plugin of pytest: the fixture ``initcheck``, models without any test code, and the summary at the end.

pytest finds it by its entry point. Here stand options, hooks and fixtures only, and what they need is imported inside
them: every run of pytest pays for this file, and few of them measure anything.

It works with pytest-xdist: what was measured is sent in the reports of the tests, and summarized from the reports.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter

    from initcheck.pytest_plugin.fixture import Initcheck

ATTRIBUTE: Final = "initcheck_records"
"""The attribute of a test's report that holds what was measured in it, as plain dictionaries."""

RECORDS_OF_ITEM: Final = pytest.StashKey[list[dict[str, Any]]]()
"""What a test has measured, and no report has taken yet."""

_RECORDS: Final = pytest.StashKey[Sequence[Mapping[str, Any]]]()
_WARNING: Final = pytest.StashKey[str]()
_MARKER: Final = "initcheck"
_READS_NUMBERS: Final = pytest.version_tuple >= (8, 4)
"""Whether pytest has settings that are numbers; before, they are read as text."""

_NUMBERS: Final[Mapping[str, tuple[type[int] | type[float], str]]] = {
    "initcheck_seeds": (int, "a whole number"),
    "initcheck_margin": (float, "a number"),
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
        help="write the baselines of the tests that run, in place of comparing with them",
    )
    parser.addini("initcheck_models", "models that are checked without any test code", type="linelist", default=[])
    whole, number = ("int", "float") if _READS_NUMBERS else ("string", "string")
    add: Any = parser.addini  # its types name the kinds of settings one by one
    add("initcheck_seeds", "draws of each model", type=whole, default=None)
    add("initcheck_margin", "share that a baseline allows to differ", type=number, default=None)


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker, and read the settings once, so that a wrong one is reported before anything runs."""
    config.addinivalue_line(
        "markers",
        "initcheck(seeds=None, margin=None, ...): settings of the fixture initcheck for a test: seeds, first_seed, "
        "weights, batch_size, input_shapes, select, ignore, waive, allow_inconclusive, fixes, prove, stop_early, "
        "limits, margin, auto_seeds",
    )
    records: list[Mapping[str, Any]] = []
    config.stash[_RECORDS] = records
    config.pluginmanager.register(_Gatherer(records), "initcheck-records")
    for name, (_, kind) in _NUMBERS.items():
        try:
            read_number(config, name)
        except (TypeError, ValueError, pytest.UsageError) as error:
            reason = " ".join(str(error).split())
            raise pytest.UsageError(f"The setting {name} must be {kind}. Received: {reason}.") from error


def read_number(config: pytest.Config, name: str) -> float | None:
    """Read a setting that is a number; None where it is not set."""
    value = config.getini(name)
    return _NUMBERS[name][0](value) if isinstance(value, str) else value


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: list[pytest.Item]) -> None:
    """Add the tests of the models that were named; first, so that ``-k`` and pytest-xdist see them too."""
    if config.getoption("initcheck_model") or config.getini("initcheck_models"):
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
    """Keeps what the reports of this process, or of its workers, bring along."""

    def __init__(self, records: list[Mapping[str, Any]]) -> None:
        self._records = records

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take what a report brought along."""
        self._records.extend(getattr(report, ATTRIBUTE, ()))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the summary of the job; not in a worker of pytest-xdist, which knows a part of the tests only."""
    config = session.config
    records = config.stash[_RECORDS]
    if hasattr(config, "workerinput") or not records:
        return
    from initcheck.pytest_plugin.summary import append_job_summary

    config.stash[_WARNING] = append_job_summary(records)


def pytest_terminal_summary(terminalreporter: TerminalReporter, config: pytest.Config) -> None:
    """Write what was measured."""
    records = config.stash[_RECORDS]
    if not records:
        return
    from initcheck.pytest_plugin.summary import closing_lines

    terminalreporter.section("initcheck")
    for line in closing_lines(records):
        terminalreporter.line(line)
    warning = config.stash.get(_WARNING, "")
    if warning:
        terminalreporter.line(warning, yellow=True)
