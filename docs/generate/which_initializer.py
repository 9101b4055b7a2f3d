"""``docs/which-initializer.md``: for each activation function the initializer that the reference study recommends."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Final

import pandas as pd

from initcheck.core.columns import DIRECTIONS
from initcheck.core.formatting import format_estimate, format_share
from initcheck.models.initializers import INITIALIZERS
from initcheck.pages.markdown import escape_text
from initcheck.study.report.levels import SummaryRow, read_pairs
from initcheck.study.report.tables import format_layers_until, names_in_order

_SUMMARY: Final = Path(__file__).parents[2] / "reports" / "reference" / "summary.csv"
_NETWORK: Final = "mlp"
_MOST_NAMES: Final = 2  # of initializers that are alike
_SHORT: Final = {"preserves": "kept", "inconclusive": "undecided"}

_INTRODUCTION: Final = """\
<!-- Written by: tox run -e docs -->

# Which initializer for which activation, and why

In short: **LeCun's for SELU and linear layers, He's for everything else.** With sigmoid, softplus, GELU, SiLU, Mish
and ELU even the best one does not keep a signal through many layers; there, use normalization or skip
connections ([what is normal](architectures.md)), or few layers.

The table is computed from the [reference study](../reports/reference/report.md): plain networks of {depth} layers of
{width} units, without normalization, {seeds} networks a row. It gives the factor by which each layer multiplies the
mean square of the signal, and of the gradient on its way back: the geometric mean, with its 95% interval over the
networks. The column *thousandfold change* says after how many layers the signal, and behind the semicolon the
gradient, has changed a thousandfold. **Bold** means that both are shown to be kept, to within 5% a layer in the
deeper half, and that the last layer still distinguishes its inputs.

| activation | recommended | signal, a layer | gradient, a layer | thousandfold change | second choice |
| --- | --- | --- | --- | --- | --- |
"""

_EXPLANATION: Final = """
- Initializers of which theory expects the same here are one choice. `HeNormal` and `HeUniform` have one variance;
  Glorot's, LeCun's and `VarianceScaling` have one too, because these layers are equally wide.
- Of a choice, the best stands first, and the factors are its own. Where intervals overlap, the order within a choice
  is not shown.
- A thousandfold change beyond the {depth} layers that were measured is theory's.
- Each initializer has its default arguments. Left out is what ignores the width, such as `RandomNormal` with its
  standard deviation of 0.05: it keeps a signal at one width and loses it at another. Left out is also what draws
  nothing at random: `Identity`, `Zeros`, `Ones` and `Constant`.

## Why

- **ReLU, leaky ReLU.** They pass on half of the mean square, or a little more, and He's variance of 2 / fan_in makes
  up for it. See [He's condition](signal-propagation.md#hes-condition).
- **Linear, SELU.** A variance of 1 / fan_in keeps the signal of linear layers, and SELU has its fixed point there;
  its gradient grows slowly. In layers with other numbers of inputs than outputs, take LeCun's: Glorot's is a
  compromise there.
- **tanh, softsign.** They shrink large values. With He's variance the signal settles at a smaller size. With 1 /
  fan_in it fades, slower with each layer.
- **GELU, SiLU, Mish, ELU.** They are nearly linear for small values and like ReLU for large ones, so that no variance
  fits all sizes of a signal.
- **Sigmoid, softplus.** The mean of their outputs is far from 0, and after a few layers nothing but this mean is
  left: the outputs are nearly the same for every input. Their size looks healthy, and no initializer helps.

For a network of your own: `initcheck check`; from theory alone, `initcheck predict --initializer HeNormal
--activation gelu --depth 12`.
"""


def write_page() -> str:
    """Write the page in Markdown."""
    summary = pd.read_csv(_SUMMARY)
    pairs = [pair for pair in read_pairs(summary, summary) if pair.network == _NETWORK and _scales(pair)]
    mlp = summary[summary["network"] == _NETWORK].iloc[0]
    facts = {"depth": mlp["depth"], "width": mlp["width"], "seeds": mlp["seeds"]}
    rows = (
        _write_row(activation, [pair for pair in pairs if pair.activation == activation])
        for activation in names_in_order(pairs, "activation")
    )
    return _INTRODUCTION.format(**facts) + "".join(rows) + _EXPLANATION.format(**facts)


def _scales(pair: SummaryRow) -> bool:
    """Whether the initializer has default arguments and draws weights whose variance goes by the size of the layer."""
    row = INITIALIZERS.get(pair.initializer)
    return row is not None and row.draw is not None and not row.ignores_size


def _write_row(activation: str, pairs: Sequence[SummaryRow]) -> str:
    first, *others = _group_alike(pairs)
    best = first[0]
    gains = (_format_gain(best, direction) for direction in DIRECTIONS)
    second = f"{_format_names(others[0])}: {_describe(others[0][0])}" if others else "none"
    cells = (f"`{activation}`", _format_choice(first), *gains, _describe(best), second)
    return f"| {' | '.join(cells)} |\n"


def _group_alike(pairs: Iterable[SummaryRow]) -> list[list[SummaryRow]]:
    """Group the pairs of which theory expects the same; groups, and pairs within them, have the best first."""

    def expect(pair: SummaryRow) -> tuple[float, ...]:
        return tuple(round(pair.by_direction[direction].textbook, 6) for direction in DIRECTIONS)

    groups = [sorted(group, key=_rank) for _, group in groupby(sorted(pairs, key=expect), key=expect)]
    return sorted(groups, key=lambda group: _rank(group[0]))


def _rank(pair: SummaryRow) -> tuple[bool, bool, float]:
    change = max(abs(math.log(pair.by_direction[direction].geometric)) for direction in DIRECTIONS)
    return pair.outcome != "kept", not pair.distinguishes_inputs, change


def _format_choice(group: Sequence[SummaryRow]) -> str:
    best = group[0]
    if best.outcome == "kept":
        return f"**{_format_names([pair for pair in group if pair.outcome == 'kept'])}**"
    if not best.distinguishes_inputs:
        return f"none; the best: {_format_names(group)}"
    return _format_names(group)


def _format_names(group: Sequence[SummaryRow]) -> str:
    names = [f"`{pair.initializer}`" for pair in group[:_MOST_NAMES]]
    more = f" and {len(group) - len(names)} more alike" if len(group) > len(names) else ""
    return ", ".join(names) + more


def _format_gain(pair: SummaryRow, direction: str) -> str:
    found = pair.by_direction[direction]
    estimate = format_estimate(found.geometric, found.geometric_low, found.geometric_high)
    return escape_text(f"{estimate.value} {estimate.interval}")


def _describe(pair: SummaryRow) -> str:
    """Say in a few words what becomes of signal and gradient, or that nothing distinguishes inputs."""
    if not pair.distinguishes_inputs:
        share = format_share(pair.batch_variance_share)
        return f"same for all inputs: {share} of the last layer varies"
    found = (pair.by_direction[direction] for direction in DIRECTIONS)
    return "; ".join(_SHORT.get(each.verdict) or format_layers_until(each) for each in found)
