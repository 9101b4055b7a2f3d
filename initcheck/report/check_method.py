"""What was measured of a model, what was not and why, and how: the last sections of its page."""

from __future__ import annotations

from dataclasses import fields
from typing import Final

from initcheck.audit.examination import Examination
from initcheck.audit.limits import Limits
from initcheck.numbers import count, format_duration
from initcheck.probe.coverage import Coverage, Gap
from initcheck.report.document import Block, Cell, Details, Paragraph, Row, Section, Table, prose

_FOLDED_GAPS: Final = 10

LIMIT_SOURCES: Final = {
    "total_factor": (
        "change of a second moment or a squared gradient norm along the whole route",
        "one order of magnitude in the standard deviation, about what learning rates are tuned over",
    ),
    "layer_margin": (
        "change a layer that is allowed whatever the depth; it counts where it allows more than total_factor",
        "the margin within which a network counts as keeping the signal: 5 %",
    ),
    "step_factor": (
        "change in a single step that no later layer makes up for",
        "as total_factor",
    ),
    "dead_fraction": (
        "share of units that are zero on the whole batch",
        "ReLU on inputs that are all alike makes half of the units zero",
    ),
    "saturated_fraction": (
        "share of a bounded activation function’s outputs at its ends",
        "Glorot and Bengio 2010, section 3.1: the majority is saturated",
    ),
    "sample_share": (
        "share of the second moment that has to vary across samples",
        "below it inputs cannot be told apart in practice; Schoenholz et al. 2017, section 3",
    ),
    "fan_ratio": (
        "ratio by which the variance of a layer’s sums may be off through another fan",
        "Glorot’s compromise between both fans is off by less for layers that narrow or widen by less than three",
    ),
    "float16_fraction": (
        "share of the values that are not zero and lie outside float16’s range",
        "Micikevicius et al. 2018, section 3.2",
    ),
}
"""By name of the limit: what it limits, and where it comes from."""


def write_coverage(coverage: Coverage) -> Section:
    """Write what was measured, and what was not, with the reasons."""
    covered = [gap for gap in coverage.gaps if gap.covered_by]
    told = f"Measured: {count(coverage.calls, 'layer call')}, and {count(coverage.weights, 'weight')}."
    blocks: list[Block] = [Paragraph(prose(told))]
    if coverage.open_gaps:
        blocks.append(_gap_table("What was not measured. Nothing is known of it.", coverage.open_gaps))
    else:
        blocks.append(Paragraph(prose("Nothing was left out.")))
    if covered:
        caption = "Parts without numbers of their own, and what stands for them."
        table = _gap_table(caption, covered)
        summary = prose(f"{count(len(covered), 'part')} without numbers of their own")
        blocks.append(Details(summary, (table,), unfolded=len(covered) <= _FOLDED_GAPS))
    return Section("coverage", "Coverage", tuple(blocks))


def write_method(examination: Examination) -> Section:
    """Write how a model was measured, what it was held against, and with which versions."""
    seeds = examination.seeds
    drawn = f"{count(len(seeds), 'draw')}, seeds {seeds[0]} to {seeds[-1]}, by the model’s own initializers"
    facts = (
        ("Model", examination.model),
        ("Weights", drawn if examination.redrawn else "as they are: one draw, and no intervals over seeds"),
        ("Batch", examination.conditions.batch),
        ("Loss", examination.conditions.loss),
        ("What is undecided", "let pass, as asked" if examination.allow_inconclusive else "counts as not judged"),
        ("Exit code", f"{examination.exit_code}: {examination.verdict}"),
        ("Duration", format_duration(examination.seconds)),
        *((name, version) for name, version in examination.versions.items()),
    )
    rows = tuple(Row(name, (Cell(value),)) for name, value in facts)
    circumstances = Table(prose("The circumstances, and the versions."), ("What", "Value"), rows, code_headers=False)
    return Section("method", "How it was measured", (circumstances, _limit_table(examination.limits)))


def _limit_table(limits: Limits) -> Table:
    defaults = Limits()
    rows = []
    for field in fields(limits):
        value, default = getattr(limits, field.name), getattr(defaults, field.name)
        what, source = LIMIT_SOURCES[field.name]
        notes = () if value == default else (f"default: {default:g}",)
        rows.append(Row(field.name, (Cell(f"{value:g}", notes), Cell(what), Cell(source))))
    caption = prose("The limits, all of them in squares; [tool.initcheck.limits] in pyproject.toml changes them.")
    return Table(caption, ("Limit", "Value", "Of what", "Where it comes from"), tuple(rows), form="claims")


def _gap_table(caption: str, gaps: list[Gap] | tuple[Gap, ...]) -> Table:
    rows = tuple(Row(gap.path, (Cell(gap.kind), Cell(gap.reason), Cell(gap.covered_by or "nothing"))) for gap in gaps)
    return Table(prose(caption), ("Layer or weight", "Kind", "Reason", "Measured through"), rows)
