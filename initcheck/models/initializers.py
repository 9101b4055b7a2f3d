"""Keras' initializers as plain data: what the study measures, and what the installed Keras has besides."""

from __future__ import annotations

import ast
import inspect
import math
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from initcheck.backend.runtime import import_keras
from initcheck.core.errors import InitializerError, UsageError, name_unknown

# Arguments are written in the order in which Keras' constructors take them; others follow by name.
_ORDER: Final = ("value", "gain", "mean", "stddev", "minval", "maxval", "scale", "mode", "distribution")


@dataclass(frozen=True)
class InitializerSpec:
    """An initializer of Keras by its class and arguments, without the seed.

    Specs can be compared, hashed, pickled and made without Keras.

    Attributes:
        class_name: name of the class in ``keras.initializers``, for example ``"RandomNormal"``.
        arguments: (name, value) pairs of the arguments that differ from the class's defaults, or are to
            be named; sorted by name. Lists become tuples.
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
        order = {name: place for place, name in enumerate(_ORDER)}
        written = sorted(self.arguments, key=lambda argument: (order.get(argument[0], len(order)), argument[0]))
        return f"{self.class_name}({', '.join(f'{name}={value!r}' for name, value in written)})"

    def create(self, seed: int | None) -> Any:
        """Make the Keras initializer.

        Args:
            seed: the integer seed, or None for one that Keras draws from Python's ``random``. Classes
                without random values (Zeros, Ones, Constant, Identity) take none, and get none.

        Returns:
            A new ``keras.initializers.Initializer``. With an integer seed it returns the same values on
            every call, so each weight needs an instance, and a seed, of its own.

        Raises:
            UsageError: the installed Keras has no such class.
            InitializerError: Keras refuses the arguments.
        """
        initializer_class = _class_named(self.class_name)
        arguments = {name: list(value) if isinstance(value, tuple) else value for name, value in self.arguments}
        if seed is not None and "seed" in inspect.signature(initializer_class).parameters:
            arguments["seed"] = seed
        try:
            return initializer_class(**arguments)
        except (AttributeError, TypeError, ValueError) as error:
            raise InitializerError(f"Keras refuses {self.label}: {in_one_line(error)}") from error


def _spec(class_name: str, **arguments: Any) -> InitializerSpec:
    return InitializerSpec(class_name, tuple(arguments.items()))


STUDY_INITIALIZERS: Final = (
    # Without chance: every unit of a layer starts alike, or as a copy of its input.
    _spec("Zeros"),
    _spec("Ones"),
    _spec("Constant", value=0.05),
    _spec("Identity"),
    # A fixed spread, blind to the size of the layer.
    _spec("RandomNormal"),
    _spec("RandomNormal", stddev=1.0),
    _spec("RandomUniform"),
    _spec("TruncatedNormal"),
    # The family that scales with the fans. Three modes x three distributions are nine combinations, of which
    # four have names of their own and follow (fan_in and fan_avg, truncated and uniform: LeCun and Glorot).
    # The default is LeCun's once more, kept because it is what the bare name gives. Of the five others these
    # three show each mode and each distribution that has no name: fan_out in both its bounded forms, and
    # normal tails once (the tails do not depend on the mode).
    _spec("VarianceScaling"),
    _spec("VarianceScaling", mode="fan_out"),
    _spec("VarianceScaling", mode="fan_out", distribution="uniform"),
    _spec("VarianceScaling", mode="fan_avg", distribution="untruncated_normal"),
    _spec("GlorotNormal"),
    _spec("GlorotUniform"),
    _spec("HeNormal"),
    _spec("HeUniform"),
    _spec("LecunNormal"),
    _spec("LecunUniform"),
    # Exact in every draw, not only on average.
    _spec("Orthogonal"),
)
"""The initializers that the report measures by default, in the order in which it explains them."""

_REASONS: Final[Mapping[str, str]] = {
    "STFT": "makes the fixed Fourier kernels of a spectrogram layer, of shape (frame length, 1, bins), and no others",
}
_GENERIC_REASON: Final = "not in the study's list"


def parse_initializer(text: str) -> InitializerSpec:
    """Read an initializer as a person writes it.

    Args:
        text: the name of a class in ``keras.initializers`` or its alias, in any case (``HeNormal``,
            ``he_normal``), optionally with keyword arguments (``RandomNormal(stddev=1.0)``). Values are
            literals; nothing is evaluated.

    Returns:
        The spec, under the name of the class. Whole numbers become floats where the default is a float,
        so that ``stddev=1`` and ``stddev=1.0`` have one label.

    Raises:
        UsageError: unknown name or argument, bad syntax, a value of the wrong type, or a seed.
        InitializerError: Keras refuses the arguments.
    """
    name, arguments = split_call(text)
    class_name = _class_names().get(fold_name(name))
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


def installed_initializers() -> tuple[str, ...]:
    """List the initializers of the installed Keras.

    Returns:
        The name of every class that ``keras.initializers`` exports, each once however many aliases it
        has, without the base class; sorted.
    """
    return tuple(sorted(set(_class_names().values())))


def uncovered_initializers() -> dict[str, str]:
    """List the installed initializers that the study does not measure.

    Returns:
        For each name that :data:`STUDY_INITIALIZERS` lacks, the reason; sorted by name.
    """
    covered = {spec.class_name for spec in STUDY_INITIALIZERS}
    return {name: _REASONS.get(name, _GENERIC_REASON) for name in installed_initializers() if name not in covered}


def in_one_line(error: BaseException) -> str:
    """Word an exception of Keras in one line of at most 300 characters.

    Args:
        error: the exception.

    Returns:
        Its message without line breaks, cut at a word; its class where it has no message.
    """
    return textwrap.shorten(str(error), width=300, placeholder=" ...") or type(error).__name__


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


def _class_names() -> dict[str, str]:
    """Map every spelling that Keras exports, without case and underscores, to the name of its class."""
    initializers = import_keras().initializers
    names = {}
    for alias in dir(initializers):
        exported = getattr(initializers, alias)
        if _is_initializer(exported):
            names[fold_name(alias)] = exported.__name__
    return names


def _is_initializer(exported: Any) -> bool:
    base = import_keras().initializers.Initializer
    return inspect.isclass(exported) and issubclass(exported, base) and exported is not base


def fold_name(name: str) -> str:
    """Spell a name without case and underscores, as Keras' aliases differ."""
    return name.replace("_", "").lower()


def _class_named(class_name: str) -> Any:
    initializer_class = getattr(import_keras().initializers, class_name, None)
    if not _is_initializer(initializer_class):
        raise name_unknown("initializer", class_name, installed_initializers())
    return initializer_class
