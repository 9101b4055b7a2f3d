import pytest

from initcheck.audit.findings import Finding, waive_layers
from initcheck.audit.limits import Limits
from initcheck.audit.rules import FAMILIES, RULES, select_findings
from initcheck.core.errors import UsageError

ALL = tuple(Finding(code, "layer", "message", None, ("layer",)) for code in RULES)


def codes(findings):
    return [finding.code for finding in findings]


def test_every_rule_belongs_to_a_family_and_says_everything():
    for rule in RULES.values():
        assert rule.code[:3] in FAMILIES
        assert all((rule.name, rule.what, rule.why, rule.example, rule.fix, rule.source))
    assert len({rule.name for rule in RULES.values()}) == len(RULES)


def test_what_could_not_be_judged_is_told_last_and_nonfinite_values_first():
    ranked = list(RULES)
    assert (ranked[0], ranked[-3:]) == ("IC501", ["IC601", "IC603", "IC604"])


def test_only_three_codes_mean_that_something_is_open():
    assert [each.code for each in ALL if each.severity == "unjudged"] == ["IC601", "IC603", "IC604"]


@pytest.mark.parametrize(
    ("select", "ignore", "kept"),
    [
        ([], [], set(RULES)),
        (["IC1"], [], {"IC101", "IC102", "IC103", "IC104", "IC105", "IC106", "IC107"}),
        (["IC1"], ["IC102"], {"IC101", "IC103", "IC104", "IC105", "IC106", "IC107"}),
        (["IC102"], ["IC1"], {"IC102"}),
        ([], ["IC"], set()),
        (["vanishing-gradients"], [], {"IC201"}),
        (["IC2"], ["vanishing-gradients"], {"IC202", "IC203", "IC204", "IC205"}),
    ],
)
def test_the_longest_prefix_that_fits_decides(select, ignore, kept):
    assert set(codes(select_findings(ALL, select, ignore))) == kept


def test_a_waived_layer_stands_for_all_in_it_and_others_stay():
    finding = Finding("IC203", "block/a/kernel", "message", None, ("block/a/kernel", "block/b/kernel", "head/kernel"))
    (kept,) = waive_layers([finding], ["block"])
    assert (kept.layer, kept.layers) == ("head/kernel", ("head/kernel",))
    assert waive_layers([finding], ["*/kernel"]) == ()
    assert waive_layers([finding], ["blo"]) == (finding,)


def test_waiving_another_layer_leaves_the_first_one_named():
    finding = Finding("IC101", "c", "message", None, ("b", "c", "d"))
    assert waive_layers([finding], ["d"])[0].layer == "c"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("total_factor", 1.0),
        ("dead_fraction", 1.0),
        ("dead_fraction", True),
        ("layer_margin", float("nan")),
        ("fan_ratio", "2"),
    ],
)
def test_a_limit_out_of_range_is_refused_by_name_with_what_was_received(name, value):
    with pytest.raises(UsageError, match=f"{name}.*Received: {value!r}"):
        Limits().replaced({name: value})


def test_an_unknown_limit_is_refused_with_near_names():
    with pytest.raises(UsageError, match="Did you mean dead_fraction"):
        Limits().replaced({"dead-fractions": 0.1})
