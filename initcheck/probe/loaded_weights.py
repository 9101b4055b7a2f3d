"""Weights whose values their initializers cannot have drawn: they were loaded, trained, or set after they were made.

The tests of one model raise a false alarm with a probability of at most 1e-6 together. Uniform and truncated normal
entries lie within known bounds. Beyond that, Chernoff's inequality bounds how far the mean and the mean square of
independent normal entries fall from those expected. It holds for uniform and truncated ones too: their sums are
sub-Gaussian with the same variance (Arbel, Marchal and Nguyen 2020, *On strict sub-Gaussianity*), and their squares
vary less, in the convex order, than those of a normal variable of that variance.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from initcheck.backend.interface import backend
from initcheck.backend.keras_private import compute_fans
from initcheck.backend.random_state import preserved_random_state
from initcheck.backend.runtime import import_keras, is_float_dtype
from initcheck.core.errors import TheoryError
from initcheck.models.initializers import (
    AXES,
    INITIALIZERS,
    TRUNCATED_VARIANCE,
    Drawn,
    KernelCall,
    KnownInitializer,
    is_of_keras,
)
from initcheck.probe.draw import PlannedVariable, RedrawPlan, find_called_initializer
from initcheck.probe.paths import PathNamer, own_variables

LEVEL: Final = 1e-6
"""Probability of a false alarm in a whole model."""

_TESTS: Final = 5
"""Tests of each weight: the largest entry, both sides of the mean, both sides of the mean square."""

_GRAIN: Final = {"float64": 2.0**-52, "float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}
"""Distance of neighbouring numbers around 1."""

_SMALLEST: Final = {"float64": 2.0**-1022, "float32": 2.0**-126, "float16": 2.0**-18, "bfloat16": 2.0**-126}
"""Standard deviations from which on entries are not rounded to a few values."""

_CLOSE: Final = 1e-4
"""Relative distance of values that were computed in another order."""

_BLOCK: Final = 2**18
"""Entries of a weight that are looked at together."""

Values = NDArray[Any]


@dataclass(frozen=True)
class PresentWeights:
    """What the weights of a model hold before any draw.

    Attributes:
        loaded: paths of the weights that their initializers cannot have drawn.
        declared: those among them that their layers declare as trainable: no moving statistics.
        not_finite: paths of the weights that hold NaN or infinity.
    """

    loaded: tuple[str, ...]
    declared: tuple[str, ...]
    not_finite: tuple[str, ...]


def read_present_weights(model: Any, initializers: Mapping[str, Any]) -> PresentWeights:
    """Compare the values of all weights with what their initializers can draw; nothing is changed."""
    plan = RedrawPlan(model, initializers)
    known = [planned for planned in plan.variables if planned.initializer is not None]
    drawn_by = {planned.path: planned for planned in known}
    not_finite = [
        planned.path
        for planned in plan.variables
        if is_float_dtype(planned.variable.dtype) and not _is_finite(_read(planned.variable))
    ]
    with preserved_random_state():
        found = {each.path for each in known if not _may_have_drawn(each, plan, LEVEL / max(1, len(known)))}
        paths = {id(planned.variable): planned.path for planned in plan.variables}
        declared: set[str] = set()
        for _, layer in PathNamer(model).members():
            trainable = {paths[id(each)] for each in getattr(layer, "_trainable_variables", ()) if id(each) in paths}
            declared |= trainable
            if trainable & found:
                # Training moves a few entries too little to show: here its own initializer says what it has drawn.
                others = [each for each in own_variables(layer) if paths.get(id(each)) in drawn_by]
                found |= {paths[id(each)] for each in others if _differs_from_own_draw(layer, each)}
    loaded = tuple(path for path in plan.paths if path in found)
    return PresentWeights(loaded, tuple(path for path in loaded if path in declared), tuple(not_finite))


def _differs_from_own_draw(layer: Any, variable: Any) -> bool:
    """Return whether a weight is shown to be another than what the layer's own initializer draws each time."""
    initializer = find_called_initializer(layer, variable)
    if not isinstance(getattr(initializer, "seed", None), int) or not is_of_keras(initializer):
        return False
    return not _is_close(_read(variable), _call(initializer, variable))


def _may_have_drawn(planned: PlannedVariable, plan: RedrawPlan, level: float) -> bool:
    """Return whether the initializer of a weight can have drawn its values; True where that is not known."""
    values = _read(planned.variable)
    if not values.size:
        return True
    row = INITIALIZERS.get(type(planned.initializer).__name__) if is_of_keras(planned.initializer) else None
    if row is not None and row.draw is None:
        return _is_close(values, _call(planned.initializer, planned.variable))
    finite = _is_finite(values)
    if row is None or not finite:
        first, second = (_draw(plan, planned.path, seed) for seed in (0, 1))
        if np.array_equal(first, second, equal_nan=True):
            return _is_close(values, first)
        if not finite:
            return not _is_finite(first)
        return not _is_constant(values, planned.variable.dtype, level) or _is_constant(first, "float64", level)
    if row.class_name == "Orthogonal":
        return _is_orthogonal(values, float(planned.initializer.gain), str(planned.variable.dtype))  # type: ignore[union-attr]
    drawn = _distribution(planned.initializer, row, values.shape)
    return drawn is None or _fits(values, drawn, str(planned.variable.dtype), level)


def _distribution(initializer: Any, row: KnownInitializer, shape: tuple[int, ...]) -> Drawn | None:
    """Describe what a shipped initializer draws; None where its arguments are not understood."""
    settings = {name: getattr(initializer, name) for name in (*row.arguments, *row.fixed)}
    axes = {name: getattr(initializer, name, None) for name in AXES}
    fan_in, fan_out = compute_fans(shape, **({} if None in axes.values() else axes))
    numbers = {name: value if isinstance(value, str) else float(value) for name, value in settings.items()}
    assert row.draw is not None
    try:
        # Keras divides by max(1, fan), which is the fan: no axis here has the length 0.
        return row.draw(KernelCall(row.class_name, numbers, shape, (int(fan_in), int(fan_out))))
    except TheoryError:
        return None


def _fits(values: Values, drawn: Drawn, dtype: str, level: float) -> bool:
    """Test whether entries were drawn independently from a known distribution."""
    deviation, grain = math.sqrt(drawn.variance), _GRAIN.get(dtype, 2.0**-7)
    if not _SMALLEST.get(dtype, 1e-3) < deviation < math.inf:
        return deviation != 0.0 or bool(np.all(values == values.dtype.type(drawn.mean)))
    if _is_constant(values, dtype, level):
        return False
    level /= _TESTS
    slack = grain * (4.0 + abs(drawn.mean) / deviation)
    count = values.size
    bound = _BOUNDS[drawn.distribution](count, level)
    total = squares = 0.0
    for block in _split(values):
        with np.errstate(over="ignore"):
            standard = (block - block.dtype.type(drawn.mean)) / deviation
        if not float(np.max(np.abs(standard))) <= bound * (1.0 + slack):
            return False
        total += float(np.sum(standard, dtype=np.float64))
        squares += float(np.sum(np.square(standard), dtype=np.float64))
    # Numbers of few digits are not spread evenly: the grain is no evidence.
    mean = max(0.0, abs(total / count) - bound * slack)
    if math.exp(-0.5 * count * mean * mean) < level:
        return False
    square = max(squares / count, grain * grain)
    square = max(square / (1.0 + 8.0 * slack), 1.0) if square > 1.0 else min(square * (1.0 + 8.0 * slack), 1.0)
    return math.exp(-0.5 * count * (square - 1.0 - math.log(square))) >= level


_BOUNDS: Final[Mapping[str, Callable[[int, float], float]]] = {
    "uniform": lambda _, __: math.sqrt(3.0),
    "truncated_normal": lambda _, __: 2.0 / math.sqrt(TRUNCATED_VARIANCE),
    "normal": lambda count, level: math.sqrt(2.0 * math.log(count / level)),
}
"""How far the largest of some entries can lie from the mean, in standard deviations."""


def _is_constant(values: Values, dtype: Any, level: float) -> bool:
    """Return whether all entries are equal, which so many random ones are not."""
    if values.size < 2 or (8.0 * _GRAIN.get(str(dtype), 2.0**-7)) ** (values.size - 1) > level:
        return False
    return all(bool(np.all(block == values.flat[0])) for block in _split(values))


def _is_finite(values: Values) -> bool:
    return all(bool(np.isfinite(block).all()) for block in _split(values))


def _split(values: Values) -> Iterator[Values]:
    """Hand out all entries in blocks, so that what is computed of them needs no memory beside a large weight."""
    entries = values.reshape(-1)
    for start in range(0, entries.size, _BLOCK):
        yield entries[start : start + _BLOCK]


def _is_orthogonal(values: Values, gain: float, dtype: str) -> bool:
    """Return whether a matrix keeps the length of one vector, as each draw does for all."""
    if values.ndim < 2:
        return True
    matrix = values.reshape(-1, values.shape[-1]).astype(np.float64)
    matrix = matrix if matrix.shape[0] >= matrix.shape[1] else matrix.T
    vector = np.random.default_rng(0).normal(size=matrix.shape[1])
    kept = float(np.linalg.norm(matrix @ vector) / np.linalg.norm(vector))
    return abs(kept - abs(gain)) <= max(_CLOSE, 8.0 * _GRAIN.get(dtype, 2.0**-7)) * abs(gain)


def _draw(plan: RedrawPlan, path: str, seed: int) -> Values:
    states = import_keras().ops.convert_to_tensor(plan.derive([seed])[0])
    return _as_numpy(plan.draw_some(states, {path})[path])


def _call(initializer: Any, variable: Any) -> Values:
    return _as_numpy(initializer(variable.shape, dtype=variable.dtype))


def _read(variable: Any) -> Values:
    return _as_numpy(backend().read_variable(variable))


def _as_numpy(tensor: Any) -> Values:
    values = backend().as_array(tensor)
    return values if values.dtype in (np.float32, np.float64) else values.astype(np.float32)


def _is_close(values: Values, expected: Values) -> bool:
    """Return whether values are those expected, but for an order of summation."""
    sizes = (np.max(np.abs(block), initial=0.0, where=np.isfinite(block)) for block in _split(expected))
    slack = 1e-2 * _CLOSE * float(max(sizes, default=0.0))
    pairs = zip(_split(values), _split(expected), strict=True)
    return all(bool(np.allclose(one, other, rtol=_CLOSE, atol=slack, equal_nan=True)) for one, other in pairs)
