"""The backward pass of a network of Dense layers at finite width: the law of ln G from layer to layer.

The theory is told in :mod:`initcheck.theory.dense_network`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from initcheck.theory.dense_forward import DenseLayer, LayerState
from initcheck.theory.pieces import Array


@dataclass(frozen=True, eq=False)
class GradientCourse:
    """ln G by layer: its mean, its dependence on the deviations (rows) and on the sample (data), and the reuse factor.

    The factor (1 + psi (R - 1) / n)..., by which G gains from the reuse of the forward weights, has the mean ``level``.
    What it has beyond 1 belongs to one random scalar product, and so varies like a chi-square of one degree of freedom.
    """

    log_mean: Array
    rows: Array
    data: Array
    level: Array


def propagate_back(
    layers: Sequence[DenseLayer], states: Sequence[LayerState], same: Array, pair: Array
) -> GradientCourse:
    """Follow the gradient from the output to the input; completes the variances of e3 in ``same`` and ``pair``."""
    count = len(states)
    log_mean, rows, data = np.zeros(count), np.zeros((count, 3 * count)), np.zeros(count)
    level = np.ones(count)
    top, top_layer = states[-1], layers[-1]
    e3 = 3 * count - 1
    if top_layer.activation is None:
        same[e3], same[:, e3], pair[e3], pair[:, e3] = 0.0, 0.0, 0.0, 0.0
        alignment, cosine2 = 1.0, 1.0 / max(top_layer.units - 1, 1)
    else:
        log_mean[-1] = math.log(top_layer.units) + top.log_slope_second - 0.5 * same[e3, e3]
        rows[-1] = top.slope_rate * top.to_kappa
        rows[-1, e3] += 1.0
        data[-1] = top.slope_rate * top.data_weight
        alignment = top.local.z2_slope2 / (top.center * top.local.slope_second)
        cosine2 = top.slope_pair2 / top_layer.units
    for place in range(count - 2, -1, -1):
        state, above, layer = states[place], states[place + 1], layers[place + 1]
        local, units, gain = state.local, layers[place].units, layer.weights.norm_gain
        kept = layer.gradient_orthogonality
        e3 = 3 * place + 2
        # phi'^2 a^2 instead of phi'^2: E a^4 = 3 and E a_a^2 a_b^2 = 1 + 2 cos^2.
        same[e3, e3] += (2.0 * local.slope_fourth - 2.0 * kept) / units
        pair[e3, e3] += 2.0 * cosine2 * (state.slope_square_pair - kept) / units
        share = above.share
        # Orthogonal weights keep the whole norm, so what is not along z is that much less.
        pinned = (local.value2_slope2 * share - kept) / units
        level[place] = level[place + 1] + pinned * (alignment - level[place + 1])
        log_mean[place] = log_mean[place + 1] + math.log(gain) + state.log_slope_second - 0.5 * same[e3, e3]
        rows[place] = rows[place + 1] + state.slope_rate * state.to_kappa
        rows[place, e3] += 1.0
        data[place] = data[place + 1] + state.slope_rate * state.data_weight
        coherent = share * local.z_value_slope / local.value_second
        fresh = gain * (local.z2_slope2 - share * local.z_value_slope**2 / local.value_second)
        # kappa of the layer above as it follows from this layer's center, so that ReLU keeps R = 1 exactly.
        following = gain * local.value_second + layer.bias_variance
        denominator = state.center * gain * local.slope_second
        alignment = (alignment * following * coherent**2 + fresh * level[place + 1]) / denominator
        cosine2 = cosine2 * state.slope_pair2 + (1.0 - kept) * state.slope_square_pair / units
        cosine2 = min(cosine2, 1.0)
    return GradientCourse(log_mean, rows, data, level)
