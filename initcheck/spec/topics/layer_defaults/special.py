"""Claims on what the documentation says of layers' initializers beyond their names: forget gate, None, completeness."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, Literal

import numpy as np

from initcheck.backend.runtime import import_keras
from initcheck.models.initializers import InitializerSpec
from initcheck.spec import causes
from initcheck.spec.claim import Claim, ExactRow, FitRow, RunContext
from initcheck.spec.decisions import AllWithin, NoDifference
from initcheck.spec.topics.layer_defaults.measurement import Given, built, constant_row, fit_rows, limit_of
from initcheck.spec.topics.layer_defaults.table import (
    LAYERS,
    Argument,
    Layer,
    argument_named,
    layer_named,
    with_settings,
)
from initcheck.spec.versions import installed_keras

FIT: Final = NoDifference("Distance from the documented distribution", largest_detectable=0.2)
_GATES: Final = ("input gate", "forget gate", "cell", "output gate")
_OWN: Final = 0.375
"""A bias that is exact in single precision, and so is one more than it."""

_DIMENSIONS: Final = (8, 32, 128)


@dataclass(frozen=True)
class GateBiases:
    """The biases of an LSTM's four gates as it is built."""

    layer: str
    biases: float
    wanted: tuple[float, float, float, float]
    """As documented, in the order of ``_GATES``; NaN: unsaid."""
    unit_forget_bias: bool | None = True
    """None leaves the argument out; False is the defect of claims about it."""

    def measure(self, context: RunContext) -> Iterator[ExactRow]:
        layer = layer_named(self.layer)
        if self.unit_forget_bias is not None:
            layer = with_settings(layer, unit_forget_bias=self.unit_forget_bias)
        given: Given = (("bias_initializer", InitializerSpec("Constant", (("value", self.biases),))),)
        weights = built(context, layer, given).weights
        bias = next(values for name, values in weights.items() if name.endswith("bias"))
        for gate, values, wanted in zip(_GATES, bias.reshape(4, -1), self.wanted, strict=True):
            if not math.isnan(wanted):
                yield constant_row(gate, values, wanted)


@dataclass(frozen=True)
class GateOrder:
    """One step of an LSTM's cell whose kernels are 0 and whose gates have biases of their own, by its definition."""

    layer: str
    order: tuple[int, int, int, int] = (0, 1, 2, 3)

    def measure(self, context: RunContext) -> Iterator[ExactRow]:  # noqa: ARG002 - without chance
        keras = import_keras()
        layer = layer_named(self.layer)
        if self.layer.startswith("Conv"):
            layer = with_settings(layer, padding="same")
        made = getattr(keras.layers, self.layer)(name=layer.subject, **dict(layer.settings))
        made.build(*layer.shapes)
        cell = getattr(made, "cell", made)
        units = int(cell.bias.shape[0]) // 4
        biases = (-0.5, 1.0, 0.75, -1.5)
        given = [np.full(units, biases[index]) for index in self.order]
        cell.kernel.assign(np.zeros(cell.kernel.shape))
        cell.recurrent_kernel.assign(np.zeros(cell.recurrent_kernel.shape))
        cell.bias.assign(np.concatenate(given))
        # A layer's shape has the steps of time, its cell's has not.
        shape = (1, *layer.shapes[0][1 if cell is made else 2 :])
        states = (*shape[:-1], units)
        _, (_, state) = cell(keras.ops.zeros(shape), [keras.ops.zeros(states), keras.ops.ones(states)], training=False)
        entry, forget = (1.0 / (1.0 + math.exp(-bias)) for bias in biases[:2])
        wanted = forget + entry * math.tanh(biases[2])
        found = keras.ops.convert_to_numpy(state)
        error = float(np.abs(found - wanted).max())
        yield ExactRow("state of the cell", error, 1e-6, found.size, f"{found.flat[0]:.6g}, not {wanted:.6g}")


@dataclass(frozen=True)
class NoneGiven:
    """The weight of a layer that is given None for an initializer argument."""

    layer: str
    argument: str
    expected: Literal["glorot_uniform", "zeros"]
    given: InitializerSpec | None = None

    def measure(self, context: RunContext) -> Iterator[ExactRow | FitRow]:
        layer, argument = argument_named(self.layer, self.argument)
        values = built(context, layer, ((self.argument, self.given),)).weights[argument.weights[0]]
        if self.expected == "zeros":
            yield constant_row(self.argument, values, 0.0)
        else:
            yield from fit_rows(self.argument, values, limit_of(self.expected, values.shape), 2)


@dataclass(frozen=True)
class EmbeddingSizes:
    """The limit of embeddings of several dimensions."""

    layer: str
    scaled: bool = False

    def measure(self, context: RunContext) -> Iterator[FitRow]:
        scaling = (("scale", 1.0), ("mode", "fan_out"), ("distribution", "uniform"))
        given: Given = (("embeddings_initializer", InitializerSpec("VarianceScaling", scaling)),) if self.scaled else ()
        for dimension in _DIMENSIONS:
            layer = with_settings(layer_named(self.layer), input_dim=500, output_dim=dimension)
            values = built(context, layer, given).weights["embeddings"]
            yield from fit_rows(f"dimension {dimension}", values, limit_of("uniform", ()), 2 * len(_DIMENSIONS))


@dataclass(frozen=True)
class SharedDraw:
    """Whether the two tables of a ReversibleEmbedding without tied weights are the same numbers, row after row."""

    other: bool = False

    def measure(self, context: RunContext) -> Iterator[ExactRow]:
        pair = built(context, layer_named("ReversibleEmbedding"))
        second = (pair.other_weights if self.other else pair.weights)["reverse_embeddings"]
        error = float(np.abs(pair.weights["embeddings"].ravel() - second.ravel()).max())
        yield ExactRow("embeddings and reverse_embeddings", error, 0.0, second.size)


@dataclass(frozen=True)
class Completeness:
    """The exported layers of Keras and their initializer arguments against the table: one row a layer."""

    left_out: str = ""

    def measure(self, context: RunContext) -> Iterator[ExactRow]:  # noqa: ARG002 - without chance
        layers = import_keras().layers
        table = {
            layer.name: {argument.name for argument in layer.arguments}
            for layer in LAYERS
            if layer.name != self.left_out and installed_keras() in layer.keras
        }
        known = {getattr(layers, name, None): arguments for name, arguments in table.items()}
        for name in sorted(set(dir(layers)) | set(table)):
            kind = getattr(layers, name, None)
            if kind is not None and not (inspect.isclass(kind) and issubclass(kind, layers.Layer)):
                continue
            found = _initializer_arguments(kind)
            listed = known.get(kind, set()) if kind is not None else table[name]
            unlike = sorted(found ^ listed)
            yield ExactRow(name, float(len(unlike)), seen=", ".join(unlike))


@dataclass(frozen=True)
class WeightCount:
    """How many weights a normalization has."""

    layer: str

    def measure(self, context: RunContext) -> Iterator[ExactRow]:
        weights = built(context, Layer(self.layer, (), ((None, 32),), ())).weights
        yield ExactRow("number of weights", float(len(weights)), seen=", ".join(weights))


def _initializer_arguments(kind: type[Any] | None) -> set[str]:
    """A constructor may hand what it does not name to a base class."""
    names: set[str] = set()
    for each in getattr(kind, "__mro__", ()):
        if "__init__" in each.__dict__:
            names |= {name for name in inspect.signature(each.__init__).parameters if name.endswith("_initializer")}
    return names


def _gate_claims(layer: Layer) -> Iterator[Claim]:
    name, undocumented = layer.name, math.nan
    prefix = f"layer_defaults.{layer.subject}.unit_forget_bias"
    own = f"bias_initializer a constant of {_OWN}"
    without = "unit_forget_bias is False"
    claim = partial(Claim, source=layer.source, decide=AllWithin("Deviation of a bias"), rows=("L4",))
    default = GateBiases(name, 0.0, (0.0, 1.0, 0.0, 0.0), unit_forget_bias=None)
    yield claim(
        id=prefix,
        statement=f"By default, {name} starts the bias of its forget gate with 1 and its other biases with 0.",
        condition="bias_initializer zeros",
        experiment=default,
        control=replace(default, unit_forget_bias=False),
        control_note=without,
    )
    yield claim(
        id=f"{prefix}_adds_one",
        statement=f"unit_forget_bias adds 1 to what bias_initializer gives the forget gate of {name}.",
        condition=own,
        experiment=GateBiases(name, _OWN, (undocumented, 1.0 + _OWN, undocumented, undocumented)),
        control=GateBiases(name, 0.0, (undocumented, 1.0, undocumented, undocumented)),
        control_note="bias_initializer is zeros, to which 1 is added",
        expected="refuted",
        cause=causes.FORGET_BIAS,
    )
    sets_one = GateBiases(name, _OWN, (_OWN, 1.0, _OWN, _OWN))
    yield claim(
        id=f"{prefix}_sets_one",
        statement=f"With unit_forget_bias, {name} starts the bias of its forget gate with 1 whatever "
        "bias_initializer is, and its other biases with bias_initializer.",
        source=f"{layer.source}, its build method; the documentation says otherwise",
        condition=own,
        experiment=sets_one,
        control=replace(sets_one, unit_forget_bias=False),
        control_note=without,
        rows=("L4", "L5"),
    )
    yield claim(
        id=f"layer_defaults.{layer.subject}.gate_order",
        statement=f"The biases of {name} are those of its input gate, forget gate, cell and output gate, in this "
        "order.",
        source=f"{layer.source}; Jozefowicz, Zaremba & Sutskever, 2015, ICML (the step of an LSTM)",
        condition="one step, kernels 0, biases set by hand, state of the cell 1",
        experiment=GateOrder(name),
        decide=AllWithin("Error of the state"),
        control=GateOrder(name, (1, 0, 2, 3)),
        control_note="the biases of input gate and forget gate are exchanged",
    )
    if not name.startswith("Conv"):
        yield claim(
            id=f"{prefix}_forces_zeros",
            statement=f"With unit_forget_bias, {name} starts its other biases with 0 whatever bias_initializer is.",
            condition="bias_initializer ones",
            experiment=GateBiases(name, 1.0, (0.0, 1.0, 0.0, 0.0)),
            control=GateBiases(name, 0.0, (0.0, 1.0, 0.0, 0.0)),
            control_note="bias_initializer is zeros",
            expected="refuted",
            cause=causes.FORGET_BIAS,
            rows=("L5",),
        )


def _none_claims(layer: Layer, argument: Argument) -> Iterator[Claim]:
    prefix = f"layer_defaults.{layer.subject}.{argument.name}_none"
    claim = partial(Claim, source=layer.source, condition=f"{argument.name}=None")
    random = argument.default == "glorot_uniform"
    if not random:
        zeros = NoneGiven(layer.name, argument.name, "zeros")
        yield claim(
            id=f"{prefix}_is_zeros",
            statement=f"{layer.name} takes None for {argument.name} as zeros.",
            experiment=zeros,
            decide=AllWithin("Deviation of a bias"),
            control=replace(zeros, given=InitializerSpec("Zeros")),
            control_note="it is given zeros",
            expected="refuted",
            cause=causes.NONE_FOR_BIAS,
        )
    glorot = NoneGiven(layer.name, argument.name, "glorot_uniform")
    yield claim(
        id=f"{prefix}_is_glorot_uniform",
        statement=f"{layer.name} takes None for {argument.name} as glorot_uniform.",
        source=layer.source if random else "Keras, keras.layers.Layer.add_weight",
        experiment=glorot,
        decide=FIT,
        control=replace(glorot, given=InitializerSpec("HeUniform")),
        control_note="it is given he_uniform",
    )


def _embedding_claims() -> Iterator[Claim]:
    for layer in map(layer_named, ("Embedding", "ReversibleEmbedding")):
        yield Claim(
            id=f"layer_defaults.{layer.subject}.same_for_every_dimension",
            statement=f"The distribution of {layer.name}'s weights, uniform from -.05 to .05, does not depend on its "
            "dimension.",
            source=layer.source,
            condition=f"dimensions {', '.join(map(str, _DIMENSIONS))}",
            experiment=EmbeddingSizes(layer.name),
            decide=FIT,
            control=EmbeddingSizes(layer.name, scaled=True),
            control_note="the variance is one over the dimension",
            rows=("L2",),
        )
    yield Claim(
        id="layer_defaults.reversible_embedding.weights_share_one_draw",
        statement="The two tables of a ReversibleEmbedding without tied weights start with the same numbers, each in "
        "the order of its own shape: one initializer draws both.",
        source="Keras, keras.layers.ReversibleEmbedding, its build method",
        condition="tie_weights=False, default initializer",
        experiment=SharedDraw(),
        decide=AllWithin("Difference of two entries"),
        control=SharedDraw(other=True),
        control_note="the second table is another layer's",
        rows=("L2",),
    )


def special_claims() -> Iterator[Claim]:
    """List the claims of this part."""
    yield from _embedding_claims()
    for layer in LAYERS:
        for argument in layer.arguments:
            if argument.none_is_default:
                yield from _none_claims(layer, argument)
            if argument.gates:
                yield from _gate_claims(layer)
    yield Claim(
        id="layer_defaults.unit_normalization.no_weights",
        statement="UnitNormalization has no weights, so nothing to initialize.",
        source="Keras, keras.layers.UnitNormalization",
        condition="default arguments",
        experiment=WeightCount("UnitNormalization"),
        decide=AllWithin("Number of weights"),
        control=WeightCount("RMSNormalization"),
        control_note="RMSNormalization, which has a scale",
    )
    yield Claim(
        id="layer_defaults.catalogue.complete",
        statement="Every exported layer with an initializer argument, and no other, is in the table of defaults.",
        source="Keras, keras.layers",
        condition="every class of the module",
        experiment=Completeness(),
        decide=AllWithin("Arguments that only one of Keras and the table has"),
        control=Completeness(left_out="EinsumDense"),
        control_note="EinsumDense is taken out of the table",
        rows=("L1",),
    )
