"""What caused a change: the library, the model, the batch, or more than one of them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from gate_baselines import CONDITIONS, VERSIONS, change_weight, make_baseline, rename, shift

from initcheck.checking.gate.baseline import Recipe
from initcheck.checking.gate.causes import (
    find_condition_changes,
    find_origin,
    find_version_changes,
    group_weight_changes,
)
from initcheck.checking.gate.comparison import compare
from initcheck.checking.gate.report import format_gate, format_verdict

KERNEL = "dense_2/kernel"
OLDER = {**VERSIONS, "keras": "3.14.1"}
OLD = make_baseline(versions=OLDER)
NEW = make_baseline()
OTHER_BATCH = replace(CONDITIONS, batch_digest="b" * 64)


def test_nothing_is_blamed_where_nothing_changed_but_the_versions_are_told():
    comparison = compare(OLD, NEW)
    assert find_origin(comparison) == "nothing"
    assert [(each.name, each.before, each.after) for each in find_version_changes(comparison)] == [
        ("keras", "3.14.1", "3.15.1")
    ]
    assert "keras 3.14.1 -> 3.15.1" in format_gate(comparison)


def test_other_fans_for_the_same_initializer_are_the_librarys_doing_under_another_version():
    now = shift(change_weight(NEW, KERNEL, fan_in=512.0, variance=2 / 512), KERNEL, -1.04)
    comparison = compare(OLD, now)
    assert find_origin(comparison) == "library"
    text = format_gate(comparison)
    assert "the library changed, not the model" in text
    assert "dense_2/kernel (kernel of Dense): fan_in 64 -> 512, expected variance 0.0312 -> 0.00391" in text


def test_other_fans_under_the_same_version_are_the_models_doing():
    comparison = compare(NEW, change_weight(NEW, KERNEL, fan_in=512.0, variance=2 / 512))
    assert find_origin(comparison) == "model"


def test_another_initializer_is_the_models_doing_even_under_another_version():
    comparison = compare(OLD, change_weight(NEW, KERNEL, initializer="RandomNormal"))
    assert find_origin(comparison) == "model"
    assert "the model changed, not the library" in format_verdict(comparison)


def test_another_default_is_the_librarys_doing():
    default = {"initializer": "GlorotUniform", "default_initializer": "GlorotUniform"}
    then = change_weight(OLD, KERNEL, **default)
    now = change_weight(NEW, KERNEL, initializer="HeNormal", default_initializer="HeNormal")
    assert find_origin(compare(then, now)) == "library"
    # Under the same version no default moves: then the user has written it out.
    assert find_origin(compare(change_weight(NEW, KERNEL, **default), now)) == "model"


def test_each_weight_is_told_by_whom():
    now = change_weight(change_weight(NEW, KERNEL, fan_in=512.0), "dense_1/kernel", initializer="Zeros")
    comparison = compare(OLD, now)
    assert {each.path: each.origin for each in group_weight_changes(comparison)} == {
        KERNEL: "library",
        "dense_1/kernel": "model",
    }
    assert find_origin(comparison) == "library or model"


@pytest.mark.parametrize(
    ("before", "conditions", "origin"),
    [
        (NEW, CONDITIONS, "model"),
        (OLD, CONDITIONS, "library"),
        (NEW, OTHER_BATCH, "data or model"),
        (OLD, OTHER_BATCH, "library or model"),
    ],
)
def test_a_signal_that_no_weight_explains_is_laid_on_what_else_has_moved(before, conditions, origin):
    after = shift(replace(NEW, conditions=conditions), "dense_2", 0.2, "forward")
    assert find_origin(compare(before, after)) == origin


def test_weights_do_not_know_the_batch():
    after = shift(replace(NEW, conditions=OTHER_BATCH), KERNEL, 0.2)
    assert find_origin(compare(NEW, after)) == "model"


def test_layers_that_come_and_go_are_the_models_doing_but_in_models_of_the_library():
    assert find_origin(compare(OLD, make_baseline(layers=5))) == "model"
    assert find_origin(compare(OLD, rename(NEW, "dense_1", "gate"))) == "model"
    recipe = Recipe(model="applications:VGG16")
    then, now = replace(OLD, recipe=recipe), make_baseline(layers=5, recipe=recipe)
    assert find_origin(compare(then, now)) == "library"
    assert find_origin(compare(replace(then, versions=VERSIONS), now)) == "model"


def test_what_differs_in_the_conditions_is_told():
    other = replace(CONDITIONS, batch="64 samples", loss="the compiled one", dtype_policy="mixed_float16")
    changes = find_condition_changes(compare(NEW, replace(NEW, conditions=other)))
    assert {each.what for each in changes} == {"batch", "loss", "dtype policy"}
    (digest,) = find_condition_changes(compare(NEW, replace(NEW, conditions=OTHER_BATCH)))
    assert (digest.what, digest.before) == ("values of the batch (SHA-256)", "aaaaaaaaaaaa...")
