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

from initcheck.audit.findings import Finding, Measured
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
        ("schema_version", 2),
        ("verdict", "green"),
        ("exit_code", True),
        ("seeds", 8),
        ("new_field", 1),
        ("coverage.gaps", ...),
        ("findings.0.code", "E501"),
        ("findings.0.severity", "bad"),
        ("findings.0.measured.value", "NaN"),
        ("findings.0.remedy.solved", None),
        ("courses.0.direction", "up"),
        ("courses.0.factor_per_step.low", ...),
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
    assert result["coverage"] == {"layer_calls": 6, "weights": 12, "unmeasured": 0, "gaps": []}


def test_a_finding_has_its_code_name_severity_value_and_fix():
    (finding,) = _write(forward=0.2, fix=make_fix("layer_0"))["findings"]
    assert (finding["code"], finding["name"], finding["severity"]) == ("IC101", "vanishing-activations", "wrong")
    assert finding["layer"] == "layer_3" and "layer_4" in finding["layers"]
    measured = finding["measured"]
    assert measured["low"] < measured["value"] < measured["high"] < measured["limit"] == pytest.approx(0.01)
    assert finding["remedy"]["before"]["value"] == 0.3 and finding["remedy"]["after"]["value"] == 1.0
    assert finding["remedy"]["solved"] is True


def test_a_course_has_factors_whose_logarithms_and_roots_agree():
    forward, backward = _write(forward=0.3, backward=2.0)["courses"]
    assert (forward["direction"], backward["direction"]) == ("forward", "backward")
    for course in (forward, backward):
        for end in ("value", "low", "high"):
            log = course["log_change_in_all"][end]
            assert course["factor_in_all"][end] == pytest.approx(math.exp(log))
            assert course["factor_per_step"][end] == pytest.approx(math.exp(log / course["steps"]))
        assert course["limit"] == pytest.approx(math.exp(course["log_limit"]))
    assert forward["outcome"] == "falls" and forward["beyond"][0] == "layer_4"
    assert forward["factor_per_step"]["value"] == pytest.approx(0.3, rel=0.05)
    assert backward["outcome"] == "within" and backward["beyond"] == []


@pytest.mark.parametrize(("total", "factor"), [(1400.0, "inf"), (-1400.0, 0.0)])
def test_a_factor_beyond_the_range_of_floats_still_has_its_logarithm(total, factor):
    checked = make_result(layers=400)
    first, *others = checked.paths
    wide = replace(first, total=replace(first.total, value=total, low=total - 1.0, high=total + 1.0))
    result = json.loads(format_json(replace(checked, paths=(wide, *others))), parse_constant=_refuse)
    course = result["courses"][0]
    assert course["factor_in_all"] == {"value": factor, "low": factor, "high": factor}
    assert course["log_change_in_all"] == {"value": total, "low": total - 1.0, "high": total + 1.0}
    assert course["factor_per_step"]["value"] == pytest.approx(math.exp(total / 398))
    assert find_violations(result, SCHEMA) == []


def test_one_draw_has_null_ends():
    result = _write(seeds=1, forward=0.2)
    assert result["redrawn"] is False
    assert result["courses"][0]["factor_per_step"]["low"] is None
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


def test_names_are_raw_text():
    result = _write(names=(HOSTILE,), model="naïve \ud800 model")
    assert result["layers"][1]["layer"] == HOSTILE
    assert format_json(make_result(model="naïve \ud800 model")).isascii()


def test_the_same_examination_gives_the_same_text_but_for_the_time():
    checked = make_result(forward=0.2)
    assert format_json(checked) == format_json(make_result(forward=0.2))
    assert format_json(checked) != format_json(replace(checked, seconds=5.0))
