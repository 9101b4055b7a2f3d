"""Claims about what signals pass between kernels: activation functions, value by value, and dropout."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from initcheck.claims.base import Claim
from initcheck.claims.decisions import AllWithin, EstimateWithin, size_of_equivalence
from initcheck.claims.rates import CLAIM_FALSE_ALARM
from initcheck.claims.sampling import to_numpy
from initcheck.keras_runtime import import_keras
from initcheck.theory.activations import TWINS

if TYPE_CHECKING:
    from pandas import DataFrame

    from initcheck.claims.laboratory import Laboratory

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

    def measure(self, laboratory: Laboratory) -> DataFrame:  # noqa: ARG002 - nothing here is drawn
        """Measure; see :class:`~initcheck.claims.decisions.AllWithin` for the columns."""
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

    def measure(self, laboratory: Laboratory) -> DataFrame:
        """Measure; see :class:`~initcheck.claims.decisions.EstimateWithin` for the columns."""
        import pandas as pd

        keras = import_keras()
        rows = []
        for rate in self.rates:
            variance = rate / (1.0 - rate)
            count = size_of_equivalence(variance, _MARGIN, 2 * len(self.rates))
            layer = keras.layers.Dropout(rate, seed=laboratory.seed(f"dropout/{rate}"))
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
            control_note="outputs 5 % too small",
            false_alarm=CLAIM_FALSE_ALARM,
            rows=("E10",),
        )
    )
    return listed
