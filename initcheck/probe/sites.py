"""What is known of each measured site before any number is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from initcheck.probe.capture import Site
from initcheck.probe.fans import count_fans


@dataclass(frozen=True)
class SiteInfo:
    """What is known of a site before anything runs: the columns of schema.SITE_COLUMNS, and sizes.

    Attributes:
        elements: entries of one sample's output.
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
    """Tell which axis of a layer's output holds its units."""
    return 1 if getattr(operation, "data_format", None) == "channels_first" else -1


def describe_site(site: Site, position: int, kernel: Any, batch_size: int, weighted: bool) -> SiteInfo:
    """Collect what a site's tensors say of themselves when traced."""
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
