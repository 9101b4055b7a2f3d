from dataclasses import replace

import numpy as np
import pytest

from initcheck.audit.paths import SiteNode, find_freedoms, find_judged_weights, find_paths


def make_nodes(*rows):
    """Rows of (name, weighted, parents by name); the last one feeds the output."""
    names = [name for name, *_ in rows]
    return [
        SiteNode(name, kind, weighted, name == names[-1], tuple(names.index(parent) for parent in parents))
        for name, kind, weighted, parents in ((row[0], "Layer", *row[1:]) if len(row) == 3 else row for row in rows)
    ]


def names_on_main_path(nodes):
    return [nodes[position].layer for position in find_paths(nodes)[0].positions]


def test_a_plain_stack_is_its_own_main_path_without_the_layers_that_only_pass_on():
    nodes = make_nodes(
        ("input", False, []), ("a", True, ["input"]), ("relu", False, ["a"]), ("b", True, ["relu"]), ("c", True, ["b"])
    )
    assert names_on_main_path(nodes) == ["a", "b", "c"]


def test_layers_beside_a_skip_connection_are_not_on_the_main_path_but_their_sum_is():
    nodes = make_nodes(
        ("stem", True, []),
        ("branch", True, ["stem"]),
        ("add", False, ["stem", "branch"]),
        ("head", True, ["add"]),
    )
    assert names_on_main_path(nodes) == ["stem", "add", "head"]


def names_of_branches(nodes):
    return {path.inside: [nodes[p].layer for p in path.positions] for path in find_paths(nodes) if not path.is_main}


def test_towers_of_any_depth_are_branches_behind_the_inputs_and_heads_branches_before_the_outputs():
    nodes = make_nodes(
        ("short input", False, []),
        ("short", True, ["short input"]),
        ("long input", False, []),
        ("long 1", True, ["long input"]),
        ("long 2", True, ["long 1"]),
        ("join", False, ["short", "long 2"]),
        ("trunk", True, ["join"]),
        ("head 1", True, ["trunk"]),
        ("head 2", True, ["trunk"]),
    )
    nodes[-2] = replace(nodes[-2], feeds_output=True)
    assert names_on_main_path(nodes) == ["join", "trunk"]
    main, short, long, *heads = find_paths(nodes)
    assert [nodes[p].layer for p in (*short.positions, *long.positions)] == ["short", "long 1", "long 2"]
    assert (short.inside, short.small_end_is_chosen) == (("inputs", "join"), False)
    assert [(each.inside, each.small_end_is_chosen) for each in heads] == [(("trunk", "outputs"), True)] * 2
    assert not main.small_end_is_chosen, "behind it stand layers with weights"


def test_a_branch_of_a_branch_is_a_path_too():
    nodes = make_nodes(
        ("stem", True, []),
        ("outer 1", True, ["stem"]),
        ("inner", True, ["outer 1"]),
        ("inner add", False, ["outer 1", "inner"]),
        ("outer 2", True, ["inner add"]),
        ("add", False, ["stem", "outer 2"]),
        ("head", True, ["add"]),
    )
    assert names_on_main_path(nodes) == ["stem", "add", "head"]
    assert names_of_branches(nodes) == {
        ("stem", "add"): ["outer 1", "inner add", "outer 2"],
        ("outer 1", "inner add"): ["inner"],
    }


def test_branches_that_cannot_be_parted_are_followed_by_the_longest_chain_which_stands_for_all():
    crossed = make_nodes(
        ("stem", True, []),
        ("a", True, ["stem"]),
        ("b", True, ["stem"]),
        ("c", True, ["a", "b"]),
        ("d", True, ["a", "b"]),
        ("end", True, ["c", "d"]),
    )
    whole = next(path for path in find_paths(crossed) if path.stands_for)
    assert [crossed[p].layer for p in whole.positions] == ["a", "c"]
    assert find_judged_weights(crossed, find_paths(crossed)) == set(range(6))


def test_a_table_that_each_block_adds_does_not_part_the_main_path():
    rows = [("input", "Input", False, []), ("stem", "Dense", True, ["input"])]
    for number in range(3):
        before = rows[-1][0]
        rows += [
            (f"table {number}", "Embedding", True, []),
            (f"add {number}", "Add", False, [before, f"table {number}"]),
            (f"layer {number}", "Dense", True, [f"add {number}"]),
        ]
    nodes = make_nodes(*rows)
    assert names_on_main_path(nodes)[-2:] == ["add 2", "layer 2"]
    assert len(names_on_main_path(nodes)) == 7


def test_every_site_with_weights_that_reaches_the_outputs_is_judged_in_random_graphs():
    """Each site on a spine is one that cutting alone would part its entry from its exit, by brute force."""
    random = np.random.default_rng(3)
    for _ in range(200):
        count = int(random.integers(3, 12))
        parents = [
            sorted(set(random.integers(0, each, size=random.integers(1, 3)).tolist())) for each in range(1, count)
        ]
        rows = [("0", "Input", False, [])]
        rows += [(str(each + 1), "Dense", True, [str(p) for p in found]) for each, found in enumerate(parents)]
        nodes = make_nodes(*rows)
        reaching = {count - 1}
        for each in range(count - 1, 0, -1):
            if each in reaching:
                reaching.update(nodes[each].parents)
        paths = find_paths(nodes)
        assert find_judged_weights(nodes, paths) == reaching - {0}
        spine = {each for each in reaching - {0} if not reaches(nodes, count - 1, without=each)}
        assert set(paths[0].positions) == spine
        places = [position for path in paths for position in (path.stands_for or path.positions)]
        assert len(places) == len(set(places)), "no site is judged on two paths"


def reaches(nodes, end, without):
    """Whether the input still reaches the end without one site."""
    found = {0}
    for each in range(1, end + 1):
        if each != without and found & set(nodes[each].parents):
            found.add(each)
    return end in found and end != without


@pytest.mark.parametrize(
    ("scale_effects", "freedom"),
    [
        ([("homogeneous",), ("homogeneous",), ("normalization",)], "any"),
        ([("homogeneous",), ("other",), ("normalization",)], ""),
        ([("homogeneous",), ("softmax",), ("normalization",)], ""),
        ([("homogeneous",), ("homogeneous",), ("homogeneous",)], ""),
    ],
)
def test_a_scale_is_free_if_a_normalization_follows_before_anything_that_is_not_homogeneous(scale_effects, freedom):
    nodes = make_nodes(
        ("input", True, []), ("first", True, ["input"]), ("second", True, ["first"]), ("norm", False, ["second"])
    )
    nodes = [replace(node, scale_effects=each) for node, each in zip(nodes, [(), *scale_effects], strict=True)]
    assert find_freedoms(nodes)[1] == freedom
    assert find_freedoms(nodes)[3] == "", "what feeds the outputs is never free"


@pytest.mark.parametrize(("activation", "freedom"), [("", "any"), ("relu", "any"), ("sigmoid", "")])
def test_what_a_bent_activation_receives_is_not_free_though_its_output_is(activation, freedom):
    nodes = make_nodes(("gate", True, []), ("product", False, ["gate"]), ("norm", False, ["product"]))
    nodes[0] = replace(nodes[0], activation=activation)
    nodes[1] = replace(nodes[1], scale_effects=("homogeneous",))
    nodes[2] = replace(nodes[2], scale_effects=("normalization",))
    assert find_freedoms(nodes)[0] == freedom


def test_in_a_branch_a_scale_is_free_only_where_a_normalization_stands_before_the_sum():
    ways = {1: "normalization", 2: "homogeneous", 3: "homogeneous", 6: "normalization", 7: "homogeneous"}
    for inner, freedom in (("homogeneous", ""), ("normalization", "any")):
        nodes = make_nodes(
            ("stem", True, []),
            ("norm", False, ["stem"]),
            ("up", True, ["norm"]),
            ("middle", False, ["up"]),
            ("down", True, ["middle"]),
            ("add", False, ["stem", "down"]),
            ("last", False, ["add"]),
            ("head", True, ["last"]),
        )
        for place, way in {**ways, 3: inner, 4: "homogeneous"}.items():
            nodes[place] = replace(nodes[place], scale_effects=(way,))
        nodes[5] = replace(nodes[5], scale_effects=("homogeneous", "homogeneous"))
        main, branch = find_paths(nodes)
        freedoms = {
            nodes[place].layer: each
            for path in (main, branch)
            for place, each in zip(path.positions, path.freedoms, strict=True)
        }
        assert freedoms.get("up", "any") == freedom
        assert freedoms["down"] == freedoms["stem"] == "any", "a small end, and the stream itself"


def test_small_numbers_are_free_before_the_softmax_of_attention_and_not_before_a_classifier_s():
    attention = make_nodes(
        ("x", True, []), ("query", True, ["x"]), ("value", True, ["x"]), ("out", True, ["query", "value"])
    )
    attention[1] = replace(attention[1], scale_effects=("homogeneous",))
    attention[2] = replace(attention[2], scale_effects=("homogeneous",))
    attention[3] = replace(attention[3], scale_effects=("softmax", "homogeneous"))
    assert find_freedoms(attention)[:3] == ["", "small", ""]
    classifier = make_nodes(("x", True, []), ("classes", True, ["x"]))
    classifier[1] = replace(classifier[1], scale_effects=("softmax",))
    assert find_freedoms(classifier)[0] == ""


def test_a_long_chain_inside_a_branch_is_a_path_of_its_own():
    rows = [("stem", True, [])]
    for number in range(5):
        rows.append((f"inner {number}", True, [rows[-1][0]]))
    nodes = make_nodes(*rows, ("add", False, ["stem", "inner 4"]), ("head", True, ["add"]))
    main, branch = find_paths(nodes)
    assert [nodes[p].layer for p in branch.positions] == [f"inner {number}" for number in range(5)]
    assert branch.inside == ("stem", "add")
    assert not set(branch.positions) & set(main.positions)


def test_a_branch_of_one_layer_is_judged_by_what_that_receives():
    nodes = make_nodes(
        ("stem", True, []), ("inner", True, ["stem"]), ("add", False, ["stem", "inner"]), ("head", True, ["add"])
    )
    _, branch = find_paths(nodes)
    assert (branch.origins, branch.small_end_is_chosen) == (("received",), True)


def test_a_dead_end_does_not_divert_the_main_path():
    nodes = make_nodes(
        ("a", True, []), ("dead end 1", True, ["a"]), ("dead end 2", True, ["dead end 1"]), ("b", True, ["a"])
    )
    assert names_on_main_path(nodes) == ["a", "b"]


def test_a_change_across_an_average_is_marked_and_no_other():
    nodes = make_nodes(
        ("a", "Conv2D", True, []),
        ("b", "Conv2D", True, ["a"]),
        ("pool", "GlobalAveragePooling2D", False, ["b"]),
        ("head", "Dense", True, ["pool"]),
    )
    assert find_paths(nodes)[0].averaged == (False, True)


def test_without_an_output_there_is_no_path():
    assert find_paths([SiteNode("a", "Dense", True, False, ())]) == ()
    assert find_paths([]) == ()


def test_the_number_of_paths_may_exceed_every_machine_integer():
    rows = [("stem", True, [])]
    for number in range(200):
        before = rows[-1][0]
        rows.append((f"branch {number}", True, [before]))
        rows.append((f"add {number}", False, [before, f"branch {number}"]))
    names = names_on_main_path(make_nodes(*rows, ("head", True, ["add 199"])))
    assert names == ["stem", *[f"add {number}" for number in range(200)], "head"]


def test_what_comes_out_of_a_normalization_is_followed_where_all_of_it_goes_there():
    nodes = make_nodes(
        ("a", "Dense", True, []),
        ("normalized", "BatchNormalization", False, ["a"]),
        ("b", "Dense", True, ["normalized"]),
        ("head", "Dense", True, ["b"]),
    )
    assert names_on_main_path(nodes) == ["normalized", "b", "head"]


def test_a_sum_that_goes_past_its_normalization_too_is_followed_itself():
    nodes = make_nodes(
        ("stem", "Dense", True, []),
        ("normalized", "LayerNormalization", False, ["stem"]),
        ("branch", "Dense", True, ["normalized"]),
        ("add", "Add", False, ["stem", "branch"]),
        ("head", "Dense", True, ["add"]),
    )
    assert names_on_main_path(nodes) == ["stem", "add", "head"]
