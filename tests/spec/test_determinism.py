"""The claims of seeds and configurations notice the defects that they are there to notice."""

import numpy as np
import pytest

from initcheck.backend.runtime import import_keras
from initcheck.spec.catalogue import catalogue
from initcheck.spec.claim import RunContext, Verdict, make_table
from initcheck.spec.decisions import AllWithin
from initcheck.spec.topics.determinism.measurement import (
    ALL,
    CLASSES,
    RANDOM,
    SHARE,
    closeness,
    differing,
    independence,
    planted,
)

CLAIMS = {claim.id: claim for claim in catalogue("determinism")}
SUBJECTS = {subject.slug: subject for subject in ALL}
WITHIN = AllWithin("Correlation")


def normal(seed, size=900):
    return np.random.default_rng(seed).standard_normal(size).astype(np.float32)


def test_every_initializer_has_its_claims():
    for subject in RANDOM:
        for name in ("seed_repeats", "seed_sensitivity", "seed_generator_varies", "unseeded_instances_differ"):
            assert f"determinism.{subject.slug}.{name}" in CLAIMS
    for subject in ALL:
        for name in ("config_round_trip", "clone", "arguments", "traced"):
            assert f"determinism.{subject.slug}.{name}" in CLAIMS
    for subject in CLASSES:
        assert {f"determinism.{subject.slug}.{name}" for name in ("aliases", "defaults")} <= CLAIMS.keys()


def test_independent_draws_pass_and_dependent_ones_do_not():
    values = [normal(seed) for seed in range(20)]
    assert WITHIN(make_table(independence("all", values))).verdict == Verdict.PASS
    assert WITHIN(make_table(independence("all", [*values, values[3]]))).verdict == Verdict.FAIL
    common = normal(99)
    slightly = [value + 0.2 * common for value in values]  # pairs correlate by .04, too little for any one of them
    largest, mean = independence("all", slightly)
    assert largest.deviation < largest.limit
    assert mean.deviation > mean.limit
    constant = np.ones(900, np.float32)
    assert WITHIN(make_table(independence("constant", [constant, constant]))).verdict == Verdict.FAIL


def test_equality_is_bit_for_bit_and_closeness_a_few_roundings():
    ones = np.ones(3, np.float32)
    assert differing(ones, ones) == 0
    assert differing(ones, np.nextafter(ones, np.float32(2))) == 3
    assert differing(0.0 * ones, -0.0 * ones) == 3
    assert differing(ones, ones[:2]) == np.inf
    assert closeness("it", ones * np.float32(1 + 2**-22), ones).deviation <= closeness("it", ones, ones).limit
    assert closeness("it", ones * np.float32(1.0001), ones).deviation > closeness("it", ones, ones).limit


@pytest.mark.parametrize(
    ("defect", "slug", "broken"),
    [
        ("seed ignored", "he_normal", "seed_repeats"),
        ("seed constant", "orthogonal", "seed_sensitivity"),
        ("seed cut to its lowest byte", "he_normal", "draws_differ"),
        ("sign of the seed dropped", "lecun_uniform", "draws_differ"),
        ("seed by default", "orthogonal", "draws_differ"),
        ("seed by default", "random_uniform", "unseeded_instances_differ"),
        ("configuration drops an argument", "truncated_normal", "config_round_trip"),
        ("default changed", "glorot_uniform", "defaults"),
        ("default changed", "zeros", "defaults"),
        ("argument ignored", "stft", "arguments"),
        ("sign of the seed dropped", "he_uniform", "far_seeds_differ"),
        ("seed taken for a place in one stream", "lecun_normal", "streams_are_no_shifts"),
        # Documented and false: fixed, the claim has to say so.
        ("configuration made complete", "identity", "config_round_trip"),
        ("configuration allowed to be empty", "constant", "aliases"),
    ],
)
def test_a_planted_defect_turns_the_claim_red(defect, slug, broken):
    claim = CLAIMS[f"determinism.{slug}.{broken}"]
    with planted(SUBJECTS[slug], defect):
        assert not RunContext(0).judge(claim, with_control=False).green
    assert RunContext(0).judge(claim, with_control=False).green


def test_equal_draws_are_named(monkeypatch):
    claim = CLAIMS["determinism.he_normal.draws_differ"]
    cls = import_keras().initializers.HeNormal
    call = cls.__call__

    def rows(self, shape, dtype=None):
        # All are equal: draws correlate by chance, and none is another one.
        drawn = call(self, shape, dtype)
        return drawn[:1] + 0.0 * drawn

    monkeypatch.setattr(cls, "__call__", rows)
    assert RunContext(0).judge(claim, with_control=False).status == "holds"
    monkeypatch.setattr(cls, "clone", lambda self: self)
    outcome = RunContext(0).judge(claim, with_control=False)
    assert outcome.status == "broken"
    assert "1 of 7 differ (clone of an instance without a seed)" in outcome.reason
    assert "instance and clone are equal" in outcome.reason


def test_an_alias_of_the_wrong_class_turns_the_claim_red(monkeypatch):
    initializers = import_keras().initializers
    get = initializers.get
    monkeypatch.setattr(initializers, "get", lambda given: get("he_normal" if given == "he_uniform" else given))
    found = RunContext(0).judge(CLAIMS["determinism.he_uniform.aliases"], with_control=False)
    assert found.status == "broken"
    assert "HeNormal" in found.reason


def test_a_claim_has_no_more_limits_on_chance_than_its_rate_of_false_alarms_counts():
    tried = [claim for claim in CLAIMS.values() if claim.statistical and isinstance(claim.decide, AllWithin)]
    for claim in tried:
        if claim.id.split(".")[1] in ("he_normal", "orthogonal", "set_random_seed", "one_seed_classes"):
            table = make_table(claim.experiment.measure(RunContext(0)))
            assert (table["limit"] > 0.0).sum() * SHARE <= claim.false_alarm * (1.0 + 1e-9), claim.id


def test_planting_leaves_the_class_as_it_was():
    cls = import_keras().initializers.Zeros
    before = dict(cls.__dict__)
    with planted(SUBJECTS["zeros"], "default changed"):
        assert dict(cls.__dict__) != before
    assert dict(cls.__dict__) == before
