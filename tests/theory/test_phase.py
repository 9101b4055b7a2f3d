from __future__ import annotations

import math

import numpy as np
import pytest

from initcheck.theory.gaussian import Activation
from initcheck.theory.phase import find_phase, without_phase


def test_he_and_relu_stand_still_at_any_variance():
    found = find_phase("relu", 2.0, start=0.3)
    assert found.regime == "critical"
    assert found.fixed_point == pytest.approx(0.3)
    assert found.chi_forward == pytest.approx(1.0) and found.chi_backward == pytest.approx(1.0)
    assert found.xi_q == found.xi_gradient == found.xi_c == found.trainable_depth == math.inf
    assert found.correlation_fixed_point == 1.0
    assert found.log_chi_product == pytest.approx(0.0, abs=1e-9)


def test_relu_below_he_halves_both_ways():
    found = find_phase("relu", 1.0)
    assert (found.regime, found.fixed_point) == ("ordered", 0.0)
    assert found.xi_q == pytest.approx(1.0 / math.log(2.0)) and found.xi_gradient == pytest.approx(1.0 / math.log(2.0))
    assert found.log_chi_product == pytest.approx(-100.0 * math.log(2.0))
    assert math.isnan(found.xi_c) and "vanishes" in found.reasons["xi_c"]


def test_relu_above_he_has_no_fixed_point():
    found = find_phase("relu", 4.0)
    assert (found.regime, found.fixed_point) == ("no fixed point", math.inf)
    assert found.xi_gradient == pytest.approx(-1.0 / math.log(2.0))
    assert found.log_chi_product == pytest.approx(100.0 * math.log(2.0))
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


def test_critical_tanh_fades_by_a_power_law():
    found = find_phase("tanh", 1.0)
    assert (found.regime, found.fixed_point) == ("critical", 0.0)
    assert (found.power_law.decay, found.power_law.gradient_exponent) == pytest.approx((2.0, 1.0), rel=1e-3)
    assert found.xi_gradient == math.inf


@pytest.mark.parametrize(
    ("name", "sigma_b2", "sign"), [("softplus", 0.0, -1.0), ("softplus", 1.0, -1.0), ("elu", 0.0, 1.0)]
)
def test_where_q_grows_the_limit_of_chi_says_nothing_and_its_product_much(name: str, sigma_b2: float, sign: float):
    """chi tends to 1 from below or from above, and is never near it for long enough to count as critical."""
    found = find_phase(name, 2.0, sigma_b2)
    assert found.chi_backward == pytest.approx(1.0, abs=1e-6)
    assert (found.regime, found.fixed_point) == ("no fixed point", math.inf)
    points = np.linspace(-12.0, 12.0, 20_001)
    weights = np.exp(-0.5 * points**2) / np.exp(-0.5 * points**2).sum()
    value, slope = {
        "softplus": (lambda x: np.logaddexp(0.0, x), lambda x: 1.0 / (1.0 + np.exp(-x))),
        "elu": (lambda x: np.maximum(x, np.expm1(np.minimum(x, 0.0))), lambda x: np.exp(np.minimum(x, 0.0))),
    }[name]
    q, product = 2.0 + sigma_b2, 0.0
    for _ in range(100):
        x = math.sqrt(q) * points
        product += math.log(2.0 * float(weights @ slope(x) ** 2))
        q = 2.0 * float(weights @ value(x) ** 2) + sigma_b2
    assert found.log_chi_product == pytest.approx(product, rel=1e-3)
    assert sign * found.log_chi_product > math.log(1000.0)


def test_a_function_that_jumps_has_no_scale_of_correlations():
    found = find_phase("hard_shrink", 0.8, 0.3)
    assert math.isnan(found.xi_c) and math.isnan(found.correlation_fixed_point)
    assert "jumps" in found.reasons["xi_c"] and "jumps" in found.reasons["trainable_depth"]
    assert math.isfinite(found.chi_backward) and found.regime is not None


def test_a_function_that_overflows_on_the_way_has_a_reason_for_what_is_not_known():
    # x^3 of a variance of 1e60 has no fourth power left in float64; the signal cubes itself at every layer.
    cubic = Activation("cubic", lambda x: x**3)
    found = find_phase(cubic, 1.0, start=1e60)
    assert (found.fixed_point, found.regime) == (math.inf, "no fixed point")
    assert math.isnan(found.log_chi_product)
    assert "overflows" in found.reasons["log_chi_product"]


def test_a_network_without_a_phase_says_why_for_every_field():
    found = without_phase("layers differ")
    assert set(found.reasons.values()) == {"layers differ"}
    for name, value in vars(found).items():
        if name != "reasons":
            assert value is None or math.isnan(value)
            assert name in found.reasons
