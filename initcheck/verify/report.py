"""The result of ``initcheck verify`` as text and as JSON."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

from initcheck.core.formatting import LINE_WIDTH, count, to_json

if TYPE_CHECKING:
    from initcheck.verify.statistics import RuleResult
    from initcheck.verify.verify import Verification


def format_verification(found: Verification) -> str:
    """Write the results for reading, a line a rule."""
    declared = f"declared by {found.declared}" if found.declared else "its distribution is not declared"
    shapes = " ".join(f"{shape}".replace(" ", "") for shape in found.shapes)
    summary = f"{found.label}: {declared}. {found.dtype}, seed {found.seed}, shapes {shapes}."
    lines = [*textwrap.wrap(summary, LINE_WIDTH), ""]
    widest = max((len(result.rule) for result in found.results), default=0)
    for result in found.results:
        status = result.status.upper() if result.status == "fail" else result.status
        lines.append(f"{status:<12}  {result.rule:<{widest}}  {' '.join(result.reason.split())}")
    return "\n".join([*lines, "", _conclude(found)])


def _conclude(found: Verification) -> str:
    failed, unclear = (
        [result.rule for result in found.results if result.status == status] for status in ("fail", "inconclusive")
    )
    if failed:
        return f"{count(len(failed), 'finding')}: {', '.join(failed)}."
    if unclear:
        return f"Cannot judge: {', '.join(unclear)}."
    return "All rules pass." + ("" if found.declared else " The distribution is not declared and not judged.")


def verification_json(found: Verification) -> str:
    """Write the results as one JSON object."""
    return to_json(
        {
            "initializer": found.label,
            "declared": found.declared or None,
            "shapes": found.shapes,
            "dtype": found.dtype,
            "seed": found.seed,
            "verdict": found.status,
            "rules": [_rule(result) for result in found.results],
        }
    )


def _rule(result: RuleResult) -> dict[str, Any]:
    evidence = result.evidence
    figures: dict[str, Any] = {}
    if evidence is not None:
        figures = {
            "quantity": evidence.quantity,
            "count": evidence.count,
            "unit": evidence.unit,
            "worst": evidence.worst,
            "effect": evidence.effect,
            "low": evidence.low,
            "high": evidence.high,
            "bound_low": evidence.bounds[0],
            "bound_high": evidence.bounds[1],
            "p_value": evidence.p_value,
        }
    return {"rule": result.rule, "verdict": result.status, "told": result.reason, "figures": figures}
