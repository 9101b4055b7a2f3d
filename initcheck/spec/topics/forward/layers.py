"""What is claimed of single layers at initialization: the first loss, normalization, inputs with a mean."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from initcheck.backend.runtime import import_keras
from initcheck.core.columns import Direction
from initcheck.models.initializers import InitializerSpec
from initcheck.spec.claim import Claim
from initcheck.spec.decisions import CLAIM_FALSE_ALARM, AllWithin, EstimateWithin, SeedMeanWithin
from initcheck.spec.topics.deep.claims import GAIN, HE
from initcheck.spec.topics.deep.networks import draw_kernels, plan_seeds, tabulate_steps
from initcheck.spec.topics.forward.cases import draw_batch

if TYPE_CHECKING:
    from pandas import DataFrame

    from initcheck.spec.claim import RunContext


CLASSES: Final = 10
ROUNDING: Final = 32.0 * float(np.finfo(np.float32).eps)


@dataclass(frozen=True)
class InitialLoss:
    """The cross-entropy of a softmax layer at initialization, over one input of unit second moment.

    Attributes:
        initializers: of the kernel; each a member.
        expected: ``theory`` for E ln sum exp(logit) at the documented variance, or ``uniform`` for ln of the classes.
        scale: root mean square of the input.
    """

    initializers: tuple[InitializerSpec, ...]
    expected: str
    scale: float = 1.0
    inputs: int = 128
    seeds: int = 4000

    def measure(self, context: RunContext) -> DataFrame:
        """Measure; the estimate is the mean loss over what is expected of it."""
        import pandas as pd

        from initcheck.theory.layers import compute_expected_cross_entropy
        from initcheck.theory.weights import weight_distribution

        keras = import_keras()
        random = np.random.default_rng(context.seed("initial loss"))
        x = random.standard_normal((1, self.inputs))
        x *= self.scale / math.sqrt(float(np.mean(np.square(x))))
        labels = random.integers(0, CLASSES, self.seeds)
        rows = []
        for spec in self.initializers:
            seeds = context.seeds(f"initial loss {spec.label}", self.seeds)
            kernels = draw_kernels(spec, (self.inputs, CLASSES), seeds)
            logits = np.einsum("i,sic->sc", x[0].astype(np.float32), kernels)
            losses = keras.ops.sparse_categorical_crossentropy(labels, logits, from_logits=True)
            values = np.asarray(keras.ops.convert_to_numpy(losses), dtype=np.float64)
            expected = math.log(CLASSES)
            if self.expected == "theory":
                gain = weight_distribution(spec, (self.inputs, CLASSES)).forward_gain
                expected = compute_expected_cross_entropy(CLASSES, math.sqrt(gain))
            error = float(values.std(ddof=1)) / math.sqrt(self.seeds) / expected
            rows.append((spec.label, float(values.mean()) / expected, error, self.seeds - 1, self.seeds))
        return pd.DataFrame(rows, columns=["member", "estimate", "standard_error", "freedom", "count"])


@dataclass(frozen=True)
class EqualLogits:
    """The cross-entropy of a classifier whose last kernel is zero, whatever lies below.

    Attributes:
        head: initializer of the last kernel.
    """

    head: InitializerSpec

    def measure(self, context: RunContext) -> DataFrame:
        """Measure the relative deviation from ln of the classes, for every label."""
        import pandas as pd

        keras = import_keras()
        model = keras.Sequential(
            [
                keras.layers.Dense(32, "relu", kernel_initializer=InitializerSpec("HeNormal").create(1)),
                keras.layers.Dense(CLASSES, "softmax", kernel_initializer=self.head.create(2)),
            ]
        )
        predicted = model(draw_batch(context, (CLASSES, 16)))
        losses = keras.ops.sparse_categorical_crossentropy(np.arange(CLASSES), predicted)
        values = np.asarray(keras.ops.convert_to_numpy(losses), dtype=np.float64)
        return pd.DataFrame(
            {
                "member": [f"label {label}" for label in range(CLASSES)],
                "deviation": np.abs(values / math.log(CLASSES) - 1.0),
                "limit": ROUNDING,
                "count": 1,
            }
        )


@dataclass(frozen=True)
class Normalized:
    """What BatchNormalization makes of a signal at initialization.

    Attributes:
        training: the ``training`` argument of its call.
        scale: root mean square of the signal.
        of: ``identity`` (is the output the input over sqrt(1 + epsilon)?) or ``unit variance``.
    """

    training: bool
    of: str
    scale: float = 0.1

    def measure(self, context: RunContext) -> DataFrame:
        """Measure the largest relative deviation."""
        import pandas as pd

        keras = import_keras()
        rows = []
        for shape in ((64, 8), (16, 4, 4, 8)):
            layer = keras.layers.BatchNormalization()
            x = self.scale * draw_batch(context, shape)
            y = np.asarray(keras.ops.convert_to_numpy(layer(x, training=self.training)), dtype=np.float64)
            name = f"input of {len(shape)} axes"
            if self.of == "identity":
                expected = x / math.sqrt(1.0 + layer.epsilon)
                rows.append((name, float(np.abs(y - expected).max() / np.abs(expected).max()), ROUNDING, y.size))
            else:
                axes = tuple(range(len(shape) - 1))
                share = x.astype(np.float64).var(axis=axes)
                expected = share / (share + layer.epsilon)
                rows.append((name, float(np.abs(y.var(axis=axes) / expected - 1.0).max()), 1e3 * ROUNDING, y.size))
        return pd.DataFrame(rows, columns=["member", "deviation", "limit", "count"])


@dataclass(frozen=True)
class ShiftedInput:
    """A linear layer on inputs whose mean is not zero: the outputs' pooled second moment and their batch variance.

    Attributes:
        numerator: ``pooled`` (mean of z^2) or ``batch`` (variance over the samples by unit).
        denominator: the input's second moment (``pooled``) or its variance over the samples (``batch``).
        mean: of the inputs.
    """

    numerator: str
    denominator: str
    mean: float = 0.5
    inputs: int = 128
    units: int = 64
    batch: int = 32
    seeds: int = 256

    def measure(self, context: RunContext) -> DataFrame:
        """Measure; one value a seed."""
        import pandas as pd

        x = self.mean + 0.3 * draw_batch(context, (self.batch, self.inputs))
        spec = InitializerSpec("LecunNormal")
        kernels = draw_kernels(spec, (self.inputs, self.units), context.seeds("shifted input", self.seeds))
        z = np.einsum("bi,siu->sbu", x.astype(np.float64), kernels.astype(np.float64))
        over = {"pooled": np.square(z).mean(axis=(1, 2)), "batch": z.var(axis=1).mean(axis=1)}[self.numerator]
        x64 = x.astype(np.float64)
        under = {"pooled": np.square(x64).mean(), "batch": x64.var(axis=0).mean()}[self.denominator]
        return pd.DataFrame({"member": self.numerator, "seed": np.arange(self.seeds), "value": over / under})


def layer_claims() -> list[Claim]:
    """List the claims."""
    return [*_loss_claims(), *_normalization_claims(), *_shift_claims()]


def _loss_claims() -> list[Claim]:
    specs = tuple(InitializerSpec(name) for name in ("HeNormal", "GlorotUniform", "LecunNormal"))
    tiny = (InitializerSpec("RandomNormal", (("stddev", 1e-4),)),)
    condition = "one softmax layer of 10 classes on 128 inputs of unit second moment, labels drawn evenly"
    return [
        Claim(
            id="forward.zero_head.initial_cross_entropy",
            statement="A classifier whose last kernel is zero begins with the cross-entropy ln 10, whatever the label.",
            source="Keras, keras.losses.CategoricalCrossentropy",
            condition="10 classes, one hidden layer",
            experiment=EqualLogits(InitializerSpec("Zeros")),
            decide=AllWithin("relative deviation from ln 10", "labels"),
            control=EqualLogits(InitializerSpec("HeNormal")),
            control_note="HeNormal in the last layer",
            rows=("E11",),
        ),
        Claim(
            id="forward.random_head.initial_cross_entropy_is_uniform",
            statement="A freshly initialized classifier of 10 classes has the cross-entropy ln 10.",
            source="CS231n, Stanford, notes on neural networks 3, sanity checks",
            condition=condition,
            experiment=InitialLoss(specs, "uniform"),
            decide=EstimateWithin("mean loss over ln 10", 0.95, 1.05, "seeds"),
            control=InitialLoss(tiny, "uniform"),
            control_note="a standard deviation of 1e-4 in the last layer",
            expected="refuted",
            false_alarm=CLAIM_FALSE_ALARM,
            rows=("E11",),
        ),
        Claim(
            id="forward.random_head.initial_cross_entropy",
            statement="The initial cross-entropy is E ln sum exp of normal logits of the variance that is documented.",
            source="E. J. Gumbel, 1958, Statistics of Extremes, for E ln; documented variances of Keras' initializers",
            condition=condition,
            experiment=InitialLoss(specs, "theory"),
            # The loss deviates by 55% at most over seeds and labels, its mean by .0086: .08 is 9.3 times as much.
            decide=EstimateWithin("mean loss over its expectation", 0.92, 1.08, "seeds"),
            control=InitialLoss(specs, "theory", scale=1.3),
            control_note="inputs of root mean square 1.3",
            false_alarm=CLAIM_FALSE_ALARM,
            rows=("E11",),
        ),
    ]


def _normalization_claims() -> list[Claim]:
    source = "Keras, keras.layers.BatchNormalization"
    inference, training = Normalized(False, "unit variance"), Normalized(True, "unit variance")
    return [
        Claim(
            id="forward.batch_normalization.normalizes_at_inference",
            statement="A BatchNormalization layer that was not trained gives its input unit variance at inference.",
            source=source,
            condition="2-D and 4-D inputs of root mean square .1, training=False",
            experiment=inference,
            decide=AllWithin("relative deviation of the variance by channel", "channels"),
            control=training,
            control_note="training=True",
            expected="refuted",
            rows=("S7",),
        ),
        Claim(
            id="forward.batch_normalization.normalizes_in_training",
            statement="In training BatchNormalization gives each channel the variance v / (v + epsilon).",
            source=source,
            condition="2-D and 4-D inputs of root mean square .1, training=True",
            experiment=training,
            decide=AllWithin("relative deviation of the variance by channel", "channels"),
            control=inference,
            control_note="training=False",
            rows=("S7",),
        ),
        Claim(
            id="forward.batch_normalization.is_identity_at_inference",
            statement="At initialization and inference BatchNormalization only divides by sqrt(1 + epsilon).",
            source=source,
            condition="2-D and 4-D inputs of root mean square .1, training=False",
            experiment=Normalized(False, "identity"),
            decide=AllWithin("largest deviation over the largest value", "values"),
            control=Normalized(True, "identity"),
            control_note="training=True",
            rows=("S7",),
        ),
    ]


def _shift_claims() -> list[Claim]:
    condition = "one Dense layer of 64 units on 32 samples of 128 inputs with mean .5 and standard deviation .3"
    source = "LeCun, Bottou, Orr & Müller, 1998, Efficient BackProp, section 4.6"
    # Over seeds the pooled ratio has the variance 2 / 64 nearly, as all samples are nearly alike: .18 / 16 = .011.
    pooled = SeedMeanWithin("output's second moment over the input's", 0.88, 1.12)
    batch = SeedMeanWithin("output's variance over the batch, over the input's", 0.95, 1.05)
    return [
        Claim(
            id="forward.shifted_input.second_moment",
            statement="LecunNormal keeps the second moment of inputs whose mean is not zero: E z^2 = E x^2.",
            source=source,
            condition=condition,
            experiment=ShiftedInput("pooled", "pooled"),
            decide=pooled,
            control=ShiftedInput("pooled", "batch"),
            control_note="held against the input's variance",
            false_alarm=CLAIM_FALSE_ALARM,
            rows=("S9",),
        ),
        Claim(
            id="forward.shifted_input.batch_variance",
            statement="LecunNormal keeps the variance over the batch of inputs whose mean is not zero.",
            source=source,
            condition=condition,
            experiment=ShiftedInput("batch", "batch"),
            decide=batch,
            control=ShiftedInput("batch", "pooled"),
            control_note="held against the input's second moment",
            false_alarm=CLAIM_FALSE_ALARM,
            rows=("S9",),
        ),
        Claim(
            id="forward.shifted_input.pooled_variance",
            statement="The pooled variance of a layer's outputs equals the variance of its inputs (LecunNormal).",
            source=source,
            condition=condition,
            experiment=ShiftedInput("pooled", "batch"),
            decide=pooled,
            control=ShiftedInput("pooled", "batch", mean=0.0),
            control_note="inputs of mean zero",
            expected="refuted",
            false_alarm=CLAIM_FALSE_ALARM,
            rows=("S9", "NB6"),
        ),
    ]


WIDTHS: Final = (256, 192, 128, 96, 64)
"""A pyramid: the input, and four hidden layers that narrow."""


@dataclass(frozen=True)
class PyramidGains:
    """The ratios of second moments from layer to layer of a pyramid, over what He et al. derive for one fan.

    With Var W = 2 / fan the pre-activations change by fan_in / fan, and single entries of dL/dz by fan_out / fan.

    Attributes:
        mode: the fan of VarianceScaling.
        assumed: the fan that the expectation assumes.
        direction: forward or backward.
    """

    mode: str
    assumed: str
    direction: Direction

    def measure(self, context: RunContext) -> DataFrame:
        """Measure; see :class:`~initcheck.spec.topics.gains.GainByLayer` for the columns."""
        before, gradient = context.remember(("pyramid", self.mode), lambda: self._run(context))
        # Steps between neighbouring hidden layers: their kernels lead from `inputs` to `outputs` units.
        inputs, outputs = (np.asarray(WIDTHS[place:][: len(WIDTHS) - 2], dtype=np.float64) for place in (1, 2))
        fan = inputs if self.assumed == "fan_in" else outputs
        if self.direction == "forward":
            ratios, expected = before[:, 1:] / before[:, :-1], inputs / fan
        else:
            ratios, expected = gradient[:, :-1] / gradient[:, 1:], outputs / fan
        return tabulate_steps(ratios / expected)

    def _run(self, context: RunContext) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        from initcheck.probe import Probe

        keras = import_keras()
        inputs = x = keras.Input((WIDTHS[0],))
        arguments = (("scale", 2.0), ("mode", self.mode), ("distribution", "uniform"))
        spec = InitializerSpec("VarianceScaling", arguments)
        names = [f"hidden_{number}" for number in range(1, len(WIDTHS))]
        for number, (name, units) in enumerate(zip(names, WIDTHS[1:], strict=True)):
            x = keras.layers.Dense(units, "relu", kernel_initializer=spec.create(number + 1), name=name)(x)
        x = keras.layers.Dense(10, kernel_initializer=InitializerSpec("LecunNormal").create(99), name="output")(x)
        sample = np.random.default_rng(context.seed("pyramid")).standard_normal((1, WIDTHS[0])).astype(np.float32)
        probe = Probe(keras.Model(inputs, x), sample)
        # Relative variance of a step's ratio: 5 / n of the narrower layer, at most; steps are independent.
        spread = math.sqrt(5.0 / WIDTHS[-1])
        seeds = plan_seeds(spread, spread / math.sqrt(len(WIDTHS) - 2), len(WIDTHS) - 2)
        table = probe.measure(context.seeds(f"pyramid {self.mode}", seeds))
        wide = table.pivot(index="seed", columns="layer")
        before, gradient = (
            wide[column][names].to_numpy(np.float64)
            for column in ("preactivation_second_moment", "gradient_second_moment")
        )
        return before, gradient


def pyramid_claims(direction: Direction) -> list[Claim]:
    """List what is claimed of a narrowing network, in one direction."""
    condition = f"ReLU, widths {', '.join(map(str, WIDTHS))}, one sample; uniform weights of variance 2 / fan"
    listed = []
    for mode, other in (("fan_in", "fan_out"), ("fan_out", "fan_in")):
        signal, ratio = (
            ("second moment of the pre-activations", "fan_in / fan_out")
            if direction == "forward"
            else ("mean square of dL/dz", "fan_out / fan_in")
        )
        keeps = (direction == "forward") == (mode == "fan_in")
        words = "stays as it is" if keeps else f"changes by {ratio} in a layer, whose product over layers is bounded"
        experiment = PyramidGains(mode, mode, direction)
        listed.append(
            Claim(
                id=f"{direction}.pyramid.he_{mode}_gain",
                statement=f"With a variance of 2 / {mode} the {signal} {words}.",
                source=HE,
                condition=condition,
                experiment=experiment,
                decide=GAIN,
                control=replace(experiment, assumed=other),
                control_note=f"held against what {other} would give",
                slow=True,
                false_alarm=CLAIM_FALSE_ALARM,
                rows=("F5",),
            )
        )
    return listed
