"""The written pages: complete, true to the summary, self-contained, and safe with any name."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from simulated_study import ACTIVATIONS, WrittenReport, split_names
from simulated_theory import predict_study

from initcheck.core.formatting import format_estimate, format_number
from initcheck.pages.html import render_html, render_markdown
from initcheck.study.record import NotMeasured, StudyRecord
from initcheck.study.report import build_document, write_report
from initcheck.study.report.levels import read_pairs
from initcheck.study.report.maps import gain_map_cell

_EVIL = "<script>alert(`x|y`)</script>"
_VOID = {"meta", "wbr", "br", "line", "circle", "rect", "path", "use", "image"}


class _Page(HTMLParser):
    """Collects what the tests ask of a page: its tags, ids, addresses, tables and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.ids: list[str] = []
        self.addresses: list[str] = []
        self.tables: list[list[list[str]]] = []
        self.heads: list[tuple[str, str | None]] = []
        self.headings: list[int] = []
        self.text = ""
        self._open: list[str] = []
        self._in_cell = False
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        values = dict(attrs)
        if values.get("id"):
            self.ids.append(str(values["id"]))
        self.addresses += [str(values[name]) for name in ("href", "src", "action", "data") if name in values]
        assert not [name for name in values if name.startswith("on")]
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
            self._in_cell = True
            if tag == "th":
                self.heads.append((tag, values.get("scope")))
        elif tag in ("small", "wbr") and self._in_cell:
            self.tables[-1][-1][-1] += " " if tag == "small" else ""
        elif re.fullmatch(r"h[1-6]", tag):
            self.headings.append(int(tag[1]))
        if tag not in _VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in _VOID:
            self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag in _VOID:
            return
        assert self._open, f"</{tag}> closes nothing"
        assert self._open.pop() == tag
        if tag in ("td", "th"):
            self._in_cell = False

    def handle_data(self, data: str) -> None:
        if "style" in self._open:
            return
        self.text += data
        if self._in_cell:
            self.tables[-1][-1][-1] += data


@pytest.fixture(scope="module")
def page(full_report: WrittenReport) -> _Page:
    return _Page(full_report.read("report.html"))


def _pages(study: StudyRecord) -> tuple[str, str]:
    document = build_document(study)
    return render_html(document), render_markdown(document)


def _markdown_tables(text: str) -> list[list[list[str]]]:
    tables: list[list[list[str]]] = []
    inside = False
    for line in text.splitlines():
        if line.startswith("|"):
            if not inside:
                tables.append([])
            tables[-1].append([cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
        inside = line.startswith("|")
    return tables


def test_all_files_are_written_and_named(full_report: WrittenReport):
    names = [path.name for path in full_report.paths]
    assert {"measurements.csv", "measurements.parquet", "summary.csv", "report.md", "report.html"} <= set(names)
    assert sorted(names) == sorted(path.name for path in full_report.folder.iterdir())


def test_a_study_of_the_default_size_makes_a_small_page(full_report: WrittenReport):
    assert (full_report.folder / "report.html").stat().st_size < 1.5e6
    assert max(path.stat().st_size for path in full_report.folder.glob("*.svg")) < 4e5


def test_the_same_study_gives_the_same_bytes(small_study: Callable[..., StudyRecord], tmp_path: Path):
    for folder in ("one", "two"):
        write_report(predict_study(small_study()), tmp_path / folder)
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes(), path.name


def test_the_page_runs_no_script_and_fetches_nothing(page: _Page, full_report: WrittenReport):
    assert not {"script", "iframe", "object", "embed", "img", "link", "form", "base"} & set(page.tags)
    assert all(address.startswith("#") for address in page.addresses)
    text = full_report.read("report.html")
    assert "http:" not in text
    assert "https:" not in text
    assert "@import" not in text
    assert set(re.findall(r"url\(([^)])", text)) <= {"#"}


def test_every_id_is_unique_and_every_link_leads_somewhere(page: _Page):
    assert len(page.ids) == len(set(page.ids))
    assert {address.removeprefix("#") for address in page.addresses} <= set(page.ids)


def test_the_page_is_structured_for_readers_and_machines(page: _Page, full_report: WrittenReport):
    text = full_report.read("report.html")
    assert text.startswith("<!doctype html>\n<html lang=")
    assert page.tags["title"] == page.tags["h1"] == page.tags["main"] == 1
    assert page.tags["nav"] == 2  # beside the text, or folded: one of them is shown
    assert page.headings[0] == 1
    assert all(after - before <= 1 for before, after in zip(page.headings, page.headings[1:], strict=False))
    assert {scope for _, scope in page.heads} == {"row", "col"}
    assert page.tags["figcaption"] == page.tags["figure"]
    assert "width=device-width" in text
    assert "prefers-color-scheme: dark" in text


def test_every_colour_class_and_variable_that_is_used_is_defined(full_report: WrittenReport):
    text = full_report.read("report.html")
    used = set(re.findall(r"var\(--([a-z0-9-]+)\)", text)) - {"panel"}
    assert used <= set(re.findall(r"--([a-z0-9-]+):", text))
    classes = {name for value in re.findall(r'class="([^"]*)"', text) for name in value.split()}
    style = text[text.index("<style>") : text.index("</style>")]
    assert {name for name in classes if f".{name}" not in style} == set()


def _verdicts(tables: list[list[list[str]]]) -> list[list[list[str]]]:
    return [table for table in tables if table[0][:2] == ["Initializer", "Verdict"]]


def test_every_row_of_the_summary_is_in_the_verdict_tables_of_both_pages(
    full_study: StudyRecord, page: _Page, full_report: WrittenReport
):
    expected = Counter(full_study.summary["initializer"])
    for tables, fence in ((page.tables, ""), (_markdown_tables(full_report.read("report.md")), "`")):
        rows = [row for table in _verdicts(tables) for row in table[1:] if "---" not in row[0]]
        assert Counter(name for row in rows for name in split_names(row[0].strip(fence))) == expected


def test_the_gains_of_both_pages_are_those_of_the_summary(
    full_study: StudyRecord, page: _Page, full_report: WrittenReport
):
    summary = full_study.summary[full_study.summary["network"] == "mlp"]
    rows = summary.set_index(["initializer", "activation"])
    activations = list(dict.fromkeys(summary["activation"]))
    html_tables = _verdicts(page.tables)[: len(activations)]
    markdown_tables = _verdicts(_markdown_tables(full_report.read("report.md")))[: len(activations)]
    checked = 0
    for activation, html_table, markdown_table in zip(ACTIVATIONS, html_tables, markdown_tables, strict=True):
        for html_row, markdown_row in zip(html_table[1:], markdown_table[2:], strict=True):
            row = rows.loc[(split_names(html_row[0])[0], activation)]
            for place, direction in ((2, "forward"), (3, "backward")):
                values = [row[f"{direction}_log_gain{end}"] for end in ("", "_low", "_high")]
                if row[f"{direction}_verdict"] == "dead" or any(pd.isna(value) for value in values):
                    continue
                estimate = format_estimate(*map(math.exp, values))
                settled = format_number(math.exp(row[f"{direction}_log_gain_deep_half"]), 3)
                assert html_row[place].startswith(f"{settled} all layers {estimate.value} {estimate.interval} ")
                plain = markdown_row[place].replace("\\", "").split("<br>")
                assert plain[:3] == [settled, f"all layers {estimate.value}", estimate.interval]
                checked += 1
    assert checked > 350


def test_dead_non_finite_and_unmeasured_pairs_say_so_instead_of_a_gain(full_study: StudyRecord, full_report):
    pairs = {(pair.initializer, pair.activation): pair for pair in read_pairs(full_study.summary, full_study.table)}
    cells = {name: gain_map_cell(pairs[name, "relu"], "forward") for name in ("Zeros", "Constant(value=0.05)")}
    assert (cells["Zeros"].text, cells["Zeros"].tone) == ("0", "dead")
    assert cells["Constant(value=0.05)"].tone == "symmetric"
    ones = gain_map_cell(pairs["Ones", "linear"], "backward")
    assert (ones.text, ones.tone) == ("∞", "non-finite")
    picture = full_report.read("figure-network-1-gains.svg")
    assert picture.count(">–</text>") == 2 * 2  # refused: two pairs, in two directions
    assert picture.count(">Identity</text>") == 1


def test_the_map_shows_one_number_that_decides_both_colour_and_verdict(full_study: StudyRecord):
    seen = Counter()
    for pair in read_pairs(full_study.summary, full_study.table):
        for direction, summary in pair.by_direction.items():
            cell = gain_map_cell(pair, direction)
            seen[summary.verdict, cell.tone.partition("-")[0]] += 1
            if cell.tone == "neutral":
                assert summary.verdict == "preserves" and pair.distinguishes_inputs
            if cell.tone.startswith("fading"):
                assert summary.verdict == "vanishes" and cell.sign == "−"
            if cell.tone.startswith("growing"):
                assert summary.verdict == "explodes" and cell.sign == "+"
    assert seen["preserves", "neutral"] and seen["vanishes", "fading"] and seen["explodes", "growing"]
    assert seen["preserves", "symmetric"]  # the size is kept, and the inputs are not distinguished


def test_markdown_tables_are_well_formed(full_report: WrittenReport):
    tables = _markdown_tables(full_report.read("report.md"))
    assert len(tables) > 15
    for table in tables:
        assert {len(row) for row in table} == {len(table[0])}
        assert set(table[1]) == {"---"}


def test_the_markdown_links_to_files_and_anchors_that_exist(full_report: WrittenReport):
    text = full_report.read("report.md")
    for target in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", text):
        assert (full_report.folder / target).is_file()
    anchors = set(re.findall(r'<a id="([^"]+)">', text))
    assert set(re.findall(r"\]\(#([^)]+)\)", text)) <= anchors
    assert text.count("<details") == text.count("</details>")


def test_hostile_names_are_shown_and_never_obeyed(small_study: Callable[..., StudyRecord]):
    refused = (NotMeasured("mlp", _EVIL, "tanh", f"because {_EVIL}\nand | more"),)
    study = small_study((_EVIL, "HeNormal"), ("relu", _EVIL), network=_EVIL, not_measured=refused)
    versions = {"keras": _EVIL, _EVIL: "1"}
    study = replace(study, provenance=replace(study.provenance, versions=versions, command_line=f"run {_EVIL}"))
    study = predict_study(study, bases={_EVIL: f"mean field, restarted from the measured value at {_EVIL}"})
    html, markdown = _pages(study)
    page = _Page(html)
    assert page.tags["script"] == 0
    assert page.text.count("<script>") > 20
    assert html.count("&lt;script&gt;") > 30
    assert "restarted from the measured value" in markdown
    # In Markdown, markup inside code spans and fences is literal; nothing else may hold it.
    outside = re.sub(r"(?ms)^(`{3,})text\n.*?^\1$|(`+)(?!`).*?(?<!`)\2(?!`)", "", markdown)
    assert "<script" not in outside
    for table in _markdown_tables(markdown):
        assert {len(row) for row in table} == {len(table[0])}


def test_each_network_has_a_section(page: _Page):
    assert "The network mlp" in page.text
    assert "The network notebook" in page.text
    assert {"network-2-layers", "network-2-verdicts"} <= set(page.ids)


def test_the_report_says_how_it_was_measured(page: _Page):
    for text in ("initcheck report --out reports", "3.15.1", "16: 0 to 14, 40", "1 min 12 s", "1,318,410", "0.999"):
        assert text in page.text


def test_a_study_without_gaps_says_so(small_study: Callable[..., StudyRecord]):
    html, _ = _pages(small_study())
    assert "Everything that was asked for was measured." in html
