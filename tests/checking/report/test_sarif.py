"""The result of a check as SARIF: the standard's form, places, fingerprints that stay, fixes that can be applied."""

from __future__ import annotations

import json
import os
import random
from dataclasses import replace
from urllib.parse import unquote

import pytest
from examined_model import HOSTILE, KINDS, make_fix, make_result
from gate_baselines import change_weight, make_baseline, rename, shift
from placed_problems import CODE, make_placed
from sarif_kit.validate import validation_errors

from initcheck.audit.findings import Finding
from initcheck.audit.rules import RULES
from initcheck.checking.gate.causes import find_causes
from initcheck.checking.gate.comparison import compare
from initcheck.checking.gate.report import describe_cause, format_verdict
from initcheck.checking.report.annotations import format_annotations, format_concise
from initcheck.checking.report.sarif import format_sarif, list_replacements
from initcheck.checking.report.text import format_summary, list_changes
from initcheck.checking.rewrite import write_edits
from initcheck.probe.places import CallSite

NOTE = Finding("IC303", "layer_1", "a few units are dead", note=True)
GAP = Finding("IC601", "layer_1", "layer_1 was not measured")


PLAIN = make_baseline()
GATES = {
    "changed": compare(PLAIN, shift(PLAIN, "dense_2/kernel", 0.2)),
    "inconclusive": compare(make_baseline(spread=0.2), make_baseline(spread=0.2, seeds=range(100, 116), draw=1)),
}


def _run(*arguments, **changes):
    log = json.loads(format_sarif(*arguments, **changes))
    assert validation_errors(log) == []
    return log["runs"][0]


# --- the form ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_result_keeps_to_the_standard_with_one_result_a_problem(name):
    checked = make_result(**KINDS[name])
    run = _run(checked)
    rules = [each["id"] for each in run["tool"]["driver"]["rules"]]
    assert [each["ruleId"] for each in run["results"]] == [each.main.code for each in checked.problems]
    assert all(rules[each["ruleIndex"]] == each["ruleId"] for each in run["results"])
    assert sorted(rules) == sorted({each.code for each in checked.findings})
    assert run["invocations"][0]["exitCode"] == checked.exit_code


def test_the_level_is_that_of_the_problem():
    run = _run(make_result(forward=0.2, extra=[NOTE, GAP]))
    assert [(each["ruleId"], each["level"]) for each in run["results"]] == [
        ("IC101", "error"),
        ("IC601", "warning"),
        ("IC303", "note"),
    ]


@pytest.mark.parametrize("name", GATES)
def test_what_a_gate_fails_for_is_a_result_of_a_rule_of_its_own(name):
    run = _run(make_result(forward=0.2), GATES[name], "b.json")
    change, problem = run["results"]
    assert change["baselineState"] == "new"
    assert (change["ruleId"], change["level"]) == (f"gate-{name}", {"changed": "error"}.get(name, "warning"))
    title, _, said = change["message"]["text"].partition("\n")
    assert title.removesuffix("; cause: model") in format_verdict(GATES[name])
    assert said.splitlines() == list_changes(GATES[name])
    assert change["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "b.json"
    rule = run["tool"]["driver"]["rules"][change["ruleIndex"]]
    assert rule["id"] == f"gate-{name}" and rule["help"]["text"].count("What to do: ") == 1
    assert run["tool"]["driver"]["rules"][problem["ruleIndex"]]["id"] == problem["ruleId"] == "IC101"
    prints = [each["partialFingerprints"]["initcheckProblem/v1"] for each in run["results"]]
    assert len(set(prints)) == 2


@pytest.mark.parametrize(
    ("name", "code", "level"), [("changed", 1, "error"), ("inconclusive", 2, "warning"), ("", 0, "note")]
)
def test_the_exit_code_and_the_notification_are_those_of_the_gate(name, code, level):
    comparison = GATES[name] if name else compare(PLAIN, PLAIN)
    (invocation,) = _run(make_result(), comparison, "b.json")["invocations"]
    assert invocation["exitCode"] == code
    assert invocation["toolExecutionNotifications"] == [
        {"level": level, "message": {"text": format_verdict(comparison)}}
    ]


def test_each_cause_of_a_change_is_a_result_at_the_call_that_made_its_layer(project):
    checked = make_placed(project / "my models.py", 0, 1)
    checked = replace(checked, findings=(), keys={"layer_0/kernel": "dense/kernel"})
    before, after = (rename(rename(PLAIN, "dense_0", "layer_0"), "dense_1", "layer_1") for _ in range(2))
    for layer, changes in (("layer_0", {"dtype": "float16"}), ("layer_1", {"initializer": "HeUniform"})):
        after = change_weight(after, f"{layer}/kernel", **changes)
    comparison = compare(before, after)
    results = _run(checked, comparison, "b.json")["results"]
    assert [each["message"]["text"].partition("\n")[0] for each in results] == [
        describe_cause(each) for each in find_causes(comparison)
    ]
    lines = [each["locations"][0]["physicalLocation"]["region"]["startLine"] for each in results]
    prints = [each["partialFingerprints"]["initcheckProblem/v1"] for each in results]
    assert sorted(zip(prints, lines, strict=True)) == [
        ("gate-changed:dense/kernel", 5),
        ("gate-changed:layer_1/kernel", 6),
    ]
    # What was measured is said once, and an annotation without it says what it is about.
    first, second = (each["message"]["text"].partition("\n")[2] for each in results)
    assert first.splitlines() == list_changes(comparison) and second == ""
    _, annotation = format_annotations(checked, comparison, "b.json").splitlines()
    assert annotation.endswith(f"::{results[1]['message']['text']}")


def test_a_change_of_a_later_call_is_a_result_where_its_layer_was_made(project):
    checked = replace(make_placed(project / "my models.py", 0), findings=())
    before = rename(PLAIN, "dense_0", "layer_0#1")
    comparison = compare(before, change_weight(before, "layer_0#1/kernel", dtype="float16"))
    (result,) = _run(checked, comparison, "b.json")["results"]
    assert result["locations"][0]["physicalLocation"]["region"]["startLine"] == 5


def test_what_other_seeds_may_have_brought_about_is_a_note(project):
    checked = make_placed(project / "my models.py", 0)
    (finding,) = checked.findings
    comparison = replace(compare(PLAIN, PLAIN), unconfirmed=((finding.code, finding.layer),))
    (result,) = _run(checked, comparison, "b.json")["results"]
    assert (result["level"], result["baselineState"]) == ("note", "new")
    assert format_annotations(checked, comparison, "b.json").startswith("::notice file=b.json,")
    assert format_concise(checked, comparison, "b.json") == ""


def test_a_gate_that_passes_has_no_result():
    assert _run(make_result(), compare(PLAIN, PLAIN), "b.json")["results"] == []


def test_a_rule_brings_its_whole_text():
    (rule,) = _run(make_result(forward=0.2))["tool"]["driver"]["rules"]
    known = RULES["IC101"]
    assert (rule["name"], rule["shortDescription"]["text"]) == (known.name, "Vanishing activations")
    for text in (known.what, known.why, known.fix, known.source):
        assert text in rule["help"]["text"] and text in rule["help"]["markdown"]


def test_strange_names_do_no_harm():
    checked = make_result(forward=0.2, names=(HOSTILE,), fix=make_fix(HOSTILE), model=f"{HOSTILE}.py:build")
    run = _run(checked)
    assert run["automationDetails"]["id"] == f"initcheck/{HOSTILE}.py:build/"
    location = run["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]
    assert unquote(location["uri"]) == f"{HOSTILE}.py"


def test_a_problem_is_known_by_its_code_and_structural_path_whatever_its_layer_is_called():
    checked = make_result(forward=0.2, extra=[NOTE, GAP])
    prints = [each["partialFingerprints"] for each in _run(checked)["results"]]
    assert prints == [
        {"initcheckProblem/v1": f"{code}:{layer}"}
        for code, layer in (("IC101", "layer_3"), ("IC601", "layer_1"), ("IC303", "layer_1"))
    ]
    renamed = replace(checked, keys={"layer_3": "dense_2"})
    assert _run(renamed)["results"][0]["partialFingerprints"] == {"initcheckProblem/v1": "IC101:dense_2"}
    twice = replace(checked, findings=(NOTE, replace(NOTE, message="and others are, too")))
    assert [each["partialFingerprints"]["initcheckProblem/v1"] for each in _run(twice)["results"]] == [
        "IC303:layer_1",
        "IC303:layer_1:2",
    ]


# --- places -----------------------------------------------------------------------------------------------------------


def _cut(text: str, region: dict[str, int]) -> tuple[int, int]:
    """Find a region in a text by the standard's own words: lines, and UTF-16 code units from 1."""
    starts = [0]
    for line in text.split("\n"):
        starts.append(starts[-1] + len(f"{line}\n".encode("utf-16-le")) // 2)
    end_line = region.get("endLine", region["startLine"])
    return starts[region["startLine"] - 1] + region["startColumn"] - 1, starts[end_line - 1] + region["endColumn"] - 1


@pytest.mark.parametrize(
    ("number", "begins", "ends"), [(0, "layers.Dense(64", '"ones")'), (1, "layers.Dense(\n", "    )")]
)
def test_the_region_is_the_call_that_made_the_layer(project, number, begins, ends):
    location = _run(make_placed(project / "my models.py", number))["results"][0]["locations"][0]
    assert location["physicalLocation"]["artifactLocation"] == {"uri": "my%20models.py", "uriBaseId": "%SRCROOT%"}
    assert location["logicalLocations"] == [{"fullyQualifiedName": f"layer_{number}/kernel"}]
    first, last = _cut(CODE, location["physicalLocation"]["region"])
    call = CODE.encode("utf-16-le")[2 * first : 2 * last].decode("utf-16-le")
    assert call.startswith(begins) and call.endswith(ends)


def test_without_columns_the_line_is_the_region(project):
    checked = make_placed(project / "my models.py", 0)
    ((name, site),) = checked.sites.items()
    for sites in ({}, {name: CallSite(site.file, site.shown, site.line)}):
        (result,) = _run(replace(checked, sites=sites))["results"]
        assert result["locations"][0]["physicalLocation"]["region"] == {"startLine": 5}


def test_what_no_known_line_made_stands_beside_the_baseline_or_the_models_file():
    checked = make_result(forward=0.2, model="models.py:build")
    for baseline, file in (("", "models.py"), ("b.json", "b.json")):
        (result,) = _run(checked, None, baseline)["results"]
        assert result["locations"][0]["physicalLocation"] == {
            "artifactLocation": {"uri": file, "uriBaseId": "%SRCROOT%"}
        }
    (result,) = _run(replace(checked, model="applications:VGG16"))["results"]
    assert "physicalLocation" not in result["locations"][0]


def test_on_github_files_are_named_from_the_repository_and_the_fix_is_for_the_same_file(project, monkeypatch):
    monkeypatch.setenv("GITHUB_WORKSPACE", str(project.parent))
    (result,) = _run(make_placed(project / "my models.py", 0))["results"]
    ((change,),) = (each["artifactChanges"] for each in result["fixes"])
    there = {"uri": "a%20project/my%20models.py", "uriBaseId": "%SRCROOT%"}
    assert result["locations"][0]["physicalLocation"]["artifactLocation"] == there == change["artifactLocation"]


def test_a_problem_is_known_by_the_same_when_its_lines_move(project):
    path = project / "my models.py"
    before, after = [], []
    for prints, text in ((before, CODE), (after, f"# A comment.\n\n{CODE}")):
        path.write_text(text, encoding="utf-8")
        (result,) = _run(make_placed(path, 0))["results"]
        prints += [result["partialFingerprints"], result["locations"][0]["physicalLocation"]["region"]["startLine"]]
    assert before[0] == after[0] and after[1] == before[1] + 2


# --- fixes ------------------------------------------------------------------------------------------------------------


def _apply(text: str, replacements: list[dict]) -> str:
    data = text.encode("utf-16-le")
    places = [(*_cut(text, each["deletedRegion"]), each["insertedContent"]["text"]) for each in replacements]
    for first, last, new in sorted(places, reverse=True):
        data = data[: 2 * first] + new.encode("utf-16-le") + data[2 * last :]
    return data.decode("utf-16-le")


@pytest.mark.parametrize("numbers", [(0,), (1,), (0, 1)])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_the_replacements_applied_give_what_the_rewriting_gives(project, numbers, newline):
    path = project / "my models.py"
    path.write_bytes(CODE.replace("\n", newline).encode("utf-8-sig" if newline == "\r\n" else "utf-8"))
    checked = make_placed(path, *numbers)
    (result,) = _run(checked)["results"]
    ((change,),) = (each["artifactChanges"] for each in result["fixes"])
    assert change["artifactLocation"] == {"uri": "my%20models.py", "uriBaseId": "%SRCROOT%"}
    (file,) = write_edits(checked.problems[0].fix.edits, project).files
    old, new = (each.decode("utf-8-sig") for each in (file.old, file.new))
    assert _apply(old, change["replacements"]) == new != old
    # No more is replaced than changes: the values alone.
    assert len(change["replacements"]) == len(numbers)
    assert all(
        each["insertedContent"]["text"] == '"he_normal"' or len(each["insertedContent"]["text"]) < 11
        for each in change["replacements"]
    )


@pytest.mark.parametrize("seed", range(50))
def test_any_text_becomes_any_other_by_the_replacements(seed):
    generator = random.Random(seed)
    old, new = ("".join(generator.choices("ab\n\r𝄞", k=generator.randrange(30))) for _ in range(2))
    made, shift = old, 0
    for each in list_replacements(old, new):
        made = made[: each.start + shift] + each.text + made[each.end + shift :]
        shift += len(each.text) - (each.end - each.start)
    assert made == new


def test_a_file_that_is_not_of_the_project_or_has_changed_gets_no_fix(project, tmp_path):
    outside = tmp_path / "outside.py"
    outside.write_text(CODE, encoding="utf-8")
    (result,) = _run(make_placed(outside, 0))["results"]
    assert "fixes" not in result and str(tmp_path) not in json.dumps(result)
    path = project / "my models.py"
    checked = replace(make_placed(path, 0), loaded_at=path.stat().st_mtime + 1.0)
    assert "fixes" in _run(checked)["results"][0]
    os.utime(path, (path.stat().st_atime, path.stat().st_mtime + 2.0))
    assert "fixes" not in _run(checked)["results"][0]
    assert "```diff" not in format_summary(checked)


def test_a_fix_of_which_one_edit_cannot_be_written_is_left_out_whole(project):
    checked = make_placed(project / "my models.py", 0, 1)
    fix = checked.problems[0].fix
    edits = (fix.edits[0], replace(fix.edits[1], others=("layer_4",)))
    partly = replace(checked, findings=tuple(replace(each, fix=replace(fix, edits=edits)) for each in checked.findings))
    assert "fixes" not in _run(partly)["results"][0]
    assert "```diff" not in format_summary(partly)


def test_the_summary_has_the_changed_lines_as_a_diff(project):
    summary = format_summary(make_placed(project / "my models.py", 0)).partition("<details>")[0]
    begin = summary.index("  ```diff\n")
    lines = summary[begin:].splitlines()
    assert [line for line in lines if line.startswith(("  -", "  +"))] == [
        "  --- a/my models.py",
        "  +++ b/my models.py",
        '  -    first = "𝄞 é"; bad = layers.Dense(64, activation="relu", kernel_initializer="ones")',
        '  +    first = "𝄞 é"; bad = layers.Dense(64, activation="relu", kernel_initializer="he_normal")',
    ]


def test_the_summary_has_a_diff_that_cures_two_problems_once(project):
    checked = make_placed(project / "my models.py", 0)
    (found,) = checked.findings
    other = replace(NOTE, layer="layer_4", note=False, fix=found.fix)
    both = replace(checked, findings=(found, other))
    assert len(both.problems) == 2
    assert format_summary(both).count("```diff") == format_summary(checked).count("```diff") == 1
