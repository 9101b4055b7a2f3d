"""Claims on the default initializers of layers, on what layers do with the user's own, and that their weights differ.

The table of defaults is :mod:`.table`; the bias of the forget gate, the meaning of None and the completeness of the
table are in :mod:`.special`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from initcheck.models.initializers import InitializerSpec
from initcheck.spec import causes
from initcheck.spec.claim import Claim, ExactRow, FitRow, RunContext
from initcheck.spec.decisions import CLAIM_FALSE_ALARM, POWER, AllWithin, NoDifference, adjusted_for_tails
from initcheck.spec.topics.layer_defaults.measurement import (
    Given,
    as_fit_rows,
    built,
    constant_row,
    declared_rows,
    exact_rows,
    fit_rows,
    limit_of,
)
from initcheck.spec.topics.layer_defaults.special import FIT, special_claims
from initcheck.spec.topics.layer_defaults.table import (
    COMPOSED,
    LAYERS,
    RANDOM,
    WITHOUT_ARGUMENT,
    Argument,
    DefaultName,
    Layer,
    argument_named,
    layer_named,
)
from initcheck.spec.versions import initializers_take_axes

_NEAREST: Final[dict[DefaultName, InitializerSpec]] = {
    "glorot_uniform": InitializerSpec("GlorotNormal"),
    "uniform": InitializerSpec("RandomUniform", (("minval", -0.04875), ("maxval", 0.04875))),
    "orthogonal": InitializerSpec("GlorotUniform"),
    "zeros": InitializerSpec("Constant", (("value", 2.0**-10),)),
    "ones": InitializerSpec("Constant", (("value", 1.0 - 2.0**-10),)),
}
"""The nearest that a default may be mistaken for: the same variance, or one that is 5% smaller."""

_WORDS: Final[dict[DefaultName, str]] = {
    "glorot_uniform": "Glorot and Bengio's uniform distribution",
    "uniform": "the uniform distribution from -.05 to .05, whatever the sizes of the layer",
    "orthogonal": "an orthogonal matrix",
    "zeros": "zeros",
    "ones": "ones",
}

_ROWS: Final = {
    **dict.fromkeys(("Embedding", "ReversibleEmbedding"), ("L2",)),
    **dict.fromkeys(("BatchNormalization", "PReLU"), ("L3",)),
    "AdditiveAttention": ("L6",),
}

_EXACT: Final = AllWithin("Deviation from the documented default")
_CORRELATION: Final = NoDifference("Correlation", largest_detectable=0.2)
_TAIL: Final = 4.0
"""What the normal distribution of a correlation of 3,500 pairs and more may be off by at five standard deviations."""


@dataclass(frozen=True)
class Default:
    """What a layer declares of an initializer argument, and the distribution of its weights as it is built."""

    layer: str
    argument: str
    drawn_with: InitializerSpec | None = None
    stretched: float = 1.0

    def measure(self, context: RunContext) -> Iterator[ExactRow | FitRow]:
        layer, argument = argument_named(self.layer, self.argument)
        plain = built(context, layer)
        given: Given = () if self.drawn_with is None else ((self.argument, self.drawn_with),)
        weights = built(context, layer, given).weights
        declared = declared_rows(argument, plain.declared.get(self.argument, ()))
        values = {name: self.stretched * _of_argument(weights[name], argument) for name in argument.weights}
        if argument.default in ("glorot_uniform", "uniform"):
            members = len(declared) + 2 * len(values)
            yield from as_fit_rows(declared)
            inputs = (argument.input_axes if initializers_take_axes() else ()) or (0,) * len(values)
            for (name, value), axes in zip(values.items(), inputs, strict=True):
                yield from fit_rows(name, value, limit_of(argument.default, value.shape, axes), members)
            return
        yield from declared
        for name, value in values.items():
            yield from exact_rows(name, value, argument.default)


@dataclass(frozen=True)
class UsersOwn:
    """What a layer does with the user's initializers: each argument is given a constant of its own."""

    layer: str
    argument: str
    exchanged: bool = False

    def measure(self, context: RunContext) -> Iterator[ExactRow]:
        layer, argument = argument_named(self.layer, self.argument)
        # Multiples of a power of two are exact in single precision.
        constants = {each.name: 0.25 + 0.125 * index for index, each in enumerate(layer.arguments)}
        names, values = list(constants), list(constants.values())
        if self.exchanged:
            values = values[1:] + values[:1]
        given = tuple(
            (name, InitializerSpec("Constant", (("value", value),))) for name, value in zip(names, values, strict=True)
        )
        if self.exchanged and len(names) == 1:
            given = ()
        weights = built(context, layer, given).weights
        wanted = constants[self.argument]
        for name in argument.weights:
            yield constant_row(name, _of_argument(weights[name], argument), wanted)


@dataclass(frozen=True)
class Correlations:
    """Correlations between the random weights of a layer, and with those of another layer of the same settings."""

    layer: str
    seeded: bool = False

    def measure(self, context: RunContext) -> Iterator[FitRow]:
        layer = layer_named(self.layer)
        random = [argument for argument in layer.arguments if argument.default in RANDOM]
        classes = {"glorot_uniform": "GlorotUniform", "uniform": "RandomUniform", "orthogonal": "Orthogonal"}
        seed = context.seed("layer_defaults.same")
        given = tuple((each.name, InitializerSpec(classes[each.default])) for each in random if self.seeded)
        pair = built(context, layer, given, seed=seed if self.seeded else None, twice=True)
        names = [name for argument in random for name in argument.weights]
        couples = [
            (f"{first} and {second}", pair.weights[first], pair.weights[second])
            for first, second in itertools.combinations(names, 2)
        ]
        couples += [
            (f"{name} of one layer and of another", pair.weights[name], pair.other_weights[name]) for name in names
        ]
        level = CLAIM_FALSE_ALARM / len(couples)
        for name, first, second in couples:
            yield _correlation(name, first, second, level)


def _correlation(name: str, first: NDArray[np.float64], second: NDArray[np.float64], level: float) -> FitRow:
    # Two draws from the same stream of numbers begin alike. Of independent weights, one of which has independent
    # entries or is Haar distributed, the correlation has mean 0 and variance 1/n.
    count = min(first.size, second.size)
    left, right = first.ravel()[:count], second.ravel()[:count]
    # Not centred: the documented mean is 0.
    found = float(left @ right / math.sqrt(float(left @ left) * float(right @ right)))
    p_value = float(adjusted_for_tails(2.0 * stats.norm.sf(abs(found) * math.sqrt(count)), _TAIL))
    detectable = float(stats.norm.isf(level / (2.0 * _TAIL)) + stats.norm.isf(1.0 - POWER)) / math.sqrt(count)
    return FitRow(name, p_value, found, detectable, count)


def _of_argument(values: NDArray[np.float64], argument: Argument) -> NDArray[np.float64]:
    """Leave out the forget gate, which ``unit_forget_bias`` sets and claims of its own are about."""
    return np.delete(values.reshape(4, -1), 1, axis=0) if argument.gates else values


def _default_claim(layer: Layer, argument: Argument) -> Claim:
    fit = argument.default in ("glorot_uniform", "uniform")
    if argument.is_argument:
        other = _NEAREST[argument.default]
        control = Default(layer.name, argument.name, drawn_with=other)
        note = f"the weights are drawn with {other.class_name}"
        subject = f"By default, {argument.name} of {layer.name} is {argument.default}: its weights start as"
    else:
        factor = math.sqrt(1.05) if fit else 1.0 + 2.0**-10
        control = Default(layer.name, argument.name, stretched=factor)
        note = f"the weights are {factor - 1.0:.2%} larger"
        subject = f"{layer.name}, which has no argument for it, starts its {argument.name} as"
    return Claim(
        id=f"layer_defaults.{layer.subject}.{argument.name}",
        statement=f"{subject} {_WORDS[argument.default]}.",
        source=layer.source,
        condition="one layer with its default initializers, as it is built",
        experiment=Default(layer.name, argument.name),
        decide=FIT if fit else _EXACT,
        control=control,
        control_note=note,
        keras=layer.keras,
        rows=_ROWS.get(layer.name, ("L1",) if argument.is_argument else ()),
    )


def _own_claim(layer: Layer, argument: Argument) -> Claim:
    alone = len(layer.arguments) == 1
    return Claim(
        id=f"layer_defaults.{layer.subject}.{argument.name}_is_used",
        statement=f"{layer.name} starts the weights of {argument.name} with the initializer that the user gives, and "
        "with no other argument's.",
        source=layer.source,
        condition="one layer, each initializer argument a constant of its own",
        experiment=UsersOwn(layer.name, argument.name),
        decide=AllWithin("Deviation from the user's constant"),
        control=UsersOwn(layer.name, argument.name, exchanged=True),
        control_note="the layer is not given it" if alone else "the layer is given another argument's initializer",
        keras=layer.keras,
        rows=("L1",),
    )


def _independence_claim(layer: Layer) -> Claim:
    # One initializer draws both tables of a ReversibleEmbedding, which no document says.
    shared = layer.name == "ReversibleEmbedding"
    return Claim(
        id=f"layer_defaults.{layer.subject}.independent_weights",
        statement=f"The random weights of a {layer.name} with its defaults are drawn independently of each other, and "
        "of those of another such layer.",
        source=f"{layer.source}; keras.initializers (an initializer without a seed draws one of its own)",
        condition="two layers built one after the other" + (", tie_weights=False" if shared else ""),
        experiment=Correlations(layer.name),
        decide=_CORRELATION,
        control=Correlations("Embedding") if shared else Correlations(layer.name, seeded=True),
        control_note="two layers of one table each" if shared else "every initializer is given the same seed",
        expected="refuted" if shared else "holds",
        cause=causes.TWO_TABLES,
        keras=layer.keras,
        rows=("L2",) if "Embedding" in layer.name else ("L1",),
    )


def claims() -> Iterator[Claim]:
    """List the claims of this topic."""
    for layer in (*LAYERS, *WITHOUT_ARGUMENT):
        yield from (_default_claim(layer, argument) for argument in layer.arguments)
    for layer in LAYERS:
        yield from (_own_claim(layer, argument) for argument in layer.arguments)
    for layer in (*LAYERS, *COMPOSED):
        if any(argument.default in RANDOM for argument in layer.arguments):
            yield _independence_claim(layer)
    yield from special_claims()
