"""The plugin of pytest that runs claims: the run context, the seed, what is recorded, and the summary at the end.

Load it with ``-p initcheck.spec.plugin``. It works with pytest-xdist: a claim's record travels in its test's report,
and the summary at the end is made from the reports.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

import pytest

from initcheck.core.formatting import count
from initcheck.spec.catalogue import catalogue, claims_not_there
from initcheck.spec.causes import CAUSES
from initcheck.spec.claim import Claim, RunContext
from initcheck.spec.order import list_amiss
from initcheck.spec.records import ClaimRecord, describe_counts, make_record
from initcheck.spec.versions import describe_setup

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter


OPTION: Final = "--initcheck-seed"
RECORD: Final = "initcheck_record"
"""The attribute of a test's report that holds the claim's record."""

_INPUT: Final = "initcheck_seed"
_RECORD_OF_ITEM: Final = pytest.StashKey[ClaimRecord]()
_RUN_CONTEXT: Final = pytest.StashKey[RunContext]()
JUDGED: Final = pytest.StashKey[Mapping[str, ClaimRecord]]()
"""Of the configuration: the records, by id, of claims that were judged before, elsewhere."""
STRICT_OPTION: Final = "--initcheck-strict-pinned"
_LETTERS: Final = {
    "holds": ".",
    "refuted": "r",
    "broken": "F",
    "now holds": "N",
    "not shown": "-",
    "inconclusive": "?",
    "changed": "c",
    "not there": "x",
}


def claim_test(topic: str | None = None) -> Callable[..., None]:
    """Make the test of a topic's claims (None: of all), one case a claim, named by its id; it needs this plugin."""
    cases = [
        pytest.param(
            claim,
            id=claim.id,
            marks=[
                pytest.mark.claim(claim.id),
                pytest.mark.slow if claim.slow else pytest.mark.fast,
                pytest.mark.xdist_group(claim.group),
            ],
        )
        for claim in (*catalogue(topic), *claims_not_there(topic))
    ]

    @pytest.mark.parametrize("claim", cases)
    def test_claim(claim: Claim, judge_claim: Callable[[Claim], ClaimRecord], pytestconfig: pytest.Config) -> None:
        """Measure and judge the claim."""
        record = judge_claim(claim)
        if not record.green or (record.status == "changed" and pytestconfig.getoption(STRICT_OPTION)):
            pytest.fail(f"{record.status}: {record.reason}", pytrace=False)

    return test_claim


def run_context_of(config: pytest.Config) -> RunContext:
    """Give the one run context of the session: what a claim has measured, others of its group need not."""
    if _RUN_CONTEXT not in config.stash:
        config.stash[_RUN_CONTEXT] = RunContext(base_seed_of(config))
    return config.stash[_RUN_CONTEXT]


def base_seed_of(config: pytest.Config) -> int:
    """The number that all seeds of a run derive from."""
    return int(config.getoption(OPTION, default="0"))


def describe_seed(config: pytest.Config) -> str:
    """Say which seed a run had, and how to repeat it."""
    base = base_seed_of(config)
    return f"initcheck seed: {base} (repeat this run with {OPTION}={base})"


def record_of(report: Any) -> ClaimRecord | None:
    """Give the record in a test's report; None for tests of other things, for setup and for teardown."""
    plain = getattr(report, RECORD, None)
    return None if plain is None else ClaimRecord.from_plain(plain)


def closing_lines(records: Iterable[ClaimRecord]) -> list[str]:
    """Name causes of what was refuted, what is not there, and what came out otherwise, causes first; last counts."""
    all_records = tuple(records)
    refuted = Counter(record.cause for record in all_records if record.status == "refuted")
    causes = [f"REFUTED {count(number, 'claim')}: {CAUSES[cause].title}." for cause, number in refuted.most_common()]
    amiss = [f"{record.status.upper()} {record.id}: {record.reason}" for record in list_amiss(all_records)]
    absent = Counter(describe_setup(each.keras, each.backends) for each in all_records if each.status == "not there")
    not_there = [f"NOT THERE {count(number, 'claim')}: about {setup}." for setup, number in absent.items()]
    return [*causes, *not_there, *amiss, describe_counts(all_records)]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option for the seed."""
    parser.addoption(
        OPTION,
        default="0",
        metavar="SEED",
        help="seed of the specification: an integer (default 0), or 'random' for seeds that nobody has used before",
    )
    parser.addoption(
        STRICT_OPTION,
        action="store_true",
        help="Let claims fail that are pinned to what an implementation happens to do, such as its stream of numbers.",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Decide on the seed, and register the markers."""
    config.addinivalue_line("markers", "fast: a claim of the fast part, which -m fast runs")
    config.addinivalue_line("markers", 'slow: a claim that -m fast and -m "not slow" leave out')
    config.addinivalue_line("markers", "xdist_group(name): what shares its measurements, for --dist loadgroup")
    config.addinivalue_line("markers", "claim(id): the test of a claim of the specification")
    # A worker of pytest-xdist takes the number that was drawn where it was started.
    text = getattr(config, "workerinput", {}).get(_INPUT) or config.getoption(OPTION, default="0")
    if text == "random":
        text = str(int.from_bytes(os.urandom(4), "little"))
    config.option.initcheck_seed = text
    if not (text.isascii() and text.isdigit() and len(text) <= 10):
        raise pytest.UsageError(f"{OPTION} takes an integer from 0 to 9999999999, or 'random'. Received: {text!r}")


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Give the seed to a worker of pytest-xdist, which is passed the options as they were typed."""
    node.workerinput[_INPUT] = node.config.option.initcheck_seed


def pytest_report_header(config: pytest.Config) -> str:
    """Show the seed."""
    return describe_seed(config)


@pytest.fixture
def judge_claim(
    request: pytest.FixtureRequest, record_property: Callable[[str, object], None]
) -> Callable[[Claim], ClaimRecord]:
    """The function that measures and judges a claim, and keeps the result for the report."""

    def judge(claim: Claim) -> ClaimRecord:
        judged = request.config.stash.get(JUDGED, {})
        record = judged.get(claim.id) or make_record(run_context_of(request.config).judge(claim))
        request.node.stash[_RECORD_OF_ITEM] = record
        for name, value in _properties(record):
            record_property(name, value)
        return record

    return judge


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Give the claim's record to its report."""
    report = yield
    record = item.stash.get(_RECORD_OF_ITEM, None)
    if report.when == "call" and record is not None:
        setattr(report, RECORD, record.to_plain())
        if JUDGED in item.config.stash:
            report.duration = record.seconds
    return report


def pytest_report_teststatus(report: pytest.TestReport) -> tuple[str, str, str] | None:
    """Show a claim's status in place of passed and failed."""
    record = record_of(report)
    if record is None:
        return None
    return report.outcome, _LETTERS[record.status], record.status.upper()


def pytest_terminal_summary(terminalreporter: TerminalReporter, config: pytest.Config) -> None:
    """Show how many claims have each status, and the reasons of those that did not come out as expected."""
    reports = [report for outcome in ("passed", "failed") for report in terminalreporter.stats.get(outcome, [])]
    records = [record for record in map(record_of, reports) if record is not None]
    if records:
        terminalreporter.section("specification")
        for line in closing_lines(records):
            terminalreporter.line(line)
        terminalreporter.line(describe_seed(config))  # once more: --quiet leaves the header out


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
