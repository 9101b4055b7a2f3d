"""Gaussian integrals of activation functions, to about 1e-12 relative where the function allows it.

Notation: z ~ N(0, 1), q > 0 the variance of a pre-activation, phi the activation function. In a wide layer with random
weights the pre-activations of one input are Gaussian with variance q, so that

- E phi(sqrt(q) z)^2 is the mean square of the layer's output,
- E phi'(sqrt(q) z)^2 the factor by which it multiplies the gradient's second moment,
- E phi(u) phi(v), for Gaussian u and v, the inner product of the outputs of two inputs

(Poole et al., "Exponential expressivity in deep neural networks through transient chaos", 2016; Schoenholz et al.,
"Deep information propagation", 2017).

Quadrature is composite Gauss-Legendre in z. Panels end at the kinks of phi, which :mod:`initcheck.theory.breakpoints`
finds; a plain Gauss-Hermite rule is off by per cents on the slope of ReLU. The slope phi' is taken from the values in
a panel by differentiating the polynomial through them, so that nothing is needed of phi but its values. At a jump of
phi, phi' is the slope on both sides and leaves the jump out.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike

from initcheck.backend.interface import backend
from initcheck.backend.runtime import import_keras
from initcheck.core.errors import TheoryError, name_unknown
from initcheck.theory.activations import NOT_ELEMENTWISE, TWINS
from initcheck.theory.breakpoints import FARTHEST, Array, Breakpoints, Function, find_breakpoints

REACH: Final = 13.0
"""Integrals run over |z| <= REACH; the normal density is 8e-38 there."""

_PANEL_WIDTH: Final = 1.625  # 16 panels
_NODES: Final = 24
LARGEST_SHARE_AT_THE_END: Final = 1e-9
_SMALLEST_SCALE: Final = 1e-5

OVERFLOWS: Final = "the integrand overflows, or does not decay, where the Gaussian distribution still has weight"


@dataclass(frozen=True, eq=False)
class Activation:
    """An activation function as theory sees it: its values, element by element, and where it is not smooth."""

    name: str
    function: Function

    @cached_property
    def breakpoints(self) -> Breakpoints:
        """The pieces on which the function is smooth."""
        return find_breakpoints(self.function)

    @cached_property
    def has_jumps(self) -> bool:
        """Whether the function itself jumps somewhere: there its slope, which autodiff follows, is only a part."""
        kinks = self.breakpoints.kinks
        if not kinks.size:
            return False
        # The rise over a step falls with the step where the function is continuous.
        step = 1e-9 * np.maximum(1.0, np.abs(kinks))
        wide, narrow = (
            np.abs(self.function(kinks + width) - self.function(kinks - width)) for width in (step, 0.01 * step)
        )
        return bool((narrow > np.maximum(0.5 * wide, 1e-12)).any())

    def __call__(self, x: Array) -> Array:
        """Apply the function to an array of any shape."""
        return self.function(x.reshape(-1)).reshape(x.shape)

    def require_moments(self) -> None:
        """Refuse a function whose moments do not exist for every variance."""
        if not self.breakpoints.is_polynomially_bounded:
            raise TheoryError(
                f"Mean-field theory does not apply to the activation {self.name!r}: it grows faster than any power, so "
                "the variance of the next layer is ruled by a few extreme units and no formula of finite width holds. "
                "Choose an activation that grows no faster than a power."
            )


def find_activation(activation: str | Callable[..., Any] | Activation) -> Activation:
    """Find the activation function that a name or a callable stands for; Keras is not imported for a name."""
    if isinstance(activation, Activation):
        return activation
    return _find(activation)


@lru_cache(maxsize=256)
def _find(activation: str | Callable[..., Any]) -> Activation:
    if isinstance(activation, str):
        if activation in NOT_ELEMENTWISE:
            raise TheoryError(
                f"There is no theory of single units for the activation {activation!r}: {NOT_ELEMENTWISE[activation]}. "
                "Choose an activation that works element by element."
            )
        if activation not in TWINS:
            raise name_unknown("activation", activation, TWINS)
        return Activation(activation, TWINS[activation])
    name = str(getattr(activation, "__name__", type(activation).__name__))
    return Activation(name, _evaluate_by_keras(activation, name))


def _evaluate_by_keras(function: Callable[..., Any], name: str) -> Function:
    """Make a function of Keras tensors one of float64 arrays; it has to work element by element."""
    keras = import_keras()
    ops = keras.ops
    if isinstance(function, keras.Layer):
        # A layer casts what it is called on to its own precision; what it computes with is its method.
        function = function.call

    def evaluate(x: Array) -> Array:
        with backend().double_precision():
            return np.asarray(
                ops.convert_to_numpy(function(ops.convert_to_tensor(x, dtype="float64"))), dtype=np.float64
            )

    sample = np.asarray([-1.5, 0.25, 2.0, 0.25])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # softmax warns of single numbers, for which it is refused below
        together = evaluate(sample)
        alone = [evaluate(sample[index : index + 1]) for index in range(sample.size)]
    # Not to the last bit: vectorized code may round otherwise than code for single numbers.
    if together.shape != sample.shape or not np.allclose(together, np.concatenate(alone), 1e-5, 1e-7, equal_nan=True):
        raise TheoryError(
            f"There is no theory of single units for the activation {name!r}: it does not work element by element. "
            "Choose one that does."
        )
    return evaluate


@dataclass(frozen=True, eq=False)
class Grid:
    """An activation function on the quadrature nodes for one or more variances.

    Attributes:
        q: variances, shape [Q].
        z: nodes, shape [Q, N].
        weight: quadrature weight times normal density, shape [Q, N].
        value: phi(sqrt(q) z), shape [Q, N].
        slope: phi'(sqrt(q) z), shape [Q, N].
    """

    q: Array
    z: Array
    weight: Array
    value: Array
    slope: Array
    is_tame: bool

    @property
    def first(self) -> Grid:
        """The grid of the first variance alone."""
        return Grid(self.q[:1], self.z[:1], self.weight[:1], self.value[:1], self.slope[:1], self.is_tame)

    def expect(self, integrand: Array) -> Array:
        """Integrate over z what is given at the nodes; NaN where it has not died away at the ends of their range."""
        terms = integrand * self.weight
        total = terms.sum(axis=-1)
        if self.is_tame:
            return np.where(np.isfinite(total), total, np.nan)
        size = np.abs(terms)
        ends = size[:, :_NODES].sum(axis=-1) + size[:, -_NODES:].sum(axis=-1)
        captured = ends <= LARGEST_SHARE_AT_THE_END * size.sum(axis=-1)
        return np.where(captured & np.isfinite(total), total, np.nan)

    def second_moments(self) -> tuple[Array, Array]:
        """Compute E phi^2 and E phi'^2, shape [Q] each; see :meth:`expect`."""
        with np.errstate(all="ignore"):
            return self.expect(np.square(self.value)), self.expect(np.square(self.slope))


def evaluate_on_grid(activation: str | Callable[..., Any] | Activation, q: ArrayLike) -> Grid:
    """Evaluate an activation function and its slope where they are needed to integrate against N(0, q)."""
    phi = find_activation(activation)
    variances = check_variance(np.atleast_1d(np.asarray(q, dtype=np.float64)))
    root = np.sqrt(np.maximum(variances, np.finfo(np.float64).tiny))[:, np.newaxis]
    edges = fixed_edges(REACH, _PANEL_WIDTH)
    own = np.clip(phi.breakpoints.edges / root, -REACH, REACH)
    # The outermost panels must stay whole: they show whether the integrand has died away.
    own = np.clip(own, -REACH + _PANEL_WIDTH, REACH - _PANEL_WIDTH)
    edges = np.sort(np.concatenate([np.broadcast_to(edges, (variances.size, edges.size)), own], axis=1), axis=1)
    z, weight, value, slope = tabulate(phi, root, edges, _NODES)
    lost = root[:, 0] < _SMALLEST_SCALE
    if lost.any() and abs(float(phi(np.zeros(1))[0])) > _SMALLEST_SCALE**2:
        # The change of a function that is not 0 at 0 is lost in its rounding: take the slopes a little farther out.
        slope[lost] = tabulate(phi, np.full((int(lost.sum()), 1), _SMALLEST_SCALE), edges[lost], _NODES)[3]
    beyond = root[:, 0] * REACH > phi.breakpoints.farthest
    if phi.breakpoints.farthest < FARTHEST and beyond.any():
        value[beyond] = np.nan
    return Grid(variances, z, weight, value, slope, phi.breakpoints.is_polynomially_bounded)


def tabulate(
    phi: Activation, scale: Array, edges: Array, nodes: int, shift: Array | float = 0.0
) -> tuple[Array, Array, Array, Array]:
    """Lay Gauss-Legendre nodes into panels and evaluate phi(scale * (z + shift)) and its slope there.

    Args:
        scale: shape [..., 1].
        edges: in z, increasing along the last axis, shape [..., E].
        shift: shape [..., 1].

    Returns:
        z, weight, value and slope, each of shape [..., (E - 1) * nodes].
    """
    points, weights, derivative = _legendre(nodes)
    half = 0.5 * np.diff(edges, axis=-1)[..., np.newaxis]
    middle = 0.5 * (edges[..., :-1] + edges[..., 1:])[..., np.newaxis]
    z = middle + half * points
    flat = (*z.shape[:-2], -1)
    with np.errstate(all="ignore"):
        value = phi(scale[..., np.newaxis] * (z + np.asarray(shift)[..., np.newaxis]))
        # d phi / dx in a panel: the panel's width in x is scale * 2 * half. Panels without width weigh nothing.
        width = scale[..., np.newaxis] * half
        slope = np.where(half > 1e-14, (value @ derivative.T) / np.where(half > 1e-14, width, 1.0), 0.0)
        weight = half * weights * np.exp(-0.5 * np.square(z)) / np.sqrt(2.0 * np.pi)
    return z.reshape(flat), weight.reshape(flat), value.reshape(flat), slope.reshape(flat)


@lru_cache(maxsize=8)
def _legendre(nodes: int) -> tuple[Array, Array, Array]:
    """Gauss-Legendre nodes and weights on [-1, 1], and the matrix that differentiates at the nodes."""
    points, weights = np.polynomial.legendre.leggauss(nodes)
    # The barycentric differentiation matrix; rows sum to zero, so that constants have slope exactly 0.
    differences = points[:, np.newaxis] - points + np.eye(nodes)
    products = differences.prod(axis=1)
    matrix = products[:, np.newaxis] / (products * differences)
    np.fill_diagonal(matrix, 0.0)
    np.fill_diagonal(matrix, -matrix.sum(axis=1))
    return points, weights, matrix


@lru_cache(maxsize=8)
def fixed_edges(reach: float, width: float) -> Array:
    """Divide [-reach, reach] into panels of about this width."""
    return np.linspace(-reach, reach, round(2.0 * reach / width) + 1)


def check_variance(q: Array) -> Array:
    """Refuse variances that are negative or not finite, or not a list of numbers."""
    wrong = ~(np.isfinite(q) & (q >= 0.0))
    if q.ndim != 1 or wrong.any():
        received = q[wrong][0] if wrong.any() else f"shape {q.shape}"
        raise TheoryError(f"A variance must be finite and at least 0. Received: q={received}. Give one or a list.")
    return q


@dataclass(frozen=True)
class Moments:
    """Moments of an activation function under N(0, q), each an array of the shape of q.

    Attributes:
        second_slope: d/dq E phi^2 = E[phi^2 (z^2 - 1)] / (2q).
        second_curvature: d^2/dq^2 E phi^2 = E[phi^2 (z^4 - 6 z^2 + 3)] / (4 q^2), with an absolute rounding error of
            about 1e-15 E phi^2 / q^2; NaN at q = 0.
        reason: why there are NaN among the moments; empty where there are none.
    """

    q: Array
    mean: Array
    second: Array
    fourth: Array
    slope_mean: Array
    slope_second: Array
    slope_fourth: Array
    second_slope: Array
    second_curvature: Array
    reason: str


def compute_moments(activation: str | Callable[..., Any] | Activation, q: ArrayLike) -> Moments:
    """Compute the moments of an activation function under Gaussian distributions.

    The degenerate case q = 0: all is computed at the smallest positive number, which gives phi(0), and for the slopes
    the mean over both sides of a kink at 0; the curvature is NaN.

    Args:
        q: variances of the pre-activation, at least 0; a number or an array of any shape.

    Returns:
        The moments; NaN, with the reason, where an integral diverges or is not captured.
    """
    shape = np.shape(q)
    grid = evaluate_on_grid(activation, np.ravel(np.asarray(q, dtype=np.float64)))
    with np.errstate(all="ignore"):
        square, slope_square, z_square = np.square(grid.value), np.square(grid.slope), np.square(grid.z)
        variance = np.maximum(grid.q, np.finfo(np.float64).tiny)
        found = {
            "mean": grid.expect(grid.value),
            "second": grid.expect(square),
            "fourth": grid.expect(np.square(square)),
            "slope_mean": grid.expect(grid.slope),
            "slope_second": grid.expect(slope_square),
            "slope_fourth": grid.expect(np.square(slope_square)),
            "second_slope": grid.expect(square * (z_square - 1.0)) / (2.0 * variance),
            "second_curvature": grid.expect(square * (np.square(z_square) - 6.0 * z_square + 3.0))
            / (4.0 * np.square(variance)),
        }
        found["second_curvature"] = np.where(grid.q > 0.0, found["second_curvature"], np.nan)
    reason = OVERFLOWS if any(np.isnan(values[grid.q > 0.0]).any() for values in found.values()) else ""
    return Moments(q=np.reshape(grid.q, shape), reason=reason, **{k: np.reshape(v, shape) for k, v in found.items()})


# --- two Gaussian variables ------------------------------------------------------------------------------------------

_PAIR_REACH: Final = 9.0
_PAIR_PANEL_WIDTH: Final = 1.5
_PAIR_NODES: Final = 20
_STEPS_FROM_A_KINK: Final = np.asarray([-8.0, -4.0, -2.0, -1.0, 0.0, 1.0, 2.0, 4.0, 8.0])


def expect_pair(
    activation: str | Callable[..., Any] | Activation,
    q: float,
    correlation: float,
    *,
    other_q: float | None = None,
    slopes: bool = False,
) -> float:
    """Compute E phi(u) phi(v), or E phi'(u) phi'(v), for Gaussian u and v.

    u = sqrt(q_1) z_1 and v = sqrt(q_2) (c z_1 + sqrt(1 - c^2) z_2). The inner integral, over z_2, has panels of its
    own for each z_1, which end where v meets a kink; the outer one also resolves the smoothed kinks of the inner one.

    Returns:
        The expectation; NaN where the integral diverges or is not captured.
    """
    phi = find_activation(activation)
    variances = check_variance(np.asarray([q, q if other_q is None else other_q], dtype=np.float64))
    if not abs(correlation) <= 1.0:
        raise TheoryError(
            f"A correlation must lie between -1 and 1. Received: correlation={correlation!r}. Give one that does."
        )
    roots = np.sqrt(np.maximum(variances, np.finfo(np.float64).tiny))
    c, s = float(correlation), float(np.sqrt((1.0 - correlation) * (1.0 + correlation)))
    breakpoints = phi.breakpoints
    outer = [fixed_edges(_PAIR_REACH, _PAIR_PANEL_WIDTH), breakpoints.edges / roots[0]]
    if abs(c) > 1e-3:
        steps = (_STEPS_FROM_A_KINK * s / abs(c))[:, np.newaxis]
        outer += [breakpoints.edges / (roots[1] * c), (breakpoints.kinks / (roots[1] * c) + steps).ravel()]
    edges = np.unique(np.clip(np.concatenate(outer), -_PAIR_REACH, _PAIR_REACH))
    z, weight, value, slope = tabulate(phi, roots[:1], edges, _PAIR_NODES)
    if s == 0.0:
        _, _, other_value, other_slope = tabulate(phi, np.copysign(roots[1:], c), edges, _PAIR_NODES)
        inner = other_slope if slopes else other_value
    else:
        inner = _integrate_inner(phi, z, float(roots[1]), c, s, slopes)
    with np.errstate(all="ignore"):
        terms = (slope if slopes else value) * inner * weight
    total = float(terms.sum())
    ends = float(np.abs(terms[:_PAIR_NODES]).sum() + np.abs(terms[-_PAIR_NODES:]).sum())
    captured = ends <= LARGEST_SHARE_AT_THE_END * float(np.abs(terms).sum())
    return total if captured and np.isfinite(total) else float("nan")


def _integrate_inner(phi: Activation, z: Array, root: float, c: float, s: float, slopes: bool) -> Array:
    """Integrate phi(root * (c z_1 + s z_2)), or its slope, over z_2 for every z_1."""
    centers = c * z[:, np.newaxis]
    own = np.clip((phi.breakpoints.edges / root - centers) / s, -_PAIR_REACH, _PAIR_REACH)
    # Edges that no z_1 brings into reach cost time and do nothing.
    own = own[:, (own.min(axis=0) < _PAIR_REACH) & (own.max(axis=0) > -_PAIR_REACH)]
    fixed = fixed_edges(_PAIR_REACH, _PAIR_PANEL_WIDTH)
    edges = np.sort(np.concatenate([np.broadcast_to(fixed, (z.size, fixed.size)), own], axis=1), axis=1)
    _, weight, value, slope = tabulate(phi, np.full((z.size, 1), root * s), edges, 16, shift=centers / s)
    with np.errstate(all="ignore"):
        return np.asarray(((slope if slopes else value) * weight).sum(axis=-1))


# --- Hermite series ---------------------------------------------------------------------------------------------------

ORDER: Final = 41
"""Highest order kept; odd, so that the term that stands for the rest is even in the correlation."""


_ROOTS: Final = tuple(np.sqrt(np.arange(ORDER + 1)).tolist())


@dataclass(frozen=True, eq=False)
class HermiteExpansion:
    """Several functions of one standard normal variable.

    Attributes:
        coefficients: a_k of each function, shape [F, ORDER + 1].
        products: E f_i(z) f_j(z), shape [F, F].
    """

    coefficients: Array
    products: Array

    def expect_products(self, correlations: Array) -> Array:
        """Compute E f_i(u) f_j(v) for all pairs of functions and each correlation, shape [C, F, F]."""
        powers = correlations[:, np.newaxis] ** np.arange(ORDER + 2)
        series = np.einsum("ck,ik,jk->cij", powers[:, :-1], self.coefficients, self.coefficients)
        rest = self.products - self.coefficients @ self.coefficients.T
        return np.asarray(series + powers[:, -1, np.newaxis, np.newaxis] * rest)


def expand(z: Array, weight: Array, functions: Array) -> HermiteExpansion:
    """Expand functions that are given by their values on quadrature nodes, shape [F, N]."""
    basis = np.empty((ORDER + 1, z.size))
    basis[0], basis[1] = 1.0, z
    for k in range(1, ORDER):
        basis[k + 1] = (z * basis[k] - _ROOTS[k] * basis[k - 1]) / _ROOTS[k + 1]
    weighted = functions * weight
    return HermiteExpansion(weighted @ basis.T, weighted @ functions.T)
