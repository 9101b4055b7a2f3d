"""Closed forms of finite width, to compare the recursion of :mod:`initcheck.theory.dense_network` with.

They are independent of it, and the reference table has numbers of each. n is the width of a layer, M_l the mean square
of its outputs. References: Roberts, Yaida and Hanin, "The principles of deep learning theory", 2022, chapters 4 and 5.
"""

from __future__ import annotations

import numpy as np


def compute_leaky_relu_coefficient(
    negative_slope: float = 0.0, kurtosis: float = 3.0, participation: float = 0.0
) -> float:
    """Compute c in Var(M_{l+1} / M_l) = c / n for leaky ReLU at its critical gain, exactly at any width.

    The kurtosis is that of the weights, participation S4 = sum x^4 / (sum x^2)^2 of the input (1 for a one-hot one).
    """
    a2 = negative_slope**2
    fourth = 3.0 + (kurtosis - 3.0) * participation
    return 2.0 * fourth * (1.0 + a2 * a2) / (1.0 + a2) ** 2 - 1.0


def compute_orthogonal_relu_variance(width: int) -> float:
    """Compute Var(M_{l+1} / M_l) for a square Haar-orthogonal kernel and ReLU with the gain 2, exactly.

    From E u_i^4 = 3 E u_i^2 u_j^2 = 3 / (n (n + 2)) on the unit sphere.
    """
    return 3.0 / (width + 2.0)


def compute_batch_covariance(correlation: float) -> float:
    """Compute n Cov(M_{l+1} / M_l of input a, the same of input b) for He and ReLU, exactly at any width.

    It is the arc-cosine kernel of order 2 (Cho and Saul, "Kernel methods for deep learning", 2009): 0 for orthogonal
    inputs, 5 for equal ones.
    """
    angle = np.arccos(correlation)
    kernel = 3.0 * np.sin(angle) * correlation + (np.pi - angle) * (1.0 + 2.0 * correlation**2)
    return float((2.0 / np.pi) * kernel - 1.0)


def compute_fixed_point_variance(sigma_w2: float, second_moment: float, fourth_moment: float, slope: float) -> float:
    """Compute n Var(q) over seeds at a stable fixed point of the variance map of slope V', to leading order.

    A layer adds the sampling variance of a mean over n units, and passes on V' times the deviation that it received.
    """
    return sigma_w2**2 * (fourth_moment - second_moment**2) / ((1.0 - slope) * (1.0 + slope))


def compute_fixed_point_bias(variance: float, slope: float, curvature: float) -> float:
    """Compute by how much the mean of q over seeds differs from the fixed point: second order of q' = V(q)."""
    return curvature * variance / (2.0 * (1.0 - slope))


def compute_critical_tanh_variance(width: int, depth: int) -> float:
    """Compute Var(ln q_l) ~ (2 / 3) l / n for tanh at sigma_w = 1 without biases, where q decays as 1 / (2 l)."""
    return 2.0 * depth / (3.0 * width)
