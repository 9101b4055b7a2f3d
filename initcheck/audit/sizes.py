"""Absolute sizes: what the first layers with weights receive of an input, and how large the outputs are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from initcheck.audit.findings import GivenInput, ModelMeasurement
from initcheck.audit.paths import NORMALIZING_KINDS, SiteNode
from initcheck.audit.site_estimates import SiteTable, estimate_geometric
from initcheck.core.statistics import Estimate

_SQUASHING_KINDS: Final = frozenset({"Softmax", "LogSoftmax", "Sigmoid", "LogSigmoid", "HardSigmoid", "Tanh"})
"""Layers and operations whose outputs say little of how large what they receive is."""

_LOOKING_UP_KINDS: Final = frozenset({"Embedding", "ReversibleEmbedding"})
"""Layers whose inputs are indices, which have no scale."""

_SAME: Final = 1e-4
"""Two sizes that differ by less than this share are the same, up to rounding."""


@dataclass(frozen=True)
class Unscaled:
    """An input that is off-scale where a layer with weights receives it.

    Attributes:
        receiver: path of that layer.
        identity: path of a Normalization on the way that changes nothing; empty without one.
    """

    given: GivenInput
    receiver: str
    identity: str


def find_unscaled(measurement: ModelMeasurement) -> list[Unscaled]:
    """Find the inputs that are off-scale, and are so still where the first layer with weights receives them."""
    if not measurement.given:
        return []
    sites = SiteTable(measurement.table, measurement.nodes)
    # An input of indices has no gradient, even where it is declared as floats; nor has any behind values like inf.
    is_finite = not (sites["nonfinite_fraction"] > 0.0).any()
    gradient = sites["gradient_second_moment"]
    found = []
    for given in measurement.given:
        if is_finite and np.isnan(gradient[:, given.position]).all():
            continue
        for source, receiver in _follow(measurement.nodes, given.position):
            if _is_off_scale(sites, source, receiver, measurement.limits.input_size):
                identity = _find_identity(sites, given.position, source)
                found.append(Unscaled(given, measurement.nodes[receiver].layer, identity))
                break
    return found


def _follow(nodes: Sequence[SiteNode], start: int) -> Iterator[tuple[int, int]]:
    """Go from an input to the first layers with weights, but not through a normalization: each with its source.

    A sum of the input and of what layers with weights have made of it is the signal of a residual network, whose size
    is no longer the input's.
    """
    reached, made_of_it = {start}, {start}
    for position, node in enumerate(nodes):
        parents = made_of_it.intersection(node.parents)
        if not parents:
            continue
        made_of_it.add(position)
        for source in reached & parents:
            if node.weighted and node.kind not in _LOOKING_UP_KINDS:
                yield source, position
        if node.weighted or node.kind in NORMALIZING_KINDS:
            continue
        if parents <= reached or (reached & parents and not node.adds):
            reached.add(position)


def _is_off_scale(sites: SiteTable, source: int, receiver: int, limit: float) -> bool:
    square = _typical(sites["activation_second_moment"][:, source])
    largest = _typical(sites["activation_max_abs"][:, source]) ** 2
    # What the kernel receives, by the size of its sums: a division inside a layer's call is no site of its own.
    with np.errstate(divide="ignore", invalid="ignore"):
        entries = sites["weight_variance"][:, receiver] + sites["weight_mean"][:, receiver] ** 2
        gain = sites["fan_in"][:, receiver] * entries
        received = _typical(sites["preactivation_second_moment"][:, receiver] / gain)
    if not (square <= limit):
        return not (received <= limit)
    return 0.0 < largest < 1.0 / limit and not (received >= 1.0 / limit)


def _typical(values: NDArray[np.float64]) -> float:
    return float(np.median(values))


def _find_identity(sites: SiteTable, start: int, end: int) -> str:
    """Find a Normalization that passes on what it receives: then its mean is 0 and its variance 1."""
    mean, square = sites["activation_mean"], sites["activation_second_moment"]
    for position, node in enumerate(sites.nodes):
        if not (node.kind == "Normalization" and len(node.parents) == 1 and start < position <= end):
            continue
        parent = node.parents[0]
        same = all(np.allclose(each[:, position], each[:, parent], rtol=_SAME, atol=0.0) for each in (mean, square))
        if same:
            return node.layer
    return ""


# --- outputs ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class OutputSize:
    """How large one output is.

    Attributes:
        subject: in words what was measured: the outputs, or what their activation function receives.
        variance: of it; of outputs without an activation function across the samples, so that a bias does not count.
        size: second moment of it.
        certainty: how far its softmax is from even (0) to one-hot (1), in the mean; NaN without one.
    """

    position: int
    layer: str
    subject: str
    variance: Estimate
    size: float
    certainty: float


def measure_outputs(measurement: ModelMeasurement) -> list[OutputSize]:
    """Measure all outputs of a model that have a value in every draw."""
    sites = SiteTable(measurement.table, measurement.nodes)
    certainties = sites["softmax_certainty"]
    found = []
    for position, node in enumerate(measurement.nodes):
        if not node.feeds_output or node.kind == "Input":
            continue
        values, size, subject = _output_variance(sites, position)
        if np.isfinite(values).all():
            estimate = estimate_geometric(values)
            certainty = float(certainties[:, position].mean())
            subject = f"the {subject} of {node.layer}"
            found.append(OutputSize(position, node.layer, subject, estimate, estimate_geometric(size).value, certainty))
    return found


_Size = tuple[NDArray[np.float64], NDArray[np.float64], str]
"""Variance and second moment by seed, and what they are of."""


def _output_variance(sites: SiteTable, position: int) -> _Size:
    nodes, squashed = sites.nodes, ""
    while nodes[position].kind in _SQUASHING_KINDS and len(nodes[position].parents) == 1:
        position, squashed = nodes[position].parents[0], "pre-activations"
    variance, size, subject = _own_variance(sites, position)
    # A rescaling behind the last weights (to pixels, to prices) is meant; their own sums have to be too large too.
    last = position
    while not nodes[last].weighted and len(nodes[last].parents) == 1 and nodes[last].kind not in NORMALIZING_KINDS:
        last = nodes[last].parents[0]
    if last != position and nodes[last].weighted:
        variance = np.minimum(variance, _own_variance(sites, last)[0])
    return variance, size, squashed or subject


def _own_variance(sites: SiteTable, position: int) -> _Size:
    before, after = (sites[f"{name}_second_moment"][:, position] for name in ("preactivation", "activation"))
    if np.isnan(before).any() or np.allclose(before, after, rtol=_SAME, atol=0.0):
        across = sites["activation_batch_variance"][:, position]
        return np.where(np.isnan(across), sites["activation_variance"][:, position], across), after, "outputs"
    return sites["preactivation_variance"][:, position], before, "pre-activations"
