"""What a sweep answers: which initializer keeps the signal with which activation function, and up to which depth.

A cell keeps the signal where its verdict says so: its size is shown to be kept in both directions, its last layer
distinguishes inputs, and its units differ.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import pandas as pd

from initcheck.core.columns import DIRECTIONS
from initcheck.core.formatting import format_names, is_missing
from initcheck.pages import palette
from initcheck.pages.document import Answer, Block, Cell, Paragraph, Row, Scale, Table, Tone, prose
from initcheck.study.report.levels import SummaryRow, read_row
from initcheck.study.report.tables import choose_name, describe_twins
from initcheck.sweeping.spec import AXES

if TYPE_CHECKING:
    from initcheck.sweeping.run import SweepResult

TITLE: Final = "initcheck: a sweep"
State = Literal["kept", "undecided", "missing", "lost"]
"""Whether a cell keeps the signal, from the best to the worst; missing: it was not measured."""

_STATES: Final[tuple[State, ...]] = ("kept", "undecided", "missing", "lost")
_ORDERED: Final = ("depth", "width", "batch_size")
"""Axes along which "up to" has a meaning, in the order in which one is chosen."""

_FURTHER: Final = ("network", "data", "dtype")
_WORDS: Final = {"depth": "depth", "width": "width", "batch_size": "batch size"}
_MOST_NAMES: Final = 4
_GAINS: Final = tuple(f"{way}_log_gain{end}" for way in DIRECTIONS for end in ("", "_low", "_high"))
_EXTREME: Final = 50.0  # logarithm that stands for a gain that is zero or overflowed, where rows are ordered


@dataclass(frozen=True)
class MeasuredCell:
    """One measured cell: its place on the axes, and what it came to."""

    axes: Mapping[str, Any]
    row: SummaryRow

    @property
    def state(self) -> State:
        """Whether it keeps the signal."""
        outcome = self.row.outcome
        return "kept" if outcome == "kept" else "undecided" if outcome == "undecided" else "lost"

    @property
    def log_gain(self) -> float:
        """The rate that decides, in the direction farther from none; of a lost signal, where it is lost."""
        lost = [each for each in self.row.by_direction.values() if each.verdict in ("vanishes", "explodes")]
        directions = [lost, list(self.row.by_direction.values())][self.state != "lost" or not lost]
        logs = [math.log(each.settled) for each in directions if each.settled > 0.0]
        return max(logs, key=abs, default=math.nan)


@dataclass(frozen=True)
class Question:
    """What is asked: which initializer keeps what, along which axis (empty where none varies).

    Attributes:
        items: the axes that name what is kept: the activation function, and others where they vary.
    """

    items: tuple[str, ...]
    along: str

    def name_item(self, cell: MeasuredCell) -> str:
        """Name what a cell is about: ``relu``, or ``relu on mlp``, or ``relu on mlp, float16``."""
        first, *others = (str(cell.axes[axis]) for axis in self.items)
        return first + "".join(
            f"{' on ' if axis == 'network' else ', '}{name}" for axis, name in zip(self.items[1:], others, strict=True)
        )


def read_cells(summary: pd.DataFrame) -> list[MeasuredCell]:
    """Read the cells of a summary, those of initializers that draw the same weights once."""
    measured, alike = drop_alike(summary)
    return [
        MeasuredCell(
            {axis: None if is_missing(row[axis]) else row[axis] for axis in AXES},
            replace(read_row(row), twins=alike.get(str(row["initializer"]), ())),
        )
        for row in measured.to_dict("records")
    ]


def name_labels(cells: Sequence[MeasuredCell]) -> dict[str, str]:
    """Give the label of each initializer, which says for how many more it stands."""
    return {cell.row.initializer: cell.row.label for cell in cells}


def drop_alike(summary: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, tuple[str, ...]]]:
    """Take the measurements of initializers that draw the same weights once, with the others by the name that stays."""
    alike = find_alike(summary)
    others = {name for names in alike.values() for name in names}
    return summary[~summary["initializer"].isin(others)], alike


def find_alike(summary: pd.DataFrame) -> dict[str, tuple[str, ...]]:
    """Find initializers whose measurements are equal wherever they vary: by one of the names, the others."""
    rest = [axis for axis in AXES if axis != "initializer"]
    ranges = [summary[f"{way}_log_gain_high"] - summary[f"{way}_log_gain_low"] for way in DIRECTIONS]
    varied = summary[(ranges[0] > 0.0).fillna(False) & (ranges[1] > 0.0).fillna(False)]
    groups: dict[str, list[str]] = {}
    for name, part in varied.groupby("initializer", sort=False):
        values = part.sort_values(rest)[[*rest, *_GAINS]].to_dict("records")
        groups.setdefault(repr(values), []).append(str(name))
    shown = {choose_name(names): names for names in groups.values() if len(names) > 1}
    return {name: tuple(other for other in names if other != name) for name, names in shown.items()}


def choose_question(summary: pd.DataFrame) -> Question:
    """Choose what the sweep is about: initializers with activation functions by depth, if these vary."""
    varying = [axis for axis in AXES if summary[axis].nunique() > 1]
    along = next((axis for axis in _ORDERED if axis in varying), "")
    return Question(("activation", *(axis for axis in _FURTHER if axis in varying)), along)


def write_answer(result: SweepResult) -> Answer:
    """Write the verdict, how many cells keep the signal, and the matrix."""
    cells = read_cells(result.summary)
    missing = len(result.refused) + len(result.failed)
    verdict, tone = describe_sweep(result.summary)
    if not cells:
        return Answer(prose(verdict), tone, ((f"{missing:,}", "cells could not be measured"),))
    states = [cell.state for cell in cells]
    last = (f"{missing:,}", "cells could not be measured") if missing else (f"{states.count('lost'):,}", "lose it")
    values = (
        (f"{states.count('kept'):,} of {len(cells):,}", "measurements keep the signal in both directions"),
        (f"{states.count('undecided'):,}", "are undecided"),
        last,
    )
    return Answer(prose(verdict), tone, values, tuple(_write_matrix(cells, choose_question(result.summary))))


def describe_sweep(summary: pd.DataFrame) -> tuple[str, Tone]:
    """Say in one sentence what keeps the signal and how far, and whether that is well."""
    if not len(summary):
        return "No cell was measured.", "failed"
    return describe_keepers(read_cells(summary), choose_question(summary))


def describe_keepers(cells: Sequence[MeasuredCell], question: Question) -> tuple[str, Tone]:
    """Say in one sentence what keeps which item, and how far; and whether each is kept by something."""
    by_item = group_states(cells, question)
    everywhere: dict[str, list[str]] = {}
    undecided: list[str] = []
    limited: dict[str, list[tuple[str, bool]]] = {}
    for item, choices in by_item.items():
        keepers = [choice for choice, states in choices.items() if set(states.values()) == {"kept"}]
        if keepers:
            everywhere[item] = keepers
        elif any(set(states.values()) <= {"kept", "undecided"} for states in choices.values()):
            undecided.append(item)
        else:
            where, shown = _find_limit(choices, _WORDS.get(question.along, ""))
            limited.setdefault(where, []).append((item, shown))
    clauses = []
    for keeper, items in _assign(everywhere):
        values = {value for item in items for value in by_item[item][keeper]} - {None}
        where = f" at every {_WORDS[question.along]}" if values else ""
        clauses.append(f"{keeper} keeps {format_names(items, _MOST_NAMES)}{where}")
    if undecided:
        clauses.append(f"undecided for {format_names(undecided, _MOST_NAMES)}")
    for where, found in limited.items():
        verb = "keeps" if all(shown for _, shown in found) else "is shown to keep"
        names = " or ".join(format_names([item for item, _ in found], _MOST_NAMES).rsplit(" and ", 1))
        clauses.append(f"nothing {verb} {names}{where}")
    sentence = "; ".join(clauses) + "."
    return sentence[0].upper() + sentence[1:], "failed" if limited else "undecided" if undecided else "passed"


def group_states(cells: Sequence[MeasuredCell], question: Question) -> dict[str, dict[str, dict[Any, State]]]:
    """Group by item, choice and value along the axis; where further axes vary, the worst state of all counts."""
    values: dict[str, dict[Any, None]] = {}
    found: dict[str, dict[str, dict[Any, State]]] = {}
    for cell in cells:
        item, choice = question.name_item(cell), str(cell.axes["initializer"])
        value = cell.axes[question.along] if question.along else None
        values.setdefault(item, {})[value] = None
        states = found.setdefault(item, {}).setdefault(choice, {})
        states[value] = max(states.get(value, "kept"), cell.state, key=_STATES.index)
    for item, choices in found.items():
        for states in choices.values():
            for value in values[item]:
                states.setdefault(value, "missing")
    return found


def _find_limit(choices: Mapping[str, Mapping[Any, State]], word: str) -> tuple[str, bool]:
    """Say beyond where nothing keeps an item, and whether it is shown to be lost there."""
    cells = [(value, state) for states in choices.values() for value, state in states.items()]
    kept = [value for value, state in cells if state == "kept" and value is not None]
    beyond = {state for value, state in cells if not kept or (value is not None and value > max(kept))}
    if kept and not beyond:
        where = f" at every {word}"
        shown = all("lost" in states.values() for states in choices.values())
    else:
        where = "" if not word else f" beyond {word} {max(kept)}" if kept else f" at any {word}"
        shown = beyond == {"lost"}
    return where, shown


def _assign(everywhere: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, list[str]]]:
    """Give each item to one of those that keep it everywhere, as few of them as possible."""
    left = dict(everywhere)
    while left:
        candidates = list(dict.fromkeys(choice for keepers in left.values() for choice in keepers))
        best = max(candidates, key=lambda choice: sum(choice in keepers for keepers in left.values()))
        yield best, [item for item, keepers in left.items() if best in keepers]
        left = {item: keepers for item, keepers in left.items() if best not in keepers}


def order_names(cells: Sequence[MeasuredCell], name: Callable[[MeasuredCell], str]) -> list[str]:
    """Order names by the mean of the rates that decide, the weakest first."""
    logs: dict[str, list[float]] = {}
    for cell in cells:
        logs.setdefault(name(cell), []).append(_rank_cell(cell))
    return sorted(logs, key=lambda each: float(np.mean(logs[each])))


def name_initializer(cell: MeasuredCell) -> str:
    """Name the initializer of a cell."""
    return str(cell.axes["initializer"])


def _rank_cell(cell: MeasuredCell) -> float:
    """Give a logarithm to order by: also of a signal that is dead or has overflowed."""
    if cell.row.outcome == "dead":
        return -_EXTREME
    if math.isnan(cell.log_gain):
        return _EXTREME if not cell.row.is_finite else 0.0
    return float(np.clip(cell.log_gain, -_EXTREME, _EXTREME))


def _write_matrix(cells: Sequence[MeasuredCell], question: Question) -> Iterator[Block]:
    """Write a row an initializer and a column an activation function, both by their gains, and the colours."""
    items = order_names(cells, question.name_item)
    by_value = len(items) == 1 and bool(question.along)
    columns = sorted({cell.axes[question.along] for cell in cells}) if by_value else items
    groups: dict[tuple[str, Any], list[MeasuredCell]] = {}
    for cell in cells:
        place = cell.axes[question.along] if by_value else question.name_item(cell)
        groups.setdefault((name_initializer(cell), place), []).append(cell)
    along = "" if by_value else question.along
    labels = name_labels(cells)
    rows, tones = [], set()
    for name in order_names(cells, name_initializer):
        own = [_write_group(groups.get((name, column), []), along) for column in columns]
        tones |= {cell.tone for cell in own}
        rows.append(Row(labels[name], tuple(own)))
    word = _WORDS.get(along, "")
    where = f", at the greatest {word}; below it, up to which {word} the signal is kept, or at how many" if word else ""
    caption = prose(
        "The gain of a layer, signal or gradient, whichever is farther from 1: geometric mean over the deeper half of "
        f"the network, which decides{where}. Rows and columns by their gains."
    )
    names = [f"{_WORDS[question.along]} {column}" if by_value else str(column) for column in columns]
    yield Table(caption, ("Initializer", *names), tuple(rows), "heat map")
    yield Scale(scale_of_tones(tones))
    if twins := describe_twins([cell.row for cell in cells]):
        yield Paragraph(twins)


def _write_group(group: Sequence[MeasuredCell], along: str) -> Cell:
    """Write the cell with the greatest value along the axis, the worst of several, and where the signal is kept."""
    if not group:
        return Cell("", tone="unknown")
    values = sorted({cell.axes[along] for cell in group if cell.axes[along] is not None}) if along else []
    last = [cell for cell in group if not values or cell.axes[along] == values[-1]]
    worst = max(last, key=lambda cell: (_STATES.index(cell.state), abs(_rank_cell(cell))))
    kept = [v for v in values if all(cell.state == "kept" for cell in group if cell.axes[along] == v)]
    note = ""
    if len(values) > 1 and kept:
        first = values[: len(kept)] == kept
        note = "all" if kept == values else f"to {kept[-1]}" if first else f"{len(kept)} of {len(values)}"
    return Cell(format_cell(worst), (note,) if note else (), tone=find_tone(worst), emphasis=worst.state == "kept")


def format_cell(cell: MeasuredCell) -> str:
    """Write the gain that decides in few characters, or why there is none."""
    if "dead" in {each.verdict for each in cell.row.by_direction.values()}:
        return "dead"
    return "∞" if math.isnan(cell.log_gain) and not cell.row.is_finite else format_gain(math.exp(cell.log_gain))


def format_gain(gain: float) -> str:
    """Write a gain in at most six characters."""
    if math.isnan(gain):
        return "none"
    if 0.01 <= gain < 10.0:
        return f"{gain:.2f}"
    return (
        f"{gain:.0f}"
        if 10.0 <= gain < 1e4
        else f"{gain:.0e}".replace("e+0", "e").replace("e+", "e").replace("e-0", "e-")
    )


def find_tone(cell: MeasuredCell) -> str:
    """Name the colour of a cell by its verdict; how strong it is, by the gain that decides."""
    outcome = cell.row.outcome
    if outcome in ("vanishes", "explodes"):
        return "non-finite" if math.isnan(cell.log_gain) else palette.tone_of_gain(math.exp(cell.log_gain), 1.0)
    tones = {"kept": "neutral", "undecided": "unknown", "dead": "dead"}
    return tones.get(outcome, "symmetric")


def scale_of_tones(tones: Collection[str]) -> tuple[tuple[str, str], ...]:
    """List the colours that occur, each with what it stands for."""
    words = {
        **dict(palette.scale_steps(1.0)),
        "neutral": "kept",
        "unknown": "undecided",
        "symmetric": "units or inputs alike",
        "dead": "dead",
        "non-finite": "overflows",
    }
    return tuple((tone, text) for tone, text in words.items() if tone in tones)
