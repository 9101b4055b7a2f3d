"""The plugin of pytest that runs claims: the context, the seed, what is recorded, and what is told at the end.

Load it with ``-p initcheck.spec.plugin``. It works with pytest-xdist: a claim's record travels in its test's
report, and what is told at the end is told from the reports.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable
from typing import TYPE_CHECKING, Any, Final

import pytest

from initcheck.spec.catalogue import catalogue
from initcheck.spec.claim import Claim, Outcome, RunContext
from initcheck.spec.records import ClaimRecord, make_record, tell_counts

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter


OPTION: Final = "--initcheck-seed"
RECORD: Final = "initcheck_record"
"""The attribute of a test's report that holds the claim's record."""

_INPUT: Final = "initcheck_seed"
_RECORD_OF_ITEM: Final = pytest.StashKey[ClaimRecord]()
_RUN_CONTEXT: Final = pytest.StashKey[RunContext]()
_LETTERS: Final = {"holds": ".", "refuted": "r", "broken": "F", "now holds": "N", "inconclusive": "?"}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option for the seed."""
    parser.addoption(
        OPTION,
        default="0",
        metavar="SEED",
        help="seed of the specification: an integer (default 0), or 'random' for seeds that nobody has used before",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Settle the seed, and register the marker."""
    config.addinivalue_line("markers", 'slow: a claim that takes more than about two seconds; -m "not slow" leaves out')
    config.addinivalue_line("markers", "claim(id): the test of a claim of the specification")
    # A worker of pytest-xdist takes the number that was drawn where it was started.
    text = getattr(config, "workerinput", {}).get(_INPUT) or config.getoption(OPTION, default="0")
    if text == "random":
        text = str(int.from_bytes(os.urandom(4), "little"))
    config.option.initcheck_seed = text
    if not is_seed(text):
        raise pytest.UsageError(f"{OPTION} takes an integer from 0 to 9999999999, or 'random'. Received: {text!r}")


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Give the seed to a worker of pytest-xdist, which is passed the options as they were typed."""
    node.workerinput[_INPUT] = node.config.option.initcheck_seed


def is_seed(text: str) -> bool:
    """Whether a text is a seed that the specification takes."""
    return text.isascii() and text.isdigit() and len(text) <= 10


def base_seed_of(config: pytest.Config) -> int:
    """The number that all seeds of a run derive from."""
    return int(config.getoption(OPTION, default="0"))


def describe_seed(config: pytest.Config) -> str:
    """Say which seed a run had, and how to repeat it."""
    base = base_seed_of(config)
    return f"initcheck seed: {base} (repeat this run with {OPTION}={base})"


def pytest_report_header(config: pytest.Config) -> str:
    """Tell the seed."""
    return describe_seed(config)


@pytest.fixture(scope="session")
def context(request: pytest.FixtureRequest) -> RunContext:
    """The one context of the session: what a claim has measured, others need not."""
    return request.config.stash.setdefault(_RUN_CONTEXT, RunContext(base_seed_of(request.config)))


@pytest.fixture
def judge_claim(
    context: RunContext, request: pytest.FixtureRequest, record_property: Callable[[str, object], None]
) -> Callable[[Claim], Outcome]:
    """The function that puts a claim to the test and keeps what it found for the report."""

    def judge(claim: Claim) -> Outcome:
        outcome = context.judge(claim)
        record = make_record(outcome)
        request.node.stash[_RECORD_OF_ITEM] = record
        for name, value in _properties(record):
            record_property(name, value)
        return outcome

    return judge


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Give the claim's record to its report."""
    report = yield
    record = item.stash.get(_RECORD_OF_ITEM, None)
    if report.when == "call" and record is not None:
        setattr(report, RECORD, record.to_plain())
    return report


def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Free the memory of what a topic's claims have measured when the next topic begins."""
    topic = _topic_of(item)
    if topic and nextitem is not None and _topic_of(nextitem) != topic and _RUN_CONTEXT in item.config.stash:
        item.config.stash[_RUN_CONTEXT].forget()


def pytest_report_teststatus(report: pytest.TestReport) -> tuple[str, str, str] | None:
    """Show a claim's status in place of passed and failed."""
    record = record_of(report)
    if record is None:
        return None
    return report.outcome, _LETTERS[record.status], record.status.upper()


def pytest_terminal_summary(terminalreporter: TerminalReporter, config: pytest.Config) -> None:
    """Tell the statuses of the claims, and the reasons of those that did not come out as expected."""
    reports = [report for outcome in ("passed", "failed") for report in terminalreporter.stats.get(outcome, [])]
    records = [record for record in map(record_of, reports) if record is not None]
    if records:
        terminalreporter.section("specification")
        for line in closing_lines(records):
            terminalreporter.line(line)
        terminalreporter.line(describe_seed(config))  # once more: --quiet leaves the header out


def record_of(report: Any) -> ClaimRecord | None:
    """Give the record in a test's report; None for tests of other things, and for setting up and taking down."""
    plain = getattr(report, RECORD, None)
    return None if plain is None else ClaimRecord.from_plain(plain)


def closing_lines(records: Iterable[ClaimRecord]) -> list[str]:
    """Word what a run found: each claim that did not come out as expected with its reason, and the counts.

    Args:
        records: of the claims that were put to the test.

    Returns:
        The lines; the last one has the counts.
    """
    all_records = tuple(records)
    lines = [
        f"{status.upper()} {record.id}: {record.reason}"
        for status in ("broken", "now holds", "inconclusive")
        for record in all_records
        if record.status == status
    ]
    return [*lines, tell_counts(all_records)]


def _topic_of(item: pytest.Item) -> str:
    marker = item.get_closest_marker("claim")
    return "" if marker is None else str(marker.args[0]).partition(".")[0]


def _properties(record: ClaimRecord) -> list[tuple[str, object]]:
    """List what is kept in the JUnit file, as text: pytest-xdist cannot send NumPy's numbers from its workers."""
    evidence = record.evidence
    return [
        ("claim", record.id),
        ("status", record.status),
        ("verdict", str(evidence.verdict)),
        ("reason", record.reason),
        ("quantity", evidence.quantity),
        ("effect", str(float(evidence.effect))),
        ("interval", f"[{float(evidence.low)}, {float(evidence.high)}]"),
        ("confidence", str(float(evidence.confidence))),
        ("bounds", f"[{float(evidence.bounds[0])}, {float(evidence.bounds[1])}]"),
        ("n", f"{int(evidence.count)} {evidence.unit}"),
        ("p", str(float(evidence.p_value))),
        ("detectable", str(float(evidence.detectable))),
        ("power", str(float(evidence.power))),
        ("control", record.control_verdict or "not run"),
    ]


def claim_test(topic: str | None = None) -> Callable[..., None]:
    """Make the test of a topic's claims, one case a claim, named by its id. It needs the plugin of this package.

    Args:
        topic: a topic of the catalogue; None for all of them.

    Returns:
        The test function.

    Raises:
        UsageError: there is no such topic.
    """

    @pytest.mark.parametrize("claim", [_case(claim) for claim in catalogue(topic)])
    def test_claim(claim: Claim, judge_claim: Callable[[Claim], Outcome]) -> None:
        """Put the claim to the test."""
        outcome = judge_claim(claim)
        if not outcome.green:
            pytest.fail(f"{outcome.status}: {outcome.reason}", pytrace=False)

    return test_claim


def _case(claim: Claim) -> object:
    marks = [pytest.mark.claim(claim.id), *([pytest.mark.slow] if claim.slow else [])]
    return pytest.param(claim, id=claim.id, marks=marks)
