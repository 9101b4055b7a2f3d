"""NumPy twins of Keras' elementwise activation functions, in float64.

A twin has the name, and the default arguments, of the function in ``keras.activations``. It takes an array of
any shape and returns a new one of that shape. Each is accurate where its formula, written down plainly, would
overflow or cancel; the docstrings say so where that takes another formula.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, ndtr

# TensorFlow's constants for selu (Klambauer et al., 2017): the scale, and the scale times alpha.
_SELU_SCALE: Final = 1.0507009873554804934193349852946
_SELU_FLOOR: Final = 1.7580993408473768599402175208123

# x cosh x - sinh x is the sum over k of 2k x^(2k+1) / (2k+1)!; up to k = 9 that is exact in float64 for |x| <= 1.
_SHRINK_SERIES: Final = tuple(2 * k / math.factorial(2 * k + 1) for k in range(1, 10))


def celu(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return x where x > 0, exp(x) - 1 elsewhere: with alpha = 1 it is elu (Barron, 2017)."""
    return elu(x)


def elu(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return x where x > 0, exp(x) - 1 elsewhere (Clevert et al., 2016)."""
    return np.where(x > 0, x, np.expm1(np.minimum(x, 0.0)))


def exponential(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return exp(x); infinite above 709.78, without a warning."""
    with np.errstate(over="ignore"):
        return np.exp(x)


def gelu(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return x Φ(x), with the normal distribution function Φ itself, not its tanh form (Hendrycks & Gimpel, 2016)."""
    below: NDArray[np.float64] = ndtr(x)
    return np.multiply(x, below)


def hard_shrink(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return x where |x| > 1/2, 0 elsewhere."""
    return np.where(np.abs(x) > 0.5, x, 0.0)


def hard_sigmoid(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return x/6 + 1/2, cut off at 0 and 1."""
    return np.clip(x + 3.0, 0.0, 6.0) / 6.0


def hard_silu(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return x times hard_sigmoid(x) (Howard et al., 2019)."""
    return np.multiply(x, hard_sigmoid(x))


def hard_tanh(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return x, cut off at -1 and 1."""
    return np.clip(x, -1.0, 1.0)


def leaky_relu(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return x where x > 0, x/5 elsewhere: the slope of the function; that of the layer LeakyReLU is 0.3."""
    return np.where(x > 0, x, np.multiply(x, 0.2))


def linear(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return x itself, as a new array."""
    return np.positive(x)


def log_sigmoid(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ln sigmoid(x), as -softplus(-x)."""
    return np.negative(softplus(np.negative(x)))


def mish(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return x tanh(softplus(x)) (Misra, 2019)."""
    return np.multiply(x, np.tanh(softplus(x)))


def relu(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return max(x, 0)."""
    return np.maximum(x, 0.0)


def relu6(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return x, cut off at 0 and 6."""
    return np.clip(x, 0.0, 6.0)


def selu(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return 1.0507 x where x > 0, 1.7581 (exp(x) - 1) elsewhere (Klambauer et al., 2017)."""
    return np.where(x > 0, np.multiply(x, _SELU_SCALE), _SELU_FLOOR * np.expm1(np.minimum(x, 0.0)))


def sigmoid(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return 1/(1 + exp(-x))."""
    return np.asarray(expit(x), dtype=np.float64)


def silu(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return x sigmoid(x) (Ramachandran et al., 2017, as swish)."""
    return np.multiply(x, expit(x))


def soft_shrink(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return x moved by 1/2 towards 0, and 0 where |x| <= 1/2."""
    return np.subtract(x, np.clip(x, -0.5, 0.5))


def softplus(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ln(1 + exp(x))."""
    return np.logaddexp(0.0, x)


def softsign(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return x/(1 + |x|)."""
    return np.divide(x, 1.0 + np.abs(x))


def sparse_plus(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return 0 where x <= -1, (x + 1)²/4 up to 1, x from there."""
    return np.where(x < 1.0, 0.25 * (np.clip(x, -1.0, 1.0) + 1.0) ** 2, x)


def sparse_sigmoid(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (x + 1)/2, cut off at 0 and 1 (Blondel et al., 2019)."""
    return np.multiply(np.clip(x, -1.0, 1.0) + 1.0, 0.5)


def squareplus(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (x + √(x² + 4))/2 (Barron, 2021); where x < 0 as 1/squareplus(-x), so that nothing cancels."""
    upper = 0.5 * (np.abs(x) + np.hypot(x, 2.0))
    return np.where(x < 0, 1.0 / upper, upper)


def tanh(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the hyperbolic tangent of x."""
    return np.tanh(x)


def tanh_shrink(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return x - tanh x; for |x| < 1 as (x cosh x - sinh x)/cosh x, by series, so that nothing cancels."""
    near = np.clip(x, -1.0, 1.0)
    square = near * near
    series = np.zeros_like(square)
    for coefficient in reversed(_SHRINK_SERIES):
        series = series * square + coefficient
    return np.where(np.abs(x) < 1.0, near * square * series / np.cosh(near), x - np.tanh(x))


TWINS: Final[Mapping[str, Callable[[NDArray[np.float64]], NDArray[np.float64]]]] = {
    "celu": celu,
    "elu": elu,
    "exponential": exponential,
    "gelu": gelu,
    "hard_shrink": hard_shrink,
    "hard_sigmoid": hard_sigmoid,
    "hard_silu": hard_silu,
    "hard_swish": hard_silu,
    "hard_tanh": hard_tanh,
    "leaky_relu": leaky_relu,
    "linear": linear,
    "log_sigmoid": log_sigmoid,
    "mish": mish,
    "relu": relu,
    "relu6": relu6,
    "selu": selu,
    "sigmoid": sigmoid,
    "silu": silu,
    "soft_shrink": soft_shrink,
    "softplus": softplus,
    "softsign": softsign,
    "sparse_plus": sparse_plus,
    "sparse_sigmoid": sparse_sigmoid,
    "squareplus": squareplus,
    "swish": silu,
    "tanh": tanh,
    "tanh_shrink": tanh_shrink,
}
"""The twin of each elementwise function, by every name that ``keras.activations`` gives it."""

NOT_ELEMENTWISE: Final[Mapping[str, str]] = {
    "glu": "it multiplies one half of the units by a function of the other half, and so changes the shape",
    "log_softmax": "it mixes the units of a layer, each of which is compared with all others",
    "softmax": "it mixes the units of a layer, whose outputs add up to one",
    "sparsemax": "it mixes the units of a layer, whose outputs add up to one",
    "threshold": "it has no defaults: its threshold and its value below that have to be chosen",
}
"""Why the other functions of ``keras.activations`` have no theory of one unit: a clause for each name."""
