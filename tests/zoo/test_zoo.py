"""The probe on real models: everything is measured, every number is right, and nothing is changed."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import zoo_checks as checks
import zoo_models as zoo
from marked import slow

from initcheck.probe import Probe

LARGE = [each for each in zoo.ALL if each not in zoo.SMALL]

every_model = pytest.mark.parametrize("examined", [*zoo.SMALL, *slow("zoo", *LARGE)], ids=zoo.name_of, indirect=True)
small_model = pytest.mark.parametrize("examined", zoo.SMALL, ids=zoo.name_of, indirect=True)


@pytest.fixture(scope="module")
def examined(request):
    return checks.examine(request.param)


@pytest.fixture(scope="module")
def exact(examined):
    return examined.measure_slowly()


@every_model
def test_every_layer_and_every_weight_is_measured_or_named_with_a_reason(examined):
    assert checks.find_gaps(examined) == []


@every_model
def test_the_coverage_that_the_probe_states_names_every_layer_and_every_weight(examined):
    assert checks.find_gaps_in_statement(examined) == []


@every_model
def test_every_site_is_a_layer_or_an_operation_of_the_model(examined):
    assert [site.layer for site in examined.probe.sites if site.layer.startswith("untracked")] == []


@every_model
def test_every_number_is_that_of_the_slow_measurement(examined, exact):
    assert checks.find_discrepancies(examined.table, exact, examined.tolerance) == []
    # The tolerance is that of float32, not the probe's own: the slow measurement needs it as well.
    rounded = examined.measure_slowly("float32")
    assert checks.find_discrepancies(rounded.table, exact, examined.tolerance) == []
    allowed = rounded if examined.builder in LARGE else None
    assert checks.find_weight_discrepancies(examined.weights, exact, examined.tolerance, allowed) == []


@every_model
def test_the_model_and_the_random_states_are_bit_for_bit_as_they_were(examined):
    assert examined.after == examined.before


@pytest.mark.zoo
@pytest.mark.parametrize("builder", [*zoo.OWN, zoo.build_mobilenetv3small], ids=zoo.name_of)
def test_weights_drawn_by_seed_leave_the_model_as_it_was(builder):
    model, inputs = checks.build(builder)
    before = checks.snapshot(model)
    table = Probe(model, inputs).measure([0, 1])
    assert checks.snapshot(model) == before
    kernels = table[table["weight_norm"].notna()].groupby("layer")["weight_norm"]
    assert (kernels.nunique() > 1).all()  # the weights were others, for each seed


# Negative controls.


@every_model
def test_a_thousandth_more_in_one_layer_and_in_the_output_is_noticed_both_ways(examined):
    sites = [site for site, _ in examined.table.index]
    middle, last = sites[len(sites) // 2], sites[-1]
    wrong = examined.measure_slowly("float32", spoiled={middle, last})
    found = checks.find_discrepancies(examined.table, wrong, examined.tolerance)
    assert any(line.startswith(f"{middle} (call 0): activation_second_moment") for line in found)
    assert any(line.startswith(f"{last} (call 0): gradient_second_moment") for line in found)
    assert checks.find_weight_discrepancies(examined.weights, wrong, examined.tolerance)


@small_model
def test_a_thousandth_more_in_one_layer_is_noticed_both_ways(examined):
    last = examined.table.index[-1][0]
    wrong = examined.measure_slowly(spoiled={last})
    found = checks.find_discrepancies(examined.table, wrong, examined.tolerance)
    for quantity in ("activation_second_moment", "activation_batch_variance", "gradient_second_moment"):
        assert any(line.startswith(f"{last} (call 0): {quantity}") for line in found)
    assert any("weight_gradient_norm" in line for line in found)
    found = checks.find_weight_discrepancies(examined.weights, wrong, examined.tolerance)
    assert any("/bias: gradient_norm" in line for line in found)


@small_model
def test_every_quantity_is_compared(examined, exact):
    """A thousandth more, or a null, in one number of any column is a discrepancy."""
    for quantity in exact.table.columns.drop("elements"):
        last = np.flatnonzero(exact.table[quantity].notna())[-1]
        scale = exact.table[quantity].iloc[last]
        if quantity in checks.MEANS:
            scale = exact.table[checks.MEANS[quantity]].iloc[last] ** 0.5
        if quantity == "zero_fraction":
            scale = 1000 * (3 / exact.table["elements"].iloc[last] + 0.001)
        for change in (0.001 * scale, np.nan):
            changed = examined.table.copy()
            changed.iloc[last, changed.columns.get_loc(quantity)] += change
            found = checks.find_discrepancies(changed, exact, examined.tolerance)
            assert len(found) == 1 and quantity in found[0]


@small_model
def test_a_site_that_is_missing_is_a_discrepancy(examined, exact):
    assert checks.find_discrepancies(examined.table.iloc[:-1], exact, examined.tolerance)
    assert checks.find_weight_discrepancies(examined.weights.iloc[:-1], exact, examined.tolerance)


@small_model
def test_a_layer_that_is_not_measured_is_a_gap(examined):
    site = next(site for site in reversed(examined.probe.sites) if site.weights > 0)
    probe = Probe(examined.model, examined.inputs)
    probe._sites = tuple(other for other in examined.probe.sites if other.layer != site.layer)
    gaps = checks.find_gaps(checks.Examined(**{**vars(examined), "probe": probe}))
    assert f"layer {site.layer}" in gaps
    assert any(gap.startswith("weight") for gap in gaps)


def test_a_training_step_and_a_draw_are_seen_in_the_snapshot():
    model, inputs = checks.build(zoo.build_subclassed_residual)
    model.compile("adam", "mse")
    model.optimizer.build(model.trainable_variables)
    before = checks.snapshot(model)
    model(inputs, training=True)
    calling = {name for name, value in checks.snapshot(model).items() if value != before[name]}
    assert calling == {"weights", "all variables"}  # moving statistics
    model.train_on_batch(inputs, np.zeros((16, 3), np.float32))
    np.random.random()
    keras.random.normal((1,))
    changed = {name for name, value in checks.snapshot(model).items() if value != before[name]}
    assert {"weights", "optimizer", "numpy", "keras"} <= changed


def test_a_padding_layer_is_a_site_under_its_own_name():
    model = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.ZeroPadding2D(1, name="frame")])
    probe = Probe(model, np.ones((2, 4, 4, 1), np.float32))
    probe.measure_current()
    assert [site.layer for site in probe.sites] == ["input", "frame"]
