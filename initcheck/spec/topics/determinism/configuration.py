"""Trials of configurations: arguments, defaults, names, copies; values are compared with the documented formulas."""

from __future__ import annotations

import functools
import inspect
import json
import math
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Final

import numpy as np

from initcheck.backend.interface import backend
from initcheck.backend.runtime import import_keras
from initcheck.models.initializers import InitializerSpec
from initcheck.spec.claim import ExactRow
from initcheck.spec.subjects import documented_values, precision
from initcheck.spec.topics.determinism.measurement import (
    CLASSES,
    Factory,
    Trial,
    Values,
    closeness,
    draw,
    equality,
    generator,
    independence,
    plain,
)
from initcheck.spec.versions import initializers_take_axes

_Case = tuple[dict[str, Any], tuple[int, ...], Values, float]
"""Arguments, shape, the expected values, and the roundings they may be off by."""


WITHOUT_FLOAT64: Final = "dtypes but float64"


def argument_effects(factory: Factory) -> list[ExactRow]:
    """Compare weights with those that the documented formula makes of standard draws and of the arguments."""
    rows = [
        closeness(
            f"{arguments}, shape {shape}", draw(factory.type(**arguments, **factory.seeded), shape), expected, ulps
        )
        for arguments, shape, expected, ulps in _EXPECTED.get(factory.subject.class_name, _scaled)(factory)
    ]
    shape = factory.subject.shape
    floats = import_keras().config.floatx()
    for dtype in ("float16", "float32", "float64", None):
        if factory.subject.class_name == "Orthogonal" and dtype == "float16":
            continue  # there is no QR factorization of half precision
        if factory.variant == WITHOUT_FLOAT64 and dtype == "float64":
            continue
        with precision(dtype):
            made = factory.make(**factory.seeded)(shape, dtype=dtype)
        name = import_keras().backend.standardize_dtype(made.dtype)
        right = tuple(made.shape) == shape and name == (dtype or floats)
        rows.append(ExactRow(f"dtype {dtype}", float(not right), seen=f"{name} of shape {tuple(made.shape)}"))
    return rows


def _standard(factory: Factory) -> Values:
    """Draw the normal, within two or not, of mean 0 and stddev 1, or the uniform from 0 to 1, of the same seed."""
    return factory.draw(factory.type(0.0, 1.0, seed=factory.seed)).astype(np.float64)


def _normal(factory: Factory) -> list[_Case]:
    standard = _standard(factory)
    cases: list[_Case] = []
    pairs = ({"mean": 0.3, "stddev": 0.2}, {"mean": -2.0, "stddev": 1.0}, {"mean": 0.0, "stddev": 3.0})
    for given in (*pairs, {"stddev": 0.5}, {"mean": 0.5}):
        full = plain(factory.subject.defaults) | given
        cases.append((given, factory.subject.shape, full["mean"] + full["stddev"] * standard, 16.0))
    return cases


def _uniform(factory: Factory) -> list[_Case]:
    standard = _standard(factory)
    cases: list[_Case] = []
    for given in ({"minval": -0.1, "maxval": 0.3}, {"minval": 2.0, "maxval": 5.0}, {"minval": -1.0}, {"maxval": 1.0}):
        full = plain(factory.subject.defaults) | given
        values = full["minval"] + (full["maxval"] - full["minval"]) * standard
        cases.append((given, factory.subject.shape, values, 16.0))
    return cases


_NAMED: Final = {"Glorot": "fan_avg", "He": "fan_in", "Lecun": "fan_in"}


def _scaled(factory: Factory) -> list[_Case]:
    """Expect sqrt(scale / n) times what is drawn by default, with n of every mode and by every choice of axes."""
    fixed = plain(factory.subject.arguments)
    mode = _mode_of(factory)
    axes: tuple[dict[str, Any], ...] = ({},)
    if initializers_take_axes():
        axes += ({"input_axes": [0], "output_axes": [1, 2]}, {"input_axes": [0, 2], "output_axes": [1]})
    cases: list[_Case] = [
        (given, shape, _scaled_values(factory, 1.0, mode, shape, given), 16.0)
        for given, shape in ((fixed | each, (6, 4, 5)) for each in axes)
    ]
    if factory.subject.class_name == "VarianceScaling":
        for factor in (0.3, 1.7):  # of the default, 1
            values = _scaled_values(factory, factor, mode, (24, 40), {})
            cases.append((fixed | {"scale": factor}, (24, 40), values, 16.0))
    if factory.subject.slug == "variance_scaling":
        for changed in ("fan_in", "fan_out", "fan_avg"):
            values = _scaled_values(factory, 1.0, changed, (24, 40), {})
            cases.append(({"mode": changed}, (24, 40), values, 16.0))
        # The other distributions have subjects of their own.
        values = _scaled_values(factory, 1.0, mode, (24, 40), {})
        cases += [({"distribution": same}, (24, 40), values, 16.0) for same in ("truncated_normal", "normal")]
    return cases


def _scaled_values(factory: Factory, factor: float, mode: str, shape: tuple[int, ...], axes: dict[str, Any]) -> Values:
    """Scale what the subject draws by default to another scale, mode or axes."""
    area = math.prod(shape[:-2])
    by_shape = (area * shape[-2], area * shape[-1])
    fans = by_shape
    if "input_axes" in axes:
        inputs, outputs = (math.prod(shape[axis] for axis in axes[side]) for side in ("input_axes", "output_axes"))
        fans = (inputs, outputs)
    ratio = _units(_mode_of(factory), *by_shape) / _units(mode, *fans)
    return np.asarray(math.sqrt(factor * ratio) * factory.draw(factory.make(seed=factory.seed), shape))


def _mode_of(factory: Factory) -> str:
    named = (mode for start, mode in _NAMED.items() if factory.subject.class_name.startswith(start))
    return str(next(named, plain(factory.subject.arguments).get("mode", "fan_in")))


def _units(mode: str, fan_in: int, fan_out: int) -> float:
    return {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2.0}[mode]


def _orthogonal(factory: Factory) -> list[_Case]:
    shape = factory.subject.shape
    values = factory.draw(factory.type(seed=factory.seed)).astype(np.float64)
    return [({"gain": gain}, shape, gain * values, 16.0) for gain in (1.0, 1.5, 0.2)]


def _fixed(factory: Factory) -> list[_Case]:
    """Expect the documented values; those of STFT are rounded with their angle, which is below 16 pi."""
    name, shape = factory.subject.class_name, factory.subject.shape
    shapes: tuple[tuple[int, ...], ...] = ((6, 6), (4, 7), (7, 4)) if name == "Identity" else (shape,)
    ulps = 4.0 * 16.0 * math.pi if name == "STFT" else 1.0
    return [
        (arguments, each, documented_values(InitializerSpec(name, tuple(arguments.items())), each), ulps)
        for arguments in _ARGUMENTS[name]
        for each in shapes
    ]


_ARGUMENTS: Final[dict[str, list[dict[str, Any]]]] = {
    "Zeros": [{}],
    "Ones": [{}],
    "Constant": [{"value": value} for value in (0.37, -2.0, 0.0)],
    "Identity": [{"gain": gain} for gain in (1.0, 1.7, -0.5)],
    "STFT": [
        {"side": side, "window": window, "scaling": scaling, "periodic": periodic}
        for side in ("real", "imag")
        for window, scaling, periodic in (
            ("hann", "density", False),
            ("hann", "density", True),
            ("hamming", "spectrum", True),
            ("hann", None, False),
            (None, "density", False),
        )
    ],
}
"""Those that initializers without chance are given."""

_EXPECTED: Final[dict[str, Callable[[Factory], list[_Case]]]] = {
    **dict.fromkeys(_ARGUMENTS, _fixed),
    "RandomNormal": _normal,
    "TruncatedNormal": _normal,
    "RandomUniform": _uniform,
    "Orthogonal": _orthogonal,
}


_NOTHING: Final = object()
ALIASES_OF_ANOTHER_CLASS: Final = "aliases of another class"


def _unequal(found: dict[str, Any], expected: dict[str, Any]) -> list[str]:
    """Name the keys that one lacks, or whose values differ."""
    names = {*found, *expected}
    return sorted(name for name in names if found.get(name, _NOTHING) != expected.get(name, _NOTHING))


def _same(member: str, found: Any, cls: Any, config: dict[str, Any], *, attributes: bool = False) -> ExactRow:
    """Judge whether an initializer is of a class and has a configuration, or attributes where that lacks something."""
    if type(found) is not cls:
        return ExactRow(member, 1.0, seen=f"it is {getattr(type(found), '__name__', found)}")
    config_found = found.get_config()
    if attributes:
        config_found = {name: getattr(found, name, _NOTHING) for name in config} | config_found
    wrong = _unequal(config_found, config)
    return ExactRow(member, float(len(wrong)), seen=f"arguments that differ: {', '.join(wrong) or 'none'}")


def _make(member: str, rows: list[ExactRow], make: Callable[[], Any]) -> Any:
    """Make what can be made; that Keras refuses its own configuration is no accident but a row, and gives nothing."""
    try:
        return make()
    except (TypeError, ValueError, KeyError) as error:
        rows.append(ExactRow(member, math.inf, seen=f"it raises {type(error).__name__}"))
        return _NOTHING


@functools.cache
def _registered(cls: Any) -> Any:
    """Make a registered subclass, once: Keras keeps it for as long as the process lasts."""
    subclass = type(f"Registered{cls.__name__}", (cls,), {"__module__": __name__})
    return import_keras().saving.register_keras_serializable("initcheck")(subclass)


def _config_round_trip(factory: Factory) -> list[ExactRow]:
    keras = import_keras()
    saving, initializers = keras.saving, keras.initializers
    rows = []
    expected = plain(factory.subject.defaults) | plain(factory.subject.others) | factory.seeded
    copies: dict[str, Callable[[Any, Any], Any]] = {
        "from_config": lambda cls, it: cls.from_config(it.get_config()),
        "through JSON": lambda cls, it: cls.from_config(json.loads(json.dumps(it.get_config()))),
        "keras.saving": lambda _, it: saving.deserialize_keras_object(saving.serialize_keras_object(it)),
        "keras.initializers": lambda _, it: initializers.deserialize(initializers.serialize(it)),
        "keras.initializers.get": lambda _, it: initializers.get(json.loads(json.dumps(initializers.serialize(it)))),
    }
    for name, cls in (("", factory.type), ("registered subclass, ", _registered(factory.type))):
        original = cls(**(plain(factory.subject.others) | factory.seeded))
        values = factory.draw(original, factory.subject.changed_shape)
        rows.append(_same(f"{name}get_config", original, cls, expected))
        for way, make_copy in copies.items():
            copy = _make(f"{name}{way}", rows, functools.partial(make_copy, cls, original))
            if copy is not _NOTHING:
                drawn = factory.draw(copy, factory.subject.changed_shape)
                rows.append(_same(f"{name}{way}", copy, cls, expected))
                rows.append(equality(f"{name}{way}, values", drawn, values))
    if factory.subject.random:
        unseeded = factory.make_unlike_default().get_config()
        rows.append(ExactRow("no seed", float(unseeded.get("seed", _NOTHING) is not None), seen="a seed in get_config"))
        for way, make_copy in copies.items():
            original = factory.make(seed=generator(factory.seed))
            copy = _make(f"seed generator, {way}", rows, functools.partial(make_copy, factory.type, original))
            if copy is not _NOTHING:
                for call in (1, 2):
                    drawn = factory.draw(copy)
                    rows.append(equality(f"seed generator, {way}, call {call}", drawn, factory.draw(original)))
    return rows


def _config_lost(factory: Factory) -> list[ExactRow]:
    """Judge whether a configuration is empty, and a copy has the defaults again."""
    original = factory.make_unlike_default()
    left = original.get_config()
    values = factory.draw(factory.type())
    rows = [ExactRow("get_config", float(len(left)), seen=f"arguments named: {', '.join(left) or 'none'}")]
    serialized = import_keras().initializers.serialize(original)
    copies = {
        "from_config": factory.type.from_config(left),
        "clone": original.clone(),
        "keras.initializers": import_keras().initializers.deserialize(serialized),
    }
    return rows + [equality(f"{way}, values", factory.draw(copy), values) for way, copy in copies.items()]


def _aliases(factory: Factory) -> list[ExactRow]:
    initializers, subject = import_keras().initializers, factory.subject
    aliases = subject.aliases
    if factory.variant == ALIASES_OF_ANOTHER_CLASS:
        index = [each.class_name for each in CLASSES].index(subject.class_name)
        aliases = CLASSES[index - 1].aliases
    defaults = plain(subject.defaults)
    rows: list[ExactRow] = []
    for alias in aliases:
        for given in ({}, plain(subject.others)):
            name = f"get({alias!r}{', others' if given else ''})"
            identifier = {"class_name": alias, "config": given} if given else alias
            found = _make(name, rows, functools.partial(initializers.get, identifier))
            if found is not _NOTHING:
                rows.append(_same(name, found, factory.type, defaults | given, attributes=True))
        if hasattr(initializers, alias):
            right = getattr(initializers, alias) is factory.type
            rows.append(ExactRow(f"keras.initializers.{alias}", float(not right), seen="another class"))
    instance = factory.make()
    rows.append(
        _same(f"get({subject.class_name})", initializers.get(factory.type), factory.type, defaults, attributes=True)
    )
    other = initializers.get(instance) is not instance
    rows.append(ExactRow("get(instance)", float(other), seen="another instance"))
    return rows


def _alias_raises(factory: Factory) -> list[ExactRow]:
    """Judge whether the names alone raise KeyError, and give the class together with its arguments."""
    initializers, subject = import_keras().initializers, factory.subject
    rows = []
    for alias in subject.aliases:
        try:
            seen = f"get gives an instance of {type(initializers.get(alias)).__name__}"
        except KeyError:
            seen = ""
        rows.append(ExactRow(f"get({alias!r})", float(bool(seen)), seen=seen))
        made = initializers.get({"class_name": alias, "config": plain(subject.others)})
        rows.append(_same(f"get({alias!r}), others", made, factory.type, plain(subject.others)))
    return rows


def _defaults(factory: Factory) -> list[ExactRow]:
    """Compare the constructor with the documented arguments: by its signature, its configuration and its values."""
    subject = factory.subject
    documented = plain(subject.defaults)
    signature = inspect.signature(factory.type) if subject.defaults or "__init__" in factory.type.__dict__ else None
    found = {name: parameter.default for name, parameter in signature.parameters.items()} if signature else {}
    wrong = _unequal(found, documented)
    rows = [
        ExactRow("signature", float(len(wrong)), 0.0, len(found), f"other defaults: {', '.join(wrong) or 'none'}"),
        ExactRow("order", float(list(found) != list(documented)), 0.0, len(found), f"arguments {', '.join(found)}"),
        _same("get_config", factory.type(), factory.type, documented, attributes=True),
    ]
    explicit = factory.type(**(documented | factory.seeded))
    shape = subject.changed_shape
    rows.append(equality("values", factory.draw(factory.type(**factory.seeded), shape), factory.draw(explicit, shape)))
    return rows


def _clone(factory: Factory) -> list[ExactRow]:
    made = factory.make(**factory.seeded)
    rows = [equality("clone", factory.draw(made.clone()), factory.draw(made))]
    rows.append(_same("clone, configuration", made.clone(), factory.type, made.get_config()))
    model = _model(factory, made)
    kernel, copied = (_kernel(each) for each in (model, import_keras().models.clone_model(model)))
    rows.append(equality("clone_model", copied, kernel))
    if factory.subject.random:
        unseeded = factory.make()
        rows += independence("unseeded clone", [factory.draw(each) for each in (unseeded, unseeded.clone())])
        model = _model(factory, factory.make())
        copy = import_keras().models.clone_model(model)
        rows += independence("unseeded clone_model", [_kernel(model), _kernel(copy)])
    return rows


def _model(factory: Factory, initializer: Any) -> Any:
    keras = import_keras()
    *before, inputs, outputs = factory.subject.shape
    if before:
        layer = keras.layers.Conv1D(outputs, before[0], kernel_initializer=initializer)
        return keras.Sequential([keras.Input((before[0], inputs)), layer])
    return keras.Sequential([keras.Input((inputs,)), keras.layers.Dense(outputs, kernel_initializer=initializer)])


def _kernel(model: Any) -> Values:
    return backend().as_array(model.weights[0])


class ConfigurationTrial(Trial):
    """A trial of the configuration of one initializer."""

    seeds = 2**30
    trials: ClassVar[Mapping[str, Callable[[Factory], list[ExactRow]]]] = {
        "config_round_trip": _config_round_trip,
        "config_lost": _config_lost,
        "aliases": _aliases,
        "alias_raises": _alias_raises,
        "defaults": _defaults,
        "clone": _clone,
        "arguments": argument_effects,
    }
