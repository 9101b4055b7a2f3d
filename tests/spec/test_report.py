"""The pages of the specification: complete, linkable, self-contained, and safe with any text."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace

import pytest
from fake_specification import CLAIMS
from html_page import Page

from initcheck.core.errors import DataError
from initcheck.spec.claim import Evidence, RunContext, Verdict
from initcheck.spec.records import ClaimRecord, PowerTable, SpecificationRecord, describe_counts, make_record
from initcheck.spec.report import build_specification, draw_interval, read_power_table, write_specification

_EVIL = "<script>alert(`x|y`)</script>"


@pytest.fixture(scope="module")
def record():
    context = RunContext(0)
    claims = [make_record(context.judge(claim)) for group in CLAIMS.values() for claim in group]
    claims[0] = replace(claims[0], condition=_EVIL)
    return SpecificationRecord(
        claims=tuple(claims),
        left_out=3,
        seed=5,
        command_line="initcheck spec --report out",
        started="2026-01-02T03:04:05+00:00",
        duration_seconds=61.0,
        versions={"keras": "3.15.1"},
    )


@pytest.fixture(scope="module")
def written(record, tmp_path_factory):
    out = tmp_path_factory.mktemp("pages")
    power = PowerTable(("defect", "caught_by"), (("halved", "first.green.holds"),))
    write_specification(record, out, power)
    return out


def test_the_page_is_self_contained_and_every_link_leads_somewhere(written):
    Page((written / "spec.html").read_text(encoding="utf-8")).assert_self_contained()


def test_every_claim_is_on_the_page_unfolded_with_all_that_is_known(written, record):
    page = Page((written / "spec.html").read_text(encoding="utf-8"))
    assert {claim.id for claim in record.claims} <= set(page.ids)
    assert all("open" in values for tag, values in page.tags if tag == "details")
    assert page.text.count("must fail, failed") == 4
    for part in ("Nobody, 2001", "Bounds: at least 0.25", "Interval [0.5, 1.5] (99.9%)", "the opposite", "A1, NB2"):
        assert part in page.text
    for part in ("3.15.1", "initcheck spec --report out", "seed 5", "halved", _EVIL, "Not selected: 3 claims"):
        assert part in page.text


def test_markdown_tells_the_same_and_shows_markup_as_text(written, record):
    text = (written / "spec.md").read_text(encoding="utf-8")
    assert all(f'<a id="{claim.id}"></a>`{claim.id}`' in text for claim in record.claims)
    assert describe_counts(record.claims) in text
    assert "<script" not in text
    rows = [line for line in text.splitlines() if line.startswith('| <a id="')]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {7}


def test_json_reads_back(written, record):
    facts = json.loads((written / "spec.json").read_text(encoding="utf-8"))
    assert [claim["id"] for claim in facts["claims"]] == [claim.id for claim in record.claims]


def test_a_record_survives_the_way_to_another_process(record):
    for claim in record.claims:
        plain = claim.to_plain()
        assert {type(value) for value in plain["evidence"].values()} <= {str, float, int, tuple}
        assert repr(ClaimRecord.from_plain(plain)) == repr(ClaimRecord.from_plain(claim.to_plain()))
        assert ClaimRecord.from_plain(plain).status == claim.status


def test_the_picture_has_the_interval_between_its_bounds():
    evidence = Evidence(Verdict.PASS, "", "x", 1.0, low=0.9, high=1.1, bounds=(0.5, 1.5))
    picture = draw_interval(evidence, 'a "name" & <more>')
    band = re.search(r'<rect x="([\d.]+)" y="1" width="([\d.]+)"', picture)
    left, right = float(band[1]), float(band[1]) + float(band[2])
    low, high = map(float, re.search(r'<line x1="([\d.]+)" y1="10.0" x2="([\d.]+)"', picture).groups())
    assert left < low < float(re.search(r'cx="([\d.]+)"', picture)[1]) < high < right
    assert "&quot;name&quot; &amp; &lt;more&gt;" in picture


@pytest.mark.parametrize(
    "changes", [{"low": math.nan}, {"high": math.inf}, {"bounds": (-math.inf, math.inf)}, {"effect": math.nan}]
)
def test_there_is_no_picture_without_interval_or_bounds(changes):
    evidence = Evidence(Verdict.PASS, "", "x", 1.0, low=0.9, high=1.1, bounds=(0.5, 1.5))
    assert draw_interval(replace(evidence, **changes), "") == ""


def test_a_run_without_any_red_says_so(record):
    green = replace(record, claims=tuple(claim for claim in record.claims if claim.green), left_out=0)
    answer = build_specification(green).sections[0].blocks[0]
    assert "Every claim came out as specified: 2 hold, 1 refuted" in "".join(span.text for span in answer.text)


@pytest.mark.parametrize("content", ["", "defect\nhalved\n", "defect,caught_by\nhalved\n"])
def test_a_bad_table_of_defects_is_refused(tmp_path, content):
    path = tmp_path / "power.csv"
    path.write_text(content)
    with pytest.raises(DataError, match=r"power\.csv"):
        read_power_table(path)


def test_a_table_of_defects_is_read(tmp_path):
    path = tmp_path / "power.csv"
    path.write_text('defect,caught_by\nhalved,"a, b"\n')
    assert read_power_table(path) == PowerTable(("defect", "caught_by"), (("halved", "a, b"),))
