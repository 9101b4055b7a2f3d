"""Defects of the values that initializers draw: their spread, their distribution, their dependence on each other."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
from planting import Change, Planted, call_wrapped, replaced, rewritten, slug, standard_values, values
from scipy import stats

from initcheck.backend.runtime import import_keras

CUT = 2.0
TRUNCATED_SD = 0.87962566103423978
"""Standard deviation of a normal that is cut at two of its own: what VarianceScaling divides by."""


def scaled(factor: float) -> Change:
    return lambda w, _: w * factor


def transformed(law: Any) -> Change:
    """Give truncated normals another law of the same variance, by the probabilities of their values."""

    def change(w: np.ndarray, _: np.random.Generator) -> np.ndarray:
        probability = stats.truncnorm.cdf(w * TRUNCATED_SD, -CUT, CUT)
        return law.ppf(np.clip(probability, 1e-9, 1.0 - 1e-9)) / law.std()

    return change


def transformed_normal(law: Any) -> Change:
    """Give normal numbers another law of variance 1, by the probabilities of their values."""
    return lambda w, _: law.ppf(stats.norm.cdf(w)) / law.std()


def redrawn(standard: Any) -> Change:
    """Draw from another law with mean 0 and variance 1."""
    return lambda w, random: standard(random, w.shape)


def clipped(w: np.ndarray, random: np.random.Generator) -> np.ndarray:
    drawn = np.clip(random.standard_normal(w.shape), -CUT, CUT)
    return drawn / math.sqrt(0.920536925636323)  # the variance of a normal that is clipped at 2


def half_zeroed(w: np.ndarray, random: np.random.Generator) -> np.ndarray:
    return w * (random.random(w.shape) < 0.5) * math.sqrt(2.0)


def matrix(change: Change) -> Change:
    """Apply a change to the weights as a matrix: all axes but the last together, and the last."""

    def changed(w: np.ndarray, random: np.random.Generator) -> np.ndarray:
        return change(w.reshape(-1, w.shape[-1]), random).reshape(w.shape) if w.ndim > 1 else w

    return changed


def tiled(w: np.ndarray, _: np.random.Generator) -> np.ndarray:
    rows, columns = (math.ceil(extent / 2) for extent in w.shape)
    return np.tile(w[:rows, :columns], (2, 2))[: w.shape[0], : w.shape[1]]


def antithetic(w: np.ndarray, _: np.random.Generator) -> np.ndarray:
    half = w.shape[0] // 2
    return np.concatenate([w[: w.shape[0] - half], -w[:half]])


def permuted_rows(w: np.ndarray, random: np.random.Generator) -> np.ndarray:
    return np.stack([random.permutation(w[0]) for _ in range(len(w))])


def autoregressive(w: np.ndarray, _: np.random.Generator) -> np.ndarray:
    flat = w.ravel().copy()
    flat[1:] = 0.05 * flat[:-1] + math.sqrt(1.0 - 0.05**2) * flat[1:]
    return flat.reshape(w.shape)


def uneven_columns(w: np.ndarray, _: np.random.Generator) -> np.ndarray:
    """Every second unit with a variance of 1.1, the others with .9: the same on average."""
    return w * np.where(np.arange(w.shape[-1]) % 2, math.sqrt(1.1), math.sqrt(0.9))


def shared_part(w: np.ndarray, _: np.random.Generator) -> np.ndarray:
    """A correlation of .3 between any two draws of one shape: a part that no seed changes."""
    fixed = np.random.default_rng(1).standard_normal(w.shape)
    return math.sqrt(0.7) * w + math.sqrt(0.3) * fixed


def rounded(dtype: str) -> Change:
    def change(w: np.ndarray, _: np.random.Generator) -> np.ndarray:
        ops = import_keras().ops
        return np.asarray(ops.cast(ops.cast(ops.convert_to_tensor(w), dtype), "float64"))

    return change


def one_in_thousand(w: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """One entry in a thousand at four standard deviations."""
    return np.where(random.random(w.shape) < 1e-3, 4.0, w)


def _variance(class_name: str, factor: float, spared: str) -> Planted:
    return Planted(
        f"variance_of_{slug(class_name)}",
        f"{class_name}'s variance is off by {factor - 1.0:+.0%}",
        standard_values(class_name, scaled(math.sqrt(factor))),
        (f"distribution.{slug(class_name)}.variance",),
        (f"distribution.{spared}.variance",),
    )


VARIANCES = (
    _variance("RandomNormal", 1.05, "truncated_normal"),
    _variance("TruncatedNormal", 0.95, "random_normal"),
    _variance("RandomUniform", 1.05, "random_normal"),
    _variance("GlorotNormal", 0.95, "glorot_uniform"),
    _variance("GlorotUniform", 1.05, "glorot_normal"),
    _variance("HeNormal", 0.95, "he_uniform"),
    _variance("HeUniform", 0.95, "he_normal"),
    _variance("LecunNormal", 1.05, "lecun_uniform"),
    _variance("LecunUniform", 0.95, "lecun_normal"),
)

SCALED_TRUNCATED = "VarianceScaling GlorotNormal HeNormal LecunNormal"
SCALED_UNIFORM = "GlorotUniform HeUniform LecunUniform"


def _of_distribution(distribution: str, change: Change) -> Any:
    """Plant a change of all that VarianceScaling draws from one distribution."""

    def make(call: Any) -> Any:
        @functools.wraps(call)
        def changed(self: Any, shape: Any, dtype: Any = None) -> Any:
            drawn = call(self, shape, dtype=dtype)
            return rewritten(drawn, change) if self.distribution == distribution else drawn

        return changed

    return replaced("initializers.random_initializers.VarianceScaling.__call__", make)


SPREADS = (
    Planted(
        "no_truncation_correction",
        "the variance that truncation takes away is not made up for",
        _of_distribution("truncated_normal", scaled(TRUNCATED_SD)),
        (
            "distribution.glorot_normal.variance",
            "distribution.he_normal.variance",
            "distribution.lecun_normal.variance",
        ),
        ("distribution.he_uniform.variance",),
        named_first=(
            "distribution.variance_scaling.variance",
            "distribution.variance_scaling_*_truncated_normal.variance",
        ),
    ),
    Planted(
        "double_truncation_correction",
        "the variance that truncation takes away is made up for twice",
        _of_distribution("truncated_normal", scaled(1.0 / TRUNCATED_SD)),
        ("distribution.he_normal.variance",),
        ("distribution.he_uniform.variance",),
        named_first=(
            "distribution.variance_scaling.variance",
            "distribution.variance_scaling_*_truncated_normal.variance",
        ),
    ),
    Planted(
        "uniform_limit_without_root_three",
        "a scaled uniform's limit is its standard deviation",
        _of_distribution("uniform", scaled(1.0 / math.sqrt(3.0))),
        ("distribution.he_uniform.variance",),
        ("distribution.he_normal.variance",),
        named_first=("distribution.variance_scaling_*_uniform.variance",),
    ),
    Planted(
        "he_normal_scale_one",
        "HeNormal has the variance 1/fan_in",
        values("HeNormal", scaled(math.sqrt(0.5))),
        ("distribution.he_normal.variance",),
        ("distribution.he_uniform.variance",),
    ),
    Planted(
        "glorot_uniform_scale_two",
        "GlorotUniform has a gain of sqrt(2)",
        values("GlorotUniform", scaled(math.sqrt(2.0))),
        ("distribution.glorot_uniform.variance",),
        ("distribution.glorot_normal.variance",),
    ),
    Planted(
        "mean_of_random_normal",
        "RandomNormal's mean is off by .05 standard deviations",
        standard_values("RandomNormal", lambda w, _: w + 0.05),
        ("distribution.random_normal.mean",),
        ("distribution.truncated_normal.mean",),
    ),
    Planted(
        "mean_of_he_uniform",
        "HeUniform's mean is off by -.05 standard deviations",
        standard_values("HeUniform", lambda w, _: w - 0.05),
        ("distribution.he_uniform.mean",),
        ("distribution.he_normal.mean",),
    ),
)

SHAPES = (
    Planted(
        "truncated_at_2_2",
        "HeNormal is cut at 2.2 standard deviations of its normal, with the right variance",
        standard_values("HeNormal", transformed(stats.truncnorm(-2.2, 2.2))),
        ("distribution.he_normal.support",),
        named_first=("distribution.he_normal.support", "distribution.he_normal.distribution"),
    ),
    Planted(
        "not_truncated",
        "GlorotNormal is not truncated, with the right variance",
        standard_values("GlorotNormal", transformed(stats.norm())),
        ("distribution.glorot_normal.support",),
        named_first=("distribution.glorot_normal.support", "distribution.glorot_normal.distribution"),
    ),
    Planted(
        "clipped",
        "LecunNormal's tails are clipped and not drawn again, with the right variance",
        standard_values("LecunNormal", clipped),
        ("distribution.lecun_normal.distribution",),
    ),
    Planted(
        "laplace",
        "RandomNormal draws from Laplace's distribution of the same variance",
        standard_values("RandomNormal", redrawn(lambda random, shape: random.laplace(size=shape) / math.sqrt(2.0))),
        ("distribution.random_normal.distribution",),
        ("distribution.random_normal.mean",),
    ),
    Planted(
        "student",
        "RandomNormal draws from Student's distribution with 5 degrees of freedom and the same variance",
        standard_values("RandomNormal", redrawn(lambda random, shape: random.standard_t(5, shape) * math.sqrt(0.6))),
        ("distribution.random_normal.distribution",),
        ("distribution.random_normal.mean",),
    ),
    Planted(
        "uniform_for_normal",
        "HeNormal draws from the uniform distribution of the same variance",
        standard_values("HeNormal", transformed(stats.uniform(-1.0, 2.0))),
        ("distribution.he_normal.distribution",),
        ("distribution.he_normal.mean",),
    ),
    Planted(
        "normal_for_uniform",
        "GlorotUniform draws from the normal distribution of the same variance",
        standard_values("GlorotUniform", redrawn(lambda random, shape: random.standard_normal(shape))),
        ("distribution.glorot_uniform.distribution",),
        ("distribution.glorot_uniform.mean",),
    ),
    Planted(
        "two_points",
        "LecunUniform returns plus or minus its standard deviation",
        standard_values("LecunUniform", lambda w, _: np.where(w < 0.0, -1.0, 1.0)),
        ("distribution.lecun_uniform.distribution",),
        ("distribution.lecun_uniform.mean",),
    ),
    Planted(
        "half_zeroed",
        "half of HeNormal's weights are zero, with the variance kept",
        values("HeNormal", half_zeroed),
        ("distribution.he_normal.distribution",),
        ("distribution.he_normal.mean",),
    ),
    Planted(
        "absolute",
        "LecunNormal's weights have lost their signs",
        values("LecunNormal", lambda w, _: np.abs(w)),
        ("distribution.lecun_normal.mean", "distribution.lecun_normal.sign_balance"),
        ("distribution.lecun_normal.variance",),
    ),
    Planted(
        "outliers",
        "one weight of RandomUniform in a thousand is far outside",
        standard_values("RandomUniform", one_in_thousand),
        ("distribution.random_uniform.support",),
    ),
    Planted(
        "through_float16",
        "HeUniform's values went through float16",
        values("HeUniform", rounded("float16")),
        ("dtype.he_uniform.resolution",),
        named_first=("dtype.he_uniform.resolution", "distribution.he_uniform.resolution"),
    ),
    Planted(
        "through_bfloat16",
        "RandomNormal's values went through bfloat16",
        values("RandomNormal", rounded("bfloat16")),
        ("dtype.random_normal.resolution",),
        named_first=("dtype.random_normal.resolution", "distribution.random_normal.resolution"),
    ),
)

DEPENDENCE = (
    Planted(
        "equal_rows",
        "all rows of GlorotUniform's kernels are equal",
        values("GlorotUniform", matrix(lambda w, _: np.broadcast_to(w[:1], w.shape).copy())),
        ("distribution.glorot_uniform.independence_within_columns",),
        named_first=("distribution.glorot_uniform.independence_within_*",),
    ),
    Planted(
        "equal_columns",
        "all units get the same weights from HeNormal",
        values("HeNormal", matrix(lambda w, _: np.broadcast_to(w[:, :1], w.shape).copy())),
        ("distribution.he_normal.independence_within_rows",),
        named_first=("distribution.he_normal.independence_within_*",),
    ),
    Planted(
        "tiled",
        "HeUniform's kernels are four copies of one block",
        values("HeUniform", matrix(tiled)),
        ("distribution.he_uniform.independence_within_rows", "distribution.he_uniform.independence_within_columns"),
    ),
    Planted(
        "antithetic",
        "the second half of LecunNormal's rows is the first with its signs reversed",
        values("LecunNormal", matrix(antithetic)),
        ("distribution.lecun_normal.independence_within_columns",),
        named_first=("distribution.lecun_normal.independence_within_*",),
    ),
    Planted(
        "permuted_rows",
        "the rows of RandomNormal's kernels are the first one in other orders",
        values("RandomNormal", matrix(permuted_rows)),
        ("distribution.random_normal.independence_within_columns",),
        named_first=("distribution.random_normal.independence_within_*",),
    ),
    Planted(
        "autoregressive",
        "neighbours in TruncatedNormal's kernels have a correlation of .05",
        standard_values("TruncatedNormal", matrix(autoregressive)),
        ("distribution.truncated_normal.independence_of_neighbours",),
        named_first=(
            "distribution.truncated_normal.independence_of_neighbours",
            "distribution.truncated_normal.independence_within_rows",
        ),
    ),
    Planted(
        "sorted_columns",
        "each unit's weights from LecunUniform come in order",
        values("LecunUniform", matrix(lambda w, _: np.sort(w, axis=0))),
        ("distribution.lecun_uniform.independence_within_columns",),
        named_first=("distribution.lecun_uniform.independence_within_*",),
    ),
    Planted(
        "uneven_columns",
        "GlorotNormal's units differ in variance, .9 and 1.1, with the right variance on average",
        values("GlorotNormal", matrix(uneven_columns)),
        ("distribution.glorot_normal.support", "distribution.glorot_normal.independence_within_rows"),
        named_first=("distribution.glorot_normal.independence_within_*",),
    ),
    Planted(
        "uneven_columns_of_random_normal",
        "RandomNormal's units differ in variance, .9 and 1.1, with the right variance on average",
        standard_values("RandomNormal", matrix(uneven_columns)),
        ("distribution.random_normal.independence_within_rows",),
        named_first=("distribution.random_normal.independence_within_*",),
    ),
    Planted(
        "fixed_part",
        "a third of GlorotNormal's variance is the same whatever the seed",
        standard_values("GlorotNormal", shared_part),
        ("distribution.glorot_normal.independence_across_layers",),
        named_first=(
            "distribution.glorot_normal.independence_across_layers",
            "determinism.glorot_normal.seed_sensitivity",
        ),
    ),
)


def _without_largest(uniform: Any) -> Any:
    """Give a uniform that never returns its upper bound, as it is documented."""

    @functools.wraps(uniform)
    def changed(shape: Any, minval: float = 0.0, maxval: float = 1.0, dtype: Any = None, seed: Any = None) -> Any:
        import tensorflow as tf

        drawn = uniform(shape, minval=minval, maxval=maxval, dtype=dtype, seed=seed)
        if drawn.dtype != tf.float32:
            return drawn
        return tf.minimum(drawn, np.nextafter(np.float32(maxval), np.float32(minval)))

    return changed


REPAIRS = (
    Planted(
        "truncated_normal_as_documented",
        "a repair: TruncatedNormal's values have the standard deviation that it is given",
        standard_values("TruncatedNormal", scaled(1.0 / TRUNCATED_SD)),
        ("distribution.truncated_normal.stddev_1_is_the_standard_deviation",),
        named_first=(
            "distribution.truncated_normal.variance",
            "distribution.truncated_normal.stddev_*",
            "distribution.truncated_normal_with_arguments.variance",
        ),
    ),
    Planted(
        "random_uniform_as_documented",
        "a repair: RandomUniform never returns maxval",
        replaced("backend.tensorflow.random.uniform", _without_largest),
        ("distribution.random_uniform.excludes_maxval",),
    ),
)


def not_finite_at_the_end(value: float) -> Change:
    """Put one number that is not finite at the end of each weight."""

    def change(w: np.ndarray, _: np.random.Generator) -> np.ndarray:
        changed = w.copy()
        changed.flat[-1] = value
        return changed

    return change


def seldom(value: float, share: float) -> Change:
    return lambda w, random: np.where(random.random(w.shape) < share, value, w)


def _only(condition: Any, change: Change) -> Change:
    """Change weights of some shapes alone."""
    return lambda w, random: change(w, random) if condition(w.shape) else w


def _in_dtype(dtype: str, change: Change) -> Any:
    """Plant a change of what VarianceScaling's relatives return in one dtype."""

    def wrap(call: Any) -> Any:
        @functools.wraps(call)
        def changed(self: Any, shape: Any, dtype_asked: Any = None, **named: Any) -> Any:
            wanted = named.get("dtype", dtype_asked)
            drawn = call(self, shape, dtype=wanted)
            return rewritten(drawn, change) if wanted == dtype else drawn

        return changed

    return wrap


NOT_FINITE = (
    Planted(
        "nan_at_the_end",
        "the last of HeNormal's weights is NaN",
        values("HeNormal", not_finite_at_the_end(math.nan)),
        ("distribution.he_normal.finite",),
    ),
    Planted(
        "seldom_infinite",
        "one of RandomNormal's weights in ten thousand is infinite",
        values("RandomNormal", seldom(math.inf, 1e-4)),
        ("distribution.random_normal.finite",),
    ),
    Planted(
        "nan_in_convolutions",
        "Orthogonal gives NaN for kernels of three spatial axes",
        values("Orthogonal", _only(lambda shape: len(shape) == 5, lambda w, _: w * math.nan)),
        ("distribution.orthogonal.finite",),
    ),
    Planted(
        "infinite_in_float16",
        "TruncatedNormal's largest weights are infinite in float16",
        call_wrapped(
            "TruncatedNormal",
            _in_dtype("float16", lambda w, _: np.where(np.abs(w) > 1.9 * np.std(w), np.sign(w) * math.inf, w)),
        ),
        ("distribution.truncated_normal.finite",),
        ("distribution.truncated_normal.variance",),
    ),
)


def _levels(bits: int) -> Change:
    """Let numbers be multiples of a power of two, of which the largest has so many bits and its sign one."""

    def change(w: np.ndarray, _: np.random.Generator) -> np.ndarray:
        step = 2.0 ** (math.ceil(math.log2(np.abs(w).max())) - bits + 1)
        return np.trunc(w / step) * step

    return change


def _of_quantiles(w: np.ndarray, _: np.random.Generator) -> np.ndarray:
    """Let normal numbers be one of 65,536 quantiles."""
    cell = np.clip(np.floor(stats.norm.cdf(w) * 65536.0), 0.0, 65535.0)
    return stats.norm.ppf((cell + 0.5) / 65536.0)


def _mantissa(bits: int) -> Change:
    def change(w: np.ndarray, _: np.random.Generator) -> np.ndarray:
        fraction, exponent = np.frexp(w)
        return np.ldexp(np.round(fraction * 2.0**bits) / 2.0**bits, exponent)

    return change


RESOLUTIONS = (
    Planted(
        "uniform_of_16_bits",
        "RandomUniform's numbers have 16 bits",
        values("RandomUniform", _levels(16)),
        ("distribution.random_uniform.resolution",),
        ("distribution.random_uniform.variance", "distribution.random_uniform.support"),
        ("distribution.random_uniform.resolution", "dtype.random_uniform.resolution"),
    ),
    Planted(
        "uniform_of_20_bits",
        "HeUniform's numbers have 20 bits",
        values("HeUniform", _levels(20)),
        ("distribution.he_uniform.resolution",),
        ("distribution.he_uniform.variance", "distribution.he_uniform.support"),
        ("distribution.he_uniform.resolution", "dtype.he_uniform.resolution"),
    ),
    Planted(
        "normal_of_quantiles",
        "RandomNormal's numbers are one of 65,536 quantiles",
        standard_values("RandomNormal", _of_quantiles),
        ("distribution.random_normal.resolution",),
        ("distribution.random_normal.variance", "distribution.random_normal.distribution"),
    ),
    Planted(
        "mantissa_of_11_bits",
        "GlorotNormal's numbers keep 11 bits, as a matrix unit's do",
        values("GlorotNormal", _mantissa(11)),
        ("dtype.glorot_normal.resolution",),
        ("distribution.glorot_normal.variance",),
        ("dtype.glorot_normal.resolution", "distribution.glorot_normal.resolution"),
    ),
)


def _matrix_scaled(of_rows: Any) -> Change:
    """Scale each row by a factor; their squares are 1 on average."""

    def change(w: np.ndarray, _: np.random.Generator) -> np.ndarray:
        factors = np.asarray(of_rows(np.arange(len(w)) / max(len(w) - 1, 1)))
        return w * (factors / math.sqrt(np.mean(factors**2)))[:, None]

    return matrix(change)


def _shared_by_blocks(w: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Let blocks of 4 x 4 have a part in common, a tenth of the variance."""
    rows, columns = (math.ceil(extent / 4) for extent in w.shape)
    parts = np.kron(random.standard_normal((rows, columns)), np.ones((4, 4)))[: w.shape[0], : w.shape[1]]
    return math.sqrt(0.9) * w + math.sqrt(0.1) * parts


def _signs_of_rows_and_columns(w: np.ndarray, random: np.random.Generator) -> np.ndarray:
    rows, columns = (random.choice([-1.0, 1.0], extent) for extent in w.shape)
    return np.abs(w) * rows[:, None] * columns


def _of_size_by_draw(w: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Scale each draw by .9 or by 1.09: the same variance on average."""
    return w * math.sqrt(random.choice([0.81, 1.19]))


def _rank_halved(w: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Give every unit of the second half the sum of two of the first: the rank is halved, the variance kept."""
    half = w.shape[1] // 2
    changed = w.copy()
    if half > 1:
        sums = (w[:, :half] + np.roll(w[:, :half], 1, axis=1)) / math.sqrt(2.0)
        changed[:, half : 2 * half] = sums
    return changed


def _too_large(truncated_normal: Any) -> Any:
    @functools.wraps(truncated_normal)
    def changed(shape: Any, mean: float = 0.0, stddev: float = 1.0, dtype: Any = None, seed: Any = None) -> Any:
        return truncated_normal(shape, mean, 1.1 * stddev, dtype=dtype, seed=seed)

    return changed


SCALE_AND_DEPENDENCE = (
    Planted(
        "uneven_rows",
        "LecunUniform's inputs differ in variance, from .6 to 1.4, with the right variance on average",
        values("LecunUniform", _matrix_scaled(lambda place: np.sqrt(0.6 + 0.8 * place))),
        ("distribution.lecun_uniform.independence_within_columns",),
        ("distribution.lecun_uniform.variance", "distribution.lecun_uniform.mean"),
        ("distribution.lecun_uniform.independence_within_*",),
    ),
    Planted(
        "blocks_share_a_part",
        "blocks of 4 by 4 of TruncatedNormal's weights have a tenth of their variance in common",
        standard_values("TruncatedNormal", matrix(_shared_by_blocks)),
        ("distribution.truncated_normal.independence_within_rows",),
        ("distribution.truncated_normal.variance",),
        ("distribution.truncated_normal.independence_*",),
    ),
    Planted(
        "signs_of_rows_and_columns",
        "the sign of each of GlorotNormal's weights is its row's times its column's",
        values("GlorotNormal", matrix(_signs_of_rows_and_columns)),
        ("distribution.glorot_normal.independence_within_rows",),
        ("distribution.glorot_normal.variance",),
        ("distribution.glorot_normal.independence_within_*",),
    ),
    Planted(
        "rank_halved",
        "half of HeNormal's units are sums of two others",
        values("HeNormal", matrix(_rank_halved)),
        ("distribution.he_normal.independence_within_rows",),
        ("distribution.he_normal.variance",),
        ("distribution.he_normal.independence_within_*",),
    ),
    Planted(
        "size_by_draw",
        "each of RandomUniform's weights has a variance of .81 or 1.19, the right one on average",
        standard_values("RandomUniform", _of_size_by_draw),
        ("distribution.random_uniform.independence_across_layers",),
        (),
        ("distribution.random_uniform.independence_across_layers",),
    ),
    Planted(
        "variance_of_convolutions",
        "HeUniform lacks its factor 2 in convolutions",
        values("HeUniform", _only(lambda shape: len(shape) > 2, scaled(math.sqrt(0.5)))),
        ("distribution.he_uniform.variance",),
        ("distribution.he_uniform.independence_within_rows", "distribution.he_uniform.independence_across_layers"),
    ),
    Planted(
        "variance_of_truncated_normals",
        "truncated normal numbers are a tenth too large where they are drawn",
        replaced("backend.tensorflow.random.truncated_normal", _too_large),
        ("distribution.truncated_normal.variance", "distribution.he_normal.variance"),
        ("distribution.truncated_normal.independence_within_rows", "distribution.he_uniform.variance"),
        # Of what is drawn by the same function, TruncatedNormal is closest to it.
        ("distribution.truncated_normal*.variance", "distribution.truncated_normal*.mean"),
    ),
)


def _contaminated(w: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Let one in a hundred be three times as large, with the variance kept."""
    factor = np.where(random.random(w.shape) < 0.01, 3.0, 1.0)
    return w * factor / math.sqrt(1.0 + 0.01 * 8.0)


def _skewed(w: np.ndarray, _: np.random.Generator) -> np.ndarray:
    """Give the numbers of a shifted gamma distribution, of skewness .5, with the mean and the variance kept."""
    law = stats.gamma(16.0)
    return (law.ppf(np.clip(stats.norm.cdf(w), 1e-12, 1.0 - 1e-12)) - 16.0) / 4.0


TAILS_AND_SUPPORT = (
    Planted(
        "contaminated",
        "one of RandomNormal's weights in a hundred is three times as large, with the right variance",
        standard_values("RandomNormal", _contaminated),
        ("distribution.random_normal.support", "distribution.random_normal.tails"),
        ("distribution.random_normal.variance",),
        ("distribution.random_normal.support", "distribution.random_normal.tails"),
    ),
    Planted(
        "normal_cut_at_3",
        "RandomNormal's numbers are drawn again beyond three standard deviations, with the right variance",
        standard_values("RandomNormal", transformed_normal(stats.truncnorm(-3.0, 3.0))),
        ("distribution.random_normal.support",),
        ("distribution.random_normal.variance", "distribution.random_normal.independence_within_rows"),
    ),
    Planted(
        "skewed",
        "RandomNormal's distribution is skewed, with the right mean and variance",
        standard_values("RandomNormal", _skewed),
        ("distribution.random_normal.distribution",),
        ("distribution.random_normal.mean", "distribution.random_normal.variance"),
    ),
    Planted(
        "triangular",
        "LecunUniform draws from the triangular distribution of the same variance",
        standard_values(
            "LecunUniform", redrawn(lambda random, shape: random.triangular(-1.0, 0.0, 1.0, shape) * math.sqrt(6.0))
        ),
        ("distribution.lecun_uniform.distribution",),
        ("distribution.lecun_uniform.mean", "distribution.lecun_uniform.independence_within_rows"),
    ),
    Planted(
        "limit_too_small",
        "GlorotUniform's limit is too small by half a per cent",
        values("GlorotUniform", scaled(0.995)),
        ("distribution.glorot_uniform.support",),
        ("distribution.glorot_uniform.independence_within_rows", "distribution.glorot_uniform.distribution"),
    ),
    Planted(
        "seldom_beyond",
        "one of HeUniform's weights in ten thousand is a tenth beyond the limit",
        values(
            "HeUniform",
            lambda w, random: np.where(random.random(w.shape) < 1e-4, 1.1 * np.sign(w) * np.abs(w).max(), w),
        ),
        ("distribution.he_uniform.support",),
        ("distribution.he_uniform.variance", "distribution.he_uniform.tails"),
    ),
)

DEFECTS = (
    *VARIANCES,
    *SPREADS,
    *SHAPES,
    *DEPENDENCE,
    *REPAIRS,
    *NOT_FINITE,
    *RESOLUTIONS,
    *SCALE_AND_DEPENDENCE,
    *TAILS_AND_SUPPORT,
)
