"""Whether a problem matters in training, and whether its fix helps: the losses of both models, compared draw by draw.

The same seeds draw both models. Losses are skewed: where none is negative their logarithms are compared, so that means
are geometric and a difference is a factor; else the losses themselves. A loss of exactly 0, which float32 rounds a
cross-entropy to, counts as 1.2e-7, its last digit beside 1, or as the smallest other loss if that is less.

The mean of the paired differences has a 95% Student interval, and a difference is shown where it does not hold zero:
between two models that train alike, one is shown in 5% of all comparisons. Where losses are not finite, their numbers
of draws are compared by Fisher's exact test at 5%, and the losses of the other draws are not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from initcheck.core.formatting import (
    count,
    exponential,
    format_duration,
    format_estimate,
    format_interval,
    format_number,
)
from initcheck.core.statistics import Estimate, estimate_mean

LEVEL: Final = 0.05
"""How often a difference is shown between two models that train alike."""

_LAST_DIGIT: Final = float(np.finfo(np.float32).eps)

Outcome = Literal["lower", "higher", "no difference", "one draw"]
"""What is shown of the last loss: with the fix against the model as it is; without a fix, against the first loss."""

METHOD: Final = (
    "The same seeds draw both models. The interval is that of the paired differences (95%, Student), of the logarithms "
    "where no loss is negative; between two models that train alike a difference is shown in 5% of all comparisons."
)


@dataclass(frozen=True, eq=False)
class LossCurves:
    """The losses of one model in training.

    Attributes:
        losses: shape [draws, steps + 1]: before the first step, and after each.
    """

    losses: NDArray[np.float64]

    @property
    def last(self) -> NDArray[np.float64]:
        """The loss of each draw after the last step."""
        return self.losses[:, -1]

    @cached_property
    def not_finite_from(self) -> tuple[int | None, ...]:
        """For each draw the number of steps after which the loss is not finite for the first time; None for never."""
        finite = np.isfinite(self.losses)
        return tuple(None if row.all() else int(np.argmin(row)) for row in finite)

    @property
    def failed(self) -> int:
        """The number of draws whose loss is not finite at some step."""
        return sum(each is not None for each in self.not_finite_from)

    def estimate(self, step: int, floor: float | None) -> Estimate:
        """Estimate the mean loss after some steps, over the draws that are finite to the end.

        Args:
            floor: what a loss of 0 counts as in a geometric mean; None for the plain mean.
        """
        kept = np.asarray([each is None for each in self.not_finite_from])
        values = self.losses[kept, step]
        return estimate_mean(values) if floor is None else _raise(estimate_mean(_logs(values, floor)))


@dataclass(frozen=True, eq=False)
class Proof:
    """A model trained as it is, and with the edits of a fix.

    Attributes:
        problems: places of the problems in the result that it is about.
        change: the fix in words; empty without one.
        steps: the steps that were made.
        asked: the steps that were asked for.
        optimizer: what trained, in words.
        task: what was learned, in words.
        fixed: the model with the edits; None where there is no fix.
    """

    seeds: tuple[int, ...]
    steps: int
    asked: int
    optimizer: str
    task: str
    as_it_is: LossCurves
    fixed: LossCurves | None
    seconds: float = 0.0
    problems: tuple[int, ...] = ()
    change: str = ""

    @property
    def curves(self) -> tuple[LossCurves, ...]:
        """The losses of the model as it is, then of the one with the fix if there is one."""
        return (self.as_it_is,) if self.fixed is None else (self.as_it_is, self.fixed)

    @cached_property
    def floor(self) -> float | None:
        """What a loss of 0 counts as where logarithms are compared; None where a loss is negative, and none are."""
        losses = np.concatenate([each.losses.ravel() for each in self.curves])
        finite = losses[np.isfinite(losses)]
        if (finite < 0.0).any():
            return None
        return float(min([_LAST_DIGIT, *finite[finite > 0.0]]))

    @property
    def _pairs(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        if self.fixed is None:
            return self.as_it_is.losses[:, 0], self.as_it_is.last
        return self.as_it_is.last, self.fixed.last

    @property
    def _failed(self) -> tuple[int, int]:
        """The numbers of draws that are not finite, of both models."""
        return self.as_it_is.failed, 0 if self.fixed is None else self.fixed.failed

    @property
    def is_finite(self) -> bool:
        """Whether all losses are finite, so that they are compared in pairs."""
        return not any(self._failed)

    @property
    def outcome(self) -> Outcome:
        """What is shown of the last loss; a loss that is not finite counts as higher than any other."""
        if len(self.seeds) < 2:
            return "one draw"
        if not self.is_finite:
            draws = len(self.seeds)
            first, second = self._failed
            table = np.asarray([[first, draws - first], [second, draws - second]])
            if stats.fisher_exact(table).pvalue > LEVEL:
                return "no difference"
            return "lower" if first > second else "higher"
        difference = self._difference
        if difference.high < 0.0:
            return "lower"
        return "higher" if difference.low > 0.0 else "no difference"

    @property
    def _difference(self) -> Estimate:
        """Estimate the difference of the paired losses, or of their logarithms."""
        before, after = self._pairs
        if self.floor is None:
            return estimate_mean(after - before)
        return estimate_mean(_logs(after, self.floor) - _logs(before, self.floor))

    @property
    def before(self) -> float:
        """The mean that the last loss is compared with: geometric where logarithms are compared."""
        values = self._pairs[0]
        return float(values.mean() if self.floor is None else np.exp(_logs(values, self.floor).mean()))

    @property
    def after(self) -> Estimate:
        """The mean last loss, with the interval of the paired difference at :attr:`before`."""
        difference, before = self._difference, self.before
        return _shift(difference, before) if self.floor is None else _raise(difference, before)


def describe_proof(proof: Proof) -> str:
    """Say in one sentence what training shows, without a stop."""
    done = count(proof.steps, "step")
    stopped = "" if proof.steps == proof.asked else f"stopped after {proof.steps} of {count(proof.asked, 'step')}: "
    after = "" if stopped else f"after {done}: "
    if not proof.is_finite:
        sides = [_describe_side(proof, proof.as_it_is, "as it is")]
        if proof.fixed is not None:
            sides.append(_describe_side(proof, proof.fixed, "with the fix"))
            if proof.outcome == "no difference":
                sides.append("no difference shown")
        return f"{stopped or after}{', '.join(sides)}"
    before, estimate = format_number(proof.before), proof.after
    last = _format_loss(estimate, proof.floor)
    if proof.outcome == "one draw":
        last = f"{format_number(estimate.value)} (one draw: no interval)"
    elif estimate.low == estimate.high:
        last = f"{format_number(estimate.value)} (the same difference in all draws)"
    if proof.fixed is None:
        ending = ": no change shown" if proof.outcome == "no difference" else ""
        return f"{stopped}as it is, the loss goes from {before} to {last} in {done}{ending}"
    if proof.outcome == "no difference":
        return f"{stopped}no difference shown after {done} ({before} as it is, {last} with the fix)"
    worse = ": the fix makes it worse" if proof.outcome == "higher" else ""
    return f"{stopped or after}{before} as it is, {last} with the fix{worse}"


def describe_training(proofs: Sequence[Proof]) -> str:
    """Say by what was trained, on what, from how many draws, and how long it took, without a stop."""
    first = proofs[0]
    seconds = format_duration(sum(each.seconds for each in proofs))
    return f"Trained by {first.optimizer} {first.task}, from {count(len(first.seeds), 'draw')}, in {seconds}"


def _describe_side(proof: Proof, curves: LossCurves, name: str) -> str:
    """Say what became of one model, some draws of which, or of the other, are not finite."""
    draws = len(proof.seeds)
    estimate = curves.estimate(-1, proof.floor)
    level = _format_loss(estimate, proof.floor)
    if not curves.failed:
        return f"{level} {name}"
    first = min(each for each in curves.not_finite_from if each is not None)
    lost = f"not finite from step {first} in {curves.failed} of {count(draws, 'draw')} {name}"
    return lost if curves.failed == draws else f"{lost} ({level} in the others)"


def _format_loss(estimate: Estimate, floor: float | None) -> str:
    """Format a mean loss with its interval, if it has one.

    The ends of a geometric mean's interval differ by factors, so that each has its own digits.
    """
    if math.isnan(estimate.low):
        return format_number(estimate.value)
    if floor is not None:
        return f"{format_number(estimate.value)} {format_interval(estimate.low, estimate.high)}"
    shown = format_estimate(estimate.value, estimate.low, estimate.high)
    return f"{shown.value} {shown.interval}"


def _raise(estimate: Estimate, factor: float = 1.0) -> Estimate:
    """Turn an estimate of a logarithm into one of what it is the logarithm of."""
    value, low, high = (factor * exponential(each) for each in (estimate.value, estimate.low, estimate.high))
    return Estimate(value, low, high, estimate.confidence, estimate.count, math.nan)


def _shift(estimate: Estimate, by: float) -> Estimate:
    return Estimate(
        estimate.value + by,
        estimate.low + by,
        estimate.high + by,
        estimate.confidence,
        estimate.count,
        estimate.standard_error,
    )


def _logs(values: NDArray[np.float64], floor: float) -> NDArray[np.float64]:
    logs: NDArray[np.float64] = np.log(np.maximum(values, floor))
    return logs
