"""After how many layers a typical network has changed its signal a thousandfold: closed forms, and networks drawn."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from initcheck.theory.dense_layers import DenseLayer
from initcheck.theory.gaussian import Activation, find_activation
from initcheck.theory.thousandfold import (
    MOST_LAYERS,
    THOUSANDFOLD,
    LayersUntil,
    MeasuredChange,
    ThousandfoldChange,
    _TypicalSignal,
    count_layers_until,
)
from initcheck.theory.weights import WeightDistribution

GAUSS_POINTS, GAUSS_WEIGHTS = np.polynomial.hermite_e.hermegauss(120)
GAUSS_WEIGHTS = GAUSS_WEIGHTS / GAUSS_WEIGHTS.sum()
WIDE = 10**9
KEPT = ThousandfoldChange(None, "keeps")


def layer(activation, sigma_w2, units=WIDE, sigma_b2=0.0, distribution="normal", kurtosis=3.0):
    weights = WeightDistribution(distribution, sigma_w2 / units, kurtosis, units, units)
    return DenseLayer(units, weights, find_activation(activation), sigma_b2)


def count(*arguments, measured=None, input_second_moment=1.0, **options):
    return count_layers_until([layer(*arguments, **options)], input_second_moment, measured)


def follow_tanh(sigma_w2: float, sigma_b2: float, layers: int) -> tuple[np.ndarray, np.ndarray]:
    """ln q_l / q_1 and ln of the gradient's factor in an infinitely wide network, by another quadrature."""
    q, forward, backward = sigma_w2 + sigma_b2, [], []
    start, gradient = q, 0.0
    for _ in range(layers):
        value = np.tanh(math.sqrt(q) * GAUSS_POINTS)
        gradient += math.log(sigma_w2 * float(GAUSS_WEIGHTS @ (1.0 - value**2) ** 2))
        q = sigma_w2 * float(GAUSS_WEIGHTS @ value**2) + sigma_b2
        forward.append(math.log(q / start))
        backward.append(gradient)
    return np.asarray(forward), np.asarray(backward)


def first_thousandfold(logarithms: np.ndarray) -> int:
    return int(np.flatnonzero(np.abs(logarithms) >= THOUSANDFOLD)[0]) + 1


# --- infinitely wide --------------------------------------------------------------------------------------------------


def test_relu_halves_or_doubles_and_is_lost_after_ten_layers():
    lost, grown = ThousandfoldChange(10, "vanishes"), ThousandfoldChange(10, "explodes")  # 2^10 = 1024
    assert count("relu", 1.0) == LayersUntil(lost, lost)
    assert count("relu", 4.0) == LayersUntil(grown, grown)
    assert count("relu", 2.0) == LayersUntil(KEPT, KEPT)


def test_selu_holds_the_signal_while_its_gradient_explodes():
    """Klambauer et al. 2017: at the fixed point from the first layer on, the gradient's factor is 1.07157."""
    assert count("selu", 1.0) == LayersUntil(KEPT, ThousandfoldChange(100, "explodes"))
    assert math.ceil(THOUSANDFOLD / math.log(1.07157)) == 100


@pytest.mark.parametrize(("sigma_w2", "sigma_b2"), [(1.0, 0.0), (0.98, 0.0), (1.2, 0.0), (0.25, 1e-6), (1.5, 0.05)])
def test_layers_are_counted_as_another_quadrature_counts_them(sigma_w2: float, sigma_b2: float):
    """With and without a settled signal below the gradient; near criticality in more than 300 layers."""
    found = count("tanh", sigma_w2, sigma_b2=sigma_b2)
    followed = follow_tanh(sigma_w2, sigma_b2, MOST_LAYERS)
    for change, logarithms in zip((found.forward, found.backward), followed, strict=True):
        if change.layers is None:
            assert np.abs(logarithms).max() < THOUSANDFOLD
        else:
            expected = first_thousandfold(logarithms)
            assert abs(change.layers - expected) <= expected // 300
            assert change.direction == ("explodes" if logarithms[expected - 1] > 0.0 else "vanishes")


def test_beyond_the_table_moments_are_powers():
    cubic = Activation("cubic", lambda x: x**3)
    assert count(cubic, 1.0, input_second_moment=1e100).forward == ThousandfoldChange(1, "explodes")
    assert count("relu", 1.0, input_second_moment=1e100) == count("relu", 1.0)


# --- at the width that it has -----------------------------------------------------------------------------------------


def test_he_and_relu_lose_the_typical_signal_at_five_over_two_widths_a_layer():
    lost = ThousandfoldChange(math.ceil(THOUSANDFOLD / (2.5 / 256)), "vanishes")
    assert count("relu", 2.0, units=256) == LayersUntil(lost, lost)


def test_orthogonal_weights_keep_a_linear_signal_and_independent_ones_lose_it():
    assert count("linear", 1.0, units=64, distribution="orthogonal", kurtosis=math.nan) == LayersUntil(KEPT, KEPT)
    lost = ThousandfoldChange(math.ceil(THOUSANDFOLD * 64), "vanishes")  # E ln of chi-square over its mean: -1 / n
    assert count("linear", 1.0, units=64) == LayersUntil(lost, lost)


def draw_tanh(width: int, depth: int, seeds: int, sigma_w: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """ln of the signal's and the gradient's change over ``depth`` layers of tanh networks, by seed."""
    random = np.random.default_rng(21)
    forward, backward = [], []
    for _ in range(seeds):
        kernels = random.standard_normal((depth + 1, width, width)) * sigma_w / math.sqrt(width)
        signals = [kernels[0] @ random.standard_normal(width)]
        for kernel in kernels[1:]:
            signals.append(kernel @ np.tanh(signals[-1]))
        slopes = [np.cosh(signal) ** -2.0 for signal in signals]
        gradients = [random.standard_normal(width) * slopes[-1]]
        for kernel, slope in zip(kernels[:0:-1], slopes[-2::-1], strict=True):
            gradients.append(kernel.T @ gradients[-1] * slope)
        for change, (first, last) in ((forward, (signals[0], signals[-1])), (backward, (gradients[0], gradients[-1]))):
            change.append(math.log(np.square(last).sum() / np.square(first).sum()))
    return np.asarray(forward), np.asarray(backward)


def test_networks_that_are_drawn_have_lost_a_thousandth_where_theory_says():
    """Deviations of 4 standard errors (one alarm in 8,000); an infinitely wide network is far from it."""
    width, seeds = 48, 300
    found, infinite = count("tanh", 1.0, units=width), count("tanh", 1.0)
    for place, change in ((0, found.forward), (1, found.backward)):
        drawn = draw_tanh(width, change.layers, seeds)[place]
        error = drawn.std(ddof=1) / math.sqrt(seeds)
        assert abs(drawn.mean() + THOUSANDFOLD) < 4.0 * error
        wide = follow_tanh(1.0, 0.0, change.layers)[place][-1]
        assert wide > drawn.mean() + 8.0 * error
    assert found.forward.layers < infinite.forward.layers / 3


FUNCTIONS = {
    "tanh": (np.tanh, lambda z: np.cosh(z) ** -2.0),
    "softplus": (lambda z: np.logaddexp(0.0, z), lambda z: 1.0 / (1.0 + np.exp(-z))),
}


def draw_changes(name: str, units: int, sigma_b2: float, uniform: bool, depth: int, seeds: int) -> tuple[float, float]:
    """Mean ln of the signal's and the gradient's change over ``depth`` layers at sigma_w = 1."""
    random = np.random.default_rng(22)
    value, slope = FUNCTIONS[name]

    def draw_layer() -> tuple[np.ndarray, np.ndarray]:
        size = (seeds, units, units)
        entries = random.uniform(-math.sqrt(3.0), math.sqrt(3.0), size) if uniform else random.standard_normal(size)
        return entries / math.sqrt(units), math.sqrt(sigma_b2) * random.standard_normal((seeds, units))

    signal = random.standard_normal((seeds, units))
    signal /= np.sqrt(np.square(signal).mean(axis=1, keepdims=True))
    kernel, biases = draw_layer()
    first = signal = np.einsum("sij,sj->si", kernel, signal) + biases
    to_first = slope(signal)[:, :, np.newaxis] * np.eye(units)
    for place in range(depth):
        kernel, biases = draw_layer()
        signal = np.einsum("sij,sj->si", kernel, value(signal)) + biases
        to_first = np.einsum("sij,skj->sik", to_first, kernel)
        if place < depth - 1:
            to_first = to_first * slope(signal)[:, np.newaxis, :]
    last = random.standard_normal((seeds, units)) * slope(signal)
    gradient = np.einsum("sij,sj->si", to_first, last)
    pairs = ((signal, first), (gradient, last))
    return tuple(float(np.log(np.square(a).sum(axis=1) / np.square(b).sum(axis=1)).mean()) for a, b in pairs)


@pytest.mark.parametrize(
    ("name", "units", "sigma_b2", "uniform", "within"),
    [
        ("tanh", 8, 0.0, False, (0.12, 0.2)),
        ("tanh", 16, 0.0, True, (0.03, 0.2)),
        ("softplus", 8, 3.0, False, (0.06, 0.9)),
        ("tanh", 16, 0.3, False, (0.03, 0.06)),
    ],
    ids=["narrow", "uniform weights", "biases", "biases, backward"],
)
def test_narrow_networks_that_are_drawn_change_as_much_as_theory_says(
    name: str, units: int, sigma_b2: float, uniform: bool, within: tuple[float, float]
):
    """Means of 6,000 networks: what is left of 1/n^2, and half as much as each part of theory contributes."""
    kind = {"distribution": "uniform", "kurtosis": 1.8} if uniform else {}
    found = _TypicalSignal([layer(name, 1.0, units=units, sigma_b2=sigma_b2, **kind)], 1.0)
    for _ in range(12):
        found.advance()
    forward, backward = draw_changes(name, units, sigma_b2, uniform, 12, 6000)
    assert abs(found.forward - forward) < within[0]
    assert abs(found.backward - backward) < within[1]


@pytest.mark.parametrize("name", ["relu", "tanh", "softplus", "soft_shrink", "tanh_shrink"])
@pytest.mark.parametrize("units", [1, 2, 8])
def test_a_width_too_small_for_theory_has_no_count_and_no_error(name: str, units: int):
    found = count(name, 2.0, units=units, kurtosis=1.8)
    for change in (found.forward, found.backward):
        assert change is None or change.layers is None or change.layers >= 1
    if units == 1:
        assert found.backward is None
        assert found.forward == {"relu": None, "softplus": KEPT}.get(name, found.forward)


def test_where_the_slopes_of_few_units_vary_too_much_the_gradient_has_no_count_and_the_signal_has():
    """At sigma_w = 128 a few units of 64 pass all of the gradient on: its typical size falls while its mean grows."""
    forward, backward = draw_tanh(64, 2, 200, sigma_w=128.0)
    assert backward.mean() < 0.0 < 2.0 * math.log(128.0 * (4.0 / 3.0) / math.sqrt(2.0 * math.pi))
    assert count("tanh", 128.0**2, units=64) == LayersUntil(KEPT, None)
    assert abs(forward.mean()) < 0.1
    # At a quarter of it theory is one layer off.
    found = count("tanh", 32.0**2, units=64).backward
    drawn = draw_tanh(64, found.layers + 1, 200, sigma_w=32.0)[1]
    assert found.direction == "explodes" and drawn.mean() > THOUSANDFOLD


def test_behind_a_wider_layer_the_typical_mean_square_of_fewer_units_is_lower_at_once():
    """-1 / n of the layer itself less that of the first: -1/8 in each of 56 layers, where ln 1000 * 8 = 55.3."""
    narrow = WeightDistribution("normal", 1.0 / 64, 3.0, 64, 8)
    found = count_layers_until(
        [layer("linear", 1.0, units=64), DenseLayer(8, narrow, find_activation("linear"), 0.0)], 64.0
    )
    assert found.forward == ThousandfoldChange(56, "vanishes")


# --- from what was measured on ----------------------------------------------------------------------------------------


def test_theory_goes_on_from_what_was_measured():
    measured = MeasuredChange(5, math.log(1 / 64), math.log(1 / 8))
    found = count("relu", 1.0, measured=measured)
    # 64 * 2^4 = 1024 and 8 * 2^7 = 1024.
    assert found == LayersUntil(ThousandfoldChange(9, "vanishes"), ThousandfoldChange(12, "vanishes"))


def test_measuring_what_theory_expects_changes_no_count():
    forward, backward = follow_tanh(1.1, 0.0, 20)
    for layers in (1, 7, 20):
        measured = MeasuredChange(layers, float(forward[layers - 1]), float(backward[layers - 1]))
        assert count("tanh", 1.1, measured=measured) == count("tanh", 1.1)


def test_layers_that_differ_are_taken_as_they_come_and_the_last_is_repeated():
    halving, doubling = layer("relu", 1.0), layer("relu", 4.0)
    found = count_layers_until([halving, halving, halving, doubling], 1.0)
    # Two steps halve, then all double: 2^-2 to 2^10.
    assert found.forward == ThousandfoldChange(14, "explodes")
    for first, second in itertools.pairwise((1, 2, 3)):
        assert count_layers_until([halving] * first, 1.0) == count_layers_until([halving] * second, 1.0)
