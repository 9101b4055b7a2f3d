"""Claims on outputs: of orthogonal kernels, and of layers of two kernels in sequence."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from initcheck.backend.runtime import import_keras
from initcheck.core import statistics
from initcheck.spec.claim import Claim
from initcheck.spec.decisions import CLAIM_FALSE_ALARM, AllWithin, EstimateWithin, size_of_equivalence
from initcheck.spec.distributions import EntryDistribution
from initcheck.spec.subjects import to_numpy
from initcheck.spec.table import EstimateRow, ExactRow
from initcheck.spec.topics.fans.measurement import (
    BATCH,
    MARGIN,
    PLANNED_MARGIN,
    SCALINGS,
    Fans,
    Scaling,
    einsum_axes_counted,
    output_variance,
    random_signs,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from initcheck.spec.claim import RunContext

_ROUNDING: Final = 1e-5
"""Of products of float32 matrices with orthonormal rows: some hundred roundings of 6e-8."""
_UNITS: Final = 32
_INPUTS: Final = 48
_CHANNELS: Final = 256
_RECURRENT: Final = (("LSTM", "lstm", 4), ("GRU", "gru", 3))


def _orthonormality(matrix: NDArray[np.float64]) -> float:
    """Give the largest entry of M M' - I, or of M' M - I for more rows than columns."""
    short = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    return float(np.abs(short @ short.T - np.eye(len(short))).max())


@dataclass(frozen=True)
class GateShare:
    """The variance of the entries of each gate's recurrent kernel times units and gates.

    With P the projection on the n rows of an orthogonal n x N matrix, the trace of its block of n columns has the
    variance 2 n^2 (N - n)^2 / (N^2 (N - 1)(N + 2)), and the mean n^2 / N.

    Attributes:
        layer: class of Keras.
        gates: how many.
        initializer: another than the default, for the control.
    """

    layer: str
    gates: int
    initializer: str = ""

    def measure(self, context: RunContext) -> Iterator[EstimateRow]:
        """Measure over as many seeds as the known variance asks for."""
        n, total = _UNITS, _UNITS * self.gates
        variance = 2.0 * (n * (total - n)) ** 2 / (total**2 * (total - 1) * (total + 2)) / (n**2 / total) ** 2
        count = size_of_equivalence(variance, PLANNED_MARGIN, self.gates)
        kernels = [_recurrent_kernel(context, self.layer, index, self.initializer) for index in range(count)]
        blocks = np.stack(kernels).reshape(count, n, self.gates, n)
        shares = (blocks**2).sum(axis=(1, 3)).mean(axis=0) * self.gates / n
        error = math.sqrt(variance / count)
        for index, share in enumerate(shares):
            yield EstimateRow(f"gate {index}", share, error, count)


def _recurrent_kernel(context: RunContext, layer: str, index: int, initializer: str) -> NDArray[np.float64]:
    def make() -> NDArray[np.float64]:
        keras = import_keras()
        seed = context.seeds(f"fans/{layer}/recurrent", index + 1)[-1]
        keras.utils.set_random_seed(seed)
        given = {"recurrent_initializer": initializer} if initializer else {}
        built = getattr(keras.layers, layer)(_UNITS, **given)
        built.build((None, 4, _INPUTS))
        return to_numpy(built.cell.recurrent_kernel).astype(np.float64)

    return context.remember(("fans", layer, index, initializer), make)


@dataclass(frozen=True)
class OrthogonalOutputs:
    """The mean square of a convolution's outputs over all unit inputs of its patch, in exact arithmetic.

    The inputs are sqrt(n) times the n unit vectors, whose squares have the mean one.

    Attributes:
        shapes: of kernels, ``(side, side, in, out)``.
        gain: of Orthogonal.
        documented: what the mean square is held against: min(n, out)/out times the squared gain, or that gain alone.
        initializer: another one in its place, for the control.
    """

    shapes: tuple[tuple[int, int, int, int], ...]
    gain: float
    documented: Literal["wide", "preserved"]
    initializer: str = "Orthogonal"

    def measure(self, context: RunContext) -> Iterator[ExactRow]:
        """Convolve."""
        keras = import_keras()
        for shape in self.shapes:
            side, _, channels, filters = shape
            settings = {"gain": self.gain} if self.initializer == "Orthogonal" else {}
            kind = getattr(keras.initializers, self.initializer)
            start = kind(seed=context.seed(f"fans/orthogonal/{shape}"), **settings)
            layer = keras.layers.Conv2D(filters, side, kernel_initializer=start)
            count = side * side * channels
            patches = np.eye(count, dtype=np.float32).reshape(count, side, side, channels) * math.sqrt(count)
            square = float((to_numpy(layer(patches)).astype(np.float64) ** 2).mean())
            share = min(count, filters) / filters if self.documented == "wide" else 1.0
            yield ExactRow(f"{shape}", abs(square / (share * self.gain**2) - 1.0), _ROUNDING, count * filters)


@dataclass(frozen=True)
class AttentionOrthogonality:
    """How far the query kernel of MultiHeadAttention, drawn as orthogonal, is from orthogonal.

    Attributes:
        flattened: the axes before the last as rows, or the first axis as rows, as the layer multiplies.
        corrected: whether the kernel is replaced by one that is orthogonal as the layer multiplies.
        initializer: of the layer.
    """

    flattened: Literal["before_last", "after_first"]
    corrected: bool = False
    initializer: str = "Orthogonal"

    def measure(self, context: RunContext) -> Iterator[ExactRow]:
        """Build the layer and multiply the kernel by its transpose."""
        keras = import_keras()
        for size, heads, key in ((64, 4, 16), (48, 2, 8)):
            seed = context.seed(f"fans/attention/{size}")
            # Only a generator gives query, key and value different values where they share an initializer.
            start = getattr(keras.initializers, self.initializer)(seed=keras.random.SeedGenerator(seed))
            layer = keras.layers.MultiHeadAttention(heads, key, kernel_initializer=start)
            layer.build((None, 4, size), (None, 4, size))
            (kernel,) = (each for each in layer.weights if each.path.endswith("query/kernel"))
            values = to_numpy(kernel).astype(np.float64)
            matrix = values.reshape(-1, key) if self.flattened == "before_last" else values.reshape(size, -1)
            matrix = np.linalg.qr(matrix)[0] if self.corrected else matrix
            yield ExactRow(f"{size} inputs, {heads} heads of {key}", _orthonormality(matrix), _ROUNDING, matrix.size)


@dataclass(frozen=True)
class OutputInSequence:
    """The output variance of a layer of two kernels in sequence, over what their fans say; seeds are the replicates.

    Attributes:
        layer: ``separable`` (3 x 3, as many channels out as in) or ``attention`` (a single key, attended alone).
        scaling: the initializer of both kernels.
        by: fans that the layer really has, or as Keras counts.
        corrected: whether the first kernel is rescaled to the layer's fans.
        mode: counts other units than documented.
    """

    layer: Literal["separable", "attention"]
    scaling: Scaling
    by: Literal["layer", "shape"]
    corrected: bool = False
    mode: Literal["fan_in", "fan_out"] | None = None

    def measure(self, context: RunContext) -> Iterator[EstimateRow]:
        """Measure, for as many seeds as give the mean of about the planned error."""
        real, assumed = self._fans()
        inputs = math.prod(fans.into for fans in real)
        expected = inputs * math.prod(self.scaling.variance(fans) for fans in (real if self.by == "layer" else assumed))
        pairs = zip(real, assumed, strict=True)
        factors = [math.sqrt(self.scaling.variance(one) / self.scaling.variance(other)) for one, other in pairs]
        # What is planned for, not what is judged by: the variance of the mean square of what the first kernel gives, by
        # the law of this module's neighbour, and of a second mean square that is taken over it.
        width, units = (_CHANNELS, _CHANNELS) if self.layer == "separable" else (real[0].out, real[1].out)
        kurtosis = EntryDistribution(self.scaling.kind, 0.0, 1.0).moment(4)
        by_seed = output_variance(kurtosis, real[0].into) / width + 2.0 * (1.0 / width + 1.0 / BATCH) / units
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
        real = (Fans(160, 96), Fans(96, 320))
        return real, real if einsum_axes_counted() else (Fans(160 * 4, 160 * 24), Fans(4 * 24, 4 * 320))

    def _build(self, seed: int, random: np.random.Generator) -> tuple[Any, tuple[Any, ...], tuple[Any, Any]]:
        keras = import_keras()
        start = self.scaling.create(keras.random.SeedGenerator(seed), self.mode)
        if self.layer == "separable":
            layer = keras.layers.SeparableConv2D(_CHANNELS, 3, depthwise_initializer=start, pointwise_initializer=start)
            signs: tuple[NDArray[np.float32], ...] = (random_signs(random, (BATCH, 3, 3, _CHANNELS)),)
            names = ("depthwise_kernel", "pointwise_kernel")
        else:
            layer = keras.layers.MultiHeadAttention(4, 24, output_shape=320, kernel_initializer=start)
            signs = (random_signs(random, (BATCH, 1, 160)),) * 2
            names = ("value/kernel", "attention_output/kernel")
        layer.build(*(each.shape for each in signs))
        first, second = (next(each for each in layer.weights if each.path.endswith(name)) for name in names)
        return layer, signs, (first, second)


def claims() -> tuple[Claim, ...]:
    """List the claims."""
    return (*_orthogonal(), *_recurrent(), *_attention(), *_sequences())


def _orthogonal() -> tuple[Claim, ...]:
    decide = AllWithin("output variance over its documented value, minus one")
    wide = ((3, 3, 4, 256), (1, 1, 16, 64), (5, 5, 2, 60))
    tall = ((3, 3, 32, 64), (1, 1, 48, 48), (5, 5, 4, 20))
    source = "Keras, keras.initializers.Orthogonal; Saxe, McClelland & Ganguli, 2014, ICLR"
    so = Claim(
        "fans.orthogonal.wide_convolution",
        "Orthogonal gives a convolution of n inputs and more filters the output variance gain^2 n / filters.",
        source,
        f"kernels {wide}, gain 1.3, exact over a basis of inputs",
        OrthogonalOutputs(wide, 1.3, "wide"),
        decide,
        OrthogonalOutputs(wide, 1.3, "wide", "LecunNormal"),
        "LeCun's initializer, whose output variance is one",
        rows=("A13",),
    )
    kept = replace(
        so,
        id="fans.orthogonal.tall_convolution",
        statement="Orthogonal gives a convolution of n inputs and at most n filters the output variance gain^2.",
        condition=so.condition.replace(str(wide), str(tall)),
        experiment=OrthogonalOutputs(tall, 1.3, "preserved"),
        control=OrthogonalOutputs(tall, 1.3, "preserved", "LecunNormal"),
    )
    wrong = replace(
        so,
        id="fans.orthogonal.preserves_whatever_the_shape",
        statement="Orthogonal gives a convolution the output variance gain^2, whatever its shape.",
        experiment=OrthogonalOutputs(wide, 1.3, "preserved"),
        control=OrthogonalOutputs(tall, 1.3, "preserved"),
        control_note="no more filters than inputs",
        expected="refuted",
    )
    return so, kept, wrong


def _recurrent() -> tuple[Claim, ...]:
    return tuple(
        Claim(
            f"fans.{slug}.recurrent_kernel_share_by_gate",
            f"The weights of each gate of {layer}'s recurrent kernel have the variance "
            f"1 / ({gates} units), so that a gate keeps 1/{gates} of the variance of its state.",
            f"Keras, keras.layers.{layer} and keras.initializers.Orthogonal",
            f"{_UNITS} units, default initializers",
            GateShare(layer, gates),
            EstimateWithin("variance of a gate's weights times units and gates", 1 - MARGIN, 1 + MARGIN, "seeds"),
            GateShare(layer, gates, "glorot_uniform"),
            "glorot_uniform in place of orthogonal",
            slow=True,
            false_alarm=CLAIM_FALSE_ALARM,
            rows=("B10",),
        )
        for layer, slug, gates in _RECURRENT
    )


def _attention() -> tuple[Claim, ...]:
    wrong = Claim(
        "fans.multi_head_attention.orthogonal_query",
        "Orthogonal gives MultiHeadAttention a query kernel that is orthogonal from inputs to all heads.",
        "Keras, keras.layers.MultiHeadAttention and keras.initializers.Orthogonal",
        "64 inputs and 4 heads of 16; 48 inputs and 2 heads of 8",
        AttentionOrthogonality("after_first"),
        AllWithin("largest entry of the kernel's product with its transpose, minus the identity"),
        AttentionOrthogonality("after_first", corrected=True),
        "a kernel that is orthogonal as the layer multiplies",
        expected="refuted",
        rows=("S5",),
    )
    so = replace(
        wrong,
        id="fans.multi_head_attention.orthogonal_query_as_flattened",
        statement="Orthogonal makes the query kernel orthonormal with inputs and heads together as its rows.",
        experiment=AttentionOrthogonality("before_last"),
        control=AttentionOrthogonality("before_last", initializer="GlorotUniform"),
        control_note="glorot_uniform in place of orthogonal",
        expected="holds",
    )
    return wrong, so


def _sequences() -> tuple[Claim, ...]:
    decide = EstimateWithin("output variance over what the fans say", 1 - MARGIN, 1 + MARGIN, "seeds")
    listed: list[Claim] = []
    for scaling in SCALINGS:
        if not scaling.slug.endswith("normal") and scaling.slug != "glorot_uniform":
            continue
        wrong = Claim(
            f"fans.separable_conv2d.{scaling.slug}_output",
            f"SeparableConv2D with {scaling.slug} has the output variance that its fans say: "
            f"that of its inputs, times {scaling.scale:g} for each of its two kernels.",
            "Keras, keras.layers.SeparableConv2D",
            f"{_CHANNELS} channels in and out, kernels 3 x 3, independent inputs of mean square one",
            OutputInSequence("separable", scaling, "layer"),
            decide,
            OutputInSequence("separable", scaling, "layer", corrected=True),
            "kernels rescaled to the units that the layer really has",
            expected="refuted",
            slow=True,
            false_alarm=CLAIM_FALSE_ALARM,
            rows=("B5",),
        )
        so = replace(
            wrong,
            id=f"{wrong.id}_as_counted",
            statement=f"SeparableConv2D with {scaling.slug} counts the shape of the depthwise kernel, "
            "so that the output variance falls by the number of channels.",
            experiment=OutputInSequence("separable", scaling, "shape"),
            control=OutputInSequence("separable", scaling, "shape", corrected=True),
            expected="holds",
        )
        listed.extend((wrong, so))
        told = f"MultiHeadAttention with {scaling.slug} that attends to one key has the output variance of two layers"
        holds = einsum_axes_counted()
        other: Literal["fan_in", "fan_out"] = "fan_in" if scaling.mode == "fan_avg" else "fan_out"
        experiment = OutputInSequence("attention", scaling, "layer")
        listed.append(
            replace(
                wrong,
                id=f"fans.multi_head_attention.{scaling.slug}_output",
                statement=f"{told} of their own fans, value and output.",
                source="Keras, keras.layers.MultiHeadAttention",
                condition="160 inputs, 4 heads of 24, 320 outputs, one query and one key",
                experiment=experiment,
                control=replace(experiment, mode=other) if holds else replace(experiment, corrected=True),
                control_note="kernels scaled by other units" if holds else wrong.control_note,
                expected="holds" if holds else "refuted",
                rows=("B7", "S3"),
            )
        )
    return tuple(listed)
