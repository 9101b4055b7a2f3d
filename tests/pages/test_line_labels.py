"""Names at the ends of lines: each beside its own line, none over another, none outside the picture."""

from __future__ import annotations

from itertools import pairwise

import pytest

from initcheck.pages.svg import LONGEST_LABEL, begin_drawing, label_ends, measure_labels


def place_labels(*heights):
    drawing, axes = begin_drawing(300, 200, left=40, bottom=40, right=90, top=10)
    axes.set_ylim(0.0, 1.0)
    label_ends(axes, [(f"line {place}", (1.0, height), "#000001") for place, height in enumerate(heights)])
    drawing.draw_without_rendering()
    return {text.get_text(): text.get_window_extent() for text in axes.texts}, axes.get_window_extent()


def test_a_label_stands_at_the_height_of_its_line():
    labels, picture = place_labels(0.2, 0.8)
    for name, share in (("line 0", 0.2), ("line 1", 0.8)):
        box = labels[name]
        assert (box.y0 + box.y1) / 2.0 == pytest.approx(picture.y0 + share * picture.height, abs=1.5)
        assert box.x0 > picture.x1


@pytest.mark.parametrize("heights", [(0.5,) * 6, (0.0,) * 6, (1.0,) * 6, (2.0, -3.0, 0.99, 0.98, 0.01, 0.5)])
def test_six_labels_never_overlap_and_never_leave_the_picture(heights):
    labels, picture = place_labels(*heights)
    boxes = sorted(labels.values(), key=lambda box: box.y0)
    assert len(boxes) == 6
    assert all(lower.y1 <= upper.y0 + 1.0 for lower, upper in pairwise(boxes))
    assert boxes[0].y0 > picture.y0 - 8.0
    assert boxes[-1].y1 < picture.y1 + 8.0


def test_the_label_of_a_line_that_ends_early_stands_where_it_ends():
    _, axes = begin_drawing(300, 200, left=40, bottom=40, right=90, top=10)
    axes.set_xlim(0.0, 10.0)
    label_ends(axes, [("early", (5.0, 0.5), "#000001"), ("late", (10.0, 0.5), "#000001")])
    axes.figure.draw_without_rendering()
    early, late = (text.get_window_extent().x0 for text in axes.texts)
    assert late - early == pytest.approx(0.5 * axes.get_window_extent().width)


def test_a_line_without_an_end_has_no_label():
    labels, _ = place_labels(0.5, float("nan"))
    assert list(labels) == ["line 0"]


def test_a_long_name_is_cut_at_its_beginning_and_needs_no_more_room_than_one_that_fits():
    _, axes = begin_drawing(300, 200, left=40, bottom=40, right=90, top=10)
    label_ends(axes, [("encoder/block_1/attention/query", (1.0, 0.5), "#000001")])
    assert axes.texts[0].get_text() == "…tention/query"
    assert len(axes.texts[0].get_text()) == LONGEST_LABEL
    assert measure_labels(["x" * 100]) == measure_labels(["x" * LONGEST_LABEL]) > measure_labels(["x"])
