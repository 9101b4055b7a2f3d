"""Whether the signal keeps its size from step to step: the equivalence test behind ``assert_preserves``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from initcheck.audit.course_findings import count_steps
from initcheck.audit.signal import Course
from initcheck.errors import UsageError, name_unknown
from initcheck.inference import Estimate, seeds_needed, test_equivalence
from initcheck.numbers import format_number

Verdict = Literal["preserved", "not preserved", "undecided", "cannot judge"]

_DIRECTIONS: Final = ("both", "forward", "backward")
_SUBJECT: Final = {"forward": "the signal", "backward": "the gradient"}
_LEVEL: Final = 0.05
_POWER: Final = 0.9


@dataclass(frozen=True)
class Preservation:
    """What came out for one direction.

    Attributes:
        verdict: whether the size is kept.
        told: the sentence with the figure.
    """

    verdict: Verdict
    told: str


def check_request(direction: str, within: float) -> None:
    """Check the arguments of ``assert_preserves``.

    Raises:
        UsageError: the direction is unknown, or the share is not above 0 and at most 1.
    """
    if direction not in _DIRECTIONS:
        raise name_unknown("direction", str(direction), _DIRECTIONS)
    if not (0.0 < within <= 1.0):
        raise UsageError(f"within must be above 0 and at most 1: 0.05 allows 5 % a step. Received: {within!r}.")


def judge_preservation(courses: Sequence[Course], direction: str, within: float) -> list[Preservation]:
    """Judge the factor a step along the trunk, in squares.

    Args:
        courses: of the model.
        direction: ``forward``, ``backward`` or ``both``.
        within: the share by which it may differ from 1; on the scale of logarithms, so that the factor may be between
            1 / (1 + within) and 1 + within.

    Returns:
        One judgement for each direction and piece of the trunk.
    """
    wanted = _DIRECTIONS[1:] if direction == "both" else (direction,)
    judged = []
    for each in wanted:
        trunk = [course for course in courses if course.levels.direction == each and not course.levels.route.inside]
        judged += [_judge(course, within) for course in trunk]
        if not trunk:
            told = f"whether {_SUBJECT[each]} is preserved {each} cannot be judged: no layer lies on every path"
            judged.append(Preservation("cannot judge", f"{told} from the inputs to the outputs."))
    return judged


def _judge(course: Course, within: float) -> Preservation:
    levels = course.levels
    direction, subject = levels.direction, _SUBJECT[levels.direction]
    if not course.steps:
        told = f"whether {subject} is preserved {direction} cannot be judged: the trunk has too few layers to follow."
        return Preservation("cannot judge", told)
    if course.outcome in ("dead", "nonfinite"):
        where = (course.beyond or levels.layers)[0]
        what = "exactly zero" if course.outcome == "dead" else "not finite"
        told = f"does not preserve {subject} {direction}: it is {what} at {where} in at least one seed."
        return Preservation("not preserved", told)
    rates = np.diff(levels.logs, axis=1)[:, levels.counted].sum(axis=1) / course.steps
    if np.isnan(rates).any():
        told = f"whether {subject} is preserved {direction} cannot be judged: {levels.layers[0]} to {levels.layers[-1]}"
        return Preservation("cannot judge", f"{told} has layers without a figure.")
    bound = math.log1p(within)
    last = levels.layers[int(np.flatnonzero(levels.counted)[-1]) + 1]
    test = test_equivalence(rates, -bound, bound, _LEVEL)
    low, value, high = (math.exp(each) for each in (test.estimate.low, test.estimate.value, test.estimate.high))
    interval = "" if math.isnan(low) else f" [{format_number(low)}, {format_number(high)}]"
    figure = (
        f"a factor of {format_number(value)}{interval} a step in squares, over {count_steps(course)} between "
        f"{levels.layers[0]} and {last} (90 % interval, {test.estimate.count} seeds); allowed is "
        f"[{format_number(1 / (1 + within))}, {format_number(1 + within)}], within {100 * within:.3g} %"
    )
    if test.verdict == "pass":
        return Preservation("preserved", f"preserves {subject} {direction}: {figure}.")
    if test.verdict == "fail":
        return Preservation("not preserved", f"does not preserve {subject} {direction}: {figure}.")
    advice = _advise(test.estimate, bound)
    return Preservation("undecided", f"undecided whether {subject} is preserved {direction}: {figure}. {advice}")


def _advise(estimate: Estimate, bound: float) -> str:
    if estimate.count < 2:
        return "One draw has no spread to judge by: measure at least 2 seeds."
    distance = abs(abs(estimate.value) - bound)
    spread = estimate.standard_error * math.sqrt(estimate.count)
    # A distance in the last digits of the bound would ask for more seeds than anyone can draw.
    if not (distance > 1e-6 * spread):
        return "It lies on the bound: more seeds will not decide it."
    needed = max(seeds_needed(spread, distance, _LEVEL, _POWER), estimate.count + 1)
    return f"About {needed} seeds would decide, if mean and spread stay as they are: seeds={needed}."
