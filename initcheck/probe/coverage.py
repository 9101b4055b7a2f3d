"""What of a model was measured, and what was not: every layer and every weight is in one of the two lists."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from initcheck.backend.runtime import import_keras, is_float_dtype
from initcheck.probe.capture import NO_OUTPUT, NOT_FLOATING, Unmeasured, reads_weights
from initcheck.probe.draw import LOADED, QUANTIZED, UNKNOWN_INITIALIZER, RedrawPlan
from initcheck.probe.paths import PathNamer

NEVER_CALLED: Final = "it is not called in a forward pass with training=True, and its weights are not used"
UNUSED_PART: Final = "it has no weights, and is not called in a forward pass with training=True"
USED_WITHOUT_CALL: Final = "its weights are used without calling it, so that it has no output of its own"
UNTRACKED: Final = (
    "it is used, and is none of the model's weights: Keras does not find what is kept in a plain Python object, so it "
    "was not drawn, and fit would not train it; keep it in an attribute, a list or a dict of a layer"
)
FUSED: Final = "the layer around it computes its steps without calling it"
EACH_STEP: Final = "the layer around it makes its steps without calling it, and returns the sequence of them all"
NOT_FOLLOWED: Final = "it is a layer over time that was not followed from step to step"

NOTHING_TO_MEASURE: Final = "integers, of which nothing is to be measured"
NO_PART: Final = "takes no part in the outputs"


@dataclass(frozen=True)
class CapturedCalls:
    """What the capture of one forward pass has seen; ``followed`` holds the layers over time that were followed."""

    sites: tuple[str, ...]
    captured: Collection[int]
    unmeasured: tuple[Unmeasured, ...]
    read: Collection[int]
    untracked: Sequence[Any]
    followed: Collection[int] | None = None


@dataclass(frozen=True)
class Gap:
    """A layer, a call or a weight that was not measured; ``covered_by`` says what was in its place, if anything."""

    path: str
    kind: str
    reason: str
    covered_by: str = ""


@dataclass(frozen=True)
class Coverage:
    """How much of a model was measured.

    Attributes:
        measured: names of the layers and operations that were measured: by a site of their own, or, where they only
            pass on what the layers inside them return, by the sites of those.
    """

    calls: int
    layers: int
    weights: int
    gaps: tuple[Gap, ...]
    measured: tuple[str, ...] = ()
    drawn: tuple[str, ...] = ()

    @property
    def open_gaps(self) -> tuple[Gap, ...]:
        """The gaps in whose place nothing else was measured."""
        return tuple(gap for gap in self.gaps if not gap.covered_by)


def count_coverage(namer: PathNamer, calls: CapturedCalls, plan: RedrawPlan, *, redrawn: bool = True) -> Coverage:
    """Compare what was measured with what the model holds."""
    keras = import_keras()
    gaps = [_explain_call(each) for each in calls.unmeasured]
    members = [(namer.name_of(member), member) for path, member in namer.members() if path]
    listed = {gap.path for gap in gaps}
    sites = {layer.partition(":")[0] for layer in calls.sites}
    # A captured layer without a site either passes on what the layers inside it return, or is listed above.
    captured = [path for path, member in members if id(member) in calls.captured]
    measured = [path for path in captured if path in sites or path not in listed]
    gaps += _explain_layers(members, calls, {*captured, *listed})
    gaps += _explain_time(members, calls, {gap.path for gap in gaps if not gap.covered_by})
    gaps += _explain_weights(plan, redrawn)
    gaps += _explain_untracked(namer, calls.untracked)
    return Coverage(
        calls=len(calls.sites),
        layers=sum(isinstance(member, keras.layers.Layer) for _, member in members),
        weights=len(plan.variables),
        gaps=tuple(dict.fromkeys(gaps)),
        measured=tuple(measured),
        drawn=tuple(name for name, planned in zip(plan.names, plan.variables, strict=True) if planned.reason is None),
    )


def _explain_call(call: Unmeasured) -> Gap:
    harmless = NOTHING_TO_MEASURE if call.reason == NOT_FLOATING else NO_PART if call.reason == NO_OUTPUT else ""
    return Gap(call.layer, call.kind, call.reason, call.covered_by or harmless)


def _explain_layers(members: list[tuple[str, Any]], calls: CapturedCalls, known: Collection[str]) -> Iterator[Gap]:
    """Find the layers of which no call was seen."""
    layers = import_keras().layers
    measured = {path: member for path, member in members if id(member) in calls.captured}
    for path, member in members:
        if path in known:
            continue
        kind = type(member).__name__
        if isinstance(member, layers.InputLayer):
            if not is_float_dtype(member.dtype):
                yield Gap(path, kind, NOT_FLOATING, NOTHING_TO_MEASURE)
            continue
        around = path.rpartition("/")[0]
        if isinstance(measured.get(around), layers.TimeDistributed):
            yield Gap(path, kind, EACH_STEP, around)
        elif not getattr(member, "weights", ()):
            yield Gap(path, kind, UNUSED_PART, NO_PART)
        elif not any(reads_weights(each, calls.read) for each in _layers_of(member)):
            yield Gap(path, kind, NEVER_CALLED)
        elif isinstance(measured.get(around), layers.RNN):
            yield Gap(path, kind, FUSED, around)
        else:
            yield Gap(path, kind, USED_WITHOUT_CALL)


def _explain_time(members: list[tuple[str, Any]], calls: CapturedCalls, known: Collection[str]) -> Iterator[Gap]:
    """Find the layers over time whose weights take part and of which no call was followed from step to step."""
    if calls.followed is None:
        return
    for path, member in members:
        if not isinstance(member, import_keras().layers.RNN) or id(member) in calls.followed or path in known:
            continue
        if any(reads_weights(each, calls.read) for each in _layers_of(member)):
            yield Gap(path, type(member).__name__, NOT_FOLLOWED)


def _explain_weights(plan: RedrawPlan, redrawn: bool) -> Iterator[Gap]:
    for name, planned in zip(plan.names, plan.variables, strict=True):
        if planned.reason in (QUANTIZED, UNKNOWN_INITIALIZER):
            if redrawn:
                yield Gap(name, "weight", planned.reason)
        elif planned.reason not in (None, LOADED):  # a loaded weight is measured as it is
            yield Gap(name, "weight", planned.reason, NOTHING_TO_MEASURE)


def _explain_untracked(namer: PathNamer, variables: Sequence[Any]) -> Iterator[Gap]:
    """List the variables that the forward pass read, and that the model does not list."""
    names = namer.variable_names()
    for variable in variables:
        if is_float_dtype(variable.dtype):
            yield Gap(names.get(id(variable), f"untracked/{variable.name}"), "weight", UNTRACKED)


def _layers_of(layer: Any) -> list[Any]:
    return list(layer._flatten_layers())
