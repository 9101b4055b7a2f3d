"""Weights that are as good as without a gradient: in which draws, why, and whether a few small steps wake them.

A gradient is compared as the root mean square of its entries with the median over the kernels of the model. Below a
millionth of that it is as good as zero. What cancels out exactly comes out at about this size, and is recognized by how
it changes with the last digits of the weights (:mod:`initcheck.probe.first_steps`).

Small by nature, and harmless, is a weight that is added to the signal or multiplies it entry by entry, if what follows
takes its effect away again: a key's bias before a softmax, a bias or a scale before a normalization. Then the kernel of
the same layer learns all the same. A kernel is never small by nature: it makes something of its inputs, which the loss
does not get to know. So a weight that meets the signal entry by entry is silent only if all kernels of its layer are,
unless its gradient is exactly zero in every draw, which no rounding makes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

if TYPE_CHECKING:
    from initcheck.backend.operations import WeightUse

NEGLIGIBLE: Final = 1e-6
"""Below this share of the median over the kernels, the root mean square of a gradient is as good as zero."""

_ROUNDING: Final = 1e-4
"""Below this share, rounding errors are looked for: sums in which many large terms cancel leave more of them."""

Silence = Literal["zero", "rounding", "negligible"]


@dataclass(frozen=True)
class SilentWeight:
    """A weight that is as good as without a gradient in some draws.

    Attributes:
        silence: whether the gradient is exactly zero, nothing but rounding errors, or much smaller than all others.
        draws: in how many draws it stays so after the last small step; where it wakes in all, in how many it was so.
        share: the largest root mean square of its gradient in these draws, over the median of the kernels.
        wakes_after: after how many small steps it has a gradient in all draws; 0 where it never has.
    """

    weight: str
    silence: Silence
    draws: int
    share: float
    wakes_after: int


@dataclass(frozen=True)
class _Gradients:
    """Root mean squares of the gradients over the median of the kernels, shape [seeds, weights], and who is silent."""

    weights: tuple[str, ...]
    shares: NDArray[np.float64]
    silent: NDArray[np.bool_]


def find_silent(
    gradients: pd.DataFrame,
    after: Sequence[pd.DataFrame] = (),
    uses: Mapping[str, WeightUse] | None = None,
    rounding: frozenset[str] = frozenset(),
) -> tuple[SilentWeight, ...]:
    """Find the trainable weights that are silent in some draws, in the order of the model.

    Args:
        gradients: the table of all weights.
        after: the same tables after one small step, after two, and so on.
        uses: how each weight meets the signal; a weight that is not named counts as a kernel.
        rounding: weights whose gradient is known to be nothing but rounding errors.
    """
    found = _compare(gradients, uses or {}, rounding)
    later = [_compare(table, uses or {}, rounding).silent & found.silent for table in after]
    weights = []
    for place in np.flatnonzero(found.silent.any(axis=0)):
        name, silent = found.weights[place], found.silent[:, place]
        awake = [step for step, each in enumerate(later, start=1) if not each[:, place].any()]
        if later and not awake:
            silent = later[-1][:, place]
        share = float(found.shares[silent, place].max())
        silence: Silence = "zero" if share == 0.0 else "rounding" if name in rounding else "negligible"
        weights.append(SilentWeight(name, silence, int(silent.sum()), share, awake[0] if awake else 0))
    return tuple(weights)


def count_silent(gradients: pd.DataFrame, uses: Mapping[str, WeightUse], rounding: frozenset[str]) -> int:
    """Count the weights that are silent, over all draws."""
    return int(_compare(gradients, uses, rounding).silent.sum())


def find_suspects(gradients: pd.DataFrame, uses: Mapping[str, WeightUse]) -> tuple[str, ...]:
    """Name the kernels whose gradient is small enough for rounding errors in the first draw, without being zero."""
    found = _compare(gradients, uses, frozenset())
    small = (found.shares[0] > 0.0) & (found.shares[0] < _ROUNDING)
    return tuple(
        name for name, each in zip(found.weights, small, strict=True) if each and uses.get(name, "kernel") == "kernel"
    )


def _compare(gradients: pd.DataFrame, uses: Mapping[str, WeightUse], rounding: frozenset[str]) -> _Gradients:
    table = gradients[gradients["trainable"].astype(bool) & gradients["has_gradient"].astype(bool)]
    weights = tuple(map(str, table["weight"].drop_duplicates()))
    layers = table.drop_duplicates("weight")["layer"].to_numpy()
    entries = table.drop_duplicates("weight")["shape"].map(_count_entries).to_numpy(dtype=np.float64)
    norms = table.pivot(index="seed", columns="weight", values="gradient_norm")[list(weights)]
    sizes = norms.to_numpy(dtype=np.float64, na_value=np.nan) / np.sqrt(entries)
    kernel = np.asarray([uses.get(name, "kernel") == "kernel" for name in weights], dtype=np.bool_)
    known = np.where(kernel & (sizes > 0.0) & np.isfinite(sizes), sizes, np.nan)
    has_median = ~np.isnan(known).all(axis=1)
    median = np.ones(len(sizes))
    median[has_median] = np.nanmedian(known[has_median], axis=1)
    shares = sizes / median[:, None]
    limits = np.asarray([_ROUNDING if name in rounding else NEGLIGIBLE for name in weights])
    silent = shares < limits  # NaN is not: that is another finding
    for place in np.flatnonzero(~kernel & (silent & (shares > 0.0)).any(axis=0)):
        beside = kernel & (layers == layers[place])
        silent[:, place] &= silent[:, beside].all(axis=1) if beside.any() else False
    return _Gradients(weights, shares, silent)


def _count_entries(shape: str) -> int:
    """Count the entries of a weight from its shape in words, ``(3, 3, 64)``."""
    return int(np.prod([int(size) for size in shape.strip("()").split(",") if size.strip()], dtype=np.int64)) or 1
