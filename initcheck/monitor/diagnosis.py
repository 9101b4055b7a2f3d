"""What went wrong in a monitored training run, and between which measured steps: rules on the monitor's table.

A sentence says what was measured: the steps are measured ones, and what happened, happened between them. After the
first value that is inf or NaN nothing else is judged.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from initcheck.core.formatting import format_change, format_names, format_number, format_share
from initcheck.monitor.quantities import Roles, find_lost_gradients, take_dead, take_saturated
from initcheck.monitor.record import label_site

if TYPE_CHECKING:
    from pandas import DataFrame

MOST_DEAD: Final = 0.5
"""A larger share of dead units is reported, as in a check of the initialization."""

MOST_SATURATED: Final = 0.8
"""A larger share of saturated activations is reported: what is trained well may saturate more than what is drawn."""

LEAST_RISE: Final = 0.3
"""By so much a share must have risen for its rise to be reported; otherwise it was as it is from the start."""

GROWTH: Final = 1000.0
"""Activations and gradients that grow, and gradients that fall, by less than this factor are not reported."""

LEAST_GRADIENT: Final = 1e-4
"""A smaller share of the largest gradient of all kernels, each times the norm of its kernel, counts as vanished."""

LOSS_RISE: Final = 10.0
"""A loss is reported that rises from its lowest value by this factor and above what it was before training."""

LARGEST_UPDATE: Final = 0.5
SETTLED: Final = 10
"""From this step on a step that changes a kernel by more than that share of its norm is reported: before, a kernel that
starts near zero has hardly any norm."""

SMALLEST_UPDATE: Final = 1e-7
"""A kernel that no step changes by more than this share of its norm does not learn: float32 rounds there."""

NEARLY: Final = 0.05
"""A share at the end that differs by less from the one that is named is not named beside it."""

MOST_OF_IT: Final = 0.8
"""The steps that are named are the shortest span in which this share of a rise or fall happened."""

OWN_FALL: Final = GROWTH**-0.5
"""To this share dL/dW alone must have fallen, beside that of the other kernel: a kernel may shrink instead."""

_NO_GRADIENT: Final = "had no gradient at any measured step"

_FLOOR: Final = -40.0  # decimal logarithm that stands for a gradient of exactly zero


@dataclass(frozen=True)
class _Event:
    """A sentence about a span of measured steps (places among them); those with one predicate become one sentence."""

    start: int
    end: int
    order: int
    subject: str
    predicate: str


def diagnose(table: DataFrame, roles: Roles) -> list[str]:
    """Say in sentences what went wrong, the earliest first; nothing where nothing did."""
    if not len(table):
        return []
    run = _Run(table, roles)
    events = [event for rule in _RULES for event in rule(run)] if run.known else []
    return [*_join(events), *_describe_nonfinite(run)]


class _Run:
    """The table as one array a quantity, of shape [measured steps, sites], up to the first value that is not finite."""

    def __init__(self, table: DataFrame, roles: Roles) -> None:
        self._table = table
        self.roles = roles
        self.count = int(table["step"].nunique())
        sites = len(table) // self.count
        names = zip(table["layer"].iloc[:sites], table["call"].iloc[:sites], strict=True)
        self.labels = [f"`{label_site(str(layer), int(call))}`" for layer, call in names]
        self.steps = self.take_all("step")[:, 0].astype(int)
        self.known = self.count
        first = zip(self.take_all("weight_norm")[0], table["call"].iloc[:sites], strict=True)
        self.kernels = [place for place, (norm, call) in enumerate(first) if call == 0 and not np.isnan(norm)]
        bad = self.find_nonfinite().any(axis=1) | self._has_lost(self.take_all("loss")[:, 0])
        if bad.any():
            self.known = int(bad.argmax())

    def take_all(self, name: str) -> NDArray[np.float64]:
        """Take a quantity at all measured steps."""
        return self._table[name].to_numpy(dtype=np.float64, na_value=np.nan).reshape(self.count, -1)

    def __getitem__(self, name: str) -> NDArray[np.float64]:
        return self.take_all(name)[: self.known]

    def find_nonfinite(self) -> NDArray[np.bool_]:
        """Find what is not finite: activations, gradients and weights."""
        gradients = find_lost_gradients(self.take_all("weight_gradient_norm"), self.roles)
        return (self.take_all("nonfinite_fraction") > 0.0) | gradients | self._has_lost(self.take_all("weight_norm"))

    @staticmethod
    def _has_lost(values: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Find where values are infinite, or undefined though they were defined at first: then they are NaN."""
        return np.asarray(np.isinf(values) | (np.isnan(values) & ~np.isnan(values[0])))

    def loss(self) -> NDArray[np.float64]:
        """Take the loss at each measured step; NaN without labels."""
        return self["loss"][:, 0]

    def gradients(self) -> NDArray[np.float64]:
        """Take for each kernel its gradient times its norm: the same for a layer before a normalization of any size."""
        return np.asarray((self["weight_gradient_norm"] * self["weight_norm"])[:, self.kernels])

    def at(self, place: int) -> str:
        """Name a measured step."""
        return "before the first step" if self.steps[place] == 0 else f"at step {self.steps[place]}"

    def between(self, start: int, end: int) -> str:
        """Name a span of measured steps."""
        return f"between steps {self.steps[start]} and {self.steps[end]}"


def _join(events: Iterable[_Event]) -> Iterator[str]:
    """Make one sentence of what happened in the same way at the same time in several layers."""
    groups: dict[tuple[int, int, int, str], list[str]] = {}
    for event in events:
        groups.setdefault((event.end, event.order, event.start, event.predicate), []).append(event.subject)
    for key, subjects in sorted(groups.items(), key=lambda each: each[0][:3]):
        sentence = f"{format_names(subjects)} {key[-1]}."
        yield sentence[0].upper() + sentence[1:]


def _find_rise(values: NDArray[np.float64], least: float) -> tuple[int, int] | None:
    """Find the shortest span, the first of those, with such a rise or more; what is not finite takes no part."""
    found: tuple[int, int] | None = None
    starts: deque[int] = deque()
    for place, value in enumerate(values):
        if not np.isfinite(value):
            continue
        while starts and value - values[starts[0]] >= least:
            start = starts.popleft()
            if found is None or place - start < found[1] - found[0]:
                found = start, place
        while starts and values[starts[-1]] >= value:
            starts.pop()
        starts.append(place)
    return found


def _find_dead(run: _Run) -> Iterator[_Event]:
    dead = take_dead(run["dead_fraction"], run["preactivation_second_moment"], run.roles)
    return _find_share(run, dead, MOST_DEAD, 1, ("units", "died", "dead"))


def _find_saturated(run: _Run) -> Iterator[_Event]:
    saturated = take_saturated(run["saturated_fraction"], run["zero_fraction"], run.roles)
    return _find_share(run, saturated, MOST_SATURATED, 2, ("activations", "became saturated", "saturated"))


def _find_share(
    run: _Run, shares: NDArray[np.float64], most: float, order: int, words: tuple[str, str, str]
) -> Iterator[_Event]:
    """Find a share that is above a limit at the end: since when, or from the start."""
    what, verb, state = words
    if not len(shares):
        return
    last = len(shares) - 1
    for site in range(len(run.labels)):
        values = shares[:, site]
        if not values[-1] > most:
            continue
        rise = values[-1] - values[0]
        span = _find_rise(values, MOST_OF_IT * rise) if rise >= LEAST_RISE else None
        if span is not None:
            start, end = span
            share, predicate = values[end] - values[start], f"{verb} {run.between(start, end)}"
        elif values[0] > most:
            start = end = 0
            share, predicate = values[0], f"were {state} before the first step"
        else:
            continue
        now = "" if abs(values[-1] - share) < NEARLY else f" ({format_share(values[-1])} are {state} {run.at(last)})"
        subject = f"{format_share(share)} of the {what} of {run.labels[site]}{now}"
        yield _Event(start, end, order, subject, predicate)


def _find_loss(run: _Run) -> Iterator[_Event]:
    losses = run.loss()
    for end in range(1, len(losses)):
        before = losses[:end]
        if np.isnan(before).all() or not np.nanmin(before) > 0.0:
            return
        start = int(np.nanargmin(before))
        if losses[end] >= LOSS_RISE * losses[start] and losses[end] >= losses[0]:
            last = len(losses) - 1
            now = "" if end == last else f" ({format_number(losses[last])} {run.at(last)})"
            numbers = f"from {format_number(losses[start])} to {format_number(losses[end])}{now}"
            yield _Event(start, end, 0, "the loss on the monitor's batch", f"rose {numbers} {run.between(start, end)}")
            return


def _find_gradients(run: _Run) -> Iterator[_Event]:
    """Find kernels whose gradient is next to nothing beside the largest: since when, or at all measured steps."""
    gradients, norms = run.gradients(), run["weight_gradient_norm"][:, run.kernels]
    for site in run.kernels:
        if site not in run.roles.connected | run.roles.frozen:
            yield _Event(0, 0, 3, run.labels[site], _NO_GRADIENT)
    if run.roles.half_precision:
        gradients = np.where(gradients > 0.0, gradients, np.nan)
    if not gradients.size or np.isnan(gradients).all():
        return
    largest = np.nanmax(np.where(np.isnan(gradients), -1.0, gradients), axis=1)
    all_gone = largest <= 0.0
    if not run.roles.half_precision:
        yield from _find_no_gradient(run, all_gone)
    some = np.flatnonzero(~all_gone)
    if not len(some):
        return
    shares = gradients[some] / largest[some, np.newaxis]
    with np.errstate(divide="ignore"):
        levels = np.maximum(np.log10(shares), _FLOOR)
    for kernel, site in enumerate(run.kernels):
        values = levels[:, kernel]
        if site in run.roles.frozen:
            continue
        if np.isnan(values).any() or not values[-1] < np.log10(LEAST_GRADIENT):
            continue
        if values.max() < np.log10(LEAST_GRADIENT):
            best = int(values.argmax())
            other = run.labels[run.kernels[int(np.nanargmax(gradients[some[best]]))]]
            if values.max() <= _FLOOR:
                yield _Event(0, 0, 3, run.labels[site], _NO_GRADIENT)
                continue
            share = f"{run.labels[site]} (at most 1/{format_number(10.0 ** -values.max(), 2)})"
            predicate = f"had next to no gradient beside {other} at any measured step (dL/dW, times the kernel's norm)"
            yield _Event(0, 0, 3, share, predicate)
        elif values.max() - values[-1] >= np.log10(GROWTH):
            span = _find_rise(-values, MOST_OF_IT * (values.max() - values[-1]))
            if span is None:
                continue
            start, end = (int(some[place]) for place in span)
            most = int(np.nanargmax(gradients[end]))
            if norms[end, kernel] * norms[start, most] <= norms[start, kernel] * norms[end, most] * OWN_FALL:
                subject = f"the gradient of {run.labels[site]} ({_format_course(norms[:, kernel], start, end)})"
                other = f"that of {run.labels[run.kernels[most]]} ({_format_course(norms[:, most], start, end)})"
                yield _Event(start, end, 3, subject, f"vanished {run.between(start, end)} beside {other}")


def _format_course(norms: NDArray[np.float64], start: int, end: int) -> str:
    return f"dL/dW {format_number(norms[start])} to {format_number(norms[end])}"


def _find_no_gradient(run: _Run, gone: NDArray[np.bool_]) -> Iterator[_Event]:
    """Find since when no kernel has a gradient at all, unless the loss is as good as gone with it."""
    losses = run.loss()
    if not gone[-1] or losses[-1] < losses[0] / GROWTH:
        return
    alive = np.flatnonzero(~gone)
    since = int(alive[-1]) + 1 if len(alive) else 0
    when = f"from step {run.steps[since]} on" if len(alive) else "at any measured step"
    yield _Event(max(since - 1, 0), since, 3, "no kernel", f"had a gradient {when}")


def _find_growth(run: _Run) -> Iterator[_Event]:
    """Find activations and gradients that grew by orders of magnitude."""
    sites = [place for place in range(len(run.labels)) if place not in run.roles.outputs]
    with np.errstate(divide="ignore", invalid="ignore"):
        sizes = 0.5 * np.log(run["activation_second_moment"])
        total = np.log(np.sqrt(np.nansum(np.square(run["weight_gradient_norm"][:, run.kernels]), axis=1)))
    for site in sites:
        yield from _find_steep(run, sizes[:, site], f"the activations of {run.labels[site]} (root mean square")
    yield from _find_steep(run, total, "the gradients of all kernels together (dL/dW")


def _find_steep(run: _Run, logs: NDArray[np.float64], subject: str) -> Iterator[_Event]:
    """Find the span of a growth, by logarithms; a size that was zero at first has no growth."""
    if not len(logs) or not np.isfinite(logs[0]):
        return
    growth = float(np.nanmax(logs) - logs[0])
    span = _find_rise(logs, MOST_OF_IT * growth) if growth >= np.log(GROWTH) else None
    if span is not None:
        start, end = span
        change = format_change(float(logs[end] - logs[start]))
        yield _Event(start, end, 4, f"{subject}, {change})", f"grew {run.between(start, end)}")


def _find_updates(run: _Run) -> Iterator[_Event]:
    """Find steps that change a kernel by about its own size, and kernels that no step changes."""
    limit = format_number(SMALLEST_UPDATE, 1)
    ratios, steps = run["update_to_weight_ratio"], run["update_steps"]
    gradients = run["weight_gradient_norm"]
    for site in run.kernels:
        values = np.where(steps[:, site] == 1.0, ratios[:, site], np.nan)
        settled = np.where(run.steps[: len(values)] >= SETTLED, values, np.nan)
        if (settled > LARGEST_UPDATE).any():
            place = int(np.nanargmax(settled))
            subject = f"the kernel of {run.labels[site]} (by {format_number(settled[place], 2)} of its norm)"
            yield _Event(place, place, 5, subject, f"changed in the single step that ends at step {run.steps[place]}")
        made = ratios[:, site][~np.isnan(ratios[:, site])]
        learns = site not in run.roles.frozen and gradients[-1, site] > 0.0
        if learns and len(made) > 1 and made.max() < SMALLEST_UPDATE:
            predicate = f"had a gradient, but no measured step changed the kernel by {limit} of its norm"
            yield _Event(0, 0, 6, run.labels[site], predicate)


def _describe_nonfinite(run: _Run) -> Iterator[str]:
    """Say when values ceased to be finite, where first, and what the loss was before."""
    if run.known == run.count:
        return
    place = run.known
    signals = run.take_all("nonfinite_fraction")[place] > 0.0
    weights = ~np.isfinite(run.take_all("weight_norm")[place, run.kernels])  # kernels have one
    if weights.any():
        names = [run.labels[site] for site, bad in zip(run.kernels, weights, strict=True) if bad]
        what = f"The weights of {format_names(names)} are not finite {run.at(place)}"
    elif signals.any():
        what = f"The activations are not finite {run.at(place)}, first in {run.labels[int(signals.argmax())]}"
    elif not (bad := np.flatnonzero(run.find_nonfinite()[place])).size:
        what = f"The loss on the monitor's batch is not finite {run.at(place)}"
    else:
        # The gradient runs from the last layer to the first.
        what = f"The gradient of {run.labels[int(bad[-1])]} is not finite {run.at(place)}"
    if place == 0:
        yield f"{what}."
        return
    loss = run.take_all("loss")[place - 1, 0]
    known = "" if np.isnan(loss) else f" (the loss was {format_number(loss)})"
    yield f"{what}; {run.at(place - 1)} all values were finite{known}."


_RULES: Final = (_find_loss, _find_dead, _find_saturated, _find_gradients, _find_growth, _find_updates)
