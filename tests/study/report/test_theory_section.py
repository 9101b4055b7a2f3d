"""The report sets theory beside measurement, in both editions, and says so where there is none."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterator

import pandas as pd
import pytest
from simulated_study import WrittenReport, change_summary
from simulated_theory import predict_study

from initcheck.pages.document import Block, Bullets, Details, Document, Figure, Paragraph, Section, Table
from initcheck.pages.html import render_html, render_markdown
from initcheck.study.record import StudyRecord
from initcheck.study.report import build_document
from initcheck.study.report.theory import format_score

_EVIL = "<script>alert(`x|y`)</script>"


def _part(study: StudyRecord | Document, name: str, network: int = 1) -> Section:
    document = study if isinstance(study, Document) else build_document(study)
    section = next(item for item in document.sections if item.anchor == f"network-{network}")
    return next(part for part in section.sections if part.anchor == f"network-{network}-{name}")


def _all(blocks: tuple[Block, ...]) -> Iterator[Block]:
    for block in blocks:
        yield block
        if isinstance(block, Details):
            yield from _all(block.blocks)


def _tables(section: Section) -> list[Table]:
    return [block for block in _all(section.blocks) if isinstance(block, Table)]


def _words(section: Section) -> str:
    texts = [block.text for block in section.blocks if isinstance(block, Paragraph)]
    texts += [item for block in section.blocks if isinstance(block, Bullets) for item in block.items]
    return "\n".join("".join(span.text for span in text) for text in texts)


def test_every_cell_of_the_score_maps_is_the_score_of_the_summary(full_study: StudyRecord, full_document: Document):
    maps = [table for table in _tables(_part(full_document, "theory")) if table.form == "heat map"]
    rows = full_study.summary[full_study.summary["network"] == "mlp"]
    rows = rows.set_index(["initializer", "activation"])
    checked = 0
    for direction, table in zip(("forward", "backward"), maps, strict=True):
        for row in table.rows:
            for activation, cell in zip(table.columns[1:], row.cells, strict=True):
                if (row.header, activation) not in rows.index:
                    assert cell.text in ("not measured", "not asked for")
                    continue
                z = rows.loc[(row.header, activation), f"{direction}_gain_z"]
                if pd.isna(z):
                    assert cell.text in ("mean field only", "no theory")
                    assert re.fullmatch(r"note \d", cell.notes[-1])
                else:
                    assert cell.text == format_score(float(z))
                    assert cell.emphasis == (abs(float(z)) > 2.0)
                    checked += 1
    assert checked == 280


def test_the_headline_pairs_have_a_table_that_is_not_folded(full_document: Document):
    section = _part(full_document, "theory")
    table = next(block for block in section.blocks if isinstance(block, Table))
    assert [row.header for row in table.rows][:2] == ["HeNormal with relu", "GlorotUniform with relu"]
    assert table.columns[1:5] == ("Forward: textbook", "Forward: predicted", "Forward: measured", "Forward: difference")
    assert [cell.text for cell in table.rows[0].cells][:2] == ["1.000", "1.000"]
    zeros = next(row for row in table.rows if row.header == "Zeros with relu")
    assert [cell.text for cell in zeros.cells][:4] == ["none", "none", "dead", "no theory"]


def test_every_pair_is_in_a_folded_table_of_gains(full_study: StudyRecord, full_document: Document):
    section = _part(full_document, "theory")
    folded = [table for block in section.blocks if isinstance(block, Details) for table in _all(block.blocks)]
    found = sorted(row.header for table in folded if isinstance(table, Table) for row in table.rows)
    mlp = full_study.summary[full_study.summary["network"] == "mlp"]
    assert found == sorted(mlp["initializer"].astype(str))


def test_the_counts_are_in_the_answer_too_and_follow_the_summary(small_study: Callable[..., StudyRecord]):
    study = predict_study(small_study(("HeNormal", "LecunNormal"), ("relu",)))
    study = change_summary(study, ("HeNormal", "relu"), forward_gain_z=-3.5, backward_gain_z=2.5)
    study = change_summary(study, ("LecunNormal", "relu"), forward_gain_z=2.2, backward_gain_z=0.1)
    answer = _words(build_document(study).sections[0])
    assert "the gain, with its standard deviation, of 2 pairs forward and 2 backward" in answer
    assert "beyond ±2 in 2 and 1 of them, and beyond ±3 in 1 and 0" in answer
    text = _words(_part(study, "theory"))
    assert "2 of 2 pairs have a score: 2 of them beyond ±2, 1 beyond ±3." in text
    assert "The largest is −3.5 (HeNormal with relu)." in text


def test_both_editions_have_all_of_it(full_report: WrittenReport):
    markdown = full_report.read("report.md")
    page = re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", "", full_report.read("report.html"))))
    for text in (
        "Theory against measurement",
        "Textbook against measured: the pairs that textbooks discuss.",
        "The scores are not independent of each other",
        "restarted from the measured value at hidden_03",
        "Order and chaos: where the initializers lie",
        "The same in words: the phase at each of these points",
        "Thin dashed lines: the median that theory expects",
        "Hollow marks: the median that theory expects",
        "leading order in 1/width",
    ):
        assert text in page
        assert text in markdown
    for term in ("Textbook", "Predicted", "Score", "Ordered, critical, chaotic"):
        assert f"**{term}.**" in markdown
    for column in ("predicted_gradient_norm_sd", "textbook_forward_gain", "forward_gain_z", "prediction"):
        assert f"`{column}`" in markdown
    assert "theory: the median of the seeds" in page
    for name in ("distance", "phases", "forward", "backward"):
        assert (full_report.folder / f"figure-network-1-{name}.svg").is_file()


def test_the_legend_of_theory_is_in_the_picture_files(full_report: WrittenReport):
    for name in ("forward", "backward", "distance"):
        assert "theory: the median of the seeds" in full_report.read(f"figure-network-1-{name}.svg")
    assert "theory, in the shape of the layer" in full_report.read("figure-network-2-levels.svg")


def test_predicted_pages_stay_small(full_report: WrittenReport):
    assert (full_report.folder / "report.html").stat().st_size < 1.5e6
    pictures = [path.stat().st_size for path in full_report.folder.glob("*.svg")]
    assert max(pictures) < 4e5


def test_predicted_pages_are_the_same_to_the_byte(small_study: Callable[..., StudyRecord]):
    study = predict_study(small_study(("HeNormal", "Zeros"), ("relu", "tanh")))
    assert render_html(build_document(study)) == render_html(build_document(study))


def test_the_close_up_shows_the_headline_pairs_against_their_law(full_document: Document):
    figure = next(block for block in _part(full_document, "theory").blocks if isinstance(block, Figure))
    titles = [panel.title for panel in figure.panels]
    assert titles[:2] == ["HeNormal with relu, forward", "HeNormal with relu, backward"]
    assert not [title for title in titles if title.startswith("Zeros")]
    assert all("measured / theory" in panel.description for panel in figure.panels)
    assert "Theory: HeNormal from 10^0.0 to 10^0.0." in figure.panels[0].description


def test_a_shallow_network_has_no_close_up(full_document: Document):
    assert not [block for block in _part(full_document, "theory", network=2).blocks if isinstance(block, Figure)]


def test_without_predictions_the_report_says_that_there_are_none_and_why(small_study: Callable[..., StudyRecord]):
    study = small_study(("HeNormal",), ("relu", "tanh"))
    text = _words(_part(study, "theory"))
    assert "No gain was predicted on the network mlp" in text
    assert "HeNormal with every activation function: no prediction was made." in text
    assert "no predicted signal to compare with: no prediction was made." in _words(_part(study, "layers"))
    assert not _tables(_part(study, "theory"))
    assert "Theory’s gains could not be compared" in _words(build_document(study).sections[0])
    assert "no gain was predicted in this study" in render_markdown(build_document(study))


def test_reasons_given_for_missing_predictions_are_shown(small_study: Callable[..., StudyRecord]):
    study = predict_study(small_study(("HeNormal",), ("relu",)), bases={"relu": "the moon was full"})
    text = _words(_part(study, "theory"))
    assert "HeNormal with relu: the moon was full." in text
    assert "the moon was full" in _words(_part(study, "layers"))


def test_hostile_reasons_and_names_are_shown_and_never_obeyed(small_study: Callable[..., StudyRecord]):
    study = small_study((_EVIL, "HeNormal"), ("relu", _EVIL), network=_EVIL)
    study = predict_study(study, bases={_EVIL: f"mean field, restarted from the measured value at {_EVIL}"})
    document = build_document(study)
    page, markdown = render_html(document), render_markdown(document)
    assert "<script" not in page
    assert page.count("&lt;script&gt;") > 30
    outside = re.sub(r"(?ms)^(`{3,})text\n.*?^\1$|(`+)(?!`).*?(?<!`)\2(?!`)", "", markdown)
    assert "<script" not in outside
    assert "restarted from the measured value" in markdown


def test_wrong_predictions_show_in_the_sentence_and_in_the_map(small_study: Callable[..., StudyRecord]):
    names = ("HeNormal", "LecunNormal", "GlorotUniform")
    wrong = predict_study(small_study(names, ("relu", "tanh"), depth=20), error=1.5)
    section = _part(wrong, "theory")
    found = re.findall(r"6 of 6 pairs have a score: (\d) of them beyond ±2, (\d) beyond ±3", _words(section))
    assert found == [("6", "6")] * 2
    maps = [table for table in _tables(section) if table.form == "heat map"]
    tones = {cell.tone for table in maps for row in table.rows for cell in row.cells}
    assert tones <= {"fading-3", "fading-4", "fading-5"}
    figure = next(block for block in section.blocks if isinstance(block, Figure))
    ends = [float(match) for match in re.findall(r"to 10\^(-?[\d.]+)\. Theory", figure.panels[0].description)]
    # 1.5 a layer too much: the last of 20 layers lies 19 factors below theory, and no more than the standard
    # deviation above that.
    assert ends[0] == pytest.approx(-19.0 * 0.176, abs=1.5)
