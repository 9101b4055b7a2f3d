"""How findings become problems, of findings that are given."""

from initcheck.audit.findings import Cause, Finding
from initcheck.audit.paths import SiteNode
from initcheck.audit.problems import group_findings

NODES = [SiteNode(name, "Dense", True, name == "d", ()) for name in "abcd"]


def small(*layers):
    return Cause("spread", layers, f"the kernel of {layers[0]} is small")


def group(*findings):
    return [[each.code for each in problem.findings] for problem in group_findings(findings, NODES)]


def test_a_note_and_a_fault_of_one_cause_are_two_problems_and_the_fault_comes_first():
    note = Finding("IC106", "b", "stands out", note=True, cause=small("b"))
    fault = Finding("IC101", "b", "falls", layers=("b",), cause=small("b"))
    assert group(note, fault) == [["IC101"], ["IC106"]]


def test_causes_of_one_kind_in_layers_that_overlap_are_one_problem():
    first, second, third = (Finding("IC101", at[0], "falls", cause=small(*at)) for at in ("ab", "cd", "bc"))
    assert group(first, second) == [["IC101"], ["IC101"]]
    assert group(first, second, third) == [["IC101", "IC101", "IC101"]]


def test_what_lies_in_front_of_a_problem_on_the_way_forward_does_not_follow_from_it():
    grows = Finding("IC102", "c", "grows", layers=("c",), cause=small("c"))
    for layer, expected in (("a", [["IC102"], ["IC303"]]), ("d", [["IC102", "IC303"]])):
        assert group(grows, Finding("IC303", layer, "dead", layers=(layer,))) == expected
