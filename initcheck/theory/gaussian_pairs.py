"""Gaussian integrals over two correlated pre-activations (see :mod:`initcheck.theory.gaussian`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np

from initcheck.errors import TheoryError
from initcheck.theory.gaussian import (
    LARGEST_SHARE_AT_THE_END,
    Activation,
    check_variance,
    find_activation,
    fixed_edges,
    tabulate,
)
from initcheck.theory.pieces import Array

_PAIR_REACH: Final = 9.0
_PAIR_PANEL_WIDTH: Final = 1.5
_PAIR_NODES: Final = 20
_STEPS_FROM_A_KINK: Final = np.asarray([-8.0, -4.0, -2.0, -1.0, 0.0, 1.0, 2.0, 4.0, 8.0])


def expect_pair(
    activation: str | Callable[..., Any] | Activation,
    q: float,
    correlation: float,
    *,
    other_q: float | None = None,
    slopes: bool = False,
) -> float:
    """Compute E phi(u) phi(v), or E phi'(u) phi'(v), for Gaussian u and v.

    u = sqrt(q_1) z_1 and v = sqrt(q_2) (c z_1 + sqrt(1 - c^2) z_2). The inner integral, over z_2, has panels of its
    own for each z_1, which end where v meets a kink; the outer one also resolves the smoothed kinks of the inner one.

    Args:
        activation: phi; see :func:`find_activation`.
        q: variance of u.
        correlation: c, between -1 and 1.
        other_q: variance of v; by default that of u.
        slopes: integrate the slopes instead of the values.

    Returns:
        The expectation; NaN where the integral diverges or is not captured.

    Raises:
        TheoryError: a variance or the correlation is out of range.
    """
    phi = find_activation(activation)
    variances = check_variance(np.asarray([q, q if other_q is None else other_q], dtype=np.float64))
    if not abs(correlation) <= 1.0:
        raise TheoryError(
            f"A correlation must lie between -1 and 1. Received: correlation={correlation!r}. Give one that does."
        )
    roots = np.sqrt(np.maximum(variances, np.finfo(np.float64).tiny))
    c, s = float(correlation), float(np.sqrt((1.0 - correlation) * (1.0 + correlation)))
    pieces = phi.pieces
    outer = [fixed_edges(_PAIR_REACH, _PAIR_PANEL_WIDTH), pieces.edges / roots[0]]
    if abs(c) > 1e-3:
        steps = (_STEPS_FROM_A_KINK * s / abs(c))[:, np.newaxis]
        outer += [pieces.edges / (roots[1] * c), (pieces.kinks / (roots[1] * c) + steps).ravel()]
    edges = np.unique(np.clip(np.concatenate(outer), -_PAIR_REACH, _PAIR_REACH))
    z, weight, value, slope = tabulate(phi, roots[:1], edges, _PAIR_NODES)
    if s == 0.0:
        _, _, other_value, other_slope = tabulate(phi, np.copysign(roots[1:], c), edges, _PAIR_NODES)
        inner = other_slope if slopes else other_value
    else:
        inner = _integrate_inner(phi, z, float(roots[1]), c, s, slopes)
    with np.errstate(all="ignore"):
        terms = (slope if slopes else value) * inner * weight
    total = float(terms.sum())
    ends = float(np.abs(terms[:_PAIR_NODES]).sum() + np.abs(terms[-_PAIR_NODES:]).sum())
    captured = ends <= LARGEST_SHARE_AT_THE_END * float(np.abs(terms).sum())
    return total if captured and np.isfinite(total) else float("nan")


def _integrate_inner(phi: Activation, z: Array, root: float, c: float, s: float, slopes: bool) -> Array:
    """Integrate phi(root * (c z_1 + s z_2)), or its slope, over z_2 for every z_1."""
    centers = c * z[:, np.newaxis]
    own = np.clip((phi.pieces.edges / root - centers) / s, -_PAIR_REACH, _PAIR_REACH)
    # Edges that no z_1 brings into reach cost time and do nothing.
    own = own[:, (own.min(axis=0) < _PAIR_REACH) & (own.max(axis=0) > -_PAIR_REACH)]
    fixed = fixed_edges(_PAIR_REACH, _PAIR_PANEL_WIDTH)
    edges = np.sort(np.concatenate([np.broadcast_to(fixed, (z.size, fixed.size)), own], axis=1), axis=1)
    _, weight, value, slope = tabulate(phi, np.full((z.size, 1), root * s), edges, 16, shift=centers / s)
    with np.errstate(all="ignore"):
        return np.asarray(((slope if slopes else value) * weight).sum(axis=-1))
