"""The limits that findings are compared with, each with its range and source; ``[tool.initcheck]`` changes them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Final

from initcheck.core.errors import UsageError, name_unknown

PRESERVING_MARGIN: Final = 0.05
"""A typical gain of the network's deep half within a factor 1 + this of 1 counts as preserved.

At 5% a layer the signal changes by a factor 1000 in ln 1000 / ln 1.05 = 142 layers, which is deeper than plain
networks are built. The margin must also be wider than what finite width does to a critical network: ReLU layers of n
units lose 5 / (2n) in the logarithm, which is 1% at 256 units and the whole margin at 51 (Hanin and Rolnick 2018).
"""

INDISTINGUISHABLE_SHARE: Final = 0.01
"""Below this share of the second moment, the variance across the samples no longer distinguishes the inputs.

At 1% any two samples' activations have a cosine of about .99. He-initialized ReLU layers are at .05 after 50 layers,
sigmoid layers below 5e-5 after 10 (both measured on Keras 3.15.1), so the limit parts slow from fast collapse.
"""

SHORTEST_MEMORY: Final = 5.0
"""Falling by more than this with each step back, the squared gradient of a layer over time is at a hundredth in three.

A gate that is half open, as every gate with a bias of zero is, keeps a quarter of it, and no sound initialization is
below: on inputs of variance 1 an LSTM keeps 0.55 to 0.68 with Keras' forget bias of 1 and 0.32 to 0.35 without it, a
GRU 0.35 to 0.38, an orthogonal SimpleRNN with tanh 0.33 to 0.57 and with relu 0.50 (8 to 256 inputs, 32 to 64 units,
Keras 3.15.1). That a gradient falls over time is the rule (Bengio, Simard and Frasconi 1994); here it falls at once.
"""

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


def _limit(default: float, allowed: tuple[float, float], what: str, source: str) -> Any:
    return field(default=default, metadata={"range": allowed, "what": what, "source": source})


@dataclass(frozen=True)
class Limits:
    """The limits, all of squares; a field's metadata holds its ``range``, ``what`` it limits and its ``source``."""

    total_factor: float = _limit(
        100.0,
        (1.0, math.inf),
        "change of a second moment or a squared gradient norm along the whole path",
        "one order of magnitude in the standard deviation, about what learning rates are tuned over",
    )
    layer_margin: float = _limit(
        PRESERVING_MARGIN,
        (0.0, math.inf),
        "change a layer that is allowed whatever the depth; it counts where it allows more than total_factor",
        "the margin within which a network counts as keeping the signal: 5%",
    )
    step_factor: float = _limit(
        100.0,
        (1.0, math.inf),
        "change at a single layer that no later layer makes up for",
        "as total_factor",
    )
    outlier_factor: float = _limit(
        10.0,
        (1.0, math.inf),
        "ratio of a layer’s gain to that of the others on its path; noted from there, wrong from step_factor on",
        "Glorot’s rule for a layer that widens or narrows tenfold differs from He’s by less",
    )
    time_factor: float = _limit(
        SHORTEST_MEMORY,
        (1.0, math.inf),
        "fall of the squared gradient of a layer over time with each step back",
        "a gate that is half open keeps a quarter; Bengio, Simard and Frasconi 1994",
    )
    dead_fraction: float = _limit(
        0.5,
        (0.0, 1.0),
        "share of units that are zero on the whole batch",
        "ReLU on inputs that are all alike makes half of the units zero",
    )
    dead_draws: float = _limit(
        0.05,
        (0.0, 1.0),
        "share of draws in which a weight may be without a gradient",
        "one initialization in twenty that cannot train is seldom noticed, more than that wastes training runs",
    )
    saturated_fraction: float = _limit(
        0.5,
        (0.0, 1.0),
        "share of a bounded activation function’s outputs at its ends",
        "Glorot and Bengio 2010, section 3.1: the majority is saturated",
    )
    sample_share: float = _limit(
        INDISTINGUISHABLE_SHARE,
        (0.0, 1.0),
        "share of the second moment that has to vary across samples",
        "below it inputs cannot be distinguished in practice; Schoenholz et al. 2017, section 3",
    )
    fan_ratio: float = _limit(
        2.0,
        (1.0, math.inf),
        "ratio by which the variance of a layer’s sums may be off through another fan",
        "Glorot’s compromise between both fans is off by less for layers that narrow or widen by less than three",
    )
    float16_fraction: float = _limit(
        0.01,
        (0.0, 1.0),
        "share of the values that are not zero and lie outside float16’s range",
        "Micikevicius et al. 2018, section 3.2",
    )
    input_size: float = _limit(
        100.0,
        (1.0, math.inf),
        "second moment of an input, and one over the largest square in it",
        "as total_factor; LeCun et al. 1998, section 4.3: inputs of mean 0 and variance 1",
    )
    output_size: float = _limit(
        100.0,
        (1.0, math.inf),
        "variance of logits or of other outputs, and a squared error over that of the best constant",
        "as total_factor: logits and standardized targets are of size 1",
    )
    chance_ratio: float = _limit(
        4.0,
        (1.0, math.inf),
        "initial cross-entropy over that of an even choice among the classes",
        (
            "logits of variance 100 give 4 (50,000 classes) to 8 (two), of variance 2 at most 1.6; Karpathy 2019, "
            "A recipe for training neural networks: verify the loss at initialization"
        ),
    )

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            low, high = each.metadata["range"]
            if isinstance(value, bool) or not isinstance(value, int | float) or not (low < value < high):
                raise UsageError(f"The limit {each.name} must lie between {low:g} and {high:g}. Received: {value!r}.")

    def replaced(self, changes: Mapping[str, Any]) -> Limits:
        """Return limits of which some are changed, by name; dashes stand for underscores."""
        known = {each.name for each in fields(self)}
        named = {name.replace("-", "_"): value for name, value in changes.items()}
        for name in named:
            if name not in known:
                raise name_unknown("limit", name, known)
        return replace(self, **named)

    def total_log(self, steps: int) -> float:
        """Return the limit of a total change, in nats: ln(total_factor), or steps * ln(1 + layer_margin) if more."""
        return max(math.log(self.total_factor), steps * math.log1p(self.layer_margin))
