"""Every number of the reference table, against the public functions of the theory.

``references.json`` was collected from the literature and from arbitrary-precision arithmetic, apart from the package.
What computes an entry sees its inputs and its id, and never its value. An entry passes if |got - value| <= abs +
rel |value|, with its own tolerance.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest
from finite_width_laws import (
    compute_batch_covariance,
    compute_critical_tanh_variance,
    compute_fixed_point_variance,
    compute_leaky_relu_coefficient,
    compute_orthogonal_relu_variance,
)
from numpy.typing import ArrayLike
from scipy import optimize, special

from initcheck.models.initializers import read_initializer
from initcheck.prediction.layer_rules import Windows
from initcheck.theory import layers, sampling
from initcheck.theory.dense_network import DenseLayer, predict_dense_network, single_input
from initcheck.theory.gaussian import Activation, Moments, compute_moments, expect_pair, find_activation
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
from initcheck.theory.weights import WeightDistribution, weight_distribution

Inputs = Mapping[str, Any]

NOT_EXPRESSED = {
    "pub.torch_gain.sigmoid": "PyTorch's recommendation 1 follows from no law: 1/sqrt(E phi^2) is 1.846 at q = 1",
    "pub.torch_gain.tanh": "PyTorch's recommendation 5/3 follows from no law: 1/sqrt(E phi^2) is 1.593 at q = 1",
    "pub.torch_gain.selu": "PyTorch's recommendation 3/4 follows from no law: SELU keeps its second moment at gain 1",
    "mup.SP.adam.input": "the exponent of a training step, after initialization",
    "mup.SP.adam.hidden": "the exponent of a training step, after initialization",
    "mup.SP.adam.logit": "the exponent of a training step, after initialization",
    "data.mnist.Ex2": "a property of a data set",
    "lsuv.tol": "a setting of another program",
}
"""Entries that no function of the theory can give, with the reasons."""


@dataclass(frozen=True)
class Entry:
    id: str
    inputs: Inputs
    value: float
    rel: float
    abs: float

    def agrees(self, numbers: ArrayLike) -> bool:
        got = np.atleast_1d(np.asarray(numbers, dtype=np.float64))
        # NaN agrees with nothing.
        return bool(got.size and (np.abs(got - self.value) <= self.tolerance).all())

    @property
    def tolerance(self) -> float:
        return self.abs + self.rel * abs(self.value)


ENTRIES = {
    row["id"]: Entry(row["id"], row["inputs"], row["value"], row["tolerance"]["rel"], row["tolerance"]["abs"])
    for row in json.loads(Path(__file__).with_name("references.json").read_text(encoding="utf-8"))["entries"]
}


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
MOMENTS = {
    "m1": "mean",
    "m2": "second",
    "m4": "fourth",
    "d1": "slope_mean",
    "d2": "slope_second",
    "V1": "second_slope",
}


def activation_of(name: str) -> Activation:
    name = NAMES.get(name, name)
    return BESIDE_KERAS.get(name) or find_activation(name)


def keras_activation_of(name: str) -> Activation:
    name = NAMES.get(name, name)
    return find_activation(OWN_FUNCTIONS_OF_KERAS.get(name) or getattr(keras.activations, name))


@cache
def moments_of(name: str, q: float = 1.0) -> Moments:
    return compute_moments(activation_of(name), q)


def variance_of(moments: Moments) -> float:
    return float(moments.second - moments.mean**2)


def give_gains(i: Inputs) -> ArrayLike:
    """The gain that keeps the second moment and the one that keeps the gradient."""
    moments = moments_of(i["nonlinearity"])
    return [1.0 / math.sqrt(moments.second), 1.0 / math.sqrt(moments.slope_second)]


def solve_selu() -> tuple[float, float]:
    """Find alpha and lambda from E phi = 0 and E phi^2 = 1; elu is relu plus the part that alpha multiplies."""
    relu, elu = moments_of("relu"), moments_of("elu")
    alpha = float(relu.mean / (relu.mean - elu.mean))
    return alpha, 1.0 / math.sqrt(relu.second + alpha**2 * (elu.second - relu.second))


def give_selu_alpha(_: Inputs) -> ArrayLike:
    positive, negative = find_activation("selu")(np.asarray([1.0, -100.0]))
    return [solve_selu()[0], -negative / positive]


def give_selu_slope_of_the_variance(i: Inputs) -> ArrayLike:
    # Of the variance nu' = E phi^2 - (E phi)^2; the second term has slope zero, where E phi is zero.
    assert abs(moments_of("selu").mean) < 1e-14
    return moments_of("selu", i["tau"]).second_slope


# Fixed points, correlations and depth.


def read_variances(i: Inputs) -> tuple[float, float]:
    if "sigma_w2" in i:
        return i["sigma_w2"], i["sigma_b2"]
    return i["sigma_w"] ** 2, i["sigma_b"] ** 2


@cache
def fixed_point_of(name: str, sigma_w2: float, sigma_b2: float) -> FixedPoint:
    return find_fixed_point(activation_of(name), sigma_w2, sigma_b2)


def give_fixed_point(i: Inputs, quantity: str) -> float:
    point = fixed_point_of(i["activation"], *read_variances(i))
    return {"chi1": point.chi_backward, "dVdq": point.chi_forward}.get(quantity, point.q)


@cache
def critical_point_of(name: str, sigma_b2: float) -> CriticalPoint:
    return find_critical_points(activation_of(name), [sigma_b2])[0]


def give_critical_point(point: CriticalPoint, quantity: str) -> float:
    return {"sw2": point.sigma_w2, "sb2": point.sigma_b2, "q": point.q}[quantity]


def find_half_stable_point(name: str) -> CriticalPoint:
    """Where both slopes of the maps are equal, chi_1 = V' = 1 (Roberts, Yaida and Hanin 2022, chapter 5)."""

    def difference(q: float) -> float:
        moments = moments_of(name, q)
        return float(moments.second_slope - moments.slope_second)

    return critical_point_at(name, optimize.brentq(difference, 1.0, 10.0, xtol=1e-14))


@cache
def correlation_point_of(name: str, sigma_w2: float, sigma_b2: float) -> tuple[float, float]:
    point = fixed_point_of(name, sigma_w2, sigma_b2)
    settled = find_correlation_fixed_point(activation_of(name), sigma_w2, sigma_b2, point)
    return settled.correlation, settled.slope


def give_correlation_fixed_point(i: Inputs, quantity: str) -> ArrayLike:
    correlation, slope = correlation_point_of(i["activation"], *read_variances(i))
    if quantity == "xi_c":
        # In the ordered phase the scale is that of the gradient as well.
        chi = fixed_point_of(i["activation"], *read_variances(i)).chi_backward
        return [depth_scale(slope), *([depth_scale(chi)] if chi < 1.0 else [])]
    return {"c*": correlation, "chi_c*": slope}[quantity]


def give_mapped_correlation(i: Inputs, correlation: str) -> float:
    sigma_w2, sigma_b2 = read_variances(i)
    q = fixed_point_of(i["activation"], sigma_w2, sigma_b2).q
    return map_correlation(activation_of(i["activation"]), float(correlation), q, sigma_w2, sigma_b2)


@cache
def relu_correlation(layer: int) -> float:
    return map_correlation("relu", relu_correlation(layer - 1), 1.0, 2.0) if layer else 0.0


def give_relu_correlation_rate(_: Inputs) -> float:
    # d_l = (1 - c_l)^(-1/2) is a l + b ln l + ..., and l^2 (1 - c_l) tends to 1 / a^2; the logarithm is taken out.
    d = {layer: (1.0 - relu_correlation(layer)) ** -0.5 for layer in range(201)}
    return (2.0 * (d[200] - d[100]) / 100 - (d[100] - d[50]) / 50) ** -2


def give_leaky_relu_correlation(i: Inputs) -> float:
    assert i["slope"] == 0.2  # Keras' own
    return map_correlation("leaky_relu", 0.0, 1.0, 2.0 / (1.0 + i["slope"] ** 2))


@cache
def profile_of(name: str, sigma_w2: float, depth: int) -> Profile:
    return trace_profile(name, sigma_w2, depth)


def give_depth_profile(i: Inputs, scale: str, quantity: str) -> float:
    layer = i["l"]
    profile = profile_of("tanh", {"glorot": 1.0, "std": 1.0 / 3.0}[scale], layer + 1)
    return np.prod(profile.chi[:layer]) if quantity == "grad" else profile.activation_second_moment[layer - 1]


def give_signal_of_xavier_over_he(i: Inputs) -> float:
    xavier, he = (profile_of("relu", sigma_w2, i["L"]).activation_second_moment[-1] for sigma_w2 in (1.0, 2.0))
    return math.sqrt(xavier / he)


# Initializers.

VARIANTS = {
    "glorot": ("GlorotUniform", "GlorotNormal"),
    "he": ("HeUniform", "HeNormal"),
    "lecun": ("LecunUniform", "LecunNormal"),
    "orthogonal": ("Orthogonal",),
}
FIXED_SPREADS = {
    "RandomNormal(0.05)": "RandomNormal(stddev=0.05)",
    "RandomUniform(0.05)": "RandomUniform(minval=-0.05, maxval=0.05)",
    "TruncatedNormal(0.05)": "TruncatedNormal(stddev=0.05)",
}


def weights_of(text: str, shape: tuple[int, ...]) -> WeightDistribution:
    return weight_distribution(read_initializer(text), shape)


def give_scaled_gain(i: Inputs, direction: str) -> ArrayLike:
    laws = [weights_of(text, (i["n_in"], i["n_out"])) for text in VARIANTS[i["initializer"]]]
    return [law.forward_gain if direction == "fwd" else law.backward_gain for law in laws]


def give_gain_of_the_standard_initialization(_: Inputs) -> ArrayLike:
    return [
        weights_of(f"RandomUniform(minval={-(width**-0.5)!r}, maxval={width**-0.5!r})", (width, width)).forward_gain
        for width in (10, 784, 1000)
    ]


def give_truncated_normal(_: Inputs, quantity: str) -> float:
    law = weights_of("TruncatedNormal(stddev=1.0)", (10, 10))
    spread = math.sqrt(law.variance)
    return {"std": spread, "var": law.variance, "kurt": law.kurtosis, "maxabs/std": 2.0 / spread}[quantity]


def give_standard_deviation_in_vgg(i: Inputs) -> float:
    law = weights_of("VarianceScaling(scale=2.0, mode='fan_out')", (3, 3, i["d"], i["d"]))
    return math.sqrt(law.variance)


# Finite width.


def give_log_increment(i: Inputs, name: str, moment: str) -> float:
    compute = {"relu_he": sampling.compute_relu_increment, "linear": sampling.compute_linear_increment}[name]
    law = compute(i["n"])
    return {"mean": law.mean, "var": law.variance}[moment]


def give_coefficient_of_a_one_hot_input(i: Inputs) -> ArrayLike:
    participation = sampling.compute_participation([0.0, 1.0, 0.0])
    return [
        compute_leaky_relu_coefficient(kurtosis=kurtosis, participation=participation)
        for kurtosis in (weights_of("HeNormal", (10, 10)).kurtosis, i["kurtosis"])
    ]


def give_spread_of_critical_tanh(i: Inputs) -> ArrayLike:
    width, depth = 100_000, 200
    law = weights_of("VarianceScaling(distribution='untruncated_normal')", (width, width))
    network = [DenseLayer(width, law, find_activation(i["activation"]))] * depth
    spread = predict_dense_network(network, single_input(width)).preactivation.covariance[-1, -1]
    return [width * float(spread) / depth, width * compute_critical_tanh_variance(width, depth) / depth]


def give_variance_at_the_fixed_point_of_selu(i: Inputs) -> float:
    moments, sigma_w2 = moments_of(i["activation"]), float(i["sigma_w2"])
    slope = sigma_w2 * float(moments.second_slope)
    return compute_fixed_point_variance(sigma_w2, float(moments.second), float(moments.fourth), slope)


def log_variance_of_relu(i: Inputs) -> float:
    return i["L"] * sampling.compute_relu_increment(i["n"]).variance


def give_separation_of_he_and_glorot(i: Inputs) -> float:
    shape = (i["n"], i["n"])
    ratio = weights_of("HeNormal", shape).forward_gain / weights_of("GlorotNormal", shape).forward_gain
    return i["L"] * math.log(ratio) / math.sqrt(log_variance_of_relu(i))


# Layers beside Dense.


def follow_profile(size: int) -> Iterator[np.ndarray]:
    """E z^2 by place behind more and more 3 x 3 convolutions of gain 1 with padding "same", from a constant input."""
    kernel = SimpleNamespace(kernel_size=(3, 3), strides=(1, 1), dilation_rate=(1, 1), padding="same")
    windows, profile = Windows(kernel, (size, size)), np.ones((1, size, size))
    while True:
        profile = windows.sum(profile) / windows.taps
        yield profile[0]


def give_asymptotic_padded_gain(i: Inputs) -> float:
    # It takes about H^2 layers until the profile has settled.
    settled = 5 * i["H"] ** 2
    before, after = islice(follow_profile(i["H"]), settled, settled + 2)
    return after.sum() / before.sum()


def give_padded_profile(i: Inputs, place: str) -> float:
    profile = next(islice(follow_profile(i["H"]), i["L"] - 1, None))
    return profile.mean() if place == "mean" else profile[0, 0]


def give_residual_second_moment(i: Inputs) -> float:
    name, sigma_w2, blocks = ("relu", 2.0, i["L"]) if "L" in i else ("tanh", 1.0, i["l"])
    second = 1.0
    for _ in range(blocks):  # x + W phi(x), with independent weights: second moments add
        second += sigma_w2 * float(moments_of(name, second).second)
    return second


def give_linear_batch_normalization_rate(i: Inputs) -> float:
    batch = i["B"]
    # A batch's own variance v about the true one, 1, has E 1/v = (B - 1) / (B - 3) / E v.
    gain = layers.compute_normalized_gradient_gain((batch - 1.0) / batch, batch, epsilon=0.0)
    return (batch - 1.0) / (batch - 3.0) * gain


def give_jacobian_variance(i: Inputs) -> float:
    # What a layer adds to the variance of the squared singular values of the Jacobian (Pennington et al. 2017).
    moments = moments_of(i["activation"])
    return float(moments.slope_fourth / moments.slope_second**2) - (1.0 if i["weights"] == "orthogonal" else 0.0)


EXPRESSIONS: dict[str, Callable[..., ArrayLike]] = {
    r"mom\..*\.q[\d.]+\.(?P<moment>\w+)": lambda i, moment: getattr(
        moments_of(i["activation"], i["q"]), MOMENTS[moment]
    ),
    r"pub\.(nfnet_gamma\.\w+|brock\.relu_gain)": lambda i: (
        1.0 / math.sqrt(variance_of(moments_of(i["activation"], i.get("q", 1.0))))
    ),
    r"gain\.second_moment\.\w+": lambda i: 1.0 / math.sqrt(moments_of(i["activation"], i["q"]).second),
    r"pub\.torch_gain\.(linear|relu|leaky_relu\(0\.01\))": give_gains,
    r"selu\.alpha": give_selu_alpha,
    r"selu\.lambda": lambda i: [solve_selu()[1], *find_activation("selu")(np.asarray([1.0]))],
    r"selu\.J_nunu\.pub": give_selu_slope_of_the_variance,
    r"selu\.chi1": lambda i: find_fixed_point("selu", i["sigma_w2"]).chi_backward,
    # Weights of mean omega = 0: z has variance nu tau.
    r"selu\.thm3\.nu_in=0\.16": lambda i: variance_of(moments_of("selu", i["nu"] * i["tau"])),
    r"fp\..*\.(?P<quantity>q_star|chi1|dVdq)": give_fixed_point,
    r"corr\.erf_.*\.(?P<quantity>q\*|chi1)": give_fixed_point,
    r"crit\.(?P<name>tanh|erf)\.sb2=[\d.]+\.(?P<quantity>sw2|q)": lambda i, name, quantity: give_critical_point(
        critical_point_of(name, i["sigma_b2"]), quantity
    ),
    r"crit\.tanh\.schoenholz": lambda i: critical_point_of("tanh", i["sigma_b2"]).sigma_w2,
    r"crit\.tanh\.q=1/\d+\.(?P<quantity>sw2|sb2)": lambda i, quantity: give_critical_point(
        critical_point_at("tanh", i["q"]), quantity
    ),
    r"crit\.gelu\.halfstable\.(?P<quantity>q|sw2|sb2)": lambda i, quantity: give_critical_point(
        find_half_stable_point(i["activation"]), quantity
    ),
    r"corr\.(tanh|erf)_.*\.(?P<quantity>c\*|xi_c|chi_c\*)": give_correlation_fixed_point,
    r"corr\.tanh_.*\.C\((?P<correlation>[\d.]+)\)": give_mapped_correlation,
    r"corr\.relu\.c0=0\.l=\d+": lambda i: relu_correlation(i["l"]),
    r"corr\.relu\.rate": give_relu_correlation_rate,
    r"corr\.leaky0\.2\.C\(0\)": give_leaky_relu_correlation,
    r"kernel\.(?P<name>relu|erf)(\.q1)?\.c=0\.5": lambda i, name: expect_pair(
        activation_of(name), i.get("q", 1.0), i["c"]
    ),
    r"depth\.tanh\.(?P<scale>glorot|std)\.(?P<quantity>K|grad)_\d+": give_depth_profile,
    r"he2015\.xavier\.L=\d+": give_signal_of_xavier_over_he,
    r"gain\.(glorot|he|lecun|orthogonal)\.\d+x\d+\.(?P<direction>fwd|bwd)": give_scaled_gain,
    r"gain\.(?P<text>\w+\(0\.05\))\.n=256": lambda i, text: (
        weights_of(FIXED_SPREADS[text], (i["n_in"], 10)).forward_gain
    ),
    r"critwidth\.relu\.(?P<text>\w+\(0\.05\))": lambda i, text: (
        1.0 / moments_of("relu").slope_second / weights_of(FIXED_SPREADS[text], (1, 1)).variance
    ),
    r"glorot2010\.standard\.nVar": give_gain_of_the_standard_initialization,
    r"tn\.TN_(?P<quantity>std|var|kurt|maxabs/std)": give_truncated_normal,
    r"he2015\.vggB\.std\.\d+": give_standard_deviation_in_vgg,
    r"fw\.(?P<name>relu_he|linear)\.log(?P<moment>mean|var)\.n=\d+": give_log_increment,
    r"fw\.leaky\.coeff\.a=[\d.]+": lambda i: compute_leaky_relu_coefficient(i["slope"]),
    r"fw\.trunc\.onehot": give_coefficient_of_a_one_hot_input,
    r"fw\.orth\.relu\.var\.n=64": lambda i: compute_orthogonal_relu_variance(i["n"]),
    r"fw\.batchcov\.c=[-\d.]+": lambda i: compute_batch_covariance(i["c"]),
    r"fw\.tanh\.crit\.coeff": give_spread_of_critical_tanh,
    r"fw\.selu\.nVar": give_variance_at_the_fixed_point_of_selu,
    r"stat\.S\.n=128\.L=10\.ratio=[\d.]+": lambda i: sampling.compute_seeds_for_ratio(
        i["ratio"], log_variance_of_relu(i), alpha=1e-3, power=0.9
    ),
    r"stat\.he_vs_glorot\.sigma\.n=128\.L=10": give_separation_of_he_and_glorot,
    r"dead\.single\.n=\d+\.L=10": lambda i: sampling.compute_dead_probability([i["n"]] * i["L"]),
    r"conv\.same3\.first\.H=\d+": lambda i: next(follow_profile(i["H"])).mean(),
    r"conv\.same3\.asym\.H=\d+": give_asymptotic_padded_gain,
    r"conv\.same3\.(?P<place>mean|corner)\.H=\d+\.L=\d+": give_padded_profile,
    r"res\.(preact\.he\.L=10|tanh\.p_10)": give_residual_second_moment,
    r"bn\.linear\.rate\.B=8": give_linear_batch_normalization_rate,
    r"ln\.relu\.rate": lambda i: moments_of("relu").slope_second / moments_of("relu").second,
    r"dropout\.relu\.crit\.p=0\.6": lambda i: (
        1.0 / (layers.compute_dropout_gain(i["keep"]) * moments_of("relu").second)
    ),
    r"pool\.avg2\.relu": lambda i: moments_of("relu").mean ** 2 + variance_of(moments_of("relu")) / 4.0,
    r"sv\.varJJ\.\w+\.\w+": give_jacobian_variance,
    r"loss\.lnK\.K=10": lambda i: layers.compute_expected_cross_entropy(i["K"], 0.0),
    r"loss\.ce\.K=10\.s=[\d.]+": lambda i: layers.compute_expected_cross_entropy(i["K"], i["s"]),
}
"""What computes the entries whose ids match; it gets the inputs and the named groups of the pattern."""

EXPRESSED = [entry for entry in ENTRIES.values() if entry.id not in NOT_EXPRESSED]
MOMENT_ENTRIES = [entry for entry in EXPRESSED if entry.id.startswith("mom.")]


def find_expressions(entry_id: str) -> list[Callable[[Inputs], ArrayLike]]:
    matches = [(re.fullmatch(pattern, entry_id), expression) for pattern, expression in EXPRESSIONS.items()]
    return [partial(expression, **match.groupdict()) for match, expression in matches if match]


@cache
def compute(entry_id: str) -> ArrayLike:
    (expression,) = find_expressions(entry_id)
    return expression(ENTRIES[entry_id].inputs)


@pytest.mark.parametrize("entry", [pytest.param(entry, id=entry.id) for entry in EXPRESSED])
def test_theory_gives_the_reference(entry: Entry) -> None:
    got = compute(entry.id)
    assert entry.agrees(got), f"{got} instead of {entry.value}, ± {entry.tolerance}"


@pytest.mark.parametrize("entry", [pytest.param(entry, id=entry.id) for entry in MOMENT_ENTRIES])
def test_the_functions_of_keras_themselves_give_the_reference(entry: Entry) -> None:
    moments = compute_moments(keras_activation_of(entry.inputs["activation"]), entry.inputs["q"])
    got = float(getattr(moments, MOMENTS[entry.id.rpartition(".")[2]]))
    assert entry.agrees(got), f"{got} instead of {entry.value}, ± {entry.tolerance}"


def test_every_entry_is_expressed_once_or_listed_with_a_reason() -> None:
    assert len(ENTRIES) == 397
    expressed = {entry_id: len(find_expressions(entry_id)) for entry_id in ENTRIES}
    assert {entry_id: count for entry_id, count in expressed.items() if count > 1} == {}
    assert {entry_id for entry_id, count in expressed.items() if not count} == set(NOT_EXPRESSED)
    assert all(NOT_EXPRESSED.values())


def test_no_expression_has_lost_its_entries() -> None:
    assert [pattern for pattern in EXPRESSIONS if not any(re.fullmatch(pattern, each) for each in ENTRIES)] == []


@pytest.mark.parametrize("tolerances", [-3.0, 3.0])
def test_every_reference_that_is_off_by_three_tolerances_is_noticed(tolerances: float) -> None:
    # Negative control. Entries are exact to a small part of their tolerances, or they would pass on one side.
    wrong = [replace(entry, value=entry.value + tolerances * entry.tolerance) for entry in EXPRESSED]
    assert [entry.id for entry in wrong if entry.agrees(compute(entry.id))] == []


def test_nan_and_nothing_agree_with_no_reference() -> None:
    entry = ENTRIES["mom.tanh.q1.m2"]
    assert not entry.agrees(math.nan)
    assert not entry.agrees([entry.value, math.nan])
    assert not entry.agrees([])
