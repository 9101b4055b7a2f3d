"""Which edits are taken: what brings something new is none, and what writes two values into one call comes last."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from initcheck import check
from initcheck.checking import fixes

layers = keras.layers


def build_towers():
    def tower(x, name):
        for k in range(3):
            small = keras.initializers.RandomNormal(stddev=0.01)
            x = layers.Dense(40, "relu" if k < 2 else None, kernel_initializer=small, name=f"{name}{k}")(x)
        return x

    left, right = keras.Input((40,)), keras.Input((30,))
    score = layers.Dot(1, name="score")([tower(left, "left"), tower(right, "right")])
    return keras.Model([left, right], layers.Activation("sigmoid", name="click")(score))


def saturated_share(initializer):
    """Measure the share of clicks within 1% of 0 or 1, by Keras alone, with all kernels from one initializer."""
    x = [np.random.default_rng(0).standard_normal((64, size)).astype("float32") for size in (40, 30)]
    shares = []
    for seed in range(6):
        keras.utils.set_random_seed(seed)
        model = build_towers()
        for layer in model.layers:
            if isinstance(layer, layers.Dense):
                layer.kernel.assign(keras.initializers.get(initializer)(layer.kernel.shape))
        clicks = keras.ops.convert_to_numpy(model(x))
        shares.append(np.mean((clicks < 0.01) | (clicks > 0.99)))
    return float(np.mean(shares))


def test_a_change_that_saturates_what_was_not_is_not_taken():
    assert saturated_share("he_normal") > 0.5  # it would mend the signal, and so shut the output
    report = check(build_towers, seeds=6)
    problems = [each for each in report.result.problems if each.level == "wrong"]
    assert problems and all(each.fix is not None and each.fix.cures for each in problems)
    for each in problems:
        assert each.main.tried > 1 or each is not problems[0]
        assert each.fix.change != 'kernel_initializer="he_normal" in 6 layers (left0 to right2)'
        assert not {"IC304", "IC105"} & set(each.codes)


def test_one_value_for_one_call_is_tried_before_two(monkeypatch):
    candidates = []

    def collect(self, problem):
        candidates.append(list(self._candidates.list_for(problem)))
        return None, 0

    monkeypatch.setattr(fixes.FixSearch, "_find", collect)
    check(build_towers, seeds=4)
    for listed in candidates:
        by_hand = [
            len({(each.site, each.new) for each in edits}) > len({each.site for each in edits}) for edits in listed
        ]
        assert any(by_hand) and by_hand == sorted(by_hand)
    # Most of a tower's layers feed a ReLU: what these need is tried first, for all that the call makes.
    assert [(each.new, len(candidates[0][0])) for each in candidates[0][0]] == [('"he_normal"', 6)] * 6


def build_overflow():
    """Large inputs become infinite, and behind that a kernel is too small, which shows only once they do not."""
    x = inputs = keras.Input((24,))
    x = keras.ops.exp(layers.Dense(24, name="one")(x))
    x = layers.Dense(24, kernel_initializer=keras.initializers.RandomNormal(stddev=1e-4), name="late")(x)
    x = layers.Dense(24, name="later")(x)
    return keras.Model(inputs, layers.Dense(2, name="head")(x))


def test_what_infinities_hid_is_said_as_what_is_left_and_not_taken_for_new():
    x = np.random.default_rng(3).uniform(0.0, 255.0, (32, 24)).astype("float32")
    (problem,) = (each for each in check(build_overflow, x, seeds=4).result.problems if each.level == "wrong")
    assert "IC501" in problem.codes and problem.cause.kind == "inputs"
    assert not np.isfinite(keras.ops.convert_to_numpy(build_overflow()(x))).all()
    assert np.isfinite(keras.ops.convert_to_numpy(build_overflow()(x / 255.0))).all()
    assert problem.fix is not None and not problem.fix.cures
    assert problem.fix.change.startswith("keras.layers.Rescaling(1 / 255)")
    assert any("the signal falls to 1/" in each and "late" in each for each in problem.fix.left)


@pytest.mark.parametrize(("before", "after", "helps"), [(1e-4, 0.2, True), (1e-4, 3e-3, False), (0.0, 0.5, True)])
def test_a_change_helps_where_what_is_left_is_half_as_far(before, after, helps):
    def measured(value):
        return fixes.Measured(fixes.RATE, value, value, value, 1.0, 6)

    assert fixes._Effect(measured(before), measured(after)).helps is helps


def build_small_copies():
    x = inputs = keras.Input((32,))
    for k in range(4):
        small = keras.initializers.RandomNormal(stddev=0.02, seed=3)
        x = layers.Dense(32, "relu", kernel_initializer=small, name=f"copy{k}")(x)
    return keras.Model(inputs, layers.Dense(2, name="head")(x))


def test_one_edit_that_cures_two_problems_is_given_to_both():
    """Alone, copies would get their own initializer without its seed: another value for the same argument."""
    problems = [each for each in check(build_small_copies, seeds=6).result.problems if each.level == "wrong"]
    assert {each.cause.kind for each in problems} == {"spread", "copied"}
    assert [each.fix.change for each in problems] == ['kernel_initializer="he_normal" in 4 layers (copy0 to copy3)'] * 2
    alone = check(build_small_copies, seeds=6, select=("IC301",)).result.problems[0].fix
    assert "RandomNormal(stddev=0.02)" in alone.change
