"""What caused a change: the library, the model, the batch, or more than one of them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from gate_baselines import CONDITIONS, VERSIONS, change_weight, make_baseline, rename, shift

from initcheck.checking.gate.baseline import Recipe
from initcheck.checking.gate.causes import find_causes, find_condition_changes, find_origin, find_version_changes
from initcheck.checking.gate.comparison import compare
from initcheck.checking.gate.report import format_gate, format_verdict

KERNEL = "dense_2/kernel"
OLDER = {**VERSIONS, "keras": "3.14.1"}
OLD = make_baseline(versions=OLDER)
NEW = make_baseline()
OTHER_BATCH = replace(CONDITIONS, batch_digest="b" * 64)


MORE_FANS = change_weight(NEW, KERNEL, fan_in=512.0, variance=2 / 512)
DEFAULT = {"initializer": "GlorotUniform", "default_initializer": "GlorotUniform"}
OTHER_DEFAULT = change_weight(NEW, KERNEL, initializer="HeNormal", default_initializer="HeNormal")
OF_KERAS = Recipe(model="applications:VGG16")
MOVED = shift(NEW, "dense_2", 0.2, "forward")
MOVED_WITH_BATCH = shift(replace(NEW, conditions=OTHER_BATCH), "dense_2", 0.2, "forward")

ORIGINS = {
    "nothing changed": (OLD, NEW, "nothing"),
    "other fans for the same initializer, another version": (OLD, shift(MORE_FANS, KERNEL, -1.04), "library"),
    "other fans, the same version": (NEW, MORE_FANS, "model"),
    "another initializer, another version": (OLD, change_weight(NEW, KERNEL, initializer="RandomNormal"), "model"),
    "another default, another version": (change_weight(OLD, KERNEL, **DEFAULT), OTHER_DEFAULT, "library"),
    # No default moves: then the user has written it out.
    "another default, the same version": (change_weight(NEW, KERNEL, **DEFAULT), OTHER_DEFAULT, "model"),
    "a signal that no weight explains": (NEW, MOVED, "model"),
    "a signal, another version": (OLD, MOVED, "library"),
    "a signal, another batch": (NEW, MOVED_WITH_BATCH, "data or model"),
    "a signal, another version and batch": (OLD, MOVED_WITH_BATCH, "library or model"),
    # Weights do not know the batch.
    "a weight, another batch": (NEW, shift(replace(NEW, conditions=OTHER_BATCH), KERNEL, 0.2), "model"),
    "a layer more": (OLD, make_baseline(layers=5), "model"),
    "a layer renamed": (OLD, rename(NEW, "dense_1", "gate"), "model"),
    "a layer more in a model of Keras": (
        replace(OLD, recipe=OF_KERAS),
        make_baseline(layers=5, recipe=OF_KERAS),
        "library",
    ),
    "a layer more in a model of Keras, the same version": (
        replace(NEW, recipe=OF_KERAS),
        make_baseline(layers=5, recipe=OF_KERAS),
        "model",
    ),
}


@pytest.mark.parametrize(("before", "after", "origin"), ORIGINS.values(), ids=ORIGINS)
def test_a_change_has_its_origin(before, after, origin):
    assert find_origin(compare(before, after)) == origin


def test_another_backend_is_one_change():
    plain = make_baseline()
    others = {name: version for name, version in VERSIONS.items() if name != "tensorflow"}
    on_jax = replace(make_baseline(draw=1), versions={**others, "jax": "0.10.2", "jaxlib": "0.10.1"})
    comparison = compare(plain, on_jax)
    (change,) = find_version_changes(comparison)
    assert (change.name, change.before, change.after) == ("backend", "tensorflow 2.21.0", "jax 0.10.2, jaxlib 0.10.1")
    newer = replace(on_jax, versions={**on_jax.versions, "jax": "0.11.0"})
    (change,) = find_version_changes(compare(on_jax, newer))
    assert (change.name, change.before, change.after) == ("jax", "0.10.2", "0.11.0")


def test_versions_that_changed_nothing_are_named():
    comparison = compare(OLD, NEW)
    assert [(each.name, each.before, each.after) for each in find_version_changes(comparison)] == [
        ("keras", "3.14.1", "3.15.1")
    ]
    assert "keras 3.14.1 -> 3.15.1" in format_gate(comparison)


def test_the_text_names_the_origin_and_the_fans():
    text = format_gate(compare(OLD, shift(MORE_FANS, KERNEL, -1.04)))
    assert "the library changed, not the model" in text
    lines = " ".join(text.split())
    assert lines.startswith("Gate: changed by Keras: fan_in 64 -> 512 in kernel of dense_2; ")
    assert "kernel of dense_2; expected variance 0.03125 -> 0.00390625; cause: Keras" in lines
    comparison = compare(OLD, change_weight(NEW, KERNEL, initializer="RandomNormal"))
    assert format_verdict(comparison) == "changed: initializer HeNormal -> RandomNormal in kernel of dense_2"
    assert "the model changed, not the library" in format_gate(comparison)


def test_each_weight_has_an_origin_of_its_own():
    now = change_weight(change_weight(NEW, KERNEL, fan_in=512.0), "dense_1/kernel", initializer="Zeros")
    comparison = compare(OLD, now)
    assert {each.layers: each.origin for each in find_causes(comparison)} == {
        (KERNEL,): "library",
        ("dense_1/kernel",): "model",
    }
    assert find_origin(comparison) == "library or model"


def test_what_differs_in_the_conditions_is_named():
    other = replace(
        CONDITIONS, batch="64 samples", batch_digest="b" * 64, loss="the compiled one", dtype_policy="mixed_float16"
    )
    changes = find_condition_changes(compare(NEW, replace(NEW, conditions=other)))
    assert {each.what for each in changes} == {"batch", "loss", "dtype policy"}
    (digest,) = find_condition_changes(compare(NEW, replace(NEW, conditions=OTHER_BATCH)))
    assert (digest.what, digest.before) == ("values of the batch (SHA-256)", "aaaaaaaaaaaa...")
    renumbered = replace(CONDITIONS, batch="the range of embedding_7")  # the same values, by another name of a layer
    assert not find_condition_changes(compare(NEW, replace(NEW, conditions=renumbered)))
