"""Batches from every source, and one line for every way in which data can be bad."""

from __future__ import annotations

import pickle
import random
import re
import socket
import sys
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from initcheck.core.errors import DataError, UsageError
from initcheck.models import data
from initcheck.models.data import Batch, load_data


def _images(samples: int = 40) -> np.ndarray:
    """Small images, each with its own number in its first pixel."""
    images = np.random.default_rng(7).integers(0, 256, size=(samples, 4, 3), dtype=np.uint8)
    images[:, 0, 0] = np.arange(samples)
    return images


@pytest.fixture
def keras_layout(tmp_path: Path) -> Path:
    path = tmp_path / "pictures.npz"
    images = _images()
    np.savez(path, x_train=images, y_train=np.arange(40), x_test=images[:5], y_test=np.arange(5))
    return path


def _save(tmp_path: Path, **arrays: object) -> str:
    path = tmp_path / "data.npz"
    np.savez(path, **arrays)
    return str(path)


def _refusal(source: str, batch_size: int = 2, **arguments: object) -> str:
    """Load what must be refused; give back the one-line message."""
    with pytest.raises(DataError) as caught:
        load_data(source, batch_size=batch_size, seed=0, **arguments)
    message = str(caught.value)
    assert "\n" not in message
    assert caught.value.exit_code == 2
    return message


# --- gaussian ---------------------------------------------------------------------------------------------------------


def test_gaussian_is_float32_noise_of_unit_variance():
    batch = load_data("gaussian", batch_size=500, seed=0, sample_shape=(20, 10))
    assert batch.x.shape == (500, 20, 10)
    assert batch.x.dtype == np.float32
    assert batch.y is None
    assert batch.name == "gaussian"
    # 100,000 values: the mean's standard error is .0032, that of the second moment .0045.
    assert abs(float(batch.x.mean(dtype=np.float64))) < 5 * 0.0032
    assert abs(batch.second_moment - 1) < 5 * 0.0045


def test_gaussian_is_the_same_for_the_same_seed_and_differs_for_another():
    first, again, other = (load_data("gaussian", batch_size=3, seed=s, sample_shape=(5,)).x for s in (4, 4, 5))
    np.testing.assert_array_equal(first, again)
    assert not np.isin(other, first).any()


def test_no_source_touches_global_random_state(keras_layout: Path):
    python_before, numpy_before = random.getstate(), pickle.dumps(np.random.get_state())
    load_data("gaussian", batch_size=3, seed=4, sample_shape=(5,))
    load_data(str(keras_layout), batch_size=3, seed=4)
    assert random.getstate() == python_before
    assert pickle.dumps(np.random.get_state()) == numpy_before


# --- digits -----------------------------------------------------------------------------------------------------------


def test_digits_are_images_between_0_and_1_with_labels():
    pytest.importorskip("sklearn")
    batch = load_data("digits", batch_size=1797, seed=0)
    assert batch.x.shape == (1797, 8, 8)
    assert (batch.x.min(), batch.x.max()) == (0.0, 1.0)
    assert set(batch.y) == set(range(10))


def test_digits_without_scikit_learn_name_the_extra(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    assert 'pip install "initcheck[digits]"' in _refusal("digits")


# --- npz --------------------------------------------------------------------------------------------------------------


def test_uint8_images_are_scaled_to_between_0_and_1(keras_layout: Path):
    batch = load_data(str(keras_layout), batch_size=40, seed=0)
    assert batch.name == "pictures.npz"
    assert batch.x.dtype == np.float32
    order = np.argsort(batch.y)
    np.testing.assert_array_equal(batch.x[order], _images().astype(np.float32) / 255)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int64", "uint16", "bool"])
def test_numbers_of_other_types_are_taken_as_they_are(tmp_path: Path, dtype: str):
    values = np.random.default_rng(0).integers(0, 2, size=(6, 5)).astype(dtype)
    values[:, 0] = 1
    batch = load_data(_save(tmp_path, x=values), batch_size=6, seed=0)
    assert batch.x.dtype == np.float32
    assert sorted(batch.x.tolist()) == sorted(values.astype(np.float32).tolist())


@pytest.mark.parametrize("size", [17, 40])
def test_samples_are_drawn_without_replacement_and_keep_their_labels(keras_layout: Path, size: int):
    batch = load_data(str(keras_layout), batch_size=size, seed=3)
    np.testing.assert_array_equal(np.round(batch.x[:, 0, 0] * 255), batch.y)
    assert len(set(batch.y)) == size


def test_the_seed_chooses_the_samples(keras_layout: Path):
    first, again, other = (load_data(str(keras_layout), batch_size=10, seed=s).y for s in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert set(first) != set(other)


def test_the_whole_training_set_is_drawn_from_and_the_test_set_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    read = []
    original = np.lib.npyio.NpzFile.__getitem__

    def note(archive: np.lib.npyio.NpzFile, key: str) -> np.ndarray:
        read.append(key)
        return original(archive, key)

    monkeypatch.setattr(np.lib.npyio.NpzFile, "__getitem__", note)
    path = _save(tmp_path, x_train=_images(), y_train=np.arange(40), x_test=_images(5), y_test=np.arange(5))
    load_data(path, batch_size=4, seed=0)
    assert read == ["x_train", "y_train"]


def test_plain_keys_work_with_and_without_labels(tmp_path: Path):
    samples = np.ones((5, 2))
    assert load_data(_save(tmp_path, x=samples), batch_size=2, seed=0).y is None
    assert load_data(_save(tmp_path, x=samples, y=np.arange(5)), batch_size=2, seed=0).y is not None


def test_a_compressed_archive_is_read(tmp_path: Path):
    path = tmp_path / "DATA.NPZ"
    with path.open("wb") as file:
        np.savez_compressed(file, x=np.ones((5, 2)))
    assert load_data(str(path), batch_size=5, seed=0).size == 5


def test_a_batch_cannot_be_changed(keras_layout: Path):
    batch = load_data(str(keras_layout), batch_size=4, seed=0)
    with pytest.raises(ValueError, match="read-only"):
        batch.x[0] = 0
    with pytest.raises(ValueError, match="read-only"):
        batch.y[0] = 0


def test_a_batch_leaves_the_array_it_was_given_writable():
    mine = np.ones((2, 3), dtype=np.float32)
    assert Batch("mine", mine).sample_shape == (3,)
    mine[0] = 0


def test_the_second_moment_does_not_overflow_float32():
    assert Batch("large", np.full((2, 2), 1e30, dtype=np.float32)).second_moment == pytest.approx(1e60)


# --- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "arguments", "message"),
    [
        ("gaussian", {"batch_size": 0}, "Received: batch_size=0"),
        ("gaussian", {"batch_size": -1}, "Received: batch_size=-1"),
        ("gaussian", {"seed": -1}, "Received: seed=-1"),
        ("gaussian", {"sample_shape": None}, "needs the shape of one sample"),
        ("gausian", {}, "Unknown data source 'gausian'. Did you mean gaussian?"),
        ("?", {}, "Known: PATH.npz, digits, gaussian, mnist."),
    ],
)
def test_arguments_that_make_no_sense_are_usage_errors(source: str, arguments: dict[str, object], message: str):
    with pytest.raises(UsageError, match=re.escape(message)):
        load_data(source, **{"batch_size": 1, "seed": 0, "sample_shape": (2,), **arguments})


def test_a_missing_file_is_named(tmp_path: Path):
    path = str(tmp_path / "absent.npz")
    assert _refusal(path) == f"There is no file {path!r}. Check the path."


def _write_no_arrays(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x", "these are no numbers")


def _write_one_array(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, np.ones((3, 3)))


NO_ARCHIVES = (b"", b"not a zip", b"PK\x03\x04 and no more", pickle.dumps({"x": 1}))
BAD_FILES: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "another kind": ("data.csv", lambda path: path.write_text("1,2\n"), "must be .npz files"),
    "a folder": ("folder.npz", Path.mkdir, "is a folder"),
    "below a file": ("file/data.npz", lambda path: path.parent.write_text(""), "Not a directory"),
    "a single array under the wrong name": ("data.npz", _write_one_array, "holds a single array"),
    "an archive of other files": ("data.npz", _write_no_arrays, "'x' is not an array"),
    **{
        f"no archive: {content!r}": (
            "data.npz",
            partial(Path.write_bytes, data=content),
            "not a valid .npz file, or is damaged",
        )
        for content in NO_ARCHIVES
    },
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_files_that_are_no_npz_files_are_refused(tmp_path: Path, name: str):
    file, write, message = BAD_FILES[name]
    write(tmp_path / file)
    assert message in _refusal(str(tmp_path / file))


def test_a_file_that_may_not_be_read_is_refused(keras_layout: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    # A stand-in for chmod, which does not stop the superuser.
    monkeypatch.setattr(np, "load", refuse)
    assert "permission denied" in _refusal(str(keras_layout))


@pytest.mark.parametrize("share", [0.05, 0.5, 0.95, 0.999])
def test_a_truncated_archive_is_refused(keras_layout: Path, share: float):
    content = keras_layout.read_bytes()
    keras_layout.write_bytes(content[: int(len(content) * share)])
    assert "damaged" in _refusal(str(keras_layout))


def test_random_damage_never_gets_past_as_another_error(tmp_path: Path):
    path = tmp_path / "data.npz"
    np.savez_compressed(path, x=_images(), y=np.arange(40))
    sound = path.read_bytes()
    generator = np.random.default_rng(0)
    messages = []
    for _ in range(300):
        damaged = bytearray(sound)
        for position in generator.integers(0, len(sound), size=generator.integers(1, 6)):
            damaged[position] = generator.integers(0, 256)
        path.write_bytes(damaged)
        try:
            load_data(str(path), batch_size=2, seed=0)
        except DataError as error:
            messages.append(str(error))
    assert len(messages) > 150
    assert not any("\n" in message for message in messages)


PAIR = np.ones((2, 2))
NOT_FINITE = "NaN or infinite in the samples, the first at index (3, 0, 1)"


def _with_values(shape: tuple[int, ...], values: dict[tuple[int, ...], float]) -> np.ndarray:
    samples = np.ones(shape)
    for index, value in values.items():
        samples[index] = value
    return samples


REFUSED: dict[str, tuple[dict[str, object], str]] = {
    "wrong keys": (
        {"images": PAIR, "labels": PAIR},
        "Found keys: 'images', 'labels'; expected 'x_train' (and 'y_train'), or 'x' (and 'y').",
    ),
    "no arrays": ({}, "Found keys: none"),
    "a single number": ({"x": np.ones(())}, "Received: shape ()"),
    "samples without axes of their own": ({"x": np.ones(7)}, "Received: shape (7,)"),
    "no samples": ({"x": np.ones((0, 3))}, "empty. Received: shape (0, 3)"),
    "samples without numbers": ({"x": np.ones((5, 0))}, "empty. Received: shape (5, 0)"),
    "too few labels": ({"x": np.ones((5, 2)), "y": np.arange(4)}, "Received: 5 samples, 4 labels"),
    "a label without an axis": ({"x": np.ones((5, 2)), "y": np.int64(4)}, "Received: 5 samples, a single label"),
    "labels that are words": ({"x": PAIR, "y": np.array(["cat", "dog"])}, "labels must be numbers"),
    "labels that are NaN": ({"x": PAIR, "y": np.array([0, np.nan])}, "in the labels, the first at index (1,)"),
    **{
        f"samples of {dtype}": ({"x": np.zeros((3, 3), dtype=dtype)}, "must be real numbers. Received: dtype")
        for dtype in ("complex64", "U3", "datetime64[s]", "i4,f4")
    },
    **{
        f"two values of {value}": (
            {"x": _with_values((5, 2, 2), {(3, 0, 1): value, (4, 1, 1): value})},
            f"2 values are {NOT_FINITE}",
        )
        for value in (np.nan, np.inf, -np.inf)
    },
    "values beyond float32": ({"x": np.full((2, 2), 1e300)}, "too large for float32"),
    "a batch of zeros": ({"x": np.zeros((3, 3))}, "no signal enters the network"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_arrays_that_are_no_samples_with_labels_are_refused(tmp_path: Path, name: str):
    arrays, message = REFUSED[name]
    assert message in _refusal(_save(tmp_path, **arrays))


@pytest.mark.parametrize("key", ["x", "y"])
def test_python_objects_are_never_unpickled(tmp_path: Path, key: str):
    arrays = {"x": np.ones((2, 2)), "y": np.arange(2)}
    arrays[key] = np.array([_Explosive(), _Explosive()], dtype=object)
    assert f"array '{key}' holds Python objects" in _refusal(_save(tmp_path, **arrays))


class _Explosive:
    def __reduce__(self) -> tuple[object, ...]:
        return (pytest.fail, ("unpickled",))


def test_a_single_nan_outside_the_batch_is_found_too(tmp_path: Path):
    samples = _with_values((1000, 2), {(500, 1): np.nan})
    assert "1 value is NaN or infinite in the samples" in _refusal(_save(tmp_path, x=samples), batch_size=1)


def test_a_batch_larger_than_the_data_is_refused(keras_layout: Path):
    message = _refusal(str(keras_layout), batch_size=41)
    assert message == "'pictures.npz' holds 40 samples, too few for a batch of 41. Choose a batch size of at most 40."


def test_samples_must_have_the_shape_that_the_network_takes(keras_layout: Path):
    assert "shape (4, 3), but the network takes (12,)" in _refusal(str(keras_layout), sample_shape=(12,))
    assert load_data(str(keras_layout), batch_size=2, seed=0, sample_shape=(4, 3)).sample_shape == (4, 3)


# --- mnist ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def keras_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    (tmp_path / "datasets").mkdir()
    return tmp_path


def _pretend_keras(monkeypatch: pytest.MonkeyPatch, load: object) -> None:
    keras = SimpleNamespace(datasets=SimpleNamespace(mnist=SimpleNamespace(load_data=load)))
    monkeypatch.setattr(data, "import_keras", lambda: keras)


def test_mnist_comes_from_the_cache_without_importing_keras(keras_home: Path, monkeypatch: pytest.MonkeyPatch):
    np.savez(keras_home / "datasets" / "mnist.npz", x_train=_images(), y_train=np.arange(40))
    monkeypatch.setattr(data, "import_keras", lambda: pytest.fail("imported Keras"))
    batch = load_data("mnist", batch_size=4, seed=0)
    assert batch.name == "mnist"
    assert batch.x.max() <= 1


def test_a_damaged_cache_is_named(keras_home: Path):
    cached = keras_home / "datasets" / "mnist.npz"
    cached.write_bytes(b"half a downl")
    assert str(cached) in _refusal("mnist")


def test_mnist_from_the_network_makes_no_noise(
    keras_home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    timeouts = []

    def load() -> tuple[tuple[np.ndarray, np.ndarray], tuple[None, None]]:
        print("Downloading data")  # noqa: T201 - as Keras does
        timeouts.append(socket.getdefaulttimeout())
        return (_images(), np.arange(40)), (None, None)

    _pretend_keras(monkeypatch, load)
    assert load_data("mnist", batch_size=4, seed=0).sample_shape == (4, 3)
    assert capsys.readouterr().out == ""
    assert timeouts[0] is not None
    assert socket.getdefaulttimeout() is None


def test_mnist_without_cache_or_network_says_how_to_pass_a_copy(keras_home: Path, monkeypatch: pytest.MonkeyPatch):
    def fail() -> None:
        raise Exception("URL fetch failure on https://example.org/mnist.npz: None -- [Errno -2] Name not known")

    _pretend_keras(monkeypatch, fail)
    message = _refusal("mnist")
    assert "([Errno -2] Name not known)" in message
    assert message.endswith("--data PATH.npz")
