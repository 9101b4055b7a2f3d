"""Breakpoints of functions, against kinks put in by hand and polynomials fitted apart from the package."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from numpy.polynomial import chebyshev
from numpy.typing import NDArray
from refusals import assert_refused
from scipy.special import erf

from initcheck.theory.activations import TWINS
from initcheck.theory.breakpoints import FARTHEST, NODES, find_breakpoints
from initcheck.theory.gaussian import Activation

Array = NDArray[np.float64]
Function = Callable[[Array], Array]

KINKED: dict[str, tuple[Function, list[float]]] = {
    "relu": (TWINS["relu"], [0.0]),
    "leaky_relu": (TWINS["leaky_relu"], [0.0]),
    "elu": (TWINS["elu"], [0.0]),  # in the second derivative
    "softsign": (TWINS["softsign"], [0.0]),  # in the second derivative
    "sparse_plus": (TWINS["sparse_plus"], [-1.0, 1.0]),  # in the second derivative
    "relu6": (TWINS["relu6"], [0.0, 6.0]),
    "hard_sigmoid": (TWINS["hard_sigmoid"], [-3.0, 3.0]),
    "hard_shrink": (TWINS["hard_shrink"], [-0.5, 0.5]),  # jumps
    "soft_shrink": (TWINS["soft_shrink"], [-0.5, 0.5]),
    "a jump at an odd place": (lambda x: np.where(x > 0.3137, x + 1.0, x), [0.3137]),
    "a bend at an odd place": (lambda x: np.where(x > 0.3137, 2.0 * x - 0.3137, x), [0.3137]),
    "a bend at a far place": (lambda x: np.maximum(x, -777.3), [-777.3]),
    "a bend at a near place": (lambda x: np.maximum(x, 1e-5), [1e-5]),
    "two bends close together": (lambda x: np.clip(x, 0.3137, 0.3147), [0.3137, 0.3147]),
    "a bend in a smooth function": (lambda x: np.tanh(x) + 0.1 * np.abs(x - 1.2345), [1.2345]),
    "the sign": (np.sign, [0.0]),
    "steps": (lambda x: np.floor(np.clip(x, -2.5, 2.5)), [-2.5, -2.0, -1.0, 0.0, 1.0, 2.0]),
}
SMOOTH: dict[str, Function] = {
    **{
        name: TWINS[name]
        for name in ("tanh", "sigmoid", "gelu", "silu", "softplus", "mish", "squareplus", "tanh_shrink", "linear")
    },
    "erf": erf,
    "sine": np.sin,
    "cube": lambda x: x**3,
    "bell": lambda x: np.exp(-x * x),
    "constant": lambda x: np.full_like(x, 0.3),
    "zero": np.zeros_like,
}


def merge_neighbours(kinks: Array) -> Array:
    """A kink may be seen from both sides."""
    apart = np.diff(kinks) > 1e-4 * np.maximum(1.0, np.abs(kinks[1:]))
    return kinks[np.concatenate([[True], apart])] if kinks.size else kinks


@pytest.mark.parametrize("name", KINKED)
def test_kinks_and_jumps_are_found_where_they_are(name: str) -> None:
    function, expected = KINKED[name]
    kinks = merge_neighbours(find_breakpoints(function).kinks)
    if name == "steps":
        expected = expected[1:]  # floor is constant about -2.5
    assert kinks == pytest.approx(expected, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("name", SMOOTH)
def test_smooth_functions_have_no_kinks(name: str) -> None:
    assert find_breakpoints(SMOOTH[name]).kinks.size == 0


def measure_misfit(function: Function, low: float, high: float) -> float:
    """How far the function is from the polynomial through Chebyshev points, over its size or that of the argument."""
    middle, half = 0.5 * (low + high), 0.5 * (high - low)
    coefficients = chebyshev.chebinterpolate(lambda t: function(middle + half * t), NODES - 1)
    t = np.random.default_rng(0).uniform(-1.0, 1.0, 200)
    values = function(middle + half * t)
    size = max(float(np.abs(values).max()), 0.05 * min(1.0, max(abs(low), abs(high))))
    return float(np.abs(chebyshev.chebval(t, coefficients) - values).max() / size)


@pytest.mark.parametrize("name", sorted(set(TWINS) - {"exponential"}))
def test_between_two_edges_a_function_is_a_polynomial(name: str) -> None:
    function = TWINS[name]
    edges = find_breakpoints(function).edges
    assert edges[0] == -FARTHEST and edges[-1] == FARTHEST
    misfits = [measure_misfit(function, low, high) for low, high in pairwise(edges)]
    assert max(misfits) < 1e-11


@pytest.mark.parametrize(
    ("name", "low", "high"), [("relu", -0.3, 0.4), ("elu", -0.3, 0.4), ("relu6", 5.0, 8.0), ("tanh", -4.0, 4.0)]
)
def test_across_an_edge_it_is_none(name: str, low: float, high: float) -> None:
    # Negative control of the misfit.
    assert measure_misfit(TWINS[name], low, high) > 1e-6


def test_a_function_of_float32_is_resolved_to_its_noise() -> None:
    def function(x: Array) -> Array:
        return np.tanh(x.astype(np.float32)).astype(np.float64)

    breakpoints = find_breakpoints(function)
    assert breakpoints.kinks.size == 0
    assert breakpoints.edges.size < 30
    misfits = [measure_misfit(np.tanh, low, high) for low, high in pairwise(breakpoints.edges)]
    assert max(misfits) < 1e-4


def test_the_kink_of_a_function_of_float32_is_found() -> None:
    kinks = find_breakpoints(lambda x: np.maximum(x.astype(np.float32), 0).astype(np.float64)).kinks
    assert kinks == pytest.approx([0.0], abs=1e-9)


def test_a_function_that_oscillates_without_end_is_known_on_a_shorter_range() -> None:
    breakpoints = find_breakpoints(np.sin)
    assert 64.0 <= breakpoints.farthest < FARTHEST
    assert breakpoints.edges[0] == -breakpoints.farthest and breakpoints.edges[-1] == breakpoints.farthest
    misfits = [measure_misfit(np.sin, low, high) for low, high in pairwise(breakpoints.edges)]
    assert max(misfits) < 1e-11


def draw_noise(x: Array) -> Array:
    """White noise, the same for the same x."""
    noise: Array = np.modf(np.sin(12.9898 * x) * 43758.5453)[0]
    return noise


@pytest.mark.parametrize(
    "function",
    [
        lambda x: np.floor(100.0 * x),
        lambda x: np.abs(np.modf(50.0 * x)[0]),
        lambda x: x + 0.1 * np.sign(np.sin(40.0 * x)),
        draw_noise,
        lambda x: x + draw_noise(x),
    ],
    ids=["stairs", "zigzag", "square wave", "noise", "noise on a line"],
)
def test_a_function_that_is_rough_everywhere_is_refused(function: Function) -> None:
    assert_refused(lambda: find_breakpoints(function))


@pytest.mark.parametrize(
    ("function", "bounded"),
    [
        (TWINS["relu"], True),
        (TWINS["tanh"], True),
        (TWINS["softplus"], True),
        (np.sin, True),
        (lambda x: x**3, True),
        (TWINS["exponential"], False),
        (lambda x: x * np.exp(x), False),
        (lambda x: np.exp(-x), False),
        (lambda x: np.exp(x * x / 5.0), False),
    ],
    ids=["relu", "tanh", "softplus", "sine", "cube", "exponential", "x exp(x)", "exp(-x)", "exp(x^2 / 5)"],
)
def test_growth_faster_than_a_power_is_seen_on_either_side(function: Function, bounded: bool) -> None:
    assert find_breakpoints(function).is_polynomially_bounded is bounded


def test_a_function_that_is_finite_only_in_part_is_known_there() -> None:
    breakpoints = find_breakpoints(lambda x: np.where(x < -2.0, np.nan, x))
    assert breakpoints.edges[0] == -2.0 and breakpoints.edges[-1] == FARTHEST


@pytest.mark.parametrize("factor", [1e-3, 1.0, 40.0])
def test_pieces_of_a_multiple_are_the_same_and_pieces_of_a_stretched_function_are_stretched(factor: float) -> None:
    kinks = find_breakpoints(TWINS["relu6"]).kinks
    assert merge_neighbours(find_breakpoints(lambda x: factor * TWINS["relu6"](x)).kinks) == pytest.approx(
        kinks, abs=1e-9
    )
    stretched = merge_neighbours(find_breakpoints(lambda x: TWINS["relu6"](x / factor)).kinks)
    assert stretched == pytest.approx(factor * kinks, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize(
    ("function", "jumps"),
    [
        (TWINS["hard_shrink"], True),
        (np.sign, True),
        (lambda x: np.where(x > 0.3137, x + 1e-3, x), True),
        (lambda x: np.where(x > 400.0, x + 1.0, x), True),
        (TWINS["relu"], False),
        (TWINS["relu6"], False),
        (TWINS["tanh"], False),
        (lambda x: 100.0 * np.maximum(x, 0.0), False),
        (lambda x: np.clip(x, 0.0, 10_000.0), False),
    ],
    ids=["hard_shrink", "sign", "small", "far", "relu", "relu6", "tanh", "steep relu", "relu clipped at 10,000"],
)
def test_jumps_are_told_from_bends(function: Function, jumps: bool) -> None:
    assert Activation("function", function).has_jumps is jumps
