from initcheck.audit.paths import SiteNode, find_paths


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


def test_of_two_towers_the_deeper_one_is_followed_and_the_other_does_not_cut_it():
    nodes = make_nodes(
        ("short input", False, []),
        ("short", True, ["short input"]),
        ("long input", False, []),
        ("long 1", True, ["long input"]),
        ("long 2", True, ["long 1"]),
        ("join", False, ["short", "long 2"]),
        ("head", True, ["join"]),
    )
    assert names_on_main_path(nodes) == ["long 1", "long 2", "join", "head"]


def test_a_long_chain_inside_a_branch_is_a_path_of_its_own():
    rows = [("stem", True, [])]
    for number in range(5):
        rows.append((f"inner {number}", True, [rows[-1][0]]))
    nodes = make_nodes(*rows, ("add", False, ["stem", "inner 4"]), ("head", True, ["add"]))
    main, branch = find_paths(nodes)
    assert [nodes[p].layer for p in branch.positions] == [f"inner {number}" for number in range(5)]
    assert branch.inside == ("stem", "add")
    assert not set(branch.positions) & set(main.positions)


def test_a_short_branch_is_no_path_of_its_own():
    nodes = make_nodes(
        ("stem", True, []), ("inner", True, ["stem"]), ("add", False, ["stem", "inner"]), ("head", True, ["add"])
    )
    assert len(find_paths(nodes)) == 1


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
