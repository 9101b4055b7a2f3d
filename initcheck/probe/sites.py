"""What is known of each measured site before any number is."""

from __future__ import annotations

import math
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from initcheck.backend.runtime import import_keras
from initcheck.probe.capture import Site
from initcheck.probe.layer_kinds import count_fans
from initcheck.probe.paths import child_operations, own_variables


@dataclass(frozen=True)
class SiteInfo:
    """What is known of a site before anything runs: the columns of schema.SITE_COLUMNS, and sizes.

    Attributes:
        weights: entries of the kernel; NaN without one.
        batched: whether the first axis of the output is the batch, of two or more samples.
        weighted: whether the layer multiplies by a weight of two or more axes, of its own or in a layer inside that
            is not captured by itself.
    """

    layer: str
    call: int
    position: int
    kind: str
    units: int | None
    fan_in: float
    fan_out: float
    elements: float
    weights: float
    batched: bool
    weighted: bool


def feature_axis(operation: Any) -> int:
    """Return the axis of a layer's output that holds its units."""
    return 1 if getattr(operation, "data_format", None) == "channels_first" else -1


def describe_site(site: Site, position: int, kernel: Any, batch_size: int, weighted: bool) -> SiteInfo:
    """Describe a site by its traced tensors."""
    shape = tuple(site.output.shape)
    target = site.output if site.preactivation is None else site.preactivation
    elements = target.shape.num_elements()
    fan_in, fan_out = count_fans(site.operation, kernel)
    return SiteInfo(
        layer=site.layer,
        call=site.call,
        position=position,
        kind=site.kind,
        units=(1 if len(shape) < 2 else shape[feature_axis(site.operation)]),
        fan_in=fan_in,
        fan_out=fan_out,
        elements=math.nan if elements is None or not shape or not shape[0] else elements / shape[0],
        weights=math.nan if kernel is None else float(math.prod(kernel.shape)),
        batched=bool(shape) and shape[0] == batch_size and batch_size > 1,
        weighted=weighted,
    )


Operations = Mapping[str, tuple[str, ...]]
"""By name and in order of execution, the operations whose values each operation takes."""


def find_parents(
    operations: Operations, sites: Sequence[str], end: str
) -> tuple[tuple[tuple[int, ...], ...], tuple[int, ...]]:
    """Find for each site, and for the end, the sites that feed it without passing another one."""
    number = {name: position for position, name in enumerate(sites)}
    above: dict[str, frozenset[int]] = {}
    nothing: frozenset[int] = frozenset()
    for name, sources in operations.items():
        fed = {frozenset((number[source],)) if source in number else above[source] for source in sources}
        # The same set is kept, not a copy: most operations have one source that matters.
        above[name] = next(iter(fed)) if len(fed) == 1 else nothing.union(*fed)
    last = {number[end]} if end in number else above[end]
    return tuple(tuple(sorted(above[name])) for name in sites), tuple(sorted(last))


ELEMENTWISE_NAMES: Final = frozenset({"bias", "gamma", "beta"})
"""Weights that are added to a signal, or scale it element by element, whatever their number of axes."""

ELEMENTWISE_LAYERS: Final = (
    "BatchNormalization",
    "GroupNormalization",
    "LayerNormalization",
    "PReLU",
    "RMSNormalization",
)
"""Layers of Keras that have no other weights."""


def is_weighted(operation: Any, captured: Container[int], read: Container[int]) -> bool:
    """Return whether a site's layer multiplies by a weight of two or more axes.

    The weight may belong to a layer inside that is not captured by itself: the cell of a recurrent layer, the layer
    in TimeDistributed. A frozen weight counts: the signal passes it like any other. State that the layer declares as
    not trainable does not count.
    """
    for variable in getattr(operation, "_trainable_variables", ()):
        if len(variable.shape) >= 2 and id(variable) in read and not _is_elementwise(operation, variable):
            return True
    return any(is_weighted(child, captured, read) for child in child_operations(operation) if id(child) not in captured)


def reads_weights(operation: Any, read: Container[int]) -> bool:
    """Return whether the forward pass has read a weight that the layer holds itself."""
    return any(id(variable) in read for variable in own_variables(operation))


def _is_elementwise(operation: Any, variable: Any) -> bool:
    if variable.name in ELEMENTWISE_NAMES:
        return True
    layers = import_keras().layers
    return isinstance(operation, tuple(getattr(layers, name) for name in ELEMENTWISE_LAYERS if hasattr(layers, name)))


def make_recording_scope(state: Any) -> Any:
    """Make a scope in which variables have other values, and which notes what is read of them."""
    return _recording_scope_class()(state, initialize_variables=False)


@cache
def _recording_scope_class() -> Any:
    scope: Any = import_keras().StatelessScope

    class RecordingScope(scope):  # type: ignore[misc]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.read: set[int] = set()

        def get_current_value(self, variable: Any) -> Any:
            self.read.add(id(variable))
            return super().get_current_value(variable)

    return RecordingScope
