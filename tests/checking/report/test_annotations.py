"""The result of a check as lines that tools read: annotations as GitHub takes them apart, and a line a problem."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
from documentation import ROOT
from examined_model import HOSTILE, KINDS, make_fix, make_result
from gate_baselines import make_baseline, shift
from placed_problems import CODE, find_call, make_placed

from initcheck.audit.findings import Finding
from initcheck.checking.gate.causes import find_causes
from initcheck.checking.gate.comparison import compare
from initcheck.checking.gate.report import describe_cause, format_verdict
from initcheck.checking.report.annotations import format_annotations, format_concise
from initcheck.probe.places import CallSite

NOTE = Finding("IC303", "layer_1", "a few units are dead", note=True)
GAP = Finding("IC601", "layer_1", "layer_1 was not measured")
MATCHERS = {
    each["severity"]: each["pattern"][0]
    for each in json.loads((ROOT / ".github" / "problem-matcher.json").read_text(encoding="utf-8"))["problemMatcher"]
}
PLAIN = make_baseline()
CHANGED = compare(PLAIN, shift(PLAIN, "dense_2/kernel", 0.2))


def _take_apart(line: str) -> tuple[str, dict[str, str], str]:
    """Take a workflow command apart as GitHub's runner does: level, properties, message."""
    level, _, properties = line.removeprefix("::").partition("::")[0].partition(" ")
    message = line.removeprefix("::").partition("::")[2]
    assert line.startswith("::") and "\n" not in line and "\r" not in line
    named = dict(each.split("=", 1) for each in properties.split(","))
    return level, {name: _unescape(value, "%3A", "%2C") for name, value in named.items()}, _unescape(message)


def _unescape(text: str, *more: str) -> str:
    for code in ("%0D", "%0A", *more, "%25"):
        text = text.replace(code, chr(int(code[1:], 16)))
    return text


def _annotate(*arguments) -> list[tuple[str, dict[str, str], str]]:
    return [_take_apart(line) for line in format_annotations(*arguments).splitlines()]


# --- annotations ------------------------------------------------------------------------------------------------------


def test_an_annotation_a_problem_says_what_is_wrong_and_what_was_tried():
    checked = replace(make_result(forward=0.2, fix=make_fix(), extra=[GAP, NOTE]), model="other.py:build")
    problem, gap, note = _annotate(checked)
    assert problem[:2] == (
        "error",
        {"file": "other.py", "title": "initcheck: vanishing activations: layer_3 and layer_4 (IC101)"},
    )
    assert [each.partition(": ")[0] for each in problem[2].splitlines()] == ["IC101", "fix"]
    title = "initcheck: unmeasured: layer_1 (not judged) (IC601)"
    assert gap == ("warning", {"file": "other.py", "title": title}, "IC601: layer_1 was not measured.")
    title = "initcheck: dead units: layer_1 (note) (IC303)"
    assert note == ("notice", {"file": "other.py", "title": title}, "IC303: a few units are dead.")


def test_a_call_of_one_line_is_marked_with_its_columns_and_one_of_several_with_its_lines(project):
    ((_, place, _),) = _annotate(make_placed(project / "my models.py", 0))
    assert (place["file"], place["line"], place["endLine"]) == ("my models.py", "5", "5")
    units = CODE.splitlines()[4].encode("utf-16-le")
    call = units[2 * int(place["col"]) - 2 : 2 * int(place["endColumn"]) - 2].decode("utf-16-le")
    assert call.startswith("layers.Dense(64") and call.endswith('"ones")')
    ((_, place, _),) = _annotate(make_placed(project / "my models.py", 1))
    assert (place["line"], place["endLine"]) == ("6", "9") and "col" not in place and "endColumn" not in place
    (project / "flat.py").write_text("layers.Dense(3)\n", encoding="utf-8")
    ((_, place, _),) = _annotate(make_placed(project / "flat.py", 0))
    assert (place["line"], place["col"], place["endColumn"]) == ("1", "1", "16")


def test_the_last_line_is_the_command_that_writes_the_fix(project):
    checked = replace(make_placed(project / "my models.py", 0), fix_command="initcheck fix m.py:build --write")
    assert _annotate(checked)[0][2].splitlines()[-1] == "write: initcheck fix m.py:build --write"
    without = replace(checked, findings=tuple(replace(each, fix=None) for each in checked.findings))
    assert "write: " not in _annotate(without)[0][2]


def test_on_github_files_are_named_from_the_repository_wherever_the_command_runs(project, monkeypatch):
    repository = project.parent
    monkeypatch.setenv("GITHUB_WORKSPACE", str(repository))
    ((_, place, _),) = _annotate(make_placed(project / "my models.py", 0))
    assert place["file"] == "a project/my models.py"
    (repository / "link").symlink_to(repository, target_is_directory=True)
    monkeypatch.setenv("GITHUB_WORKSPACE", str(repository / "link"))
    ((_, place, _),) = _annotate(make_placed(project / "my models.py", 0))
    assert place["file"] == "a project/my models.py"
    (repository / "shared").mkdir()
    (repository / "shared" / "layers.py").write_text(CODE, encoding="utf-8")
    ((_, place, _),) = _annotate(make_placed(repository / "shared" / "layers.py", 0))
    assert (place["file"], place["line"]) == ("shared/layers.py", "5")
    ((_, place, _),) = _annotate(make_result(), None, "../baselines/b.json")
    assert place["file"] == "baselines/b.json"
    monkeypatch.setenv("GITHUB_WORKSPACE", str(repository / "shared"))  # another checkout than the one at work
    ((_, place, _),) = _annotate(make_placed(project / "my models.py", 0))
    assert place["file"] == "my models.py"


def test_what_no_file_of_the_project_makes_stands_beside_the_baseline_or_the_models_file(project, tmp_path):
    outside = tmp_path / "outside.py"
    outside.write_text(CODE, encoding="utf-8")
    (project / "outside.py").write_text(CODE, encoding="utf-8")  # another file of the name that is shown
    checked = replace(make_placed(outside, 0), model="my models.py:build")
    assert [each[1]["file"] for each in (*_annotate(checked), *_annotate(checked, None, "b.json"))] == [
        "my models.py",
        "b.json",
    ]
    assert "outside" not in format_annotations(checked)
    assert "file" not in _annotate(replace(checked, model="applications:VGG16"))[0][1]


def test_the_verdict_of_a_gate_stands_beside_its_baseline_and_not_where_the_model_was_made(project):
    checked = make_result()
    checked = replace(checked, places={"": "my models.py:6"})
    for comparison, level in ((compare(PLAIN, PLAIN), "notice"), (CHANGED, "error")):
        ((found, place, _),) = _annotate(checked, comparison, "b.json")
        assert (found, place["file"], "line" in place) == (level, "b.json", False)


def test_a_problem_of_the_whole_model_stands_where_it_was_made(project):
    checked = make_result(extra=[Finding("IC603", "", "no path leads to the outputs")])
    site = find_call(project / "my models.py", 1)
    ((_, place, _),) = _annotate(replace(checked, places={"": str(site)}, sites={"": site}))
    assert (place["line"], place["endLine"]) == ("6", "9")


def test_where_the_first_layer_was_made_elsewhere_the_next_one_of_the_project_is_marked(project, tmp_path):
    checked = make_placed(project / "my models.py", 0)
    outside = CallSite(str(tmp_path / "outside.py"), "outside.py", 3)
    (found,) = checked.findings
    cause = replace(found.cause, layers=("layer_9", *found.cause.layers))
    checked = replace(
        checked,
        findings=(replace(found, cause=cause),),
        places={**checked.places, "layer_9": str(outside)},
        sites={**checked.sites, "layer_9": outside},
    )
    assert _annotate(checked)[0][1]["line"] == "5"


def test_where_the_layers_of_the_cause_have_no_place_those_of_the_finding_are_marked(project):
    checked = make_placed(project / "my models.py", 0)
    site = find_call(project / "my models.py", 1)
    (found,) = checked.findings
    checked = replace(checked, places={found.layer: str(site)}, sites={found.layer: site})
    assert _annotate(checked)[0][1]["line"] == "6"


def test_a_weight_that_another_line_made_is_marked_there_and_not_at_its_layer(project):
    checked = make_placed(project / "my models.py", 0)
    checked = replace(checked, places={**checked.places, "layer_0/kernel": "my models.py:9"})
    assert _annotate(checked)[0][1]["line"] == "9"


def test_a_file_that_has_changed_since_is_marked_by_its_line(project):
    path = project / "my models.py"
    checked = make_placed(path, 0)
    path.write_text("short\n", encoding="utf-8")
    ((_, place, _),) = _annotate(checked)
    assert place["line"] == "5" and not {"endLine", "col", "endColumn"} & set(place)


def test_names_that_hold_what_separates_come_back_as_they_are(project):
    name = f"100%, a:b,c=d {HOSTILE}"
    (annotation,) = _annotate(make_result(dead_from=3, names=(name,), extra=[]), None, f"{name}.json")
    assert annotation[1]["file"] == f"{name}.json"
    with_line = make_result(forward=0.2, names=("a\r\nb::error::c",))
    assert [each[0] for each in _annotate(with_line)] == ["error"]


# --- a line a problem -------------------------------------------------------------------------------------------------


def test_a_line_a_problem_with_the_code_of_its_main_finding(project):
    checked = make_placed(project / "my models.py", 0)
    checked = replace(checked, findings=(*checked.findings, GAP, NOTE), model="my models.py:build")
    assert format_concise(checked).splitlines() == [
        "my models.py:5: IC101 layer_0/kernel does not start at random",
        "my models.py:1: IC601 unmeasured: layer_1 (not judged)",
        "my models.py:1: IC303 dead units: layer_1 (note)",
    ]


def test_what_a_gate_fails_for_comes_first_with_a_code_of_its_own():
    undecided = compare(make_baseline(spread=0.2), make_baseline(spread=0.2, seeds=range(100, 116), draw=1))
    for comparison, severity in ((CHANGED, "error"), (undecided, "warning")):
        first, second = format_concise(make_result(forward=0.2), comparison, "b.json").splitlines()
        title = describe_cause(find_causes(comparison)[0]) if severity == "error" else format_verdict(comparison)
        assert first == f"b.json:1: gate-{comparison.verdict} {title}"
        ((found, fields),) = _match(first)
        assert (found, fields["code"], fields["file"]) == (severity, f"gate-{comparison.verdict}", "b.json")
        assert second.split()[1] == "IC101"


def test_nothing_is_printed_where_nothing_failed():
    assert format_concise(make_result()) == format_concise(make_result(), compare(PLAIN, PLAIN), "b.json") == ""


def test_where_no_file_is_known_the_model_stands_for_it():
    checked = replace(make_result(forward=0.2), model="applications:VGG16")
    assert format_concise(checked).startswith("applications:VGG16:1: IC101 vanishing activations: ")


@pytest.mark.parametrize("name", ["a\nb:1: IC101 c", "a\r\nb", "a\u2028b", HOSTILE])
def test_no_name_breaks_the_line(name):
    checked = make_result(forward=0.2, names=("x", "y", "z", name))
    assert len(checked.problems) == len(format_concise(checked).splitlines()) == 1


def _match(line: str) -> list[tuple[str, dict[str, str]]]:
    """Let the matchers read a line, each apart."""
    found = []
    for severity, pattern in MATCHERS.items():
        if match := re.search(pattern["regexp"], line, flags=re.ASCII):
            fields = {name: match[number] for name, number in pattern.items() if name != "regexp"}
            found.append((severity, fields))
    return found


@pytest.mark.parametrize("name", KINDS)
def test_the_problem_matchers_read_every_kind_of_result(name):
    checked = make_result(**KINDS[name], extra=[GAP, NOTE], model="models.py:build")
    lines = format_concise(checked).splitlines()
    assert len(lines) == len(checked.problems)
    for problem, line in zip(checked.problems, lines, strict=True):
        ((severity, fields),) = _match(line)
        assert severity == ("error" if problem.level == "wrong" else "warning")
        assert (fields["file"], fields["line"], fields["code"]) == ("models.py", "1", problem.main.code)
        assert line.endswith(fields["message"]) and problem.title in fields["message"]


@pytest.mark.parametrize("line", ["", "models.py: IC101 x", "2026-12-01 10:11: IC x", "wrote a.py:3: b"])
def test_the_problem_matchers_read_nothing_else(line):
    assert _match(line) == []
