"""Gaussian moments in closed form, by pencil: a twin of the quadrature in ``initcheck.theory.gaussian``.

x ~ N(0, q). All are functions of q; where no closed form is known, a moment is left out. Kernels are
E phi(u) phi(v) for u ~ N(0, q), v ~ N(0, r) of correlation c, with those of the slopes beside them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy import integrate
from scipy.special import erf

from initcheck.theory.gaussian import Activation, find_activation

Moment = Callable[[float], float]
Kernel = Callable[[float, float, float], float]


def integrate_normal(function: Moment, q: float, kinks: tuple[float, ...]) -> float:
    """E f(x) for x ~ N(0, q), by adaptive quadrature between the kinks."""
    root = math.sqrt(q)
    edges = sorted({-12.0, -4.0, -1.0, 1.0, 4.0, 12.0, *(kink / root for kink in kinks if abs(kink) < 12.0 * root)})

    def integrand(z: float) -> float:
        return function(root * z) * math.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi)

    return math.fsum(
        integrate.quad(integrand, low, high, epsabs=1e-14, epsrel=1e-12)[0] for low, high in pairwise(edges)
    )


@dataclass(frozen=True)
class ClosedForm:
    activation: Activation
    moments: dict[str, Moment]
    kernel: Kernel | None = None
    slope_kernel: Kernel | None = None


def _leaky_relu(slope: float) -> ClosedForm:
    def kernel(q: float, r: float, c: float) -> float:
        # phi(x) = slope x + (1 - slope) relu(x), and E u relu(v) = c sqrt(q r) / 2.
        angle = math.acos(c)
        arc_cosine = (math.sin(angle) + (math.pi - angle) * c) / (2.0 * math.pi)
        return math.sqrt(q * r) * ((1.0 - slope) ** 2 * arc_cosine + slope * c)

    def slope_kernel(q: float, r: float, c: float) -> float:
        both = (math.pi - math.acos(c)) / (2.0 * math.pi)
        return (1.0 - slope) ** 2 * both + slope

    return ClosedForm(
        Activation(f"leaky_{slope}", lambda x: np.where(x > 0.0, x, slope * x)),
        {
            "mean": lambda q: (1.0 - slope) * math.sqrt(q / (2.0 * math.pi)),
            "second": lambda q: q * (1.0 + slope**2) / 2.0,
            "fourth": lambda q: 3.0 * q * q * (1.0 + slope**4) / 2.0,
            "slope_mean": lambda q: (1.0 + slope) / 2.0,
            "slope_second": lambda q: (1.0 + slope**2) / 2.0,
            "slope_fourth": lambda q: (1.0 + slope**4) / 2.0,
            "second_slope": lambda q: (1.0 + slope**2) / 2.0,
            "second_curvature": lambda q: 0.0,
        },
        kernel,
        slope_kernel,
    )


def _erf() -> ClosedForm:
    def kernel(q: float, r: float, c: float) -> float:
        sine = 2.0 * c * math.sqrt(q * r) / math.sqrt((1.0 + 2.0 * q) * (1.0 + 2.0 * r))
        return 2.0 / math.pi * math.asin(sine)

    def slope_kernel(q: float, r: float, c: float) -> float:
        return 4.0 / math.pi / math.sqrt(1.0 + 2.0 * (q + r) + 4.0 * q * r * (1.0 - c) * (1.0 + c))

    return ClosedForm(
        Activation("erf", erf),
        {
            "mean": lambda q: 0.0,
            "second": lambda q: kernel(q, q, 1.0),
            "slope_mean": lambda q: 2.0 / math.sqrt(math.pi * (1.0 + 2.0 * q)),
            "slope_second": lambda q: 4.0 / math.pi / math.sqrt(1.0 + 4.0 * q),
            "slope_fourth": lambda q: (4.0 / math.pi) ** 2 / math.sqrt(1.0 + 8.0 * q),
            "second_slope": lambda q: 4.0 / math.pi / ((1.0 + 2.0 * q) * math.sqrt(1.0 + 4.0 * q)),
            "second_curvature": lambda q: (
                -8.0
                / math.pi
                / ((1.0 + 2.0 * q) * math.sqrt(1.0 + 4.0 * q))
                * (1.0 / (1.0 + 2.0 * q) + 1.0 / (1.0 + 4.0 * q))
            ),
        },
        kernel,
        slope_kernel,
    )


def _sine() -> ClosedForm:
    return ClosedForm(
        Activation("sin", np.sin),
        {
            "mean": lambda q: 0.0,
            "second": lambda q: -0.5 * math.expm1(-2.0 * q),
            "fourth": lambda q: (3.0 - 4.0 * math.exp(-2.0 * q) + math.exp(-8.0 * q)) / 8.0,
            "slope_mean": lambda q: math.exp(-0.5 * q),
            "slope_second": lambda q: 0.5 * (1.0 + math.exp(-2.0 * q)),
            "slope_fourth": lambda q: (3.0 + 4.0 * math.exp(-2.0 * q) + math.exp(-8.0 * q)) / 8.0,
            "second_slope": lambda q: math.exp(-2.0 * q),
            "second_curvature": lambda q: -2.0 * math.exp(-2.0 * q),
        },
        lambda q, r, c: math.exp(-0.5 * (q + r)) * math.sinh(c * math.sqrt(q * r)),
        lambda q, r, c: math.exp(-0.5 * (q + r)) * math.cosh(c * math.sqrt(q * r)),
    )


def _exponential() -> ClosedForm:
    def kernel(q: float, r: float, c: float) -> float:
        return math.exp(0.5 * (q + r) + c * math.sqrt(q * r))

    return ClosedForm(
        find_activation("exponential"),
        {
            "mean": lambda q: math.exp(0.5 * q),
            "second": lambda q: math.exp(2.0 * q),
            "fourth": lambda q: math.exp(8.0 * q),
            "slope_mean": lambda q: math.exp(0.5 * q),
            "slope_second": lambda q: math.exp(2.0 * q),
            "slope_fourth": lambda q: math.exp(8.0 * q),
            "second_slope": lambda q: 2.0 * math.exp(2.0 * q),
            "second_curvature": lambda q: 4.0 * math.exp(2.0 * q),
        },
        kernel,
        kernel,
    )


def _sign() -> ClosedForm:
    return ClosedForm(
        Activation("sign", np.sign),
        {
            "mean": lambda q: 0.0,
            "second": lambda q: 1.0,
            "fourth": lambda q: 1.0,
            "slope_mean": lambda q: 0.0,
            "slope_second": lambda q: 0.0,
            "slope_fourth": lambda q: 0.0,
            "second_slope": lambda q: 0.0,
        },
        lambda q, r, c: 2.0 / math.pi * math.asin(c),
    )


CLOSED_FORMS = {
    "relu": _leaky_relu(0.0),
    "leaky_0.2": _leaky_relu(0.2),
    "absolute": _leaky_relu(-1.0),
    "linear": _leaky_relu(1.0),
    "erf": _erf(),
    "sin": _sine(),
    "exponential": _exponential(),
    "sign": _sign(),
}
