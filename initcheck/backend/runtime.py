"""The one place where Keras and its backend are imported: quietly, and checked before anything is measured.

TensorFlow writes to file descriptor 2 while it starts, past Python's ``sys.stderr`` and past its own log levels. That
noise is held back and shown only when the import fails, because then it may say why.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import importlib.metadata
import importlib.util
import logging
import os
import platform
import re
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from initcheck import __version__
from initcheck.core.errors import BackendError

OLDEST_KERAS: Final = (3, 12)

_INSTALL: Final = 'Run: pip install "initcheck[tensorflow]"'
_DISTRIBUTIONS: Final = {
    "keras": ("keras",),
    "tensorflow": ("tensorflow", "tensorflow-cpu", "tf-nightly"),
    "numpy": ("numpy",),
    "scipy": ("scipy",),
    "pandas": ("pandas",),
}

_lock = threading.Lock()
_checked_keras: Any = None


def import_keras() -> Any:
    """Import Keras on its TensorFlow backend, without the start-up noise.

    Cheap after the first call. While the first call lasts (4 to 5 s), nothing that any thread writes to standard
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


_THREADS: Final = "TF_NUM_INTRAOP_THREADS"


def limit_threads() -> None:
    """Let each operation of TensorFlow use one thread: then its sums have one order, the same in every process.

    Once TensorFlow has started it is too late; then a warning is logged. The environment variable has precedence.
    """
    if _THREADS in os.environ:
        return
    if "tensorflow" not in sys.modules:
        os.environ[_THREADS] = "1"
        return
    threading_of = import_tensorflow().config.threading
    if threading_of.get_intra_op_parallelism_threads() == 1:
        return
    try:
        threading_of.set_intra_op_parallelism_threads(1)
    except RuntimeError:
        logging.getLogger("initcheck").warning(
            "TensorFlow has started with several threads for each operation: the last digits may differ from those of "
            "other processes. Set %s=1 before TensorFlow is imported.",
            _THREADS,
        )


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


def versions() -> dict[str, str]:
    """Return the versions that measurements depend on, by name, and the platform; nothing is imported for it."""
    found = {"initcheck": __version__, "python": platform.python_version()}
    found.update({module: _version(module) for module in _DISTRIBUTIONS})
    found["platform"] = platform.platform()
    return found


def _version(module: str) -> str:
    imported = getattr(sys.modules.get(module), "__version__", None)
    if imported is not None:
        return str(imported)
    for distribution in _DISTRIBUTIONS[module]:
        try:
            return importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            continue
    return "not installed"


def _import_quietly() -> Any:
    backend = os.environ.get("KERAS_BACKEND", "tensorflow")
    if backend != "tensorflow":
        raise _other_backend(backend)
    for module, name in (("keras", "Keras"), ("tensorflow", "TensorFlow")):
        if importlib.util.find_spec(module) is None:
            raise BackendError(f"{name} is not installed. {_INSTALL}")
    # Level 2 keeps errors. oneDNN stays as TensorFlow sets it: switching it off would change the numbers.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        with _standard_error_held_back():
            keras = importlib.import_module("keras")
            # TensorFlow complains about missing GPU drivers when it first looks for devices: let it look now.
            importlib.import_module("tensorflow").config.list_physical_devices()
            return keras
    except Exception as error:
        # Whatever the failure, a broken installation is what the user has to hear about.
        reason = " ".join(str(error).split()) or type(error).__name__
        raise BackendError(f"Keras cannot be imported: {reason}. Fix the installation. {_INSTALL}") from error


def _check(keras: Any) -> None:
    version = str(getattr(keras, "__version__", "unknown"))
    digits = re.match(r"(\d+)\.(\d+)", version)
    if digits is None or (int(digits[1]), int(digits[2])) < OLDEST_KERAS:
        oldest = ".".join(map(str, OLDEST_KERAS))
        raise BackendError(f"Keras {oldest} or newer is needed. Received: Keras {version}. {_INSTALL}")
    backend = str(keras.backend.backend())
    if backend != "tensorflow":
        raise _other_backend(backend)


def _other_backend(backend: str) -> BackendError:
    return BackendError(
        f"Measuring gradients needs the TensorFlow backend at present. Received: backend {backend!r}. "
        "Set the environment variable KERAS_BACKEND=tensorflow"
    )


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
