"""Batches: what flows through a network while it is measured.

A batch is drawn from a source by name: ``gaussian`` (unit-variance normal noise), ``digits`` (8 × 8 images bundled with
scikit-learn), ``mnist`` (Keras' copy), or the path of a ``.npz`` file, either in the layout of Keras' data sets
(``x_train`` and, if there are labels, ``y_train``) or plain (``x`` and, if there are labels, ``y``).

Images in uint8 are divided by 255, so that they lie in [0, 1]; numbers of all other types are taken as they are.
"""

from __future__ import annotations

import contextlib
import io
import lzma
import os
import socket
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from initcheck.backend.runtime import import_keras
from initcheck.core.errors import DataError, UsageError, name_unknown

SOURCES: Final = ("gaussian", "digits", "mnist")

_LAYOUTS: Final = (("x_train", "y_train"), ("x", "y"))
_DOWNLOAD_TIMEOUT_SECONDS: Final = 15.0

# What NumPy and zipfile let through when a file is not what it claims to be; found by damaging files at random.
_DAMAGE: Final = (
    EOFError,
    KeyError,
    MemoryError,
    OverflowError,
    RuntimeError,
    ValueError,
    lzma.LZMAError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)


@dataclass(frozen=True, eq=False)
class Batch:
    """Samples that go through a network together, and their labels where the source has them; read-only."""

    name: str
    x: NDArray[np.float32]
    y: NDArray[Any] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "x", _read_only(self.x))
        if self.y is not None:
            object.__setattr__(self, "y", _read_only(self.y))

    @property
    def size(self) -> int:
        """Number of samples."""
        return int(self.x.shape[0])

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Shape of one sample."""
        return self.x.shape[1:]

    @property
    def second_moment(self) -> float:
        """Mean of x², accumulated in float64."""
        return float(np.mean(np.square(self.x, dtype=np.float64)))


def load_data(source: str, *, batch_size: int, seed: int, sample_shape: tuple[int, ...] | None = None) -> Batch:
    """Draw a batch from a source.

    The same arguments give the same batch, and no global random state is touched. From data sets, distinct samples
    are drawn without replacement.

    Args:
        batch_size: number of samples, at least 1.
        seed: seed of the draw, at least 0.
        sample_shape: shape of one sample. ``gaussian`` makes samples of this shape and cannot do without; for all
            other sources it is a requirement, and None takes the samples as they are.
    """
    if batch_size < 1:
        raise UsageError(f"The batch size must be at least 1. Received: batch_size={batch_size}")
    if seed < 0:
        raise UsageError(f"The seed of the data must be at least 0. Received: seed={seed}")
    random = np.random.default_rng(seed)
    if source == "gaussian":
        if sample_shape is None:
            raise UsageError("Source 'gaussian' needs the shape of one sample. Received: sample_shape=None")
        return Batch(source, random.standard_normal((batch_size, *sample_shape), dtype=np.float32))
    x, y, name = load_set(source)
    _check_labels(y, len(x), name)
    if sample_shape is not None and x.shape[1:] != sample_shape:
        raise DataError(
            f"{name!r} holds samples of shape {x.shape[1:]}, but the network takes {sample_shape}. "
            "Choose data of that shape, or a network that takes these."
        )
    if len(x) < batch_size:
        raise DataError(
            f"{name!r} holds {len(x)} samples, too few for a batch of {batch_size}. "
            f"Choose a batch size of at most {len(x)}."
        )
    chosen = random.choice(len(x), size=batch_size, replace=False)
    samples = to_float32(x[chosen], name)
    if not samples.any():
        raise DataError(f"{name!r}: every value of the batch is 0, so no signal enters the network. Check the data.")
    return Batch(name, samples, None if y is None else y[chosen])


def load_set(source: str) -> tuple[NDArray[Any], NDArray[Any] | None, str]:
    """Load all samples of a source, and their labels where it has them."""
    if source == "digits":
        return *_load_digits(), source
    if source == "mnist":
        x, y = _load_mnist()
    elif source.lower().endswith(".npz"):
        x, y = _read_npz(Path(source))
        source = Path(source).name
    elif Path(source).exists():
        raise DataError(f"Data files must be .npz files. Received: {source!r}. Save the arrays with numpy.savez.")
    else:
        raise name_unknown("data source", source, (*SOURCES, "PATH.npz"))
    _check_samples(x, source)
    return x, y, source


def _load_digits() -> tuple[NDArray[Any], NDArray[Any]]:
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise DataError("Source 'digits' needs scikit-learn. Run: pip install \"initcheck[digits]\"") from error
    digits = load_digits()
    return digits.images / 16.0, digits.target


def _load_mnist() -> tuple[NDArray[Any], NDArray[Any] | None]:
    home = Path(os.environ.get("KERAS_HOME", "~/.keras")).expanduser()
    cached = home / "datasets" / "mnist.npz"
    if cached.exists():
        return _read_npz(cached)
    keras = import_keras()
    try:
        with _bounded_download():
            (x, y), _test = keras.datasets.mnist.load_data()
    except Exception as error:
        # Keras raises plain Exception when a download fails.
        reason = " ".join(str(error).split()).split(" -- ")[-1]
        raise DataError(
            f"Source 'mnist' is neither in Keras' cache ({str(cached)!r}) nor to be had from the network ({reason}). "
            "Pass a copy in Keras' layout: --data PATH.npz"
        ) from error
    return x, y


@contextlib.contextmanager
def _bounded_download() -> Iterator[None]:
    """Keep a download from waiting for ever, and its progress off the standard output, which is for results."""
    former = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_DOWNLOAD_TIMEOUT_SECONDS)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        socket.setdefaulttimeout(former)


def _read_npz(path: Path) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Read the samples and the labels of a data set, and no other array."""
    read = read_arrays(path, lambda found: [key for key in _find_layout(found, repr(str(path))) if key in found])
    x, *labels = read.values()
    return x, labels[0] if labels else None


def read_arrays(path: Path, choose: Callable[[list[str]], Iterable[str]] = list) -> dict[str, NDArray[Any]]:
    """Read arrays of a .npz file, all or those that are chosen by their names; nothing in the file is executed."""
    shown = repr(str(path))
    if path.is_dir():
        raise DataError(f"{shown} is a folder. Pass the path of a .npz file.")
    try:
        # Opened here, because NumPy leaves a file open that it cannot make sense of.
        with path.open("rb") as file:
            archive = np.load(file, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise DataError(
                    f"{shown} holds a single array, not a .npz archive. Save it with numpy.savez(path, x=array)."
                )
            return {key: _read_array(archive, key, shown) for key in choose(archive.files)}
    except DataError:
        raise
    except FileNotFoundError as error:
        raise DataError(f"There is no file {shown}. Check the path.") from error
    except PermissionError as error:
        raise DataError(f"{shown} may not be read: permission denied. Change its permissions or copy it.") from error
    except OSError as error:
        reason = error.strerror or " ".join(str(error).split())
        raise DataError(f"{shown} cannot be read: {reason}. Check the file.") from error
    except _DAMAGE as error:
        raise DataError(f"{shown} is not a valid .npz file, or is damaged. Write it again with numpy.savez.") from error


def _find_layout(found: list[str], shown: str) -> tuple[str, str]:
    for layout in _LAYOUTS:
        if layout[0] in found:
            return layout
    keys = ", ".join(map(repr, found)) or "none"
    raise DataError(
        f"{shown} lacks the samples. Found keys: {keys}; expected 'x_train' (and 'y_train'), or 'x' (and 'y')."
    )


def _read_array(archive: Any, key: str, shown: str) -> NDArray[Any]:
    try:
        array = archive[key]
    except ValueError as error:
        if "allow_pickle" not in str(error):
            raise
        raise DataError(
            f"{shown}: array {key!r} holds Python objects, which initcheck never loads. Save it as an array of numbers."
        ) from error
    if not isinstance(array, np.ndarray):
        raise DataError(f"{shown}: {key!r} is not an array. Save it with numpy.savez.")
    return array


def _check_samples(x: NDArray[Any], name: str) -> None:
    if x.dtype.kind not in "biuf":
        raise DataError(f"{name!r}: the samples must be real numbers. Received: dtype {x.dtype}")
    if x.ndim < 2:
        raise DataError(
            f"{name!r}: the samples need a sample axis and at least one more. Received: shape {x.shape}. "
            "Give each sample a row of its own."
        )
    if x.size == 0:
        raise DataError(f"{name!r}: the samples are empty. Received: shape {x.shape}")
    if x.dtype.kind == "f":
        _check_finite(x, "samples", name)


def _check_finite(x: NDArray[Any], part: str, name: str) -> None:
    count, first = find_nonfinite(x)
    if count:
        noun = "value is" if count == 1 else "values are"
        raise DataError(
            f"{name!r}: {count} {noun} NaN or infinite in the {part}, the first at index {first}. "
            "Remove or correct them."
        )


def find_nonfinite(x: NDArray[Any]) -> tuple[int, tuple[int, ...]]:
    """Count the values that are NaN or infinite, and give the index of the first."""
    bad = ~np.isfinite(x)
    count = int(np.count_nonzero(bad))
    first = np.unravel_index(int(np.argmax(bad)), x.shape) if count else ()
    return count, tuple(int(place) for place in first)


def _check_labels(y: NDArray[Any] | None, samples: int, name: str) -> None:
    if y is None:
        return
    if y.dtype.kind not in "biuf":
        raise DataError(f"{name!r}: the labels must be numbers. Received: dtype {y.dtype}")
    if y.dtype.kind == "f":
        _check_finite(y, "labels", name)
    if y.ndim == 0 or len(y) != samples:
        received = "a single label" if y.ndim == 0 else f"{len(y)} labels"
        raise DataError(
            f"{name!r}: samples and labels must be equal in number. Received: {samples} samples, {received}."
        )


def to_float32(x: NDArray[Any], name: str) -> NDArray[np.float32]:
    """Convert samples of a data set to float32; pixels of 8 bits are divided by 255."""
    if x.dtype == np.uint8:
        return x.astype(np.float32) / np.float32(255)
    with np.errstate(over="ignore"):
        converted = x.astype(np.float32)
    if not np.isfinite(converted).all():
        raise DataError(f"{name!r}: some values are too large for float32. Scale the data.")
    return converted


def _read_only(array: NDArray[Any]) -> NDArray[Any]:
    view = array.view()
    view.setflags(write=False)
    return view
