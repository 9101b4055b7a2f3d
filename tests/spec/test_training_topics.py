"""What the topics symmetry, training and notebook list, and what their experiments read; little is trained."""

from __future__ import annotations

import numpy as np
import pytest

from initcheck.spec.claim import RunContext, Verdict
from initcheck.spec.decisions import AllWithin
from initcheck.spec.topics import notebook, symmetry, training
from initcheck.spec.topics.notebook import FirstLoss
from initcheck.spec.topics.symmetry import CONSTANT, GLOROT, ROUNDING, ZEROS, Symmetry
from initcheck.spec.topics.training import CLASSES, INPUTS, Learner, Trained, make_task

CLAIMS = (*symmetry.claims(), *training.claims(), *notebook.claims())
LEARNER = Learner(GLOROT, depth=1, width=5)
EQUAL = AllWithin("asymmetry")


def trained(kernel, start=None, losses=(1.0,), accuracy=0.5):
    """Make a trained network of one hidden layer without training it."""
    head = np.ones((5, CLASSES))
    start = np.zeros_like(kernel) if start is None else start
    logits = np.zeros((3, CLASSES))
    return Trained([start, np.zeros(5), head], [kernel, np.zeros(5), head, head], [], logits, accuracy, list(losses))


def context_with(**by_label):
    """Make a run context that remembers these networks, so that none has to be trained."""
    context = RunContext()
    for label, networks in by_label.items():
        context.remember(("trained", LEARNER, label), lambda networks=networks: list(networks))
    return context


def judge_symmetry(kernel, start=None):
    context = context_with(symmetry=[trained(kernel, start)] * symmetry.SEEDS)
    return EQUAL(context.measure(Symmetry((LEARNER,), "asymmetry", limit=1e-5))).verdict


def test_equal_units_pass_and_one_that_differs_fails():
    equal = np.repeat(np.random.default_rng(0).normal(size=(4, 1)), 5, axis=1)
    assert judge_symmetry(equal) == Verdict.PASS
    other = equal.copy()
    other[2, 3] *= 1.001
    assert judge_symmetry(other) == Verdict.FAIL


@pytest.mark.parametrize(
    ("kernel", "start"),
    [(np.ones((4, 5)), np.ones((4, 5))), (np.ones((4, 5)), np.ones((4, 5)) - 1e-5), (np.full((4, 5), np.nan), None)],
    ids=["not moved", "hardly moved", "not numbers"],
)
def test_units_that_have_hardly_moved_or_are_no_numbers_show_nothing(kernel, start):
    assert judge_symmetry(kernel, start) == Verdict.INCONCLUSIVE


@pytest.mark.parametrize(
    ("value", "verdict"), [(0.0, Verdict.PASS), (1e-300, Verdict.FAIL), (np.nan, Verdict.INCONCLUSIVE)]
)
def test_zero_means_zero(value, verdict):
    networks = [trained(np.full((4, 5), value))] * symmetry.SEEDS
    context = context_with(symmetry=networks)
    assert EQUAL(context.measure(Symmetry((LEARNER,), "kernels", hidden_only=True))).verdict == verdict


def train(*arguments, **options):
    """Train networks as the claims about symmetry do; kernels and biases take turns in what they hold."""
    learner = Learner(*arguments, width=37, learning_rate=0.5, **{"epochs": 1, **options})
    return learner.train(RunContext(), "symmetry", symmetry.SEEDS)


def difference_between_units(weights):
    """The largest difference between two units' weights, over the largest weight."""
    return float(np.abs(weights - weights[..., :1]).max() / np.abs(weights).max())


@pytest.mark.parametrize("activation", ["relu", "tanh", "linear"])
def test_the_loss_reaches_a_network_of_zeros_and_trains_its_output_bias(activation):
    for network in train(ZEROS, activation):
        assert np.abs(network.gradients[-1]).max() > 0
        assert np.abs(network.final[-1] - network.initial[-1]).max() > 0


@pytest.mark.parametrize("activation", ["tanh", "linear"])
def test_one_zero_layer_under_a_random_head_does_learn(activation):
    """The bound of ``random_head_does_not_help``: it takes two hidden layers."""
    for network in train(ZEROS, activation, depth=1, head=GLOROT, epochs=0):
        assert np.abs(network.gradients[0]).max() > 0


def test_a_random_head_parts_the_units_of_the_last_hidden_layer_alone():
    for network in train(ZEROS, "sigmoid", depth=3, head=GLOROT, dtype="float64"):
        first, second, last = (difference_between_units(kernel) for kernel in network.final[:-2:2])
        assert max(first, second) <= ROUNDING < last


@pytest.mark.parametrize(
    ("initializer", "activation"),
    [(ZEROS, "sigmoid"), *((CONSTANT, each) for each in ("sigmoid", "relu", "tanh"))],
    ids=lambda value: getattr(value, "label", value),
)
def test_the_biases_of_equal_units_stay_equal_too(initializer, activation):
    for network in train(initializer, activation, dtype="float64"):
        for bias in network.final[1:-2:2]:
            assert np.abs(bias).max() > 0
            assert difference_between_units(bias) <= ROUNDING


def test_losses_are_compared_on_the_same_task():
    other = Learner(ZEROS, depth=1, width=5)
    context = context_with(training=[trained(np.ones((4, 5)), losses=(1.0 + seed,)) for seed in range(2)])
    context.remember(
        ("trained", other, "training"), lambda: [trained(np.ones((4, 5)), losses=(3.0 + seed,)) for seed in range(2)]
    )
    assert context.measure(FirstLoss(LEARNER, (("zeros", other),), count=2))["value"].tolist() == [2.0, 2.0]


def test_the_task_is_a_draw_of_its_seed():
    (x, y), (again, _), (other, _) = make_task(1), make_task(1), make_task(2)
    assert np.array_equal(x, again)
    assert not np.array_equal(x, other)
    assert x.shape == (2000, INPUTS)
    assert set(y.tolist()) == set(range(CLASSES))
    # Centres of variance 1 and clouds of variance 2.25, scaled to 1: relative deviation sqrt(2 / 640) of the centres'.
    assert np.mean(x.astype(np.float64) ** 2) == pytest.approx(1.0, abs=0.15)


def test_more_seeds_do_not_change_the_first():
    learner = Learner(GLOROT, depth=1, width=5, epochs=0)
    few, many = RunContext(3), RunContext(3)
    learner.train(few, "training", 1)
    grown, at_once = learner.train(few, "training", 2), learner.train(many, "training", 2)
    for one, two in zip(grown, at_once, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(one.gradients, two.gradients, strict=True))
    assert not np.array_equal(grown[0].gradients[0], grown[1].gradients[0])


def test_an_epoch_trains_in_the_type_that_is_asked_for():
    learner = Learner(GLOROT, depth=1, width=5, epochs=1, dtype="float64")
    (network,) = learner.train(RunContext(), "training", 1)
    assert {weight.dtype for weight in network.final} == {np.dtype(np.float64)}
    assert network.gradients[0].shape == (INPUTS, 5)
    # The mean over the epoch, starting from about ln 10: something was learned.
    assert len(network.losses) == 1
    assert network.losses[0] < np.log(CLASSES) + 0.5


def test_no_two_sentences_rest_on_one_experiment_and_one_decision():
    evidence = [(claim.experiment, claim.decide) for claim in CLAIMS]
    assert len(set(evidence)) == len(evidence)
