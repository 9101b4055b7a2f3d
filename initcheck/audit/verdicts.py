"""The words for what happens to a signal, and the limits behind them."""

from __future__ import annotations

import math
from typing import Final, Literal

DirectionVerdict = Literal["preserves", "vanishes", "explodes", "dead", "inconclusive"]

PRESERVING_MARGIN: Final = 0.05
"""A typical gain of the network's deep half within a factor 1 + this of 1 counts as preserved.

At 5 % a layer the signal changes by a factor 1000 in ln 1000 / ln 1.05 = 142 layers, which is deeper than plain
networks are built. The margin must also be wider than what finite width does to a critical network: ReLU layers of n
units lose 5 / (2n) in the logarithm, which is 1 % at 256 units and the whole margin at 51 (Hanin and Rolnick 2018).
"""

PRESERVED_FACTOR: Final = 2.0
"""In a network of few layers, a signal that at that rate changes by less than this factor in all counts as preserved.

It is the more lenient of the two limits up to 14 steps (1.05^14 = 2).
"""

THOUSANDFOLD: Final = math.log(1000.0)
"""The change of the signal, in nats, that `*_layers_until_thousandth` counts layers to."""

INDISTINGUISHABLE_SHARE: Final = 0.01
"""Below this share of the second moment, the variance across the samples no longer tells the inputs apart.

At 1 % any two samples' activations have a cosine of about .99. He-initialized ReLU layers are at .05 after 50 layers,
sigmoid layers below 5e-5 after 10 (both measured on Keras 3.15.1), so the limit parts slow from fast collapse.
"""

SYMMETRIC: Final = "symmetric: all units of a layer stay alike"
INDISTINGUISHABLE: Final = "inputs become indistinguishable"
UNKNOWN_SHARE: Final = "whether inputs stay distinguishable was not measured"


def describe_propagation(
    forward: DirectionVerdict, backward: DirectionVerdict, *, symmetric: bool | None, batch_variance_share: float
) -> str:
    """Put the verdicts of both directions and the flags into one phrase.

    Symmetric comes before dead, and dead before the rates: a signal among identical units, or none at all, has no rate
    worth reading. Where the forward pass preserves the second moment, a flag is added if the second moment is nearly
    the same for all inputs, or if nobody knows: a healthy pooled second moment does not mean a healthy signal.

    Args:
        forward: verdict from the input to the output.
        backward: verdict from the output to the input.
        symmetric: whether every hidden kernel is constant; None where it is not known.
        batch_variance_share: variance across the samples / second moment at the last hidden layer; NaN if undefined.

    Returns:
        The phrase, such as ``preserves forward, explodes backward``.
    """
    dead = _name_dead(forward, backward)
    if symmetric:
        return f"{SYMMETRIC}; {dead}" if dead else SYMMETRIC
    if dead:
        alive = [f"{word} {way}" for word, way in ((forward, "forward"), (backward, "backward")) if word != "dead"]
        return "; ".join([dead, *alive])
    if forward != backward:
        phrase = f"{forward} forward, {backward} backward"
    elif forward == "preserves":
        phrase = "preserves in both directions"
    else:
        phrase = f"{forward} forward and backward"
    if forward == "preserves" and not (batch_variance_share >= INDISTINGUISHABLE_SHARE):
        return f"{phrase}; {UNKNOWN_SHARE if math.isnan(batch_variance_share) else INDISTINGUISHABLE}"
    return phrase


def _name_dead(forward: DirectionVerdict, backward: DirectionVerdict) -> str:
    """Say where there is no signal at all; empty where there is one in both directions."""
    if forward == backward == "dead":
        return "dead: no signal"
    if forward == "dead":
        return "dead: no signal forward"
    return "dead: no signal backward" if backward == "dead" else ""
