"""Reference numbers of activation functions, mean-field theory and depth, by the public functions of the theory."""

from __future__ import annotations

import math
from functools import cache, partial

import keras
import numpy as np
from reference_table import Inputs, Numbers, expresses
from scipy import optimize, special

from initcheck.theory.gaussian import (
    Activation,
    Moments,
    compute_moments,
    expect_pair,
    find_activation,
)
from initcheck.theory.mean_field import (
    CriticalPoint,
    FixedPoint,
    Profile,
    critical_point_at,
    depth_scale,
    find_correlation_fixed_point,
    find_critical_points,
    find_fixed_point,
    map_correlation,
    trace_profile,
)

# Activation functions. The table names the slopes of leaky ReLU, and two functions that Keras has not by name.

BESIDE_KERAS = {
    "prelu_0.25": Activation("prelu_0.25", lambda x: np.where(x > 0, x, 0.25 * x)),
    "leaky_relu_0.01": Activation("leaky_relu_0.01", lambda x: np.where(x > 0, x, 0.01 * x)),
    "erf": Activation("erf", special.erf),
    "lecun_tanh": Activation("lecun_tanh", lambda x: 1.7159 * np.tanh(2.0 / 3.0 * x)),
}
OWN_FUNCTIONS_OF_KERAS = {
    "prelu_0.25": partial(keras.activations.leaky_relu, negative_slope=0.25),
    "leaky_relu_0.01": partial(keras.activations.leaky_relu, negative_slope=0.01),
    "erf": keras.ops.erf,
    "lecun_tanh": lambda x: 1.7159 * keras.ops.tanh(2.0 / 3.0 * x),
}
NAMES = {"leaky_relu_0.2": "leaky_relu", "leaky_relu(0.01)": "leaky_relu_0.01"}


def activation_of(name: str) -> Activation:
    name = NAMES.get(name, name)
    return BESIDE_KERAS.get(name) or find_activation(name)


def keras_activation_of(name: str) -> Activation:
    name = NAMES.get(name, name)
    return find_activation(OWN_FUNCTIONS_OF_KERAS.get(name) or getattr(keras.activations, name))


@cache
def moments_of(name: str, q: float = 1.0) -> Moments:
    return compute_moments(activation_of(name), q)


# Moments and gains.

MOMENTS = {
    "m1": "mean",
    "m2": "second",
    "m4": "fourth",
    "d1": "slope_mean",
    "d2": "slope_second",
    "V1": "second_slope",
}


@expresses(r"mom\..*\.q[\d.]+\.(?P<moment>\w+)")
def give_moment(inputs: Inputs, moment: str) -> float:
    return float(getattr(moments_of(inputs["activation"], inputs["q"]), MOMENTS[moment]))


@expresses(r"pub\.nfnet_gamma\.\w+")
@expresses(r"pub\.brock\.relu_gain")
def give_gain_that_keeps_the_variance(inputs: Inputs) -> float:
    moments = moments_of(inputs["activation"], inputs.get("q", 1.0))
    return 1.0 / math.sqrt(moments.second - moments.mean**2)


@expresses(r"gain\.second_moment\.\w+")
def give_gain_that_keeps_the_second_moment(inputs: Inputs) -> float:
    return 1.0 / math.sqrt(moments_of(inputs["activation"], inputs["q"]).second)


@expresses(r"pub\.torch_gain\.(linear|relu|leaky_relu\(0\.01\))")
def give_gain_that_keeps_signal_and_gradient(inputs: Inputs) -> Numbers:
    moments = moments_of(inputs["nonlinearity"])
    return 1.0 / math.sqrt(moments.second), 1.0 / math.sqrt(moments.slope_second)


# SELU.


def solve_selu() -> tuple[float, float]:
    """Find alpha and lambda from E phi = 0 and E phi^2 = 1; elu is relu plus the part that alpha multiplies."""
    relu, elu = moments_of("relu"), moments_of("elu")
    alpha = float(relu.mean / (relu.mean - elu.mean))
    return alpha, 1.0 / math.sqrt(relu.second + alpha**2 * (elu.second - relu.second))


@expresses(r"selu\.alpha")
def give_selu_alpha(inputs: Inputs) -> Numbers:
    twin = find_activation("selu")
    positive, negative = twin(np.asarray([1.0, -100.0]))
    return solve_selu()[0], -negative / positive


@expresses(r"selu\.lambda")
def give_selu_lambda(inputs: Inputs) -> Numbers:
    return solve_selu()[1], float(find_activation("selu")(np.asarray([1.0]))[0])


@expresses(r"selu\.J_nunu\.pub")
def give_selu_slope_of_the_variance(inputs: Inputs) -> float:
    # Of the variance nu' = E phi^2 - (E phi)^2; the second term has slope zero, where E phi is zero.
    assert abs(moments_of("selu").mean) < 1e-14
    return float(moments_of("selu", inputs["tau"]).second_slope)


@expresses(r"selu\.chi1")
def give_selu_gradient_factor(inputs: Inputs) -> float:
    return find_fixed_point("selu", inputs["sigma_w2"]).chi_backward


@expresses(r"selu\.thm3\.nu_in=0\.16")
def give_selu_variance(inputs: Inputs) -> float:
    # Weights of mean omega = 0: z has variance nu tau.
    moments = moments_of("selu", inputs["nu"] * inputs["tau"])
    return float(moments.second - moments.mean**2)


# Fixed points and phases.


@cache
def fixed_point_of(name: str, sigma_w2: float, sigma_b2: float) -> FixedPoint:
    return find_fixed_point(activation_of(name), sigma_w2, sigma_b2)


@expresses(r"fp\..*\.(?P<quantity>q_star|chi1|dVdq)")
def give_fixed_point(inputs: Inputs, quantity: str) -> float:
    point = fixed_point_of(inputs["activation"], inputs["sigma_w2"], inputs["sigma_b2"])
    return {"q_star": point.q, "chi1": point.chi_backward, "dVdq": point.chi_forward}[quantity]


@cache
def critical_point_of(name: str, sigma_b2: float) -> CriticalPoint:
    return find_critical_points(activation_of(name), [sigma_b2])[0]


@expresses(r"crit\.(?P<name>tanh|erf)\.sb2=[\d.]+\.(?P<quantity>sw2|q)")
def give_critical_point(inputs: Inputs, name: str, quantity: str) -> float:
    point = critical_point_of(name, inputs["sigma_b2"])
    return {"sw2": point.sigma_w2, "q": point.q}[quantity]


@expresses(r"crit\.tanh\.schoenholz")
def give_published_critical_point(inputs: Inputs) -> float:
    return critical_point_of("tanh", inputs["sigma_b2"]).sigma_w2


@expresses(r"crit\.tanh\.q=1/\d+\.(?P<quantity>sw2|sb2)")
def give_critical_point_at(inputs: Inputs, quantity: str) -> float:
    point = critical_point_at("tanh", inputs["q"])
    return {"sw2": point.sigma_w2, "sb2": point.sigma_b2}[quantity]


@expresses(r"crit\.gelu\.halfstable\.(?P<quantity>q|sw2|sb2)")
def give_half_stable_point(inputs: Inputs, quantity: str) -> float:
    # Where both slopes of the maps are equal, chi_1 = V' = 1 (Roberts, Yaida and Hanin 2022, chapter 5).
    def difference(q: float) -> float:
        moments = moments_of(inputs["activation"], q)
        return float(moments.second_slope - moments.slope_second)

    point = critical_point_at(inputs["activation"], optimize.brentq(difference, 1.0, 10.0, xtol=1e-14))
    return {"q": point.q, "sw2": point.sigma_w2, "sb2": point.sigma_b2}[quantity]


# Correlations.


def read_variances(inputs: Inputs) -> tuple[float, float]:
    if "sigma_w2" in inputs:
        return inputs["sigma_w2"], inputs["sigma_b2"]
    return inputs["sigma_w"] ** 2, inputs["sigma_b"] ** 2


@cache
def correlation_point_of(name: str, sigma_w2: float, sigma_b2: float) -> tuple[float, float]:
    point = fixed_point_of(name, sigma_w2, sigma_b2)
    settled = find_correlation_fixed_point(activation_of(name), sigma_w2, sigma_b2, point)
    return settled.correlation, settled.slope


@expresses(r"corr\.(tanh|erf)_.*\.(?P<quantity>c\*|xi_c|chi_c\*)")
def give_correlation_fixed_point(inputs: Inputs, quantity: str) -> Numbers:
    sigma_w2, sigma_b2 = read_variances(inputs)
    correlation, slope = correlation_point_of(inputs["activation"], sigma_w2, sigma_b2)
    if quantity == "xi_c":
        # In the ordered phase the scale is that of the gradient as well.
        chi = fixed_point_of(inputs["activation"], sigma_w2, sigma_b2).chi_backward
        return [depth_scale(slope), *([depth_scale(chi)] if chi < 1.0 else [])]
    return {"c*": correlation, "chi_c*": slope}[quantity]


@expresses(r"corr\.erf_.*\.(?P<quantity>q\*|chi1)")
def give_fixed_point_of_erf(inputs: Inputs, quantity: str) -> float:
    point = fixed_point_of(inputs["activation"], *read_variances(inputs))
    return {"q*": point.q, "chi1": point.chi_backward}[quantity]


@expresses(r"corr\.tanh_.*\.C\((?P<correlation>[\d.]+)\)")
def give_mapped_correlation(inputs: Inputs, correlation: str) -> float:
    sigma_w2, sigma_b2 = read_variances(inputs)
    q = fixed_point_of(inputs["activation"], sigma_w2, sigma_b2).q
    return map_correlation(activation_of(inputs["activation"]), float(correlation), q, sigma_w2, sigma_b2)


@cache
def relu_correlation(layer: int) -> float:
    return map_correlation("relu", relu_correlation(layer - 1), 1.0, 2.0) if layer else 0.0


@expresses(r"corr\.relu\.c0=0\.l=\d+")
def give_relu_correlation(inputs: Inputs) -> float:
    return relu_correlation(inputs["l"])


@expresses(r"corr\.relu\.rate")
def give_relu_correlation_rate(inputs: Inputs) -> float:
    # d_l = (1 - c_l)^(-1/2) is a l + b ln l + ..., and l^2 (1 - c_l) tends to 1 / a^2; the logarithm is taken out.
    d = {layer: (1.0 - relu_correlation(layer)) ** -0.5 for layer in range(401)}
    return (2.0 * (d[400] - d[200]) / 200 - (d[200] - d[100]) / 100) ** -2


@expresses(r"corr\.leaky0\.2\.C\(0\)")
def give_leaky_relu_correlation(inputs: Inputs) -> float:
    assert inputs["slope"] == 0.2  # Keras' own
    return map_correlation("leaky_relu", 0.0, 1.0, 2.0 / (1.0 + inputs["slope"] ** 2))


@expresses(r"kernel\.(?P<name>relu|erf)(\.q1)?\.c=0\.5")
def give_kernel(inputs: Inputs, name: str) -> float:
    return expect_pair(activation_of(name), inputs.get("q", 1.0), inputs["c"])


# Profiles over depth.


@cache
def profile_of(name: str, sigma_w2: float, depth: int) -> Profile:
    return trace_profile(name, sigma_w2, depth)


@expresses(r"depth\.tanh\.(?P<scale>glorot|std)\.(?P<quantity>K|grad)_\d+")
def give_depth_profile(inputs: Inputs, scale: str, quantity: str) -> float:
    layer = inputs["l"]
    profile = profile_of("tanh", {"glorot": 1.0, "std": 1.0 / 3.0}[scale], layer + 1)
    if quantity == "grad":
        return float(np.prod(profile.chi[:layer]))
    return float(profile.activation_second_moment[layer - 1])
