"""The one place where Keras and its backend are imported: quietly, and checked before anything is measured.

Backends write to file descriptor 2 while they start, past Python's ``sys.stderr`` and past their own log levels. That
noise is held back and shown only when the import fails, because then it may say why.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import importlib.metadata
import importlib.util
import json
import logging
import os
import platform
import re
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from initcheck import __version__
from initcheck.core.errors import BackendError

OLDEST_KERAS: Final = (3, 12)


@dataclass(frozen=True)
class _Library:
    """What is known of a backend before it is imported.

    Attributes:
        distributions: for each module that numbers depend on, the names under which it is installed.
        threads: the environment variable that says how many threads compute, read when the backend starts.
    """

    title: str
    distributions: Mapping[str, tuple[str, ...]]
    threads: str


_BACKENDS: Final = {
    "tensorflow": _Library(
        "TensorFlow", {"tensorflow": ("tensorflow", "tensorflow-cpu", "tf-nightly")}, "TF_NUM_INTRAOP_THREADS"
    ),
    "jax": _Library("JAX", {"jax": ("jax",), "jaxlib": ("jaxlib",)}, "PJRT_NPROC"),
    "torch": _Library("PyTorch", {"torch": ("torch",)}, "OMP_NUM_THREADS"),
}

BACKEND_LIBRARIES: Final = tuple(module for library in _BACKENDS.values() for module in library.distributions)
"""The libraries that compute, of which an installation needs those of one backend."""

BACKENDS: Final[Mapping[str, str]] = {name: library.title for name, library in _BACKENDS.items()}
"""The backends that initcheck measures on, and what they are called."""

_DEFAULT: Final = "tensorflow"  # as in Keras

_lock = threading.Lock()
_checked_keras: Any = None


def import_keras() -> Any:
    """Import Keras and its backend, without the start-up noise.

    Cheap after the first call. While the first call lasts (2 to 5 s), nothing that any thread writes to standard
    error appears: start progress displays after it.
    """
    global _checked_keras
    if _checked_keras is not None:
        return _checked_keras
    with _lock:
        if _checked_keras is None:
            # A loaded Keras has made its noise already; import_module waits should another thread still be at it.
            keras = importlib.import_module("keras") if sys.modules.get("keras") else _import_quietly()
            _check(keras)
            _checked_keras = keras
    return _checked_keras


def import_tensorflow() -> Any:
    """Import TensorFlow, behind Keras and so without the start-up noise."""
    import_keras()
    import tensorflow

    return tensorflow


def backend_name() -> str:
    """Name the backend that Keras runs on, or will run on once it is imported; nothing is imported for it."""
    keras = sys.modules.get("keras")
    running = getattr(getattr(keras, "backend", None), "backend", None)
    return str(running()) if callable(running) else _chosen_backend()[0]


def limit_threads() -> None:
    """Let each operation of the backend use one thread: then its sums have one order, the same in every process.

    Once the backend has started it is too late; then a warning is logged. The environment variable has precedence.
    """
    name = backend_name()
    library = _BACKENDS.get(name)
    if library is None or library.threads in os.environ:
        return
    started = sys.modules.get(name)
    if started is None:
        os.environ[library.threads] = "1"
        return
    if name == "torch":
        started.set_num_threads(1)
        return
    if name == "tensorflow":
        threading_of = started.config.threading
        if threading_of.get_intra_op_parallelism_threads() == 1:
            return
        try:
            threading_of.set_intra_op_parallelism_threads(1)
        except RuntimeError:
            pass
        else:
            return
    logging.getLogger("initcheck").warning(
        "%s has started with several threads for each operation: the last digits may differ from those of other "
        "processes. Set %s=1 before it is imported.",
        library.title,
        library.threads,
    )


@contextmanager
def single_threaded() -> Iterator[None]:
    """Let what is started in this context use one thread: processes, and libraries that load in this one.

    On small matrices threads cost many times what they save, and with several processes they wait for each other.
    """
    libraries = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS", "TF_NUM_INTEROP_THREADS")
    names = dict.fromkeys((*libraries, *(library.threads for library in _BACKENDS.values())))
    former = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name, value in former.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def no_garbage_sought_in(load: Callable[[], None]) -> Iterator[None]:
    """Load libraries, and for the length of the block look for garbage only in what is made after them.

    They make a million objects that stay, and each full collection would walk through them all, as would several while
    they load.
    """
    gc.disable()
    try:
        load()
        gc.freeze()
    finally:
        gc.enable()
    try:
        yield
    finally:
        gc.unfreeze()


def release_memory() -> None:
    """Let go of graphs that nothing uses, which refer to themselves, and return what is free to the system.

    On Linux, the C library keeps memory that was freed for the threads that had it, and those of TensorFlow stay.
    """
    gc.collect()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:  # of glibc alone
            trim(0)


def is_float_dtype(dtype: Any) -> bool:
    """Return whether a dtype, of Keras or of its backend, is a floating-point one."""
    backend = import_keras().backend
    return bool(backend.is_float_dtype(backend.standardize_dtype(dtype)))


def backend_errors() -> tuple[type[Exception], ...]:
    """Return the kinds of exceptions that a backend raises where memory is exhausted, or an operation fails."""
    tensorflow = sys.modules.get("tensorflow")
    # Those of TensorFlow derive from none of Python's, those of JAX and PyTorch from RuntimeError.
    own = getattr(getattr(tensorflow, "errors", None), "OpError", None)
    return (RuntimeError,) if own is None else (RuntimeError, own)


def has_float64() -> bool:
    """Return whether tensors that are asked for in float64 are: JAX has to be told, and some devices have none."""
    refused: tuple[type[Exception], ...] = (*backend_errors(), TypeError)
    try:
        with warnings.catch_warnings(action="ignore"):
            return dtype_name(import_keras().ops.zeros((), dtype="float64")) == "float64"
    except refused:
        return False


def check_dtype(dtype: str) -> None:
    """Refuse float64 where the backend would silently compute in another precision.

    Raises:
        BackendError: it would.
    """
    if dtype == "float64" and not has_float64():
        way = "Set the environment variable JAX_ENABLE_X64=1" if backend_name() == "jax" else "Choose another device"
        raise BackendError(f"The backend {backend_name()} has float64 switched off, or none. {way}, or ask for float32")


def dtype_name(tensor: Any) -> str:
    """Return the name of a tensor's dtype, the same on every backend."""
    return str(import_keras().backend.standardize_dtype(tensor.dtype))


def versions() -> dict[str, str]:
    """Return the versions that measurements depend on, by name, and the platform; nothing is imported for it."""
    library = _BACKENDS.get(backend_name())
    computing = {} if library is None else library.distributions
    found = {"initcheck": __version__, "python": platform.python_version()}
    found["keras"] = keras_version()
    found.update({module: _version(module, names) for module, names in computing.items()})
    found.update({module: _version(module, (module,)) for module in ("numpy", "scipy", "pandas")})
    found["platform"] = platform.platform()
    return found


def keras_version() -> str:
    """Return the version of the installed Keras, which is not imported for it."""
    return _version("keras", ("keras", "keras-nightly")) if "keras" in sys.modules else _read_keras_version()


def _read_keras_version() -> str:
    """Read the version from Keras' own file.

    keras-nightly puts its files over those of keras, which TensorFlow needs: both are then installed by name.
    """
    found = importlib.util.find_spec("keras")
    file = None if found is None or found.origin is None else Path(found.origin).parent / "src" / "version.py"
    text = file.read_text(encoding="utf-8") if file is not None and file.is_file() else ""
    version = re.search(r'^__version__ = "(.+)"$', text, re.MULTILINE)
    return _version("keras", ("keras", "keras-nightly")) if version is None else version[1]


def _version(module: str, distributions: tuple[str, ...]) -> str:
    imported = getattr(sys.modules.get(module), "__version__", None)
    if imported is not None:
        return str(imported)
    for distribution in distributions:
        try:
            return importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            continue
    return "not installed"


def _chosen_backend() -> tuple[str, str]:
    """Find which backend Keras will take, as Keras does, and what says so: empty where nothing does."""
    named = os.environ.get("KERAS_BACKEND")
    if named:
        return named, "KERAS_BACKEND"
    home = os.path.expanduser("~")  # noqa: PTH111 - as Keras does, where there is no home too
    folder = os.environ.get("KERAS_HOME") or Path(home if os.access(home, os.W_OK) else "/tmp", ".keras")
    settings = Path(folder, "keras.json")
    try:
        named = json.loads(settings.read_text(encoding="utf-8")).get("backend")
    except (OSError, ValueError, AttributeError):
        return _DEFAULT, ""
    return (str(named), str(settings)) if named else (_DEFAULT, "")


def _import_quietly() -> Any:
    backend, source = _chosen_backend()
    if backend not in _BACKENDS:
        raise _unknown_backend(backend)
    library = _BACKENDS[backend]
    install = _how_to_install(backend)
    if importlib.util.find_spec("keras") is None:
        raise BackendError(f"Keras is not installed. {install}")
    if any(importlib.util.find_spec(module) is None for module in library.distributions):
        raise _missing_backend(backend, source)
    # Level 2 keeps errors. oneDNN stays as TensorFlow sets it: switching it off would change the numbers.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        with _standard_error_held_back():
            keras = importlib.import_module("keras")
            # TensorFlow and JAX complain about missing GPU drivers when they first look for devices: let them look now.
            if backend == "tensorflow":
                importlib.import_module("tensorflow").config.list_physical_devices()
            elif backend == "jax":
                importlib.import_module("jax").devices()
            return keras
    except Exception as error:
        # Whatever the failure, a broken installation is what the user has to hear about.
        reason = " ".join(str(error).split()) or type(error).__name__
        raise BackendError(f"Keras cannot be imported: {reason}. Fix the installation. {install}") from error


def _check(keras: Any) -> None:
    version = str(getattr(keras, "__version__", "unknown"))
    backend = str(keras.backend.backend()) if hasattr(keras, "backend") else _DEFAULT
    digits = re.match(r"(\d+)\.(\d+)", version)
    if digits is None or (int(digits[1]), int(digits[2])) < OLDEST_KERAS:
        oldest = ".".join(map(str, OLDEST_KERAS))
        raise BackendError(f"Keras {oldest} or newer is needed. Received: Keras {version}. {_how_to_install(backend)}")
    if backend not in _BACKENDS:
        raise _unknown_backend(backend)


def _how_to_install(backend: str) -> str:
    return f'Run: pip install "initcheck[{backend if backend in _BACKENDS else _DEFAULT}]"'


def _unknown_backend(backend: str) -> BackendError:
    return BackendError(
        f"Measuring gradients needs one of the backends {', '.join(_BACKENDS)}. Received: backend {backend!r}. "
        f"Set the environment variable KERAS_BACKEND to one of them"
    )


def _missing_backend(backend: str, source: str) -> BackendError:
    """Say which backend is not installed, what asks for it, and which one there is."""
    why = {"": "which Keras runs on by default", "KERAS_BACKEND": "which KERAS_BACKEND names"}
    message = f"{_BACKENDS[backend].title}, {why.get(source, f'which {source} names')}, is not installed. "
    install = _how_to_install(backend)
    for other, library in _BACKENDS.items():
        if other != backend and all(importlib.util.find_spec(module) for module in library.distributions):
            install = f"Set the environment variable KERAS_BACKEND={other}, which is, or r{install[1:]}"
            break
    return BackendError(message + install)


@contextmanager
def _standard_error_held_back() -> Iterator[None]:
    """Hold back what is written to file descriptor 2; show it only if the block fails."""
    with tempfile.TemporaryFile() as held:
        try:
            saved = os.dup(2)
        except OSError:
            # Standard error is closed: there is nothing to hold back.
            yield
            return
        _flush_standard_error()
        os.dup2(held.fileno(), 2)
        try:
            yield
        except Exception:
            _flush_standard_error()
            held.seek(0)
            with os.fdopen(os.dup(saved), "wb") as terminal:
                terminal.write(held.read())
            raise
        finally:
            _flush_standard_error()
            os.dup2(saved, 2)
            os.close(saved)


def _flush_standard_error() -> None:
    if sys.stderr is not None:
        sys.stderr.flush()
