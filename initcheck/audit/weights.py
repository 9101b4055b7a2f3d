"""IC301 and IC302: weights that are copies of each other, and units of a layer that are alike."""

from __future__ import annotations

from initcheck.audit.findings import Finding, Measured
from initcheck.probe.symmetric_units import SymmetricUnits
from initcheck.probe.weight_copies import CopyGroup, WeightComparison

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
