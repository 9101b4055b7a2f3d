"""After how many layers has a signal changed a thousandfold? The typical plain network, at the width that it has.

What is followed is the geometric mean over seeds: E ln Q of the forward signal, and E ln G of the gradient's squared
norm. An infinitely wide network has the map of :mod:`initcheck.theory.mean_field` for both. At n units ln kappa has a
variance v, which grows by Var(mean phi^2) / (E phi^2)^2 a layer, and its mean falls by half of that: for He and ReLU by
5 / (2 n). Where that variance is large, half of it says little of the logarithm, and there is no value. The moments are
those of :mod:`initcheck.theory.dense_layers`, here for one sample, and tabulated over ln q, so that thousands of layers
take no time.

References:
    Hanin and Rolnick, "How to start training", 2018: products of random factors, and their logarithms.
    Yaida, "Non-Gaussian processes and neural networks at finite widths", 2020.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal

import numpy as np
from scipy.interpolate import CubicSpline

from initcheck.theory.breakpoints import Array
from initcheck.theory.dense_layers import DenseLayer
from initcheck.theory.gaussian import Activation, evaluate_on_grid
from initcheck.theory.mean_field import LARGEST_Q, SMALLEST_Q

MOST_LAYERS: Final = 1_000
"""The signal is followed through so many layers and no farther: it is deeper than plain networks are built."""

THOUSANDFOLD: Final = math.log(1000.0)
_POINTS_PER_DECADE: Final = 24
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(7)
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()
_TABULATED_APART: Final = 16
_SETTLED: Final = 1e-13
_LARGEST_NOISE: Final = 3.0
"""Relative variance of a layer's factor beyond which order 1/n is off by more than a count of layers bears.

Of drawn tanh networks with 64 units it counts 4 layers instead of 5 at a variance of 2, and 5 instead of 17 at 4.
"""

SizeChange = Literal["vanishes", "explodes", "keeps"]


@dataclass(frozen=True)
class ThousandfoldChange:
    """When a squared size has become a thousand times smaller or larger.

    Attributes:
        layers: in how many layers; None where MOST_LAYERS do not suffice.
    """

    layers: int | None
    direction: SizeChange


@dataclass(frozen=True)
class LayersUntil:
    """When a signal and its gradient have changed a thousandfold.

    Attributes:
        forward: the mean square of the pre-activations, counted from the first layer on; None where a few units vary
            too much for theory.
        backward: the gradient's squared norm in the first layer over that in the last of so many more; None likewise.
    """

    forward: ThousandfoldChange | None
    backward: ThousandfoldChange | None


@dataclass(frozen=True)
class MeasuredChange:
    """What was measured between the first layer and a later one, as means over seeds of logarithms.

    Attributes:
        layers: by how many layers they are apart.
        forward: ln of the later layer's mean square over the first one's.
        backward: ln of the first layer's squared gradient norm over the later one's.
    """

    layers: int
    forward: float
    backward: float


def count_layers_until(
    layers: Sequence[DenseLayer], input_second_moment: float, measured: MeasuredChange | None = None
) -> LayersUntil:
    """Count the layers until the typical signal, and its gradient, has changed a thousandfold.

    Args:
        layers: the network; deeper ones go on with its last layer.
        input_second_moment: mean square of the input.
        measured: theory goes on from there instead of from the first layer.
    """
    with np.errstate(all="ignore"):
        return _count(_TypicalSignal(layers, input_second_moment), measured)


def _count(signal: _TypicalSignal, measured: MeasuredChange | None) -> LayersUntil:
    changes: dict[str, ThousandfoldChange | None] = {}
    if measured is not None:
        for _ in range(measured.layers):
            signal.advance()
        signal.restart(measured)
    while len(changes) < 2 and signal.place < MOST_LAYERS:
        signal.advance()
        for name, change in (("forward", signal.forward), ("backward", signal.backward)):
            if name not in changes and math.isnan(change):
                changes[name] = None
            elif name not in changes and abs(change) >= THOUSANDFOLD:
                changes[name] = ThousandfoldChange(signal.place, "explodes" if change > 0.0 else "vanishes")
    stays = ThousandfoldChange(None, "keeps")
    return LayersUntil(changes.get("forward", stays), changes.get("backward", stays))


@dataclass(frozen=True, eq=False)
class _Layer:
    """What one layer makes of the distribution of ln kappa, and of the gradient on its way back.

    Attributes:
        fourth: S_4 of its outputs.
        slopes: E ln of the factor by which the gradient's squared norm changes, without its level.
        downward: from the gradient's level and its alignment with z, in the layer above, to those in this one. The
            recursion of :func:`initcheck.theory.dense_layers.propagate_back` is linear in both.
        alignment: that of a gradient that has met no weights yet, in the layer above.
    """

    log_kappa: float
    variance: float
    fourth: float
    slopes: float
    downward: Array
    alignment: float


class _TypicalSignal:
    """The distribution of ln kappa at one layer after the other, and how signal and gradient have changed up to there.

    Attributes:
        place: how many layers the current one lies behind the first.
        forward: E ln Q of the current layer less that of the first.
        backward: E ln G of the first layer less that of the current one.
    """

    def __init__(self, layers: Sequence[DenseLayer], input_second_moment: float) -> None:
        first = layers[0]
        kappa = first.weights.forward_gain * input_second_moment + first.bias_variance
        self.place, self.forward, self.backward = 0, 0.0, 0.0
        self._layers = layers
        self._log_kappa, self._variance = math.log(kappa), 0.0
        self._fourth = 3.0 / (first.weights.fan_in + 2.0)
        self._start = self._log_kappa + _shift_mean_square(first)
        self._slopes = 0.0
        self._to_first = np.eye(2)
        self._settled: _Layer | None = None

    def advance(self) -> None:
        """Go on by one layer."""
        layer, following = self._find_layer(self.place), self._find_layer(self.place + 1)
        passed = self._settled or self._pass(layer, following)
        moved = abs(passed.log_kappa - self._log_kappa) + abs(passed.variance - self._variance)
        alike = self.place >= len(self._layers)
        self._settled = passed if alike and moved < _SETTLED and passed.fourth == self._fourth else None
        self._log_kappa, self._variance, self._fourth = passed.log_kappa, passed.variance, passed.fourth
        self._slopes += passed.slopes
        self._to_first = self._to_first @ passed.downward
        self.place += 1
        self.forward = self._log_kappa + _shift_mean_square(following) - self._start
        # A few units are too few for an order in 1/n: the level may leave the positive numbers there.
        self.backward = self._slopes + float(np.log(self._to_first[0] @ np.asarray([1.0, passed.alignment])))

    def restart(self, measured: MeasuredChange) -> None:
        """Put what was measured up to the current layer in the place of what theory says."""
        self._log_kappa += measured.forward - self.forward
        self._slopes += measured.backward - self.backward
        self._settled = None

    def _find_layer(self, place: int) -> DenseLayer:
        return self._layers[min(place, len(self._layers) - 1)]

    def _pass(self, layer: DenseLayer, following: DenseLayer) -> _Layer:
        assert layer.activation is not None  # the last of a network may mix its units, and is not among these
        gain, bias = following.weights.forward_gain, following.bias_variance
        kappas = self._log_kappa + math.sqrt(self._variance) * np.append(0.0, _NODES)
        moments = _tabulate(layer.activation)(kappas)
        excess = layer.excess_kurtosis(self._fourth) / 24.0
        values = math.log(gain) + moments[:, _VALUE] + excess * moments[:, _VALUE_TAILS]
        slopes = moments[:, _SLOPE] + excess * moments[:, _SLOPE_TAILS]
        after = np.logaddexp(values, math.log(bias)) if bias > 0.0 else values
        share = math.exp(values[0] - after[0])
        here = moments[0]
        kept, kept_back = layer.orthogonality, following.gradient_orthogonality
        noise = (here[_VALUE_FOURTH] - 1.0 - 2.0 * kept * here[_VALUE_RATE] ** 2) / layer.units
        # With the fresh weights' fourth moment, 3, and what orthogonal weights keep.
        slope_noise = 3.0 * here[_SLOPE_FOURTH] - 1.0 - 2.0 * kept * here[_SLOPE_RATE] ** 2 - 2.0 * kept_back
        slope_noise /= layer.units
        mean = float(_WEIGHTS @ after[1:])
        pinned = (share * here[_VALUE2_SLOPE2] - kept_back) / layer.units
        coherence = share * here[_COHERENCE]
        return _Layer(
            log_kappa=mean - 0.5 * _limit_noise(share**2 * noise),
            # Where orthogonal weights leave no noise, rounding may leave less than none.
            variance=max(float(_WEIGHTS @ np.square(after[1:] - mean)) + share**2 * noise, 0.0),
            fourth=here[_VALUE_FOURTH] / layer.units,
            slopes=math.log(following.weights.norm_gain)
            + float(_WEIGHTS @ slopes[1:])
            - 0.5 * _limit_noise(slope_noise),
            downward=np.asarray([[1.0 - pinned, pinned], [here[_ALIGNMENT] - coherence, coherence]]),
            alignment=float(_tabulate(layer.activation)(np.asarray([mean]))[0, _ALIGNMENT]),
        )


def _limit_noise(variance: float) -> float:
    return variance if variance <= _LARGEST_NOISE else math.nan


def _shift_mean_square(layer: DenseLayer) -> float:
    """Give E ln Q - E ln kappa: half the variance of a mean of squares over the units, with its sign."""
    return -(1.0 - layer.orthogonality) / layer.units


# --- moments of one unit by ln q --------------------------------------------------------------------------------------

_COLUMNS: Final = range(11)
(
    _VALUE,
    _SLOPE,
    _VALUE_RATE,
    _SLOPE_RATE,
    _VALUE_TAILS,
    _SLOPE_TAILS,
    _VALUE_FOURTH,
    _SLOPE_FOURTH,
    _VALUE2_SLOPE2,
    _COHERENCE,
    _ALIGNMENT,
) = _COLUMNS


@dataclass(frozen=True, eq=False)
class _Table:
    """The moments that layers need, by columns, from splines over ln q."""

    spline: CubicSpline
    low: float
    high: float

    def __call__(self, logarithms: Array) -> Array:
        """Give the moments at some ln q, shape [Q, columns]; beyond the table E phi^2 and E phi'^2 are powers of q."""
        inside = np.clip(logarithms, self.low, self.high)
        found = np.asarray(self.spline(inside))
        found[:, _VALUE] += found[:, _VALUE_RATE] * (logarithms - inside)
        found[:, _SLOPE] += found[:, _SLOPE_RATE] * (logarithms - inside)
        return found


@lru_cache(maxsize=64)
def _tabulate(phi: Activation) -> _Table:
    """Tabulate ln E phi^2, ln E phi'^2, how they change with ln q, and moments in units of them."""
    decades = math.log10(LARGEST_Q / SMALLEST_Q)
    q = np.logspace(math.log10(SMALLEST_Q), math.log10(LARGEST_Q), round(decades * _POINTS_PER_DECADE) + 1)
    # A few at a time: the values on the nodes of all of them would take a tenth of a gigabyte.
    moments = np.concatenate([_compute_moments(phi, some) for some in np.array_split(q, _TABULATED_APART)])
    known = np.isfinite(moments).all(axis=1)
    logarithms = np.log(q[known])
    return _Table(CubicSpline(logarithms, moments[known]), float(logarithms[0]), float(logarithms[-1]))


def _compute_moments(phi: Activation, q: Array) -> Array:
    """Compute the columns of a table, shape [Q, columns]."""
    grid = evaluate_on_grid(phi, q)
    value_second, slope_second = grid.second_moments()
    value, slope = grid.value / np.sqrt(value_second)[:, np.newaxis], grid.slope / np.sqrt(slope_second)[:, np.newaxis]
    value2, slope2, z2 = np.square(value), np.square(slope), np.square(grid.z)
    he4 = z2 * z2 - 6.0 * z2 + 3.0
    columns = [
        np.log(value_second),
        np.log(slope_second),
        0.5 * grid.expect(value2 * (z2 - 1.0)),
        0.5 * grid.expect(slope2 * (z2 - 1.0)),
        grid.expect(value2 * he4),
        grid.expect(slope2 * he4),
        grid.expect(value2 * value2),
        grid.expect(slope2 * slope2),
        grid.expect(value2 * slope2),
        np.square(grid.expect(grid.z * value * slope)),
        grid.expect(z2 * slope2),
    ]
    return np.stack(columns, axis=1)
