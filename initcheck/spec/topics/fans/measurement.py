"""Layers at their initialization: the variance of their kernels and of their outputs, against what fans say.

The inputs are random signs, so every one has a square of exactly one. An output that sums n of them through independent
weights of variance v then has the expected square n v whatever the signs are, and the mean of y^2 / (n v) over B inputs
and U outputs with weights of their own has exactly the variance

    ((k - 3)/n + 2/B + 2(B - 1)/(n B)) / U,

k the kurtosis of a weight. So neither an estimated standard error nor a copied value is needed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from initcheck.backend.runtime import import_keras
from initcheck.models.initializers import INITIALIZERS, InitializerSpec
from initcheck.spec import subjects
from initcheck.spec.claim import EstimateRow, RunContext
from initcheck.spec.decisions import size_of_equivalence
from initcheck.spec.subjects import EntryDistribution, Kind, Subject, to_numpy

Mode = Literal["fan_in", "fan_out", "fan_avg"]
Shape = tuple[int | None, ...]

MARGIN: Final = 0.05
"""Of a variance over its documented value."""
PLANNED_MARGIN: Final = 0.045
"""What sizes are planned for: a reserve for the skewness of mean squares, and for errors in proportion to them."""
BATCH: Final = 128
"""Inputs of random signs, each batch for one kernel."""
FEWEST_SEEDS: Final = 2


@dataclass(frozen=True)
class Fans:
    """Two counts: inputs that a unit sums, and outputs that an input feeds."""

    fan_in: float
    fan_out: float


def documented_variance(scale: float, mode: Mode, fans: Fans) -> float:
    """Give the variance of a weight that VarianceScaling documents."""
    average = (fans.fan_in + fans.fan_out) / 2.0
    return scale / max(1.0, {"fan_in": fans.fan_in, "fan_out": fans.fan_out, "fan_avg": average}[mode])


@dataclass(frozen=True)
class Scaling:
    """A named initializer that scales with the fans, and what VarianceScaling documents of it."""

    slug: str
    spec: InitializerSpec
    scale: float
    mode: Mode
    kind: Kind

    def variance(self, fans: Fans) -> float:
        """Give the documented variance of a weight."""
        return documented_variance(self.scale, self.mode, fans)

    def create(self, seed: Any, mode: Mode | None = None) -> Any:
        """Make the initializer of Keras; with a mode of another kind, for negative controls, by VarianceScaling."""
        if mode is None:
            return self.spec.create(seed)
        settings = (("scale", self.scale), ("mode", mode), ("distribution", self.kind))
        return InitializerSpec("VarianceScaling", settings).create(seed)


def _scaling(subject: Subject) -> Scaling:
    fixed = INITIALIZERS[subject.spec.class_name].fixed
    return Scaling(subject.slug, subject.spec, fixed["scale"], fixed["mode"], fixed["distribution"])


SCALINGS: Final = tuple(map(_scaling, subjects.FAMILY))
"""Those of Glorot and Bengio, He and LeCun, each in both of its distributions."""


@dataclass(frozen=True)
class Case:
    """A layer, and what it really does with its kernel."""

    name: str
    layer: str
    settings: tuple[tuple[str, Any], ...]
    shapes: tuple[Shape, ...]
    """Of the inputs, the batch first."""
    fans: Fans
    """What the layer really does, away from the borders (a stride of a convolution left out, as documented)."""
    assumed: Fans
    """Those that Keras documents for the shape of the kernel."""
    weight: str = "kernel"
    argument: str = "kernel_initializer"
    position: tuple[int, ...] | None = None
    """The output unit along each spatial axis; None measures the kernel alone."""
    units: int = 0

    def build(self, initializer: Any) -> Any:
        """Build the layer with an initializer for the kernel."""
        layer = getattr(import_keras().layers, self.layer)(**dict(self.settings), **{self.argument: initializer})
        layer.build(*self.shapes)
        return layer

    def kernel(self, layer: Any) -> Any:
        """Find the kernel, a variable of Keras."""
        (found,) = (each for each in layer.weights if f"/{each.path}".endswith(f"/{self.weight}"))
        return found


@dataclass(frozen=True)
class LayerVariance:
    """The variances of kernel and output, over what the initializer and a count of fans say, for several cases."""

    subject: str
    scaling: Scaling
    cases: tuple[Case, ...]
    by: Literal["layer", "shape"] = "layer"
    mode: Mode | None = None
    corrected: bool = False

    def measure(self, context: RunContext) -> Iterator[EstimateRow]:
        members = len(self.cases) + sum(case.position is not None for case in self.cases)
        for case in self.cases:
            yield from self._measure(context, case, members)

    def _measure(self, context: RunContext, case: Case, members: int) -> Iterator[EstimateRow]:
        kurtosis = EntryDistribution(self.scaling.kind, 0.0, 1.0).moment(4)
        by_output = case.units and output_variance(kurtosis, case.fans.fan_in)
        key = ("fans", self.subject, self.scaling, case, members, self.mode, self.corrected)
        kernels, outputs, entries, seeds = context.remember(
            key, lambda: self._run(context, case, members, kurtosis - 1.0, by_output)
        )
        variance = self.scaling.variance(case.fans if self.by == "layer" else case.assumed)
        ratio = kernels / variance
        yield EstimateRow(f"{case.name}, kernel", ratio, ratio * math.sqrt((kurtosis - 1.0) / entries), entries)
        if case.position is not None:
            ratio = outputs / (case.fans.fan_in * variance)
            count = case.units * seeds
            yield EstimateRow(f"{case.name}, output", ratio, ratio * math.sqrt(by_output / count), count * BATCH)

    def _run(
        self, context: RunContext, case: Case, members: int, by_entry: float, by_output: float
    ) -> tuple[float, float, int, int]:
        """Give the mean squares of weights and outputs, how many weights there are, and how many kernels."""
        label = f"fans/{self.subject}/{self.scaling.slug}/{case.name}"
        random = np.random.default_rng(context.seed(f"{label}/signs"))
        factor = math.sqrt(self.scaling.variance(case.fans) / self.scaling.variance(case.assumed))
        squares, outputs, entries, seed_count = 0.0, [], 0, 0
        wanted = FEWEST_SEEDS
        while seed_count < wanted:
            seed = context.seeds(label, seed_count + 1)[-1]
            layer = case.build(self.scaling.create(seed, self.mode))
            kernel = case.kernel(layer)
            if self.corrected:
                kernel.assign(kernel * factor)
            weights = to_numpy(kernel).astype(np.float64)
            squares += float((weights**2).sum())
            entries += weights.size
            seed_count += 1
            if case.position is not None:
                outputs.append(_outputs(layer, case, random))
                wanted = max(wanted, math.ceil(size_of_equivalence(by_output, PLANNED_MARGIN, members) / case.units))
            wanted = max(wanted, math.ceil(size_of_equivalence(by_entry, PLANNED_MARGIN, members) / weights.size))
        return squares / entries, float(np.mean(outputs)) if outputs else math.nan, entries, seed_count


def _outputs(layer: Any, case: Case, random: np.random.Generator) -> float:
    signs = random_signs(random, (BATCH, *case.shapes[0][1:]))
    found = to_numpy(layer(signs)).astype(np.float64)
    place: tuple[Any, ...] = (slice(None), *(case.position or ()))
    found = found[place].reshape(BATCH, -1)
    if found.shape[1] != case.units:
        raise AssertionError(f"{case.name} has {found.shape[1]} outputs and not {case.units}.")
    return float((found**2).mean())


def output_variance(kurtosis: float, inputs: float) -> float:
    """Give the variance of one unit's mean square over a batch of signs, over its squared mean; see the module."""
    return (kurtosis - 3.0) / inputs + 2.0 / BATCH + 2.0 * (BATCH - 1) / (inputs * BATCH)


def random_signs(random: np.random.Generator, shape: tuple[Any, ...]) -> NDArray[np.float32]:
    """Draw inputs of +1 and -1."""
    return (2.0 * random.integers(0, 2, shape) - 1.0).astype(np.float32)
