"""Layers as they are built with their defaults or with given initializers, and how their weights are compared.

Each comparison gives rows of a claim's table.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from initcheck.backend.runtime import import_keras
from initcheck.models.initializers import InitializerSpec
from initcheck.spec.claim import ExactRow, FitRow, RunContext
from initcheck.spec.decisions import CLAIM_FALSE_ALARM, POWER
from initcheck.spec.topics.layer_defaults.table import Argument, DefaultName, Inner, Layer
from initcheck.spec.topics.orthogonality import distance_from_orthonormal

Given = tuple[tuple[str, InitializerSpec | None], ...]
"""The initializer arguments that a layer is given; those that are not named keep their defaults."""


@dataclass(frozen=True)
class Declared:
    """What a layer says of one of its initializer arguments in one place."""

    where: str
    name: str
    settings: dict[str, Any] | None
    """Of the initializer; None for a signature, which has only the name."""


@dataclass(frozen=True)
class Built:
    """A layer as it is built, or two of the same settings, built one after the other."""

    weights: dict[str, NDArray[np.float64]]
    other_weights: dict[str, NDArray[np.float64]]
    declared: dict[str, tuple[Declared, ...]]


def built(
    context: RunContext, layer: Layer, given: Given = (), *, seed: int | None = None, twice: bool = False
) -> Built:
    """Build a layer, once for all claims, and keep nothing of Keras."""
    count = 2 if twice or not given else 1
    key = ("layer_defaults", layer, given, seed, count)
    return context.remember(key, lambda: _build(context, layer, given, seed, count))


def signature_default(kind: type[Any], argument: str) -> Any:
    """Find the default of a constructor's argument, which a base class may hold; ``inspect.Parameter.empty``: none."""
    for each in kind.__mro__:
        constructor = vars(each).get("__init__")
        parameters = {} if constructor is None else inspect.signature(constructor).parameters
        if argument in parameters:
            return parameters[argument].default
    return inspect.Parameter.empty


def _build(context: RunContext, layer: Layer, given: Given, seed: int | None, count: int) -> Built:
    import_keras().utils.set_random_seed(context.seed(f"layer_defaults.{layer.subject}"))
    first, *others = (_make(layer, given, seed) for _ in range(count))
    arguments = [argument.name for argument in layer.arguments if argument.is_argument]
    declared = {name: _declared(first, name) for name in arguments if name in first.get_config()}
    return Built(_weights(first), _weights(others[0]) if others else {}, declared)


def _make(layer: Layer, given: Given, seed: int | None) -> Any:
    initializers = {name: None if spec is None else spec.create(seed) for name, spec in given}
    settings = {name: _with_inner(value, initializers) for name, value in layer.settings}
    if settings == dict(layer.settings):  # there is no inner layer to take them
        settings |= initializers
    # Without a name of its own a layer takes the next free one, which other measurements would see.
    made = getattr(import_keras().layers, layer.name)(name=layer.subject, **settings)
    made.build(*(list(shape) if shape and isinstance(shape[0], tuple) else shape for shape in layer.shapes))
    return made


def _with_inner(value: Any, initializers: dict[str, Any]) -> Any:
    """Make the inner layers among a layer's settings, alone or several."""
    if isinstance(value, tuple) and value and isinstance(value[0], Inner):
        return [_with_inner(each, initializers) for each in value]
    if isinstance(value, Inner):
        return getattr(import_keras().layers, value.layer)(name=value.name, **dict(value.settings), **initializers)
    return value


def _weights(made: Any) -> dict[str, NDArray[np.float64]]:
    convert = import_keras().ops.convert_to_numpy
    return {
        weight.path.partition(f"{made.name}/")[2]: convert(weight.value).astype(np.float64) for weight in made.weights
    }


def _declared(made: Any, argument: str) -> tuple[Declared, ...]:
    default = signature_default(type(made), argument)
    configured = made.get_config()[argument]
    held = getattr(made, argument, None) or getattr(made, f"_{argument}", None)
    named: dict[str, Any] = configured if isinstance(configured, dict) else {"class_name": configured, "config": {}}
    return (
        Declared("signature", default if isinstance(default, str) else type(default).__name__, None),
        Declared("get_config", str(named["class_name"]), named["config"]),
        Declared("initializer", type(held).__name__, {} if held is None else held.get_config()),
    )


_EMBEDDING_LIMIT: Final = 0.05
_ROUNDING: Final = 2.0**-22
"""Relative; single precision rounds the limit, and the product of the limit with a number below one."""

_DECLARED: Final[dict[DefaultName, tuple[str, dict[str, object]]]] = {
    "glorot_uniform": ("GlorotUniform", {"seed": None}),
    "uniform": ("RandomUniform", {"seed": None, "minval": -_EMBEDDING_LIMIT, "maxval": _EMBEDDING_LIMIT}),
    "orthogonal": ("Orthogonal", {"seed": None, "gain": 1.0}),
    "zeros": ("Zeros", {}),
    "ones": ("Ones", {}),
}


def limit_of(default: DefaultName, shape: Sequence[int], input_axes: int = 0) -> float:
    """Give the limit of a uniform default for a weight of that shape: Glorot's is sqrt(6 / (fan_in + fan_out))."""
    # Keras takes the fans of a kernel without input axes from its last two, each times the sizes of all others.
    if default == "uniform":
        return _EMBEDDING_LIMIT
    if input_axes:
        return math.sqrt(6.0 / (math.prod(shape[:input_axes]) + math.prod(shape[input_axes:])))
    fans = (shape[0], shape[0]) if len(shape) == 1 else (shape[-2], shape[-1])
    return math.sqrt(6.0 / (sum(fans) * math.prod(shape[:-2])))


def declared_rows(argument: Argument, declared: Sequence[Declared]) -> list[ExactRow]:
    """Compare what a layer says of an argument with its documented default: one row a place, 1 where it differs."""
    name, settings = _DECLARED[argument.default]
    rows = []
    for found in declared:
        if found.settings is None:
            equal = _letters(found.name) == _letters(argument.default)
        else:
            equal = found.name == name and all(found.settings.get(key, 0) == value for key, value in settings.items())
        rows.append(ExactRow(found.where, float(not equal), seen=f"{found.name} {found.settings or ''}".strip()))
    return rows


def exact_rows(weight: str, values: NDArray[np.float64], default: DefaultName) -> list[ExactRow]:
    """Compare a weight with a default without chance: zeros, ones, or orthonormal rows or columns."""
    if default != "orthogonal":
        wanted = {"zeros": 0.0, "ones": 1.0}[default]
        return [constant_row(weight, values, wanted)]
    matrix = values.reshape(-1, values.shape[-1])
    size = min(matrix.shape)
    error = distance_from_orthonormal(matrix)
    # Householder's QR in single precision: a few roundings a reflection. The identity and its permutations are
    # orthogonal too, and nearly all zeros, which a matrix that is uniform on the orthogonal ones never is.
    return [
        ExactRow(f"{weight}: distance of Q Q' from the identity", error, 16.0 * size * 2.0**-24, values.size),
        ExactRow(f"{weight}: share of entries that are zero", float(np.mean(matrix == 0.0)), 0.01, values.size),
    ]


def constant_row(weight: str, values: NDArray[np.float64], wanted: float) -> ExactRow:
    """Compare a weight with a constant."""
    seen = f"from {values.min():.4g} to {values.max():.4g}, not {wanted:g}" if values.size else "no entries"
    deviation = float(np.abs(values - wanted).max()) if values.size else math.nan
    return ExactRow(weight, deviation, 0.0, int(values.size), seen)


def fit_rows(weight: str, values: NDArray[np.float64], limit: float, members: int) -> list[FitRow]:
    """Test a weight for a uniform distribution: one row for its shape and one for its support.

    Effects are distances between distribution functions; a limit that is off by the share c is a distance of c / 2.
    """
    scaled = values.ravel() / limit
    count = scaled.size
    level = CLAIM_FALSE_ALARM / members
    shape = stats.kstest(scaled, stats.uniform(-1.0, 2.0).cdf)
    # Massart's bound of the distance under the distribution, and of how far the sample's is from the true one.
    seen = (math.sqrt(math.log(2.0 / level) / 2.0) + math.sqrt(math.log(2.0 / (1.0 - POWER)) / 2.0)) / math.sqrt(count)
    largest = float(np.abs(scaled).max())
    inside = largest <= 1.0 + _ROUNDING
    p_support = min(largest, 1.0) ** count if inside else 0.0
    return [
        FitRow(f"{weight}: shape", float(shape.pvalue), float(shape.statistic), seen, count),
        FitRow(f"{weight}: support", p_support, abs(1.0 - largest) / 2.0, (1.0 - level ** (1.0 / count)) / 2.0, count),
    ]


def as_fit_rows(rows: Sequence[ExactRow]) -> list[FitRow]:
    """Take exact rows into a table of tests: a deviation cannot happen by chance."""
    return [
        FitRow(f"{row.member}: {row.seen}", float(row.deviation <= row.limit), row.deviation, 0.0, row.count)
        for row in rows
    ]


def _letters(name: str) -> str:
    return name.replace("_", "").lower()
