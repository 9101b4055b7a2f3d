"""Findings about gradients of weights and about coverage: IC203, IC601, IC602."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from initcheck.audit.findings import Finding, Measured


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
