"""What is looked for on an open page: each function lists what is wrong, and nothing where nothing is."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

SMALLEST_TEXT = 11.0
"""CSS pixels, as they are seen: pictures may be scaled."""

_ROUNDING = 0.05
_TABS = 25

_OVERFLOW = """() => {
  const wide = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth <= wide) return [];
  const scrolled = element => element.closest('.scroll, pre, nav');
  return [...document.querySelectorAll('main *, header *')]
    .filter(element => !scrolled(element) && element.getBoundingClientRect().right > wide + 1)
    .map(element => element.outerHTML.slice(0, 120)).concat(['the page is ' + document.documentElement.scrollWidth]);
}"""

_SMALL_TEXT = """() => [...document.querySelectorAll('svg text')]
  .filter(text => text.checkVisibility() && text.textContent.trim())
  .map(text => {
    const matrix = text.getScreenCTM();
    return [text.textContent, parseFloat(getComputedStyle(text).fontSize) * Math.hypot(matrix.a, matrix.b)];
  })"""

_PLACES = """() => {
  const box = element => element && element.getBoundingClientRect();
  const picture = [...document.querySelectorAll('.answer svg[role=img], .answer table, .answer img')]
    .find(element => element.checkVisibility());
  return {verdict: box(document.querySelector('.answer .verdict')), picture: box(picture)};
}"""

_BROKEN_LINKS = """() => [...document.querySelectorAll('a')].map(link => link.getAttribute('href')).filter(address =>
  !address || (address.startsWith('#') ? !document.getElementById(decodeURIComponent(address.slice(1)))
                                       : !/^https:[/][/]/.test(address)))"""

_FOCUSED = """() => {
  const element = document.activeElement;
  if (!element || element === document.body) return null;
  const style = getComputedStyle(element), box = element.getBoundingClientRect();
  return {name: element.outerHTML.slice(0, 80), outline: style.outlineStyle !== 'none',
          seen: box.width > 0 && box.bottom > 0 && box.top < innerHeight};
}"""


def find_sideways_overflow(page: Any) -> list[str]:
    """List what reaches beyond the right edge, where the page can be moved sideways."""
    found: list[str] = page.evaluate(_OVERFLOW)
    return found


def find_small_text(page: Any) -> list[tuple[str, float]]:
    """List the texts of pictures that are smaller than can be read."""
    return [(text, size) for text, size in page.evaluate(_SMALL_TEXT) if size < SMALLEST_TEXT - _ROUNDING]


def find_what_is_below(page: Any, height: float) -> list[str]:
    """List what a reader would have to scroll for: the verdict, or the first picture or table."""
    places = page.evaluate(_PLACES)
    missing = [name for name, box in places.items() if box is None]
    if missing:
        return [f"no {name}" for name in missing]
    return [f"{name} ends at {box['bottom']:.0f}" for name, box in places.items() if box["bottom"] > height]


def find_broken_links(page: Any) -> list[str]:
    """List the links that lead nowhere: in the page, to a page beside it, or to no public page."""
    folder = Path(page.evaluate("decodeURIComponent(location.pathname)")).parent
    return [address for address in page.evaluate(_BROKEN_LINKS) if not address or not _leads_to_file(folder, address)]


def _leads_to_file(folder: Path, address: str) -> bool:
    name, _, anchor = address.partition("#")
    path = folder / name
    return bool(name) and path.is_file() and (not anchor or f'id="{anchor}"' in path.read_text(encoding="utf-8"))


def find_lost_focus(page: Any) -> list[str]:
    """Go through the page with the tab key; list what gets the focus and does not show it."""
    lost = []
    for _ in range(_TABS):
        page.keyboard.press("Tab")
        focused = page.evaluate(_FOCUSED)
        if focused is None:
            break
        if not (focused["outline"] and focused["seen"]):
            lost.append(focused["name"])
    return lost


def find_axe_violations(page: Any) -> list[str]:
    """List what axe-core finds, by all of its rules."""
    axe = files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")
    page.evaluate(axe)
    result = page.evaluate("() => axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{violation['id']}: {node['target']} {node['failureSummary']}"
        for violation in result["violations"]
        for node in violation["nodes"]
    ]


def measure_height(page: Any) -> float:
    """Measure how long the page is, with everything folded that can be."""
    page.evaluate("() => document.querySelectorAll('details').forEach(each => { each.open = false; })")
    height: float = page.evaluate("() => document.documentElement.scrollHeight")
    return height
