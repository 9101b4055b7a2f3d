"""Findings about the signal and the gradients along the routes of a model: IC101, IC102, IC201, IC202, IC603."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np

from initcheck.audit.findings import Finding, Measured
from initcheck.audit.limits import Limits
from initcheck.audit.signal import Course
from initcheck.core.formatting import format_change, format_number

_CODES: Final = {
    ("forward", "falls"): "IC101",
    ("forward", "dead"): "IC101",
    ("forward", "grows"): "IC102",
    ("backward", "falls"): "IC201",
    ("backward", "dead"): "IC201",
    ("backward", "grows"): "IC202",
}
_SUBJECT: Final = {"forward": "the signal", "backward": "the gradient"}


def find_course_findings(courses: Sequence[Course], limits: Limits) -> list[Finding]:
    """Turn the judgements of all routes into findings.

    A non-finite level is a finding of its own (IC501) and not repeated here.

    Args:
        courses: the judgements.
        limits: the limits they were made with.
    """
    if not courses:
        told = "no measured layer reaches the outputs, so that propagation could not be followed"
        return [Finding("IC603", "", told)]
    findings = []
    for course in courses:
        if course.outcome in ("within", "nonfinite"):
            continue
        if course.outcome == "undecided":
            findings.append(_undecided(course))
        elif course.outcome == "dead":
            findings.append(_dead(course))
        elif course.step is not None and course.step_change is not None and not _total_is_wrong(course):
            findings.append(_single_step(course, limits))
        else:
            findings.append(_gradual(course))
    return findings


def describe_rate(course: Course) -> str:
    """Write the factor a step with its interval, such as ``a factor of .56 [.55, .57] a step``."""
    value, low, high = course.rate
    interval = "" if math.isnan(low) else f" [{format_number(low)}, {format_number(high)}]"
    return f"a factor of {format_number(value)}{interval} a step"


def count_steps(course: Course) -> str:
    """Write the number of steps."""
    return "1 step" if course.steps == 1 else f"{course.steps} steps"


def _total_is_wrong(course: Course) -> bool:
    end = course.total.high if course.total.value < 0 else course.total.low
    bound = course.total.value if course.total.count == 1 else end
    return abs(bound) > course.limit and math.copysign(1.0, bound) == math.copysign(1.0, course.total.value)


def _gradual(course: Course) -> Finding:
    levels = course.levels
    verb = "falls" if course.outcome == "falls" else "grows"
    where = f"; beyond the limit from {course.beyond[0]}" if course.beyond else ""
    message = (
        f"{_SUBJECT[levels.direction]} {verb} {format_change(course.total.value)} from {levels.layers[0]} to "
        f"{_last(course)} ({count_steps(course)}), {describe_rate(course)}{where}"
    )
    return Finding(
        _CODES[levels.direction, course.outcome],
        course.beyond[0] if course.beyond else levels.layers[-1],
        _with_branch(course, message) + _told_allowance(course),
        _measured(course, "factor of the whole route, in squares"),
        course.beyond or levels.layers,
    )


def _single_step(course: Course, limits: Limits) -> Finding:
    before, after = course.step or ("", "")
    change = course.step_change
    assert change is not None
    verb = "falls" if course.outcome == "falls" else "grows"
    message = (
        f"{_SUBJECT[course.levels.direction]} {verb} {format_change(change.value)} in one step, "
        f"from {before} to {after}, and no later layer makes up for it"
    )
    measured = Measured(
        "factor of this step, in squares",
        _exp(change.value),
        _exp(change.low),
        _exp(change.high),
        _limit(math.log(limits.step_factor), change.value),
        change.count,
    )
    code = _CODES[course.levels.direction, course.outcome]
    return Finding(code, after, _with_branch(course, message), measured, (after,))


def _dead(course: Course) -> Finding:
    levels = course.levels
    message = f"{_SUBJECT[levels.direction]} is exactly zero at {course.beyond[0]} in at least one seed"
    measured = Measured("share of seeds without any", _dead_share(course), seeds=len(levels.logs))
    return Finding(
        _CODES[levels.direction, "dead"], course.beyond[0], _with_branch(course, message), measured, course.beyond
    )


def _undecided(course: Course) -> Finding:
    levels = course.levels
    subject = _SUBJECT[levels.direction]
    if not math.isfinite(course.total.value) or course.total.count < 1:
        message = f"{subject} could not be followed: {(course.beyond or levels.layers)[0]} has no figure"
        return Finding("IC603", (course.beyond or levels.layers)[0], _with_branch(course, message), None, levels.layers)
    advice = (
        f"; about {course.seeds_needed} seeds would decide"
        if course.seeds_needed is not None
        else "; it is at the limit"
    )
    message = (
        f"whether {subject} keeps within the limit is not shown: it changes {format_change(course.total.value)} from "
        f"{levels.layers[0]} to {_last(course)}, with the interval [{format_number(_exp(course.total.low))}, "
        f"{format_number(_exp(course.total.high))}] around a limit of {format_number(math.exp(course.limit))}{advice}"
    )
    measured = _measured(course, "factor of the whole route, in squares")
    return Finding("IC603", levels.layers[-1], _with_branch(course, message), measured, levels.layers)


def _measured(course: Course, quantity: str) -> Measured:
    total = course.total
    limit = _limit(course.limit, total.value)
    return Measured(quantity, _exp(total.value), _exp(total.low), _exp(total.high), limit, total.count)


def _limit(log_limit: float, value: float) -> float:
    return math.exp(math.copysign(log_limit, value))


def _last(course: Course) -> str:
    """Name the last layer that counts."""
    counted = np.flatnonzero(course.levels.counted)
    return course.levels.layers[int(counted[-1]) + 1] if counted.size else course.levels.layers[-1]


def _with_branch(course: Course, message: str) -> str:
    inside = course.levels.route.inside
    return f"{message} (in the branch between {inside[0]} and {inside[1]})" if inside else message


def _told_allowance(course: Course) -> str:
    if not (course.allowance > 0 and course.total.value > 0):
        return ""
    own = format_number(math.exp(course.allowance))
    return f"; of the limit, {own} is what the normalization layers bring by themselves"


def _dead_share(course: Course) -> float:
    return float(np.isneginf(course.levels.logs).any(axis=1).mean())


def _exp(value: float) -> float:
    return math.inf if value > 700 else math.exp(value)
