"""The JSON of an examined model: strict, complete, and as its schema says."""

from __future__ import annotations

import copy
import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from examined_model import HOSTILE, KINDS, make_fix, make_result
from json_schema import find_violations

from initcheck.audit.findings import Cause, Finding, Measured
from initcheck.checking.report import json_document
from initcheck.checking.report.json_document import SCHEMA_VERSION, format_json
from initcheck.checking.report.text import layer_rows
from initcheck.probe.coverage import Gap

SCHEMA = json.loads(Path(json_document.__file__).with_name("check_schema.json").read_text(encoding="utf-8"))


def _refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is no JSON")


def _write(**changes):
    return json.loads(format_json(make_result(**changes)), parse_constant=_refuse)


RESULTS = {
    **KINDS,
    "findings": {"forward": 0.2, "backward": 5.0, "fix": make_fix(HOSTILE), "names": (HOSTILE,)},
    "gaps": {"gaps": (Gap("a", "Lambda", "why"), Gap("b", "LSTMCell", "loop", "lstm"))},
    "waived": {"waived": (Finding("IC601", "", "nothing"),)},
}


@pytest.mark.parametrize("name", RESULTS)
def test_every_kind_of_result_keeps_to_the_schema(name):
    assert find_violations(_write(**RESULTS[name]), SCHEMA) == []


def _change(path: str, value: object):
    def change(result: dict) -> None:
        *way, last = path.split(".")
        place = result
        for step in way:
            place = place[int(step) if step.isdigit() else step]
        if value is ...:
            del place[last]
        else:
            place[last] = value

    return change


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("schema_version", 1),
        ("verdict", "green"),
        ("exit_code", True),
        ("seeds", 8),
        ("new_field", 1),
        ("coverage.gaps", ...),
        ("findings.0.code", "E501"),
        ("findings.0.severity", "bad"),
        ("findings.0.measured.value", "NaN"),
        ("findings.0.fix.solved", None),
        ("paths.0.direction", "up"),
        ("paths.0.factor_per_step.low", ...),
        ("paths.0.counted", [1]),
        ("problems.0.level", "bad"),
        ("problems.0.findings", [-1]),
        ("problems.0.place", "models.py:3"),
        ("problems.0.cause", ...),
        ("layers.0.order", -1),
        ("layers.0.zero", "none"),
        ("limits.fan_ratio", None),
    ],
)
def test_the_schema_refuses_what_is_otherwise(path, value):
    result = _write(**RESULTS["findings"])
    changed = copy.deepcopy(result)
    _change(path, value)(changed)
    assert find_violations(changed, SCHEMA)


def test_every_field_of_the_schema_is_described():
    def undescribed(schema: dict, place: str) -> list[str]:
        found = []
        for name, inner in schema.get("properties", {}).items():
            if not ({"description", "$ref", "enum", "type"} & set(inner)):
                found.append(f"{place}.{name}")
            found += undescribed(inner, f"{place}.{name}")
        return found

    assert undescribed(SCHEMA, "$") == []
    assert SCHEMA["properties"]["schema_version"]["const"] == SCHEMA_VERSION
    assert SCHEMA["required"] == list(SCHEMA["properties"])


def test_what_is_known_of_the_model_is_there():
    checked = make_result(forward=0.2, seeds=4)
    result = json.loads(format_json(checked))
    assert (result["model"], result["verdict"], result["exit_code"]) == ("package.module:factory", "findings", 1)
    assert result["seeds"] == [0, 1, 2, 3] and result["redrawn"] is True
    assert result["limits"]["total_factor"] == 100.0 and result["versions"]["keras"] == "3.15.1"
    assert result["coverage"] == {
        "layer_calls": 6,
        "weights": 12,
        "judged_paths": 1,
        "unmeasured": 0,
        "loaded": [],
        "not_finite": [],
        "gaps": [],
    }


def test_weights_that_were_loaded_or_are_not_finite_are_named():
    checked = replace(make_result(), loaded=("layer_1/kernel",), not_finite=("layer_2/kernel",))
    coverage = json.loads(format_json(checked))["coverage"]
    assert (coverage["loaded"], coverage["not_finite"]) == (["layer_1/kernel"], ["layer_2/kernel"])


def test_a_problem_has_its_place_cause_and_findings_by_index():
    cause = Cause("spread", ("layer_2", "layer_3"), "they are small", 0.08)
    note = Finding("IC303", "layer_1", "a few units are dead", note=True)
    checked = make_result(forward=0.2, backward=0.2, extra=[note], fix=make_fix())
    caused = tuple(each if each.note else replace(each, cause=cause) for each in checked.findings)
    result = json.loads(format_json(replace(checked, findings=caused, places={"layer_3": "my models.py:14"})))
    assert find_violations(result, SCHEMA) == []
    problem, other = result["problems"]
    assert problem["title"] == "the kernels of layer_2 and layer_3 are drawn up to 12.5 times too small"
    assert (problem["level"], problem["layers"]) == ("wrong", ["layer_2", "layer_3"])
    assert problem["place"] == {"file": "my models.py", "line": 14}
    assert problem["cause"] == {
        "kind": "spread",
        "layers": ["layer_2", "layer_3"],
        "message": "they are small",
        "factor": 0.08,
    }
    assert problem["codes"] == ["IC101", "IC201"] == [result["findings"][at]["code"] for at in problem["findings"]]
    assert problem["fix"]["change"] == 'kernel_initializer="he_normal" in layer_1' and problem["fix"]["cures"] is True
    assert (other["level"], other["cause"], other["place"], other["fix"]) == ("note", None, None, None)
    assert [result["findings"][at]["severity"] for at in other["findings"]] == ["note"]
    assert sorted(problem["findings"] + other["findings"]) == list(range(len(result["findings"])))


def test_a_finding_has_the_cause_and_the_place_of_its_own_layer():
    checked = make_result(forward=0.2)
    cause = Cause("inputs", ("inputs",), "they are large")
    result = replace(
        checked,
        findings=tuple(replace(each, cause=cause) for each in checked.findings),
        places={"layer_3": "models.py:14", "inputs": "models.py:2"},
    )
    document = json.loads(format_json(result))
    (finding,) = document["findings"]
    assert finding["place"] == {"file": "models.py", "line": 14}
    assert document["problems"][0]["place"] == {"file": "models.py", "line": 2}
    assert finding["cause"] == {"kind": "inputs", "layers": ["inputs"], "message": "they are large", "factor": None}
    without = _write(forward=0.2)["findings"][0]
    assert (without["cause"], without["place"]) == (None, None)


def test_a_finding_has_its_code_name_severity_value_and_fix():
    (finding,) = _write(forward=0.2, fix=make_fix("layer_0"))["findings"]
    assert (finding["code"], finding["name"], finding["severity"]) == ("IC101", "vanishing-activations", "wrong")
    assert finding["layer"] == "layer_3" and "layer_4" in finding["layers"]
    measured = finding["measured"]
    assert measured["low"] < measured["value"] < measured["high"] < measured["limit"] == pytest.approx(0.01)
    assert finding["fix"]["before"]["value"] == 0.3 and finding["fix"]["after"]["value"] == 1.0
    assert finding["fix"]["cures"] is True


def test_a_path_has_factors_whose_logarithms_and_roots_agree():
    forward, backward = _write(forward=0.3, backward=2.0)["paths"]
    assert (forward["direction"], backward["direction"]) == ("forward", "backward")
    for path in (forward, backward):
        for end in ("value", "low", "high"):
            log = path["log_change_in_all"][end]
            assert path["factor_in_all"][end] == pytest.approx(math.exp(log))
            assert path["factor_per_step"][end] == pytest.approx(math.exp(log / path["steps"]))
        assert path["limit"] == pytest.approx(math.exp(path["log_limit"]))
        assert (path["is_main"], path["from"], path["to"]) == (True, "inputs", "outputs")
        assert len(path["counted"]) == len(path["layers"]) and sum(path["counted"]) == path["steps"]
    assert forward["outcome"] == "falls" and forward["beyond"][0] == "layer_4"
    assert forward["factor_per_step"]["value"] == pytest.approx(0.3, rel=0.05)
    assert backward["outcome"] == "within" and backward["beyond"] == []


def test_paths_in_branches_have_their_ends_and_what_they_stand_for():
    checked = make_result(blocks=True, layers=8, forward=0.1)
    paths = json.loads(format_json(checked))["paths"]
    assert [(each["is_main"], each["from"], each["to"]) for each in paths[:2]] == [(True, "inputs", "outputs")] * 2
    assert [(each["from"], each["to"]) for each in paths[2::2]] == [
        ("layer_0", "add_4"),
        ("add_4", "add_7"),
        ("add_7", "add_10"),
    ]
    assert paths[0]["small_end_is_chosen"] is True and paths[0]["counted"][-1] is False
    first, *others = checked.paths
    parted = replace(first, path=replace(first.path, stands_for=(2, 3)), doers=(1, 2))
    document = json.loads(format_json(replace(checked, paths=(parted, *others))))
    path = document["paths"][0]
    assert path["stands_for"] == ["layer_1", "layer_2"]
    assert path["doers"] == path["layers"][1:3]
    assert find_violations(document, SCHEMA) == []


@pytest.mark.parametrize(("total", "factor"), [(1400.0, "inf"), (-1400.0, 0.0)])
def test_a_factor_beyond_the_range_of_floats_still_has_its_logarithm(total, factor):
    checked = make_result(layers=400)
    first, *others = checked.paths
    wide = replace(first, total=replace(first.total, value=total, low=total - 1.0, high=total + 1.0))
    result = json.loads(format_json(replace(checked, paths=(wide, *others))), parse_constant=_refuse)
    path = result["paths"][0]
    assert path["factor_in_all"] == {"value": factor, "low": factor, "high": factor}
    assert path["log_change_in_all"] == {"value": total, "low": total - 1.0, "high": total + 1.0}
    assert path["factor_per_step"]["value"] == pytest.approx(math.exp(total / 398))
    assert find_violations(result, SCHEMA) == []


def test_one_draw_has_null_ends():
    result = _write(seeds=1, forward=0.2)
    assert result["redrawn"] is False
    assert result["paths"][0]["factor_per_step"]["low"] is None
    assert result["findings"][0]["measured"]["high"] is None


def test_infinities_are_text_and_missing_figures_null():
    finding = Finding("IC102", "layer_1", "grows", Measured("factor", math.inf, -math.inf, math.nan))
    measured = next(each for each in _write(extra=[finding])["findings"] if each["code"] == "IC102")["measured"]
    assert (measured["value"], measured["low"], measured["high"]) == ("inf", "-inf", None)


def test_layers_are_the_rows_of_the_terminals_table():
    checked = make_result(blocks=True, layers=8, forward=0.1)
    result = json.loads(format_json(checked))
    rows = layer_rows(checked)
    assert [row["name"] for row in result["layers"]] == [row.name for row in rows]
    assert [row["second_moment"] for row in result["layers"]] == [row.second_moment for row in rows]
    assert [tuple(row["codes"]) for row in result["layers"]] == [row.codes for row in rows]
    assert any(row["codes"] for row in result["layers"])


def test_layers_have_their_gain_over_what_they_receive():
    checked = make_result(layers=4)
    moments = checked.table["preactivation_second_moment"]
    checked = replace(checked, table=checked.table.assign(input_second_moment=moments / 2.0))
    for row in json.loads(format_json(checked))["layers"][1:]:
        assert row["forward_gain"] == pytest.approx(2.0)
        assert row["second_moment"] == pytest.approx(2.0 * row["input_second_moment"])
        assert row["on_main_path"] is True
    assert {row["forward_gain"] for row in _write(layers=4)["layers"]} == {None}


def test_names_are_raw_text():
    result = _write(names=(HOSTILE,), model="naïve \ud800 model")
    assert result["layers"][1]["layer"] == HOSTILE
    assert format_json(make_result(model="naïve \ud800 model")).isascii()


def test_the_same_examination_gives_the_same_text_but_for_the_time():
    checked = make_result(forward=0.2)
    assert format_json(checked) == format_json(make_result(forward=0.2))
    assert format_json(checked) != format_json(replace(checked, seconds=5.0))
