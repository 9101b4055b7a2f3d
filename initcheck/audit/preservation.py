"""Does the signal keep its size from layer to layer? An equivalence test of the factor a layer along the main path.

The factor is in squares (second moments, squared norms of gradients); the 90% interval of its logarithm over seeds has
to lie within ±ln(1 + within), which is an equivalence test (TOST) at 5%. ``assert_preserves`` of the Pytest plugin asks
this; whether the change over a whole path is too large is another question (:mod:`initcheck.audit.total_change`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from initcheck.audit.total_change import JudgedPath
from initcheck.core.columns import DIRECTIONS
from initcheck.core.errors import UsageError, name_unknown
from initcheck.core.formatting import count, format_number
from initcheck.core.statistics import Estimate, equivalence_test, seeds_of_equivalence

Verdict = Literal["preserved", "not preserved", "undecided", "cannot judge"]

_SUBJECT: Final = {"forward": "the signal", "backward": "the gradient"}
_LEVEL: Final = 0.05


@dataclass(frozen=True)
class Preservation:
    """The judgement of one direction, with a sentence that holds the values."""

    verdict: Verdict
    sentence: str


def check_request(direction: str, within: float) -> None:
    """Check the arguments of ``assert_preserves``."""
    if direction not in ("both", *DIRECTIONS):
        raise name_unknown("direction", str(direction), ("both", *DIRECTIONS))
    if not (0.0 < within <= 1.0):
        raise UsageError(f"within must be above 0 and at most 1: 0.05 allows 5% a layer. Received: {within!r}.")


def judge_preservation(paths: Sequence[JudgedPath], direction: str, within: float) -> list[Preservation]:
    """Judge whether the factor a layer along the main path is between 1 / (1 + within) and 1 + within."""
    judged = []
    for each in DIRECTIONS if direction == "both" else (direction,):
        main = [judged for judged in paths if judged.levels.direction == each and judged.path.is_main]
        judged += [_judge(path, within) for path in main]
        if not main:
            start = f"whether {_SUBJECT[each]} is preserved {each} cannot be judged: no layer lies on every path"
            judged.append(Preservation("cannot judge", f"{start} from the inputs to the outputs."))
    return judged


def _judge(judged: JudgedPath, within: float) -> Preservation:
    levels = judged.levels
    direction, subject = levels.direction, _SUBJECT[levels.direction]
    question = f"whether {subject} is preserved {direction} cannot be judged"
    if not judged.steps:
        return Preservation("cannot judge", f"{question}: the main path has too few layers to follow.")
    if judged.outcome in ("dead", "nonfinite"):
        where = (judged.beyond or levels.layers)[0]
        what = "exactly zero" if judged.outcome == "dead" else "not finite"
        sentence = f"does not preserve {subject} {direction}: it is {what} at {where} in at least one seed."
        return Preservation("not preserved", sentence)
    rates = levels.total_logs / judged.steps
    if np.isnan(rates).any():
        sentence = f"{question}: {levels.layers[0]} to {levels.layers[-1]} has layers without a value."
        return Preservation("cannot judge", sentence)
    bound = math.log1p(within)
    test = equivalence_test(rates, -bound, bound, _LEVEL)
    low, value, high = (math.exp(each) for each in (test.estimate.low, test.estimate.value, test.estimate.high))
    interval = "" if math.isnan(low) else f" [{format_number(low)}, {format_number(high)}]"
    values = (
        f"a factor of {format_number(value)}{interval} a layer in squares, over {count(judged.steps, 'layer')} between "
        f"{levels.start} and {levels.layers[levels.last_counted]} (90% interval, {test.estimate.count} seeds); "
        f"allowed is [{format_number(1 / (1 + within))}, {format_number(1 + within)}], within {100 * within:.3g}%"
    )
    if test.verdict == "pass":
        return Preservation("preserved", f"preserves {subject} {direction}: {values}.")
    if test.verdict == "fail":
        return Preservation("not preserved", f"does not preserve {subject} {direction}: {values}.")
    advice = _advise(test.estimate, bound)
    return Preservation("undecided", f"undecided whether {subject} is preserved {direction}: {values}. {advice}")


def _advise(estimate: Estimate, bound: float) -> str:
    if estimate.count < 2:
        return "One draw has no standard deviation to judge by: measure at least 2 seeds."
    needed = seeds_of_equivalence(estimate, -bound, bound, _LEVEL)
    if needed is None:
        return "It lies at the bound: more seeds will not decide it."
    return f"{str(needed).capitalize()} seeds would decide: seeds={needed.advised}."
