"""The recipe "Add a finding" of CONTRIBUTING.md, followed: one Rule in the registry is all that a finding needs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from generate.findings import write_page

import initcheck
from initcheck.audit.findings import Finding, FixPlan, Measured, ModelMeasurement, Rule, example
from initcheck.audit.rules import RULES
from initcheck.backend.runtime import import_keras
from initcheck.cli import main


def find_few_samples(measurement: ModelMeasurement) -> Iterator[Finding]:
    samples = int(measurement.table["batch_size"].iloc[0])
    if samples < 1000:
        layer = measurement.nodes[1].layer
        yield Finding("IC199", layer, f"the batch has {samples} samples", Measured("samples", samples, limit=1000.0))


TOY = Rule(
    code="IC199",
    name="few-samples",
    what="The batch has less than 1000 samples.",
    why="It is a toy.",
    example=example("model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])"),
    fix="Give more.",
    source="this test",
    find=find_few_samples,
    directions=("forward",),
    fix_plan=FixPlan("initializers", rate="forward"),
)


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> Rule:
    monkeypatch.setitem(RULES, TOY.code, TOY)
    return TOY


def test_it_is_explained(toy: Rule, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", toy.name]) == 0
    assert toy.why in capsys.readouterr().out
    assert main(["explain"]) == 0
    assert toy.code in capsys.readouterr().out


def test_it_has_a_section_in_the_page_of_findings(toy: Rule) -> None:
    assert f"\n## {toy.code} {toy.name}\n\n{toy.what}\n" in write_page()


def test_it_is_found_by_its_example_selected_ignored_and_reported(toy: Rule) -> None:
    import_keras()
    names: dict[str, object] = {}
    exec(toy.example, names)
    report = initcheck.check(names["model"], seeds=2, select=[toy.name])
    (finding,) = report.findings
    assert (finding.code, finding.name, finding.severity, report.exit_code) == ("IC199", "few-samples", "wrong", 1)
    for text in (report.to_text(), report.to_json(), report.to_html(), report.to_summary(), report.to_annotations()):
        assert toy.code in text
    assert toy.code in "".join(report.pictures().values())
    assert initcheck.check(names["model"], seeds=2, ignore=[toy.code]).findings == ()


def test_no_code_stands_outside_the_rules() -> None:
    package = Path(initcheck.__file__).parent
    literal = re.compile(r"""["']IC\d{3}["']""")
    found = [
        f"{path.relative_to(package)}: {match[0]}"
        for path in sorted(package.rglob("*.py"))
        if "rules" not in path.parts
        for match in literal.finditer(path.read_text(encoding="utf-8"))
    ]
    assert found == []
