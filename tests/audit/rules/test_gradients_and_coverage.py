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
                "layer": "",
                "shape": "(4, 4)",
                "gradient_norm": 0.0 if (zero[seed] if isinstance(zero, list) else zero) is True else 1.0,
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


def test_a_gradient_of_zero_in_every_draw_or_in_a_share_that_is_shown_is_found_and_in_few_is_a_note():
    zero = [True] * 12 + [False] * 4
    always, sometimes, once = ("a", True, True, True), ("b", True, True, zero), ("c", True, True, [True] + [False] * 15)
    wrong, note = find_gradients(make_weights(("d", True, True, False), always, sometimes, once, seeds=16))
    assert (wrong.code, wrong.layers, wrong.severity) == ("IC203", ("a", "b"), "wrong")
    assert (note.code, note.layers, note.severity) == ("IC203", ("c",), "note")
    (finding,) = find_gradients(make_weights(("d", True, True, False), sometimes, seeds=16))
    assert "in 12 of 16 draws [51%, 90%]" in finding.message


def test_an_unused_weight_is_not_told_a_second_time_as_one_of_zero_gradient():
    assert [f.code for f in find_gradients(make_weights(("a", True, False, True)))] == ["IC602"]


def test_gaps_are_one_finding_for_each_reason():
    findings = find_by("IC601", gaps=[("a", "loop"), ("b", "loop"), ("c", "never called")])
    assert [(finding.code, finding.layers) for finding in findings] == [("IC601", ("a", "b")), ("IC601", ("c",))]
    assert find_by("IC601") == []
