"""What is claimed of rectangular layers: either fan suffices to keep signal and gradient bounded."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from initcheck.claims.base import Claim
from initcheck.claims.deep import Direction, plan_seeds, tabulate_steps
from initcheck.claims.deep_claims import GAIN, HE
from initcheck.claims.rates import CLAIM_FALSE_ALARM
from initcheck.initializers import InitializerSpec
from initcheck.keras_runtime import import_keras

if TYPE_CHECKING:
    from pandas import DataFrame

    from initcheck.claims.laboratory import Laboratory

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

    def measure(self, laboratory: Laboratory) -> DataFrame:
        """Measure; see :class:`~initcheck.claims.gains.GainByLayer` for the columns."""
        before, gradient = laboratory.remember(("pyramid", self.mode), lambda: self._run(laboratory))
        # Steps between neighbouring hidden layers: their kernels lead from `inputs` to `outputs` units.
        inputs, outputs = (np.asarray(WIDTHS[place:][: len(WIDTHS) - 2], dtype=np.float64) for place in (1, 2))
        fan = inputs if self.assumed == "fan_in" else outputs
        if self.direction == "forward":
            ratios, expected = before[:, 1:] / before[:, :-1], inputs / fan
        else:
            ratios, expected = gradient[:, :-1] / gradient[:, 1:], outputs / fan
        return tabulate_steps(ratios / expected)

    def _run(self, laboratory: Laboratory) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        from initcheck.probe import Probe

        keras = import_keras()
        inputs = x = keras.Input((WIDTHS[0],))
        arguments = (("scale", 2.0), ("mode", self.mode), ("distribution", "uniform"))
        spec = InitializerSpec("VarianceScaling", arguments)
        names = [f"hidden_{number}" for number in range(1, len(WIDTHS))]
        for number, (name, units) in enumerate(zip(names, WIDTHS[1:], strict=True)):
            x = keras.layers.Dense(units, "relu", kernel_initializer=spec.create(number + 1), name=name)(x)
        x = keras.layers.Dense(10, kernel_initializer=InitializerSpec("LecunNormal").create(99), name="output")(x)
        sample = np.random.default_rng(laboratory.seed("pyramid")).standard_normal((1, WIDTHS[0])).astype(np.float32)
        probe = Probe(keras.Model(inputs, x), sample)
        # Relative variance of a step's ratio: 5 / n of the narrower layer, at most; steps are independent.
        spread = math.sqrt(5.0 / WIDTHS[-1])
        seeds = plan_seeds(spread, spread / math.sqrt(len(WIDTHS) - 2), len(WIDTHS) - 2)
        table = probe.measure(laboratory.seeds(f"pyramid {self.mode}", seeds))
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
