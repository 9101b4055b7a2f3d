"""The limits that findings are held against, with their sources; ``[tool.initcheck]`` changes them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Final

from initcheck.audit.gains import INDISTINGUISHABLE_SHARE, PRESERVING_MARGIN
from initcheck.core.errors import UsageError, name_unknown

NORMALIZATION_GROWTH: Final = math.pi / (math.pi - 1.0)
"""Factor by which one normalization of ReLU features lets the squared norm of the gradient grow towards the input.

Subtracting the mean of a ReLU's output and dividing by its standard deviation gives chi = (1/2) / (1/2 - 1/(2 pi)) =
pi / (pi - 1) = 1.467 (Yang et al. 2019, theorem 3.9 and section 4, for batch normalization in the deep limit).
"""

NORMALIZED_DEPTH: Final = 50
"""Up to this many normalization layers without a skip connection around them, that growth does not prevent training.

Yang et al. 2019, section 1: networks with batch normalization and without skip connections are not trainable beyond
about 50 layers.
"""


@dataclass(frozen=True)
class Limits:
    """The limits.

    Attributes:
        total_factor: a second moment or squared gradient norm may change by this factor along the whole route. 100 is
            one order of magnitude in the standard deviation, about what learning rates are tuned over.
        layer_margin: change per layer, in squares, that is allowed whatever the depth: 5%, as for ``preserves``.
        step_factor: a single step may change it by this factor, unless a later layer makes up for it.
        dead_fraction: share of units that may be zero on the whole batch. ReLU networks whose inputs are all alike have
            half their units zero, so that more than that is no matter of correlation.
        saturated_fraction: share of outputs of a bounded activation that may lie at its ends.
        sample_share: share of the second moment that has to vary across samples.
        fan_ratio: ratio by which the variance of a layer's sums may be off by counting another fan.
        float16_fraction: share of values that may lie outside float16's range.
    """

    total_factor: float = 100.0
    layer_margin: float = PRESERVING_MARGIN
    step_factor: float = 100.0
    dead_fraction: float = 0.5
    saturated_fraction: float = 0.5
    sample_share: float = INDISTINGUISHABLE_SHARE
    fan_ratio: float = 2.0
    float16_fraction: float = 0.01

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            low, high = _RANGES[each.name]
            if isinstance(value, bool) or not isinstance(value, int | float) or not (low < value < high):
                raise UsageError(f"The limit {each.name} must lie between {low:g} and {high:g}. Received: {value!r}.")

    def replaced(self, changes: Mapping[str, Any]) -> Limits:
        """Return limits of which some are changed.

        Args:
            changes: new values by name; dashes stand for underscores.

        Raises:
            UsageError: an unknown name, or a value out of range.
        """
        known = {each.name for each in fields(self)}
        named = {name.replace("-", "_"): value for name, value in changes.items()}
        for name in named:
            if name not in known:
                raise name_unknown("limit", name, known)
        return replace(self, **named)

    def total_log(self, steps: int) -> float:
        """Return the limit of a change in all, in nats: ln(total_factor), or steps * ln(1 + layer_margin) if more."""
        return max(math.log(self.total_factor), steps * math.log1p(self.layer_margin))


_RANGES: Final = {
    "total_factor": (1.0, math.inf),
    "layer_margin": (0.0, math.inf),
    "step_factor": (1.0, math.inf),
    "dead_fraction": (0.0, 1.0),
    "saturated_fraction": (0.0, 1.0),
    "sample_share": (0.0, 1.0),
    "fan_ratio": (1.0, math.inf),
    "float16_fraction": (0.0, 1.0),
}
