"""The claims about gains by layer that are made alike of the signal and of its gradient."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, NamedTuple

import numpy as np

from initcheck.core.columns import Direction
from initcheck.models.initializers import InitializerSpec
from initcheck.spec import causes
from initcheck.spec.claim import Claim, ExactRow, RunContext, SeedRow, seed_rows
from initcheck.spec.decisions import AllWithin, GainByLayer, IncrementsByLayer, SeedMeanWithin
from initcheck.spec.topics.deep.networks import (
    AVERAGE_MARGIN,
    DEPTH,
    LAYER_MARGIN,
    RECTANGULAR_WIDTHS,
    WIDTH,
    DeepNetwork,
    Gains,
    LogIncrements,
    RectangularGains,
)
from initcheck.theory.weights import weight_distribution

HE: Final = "He, Zhang, Ren & Sun, 2015, ICCV, eq. 10 and 14"
GLOROT: Final = "Glorot & Bengio, 2010, AISTATS, eq. 10 to 12"
LECUN: Final = "LeCun, Bottou, Orr & Müller, 1998, Efficient BackProp, section 4.6"
SELU: Final = "Klambauer, Unterthiner, Mayr & Hochreiter, 2017, NeurIPS, section 3"
TANH: Final = "Poole et al., 2016, NeurIPS, section 2; Roberts, Yaida & Hanin, 2022, chapter 5"

GAIN: Final = GainByLayer("gain by layer over its expectation", LAYER_MARGIN, AVERAGE_MARGIN)
SQUARE: Final = f"{DEPTH} square Dense layers of {WIDTH} units, zero biases, one sample; seeds are the replicates"
SIGNAL: Final = {"forward": "second moment of the pre-activations", "backward": "second moment of dL/dz"}
SMALL: Final = 0.01
FIVE_THIRDS_SCALE: Final = 0.651
"""Root mean square of an input at tanh's fixed point with the gain 5 / 3: sqrt(1.17848) x 3 / 5."""

WIDER: Final = 2.0
"""By how much equal kernels raise the variance of a deep network's log gain, at the least."""


_ORTHOGONAL_ERROR: Final = 64.0 * float(np.finfo(np.float32).eps)
"""Relative: what a product with an orthogonal float32 matrix may lose to rounding, with room for ten times that."""


class Scaled(NamedTuple):
    """An initializer whose gain follows from its documented variance."""

    name: str
    spec: InitializerSpec
    source: str
    rows: Mapping[tuple[str, str], tuple[str, ...]]
    slow: bool = True


def _by_keras(name: str, class_name: str, row: str = "", **arguments: float | str) -> Scaled:
    rows = {("forward", "relu"): (row,)} if row else {}
    source = f"Keras, keras.initializers.{class_name}"
    return Scaled(name, InitializerSpec(class_name, tuple(arguments.items())), source, rows)


_HE_ROWS: Final = {("forward", "relu"): ("E2",), ("backward", "relu"): ("F1",)}
_LECUN_ROWS: Final = {("forward", "linear"): ("E1",)}
_GLOROT_ROWS: Final = {**_LECUN_ROWS, ("forward", "relu"): ("E3",), ("backward", "relu"): ("F2",)}

SCALED: Final = (
    Scaled("he_normal", InitializerSpec("HeNormal"), HE, _HE_ROWS, False),
    Scaled("he_uniform", InitializerSpec("HeUniform"), HE, _HE_ROWS, False),
    Scaled("glorot_uniform", InitializerSpec("GlorotUniform"), GLOROT, _GLOROT_ROWS, False),
    Scaled("glorot_normal", InitializerSpec("GlorotNormal"), GLOROT, _GLOROT_ROWS),
    Scaled("lecun_normal", InitializerSpec("LecunNormal"), LECUN, _LECUN_ROWS),
    Scaled("lecun_uniform", InitializerSpec("LecunUniform"), LECUN, _LECUN_ROWS),
    _by_keras("variance_scaling", "VarianceScaling"),
    _by_keras("variance_scaling_fan_out_uniform", "VarianceScaling", mode="fan_out", distribution="uniform"),
    _by_keras(
        "variance_scaling_fan_avg_untruncated",
        "VarianceScaling",
        mode="fan_avg",
        distribution="untruncated_normal",
        scale=2.0,
    ),
    _by_keras("random_normal", "RandomNormal", "E8"),
    _by_keras("random_normal_of_unit_stddev", "RandomNormal", "E7", stddev=1.0),
)
"""The initializers that scale with the fans, each distribution and mode; and RandomNormal, which does not, for ReLU."""


def gain_claims(direction: Direction) -> Iterator[Claim]:
    """List what is claimed of every scaled initializer, for linear and ReLU layers."""
    seeds = DeepNetwork(SCALED[0].spec, "relu").count_seeds()
    for each, (activation, passes) in itertools.product(SCALED, (("linear", 1.0), ("relu", 0.5))):
        if activation == "linear" and each.spec.class_name == "RandomNormal":
            continue
        network = DeepNetwork(each.spec, activation)
        gain = weight_distribution(each.spec, (WIDTH, WIDTH)).forward_gain * passes
        words = "keeps" if math.isclose(gain, 1.0) else f"multiplies by {gain:.4g}"
        claim = partial(Claim, condition=SQUARE, slow=each.slow, rows=each.rows.get((direction, activation), ()))
        gains, increments = Gains(network, direction, gain, seeds), LogIncrements(network, direction, seeds)
        yield claim(
            id=f"{direction}.{each.name}.{activation}_gain",
            statement=f"{each.spec.label} {words} the {SIGNAL[direction]} in every {activation} layer.",
            source=each.source,
            experiment=gains,
            decide=GAIN,
            control=replace(gains, network=replace(network, variance_factor=1.1)),
            control_note="a variance of the kernels 10% too large",
        )
        yield claim(
            id=f"{direction}.{each.name}.{activation}_law",
            statement=f"With {each.spec.label} the logarithm of the second moment changes in every {activation} "
            f"layer by independent steps, with the mean and variance of this width ({direction}).",
            source="Hanin & Nica, 2018, and Hanin & Rolnick, 2018, NeurIPS; exact for chi-square sums",
            experiment=increments,
            decide=IncrementsByLayer(),
            control=replace(increments, network=replace(network, variance_factor=1.05)),
            control_note="a variance of the kernels 5% too large",
        )
    yield from _orthogonal_claims(direction)
    yield from _shared_seed_claims(direction)
    yield from _glorot_claims(direction)


@dataclass(frozen=True)
class Isometry:
    """How far the second moment changes in each layer of a deep network, at most over the seeds."""

    network: DeepNetwork
    direction: Direction

    def measure(self, context: RunContext) -> list[ExactRow]:
        increments = self.network.measure(context, 8).increments(self.direction)
        return [
            ExactRow(f"layer {number}", float(deviation), _ORTHOGONAL_ERROR, len(increments))
            for number, deviation in enumerate(np.abs(np.expm1(increments)).max(axis=0), start=1)
        ]


@dataclass(frozen=True)
class ExcessVariance:
    """How much more the logarithm of the whole gain varies over seeds than independent layers make it vary."""

    increments: LogIncrements

    def measure(self, context: RunContext) -> list[SeedRow]:
        """Measure: one value for each of 32 groups of seeds, which are the replicates."""
        table = context.measure(self.increments)
        sums = table.groupby("seed")[["value", "mean", "variance"]].sum()
        squares = np.square((sums["value"] - sums["mean"]).to_numpy()) / sums["variance"].to_numpy()
        values = [math.log(float(part.mean())) for part in np.array_split(squares, 32)]
        return seed_rows("whole network", values)


def _orthogonal_claims(direction: Direction) -> Iterator[Claim]:
    spec = InitializerSpec("Orthogonal")
    linear, relu = DeepNetwork(spec, "linear"), DeepNetwork(spec, "relu")
    source = "Saxe, McClelland & Ganguli, 2014, ICLR; Keras, keras.initializers.Orthogonal"
    claim = partial(Claim, source=source, condition=SQUARE)
    yield claim(
        id=f"{direction}.orthogonal.linear_isometry",
        statement=f"Orthogonal keeps the {SIGNAL[direction]} of linear layers in every draw, not on average alone.",
        experiment=Isometry(linear, direction),
        decide=AllWithin("relative change of the second moment"),
        control=Isometry(replace(linear, variance_factor=1.001), direction),
        control_note="matrices .05% too large",
        rows=("A11",),
    )
    yield claim(
        id=f"{direction}.orthogonal.relu_gain",
        statement=f"Orthogonal halves the {SIGNAL[direction]} in every ReLU layer.",
        experiment=Gains(relu, direction, 0.5),
        decide=GAIN,
        control=Gains(replace(relu, variance_factor=1.1), direction, 0.5),
        control_note="a variance of the kernels 10% too large",
        slow=True,
    )


def _shared_seed_claims(direction: Direction) -> Iterator[Claim]:
    # The deeper the network, the more equal kernels matter: the variance grows faster than with the number of layers.
    apart = DeepNetwork(InitializerSpec("HeNormal"), "relu", depth=2 * DEPTH, width=WIDTH // 2)
    shared = replace(apart, shared_seed=True)
    seeds = DeepNetwork(InitializerSpec("HeNormal"), "relu").count_seeds()
    claim = partial(
        Claim,
        source="Keras, keras.initializers.HeNormal",
        condition=f"{2 * DEPTH} square Dense layers of {WIDTH // 2} units; all layers of a network draw with one "
        "integer seed",
        control_note="a seed of its own for every layer",
        slow=True,
        rows=("S2",) if direction == "forward" else (),
    )
    yield claim(
        id=f"{direction}.shared_integer_seed.relu_law",
        statement="A deep network whose layers are all initialized with one integer seed behaves like another.",
        experiment=LogIncrements(shared, direction, seeds),
        decide=IncrementsByLayer(),
        control=LogIncrements(apart, direction, seeds),
        expected="refuted",
        cause=causes.ONE_SEED,
    )
    yield claim(
        id=f"{direction}.shared_integer_seed.spread",
        statement=(
            "One integer seed for all layers makes the logarithm of a deep ReLU network's gain vary over seeds by "
            f"more than {WIDER} times the variance that independent kernels give it ({direction})."
        ),
        experiment=ExcessVariance(LogIncrements(shared, direction, seeds)),
        decide=SeedMeanWithin("ln of the variance over its expectation", math.log(WIDER), math.log(100.0)),
        control=ExcessVariance(LogIncrements(apart, direction, seeds)),
    )


def _glorot_claims(direction: Direction) -> Iterator[Claim]:
    """Say where Glorot's initialization keeps a signal, and where it is said to and does not."""
    spec = InitializerSpec("GlorotUniform")
    tanh = DeepNetwork(spec, "tanh")
    small = replace(tanh, scale=SMALL)
    linear, relu = DeepNetwork(spec, "linear"), DeepNetwork(spec, "relu")
    seeds = relu.count_seeds()
    rows = ("E4",) if direction == "forward" else ()
    claim = partial(Claim, source=GLOROT, condition=SQUARE, decide=GAIN, rows=rows)
    yield claim(
        id=f"{direction}.glorot_uniform.relu_stability",
        statement=f"GlorotUniform, the default of Keras' layers, keeps the {SIGNAL[direction]} in ReLU layers.",
        source="Keras, keras.layers.Dense",
        experiment=Gains(relu, direction, 1.0, seeds),
        control=Gains(linear, direction, 1.0, seeds),
        control_note="linear layers",
        expected="refuted",
        cause=causes.GLOROT,
        rows=("E3",) if direction == "forward" else ("F2",),
    )
    yield claim(
        id=f"{direction}.glorot_uniform.tanh_small_signal_gain",
        statement=f"GlorotUniform keeps the {SIGNAL[direction]} in tanh layers, while the signal is small.",
        # tanh(z)^2 = z^2 (1 - 2 z^2 / 3 ...): a layer loses 2 q = 2e-4 of the moment, a two-hundredth of the margin
        condition=f"{SQUARE}, of root mean square {SMALL}",
        experiment=Gains(small, direction, 1.0),
        control=Gains(replace(small, variance_factor=1.1), direction, 1.0),
        control_note="a variance of the kernels 10% too large",
    )
    yield claim(
        id=f"{direction}.glorot_uniform.tanh_gain",
        statement=f"GlorotUniform keeps the {SIGNAL[direction]} in tanh layers of inputs of unit second moment.",
        experiment=Gains(tanh, direction, 1.0),
        control=Gains(small, direction, 1.0),
        control_note=f"a sample of root mean square {SMALL}, for which tanh is linear",
        expected="refuted",
        cause=causes.GLOROT,
    )
    yield theory_claim(direction, "glorot_uniform", tanh, TANH, rows, "tanh_course")
    larger = DeepNetwork(InitializerSpec("VarianceScaling", (("scale", 25.0 / 9.0),)), "tanh", scale=FIVE_THIRDS_SCALE)
    yield replace(
        theory_claim(direction, "variance_scaling_five_thirds", larger, TANH, rows, "tanh_course"),
        control=Gains(replace(larger, variance_factor=0.36), direction),
        control_note="GlorotUniform's variance, without the gain 5 / 3",
    )


def theory_claim(
    direction: Direction, name: str, network: DeepNetwork, source: str, rows: tuple[str, ...], subject: str
) -> Claim:
    """Claim that the gain of every layer is what theory predicts at this width, whatever it is."""
    # The control's 25%: where an activation saturates, gains depend less on the variance than one to one.
    size = f"{network.depth} square Dense layers of {network.width} units, zero biases, one sample"
    return Claim(
        id=f"{direction}.{name}.{subject}",
        statement=(
            f"With {network.initializer.label} and {network.activation} the {SIGNAL[direction]} changes from layer to "
            "layer as mean-field theory with its first correction in 1 / width says."
        ),
        source=source,
        condition=f"{size}, of root mean square {network.scale:.4g}; seeds are the replicates",
        experiment=Gains(network, direction),
        decide=GAIN,
        control=Gains(replace(network, variance_factor=1.25), direction),
        control_note="a variance of the kernels 25% too large",
        slow=True,
        rows=rows,
    )


def rectangular_claims(direction: Direction) -> Iterator[Claim]:
    """List what is claimed of a narrowing network, in one direction."""
    widths = ", ".join(map(str, RECTANGULAR_WIDTHS))
    signal, ratio = (
        ("second moment of the pre-activations", "fan_in / fan_out")
        if direction == "forward"
        else ("mean square of dL/dz", "fan_out / fan_in")
    )
    for mode, other in (("fan_in", "fan_out"), ("fan_out", "fan_in")):
        keeps = (direction == "forward") == (mode == "fan_in")
        words = "stays as it is" if keeps else f"changes by {ratio} in a layer, whose product over layers is bounded"
        experiment = RectangularGains(mode, mode, direction)
        yield Claim(
            id=f"{direction}.pyramid.he_{mode}_gain",
            statement=f"With a variance of 2 / {mode} the {signal} {words}.",
            source=HE,
            condition=f"ReLU, widths {widths}, one sample; uniform weights of variance 2 / fan",
            experiment=experiment,
            decide=GAIN,
            control=replace(experiment, assumed=other),
            control_note=f"compared with what {other} would give",
            slow=True,
            rows=("F5",),
        )
