"""What the specification makes of a claim and its evidence."""

from __future__ import annotations

import pickle
from dataclasses import dataclass, replace

import pandas as pd
import pytest

from initcheck.core.errors import BackendError, UsageError
from initcheck.spec import causes, decisions
from initcheck.spec.catalogue import TOPICS, catalogue, find_claim
from initcheck.spec.claim import Claim, Evidence, RunContext, Verdict, settle
from initcheck.spec.decisions import AllWithin


@dataclass(frozen=True)
class Fixed:
    """An experiment that gives one number, or raises."""

    deviation: float
    error: type[Exception] | None = None

    def measure(self, context):
        if self.error is not None:
            raise self.error("no such\nthing")
        row = ("only", self.deviation, 0.0, 1)
        return pd.DataFrame([row], columns=["member", "deviation", "limit", "count"])


CLAIM = Claim(
    id="topic.subject.property",
    statement="It is so.",
    source="A document",
    condition="always",
    experiment=Fixed(0.0),
    decide=AllWithin("difference"),
    control=Fixed(1.0),
    control_note="where it is not so",
    cause=causes.NOTEBOOK,
)


def judge(**changes):
    return RunContext(0).judge(replace(CLAIM, **changes))


@pytest.mark.parametrize(
    ("expected", "experiment", "control", "status"),
    [
        ("holds", 0.0, 1.0, "holds"),
        ("holds", 1.0, 1.0, "broken"),
        ("holds", 0.0, 0.0, "not shown"),  # a control that passes
        ("holds", 1.0, 0.0, "broken"),
        ("refuted", 1.0, 1.0, "not shown"),
        ("refuted", 0.0, 1.0, "now holds"),
        ("refuted", 1.0, 0.0, "refuted"),
        ("refuted", 0.0, 0.0, "now holds"),
    ],
)
def test_a_claim_has_the_status_of_its_evidence(expected, experiment, control, status):
    outcome = judge(expected=expected, experiment=Fixed(experiment), control=Fixed(control))
    assert outcome.status == status
    assert outcome.green == (status in ("holds", "refuted"))
    assert outcome.reason.removeprefix("Known to be false, and now true: ").startswith(outcome.evidence.reason)
    assert ("control" in outcome.reason) == (control != (1.0 if expected == "holds" else 0.0))


def test_what_is_pinned_changes_and_breaks_nothing():
    outcome = judge(experiment=Fixed(1.0), pinned=True)
    assert (outcome.status, outcome.green) == ("changed", True)
    assert judge(pinned=True).status == "holds"


@pytest.mark.parametrize("expected", ["holds", "refuted"])
def test_what_was_not_measured_is_inconclusive_and_an_error_of_keras_broken_whatever_is_expected(expected):
    evidence = Evidence(Verdict.INCONCLUSIVE, "Not measured.", "difference", float("nan"))
    assert settle(replace(CLAIM, expected=expected), evidence, None)[0] == "inconclusive"
    outcome = judge(expected=expected, experiment=Fixed(0.0, RuntimeError))
    assert outcome.status == "broken"
    assert outcome.reason == "It could not be measured: RuntimeError: no such thing"


def test_a_missing_backend_is_not_the_claims_fault():
    with pytest.raises(BackendError):
        judge(experiment=Fixed(0.0, BackendError))


def test_ids_are_words_joined_by_dots():
    with pytest.raises(UsageError, match="words in lower case"):
        replace(CLAIM, id="Topic.Subject")


def test_a_context_keeps_what_was_measured_until_a_claim_of_another_group_is_judged():
    measured = []

    @dataclass(frozen=True)
    class Counted(Fixed):
        def measure(self, context):
            measured.append(self.deviation)
            return super().measure(context)

    context = RunContext(0)
    # The signal and its gradient are measured together.
    for subject in ("topic.one", "topic.one", "forward.one", "backward.two", "topic.one"):
        claim = replace(CLAIM, id=f"{subject}.property", experiment=Counted(0.0), control=Counted(1.0))
        assert context.judge(claim).status == "holds"
    assert measured == [0.0, 1.0] * 3


def test_seeds_depend_on_the_base_seed_and_the_label_alone():
    assert RunContext(1).seeds("weights", 5) == RunContext(1).seeds("weights", 5)
    assert len({*RunContext(1).seeds("weights", 50), *RunContext(2).seeds("weights", 50)}) == 100


@pytest.mark.parametrize("topic", TOPICS)
def test_every_topic_lists_claims_of_its_own(topic):
    claims = catalogue(topic)
    assert claims
    assert {claim.topic for claim in claims} == {topic}


def test_the_whole_specification_alarms_falsely_once_in_a_thousand_runs_at_most():
    assert sum(claim.false_alarm for claim in catalogue()) <= decisions.SPECIFICATION_FALSE_ALARM


def test_every_claim_can_be_sent_to_another_process():
    for claim in catalogue():
        # By their texts: some experiments hold NaN for what is not looked at, and NaN equals nothing.
        assert repr(pickle.loads(pickle.dumps(claim))) == repr(claim)
        assert isinstance(hash(claim.experiment), int)
        assert claim.experiment != claim.control


def test_an_unknown_claim_is_refused_with_its_near_matches():
    with pytest.raises(UsageError, match=r"distribution\.he_normal\.variance"):
        find_claim("distribution.he_normal.varianc")
