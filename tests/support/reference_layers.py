"""Reference numbers of initializers, finite width, other layers and loss, by the public functions of the theory."""

from __future__ import annotations

import math
from types import SimpleNamespace

import finite_width_laws
import numpy as np
from reference_signals import moments_of, profile_of
from reference_table import Inputs, Numbers, expresses

from initcheck.models.initializers import read_initializer
from initcheck.prediction.layer_rules import Windows
from initcheck.theory import layers, sampling
from initcheck.theory.dense_network import DenseLayer, predict_dense_network, single_input
from initcheck.theory.gaussian import find_activation
from initcheck.theory.weights import WeightDistribution, weight_distribution

# Initializers.


def weights_of(text: str, shape: tuple[int, ...]) -> WeightDistribution:
    return weight_distribution(read_initializer(text), shape)


VARIANTS = {
    "glorot": ("GlorotUniform", "GlorotNormal"),
    "he": ("HeUniform", "HeNormal"),
    "lecun": ("LecunUniform", "LecunNormal"),
    "orthogonal": ("Orthogonal",),
}


@expresses(r"gain\.(glorot|he|lecun|orthogonal)\.\d+x\d+\.(?P<direction>fwd|bwd)")
def give_scaled_gain(inputs: Inputs, direction: str) -> Numbers:
    laws = [weights_of(text, (inputs["n_in"], inputs["n_out"])) for text in VARIANTS[inputs["initializer"]]]
    return [law.forward_gain if direction == "fwd" else law.backward_gain for law in laws]


FIXED_SPREADS = {
    "RandomNormal(0.05)": "RandomNormal(stddev=0.05)",
    "RandomUniform(0.05)": "RandomUniform(minval=-0.05, maxval=0.05)",
    "TruncatedNormal(0.05)": "TruncatedNormal(stddev=0.05)",
}


@expresses(r"gain\.(?P<text>\w+\(0\.05\))\.n=256")
def give_gain_of_a_fixed_spread(inputs: Inputs, text: str) -> float:
    return weights_of(FIXED_SPREADS[text], (inputs["n_in"], 10)).forward_gain


@expresses(r"critwidth\.relu\.(?P<text>\w+\(0\.05\))")
def give_critical_width(inputs: Inputs, text: str) -> float:
    return 1.0 / float(moments_of("relu").slope_second) / weights_of(FIXED_SPREADS[text], (1, 1)).variance


@expresses(r"glorot2010\.standard\.nVar")
def give_gain_of_the_standard_initialization(inputs: Inputs) -> Numbers:
    widths = (10, 784, 1000)
    edges = [width**-0.5 for width in widths]
    return [
        weights_of(f"RandomUniform(minval={-edge!r}, maxval={edge!r})", (width, width)).forward_gain
        for width, edge in zip(widths, edges, strict=True)
    ]


@expresses(r"tn\.TN_(?P<quantity>std|var|kurt|maxabs/std)")
def give_truncated_normal(inputs: Inputs, quantity: str) -> float:
    law = weights_of("TruncatedNormal(stddev=1.0)", (10, 10))
    spread = math.sqrt(law.variance)
    return {"std": spread, "var": law.variance, "kurt": law.kurtosis, "maxabs/std": 2.0 / spread}[quantity]


@expresses(r"he2015\.vggB\.std\.\d+")
def give_standard_deviation_in_vgg(inputs: Inputs) -> float:
    channels = inputs["d"]
    law = weights_of("VarianceScaling(scale=2.0, mode='fan_out')", (3, 3, channels, channels))
    return math.sqrt(law.variance)


@expresses(r"he2015\.xavier\.L=\d+")
def give_signal_of_xavier_over_he(inputs: Inputs) -> float:
    depth = inputs["L"]
    xavier, he = (profile_of("relu", sigma_w2, depth).activation_second_moment[-1] for sigma_w2 in (1.0, 2.0))
    return math.sqrt(xavier / he)


# Finite width.


@expresses(r"fw\.(?P<name>relu_he|linear)\.log(?P<moment>mean|var)\.n=\d+")
def give_log_increment(inputs: Inputs, name: str, moment: str) -> float:
    compute = {"relu_he": sampling.compute_relu_increment, "linear": sampling.compute_linear_increment}[name]
    law = compute(inputs["n"])
    return {"mean": law.mean, "var": law.variance}[moment]


@expresses(r"fw\.leaky\.coeff\.a=[\d.]+")
def give_leaky_relu_coefficient(inputs: Inputs) -> float:
    return finite_width_laws.compute_leaky_relu_coefficient(inputs["slope"])


@expresses(r"fw\.trunc\.onehot")
def give_coefficient_of_a_one_hot_input(inputs: Inputs) -> Numbers:
    kurtosis = weights_of("HeNormal", (10, 10)).kurtosis
    participation = sampling.compute_participation([0.0, 1.0, 0.0])
    return [
        finite_width_laws.compute_leaky_relu_coefficient(kurtosis=given, participation=participation)
        for given in (kurtosis, inputs["kurtosis"])
    ]


@expresses(r"fw\.orth\.relu\.var\.n=64")
def give_variance_of_orthogonal_weights(inputs: Inputs) -> float:
    return finite_width_laws.compute_orthogonal_relu_variance(inputs["n"])


@expresses(r"fw\.batchcov\.c=[-\d.]+")
def give_batch_covariance(inputs: Inputs) -> float:
    return finite_width_laws.compute_batch_covariance(inputs["c"])


@expresses(r"fw\.tanh\.crit\.coeff")
def give_spread_of_critical_tanh(inputs: Inputs) -> Numbers:
    width, depth = 100_000, 200
    law = weights_of("VarianceScaling(distribution='untruncated_normal')", (width, width))
    network = [DenseLayer(width, law, find_activation(inputs["activation"]))] * depth
    spread = predict_dense_network(network, single_input(width)).preactivation.covariance[-1, -1]
    closed = finite_width_laws.compute_critical_tanh_variance(width, depth)
    return width * float(spread) / depth, width * closed / depth


@expresses(r"fw\.selu\.nVar")
def give_variance_at_the_fixed_point_of_selu(inputs: Inputs) -> float:
    moments = moments_of(inputs["activation"])
    sigma_w2 = float(inputs["sigma_w2"])
    return finite_width_laws.compute_fixed_point_variance(
        sigma_w2, float(moments.second), float(moments.fourth), sigma_w2 * float(moments.second_slope)
    )


@expresses(r"stat\.S\.n=128\.L=10\.ratio=[\d.]+")
def give_seeds_for_a_ratio(inputs: Inputs) -> float:
    variance = inputs["L"] * sampling.compute_relu_increment(inputs["n"]).variance
    return sampling.compute_seeds_for_ratio(inputs["ratio"], variance, alpha=1e-3, power=0.9)


@expresses(r"stat\.he_vs_glorot\.sigma\.n=128\.L=10")
def give_separation_of_he_and_glorot(inputs: Inputs) -> float:
    shape = (inputs["n"], inputs["n"])
    ratio = weights_of("HeNormal", shape).forward_gain / weights_of("GlorotNormal", shape).forward_gain
    variance = inputs["L"] * sampling.compute_relu_increment(inputs["n"]).variance
    return float(inputs["L"] * math.log(ratio) / math.sqrt(variance))


@expresses(r"dead\.single\.n=\d+\.L=10")
def give_dead_probability(inputs: Inputs) -> float:
    return sampling.compute_dead_probability([inputs["n"]] * inputs["L"])


# Layers beside Dense.


def windows_of(size: int) -> Windows:
    """The windows of a 3 x 3 convolution with padding "same" on a square image."""
    kernel = SimpleNamespace(kernel_size=(3, 3), strides=(1, 1), dilation_rate=(1, 1), padding="same")
    return Windows(kernel, (size, size))


def profile_after(size: int, convolutions: int) -> np.ndarray:
    """E z^2 by place behind convolutions of gain 1, from a constant input."""
    windows, profile = windows_of(size), np.ones((1, size, size))
    for _ in range(convolutions):
        profile = windows.sum(profile) / windows.taps
    return profile[0]


@expresses(r"conv\.same3\.first\.H=\d+")
def give_first_padded_gain(inputs: Inputs) -> float:
    return float(profile_after(inputs["H"], 1).mean())


@expresses(r"conv\.same3\.asym\.H=\d+")
def give_asymptotic_padded_gain(inputs: Inputs) -> float:
    windows = windows_of(inputs["H"])
    profile = np.ones((1, inputs["H"], inputs["H"]))
    # It takes about H^2 layers until the profile has settled.
    for _ in range(5 * inputs["H"] ** 2):
        profile = windows.sum(profile / profile.sum()) / windows.taps
    return float(profile.sum())


@expresses(r"conv\.same3\.(?P<place>mean|corner)\.H=\d+\.L=\d+")
def give_padded_profile(inputs: Inputs, place: str) -> float:
    profile = profile_after(inputs["H"], inputs["L"])
    return float(profile.mean() if place == "mean" else profile[0, 0])


@expresses(r"res\.(preact\.he\.L=10|tanh\.p_10)")
def give_residual_second_moment(inputs: Inputs) -> float:
    name, sigma_w2, blocks = ("relu", 2.0, inputs["L"]) if "L" in inputs else ("tanh", 1.0, inputs["l"])
    second = 1.0
    for _ in range(blocks):  # x + W phi(x), with independent weights: second moments add
        second += sigma_w2 * float(moments_of(name, second).second)
    return second


@expresses(r"bn\.linear\.rate\.B=8")
def give_linear_batch_normalization_rate(inputs: Inputs) -> float:
    batch = inputs["B"]
    # A batch's own variance v about the true one, 1, has E 1/v = (B - 1) / (B - 3) / E v.
    gain = layers.compute_normalized_gradient_gain((batch - 1.0) / batch, batch, epsilon=0.0)
    return (batch - 1.0) / (batch - 3.0) * gain


@expresses(r"ln\.relu\.rate")
def give_layer_normalization_rate(inputs: Inputs) -> float:
    moments = moments_of("relu")
    return float(moments.slope_second / moments.second)


@expresses(r"dropout\.relu\.crit\.p=0\.6")
def give_critical_gain_with_dropout(inputs: Inputs) -> float:
    return 1.0 / (layers.compute_dropout_gain(inputs["keep"]) * float(moments_of("relu").second))


@expresses(r"pool\.avg2\.relu")
def give_average_pooling(inputs: Inputs) -> float:
    moments = moments_of("relu")
    mean, variance = float(moments.mean), float(moments.second - moments.mean**2)
    return mean**2 + variance / 4.0


@expresses(r"sv\.varJJ\.\w+\.\w+")
def give_jacobian_variance(inputs: Inputs) -> float:
    # What a layer adds to the variance of the squared singular values of the Jacobian (Pennington et al. 2017).
    moments = moments_of(inputs["activation"])
    return float(moments.slope_fourth / moments.slope_second**2) - (1.0 if inputs["weights"] == "orthogonal" else 0.0)


# Loss.


@expresses(r"loss\.lnK\.K=10")
def give_cross_entropy_at_zero_logits(inputs: Inputs) -> float:
    return layers.compute_expected_cross_entropy(inputs["K"], 0.0)


@expresses(r"loss\.ce\.K=10\.s=[\d.]+")
def give_expected_loss(inputs: Inputs) -> float:
    return layers.compute_expected_cross_entropy(inputs["K"], inputs["s"])
