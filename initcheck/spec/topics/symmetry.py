"""Claims about symmetry: what zero and constant initialization do to a network, now and after training.

Zeros are exact by arithmetic (0 x = 0). Units that are initialized alike differ by the order of summation alone: a sum
of k terms is off by at most k eps relative to the sum of their sizes, in whatever order it is taken (Higham, 2002,
section 4.2). Training then enlarges such a difference, because equal units are an unstable state; by how much is not
bounded, and was up to 10^5 in pilots. Units are therefore trained in float64, and a difference may grow to
:data:`_GROWTH` times the rounding of all steps: 10^-5, where units of random kernels differ by 1. A kernel that has not
moved by ten times that shows nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from initcheck.models.initializers import InitializerSpec
from initcheck.spec.claim import Claim, ExactRow, RunContext
from initcheck.spec.decisions import AllWithin
from initcheck.spec.topics.training import BATCH, GLOROT, INPUTS, ZEROS, Learner

SEEDS: Final = 2
_STEPS: Final = 50
_GROWTH: Final = 1e7
ROUNDING: Final = _GROWTH * _STEPS * (INPUTS + BATCH) * float(np.finfo(np.float64).eps)

ONES: Final = InitializerSpec("Ones")
CONSTANT: Final = InitializerSpec("Constant", (("value", 0.05),))

_SOURCE: Final = (
    "Goodfellow, Bengio & Courville, 2016, Deep Learning, section 8.4; the notebook that initcheck began with"
)

What = Literal["kernel gradients", "kernels", "asymmetry", "range of predictions"]


@dataclass(frozen=True)
class Symmetry:
    """Something that should be zero in every seed of every network."""

    learners: tuple[Learner, ...]
    what: What
    """``asymmetry``: the difference of two units' incoming weights in a hidden layer, over the largest weight there."""
    hidden_only: bool = False
    limit: float = 0.0
    """What rounding may amount to."""

    def measure(self, context: RunContext) -> Iterator[ExactRow]:
        for learner in self.learners:
            for place, trained in enumerate(learner.train(context, "symmetry", SEEDS)):
                kernels = slice(0, -2 if self.hidden_only or self.what == "asymmetry" else None, 2)
                if self.what == "kernel gradients":
                    deviation = _largest(trained.gradients[kernels])
                elif self.what == "kernels":
                    deviation = _largest(trained.final[kernels])
                elif self.what == "asymmetry":
                    deviation = max(_asymmetry(kernel) for kernel in trained.final[kernels])
                    moved = min(
                        float(np.abs(final - initial).max() / np.abs(final).max())
                        for final, initial in zip(trained.final[kernels], trained.initial[kernels], strict=True)
                    )
                    if not (moved > 10.0 * self.limit):
                        deviation = np.nan  # next to nothing was trained, so nothing was shown
                else:
                    deviation = float(np.abs(trained.logits - trained.logits[:1]).max())
                yield ExactRow(f"{learner.depth} hidden, seed {place}", deviation, self.limit)


def _largest(arrays: list[NDArray[Any]]) -> float:
    return max(float(np.abs(array).max()) for array in arrays)


def _asymmetry(kernel: NDArray[Any]) -> float:
    return float(np.abs(kernel - kernel[:, :1]).max() / np.abs(kernel).max())


def _learners(spec: InitializerSpec, activation: str, depths: tuple[int, ...], **options: Any) -> tuple[Learner, ...]:
    # 37 units: a width that no vectorized loop divides evenly.
    settings: dict[str, Any] = {"epochs": 1, "learning_rate": 0.5, **options}
    return tuple(Learner(spec, activation, depth, 37, **settings) for depth in depths)


def claims() -> Iterator[Claim]:
    """List the claims."""
    for activation in ("relu", "tanh", "linear"):
        # What holds of one function that is zero at zero holds of the others.
        yield from (replace(claim, slow=activation != "relu") for claim in _zeros(activation))
    yield _alike("zeros", ZEROS, "sigmoid", (1, 2, 3))
    for activation in ("relu", "tanh", "linear", "sigmoid"):
        yield _alike("constant", CONSTANT, activation, (1, 2, 3))
        # Behind a layer of ones, tanh and sigmoid units are saturated, and nothing moves.
        yield _alike("ones", ONES, activation, (1, 2, 3) if activation in ("relu", "linear") else (1,))


def _zeros(activation: str) -> Iterator[Claim]:
    zeros, glorot = (_learners(spec, activation, (1, 2, 3)) for spec in (ZEROS, GLOROT))
    condition = f"1 to 3 hidden {activation} layers of 37 units, zero biases, cross-entropy; {SEEDS} seeds of the data"
    head, control = (_learners(ZEROS, each, (2, 3), head=GLOROT, epochs=0) for each in (activation, "sigmoid"))
    claim = partial(Claim, source=_SOURCE, control_note="GlorotUniform's kernels", rows=("G1",))
    yield claim(
        id=f"symmetry.zeros_{activation}.kernel_gradients_are_zero",
        statement=f"With all kernels zero and {activation} units, the gradient of every kernel is exactly zero.",
        condition=condition,
        experiment=Symmetry(zeros, "kernel gradients"),
        decide=AllWithin("largest gradient"),
        control=Symmetry(glorot, "kernel gradients"),
    )
    yield claim(
        id=f"symmetry.zeros_{activation}.kernels_stay_zero",
        statement=f"Zero kernels under {activation} units are still exactly zero after training.",
        condition=f"{condition}; {_STEPS} steps at a learning rate of .5",
        experiment=Symmetry(zeros, "kernels"),
        decide=AllWithin("largest weight"),
        control=Symmetry(glorot, "kernels"),
    )
    yield claim(
        id=f"symmetry.zeros_{activation}.constant_predictor",
        statement=f"A network of zero kernels and {activation} units predicts the same for every input, trained or "
        "not.",
        condition=f"{condition}; {_STEPS} steps at a learning rate of .5",
        experiment=Symmetry(zeros, "range of predictions"),
        decide=AllWithin("largest difference between predictions"),
        control=Symmetry(glorot, "range of predictions"),
        rows=("G1", "NB1"),
    )
    yield claim(
        id=f"symmetry.zeros_{activation}.random_head_does_not_help",
        statement=f"From two hidden layers on, zero {activation} kernels have gradients of exactly zero under a "
        "random output layer, too.",
        source="the notebook that initcheck began with: its output layer is Glorot's in every variant",
        condition=f"2 and 3 hidden {activation} layers of 37 units; {SEEDS} seeds",
        experiment=Symmetry(head, "kernel gradients", hidden_only=True),
        decide=AllWithin("largest gradient"),
        control=Symmetry(control, "kernel gradients", hidden_only=True),
        control_note="sigmoid units, which are not zero at zero",
    )


_RATES_OF_ONES: Final = (0.1, 1e-3, 1e-4)
"""Learning rates of 1 to 3 layers of ones, which each multiply the signal by their number of inputs."""


def _alike(name: str, spec: InitializerSpec, activation: str, depths: tuple[int, ...]) -> Claim:
    steep = spec == ONES and activation in ("relu", "linear")
    learners, controls = (
        tuple(
            learner
            for depth in depths
            for learner in _learners(
                each,
                activation,
                (depth,),
                dtype="float64",
                learning_rate=_RATES_OF_ONES[depth - 1] if steep and each == ONES else 0.5,
            )
        )
        for each in (spec, GLOROT)
    )
    layers = "1 hidden layer" if depths == (1,) else f"1 to {depths[-1]} hidden layers"
    rate = f"{', '.join(f'{each:g}' for each in _RATES_OF_ONES)} for 1, 2, 3 layers" if steep else ".5"
    return Claim(
        id=f"symmetry.{name}_{activation}.units_stay_identical",
        statement=f"With all kernels {spec.label} and {activation} units, the units of a layer stay identical "
        "throughout training.",
        source=_SOURCE,
        condition=f"{layers} of 37 {activation} units in float64, all kernels alike, the output's too; {_STEPS} steps "
        f"at a learning rate of {rate}; {SEEDS} seeds of the data",
        experiment=Symmetry(learners, "asymmetry", limit=ROUNDING),
        decide=AllWithin("largest difference between two units, relative"),
        control=Symmetry(controls, "asymmetry", limit=ROUNDING),
        control_note="GlorotUniform's kernels",
        slow=(name, activation) != ("zeros", "sigmoid"),
        rows=("G2",) if name == "zeros" else ("G3",),
    )
