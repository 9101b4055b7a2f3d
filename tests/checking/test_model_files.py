"""Models in .keras files: loaded in safe mode, or one line with a remedy."""

from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest

from initcheck.backend.runtime import import_keras
from initcheck.checking.load_model import load_model
from initcheck.core.errors import ModelError


def expect_message(error_class, reference, arguments=None):
    with pytest.raises(error_class) as caught:
        load_model(reference, arguments)
    message = str(caught.value)
    assert "\n" not in message
    assert re.search(r"[.?)]$", message), message
    return message


def save(path: Path, *layers, **options):
    keras = import_keras()
    model = keras.Sequential([keras.Input((4,)), *layers])
    if options:
        model.compile(**options)
    model.save(path)
    return model


def test_a_keras_file_gives_its_model_and_weights(tmp_path):
    path = tmp_path / "a name with spaces.keras"
    model = save(path, import_keras().layers.Dense(3), optimizer="sgd", loss="mse")
    loaded = load_model(str(path))
    assert loaded.initializers is None and loaded.model.compiled
    for mine, theirs in zip(loaded.model.weights, model.weights, strict=True):
        np.testing.assert_array_equal(mine.numpy(), theirs.numpy())


@pytest.mark.parametrize("unsafe", [False, True])
def test_a_lambda_in_a_file_is_never_executed(unsafe, tmp_path):
    keras = import_keras()
    from keras.src.backend.common import global_state

    path, trace = tmp_path / "lambda.keras", tmp_path / "trace"
    save(path, keras.layers.Lambda(eval(f"lambda x: (open({str(trace)!r}, 'w').close(), x)[1]")))
    trace.unlink(missing_ok=True)
    if unsafe:
        keras.config.enable_unsafe_deserialization()
    try:
        message = expect_message(ModelError, str(path))
        assert not trace.exists()
        if unsafe:  # the negative control: Keras itself would have executed it
            keras.saving.load_model(path)
            assert trace.exists()
    finally:
        global_state.set_global_attribute("safe_mode_saving", None)
    assert "Lambda" in message and "package.module:factory" in message


def test_an_unknown_custom_class_is_named(tmp_path):
    keras = import_keras()

    class Strange(keras.layers.Layer):
        def call(self, inputs):
            return inputs

    path = tmp_path / "custom.keras"
    save(path, Strange())
    message = expect_message(ModelError, str(path))
    assert "class 'Strange'" in message and "package.module:factory" in message


def test_a_custom_loss_does_not_keep_a_model_from_being_loaded(tmp_path):
    keras = import_keras()

    def strange(y_true, y_pred):
        return keras.ops.mean(y_pred)

    path = tmp_path / "loss.keras"
    save(path, keras.layers.Dense(3), optimizer="sgd", loss=strange)
    loaded = load_model(str(path))
    assert not loaded.model.compiled and loaded.model.count_params() == 15


def damage(path: Path, how: str) -> None:
    content = path.read_bytes()
    if how == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif how == "text":
        path.write_text("not a model")
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "hdf5":
        path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    elif how == "folder":
        path.unlink()
        path.mkdir()
    elif how == "missing":
        path.unlink()
    elif how == "other archive":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("readme.txt", "hello")
    elif how == "without weights":
        with zipfile.ZipFile(path) as archive:
            config = archive.read("config.json")
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("config.json", config)
    elif how == "config":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("config.json", "{")
    elif how == "not a model":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("config.json", json.dumps([1, 2]))
    elif how == "flipped":
        middle = content.rfind(b"\x89HDF")
        path.write_bytes(content[: middle + 40] + bytes(400) + content[middle + 440 :])


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("truncated", "is truncated"),
        ("text", "no zip archive"),
        ("empty", "is empty"),
        ("hdf5", "HDF5"),
        ("folder", "is a folder"),
        ("missing", "There is no file"),
        ("other archive", "no config.json"),
        ("without weights", "cannot be loaded"),
        ("config", "cannot be loaded"),
        ("not a model", ""),
        ("flipped", "cannot be loaded"),
    ],
)
def test_a_damaged_file_is_told_in_one_line(how, told, tmp_path):
    path = tmp_path / "my model.keras"
    save(path, import_keras().layers.Dense(3))
    damage(path, how)
    message = expect_message(ModelError, str(path))
    assert told in message and "my model.keras" in message
