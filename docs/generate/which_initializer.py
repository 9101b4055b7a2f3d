"""``docs/which-initializer.md``: for each activation function the initializer that the reference study recommends."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Final

import pandas as pd

from initcheck.audit.gains import trace_networks
from initcheck.models.initializers import study_initializers
from initcheck.models.networks import STUDY_ACTIVATIONS
from initcheck.pages.markdown import inline, table
from initcheck.study.report.choice import choose_initializers, make_choice_table
from initcheck.study.report.levels import measure_seeds, read_pairs
from initcheck.study.report.tables import describe_twins, merge_twins

_STUDY: Final = Path(__file__).parents[2] / "reports" / "reference"
_NETWORK: Final = "mlp"

_INTRODUCTION: Final = """\
<!-- Written by: tox run -e docs -->

# Which initializer for which activation, and why

In short: **LeCun's for linear layers, SELU and tanh; He's for ReLU, leaky ReLU, softsign, GELU, SiLU, Mish and ELU.**
Only with linear, ReLU, leaky ReLU and softsign is this shown to keep signal and gradient. With the others, use
normalization or skip connections ([what is normal](architectures.md)), or few layers. With sigmoid and softplus not
even a second choice was found.

The table is that of the [reference study](../reports/reference/report.md): plain networks of {depth} layers of
{width} units, without normalization, {seeds} networks a row. A gain is the factor by which each layer multiplies the
mean square of the signal (forward), and of the gradient on its way back (backward): the geometric mean over the
deeper half of the layers, with its 95% interval over the networks.

"""

_EXPLANATION: Final = """
- Where nothing is shown to keep the signal, the second choice is what comes nearest to it.
- `× 1000` and `1/1000` say after how many layers the mean square has changed a thousandfold. Beyond the {depth} layers
  that were measured this is theory's.
- {twins}

## Why

- **ReLU, leaky ReLU.** They pass on half of the mean square, or a little more, and He's variance of 2 / fan_in makes
  up for it. See [He's condition](signal-propagation.md#hes-condition).
- **Linear, SELU.** A variance of 1 / fan_in keeps the signal of linear layers, and SELU has its fixed point there;
  its gradient grows slowly. In layers with other numbers of inputs than outputs, take LeCun's: Glorot's is a
  compromise there.
- **tanh, softsign.** They shrink large values. With He's variance the signal settles at a smaller size and the gradient
  grows: with softsign by less than 5% a layer, with tanh by more. With 1 / fan_in both fade, slower with each layer.
- **GELU, SiLU, Mish, ELU.** They are nearly linear for small values and like ReLU for large ones, so that no variance
  fits all sizes of a signal.
- **Sigmoid, softplus.** The mean of their outputs is far from 0, and after a few layers nothing but this mean is
  left: the outputs are nearly the same for every input, although their size looks healthy.

For a network of your own: `initcheck check`; from theory alone, `initcheck predict --initializer HeNormal
--activation gelu --depth 12`.
"""


def write_page() -> str:
    """Write the page in Markdown."""
    summary = pd.read_csv(_STUDY / "summary.csv")
    measurements = pd.read_parquet(_STUDY / "measurements.parquet")
    summary, measurements = (each[each["network"] == _NETWORK] for each in (summary, measurements))
    layers = [name for name in measurements["layer"].unique() if name.startswith("hidden")]
    # The committed tables are sorted by name; where intervals overlap, the order of the study decides.
    plan = product([_NETWORK], [each.label for each in study_initializers()], STUDY_ACTIVATIONS)
    order = pd.DataFrame(plan, columns=["network", "initializer", "activation"])
    pairs = merge_twins(read_pairs(summary, order))
    gains = measure_seeds(tuple(trace_networks(measurements, {_NETWORK: layers})))
    choices = make_choice_table(choose_initializers(pairs, gains), gains, _NETWORK)
    network = summary.iloc[0]
    facts = {"depth": network["depth"], "width": network["width"], "seeds": network["seeds"]}
    shown = f"{inline(choices.caption)}\n\n{table(choices)}\n"
    return _INTRODUCTION.format(**facts) + shown + _EXPLANATION.format(**facts, twins=inline(describe_twins(pairs)))
