"""What initcheck needs of Keras beyond its public interface, in one place, since it may change with any version.

That is names of private modules, and methods that are replaced for a while to see how they are called.

The modules are imported when a function is called, behind :func:`initcheck.backend.runtime.import_keras`.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

from initcheck.backend.interface import backend

_SCOPE: Final = "stateless_scope"
_NAMES: Final = "object_name_uids"


def functional_class() -> Any:
    """Return the class of functional models, which ``keras`` exports under no name of its own."""
    from keras.src.models.functional import Functional

    return Functional


def variable_class() -> Any:
    """Return the class in which all Keras variables are initialized, on any backend."""
    from keras.src.backend.common.variables import Variable

    return Variable


def compile_loss_class() -> Any:
    """Return the class of a model's compiled loss."""
    from keras.src.trainers.compile_utils import CompileLoss

    return CompileLoss


def is_keras_operation(operation: Any) -> bool:
    """Return whether this is an operation of ``keras.ops`` in a functional model."""
    return type(operation).__module__.startswith("keras.src.ops")


def compute_fans(shape: Sequence[int], **axes: Any) -> tuple[float, float]:
    """Count the fans of a weight as the installed Keras does in an initializer's call."""
    from keras.src.initializers.random_initializers import compute_fans

    fan_in, fan_out = compute_fans(shape, **axes)
    return float(fan_in), float(fan_out)


def read_mask(tensor: Any) -> Any | None:
    """Return the mask that Keras has put on a tensor; None without one."""
    from keras.src.backend.common.masking import get_keras_mask

    return get_keras_mask(tensor)


def put_mask(tensor: Any, mask: Any) -> None:
    """Put a mask on a tensor, as Keras does."""
    from keras.src.backend.common.masking import set_keras_mask

    set_keras_mask(tensor, mask)


def sync_variables(model: Any) -> None:
    """Let a model's variables hold their values while ``fit`` runs: on JAX these are kept elsewhere."""
    sync = getattr(model, "jax_state_sync", None)
    if sync is not None:
        sync()


def global_seed_state() -> Any:
    """Return the state variable of Keras' global seed generator, made if there is none."""
    from keras.src.random.seed_generator import global_seed_generator

    with backend().outside_trace():
        return global_seed_generator().state


@contextmanager
def outside_stateless_scope() -> Iterator[None]:
    """Make variables as if no ``keras.StatelessScope`` were active, in which they would have no values."""
    from keras.src.backend.common import global_state

    scope = global_state.get_global_attribute(_SCOPE)
    global_state.set_global_attribute(_SCOPE, None)
    try:
        yield
    finally:
        global_state.set_global_attribute(_SCOPE, scope)


def count_automatic_names() -> dict[str, int]:
    """Return how many names Keras has made of each kind, ``dense`` and so on."""
    from keras.src.backend.common import global_state

    return dict(global_state.get_global_attribute(_NAMES) or {})


@contextmanager
def automatic_names_from(counts: Mapping[str, int]) -> Iterator[None]:
    """Let Keras make names as if only so many had been made, and go on afterwards as if none had."""
    from keras.src.backend.common import global_state

    before = global_state.get_global_attribute(_NAMES)
    global_state.set_global_attribute(_NAMES, defaultdict(int, counts))
    try:
        yield
    finally:
        global_state.set_global_attribute(_NAMES, before)


@contextmanager
def safe_mode() -> Iterator[None]:
    """Load models in safe mode, whatever ``keras.config.enable_unsafe_deserialization`` has set."""
    from keras.src.saving.serialization_lib import SafeModeScope

    with SafeModeScope(True):
        yield


class MethodWatch:
    """Replaces a method of a class while at least one thread watches it; all others call it as it was."""

    def __init__(self, find_class: Callable[[], Any], method: str) -> None:
        self._find_class = find_class
        self._method = method
        self._handler: ContextVar[Callable[..., Any] | None] = ContextVar(f"initcheck {method}", default=None)
        self._lock = threading.Lock()
        self._watching = 0
        self._original: Any = None
        self._inherited = False

    @contextmanager
    def watch(self, handle: Callable[..., Any]) -> Iterator[None]:
        """Let a function take the calls that this thread makes inside the context."""
        token = self._handler.set(handle)
        self._install()
        try:
            yield
        finally:
            self._uninstall()
            self._handler.reset(token)

    def _install(self) -> None:
        with self._lock:
            self._watching += 1
            if self._watching > 1:
                return
            owner = self._find_class()
            original = self._original = getattr(owner, self._method)
            self._inherited = self._method not in vars(owner)

            def watched(instance: Any, *args: Any, **kwargs: Any) -> Any:
                handle = self._handler.get()
                if handle is None:
                    return original(instance, *args, **kwargs)
                return handle(original, instance, *args, **kwargs)

            setattr(owner, self._method, watched)

    def _uninstall(self) -> None:
        with self._lock:
            self._watching -= 1
            if not self._watching and self._inherited:
                delattr(self._find_class(), self._method)
            elif not self._watching:
                setattr(self._find_class(), self._method, self._original)
