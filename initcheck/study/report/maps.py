"""The maps of the report: a row an initializer, a column an activation function, a block a direction.

They are so regular that they are written as SVG at once: in one picture, so that the names stand there once.
"""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from initcheck.audit.gains import PRESERVED_FACTOR
from initcheck.audit.limits import INDISTINGUISHABLE_SHARE, PRESERVING_MARGIN
from initcheck.core.columns import DIRECTIONS, Direction
from initcheck.core.formatting import format_number, power_of_ten, shorten
from initcheck.pages import palette, svg
from initcheck.pages.document import Figure, Key, Panel, Text
from initcheck.study.record import NotMeasured
from initcheck.study.report.levels import SummaryRow
from initcheck.study.report.tables import describe_verdicts, names_in_order

TITLES: Final[Mapping[Direction, str]] = {
    "forward": "forward: the signal, from input to output",
    "backward": "backward: the gradient, from output to input",
}
_CHARACTER: Final = 7.0  # mean width of a character of the small font, in CSS pixels
_ROOM: Final = 6  # between a name and its row or column
_TITLE: Final = 20
_SLANT: Final = math.sqrt(0.5)  # names of columns are written at 45 degrees
_SMALL, _LARGE = 0.005, 999.5  # below and from which a power of ten is written


@dataclass(frozen=True)
class MapCell:
    """One cell of a map: its text, a sign for where the text has no room, and its tone."""

    text: str
    sign: str
    tone: str


@dataclass(frozen=True)
class _Form:
    """Sizes of a map in CSS pixels."""

    cell: tuple[float, float]
    names: float
    gap: float
    on_phone: bool


_WIDE: Final = _Form((27.0, 18.0), 176.0, 12.0, on_phone=False)
_PHONE: Final = _Form((17.5, 12.0), 128.0, 2.0, on_phone=True)
_SWATCH: Final = '<rect x="{x}" y="0" width="{width}" height="12" fill="var(--ground-{tone})" stroke="var(--muted)"/>'


def draw_gain_maps(pairs: Sequence[SummaryRow], refused: Sequence[NotMeasured], caption: Text, name: str) -> Figure:
    """Draw the gains of one network in both directions, coloured by what the verdicts say."""
    cells = {direction: _map_pairs(pairs, direction, gain_map_cell) for direction in DIRECTIONS}
    words = "; ".join(f"{direction}, {describe_verdicts(pairs, direction)}" for direction in DIRECTIONS)
    description = f"Gain of a layer by initializer and activation function: {words}. The tables have the numbers."
    keys = _gain_keys({cell.tone for found in cells.values() for cell in found.values()})
    title = "Gain of a layer, deeper half"
    return _make_figure(name, title, caption, keys, pairs, refused, cells, description)


def draw_score_maps(
    pairs: Sequence[SummaryRow],
    refused: Sequence[NotMeasured],
    make_cell: Callable[[SummaryRow, Direction], MapCell],
    caption: Text,
    name: str,
) -> Figure:
    """Draw the scores of one network in both directions."""
    cells = {direction: _map_pairs(pairs, direction, make_cell) for direction in DIRECTIONS}
    keys = tuple(_swatch_key((tone,), text) for tone, text in palette.score_steps())
    description = "Scores by initializer and activation function; the tables have the numbers."
    title = "Measured less predicted gain, in standard errors"
    return _make_figure(name, title, caption, keys, pairs, refused, cells, description)


def gain_map_cell(pair: SummaryRow, direction: Direction) -> MapCell:
    """Give the gain over the deeper half, which decides the verdict, in the tone of that verdict."""
    summary = pair.by_direction[direction]
    gain, verdict = summary.settled, summary.verdict
    if verdict == "dead":
        return MapCell("0", "0", "dead")
    if math.isnan(gain):
        return MapCell("∞", "∞", "non-finite") if pair.nonfinite_from is not None else MapCell("?", "?", "unknown")
    text = _format_gain(gain) if _SMALL <= gain < _LARGE else power_of_ten(round(math.log10(gain)))
    if pair.symmetric or (verdict == "preserves" and pair.batch_variance_share < INDISTINGUISHABLE_SHARE):
        return MapCell(text, "≡", "symmetric")
    if verdict == "preserves" and pair.distinguishes_inputs:
        return MapCell(text, "=", "neutral")
    tone = palette.tone_of_gain(gain, max(1.0 + PRESERVING_MARGIN, PRESERVED_FACTOR ** (1.0 / max(summary.steps, 1))))
    for word, family, sign in (("vanishes", "fading", "−"), ("explodes", "growing", "+")):
        if verdict == word:
            # What was cut short by a zero or an overflow is judged by that, and not by the gain before it.
            return MapCell(text, sign, tone if tone.startswith(family) else f"{family}-5")
    return MapCell(text, "?", "unknown")


def _format_gain(gain: float) -> str:
    return f"{gain:.2f}" if gain < 9.95 else format_number(gain, 3 if gain >= 99.5 else 2)


def _map_pairs(
    pairs: Sequence[SummaryRow], direction: Direction, make_cell: Callable[[SummaryRow, Direction], MapCell]
) -> dict[tuple[str, str], MapCell]:
    return {(pair.label, pair.activation): make_cell(pair, direction) for pair in pairs}


def _make_figure(
    name: str,
    title: str,
    caption: Text,
    keys: tuple[Key, ...],
    pairs: Sequence[SummaryRow],
    refused: Sequence[NotMeasured],
    cells: Mapping[Direction, Mapping[tuple[str, str], MapCell]],
    description: str,
) -> Figure:
    rows = tuple(dict.fromkeys([pair.label for pair in pairs] + [item.initializer for item in refused]))
    columns = tuple(dict.fromkeys([*names_in_order(pairs, "activation"), *(item.activation for item in refused)]))
    asked = {(item.initializer, item.activation) for item in refused}
    blocks = {
        TITLES[direction]: {(row, column): _fill(found, (row, column), asked) for row in rows for column in columns}
        for direction, found in cells.items()
    }
    wide, width, height = _draw(blocks, rows, columns, _WIDE, description)
    phone, _, _ = _draw(blocks, rows, columns, _PHONE, description)
    panel = Panel(title, description, wide, width, height, phone=phone)
    return Figure(name, caption, keys, (), (panel,), description, columns=1)


def _fill(
    found: Mapping[tuple[str, str], MapCell], place: tuple[str, str], asked: set[tuple[str, str]]
) -> MapCell | None:
    """Give the cell at a place; None where nothing was asked for."""
    return found.get(place, MapCell("–", "–", "unknown") if place in asked else None)


def _draw(
    blocks: Mapping[str, Mapping[tuple[str, str], MapCell | None]],
    rows: Sequence[str],
    columns: Sequence[str],
    form: _Form,
    description: str,
) -> tuple[str, int, int]:
    """Draw blocks of cells side by side or one above the other; give the picture, its width and its height."""
    cell_width, cell_height = form.cell
    names = min(form.names, _ROOM + _CHARACTER * max(map(len, rows)) + 2.0)
    longest = int((names - _ROOM) / _CHARACTER)
    block_width, block_height = cell_width * len(columns), cell_height * len(rows)
    slanted = 8.0 + _SLANT * _CHARACTER * max(map(len, columns))
    # A title may be wider than a block of few columns.
    needed = block_width if form.on_phone else max(block_width, _CHARACTER * max(map(len, blocks)))
    parts: list[str] = []
    for place, (title, cells) in enumerate(blocks.items()):
        left = names + (0.0 if form.on_phone else place * (needed + form.gap))
        top = _TITLE + (place * (block_height + _TITLE + form.gap) if form.on_phone else 0.0)
        if form.on_phone:
            title = title.partition(":")[0]
        parts.append(_write(title, left, top - 7.0, "start", size=svg.FONT_SIZE, weight=600))
        for row_place, row in enumerate(rows):
            middle = top + (row_place + 0.5) * cell_height
            if left == names:
                parts.append(_write(shorten(row, longest), names - _ROOM, middle + 4.0, "end"))
            for column_place, column in enumerate(columns):
                found = cells[row, column]
                if found is not None:
                    corner = (left + column_place * cell_width, top + row_place * cell_height)
                    parts.append(_draw_cell(found, corner, form))
        if not form.on_phone or place == len(blocks) - 1:
            for column_place, column in enumerate(columns):
                x, y = left + (column_place + 0.7) * cell_width, top + block_height + 12.0
                parts.append(_write(column, x, y, "end", turn=-45))
    across, down = (1, len(blocks)) if form.on_phone else (len(blocks), 1)
    width = round(names + across * needed + (across - 1) * form.gap) + 2
    height = round(down * (block_height + _TITLE) + (down - 1) * form.gap + slanted) + 6
    picture = (
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{html.escape(description)}">{"".join(parts)}</svg>'
    )
    return picture, width, height


def _draw_cell(cell: MapCell, corner: tuple[float, float], form: _Form) -> str:
    (x, y), (width, height) = corner, form.cell
    framed = ' stroke="var(--muted)" stroke-width="1.2"' if cell.tone == "neutral" else ""
    box = (
        f'<rect x="{x + 0.8:.5g}" y="{y + 0.8:.5g}" width="{width - 1.6:.4g}" height="{height - 1.6:.4g}" rx="2" '
        f'fill="var(--ground-{cell.tone})"{framed}/>'
    )
    text = cell.sign if form.on_phone else cell.text
    return box + _write(text, x + width / 2.0, y + height / 2.0 + 4.0, "middle", colour=f"text-{cell.tone}")


def _write(
    text: str,
    x: float,
    y: float,
    anchor: str,
    *,
    size: float = svg.SMALL_FONT_SIZE,
    colour: str = "ink",
    weight: int = 0,
    turn: int = 0,
) -> str:
    extra = f' font-weight="{weight}"' if weight else ""
    extra += f' transform="rotate({turn} {x:.5g} {y:.5g})"' if turn else ""
    return (
        f'<text x="{x:.5g}" y="{y:.5g}" text-anchor="{anchor}" font-size="{size:g}" fill="var(--{colour})"{extra}>'
        f"{html.escape(text)}</text>"
    )


def _gain_keys(tones: set[str]) -> tuple[Key, ...]:
    """Make the legend of what occurs; the strengths of a colour are one entry."""
    entries = (
        (tuple(f"fading-{strength}" for strength in range(5, 0, -1)), "− vanishes"),
        (("neutral",), "= kept"),
        (tuple(f"growing-{strength}" for strength in range(1, 6)), "+ explodes"),
        (("symmetric",), "≡ no information"),
        (("dead",), "0 zero"),
        (("non-finite",), "∞ overflow"),
        (("unknown",), "? undecided"),
    )
    return tuple(_swatch_key(shades, label) for shades, label in entries if tones & set(shades))


def _swatch_key(tones: Sequence[str], label: str) -> Key:
    each = 34 / len(tones)
    boxes = (_SWATCH.format(x=f"{place * each:g}", width=f"{each:g}", tone=tone) for place, tone in enumerate(tones))
    return svg.draw_key(label, "".join(boxes))
