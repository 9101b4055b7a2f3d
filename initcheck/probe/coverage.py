"""What of a model was measured, and what was not: every layer and every weight is in one of the two lists."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final

from initcheck.keras_runtime import import_keras
from initcheck.probe.capture import INSIDE_LOOP, NOT_FLOATING, Unmeasured
from initcheck.probe.paths import PathNamer
from initcheck.probe.redraw import UNKNOWN_INITIALIZER, RedrawPlan

NEVER_CALLED: Final = "it is not called in a forward pass with training=True"
NO_GRADIENT: Final = "integers, of which nothing is to be measured"


@dataclass(frozen=True)
class Gap:
    """A layer, a layer call or a weight without a measurement of its own.

    Attributes:
        path: of the layer or weight.
        kind: class of the layer, or ``weight``.
        reason: why.
        covered_by: what stands for it: the path of the layer around it, or words; empty where nothing does.
    """

    path: str
    kind: str
    reason: str
    covered_by: str = ""


@dataclass(frozen=True)
class Coverage:
    """How much of a model was measured.

    Attributes:
        calls: measured layer calls.
        layers: layers of the model, those inside others included.
        weights: weights of the model.
        gaps: what has no measurement of its own.
    """

    calls: int
    layers: int
    weights: int
    gaps: tuple[Gap, ...]


def count_coverage(
    namer: PathNamer,
    measured: Sequence[str],
    captured: Collection[int],
    unmeasured: Sequence[Unmeasured],
    plan: RedrawPlan,
) -> Coverage:
    """Compare what was measured with what the model holds.

    A layer inside a recurrent layer (its cell) runs in a loop of the graph; its steps are told through the outputs of
    the layer around it, which is measured.

    Args:
        namer: the model's paths.
        measured: paths of the measured sites, one a call, without the model's inputs.
        captured: ``id`` of each layer of which a call was captured, by itself or by the layers inside it.
        unmeasured: calls that could not be measured.
        plan: how the weights are drawn.
    """
    keras = import_keras()
    paths = {path.partition(":")[0] for path in measured}
    gaps = [_explain(each, paths) for each in unmeasured]
    named = {gap.path for gap in gaps}
    layers = [(path, layer) for path, layer in namer.members() if path and isinstance(layer, keras.layers.Layer)]
    for path, layer in layers:
        called = path in paths or id(layer) in captured or any(each.startswith(f"{path}/") for each in paths)
        if called or path in named or isinstance(layer, keras.layers.InputLayer):
            continue
        around = _measured_around(path, paths)
        gaps.append(Gap(path, type(layer).__name__, NEVER_CALLED, around if _is_cell(layer) else ""))
    for planned in plan.variables:
        if planned.reason is not None:
            harmless = "" if planned.reason == UNKNOWN_INITIALIZER else NO_GRADIENT
            gaps.append(Gap(planned.path, "weight", planned.reason, harmless))
    return Coverage(len(measured), len(layers), len(plan.variables), tuple(dict.fromkeys(gaps)))


def _explain(call: Unmeasured, measured: Collection[str]) -> Gap:
    around = _measured_around(call.layer, measured) if call.reason == INSIDE_LOOP else ""
    if call.reason == NOT_FLOATING:
        around = NO_GRADIENT
    return Gap(call.layer, call.kind, call.reason, around)


def _measured_around(path: str, measured: Collection[str]) -> str:
    """Find the innermost layer around a path that is measured."""
    while "/" in path:
        path = path.rpartition("/")[0]
        if path in measured:
            return path
    return ""


def _is_cell(layer: Any) -> bool:
    """Tell whether a recurrent layer may run this layer's mathematics without calling it (fused kernels do)."""
    return hasattr(layer, "state_size")
