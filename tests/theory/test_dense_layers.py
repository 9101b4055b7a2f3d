"""What is kept of a batch, against its definition."""

from __future__ import annotations

import math

import numpy as np
import pytest
from monte_carlo import holds
from refusals import assert_refused

from initcheck.theory.dense_layers import describe_batch, single_input


def cosines_of(x: np.ndarray) -> np.ndarray:
    """Of all pairs of samples, one after the other."""
    return np.asarray(
        [
            sum(a * b for a, b in zip(x[i], x[j], strict=True)) / math.sqrt(np.sum(x[i] ** 2) * np.sum(x[j] ** 2))
            for i in range(len(x))
            for j in range(i + 1, len(x))
        ]
    )


def test_each_sample_has_its_mean_square() -> None:
    x = np.asarray([[3.0, 4.0], [0.0, -2.0]])
    inputs = describe_batch(x)
    np.testing.assert_allclose(inputs.second_moments, [12.5, 2.0])
    # (81 + 256) / 25^2 and 1.
    assert inputs.fourth_moment_sum == pytest.approx((337.0 / 625.0 + 1.0) / 2.0)


@pytest.mark.parametrize("batch", [2, 3, 5, 6, 7, 8, 16, 20, 32, 33])
def test_groups_keep_mean_and_mean_square_of_the_correlations(batch: int) -> None:
    x = np.random.default_rng(batch).normal(0.3, 1.0, (batch, 9))
    inputs = describe_batch(x)
    cosines = cosines_of(x)
    # The law averages over groups.
    assert np.sum(inputs.shares * inputs.correlations) == pytest.approx(cosines.mean(), rel=1e-12)
    squares = np.square(inputs.correlations) + inputs.correlation_variances
    assert np.sum(inputs.shares * squares) == pytest.approx(np.mean(cosines**2), rel=1e-12)
    assert np.all(inputs.correlation_variances >= 0.0)
    assert np.all(np.diff(inputs.correlations) >= 0.0)
    assert cosines.min() <= inputs.correlations[0] and inputs.correlations[-1] <= cosines.max()


def test_few_pairs_are_kept_one_by_one() -> None:
    x = np.random.default_rng(0).standard_normal((4, 6))
    inputs = describe_batch(x)
    np.testing.assert_allclose(inputs.correlations, np.sort(cosines_of(x)), rtol=1e-12)
    np.testing.assert_allclose(inputs.correlation_variances, 0.0, atol=1e-15)


def test_neither_order_nor_size_of_samples_changes_their_correlations() -> None:
    x = np.random.default_rng(1).standard_normal((6, 5))
    one = describe_batch(x)
    other = describe_batch(x[::-1] * np.arange(1.0, 7.0)[:, np.newaxis])
    np.testing.assert_allclose(other.correlations, one.correlations, rtol=1e-12)
    assert other.fourth_moment_sum == pytest.approx(one.fourth_moment_sum, rel=1e-12)


def test_equal_and_opposite_samples_have_correlations_of_one() -> None:
    x = np.random.default_rng(2).standard_normal(7)
    inputs = describe_batch([x, x, -x])
    np.testing.assert_allclose(inputs.correlations, [-1.0, -1.0, 1.0], rtol=1e-12)
    assert np.all(np.abs(inputs.correlations) <= 1.0)


def test_images_count_number_by_number() -> None:
    x = np.random.default_rng(3).standard_normal((3, 4, 4, 2))
    image, flat = describe_batch(x), describe_batch(x.reshape(3, -1))
    np.testing.assert_array_equal(image.second_moments, flat.second_moments)
    np.testing.assert_array_equal(image.correlations, flat.correlations)
    assert image.fourth_moment_sum == flat.fourth_moment_sum


def test_integers_are_numbers() -> None:
    inputs = describe_batch(np.asarray([[255, 0], [255, 255]], dtype=np.uint8))
    np.testing.assert_allclose(inputs.second_moments, [255.0**2 / 2.0, 255.0**2])


def test_one_sample_has_no_pairs() -> None:
    inputs = describe_batch([[1.0, 2.0]])
    assert inputs.correlations.size == inputs.correlation_variances.size == 0
    np.testing.assert_allclose(inputs.second_moments, [2.5])


def test_one_hot_inputs_have_the_largest_fourth_moment() -> None:
    assert describe_batch(np.eye(5)).fourth_moment_sum == pytest.approx(1.0)


def test_a_single_input_has_the_fourth_moment_of_gaussian_ones() -> None:
    x = np.random.default_rng(4).standard_normal((20_000, 12))
    draws = np.sum(x**4, axis=1) / np.sum(x**2, axis=1) ** 2
    assert holds(draws, single_input(12).fourth_moment_sum)
    # Negative control: the leading order.
    assert not holds(draws, 3.0 / 12.0)


def test_gradients_at_the_outputs_are_compared_pair_by_pair_with_the_inputs() -> None:
    random = np.random.default_rng(5)
    x, r = random.standard_normal((4, 6)), random.standard_normal((4, 3))
    inputs = describe_batch(x, r)
    pairs = [(i, j) for i in range(4) for j in range(i + 1, 4)]
    order = np.argsort(cosines_of(x))
    size = np.mean(np.sum(r**2, axis=1))
    expected = np.asarray([float(r[i] @ r[j]) / size for i, j in pairs])[order]
    np.testing.assert_allclose(inputs.gradient_cosines, expected, rtol=1e-12)
    np.testing.assert_array_equal(describe_batch(x).gradient_cosines, 0.0)


def test_a_single_input_is_one_dense_sample() -> None:
    inputs = single_input(10, 2.5)
    np.testing.assert_array_equal(inputs.second_moments, [2.5])
    assert inputs.correlations.size == 0


@pytest.mark.parametrize(
    "x",
    [
        [[0.0, 0.0], [1.0, 2.0]],
        [[1.0, math.nan], [1.0, 2.0]],
        [[1.0, math.inf], [1.0, 2.0]],
        [[1e200, 1.0], [1.0, 2.0]],
    ],
    ids=["zeros", "nan", "infinite", "too large to square"],
)
def test_a_sample_without_a_signal_to_follow_is_refused(x: list[list[float]]) -> None:
    with np.errstate(over="ignore"):
        assert_refused(lambda: describe_batch(x))
