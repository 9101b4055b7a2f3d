"""For which versions of Keras and which backends a claim is expected, with versions and backends that are planted."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from dataclasses import replace

import pytest
from fake_specification import make_claim

from initcheck.backend.runtime import BACKENDS, backend_name
from initcheck.spec import claim
from initcheck.spec.catalogue import _of_all_setups, catalogue, claims_not_there
from initcheck.spec.claim import Claim, RunContext
from initcheck.spec.plugin import closing_lines
from initcheck.spec.records import ClaimRecord, make_record
from initcheck.spec.versions import EVERY, KerasVersions, describe_setup, format_version

TRIED = ("3.12.0", "3.12.4", "3.13.2", "3.14.1", "3.15.0", "3.15.1", "3.16.0.dev2026102704", "3.16.0", "4.0.1")
SETUPS = tuple(itertools.product(TRIED, BACKENDS))


def judge(monkeypatch, keras: str, *claims: Claim) -> str:
    """Judge under a planted version the one of these claims that is about it, else the last."""
    monkeypatch.setattr(claim, "installed_keras", lambda: keras)
    return RunContext(0).judge(next((each for each in claims if keras in each.keras), claims[-1])).status


@pytest.mark.parametrize(
    ("versions", "inside", "outside"),
    [
        (EVERY, ("3.12.0", "3.16.0.dev2026102704", "not installed"), ()),
        (KerasVersions(since="3.15"), ("3.15.0", "3.15.1", "3.16.0.dev1", "10.0"), ("3.14.1", "3.9.2", "3.15.0.dev1")),
        (KerasVersions(until="3.13"), ("3.12.4", "3.9.2"), ("3.13.0", "3.16.0.dev2026102704")),
        (KerasVersions(since="3.15.1"), ("3.15.1",), ("3.15.0",)),
        (KerasVersions("3.13", "3.15"), ("3.13.0", "3.14.1"), ("3.12.4", "3.15.0")),
        # The nightly version of that day has it, and what is newer than all that is known goes by the newest.
        (
            KerasVersions(since="3.16.0.dev2026100704"),
            ("3.16.0.dev2026100704", "3.16.0", "3.17.0.dev2027010104", "not installed"),
            ("3.15.1", "3.16.0.dev2026100605"),
        ),
    ],
)
def test_versions_are_ordered_as_they_were_made(versions, inside, outside):
    assert all(each in versions for each in inside)
    assert not any(each in versions for each in outside)


def test_versions_are_written_for_readers():
    assert str(KerasVersions(since="3.15")) == "3.15 and newer"
    assert str(KerasVersions(until="3.13")) == "before 3.13"
    assert str(KerasVersions("3.13", "3.15")) == "3.13 and newer, before 3.15"
    assert format_version("3.16.0.dev2026100704") == "3.16 (nightly of 2026-10-07)"
    assert str(EVERY) == "all versions"


BEFORE, SINCE = KerasVersions(until="3.14"), KerasVersions(since="3.14")


def changed(value: float) -> tuple[Claim, Claim]:
    """A claim that was false before 3.14 and holds since; the value is what is measured."""
    return (
        make_claim("topic.subject.property", value, expected="refuted", keras=BEFORE),
        make_claim("topic.subject.property", value, keras=SINCE),
    )


@pytest.mark.parametrize(
    ("keras", "true", "false"),
    [
        ("3.12.4", "now holds", "refuted"),
        ("3.13.2", "now holds", "refuted"),
        ("3.14.0", "holds", "broken"),
        ("3.16.0.dev2026102704", "holds", "broken"),
        ("7.0", "holds", "broken"),
    ],
)
def test_what_one_version_is_expected_to_show_is_red_on_the_other_side_of_the_change(monkeypatch, keras, true, false):
    assert judge(monkeypatch, keras, *changed(1.0)) == true
    assert judge(monkeypatch, keras, *changed(0.0)) == false


def test_what_a_version_does_not_have_is_not_there_and_not_measured(monkeypatch):
    # Measured, it would raise.
    (made,) = (make_claim("topic.subject.property", float("inf"), keras=SINCE),)
    assert judge(monkeypatch, "3.14.1", made) == "broken"
    assert judge(monkeypatch, "3.13.2", made) == "not there"
    outcome = RunContext(0).judge(made)
    assert outcome.green
    here = BACKENDS[backend_name()]
    assert outcome.reason == f"It is about Keras 3.14 and newer; here is 3.13.2 on {here}."
    record = make_record(outcome)
    assert ClaimRecord.from_plain(record.to_plain()) == record
    of_backends = replace(record, backends=("jax", "torch"))
    assert ClaimRecord.from_plain(of_backends.to_plain()) == of_backends
    assert closing_lines([record])[0] == "NOT THERE 1 claim: about Keras 3.14 and newer."


def test_what_one_backend_is_expected_to_show_is_red_on_another(monkeypatch):
    def judge_on(backend: str, value: float, *named: str) -> str:
        monkeypatch.setattr(claim, "backend_name", lambda: backend)
        claims = (
            make_claim("topic.subject.property", value, expected="refuted", backends=("torch",)),
            make_claim("topic.subject.property", value, backends=("tensorflow", "jax")),
        )
        chosen = next(each for each in claims if each.is_about("3.15.1", named[0] if named else backend))
        return RunContext(0).judge(chosen).status

    assert (judge_on("torch", 0.0), judge_on("torch", 1.0)) == ("refuted", "now holds")
    assert (judge_on("jax", 0.0), judge_on("jax", 1.0)) == ("broken", "holds")
    assert judge_on("jax", 0.0, "torch") == "not there"


def test_for_whom_something_is_expected_is_said_in_words():
    since = KerasVersions(since="3.15")
    assert describe_setup(EVERY, ()) == ""
    assert describe_setup(since, ()) == "Keras 3.15 and newer"
    assert describe_setup(EVERY, ("torch",)) == "Keras on PyTorch"
    assert describe_setup(since, ("tensorflow", "jax")) == "Keras 3.15 and newer on TensorFlow and JAX"


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("keras", TRIED)
def test_every_claim_of_every_version_is_listed_once(keras, backend):
    here, others = catalogue(keras=keras, backend=backend), claims_not_there(keras=keras, backend=backend)
    ids = [each.id for each in (*here, *others)]
    assert len(set(ids)) == len(ids)
    assert set(ids) == {each.id for each in _of_all_setups(None)}
    assert all(each.is_about(keras, backend) for each in here)
    assert not any(each.is_about(keras, backend) for each in others)


def test_claims_of_one_id_are_about_different_versions_or_backends():
    by_id: dict[str, list[Claim]] = {}
    for each in _of_all_setups(None):
        by_id.setdefault(each.id, []).append(each)
    several = [own for own in by_id.values() if len(own) > 1]
    assert len(several) > 50
    for one, other in itertools.chain.from_iterable(itertools.combinations(own, 2) for own in several):
        assert not any(one.is_about(*setup) and other.is_about(*setup) for setup in SETUPS)


def test_what_is_refuted_has_a_cause_of_the_same_versions_and_backends():
    for each in _of_all_setups(None):
        if each.expected == "refuted":
            about = [(keras, backend) for keras, backend in SETUPS if each.is_about(keras, backend)]
            assert all(keras in each.cause.keras for keras, _ in about), each.id
            assert not each.cause.backends or {backend for _, backend in about} <= set(each.cause.backends), each.id


@pytest.mark.parametrize(
    ("before", "since", "claim_id", "expected"),
    [
        ("3.12.4", "3.13.0", "determinism.set_random_seed.build_repeats", ("refuted", "holds")),
        ("3.14.1", "3.15.0", "fans.multi_head_attention.query_kernel.he_normal", ("refuted", "holds")),
        ("3.14.1", "3.15.0", "fans.computation.axes", ("", "holds")),
        ("3.14.1", "3.15.0", "fans.einsum_dense.he_normal_as_counted", ("holds", "")),
        ("3.15.1", "3.16.0.dev2026100704", "determinism.identity.config_round_trip", ("refuted", "holds")),
        ("3.15.1", "3.16.0.dev2026101504", "determinism.constant.aliases", ("refuted", "holds")),
        ("3.15.1", "3.16.0.dev2026101504", "determinism.custom_names.given_by_name", ("holds", "refuted")),
        ("3.15.1", "3.16.0.dev2026080604", "layer_defaults.ternary_dense.kernel_initializer", ("", "holds")),
    ],
)
def test_what_changed_is_expected_from_the_version_that_changed_it(before, since, claim_id, expected):
    found = [
        next((each.expected for each in catalogue(keras=keras) if each.id == claim_id), "") for keras in (before, since)
    ]
    assert tuple(found) == expected


def test_the_fault_of_the_heads_was_none_of_fan_in_where_heads_are_summed():
    expected = {each.id: each.expected for each in catalogue("fans", keras="3.14.1")}
    assert expected["fans.multi_head_attention.output_kernel.he_normal"] == "holds"
    assert expected["fans.multi_head_attention.output_kernel.glorot_normal"] == "refuted"


def test_the_version_is_that_of_the_files_whatever_is_installed_by_name(tmp_path):
    """keras-nightly lies over keras, and the metadata of both are there; nothing is imported."""
    source = tmp_path / "keras" / "src"
    source.mkdir(parents=True)
    (tmp_path / "keras" / "__init__.py").write_text("raise SystemExit('it was imported')\n")
    (source / "version.py").write_text('# The version.\n__version__ = "3.16.0.dev2026102704"\n')
    code = "from initcheck.spec.versions import installed_keras; print(installed_keras())"
    path = os.pathsep.join(filter(None, (str(tmp_path), os.environ.get("PYTHONPATH"))))
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, check=False
    )
    assert done.stdout == "3.16.0.dev2026102704\n", done.stderr
