"""The law of networks of Dense layers at finite width, against networks drawn with NumPy and laws that are exact.

The law is one of order 1/n, so the cells are such that terms of the next order are below what the seeds resolve: near
criticality, with a product of depth and fluctuation that is not large. Tolerances are standard errors of the seeds,
and never fixed percentages: a mean is compared by its own empirical error, a spread by that of the logarithm of the
sample variance, sqrt((kurtosis - 1) / S), with the sample's own kurtosis, or that of a normal law where it is less.

Each of about 500 comparisons has a rate of false alarms of 1.1e-5, that of 4.4 standard errors of a normal average; the
tolerance is the quantile of Student's t for the number of seeds. So if the law were exact, one run in two hundred with
fresh seeds would fail. The seeds are fixed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pytest
from dense_prediction import OUTPUTS, measure_spread_distance, predict
from dense_simulation import Kernel, Networks, simulate
from finite_width_laws import compute_batch_covariance
from marked import slow
from monte_carlo import STANDARD_ERRORS, measure_distance
from numpy.typing import NDArray
from scipy import stats

from initcheck.theory.dense_network import DenseNetworkMoments, LayerMoments, describe_batch

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Cell:
    """One kind of network.

    Attributes:
        activation: of the hidden layers.
        kernel: of the hidden layers.
        widths: of the hidden layers.
        seeds: number of networks.
        batch: number of samples, each of mean square 1.
        shared: size of what all samples have in common; 0 makes them independent, 1 correlates them by 1/2.
        bias_variance: of the hidden layers.
    """

    activation: str
    kernel: Kernel
    widths: tuple[int, ...]
    seeds: int
    batch: int = 1
    shared: float = 0.0
    bias_variance: float = 0.0

    def draw_inputs(self) -> Array:
        random = np.random.default_rng(self.batch)
        features = self.widths[0]
        x = random.standard_normal((self.batch, features)) + self.shared * random.standard_normal(features)
        inputs: Array = x / np.sqrt(np.mean(np.square(x), axis=1, keepdims=True))
        return inputs

    def predict(self) -> DenseNetworkMoments:
        return _predict(self)

    def simulate(self) -> Networks:
        return _simulate(self)

    @property
    def places(self) -> list[int]:
        """First, middle and last hidden layer."""
        depth = len(self.widths)
        return sorted({0, depth // 2, depth - 1})


@cache
def _predict(cell: Cell) -> DenseNetworkMoments:
    x = cell.draw_inputs()
    return predict(cell.activation, cell.kernel, cell.widths, describe_batch(x), x.shape[1], cell.bias_variance)


@cache
def _simulate(cell: Cell) -> Networks:
    x = cell.draw_inputs()
    seed = sum(map(ord, cell.activation + cell.kernel.kind)) + len(cell.widths)
    return simulate(cell.activation, cell.kernel, cell.widths, x, cell.seeds, seed, cell.bias_variance, OUTPUTS)


CELLS = {
    "relu, he": Cell("relu", Kernel("normal", 2.0), (64,) * 10, 1500),
    "relu, he, one layer": Cell("relu", Kernel("normal", 2.0), (64,), 3000, batch=4),
    "relu, he, a batch": Cell("relu", Kernel("normal", 2.0), (128,) * 20, 300, batch=16),
    "relu, he, wide and deep": Cell("relu", Kernel("uniform", 2.0), (1024,) * 50, 16),
    "relu, glorot, a batch": Cell("relu", Kernel("truncated_normal", 1.0), (64,) * 10, 800, batch=4),
    "relu, he, rectangles": Cell("relu", Kernel("normal", 2.0), (128, 64, 96, 128, 64, 96), 1500, batch=4),
    "relu, uniform": Cell("relu", Kernel("uniform", 2.0), (64,) * 10, 1000),
    "relu, orthogonal": Cell("relu", Kernel("orthogonal", 2.0, "fan_max"), (64,) * 10, 600),
    "leaky relu, off criticality": Cell("leaky_relu", Kernel("normal", 1.7), (128,) * 10, 400, batch=4, shared=1.0),
    "linear, deep": Cell("linear", Kernel("normal", 1.0), (64,) * 50, 500),
    "tanh, critical": Cell("tanh", Kernel("normal", 1.0), (128,) * 20, 300),
    "tanh, chaotic with biases, a batch": Cell(
        "tanh", Kernel("normal", 2.0), (256,) * 10, 160, batch=16, shared=1.0, bias_variance=0.1
    ),
    "tanh, rectangles with biases": Cell(
        "tanh", Kernel("uniform", 1.5), (128, 64, 96, 128, 64, 96), 1500, batch=4, bias_variance=0.2
    ),
    "tanh, orthogonal, a batch": Cell("tanh", Kernel("orthogonal", 1.0, "fan_max"), (64,) * 10, 600, batch=4),
    "selu": Cell("selu", Kernel("normal", 1.0), (128,) * 20, 300, batch=4),
    "sigmoid": Cell("sigmoid", Kernel("normal", 2.0), (64,) * 4, 1500, batch=4),
    "hard tanh with biases": Cell("hard_tanh", Kernel("normal", 1.3), (128,) * 10, 400, bias_variance=0.05),
}
QUICK = ("relu, he", "relu, he, one layer", "relu, glorot, a batch", "relu, orthogonal", "sigmoid")


def parametrize_cells(names: Iterable[str]) -> pytest.MarkDecorator:
    """The default run draws the quick cells alone."""
    quick = [name for name in names if name in QUICK]
    return pytest.mark.parametrize(
        "name", [*quick, *slow("montecarlo", *(each for each in names if each not in quick))]
    )


by_cell = parametrize_cells(CELLS)


def courses_of(networks: Networks, law: DenseNetworkMoments) -> dict[str, tuple[Array, LayerMoments]]:
    return {
        "preactivation": (networks.preactivation, law.preactivation),
        "activation": (networks.activation, law.activation),
        "gradient": (networks.gradient, law.gradient),
    }


def compare_means(cell: Cell, law: DenseNetworkMoments) -> dict[str, float]:
    """Distances of mean logarithms, in standard errors, by quantity and layer."""
    return {
        f"ln {quantity} in layer {place}": measure_distance(np.log(draws[:, place]), float(course.log_mean[place]))
        for quantity, (draws, course) in courses_of(cell.simulate(), law).items()
        for place in cell.places
        if course.covariance[place, place] > 0.0
    }


def compare_spreads(cell: Cell, law: DenseNetworkMoments) -> dict[str, float]:
    """Distances of variances of logarithms, in standard errors, by quantity and layer."""
    return {
        f"variance of ln {quantity} in layer {place}": measure_spread_distance(
            np.log(draws[:, place]), float(course.covariance[place, place])
        )
        for quantity, (draws, course) in courses_of(cell.simulate(), law).items()
        for place in cell.places
        if course.covariance[place, place] > 0.0
    }


def compare_gains(cell: Cell, law: DenseNetworkMoments) -> dict[str, float]:
    """Distances of means and spreads of the mean factor from layer to layer, in standard errors."""
    networks, forward = cell.simulate(), list(range(len(cell.widths)))
    distances = {}
    for direction, draws, course, places in (
        ("forward", networks.preactivation, law.preactivation, forward),
        ("backward", networks.gradient, law.gradient, forward[::-1]),
    ):
        gains = np.mean(draws[:, places[1:]] / draws[:, places[:-1]], axis=1)
        gain = course.gain(places)
        distances[f"gain {direction}"] = measure_distance(gains, gain.mean)
        distances[f"variance of gain {direction}"] = measure_spread_distance(gains, gain.standard_deviation**2)
    return distances


def assert_close(distances: dict[str, float], seeds: int) -> None:
    tolerance = stats.t.isf(stats.norm.sf(STANDARD_ERRORS), seeds - 1)
    far = {quantity: distance for quantity, distance in distances.items() if not distance <= tolerance}
    assert not far


class TestDrawnNetworks:
    @by_cell
    def test_mean_logarithms_are_those_of_the_law(self, name: str) -> None:
        assert_close(compare_means(CELLS[name], CELLS[name].predict()), CELLS[name].seeds)

    @by_cell
    def test_spreads_over_seeds_are_those_of_the_law(self, name: str) -> None:
        assert_close(compare_spreads(CELLS[name], CELLS[name].predict()), CELLS[name].seeds)

    @parametrize_cells([name for name, cell in CELLS.items() if len(cell.widths) > 1])
    def test_gains_and_their_spreads_are_those_of_the_law(self, name: str) -> None:
        assert_close(compare_gains(CELLS[name], CELLS[name].predict()), CELLS[name].seeds)

    @by_cell
    def test_gradients_of_the_weights_are_those_of_the_law(self, name: str) -> None:
        cell = CELLS[name]
        networks, law = cell.simulate(), cell.predict()
        assert_close(
            {
                f"weight gradient of layer {place}": measure_distance(
                    networks.weight_gradient[:, place], float(law.weight_gradient[place])
                )
                for place in cell.places
            },
            cell.seeds,
        )

    @by_cell
    def test_means_and_variances_across_the_batch_are_those_of_the_law(self, name: str) -> None:
        cell = CELLS[name]
        networks, law = cell.simulate(), cell.predict()
        distances = {}
        for place in cell.places:
            means = networks.activation_mean[:, place]
            distances[f"mean in layer {place}"] = measure_distance(means, float(law.activation_mean[place]))
            if cell.batch == 1:
                assert math.isnan(law.activation_batch_variance[place])
                continue
            distances[f"variance across the batch in layer {place}"] = measure_distance(
                networks.activation_batch_variance[:, place], float(law.activation_batch_variance[place])
            )
        assert_close(distances, cell.seeds)

    @parametrize_cells([name for name, cell in CELLS.items() if cell.kernel.kind == "orthogonal"])
    def test_orthogonal_weights_keep_the_size_of_the_input_in_the_first_layer(self, name: str) -> None:
        # There is no spread to compare: the law says zero.
        cell = CELLS[name]
        assert cell.predict().preactivation.covariance[0, 0] == 0.0
        np.testing.assert_allclose(cell.simulate().preactivation[:, 0], cell.kernel.scale, rtol=1e-5)

    @pytest.mark.parametrize("c", [-0.5, 0.0, 0.9])
    def test_two_inputs_covary_by_their_correlation(self, c: float) -> None:
        width = 64
        x = np.asarray([[1.0, 0.0], [c, math.sqrt(1.0 - c * c)]]) * math.sqrt(2.0)
        networks = simulate("relu", Kernel("normal", 2.0), [width], x, seeds=6000, seed=3)
        first, second = networks.activation_by_sample[:, 0].T
        # Means are 1 exactly, and so is the covariance at any width.
        draws = width * (first - 1.0) * (second - 1.0)
        assert measure_distance(draws, compute_batch_covariance(c)) <= STANDARD_ERRORS
        # Negative control.
        assert measure_distance(draws, compute_batch_covariance(c) + 1.0) > STANDARD_ERRORS
        # The law knows the mean over the batch, which has half the variance and half the covariance.
        law = predict("relu", Kernel("normal", 2.0), [width], describe_batch(x), 2).activation
        pooled = np.log(networks.activation[:, 0])
        assert measure_spread_distance(pooled, float(law.covariance[0, 0])) <= STANDARD_ERRORS


class TestNegativeControls:
    """The comparisons above, with a law that is wrong."""

    CELL = CELLS["relu, he"]

    @pytest.mark.parametrize("factor", [0.9, 1.1])
    def test_a_gain_that_is_off_by_ten_percent_is_rejected(self, factor: float) -> None:
        wrong = replace(self.CELL, kernel=replace(self.CELL.kernel, scale=factor * self.CELL.kernel.scale)).predict()
        assert max(compare_means(self.CELL, wrong).values()) > 10.0
        assert max(compare_gains(self.CELL, wrong).values()) > STANDARD_ERRORS

    @pytest.mark.parametrize("width", [40, 96])
    def test_a_width_that_is_off_is_rejected(self, width: int) -> None:
        wrong = replace(self.CELL, widths=(width,) * 10).predict()
        assert max(compare_spreads(self.CELL, wrong).values()) > STANDARD_ERRORS
        assert max(compare_gains(self.CELL, wrong).values()) > STANDARD_ERRORS

    def test_the_limit_of_infinite_width_is_rejected(self) -> None:
        law = self.CELL.predict()
        textbook = LayerMoments(law.activation.mean, 0.0 * law.activation.covariance)
        draws = np.log(self.CELL.simulate().activation[:, -2])
        assert measure_distance(draws, float(textbook.log_mean[-2])) > 10.0

    @pytest.mark.montecarlo
    def test_another_activation_is_rejected(self) -> None:
        cell = CELLS["tanh, critical"]
        wrong = replace(cell, activation="hard_tanh").predict()
        assert max(compare_means(cell, wrong).values()) > 10.0

    @pytest.mark.parametrize("kind", ["normal", "uniform"])
    def test_independent_weights_are_told_from_orthogonal_ones(self, kind: str) -> None:
        cell = CELLS["relu, orthogonal"]
        wrong = replace(cell, kernel=Kernel(kind, 2.0)).predict()
        assert max(compare_spreads(cell, wrong).values()) > STANDARD_ERRORS

    @pytest.mark.montecarlo
    def test_a_single_sample_is_told_from_a_batch(self) -> None:
        cell = CELLS["relu, he, a batch"]
        assert max(compare_spreads(cell, replace(cell, batch=1).predict()).values()) > STANDARD_ERRORS


class TestWhereTheExpansionIsStrained:
    # GELU and SiLU at the gain of He lose signal faster the less of it there is, so that deviations grow from layer to
    # layer, and the terms beyond 1/n are large at small widths: over 8000 seeds of five layers of 64 units, variances
    # of logarithms were up to 14% larger than the law says. At 256 units (3000 seeds) means were within 1% and
    # variances within 6%, with a standard error of 3%.
    @pytest.mark.montecarlo
    @pytest.mark.parametrize("activation", ["gelu", "silu"])
    def test_gelu_and_silu_at_the_gain_of_he_are_right_to_five_percent_at_256_units(self, activation: str) -> None:
        cell = Cell(activation, Kernel("normal", 2.0), (256,) * 5, 250)
        networks, law = cell.simulate(), cell.predict()
        for draws, course in courses_of(networks, law).values():
            logarithms = np.log(draws[:, : len(cell.widths)])
            error = logarithms.std(axis=0, ddof=1) / math.sqrt(cell.seeds)
            off = np.abs(logarithms.mean(axis=0) - course.log_mean[: len(cell.widths)])
            assert np.all(off <= 0.05 + STANDARD_ERRORS * error)
            for place in cell.places:
                expected = float(course.covariance[place, place])
                ratio = float(logarithms[:, place].var(ddof=1)) / expected
                resolution = STANDARD_ERRORS * math.sqrt(2.0 / cell.seeds)
                assert abs(math.log(ratio)) <= 0.05 + resolution
