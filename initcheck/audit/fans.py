"""IC401: initializers that count other fans than the layer has. Nothing is run for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from initcheck.audit.findings import Finding, Measured
from initcheck.numbers import format_number
from initcheck.probe.weight_facts import WeightFacts

LIMIT: Final = 2.0
"""A factor in variance. Glorot's compromise between both fans alone leaves the signal a gain from a half to two, as
long as the width changes by less than a factor of three from layer to layer."""


def find_fan_mismatches(weights: Sequence[WeightFacts], limit: float = LIMIT) -> list[Finding]:
    """Find the weights whose initializer counts other fans than the layer really has.

    The figure is the effective gain: the variance that the initializer gives, over the one that it would give with the
    true fans. With ``fan_avg`` the mean of both fans is formed on either side, so that a wrong fan of one direction
    counts as much as it moves the variance. Recurrent kernels count the units of all gates as outputs, and an input
    does feed them all; strides of plain convolutions are left out. So neither Dense nor Conv2D without groups nor a
    recurrent layer is ever found. An initializer that scales with no fan is not judged, nor a weight whose true fans
    are not known.

    Args:
        weights: the weights of a model.
        limit: the factor, above 1, from which on the gain or its inverse is reported.

    Returns:
        One finding for each kind of layer, weight and initializer, and for gains above and below 1; the worst first,
        and in each the worst weight first.
    """
    groups: dict[tuple[str, ...], list[WeightFacts]] = {}
    for each in weights:
        gain = _gain(each)
        if gain >= limit or gain <= 1.0 / limit:  # NaN is neither: no initializer that scales, or unknown fans
            key = (each.kind, each.role, each.initializer, "more" if gain > 1.0 else "less")
            groups.setdefault(key, []).append(each)
    worst_first = [sorted(members, key=lambda each: -_factor(_gain(each))) for members in groups.values()]
    found = sorted(worst_first, key=lambda members: -_factor(_gain(members[0])))
    return [_report(members, limit) for members in found]


def _gain(weight: WeightFacts) -> float:
    return weight.variance / weight.ideal_variance


def _factor(gain: float) -> float:
    return max(gain, 1.0 / gain)


def _report(members: list[WeightFacts], limit: float) -> Finding:
    first = members[0]
    gain = _gain(first)
    where = f"the {first.role} of {first.layer or 'the model'} ({first.kind})"
    last = format_number(_gain(members[-1]))
    others = f", and so in {len(members) - 1} more, in the mildest {last}" if len(members) > 1 else ""
    return Finding(
        code="IC401",
        layer=first.path,
        message=(
            f"{first.initializer} counts {_word_fans(first, true=False)} for {where}, which really has "
            f"{_word_fans(first, true=True)}: its variance is {format_number(gain)} of what the true fans give{others}"
        ),
        measured=Measured(
            "variance over that of the true fans", gain, limit=limit if gain > 1.0 else 1.0 / limit, seeds=0
        ),
        layers=tuple(each.path for each in members),
    )


def _word_fans(weight: WeightFacts, true: bool) -> str:
    fan_in = weight.true_fan_in if true else weight.assumed_fan_in
    fan_out = weight.true_fan_out if true else weight.assumed_fan_out
    words = {
        "fan_in": f"a fan_in of {fan_in:g}",
        "fan_out": f"a fan_out of {fan_out:g}",
        "fan_avg": f"a fan_in of {fan_in:g} and a fan_out of {fan_out:g}",
    }
    return words[weight.mode]
