"""Rules about what could not be judged: not measured, or not decided by the seeds."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from initcheck.audit.findings import Finding
from initcheck.audit.rules.rule import ModelMeasurement, Rule, example, stack_example
from initcheck.audit.rules.signal import SUBJECT, add_branch, measured_total
from initcheck.core.formatting import format_change, format_factor, format_interval

if TYPE_CHECKING:
    from initcheck.audit.total_change import JudgedPath


def _find_unmeasured(measurement: ModelMeasurement) -> Iterator[Finding]:
    """Make one finding of each reason for which something was not measured."""
    by_reason: dict[str, list[str]] = {}
    for path, reason in measurement.gaps:
        by_reason.setdefault(reason, []).append(path)
    for reason, paths in by_reason.items():
        layers = tuple(dict.fromkeys(paths))
        more = f" and {len(layers) - 1} more" if len(layers) > 1 else ""
        yield Finding("IC601", layers[0], f"{layers[0]}{more} not measured: {reason}", None, layers)


def _find_undecided(measurement: ModelMeasurement) -> Iterator[Finding]:
    """Make a finding of each path whose change the seeds do not decide, and of a model without a path."""
    if not measurement.paths:
        yield Finding("IC603", "", "no measured layer reaches the outputs, so that propagation could not be followed")
    for judged in measurement.paths:
        if judged.outcome == "undecided":
            yield _undecided(judged)


def _undecided(judged: JudgedPath) -> Finding:
    levels = judged.levels
    subject = SUBJECT[levels.direction]
    if not math.isfinite(judged.total.value) or judged.total.count < 1:
        where = (judged.beyond or levels.layers)[0]
        message = f"{subject} could not be followed: {where} has no value"
        return Finding("IC603", where, add_branch(judged, message), None, levels.layers)
    measured = measured_total(judged)
    advice = (
        f"about {judged.seeds_needed} seeds would decide" if judged.seeds_needed is not None else "it is at the limit"
    )
    message = (
        f"whether {subject} stays within the limit is not shown: it changes {format_change(judged.total.value)} from "
        f"{levels.layers[0]} to {levels.layers[levels.last_counted]}, with the interval "
        f"{format_interval(measured.low, measured.high)} around a limit of {format_factor(judged.limit)}; {advice}"
    )
    return Finding("IC603", levels.layers[-1], add_branch(judged, message), measured, levels.layers)


UNMEASURED = Rule(
    code="IC601",
    name="unmeasured",
    what="A layer call or a weight was not measured, with the reason.",
    why="What was not measured is not known to be healthy.",
    example=example(
        """
class Scaled(keras.layers.Layer):
    def build(self, shape):
        self.scale = keras.Variable(keras.random.uniform((shape[-1],)))

    def call(self, inputs):
        return inputs * self.scale


model = keras.Sequential([keras.Input((8,)), Scaled(), keras.layers.Dense(2)])
"""
    ),
    fix="Measure it alone, or accept it by name: --waive LAYER.",
    source="initcheck's own rule: coverage is a verdict",
    find=_find_unmeasured,
    severity="unjudged",
    directions=(),
)

UNDECIDED = Rule(
    code="IC603",
    name="undecided",
    what="The interval over seeds contains a limit: neither healthy nor wrong is shown.",
    why="Inconclusive is not a pass.",
    example=stack_example(14, "relu", "keras.initializers.VarianceScaling(1.4, 'fan_in', 'truncated_normal')"),
    fix="Draw more seeds: the message says how many would decide. Or accept it: --allow-inconclusive.",
    source="Schuirmann 1987 (two one-sided tests)",
    find=_find_undecided,
    limits=("total_factor", "layer_margin"),
    severity="unjudged",
    inconclusive=True,
    directions=(),
)
