"""The section with the phase diagrams of one network: ordered, critical or chaotic, by activation function.

Where the initializers lie is found first (:func:`place_initializers`), then the phases are computed and drawn.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.path import Path
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from numpy.typing import NDArray

from initcheck.core.errors import InitcheckError, UsageError
from initcheck.core.formatting import count, exponential, format_number
from initcheck.models.initializers import InitializerSpec, split_call
from initcheck.pages import svg
from initcheck.pages.document import (
    Block,
    Bullets,
    Cell,
    Details,
    Figure,
    Key,
    Panel,
    Paragraph,
    Row,
    Section,
    Table,
    code,
    listed,
    paragraph,
    prose,
)
from initcheck.pages.svg import FONT_SIZE, SMALL_FONT_SIZE, begin_drawing
from initcheck.study.report.levels import SummaryRow, shorten_reason
from initcheck.study.report.tables import names_in_order
from initcheck.theory.gaussian import Activation, find_activation
from initcheck.theory.mean_field import (
    CRITICAL_TOLERANCE,
    PRODUCT_LAYERS,
    FixedPoint,
    PhaseDiagram,
    Regime,
    find_critical_points,
    find_fixed_point,
    map_correlation,
    map_phases,
    multiply_chi,
)
from initcheck.theory.weights import weight_distribution

if TYPE_CHECKING:
    from pandas import DataFrame

_SAME: Final = 9  # significant digits in which initializers at one point agree
_PANEL: Final = (300, 226)
_MARGINS: Final = {"left": 48, "bottom": 38, "right": 10, "top": 8}
_COLUMNS: Final = 320  # so many, because the border runs almost upright
_ROWS: Final = 64
_STRAIGHT: Final = 0.02  # CSS pixels by which a point may lie off its neighbours' line and be left out
_USUAL: Final = (0.3, 4.0)  # the range of sigma_w that is always shown
_BEYOND: Final = 1.35
_TOP: Final = 2.0
_FLOOR: Final = -0.13  # below sigma_b = 0, so that the marks there are whole
_NUMBER_HEIGHT: Final = 0.34
_NUMBER_DISTANCE: Final = 15.0  # CSS pixels between neighbouring numbers
_LABEL_FROM: Final = 0.75  # the words of the phases are above the numbers
_WORD_WIDTH: Final = 54.0
_WIDE_WORD_WIDTH: Final = 92.0
_TICKS: Final = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0)
_TONES: Final[Mapping[Regime, str]] = {
    "ordered": "fading-1",
    "critical": "neutral",
    "chaotic": "growing-1",
    "no fixed point": "unknown",
}
_NEAR: Final = 0.01
_SCALE_FREE: Final = (
    "χ does not depend on σ_b. Above σ_b = 0 the variance grows without limit on the border, so that only the point at "
    "σ_b = 0 is critical."
)
_NO_SCALE: Final = "At σ_b = 0 the correlation of two inputs does not depend on σ_w: "
_NO_CORRELATION: Final = 1e-9
_BENT: Final = "they grow alike at every σ_w."
_LINEAR: Final = "it stays as it is at every σ_w."


@dataclass(frozen=True)
class Place:
    """One point of the sigma_w axis."""

    number: int
    sigma_w2: float
    initializers: tuple[str, ...]

    @property
    def sigma_w(self) -> float:
        """The square root of fan_in Var(W)."""
        return math.sqrt(self.sigma_w2)


def write_phases(
    pairs: Sequence[SummaryRow], table: DataFrame, layers: Sequence[str], network: str, anchor: str
) -> Section:
    """Write the section with the phase diagrams of one network."""
    title = "Order and chaos: where the initializers lie"
    width = read_width(table, network, layers)
    if width is None:
        refusal = prose(
            "No phase diagram: it takes a plain network of Dense layers of one width, and ",
            code(network), " is not one: its initializers have no single σ_w."
        )  # fmt: skip
        return Section(f"{anchor}-phases", title, (Paragraph(refusal),))
    places, unplaced = place_initializers(tuple(dict.fromkeys(name for pair in pairs for name in pair.names)), width)
    known: dict[str, Activation] = {}
    refused: dict[str, str] = {}
    for name in names_in_order(pairs, "activation"):
        phi, reason = find_phase_activation(name)
        if phi is None:
            refused[name] = reason
        else:
            known[name] = phi
    fixed_points = {
        name: {place.number: find_fixed_point(phi, place.sigma_w2) for place in places} for name, phi in known.items()
    }
    blocks: list[Block] = []
    if known:
        figure = _draw(known, places, fixed_points, f"{anchor}-phases")
        blocks.append(Details(prose(count(len(figure.panels), "phase diagram")), (_introduce(width), figure)))
    if known and places:
        critical = sum(found.regime == "critical" for each in fixed_points.values() for found in each.values())
        points = len(known) * len(places)
        words = f"{critical} of {points} places are critical: the phase of each"
        blocks.append(Details(prose(words), (_tabulate(known, places, fixed_points),)))
    gaps = [prose(code(name), f" has no phase diagram: {reason}.") for name, reason in refused.items()]
    gaps += [
        prose(listed(names), f" {'is' if len(names) == 1 else 'are'} not shown: {why}.")
        for why, names in unplaced.items()
    ]
    if gaps:
        left_out = sum(map(len, unplaced.values())) + len(refused)
        blocks.append(Details(prose(f"Not shown: {count(left_out, 'name')}"), (Bullets(tuple(gaps)),)))
    return Section(f"{anchor}-phases", title, tuple(blocks))


def place_initializers(initializers: Sequence[str], width: int) -> tuple[tuple[Place, ...], dict[str, tuple[str, ...]]]:
    """Find the sigma_w of each initializer in layers of one width."""
    members: dict[str, list[str]] = {}
    gains: dict[str, float] = {}
    unplaced: dict[str, list[str]] = {}
    for label in initializers:
        try:
            weights = weight_distribution(InitializerSpec(*_split(label)), (width, width))
        except InitcheckError as error:
            unplaced.setdefault(shorten_reason(str(error)), []).append(label)
        else:
            rounded = f"{weights.forward_gain:.{_SAME}g}"
            gains.setdefault(rounded, weights.forward_gain)
            members.setdefault(rounded, []).append(label)
    ordered = sorted(gains.items(), key=lambda item: item[1])
    places = tuple(
        Place(number, gain, tuple(members[rounded])) for number, (rounded, gain) in enumerate(ordered, start=1)
    )
    return places, {reason: tuple(labels) for reason, labels in unplaced.items()}


def find_phase_activation(name: str) -> tuple[Activation | None, str]:
    """Find the activation function behind a name, or the reason why it has no phases."""
    try:
        phi = find_activation(name)
        phi.require_moments()
    except UsageError:
        return None, "theory does not know this function"
    except InitcheckError as error:
        return None, shorten_reason(str(error))
    if phi.has_jumps:
        return None, "the function jumps, and its slope, which the gradient follows, does not see the jumps"
    return phi, ""


def is_scale_free(phi: Activation) -> bool:
    """Check whether a critical network keeps every variance, as with ReLU: chi then does not depend on sigma_b."""
    return find_critical_points(phi, 0.0)[0].q == 1.0


def read_width(table: DataFrame, network: str, layers: Sequence[str]) -> int | None:
    """Find the one width of a plain network of Dense layers; None for other kinds of layers or several widths."""
    chosen = (table["network"] == network) & table["layer"].isin(list(layers))
    rows = table.loc[chosen, ["layer", "kind", "fan_in", "fan_out"]]
    later = rows[rows["layer"] != layers[0]] if len(layers) > 1 else rows
    if set(rows["kind"].dropna()) != {"Dense"} or bool(rows["kind"].isna().any()):
        return None
    sizes = {float(size) for name in ("fan_in", "fan_out") for size in later[name].dropna().unique()}
    if len(sizes) != 1 or later.empty or bool(later["fan_in"].isna().any()):
        return None
    return int(sizes.pop())


def draw_phases(
    name: str,
    prefix: str,
    diagram: PhaseDiagram,
    places: Sequence[Place],
    fixed_points: Mapping[int, FixedPoint],
    notes: tuple[str, ...],
) -> Panel:
    """Draw the phase diagram of one activation function."""
    width, height = _PANEL
    # Where chi is 0, as below the threshold of a shrinking function, interpolation leaves noise of either sign.
    logarithm = np.log(np.clip(diagram.chi, np.exp(-30.0), np.exp(30.0)))
    with svg.drawing_settings():
        drawing, axes = begin_drawing(width, height, **_MARGINS)
        axes.set_xscale("log")
        axes.set_xlim(float(diagram.sigma_w[0]), float(diagram.sigma_w[-1]))
        axes.set_ylim(_FLOOR, _TOP)
        axes.grid(visible=False)
        _fill(axes, diagram, logarithm)
        _style(axes)
        _write_words(axes, diagram, logarithm)
        _mark_places(axes, places)
        text = describe_phases(name, places, fixed_points)
        picture = svg.export_svg(drawing, prefix, text)
    return Panel(name, text, picture, width, height, notes)


def describe_phases(name: str, places: Sequence[Place], fixed_points: Mapping[int, FixedPoint]) -> str:
    """Say in words in which phase each place lies."""
    parts = [
        f"{', '.join(place.initializers)} at σ_w {place.sigma_w:.3g}: {fixed_points[place.number].regime}"
        for place in places
    ]
    return f"Phase diagram of {name}, at σ_b = 0. {'; '.join(parts)}."


def describe_scale(phi: Activation) -> tuple[str, ...]:
    """Say what holds at every size of the signal; nothing for functions with a scale of their own."""
    if not is_scale_free(phi):
        return ()
    # Two inputs without correlation get one, unless the function is linear.
    return _SCALE_FREE, _NO_SCALE + (_BENT if map_correlation(phi, 0.0, 1.0, 1.0) > _NO_CORRELATION else _LINEAR)


def phase_keys() -> tuple[Key, ...]:
    """Make the legend of the diagrams."""
    box = '<rect x="1" y="0" width="32" height="12" fill="var(--{name})"/>'
    line = '<line x1="1" y1="6" x2="33" y2="6" stroke="var(--ink)" stroke-width="2"/>'
    mark = '<circle cx="17" cy="6" r="3.5" fill="var(--paper)" stroke="var(--ink)" stroke-width="1.5"/>'
    entries = (
        (box.format(name="ordered"), "χ < 1"),
        (box.format(name="chaotic"), "χ > 1"),
        (line, "the border, χ = 1"),
        (mark, "initializers, by number"),
    )
    return tuple(svg.draw_key(label, drawn) for drawn, label in entries)


def choose_range(places: Sequence[Place]) -> tuple[float, float]:
    """Choose the range of sigma_w that holds the usual values and all places."""
    low = min([_USUAL[0], *(place.sigma_w / _BEYOND for place in places)])
    high = max([_USUAL[1], *(place.sigma_w * _BEYOND for place in places)])
    return low, high


def compute_phases(phi: Activation, limits: tuple[float, float]) -> PhaseDiagram:
    """Compute the phases of an activation function over the range that is drawn."""
    return map_phases(phi, np.geomspace(*limits, _COLUMNS), np.linspace(0.0, _TOP, _ROWS))


def move_apart(wished: NDArray[np.float64], distance: float) -> NDArray[np.float64]:
    """Move increasing numbers apart as little as that takes, so that neighbours keep a distance."""
    # With the distances taken off, numbers that keep them are any that do not decrease: merge blocks that do.
    offsets = distance * np.arange(wished.size)
    blocks: list[tuple[float, int]] = []
    for value in wished - offsets:
        blocks.append((float(value), 1))
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            (first, many), (second, more) = blocks[-2:]
            blocks[-2:] = [((first * many + second * more) / (many + more), many + more)]
    return np.asarray(np.repeat([value for value, _ in blocks], [size for _, size in blocks]) + offsets)


def _introduce(width: int) -> Paragraph:
    return paragraph(
        "This is theory without a measurement. Two numbers decide what an infinitely wide and deep network does: "
        f"σ_w², the variance of a weight times the {width:,} inputs that a unit sums, and σ_b², the variance of "
        "the biases. Where the size of the signal settles, each layer from then on multiplies the squared "
        "gradient by one factor, χ, and the squared difference between two inputs that are nearly alike as well. "
        "Where χ is below 1 (ordered), both vanish; where it is above 1 (chaotic), both explode. Only in between, "
        "at χ = 1 (critical), do they reach far. Where the signal grows without limit there is no fixed point, and "
        "differences between inputs grow with the signal. Keras initializes biases to zero, so all initializers lie "
        "at σ_b = 0, and those with the same σ_w at one point. The diagram is about the limit of many layers, "
        "which a network of a few layers does not reach."
    )


def _draw(
    known: Mapping[str, Activation],
    places: Sequence[Place],
    fixed_points: Mapping[str, Mapping[int, FixedPoint]],
    name: str,
) -> Figure:
    limits = choose_range(places)
    panels = []
    for number, (activation, phi) in enumerate(known.items()):
        notes = describe_scale(phi)
        diagram = compute_phases(phi, limits)
        prefix = f"{name}-{number}"
        panels.append(draw_phases(activation, prefix, diagram, places, fixed_points[activation], notes))
    marks = tuple(
        (str(place.number), f"σ_w = {format_number(place.sigma_w, 4)}: {', '.join(place.initializers)}")
        for place in places
    )
    return Figure(
        name=name,
        caption=prose(
            "The phases of each activation function. Horizontally σ_w, on a logarithmic scale; vertically σ_b. The "
            "signal begins with a mean square of 1. The border is drawn where χ = 1, and where χ jumps across 1 "
            "because a signal on one side of it fades and on the other grows without limit."
        ),
        keys=phase_keys(),
        marks=marks,
        panels=tuple(panels),
        alternative="Phase diagrams over σ_w and σ_b by activation function, with the places of the initializers.",
    )


def _tabulate(
    known: Mapping[str, Activation], places: Sequence[Place], fixed_points: Mapping[str, Mapping[int, FixedPoint]]
) -> Table:
    rows = tuple(
        Row(name, tuple(_phase_cell(known[name], place, found[place.number]) for place in places))
        for name, found in fixed_points.items()
    )
    caption = prose(
        "The same in words: the phase at each of these points, the factor χ, and what the variance q of the "
        f"pre-activations settles at. “Critical”: χ within one part in {1.0 / CRITICAL_TOLERANCE:,.0f} of 1. “No "
        "fixed point”: q grows without limit, and χ → is what the factor tends to. “Any q”: every variance stays as it "
        f"is. Where χ does not say what becomes of the gradient, its product over {PRODUCT_LAYERS} layers does: the "
        "factor for the squared gradient, with an input of mean square 1."
    )
    columns = (f"{place.number}: σ_w = {format_number(place.sigma_w, 4)}" for place in places)
    return Table(caption, ("Activation", *columns), rows, form="heat map")


def _phase_cell(phi: Activation, place: Place, found: FixedPoint) -> Cell:
    chi = found.chi_backward
    if found.is_neutral:
        variance = "any q"
    elif found.q == 0.0:
        variance = "q → 0"
    elif math.isinf(found.q):
        variance = "q grows"
    else:
        variance = f"q = {format_number(found.q, 2)}"
    digits = 5 if abs(chi - 1.0) < _NEAR else 3
    sign = "→" if math.isinf(found.q) else "="
    notes = [f"χ {sign} {format_number(chi, digits)}", variance]
    if math.isinf(found.q) or (found.regime == "critical" and not found.is_neutral):
        product = multiply_chi(phi, place.sigma_w2, 0.0, place.sigma_w2)
        notes.append(f"{PRODUCT_LAYERS} layers: × {format_number(exponential(product), 2)}")
    return Cell(found.regime, tuple(notes), _TONES[found.regime], emphasis=found.regime == "critical")


def _split(label: str) -> tuple[str, tuple[tuple[str, object], ...]]:
    """Read a label as it was written; without Keras, which has no say in a report."""
    name, arguments = split_call(label)
    return name, tuple(arguments.items())


def _fill(axes: Axes, diagram: PhaseDiagram, logarithm: NDArray[np.float64]) -> None:
    """Fill the two phases, down to the floor, and draw the border between them."""
    # Below sigma_b = 0 there is nothing; the colours go on there only to give the marks a ground.
    sigma_b = np.concatenate([[_FLOOR], diagram.sigma_b])
    values = np.vstack([logarithm[:1], logarithm])
    colours = [svg.REGIONS["ordered"], svg.REGIONS["chaotic"]]
    drawn = [axes.contourf(diagram.sigma_w, sigma_b, values, levels=[-31.0, 0.0, 31.0], colors=colours, zorder=0)]
    if logarithm.min() < 0.0 < logarithm.max():
        grid = (diagram.sigma_w, diagram.sigma_b, logarithm)
        drawn.append(axes.contour(*grid, levels=[0.0], colors=[svg.INK], linewidths=2.0, zorder=2))
    for contours in drawn:
        contours.set_paths([_simplify(axes, path) for path in contours.get_paths()])


def _simplify(axes: Axes, path: Path) -> Path:
    """Leave out the points of a path that lie on the line between their neighbours, most of them on the frame."""
    vertices = np.asarray(path.vertices)
    codes = np.full(len(vertices), Path.LINETO) if path.codes is None else np.asarray(path.codes)
    at = axes.transData.transform(vertices)
    kept: list[int] = []
    for index in range(len(codes)):
        inside = 0 < index < len(codes) - 1 and codes[index] == codes[index + 1] == Path.LINETO
        if inside and codes[kept[-1]] in (Path.MOVETO, Path.LINETO):
            chord, step = at[index + 1] - at[kept[-1]], at[index] - at[kept[-1]]
            length = float(np.hypot(*chord))
            if length > 0.0 and abs(chord[0] * step[1] - chord[1] * step[0]) < _STRAIGHT * length:
                continue
        kept.append(index)
    return Path(vertices[kept], codes[kept]) if kept else path


def _style(axes: Axes) -> None:
    axes.axhline(0.0, color=svg.MUTED, linewidth=0.8, zorder=1)
    low, high = axes.get_xlim()
    axes.xaxis.set_major_locator(FixedLocator([tick for tick in _TICKS if low <= tick <= high]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_major_locator(FixedLocator([0.0, 0.5, 1.0, 1.5, 2.0]))
    axes.set_xlabel("σ_w", color=svg.MUTED, labelpad=2)
    axes.set_ylabel("σ_b", color=svg.MUTED, labelpad=6)


def _write_words(axes: Axes, diagram: PhaseDiagram, logarithm: NDArray[np.float64]) -> None:
    """Write the name of each phase where it has room."""
    low, high = np.log(axes.get_xlim())
    pixels = (_PANEL[0] - _MARGINS["left"] - _MARGINS["right"]) / (high - low)
    grows = np.isinf(diagram.q)
    phases = (
        ("ordered", _WORD_WIDTH, (logarithm < 0.0) & ~grows),
        ("chaotic", _WORD_WIDTH, (logarithm > 0.0) & ~grows),
        ("no fixed point", _WIDE_WORD_WIDTH, grows),
    )
    for word, width, inside in phases:
        best = (0.0, 0.0, 0.0)
        for row in np.flatnonzero(diagram.sigma_b >= _LABEL_FROM):
            for begin, end in _find_runs(inside[row]):
                edges = np.log(diagram.sigma_w[[begin, end]])
                # Room beyond what the word needs does not count; then the middle of the picture does.
                room = min(float(edges[1] - edges[0]) * pixels, 1.5 * width)
                rating = room - 4.0 * abs(float(diagram.sigma_b[row]) - 1.4)
                if room >= width and rating > best[0]:
                    best = (rating, float(np.exp(edges.mean())), float(diagram.sigma_b[row]))
        if best[0] > 0.0:
            axes.text(best[1], best[2], word, ha="center", va="center", color=svg.INK, fontsize=FONT_SIZE, zorder=5)


def _find_runs(inside: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Find the first and last index of each run of true values."""
    steps = np.flatnonzero(np.diff(np.concatenate([[False], inside, [False]]).astype(np.int8)))
    return [(int(begin), int(end) - 1) for begin, end in zip(steps[::2], steps[1::2], strict=True)]


def _mark_places(axes: Axes, places: Sequence[Place]) -> None:
    """Mark where initializers lie, with numbers above that are moved apart where they would overlap."""
    if not places:
        return
    low, high = np.log(axes.get_xlim())
    pixels = (_PANEL[0] - _MARGINS["left"] - _MARGINS["right"]) / (high - low)
    wished = np.asarray([(np.log(place.sigma_w) - low) * pixels for place in places])
    numbers_at = np.exp(low + move_apart(wished, _NUMBER_DISTANCE) / pixels)
    for place, number_at in zip(places, numbers_at, strict=True):
        axes.plot([place.sigma_w, number_at], [0.0, _NUMBER_HEIGHT - 0.09], color=svg.INK, linewidth=0.8, zorder=6)
        axes.plot(
            place.sigma_w,
            0.0,
            marker="o",
            markersize=6.5,
            markerfacecolor=svg.PAPER,
            markeredgecolor=svg.INK,
            markeredgewidth=1.5,
            zorder=8,
        )
        axes.text(
            number_at,
            _NUMBER_HEIGHT,
            str(place.number),
            ha="center",
            va="center",
            color=svg.LABEL,
            fontsize=SMALL_FONT_SIZE,
            zorder=9,
        )
