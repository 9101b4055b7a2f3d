"""What zero padding does to second moments in a stack of convolutions with padding "same" and stride 1.

A unit of a convolution sums k values along an axis, fewer at the border, where the rest are padded zeros. With
independent kernels, E z^2 at a place is sigma_w2 times the mean of E x^2 over the kernel's window, zeros included. So
the profile of second moments along an axis is multiplied by T, the matrix with entries 1 / k within the window and
zero elsewhere; axes multiply. All of this is exact in expectation at any number of channels. Gains are given over
sigma_w2 (times the share E phi^2 / q of the activation function), which is 1 for He and ReLU.

Gradients go back through the transpose of T: for odd kernels T is symmetric, and they obey the same laws. Initializers
count the whole window as fan_in; so the signal sinks at the border, and, with depth, everywhere.

References:
    He, Zhang, Ren and Sun, "Delving deep into rectifiers", 2015, for the gain far from the border.
    Xiao et al., "Dynamical isometry and a mean field theory of CNNs", 2018, for circular padding, which has T 1 = 1.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from initcheck.core.errors import TheoryError
from initcheck.theory.arguments import check_count, check_counts

Array = NDArray[np.float64]


def build_padding_matrix(size: int, kernel_size: int) -> Array:
    """Build the matrix T by which a "same" convolution multiplies the profile of second moments along one axis.

    Args:
        size: places along the axis, H.
        kernel_size: places of the kernel along the axis, k. Of an even kernel the smaller half lies before the center,
            as in Keras.

    Returns:
        T of shape (H, H): 1 / k where place j is in the window of place i, else 0.

    Raises:
        TheoryError: an argument is below 1 or not whole.

    Source: the definition of padding "same" at stride 1.
    """
    places, kernel = check_count("size", size), check_count("kernel_size", kernel_size)
    before = (kernel - 1) // 2
    offset = np.arange(places) - np.arange(places)[:, np.newaxis]
    inside = (offset >= -before) & (offset <= kernel - 1 - before)
    return np.where(inside, 1.0 / kernel, 0.0)


def compute_padded_profile(sizes: Iterable[int], kernel_size: int | Iterable[int], layers: int) -> Array:
    """Compute the profile of E z^2 over places, from a constant input: the product over axes of T^l 1.

    Args:
        sizes: places along each spatial axis: (H,), (H, W), or of any length.
        kernel_size: places of the kernel along each axis, k; one number for all axes, or one for each.
        layers: convolutions so far, l, from 0 on.

    Returns:
        E z_l^2 over E x^2, of shape ``sizes``, where sigma_w2 times the activation's share is 1 in every layer. Its
        ``mean()`` is the mean over the image, its first entry the corner.

    Raises:
        TheoryError: an argument is out of range, or the numbers of axes differ.

    Source: exact in expectation.
    """
    depth = check_count("layers", layers, least=0)
    profiles = []
    for size, kernel in _pair(sizes, kernel_size):
        profile = np.ones(size)
        matrix = build_padding_matrix(size, kernel)
        for _ in range(depth):
            profile = matrix @ profile
        profiles.append(profile)
    return reduce(np.multiply.outer, profiles)


def compute_first_padded_gain(sizes: Iterable[int], kernel_size: int | Iterable[int]) -> float:
    """Compute the mean gain of the first convolution on a constant input: the product over axes of mean(T 1).

    For k = 3 that is (3 H - 2) / (3 H) per axis.

    Args:
        sizes: places along each spatial axis.
        kernel_size: places of the kernel along each axis; one number for all axes, or one for each.

    Returns:
        Mean over places of E z^2 over E x^2, for sigma_w2 = 1; at most 1.

    Raises:
        TheoryError: an argument is out of range, or the numbers of axes differ.

    Source: exact in expectation.
    """
    return float(compute_padded_profile(sizes, kernel_size, 1).mean())


def compute_asymptotic_padded_gain(sizes: Iterable[int], kernel_size: int | Iterable[int]) -> float:
    """Compute the gain per layer of a deep stack of convolutions: the product over axes of the largest eigenvalue of T.

    For k = 3 the eigenvalue is (1 + 2 cos(pi / (H + 1))) / 3: 0.92 per layer for an 8 x 8 image, 0.994 for 32 x 32. An
    even kernel shifts the profile to one end of the axis, and has a gain well below 1 on any image.

    Args:
        sizes: places along each spatial axis.
        kernel_size: places of the kernel along each axis; one number for all axes, or one for each.

    Returns:
        The factor by which the second moment changes from layer to layer once the profile has settled, which takes
        about H^2 layers for odd kernels; for sigma_w2 times the activation's share equal to 1.

    Raises:
        TheoryError: an argument is out of range, or the numbers of axes differ.

    Source: the Perron eigenvalue of a banded Toeplitz matrix; in closed form for k = 3.
    """
    return math.prod(_find_largest_eigenvalue(size, kernel) for size, kernel in _pair(sizes, kernel_size))


def _find_largest_eigenvalue(size: int, kernel: int) -> float:
    matrix = build_padding_matrix(size, kernel)
    if kernel % 2:
        return float(np.linalg.eigvalsh(matrix)[-1])
    if kernel == 2:  # triangular
        return 0.5
    # Far from normal, unless entry (i, j) is multiplied by r^(j - i), with r where the symbol is least (Boettcher and
    # Grudsky, "Spectral properties of banded Toeplitz matrices", 2005).
    before = (kernel - 1) // 2
    powers = np.arange(-before, kernel - before)
    roots = np.roots(powers[::-1])
    ratio = float(roots[np.argmin(np.abs(roots - np.abs(roots)))].real)
    offset = np.arange(size) - np.arange(size)[:, np.newaxis]
    scaled = matrix * ratio ** np.clip(offset, powers[0], powers[-1]).astype(np.float64)
    return float(np.linalg.eigvals(scaled).real.max())


def _pair(sizes: Iterable[int], kernel_size: int | Iterable[int]) -> list[tuple[int, int]]:
    """Give (size, kernel size) of each axis."""
    places = [int(size) for size in check_counts("sizes", sizes)]
    if isinstance(kernel_size, Iterable):
        kernels = [int(kernel) for kernel in check_counts("kernel_size", kernel_size)]
    else:
        kernels = [check_count("kernel_size", kernel_size)] * len(places)
    if len(kernels) != len(places):
        raise TheoryError(
            "A kernel has as many spatial axes as the image. Received: "
            f"kernel_size={tuple(kernels)}, sizes={tuple(places)}. Give one number for each axis, or one for all."
        )
    return list(zip(places, kernels, strict=True))
