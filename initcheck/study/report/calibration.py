"""Whether theory's scores are as large as chance makes them: the sum of their squares over all cells of a network."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from initcheck.core.columns import DIRECTIONS, Direction
from initcheck.core.formatting import format_number
from initcheck.core.statistics import adjust_pvalues
from initcheck.pages.document import Cell, Details, Section, Table, code, paragraph, prose, table_row
from initcheck.study.report.levels import SeedGains, SummaryRow
from initcheck.study.report.tables import names_in_order
from initcheck.study.report.theory import count_scores

CALIBRATION_COLUMNS: Final = (
    "Network",
    "Direction",
    "Scores",
    "Sum of squares",
    "Root mean square",
    "Worth, in independent scores",
    "p (χ²)",
    "The scores are",
)
LEVEL: Final = 0.05
_FEWEST_SEEDS: Final = 4


@dataclass(frozen=True)
class Calibration:
    """The scores of one network in one direction, taken together.

    Attributes:
        total: the sum of their squares.
        independent: how many independent scores would vary as much; NaN with too few seeds to know.
        p_value: how often chance alone makes the sum as large; NaN likewise.
    """

    network: str
    direction: Direction
    scores: int
    total: float
    independent: float
    p_value: float

    @property
    def rms(self) -> float:
        """The root mean square of the scores."""
        return math.sqrt(self.total / self.scores)


def calibrate_scores(
    pairs: Sequence[SummaryRow], gains: Sequence[SeedGains], direction: Direction
) -> Calibration | None:
    """Take the finite scores of one network together; None without any.

    Cells that share weights vary together. A sum of squares of correlated normal numbers is distributed nearly as
    chi-square of fewer degrees of freedom, scaled to the same mean (Satterthwaite 1946; Box 1954): of n² / Σ ρ², over
    all pairs of cells. The correlations are those of the gains over the seeds.
    """
    by_seed = {(each.network, each.initializer, each.activation, each.direction): each.by_seed for each in gains}
    scored = [item for item in count_scores(pairs, direction).of("scored") if math.isfinite(item.summary.z)]
    if not scored:
        return None
    total = float(sum(item.summary.z**2 for item in scored))
    samples = [by_seed[item.pair.network, item.pair.initializer, item.pair.activation, direction] for item in scored]
    independent = count_independent(np.stack(samples))
    p_value = judge_sum(total, len(scored), independent)
    return Calibration(scored[0].pair.network, direction, len(scored), total, independent, p_value)


def judge_sum(total: float, scores: int, independent: float) -> float:
    """Give the chance of so large a sum of squares of scores that are worth a number of independent ones."""
    return float(stats.chi2.sf(independent / scores * total, independent))


def count_independent(samples: NDArray[np.float64]) -> float:
    """Count the independent normal numbers whose sum of squares varies as much as that of some correlated ones.

    Args:
        samples: repeated draws of the numbers, of shape [numbers, draws].
    """
    number, draws = samples.shape
    if draws < _FEWEST_SEEDS:
        return math.nan
    if number == 1:
        return 1.0
    squares = np.square(np.corrcoef(samples))
    # Chance alone correlates few draws: without it, the squares are right on average.
    unbiased = (squares * (draws - 1) - 1.0) / (draws - 2)
    np.fill_diagonal(unbiased, 1.0)
    return float(np.clip(number**2 / max(unbiased.sum(), number), 1.0, number))


def write_calibration(pairs: Sequence[SummaryRow], gains: Sequence[SeedGains]) -> Section | None:
    """Write the section with the calibration on every network; None where no score is known."""
    found = [
        calibration
        for network in names_in_order(pairs, "network")
        for direction in DIRECTIONS
        if (calibration := calibrate_scores([pair for pair in pairs if pair.network == network], gains, direction))
    ]
    if not found:
        return None
    adjusted = adjust_pvalues(np.asarray([each.p_value for each in found]), "holm")
    verdicts = [
        Cell("not judged", tone="unknown")
        if not math.isfinite(p_value)
        else Cell("larger than by chance", tone="growing-3", emphasis=True)
        if p_value < LEVEL
        else Cell("as by chance", tone="kept")
        for p_value in adjusted
    ]
    rows = tuple(
        table_row(
            each.network,
            each.direction,
            str(each.scores),
            format_number(each.total, 4),
            f"{each.rms:.2f}",
            format_number(each.independent, 2, missing="not known"),
            format_number(each.p_value, 2, missing="not known"),
            verdict,
        )
        for each, verdict in zip(found, verdicts, strict=True)
    )
    caption = prose("All scores of a network taken together. A measurement of several initializers counts once.")
    explanation = paragraph(
        "A score is the difference of the measured from the predicted gain in standard errors. If theory is right, the "
        "sum of their squares is about their number, or less, since the larger of the measured and the predicted "
        "standard error is taken. The scores are not independent: all cells of an initializer share their weights, and "
        "initializers of one distribution draw proportional numbers. How strongly they vary together is seen from seed "
        "to seed; p is the chance of so large a sum by χ² with as many degrees of freedom as the scores are worth in "
        "independent ones (", code("n² / Σ ρ²"), f", Satterthwaite’s approximation). The verdict is at "
        f"{100.0 * LEVEL:g}% in all rows together, after Holm’s correction.",
    )  # fmt: skip
    blocks = (Table(caption, CALIBRATION_COLUMNS, rows), Details(prose("How this is judged"), (explanation,)))
    return Section("calibration", "Theory’s scores, taken together", blocks)
