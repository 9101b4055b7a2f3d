"""What is claimed of the signal in networks that are not plain: batches, dropout, convolutions."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from initcheck.backend.runtime import import_keras
from initcheck.models.initializers import InitializerSpec
from initcheck.spec.claim import Claim
from initcheck.spec.decisions import CLAIM_FALSE_ALARM, AllWithin, EstimateWithin, SeedMeanWithin, size_of_equivalence
from initcheck.spec.subjects import to_numpy
from initcheck.theory.activations import TWINS

if TYPE_CHECKING:
    from pandas import DataFrame

    from initcheck.spec.claim import RunContext


CLASSES: Final = 10
ROUNDING: Final = 32.0 * float(np.finfo(np.float32).eps)


def draw_batch(context: RunContext, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Draw standard normal numbers of the given shape, a batch of samples."""
    values = np.random.default_rng(context.seed(f"forward.batch.{shape}")).standard_normal(shape)
    return np.asarray(values, dtype=np.float32)


@dataclass(frozen=True)
class BatchShare:
    """The share of a signal's second moment that varies over the samples of a batch, after some layers.

    Attributes:
        initializer: of the hidden kernels.
        activation: of the hidden layers.
    """

    initializer: InitializerSpec
    activation: str
    depth: int = 10
    width: int = 64
    batch: int = 16
    seeds: int = 48

    def measure(self, context: RunContext) -> DataFrame:
        """Measure; one value a layer and seed."""
        table = self._run(context)
        hidden = table[table["layer"].str.startswith("hidden_")]
        share = (hidden["activation_batch_variance"] / hidden["activation_second_moment"]).to_numpy(
            np.float64, na_value=np.nan
        )
        found = hidden[["seed", "layer"]].rename(columns={"layer": "member"}).assign(value=share)
        return found[found["member"] == f"hidden_{self.depth:02d}"].reset_index(drop=True)

    def _run(self, context: RunContext) -> DataFrame:
        from initcheck.models.networks import MlpSpec
        from initcheck.probe import Probe

        spec = MlpSpec(initializer=self.initializer, activation=self.activation, depth=self.depth, width=self.width)
        probe = Probe(spec.build(spec.sample_shape, seed=0), draw_batch(context, (self.batch, self.width)))
        return probe.measure(context.seeds(f"batch share {self.initializer.label} {self.activation}", self.seeds))


@dataclass(frozen=True)
class DroppedSignal:
    """Mean and second moment of a deep SELU network with a dropout layer behind every Dense layer.

    Attributes:
        dropout: class of the dropout layer.
        rate: its rate.
    """

    dropout: str
    rate: float = 0.1
    depth: int = 20
    width: int = 256
    seeds: int = 24

    def measure(self, context: RunContext) -> DataFrame:
        """Measure; one value a seed and quantity: the mean + 1, and the variance, of which both should be 1."""
        import pandas as pd

        from initcheck.probe import Probe

        keras = import_keras()
        inputs = x = keras.Input((self.width,))
        for number in range(self.depth):
            x = keras.layers.Dense(self.width, "selu", kernel_initializer="lecun_normal")(x)
            layer = getattr(keras.layers, self.dropout)
            x = layer(self.rate, seed=number, name=f"dropped_{number}")(x)
        probe = Probe(keras.Model(inputs, x), draw_batch(context, (4, self.width)))
        table = probe.measure(context.seeds("alpha dropout", self.seeds))
        last = table[table["layer"] == f"dropped_{self.depth - 1}"]
        mean = last["activation_mean"].to_numpy(np.float64)
        variance = last["activation_second_moment"].to_numpy(np.float64) - np.square(mean)
        rows = [("1 + mean", seed, 1.0 + value) for seed, value in enumerate(mean)]
        rows += [("variance", seed, value) for seed, value in enumerate(variance)]
        return pd.DataFrame(rows, columns=["member", "seed", "value"])


@dataclass(frozen=True)
class Convolutions:
    """The factor by which the second moment changes from one convolution to the next, averaged over layers.

    Attributes:
        initializer: of all kernels.
    """

    initializer: InitializerSpec
    depth: int = 8
    channels: int = 32
    side: int = 8
    seeds: int = 64

    def measure(self, context: RunContext) -> DataFrame:
        """Measure; one value a seed."""
        import pandas as pd

        from initcheck.models.networks import ConvSpec
        from initcheck.probe import Probe

        spec = ConvSpec(initializer=self.initializer, activation="relu", depth=self.depth, width=self.channels)
        shape = (self.side, self.side, self.channels)
        probe = Probe(spec.build(shape, seed=0), draw_batch(context, (1, *shape)))
        table = probe.measure(context.seeds(f"convolutions {self.initializer.label}", self.seeds))
        wide = table.pivot(index="seed", columns="layer", values="preactivation_second_moment")
        z = wide[list(spec.signal_layers())].to_numpy(np.float64)
        values = (z[:, 1:] / z[:, :-1]).mean(axis=1)
        return pd.DataFrame({"member": "average over layers", "seed": np.arange(self.seeds), "value": values})


def case_claims() -> list[Claim]:
    """List the claims."""
    return [
        *_batch_claims(),
        *_dropout_claims(),
        *_convolution_claims(),
    ]


def _batch_claims() -> list[Claim]:
    sigmoid = BatchShare(InitializerSpec("GlorotUniform"), "sigmoid")
    relu = BatchShare(InitializerSpec("HeNormal"), "relu")
    condition = "10 Dense layers of 64 units, a batch of 16 Gaussian samples; the last layer"
    source = "Poole et al., 2016, NeurIPS, section 3"
    healthy = "share of the second moment that varies over the batch"
    return [
        Claim(
            id="forward.sigmoid.second_moment_tells_signal",
            statement="Where the pooled second moment of the activations is of order 1, samples can be told apart.",
            source="Glorot & Bengio, 2010, AISTATS, section 4",
            condition=condition,
            experiment=sigmoid,
            decide=SeedMeanWithin(healthy, 0.01, 1.0),
            control=relu,
            control_note="HeNormal and ReLU in place of GlorotUniform and sigmoid",
            expected="refuted",
            slow=True,
            false_alarm=CLAIM_FALSE_ALARM,
            rows=("E9",),
        ),
        Claim(
            id="forward.sigmoid.batch_variance_collapses",
            statement="GlorotUniform and sigmoid leave less than 1e-4 of the second moment to differ over the batch.",
            source=source,
            condition=condition,
            experiment=sigmoid,
            decide=SeedMeanWithin(healthy, -1e-4, 1e-4),
            control=relu,
            control_note="HeNormal and ReLU in place of GlorotUniform and sigmoid",
            slow=True,
            false_alarm=CLAIM_FALSE_ALARM,
            rows=("E9",),
        ),
    ]


def _dropout_claims() -> list[Claim]:
    return [
        Claim(
            id="forward.alpha_dropout.selu_moments",
            statement="AlphaDropout keeps mean 0 and variance 1 in a deep network of SELU and LecunNormal.",
            source="Keras, keras.layers.AlphaDropout",
            condition="20 Dense layers of 256 units, rate .1, a batch of 4 Gaussian samples",
            experiment=DroppedSignal("AlphaDropout"),
            decide=SeedMeanWithin("1 + mean, and variance", 0.85, 1.15),
            control=DroppedSignal("Dropout"),
            control_note="Dropout in place of AlphaDropout",
            slow=True,
            false_alarm=CLAIM_FALSE_ALARM,
            rows=("E10",),
        )
    ]


def _convolution_claims() -> list[Claim]:
    glorot, he = Convolutions(InitializerSpec("GlorotUniform")), Convolutions(InitializerSpec("HeUniform"))
    quantity = "factor of the second moment by layer"
    condition = "8 convolutions of 3 x 3 and 32 channels with ReLU and zero padding, as in VGG, on one picture of 8 x 8"
    source = "Simonyan & Zisserman, 2015, ICLR; Keras, keras.applications.VGG16"
    return [
        Claim(
            id="forward.vgg_block.default_keeps_signal",
            statement="The default initializer keeps the signal in a stack of convolutions such as VGG's.",
            source=source,
            condition=condition,
            experiment=glorot,
            decide=SeedMeanWithin(quantity, 0.7, 1.1),
            control=he,
            control_note="HeUniform in place of GlorotUniform",
            expected="refuted",
            slow=True,
            false_alarm=CLAIM_FALSE_ALARM,
            rows=("S8",),
        ),
        Claim(
            id="forward.vgg_block.default_halves_signal",
            statement="The default initializer halves the second moment in each convolution of VGG, or nearly so.",
            source=source,
            condition=condition,
            experiment=glorot,
            # Zero padding leaves out up to 1 - (1 - 2 / (3 x 8))^2 = 16% of the terms: from .42 to .5.
            decide=SeedMeanWithin(quantity, 0.33, 0.59),
            control=he,
            control_note="HeUniform in place of GlorotUniform",
            slow=True,
            false_alarm=CLAIM_FALSE_ALARM,
            rows=("S8",),
        ),
    ]


_REACH: Final = 8.0
_POINTS: Final = 4001
# A value in float32 comes from a few operations on numbers no larger than 1 + |x| + |f(x)|, each rounded once.
_LIMIT: Final = 16.0 * 2.0**-24
_RATES: Final = (0.1, 0.3, 0.5, 0.8)
_MARGIN: Final = 0.02


@dataclass(frozen=True)
class ActivationValues:
    """The largest difference between Keras' activation function f and its definition, over 1 + |x| + |f(x)|.

    The definition is the NumPy twin in :mod:`initcheck.theory.activations`, in float64.

    Attributes:
        name: of the function in ``keras.activations``.
        stretch: the factor on the argument of the definition; another than 1 is the control.
    """

    name: str
    stretch: float = 1.0

    def measure(self, context: RunContext) -> DataFrame:  # noqa: ARG002 - nothing here is drawn
        """Measure; see :class:`~initcheck.spec.decisions.AllWithin` for the columns."""
        import pandas as pd

        # Both sides see numbers that float32 holds; the last of them lie on the kinks at whole numbers.
        x = np.linspace(-_REACH, _REACH, _POINTS).astype(np.float32)
        got = to_numpy(import_keras().activations.get(self.name)(x)).astype(np.float64)
        exact = x.astype(np.float64)
        wanted = TWINS[self.name](self.stretch * exact)
        difference = np.abs(got - wanted) / (1.0 + np.abs(exact) + np.abs(wanted))
        row = (self.name, float(difference.max()), _LIMIT, x.size)
        return pd.DataFrame([row], columns=["member", "deviation", "limit", "count"])


@dataclass(frozen=True)
class DropoutMoments:
    """Mean, and second moment times (1 - rate), of what Dropout makes of ones; both should be 1.

    An output is 1 / (1 - rate) with probability 1 - rate, else 0. Of N outputs the mean has the standard error
    sqrt(rate / (1 - rate) / N), and so has the second moment times (1 - rate).

    Attributes:
        rates: of the layers.
        scale: on the outputs, for a control.
    """

    rates: tuple[float, ...]
    scale: float = 1.0

    def measure(self, context: RunContext) -> DataFrame:
        """Measure; see :class:`~initcheck.spec.decisions.EstimateWithin` for the columns."""
        import pandas as pd

        keras = import_keras()
        rows = []
        for rate in self.rates:
            variance = rate / (1.0 - rate)
            count = size_of_equivalence(variance, _MARGIN, 2 * len(self.rates))
            layer = keras.layers.Dropout(rate, seed=context.seed(f"dropout/{rate}"))
            y = self.scale * to_numpy(layer(np.ones((count,), dtype=np.float32), training=True)).astype(np.float64)
            error = math.sqrt(variance / count)
            rows.append((f"mean, rate {rate}", float(y.mean()), error, math.inf, count))
            second = float(np.mean(y**2)) * (1.0 - rate)
            rows.append((f"second moment, rate {rate}", second, error, math.inf, count))
        return pd.DataFrame(rows, columns=["member", "estimate", "standard_error", "freedom", "count"])


def piece_claims() -> list[Claim]:
    """List the claims."""
    listed = [
        Claim(
            id=f"forward.{name}.values",
            statement=f"The activation function {name} has the values of its definition.",
            source=f"Keras, keras.activations.{name}",
            condition=f"{_POINTS:,} arguments from {-_REACH:g} to {_REACH:g}, float32",
            experiment=ActivationValues(name),
            decide=AllWithin("largest difference over 1 + |x| + |f(x)|", "arguments"),
            control=ActivationValues(name, stretch=1.001),
            control_note="arguments one in a thousand too large",
        )
        for name in TWINS
    ]
    listed.append(
        Claim(
            id="forward.dropout.moments",
            statement="Dropout keeps the mean of its input and multiplies its second moment by 1 / (1 - rate).",
            source="Keras, keras.layers.Dropout; Srivastava and others, 2014, JMLR, section 10",
            condition=f"ones in training mode, rates {', '.join(map(str, _RATES))}",
            experiment=DropoutMoments(_RATES),
            decide=EstimateWithin("moment over its documented value", 1.0 - _MARGIN, 1.0 + _MARGIN),
            control=DropoutMoments(_RATES, scale=0.95),
            control_note="outputs 5% too small",
            false_alarm=CLAIM_FALSE_ALARM,
            rows=("E10",),
        )
    )
    return listed
