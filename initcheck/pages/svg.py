"""Matplotlib's SVG made fit for a page: themed, small, and safe beside its siblings.

Matplotlib writes fixed colours, document-wide styles and ids that repeat from picture to picture. A page needs colours
that follow the reader's light or dark mode and ids that are unique. Pictures are drawn in stand-in colours
(``STAND_INS``), each of which becomes a CSS variable here.
"""

from __future__ import annotations

import html
import io
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final
from xml.etree import ElementTree

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter

from initcheck.core.formatting import format_number, power_of_ten, shorten
from initcheck.pages import palette
from initcheck.pages.document import Figure, Key, Panel

SVG: Final = "http://www.w3.org/2000/svg"
_XLINK: Final = "{http://www.w3.org/1999/xlink}href"
FONT_FAMILY: Final = "system-ui, 'Segoe UI', Roboto, 'Helvetica Neue', 'Liberation Sans', Arial, sans-serif"

INK: Final = "#000001"
GRID: Final = "#000002"
MUTED: Final = "#000003"
LABEL: Final = "#000004"  # text that may lie over a line: it gets a halo
SERIES: Final = tuple(f"#00001{index}" for index in range(len(palette.SERIES)))
PAPER: Final = "#000005"
REGIONS: Final[Mapping[str, str]] = {name: f"#00002{index}" for index, name in enumerate(palette.REGIONS)}
GROUNDS: Final[Mapping[str, str]] = {name: f"#0003{place:02x}" for place, name in enumerate(palette.TONES)}
"""The ground of each tone."""
TEXTS: Final[Mapping[str, str]] = {name: f"#0004{place:02x}" for place, name in enumerate(palette.TONES)}
"""The text on that ground."""
STAND_INS: Final[Mapping[str, str]] = {
    **{stand_in: f"var(--ground-{name})" for name, stand_in in GROUNDS.items()},
    **{stand_in: f"var(--text-{name})" for name, stand_in in TEXTS.items()},
    PAPER: "var(--paper)",
    **{stand_in: f"var(--{name})" for name, stand_in in REGIONS.items()},
    INK: "var(--ink)",
    GRID: "var(--grid)",
    MUTED: "var(--muted)",
    LABEL: "var(--ink); stroke: var(--paper); stroke-width: 4px; paint-order: stroke",
    **{stand_in: f"var(--series-{index})" for index, stand_in in enumerate(SERIES)},
}

_COLOUR = re.compile(r"#[0-9a-f]{6}\b")
_REFERENCE = re.compile(r"url\(#([^)]+)\)")
_LONG_NUMBER = re.compile(r"(-?\d+\.\d{2})\d+")
_ID = re.compile(r'\b(id="|href="#)|(url\(#)')
_FONT = re.compile(r"font:\s*(?:\d+ )?([\d.]+)px [^;]*")
_FONT_FAMILY = re.compile(r";?\s*font-family: [^;]*")  # matplotlib's own font, which a reader may not have
_SPACE_BETWEEN_TAGS = re.compile(r">\s+<")

FONT_SIZE: Final = 12.0
SMALL_FONT_SIZE: Final = 11.0
PHONE_WIDTH: Final = 340
"""CSS pixels of a picture for a phone; a page is never scaled below the size in which its text was drawn."""

LONGEST_NAME: Final = 28
"""Characters that fit into one line beside a picture."""

DOTS: Final = (
    ("o", '<circle cx="6" cy="6" r="4"/>'),
    ("s", '<rect x="2.5" y="2.5" width="7" height="7"/>'),
    ("D", '<path d="M6 1.5 10.5 6 6 10.5 1.5 6z"/>'),
    ("^", '<path d="M6 2 10.5 10 1.5 10z"/>'),
)
"""Matplotlib's marker of each kind of dot, and its shape in a legend."""

LONGEST_LABEL: Final = 14
"""Characters of a name at the end of a line; a longer one is cut, and needs a legend beside it."""

_LINE_OF_LABEL: Final = 13.0  # CSS pixels from one label to the next
_LABEL_CHARACTER: Final = 7.2  # width of its characters in a wide font
_FACTORS: Final = (1.0, 2.0, 5.0)
_FEW_POWERS: Final = 2.5  # below which a scale of sizes is marked with 1, 2 and 5 of each
_NARROW: Final = 1.5  # powers of ten on either side below which the scale is marked in factors
_LABEL_LINE: Final = 14.0
_MAP_COLUMN: Final = 44
_CHARACTER: Final = 7.0  # mean width of a character in CSS pixels
_SHORT_NAME: Final = 6  # characters that fit below a column of a map


@contextmanager
def drawing_settings() -> Iterator[None]:
    """Draw with matplotlib's defaults and the report's own settings, whatever the user's ``matplotlibrc`` says."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rc("svg", fonttype="none", hashsalt="initcheck")  # text stays text; ids are the same in every run
        matplotlib.rc("font", family="DejaVu Sans", size=FONT_SIZE)  # comes with matplotlib: one layout on all machines
        matplotlib.rc("text", parse_math=False)  # names are user input: a dollar sign is a dollar sign
        matplotlib.rc("path", simplify=False)
        matplotlib.rc("axes", linewidth=0.8)
        yield


def export_svg(drawing: Drawing, prefix: str, description: str) -> str:
    """Export a drawing as an ``<svg>`` element for inlining in HTML."""
    stream = io.StringIO()
    drawing.savefig(stream, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    # The text is what matplotlib has just written, not a foreign document.
    root = ElementTree.fromstring(stream.getvalue())
    _drop(root, f"{{{SVG}}}metadata", f"{{{SVG}}}style")
    _rename_ids(root, prefix)
    for element in root.iter():
        element.tag = element.tag.removeprefix(f"{{{SVG}}}")
        for name in ("style", "fill", "stroke"):
            if name in element.attrib:
                element.set(name, _theme(element.get(name, "")))
        for name in ("d", "transform", "x", "y"):
            if name in element.attrib:
                element.set(name, _LONG_NUMBER.sub(r"\1", element.get(name, "")))
    for name in ("width", "height", "version"):
        root.attrib.pop(name, None)
    root.set("role", "img")
    root.set("aria-label", description)
    text = ElementTree.tostring(root, encoding="unicode")
    return _SPACE_BETWEEN_TAGS.sub("><", text).strip()


def _drop(element: ElementTree.Element, *tags: str) -> None:
    for child in list(element):
        if child.tag in tags:
            element.remove(child)
        else:
            _drop(child, *tags)


def _rename_ids(root: ElementTree.Element, prefix: str) -> None:
    """Number the ids that something refers to, and drop the others."""
    used: dict[str, str] = {}
    for element in root.iter():
        targets = [reference for value in element.attrib.values() for reference in _REFERENCE.findall(value)]
        if _XLINK in element.attrib:
            targets.append(element.attrib[_XLINK].removeprefix("#"))
        for target in targets:
            used.setdefault(target, f"{prefix}-{len(used)}")
    for element in root.iter():
        name = element.attrib.pop("id", None)
        if name in used:
            element.set("id", used[name])
        if _XLINK in element.attrib:
            element.set("href", "#" + used[element.attrib.pop(_XLINK).removeprefix("#")])
        for attribute, value in element.attrib.items():
            element.set(attribute, _REFERENCE.sub(lambda match: f"url(#{used[match[1]]})", value))


def prefix_ids(markup: str, prefix: str) -> str:
    """Put a prefix before the ids in a page or picture, and before what refers to them, to stand beside others."""
    return _ID.sub(rf"\g<0>{prefix}-", markup)


def _theme(style: str) -> str:
    style = _COLOUR.sub(lambda match: STAND_INS.get(match[0], match[0]), style)
    return _FONT_FAMILY.sub("", _FONT.sub(r"font-size: \1px", style))


def draw_key(label: str, shapes: str, *, width: int = 34) -> Key:
    """Make a legend entry of SVG shapes in a box 12 pixels high."""
    return Key(f'<svg viewBox="0 0 {width} 12" width="{width}" height="12" aria-hidden="true">{shapes}</svg>', label)


def draw_line_key(label: str, index: int, width: float, dashes: tuple[float, ...]) -> Key:
    """Make the legend entry of a line, drawn as the line is."""
    pattern = " ".join(f"{length * width:g}" for length in dashes)
    dashed = f' stroke-dasharray="{pattern}"' if pattern else ""
    line = f'<line x1="1" y1="6" x2="33" y2="6" stroke="var(--series-{index})" stroke-width="{width:g}"{dashed}/>'
    return draw_key(label, line)


def draw_dot_key(label: str, index: int, shape: str) -> Key:
    """Make the legend entry of a dot, drawn as the dot is."""
    mark = f'<g fill="var(--series-{index})">{shape}</g>'
    return draw_key(label, mark, width=12)


def compose_file(figure: Figure) -> str:
    """Put the panels and the legend of a figure into one SVG file that brings its own light and dark colours."""
    columns = min(figure.columns, len(figure.panels))
    gap, heading = 18, 22
    panel_width = max(panel.width for panel in figure.panels)
    panel_height = max(panel.height for panel in figure.panels)
    width = gap + columns * (panel_width + gap)
    parts: list[str] = []
    left, top = gap, gap
    for key in figure.keys:
        needed = 64 + 7 * len(key.label)  # the sample, a gap, and the label at its usual width
        if left > gap and left + needed > width:
            left, top = gap, top + heading
        parts.append(f'<g transform="translate({left} {top})">{key.svg}</g>')
        parts.append(_label(left + 42, top + 10, key.label))
        left += needed
    top += 2 * heading
    for index, panel in enumerate(figure.panels):
        row, column = divmod(index, columns)
        x = gap + column * (panel_width + gap)
        y = top + row * (panel_height + heading + gap)
        parts.append(_label(x, y, panel.title, bold=True))
        parts.append(_place(panel, x, y + 6))
    rows = -(-len(figure.panels) // columns)
    height = top + rows * (panel_height + heading + gap)
    return (
        f'<svg xmlns="{SVG}" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
        f'aria-label="{html.escape(figure.alternative)}">\n<style>{_style_sheet()}</style>\n'
        f'<rect width="{width}" height="{height}" fill="var(--paper)"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def _place(panel: Panel, x: int, y: int) -> str:
    head = f'<svg x="{x}" y="{y}" width="{panel.width}" height="{panel.height}" '
    return head + panel.svg.removeprefix("<svg ")


def _label(x: int, y: int, text: str, *, bold: bool = False) -> str:
    weight = ' font-weight="600"' if bold else ""
    return f'<text x="{x}" y="{y}" font-size="12" fill="var(--ink)"{weight}>{html.escape(text)}</text>'


def _style_sheet() -> str:
    light = "".join(f"--{name}:{colour.light};" for name, colour in palette_variables().items())
    dark = "".join(f"--{name}:{colour.dark};" for name, colour in palette_variables().items())
    font = f"svg{{font-family:{FONT_FAMILY}}}"
    return f":root{{{light}}}@media (prefers-color-scheme:dark){{:root{{{dark}}}}}{font}"


def palette_variables() -> dict[str, palette.Colour]:
    """Give the CSS variables that inlined pictures need, by name without the dashes."""
    series = {f"series-{index}": colour for index, colour in enumerate(palette.SERIES)}
    grounds = {f"ground-{name}": tone.ground for name, tone in palette.TONES.items()}
    texts = {f"text-{name}": tone.text for name, tone in palette.TONES.items()}
    return {**palette.PAGE, **series, **palette.REGIONS, **grounds, **texts}


def begin_drawing(width: int, height: int, *, left: int, bottom: int, right: int, top: int) -> tuple[Drawing, Axes]:
    """Begin a picture of a size in CSS pixels, with the given margins."""
    drawing = Drawing(figsize=(width / 72.0, height / 72.0), dpi=72)
    axes = drawing.add_axes(
        (left / width, bottom / height, (width - left - right) / width, (height - bottom - top) / height)
    )
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(GRID)
    axes.tick_params(length=0, colors=INK, labelsize=FONT_SIZE)
    axes.grid(visible=True, color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    return drawing, axes


def begin_map(
    columns: Sequence[Any], rows: Sequence[Any], label: str, *, row_height: int, margin: int, width: int | None = None
) -> tuple[Drawing, Axes, int, int]:
    """Begin a map with a cell of size 1 for each column and row, the first row at the top.

    Args:
        columns: their names, written at an angle where one is long.
        rows: their names, which may have two lines.
        margin: left of the names, in CSS pixels.
        width: of the map, in CSS pixels; what its columns need if it is None.

    Returns:
        The drawing, its axes, and its width and height in CSS pixels.
    """
    names, labels = [str(name) for name in columns], [str(name) for name in rows]
    left = margin + int(_CHARACTER * max(len(line) for name in labels for line in name.splitlines()))
    longest = max(map(len, names))
    tilted = longest > _SHORT_NAME
    bottom = 36 + (int(_CHARACTER * 0.75 * longest) if tilted else 0)
    width, height = width or left + _MAP_COLUMN * len(names) + 12, row_height * len(labels) + bottom + 8
    drawing, axes = begin_drawing(width, height, left=left, bottom=bottom, right=12, top=8)
    axes.grid(visible=False)
    axes.set_xlim(-0.5, len(names) - 0.5)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.set_xticks(range(len(names)), names, rotation=45 if tilted else 0, ha="right" if tilted else "center")
    axes.set_yticks(range(len(labels)), labels)
    axes.set_xlabel(label, color=MUTED, labelpad=2)
    return drawing, axes, width, height


def draw_map_cell(axes: Axes, place: tuple[int, int], text: str, colour: str, **patch: Any) -> None:
    """Draw the cell of a map at a column and row: a rectangle in the style given, with text on it."""
    column, row = place
    axes.add_patch(Rectangle((column - 0.5, row - 0.5), 1.0, 1.0, **patch))
    axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=SMALL_FONT_SIZE, zorder=4)


def label_line_ends(axes: Axes, ends: Sequence[tuple[float, str, str]], *, height: int) -> None:
    """Write a name to the right of each line, pushed apart where two would meet.

    Args:
        ends: the height at which a line ends, its name and its colour.
        height: of the axes in CSS pixels.
    """
    low, high = axes.get_ylim()
    lowest = 0.0
    for level, name, colour in sorted(ends):
        lowest = max(lowest, (level - low) / (high - low) * height)
        place: dict[str, Any] = {
            "xy": (1.0, 0.0),
            "xycoords": "axes fraction",
            "xytext": (6.0, lowest),
            "textcoords": "offset points",
        }
        axes.annotate(name, **place, va="center", color=colour, fontsize=SMALL_FONT_SIZE, annotation_clip=False)
        lowest += _LABEL_LINE


def style_level_axis(axes: Axes, limit: float) -> None:
    """Let the vertical axis show levels from -limit to limit."""
    axes.set_ylim(-limit, limit)
    if limit < _NARROW:
        _set_factors(axes, limit)
    else:
        set_powers(axes, (-limit, limit), "y")
        axes.axhline(0.0, color=MUTED, linewidth=0.8, zorder=1)


def set_powers(axes: Axes, limits: tuple[float, float], which: str) -> None:
    """Mark an axis of levels with powers of ten."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    low, high = limits
    step = max(1, round((high - low) / (4.0 if which == "x" else 5.0)))
    axis.set_ticks([level for level in range(math.ceil(low), int(high) + 1) if level % step == 0])
    axis.set_major_formatter(FuncFormatter(lambda level, _: power_of_ten(round(level))))


def mark_sizes(axes: Axes, limits: tuple[float, float]) -> None:
    """Mark the vertical axis of logarithms of sizes: with round numbers where it spans few powers of ten."""
    low, high = limits
    if high - low >= _FEW_POWERS:
        set_powers(axes, limits, "y")
        return
    powers = range(math.floor(low), math.ceil(high) + 1)
    levels = [power + math.log10(factor) for power in powers for factor in _FACTORS]
    axes.yaxis.set_ticks([level for level in levels if low <= level <= high])
    axes.yaxis.set_major_formatter(FuncFormatter(lambda level, _: format_number(10.0**level, 1)))


def _set_factors(axes: Axes, limit: float) -> None:
    """Mark a narrow axis of levels with round factors."""
    factors = [factor * 10.0**power for power in (-2, -1, 0, 1) for factor in _FACTORS]
    axes.yaxis.set_ticks([math.log10(factor) for factor in factors if abs(math.log10(factor)) < limit])
    axes.yaxis.set_major_formatter(FuncFormatter(lambda level, _: f"× {format_number(10.0**level, 1)}"))


def measure_labels(names: Sequence[str]) -> int:
    """Measure the room that :func:`label_ends` needs right of a picture, in CSS pixels."""
    return 12 + int(_LABEL_CHARACTER * max((min(len(name), LONGEST_LABEL) for name in names), default=0))


def label_ends(axes: Axes, ends: Sequence[tuple[str, tuple[float, float], str]]) -> None:
    """Write a name beside the end of each line, in its colour; names that would overlap are moved apart.

    Args:
        axes: with its vertical limits set.
        ends: of each line the name, where it ends, and the colour.
    """
    low, high = axes.get_ylim()
    room = axes.get_window_extent().height
    known = sorted((each for each in ends if math.isfinite(each[1][1])), key=lambda each: each[1][1])
    heights = [room * min(max((height - low) / (high - low), 0.0), 1.0) for _, (_, height), _ in known]
    for place in range(1, len(heights)):
        heights[place] = max(heights[place], heights[place - 1] + _LINE_OF_LABEL)
    top = room
    for place in reversed(range(len(heights))):
        heights[place] = min(heights[place], top)
        top = heights[place] - _LINE_OF_LABEL
    for (name, (end, _), colour), height in zip(known, heights, strict=True):
        axes.annotate(
            shorten(name, LONGEST_LABEL, keep_end=True),
            (end, height / room),
            (8.0, 0.0),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            va="center",
            color=colour,
            fontsize=SMALL_FONT_SIZE,
            annotation_clip=False,
        )


def break_name(name: str, longest: int = LONGEST_NAME) -> str:
    """Break a long name in two at the comma or bracket nearest to its middle."""
    places = [index + 1 for index, character in enumerate(name) if character in ",( "]
    if len(name) <= longest or not places:
        return name
    place = min(places, key=lambda index: abs(index - len(name) / 2.0))
    return f"{name[:place].rstrip()}\n{name[place:].lstrip()}"
