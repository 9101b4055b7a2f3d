"""An initializer to be verified, whatever form it has, and its calls.

It is a Keras name, a class, an instance, a function of shape and dtype, or a function that makes an initializer.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from numpy.typing import NDArray

from initcheck.backend.random_state import set_random_seed
from initcheck.backend.runtime import import_keras
from initcheck.core.errors import UsageError
from initcheck.core.loading import RaisedError, TookTooLongError, run_user_code
from initcheck.models.initializers import InitializerSpec, read_nearest
from initcheck.spec.subjects import to_numpy

Form = Literal["class", "instance", "function", "factory"]
Shape = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class VerifyTarget:
    """What makes the initializer.

    Attributes:
        spec: the class of Keras whose documentation holds for it; None where there is none.
        rebuild: makes one with other constructor arguments, to try the round trip of its config; None if it cannot be.
    """

    label: str
    form: Form
    build: Callable[[int | None], Any]
    takes_seed: bool
    spec: InitializerSpec | None = None
    rebuild: Callable[[Mapping[str, Any], int | None], Any] | None = None
    numbers: tuple[tuple[str, float], ...] = ()

    def create(self, seed: int | None) -> Any:
        """Make an initializer; without a seed argument of its own, Keras' global seed is set."""
        if seed is not None:
            # Also where there is a seed: two initializers of one seed are to agree whatever the global seed is.
            set_random_seed(seed % 2**31)
        return self.build(seed)


def read_target(found: Any, label: str, arguments: Mapping[str, Any], seconds: float) -> VerifyTarget:
    """Recognize the form of the user's object.

    Args:
        found: a class, a function of shape and dtype, a function that makes an initializer, or an initializer.
    """
    if not callable(found):
        raise UsageError(
            f"{label!r} is not callable. Received: {type(found).__name__}. Give an initializer, its class, or a "
            "function of shape and dtype."
        )
    parameters = _parameters(found)
    if inspect.isclass(found) or (inspect.isroutine(found) and _is_factory(parameters, arguments)):
        form: Form = "class" if inspect.isclass(found) else "factory"
        target = _constructed(found, label, form, parameters, arguments)
        try:
            made = run_user_code(lambda: target.create(1), seconds, judged=True)
        except RaisedError as error:
            raise UsageError(
                f"{label!r} cannot be made: {error}. Give constructor arguments as --arg name=value."
            ) from error
        if not callable(made):
            raise UsageError(
                f"{label!r} makes an object of type {type(made).__name__}, which is not callable. An initializer is "
                "called with a shape."
            )
        return replace(target, spec=read_nearest(made))
    if inspect.isroutine(found) or not hasattr(found, "get_config"):
        return _function(found, label, parameters, arguments)
    if arguments:
        raise UsageError(f"{label!r} is an instance and takes no --arg. Give its class, or leave --arg out.")
    return replace(_instance(found, label, seconds), spec=read_nearest(found))


def keras_target(spec: InitializerSpec) -> VerifyTarget:
    """Make the target of an initializer of Keras."""
    keras_class = getattr(import_keras().initializers, spec.class_name)
    arguments = {name: list(value) if isinstance(value, tuple) else value for name, value in spec.arguments}
    spec.create(0)  # refuses wrong arguments in one line
    target = _constructed(keras_class, spec.label, "class", _parameters(keras_class), arguments)
    return replace(target, spec=spec)


def _parameters(found: Any) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(found).parameters
    except (TypeError, ValueError):  # of builtins
        return {}


def _is_factory(parameters: Mapping[str, inspect.Parameter], arguments: Mapping[str, Any]) -> bool:
    """Distinguish a function that makes an initializer from one that is an initializer: the latter needs a shape."""
    needed = [
        name
        for name, each in parameters.items()
        if name not in arguments
        and name != "seed"
        and (each.kind is each.VAR_POSITIONAL or (each.default is each.empty and each.kind is not each.VAR_KEYWORD))
    ]
    return not needed and "shape" not in parameters


def _constructed(
    found: Any, label: str, form: Form, parameters: Mapping[str, inspect.Parameter], arguments: Mapping[str, Any]
) -> VerifyTarget:
    by_keyword = any(each.kind is each.VAR_KEYWORD for each in parameters.values())
    takes_seed = "seed" in parameters or (form == "class" and by_keyword)

    def rebuild(changed: Mapping[str, Any], seed: int | None) -> Any:
        seeded = {"seed": seed} if takes_seed and seed is not None else {}
        return found(**{**arguments, **changed, **seeded})

    numbers = tuple(
        (name, float(arguments.get(name, each.default)))
        for name, each in parameters.items()
        if type(each.default) is float and isinstance(arguments.get(name, each.default), int | float)
    )
    return VerifyTarget(label, form, lambda seed: rebuild({}, seed), takes_seed, rebuild=rebuild, numbers=numbers)


def _function(
    found: Any, label: str, parameters: Mapping[str, inspect.Parameter], arguments: Mapping[str, Any]
) -> VerifyTarget:
    takes_seed = "seed" in parameters

    def build(seed: int | None) -> Any:
        seeded = {"seed": seed} if takes_seed and seed is not None else {}
        return lambda shape, dtype=None: found(shape, dtype=dtype, **arguments, **seeded)

    return VerifyTarget(label, "function", build, takes_seed)


def _instance(found: Any, label: str, seconds: float) -> VerifyTarget:
    """Seed an instance anew through its config."""
    try:
        config = run_user_code(found.get_config, seconds, judged=True)
        takes_seed = isinstance(config, dict) and "seed" in config
    except RaisedError:
        takes_seed = False
    if not takes_seed:
        return VerifyTarget(label, "instance", lambda _: found, takes_seed=False)
    return VerifyTarget(
        label,
        "instance",
        lambda seed: found if seed is None else type(found).from_config({**config, "seed": seed}),
        takes_seed=True,
    )


# --- calls of the user's code -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Answer:
    """What one call returned.

    Attributes:
        values: as NumPy array; None where it cannot be made one of numbers.
    """

    values: NDArray[Any] | None
    dtype: str
    is_tensor: bool
    type_name: str
    seconds: float


def call_initializer(make: Callable[[], Any], shape: Shape, dtype: str, seconds: float) -> Answer:
    """Make an initializer and call it."""
    keras = import_keras()
    start = time.perf_counter()
    try:
        returned = run_user_code(lambda: make()(shape, dtype=dtype), seconds, judged=True)
    except TookTooLongError:
        raise TookTooLongError(f"shape {shape}") from None
    taken = time.perf_counter() - start
    is_tensor = bool(keras.ops.is_tensor(returned))
    values: NDArray[Any] | None = None
    try:
        values = to_numpy(returned)
        if values.dtype.kind not in "fiub":
            values = None
        name = str(keras.backend.standardize_dtype(returned.dtype)) if hasattr(returned, "dtype") else "none"
    except (TypeError, ValueError):
        values, name = None, str(getattr(returned, "dtype", "none"))
    return Answer(values, name, is_tensor, type(returned).__name__, taken)
