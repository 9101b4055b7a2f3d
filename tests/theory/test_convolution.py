"""Zero padding, against convolutions written out, drawn stacks and iterated profiles."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from monte_carlo import holds
from numpy.typing import NDArray
from refusals import assert_refused

from initcheck.theory import convolution

Array = NDArray[np.float64]


def convolve(x: Array, kernels: Array) -> Array:
    """Padding "same", stride 1: x of shape (seeds, H, W, channels), kernels (seeds, k, k, channels, channels)."""
    size = kernels.shape[1]
    before = (size - 1) // 2
    padded = np.pad(x, ((0, 0), *[(before, size - 1 - before)] * 2, (0, 0)))
    height, width = x.shape[1:3]
    out = np.zeros((*x.shape[:3], kernels.shape[-1]))
    for i in range(size):
        for j in range(size):
            out += np.einsum("shwc,scd->shwd", padded[:, i : i + height, j : j + width], kernels[:, i, j])
    return out


def draw_stack(seed: int, seeds: int, sizes: tuple[int, int], kernel: int, layers: int, channels: int) -> Array:
    """Second moments over channels of He-initialized ReLU stacks whose first layer has gain 1, (seeds, H, W)."""
    random = np.random.default_rng(seed)
    x = np.ones((seeds, *sizes, channels))
    for layer in range(layers):
        gain = 2.0 if layer else 1.0
        deviation = math.sqrt(gain / (kernel**2 * channels))
        z = convolve(x, random.normal(0.0, deviation, (seeds, kernel, kernel, channels, channels)))
        x = np.maximum(z, 0.0)
    moments: Array = np.mean(z**2, axis=-1)
    return moments


@pytest.mark.parametrize("kernel", [3, 4])
def test_drawn_stacks_follow_the_profile(kernel: int) -> None:
    sizes, layers = (4, 5), 3
    moments = draw_stack(1, 3000, sizes, kernel, layers, channels=6)
    profile = convolution.compute_padded_profile(sizes, kernel, layers)
    assert profile.shape == sizes
    assert holds(moments.mean(axis=(1, 2)), profile.mean())
    for place in ((0, 0), (0, 4), (3, 4), (2, 2)):
        assert holds(moments[:, *place], profile[place])
    # Negative controls: no border; one layer fewer; the opposite corner, where the kernel is even.
    assert not holds(moments.mean(axis=(1, 2)), 1.0)
    assert not holds(moments[:, 0, 0], convolution.compute_padded_profile(sizes, kernel, layers - 1)[0, 0])
    if kernel == 4:
        assert not holds(moments[:, 0, 0], profile[3, 4])


def test_gradients_follow_the_transposed_profile() -> None:
    size, kernel, layers, channels, seeds = 5, 4, 3, 4, 4000
    random = np.random.default_rng(2)
    matrix = convolution.build_padding_matrix(size, kernel)
    gradient = random.normal(size=(seeds, size, channels))
    for _ in range(layers):
        kernels = random.normal(0.0, math.sqrt(1.0 / (kernel * channels)), (seeds, kernel, channels, channels))
        back = np.zeros_like(gradient)
        for i in range(size):  # place i of the output reads place j of the input through tap j - i + before
            for j in np.flatnonzero(matrix[i]):
                back[:, j] += np.einsum("sd,scd->sc", gradient[:, i], kernels[:, j - i + (kernel - 1) // 2])
        gradient = back
    first = np.mean(gradient[:, 0] ** 2, axis=-1)
    assert holds(first, (np.linalg.matrix_power(matrix.T, layers) @ np.ones(size))[0])
    # Negative control: the forward profile, which differs for an even kernel.
    assert not holds(first, convolution.compute_padded_profile((size,), kernel, layers)[0])


@pytest.mark.parametrize(("size", "kernel"), [(1, 1), (1, 3), (2, 5), (6, 2), (6, 3), (7, 4), (9, 5)])
def test_the_matrix_counts_what_a_window_sees(size: int, kernel: int) -> None:
    seen = [
        [np.convolve(np.eye(size)[j], np.ones(kernel))[i + kernel - 1 - (kernel - 1) // 2] for j in range(size)]
        for i in range(size)
    ]
    np.testing.assert_allclose(convolution.build_padding_matrix(size, kernel), np.asarray(seen) / kernel, rtol=1e-15)


@pytest.mark.parametrize("size", [1, 2, 8, 32])
def test_three_by_three_kernels_have_their_closed_forms(size: int) -> None:
    first = convolution.compute_first_padded_gain((size, size), 3)
    assert first == pytest.approx(((3 * size - 2) / (3 * size)) ** 2, rel=1e-14)
    settled = convolution.compute_asymptotic_padded_gain((size, size), 3)
    assert settled == pytest.approx(((1 + 2 * math.cos(math.pi / (size + 1))) / 3) ** 2, rel=1e-13)


@pytest.mark.parametrize(
    ("sizes", "kernel", "layers"),
    [((6,), 3, 200), ((5, 7), (3, 5), 200), ((20,), 4, 1500), ((4, 3, 5), 4, 200), ((8, 6), (1, 6), 200)],
)
def test_the_profile_settles_at_the_asymptotic_gain(
    sizes: tuple[int, ...], kernel: int | tuple[int, ...], layers: int
) -> None:
    before, after = (convolution.compute_padded_profile(sizes, kernel, depth).mean() for depth in (layers, layers + 1))
    assert after / before == pytest.approx(convolution.compute_asymptotic_padded_gain(sizes, kernel), rel=1e-11)


def test_a_kernel_of_two_loses_half_per_layer_in_the_end() -> None:
    assert convolution.compute_asymptotic_padded_gain((10,), 2) == 0.5
    profile = convolution.compute_padded_profile((10,), 2, 5)
    assert profile[-1] == pytest.approx(0.5**5, rel=1e-14)  # the last place sees itself alone


def test_before_the_first_layer_and_for_single_places_nothing_is_lost() -> None:
    np.testing.assert_array_equal(convolution.compute_padded_profile((3, 4), 3, 0), np.ones((3, 4)))
    np.testing.assert_array_equal(convolution.compute_padded_profile((3, 4), 1, 9), np.ones((3, 4)))


@pytest.mark.parametrize(
    ("call", "received"),
    [
        (lambda: convolution.compute_padded_profile((0, 4), 3, 1), "sizes=0"),
        (lambda: convolution.compute_padded_profile((), 3, 1), "sizes=()"),
        (lambda: convolution.compute_padded_profile((4,), 0, 1), "kernel_size=0"),
        (lambda: convolution.compute_padded_profile((4,), 3, -1), "layers=-1"),
        (lambda: convolution.compute_padded_profile((4, 4), (3, 3, 3), 1), "kernel_size=(3, 3, 3), sizes=(4, 4)"),
        (lambda: convolution.compute_first_padded_gain((math.nan,), 3), "sizes=nan"),  # type: ignore[arg-type]
        (lambda: convolution.compute_asymptotic_padded_gain((4,), (0,)), "kernel_size=0"),
        (lambda: convolution.build_padding_matrix(0, 3), "size=0"),
        (lambda: convolution.build_padding_matrix(3, 2.5), "kernel_size=2.5"),  # type: ignore[arg-type]
    ],
)
def test_an_argument_for_which_no_law_holds_is_refused(call: Callable[[], object], received: str) -> None:
    assert_refused(call, received)
