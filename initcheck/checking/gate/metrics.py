"""The metrics of a baseline, computed from the measurement table; ``baseline.py`` says what they are."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from initcheck.audit.paths import SiteNode
from initcheck.audit.total_change import JudgedPath
from initcheck.checking.gate.baseline import DIGITS, Metric, PathRecord, SiteRecord, WeightRecord, Word
from initcheck.probe.weights import WeightFacts

_INPUT: Final = "Input"

Squares = NDArray[np.float64]
"""Second moments or squared norms, shape [seeds, sites]."""


def read_weights(facts: Sequence[WeightFacts], weights: pd.DataFrame) -> dict[str, WeightRecord]:
    """Describe each weight, by its structural path."""
    norms = weights.pivot(index="seed", columns="weight", values="weight_norm")
    first: dict[int, str] = {}
    others = {
        each.key: first[each.instance]
        for each in facts
        if each.instance and not each.constant and first.setdefault(each.instance, each.key) != each.key
    }
    return {
        each.key: WeightRecord(
            kind=each.kind,
            role=each.role,
            shape=each.shape,
            dtype=each.dtype,
            trainable=each.trainable,
            initializer=each.initializer,
            default_initializer=each.default_initializer,
            fan_in=_or_none(each.assumed_fan_in if each.mode else math.nan),
            fan_out=_or_none(each.assumed_fan_out if each.mode else math.nan),
            mode=each.mode,
            variance=_or_none(each.variance),
            scale=_metric(
                norms[each.path].to_numpy(dtype=np.float64, na_value=np.nan) ** 2 / max(1, math.prod(each.shape)),
                np.ones(len(norms)),
            ),
            seed=each.seed if each.seed_given == "integer" else None,
            same_as=others.get(each.key, ""),
            error=_or_none(each.kept_error),
        )
        for each in facts
    }


def read_sites(table: pd.DataFrame, nodes: Sequence[SiteNode], keys: Mapping[str, str]) -> dict[str, SiteRecord]:
    """Describe each layer call, by the structural path of its layer, with ``#2`` for the second call.

    Args:
        keys: from the names of layers to their structural paths; those that are missing are the same.
    """
    outputs = _by_position(table, "activation_second_moment")
    entering = _by_position(table, "preactivation_second_moment")
    has_own: NDArray[np.bool_] = np.asarray(~np.isnan(entering).all(axis=0))
    followed = np.where(has_own, entering, outputs)
    gradients = _by_position(table, "gradient_norm") ** 2
    # All moments of what is not finite are undefined; this column alone says why.
    followed = np.where(_by_position(table, "nonfinite_fraction") > 0.0, np.inf, followed)
    children = _invert([node.parents for node in nodes])
    sites: dict[str, SiteRecord] = {}
    first = table.drop_duplicates("position").sort_values("position")
    names = []
    for layer, call in zip(first["layer"], first["call"], strict=True):
        key = keys.get(str(layer), str(layer))
        names.append(f"{key}#{call + 1}" if call else key)
    for position, name in enumerate(names):
        node = nodes[position]
        if node.kind == _INPUT:
            continue
        before = [outputs[:, parent] for parent in node.parents]
        after = [gradients[:, child] for child in children[position]]
        metrics = {
            "forward": _metric(followed[:, position], np.mean(before, axis=0) if before else _ones(table)),
            "backward": _metric(gradients[:, position], np.sum(after, axis=0) if after else _ones(table)),
        }
        if has_own[position]:
            metrics["activation"] = _metric(outputs[:, position], entering[:, position])
        inputs = tuple(names[parent] for parent in node.parents)
        sites[name] = SiteRecord(node.kind, metrics, inputs)
    return sites


def read_paths(paths: Sequence[JudgedPath], keys: Mapping[str, str]) -> dict[str, PathRecord]:
    """Describe the change along each path, by the structural paths of its ends."""
    metrics: dict[str, dict[str, Metric]] = {}
    limits: dict[str, dict[str, float]] = {}
    for each in paths:
        if not each.steps:
            continue
        name = " -> ".join(keys.get(end, end) for end in each.path.inside or ("inputs", "outputs"))
        direction = each.levels.direction
        metrics.setdefault(name, {}).setdefault(direction, Metric(tuple(map(_halve, each.levels.total_logs.tolist()))))
        limits.setdefault(name, {}).setdefault(direction, round(0.5 * each.limit, DIGITS))
    return {name: PathRecord(metrics[name], limits[name]) for name in metrics}


def _by_position(table: pd.DataFrame, column: str) -> Squares:
    values = table[column].to_numpy(dtype=np.float64, na_value=np.nan)
    frame = pd.Series(values, index=[table["seed"], table["position"]]).unstack("position")
    return frame.to_numpy(dtype=np.float64)


def _ones(table: pd.DataFrame) -> Squares:
    return np.ones(table["seed"].nunique())


def _invert(parents: Sequence[tuple[int, ...]]) -> Mapping[int, list[int]]:
    children: dict[int, list[int]] = {position: [] for position in range(len(parents))}
    for position, above in enumerate(parents):
        for parent in above:
            children[parent].append(position)
    return children


def _metric(squares: Squares, reference: Squares) -> Metric:
    """Make a metric of second moments and of those that they are compared with, one of each for a seed."""
    return Metric(tuple(_log(float(each), float(other)) for each, other in zip(squares, reference, strict=True)))


def _log(square: float, reference: float) -> float | Word:
    if math.isinf(square):
        return "not finite"
    if square == 0.0:
        return "zero"
    if math.isnan(square) or not 0.0 < reference < math.inf:
        return "undefined"
    return round(0.5 * (math.log(square) - math.log(reference)), DIGITS)


def _halve(log: float) -> float | Word:
    """Take the logarithm of an amplitude from that of its square."""
    if math.isfinite(log):
        return round(0.5 * log, DIGITS)
    return "undefined" if math.isnan(log) else "zero" if log < 0.0 else "not finite"


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value
