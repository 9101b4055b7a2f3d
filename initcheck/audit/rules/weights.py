"""Findings about gradients of weights and about coverage: IC203, IC601, IC602."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import pandas as pd

from initcheck.audit.findings import Finding, Measured
from initcheck.core.formatting import format_number
from initcheck.probe.symmetric_units import SymmetricUnits
from initcheck.probe.weight_copies import CopyGroup, WeightComparison
from initcheck.probe.weights import WeightFacts


def find_gradient_findings(weights: pd.DataFrame) -> list[Finding]:
    """Find trainable weights that get no gradient, or one of exactly zero in every seed.

    Args:
        weights: one row per seed and weight, with ``seed``, ``weight``, ``trainable``, ``has_gradient`` and
            ``gradient_is_zero``.
    """
    trainable = weights[weights["trainable"].astype(bool)]
    seeds = int(weights["seed"].nunique())
    by_weight = trainable.groupby("weight", sort=False)
    reached = by_weight["has_gradient"].all()
    unused = tuple(str(name) for name in reached.index[~reached])
    zero = by_weight["gradient_is_zero"].all() & reached
    silent = tuple(str(name) for name in zero.index[zero])
    findings = []
    if unused:
        more = f" and {len(unused) - 1} more trainable weights have" if len(unused) > 1 else " has"
        message = f"{unused[0]}{more} no path to the loss"
        findings.append(Finding("IC602", unused[0], message, None, unused))
    if silent:
        more = f", and of {len(silent) - 1} more weights," if len(silent) > 1 else ""
        message = f"the gradient of {silent[0]}{more} is exactly zero in all {seeds} seeds"
        measured = Measured("gradient norm", 0.0, 0.0, 0.0, 0.0, seeds)
        findings.append(Finding("IC203", silent[0], message, measured, silent))
    return findings


def find_coverage_findings(gaps: Sequence[tuple[str, str]]) -> list[Finding]:
    """Make one finding of each reason for which something was not measured.

    Args:
        gaps: path of a layer or weight, and the reason.
    """
    by_reason: dict[str, list[str]] = {}
    for path, reason in gaps:
        by_reason.setdefault(reason, []).append(path)
    findings = []
    for reason, paths in by_reason.items():
        layers = tuple(dict.fromkeys(paths))
        more = f" and {len(layers) - 1} more" if len(layers) > 1 else ""
        findings.append(Finding("IC601", layers[0], f"{layers[0]}{more} not measured: {reason}", None, layers))
    return findings


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


_UNEXPLAINED = "the initializers do not tell why"
_NAMED = 6
"""Weights that a message names; the finding lists all of them."""


def find_identical_weights(comparison: WeightComparison) -> list[Finding]:
    """Report the weights that hold the same numbers (IC301).

    Args:
        comparison: of all weights of a model as they are.

    Returns:
        One finding a group; those come first that have the most entries in common, and of these the larger groups.
    """
    worst = sorted(comparison.copies, key=lambda group: (-group.share, -len(group.members), -group.entries))
    return [
        Finding(
            code="IC301",
            layer=group.members[0],
            message=f"{_word_copies(group)}: {group.cause or _UNEXPLAINED}",
            measured=Measured("share of the entries that are copies", group.share, limit=0.0, seeds=1),
            layers=(*group.members, *group.also),
        )
        for group in worst
    ]


def find_symmetric_units(comparison: WeightComparison) -> list[Finding]:
    """Report the layers with units that are alike (IC302).

    Args:
        comparison: of all weights of a model as they are.

    Returns:
        One finding for each kind of units of a layer; those come first that have the largest share of such units.
    """
    worst = sorted(comparison.symmetric, key=lambda each: (-each.alike / each.units, -each.units))
    return [
        Finding(
            code="IC302",
            layer=each.layer,
            message=_word_symmetry(each),
            measured=Measured("share of units that have a twin", each.alike / each.units, limit=0.0, seeds=1),
            layers=(each.layer,),
        )
        for each in worst
    ]


def _word_copies(group: CopyGroup) -> str:
    names = _join(group.members)
    if group.relation == "prefix":
        also = f" (and {len(group.also)} more)" if group.also else ""
        multiples = "" if set(group.factors) == {1.0} else " up to a factor"
        return (
            f"{names}{also} begin with the same {group.entries:,} numbers{multiples}, {group.share:.0%} of the largest"
        )
    if group.relation == "transposed":
        return f"{names} are transposes of each other{_word_factor(group)}"
    same = "hold the same numbers" if group.relation == "identical" else "are multiples of each other"
    factor = "" if group.relation == "identical" else _word_factor(group)
    if group.attention and group.relation == "identical":
        return f"{_word_attention(group)}: the kernels of {_parent(group)} {same}"
    shapes = "" if all(group.same_shape) else ", read in another shape"
    return f"{names} {same}{factor}{shapes}"


def _word_attention(group: CopyGroup) -> str:
    alike = [name for name, same in zip(group.attention, group.same_shape, strict=True) if same]
    others = [name for name, same in zip(group.attention, group.same_shape, strict=True) if not same]
    return " = ".join(alike + [f"{name} (read in another shape)" for name in others])


def _parent(group: CopyGroup) -> str:
    return group.members[0].rpartition("/")[0].rpartition("/")[0] or "the model"


def _word_factor(group: CopyGroup) -> str:
    factors = [f"{factor:.4g}" for factor in group.factors[1:_NAMED] if factor != 1.0]
    return f" (by {', '.join(factors)})" if factors else ""


def _join(paths: tuple[str, ...]) -> str:
    if len(paths) <= _NAMED:
        return f"{', '.join(paths[:-1])} and {paths[-1]}"
    return f"{', '.join(paths[:_NAMED])} and {len(paths) - _NAMED} more"


def _word_symmetry(found: SymmetricUnits) -> str:
    which = f"All {found.units}" if found.alike == found.units else f"{found.alike} of {found.units}"
    gradients = {
        "equal": " and equal gradients",
        "zero": " and gradients of exactly zero",
        "unknown": "",
    }[found.gradients]
    classes = "" if found.largest == found.alike else f", up to {found.largest} of them the same"
    drawn = f" (drawn by {found.initializer})" if found.initializer else ""
    where = found.layer or "the model"
    return f"{which} {found.word} of {where} have twins with equal incoming weights{drawn}{gradients}{classes}"
