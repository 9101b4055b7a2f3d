"""The probe on real models: everything is measured, every number is right, and nothing is changed."""

from __future__ import annotations

import pytest
import zoo_checks as checks
import zoo_models as zoo

from initcheck.probe import Probe

pytestmark = pytest.mark.zoo

every_model = pytest.mark.parametrize("examined", zoo.ALL, ids=map(zoo.name_of, zoo.ALL), indirect=True)


@pytest.fixture(scope="module")
def examined(request):
    return checks.examine(request.param)


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
def test_every_number_is_that_of_the_slow_measurement(examined):
    slow = examined.measure_slowly("float64")
    assert checks.find_discrepancies(examined.table, slow, examined.tolerance) == []
    # The tolerance is that of float32, not the probe's own: the slow measurement needs it as well.
    rounded = examined.measure_slowly("float32")
    assert checks.find_discrepancies(rounded.table, slow, examined.tolerance) == []
    assert checks.find_weight_discrepancies(examined.weights, slow, examined.tolerance, rounded) == []


@every_model
def test_a_thousandth_more_in_one_layer_and_in_the_output_is_noticed_both_ways(examined):
    """Negative control: the comparison tells the model from one that is slightly another."""
    sites = [site for site, _ in examined.table.index]
    middle, last = sites[len(sites) // 2], sites[-1]
    wrong = examined.measure_slowly("float32", spoiled={middle, last})
    found = checks.find_discrepancies(examined.table, wrong, examined.tolerance)
    assert any(line.startswith(f"{middle} (call 0): activation_second_moment") for line in found)
    assert any(line.startswith(f"{last} (call 0): gradient_second_moment") for line in found)
    assert checks.find_weight_discrepancies(examined.weights, wrong, examined.tolerance)


@every_model
def test_the_model_and_the_random_states_are_bit_for_bit_as_they_were(examined):
    assert examined.after == examined.before


@pytest.mark.parametrize("builder", [*zoo.OWN, zoo.build_mobilenetv3small], ids=zoo.name_of)
def test_weights_drawn_by_seed_leave_the_model_as_it_was(builder):
    model, inputs = checks.build(builder)
    before = checks.snapshot(model)
    table = Probe(model, inputs).measure([0, 1])
    assert checks.snapshot(model) == before
    kernels = table[table["weight_norm"].notna()].groupby("layer")["weight_norm"]
    assert (kernels.nunique() > 1).all()  # the weights were others, for each seed
