"""What is claimed of the signal at initialization: in deep networks, in others, in single layers and functions."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from initcheck.backend.runtime import import_keras
from initcheck.models.initializers import InitializerSpec
from initcheck.models.networks import ConvSpec, MlpSpec
from initcheck.spec import causes
from initcheck.spec.claim import Claim, EstimateRow, ExactRow, RunContext, SeedRow, seed_rows
from initcheck.spec.decisions import AllWithin, EstimateWithin, SeedMeanWithin, size_of_equivalence
from initcheck.spec.subjects import to_numpy
from initcheck.spec.topics.deep import GAIN, HE, SELU, SQUARE, gain_claims, rectangular_claims, theory_claim
from initcheck.spec.topics.deep.networks import (
    LEFT_OUT,
    DeepNetwork,
    Gains,
    draw_kernels,
    draw_normal,
    measure_model,
    pivot_by_layer,
)
from initcheck.theory.activations import TWINS
from initcheck.theory.layers import compute_expected_cross_entropy
from initcheck.theory.weights import weight_distribution

CLASSES: Final = 10
ROUNDING: Final = 32.0 * float(np.finfo(np.float32).eps)


def claims() -> Iterator[Claim]:
    """List the claims."""
    yield from _function_claims()
    yield from gain_claims("forward")
    yield from _selu_claims()
    yield from _rectifier_claims()
    yield from rectangular_claims("forward")
    yield from _batch_claims()
    yield _dropout_claim()
    yield from _convolution_claims()
    yield from _loss_claims()
    yield from _normalization_claims()
    yield from _shift_claims()


# --- deep networks ----------------------------------------------------------------------------------------------------


def _selu_claims() -> Iterator[Claim]:
    lecun = DeepNetwork(InitializerSpec("LecunNormal"), "selu")
    he = DeepNetwork(InitializerSpec("HeNormal"), "selu")
    # Fluctuations of order 1 / 64 move the mean gain by one per cent: a good third of the margin is left to them.
    seeds = lecun.count_seeds(0.015)
    claim = partial(Claim, condition=SQUARE, decide=GAIN, slow=True, rows=("E5",))
    yield claim(
        id="forward.lecun_normal.selu_gain",
        statement="LecunNormal and SELU keep a unit second moment from layer to layer.",
        source=SELU,
        experiment=Gains(lecun, "forward", 1.0, seeds),
        control=Gains(he, "forward", 1.0, seeds),
        control_note="HeNormal in place of LecunNormal",
    )
    yield claim(
        id="forward.he_normal.selu_gain",
        statement="HeNormal keeps the second moment in layers of SELU, a rectifier as others are.",
        source="Keras, keras.initializers.HeNormal",
        experiment=Gains(he, "forward", 1.0, he.count_seeds(LEFT_OUT)),
        control=Gains(lecun, "forward", 1.0, seeds),
        control_note="LecunNormal in place of HeNormal",
        expected="refuted",
        cause=causes.HE,
    )
    theory = partial(theory_claim, "forward", source=SELU, rows=("E5",))
    yield replace(
        theory("lecun_normal", replace(lecun, scale=2.0), subject="selu_attraction"),
        statement="LecunNormal and SELU draw a second moment of 4 back towards 1, layer by layer as mean-field theory "
        "with its first correction in 1 / width says.",
    )
    yield theory("he_normal", he, subject="selu_course")


def _rectifier_claims() -> Iterator[Claim]:
    relu = DeepNetwork(InitializerSpec("HeNormal"), "relu", depth=4)
    for activation in ("gelu", "silu", "elu"):
        network = replace(relu, activation=activation)
        # So near the input theory leaves out less than it may elsewhere.
        seeds = network.count_seeds(LEFT_OUT / 5.0)
        yield Claim(
            id=f"forward.he_normal.{activation}_gain",
            statement=f"HeNormal keeps the second moment in {activation} layers, as in those of other rectifiers.",
            source="Keras, keras.initializers.HeNormal",
            condition="4 square Dense layers of 64 units, zero biases, one sample of unit second moment",
            experiment=Gains(network, "forward", 1.0, seeds),
            decide=GAIN,
            control=Gains(relu, "forward", 1.0, seeds),
            control_note="ReLU",
            expected="refuted",
            cause=causes.HE,
            slow=True,
            rows=("E6",),
        )
        yield replace(
            theory_claim("forward", "he_normal", network, HE, ("E6",), f"{activation}_course"),
            experiment=Gains(network, "forward", seeds=seeds),
            control=Gains(replace(network, variance_factor=1.25), "forward", seeds=seeds),
        )


# --- networks that are not plain: batches, dropout, convolutions ------------------------------------------------------


def draw_batch(context: RunContext, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Draw a batch of samples of standard normal numbers, the same for all of one shape."""
    return draw_normal(context, f"forward.batch.{shape}", shape)


@dataclass(frozen=True)
class BatchShare:
    """The share of a signal's second moment that varies over the samples of a batch, after the last layer."""

    initializer: InitializerSpec
    activation: str

    def measure(self, context: RunContext) -> list[SeedRow]:
        spec = MlpSpec(initializer=self.initializer, activation=self.activation, depth=10, width=64)
        seeds = context.seeds(f"batch share {self.initializer.label} {self.activation}", 48)
        table = measure_model(spec.build(spec.sample_shape, seed=0), draw_batch(context, (16, 64)), seeds)
        last = table[table["layer"] == "hidden_10"]
        return seed_rows("hidden_10", last["activation_batch_variance"] / last["activation_second_moment"])


def _batch_claims() -> Iterator[Claim]:
    healthy = "share of the second moment that varies over the batch"
    claim = partial(
        Claim,
        condition="10 Dense layers of 64 units, a batch of 16 Gaussian samples; the last layer",
        experiment=BatchShare(InitializerSpec("GlorotUniform"), "sigmoid"),
        control=BatchShare(InitializerSpec("HeNormal"), "relu"),
        control_note="HeNormal and ReLU in place of GlorotUniform and sigmoid",
        slow=True,
        rows=("E9",),
    )
    yield claim(
        id="forward.sigmoid.second_moment_tells_signal",
        statement="Where the pooled second moment of the activations is of order 1, samples can be distinguished.",
        source="Glorot & Bengio, 2010, AISTATS, section 4",
        decide=SeedMeanWithin(healthy, 0.01, 1.0),
        expected="refuted",
        cause=causes.SIZE_ALONE,
    )
    yield claim(
        id="forward.sigmoid.batch_variance_collapses",
        statement="GlorotUniform and sigmoid leave less than 1e-4 of the second moment to differ over the batch.",
        source="Poole et al., 2016, NeurIPS, section 3",
        decide=SeedMeanWithin(healthy, -1e-4, 1e-4),
    )


@dataclass(frozen=True)
class DroppedSignal:
    """Mean and second moment of a deep SELU network with a dropout layer behind every Dense layer."""

    dropout: str

    def measure(self, context: RunContext) -> list[SeedRow]:
        """Measure; one value a seed and quantity: the mean + 1, and the variance, of which both should be 1."""
        keras = import_keras()
        inputs = x = keras.Input((256,))
        for number in range(20):
            x = keras.layers.Dense(256, "selu", kernel_initializer="lecun_normal")(x)
            x = getattr(keras.layers, self.dropout)(0.1, seed=number, name=f"dropped_{number}")(x)
        seeds = context.seeds("alpha dropout", 24)
        table = measure_model(keras.Model(inputs, x), draw_batch(context, (4, 256)), seeds)
        last = table[table["layer"] == "dropped_19"]
        mean = last["activation_mean"].to_numpy(np.float64)
        variance = last["activation_second_moment"].to_numpy(np.float64) - np.square(mean)
        return [*seed_rows("1 + mean", 1.0 + mean), *seed_rows("variance", variance)]


def _dropout_claim() -> Claim:
    return Claim(
        id="forward.alpha_dropout.selu_moments",
        statement="AlphaDropout keeps mean 0 and variance 1 in a deep network of SELU and LecunNormal.",
        source="Keras, keras.layers.AlphaDropout",
        condition="20 Dense layers of 256 units, rate .1, a batch of 4 Gaussian samples",
        experiment=DroppedSignal("AlphaDropout"),
        decide=SeedMeanWithin("1 + mean, and variance", 0.85, 1.15),
        control=DroppedSignal("Dropout"),
        control_note="Dropout in place of AlphaDropout",
        slow=True,
        rows=("E10",),
    )


@dataclass(frozen=True)
class Convolutions:
    """The factor by which the second moment changes from one convolution to the next, averaged over layers."""

    initializer: InitializerSpec

    def measure(self, context: RunContext) -> list[SeedRow]:
        spec = ConvSpec(initializer=self.initializer, activation="relu", depth=8, width=32)
        seeds = context.seeds(f"convolutions {self.initializer.label}", 64)
        table = measure_model(spec.build((8, 8, 32), seed=0), draw_batch(context, (1, 8, 8, 32)), seeds)
        z = pivot_by_layer(table, "preactivation_second_moment", spec.signal_layers())
        return seed_rows("average over layers", (z[:, 1:] / z[:, :-1]).mean(axis=1))


def _convolution_claims() -> Iterator[Claim]:
    quantity = "factor of the second moment by layer"
    claim = partial(
        Claim,
        source="Simonyan & Zisserman, 2015, ICLR; Keras, keras.applications.VGG16",
        condition="8 convolutions of 3 x 3 and 32 channels with ReLU and zero padding, as in VGG, on one picture of "
        "8 x 8",
        experiment=Convolutions(InitializerSpec("GlorotUniform")),
        control=Convolutions(InitializerSpec("HeUniform")),
        control_note="HeUniform in place of GlorotUniform",
        slow=True,
        rows=("S8",),
    )
    yield claim(
        id="forward.vgg_block.default_keeps_signal",
        statement="The default initializer keeps the signal in a stack of convolutions such as VGG's.",
        decide=SeedMeanWithin(quantity, 0.7, 1.1),
        expected="refuted",
        cause=causes.GLOROT,
    )
    yield claim(
        id="forward.vgg_block.default_halves_signal",
        statement="The default initializer halves the second moment in each convolution of VGG, or nearly so.",
        # Zero padding leaves out up to 1 - (1 - 2 / (3 x 8))^2 = 16% of the terms: from .42 to .5.
        decide=SeedMeanWithin(quantity, 0.33, 0.59),
    )


# --- the first loss ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class InitialLoss:
    """The cross-entropy of a softmax layer at initialization, over one input of unit second moment."""

    initializers: tuple[InitializerSpec, ...]
    expected: str
    scale: float = 1.0
    inputs: int = 128
    seeds: int = 4000

    def measure(self, context: RunContext) -> Iterator[EstimateRow]:
        """Measure; the estimate is the mean loss over what is expected of it."""
        keras = import_keras()
        random = np.random.default_rng(context.seed("initial loss"))
        x = random.standard_normal((1, self.inputs))
        x *= self.scale / math.sqrt(float(np.mean(np.square(x))))
        labels = random.integers(0, CLASSES, self.seeds)
        for spec in self.initializers:
            seeds = context.seeds(f"initial loss {spec.label}", self.seeds)
            kernels = draw_kernels(spec, (self.inputs, CLASSES), seeds)
            logits = np.einsum("i,sic->sc", x[0].astype(np.float32), kernels)
            losses = keras.ops.sparse_categorical_crossentropy(labels, logits, from_logits=True)
            values = to_numpy(losses).astype(np.float64)
            expected = math.log(CLASSES)
            if self.expected == "theory":
                gain = weight_distribution(spec, (self.inputs, CLASSES)).forward_gain
                expected = compute_expected_cross_entropy(CLASSES, math.sqrt(gain))
            error = float(values.std(ddof=1)) / math.sqrt(self.seeds) / expected
            yield EstimateRow(spec.label, float(values.mean()) / expected, error, self.seeds, freedom=self.seeds - 1)


@dataclass(frozen=True)
class EqualLogits:
    """The cross-entropy of a classifier whose last kernel is zero, whatever lies below."""

    head: InitializerSpec

    def measure(self, context: RunContext) -> list[ExactRow]:
        """Measure the relative deviation from ln of the classes, for every label."""
        keras = import_keras()
        model = keras.Sequential(
            [
                keras.layers.Dense(32, "relu", kernel_initializer=InitializerSpec("HeNormal").create(1)),
                keras.layers.Dense(CLASSES, "softmax", kernel_initializer=self.head.create(2)),
            ]
        )
        predicted = model(draw_batch(context, (CLASSES, 16)))
        losses = keras.ops.sparse_categorical_crossentropy(np.arange(CLASSES), predicted)
        values = to_numpy(losses).astype(np.float64)
        deviations = np.abs(values / math.log(CLASSES) - 1.0)
        return [ExactRow(f"label {label}", float(deviation), ROUNDING) for label, deviation in enumerate(deviations)]


def _loss_claims() -> Iterator[Claim]:
    specs = tuple(InitializerSpec(name) for name in ("HeNormal", "GlorotUniform", "LecunNormal"))
    tiny = (InitializerSpec("RandomNormal", (("stddev", 1e-4),)),)
    condition = "one softmax layer of 10 classes on 128 inputs of unit second moment, labels drawn evenly"
    claim = partial(Claim, condition=condition, rows=("E11",))
    yield claim(
        id="forward.zero_head.initial_cross_entropy",
        statement="A classifier whose last kernel is zero begins with the cross-entropy ln 10, whatever the label.",
        source="Keras, keras.losses.CategoricalCrossentropy",
        condition="10 classes, one hidden layer",
        experiment=EqualLogits(InitializerSpec("Zeros")),
        decide=AllWithin("relative deviation from ln 10", "labels"),
        control=EqualLogits(InitializerSpec("HeNormal")),
        control_note="HeNormal in the last layer",
    )
    yield claim(
        id="forward.random_head.initial_cross_entropy_is_uniform",
        statement="A freshly initialized classifier of 10 classes has the cross-entropy ln 10.",
        source="CS231n, Stanford, notes on neural networks 3, sanity checks",
        experiment=InitialLoss(specs, "uniform"),
        decide=EstimateWithin("mean loss over ln 10", 0.95, 1.05, "seeds"),
        control=InitialLoss(tiny, "uniform"),
        control_note="a standard deviation of 1e-4 in the last layer",
        expected="refuted",
        cause=causes.FIRST_LOSS,
    )
    yield claim(
        id="forward.random_head.initial_cross_entropy",
        statement="The initial cross-entropy is E ln sum exp of normal logits of the variance that is documented.",
        source="E. J. Gumbel, 1958, Statistics of Extremes, for E ln; documented variances of Keras' initializers",
        experiment=InitialLoss(specs, "theory"),
        # The loss deviates by 55% at most over seeds and labels, its mean by .0086: .08 is 9.3 times as much.
        decide=EstimateWithin("mean loss over its expectation", 0.92, 1.08, "seeds"),
        control=InitialLoss(specs, "theory", scale=1.3),
        control_note="inputs of root mean square 1.3",
    )


# --- normalization, and inputs with a mean ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Normalized:
    """How far BatchNormalization's output is from x / sqrt(1 + epsilon), or its variance from v / (v + epsilon)."""

    training: bool
    of: Literal["identity", "unit variance"]

    def measure(self, context: RunContext) -> Iterator[ExactRow]:
        for shape in ((64, 8), (16, 4, 4, 8)):
            layer = import_keras().layers.BatchNormalization()
            x = 0.1 * draw_batch(context, shape)
            y = to_numpy(layer(x, training=self.training)).astype(np.float64)
            if self.of == "identity":
                expected = x / math.sqrt(1.0 + layer.epsilon)
                deviation, limit = float(np.abs(y - expected).max() / np.abs(expected).max()), ROUNDING
            else:
                axes = tuple(range(len(shape) - 1))
                share = x.astype(np.float64).var(axis=axes)
                expected = share / (share + layer.epsilon)
                deviation, limit = float(np.abs(y.var(axis=axes) / expected - 1.0).max()), 1e3 * ROUNDING
            yield ExactRow(f"input of {len(shape)} axes", deviation, limit, y.size)


def _normalization_claims() -> Iterator[Claim]:
    inference, training = Normalized(False, "unit variance"), Normalized(True, "unit variance")
    claim = partial(
        Claim,
        source="Keras, keras.layers.BatchNormalization",
        condition="2-D and 4-D inputs of root mean square .1, training=False",
        decide=AllWithin("relative deviation of the variance by channel", "channels"),
        control_note="training=True",
        rows=("S7",),
    )
    yield claim(
        id="forward.batch_normalization.normalizes_at_inference",
        statement="A BatchNormalization layer that was not trained gives its input unit variance at inference.",
        experiment=inference,
        control=training,
        expected="refuted",
        cause=causes.NORMALIZATION,
    )
    yield claim(
        id="forward.batch_normalization.normalizes_in_training",
        statement="In training BatchNormalization gives each channel the variance v / (v + epsilon).",
        condition="2-D and 4-D inputs of root mean square .1, training=True",
        experiment=training,
        control=inference,
        control_note="training=False",
    )
    yield claim(
        id="forward.batch_normalization.is_identity_at_inference",
        statement="At initialization and inference BatchNormalization only divides by sqrt(1 + epsilon).",
        experiment=Normalized(False, "identity"),
        decide=AllWithin("largest deviation over the largest value", "values"),
        control=Normalized(True, "identity"),
    )


@dataclass(frozen=True)
class ShiftedInput:
    """What a linear layer's output has of the pooled second moment, or of the variance over the batch, of its input."""

    numerator: str
    denominator: str
    mean: float = 0.5

    def measure(self, context: RunContext) -> list[SeedRow]:
        x = self.mean + 0.3 * draw_batch(context, (32, 128))
        kernels = draw_kernels(InitializerSpec("LecunNormal"), (128, 64), context.seeds("shifted input", 256))
        z = np.einsum("bi,siu->sbu", x.astype(np.float64), kernels.astype(np.float64))
        over = {"pooled": np.square(z).mean(axis=(1, 2)), "batch": z.var(axis=1).mean(axis=1)}[self.numerator]
        x64 = x.astype(np.float64)
        under = {"pooled": np.square(x64).mean(), "batch": x64.var(axis=0).mean()}[self.denominator]
        return seed_rows(self.numerator, over / under)


def _shift_claims() -> Iterator[Claim]:
    condition = "one Dense layer of 64 units on 32 samples of 128 inputs with mean .5 and standard deviation .3"
    source = "LeCun, Bottou, Orr & Müller, 1998, Efficient BackProp, section 4.6"
    # Over seeds the pooled ratio has the variance 2 / 64 nearly, as all samples are nearly alike: .18 / 16 = .011.
    pooled = SeedMeanWithin("output's second moment over the input's", 0.88, 1.12)
    claim = partial(Claim, source=source, condition=condition, decide=pooled, rows=("S9",))
    yield claim(
        id="forward.shifted_input.second_moment",
        statement="LecunNormal keeps the second moment of inputs whose mean is not zero: E z^2 = E x^2.",
        experiment=ShiftedInput("pooled", "pooled"),
        control=ShiftedInput("pooled", "batch"),
        control_note="compared with the input's variance",
    )
    yield claim(
        id="forward.shifted_input.batch_variance",
        statement="LecunNormal keeps the variance over the batch of inputs whose mean is not zero.",
        experiment=ShiftedInput("batch", "batch"),
        decide=SeedMeanWithin("output's variance over the batch, over the input's", 0.95, 1.05),
        control=ShiftedInput("batch", "pooled"),
        control_note="compared with the input's second moment",
    )
    yield claim(
        id="forward.shifted_input.pooled_variance",
        statement="The pooled variance of a layer's outputs equals the variance of its inputs (LecunNormal).",
        experiment=ShiftedInput("pooled", "batch"),
        control=ShiftedInput("pooled", "batch", mean=0.0),
        control_note="inputs of mean zero",
        expected="refuted",
        cause=causes.SIZE_ALONE,
        rows=("S9", "NB6"),
    )


# --- activation functions and dropout by themselves -------------------------------------------------------------------


_REACH: Final = 8.0
_POINTS: Final = 4001
# A value in float32 comes from a few operations on numbers no larger than 1 + |x| + |f(x)|, each rounded once.
_LIMIT: Final = 16.0 * 2.0**-24
_SMALL_INPUTS: Final = (-0.01, -0.004, -0.001, 0.001, 0.004, 0.01)
_SMALL_LIMIT: Final = 0.01
_THROUGH_ZERO: Final = tuple(name for name, function in TWINS.items() if function(np.zeros(1))[0] == 0.0)
_RATES: Final = (0.1, 0.3, 0.5, 0.8)
_MARGIN: Final = 0.02


@dataclass(frozen=True)
class ActivationValues:
    """The largest difference of Keras' activation function f from its float64 twin in NumPy, over 1 + |x| + |f(x)|."""

    name: str
    stretch: float = 1.0

    def measure(self, context: RunContext) -> list[ExactRow]:  # noqa: ARG002 - nothing here is drawn
        # Both sides see numbers that float32 holds; the last of them lie on the kinks at whole numbers.
        x = np.linspace(-_REACH, _REACH, _POINTS).astype(np.float32)
        got = to_numpy(import_keras().activations.get(self.name)(x)).astype(np.float64)
        exact = x.astype(np.float64)
        wanted = TWINS[self.name](self.stretch * exact)
        difference = np.abs(got - wanted) / (1.0 + np.abs(exact) + np.abs(wanted))
        return [ExactRow(self.name, float(difference.max()), _LIMIT, x.size)]


@dataclass(frozen=True)
class DropoutMoments:
    """Mean, and second moment times (1 - rate), of what Dropout makes of ones; both should be 1."""

    scale: float = 1.0

    def measure(self, context: RunContext) -> Iterator[EstimateRow]:
        for rate in _RATES:
            # An output is 1 / (1 - rate) with probability 1 - rate, else 0: both have the same standard error.
            variance = rate / (1.0 - rate)
            count = size_of_equivalence(variance, _MARGIN, 2 * len(_RATES))
            layer = import_keras().layers.Dropout(rate, seed=context.seed(f"dropout/{rate}"))
            y = self.scale * to_numpy(layer(np.ones((count,), dtype=np.float32), training=True)).astype(np.float64)
            error = math.sqrt(variance / count)
            yield EstimateRow(f"mean, rate {rate}", float(y.mean()), error, count)
            yield EstimateRow(f"second moment, rate {rate}", float(np.mean(y**2)) * (1.0 - rate), error, count)


@dataclass(frozen=True)
class TinyInputs:
    """The relative difference between the values at tiny negative inputs and the defined ones; 1 where they are 0."""

    name: str
    inputs: tuple[float, ...]
    spoiled: bool = False
    """Whether the values come from exp(x) - 1, for a control."""

    def measure(self, context: RunContext) -> Iterator[ExactRow]:  # noqa: ARG002 - nothing here is drawn
        function = getattr(import_keras().activations, self.name)
        inputs = np.asarray(self.inputs, np.float32)
        found, wanted = to_numpy(function(inputs)), TWINS[self.name](inputs.astype(np.float64))
        if self.spoiled:
            found = (np.exp(inputs) - np.float32(1.0)) * np.float32(wanted[-1] / inputs[-1])
        for given, value, expected in zip(self.inputs, found.tolist(), wanted.tolist(), strict=True):
            yield ExactRow(f"{given:g}", abs(value / expected - 1.0), 0.01, 1, f"{value:g}")


@dataclass(frozen=True)
class SmallInputs:
    """The relative difference between the values at small inputs of either sign and the defined ones.

    float32 leaves 1 + x the first four digits of an x of .001, which is as small as these are. Where the definition is
    flatter than a line, a rounding of x and one of what is subtracted from it are allowed besides.
    """

    name: str
    spoiled: bool = False
    """Whether small values are taken for zero, for a control."""

    def measure(self, context: RunContext) -> Iterator[ExactRow]:  # noqa: ARG002 - nothing here is drawn
        inputs = np.asarray(_SMALL_INPUTS, np.float32)
        found = to_numpy(import_keras().activations.get(self.name)(inputs)).astype(np.float64)
        if self.spoiled:
            found = np.where(np.abs(found) < 0.005, 0.005, found)
        wanted = TWINS[self.name](inputs.astype(np.float64))
        for given, value, expected in zip(_SMALL_INPUTS, found.tolist(), wanted.tolist(), strict=True):
            size = abs(expected) + 2.0 * abs(given) * float(np.finfo(np.float32).eps) / _SMALL_LIMIT
            yield ExactRow(f"{given:g}", abs(value - expected) / size, _SMALL_LIMIT, 1, f"{value:g}, not {expected:g}")


def _function_claims() -> Iterator[Claim]:
    for name in TWINS:
        yield Claim(
            id=f"forward.{name}.values",
            statement=f"The activation function {name} has the values of its definition.",
            source=f"Keras, keras.activations.{name}",
            condition=f"{_POINTS:,} arguments from {-_REACH:g} to {_REACH:g}, float32",
            experiment=ActivationValues(name),
            decide=AllWithin("largest difference over 1 + |x| + |f(x)|", "arguments"),
            control=ActivationValues(name, stretch=1.001),
            control_note="arguments one in a thousand too large",
        )
    for name in _THROUGH_ZERO:
        yield Claim(
            id=f"forward.{name}.small_inputs",
            statement=f"The activation function {name}, which is 0 at 0, has the values of its definition near it.",
            source=f"Keras, keras.activations.{name}",
            condition=f"inputs {', '.join(f'{x:g}' for x in _SMALL_INPUTS)}, float32",
            experiment=SmallInputs(name),
            decide=AllWithin("relative difference from the definition", "arguments"),
            control=SmallInputs(name, spoiled=True),
            control_note="values below .005 in size replaced by .005",
        )
    for name in ("elu", "selu"):
        inputs = (-1e-8, -2e-8, -1e-6, -1e-4)
        tiny = partial(
            Claim,
            id=f"forward.{name}.tiny_inputs",
            statement=f"The activation function {name} has the values of its definition at tiny negative inputs.",
            source=f"Keras, keras.activations.{name}",
            condition="inputs from -1e-8 to -1e-4, float32",
            experiment=TinyInputs(name, inputs),
            decide=AllWithin("relative difference from the definition", "arguments"),
        )
        yield tiny(
            control=TinyInputs(name, (-1e-4, -2e-4)),
            control_note="inputs of 1e-4 and more, which exp(x) - 1 keeps in float32",
            expected="refuted",
            cause=causes.TINY_INPUTS,
            backends=("tensorflow",),
        )
        yield tiny(
            control=TinyInputs(name, inputs, spoiled=True),
            control_note="exp(x) - 1 as float32 has it, times the slope at 0",
            backends=("jax", "torch"),
        )
    yield Claim(
        id="forward.dropout.moments",
        statement="Dropout keeps the mean of its input and multiplies its second moment by 1 / (1 - rate).",
        source="Keras, keras.layers.Dropout; Srivastava and others, 2014, JMLR, section 10",
        condition=f"ones in training mode, rates {', '.join(map(str, _RATES))}",
        experiment=DropoutMoments(),
        decide=EstimateWithin("moment over its documented value", 1.0 - _MARGIN, 1.0 + _MARGIN),
        control=DropoutMoments(scale=0.95),
        control_note="outputs 5% too small",
        rows=("E10",),
    )
