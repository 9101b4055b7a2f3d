import inspect
import math
import subprocess
import sys
from typing import Any

import keras
import numpy as np
import pytest
from keras_features import HAS_AXES

from initcheck.backend.runtime import backend_name
from initcheck.core.errors import InitcheckError, TheoryError, UsageError
from initcheck.models.initializers import (
    AXES,
    INITIALIZERS,
    InitializerSpec,
    installed_initializers,
    parse_initializer,
    read_initializer,
    study_initializers,
)
from initcheck.theory.weights import weight_distribution

N, M = 500, 400  # inputs and outputs: 200,000 entries, and fans that differ
DENSE = (N, M)
CONVOLUTION = (3, 3, 128, 192)

RANDOM_TEXTS = [
    "RandomNormal",
    "RandomNormal(stddev=1.0)",
    "RandomNormal(stddev=-0.3)",
    "RandomUniform",
    "RandomUniform(minval=-2.0, maxval=2.0)",
    "RandomUniform(minval=2.0, maxval=-2.0)",
    "TruncatedNormal",
    "TruncatedNormal(stddev=1.5)",
    *(
        f"VarianceScaling(scale={scale}, mode={mode!r}, distribution={distribution!r})"
        for scale, mode in ((0.5, "fan_in"), (1.0, "fan_out"), (3.0, "fan_avg"))
        for distribution in ("truncated_normal", "untruncated_normal", "uniform", "normal", "UNIFORM")
    ),
    "VarianceScaling",
    "GlorotNormal",
    "GlorotUniform",
    "HeNormal",
    "HeUniform",
    "LecunNormal",
    "LecunUniform",
]


def spec_of(class_name: str, **arguments: Any) -> InitializerSpec:
    return InitializerSpec(class_name, tuple(arguments.items()))


def entries_of(spec: InitializerSpec, shape: tuple[int, ...], seed: int) -> np.ndarray:
    return keras.ops.convert_to_numpy(spec.create(seed)(shape)).astype(np.float64).ravel()


def refusal_of(spec: InitializerSpec, shape: tuple[int, ...] = DENSE) -> str:
    with pytest.raises(TheoryError) as caught:
        weight_distribution(spec, shape)
    message = str(caught.value)
    assert "\n" not in message and "Received: " in message and "Use " in message
    return message


@pytest.mark.parametrize("shape", [DENSE, CONVOLUTION], ids=["dense", "convolution"])
@pytest.mark.parametrize("text", RANDOM_TEXTS)
def test_variance_and_kurtosis_are_those_of_the_entries_that_keras_draws(text: str, shape: tuple[int, ...]) -> None:
    if "stddev=-" in text and backend_name() == "torch":
        pytest.skip("PyTorch refuses a negative standard deviation")
    spec = parse_initializer(text)
    law = weight_distribution(spec, shape)
    entries = entries_of(spec, shape, seed=20)
    count = len(entries)
    assert count >= 200_000
    square = float(np.mean(entries**2))
    assert abs(np.mean(entries)) < 5.0 * math.sqrt(law.variance / count)
    assert abs(square / law.variance - 1.0) < 5.0 * math.sqrt((law.kurtosis - 1.0) / count)
    # The sample's kurtosis is a smooth function of two means; its influence function gives the standard error.
    kurtosis = float(np.mean(entries**4)) / square**2
    influence = entries**4 / square**2 - 2.0 * kurtosis * entries**2 / square
    assert abs(kurtosis - law.kurtosis) < 5.0 * float(np.std(influence)) / math.sqrt(count)


@pytest.mark.parametrize("shape", [(60, 40), (40, 60), (3, 3, 16, 200), (3, 3, 32, 100)])
@pytest.mark.parametrize("gain", [1.0, 1.5])
def test_the_orthogonal_mean_square_is_exact_in_every_draw(shape: tuple[int, ...], gain: float) -> None:
    spec = spec_of("Orthogonal", gain=gain)
    law = weight_distribution(spec, shape)
    assert law.distribution == "orthogonal" and math.isnan(law.kurtosis)
    for seed in (1, 2):
        entries = entries_of(spec, shape, seed)
        assert np.mean(entries**2) == pytest.approx(law.variance, rel=1e-5)  # float32
        assert abs(np.mean(entries)) < 5.0 * math.sqrt(law.variance / len(entries))


def test_gains_of_the_scaled_initializers_are_those_of_their_papers() -> None:
    glorot, he, lecun = 2.0 / (N + M), 2.0 / N, 1.0 / N
    expected = {"Glorot": glorot, "He": he, "Lecun": lecun}
    for family, variance in expected.items():
        for distribution, name in (("Normal", "truncated_normal"), ("Uniform", "uniform")):
            law = weight_distribution(spec_of(family + distribution), DENSE)
            assert law.distribution == name
            assert law.forward_gain == pytest.approx(N * variance, rel=1e-14)
            assert law.backward_gain == pytest.approx(M * variance, rel=1e-14)
            assert law.norm_gain == law.forward_gain
    orthogonal = weight_distribution(spec_of("Orthogonal", gain=3.0), DENSE)
    assert orthogonal.forward_gain == pytest.approx(9.0 * N / max(N, M), rel=1e-14)
    assert orthogonal.backward_gain == pytest.approx(9.0 * M / max(N, M), rel=1e-14)


@pytest.mark.parametrize("shape", [(N, M), (M, N)])
def test_the_norm_gain_is_what_a_transposed_kernel_does_to_the_norm_of_a_gradient(shape: tuple[int, ...]) -> None:
    spec = spec_of("GlorotUniform")
    law = weight_distribution(spec, shape)
    gradient = np.random.default_rng(5).standard_normal(shape[1])
    ratios = []
    for seed in range(40):
        before = entries_of(spec, shape, seed).reshape(shape) @ gradient
        ratios.append(np.sum(before**2) / np.sum(gradient**2))
    error = np.std(ratios, ddof=1) / math.sqrt(len(ratios))
    assert abs(np.mean(ratios) - law.norm_gain) < 5.0 * error
    assert law.backward_gain == pytest.approx(law.norm_gain * shape[1] / shape[0])
    assert abs(np.mean(ratios) - law.backward_gain) > 5.0 * error


def test_the_truncated_moments_agree_with_an_integral_of_the_density() -> None:
    nodes, masses = np.polynomial.legendre.leggauss(60)
    points = 2.0 * nodes
    density = np.exp(-(points**2) / 2.0) * masses
    square, fourth = (float(np.sum(points**power * density) / np.sum(density)) for power in (2, 4))
    law = weight_distribution(spec_of("TruncatedNormal", stddev=3.0), DENSE)
    assert law.variance == pytest.approx(9.0 * square, rel=1e-13)
    assert law.kurtosis == pytest.approx(fourth / square**2, rel=1e-13)


def test_only_the_truncated_normal_with_a_fixed_spread_is_not_corrected_for_the_truncation() -> None:
    plain = weight_distribution(spec_of("TruncatedNormal", stddev=0.05), DENSE)
    scaled = weight_distribution(spec_of("VarianceScaling", scale=0.05**2 * N), DENSE)
    assert plain.variance / scaled.variance == pytest.approx(0.87962566103423978**2, rel=1e-14)
    assert plain.kurtosis == scaled.kurtosis


@pytest.mark.parametrize(
    "shape", [(), (7,), (7, 5), (3, 7, 5), (3, 2, 7, 5), (3, 2, 4, 7, 5)], ids=lambda shape: f"rank{len(shape)}"
)
def test_the_fans_of_any_shape_are_those_that_keras_computes(shape: tuple[int, ...]) -> None:
    from keras.src.initializers.random_initializers import compute_fans

    law = weight_distribution(spec_of("LecunNormal"), shape)
    assert (law.fan_in, law.fan_out) == compute_fans(shape)
    assert law.forward_gain == pytest.approx(1.0)


def test_true_fans_change_the_gains_and_not_the_variance() -> None:
    channels = 24
    depthwise = weight_distribution(spec_of("HeNormal"), (3, 3, channels, 1), fans=(9.0, 9.0))
    assert depthwise.variance == pytest.approx(2.0 / (9 * channels))
    assert depthwise.forward_gain == pytest.approx(2.0 / channels)
    inputs, outputs = 10, 30  # a transposed convolution's kernel is (height, width, out, in)
    transposed = weight_distribution(spec_of("HeNormal"), (3, 3, outputs, inputs), fans=(9.0 * inputs, 9.0 * outputs))
    assert transposed.forward_gain == pytest.approx(2.0 * inputs / outputs)


@pytest.mark.skipif(not HAS_AXES, reason="this Keras has no input_axes")
@pytest.mark.parametrize("class_name", ["VarianceScaling", "GlorotUniform", "HeNormal"])
@pytest.mark.parametrize("axes", [((0, 1), (2,)), ((-1,), (0, 1)), ((), (1,))])
def test_fans_from_axes_are_computed_as_keras_does(class_name: str, axes: tuple[tuple[int, ...], ...]) -> None:
    from keras.src.initializers.random_initializers import compute_fans

    shape = (20, 30, 400)
    spec = spec_of(class_name, input_axes=axes[0], output_axes=axes[1])
    law = weight_distribution(spec, shape)
    assert (law.fan_in, law.fan_out) == compute_fans(shape, *axes)
    entries = entries_of(spec, shape, seed=8)
    spread = 5.0 * math.sqrt((law.kurtosis - 1.0) / len(entries))
    assert abs(np.mean(entries**2) / law.variance - 1.0) < spread


@pytest.mark.skipif(not HAS_AXES, reason="this Keras has no input_axes")
def test_one_pair_of_axes_without_the_other_is_ignored_as_by_keras() -> None:
    assert weight_distribution(spec_of("HeNormal", input_axes=(2,)), (3, 5, 7)) == weight_distribution(
        spec_of("HeNormal"), (3, 5, 7)
    )


@pytest.mark.parametrize("class_name", ["Zeros", "Ones", "Constant", "Identity", "STFT"])
def test_an_initializer_without_chance_is_refused_with_the_reason(class_name: str) -> None:
    message = refusal_of(spec_of(class_name))
    assert message.startswith(f"{class_name} leaves nothing to chance") and f"Received: {class_name}." in message


@pytest.mark.parametrize(
    ("spec", "remedy"),
    [
        (spec_of("RandomNormal", mean=0.1), "mean=0"),
        (spec_of("TruncatedNormal", mean=-0.1), "mean=0"),
        (spec_of("RandomUniform", minval=0.0, maxval=0.2), "minval=-maxval"),
        (spec_of("RandomUniform", minval=-0.06), "minval=-maxval"),
    ],
    ids=lambda value: getattr(value, "label", value),
)
def test_weights_with_a_mean_are_refused(spec: InitializerSpec, remedy: str) -> None:
    message = refusal_of(spec)
    assert "rank-one" in message and f"Received: {spec.label}. Use {remedy}." in message


@pytest.mark.parametrize(
    "spec",
    [
        spec_of("RandomNormal", stddev=0.0),
        spec_of("TruncatedNormal", stddev=0),
        spec_of("RandomUniform", minval=0.0, maxval=0.0),
        spec_of("Orthogonal", gain=0.0),
        spec_of("VarianceScaling", scale=0.0),
        spec_of("VarianceScaling", scale=-1.0),
        spec_of("RandomNormal", stddev=1e-200),
        spec_of("RandomNormal", stddev=1e200),
    ],
    ids=lambda spec: spec.label,
)
def test_weights_whose_variance_is_not_above_zero_and_finite_are_refused(spec: InitializerSpec) -> None:
    assert f"Received: {spec.label}, variance " in refusal_of(spec)


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        (spec_of("MyNormal", stddev=1.0), "distribution of the weights is not known"),
        (spec_of("HeNormal", stddev=1.0), "HeNormal has no argument 'stddev'"),
        (spec_of("RandomNormal", input_axes=(0,)), "RandomNormal has no argument 'input_axes'"),
        (spec_of("VarianceScaling", mode="fan_max"), "mode is unknown"),
        (spec_of("VarianceScaling", mode=[1]), "mode is unknown"),
        (spec_of("VarianceScaling", distribution="cauchy"), "distribution is unknown"),
        (spec_of("VarianceScaling", distribution=3), "distribution is unknown"),
        (spec_of("HeNormal", input_axes=(0,), output_axes=(5,)), "axes must be whole numbers"),
        (spec_of("HeNormal", input_axes=0, output_axes=(1,)), "axes must be whole numbers"),
        (spec_of("HeNormal", input_axes=("a",), output_axes=(1,)), "axes must be whole numbers"),
    ],
    ids=lambda value: getattr(value, "label", None),
)
def test_a_spec_that_the_table_does_not_know_is_refused(spec: InitializerSpec, problem: str) -> None:
    message = refusal_of(spec)
    assert problem in message and f"Received: {spec.label}" in message


@pytest.mark.parametrize("value", ["wide", None, True, math.nan, math.inf])
def test_an_argument_that_has_to_be_a_number_is_refused_as_when_it_is_read(value: Any) -> None:
    with pytest.raises(UsageError, match=r"stddev must be a finite number\. Received: "):
        weight_distribution(spec_of("RandomNormal", stddev=value), DENSE)


def test_a_vector_is_refused_for_orthogonal_as_by_keras() -> None:
    assert "two axes or more" in refusal_of(spec_of("Orthogonal"), (7,))


@pytest.mark.parametrize("shape", [(0, 3), (-1, 3), (2.5, 3), (None, 3)])
def test_a_shape_that_holds_no_counts_is_refused(shape: tuple[Any, ...]) -> None:
    with pytest.raises(TheoryError, match=r"shape must be whole numbers, 1 or more\. Received: \("):
        weight_distribution(spec_of("HeNormal"), shape)


@pytest.mark.parametrize("fans", [(math.nan, 3.0), (3.0, math.inf), (0.0, 3.0), (3.0, -1.0)])
def test_fans_that_are_unknown_or_not_above_zero_are_refused(fans: tuple[float, float]) -> None:
    with pytest.raises(TheoryError, match=r"fans must be finite and above 0\. Received: \("):
        weight_distribution(spec_of("HeNormal"), DENSE, fans)


def test_every_installed_initializer_has_a_law_or_a_worded_refusal() -> None:
    for class_name in installed_initializers():
        spec = spec_of(class_name)
        try:
            assert weight_distribution(spec, DENSE).variance > 0
        except TheoryError:
            assert "leaves nothing to chance" in refusal_of(spec), class_name


def test_the_table_holds_the_arguments_and_defaults_of_the_installed_classes() -> None:
    assert set(INITIALIZERS) == set(installed_initializers())
    for class_name, known in INITIALIZERS.items():
        parameters = inspect.signature(getattr(keras.initializers, class_name)).parameters
        defaults = {name: parameter.default for name, parameter in parameters.items()}
        assert {name: defaults.pop(name) for name in known.arguments} == known.arguments, class_name
        rest = set(AXES) if "mode" in {**known.arguments, **known.fixed} and HAS_AXES else set()
        assert set(defaults) - {"seed"} == rest, class_name


def test_the_table_holds_what_the_installed_classes_set_themselves() -> None:
    for class_name, known in INITIALIZERS.items():
        made = getattr(keras.initializers, class_name)()
        assert {name: getattr(made, name) for name in known.fixed} == known.fixed, class_name


WITHOUT_KERAS = [
    *RANDOM_TEXTS,
    *(spec.label for spec in study_initializers()),
    "he_normal",
    " HE_normal ",
    "HeNormal()",
    "STFT",
    "stft_initializer",
    "IdentityInitializer(gain=2)",
    "orthogonalinitializer",
    "random_normal(stddev=1)",
    "RandomUniform(maxval=2, minval=-1e-3)",
]


def exported_spellings() -> list[str]:
    exported = {name: getattr(keras.initializers, name) for name in dir(keras.initializers)}
    base = keras.initializers.Initializer
    return [
        name for name, item in exported.items() if inspect.isclass(item) and issubclass(item, base) and item != base
    ]


def test_text_is_read_as_with_keras() -> None:
    for text in [*WITHOUT_KERAS, *exported_spellings()]:
        assert read_initializer(text) == parse_initializer(text), text


def test_known_text_is_read_and_its_law_found_without_loading_slow_libraries() -> None:
    code = (
        "import sys\n"
        "from initcheck.core.errors import TheoryError\n"
        "from initcheck.models.initializers import read_initializer\n"
        "from initcheck.theory.weights import weight_distribution\n"
        f"for text in {[*WITHOUT_KERAS, *exported_spellings()]!r}:\n"
        "    try:\n"
        "        weight_distribution(read_initializer(text), (7, 5))\n"
        "    except TheoryError:\n"
        "        pass\n"
        "assert not {'keras', 'tensorflow', 'pandas', 'scipy.stats'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.skipif(not HAS_AXES, reason="this Keras has no input_axes")
def test_text_with_arguments_that_only_some_versions_take_is_left_to_the_installed_keras() -> None:
    text = "HeNormal(input_axes=[0], output_axes=[1])"
    assert read_initializer(text) == parse_initializer(text)


@pytest.mark.parametrize(
    "text",
    [
        "HeNorml",
        "normal",
        "",
        "HeNormal(",
        "HeNormal(1.0)",
        "HeNormal(seed=3)",
        "HeNormal(stddev=1.0)",
        "RandomNormal(stddev='wide')",
        "RandomNormal(stddev=1e999)",
        "VarianceScaling(scale=0)",
        "VarianceScaling(scale=-1.0)",
        "VarianceScaling(mode='fan_max')",
        "VarianceScaling(mode=[1])",
        "VarianceScaling(distribution='cauchy')",
        "VarianceScaling(distribution=3)",
        "STFT(window='unheard_of')",
        "STFT(side='left')",
    ],
)
def test_text_that_keras_does_not_take_is_refused_in_the_words_of_the_whole_reader(text: str) -> None:
    with pytest.raises(InitcheckError) as expected:
        parse_initializer(text)
    with pytest.raises(InitcheckError) as caught:
        read_initializer(text)
    assert type(caught.value) is type(expected.value)
    # Keras lists its choices in the order of a set, the same within one process.
    assert str(caught.value) == str(expected.value) and "\n" not in str(caught.value)
