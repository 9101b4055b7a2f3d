"""The diagnosis' error rates in small; ``tox run -e diagnosis-power`` checks hundreds of random models."""

from __future__ import annotations

from dataclasses import replace

import diagnosis
import numpy as np
import planted_models
import pytest

pytestmark = pytest.mark.power

KERNEL = "kernel 1,000 times too small"


@pytest.mark.parametrize("name", planted_models.ARCHITECTURES)
def test_one_seed_builds_one_architecture_whose_kernels_have_the_variance_that_they_need(name):
    for seed in range(4):
        model, builder = planted_models.build(name, seed)
        again = planted_models.build(name, seed)[1]
        assert builder.sites == again.sites
        paths = [weight.path for weight in model.weights]
        for site in builder.sites:
            own = [weight for weight in model.weights if site.name in weight.path.split("/") and len(weight.shape) > 1]
            assert own, (site, paths)
            if site.kind in planted_models.WITH_KERNEL:
                (kernel,) = (np.asarray(weight, np.float64) for weight in own)
                assert kernel.shape == site.shape and kernel[..., 0].size == site.fan_in
                gain = 1.0 if site.activation in ("tanh", "selu", "linear") else 2.0
                # Six standard errors of a mean square; none of the distributions has a kurtosis above 3.
                assert abs(site.fan_in * np.mean(kernel**2) / gain - 1.0) < 6.0 * np.sqrt(2.0 / kernel.size)


@pytest.mark.parametrize("kind", planted_models.DEFECTS)
def test_a_defect_is_planted_where_it_says_and_nowhere_else(kind):
    random = np.random.default_rng(3)
    name, seed, plan = planted_models.find_place(kind, random)
    _, sound = planted_models.build(name, seed)
    _, sick = planted_models.build(name, seed, plan)
    assert [site.name for site in sick.sites] == [site.name for site in sound.sites]
    assert set(plan.changes) <= plan.right or plan.inserted
    assert len(sick.inserted) == len(plan.inserted)
    assert plan.changes or plan.inserted or plan.inputs > 1.0


def test_what_gets_no_gradient_is_right_to_name_as_far_as_it_lies_in_front_of_what_is_planted():
    random = np.random.default_rng(0)
    plan = planted_models.DEFECTS["a layer that passes no gradient"].plant(
        planted_models.build("normalized", 5)[1], random
    )
    _, builder = planted_models.build("normalized", 5, plan)
    last = max(plan.right)
    before = [name for sites, name in builder.normalizations if sites <= last]
    assert len(before) == last, "a normalization follows each dense layer"
    assert builder.list_right() == [*(site.name for site in builder.sites[: last + 1]), *before, *builder.inserted]


def test_a_defect_is_found_and_one_model_without_is_not():
    sick = diagnosis.draw(0, KERNEL)
    assert (sick.exit_code, sick.layer) == (1, True)
    assert diagnosis.draw(1, "").exit_code == 0


def test_rates_count_what_is_right_and_list_what_is_not():
    said = (diagnosis.Said(("block/wide/kernel",), "spread", "IC101 block/wide: the signal falls"),)
    hit = diagnosis.Draw(1, "plain", KERNEL, ("wide",), 1, True, True, said, 2.0)
    draws = [hit, replace(hit, cause=False), replace(hit, exit_code=0, layer=False, cause=False, said=())]
    draws += [replace(hit, defect="", cause=None), replace(hit, defect="", exit_code=0, cause=None, said=())]
    assert diagnosis.rates(draws) == {"found": (2, 3), "layer": (2, 3), "cause": (1, 3), "false alarm": (1, 2)}
    assert [diagnosis.is_miss(each) for each in draws] == [False, True, True, True, False]
    page = diagnosis.as_markdown(draws)
    assert "| found | 2/3: 66.7% [9.4%, 99.2%] | at least 97% | **missed** |" in page
    assert "- seed 1, plain, sound: exit 1" in page
    assert diagnosis.is_right("block/wide/kernel", ("wide",)) and not diagnosis.is_right(
        "block/wider/kernel", ("wide",)
    )
