"""Rules about layers over time: how fast their gradient falls, or grows, with each step back."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from initcheck.audit.findings import Cause, Finding, Measured, ModelMeasurement, Rule, example
from initcheck.core.formatting import count, exponential, format_interval, format_number

if TYPE_CHECKING:
    from initcheck.audit.memory import Memory

_QUANTITY: Final = "change of the squared gradient a step back"
_MUCH_LONGER: Final = 10.0
"""A sequence this many times as long as the steps to a hundredth is worth a note.

The gradient at its first input is then 1e-10 of that at the last one: in float32 it is lost where both are added up.
"""


def _find_vanishing(measurement: ModelMeasurement) -> Iterator[Finding]:
    """Make a finding of each layer that forgets at once, and one note of all whose sequences are much too long."""
    limit = -math.log(measurement.limits.time_factor)
    short = []
    for memory in _judge(measurement):
        if memory.horizon >= memory.steps or memory.rate.value > 0.0:
            continue
        if _is_beyond(memory, limit, -1.0):
            message = f"{memory.name} forgets its inputs at once: {_describe_fall(memory)}"
            cause = _find_cause(measurement, memory)
            yield Finding("IC204", memory.layer, message, _measure(memory, limit), (memory.layer,), cause=cause)
        elif memory.steps > _MUCH_LONGER * memory.horizon:
            short.append(memory)
    if short:
        worst = max(short, key=lambda memory: memory.steps / memory.horizon)
        layers = tuple(dict.fromkeys(memory.layer for memory in short))
        verb = "does" if len(layers) == 2 else "do"
        others = f"; {count(len(layers) - 1, 'more layer')} over time {verb} so too" if len(layers) > 1 else ""
        message = f"{worst.name} remembers a small part of its sequence: {_describe_fall(worst)}{others}"
        cause = _find_cause(measurement, worst)
        cause = cause if cause is not None and cause.kind == "spread" else None  # a slope that slows is no fault
        yield Finding("IC204", worst.layer, message, _measure(worst, limit), layers, note=True, cause=cause)


def _find_exploding(measurement: ModelMeasurement) -> Iterator[Finding]:
    for memory in _judge(measurement):
        limit = measurement.limits.total_log(memory.steps) / memory.steps
        if not (memory.rate.value > limit):
            continue
        message = (
            f"the gradient of the last output of {memory.name} grows with each step back: its square "
            f"{_format_rate(memory)}-fold, a hundredfold in {format_number(memory.horizon)} of {memory.steps} steps"
        )
        found = Finding("IC205", memory.layer, message, _measure(memory, limit), (memory.layer,))
        found = replace(found, cause=_find_cause(measurement, memory))
        # A growth that the draws do not show to be beyond the limit is no fault that is proven.
        yield found if _is_beyond(memory, limit, 1.0) else replace(found, note=True)


def _judge(measurement: ModelMeasurement) -> list[Memory]:
    if not measurement.over_time:
        return []
    from initcheck.audit.memory import judge_memories

    return list(judge_memories(measurement.over_time))


def _is_beyond(memory: Memory, limit: float, sign: float) -> bool:
    """Find whether the whole interval of the rate is beyond a limit; of one draw, whether its value is."""
    rate = memory.rate
    nearest = rate.value if rate.count == 1 else rate.low if sign > 0.0 else rate.high
    return sign * nearest > sign * limit


def _measure(memory: Memory, limit: float) -> Measured:
    rate = memory.rate
    value, low, high = (exponential(each) for each in (rate.value, rate.low, rate.high))
    return Measured(_QUANTITY, value, low, high, exponential(limit), rate.count)


def _format_rate(memory: Memory) -> str:
    value, low, high = (exponential(each) for each in (memory.rate.value, memory.rate.low, memory.rate.high))
    return f"{format_number(value)} {format_interval(low, high)}".rstrip()


def _describe_fall(memory: Memory) -> str:
    if memory.zero_from == 1:
        return "the gradient of its last output with respect to every input but the last is exactly 0"
    zero = "" if memory.zero_from is None else f"; it is exactly 0 from {memory.zero_from} steps back on"
    return (
        "the squared gradient of its last output with respect to an input falls to "
        f"{_format_rate(memory)} of itself with each step back, to a hundredth in {format_number(memory.horizon)} "
        f"of {memory.steps} steps{zero}"
    )


def _find_cause(measurement: ModelMeasurement, memory: Memory) -> Cause | None:
    """Find what a recurrent kernel does to the state, and whether that or the activation function is the cause.

    A kernel of n x n entries multiplies the squared norm of a state of no special direction by its own, over n; so does
    that of each gate, whose kernels lie side by side.
    """
    from initcheck.audit.causes import CauseFinder

    gates = CauseFinder(measurement).explain_gates(memory.layer)
    if gates is not None:
        return gates
    kernels = [
        fact
        for fact in measurement.facts
        if fact.role == "recurrent kernel" and fact.layer.startswith(f"{memory.layer}/")
    ]
    if len(kernels) != 1 or len(kernels[0].shape) != 2 or kernels[0].shape[1] != kernels[0].gates * kernels[0].shape[0]:
        return None
    (kernel,), units = kernels, kernels[0].shape[0]
    norms = measurement.gradients.loc[measurement.gradients["weight"] == kernel.path, "weight_norm"]
    square = float((norms.astype(float) ** 2).mean()) / (units * kernel.gates)
    deviation = f"standard deviation {format_number(math.sqrt(square / units))} over {units} units"
    drawn = f"{kernel.initializer}, {deviation}" if kernel.initializer else deviation
    what = (
        f"{kernel.path} ({drawn}) multiplies the state by {format_number(math.sqrt(square))} a step, the root mean "
        "square of its singular values, where 1 keeps its size"
    )
    off = math.log(square) if square > 0.0 else -math.inf
    if kernel.gates > 1:
        # Gates add a factor of their own, and an orthogonal kernel shares the size 1 among them: the kernel is the
        # cause only where it is grossly off, in the direction of the change.
        grossly = math.copysign(1.0, memory.rate.value) * (off + math.log(kernel.gates)) > math.log(4.0)
        return Cause("spread", (kernel.path,), what) if grossly else None
    if square == 0.0 or off / memory.rate.value >= 0.5:
        return Cause("spread", (kernel.path,), what)
    if memory.rate.value > 0.0:
        return None
    slope = format_number(math.exp(memory.rate.value) / square)
    rest = f"{what}, so that the slope of the activation function makes the rest: {slope} a step in squares"
    return Cause("saturation", (memory.layer,), rest)


# --- the rules --------------------------------------------------------------------------------------------------------


def _recurrent_example(initializer: str, activation: str) -> str:
    return example(
        f"""
rnn = keras.layers.SimpleRNN(32, "{activation}", recurrent_initializer={initializer})
model = keras.Sequential([keras.Input((40, 8)), rnn, keras.layers.Dense(2)])
"""
    )


VANISHING_OVER_TIME = Rule(
    code="IC204",
    name="vanishing-over-time",
    what=(
        "A layer over time forgets at once: the squared gradient of its last output with respect to its inputs falls "
        "to less than a fifth with each step back, and so to a hundredth within three steps; the 95% interval over "
        "seeds lies wholly below. A slower fall, which gates of sound initializations have as well, is a note where "
        "the sequence is more than ten times as long as the steps in which it falls to a hundredth."
    ),
    why="What lies further back has no part in the gradient: what depends on it is not learned.",
    example=_recurrent_example("keras.initializers.RandomNormal(stddev=0.05)", "tanh"),
    fix=(
        "Use an orthogonal recurrent kernel, an LSTM with a forget bias of 1, or a GRU; scale inputs that saturate the "
        "activation function; for long memory use attention, or shorter sequences."
    ),
    source="Bengio, Simard and Frasconi 1994; Jozefowicz et al. 2015 (forget bias)",
    find=_find_vanishing,
    limits=("time_factor", "total_factor"),
    directions=("backward",),
)

EXPLODING_OVER_TIME = Rule(
    code="IC205",
    name="exploding-over-time",
    what=(
        "The squared gradient of a layer over time's last output grows with each step back: over the whole sequence "
        "beyond 100-fold, or beyond 1.05 a step if that is more; the 95% interval over seeds lies wholly above. A "
        "growth whose interval holds the limit is a note."
    ),
    why="The first inputs decide the size of the gradient; a learning rate that suits them suits no other.",
    example=_recurrent_example("keras.initializers.RandomNormal(stddev=0.35)", "linear"),
    fix="Use an orthogonal recurrent kernel (of norm 1 in every direction), tanh instead of linear, or clip gradients.",
    source="Pascanu, Mikolov and Bengio 2013",
    find=_find_exploding,
    limits=("total_factor", "layer_margin"),
    directions=("backward",),
)
