"""How the second moment grows along a trunk of residual blocks, x -> x + branch(x).

Weights of different blocks are independent with mean zero. Where a branch ends in weights, its output is uncorrelated
with the trunk, and second moments add. Where it ends in an activation function with a mean, the means of all branches
add coherently, and the trunk grows faster.

References:
    Yang and Schoenholz, "Mean field residual networks: on the edge of chaos", NeurIPS 2017.
    Zhang, Dauphin and Ma, "Fixup initialization", ICLR 2019.
    De and Smith, "Batch normalization biases residual blocks towards the identity function", NeurIPS 2020.
    Brock, De and Smith, "Characterizing signal propagation to close the performance gap in unnormalized ResNets", 2021.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from initcheck.theory.arguments import check_count, check_number

MomentFunction = Callable[[float], float]
"""A moment of phi(sqrt(q) z), z ~ N(0, 1), as a function of the variance q."""


class TrunkMoments(NamedTuple):
    """Moments of the trunk before the first block and after each.

    Attributes:
        second_moment: E x^2, of shape (blocks + 1,).
        mean: E x, of shape (blocks + 1,).
    """

    second_moment: NDArray[np.float64]
    mean: NDArray[np.float64]


def compute_preactivation_trunk(
    start: float, blocks: int, sigma_w2: float, second_moment: MomentFunction
) -> NDArray[np.float64]:
    """Compute the trunk's second moment for blocks x + W phi(x): p' = p + sigma_w2 E phi(sqrt(p) z)^2.

    Args:
        start: p before the first block: E x^2 of a trunk that is Gaussian over units.
        blocks: number of blocks, L.
        sigma_w2: fan_in * Var(W) of each branch.
        second_moment: E phi(sqrt(p) z)^2 as a function of p; p / 2 for ReLU.

    Returns:
        p before the first block and after each, of shape (L + 1,). He and ReLU: 2^L; tanh: linear growth. inf from
        where it passes the range of float64.

    Raises:
        TheoryError: an argument is out of range, or the function returns no finite number.

    Source: Yang and Schoenholz (2017); exact in expectation for ReLU, at infinite width in general.
    """
    trunk = [check_number("start", start, 0.0)]
    sigma2 = check_number("sigma_w2", sigma_w2, 0.0)
    for _ in range(check_count("blocks", blocks, least=0)):
        p = trunk[-1]
        trunk.append(p + sigma2 * check_number("second_moment(p)", second_moment(p), 0.0) if math.isfinite(p) else p)
    return np.asarray(trunk)


def compute_postactivation_trunk(
    start: float,
    start_mean: float,
    blocks: int,
    sigma_w2: float,
    second_moment: MomentFunction,
    mean: MomentFunction,
) -> TrunkMoments:
    """Compute the trunk's moments for blocks x + phi(W x), whose means add coherently.

    With q = sigma_w2 M: M' = M + E phi(sqrt(q) z)^2 + 2 m E phi(sqrt(q) z) and m' = m + E phi(sqrt(q) z).

    Args:
        start: M before the first block: E x^2 over units.
        start_mean: m before the first block: E x over units; its square is at most M.
        blocks: number of blocks, L.
        sigma_w2: fan_in * Var(W) of each branch.
        second_moment: E phi(sqrt(q) z)^2 as a function of q; q / 2 for ReLU.
        mean: E phi(sqrt(q) z) as a function of q; sqrt(q / (2 pi)) for ReLU.

    Returns:
        M and m before the first block and after each. From where M passes the range of float64, M is inf and m NaN.

    Raises:
        TheoryError: an argument is out of range, or a function returns no finite number.

    Source: the recursion of Yang and Schoenholz (2017), with the mean of phi kept; at infinite width.
    """
    second = [check_number("start", start, 0.0)]
    bound = math.sqrt(second[0])
    first = [check_number("start_mean", start_mean, -bound, bound)]
    sigma2 = check_number("sigma_w2", sigma_w2, 0.0)
    for _ in range(check_count("blocks", blocks, least=0)):
        q = sigma2 * second[-1]
        if not math.isfinite(q):
            second.append(math.inf)
            first.append(math.nan)
            continue
        branch = check_number("second_moment(q)", second_moment(q), 0.0)
        shift = check_number("mean(q)", mean(q))
        second.append(second[-1] + branch + 2.0 * first[-1] * shift)
        first.append(first[-1] + shift)
    return TrunkMoments(np.asarray(second), np.asarray(first))


def compute_postactivation_relu_growth(sigma_w2: float = 2.0) -> float:
    """Compute by what factor blocks x + relu(W x) make the trunk's second moment grow, once it has settled.

    The factor g solves (g - 1 - sigma_w2 / 2) (sqrt(g) - 1) = sigma_w2 / pi.

    Args:
        sigma_w2: fan_in * Var(W) of each branch; 2 for He.

    Returns:
        The factor per block at infinite width: 2.9041 for He, where adding variances would give 2.

    Raises:
        TheoryError: the argument is negative or NaN.

    Source: the fixed point of m / sqrt(M) in :func:`compute_postactivation_trunk`.
    """
    from scipy import optimize

    sigma2 = check_number("sigma_w2", sigma_w2, 0.0)
    if sigma2 == 0.0:
        return 1.0
    low = math.sqrt(1.0 + sigma2 / 2.0)

    def excess(root: float) -> float:
        return (root * root - low * low) * (root - 1.0) - sigma2 / math.pi

    # At the upper end the first factor is at least 2 d, and the second at least d, with d^2 = sigma_w2 / pi.
    root = optimize.brentq(excess, low, low + math.sqrt(sigma2 / math.pi), xtol=1e-15, rtol=1e-15)
    return float(root) ** 2


def compute_gradient_gain(sigma_w2: float, slope_second_moment: float) -> float:
    """Compute the factor by which a block multiplies the squared gradient norm on the way back: 1 + sigma_w2 E phi'^2.

    Args:
        sigma_w2: fan_in * Var(W) of the branch.
        slope_second_moment: E phi'^2 at the branch's pre-activation.

    Returns:
        The factor per block, at infinite width, for x + W phi(x) and for x + phi(W x): 2 for He and ReLU.

    Raises:
        TheoryError: an argument is negative or NaN.

    Source: Yang and Schoenholz (2017).
    """
    slope = check_number("slope_second_moment", slope_second_moment, 0.0)
    return 1.0 + check_number("sigma_w2", sigma_w2, 0.0) * slope


def compute_scaled_growth(blocks: int, branch_share: float | None = None) -> float:
    """Compute the growth of the trunk's second moment where a branch has a fixed share of it: (1 + share)^L.

    Args:
        blocks: number of blocks, L.
        branch_share: E branch^2 over E x^2 at every block; 1 / L, as in Fixup, where it is None.

    Returns:
        E x_L^2 over E x_0^2; below e for a share of 1 / L, whatever the depth. inf beyond the range of float64.

    Raises:
        TheoryError: an argument is out of range or NaN.

    Source: the rescaling of Fixup, Zhang, Dauphin and Ma (2019), as variances.
    """
    depth = check_count("blocks", blocks)
    share = 1.0 / depth if branch_share is None else check_number("branch_share", branch_share, 0.0)
    exponent = depth * math.log1p(share)
    return math.exp(exponent) if exponent < math.log(np.finfo(np.float64).max) else math.inf


def compute_normalized_trunk(blocks: int, alpha: float = 1.0) -> float:
    """Compute the trunk's second moment after blocks whose branches have a fixed second moment: 1 + L alpha^2.

    Branches that begin with batch normalization put out the same whatever the trunk: the trunk grows linearly, L + 1,
    and block l adds the share 1 / (l + 1). Normalizer-free networks write that in as x + alpha f(x / beta), and
    the prediction beta^2 = 1 + l alpha^2 within a stage, with f that preserves variance.

    Args:
        blocks: blocks so far, L or l; from 0 on.
        alpha: factor of the branch.

    Returns:
        E x^2 on the trunk, where it was 1 before the first block; beta^2 of the block that follows.

    Raises:
        TheoryError: an argument is out of range or NaN.

    Source: De and Smith (2020); Brock, De and Smith (2021).
    """
    factor = check_number("alpha", alpha)
    return 1.0 + check_count("blocks", blocks, least=0) * (factor * factor)
