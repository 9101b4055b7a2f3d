from __future__ import annotations

import math

import numpy as np
import pytest

from initcheck.theory import phase
from initcheck.theory.gaussian import Activation
from initcheck.theory.phase import ThousandfoldChange, find_phase, without_phase

GAUSS_POINTS, GAUSS_WEIGHTS = np.polynomial.hermite_e.hermegauss(120)
GAUSS_WEIGHTS = GAUSS_WEIGHTS / GAUSS_WEIGHTS.sum()


def follow_tanh(sigma_w2: float, sigma_b2: float, layers: int) -> tuple[np.ndarray, np.ndarray]:
    """ln q_l / q_1 and ln of the gradient's factor for a smooth function, by another quadrature."""
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
    return int(np.flatnonzero(np.abs(logarithms) >= math.log(1000.0))[0]) + 1


def test_he_and_relu_stand_still_at_any_variance():
    found = find_phase("relu", 2.0, start=0.3)
    assert found.regime == "critical"
    assert found.fixed_point == pytest.approx(0.3)
    assert found.chi_forward == pytest.approx(1.0) and found.chi_backward == pytest.approx(1.0)
    assert found.xi_q == found.xi_gradient == found.xi_c == found.trainable_depth == math.inf
    assert found.correlation_fixed_point == 1.0
    assert found.layers_until == phase.LayersUntil(ThousandfoldChange(None, "keeps"), ThousandfoldChange(None, "keeps"))
    assert "10,000 layers" in found.reasons["layers_until.forward.layers"]


def test_relu_below_he_halves_both_ways_and_is_lost_after_ten_layers():
    found = find_phase("relu", 1.0)
    assert (found.regime, found.fixed_point) == ("ordered", 0.0)
    assert found.xi_q == pytest.approx(1.0 / math.log(2.0)) and found.xi_gradient == pytest.approx(1.0 / math.log(2.0))
    lost = ThousandfoldChange(10, "vanishes")  # 2^-10 = 1/1024
    assert found.layers_until == phase.LayersUntil(lost, lost)
    assert math.isnan(found.xi_c) and "vanishes" in found.reasons["xi_c"]


def test_relu_above_he_explodes_without_limit():
    found = find_phase("relu", 4.0)
    assert (found.regime, found.fixed_point) == ("chaotic", math.inf)
    assert found.xi_gradient == pytest.approx(-1.0 / math.log(2.0))
    grown = ThousandfoldChange(10, "explodes")
    assert found.layers_until == phase.LayersUntil(grown, grown)
    assert "infinite" in found.reasons["trainable_depth"]


def test_selu_holds_the_signal_while_its_gradient_explodes():
    """Klambauer et al. 2017: q* = 1 and V' = 0.782648; the gradient's factor is 1.07157."""
    found = find_phase("selu", 1.0)
    assert found.fixed_point == pytest.approx(1.0, abs=1e-9)
    assert found.chi_forward == pytest.approx(0.782648, abs=5e-7)
    assert found.chi_backward == pytest.approx(1.07157, abs=5e-6)
    assert found.xi_q == pytest.approx(-1.0 / math.log(0.782648), rel=1e-5)
    assert found.regime == "chaotic"
    assert 0.0 <= found.correlation_fixed_point < 1.0
    assert found.trainable_depth == 6.0 * found.xi_c > 0.0
    assert found.layers_until.forward.direction == "keeps"
    # At the fixed point from the first layer on.
    assert found.layers_until.backward == ThousandfoldChange(
        math.ceil(math.log(1000.0) / math.log(found.chi_backward)), "explodes"
    )


def test_critical_tanh_fades_by_a_power_law():
    found = find_phase("tanh", 1.0)
    assert (found.regime, found.fixed_point) == ("critical", 0.0)
    assert (found.power_law.decay, found.power_law.gradient_exponent) == pytest.approx((2.0, 1.0), rel=1e-3)
    assert found.xi_gradient == math.inf


@pytest.mark.parametrize(("sigma_w2", "sigma_b2"), [(1.0, 0.0), (0.98, 0.0), (1.2, 0.0), (0.25, 1e-6), (1.5, 0.05)])
def test_layers_until_are_counted_as_another_quadrature_counts_them(sigma_w2: float, sigma_b2: float):
    """With and without a settled signal below the gradient; near criticality in more than 300 layers."""
    found = find_phase("tanh", sigma_w2, sigma_b2).layers_until
    for change, logarithms in zip((found.forward, found.backward), follow_tanh(sigma_w2, sigma_b2, 3000), strict=True):
        if change.layers is None:
            assert np.abs(logarithms).max() < math.log(1000.0)
        else:
            expected = first_thousandfold(logarithms)
            assert abs(change.layers - expected) <= (0 if expected <= 300 else 1 + expected // 100)
            assert change.direction == ("explodes" if logarithms[expected - 1] > 0.0 else "vanishes")


def test_a_function_that_jumps_has_no_scale_of_correlations():
    found = find_phase("hard_shrink", 0.8, 0.3)
    assert math.isnan(found.xi_c) and math.isnan(found.correlation_fixed_point)
    assert "jumps" in found.reasons["xi_c"] and "jumps" in found.reasons["trainable_depth"]
    assert math.isfinite(found.chi_backward) and found.regime is not None


def test_a_function_that_overflows_on_the_way_has_a_reason_for_what_is_not_known():
    # x^3 of a variance of 1e60 has no fourth power left in float64; the signal cubes itself at every layer.
    cubic = Activation("cubic", lambda x: x**3)
    found = find_phase(cubic, 1.0, start=1e60)
    assert (found.fixed_point, found.regime) == (math.inf, "chaotic")
    assert found.layers_until.forward == ThousandfoldChange(1, "explodes")
    gone = find_phase(cubic, 1.0, start=1e150)
    assert gone.layers_until.forward is None
    assert "overflows" in gone.reasons["layers_until.forward"]


def test_a_network_without_a_phase_says_why_for_every_field():
    found = without_phase("layers differ")
    assert set(found.reasons.values()) == {"layers differ"}
    for name, value in vars(found).items():
        if name != "reasons":
            assert value is None or math.isnan(value)
            assert name in found.reasons
