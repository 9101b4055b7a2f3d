"""Claims on kernels that are more than one count of inputs and outputs: orthogonal, of several gates or heads, LoRA's.

And on the outputs of layers that apply two kernels in sequence.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from initcheck.backend.runtime import import_keras
from initcheck.core import statistics
from initcheck.spec import causes
from initcheck.spec.claim import Claim, EstimateRow, ExactRow, RunContext
from initcheck.spec.decisions import AllWithin, EstimateWithin, size_of_equivalence
from initcheck.spec.subjects import EntryDistribution, to_numpy
from initcheck.spec.topics.fans.cases import RECURRENT
from initcheck.spec.topics.fans.measurement import (
    BATCH,
    MARGIN,
    PLANNED_MARGIN,
    SCALINGS,
    Fans,
    Scaling,
    output_variance,
    random_signs,
)
from initcheck.spec.topics.orthogonality import distance_from_orthonormal
from initcheck.spec.versions import BEFORE_AXES, INITIALIZER_AXES

_ROUNDING: Final = 1e-5
"""Of products of float32 matrices with orthonormal rows: some hundred roundings of 6e-8."""
_UNITS: Final = 64
_GATES: Final = {layer: gates for layer, _, gates in RECURRENT}
_SEEDS: Final = 4
_LIMIT: Final = 8.0 * math.sqrt(4 * _UNITS) * 2.0**-23
"""Of an entry of Q'Q - I; see :class:`initcheck.spec.topics.orthogonality.Orthonormality`."""
_SHARE_UNITS: Final = 32
_SHARE_INPUTS: Final = 48
_CHANNELS: Final = 256


def claims() -> tuple[Claim, ...]:
    """List the claims."""
    return (*_recurrent_kernels(), *_adapters(), *_orthogonal(), *_gate_shares(), *_attention(), *_sequences())


# --- recurrent kernels and LoRA's adapters ----------------------------------------------------------------------------


@dataclass(frozen=True)
class RecurrentKernel:
    """The largest entry of K K' - I of a recurrent kernel, or of its gates' blocks."""

    layer: str
    by_gate: bool
    initializer: str = "Orthogonal"

    def measure(self, context: RunContext) -> Iterator[ExactRow]:
        keras = import_keras()
        for place, seed in enumerate(context.seeds(f"recurrent/{self.layer}", _SEEDS)):
            initializer = getattr(keras.initializers, self.initializer)(seed=seed)
            layer = getattr(keras.layers, self.layer)(_UNITS, recurrent_initializer=initializer)
            layer.build((None, 3, 5))
            weights: list[Any] = layer.cell.get_weights()
            kernel = next(each for each in weights if each.shape == (_UNITS, _GATES[self.layer] * _UNITS))
            blocks = np.split(kernel.astype(np.float64), _GATES[self.layer] if self.by_gate else 1, axis=1)
            deviation = max(map(distance_from_orthonormal, blocks))
            yield ExactRow(f"seed {place}", deviation, _LIMIT, kernel.size)


@dataclass(frozen=True)
class LowRankAdapter:
    """How much enabling LoRA changes a layer's output, relative to the output."""

    layer: str
    change: float = 0.0

    def measure(self, context: RunContext) -> Iterator[ExactRow]:
        keras = import_keras()
        seed = context.seed(f"adapter/{self.layer}")
        random = np.random.default_rng(seed)
        keras.utils.set_random_seed(seed)  # of the layer's own initializers
        made: dict[str, tuple[Any, Any]] = {
            "Dense": (lambda: keras.layers.Dense(24), random.normal(size=(8, 16)).astype(np.float32)),
            "EinsumDense": (
                lambda: keras.layers.EinsumDense("ab,bc->ac", output_shape=24),
                random.normal(size=(8, 16)).astype(np.float32),
            ),
            "Embedding": (lambda: keras.layers.Embedding(30, 24), random.integers(0, 30, (8, 3))),
        }
        build, x = made[self.layer]
        layer = build()
        before = to_numpy(layer(x)).astype(np.float64)
        layer.enable_lora(4)
        # The second factor is the one that starts at zero; Keras names it after the kernel or the embeddings.
        second = next(
            weight for weight in layer.weights if weight.name.startswith("lora") and weight.name.endswith("_b")
        )
        second.assign(second + self.change)
        after = to_numpy(layer(x)).astype(np.float64)
        deviation = float(np.abs(after - before).max() / np.abs(before).max())
        yield ExactRow(self.layer, deviation, 8.0 * 16.0 * 2.0**-23, before.size)


def _recurrent_kernels() -> Iterator[Claim]:
    for layer, slug, gates in sorted(RECURRENT, key=lambda row: row[2]):
        together, by_gate = RecurrentKernel(layer, by_gate=False), RecurrentKernel(layer, by_gate=True)
        claim = partial(
            Claim,
            decide=AllWithin("entry of K K' - I", "entries"),
            source=f"Keras, keras.layers.{layer}, argument recurrent_initializer",
            condition=f"{_UNITS} units, {_SEEDS} seeds",
            rows=("B10",),
        )
        yield claim(
            id=f"fans.{slug}.recurrent_kernel_orthogonal",
            statement=f"{layer}'s recurrent kernel has orthonormal rows, over all of its gates together.",
            experiment=together,
            control=replace(together, initializer="GlorotUniform"),
            control_note="GlorotUniform in its place",
        )
        if gates > 1:
            yield claim(
                id=f"fans.{slug}.recurrent_gates_orthogonal",
                statement=f"The recurrent matrix of each gate of {layer} is orthogonal.",
                experiment=by_gate,
                control=replace(by_gate, layer="SimpleRNN"),
                control_note="SimpleRNN, whose only matrix is orthogonal",
                expected="refuted",
                cause=causes.GATES,
            )


def _adapters() -> Iterator[Claim]:
    for slug, layer in (("dense", "Dense"), ("einsum_dense", "EinsumDense"), ("embedding", "Embedding")):
        yield Claim(
            id=f"fans.{slug}.lora_changes_nothing",
            statement=f"Enabling LoRA leaves the output of {layer} as it was.",
            source=f"Keras, keras.layers.{layer}.enable_lora; Hu and others, 2022, ICLR, section 4.1",
            condition="rank 4, before any training",
            experiment=LowRankAdapter(layer),
            decide=AllWithin("largest change of the output, relative", "entries"),
            control=LowRankAdapter(layer, change=0.01),
            control_note="a second factor of .01 instead of zero",
            rows=("B11",),
        )


# --- orthogonal convolutions ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class OrthogonalOutputs:
    """The mean square of a convolution's outputs over sqrt(n) times all n unit inputs, in exact arithmetic."""

    shapes: tuple[tuple[int, int, int, int], ...]
    documented: Literal["wide", "preserved"]
    initializer: str = "Orthogonal"

    def measure(self, context: RunContext) -> Iterator[ExactRow]:
        keras = import_keras()
        for shape in self.shapes:
            side, _, channels, filters = shape
            settings = {"gain": 1.3} if self.initializer == "Orthogonal" else {}
            kind = getattr(keras.initializers, self.initializer)
            initializer = kind(seed=context.seed(f"fans/orthogonal/{shape}"), **settings)
            layer = keras.layers.Conv2D(filters, side, kernel_initializer=initializer)
            count = side * side * channels
            patches = np.eye(count, dtype=np.float32).reshape(count, side, side, channels) * math.sqrt(count)
            square = float((to_numpy(layer(patches)).astype(np.float64) ** 2).mean())
            share = min(count, filters) / filters if self.documented == "wide" else 1.0
            yield ExactRow(f"{shape}", abs(square / (share * 1.3**2) - 1.0), _ROUNDING, count * filters)


def _orthogonal() -> Iterator[Claim]:
    wide = ((3, 3, 4, 256), (1, 1, 16, 64), (5, 5, 2, 60))
    tall = ((3, 3, 32, 64), (1, 1, 48, 48), (5, 5, 4, 20))
    claim = partial(
        Claim,
        source="Keras, keras.initializers.Orthogonal; Saxe, McClelland & Ganguli, 2014, ICLR",
        decide=AllWithin("output variance over its documented value, minus one"),
        rows=("A13",),
    )
    for name, filters, variance, experiment in (
        ("wide", "more filters", "gain^2 n / filters", OrthogonalOutputs(wide, "wide")),
        ("tall", "at most n filters", "gain^2", OrthogonalOutputs(tall, "preserved")),
    ):
        yield claim(
            id=f"fans.orthogonal.{name}_convolution",
            statement=f"Orthogonal gives a convolution of n inputs and {filters} the output variance {variance}.",
            condition=f"kernels {experiment.shapes}, gain 1.3, exact over a basis of inputs",
            experiment=experiment,
            control=replace(experiment, initializer="LecunNormal"),
            control_note="LeCun's initializer, whose output variance is one",
        )
    yield claim(
        id="fans.orthogonal.preserves_whatever_the_shape",
        statement="Orthogonal gives a convolution the output variance gain^2, whatever its shape.",
        condition=f"kernels {wide}, gain 1.3, exact over a basis of inputs",
        experiment=OrthogonalOutputs(wide, "preserved"),
        control=OrthogonalOutputs(tall, "preserved"),
        control_note="no more filters than inputs",
        expected="refuted",
        cause=causes.ORTHOGONAL_LAYERS,
    )


# --- shares of gates --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class GateShare:
    """The variance of the entries of each gate's recurrent kernel times units and gates."""

    layer: str
    gates: int
    initializer: str = ""

    def measure(self, context: RunContext) -> Iterator[EstimateRow]:
        # With P the projection on the n rows of an orthogonal n x N matrix, the trace of its block of n columns has the
        # variance 2 n^2 (N - n)^2 / (N^2 (N - 1)(N + 2)), and the mean n^2 / N.
        n, total = _SHARE_UNITS, _SHARE_UNITS * self.gates
        variance = 2.0 * (n * (total - n)) ** 2 / (total**2 * (total - 1) * (total + 2)) / (n**2 / total) ** 2
        count = size_of_equivalence(variance, PLANNED_MARGIN, self.gates)
        keras = import_keras()
        given = {"recurrent_initializer": self.initializer} if self.initializer else {}
        kernels = []
        for seed in context.seeds(f"fans/{self.layer}/recurrent", count):
            keras.utils.set_random_seed(seed)
            built = getattr(keras.layers, self.layer)(_SHARE_UNITS, **given)
            built.build((None, 4, _SHARE_INPUTS))
            kernels.append(to_numpy(built.cell.recurrent_kernel).astype(np.float64))
        blocks = np.stack(kernels).reshape(count, n, self.gates, n)
        shares = (blocks**2).sum(axis=(1, 3)).mean(axis=0) * self.gates / n
        error = math.sqrt(variance / count)
        for index, share in enumerate(shares):
            yield EstimateRow(f"gate {index}", share, error, count)


def _gate_shares() -> Iterator[Claim]:
    for layer, slug, gates in RECURRENT:
        if gates > 1:
            yield Claim(
                f"fans.{slug}.recurrent_kernel_share_by_gate",
                f"The weights of each gate of {layer}'s recurrent kernel have the variance "
                f"1 / ({gates} units), so that a gate keeps 1/{gates} of the variance of its state.",
                f"Keras, keras.layers.{layer} and keras.initializers.Orthogonal",
                f"{_SHARE_UNITS} units, default initializers",
                GateShare(layer, gates),
                EstimateWithin("variance of a gate's weights times units and gates", 1 - MARGIN, 1 + MARGIN, "seeds"),
                GateShare(layer, gates, "glorot_uniform"),
                "glorot_uniform in place of orthogonal",
                slow=True,
                rows=("B10",),
            )


# --- attention --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class AttentionOrthogonality:
    """How far the query kernel of MultiHeadAttention, drawn as orthogonal, is from orthogonal."""

    flattened: Literal["before_last", "after_first"]
    """The axes before the last as rows, or the first axis as rows, as the layer multiplies."""
    corrected: bool = False
    initializer: str = "Orthogonal"

    def measure(self, context: RunContext) -> Iterator[ExactRow]:
        keras = import_keras()
        for size, heads, key in ((64, 4, 16), (48, 2, 8)):
            seed = context.seed(f"fans/attention/{size}")
            # Only a generator gives query, key and value different values where they share an initializer.
            initializer = getattr(keras.initializers, self.initializer)(seed=keras.random.SeedGenerator(seed))
            layer = keras.layers.MultiHeadAttention(heads, key, kernel_initializer=initializer)
            layer.build((None, 4, size), (None, 4, size))
            (kernel,) = (each for each in layer.weights if each.path.endswith("query/kernel"))
            values = to_numpy(kernel).astype(np.float64)
            matrix = values.reshape(-1, key) if self.flattened == "before_last" else values.reshape(size, -1)
            matrix = np.linalg.qr(matrix)[0] if self.corrected else matrix
            yield ExactRow(
                f"{size} inputs, {heads} heads of {key}", distance_from_orthonormal(matrix), _ROUNDING, matrix.size
            )


def _attention() -> Iterator[Claim]:
    claim = partial(
        Claim,
        source="Keras, keras.layers.MultiHeadAttention and keras.initializers.Orthogonal",
        condition="64 inputs and 4 heads of 16; 48 inputs and 2 heads of 8",
        decide=AllWithin("largest entry of the kernel's product with its transpose, minus the identity"),
        rows=("S5",),
    )
    yield claim(
        id="fans.multi_head_attention.orthogonal_query",
        statement="Orthogonal gives MultiHeadAttention a query kernel that is orthogonal from inputs to all heads.",
        experiment=AttentionOrthogonality("after_first"),
        control=AttentionOrthogonality("after_first", corrected=True),
        control_note="a kernel that is orthogonal as the layer multiplies",
        expected="refuted",
        cause=causes.ORTHOGONAL_LAYERS,
    )
    yield claim(
        id="fans.multi_head_attention.orthogonal_query_as_flattened",
        statement="Orthogonal makes the query kernel orthonormal with inputs and heads together as its rows.",
        experiment=AttentionOrthogonality("before_last"),
        control=AttentionOrthogonality("before_last", initializer="GlorotUniform"),
        control_note="glorot_uniform in place of orthogonal",
    )


# --- two kernels in sequence ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class OutputInSequence:
    """The output variance of a layer of two kernels in sequence, over what their fans say; seeds are the replicates."""

    layer: Literal["separable", "attention"]
    """3 x 3 and as many channels out as in, or a single key, attended alone."""
    scaling: Scaling
    by: Literal["layer", "shape"]
    corrected: bool = False
    mode: Literal["fan_in", "fan_out"] | None = None

    def measure(self, context: RunContext) -> Iterator[EstimateRow]:
        real, assumed = self._fans()
        inputs = math.prod(fans.fan_in for fans in real)
        expected = inputs * math.prod(self.scaling.variance(fans) for fans in (real if self.by == "layer" else assumed))
        pairs = zip(real, assumed, strict=True)
        factors = [math.sqrt(self.scaling.variance(one) / self.scaling.variance(other)) for one, other in pairs]
        # What is planned for, not what is judged by: the variance of the mean square of what the first kernel gives, by
        # the formula of :mod:`.measurement`, and of a second mean square that is taken over it.
        width, units = (_CHANNELS, _CHANNELS) if self.layer == "separable" else (real[0].fan_out, real[1].fan_out)
        kurtosis = EntryDistribution(self.scaling.kind, 0.0, 1.0).moment(4)
        by_seed = output_variance(kurtosis, real[0].fan_in) / width + 2.0 * (1.0 / width + 1.0 / BATCH) / units
        count = max(20, math.ceil(1.5 * size_of_equivalence(by_seed, PLANNED_MARGIN)))
        label = f"fans/{self.layer}/{self.scaling.slug}/outputs"
        random = np.random.default_rng(context.seed(f"{label}/signs"))
        values = []
        for seed in context.seeds(label, count):
            layer, signs, weights = self._build(seed, random)
            if self.corrected:
                for weight, factor in zip(weights, factors, strict=True):
                    weight.assign(weight * factor)
            values.append(float((to_numpy(layer(*signs)).astype(np.float64) ** 2).mean()) / expected)
        found = statistics.estimate_mean(np.asarray(values))
        yield EstimateRow(self.layer, found.value, found.standard_error, count, freedom=count - 1)

    def _fans(self) -> tuple[tuple[Fans, Fans], tuple[Fans, Fans]]:
        if self.layer == "separable":
            pointwise = Fans(_CHANNELS, _CHANNELS)
            return (Fans(9, 9), pointwise), (Fans(9 * _CHANNELS, 9), pointwise)
        # The second pair is that of a Keras whose initializers take no axes.
        return (Fans(160, 96), Fans(96, 320)), (Fans(160 * 4, 160 * 24), Fans(4 * 24, 4 * 320))

    def _build(self, seed: int, random: np.random.Generator) -> tuple[Any, tuple[Any, ...], tuple[Any, Any]]:
        keras = import_keras()
        initializer = self.scaling.create(keras.random.SeedGenerator(seed), self.mode)
        if self.layer == "separable":
            layer = keras.layers.SeparableConv2D(
                _CHANNELS, 3, depthwise_initializer=initializer, pointwise_initializer=initializer
            )
            signs: tuple[NDArray[np.float32], ...] = (random_signs(random, (BATCH, 3, 3, _CHANNELS)),)
            names = ("depthwise_kernel", "pointwise_kernel")
        else:
            layer = keras.layers.MultiHeadAttention(4, 24, output_shape=320, kernel_initializer=initializer)
            signs = (random_signs(random, (BATCH, 1, 160)),) * 2
            names = ("value/kernel", "attention_output/kernel")
        layer.build(*(each.shape for each in signs))
        first, second = (next(each for each in layer.weights if each.path.endswith(name)) for name in names)
        return layer, signs, (first, second)


def _sequences() -> Iterator[Claim]:
    claim = partial(
        Claim,
        decide=EstimateWithin("output variance over what the fans say", 1 - MARGIN, 1 + MARGIN, "seeds"),
        control_note="kernels rescaled to the units that the layer really has",
        slow=True,
    )
    for scaling in SCALINGS:
        if not scaling.slug.endswith("normal") and scaling.slug != "glorot_uniform":
            continue
        by_layer = OutputInSequence("separable", scaling, "layer")
        separable = partial(
            claim,
            source="Keras, keras.layers.SeparableConv2D",
            condition=f"{_CHANNELS} channels in and out, kernels 3 x 3, independent inputs of mean square one",
            rows=("B5",),
        )
        yield separable(
            id=f"fans.separable_conv2d.{scaling.slug}_output",
            statement=f"SeparableConv2D with {scaling.slug} has the output variance that its fans say: "
            f"that of its inputs, times {scaling.scale:g} for each of its two kernels.",
            experiment=by_layer,
            control=replace(by_layer, corrected=True),
            expected="refuted",
            cause=causes.DEPTHWISE,
        )
        yield separable(
            id=f"fans.separable_conv2d.{scaling.slug}_output_as_counted",
            statement=f"SeparableConv2D with {scaling.slug} counts the shape of the depthwise kernel, "
            "so that the output variance falls by the number of channels.",
            experiment=replace(by_layer, by="shape"),
            control=replace(by_layer, by="shape", corrected=True),
        )
        other: Literal["fan_in", "fan_out"] = "fan_in" if scaling.mode == "fan_avg" else "fan_out"
        experiment = OutputInSequence("attention", scaling, "layer")
        attention = partial(
            claim,
            id=f"fans.multi_head_attention.{scaling.slug}_output",
            statement=f"MultiHeadAttention with {scaling.slug} that attends to one key has the output variance of "
            "two layers of their own fans, value and output.",
            source="Keras, keras.layers.MultiHeadAttention",
            condition="160 inputs, 4 heads of 24, 320 outputs, one query and one key",
            experiment=experiment,
            rows=("B7", "S3"),
        )
        yield attention(
            control=replace(experiment, corrected=True), expected="refuted", cause=causes.HEADS, keras=BEFORE_AXES
        )
        yield attention(
            control=replace(experiment, mode=other),
            control_note="kernels scaled by other units",
            keras=INITIALIZER_AXES,
        )
