"""Measurements of models that never were, for single rules to judge: what a test does not give is empty."""

from __future__ import annotations

from typing import Any

import pandas as pd

from initcheck.audit.findings import Finding, ModelMeasurement
from initcheck.audit.limits import Limits
from initcheck.audit.paths import SiteNode
from initcheck.audit.rules import RULES
from initcheck.probe.weight_copies import WeightComparison


def make_measurement(**parts: Any) -> ModelMeasurement:
    """Make a measurement of a model."""
    empty: dict[str, Any] = {
        "table": pd.DataFrame(),
        "nodes": (),
        "paths": (),
        "gradients": pd.DataFrame(),
        "facts": (),
        "comparison": WeightComparison((), (), 0),
        "gaps": (),
        "limits": Limits(),
        "over_time": (),
        "given": (),
        "initial_loss": None,
        "dtype_policy": "float32",
    }
    assert set(parts) <= set(empty)
    if "nodes" not in parts:
        known = {
            p: name
            for each in parts.get("paths", ())
            for p, name in zip(each.levels.positions, each.levels.layers, strict=True)
        }
        names = [known.get(position, "") for position in range(max(known, default=-1) + 1)]
        empty["nodes"] = tuple(SiteNode(name, "Dense", True, False, ()) for name in names)
    return ModelMeasurement(**{**empty, **parts})


def find_by(*codes: str, **parts: Any) -> list[Finding]:
    """Let some rules judge a measurement, in the order given."""
    measurement = make_measurement(**parts)
    return [finding for code in codes for finding in RULES[code].find(measurement)]
