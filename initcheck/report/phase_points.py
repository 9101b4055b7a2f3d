"""Where the initializers of a study stand in the phase diagram of an activation function, worked out by theory alone.

sigma_w^2 = fan_in Var(W) decides, with the biases' variance sigma_b^2, where the signal of an infinitely deep network
settles and whether its gradient then shrinks (ordered) or grows (chaotic). Keras' biases begin at zero, so initializers
stand at sigma_b = 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from initcheck.errors import InitcheckError, UsageError
from initcheck.initializers import InitializerSpec, split_call
from initcheck.report.pairs import shorten_reason
from initcheck.theory.criticality import find_critical_points
from initcheck.theory.gaussian import Activation, find_activation
from initcheck.theory.mean_field import FixedPoint, find_fixed_point
from initcheck.theory.weights import weight_law

if TYPE_CHECKING:
    from pandas import DataFrame

_SAME: Final = 9  # significant digits in which initializers at one point agree


@dataclass(frozen=True)
class Place:
    """One point of the sigma_w axis.

    Attributes:
        number: the number that marks it, from 1 in the order of sigma_w.
        sigma_w2: fan_in Var(W).
        initializers: who stands there.
    """

    number: int
    sigma_w2: float
    initializers: tuple[str, ...]

    @property
    def sigma_w(self) -> float:
        """The square root of fan_in Var(W)."""
        return math.sqrt(self.sigma_w2)


def place_initializers(initializers: Sequence[str], width: int) -> tuple[tuple[Place, ...], dict[str, tuple[str, ...]]]:
    """Find the sigma_w of each initializer in layers of one width.

    Args:
        initializers: their labels, as in the summary.
        width: inputs and outputs of a layer.

    Returns:
        The places in the order of sigma_w, and, by reason, the initializers that have none.
    """
    standing: dict[str, list[str]] = {}
    gains: dict[str, float] = {}
    homeless: dict[str, list[str]] = {}
    for label in initializers:
        try:
            law = weight_law(InitializerSpec(*_split(label)), (width, width))
        except InitcheckError as error:
            homeless.setdefault(shorten_reason(str(error)), []).append(label)
        else:
            rounded = f"{law.forward_gain:.{_SAME}g}"
            gains.setdefault(rounded, law.forward_gain)
            standing.setdefault(rounded, []).append(label)
    ordered = sorted(gains.items(), key=lambda item: item[1])
    places = tuple(
        Place(number, gain, tuple(standing[rounded])) for number, (rounded, gain) in enumerate(ordered, start=1)
    )
    return places, {reason: tuple(labels) for reason, labels in homeless.items()}


def _split(label: str) -> tuple[str, tuple[tuple[str, object], ...]]:
    """Read a label as it was written; without Keras, which has no say in a report."""
    name, arguments = split_call(label)
    return name, tuple(arguments.items())


def find_phase_activation(name: str) -> tuple[Activation | None, str]:
    """Find the activation function behind a name, or the reason why it has no phases.

    Returns:
        The function and no reason, or None and the reason.
    """
    try:
        phi = find_activation(name)
        phi.require_moments()
    except UsageError:
        return None, "theory does not know this function"
    except InitcheckError as error:
        return None, shorten_reason(str(error))
    if phi.has_jumps:
        return None, "the function jumps, and its slope, which the gradient follows, tells nothing of the jumps"
    return phi, ""


def is_scale_free(phi: Activation) -> bool:
    """Tell whether a critical network keeps every variance, as with ReLU: chi then does not depend on sigma_b."""
    return find_critical_points(phi, 0.0)[0].q == 1.0


def settle(phi: Activation, sigma_w2: float) -> FixedPoint:
    """Find what becomes of a signal of mean square 1 in an infinitely deep network without biases.

    Args:
        phi: the activation function.
        sigma_w2: fan_in Var(W).
    """
    return find_fixed_point(phi, sigma_w2)


def read_width(table: DataFrame, network: str, layers: Sequence[str]) -> int | None:
    """Find the one width of a plain network of Dense layers.

    Args:
        table: the measurement table.
        network: the network.
        layers: its hidden layers.

    Returns:
        The width; None where the layers are of another kind or of several widths.
    """
    rows = table[(table["network"] == network) & table["layer"].isin(list(layers))]
    later = rows[rows["layer"] != layers[0]] if len(layers) > 1 else rows
    if set(rows["kind"].dropna()) != {"Dense"} or bool(rows["kind"].isna().any()):
        return None
    sizes = {float(size) for name in ("fan_in", "fan_out") for size in later[name].dropna().unique()}
    if len(sizes) != 1 or later.empty or bool(later["fan_in"].isna().any()):
        return None
    return int(sizes.pop())
