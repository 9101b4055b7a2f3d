"""Built layers: how their initializers are declared, and the weights that they start with."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from initcheck.claims.layer_defaults_table import Inner, Layer, Settings
from initcheck.keras_runtime import import_keras

if TYPE_CHECKING:
    from initcheck.claims.laboratory import Laboratory


@dataclass(frozen=True)
class Start:
    """An initializer to hand to a layer: a class of ``keras.initializers`` and its arguments; no class: None."""

    initializer: str = ""
    settings: Settings = ()

    def make(self) -> Any:
        """Make the Keras initializer."""
        return (
            getattr(import_keras().initializers, self.initializer)(**dict(self.settings)) if self.initializer else None
        )


Given = tuple[tuple[str, Start], ...]
"""The initializer arguments that a layer is given; those that are not named keep their defaults."""


@dataclass(frozen=True)
class Declared:
    """What a layer says of one of its initializer arguments.

    Attributes:
        where: the signature, the configuration or the object.
        name: class of the initializer.
        settings: of the initializer; None for a signature, which has only the name.
    """

    where: str
    name: str
    settings: dict[str, Any] | None


@dataclass(frozen=True)
class Built:
    """A layer as it is built, or two of the same settings, built one after the other.

    Attributes:
        weights: of the first, by their paths below the layer.
        other_weights: of the second; none where there is only one.
        declared: what the first says of its initializer arguments.
    """

    weights: dict[str, NDArray[np.float64]]
    other_weights: dict[str, NDArray[np.float64]]
    declared: dict[str, tuple[Declared, ...]]


def built(laboratory: Laboratory, layer: Layer, given: Given = (), *, twice: bool = False) -> Built:
    """Build a layer, once for all claims.

    Args:
        laboratory: source of the seed; the layers' own initializers are not seeded and draw from Keras' global state.
        layer: which layer.
        given: initializers in place of the defaults.
        twice: whether to build a second one; layers with their defaults always have one.

    Returns:
        What was built. Nothing of Keras is kept.
    """
    count = 2 if twice or not given else 1
    return laboratory.remember(("layer_defaults", layer, given, count), lambda: _build(laboratory, layer, given, count))


def signature_default(kind: type[Any], argument: str) -> Any:
    """Find the default of a constructor's argument, which a base class may hold; ``inspect.Parameter.empty``: none."""
    for each in kind.__mro__:
        constructor = vars(each).get("__init__")
        parameters = {} if constructor is None else inspect.signature(constructor).parameters
        if argument in parameters:
            return parameters[argument].default
    return inspect.Parameter.empty


def _build(laboratory: Laboratory, layer: Layer, given: Given, count: int) -> Built:
    import_keras().utils.set_random_seed(laboratory.seed(f"layer_defaults.{layer.subject}"))
    first, *others = (_make(layer, given) for _ in range(count))
    arguments = [argument.name for argument in layer.arguments if argument.is_argument]
    declared = {name: _declared(first, name) for name in arguments if name in first.get_config()}
    return Built(_weights(first), _weights(others[0]) if others else {}, declared)


def _make(layer: Layer, given: Given) -> Any:
    # Without a name of its own a layer takes the next free one, which other measurements would see.
    settings = dict(layer.settings)
    inner = [value for value in settings.values() if isinstance(value, (Inner, tuple)) and _is_inner(value)]
    starts = {name: start.make() for name, start in given}
    kind = getattr(import_keras().layers, layer.name)
    if not inner:
        made = kind(name=layer.subject, **settings, **starts)
    else:
        made = kind(name=layer.subject, **{name: _with_inner(value, starts) for name, value in settings.items()})
    made.build(*(list(shape) if _is_list_of_shapes(shape) else shape for shape in layer.shapes))
    return made


def _is_inner(value: Any) -> bool:
    return isinstance(value, Inner) or (isinstance(value, tuple) and all(isinstance(each, Inner) for each in value))


def _is_list_of_shapes(shape: Any) -> bool:
    return bool(shape) and all(isinstance(each, tuple) for each in shape)


def _with_inner(value: Any, starts: dict[str, Any]) -> Any:
    if isinstance(value, tuple):
        return [_with_inner(each, starts) for each in value]
    if isinstance(value, Inner):
        return getattr(import_keras().layers, value.layer)(name=value.name, **dict(value.settings), **starts)
    return value


def _weights(made: Any) -> dict[str, NDArray[np.float64]]:
    convert = import_keras().ops.convert_to_numpy
    return {
        weight.path.removeprefix(f"{made.name}/"): convert(weight.value).astype(np.float64) for weight in made.weights
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


def with_settings(layer: Layer, **settings: Any) -> Layer:
    """Change some settings of a layer of the tables."""
    return replace(layer, settings=tuple({**dict(layer.settings), **settings}.items()))
