"""Why the signal or the gradient changes too much: the layers that did it, and what is wrong with them, in figures.

A layer whose kernel W has n inputs (true ones, whatever the initializer counts) multiplies a second moment by n E w^2;
ReLU halves it, so that n E w^2 = 2 keeps it (He et al. 2015, equation 10), and near 0 tanh and its like keep it, so
that it takes 1 (Glorot and Bengio 2010, section 4.2.1). How far a kernel is from what it needs, ln(n E w^2 / needed),
adds up over the layers that account for a change: where that makes half of the change or more, the kernels are the
cause; where it does not, what stands between them is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

import numpy as np

from initcheck.audit.findings import Cause
from initcheck.audit.paths import STANDARDIZING_KINDS
from initcheck.audit.total_change import SiteSquares
from initcheck.core.formatting import exponential, format_names, format_number, format_share
from initcheck.core.statistics import Estimate, estimate_mean

if TYPE_CHECKING:
    from initcheck.audit.findings import ModelMeasurement
    from initcheck.audit.paths import SignalPath
    from initcheck.audit.total_change import JudgedPath
    from initcheck.backend.operations import WeightUse
    from initcheck.probe.weights import WeightFacts

_HALVING: Final = frozenset({"relu", "leaky_relu", "prelu", "relu6"})
"""Activation functions that keep about half of the square of what they receive, whatever its size."""

_SHARE: Final = 0.5
"""What makes at least this share of a change is its cause."""

_OFF: Final = math.log(1.5)
"""A kernel that is nearer than this to what it needs is not named, whatever the others are."""

_GROSSLY_OFF: Final = math.log(4.0)
"""From here on a single kernel is off by more than initializers for other activation functions are from one another."""


_CLOSE: Final = 0.5
"""A mean square within this share of the variance that was asked for is that variance, as far as draws show."""


@dataclass(frozen=True)
class Kernel:
    """The main weight of a layer, as it was drawn.

    Attributes:
        square: mean of the squares of its entries over all draws.
        needed: variance times inputs that would keep the second moment: 2 before ReLU, else 1.
    """

    facts: WeightFacts
    position: int
    square: float
    needed: float
    activation: str

    @property
    def forward(self) -> float:
        """How far it is from what the signal needs, in nats of the square; NaN where its inputs are not known."""
        return _log(self.square * self.facts.true_fan_in / self.needed)

    @property
    def backward(self) -> float:
        """How far it is from what the gradient needs, in nats of the square."""
        return _log(self.square * self.facts.true_fan_out / self.needed)

    def describe_need(self) -> str:
        """Say what it has, and what it needs: ``standard deviation 1e-4; 64 inputs and relu need 0.177``."""
        facts = self.facts
        has, needs = math.sqrt(self.square), math.sqrt(self.needed / facts.true_fan_in)
        after = f" and {self.activation}" if self.activation else ""
        inputs = f"{facts.true_fan_in:g} input{'' if facts.true_fan_in == 1.0 else 's'}"
        drawn = f"{facts.initializer}: " if facts.initializer else ""
        # Of what has a mean, or is not drawn, the mean square is no variance.
        centred = math.isclose(self.square, facts.variance, rel_tol=_CLOSE)
        what = "standard deviation" if centred else "root mean square"
        verb = "needs" if facts.true_fan_in == 1.0 and not after else "need"
        return f"{drawn}{what} {format_number(has)}; {inputs}{after} {verb} {format_number(needs)}"


class CauseFinder:
    """Finds causes in what was measured of one model."""

    def __init__(self, measurement: ModelMeasurement) -> None:
        self._measurement = measurement
        self._nodes = measurement.nodes

    @cached_property
    def _norms(self) -> dict[str, float]:
        """The mean of the squared norm of each weight."""
        known = self._measurement.gradients
        squares = known["weight_norm"].astype(float) ** 2
        return {str(name): float(value) for name, value in squares.groupby(known["weight"]).mean().items()}

    @cached_property
    def _children(self) -> list[list[int]]:
        children: list[list[int]] = [[] for _ in self._nodes]
        for position, node in enumerate(self._nodes):
            for parent in node.parents:
                children[parent].append(position)
        return children

    @cached_property
    def kernels(self) -> dict[int, Kernel]:
        """The kernel of each site that has one, by position."""
        by_layer: dict[str, list[WeightFacts]] = {}
        for facts in self._measurement.facts:
            if len(facts.shape) >= 2 and facts.path in self._norms:
                by_layer.setdefault(facts.layer, []).append(facts)
        found = {}
        named = {node.layer for node in self._nodes}
        for position, node in enumerate(self._nodes):
            inside = [name for name in by_layer if name.startswith(f"{node.layer}/") and name not in named]
            held = [each for name in (node.layer, *inside) for each in by_layer.get(name, ())]
            if node.weighted and held:
                # Of a cell's kernels the one that is furthest from what it needs, else the largest.
                recurrent = any(each.role == "recurrent kernel" for each in held)
                main = max(held, key=self._distance if recurrent else lambda each: math.prod(each.shape))
                activation = self._find_activation(position)
                square = self._norms[main.path] / math.prod(main.shape)
                needed = 2.0 if activation in _HALVING else 1.0
                if not activation and self._is_halved_before(position):
                    # Behind the last ReLU of a chain either rule is right: the one for what follows, or for what stood
                    # before, as in branches that begin with a ReLU.
                    needed = min(max(square * main.true_fan_in, 1.0), 2.0)
                found[position] = Kernel(main, position, square, needed, activation)
        return found

    def _distance(self, facts: WeightFacts) -> float:
        off = _log(self._norms[facts.path] / math.prod(facts.shape) * facts.true_fan_in)
        return abs(off) if math.isfinite(off) else 0.0

    def _find_activation(self, position: int) -> str:
        node = self._nodes[position]
        while not node.activation and len(self._children[position]) == 1:
            position = self._children[position][0]
            node = self._nodes[position]
            if node.weighted:
                return ""
        return node.activation

    def _is_halved_before(self, position: int) -> bool:
        """Find whether what a kernel receives has passed an activation function that halves the square."""
        parents = self._nodes[position].parents
        while len(parents) == 1:
            node = self._nodes[parents[0]]
            if node.activation or node.weighted or node.normalizes:
                return node.activation in _HALVING
            parents = node.parents
        return False

    # --- along a path -------------------------------------------------------------------------------------------------

    def explain_path(self, judged: JudgedPath) -> Cause | None:
        """Find why the signal or the gradient changes too much along a path; None where no cause accounts for it."""
        levels = judged.levels
        with np.errstate(invalid="ignore"):  # a layer of zeros may be among the others
            means = levels.steps.mean(axis=0)
        # A fall into a small end takes no part in a growth; in a fall its kernel may lack what the others lack.
        counted = levels.counted | (levels.only_growth & ((means > 0.0) | (judged.outcome != "grows")))
        places = judged.doers or tuple(int(place) for place in np.flatnonzero(counted))
        if judged.step is not None and not judged.total_is_wrong:
            places = (levels.layers.index(judged.step[1]),)
        if judged.outcome == "dead":
            return self._explain_dead(judged)
        change = float(means[list(places)].sum())
        if not math.isfinite(change) or change == 0.0:
            return None
        kernels = [(place, kernel) for place in places for kernel in self._kernels_of(judged, place)]
        small = [place for place in judged.doers if self._nodes[levels.positions[place]].normalizes]
        if levels.direction == "forward" and change < 0.0 and small:
            return self.explain_normalization(levels.positions[min(small, key=lambda place: float(means[place]))])
        constant = [kernel for _, kernel in kernels if kernel.facts.constant and kernel.facts.variance == 0.0]
        if constant and judged.doers:
            return _blame("constant", constant)
        offs = [getattr(kernel, levels.direction) for _, kernel in kernels]
        explained = math.fsum(each for each in offs if math.isfinite(each))
        if explained / change >= _SHARE:
            return self._blame_kernels([kernel for _, kernel in kernels], offs, math.copysign(1.0, change))
        if any(math.isinf(each) for each in offs):
            return self._blame_kernels([kernel for _, kernel in kernels], offs, -1.0)
        # What multiplies the state acts once a step, so that one application accounts for a part of the change only.
        sign = math.copysign(1.0, change)
        over_time = [
            kernel
            for (_, kernel), off in zip(kernels, offs, strict=True)
            if kernel.facts.role == "recurrent kernel" and sign * off > _GROSSLY_OFF
        ]
        if over_time and judged.doers:
            return self._blame_kernels(over_time, [getattr(each, levels.direction) for each in over_time], sign)
        # What is added grows at the sum; its gradient does so before it, where branch and skip connection part.
        nearer = 0 if levels.direction == "forward" else 1
        sums = [place for place in places if place >= nearer and self._nodes[levels.positions[place - nearer]].merges]
        if change > 0.0 and means[sums].sum() / change >= _SHARE:
            layers = tuple(levels.layers[place - nearer] for place in sums)
            factor = format_number(math.exp(float(means[sums].mean())))
            what = "signal" if levels.direction == "forward" else "gradient"
            message = (
                f"each sum ({format_names(layers)}) adds a branch to the signal unscaled: the {what} × {factor} in "
                "squares each"
            )
            return Cause("residual", layers, message)
        # No activation function of the usual ones makes a signal or a gradient larger; what is added may.
        return self._blame_activations(judged, places, change) if change < 0.0 else self._blame_biases(judged)

    def _blame_biases(self, judged: JudgedPath) -> Cause | None:
        """Name the bias that most of what one of the few layers gives comes from, where these make a signal grow."""
        if judged.levels.direction != "forward":
            return None
        causes = [self.explain_site(judged.levels.positions[place]) for place in judged.doers]
        return next((each for each in causes if each is not None and each.kind == "bias"), None)

    def _kernels_of(self, judged: JudgedPath, place: int) -> list[Kernel]:
        """List the kernels behind the change at a place of a path: backward that of the layer nearer the end."""
        levels = judged.levels
        position = levels.positions[place]
        if levels.direction == "backward":
            if place == 0:
                return []
            position = levels.positions[place - 1]
        if position in self.kernels:
            return [self.kernels[position]]
        # What is followed behind a normalization stands for the layer before.
        return [self.kernels[each] for each in self.list_before(position)]

    def list_before(self, position: int) -> list[int]:
        """List the nearest sites with kernels before one, through what only passes on."""
        found, ahead = [], list(self._nodes[position].parents)
        while ahead:
            each = ahead.pop()
            if each in self.kernels:
                found.append(each)
            elif not self._nodes[each].weighted and not self._nodes[each].merges:
                ahead += self._nodes[each].parents
        return found

    def _blame_kernels(self, kernels: Sequence[Kernel], offs: Sequence[float], sign: float) -> Cause | None:
        guilty = [kernel for kernel, off in zip(kernels, offs, strict=True) if sign * off > _OFF]
        guilty = list({kernel.facts.path: kernel for kernel in guilty}.values())
        if not guilty:
            return None
        kinds = [self._name_kind(kernel, sign) for kernel in guilty]
        kind = max(set(kinds), key=kinds.count)
        named = [kernel for kernel, each in zip(guilty, kinds, strict=True) if each == kind]
        return _blame(kind, named)

    def _name_kind(self, kernel: Kernel, sign: float) -> str:
        facts = kernel.facts
        if kernel.square == 0.0 or facts.constant:
            return "constant"
        mismatch = _log(facts.variance / facts.ideal_variance) if facts.ideal_variance > 0.0 else math.nan
        if sign * mismatch >= math.log(self._measurement.limits.fan_ratio):
            return "fan"
        return "embedding" if facts.kind == "Embedding" else "spread"

    def _explain_dead(self, judged: JudgedPath) -> Cause | None:
        """Find the first layer along a path without a signal that lets nothing through."""
        for position in sorted(judged.levels.positions):
            cause = self.explain_site(position)
            if cause is not None and cause.kind in ("bias", "constant"):
                return cause
            node = self._nodes[position]
            received = self._mean(node.parents[0], "activation_second_moment") if len(node.parents) == 1 else math.nan
            drawn = all(self._norms[each.path] > 0.0 for each in self._own_weights(position) if self._scales(each))
            if node.normalizes and received > 0.0 and self._mean(position, "activation_second_moment") == 0.0 and drawn:
                message = f"{node.layer} gives exactly zero whatever it receives: it normalizes each value by itself"
                return Cause("single value", (node.layer,), message)
        return None

    def _scales(self, facts: WeightFacts) -> bool:
        return facts.trainable and self._use_of(facts) != "added"

    def _blame_activations(self, judged: JudgedPath, places: Sequence[int], change: float) -> Cause | None:
        """Name the activation functions that a fall is due to: saturated, pushed by a bias, or flat by nature."""
        # Forward it is the layer before that loses on the way to its output; backward the slope at the layer itself.
        forward = judged.levels.direction == "forward"
        positions = [judged.levels.positions[place - 1 if forward and place else place] for place in places]
        for position in positions:
            cause = self.explain_site(position)
            if cause is not None:
                return cause
        active = [each for each in positions if each in self.kernels and self.kernels[each].activation]
        names = {self.kernels[each].activation for each in active}
        if len(names) != 1 or 2 * len(active) < len(positions):
            return None
        (name,) = names
        layers = tuple(self._nodes[each].layer for each in active)
        factor = format_number(math.exp(change / len(places)))
        what = "signal" if forward else "gradient"
        message = (
            f"{name} in {_name_some(layers)}: the squared {what} changes by {factor} a layer, and what the kernels "
            "lack accounts for less than half of that"
        )
        return Cause("activation", layers, message)

    # --- normalizations -----------------------------------------------------------------------------------------------

    @cached_property
    def starved(self) -> dict[int, Estimate]:
        """The normalizations that receive less than their epsilon: what they give over what they should, in nats.

        It is compared with the scale of their own. A signal of zero has no size, and is another matter.
        """
        limit = -math.log(self._measurement.limits.outlier_factor)
        kept = [place for place, node in enumerate(self._nodes) if node.kind in STANDARDIZING_KINDS]
        found = {}
        for position in kept:
            with np.errstate(divide="ignore", invalid="ignore"):
                logs = np.log(self._sizes.signal[:, position] / self._square_of_scale(position))
            if np.isfinite(logs).all():
                off = estimate_mean(logs)
                if (off.value if off.count == 1 else off.high) < limit:
                    found[position] = off
        return found

    @cached_property
    def starving(self) -> dict[int, int]:
        """For each starved normalization the first of those before it that are starved: itself where none is."""
        first: dict[int, int] = {}
        for position, node in enumerate(self._nodes):
            before = [first[each] for each in node.parents if each in first]
            if position in self.starved:
                first[position] = min([*before, position])
            elif before and not node.normalizes:
                first[position] = min(before)
        return {position: first[position] for position in self.starved}

    def explain_normalization(self, position: int) -> Cause:
        """Say why a normalization gives little: its own scale is small, or what it receives is below its epsilon."""
        if position not in self.starved:
            layer, square = self._nodes[position].layer, self._square_of_scale(position)
            message = f"{layer} has a scale whose root mean square is {format_number(math.sqrt(square))}"
            return Cause("scale", (layer,), message, math.sqrt(square))
        first = self.starving[position]
        layer, given = self._nodes[first].layer, format_number(exponential(self.starved[first].value))
        size = format_number(self._mean(self._nodes[first].parents[0], "activation_variance"))
        message = (
            f"{layer} gives a second moment of {given} where 1 is expected: what it receives has the variance {size}, "
            "and its epsilon is larger"
        )
        sources = self.list_before(first) or [first]
        return Cause("normalization", tuple(self._nodes[each].layer for each in sources), message)

    @cached_property
    def _sizes(self) -> SiteSquares:
        return SiteSquares(self._measurement.table, len(self._nodes))

    def _square_of_scale(self, position: int) -> float:
        """Take the mean square of the scale that a normalization multiplies by; 1 without one."""
        own = [each for each in self._own_weights(position) if each.trainable and self._use_of(each) != "added"]
        return self._norms[own[0].path] / math.prod(own[0].shape) if own else 1.0

    def blame_layer(self, position: int, change: float) -> Cause | None:
        """Find whether the kernel of one layer accounts for what it does more, or less, than others."""
        kernel = self.kernels.get(position)
        if kernel is None or not kernel.forward / change >= _SHARE:
            return None
        return self._blame_kernels([kernel], [kernel.forward], math.copysign(1.0, change))

    def blame_branch(self, path: SignalPath) -> Cause | None:
        """Find the kernels of a branch that are far too large."""
        places = dict.fromkeys([*path.positions, *(each for p in path.positions for each in self._nodes[p].parents)])
        kernels = [self.kernels[each] for each in places if each in self.kernels and path.ends[0] < each < path.ends[1]]
        guilty = [kernel for kernel in kernels if kernel.forward > _GROSSLY_OFF]
        return self._blame_kernels(guilty, [kernel.forward for kernel in guilty], 1.0) if guilty else None

    def find_table(self, position: int) -> int:
        """Find the layer with weights that a signal comes from: itself, or the largest of those above."""
        while not self._nodes[position].weighted and self._nodes[position].parents:
            position = max(self._nodes[position].parents, key=lambda each: self._mean(each, "activation_second_moment"))
        return position

    def explain_large_output(self, position: int) -> Cause | None:
        """Find whether an output is large because a table of embeddings is, and the layers between keep its size."""
        for judged in self._measurement.paths:
            first = judged.levels.positions[0]
            if judged.levels.direction == "forward" and position in judged.levels.positions:
                node, size = self._nodes[first], self._mean(first, "activation_second_moment")
                if node.kind == "Embedding" and size > self._measurement.limits.outlier_factor:
                    root = format_number(math.sqrt(size))
                    message = f"{node.layer} starts at a root mean square of {root}, where about 1 is expected"
                    return Cause("embedding", (node.layer,), message, math.sqrt(size))
        return None

    def explain_silence(self, weights: Sequence[str]) -> Cause | None:
        """Find where the gradient becomes exactly zero on its way to weights that get none, if at an operation."""
        table = self._measurement.table
        if not len(table):
            return None
        known = table.groupby("position")["gradient_norm"].max().astype(float)
        layers = {name.rpartition("/")[0] for name in weights}
        for position in range(len(self._nodes) - 1, -1, -1):
            if known.get(position, math.nan) != 0.0:
                continue
            takers = [each for each in self._children[position] if known.get(each, 0.0) > 0.0]
            zero = [each for each in takers if each in self.kernels and self.kernels[each].square == 0.0]
            # The activation function may be a layer of its own behind the one that gets nothing.
            active = [position, *(each for each in takers if not self._nodes[each].weighted)]
            ends = ("dead_fraction", "saturated_fraction")
            dead = any(self._mean(each, end) > _SHARE for each in active for end in ends)
            if takers and not zero and not dead:
                where = f"between {self._nodes[position].layer} and {self._nodes[takers[0]].layer}"
                message = (
                    f"the gradient becomes exactly zero {where}: what stands there lets none through, such as "
                    "rounding, a sign or a factor of zero"
                )
                return Cause("gradient", tuple(sorted(layers)), message)
        return None

    # --- at one site --------------------------------------------------------------------------------------------------

    def explain_site(self, position: int) -> Cause | None:
        """Find why units of a layer are dead or saturated: its bias, or a kernel that is far too large."""
        gates = self.explain_gates(self._nodes[position].layer)
        if gates is not None:
            return gates
        kernel = self.kernels.get(position)
        if kernel is None:
            parents = self._nodes[position].parents
            return self.explain_site(parents[0]) if len(parents) == 1 and parents[0] in self.kernels else None
        bias = next((each for each in self._own_weights(position) if self._use_of(each) == "added"), None)
        size = self._mean(position, "preactivation_second_moment")
        layer = kernel.facts.layer
        if bias is not None:
            square = self._norms[bias.path] / math.prod(bias.shape)
            if square > _SHARE * size > 0.0:
                share = format_share(min(square / size, 1.0))
                message = (
                    f"{bias.path} ({bias.initializer or 'set by hand'}) has the root mean square "
                    f"{format_number(math.sqrt(square))}: {share} of the square of what "
                    f"{kernel.activation or 'the layer'} receives"
                )
                return Cause("bias", (layer,), message)
        if kernel.square == 0.0:
            return _blame("constant", [kernel])
        if kernel.forward > _GROSSLY_OFF:
            return _blame(self._name_kind(kernel, 1.0), [kernel])
        large = self._mean(position, "input_second_moment") > self._measurement.limits.outlier_factor
        return self.explain_large_output(position) if large else None

    def explain_gates(self, layer: str) -> Cause | None:
        """Find a bias that opens or shuts the gates of a cell, whatever they receive."""
        inside = [each for each in self._measurement.facts if each.path.startswith(f"{layer}/")]
        cells = {each.layer for each in inside if each.gates > 1}
        for facts in inside:
            if facts.layer not in cells or facts.role != "bias" or facts.path not in self._norms:
                continue
            square = self._norms[facts.path] / math.prod(facts.shape)
            if _log(square) > _GROSSLY_OFF:
                message = (
                    f"{facts.path} ({facts.initializer or 'set by hand'}) has the root mean square "
                    f"{format_number(math.sqrt(square))}: it opens or shuts the gates whatever they receive"
                )
                return Cause("bias", (layer,), message)
        return None

    def explain_one_hot(self, position: int) -> Cause | None:
        """Find why the scores of a softmax are large: kernels that are far too large, else a scale that is missing."""
        node = self._nodes[position]
        kernels = [self.kernels[each] for each in self.list_scored(position)]
        guilty = [kernel for kernel in kernels if kernel.forward > _GROSSLY_OFF]
        if guilty:
            return self._blame_kernels(guilty, [kernel.forward for kernel in guilty], 1.0)
        scores = [self._nodes[each] for each in self._list_scores(position)]
        multiplied = any(len(each.parents) > 1 and not each.adds for each in scores)
        if not kernels or not (node.merges_by_softmax or multiplied):
            return None
        names = format_names(list(dict.fromkeys(kernel.facts.layer for kernel in kernels)))
        message = (
            f"no kernel in front of it ({names}) is drawn far too large: its scores are sums of many products that "
            "nothing divides by the root of their number"
        )
        return Cause("attention", (node.softmax_layer,), message)

    def list_scored(self, position: int) -> list[int]:
        """List the sites with the kernels from which the scores of a softmax come."""
        scores = self._list_scores(position)
        above = [each for score in scores for each in ([score] if score in self.kernels else self.list_before(score))]
        return list(dict.fromkeys(above))

    def _list_scores(self, position: int) -> list[int]:
        node = self._nodes[position]
        return [each for each, way in zip(node.parents, node.scale_effects, strict=False) if way == "softmax"]

    def explain_overflow(self, position: int) -> Cause | None:
        """Find why a value is not finite: the kernels up to there that are far too large."""
        above = {position}
        for each in range(position, -1, -1):
            if each in above:
                above.update(self._nodes[each].parents)
        kernels = [self.kernels[each] for each in sorted(above & set(self.kernels))]
        broken = [kernel.facts for kernel in kernels if not math.isfinite(kernel.square)]
        if broken:
            weights = format_names([each.path for each in broken])
            return Cause("loaded", tuple(each.layer for each in broken), f"{weights} itself holds NaN or infinity")
        guilty = [kernel for kernel in kernels if kernel.forward > _GROSSLY_OFF]
        return self._blame_kernels(guilty, [kernel.forward for kernel in guilty], 1.0) if guilty else None

    def _own_weights(self, position: int) -> list[WeightFacts]:
        """List the weights of a site's layer whose sizes are known."""
        layer = self._nodes[position].layer
        return [each for each in self._measurement.facts if each.layer == layer and each.path in self._norms]

    def _use_of(self, facts: WeightFacts) -> WeightUse:
        return self._measurement.uses.get(facts.path, "kernel")

    def _mean(self, position: int, column: str) -> float:
        table = self._measurement.table
        return float(table.loc[table["position"] == position, column].astype(float).mean())


def _blame(kind: str, kernels: Sequence[Kernel]) -> Cause:
    """Make the cause that kernels are, the worst of them in figures."""
    worst = max(kernels, key=lambda each: abs(each.forward) if math.isfinite(each.forward) else math.inf)
    layers = tuple(kernel.facts.layer for kernel in kernels)
    where = "" if len(kernels) == 1 else f"in {_name_some(layers)}, at worst {worst.facts.layer}: "
    factor = math.exp(worst.forward / 2.0) if kind in ("spread", "embedding") else math.nan
    return Cause(kind, layers, f"{where}{_describe(kind, worst)}", factor)


def _describe(kind: str, worst: Kernel) -> str:
    facts = worst.facts
    drawn = facts.initializer or "its initializer"
    if worst.square == 0.0:
        return f"the kernel of {facts.layer} is zero ({drawn})"
    if kind == "constant":
        return f"{drawn} draws no random numbers for the kernel of {facts.layer}"
    if kind == "embedding":
        return f"{drawn}: the table's entries have the root mean square {format_number(worst.square**0.5)}"
    if kind == "fan":
        share = format_number(facts.variance / facts.ideal_variance)
        return f"{drawn} counts {_counted_fan(facts)}: its variance is {share} of what the true number gives"
    return worst.describe_need()


def _counted_fan(facts: WeightFacts) -> str:
    if facts.mode == "fan_out":
        return f"{facts.assumed_fan_out:g} outputs where there are {facts.true_fan_out:g}"
    if facts.mode == "fan_avg" and facts.assumed_fan_in == facts.true_fan_in:
        return f"{facts.assumed_fan_out:g} outputs where there are {facts.true_fan_out:g}"
    return f"{facts.assumed_fan_in:g} inputs where there are {facts.true_fan_in:g}"


def _name_some(layers: Sequence[str]) -> str:
    return layers[0] if len(layers) == 1 else f"{len(layers)} layers"


def _log(value: float) -> float:
    return math.log(value) if value > 0.0 else (-math.inf if value == 0.0 else math.nan)
