"""A plain network of dense layers as its options describe it: sizes, activation function, and how weights are drawn."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from initcheck.errors import TheoryError, UsageError
from initcheck.initializers import InitializerSpec
from initcheck.theory.arguments import check_count, check_counts, check_number
from initcheck.theory.dense_network import DenseLayer
from initcheck.theory.finite_width import LARGEST_WIDTH
from initcheck.theory.gaussian import Activation, find_activation
from initcheck.theory.mean_field import ActivationLike
from initcheck.theory.phase import MOST_LAYERS
from initcheck.theory.weights import WeightLaw, read_initializer, weight_law

DEFAULT_INITIALIZER: Final = "HeNormal"
DEFAULT_DEPTH: Final = 20
DEFAULT_WIDTH: Final = 256

WIDEST: Final = 10**9
"""Layers have no more units."""

_LARGEST_SIGMA: Final = 1e100  # of which the square is a number


@dataclass(frozen=True, eq=False)
class PlainNetwork:
    """A stack of dense layers with one activation function behind each.

    Attributes:
        activation: phi.
        keras_name: the name by which phi was given; empty for a function of the user's own.
        initializer: as text; None where sigma_w was given instead.
        widths: units of each layer.
        inputs: size of the input.
        input_second_moment: mean x^2 of the input.
        weights: the law of each kernel.
        bias_variance: sigma_b^2.
    """

    activation: Activation
    keras_name: str
    initializer: str | None
    widths: tuple[int, ...]
    inputs: int
    input_second_moment: float
    weights: tuple[WeightLaw, ...]
    bias_variance: float

    @property
    def depth(self) -> int:
        """Number of layers."""
        return len(self.widths)

    @property
    def sigma_w2(self) -> tuple[float, ...]:
        """fan_in Var(W) of each layer."""
        return tuple(law.forward_gain for law in self.weights)

    @property
    def layers(self) -> list[DenseLayer]:
        """The layers as the law of finite width takes them."""
        return [
            DenseLayer(units, law, self.activation, self.bias_variance)
            for units, law in zip(self.widths, self.weights, strict=True)
        ]

    @property
    def has_independent_factors(self) -> bool:
        """Whether norms change from layer to layer by independent factors of known law: ReLU without biases."""
        dependent = any(math.isnan(law.kurtosis) for law in self.weights)
        unbiased = self.keras_name == "relu" and self.bias_variance == 0.0
        return unbiased and not dependent and max(self.widths) <= LARGEST_WIDTH


def read_network(
    activation: ActivationLike,
    *,
    initializer: str | InitializerSpec | None = None,
    depth: int | None = None,
    width: int | Sequence[int] = DEFAULT_WIDTH,
    inputs: int | None = None,
    sigma_w: float | None = None,
    sigma_b: float = 0.0,
    input_second_moment: float = 1.0,
) -> PlainNetwork:
    """Read the options of a network, and refuse what makes none.

    Args:
        activation: phi, of every layer.
        initializer: of the kernels, ``HeNormal`` by default.
        depth: number of layers; by default as many as there are widths, or 20 if there is one.
        width: units of every layer, or a sequence with those of each.
        inputs: size of the input; by default the first width.
        sigma_w: sqrt(fan_in Var(W)) of normal weights, in place of an initializer.
        sigma_b: standard deviation of the biases.
        input_second_moment: mean x^2 of the input.

    Returns:
        The network.

    Raises:
        UsageError: arguments that contradict each other, or an unknown name.
        TheoryError: an argument is out of range; the initializer leaves nothing to chance; the activation mixes units
            or grows faster than any power.
    """
    phi = find_activation(activation)
    phi.require_moments()
    widths, size = _read_sizes(depth, width, inputs)
    label, weights = _read_weights(initializer, sigma_w, (size, *widths))
    return PlainNetwork(
        activation=phi,
        keras_name=activation if isinstance(activation, str) else "",
        initializer=label,
        widths=widths,
        inputs=size,
        input_second_moment=check_number("input_second_moment", input_second_moment, 0.0, low_included=False),
        weights=weights,
        bias_variance=check_number("sigma_b", sigma_b, 0.0, _LARGEST_SIGMA) ** 2,
    )


def _read_sizes(depth: int | None, width: int | Sequence[int], inputs: int | None) -> tuple[tuple[int, ...], int]:
    """Read the units of each layer and the size of the input."""
    widths = tuple(map(int, check_counts("width", width if isinstance(width, Sequence) else [width])))
    layers = (
        len(widths)
        if depth is None and len(widths) > 1
        else check_count("depth", DEFAULT_DEPTH if depth is None else depth)
    )
    if len(widths) not in (1, layers):
        raise UsageError(
            f"depth and the number of widths contradict each other. Received: depth={layers} and {len(widths)} widths. "
            "Leave depth out, or give one width."
        )
    size = widths[0] if inputs is None else check_count("inputs", inputs)
    if layers > MOST_LAYERS:
        raise TheoryError(
            f"Networks are followed through {MOST_LAYERS:,} layers. Received: depth={layers}. Give fewer."
        )
    if max(*widths, size) > WIDEST:
        raise TheoryError(f"Layers may have {WIDEST:,} units. Received: {max(*widths, size)}. Give fewer.")
    return widths if len(widths) == layers else widths * layers, size


def _read_weights(
    initializer: str | InitializerSpec | None, sigma_w: float | None, sizes: Sequence[int]
) -> tuple[str | None, tuple[WeightLaw, ...]]:
    """Read how the kernels are drawn."""
    pairs = list(itertools.pairwise(sizes))
    if sigma_w is not None:
        if initializer is not None:
            raise UsageError(
                f"sigma_w stands in place of an initializer. Received: sigma_w={sigma_w}, initializer={initializer}. "
                "Give one of them."
            )
        variance = check_number("sigma_w", sigma_w, 0.0, _LARGEST_SIGMA, low_included=False) ** 2
        return None, tuple(WeightLaw("normal", variance / before, 3.0, before, after) for before, after in pairs)
    chosen = DEFAULT_INITIALIZER if initializer is None else initializer
    spec = chosen if isinstance(chosen, InitializerSpec) else read_initializer(chosen)
    return spec.label, tuple(weight_law(spec, pair) for pair in pairs)
