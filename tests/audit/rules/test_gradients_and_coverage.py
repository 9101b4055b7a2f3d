import pandas as pd
from model_measurement import find_by


def find_gradients(gradients):
    return find_by("IC602", "IC203", gradients=gradients)


def make_weights(*rows, seeds=3):
    """Rows of (weight, trainable, has_gradient, gradient_is_zero by seed)."""
    return pd.DataFrame(
        [
            {
                "seed": seed,
                "weight": name,
                "trainable": trainable,
                "has_gradient": reached,
                "gradient_is_zero": zero[seed] if isinstance(zero, list) else zero,
            }
            for seed in range(seeds)
            for name, trainable, reached, zero in rows
        ]
    ).astype({"gradient_is_zero": "boolean", "has_gradient": "boolean", "trainable": "boolean"})


def test_weights_with_gradients_give_nothing():
    assert find_gradients(make_weights(("a", True, True, False))) == []


def test_a_trainable_weight_without_a_path_is_unused_and_a_frozen_one_is_not():
    (finding,) = find_gradients(make_weights(("a", True, False, pd.NA), ("b", False, False, pd.NA)))
    assert (finding.code, finding.layers) == ("IC602", ("a",))


def test_a_gradient_of_zero_in_every_seed_is_found_and_in_some_is_not():
    (finding,) = find_gradients(make_weights(("a", True, True, True), ("b", True, True, [True, True, False])))
    assert (finding.code, finding.layers) == ("IC203", ("a",))


def test_an_unused_weight_is_not_told_a_second_time_as_one_of_zero_gradient():
    assert [f.code for f in find_gradients(make_weights(("a", True, False, True)))] == ["IC602"]


def test_gaps_are_one_finding_for_each_reason():
    findings = find_by("IC601", gaps=[("a", "loop"), ("b", "loop"), ("c", "never called")])
    assert [(finding.code, finding.layers) for finding in findings] == [("IC601", ("a", "b")), ("IC601", ("c",))]
    assert find_by("IC601") == []
