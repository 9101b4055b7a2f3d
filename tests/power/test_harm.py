"""What ``harm.py`` trains has the defect that it says, and how its numbers are compared; ``tox run -e harm`` trains."""

from __future__ import annotations

import json
import math

import harm
import harm_models
import numpy as np
import pytest
from harm_models import CASES, NOTHING, SOUND, Case, Network

import initcheck
from initcheck.audit.rules import RULES
from initcheck.backend.runtime import import_keras

keras = import_keras()


def check(network: Network):
    keras.utils.clear_session(free_memory=False)
    keras.utils.set_random_seed(1)
    inputs, labels = harm_models.load_samples(network.form)
    model = network.make()
    model.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    x = [each[:64] for each in inputs]
    return initcheck.check(model, x if len(x) > 1 else x[0], labels[:64], seeds=8, fixes=False)


@pytest.mark.power
@pytest.mark.parametrize("name", SOUND)
def test_a_sound_model_has_no_finding_that_is_wrong(name):
    assert check(SOUND[name]).exit_code == 0


PLANTED = [case for case in CASES if case.rule in RULES]


@pytest.mark.power
@pytest.mark.parametrize("case", PLANTED, ids=lambda case: case.name)
def test_the_planted_defect_is_what_the_rule_finds(case):
    assert case.rule in {finding.code for finding in check(case.sick).findings}


def test_each_rule_that_can_be_wrong_has_three_architectures_or_a_reason():
    planted = {code: {case.sound for case in PLANTED if case.rule == code} for code in RULES}
    assert {code for code, found in planted.items() if len(found) >= 3} == set(RULES) - set(harm.NOT_TRAINED)
    assert all(RULES[code].harm for code in set(RULES) - set(harm.NOT_TRAINED))


def trained(*losses: float) -> harm.Trained:
    return harm.Trained(0.1, losses, at_edge=False)


def compare(sick: harm.Trained, sound: harm.Trained, rule: str = "IC101") -> harm.Pair:
    return harm.Pair(Case(rule, "dense", "some", SOUND["dense"]), "SGD", sick, sound)


def test_the_interval_is_that_of_paired_logarithms():
    sound = trained(0.1, 0.2, 0.4, 0.8)
    ratio, low, high = compare(trained(0.2, 0.6, 0.8, 2.4), sound).ratio
    differences = np.log([2.0, 3.0, 2.0, 3.0])
    half = 3.182446 * differences.std(ddof=1) / 2.0  # Student's t with three degrees of freedom
    assert ratio == pytest.approx(math.sqrt(6.0))
    assert (low, high) == pytest.approx((math.sqrt(6.0) * math.exp(-half), math.sqrt(6.0) * math.exp(half)))


@pytest.mark.parametrize(
    ("factors", "verdict"),
    [
        ((2.0, 2.1, 1.9, 2.0), "higher"),
        ((1.0, 1.01, 0.99, 1.0), "none"),
        ((1.1, 1.11, 1.09, 1.1), "none"),  # shown to be higher, and by less than is of practical size
        ((0.5, 3.0, 0.7, 2.0), "undecided"),
        ((0.5, 0.51, 0.49, 0.5), "none"),
    ],
)
def test_a_verdict_follows_from_the_interval(factors, verdict):
    sound = trained(*4 * (0.3,))
    assert compare(trained(*(0.3 * factor for factor in factors)), sound).verdict == verdict


def test_a_run_that_leaves_the_finite_numbers_counts_as_chance_level_and_is_counted():
    lost = trained(math.inf, 0.1, math.inf)
    assert lost.counted.tolist() == [math.log(10), 0.1, math.log(10)]
    assert harm.format_loss(lost).endswith("(2 of 3 not finite)")
    assert compare(lost, trained(0.1, 0.1, 0.1)).ratio[0] > 1.0


def test_controls_hold_only_where_they_show_what_is_known():
    same, worse = trained(0.3, 0.31, 0.29), trained(2.3, 2.31, 2.29)
    assert harm.holds(compare(same, same, NOTHING)) and not harm.holds(compare(worse, same, NOTHING))
    assert harm.holds(compare(worse, same, "everything")) and not harm.holds(compare(same, same, "everything"))


def test_the_page_counts_the_comparisons():
    pairs = [compare(trained(2.3, 2.31, 2.29), trained(0.3, 0.31, 0.29)), compare(trained(2, 2, 2), trained(2, 2, 2))]
    page = "\n".join(harm.write_page(pairs, 100))
    assert "There are 2 comparisons" in page and "1 do" in page
    assert "| IC101 vanishing-activations | 2 | 1 | 1 | 0 | 2.15 | 1.15 |" in page


def test_what_was_kept_is_read_but_for_a_line_that_was_cut_off(tmp_path):
    path = tmp_path / "kept.jsonl"
    found = {"SGD": {"rate": 0.1, "losses": [0.5, math.inf], "at_edge": True}}
    line = json.dumps({"name": "dense", "steps": 100, "found": found})
    path.write_text(f"{line}\n{line[:40]}", encoding="utf-8")
    assert harm.read_kept(path, 100) == {"dense": {"SGD": harm.Trained(0.1, (0.5, math.inf), at_edge=True)}}
    assert harm.read_kept(path, 99) == {}
    assert path.read_text(encoding="utf-8") == f"{line}\n"


def test_one_seed_trains_to_one_loss_and_a_rate_of_zero_changes_nothing():
    trainer = harm.Trainer(SOUND["dense"], "Adam", 3)
    first, other = trainer.train(0, 1e-2), trainer.train(1, 1e-2)
    assert trainer.train(0, 1e-2) == first != other
    start = trainer.train(0, 0.0)
    model = trainer.model
    model.set_weights(trainer.weights[0])
    logits = np.asarray(model(trainer.x[0][: harm.EVALUATED]), np.float64)
    shifted = np.log(np.exp(logits - logits.max(1, keepdims=True)).sum(1)) + logits.max(1)
    expected = np.mean(shifted - logits[np.arange(harm.EVALUATED), trainer.y[: harm.EVALUATED]])
    assert start == pytest.approx(expected, rel=1e-5) and first < start
