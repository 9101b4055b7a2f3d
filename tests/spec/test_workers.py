"""Claims judged in worker processes: the records are those of one process, and whatever goes wrong ends them all."""

from __future__ import annotations

import multiprocessing
from dataclasses import replace

import pytest
from fake_specification import CLAIMS, FakeFailure

from initcheck.core.errors import BackendError, EngineError
from initcheck.spec.catalogue import catalogue
from initcheck.spec.claim import RunContext
from initcheck.spec.forecast import group_claims
from initcheck.spec.records import make_record
from initcheck.spec.workers import judge_in_workers

GREEN = CLAIMS["first"][0]


def judge(claims, workers=2, seed=5):
    records = []
    judge_in_workers(group_claims(claims), seed, workers, records.append)
    return {record.id: write(record) for record in records}


def write(record):
    """Write all of a record, but for its seconds: NaN, which equals nothing, is written as others are."""
    return repr(replace(record, seconds=0.0))


def failing(subject, *, dies):
    return replace(GREEN, id=f"first.{subject}.fails", experiment=FakeFailure(dies))


def test_the_records_are_those_of_one_process_bit_for_bit():
    subjects = ("distribution.zeros.", "distribution.random_uniform.", "determinism.random_uniform.seed_")
    claims = [claim for claim in catalogue() if claim.id.startswith(subjects) and not claim.slow]
    # What is left out of the comparison is computed by BLAS, in this process with several threads.
    claims = [claim for claim in claims if "independence" not in claim.id]
    context = RunContext(5)
    alone = {claim.id: write(make_record(context.judge(claim))) for claim in claims}
    assert len({claim.group for claim in claims}) == 3
    assert judge(claims) == alone
    assert judge(claims, seed=6) != alone


def test_a_worker_that_dies_ends_the_run_and_the_claim_is_named():
    with pytest.raises(EngineError, match=r"while it judged first\.b\.fails \(exit code 7\)"):
        judge([replace(GREEN, id="first.a.holds"), failing("b", dies=True)])
    assert multiprocessing.active_children() == []


def test_a_missing_backend_is_said_as_in_one_process():
    with pytest.raises(BackendError, match=r"There is no backend\."):
        judge([failing("a", dies=False)])
    assert multiprocessing.active_children() == []


def test_an_interrupt_ends_the_workers():
    def interrupt(_):
        raise KeyboardInterrupt

    claims = [replace(GREEN, id=f"first.{subject}.holds") for subject in "abcd"]
    with pytest.raises(KeyboardInterrupt):
        judge_in_workers(group_claims(claims), 0, 2, interrupt)
    assert multiprocessing.active_children() == []
