"""Every page can be read: on a wide screen and on a phone, light and dark, by keyboard, and by a screen reader."""

from __future__ import annotations

from pathlib import Path

import pytest
from page_checks import (
    find_axe_violations,
    find_broken_links,
    find_lost_focus,
    find_sideways_overflow,
    find_small_text,
    find_what_is_below,
    measure_height,
)
from sample_pages import HEIGHTS, PAGES

SCREEN = 900


@pytest.fixture(scope="session", params=sorted(PAGES))
def sample(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    name = request.param
    made = PAGES[name]()
    if isinstance(made, Path):
        return name, made
    path = tmp_path_factory.mktemp(name) / f"{name}.html"
    path.write_text(made, encoding="utf-8")
    return name, path


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1200, 390])
def test_a_page_can_be_read(sample, open_page, width: int, scheme: str):
    name, path = sample
    page = open_page(path, width, scheme)
    assert page.requested == []
    assert find_sideways_overflow(page) == []
    assert find_small_text(page) == []
    assert find_what_is_below(page, SCREEN) == []
    assert find_broken_links(page) == []
    assert find_lost_focus(page) == []
    assert find_axe_violations(page) == []
    if width == 1200:
        assert measure_height(page) <= HEIGHTS[name]


BAD = """<!doctype html><html><body><main>
<p style="width: 2000px">Too wide</p><p style="color: #aaaaaa; background: #ffffff">Too pale</p>
<svg viewBox="0 0 200 20" width="100" role="img"><text y="12" font-size="12">Too small</text></svg>
<div style="height: 1000px"></div>
<div class="answer"><p class="verdict">Too low</p><table><tr><td>1</td></tr></table></div>
<a href="#nowhere" style="outline: none">Nowhere</a><img src="missing.png">
</main></body></html>"""


def test_each_check_fails_on_a_page_that_is_wrong_in_all_of_these_ways(tmp_path, open_page):
    path = tmp_path / "bad.html"
    path.write_text(BAD, encoding="utf-8")
    page = open_page(path, 390, "light")
    assert [Path(address).name for address in page.requested] == ["missing.png"]
    assert any("Too wide" in found for found in find_sideways_overflow(page))
    assert find_small_text(page) == [("Too small", pytest.approx(6.0))]
    assert len(find_what_is_below(page, SCREEN)) == 2
    assert find_broken_links(page) == ["#nowhere"]
    assert len(find_lost_focus(page)) == 1
    rules = {found.partition(":")[0] for found in find_axe_violations(page)}
    assert {"color-contrast", "html-has-lang", "image-alt"} <= rules
    assert measure_height(page) > SCREEN
