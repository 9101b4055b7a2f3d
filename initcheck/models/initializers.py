"""Keras' initializers: one row each with all that is known of it, and specs as plain data.

A row of :data:`INITIALIZERS` gives a class, its arguments, how it draws an entry of a kernel, and where that is
documented. Reading and writing initializers, the list that the report measures and theory's predictions follow from the
rows. To add an initializer, see CONTRIBUTING.md.
"""

from __future__ import annotations

import ast
import inspect
import math
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final, Literal, NamedTuple

from initcheck.backend.runtime import import_keras
from initcheck.core.errors import InitializerError, TheoryError, UsageError, name_unknown

Distribution = Literal["normal", "truncated_normal", "uniform", "orthogonal"]
"""How entries are drawn; ``truncated_normal`` redraws beyond two standard deviations."""

# Moments of N(0, 1) truncated at ±a, by parts from φ' = -xφ: E x² = 1 - t and E x⁴ = 3 E x² - a² t, where
# t = 2aφ(a) / (Φ(a) - Φ(-a)).
_CUT: Final = 2.0
_CUT_TERM: Final = 2.0 * _CUT * math.exp(-0.5 * _CUT**2) / math.sqrt(2.0 * math.pi) / math.erf(_CUT / math.sqrt(2.0))
TRUNCATED_VARIANCE: Final = 1.0 - _CUT_TERM

KURTOSIS: Final[Mapping[Distribution, float]] = {
    "normal": 3.0,
    "truncated_normal": (3.0 * TRUNCATED_VARIANCE - _CUT**2 * _CUT_TERM) / TRUNCATED_VARIANCE**2,
    "uniform": 9.0 / 5.0,
    "orthogonal": math.nan,
}
"""E w⁴ / (E w²)² of one entry. NaN for the orthogonal: its entries depend on each other."""


# --- the rows ---------------------------------------------------------------------------------------------------------


class KernelCall(NamedTuple):
    """What an initializer is asked for; the fans are those that Keras computes from the shape."""

    label: str
    settings: Mapping[str, Any]
    shape: tuple[int, ...]
    fans: tuple[int, int]


class Drawn(NamedTuple):
    """How one entry of a kernel is drawn; the variance is the true one."""

    distribution: Distribution
    mean: float
    variance: float


Arguments = Mapping[str, Any]


@dataclass(frozen=True)
class KnownInitializer:
    """What is known of one class of ``keras.initializers``.

    Attributes:
        arguments: its arguments with their defaults, as :attr:`InitializerSpec.label` orders them; without the seed and
            the axes of inputs and outputs, which older versions of Keras do not take.
        draw: how it draws an entry of a kernel; None where it leaves nothing to chance.
    """

    class_name: str
    arguments: Arguments = field(default_factory=dict)
    fixed: Arguments = field(default_factory=dict)
    draw: Callable[[KernelCall], Drawn] | None = None
    values: str = ""
    equal: bool = False
    ignores_size: bool = False
    source: str = ""
    aliases: tuple[str, ...] = ()
    studied: tuple[Arguments, ...] = ({},)
    unstudied: str = ""

    @property
    def scales(self) -> bool:
        """Whether it is VarianceScaling or one of its family, which scale with the fans."""
        return "mode" in self.arguments or "mode" in self.fixed


MODES: Final = ("fan_in", "fan_out", "fan_avg")
DISTRIBUTIONS: Final[Mapping[str, Distribution]] = {
    "normal": "truncated_normal",  # the old name, which Keras still reads
    "truncated_normal": "truncated_normal",
    "untruncated_normal": "normal",
    "uniform": "uniform",
}
"""What the argument ``distribution`` of VarianceScaling stands for."""


def _draw_normal(call: KernelCall) -> Drawn:
    return Drawn("normal", call.settings["mean"], call.settings["stddev"] * call.settings["stddev"])


def _draw_truncated(call: KernelCall) -> Drawn:
    """Keras does not correct for the truncation here, so that the variance is 0.77374 stddev²."""
    variance = call.settings["stddev"] * call.settings["stddev"] * TRUNCATED_VARIANCE
    return Drawn("truncated_normal", call.settings["mean"], variance)


def _draw_uniform(call: KernelCall) -> Drawn:
    low, high = call.settings["minval"], call.settings["maxval"]
    return Drawn("uniform", 0.5 * low + 0.5 * high, (high - low) * (high - low) / 12.0)


def _draw_scaled(call: KernelCall) -> Drawn:
    """VarianceScaling: scale/n, scale/m or 2 scale/(n + m) for the fans (n, m), with the truncation corrected for."""
    mode, distribution = call.settings["mode"], call.settings["distribution"]
    # Keras divides by max(1, fan); here no axis is shorter than 1, so no fan is either.
    divisors = {"fan_in": call.fans[0], "fan_out": call.fans[1], "fan_avg": (call.fans[0] + call.fans[1]) / 2.0}
    if mode not in MODES:
        raise TheoryError(f"The mode is unknown. Received: {call.label}. Use one of {', '.join(MODES)}.")
    drawn = DISTRIBUTIONS.get(distribution.lower()) if isinstance(distribution, str) else None
    if drawn is None:
        choices = ", ".join(name for name in DISTRIBUTIONS if name != "normal")
        raise TheoryError(f"The distribution is unknown. Received: {call.label}. Use one of {choices}.")
    return Drawn(drawn, 0.0, call.settings["scale"] / divisors[mode])


def _draw_orthogonal(call: KernelCall) -> Drawn:
    """Draw a kernel of gain²/max(rows, columns) when flattened to (all axes but the last, last axis)."""
    if len(call.shape) < 2:
        raise TheoryError(
            f"Orthogonal makes matrices, so the kernel must have two axes or more. Received: shape {call.shape!r}. Use "
            "another initializer."
        )
    gain = call.settings["gain"]
    return Drawn("orthogonal", 0.0, gain * gain / max(math.prod(call.shape[:-1]), call.shape[-1]))


def _family(class_name: str, scale: float, mode: str, distribution: str, source: str) -> KnownInitializer:
    """Make the row of a class derived from VarianceScaling."""
    fixed = {"scale": scale, "mode": mode, "distribution": distribution}
    return KnownInitializer(class_name, fixed=fixed, draw=_draw_scaled, source=source)


_GLOROT: Final = "Glorot & Bengio, 2010, AISTATS, eq. 12 and 16"
_HE: Final = "He, Zhang, Ren & Sun, 2015, ICCV, eq. 10"
_LECUN: Final = "LeCun, Bottou, Orr & Müller, 1998, Efficient BackProp, section 4.6"

INITIALIZERS: Final[dict[str, KnownInitializer]] = {
    row.class_name: row
    for row in (
        # Without chance: every unit of a layer starts alike, or as a copy of its input.
        KnownInitializer(
            "Zeros",
            values="all its weights are 0, so all units of a layer are alike",
            equal=True,
            ignores_size=True,
        ),
        KnownInitializer(
            "Ones",
            values="all its weights are 1, so all units of a layer are alike",
            equal=True,
            ignores_size=True,
        ),
        KnownInitializer(
            "Constant",
            {"value": 0.0},
            values="all its weights are equal, so all units of a layer are alike",
            equal=True,
            ignores_size=True,
            studied=({"value": 0.05},),
        ),
        KnownInitializer(
            "Identity",
            {"gain": 1.0},
            values="each unit is a copy of one of its inputs",
            aliases=("IdentityInitializer",),
        ),
        # A fixed standard deviation, whatever the size of the layer.
        KnownInitializer(
            "RandomNormal",
            {"mean": 0.0, "stddev": 0.05},
            draw=_draw_normal,
            ignores_size=True,
            studied=({}, {"stddev": 1.0}),
        ),
        KnownInitializer("RandomUniform", {"minval": -0.05, "maxval": 0.05}, draw=_draw_uniform, ignores_size=True),
        KnownInitializer("TruncatedNormal", {"mean": 0.0, "stddev": 0.05}, draw=_draw_truncated, ignores_size=True),
        # The family that scales with the fans. Three modes x three distributions are nine combinations, of which four
        # have names of their own and follow (fan_in and fan_avg, truncated and uniform: LeCun and Glorot). The default
        # is LeCun's once more, kept because it is what the bare name gives. Of the five others these three show each
        # mode and each distribution that has no name: fan_out in both its bounded forms, and normal tails once (the
        # tails do not depend on the mode).
        KnownInitializer(
            "VarianceScaling",
            {"scale": 1.0, "mode": "fan_in", "distribution": "truncated_normal"},
            draw=_draw_scaled,
            studied=(
                {},
                {"mode": "fan_out"},
                {"mode": "fan_out", "distribution": "uniform"},
                {"mode": "fan_avg", "distribution": "untruncated_normal"},
            ),
        ),
        _family("GlorotNormal", 1.0, "fan_avg", "truncated_normal", _GLOROT),
        _family("GlorotUniform", 1.0, "fan_avg", "uniform", _GLOROT),
        _family("HeNormal", 2.0, "fan_in", "truncated_normal", _HE),
        _family("HeUniform", 2.0, "fan_in", "uniform", _HE),
        _family("LecunNormal", 1.0, "fan_in", "truncated_normal", _LECUN),
        _family("LecunUniform", 1.0, "fan_in", "uniform", _LECUN),
        # Exact in every draw, not only on average.
        KnownInitializer(
            "Orthogonal",
            {"gain": 1.0},
            draw=_draw_orthogonal,
            source="Saxe, McClelland & Ganguli, 2014, ICLR",
            aliases=("OrthogonalInitializer",),
        ),
        KnownInitializer(
            "STFT",
            {"periodic": False, "scaling": "density", "side": "real", "window": "hann"},
            values="its weights are the fixed Fourier kernels of a spectrogram",
            aliases=("STFTInitializer",),
            studied=(),
            unstudied="makes the fixed Fourier kernels of a spectrogram layer, of shape (frame length, 1, bins), and "
            "no others",
        ),
    )
}
"""The classes of ``keras.initializers`` by name, in the order in which the report explains them."""

AXES: Final = ("input_axes", "output_axes")
"""Arguments of the initializers that scale with the fans, from Keras 3.15 on."""

_GENERIC_REASON: Final = "not in the study's list"


# --- specs ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class InitializerSpec:
    """An initializer of Keras by its class and arguments, without the seed.

    Specs can be compared, hashed, pickled and made without Keras.
    """

    class_name: str
    arguments: tuple[tuple[str, Any], ...] = ()

    def __post_init__(self) -> None:
        frozen = ((name, tuple(value) if isinstance(value, list) else value) for name, value in self.arguments)
        object.__setattr__(self, "arguments", tuple(sorted(frozen, key=lambda argument: argument[0])))

    @property
    def label(self) -> str:
        """The spec as text, for tables and pictures; :func:`parse_initializer` reads it back."""
        if not self.arguments:
            return self.class_name
        names = dict.fromkeys(name for row in INITIALIZERS.values() for name in row.arguments)
        order = {name: place for place, name in enumerate(names)}
        written = sorted(self.arguments, key=lambda argument: (order.get(argument[0], len(order)), argument[0]))
        return f"{self.class_name}({', '.join(f'{name}={value!r}' for name, value in written)})"

    def without(self, *names: str) -> InitializerSpec:
        """Return the spec without the arguments of these names."""
        return InitializerSpec(self.class_name, tuple(pair for pair in self.arguments if pair[0] not in names))

    def create(self, seed: int | None) -> Any:
        """Make the Keras initializer.

        With an integer seed it returns the same values on every call, so each weight needs an instance, and a seed, of
        its own. None lets Keras draw a seed from Python's ``random``. Classes without random values (Zeros, Ones,
        Constant, Identity) take none, and get none.
        """
        initializer_class = _class_named(self.class_name)
        arguments = {name: list(value) if isinstance(value, tuple) else value for name, value in self.arguments}
        if seed is not None and "seed" in inspect.signature(initializer_class).parameters:
            arguments["seed"] = seed
        try:
            return initializer_class(**arguments)
        except (AttributeError, TypeError, ValueError) as error:
            raise InitializerError(f"Keras refuses {self.label}: {in_one_line(error)}") from error


def study_initializers() -> tuple[InitializerSpec, ...]:
    """List the initializers that the report measures by default, in the order in which it explains them."""
    return tuple(
        InitializerSpec(row.class_name, tuple(arguments.items()))
        for row in INITIALIZERS.values()
        for arguments in row.studied
    )


def installed_initializers() -> tuple[str, ...]:
    """List the classes that the installed ``keras.initializers`` exports, each once, without the base class; sorted."""
    return tuple(sorted(set(_class_names().values())))


def uncovered_initializers() -> dict[str, str]:
    """List the installed initializers that the report does not measure, with the reasons; sorted by name."""
    covered = {spec.class_name for spec in study_initializers()}
    known = {name: row.unstudied for name, row in INITIALIZERS.items()}
    return {name: known.get(name) or _GENERIC_REASON for name in installed_initializers() if name not in covered}


# --- from text --------------------------------------------------------------------------------------------------------


def parse_initializer(text: str) -> InitializerSpec:
    """Read an initializer as a person writes it, in any case, and let Keras check it; nothing in the text is evaluated.

    Whole numbers become floats where the default is a float, so that ``stddev=1`` and ``stddev=1.0`` have one label.
    """
    name, arguments = split_call(text)
    class_name = _class_names().get(_fold(name))
    if class_name is None:
        raise name_unknown("initializer", name, installed_initializers())
    parameters = inspect.signature(_class_named(class_name)).parameters
    if "seed" in arguments:
        raise UsageError(f"Leave seed out: each weight gets a seed of its own. Received: {text!r}.")
    settings = [parameter for parameter in parameters if parameter != "seed"]
    for argument in arguments:
        if argument not in settings:
            known = f"It takes {', '.join(settings)}." if settings else "It takes none."
            raise UsageError(f"{class_name} has no argument {argument!r}. {known} Received: {text!r}.")
    checked = {key: check_number(key, value, parameters[key].default, text) for key, value in arguments.items()}
    spec = InitializerSpec(class_name, tuple(checked.items()))
    spec.create(seed=0)  # to be refused here, and not in the middle of a long run
    return spec


def read_initializer(text: str) -> InitializerSpec:
    """Read an initializer as :func:`parse_initializer` does, without Keras where its row says enough.

    Keras is imported, which takes seconds, only for what no row knows: to read it, or to say what is wrong with it.
    """
    name, arguments = split_call(text)
    folded = _fold(name)
    row = next((row for row in INITIALIZERS.values() if folded in map(_fold, (row.class_name, *row.aliases))), None)
    if row is None:
        return parse_initializer(text)
    checked = {}
    for argument, value in arguments.items():
        if argument not in row.arguments:
            return parse_initializer(text)
        checked[argument] = check_number(argument, value, row.arguments[argument], text)
        if not _is_accepted(argument, checked[argument]):
            return parse_initializer(text)
    return InitializerSpec(row.class_name, tuple(checked.items()))


def split_call(text: str) -> tuple[str, dict[str, Any]]:
    """Split ``Name(argument=literal)`` into the name and the arguments."""
    if "(" not in text:
        return text.strip(), {}
    problem = UsageError(
        f"Cannot read the initializer {text!r}. Write a name, or a name with keyword arguments: "
        "RandomNormal(stddev=1.0)."
    )
    try:
        call = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # all that ast.parse raises on odd text
        raise problem from None
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or call.args:
        raise problem
    arguments: dict[str, Any] = {}
    for keyword in call.keywords:
        if keyword.arg is None or keyword.arg in arguments:  # **{...}, or the same argument twice
            raise problem
        try:
            value = ast.literal_eval(keyword.value)
            hash(tuple(value) if isinstance(value, list) else value)  # specs are compared by their hashes
        except (TypeError, ValueError):
            raise problem from None
        arguments[keyword.arg] = value
    return call.func.id, arguments


def check_number(name: str, value: Any, default: Any, text: str) -> Any:
    """Check the value of an argument that has to be a number, and make it a float."""
    if not isinstance(default, float):
        return value
    try:
        number = math.nan if isinstance(value, bool | str) else float(value)
    except (OverflowError, TypeError):
        number = math.nan
    if not math.isfinite(number):
        raise UsageError(f"{name} must be a finite number. Received: {text!r}.")
    return number


def in_one_line(error: BaseException) -> str:
    """Format an exception of Keras in one line of at most 300 characters: its message, or its class without one."""
    return textwrap.shorten(str(error), width=300, placeholder=" ...") or type(error).__name__


# --- from objects -----------------------------------------------------------------------------------------------------


def is_of_keras(initializer: Any) -> bool:
    """Return whether an initializer is an instance of one of Keras' own classes, and not of one derived from them."""
    kind = type(initializer)
    return getattr(import_keras().initializers, kind.__name__, None) is kind


def read(initializer: Any) -> InitializerSpec:
    """Read an initializer or function, Keras' or the user's own, as plain data: its class, and what is no default."""
    kind = type(initializer)
    if not isinstance(initializer, import_keras().initializers.Initializer):
        return InitializerSpec(str(getattr(initializer, "__name__", kind.__name__)))
    try:
        values = initializer.get_config()
    except NotImplementedError:  # a user's class that says nothing of its arguments
        values = {}
    return _specify(kind, values)


def read_nearest(initializer: Any) -> InitializerSpec | None:
    """Read an initializer as the nearest class of Keras in its line of descent; None where there is none."""
    keras_initializers = import_keras().initializers
    for kind in type(initializer).__mro__:
        if getattr(keras_initializers, kind.__name__, None) is kind and kind is not keras_initializers.Initializer:
            taken = inspect.signature(kind).parameters
            return _specify(kind, {name: getattr(initializer, name) for name in taken if hasattr(initializer, name)})
    return None


def _specify(kind: type, values: Mapping[str, Any]) -> InitializerSpec:
    defaults = _find_defaults(kind)
    arguments = {
        name: value for name, value in values.items() if name != "seed" and not _is_default(value, defaults.get(name))
    }
    return InitializerSpec(kind.__name__, tuple(arguments.items()))


@lru_cache(maxsize=256)
def _find_defaults(kind: type) -> dict[str, Any]:
    return {name: each.default for name, each in inspect.signature(kind).parameters.items()}


def _is_default(value: Any, default: Any) -> bool:
    return value is default or (isinstance(value, int | float | str) and value == default)


def _is_accepted(argument: str, value: Any) -> bool:
    """Return whether Keras surely takes a value; if not, let it say so itself."""
    if argument == "mode":
        return value in MODES
    if argument == "distribution":
        return isinstance(value, str) and value.lower() in DISTRIBUTIONS
    if argument == "scale":
        return isinstance(value, float) and value > 0
    return isinstance(value, float)


def _class_names() -> dict[str, str]:
    """Map every spelling that Keras exports, without case and underscores, to the name of its class."""
    initializers = import_keras().initializers
    names = {}
    for alias in dir(initializers):
        exported = getattr(initializers, alias)
        if _is_initializer(exported):
            names[_fold(alias)] = exported.__name__
    return names


def _is_initializer(exported: Any) -> bool:
    base = import_keras().initializers.Initializer
    return inspect.isclass(exported) and issubclass(exported, base) and exported is not base


def _fold(name: str) -> str:
    """Spell a name without case and underscores, as Keras' aliases differ."""
    return name.replace("_", "").lower()


def _class_named(class_name: str) -> Any:
    initializer_class = getattr(import_keras().initializers, class_name, None)
    if not _is_initializer(initializer_class):
        raise name_unknown("initializer", class_name, installed_initializers())
    return initializer_class
