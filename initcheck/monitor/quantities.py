"""The quantities of a measurement by short names: in Keras' logs, and in the conditions that stop a training run."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from initcheck.core.columns import QUANTITIES
from initcheck.core.errors import UsageError, find_near_names
from initcheck.core.formatting import format_number, format_share
from initcheck.monitor.record import label_site
from initcheck.probe.steps import StepProbe

DESCRIPTIONS: Final = {
    "activation": "the root mean square of the activations",
    "dead": "the share of dead units",
    "gradient": "the gradient norm (dL/dW)",
    "nonfinite": "the share of values that are inf or NaN",
    "saturated": "the share of saturated activations",
    "update": "the update-to-weight ratio",
    "zero": "the share of activations that are 0",
}
"""Each quantity by the name that logs and conditions use."""

LOGGED: Final = ("dead", "saturated", "gradient", "update", "nonfinite")
"""What goes into Keras' logs unless asked otherwise: enough to see that something is wrong, on one line."""

PREFIX: Final = "signal/"
"""Stands before each name in the logs: a metric of the user's own may be called the same."""

_SHARES: Final = ("dead", "nonfinite", "saturated", "zero")
_CONDITION: Final = re.compile(r"\s*(?P<name>[^<>]*?)\s*(?:(?P<sign>[<>])\s*(?P<limit>[^<>]*?)\s*)?")

Values = Mapping[str, NDArray[np.float64]]
"""The values of one measurement by short name: one for each site, NaN where a quantity is undefined."""

LogPlan = dict[str, tuple[str, list[int]]]
"""For each name in the logs its quantity and the sites that it is the largest of."""


@dataclass(frozen=True)
class Roles:
    """What the table does not say of its sites, by their places among the rows of one step.

    Attributes:
        clipping: those whose activation function is exactly 0 on an interval, where units can die.
        outputs: those that feed the loss: what is at their ends, or grows, may be meant.
        frozen: those whose kernel is not to be trained.
        connected: those from whose kernel a path leads to the loss.
        half_precision: whether a layer computes in float16. A gradient of 0 may be one that is too small for it, which
            the training run's own, of a scaled loss, is not.
    """

    clipping: frozenset[int] = frozenset()
    outputs: frozenset[int] = frozenset()
    frozen: frozenset[int] = frozenset()
    connected: frozenset[int] = frozenset()
    half_precision: bool = False


@dataclass(frozen=True)
class Selection:
    """A quantity of all layers together, ``dead``, or of the layers that a pattern names, ``dead/encoder*``.

    Attributes:
        pattern: None for all layers together.
    """

    quantity: str
    pattern: str | None

    def find_sites(self, labels: Sequence[str], option: str) -> list[int]:
        """Find the sites that are meant; a pattern that names none is an error."""
        found = [place for place, label in enumerate(labels) if fnmatchcase(label, self.pattern or "*")]
        if not found:
            near = find_near_names(str(self.pattern), labels)
            hint = f"Did you mean {self.quantity}/{near[0]}?" if near else f"Layers: {', '.join(labels[:10])}."
            received = f"{self.quantity}/{self.pattern}"
            raise UsageError(f"{option} names no layer of the model. Received: {received!r}. {hint}")
        return found


@dataclass(frozen=True)
class Condition:
    """What stops a training run: a quantity of some layer above or below a limit."""

    text: str
    selection: Selection
    below: bool
    limit: float

    def describe_where_met(self, values: Values, labels: Sequence[str]) -> str | None:
        """Say where the condition is met, and by which value; None where it is not."""
        sites = self.selection.find_sites(labels, "stop_on")
        found = values[self.selection.quantity][sites]
        met = found < self.limit if self.below else found > self.limit
        if not met.any():
            return None
        worst = int(np.nanargmin(found) if self.below else np.nanargmax(found))
        write = format_share if self.selection.quantity in _SHARES else format_number
        what = DESCRIPTIONS[self.selection.quantity]
        return f"{what} was {write(float(found[worst]))} in `{labels[sites[worst]]}`"


def read_conditions(stop_on: Any) -> tuple[Condition, ...]:
    """Read conditions such as ``nonfinite`` and ``dead>0.9``."""
    return tuple(_read_condition(text) for text in _list_texts(stop_on, "stop_on"))


def read_selections(names: Any) -> tuple[Selection, ...]:
    """Read the names of quantities for the logs, such as ``dead`` and ``dead/h2``."""
    return tuple(_read_selection(text, "logs", text) for text in _list_texts(names, "logs"))


def label_sites(probe: StepProbe) -> list[str]:
    """Name each site as logs, conditions and the diagnosis do."""
    return [label_site(site.layer, site.call) for site in probe.sites]


def name_unjudged(probe: StepProbe) -> tuple[list[str], list[str]]:
    """Name the sites whose kernel is not to be trained, and those that multiply by kernels which are not measured."""
    labels, inner = label_sites(probe), probe.find_inner_kernels()
    return [labels[place] for place in sorted(probe.find_frozen())], [labels[place] for place in sorted(inner)]


def find_roles(probe: StepProbe) -> Roles:
    """Find what the table does not say of its sites."""
    clipping = [
        place for place, site in enumerate(probe.sites) if site.clips_at_zero or site.activation in ("relu", "relu6")
    ]
    return Roles(
        frozenset(clipping),
        frozenset(probe.output_sites),
        probe.find_frozen(),
        probe.find_connected(),
        probe.has_half_precision(),
    )


def take_dead(dead: NDArray[np.float64], received: NDArray[np.float64], roles: Roles) -> NDArray[np.float64]:
    """Keep the shares of zero units that are dead ones; undefined where no activation function clips at zero.

    Args:
        received: second moment of what the activation functions receive; NaN where they are layers of their own.
    """
    # Where nothing but zeros comes in, behind a kernel of zeros, the units are not dead.
    return np.where(_at(roles.clipping, dead) & ~(received == 0.0), dead, np.nan)


def take_saturated(saturated: NDArray[np.float64], zero: NDArray[np.float64], roles: Roles) -> NDArray[np.float64]:
    """Keep the shares of saturated activations of hidden layers: an output may be sure of itself."""
    # An activation function cut off at zero is not saturated where it is zero: that is its other half. A sigmoid's
    # zeros are rounded: nothing is as saturated.
    at_ends = np.where(_at(roles.clipping, saturated), saturated - zero, saturated)
    return np.where(_at(roles.outputs, saturated), np.nan, at_ends)


def _at(places: frozenset[int], values: NDArray[np.float64]) -> NDArray[np.bool_]:
    return np.isin(np.arange(values.shape[-1]), list(places))


def find_lost_gradients(norms: NDArray[np.float64], roles: Roles) -> NDArray[np.bool_]:
    """Find where a gradient is inf or NaN: one that does not exist is NaN, too."""
    return _at(roles.connected, norms) & ~np.isfinite(norms)


def name_values(
    quantities: NDArray[np.float64],
    changes: NDArray[np.float64],
    roles: Roles,
    *,
    updated: bool,
) -> dict[str, NDArray[np.float64]]:
    """Bring one measurement under the short names.

    Args:
        quantities: shape [sites, len(columns.QUANTITIES)].
        changes: norm of the change of each site's kernel; NaN without a kernel.
        updated: whether there was a step before.
    """
    columns = dict(zip(QUANTITIES, quantities.T, strict=True))
    gradients = columns["weight_gradient_norm"]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.where(columns["weight_norm"] > 0.0, changes / columns["weight_norm"], np.nan)
    return {
        "activation": np.sqrt(columns["activation_second_moment"]),
        "dead": take_dead(columns["dead_fraction"], columns["preactivation_second_moment"], roles),
        "gradient": gradients,
        "nonfinite": np.where(find_lost_gradients(gradients, roles), 1.0, columns["nonfinite_fraction"]),
        "saturated": take_saturated(columns["saturated_fraction"], columns["zero_fraction"], roles),
        "update": ratios if updated else np.full_like(ratios, np.nan),
        "zero": columns["zero_fraction"],
    }


def plan_logs(selections: Iterable[Selection], labels: Sequence[str], first: Values) -> LogPlan:
    """Choose the names in the logs, each with its quantity and sites, by the first measurement: they never change.

    What no layer has (a saturated share, without a bounded activation function) is left out. Before the first step
    nothing has an update; it is there where a gradient is.
    """
    plan: LogPlan = {}
    for selection in selections:
        defined = ~np.isnan(first["gradient" if selection.quantity == "update" else selection.quantity])
        sites = [place for place in selection.find_sites(labels, "logs") if defined[place]]
        name = f"{PREFIX}{selection.quantity}"
        if selection.pattern is not None:
            plan |= {f"{name}/{labels[place]}": (selection.quantity, [place]) for place in sites}
        elif sites:
            plan[name] = (selection.quantity, sites)
    return plan


def read_logs(plan: LogPlan, values: Values) -> dict[str, float]:
    """Take what goes into the logs: the largest over the layers; NaN while it is undefined."""
    logs = {}
    for name, (quantity, sites) in plan.items():
        known = values[quantity][sites]
        known = known[~np.isnan(known)]
        logs[name] = float(known.max()) if len(known) else math.nan
    return logs


def _read_condition(text: Any) -> Condition:
    found = _CONDITION.fullmatch(text) if isinstance(text, str) else None
    if found is None or not found["name"]:
        raise _refuse("stop_on", text)
    selection = _read_selection(found["name"], "stop_on", text)
    if found["sign"] is None:
        if selection.quantity != "nonfinite":
            raise _refuse("stop_on", text)
        return Condition(text, selection, below=False, limit=0.0)
    try:
        limit = float(found["limit"])
    except ValueError:
        raise _refuse("stop_on", text) from None
    if not math.isfinite(limit):
        raise _refuse("stop_on", text)
    return Condition(text, selection, below=found["sign"] == "<", limit=limit)


def _read_selection(name: Any, option: str, text: Any) -> Selection:
    quantity, slash, pattern = name.partition("/") if isinstance(name, str) else ("", "", "")
    if quantity not in DESCRIPTIONS or (slash and not pattern):
        raise _refuse(option, text)
    return Selection(quantity, pattern if slash else None)


def _list_texts(given: Any, option: str) -> list[Any]:
    """List what an option holds: one text, several, or none."""
    if given is None or isinstance(given, str):
        return [] if given is None else [given]
    if not isinstance(given, Iterable):
        raise _refuse(option, given)
    return list(given)


def _refuse(option: str, text: Any) -> UsageError:
    known = ", ".join(DESCRIPTIONS)
    example = (
        '"nonfinite", "dead>0.9" or "gradient/h1<1e-6"' if option == "stop_on" else '"dead", "dead/h1" or "dead/*"'
    )
    return UsageError(f"Cannot read {option}. Received: {text!r}. Give {example}; quantities: {known}.")
