"""The pages of the specification: what is amiss first, the full record of every claim behind it, safe with any text."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
from fake_specification import run_fake_specification
from html_page import Page
from json_schema import find_violations

from initcheck.core.errors import DataError
from initcheck.spec import records
from initcheck.spec.claim import Evidence, Verdict
from initcheck.spec.records import ClaimRecord, PowerTable, SpecificationRecord
from initcheck.spec.report import build_specification, write_specification
from initcheck.spec.report.claims import draw_interval
from initcheck.spec.report.defects import read_power_table

SCHEMA = json.loads(Path(records.__file__).with_name("spec_schema.json").read_text(encoding="utf-8"))
_EVIL = "<script>alert(`x|y`)</script>"
_AMISS = ("second.red.broken", "second.red.raises", "second.red.now_holds", "second.red.control")


@pytest.fixture(scope="module")
def record() -> SpecificationRecord:
    made = run_fake_specification()
    claims = list(made.claims)
    claims[0] = replace(claims[0], condition=_EVIL)
    return replace(made, claims=tuple(claims))


@pytest.fixture(scope="module")
def written(record, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("pages")
    power = PowerTable(("defect", "caught_by"), (("halved", "first.green.holds"), ("halved", "second.red.broken")))
    write_specification(record, out, power)
    return out


@pytest.fixture
def pages(written) -> dict[str, Page]:
    return {path.stem: Page(path.read_text(encoding="utf-8")) for path in written.rglob("*.html")}


def test_each_topic_and_the_defects_have_a_page_beside_the_main_one(written):
    found = {path.relative_to(written).as_posix() for path in written.rglob("*") if path.is_file()}
    names = ("spec", "spec/first", "spec/second", "spec/defects")
    assert found == {f"{name}{suffix}" for name in names for suffix in (".html", ".md")} | {"spec.json"}


def test_links_lead_to_a_place_of_the_page_to_another_page_or_to_the_documentation(written):
    for path in written.rglob("*.html"):
        page = Page(path.read_text(encoding="utf-8"))
        page.assert_nothing_is_loaded()
        for address in page.addresses:
            name, _, anchor = address.partition("#")
            if not address.startswith("https://"):
                target = path.parent / name if name else path
                assert not anchor or anchor in Page(target.read_text(encoding="utf-8")).ids


def test_every_claim_has_all_that_is_known_on_the_page_of_its_topic(pages, record):
    for claim in record.claims:
        assert claim.id in pages[claim.topic].ids
        assert claim.statement in pages[claim.topic].text
    assert pages["first"].text.count("must fail, failed") + pages["second"].text.count("must fail, failed") == 5
    for part in (
        "Nobody, 2001",
        "Bounds: at least 0.25",
        "Interval [0.5, 1.5] (99.9%)",
        "the opposite",
        "A1, NB2",
        _EVIL,
    ):
        assert part in pages["first"].text
    for part in ("3.15.1", "initcheck spec --report out", "3 claims of the catalogue not selected"):
        assert part in pages["spec"].text
    assert "halved" in pages["defects"].text
    assert "1 defect was planted" in pages["spec"].text


def test_what_is_amiss_comes_first_with_its_reason_and_what_holds_is_folded(pages, record):
    text = pages["spec"].text
    assert (
        "Keras 3.15.1 is not as specified: 2 claims broken, 1 now true that was false, 1 not shown, 1 inconclusive."
        in text
    )
    by_id = {claim.id: claim for claim in record.claims}
    places = [text.index(by_id[name].reason) for name in (*_AMISS, "second.unclear.inconclusive")]
    assert places == sorted(places)
    assert places[-1] < text.index("first.green.refuted") < text.index("2 claims hold, of 2 topics")
    assert "first.green.holds" not in text
    assert all("open" not in values for tag, values in pages["spec"].tags if tag == "details")


def test_a_subject_with_a_claim_that_is_amiss_is_unfolded_on_the_page_of_its_topic(pages):
    _contents, *first = [values for tag, values in pages["first"].tags if tag == "details"]
    _contents, *second = [values for tag, values in pages["second"].tags if tag == "details"]
    assert ["open" in values for values in first] == [False]
    assert ["open" in values for values in second] == [True, True, False]


def test_a_run_without_any_red_is_green_and_counts_what_is_false(record):
    green = replace(record, claims=tuple(claim for claim in record.claims if claim.green), left_out=0)
    answer = build_specification(green).answer
    assert answer.tone == "passed"
    words = "".join(span.text for span in answer.verdict)
    assert words.startswith("Keras 3.15.1 is as specified: 2 of 4 claims hold, ")
    assert words.endswith("the others are known to be false, or pinned and changed (1).")
    assert [value for value, _ in answer.values] == ["1", "0", "0"]


@pytest.mark.parametrize(
    ("status", "tone"),
    [("broken", "failed"), ("now holds", "failed"), ("inconclusive", "undecided"), ("not shown", "undecided")],
)
def test_the_verdict_has_the_tone_of_the_worst_status(record, status: str, tone: str):
    some = tuple(claim for claim in record.claims if claim.green or claim.status == status)
    assert build_specification(replace(record, claims=some)).answer.tone == tone


def test_markdown_says_the_same_and_shows_markup_as_text(written, record):
    texts = {path.stem: path.read_text(encoding="utf-8") for path in written.rglob("*.md")}
    assert all(f'<a id="{claim.id}"></a>`{claim.id}`' in texts[claim.topic] for claim in record.claims)
    assert "[`second.red.broken`](spec/second.md#second.red.broken)" in texts["spec"]
    assert "is not as specified: 2 claims broken" in texts["spec"]
    assert not any("<script" in text for text in texts.values())
    rows = [line for line in texts["first"].splitlines() if line.startswith('| <a id="')]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {7}


def test_json_reads_back_in_the_form_of_its_schema(written, record):
    facts = json.loads((written / "spec.json").read_text(encoding="utf-8"))
    assert find_violations(facts, SCHEMA) == []
    assert [claim["id"] for claim in facts["claims"]] == [claim.id for claim in record.claims]
    assert [cause["slug"] for cause in facts["causes"]] == ["transposed"]
    assert [claim["cause"] for claim in facts["claims"] if claim["status"] == "refuted"] == ["transposed"]


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
