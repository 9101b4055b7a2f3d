"""An initializer to be verified, whatever form it has: a Keras name, a class, an instance, a function or a factory."""

from __future__ import annotations

import contextlib
import inspect
import io
import math
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import FrameType
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import special

from initcheck.backend.runtime import import_keras
from initcheck.core.errors import UsageError
from initcheck.models.initializers import InitializerSpec, in_one_line
from initcheck.spec.distributions import EntryDistribution
from initcheck.spec.subjects import Draws, Subject, to_numpy

if TYPE_CHECKING:
    from initcheck.spec.claim import RunContext


Form = Literal["class", "instance", "function", "factory"]


class TookTooLongError(BaseException):
    """The user's code took longer than the limit. No Exception, so that the user's own handlers let it pass."""


class RefusedError(Exception):
    """The user's code raised.

    Attributes:
        deliberate: whether it is a ValueError or NotImplementedError, as Keras raises for ranks it does not take.
    """

    def __init__(self, error: BaseException) -> None:
        super().__init__(f"{type(error).__name__}: {in_one_line(error)}")
        self.deliberate: Final = isinstance(error, ValueError | NotImplementedError)


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Interrupt the block after some time.

    A timer signal ends Python code and sleeps; a computation inside a C library ends first, and is too long then. Where
    there are no timer signals (Windows, other threads), the time is looked at in the end.

    Raises:
        TookTooLongError: the block took longer.
    """
    start = time.perf_counter()
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        if time.perf_counter() - start > seconds:
            raise TookTooLongError
        return

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise TookTooLongError

    before = signal.signal(signal.SIGALRM, interrupt)
    timer = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)
        signal.setitimer(signal.ITIMER_REAL, *timer)


def guarded(call: Callable[[], Any], seconds: float) -> Any:
    """Run the user's code: within a time, with its output on standard error, without its warnings.

    Raises:
        RefusedError: it raised.
        TookTooLongError: it took longer.
    """
    try:
        with (
            time_limit(seconds),
            contextlib.redirect_stdout(sys.stderr or io.StringIO()),
            warnings.catch_warnings(action="ignore"),
        ):
            return call()
    except (Exception, SystemExit) as error:
        raise RefusedError(error) from error


@dataclass(frozen=True, eq=False)
class Target:
    """What makes the initializer.

    Attributes:
        label: the initializer as the user wrote it.
        form: what was found.
        build: makes a new initializer from a seed (None: without one).
        takes_seed: whether the seed has any effect on ``build``; otherwise Keras' global seed is set before each call.
        spec: the class of Keras whose documentation holds for it; None where there is none.
        rebuild: makes one with other constructor arguments, to try the round trip of its config; None if it cannot be.
        numbers: the constructor's arguments that are floats by default, with their values.
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
            # Also where there is a seed: two initializers of one seed are to agree wherever the global one stands.
            import_keras().utils.set_random_seed(seed % 2**31)
        return self.build(seed)


def read_target(found: Any, label: str, arguments: Mapping[str, Any], seconds: float) -> Target:
    """See what the user's object is.

    Args:
        found: a class, a function of shape and dtype, a function that makes an initializer, or an initializer.
        label: its name for messages.
        arguments: constructor arguments, without the seed.
        seconds: limit of its calls.

    Raises:
        UsageError: it is none of these, or cannot be made.
        TookTooLongError: making it took too long.
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
        made = _make(target, seconds)
        if not callable(made):
            raise UsageError(
                f"{label!r} makes an object of type {type(made).__name__}, which is not callable. An initializer is "
                "called with a shape."
            )
        return _with_spec(target, made)
    if inspect.isroutine(found) or not hasattr(found, "get_config"):
        return _function(found, label, parameters, arguments)
    if arguments:
        raise UsageError(f"{label!r} is an instance and takes no --arg. Give its class, or leave --arg out.")
    return _with_spec(_instance(found, label, seconds), found)


def of_keras(spec: InitializerSpec) -> Target:
    """Make the target of an initializer of Keras."""
    keras_class = getattr(import_keras().initializers, spec.class_name)
    arguments = {name: list(value) if isinstance(value, tuple) else value for name, value in spec.arguments}
    target = _constructed(keras_class, spec.label, "class", _parameters(keras_class), arguments)
    return _with_spec(target, spec.create(0), spec)


def _parameters(found: Any) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(found).parameters
    except (TypeError, ValueError):  # of builtins
        return {}


def _takes(parameters: Mapping[str, inspect.Parameter], name: str) -> bool:
    return name in parameters or any(each.kind is each.VAR_KEYWORD for each in parameters.values())


def _is_factory(parameters: Mapping[str, inspect.Parameter], arguments: Mapping[str, Any]) -> bool:
    """Tell a function that makes an initializer from one that is an initializer: the latter needs a shape."""
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
) -> Target:
    takes_seed = "seed" in parameters or (form == "class" and _takes(parameters, "seed"))

    def rebuild(changed: Mapping[str, Any], seed: int | None) -> Any:
        seeded = {"seed": seed} if takes_seed and seed is not None else {}
        return found(**{**arguments, **changed, **seeded})

    numbers = tuple(
        (name, float(arguments.get(name, each.default)))
        for name, each in parameters.items()
        if type(each.default) is float and isinstance(arguments.get(name, each.default), int | float)
    )
    return Target(label, form, lambda seed: rebuild({}, seed), takes_seed, None, rebuild, numbers)


def _function(
    found: Any, label: str, parameters: Mapping[str, inspect.Parameter], arguments: Mapping[str, Any]
) -> Target:
    takes_seed = "seed" in parameters

    def build(seed: int | None) -> Any:
        seeded = {"seed": seed} if takes_seed and seed is not None else {}
        return lambda shape, dtype=None: found(shape, dtype=dtype, **arguments, **seeded)

    return Target(label, "function", build, takes_seed)


def _instance(found: Any, label: str, seconds: float) -> Target:
    """Seed an instance anew through its config."""
    try:
        config = guarded(found.get_config, seconds)
        takes_seed = isinstance(config, dict) and "seed" in config
    except RefusedError:
        takes_seed = False
    if not takes_seed:
        return Target(label, "instance", lambda _: found, takes_seed=False)
    return Target(
        label,
        "instance",
        lambda seed: found if seed is None else type(found).from_config({**config, "seed": seed}),
        takes_seed=True,
    )


def _make(target: Target, seconds: float) -> Any:
    try:
        return guarded(lambda: target.create(1), seconds)
    except RefusedError as error:
        raise UsageError(
            f"{target.label!r} cannot be made: {error}. Give constructor arguments as --arg name=value."
        ) from error


def _with_spec(target: Target, made: Any, spec: InitializerSpec | None = None) -> Target:
    """Find the class of Keras whose documentation speaks of it: the nearest in its line of descent."""
    found = spec or _documented(made)
    return Target(target.label, target.form, target.build, target.takes_seed, found, target.rebuild, target.numbers)


_ATTRIBUTES: Final = ("mean", "stddev", "minval", "maxval", "scale", "mode", "distribution", "gain", "value")
_FIXED: Final = ("input_axes", "output_axes")


def _documented(made: Any) -> InitializerSpec | None:
    initializers = import_keras().initializers
    for each in type(made).__mro__:
        name = each.__name__
        if getattr(initializers, name, None) is not each or name == "Initializer":
            continue
        taken = _parameters(each)
        names = [attribute for attribute in (*_ATTRIBUTES, *_FIXED) if attribute in taken and hasattr(made, attribute)]
        pairs = [(attribute, getattr(made, attribute)) for attribute in names]
        return InitializerSpec(name, tuple((key, value) for key, value in pairs if value != taken[key].default))
    return None


def fans_of(shape: tuple[int, ...]) -> tuple[int, int]:
    """Compute fan_in and fan_out as Keras does."""
    if len(shape) < 2:
        return math.prod(shape), math.prod(shape)
    area = math.prod(shape[:-2])
    return area * shape[-2], area * shape[-1]


MOST_DRAWS: Final = 2000
_MOST_VECTORS: Final = 128
_MOST_LENGTH: Final = 512
_MOST_ENTRIES: Final = 2**19


@dataclass(frozen=True)
class Answer:
    """What one call returned.

    Attributes:
        values: as NumPy array; None where it cannot be made one of numbers.
        dtype: by name.
        is_tensor: whether it is a tensor of Keras' backend.
        type_name: of what was returned.
        seconds: how long it took.
    """

    values: NDArray[Any] | None
    dtype: str
    is_tensor: bool
    type_name: str
    seconds: float


def ask(target: Target, seed: int, shape: tuple[int, ...], dtype: str, seconds: float) -> Answer:
    """Make an initializer and call it.

    Raises:
        RefusedError: it raised.
        TookTooLongError: it took too long.
    """
    return ask_with(lambda: target.create(seed), shape, dtype, seconds)


def ask_with(make: Callable[[], Any], shape: tuple[int, ...], dtype: str, seconds: float) -> Answer:
    """Make an initializer in some way and call it; see :func:`ask`."""
    keras = import_keras()
    start = time.perf_counter()
    try:
        returned = guarded(lambda: make()(shape, dtype=dtype), seconds)
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


@dataclass(frozen=True)
class LawByShape(Subject):
    """A subject whose law is known shape by shape.

    Attributes:
        laws: pairs of shape and law.
    """

    laws: tuple[tuple[tuple[int, ...], EntryDistribution], ...] = ()

    def distribution(self, shape: tuple[int, ...]) -> EntryDistribution:
        """Give the law of a shape."""
        return dict(self.laws)[shape]


@dataclass(frozen=True)
class Kept(Draws):
    """Weights that were drawn already.

    Attributes:
        part: which part of them is held, in words; parts of one weight are different draws.
        weights: shape [count, ...].
    """

    part: str = "all"
    weights: NDArray[Any] = field(default_factory=lambda: np.zeros(0), compare=False, repr=False)

    @property
    def entries(self) -> int:
        """Entries of all that is held."""
        return int(self.weights.size)

    def draw(self, context: RunContext) -> NDArray[Any]:  # noqa: ARG002 - drawn already
        """Give what is held."""
        return self.weights


def keep(
    target: Target, shape: tuple[int, ...], dtype: str, weights: NDArray[Any], law: EntryDistribution | None
) -> Kept:
    """Hold drawn weights; without a law, as normal scores of their ranks, whose law is known if they are independent.

    Entries that are equal are put in order by chance, so that the scores of a discrete law are normal too.
    """
    if law is None:
        random = np.random.default_rng(0)
        order = np.lexsort((random.random(weights.size), weights.ravel()))
        scores = np.empty(weights.size)
        scores[order] = special.ndtri((np.arange(weights.size) + 0.5) / weights.size)
        weights, law = scores.reshape(weights.shape), EntryDistribution("normal", 0.0, 1.0)
    subject = LawByShape("verified", target, None, ((shape, law),))
    return Kept(subject, shape, len(weights), dtype, "", "all", weights)


def cut(kept: Kept, between: str) -> Kept:
    """Leave out what would make the tests of independence slow: of large weights, the middle."""
    weights: NDArray[Any] = kept.weights.reshape(len(kept.weights), -1, kept.shape[-1])
    if between == "order":
        weights = weights[: max(1, _MOST_ENTRIES // weights[0].size)]
    elif between == "draws":
        weights = weights[:_MOST_VECTORS].reshape(min(len(weights), _MOST_VECTORS), -1)
        weights = weights[:, : max(2, 2 * _MOST_ENTRIES // len(weights))]
    else:
        # ``rows`` pairs rows, which are as long as there are columns; ``columns`` the other way round.
        rows, columns = (_MOST_VECTORS, _MOST_LENGTH) if between == "rows" else (_MOST_LENGTH, _MOST_VECTORS)
        weights = weights[:4][:, ends(weights.shape[1], rows)][:, :, ends(weights.shape[2], columns)]
    return Kept(kept.subject, kept.shape, len(weights), kept.dtype, "", between, weights)


def ends(size: int, most: int) -> NDArray[np.int64]:
    """Choose the first and the last of many indices."""
    if size <= most:
        return np.arange(size)
    return np.concatenate([np.arange(most // 2), np.arange(size - most // 2, size)])


def draw_many(
    target: Target, shape: tuple[int, ...], dtype: str, seeds: tuple[int, ...], seconds: float
) -> list[Answer]:
    """Draw from several seeds, until together they took ``seconds``; at least one.

    Raises:
        RefusedError: a call raised.
        TookTooLongError: a call took too long.
    """
    found: list[Answer] = []
    start = time.perf_counter()
    for seed in seeds:
        found.append(ask(target, seed, shape, dtype, seconds))
        if time.perf_counter() - start > seconds:
            break
    return found


def count_of(entries: int, shape: tuple[int, ...]) -> int:
    """Say how many weights of a shape hold that many entries, within limits."""
    return min(MOST_DRAWS, max(4, math.ceil(entries / math.prod(shape))))
