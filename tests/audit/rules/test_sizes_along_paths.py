"""Layers, sums and normalizations that stand out while the path keeps within its limit, on synthetic tables."""

import pandas as pd
import pytest
from model_measurement import find_by

from initcheck.audit.limits import Limits
from initcheck.audit.paths import SiteNode, find_paths
from initcheck.audit.total_change import judge_paths


def make_table(nodes, sizes, outputs=None, received=1.0, noise=0.01, seeds=4):
    """The second moments before and after the activation of each site, and of what it receives."""
    return pd.DataFrame(
        [
            {
                "seed": seed,
                "position": position,
                "batch_size": 32,
                "preactivation_second_moment": sizes[position] * (1.0 + noise * seed),
                "activation_second_moment": (outputs or sizes)[position] * (1.0 + noise * seed),
                "activation_variance": (outputs or sizes)[position],
                "input_second_moment": received,
                "gradient_norm": 1.0,
            }
            for seed in range(seeds)
            for position in range(len(nodes))
        ]
    )


def find(code, nodes, table):
    gradients = pd.DataFrame({"weight": [], "weight_norm": []})
    paths = judge_paths(table, nodes, find_paths(nodes), Limits())
    return find_by(code, table=table, nodes=nodes, paths=paths, gradients=gradients)


@pytest.mark.parametrize(("place", "gain", "severity"), [(2, 30.0, "note"), (5, 30.0, "note"), (5, 3.0, None)])
def test_a_layer_that_multiplies_over_tenfold_is_noted_and_so_is_the_last_one(place, gain, severity):
    nodes = [
        SiteNode(f"layer{n}", "Dense", True, n == 5, () if not n else (n - 1,), ("homogeneous",) * (n > 0))
        for n in range(6)
    ]
    sizes = [1.0 if n != place else gain for n in range(6)]
    found = find("IC106", nodes, make_table(nodes, sizes))
    expected = [(f"layer{place}", severity)] if severity else []
    assert [(each.layer, each.severity) for each in found] == expected


def test_a_last_layer_that_multiplies_by_a_thirtieth_is_a_choice():
    nodes = [
        SiteNode(f"layer{n}", "Dense", True, n == 5, () if not n else (n - 1,), ("homogeneous",) * (n > 0))
        for n in range(6)
    ]
    assert find("IC106", nodes, make_table(nodes, [1.0, 1.0, 1.0, 1.0, 1.0, 1 / 30])) == []


@pytest.mark.parametrize(("stream", "branch", "found"), [(1e-3, 1.0, []), (1.0, 1e3, ["branch"]), (1.0, 10.0, [])])
def test_a_branch_drowns_what_it_is_added_to_only_where_it_is_large_itself(stream, branch, found):
    """A small table of embeddings in front of normalized branches of size 1 is what published transformers have."""
    ways = ("homogeneous", "homogeneous")
    nodes = [
        SiteNode("stem", "Dense", True, False, ()),
        SiteNode("branch", "Dense", True, False, (0,), ("homogeneous",)),
        SiteNode("add", "Add", False, False, (0, 1), ways),
        SiteNode("head", "Dense", True, True, (2,), ("homogeneous",)),
    ]
    sums = max(stream, branch)
    table = make_table(nodes, [1.0, 1.0, 1.0, 1.0], [stream, branch, sums, 1.0])
    assert [each.layer for each in find("IC107", nodes, table)] == found


def make_normalized(first, second):
    """Two normalizations with these second moments behind them, each behind a dense layer."""
    rows = [("dense0", "Dense"), ("norm0", "LayerNormalization"), ("dense1", "Dense"), ("norm1", "BatchNormalization")]
    nodes = [
        SiteNode(name, kind, kind == "Dense", False, () if not n else (n - 1,), ("homogeneous",) * (n > 0))
        for n, (name, kind) in enumerate(rows)
    ]
    nodes.append(SiteNode("head", "Dense", True, True, (3,), ("homogeneous",)))
    return nodes, make_table(nodes, [1e-9, first, first, second, second])


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (0.99, 0.99, []),
        (0.5, 1.0, []),
        (0.05, 0.99, [("norm0", "note", ("norm0",))]),
        (1e-4, 0.99, [("norm0", "wrong", ("norm0",))]),
        (1e-4, 0.05, [("norm0", "wrong", ("norm0", "norm1"))]),
        (0.99, 1e-4, [("norm1", "wrong", ("norm1",))]),
    ],
)
def test_a_normalization_that_receives_less_than_its_epsilon_is_found_at_the_first_of_them(first, second, expected):
    """Even where its size is free: the next normalization may bring it back."""
    nodes, table = make_normalized(first, second)
    found = find("IC106", nodes, table)
    assert [(each.layer, each.severity, each.layers) for each in found] == expected
    for each in found:
        assert each.cause.kind == "normalization"
        assert each.cause.layers == (each.layer,), "no kernel is known here"
