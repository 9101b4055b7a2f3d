"""What the page on versions says of two or three small runs whose versions are planted."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path

import pytest
from compare import Runs, build_page, main, read_run
from fake_specification import make_claim
from html_page import Page

from initcheck.core.errors import DataError
from initcheck.pages.html import render_html
from initcheck.spec import causes, claim
from initcheck.spec.claim import Claim, RunContext
from initcheck.spec.records import SpecificationRecord, make_record, specification_json
from initcheck.spec.versions import KerasVersions

OLD, NEW = "3.13.2", "3.16.0.dev2026102704"
BEFORE, SINCE = KerasVersions(until="3.14"), KerasVersions(since="3.14")
FALSE = {"expected": "refuted"}
CLAIMS = (
    make_claim("first.subject.same", 1.0),
    make_claim("first.subject.false", 0.0, **FALSE),
    make_claim("first.subject.fixed", 0.0, keras=BEFORE, **FALSE),
    make_claim("first.subject.fixed", 1.0, keras=SINCE),
    make_claim("second.subject.broke", 1.0, keras=BEFORE),
    make_claim("second.subject.broke", 0.0, keras=SINCE, **FALSE),
    make_claim("second.new_layer.came", 1.0, keras=SINCE),
    make_claim("second.subject.ended", 1.0, keras=BEFORE),
)


@pytest.fixture
def measure(monkeypatch):
    """The function that runs claims under a planted version."""

    def run(keras: str, claims: Sequence[Claim] = CLAIMS, backend: str = "tensorflow") -> SpecificationRecord:
        monkeypatch.setattr(claim, "installed_keras", lambda: keras)
        monkeypatch.setattr(claim, "backend_name", lambda: backend)
        chosen = {each.id: each for each in claims}
        chosen |= {each.id: each for each in claims if each.is_about(keras, backend)}
        return SpecificationRecord(
            claims=tuple(make_record(RunContext(0).judge(each)) for each in chosen.values()),
            left_out=3,
            seed=0,
            command_line="initcheck spec -m fast",
            started="2026-01-02T03:04:05+00:00",
            duration_seconds=61.0,
            versions={"keras": keras, "initcheck": "0.1.0", backend: "2.0"},
        )

    return run


def write(folder: Path, *records: SpecificationRecord) -> list[str]:
    places = []
    for record in records:
        place = folder / record.versions["keras"]
        place.mkdir(parents=True)
        (place / "spec.json").write_text(specification_json(record))
        places.append(str(place))
    return places


def test_each_change_has_its_kind_its_version_and_its_claims(measure):
    runs = Runs([measure(NEW), measure(OLD)])
    assert [each.version for each in runs.setups] == [OLD, NEW]
    assert [(each.kind, each.reason, each.where, each.claims) for each in runs.changes] == [
        ("broke", "transposed", "3.14", ("second.subject.broke",)),
        ("fixed", "transposed", "3.14", ("first.subject.fixed",)),
        ("came", "", "3.14", ("second.new_layer.came",)),
        ("ended", "", "3.14", ("second.subject.ended",)),
    ]
    assert runs.same == ["first.subject.same", "first.subject.false"]
    assert runs.amiss == []


def test_versions_that_are_alike_have_no_changes(measure):
    """The negative control."""
    runs = Runs([measure("3.12.0"), measure(OLD)])
    assert runs.changes == []
    assert len(runs.same) == len(runs.claims) == 6


def test_a_claim_that_one_run_left_out_is_not_run_there_and_no_change(measure):
    runs = Runs([measure(OLD, CLAIMS[:1]), measure("3.13.0")])
    assert runs.statuses("first.subject.false") == ("refuted", "not run")
    assert runs.changes == []


BY_BACKEND = (
    make_claim("first.subject.same", 1.0),
    make_claim("first.subject.false", 0.0, backends=("torch",), **FALSE),
    make_claim("first.subject.false", 1.0, backends=("tensorflow", "jax")),
    make_claim("second.subject.compiled", 1.0, backends=("tensorflow", "jax")),
    make_claim("second.subject.setter", 0.0, backends=("jax",), expected="refuted", cause=causes.ONE_SEED),
    make_claim("second.subject.false", 0.0, expected="refuted", cause=causes.ONE_SEED),
)


def test_what_differs_between_backends_has_its_cause_its_backends_and_its_claims(measure):
    runs = Runs([measure(OLD, BY_BACKEND, backend) for backend in ("torch", "tensorflow", "jax")])
    assert [each.slug for each in runs.setups] == [OLD, f"{OLD}-jax", f"{OLD}-torch"]
    assert [(each.kind, each.reason, each.place, each.claims) for each in runs.changes] == [
        ("differs", "transposed", "PyTorch alone", ("first.subject.false",)),
        ("differs", "", "TensorFlow and JAX alone", ("second.subject.compiled",)),
        # False on JAX, where it is there, by a cause of all three.
        ("differs", "", "JAX alone", ("second.subject.setter",)),
    ]
    assert runs.same == ["first.subject.same", "second.subject.false"]
    page = Page(render_html(build_page(runs)))
    assert "0 faults fixed, 0 new, 1 of some backends alone. 2 of 5 claims came out alike" in page.text
    assert "False on PyTorch alone." in page.text
    assert "#differs" in page.addresses


def test_versions_are_compared_on_one_backend_and_backends_in_one_version(measure):
    """A version on one backend and another on another say nothing of either."""
    runs = Runs([measure(OLD), measure(NEW, backend="jax")])
    assert runs.changes == []
    # Of a version that one backend did not run, nothing is said of one backend alone.
    on = [measure(OLD, BY_BACKEND, backend) for backend in ("tensorflow", "torch")]
    assert Runs([*on, measure(NEW, BY_BACKEND, "jax")]).changes == []


def test_what_json_makes_of_numbers_is_undone(measure, tmp_path):
    record = measure(OLD)
    (place,) = write(tmp_path, record)
    read = read_run(Path(place) / "spec.json")
    assert specification_json(read) == specification_json(record)
    assert read.claims[0].evidence.bounds == (0.25, math.inf)
    assert math.isnan(read.claims[0].evidence.power)


def test_the_command_writes_page_and_table(measure, tmp_path, capsys):
    places = write(tmp_path / "runs", measure(OLD), measure(NEW))
    assert main(["--out", str(tmp_path / "out"), str(tmp_path / "runs")]) == 0
    assert main(["--out", str(tmp_path / "out"), *places]) == 0
    assert "versions.html" in capsys.readouterr().out
    with (tmp_path / "out" / "versions.csv").open() as file:
        lines = list(csv.reader(file))
    assert lines[0] == ["claim", OLD, NEW]
    assert ["first.subject.fixed", "refuted", "holds"] in lines
    assert ["second.new_layer.came", "not there", "holds"] in lines
    assert len(lines) == 5
    text = (tmp_path / "out" / "versions.md").read_text()
    verdict = "1 fault fixed, 1 new. 2 of 6 claims came out alike in all 2 runs."
    assert f"**Keras 3.13.2 to 3.16 (nightly of 2026-10-27): {verdict}**" in text
    assert "new layer" in text


def test_the_page_leads_from_each_change_to_its_claims(measure):
    page = Page(render_html(build_page(Runs([measure(OLD), measure(NEW)]))))
    assert {"#broke-transposed", "#fixed"} <= set(page.addresses)
    assert {address[1:] for address in page.addresses if address.startswith("#")} <= set(page.ids)
    page.assert_nothing_is_loaded()
    assert "The statement of first.subject.fixed & <others>." in page.text


def test_what_is_not_as_specified_is_red_and_stands_first(measure, tmp_path):
    wrong = (*CLAIMS[1:], make_claim("first.subject.same", 0.0))
    write(tmp_path / "runs", measure(OLD), measure(NEW, wrong))
    assert main(["--out", str(tmp_path), str(tmp_path / "runs")]) == 1
    text = (tmp_path / "versions.md").read_text()
    assert "**Not as specified in some run: 1 claim." in text
    assert "first.subject.same is broken" in text
    assert text.index("## Not as specified") < text.index("## What broke")


def test_one_version_cannot_be_compared(measure, tmp_path, capsys):
    record = measure(OLD)
    with pytest.raises(DataError, match="one run of each of several versions of Keras or backends"):
        Runs([record, record])
    places = write(tmp_path / "runs", record)
    assert main(["--out", str(tmp_path), *places]) == 2
    assert (
        capsys.readouterr().err == f"Give one run of each of several versions of Keras or backends. Received: {OLD}.\n"
    )


def test_a_file_of_another_form_is_refused(tmp_path, capsys):
    (tmp_path / "spec.json").write_text("{}")
    assert main(["--out", str(tmp_path), str(tmp_path)]) == 2
    assert "is no spec.json of schema version" in capsys.readouterr().err
