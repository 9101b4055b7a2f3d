"""How a model scales with its width, as one JSON object."""

from __future__ import annotations

import json
import math
from typing import Any

from initcheck.audit.width_exponents import Exponent, WidthScaling
from initcheck.inference import Estimate


def write_width_json(scaling: WidthScaling) -> str:
    """Write verdict, conditions, exponents and all sizes; what is undefined is null."""
    table = scaling.table.astype(object)
    document = {
        "model": scaling.model,
        "verdict": scaling.verdict,
        "width_arg": scaling.width_arg,
        "widths": list(scaling.widths),
        "seeds": list(scaling.seeds),
        "steps": scaling.steps,
        "optimizer": scaling.optimizer,
        "learning_rate": scaling.learning_rate,
        "batch": scaling.batch,
        "loss": scaling.loss,
        "exponents": [_exponent(each) for each in scaling.exponents],
        "sizes": [{str(key): _plain(value) for key, value in row.items()} for row in table.to_dict("records")],
        "versions": dict(scaling.versions),
    }
    return json.dumps(document, indent=2, allow_nan=False)


def _exponent(exponent: Exponent) -> dict[str, Any]:
    return {
        "layer": exponent.layer,
        "call": exponent.call,
        "kind": exponent.kind,
        "output": exponent.output,
        "quantity": exponent.quantity,
        "verdict": exponent.verdict,
        "wanted": exponent.wanted,
        "reason": exponent.reason,
        "margin": exponent.margin,
        "rms": _estimate(exponent.estimate),
        "mean_abs": _estimate(exponent.mean_abs),
    }


def _estimate(estimate: Estimate) -> dict[str, Any]:
    figures = {"value": estimate.value, "low": estimate.low, "high": estimate.high}
    return {name: _plain(value) for name, value in figures.items()}


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
