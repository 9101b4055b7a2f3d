"""Reference numbers of initializers, finite width, other layers and loss, by the public functions of the theory."""

from __future__ import annotations

import math

from reference_signals import moments_of, profile_of
from reference_table import Inputs, Numbers, expresses

from initcheck.theory import convolution, layers, residual, sampling, spectrum
from initcheck.theory import layers as loss
from initcheck.theory import layers as normalization
from initcheck.theory.dense_network import DenseLayer, predict_dense_network, single_input
from initcheck.theory.gaussian import find_activation
from initcheck.theory.sampling import compute_seeds_for_ratio, compute_separation, compute_uniform_normal_distance
from initcheck.theory.weights import WeightLaw, critical_width, read_initializer, weight_law

# Initializers.


def law_of(text: str, shape: tuple[int, ...]) -> WeightLaw:
    return weight_law(read_initializer(text), shape)


VARIANTS = {
    "glorot": ("GlorotUniform", "GlorotNormal"),
    "he": ("HeUniform", "HeNormal"),
    "lecun": ("LecunUniform", "LecunNormal"),
    "orthogonal": ("Orthogonal",),
}


@expresses(r"gain\.(glorot|he|lecun|orthogonal)\.\d+x\d+\.(?P<direction>fwd|bwd)")
def give_scaled_gain(inputs: Inputs, direction: str) -> Numbers:
    laws = [law_of(text, (inputs["n_in"], inputs["n_out"])) for text in VARIANTS[inputs["initializer"]]]
    return [law.forward_gain if direction == "fwd" else law.backward_gain for law in laws]


FIXED_SPREADS = {
    "RandomNormal(0.05)": "RandomNormal(stddev=0.05)",
    "RandomUniform(0.05)": "RandomUniform(minval=-0.05, maxval=0.05)",
    "TruncatedNormal(0.05)": "TruncatedNormal(stddev=0.05)",
}


@expresses(r"gain\.(?P<text>\w+\(0\.05\))\.n=256")
def give_gain_of_a_fixed_spread(inputs: Inputs, text: str) -> float:
    return law_of(FIXED_SPREADS[text], (inputs["n_in"], 10)).forward_gain


@expresses(r"critwidth\.relu\.(?P<text>\w+\(0\.05\))")
def give_critical_width(inputs: Inputs, text: str) -> float:
    return critical_width(read_initializer(FIXED_SPREADS[text]), 1.0 / float(moments_of("relu").slope_second))


@expresses(r"glorot2010\.standard\.nVar")
def give_gain_of_the_standard_initialization(inputs: Inputs) -> Numbers:
    widths = (10, 784, 1000)
    edges = [width**-0.5 for width in widths]
    return [
        law_of(f"RandomUniform(minval={-edge!r}, maxval={edge!r})", (width, width)).forward_gain
        for width, edge in zip(widths, edges, strict=True)
    ]


@expresses(r"tn\.TN_(?P<quantity>std|var|kurt|maxabs/std)")
def give_truncated_normal(inputs: Inputs, quantity: str) -> float:
    law = law_of("TruncatedNormal(stddev=1.0)", (10, 10))
    spread = math.sqrt(law.variance)
    return {"std": spread, "var": law.variance, "kurt": law.kurtosis, "maxabs/std": 2.0 / spread}[quantity]


@expresses(r"tn\.KS\(U,N\)")
def give_uniform_normal_distance(inputs: Inputs) -> float:
    return compute_uniform_normal_distance()


@expresses(r"he2015\.vggB\.std\.\d+")
def give_standard_deviation_in_vgg(inputs: Inputs) -> float:
    channels = inputs["d"]
    law = law_of("VarianceScaling(scale=2.0, mode='fan_out')", (3, 3, channels, channels))
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


@expresses(r"fw\.relu_he\.EM2\.n=\d+\.L=\d+")
def give_squared_mean_ratio(inputs: Inputs) -> float:
    return sampling.compute_squared_mean_ratio([inputs["n"]] * inputs["L"])


@expresses(r"fw\.leaky\.coeff\.a=[\d.]+")
def give_leaky_relu_coefficient(inputs: Inputs) -> float:
    return sampling.compute_leaky_relu_coefficient(inputs["slope"])


@expresses(r"fw\.trunc\.onehot")
def give_coefficient_of_a_one_hot_input(inputs: Inputs) -> Numbers:
    kurtosis = law_of("HeNormal", (10, 10)).kurtosis
    participation = sampling.compute_participation([0.0, 1.0, 0.0])
    return [
        sampling.compute_leaky_relu_coefficient(kurtosis=given, participation=participation)
        for given in (kurtosis, inputs["kurtosis"])
    ]


@expresses(r"fw\.orth\.relu\.var\.n=64")
def give_variance_of_orthogonal_weights(inputs: Inputs) -> float:
    return sampling.compute_orthogonal_leaky_relu_variance(inputs["n"])


@expresses(r"fw\.batchcov\.c=[-\d.]+")
def give_batch_covariance(inputs: Inputs) -> float:
    return sampling.compute_batch_covariance(inputs["c"])


@expresses(r"fw\.tanh\.crit\.coeff")
def give_spread_of_critical_tanh(inputs: Inputs) -> Numbers:
    width, depth = 100_000, 200
    law = law_of("VarianceScaling(distribution='untruncated_normal')", (width, width))
    network = [DenseLayer(width, law, find_activation(inputs["activation"]))] * depth
    spread = predict_dense_network(network, single_input(width)).preactivation.covariance[-1, -1]
    closed = sampling.compute_critical_tanh_variance(width, depth)
    return width * float(spread) / depth, width * closed / depth


@expresses(r"fw\.selu\.nVar")
def give_variance_at_the_fixed_point_of_selu(inputs: Inputs) -> float:
    moments = moments_of(inputs["activation"])
    sigma_w2 = float(inputs["sigma_w2"])
    return sampling.compute_fixed_point_variance(
        sigma_w2, float(moments.second), float(moments.fourth), sigma_w2 * float(moments.second_slope)
    )


@expresses(r"stat\.S\.n=128\.L=10\.ratio=[\d.]+")
def give_seeds_for_a_ratio(inputs: Inputs) -> float:
    variance = inputs["L"] * sampling.compute_relu_increment(inputs["n"]).variance
    return compute_seeds_for_ratio(inputs["ratio"], variance, alpha=1e-3, power=0.9)


@expresses(r"stat\.he_vs_glorot\.sigma\.n=128\.L=10")
def give_separation_of_he_and_glorot(inputs: Inputs) -> float:
    shape = (inputs["n"], inputs["n"])
    ratio = law_of("HeNormal", shape).forward_gain / law_of("GlorotNormal", shape).forward_gain
    variance = inputs["L"] * sampling.compute_relu_increment(inputs["n"]).variance
    return compute_separation(ratio, inputs["L"], variance)


@expresses(r"dead\.single\.n=\d+\.L=10")
def give_dead_probability(inputs: Inputs) -> float:
    return sampling.compute_dead_probability([inputs["n"]] * inputs["L"])


@expresses(r"dead\.lu\.N=\d+\.L=10")
def give_dead_network_bound(inputs: Inputs) -> float:
    return sampling.compute_dead_network_bound(inputs["N"], inputs["L"])


@expresses(r"float32\.underflow\..*")
def give_layers_until_underflow(inputs: Inputs) -> float:
    return sampling.count_layers_until_underflow(inputs["gain"])


# Layers beside Dense.


@expresses(r"conv\.same3\.first\.H=\d+")
def give_first_padded_gain(inputs: Inputs) -> float:
    return convolution.compute_first_padded_gain((inputs["H"], inputs["H"]), 3)


@expresses(r"conv\.same3\.asym\.H=\d+")
def give_asymptotic_padded_gain(inputs: Inputs) -> float:
    return convolution.compute_asymptotic_padded_gain((inputs["H"], inputs["H"]), 3)


@expresses(r"conv\.same3\.(?P<place>mean|corner)\.H=\d+\.L=\d+")
def give_padded_profile(inputs: Inputs, place: str) -> float:
    profile = convolution.compute_padded_profile((inputs["H"], inputs["H"]), 3, inputs["L"])
    return float(profile.mean() if place == "mean" else profile[0, 0])


@expresses(r"res\.preact\.he\.L=10")
def give_preactivation_trunk(inputs: Inputs) -> float:
    trunk = residual.compute_preactivation_trunk(1.0, inputs["L"], 2.0, lambda p: float(moments_of("relu", p).second))
    return float(trunk[-1])


@expresses(r"res\.tanh\.p_10")
def give_preactivation_trunk_of_tanh(inputs: Inputs) -> float:
    trunk = residual.compute_preactivation_trunk(1.0, inputs["l"], 1.0, lambda p: float(moments_of("tanh", p).second))
    return float(trunk[-1])


@expresses(r"res\.fixup\.L=10")
def give_scaled_growth(inputs: Inputs) -> float:
    return residual.compute_scaled_growth(inputs["L"])


@expresses(r"res\.bn\.L=16")
def give_normalized_trunk(inputs: Inputs) -> float:
    return residual.compute_normalized_trunk(inputs["L"])


@expresses(r"res\.nf\.alpha\.2\.l=4")
def give_normalizer_free_trunk(inputs: Inputs) -> float:
    return residual.compute_normalized_trunk(inputs["l"], alpha=inputs["alpha"])


@expresses(r"bn\.relu\.rate\.(B=\d+|inf)")
def give_batch_normalization_rate(inputs: Inputs) -> float:
    return normalization.compute_relu_batch_normalization_rate(inputs.get("B", math.inf))


@expresses(r"bn\.linear\.rate\.B=8")
def give_linear_batch_normalization_rate(inputs: Inputs) -> float:
    return normalization.compute_linear_batch_normalization_rate(inputs["B"])


@expresses(r"ln\.relu\.rate")
def give_layer_normalization_rate(inputs: Inputs) -> float:
    moments = moments_of("relu")
    return normalization.compute_layer_normalization_rate(float(moments.second), float(moments.slope_second))


@expresses(r"dropout\.relu\.crit\.p=0\.6")
def give_critical_gain_with_dropout(inputs: Inputs) -> float:
    return layers.compute_critical_sigma_w2_with_dropout(inputs["keep"], float(moments_of("relu").second))


@expresses(r"pool\.avg2\.relu")
def give_average_pooling(inputs: Inputs) -> float:
    moments = moments_of("relu")
    mean, variance = float(moments.mean), float(moments.second - moments.mean**2)
    return layers.compute_average_pooling_moments(mean, variance, 4).second_moment


@expresses(r"sv\.mean\.gauss")
def give_mean_singular_value(inputs: Inputs) -> float:
    return spectrum.compute_mean_singular_value()


@expresses(r"sv\.edge\.lin\.L=\d+")
def give_largest_squared_singular_value(inputs: Inputs) -> float:
    return spectrum.compute_largest_squared_singular_value(inputs["L"])


@expresses(r"sv\.varJJ\.\w+\.\w+")
def give_jacobian_variance(inputs: Inputs) -> float:
    moments = moments_of(inputs["activation"])
    return spectrum.compute_jacobian_variance(
        float(moments.slope_second), float(moments.slope_fourth), inputs["weights"]
    )


# Loss.


@expresses(r"loss\.lnK\.K=10")
def give_cross_entropy_at_zero_logits(inputs: Inputs) -> float:
    return loss.compute_zero_logits_cross_entropy(inputs["K"])


@expresses(r"loss\.grad\.zero\.K=10")
def give_gradient_at_zero_logits(inputs: Inputs) -> float:
    return loss.compute_zero_logits_gradient(inputs["K"])


@expresses(r"loss\.(?P<quantity>ce|grad)\.K=10\.s=[\d.]+")
def give_expected_loss(inputs: Inputs, quantity: str) -> float:
    compute = {"ce": loss.compute_expected_cross_entropy, "grad": loss.compute_expected_gradient}[quantity]
    return compute(inputs["K"], inputs["s"])
