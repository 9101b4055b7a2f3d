"""Which weights are as good as without a gradient, on a table of gradients that is given."""

import pandas as pd
import pytest

from initcheck.audit.silent_weights import find_silent

USES = {"b/scale": "scale", "b/bias": "added"}


def make_gradients(sizes):
    """Two draws of weights with one entry each, by path."""
    return pd.DataFrame(
        [
            {
                "seed": seed,
                "weight": path,
                "layer": path.rpartition("/")[0],
                "shape": "(1,)",
                "trainable": True,
                "has_gradient": True,
                "gradient_norm": size,
            }
            for seed in range(2)
            for path, size in sizes.items()
        ]
    )


def find(sizes, rounding=()):
    found = find_silent(make_gradients(sizes), uses=USES, rounding=frozenset(rounding))
    return {each.weight: each.silence for each in found}


KERNELS = {"a/kernel": 1.0, "c/kernel": 2.0, "d/kernel": 3.0}


@pytest.mark.parametrize(
    ("beside", "size", "expected"),
    [
        ({"b/kernel": 1.0}, 1e-9, {}),
        ({"b/kernel": 1e-9}, 1e-9, {"b/kernel": "negligible", "b/bias": "negligible"}),
        ({}, 1e-9, {}),
        ({}, 0.0, {"b/bias": "zero"}),
    ],
    ids=["a kernel that learns", "a kernel that does not", "no kernel", "exactly zero"],
)
def test_what_is_added_is_silent_only_with_the_kernels_of_its_layer_unless_it_is_exactly_zero(beside, size, expected):
    assert find({**KERNELS, **beside, "b/bias": size}) == expected


@pytest.mark.parametrize(("size", "expected"), [(5e-5, {"b/kernel": "rounding"}), (5e-3, {})])
def test_rounding_errors_are_looked_for_up_to_a_ten_thousandth(size, expected):
    assert find({**KERNELS, "b/kernel": size}, ["b/kernel"]) == expected
    assert find({**KERNELS, "b/kernel": size}) == {}
