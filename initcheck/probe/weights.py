"""What is known of every weight of a model without running it: what draws it, and which fans it really has."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Final

import numpy as np

from initcheck.backend.keras_private import compute_fans
from initcheck.backend.random_state import preserved_random_state
from initcheck.backend.runtime import import_keras, is_float_dtype
from initcheck.core.errors import TheoryError, UsageError
from initcheck.models.initializers import AXES, INITIALIZERS, KnownInitializer, is_of_keras, read
from initcheck.probe.draw import PlannedVariable, RedrawPlan
from initcheck.probe.layer_kinds import ROLES, count_weight_fans, find_initializer_axes, find_kind, find_parts
from initcheck.probe.paths import PathNamer, own_variables
from initcheck.probe.places import takes_argument
from initcheck.theory.weights import weight_distribution


@dataclass(frozen=True)
class WeightFacts:
    """One weight of a model.

    Attributes:
        path: its name for people, below that of its layer: ``encoder/dense_3/kernel``.
        key: its structural path, by which it is drawn and stored.
        layer: name of the layer that holds it; empty for the model itself.
        initializer: its initializer in words, without the seed, for example ``RandomNormal(stddev=0.02)``; empty
            where it is not known.
        default_initializer: what the class of the layer takes by itself on the installed Keras, in the same words;
            empty where it is not known.
        seed: the integer that decides what the initializer draws: two that hold the same one draw the same numbers.
            None where the initializer holds none, or it is not known.
        seed_given: how the seed was given: "integer", "generator" (a SeedGenerator), or empty where Keras made it,
            so that equal seeds mean one instance in several places.
        instance: number of the initializer's instance that the layer holds; 0 where it is not known.
        repeated: whether the initializer gives the same numbers, which look random, from every seed.
        kept: why a new draw keeps the weight's value; None where it is drawn.
        gates: how many gates' weights lie side by side in it: ``true_fan_out / gates`` is the number of units.
        assumed_fan_in: inputs that Keras counts when the initializer is called (its ``compute_fans``, with the axes
            that EinsumDense hands it on the installed version).
        mode: which fan the initializer scales with: ``fan_in``, ``fan_out`` or ``fan_avg``; empty where with none.
        true_fan_in: inputs that one output unit really sums; NaN where not known.
        true_fan_out: outputs that one input really feeds, those of all gates; NaN where not known.
        variance: expected variance of the entries under the initializer; NaN where not known.
        ideal_variance: what the variance would be if the initializer counted the true fans; NaN where it scales with
            none, or they are not known.
        place: where its layer was made, ``models.py:14``; empty where that is not known.
        kept_error: standard error of ln of the root mean square of a kept weight's entries, taken as independent
            draws; NaN for a weight that is drawn.
    """

    path: str
    key: str
    layer: str
    kind: str
    role: str
    shape: tuple[int, ...]
    dtype: str
    trainable: bool
    initializer: str
    default_initializer: str
    seed: int | None
    seed_given: str
    constant: bool
    kept: str | None
    gates: int
    assumed_fan_in: float
    assumed_fan_out: float
    mode: str
    true_fan_in: float
    true_fan_out: float
    variance: float
    ideal_variance: float
    instance: int = 0
    repeated: bool = False
    place: str = ""
    kept_error: float = math.nan


def describe_weights(
    model: Any, plan: RedrawPlan, places: Mapping[str, str] = MappingProxyType({})
) -> tuple[WeightFacts, ...]:
    """Describe every weight of a model, in the order of ``model.weights``; nothing is run or changed.

    Args:
        places: where its layers were made, by name.
    """
    namer = PathNamer(model)
    members = dict(namer.members())
    owners: dict[int, tuple[str, Any]] = {}
    for layer in members.values():
        for variable in own_variables(layer):
            owners.setdefault(id(variable), (namer.name_of(layer), layer))
    parts = find_parts(members)
    # A default is made to be named, and each initializer that is made takes a number from Python's generator.
    with preserved_random_state():
        return tuple(
            replace(facts, place=places.get(facts.layer, ""))
            for name, planned in zip(plan.names, plan.variables, strict=True)
            for facts in [_describe(planned, name, *owners[id(planned.variable)], parts, planned.path in plan.repeated)]
        )


def _describe(
    planned: PlannedVariable, name: str, owner: str, layer: Any, parts: dict[int, str], repeated: bool
) -> WeightFacts:
    variable = planned.variable
    initializer: Any = planned.initializer
    shape = tuple(int(size) for size in variable.shape)
    own = _find_own_initializer(layer, str(variable.name), initializer)
    given = planned.given if own is None else own
    seed, seed_given = _find_seed(given)
    role = ROLES.get(str(variable.name), str(variable.name).replace("_", " "))
    role = f"{parts[id(layer)]} {role}" if id(layer) in parts else role
    true = count_weight_fans(layer, variable)
    assumed = _assume_fans(layer, str(variable.name), initializer, shape)
    scales = _scales_with_fans(initializer)
    known = _find_row(initializer)
    return WeightFacts(
        path=name,
        key=planned.path,
        layer=owner,
        kind=type(layer).__name__,
        role=role,
        shape=shape,
        dtype=str(variable.dtype),
        trainable=bool(variable.trainable),
        initializer=name_initializer(initializer),
        default_initializer=_name_default(layer, str(variable.name)),
        seed=seed,
        seed_given=seed_given,
        constant=known is not None and known.draw is None,
        kept=planned.reason,
        gates=find_kind(layer).gates if not math.isnan(true[0]) else 1,
        assumed_fan_in=assumed[0],
        assumed_fan_out=assumed[1],
        mode=str(initializer.mode) if scales else "",
        true_fan_in=true[0],
        true_fan_out=true[1],
        variance=_scaled_variance(initializer, assumed) if scales else _find_variance(initializer, shape),
        ideal_variance=_scaled_variance(initializer, true) if scales else math.nan,
        instance=0 if given is None else id(given),
        repeated=repeated,
        kept_error=math.nan if planned.reason is None else _estimate_error(variable),
    )


_MOST_READ: Final = 2**20
"""Entries of a weight that are read to see how much their squares vary."""


def _estimate_error(variable: Any) -> float:
    """Estimate the standard error of ln sqrt(mean w^2): half the coefficient of variation of w^2, over sqrt(n)."""
    if not is_float_dtype(variable.dtype):
        return math.nan
    values = np.asarray(import_keras().ops.convert_to_numpy(variable.value)).reshape(-1)
    squares = np.square(values[:_MOST_READ].astype(np.float64))
    mean = float(squares.mean()) if squares.size else 0.0
    if not 0.0 < mean < math.inf or values.size < 2:
        return math.nan
    return 0.5 * float(squares.std()) / mean / math.sqrt(values.size)


def name_initializer(initializer: Any) -> str:
    """Format an initializer as a person writes it, ``RandomNormal(stddev=0.02)``; empty where it is not known, None."""
    return "" if initializer is None else read(initializer).without(*AXES).label


def find_initializer_argument(kind: type, weight: str) -> str:
    """Find by which argument a class of layers takes the initializer of a weight; empty where by none."""
    return next((each for each in _initializer_arguments(weight) if takes_argument(kind, each)), "")


def _name_default(layer: Any, name: str) -> str:
    parameters = inspect.signature(type(layer).__init__).parameters
    for argument in _initializer_arguments(name):
        default = parameters[argument].default if argument in parameters else None
        if isinstance(default, str):
            return name_initializer(import_keras().initializers.get(default))
    return ""


def _initializer_arguments(name: str) -> tuple[str, ...]:
    """List the arguments of layers, and their attributes, that may hold the initializer of a variable of this name."""
    return f"{name}_initializer", f"{name.removesuffix('_kernel')}_initializer", "depthwise_initializer"


def _find_own_initializer(layer: Any, name: str, planned: Any) -> Any:
    """Find the instance that the layer itself holds: the plan's is a copy with another seed."""
    for attribute in _initializer_arguments(name):
        found = getattr(layer, attribute, None)
        if found is not None and type(found) is type(planned):
            return found
    other = find_kind(layer).drawn_by.get(name)
    found = getattr(layer, other, None) if other else None
    return found if found is not None and type(found) is type(planned) else None


def _find_seed(initializer: Any) -> tuple[int | None, str]:
    generator = import_keras().random.SeedGenerator
    given = getattr(initializer, "_init_seed", None)
    if isinstance(given, int):
        return given, "integer"
    if isinstance(given, dict):
        # Out of a configuration comes a generator that starts anew, so equal initial seeds draw equally.
        initial = given.get("config", {}).get("seed")
    elif isinstance(given, generator):
        initial = given.get_config()["seed"]
    else:
        seed = getattr(initializer, "seed", None)
        return (seed, "") if isinstance(seed, int) else (None, "")
    return (initial, "generator") if isinstance(initial, int) else (None, "")


def _scales_with_fans(initializer: Any) -> bool:
    """Return whether this is VarianceScaling, or a class derived from it that leaves the drawing to it."""
    scaling = import_keras().initializers.VarianceScaling
    return isinstance(initializer, scaling) and type(initializer).__call__ is scaling.__call__


def _assume_fans(layer: Any, name: str, initializer: Any, shape: tuple[int, ...]) -> tuple[float, float]:
    """Count as the installed Keras does for the call that drew the weight."""
    axes = [getattr(initializer, argument, None) for argument in ("input_axes", "output_axes")]
    if name == "kernel" and None in axes:
        axes = [*(find_initializer_axes(layer, len(shape)) or axes)]
    if None in axes:
        return compute_fans(shape)
    return compute_fans(shape, input_axes=axes[0], output_axes=axes[1])


def _scaled_variance(initializer: Any, fans: tuple[float, float]) -> float:
    fan = {"fan_in": fans[0], "fan_out": fans[1], "fan_avg": (fans[0] + fans[1]) / 2.0}[initializer.mode]
    return math.nan if math.isnan(fan) else float(initializer.scale) / max(1.0, fan)


def _find_variance(initializer: Any, shape: tuple[int, ...]) -> float:
    known = _find_row(initializer)
    if known is None:
        return math.nan
    if known.equal:
        return 0.0
    try:
        return weight_distribution(read(initializer), shape).variance
    except (TheoryError, UsageError):
        return math.nan


def _find_row(initializer: Any) -> KnownInitializer | None:
    """Find what is known of the class of an initializer that is Keras' own."""
    return INITIALIZERS.get(type(initializer).__name__) if is_of_keras(initializer) else None
