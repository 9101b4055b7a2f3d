"""IC301 and IC302: what is said of copies and of units that are alike."""

from __future__ import annotations

import numpy as np
import pytest
from keras_features import HAS_AXES
from model_measurement import find_by

from initcheck.audit.rules import RULES
from initcheck.backend.runtime import import_keras
from initcheck.probe import RedrawPlan
from initcheck.probe.weight_copies import CopyGroup, SymmetricUnits, WeightComparison, compare_weights
from initcheck.probe.weights import describe_weights


def find_identical(comparison):
    return find_by("IC301", comparison=comparison)


def find_symmetric(comparison):
    return find_by("IC302", comparison=comparison)


GROUP = CopyGroup("identical", ("a/kernel", "b/kernel"), (), 256, 1.0, (1.0, 1.0), "why", (True, True), ())
TWINS = SymmetricUnits("a", "Dense", ("a/kernel", "a/bias"), "Ones", "units", 8, 8, 8, "equal")


def say(**changes):
    group = CopyGroup(**{**GROUP.__dict__, **changes})
    (finding,) = find_identical(WeightComparison((group,), (), 9))
    return finding.message


def test_nothing_found_is_no_finding():
    empty = WeightComparison((), (), 9)
    assert find_identical(empty) == []
    assert find_symmetric(empty) == []


def test_messages_say_which_weights_and_how_much_of_them_and_why():
    assert say() == "a/kernel and b/kernel hold the same numbers: why"
    assert say(cause="") == "a/kernel and b/kernel hold the same numbers: the initializers do not explain why"
    assert say(same_shape=(True, False)) == "a/kernel and b/kernel hold the same numbers, read in another shape: why"
    assert say(relation="proportional", factors=(1.0, 0.5)) == (
        "a/kernel and b/kernel are multiples of each other (by 0.5): why"
    )
    assert say(relation="proportional", factors=(1.0, 0.5), attention=("query", "value")) == (
        "query = value / 0.5: the kernels of the model are multiples of each other: why"
    )
    assert say(relation="transposed") == "a/kernel and b/kernel are transposes of each other: why"
    assert say(relation="prefix", entries=1500, share=0.75, also=("c/kernel",)) == (
        "a/kernel and b/kernel (and 1 more) begin with the same 1,500 numbers, 75% of the largest: why"
    )
    many = tuple(f"layer_{number}/kernel" for number in range(40))
    assert "layer_5/kernel and 34 more hold" in say(members=many, factors=(1.0,) * 40, same_shape=(True,) * 40)


def test_findings_list_all_weights_and_the_worst_come_first():
    part = CopyGroup("prefix", ("c/kernel", "d/kernel"), ("e/kernel",), 16, 0.1, (1.0, 1.0), "", (True, True), ())
    three = CopyGroup("identical", ("x", "y", "z"), (), 16, 1.0, (1.0,) * 3, "", (True,) * 3, ())
    found = find_identical(WeightComparison((part, GROUP, three), (), 9))
    assert [finding.layers for finding in found] == [
        ("x", "y", "z"),
        ("a/kernel", "b/kernel"),
        ("c/kernel", "d/kernel", "e/kernel"),
    ]
    assert [finding.measured.value for finding in found if finding.measured] == [1.0, 1.0, 0.1]
    assert {finding.code for finding in found} == {"IC301"}


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (
            {},
            (
                "All 8 units of a have twins with equal incoming weights (drawn by Ones) and gradients that are equal "
                "within rounding: a step of gradient descent leaves 1 different unit"
            ),
        ),
        (
            {"gradients": "zero", "alike": 4, "largest": 2, "classes": 2},
            (
                "4 of 8 units of a have twins with equal incoming weights (drawn by Ones) and gradients of exactly "
                "zero, up to 2 of them the same: a step of gradient descent leaves 6 different units"
            ),
        ),
        (
            {"alike": 4, "largest": 2, "gradients": "unknown", "initializer": ""},
            "4 of 8 units of a have twins with equal incoming weights, up to 2 of them the same",
        ),
    ],
)
def test_symmetry_is_told_with_its_extent(changes, text):
    found = SymmetricUnits(**{**TWINS.__dict__, **changes})
    (finding,) = find_symmetric(WeightComparison((), (found,), 9))
    assert (finding.code, finding.layer, finding.message) == ("IC302", "a", text)


def test_a_seeded_attention_layer_is_reported_as_query_equal_key_equal_value():
    keras = import_keras()
    inputs = keras.Input((10, 32))
    seeded = keras.initializers.GlorotUniform(seed=1)
    attention = keras.layers.MultiHeadAttention(4, 8, value_dim=6, kernel_initializer=seeded, name="attention")
    model = keras.Model(inputs, attention(inputs, inputs))
    found = find_identical(compare_weights(model, describe_weights(model, RedrawPlan(model))))
    assert found[0].message.startswith("query = key: the kernels of attention hold the same numbers")


def test_the_output_of_a_seeded_attention_layer_is_reported_with_it():
    keras = import_keras()
    inputs = keras.Input((10, 32))
    seeded = keras.initializers.GlorotUniform(seed=1)
    attention = keras.layers.MultiHeadAttention(4, 8, kernel_initializer=seeded, name="attention")
    model = keras.Model(inputs, attention(inputs, inputs))
    (finding,) = find_identical(compare_weights(model, describe_weights(model, RedrawPlan(model))))
    output, relation = "output", "hold the same numbers"
    if not HAS_AXES:  # the fans of the output are not those of the others: the factor is sqrt((128 + 256) / (32 + 128))
        output, relation = "output / 1.549", "are multiples of each other"
    assert finding.message == (
        f"query = key = value = {output} (read in another shape): the kernels of attention {relation}: "
        "all drawn by GlorotUniform(seed=1)"
    )


def test_the_examples_of_the_rules_trigger_them():
    for code, judge in (("IC301", find_identical), ("IC302", find_symmetric)):
        names: dict[str, object] = {}
        exec(RULES[code].example, names)
        model = names["model"]
        x = np.random.default_rng(0).normal(size=(4, *model.input_shape[1:])).astype(np.float32)
        found = judge(compare_weights(model, describe_weights(model, RedrawPlan(model)), x))
        assert {finding.code for finding in found} == {code}


def test_a_large_healthy_model_of_keras_has_neither():
    keras = import_keras()
    model = keras.applications.MobileNetV3Small((64, 64, 3), weights=None, classes=10)
    comparison = compare_weights(model, describe_weights(model, RedrawPlan(model)), np.ones((2, 64, 64, 3), np.float32))
    assert comparison.compared > 50
    assert find_identical(comparison) == []
    assert find_symmetric(comparison) == []
