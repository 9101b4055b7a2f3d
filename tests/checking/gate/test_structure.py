"""What is not random of two baselines: which layers belong together, what differs, and what only follows."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from gate_baselines import VERSIONS, change_layer, change_weight, make_baseline, make_chain, shift

from initcheck.audit.findings import LayerFacts
from initcheck.checking.gate.causes import find_causes, find_origin
from initcheck.checking.gate.comparison import compare
from initcheck.checking.gate.report import describe_conditions, format_gate, format_verdict
from initcheck.checking.gate.structure import Matching

PLAIN = make_baseline()


def sentences(before, after):
    return [each.sentence for each in find_causes(compare(before, after))]


# --- layers that came and went ----------------------------------------------------------------------------------------

BLOCKS = ["Dense relu 64", "LayerNormalization", "Dropout"] * 3 + ["Dense linear 10"]


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (
            [each for each in BLOCKS if each != "LayerNormalization"],
            ["3 LayerNormalization layers were removed (layer_normalization*)"],
        ),
        (BLOCKS[:3] + BLOCKS, ["3 layers were added ("]),
        ([*BLOCKS[:-1], "ReLU", BLOCKS[-1]], ["re_lu (ReLU) was added"]),
        (BLOCKS[3:], ["3 layers were removed ("]),
        (
            ["BatchNormalization" if each == "LayerNormalization" else each for each in BLOCKS],
            ["LayerNormalization -> BatchNormalization: all 3 BatchNormalization layers"],
        ),
        (
            ["Dense relu 80" if each == "Dense relu 64" else each for each in BLOCKS],
            ["units 64 -> 80 in all hidden Dense"],
        ),
        (
            ["Dense gelu 64" if each == "Dense relu 64" else each for each in BLOCKS],
            ["activation relu -> gelu in all hidden"],
        ),
        # Two at once: neither hides the other.
        (
            ["Dense gelu 64" if each == "Dense relu 64" else each for each in BLOCKS if each != "Dropout"],
            ["3 Dropout layers were removed", "activation relu -> gelu in all hidden Dense layers"],
        ),
    ],
)
def test_what_was_done_is_said_and_nothing_else(now, expected):
    found = sentences(make_chain(BLOCKS), make_chain(now))
    assert len(found) == len(expected), found
    assert all(one.startswith(other) for one, other in zip(found, expected, strict=True)), found


@pytest.mark.parametrize("trial", range(40))
def test_layers_that_are_taken_out_anywhere_are_the_only_ones_that_are_removed(trial):
    rng = random.Random(trial)
    layers = [f"Dense relu {rng.choice((8, 16, 32))}" if rng.random() < 0.6 else "Dropout" for _ in range(12)]
    gone = set(rng.sample(range(12), rng.randint(1, 4)))
    comparison = compare(make_chain(layers), make_chain([each for n, each in enumerate(layers) if n not in gone]))
    assert {each.action for each in comparison.structure} == {"removed"}
    assert len(comparison.structure) == len(gone)
    assert not comparison.layers  # what is left has the settings, the order and the inputs that it had
    back = compare(make_chain([each for n, each in enumerate(layers) if n not in gone]), make_chain(layers))
    assert {each.action for each in back.structure} == {"added"} and len(back.structure) == len(gone)


def test_arithmetic_that_a_setting_brings_comes_after_it():
    before = make_chain(["Embedding", "Dense relu 64"])
    after = change_layer(make_chain(["Embedding", "NotEqual", "Dense relu 64"]), "embedding", mask_zero=True)
    operation = replace(after.layers["not_equal"], config={"y": 0})
    found = sentences(before, replace(after, layers={**after.layers, "not_equal": operation}))
    assert found == ["mask_zero none -> True in embedding (Embedding)", "not_equal (NotEqual) was added"]


def test_metrics_of_layers_that_bear_another_number_now_are_not_compared():
    before, after = make_chain(BLOCKS), make_chain(BLOCKS[3:])
    compared = {each.path for each in compare(before, after).differences}
    # Nothing says which of three alike was taken out: the last Dense has another number, and other draws.
    assert "dense_3" not in compared
    assert "dense" in compared


# --- settings ---------------------------------------------------------------------------------------------------------


def test_a_width_is_the_cause_and_shapes_and_fans_are_not():
    after = change_layer(PLAIN, "dense_1", units=80)
    after = change_weight(after, "dense_1/kernel", shape=(64, 80), fan_out=80.0)
    after = change_weight(after, "dense_2/kernel", shape=(80, 64), fan_in=80.0, variance=2 / 80)
    assert sentences(PLAIN, after) == ["units 64 -> 80 in dense_1 (Dense)"]


def test_without_a_setting_shapes_and_fans_are_the_cause():
    assert sentences(PLAIN, change_weight(PLAIN, "dense_1/kernel", shape=(64, 80))) == [
        "shape (64, 64) -> (64, 80) in kernel of dense_1"
    ]


def test_settings_that_a_new_keras_adds_are_nobodys_change():
    newer = {**VERSIONS, "keras": "3.16.0"}
    after = replace(change_layer(PLAIN, "dense_1", quantization_config="int8"), versions=newer)
    assert compare(PLAIN, after).verdict == "same"
    assert compare(PLAIN, replace(after, versions=VERSIONS)).verdict == "changed"


def test_a_setting_of_keras_own_layers_under_a_new_version_may_be_kerass():
    after = replace(change_layer(PLAIN, "dense_1", activation="gelu"), versions={**VERSIONS, "keras": "3.16.0"})
    (cause,) = find_causes(compare(PLAIN, after))
    assert (cause.sentence, cause.origin) == ("activation relu -> gelu in dense_1 (Dense)", "library or model")
    (cause,) = find_causes(compare(PLAIN, replace(after, versions=VERSIONS)))
    assert cause.origin == "model"


@pytest.mark.parametrize(
    ("then", "now", "same"),
    [
        (-1, 2, True),
        ([-1], [2], True),
        ([-2, -1], [1, 2], True),
        ([2], [-1], True),
        (-1, -2, False),
        (1, 2, False),
        ([-2, -1], [2, 2], False),
        ([-1], [1, 2], False),
        (False, True, False),
        ("same", "valid", False),
    ],
)
def test_axes_that_a_new_version_counts_from_the_front_are_the_same(then, now, same):
    before = change_layer(PLAIN, "dense_1", axis=then)
    after = change_layer(PLAIN, "dense_1", axis=now)
    assert (compare(before, after).verdict, compare(before, before).verdict) == ("changed", "same")
    newer = replace(after, versions={**VERSIONS, "keras": "3.16.0"})
    assert compare(before, newer).verdict == ("same" if same else "changed")


def test_code_decides_nothing_and_explains_what_was_measured():
    before, after = (change_layer(PLAIN, "dense_1", code=each) for each in ("a" * 16, "b" * 16))
    assert compare(before, after).verdict == "same"
    moved = shift(after, "dense_1", 0.2, "forward")
    assert sentences(before, moved) == ["the code of Dense has changed (dense_1)"]
    undecided = shift(after, "dense_1", 0.0487, "forward")
    assert compare(PLAIN, shift(PLAIN, "dense_1", 0.0487, "forward")).verdict != "changed"
    assert compare(before, undecided).verdict in ("same", "changed")


# --- what feeds what --------------------------------------------------------------------------------------------------


def test_a_connection_that_is_gone_is_named():
    def skip(baseline):
        site = baseline.sites["dense_3"]
        return replace(baseline, sites={**baseline.sites, "dense_3": replace(site, inputs=("dense_1", "dense_2"))})

    (sentence,) = sentences(skip(PLAIN), PLAIN)
    assert sentence == "what feeds dense_3 (Dense) is no longer dense_1"
    (sentence,) = sentences(PLAIN, skip(PLAIN))
    assert sentence == "what feeds dense_3 (Dense) is now dense_1"


@pytest.mark.parametrize("removed", [True, False])
def test_a_layer_that_joins_branches_is_the_cause_of_what_feeds_the_next(removed):
    plain = ["Dense relu 64", "Dense linear 64"]
    joined = make_chain([*plain, "Add", "Dense linear 10"])
    add = replace(joined.sites["add"], inputs=("dense", "dense_1"))
    joined = replace(joined, sites={**joined.sites, "add": add})
    apart = make_chain([*plain, "Dense linear 10"])
    sides = (joined, apart) if removed else (apart, joined)
    assert sentences(*sides) == [f"add (Add) was {'removed' if removed else 'added'}"]


def test_a_layer_at_another_place_has_moved():
    layers = ["Dense relu 64", "LayerNormalization", "Dense relu 32", "Dense linear 10"]
    moved = ["Dense relu 64", "Dense relu 32", "LayerNormalization", "Dense linear 10"]
    (sentence,) = sentences(make_chain(layers), make_chain(moved))
    assert sentence.startswith("moved: ")
    assert "layer_normalization" in sentence or "dense_1" in sentence


def test_a_layer_that_is_no_longer_shared_is_named():
    shared = make_chain(["Dense relu 64", "Dense relu 32", "Dense relu 32"], shared={2: 1})
    apart = make_chain(["Dense relu 64", "Dense relu 32", "Dense relu 32"])
    assert sentences(shared, apart) == ["dense_1 (Dense) is no longer shared: dense_2 was added in its place"]
    assert sentences(apart, shared) == ["dense_1 (Dense) is now shared: it stands for dense_2 too"]


def test_older_baselines_say_what_they_lack():
    older = replace(PLAIN, layers={})
    assert compare(older, PLAIN).verdict == "same"
    assert "renew it" in describe_conditions(compare(older, PLAIN))[-1]


@pytest.mark.parametrize("length", [10, 200])
def test_the_first_line_is_short_whatever_the_names(length):
    after = change_layer(PLAIN, "dense_1", activation="x" * length)
    line = format_verdict(compare(PLAIN, after))
    assert line.startswith("changed: activation relu -> ") and len(line) <= 80


# --- any change -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("trial", range(60))
def test_whatever_changed_has_a_cause_and_layers_are_matched_one_to_one(trial):
    rng = random.Random(trial)
    kinds = ["Dense relu 64", "Dense gelu 64", "Dense relu 32", "LayerNormalization", "Dropout", "Embedding"]
    before, after = (make_chain([rng.choice(kinds) for _ in range(rng.randint(1, 9))]) for _ in range(2))
    matching = Matching(before, after)
    assert len(set(matching.pairs.values())) == len(matching.pairs)
    assert len(matching.pairs) + len(matching.removed) == len(before.layers)
    assert len(matching.pairs) + len(matching.added) == len(after.layers)
    for then, now in ((before, after), (after, before), (before, before)):
        comparison = compare(then, now)
        assert (comparison.verdict == "changed") == bool(find_causes(comparison)) == (then.layers != now.layers)
        assert len(format_verdict(comparison)) <= 80
        assert format_gate(comparison, full=True)


def make_residual(blocks):
    """Make a network of blocks, each of which adds what a Dense layer makes of its input to it."""
    chain = make_chain([each for _ in range(blocks) for each in ("Dense relu 64", "Add")])
    sites = dict(chain.sites)
    names = list(sites)
    for place in range(1, len(names), 2):
        skipped = names[place - 2] if place > 2 else "input"
        sites[names[place]] = replace(sites[names[place]], inputs=(skipped, names[place - 1]))
    return replace(chain, sites=sites)


def test_many_blocks_that_were_removed_are_found_at_once():
    """Through each of forty blocks lead two ways: to follow them all would take for ever."""
    (sentence,) = sentences(make_residual(42), make_residual(2))
    assert sentence.startswith("80 layers were removed")


def test_what_the_library_and_the_model_changed_are_both_listed():
    older = {**VERSIONS, "keras": "3.14.1"}
    after = change_weight(change_layer(PLAIN, "dense_1", activation="gelu"), "dense_2/kernel", fan_in=512.0)
    found = find_causes(compare(replace(PLAIN, versions=older), after))
    assert {each.layers: each.origin for each in found} == {
        ("dense_1",): "library or model",
        ("dense_2/kernel",): "library",
    }


def test_what_was_measured_alone_has_one_origin_wherever_it_is_named():
    older = replace(PLAIN, versions={**VERSIONS, "keras": "3.14.1"})
    for before, origin in ((older, "library"), (PLAIN, "model")):
        comparison = compare(before, shift(PLAIN, "dense_1/kernel", 0.3))
        (cause,) = find_causes(comparison)
        assert (cause.origin, find_origin(comparison)) == (origin, origin)


def test_layers_inside_one_that_keras_numbers_may_be_kerass():
    """The name of the layer around has another number now: it is found by its path."""
    outer = {"attention": LayerFacts("Attention", {"dtype": "float32"})}
    before = replace(PLAIN, layers={**PLAIN.layers, **outer}, versions={**VERSIONS, "keras": "3.14.1"})
    inner = {"attention/dense": LayerFacts("Dense", {"dtype": "float32"})}
    names = {"attention": "attention_7", "attention/dense": "attention_7/dense_3"}
    (cause,) = find_causes(compare(before, replace(PLAIN, layers={**PLAIN.layers, **outer, **inner}, names=names)))
    assert (cause.sentence, cause.origin) == ("attention_7/dense_3 (Dense) was added", "library or model")
