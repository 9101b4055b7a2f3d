"""Models in .keras files: loaded in safe mode, or one line with a remedy."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
from input_models import expect_message

from initcheck.backend.runtime import import_keras
from initcheck.checking.load_model import load_model
from initcheck.core.errors import ModelError


def refusal(path):
    return expect_message(ModelError, lambda: load_model(str(path), None))


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
        message = refusal(path)
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
    message = refusal(path)
    assert "class 'Strange'" in message and "package.module:factory" in message


def test_a_custom_loss_does_not_keep_a_model_from_being_loaded(tmp_path):
    keras = import_keras()

    def strange(y_true, y_pred):
        return keras.ops.mean(y_pred)

    path = tmp_path / "loss.keras"
    save(path, keras.layers.Dense(3), optimizer="sgd", loss=strange)
    loaded = load_model(str(path))
    assert not loaded.model.compiled and loaded.model.count_params() == 15


def write_archive(path, name, content):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, content)


def keep_the_configuration_alone(path):
    with zipfile.ZipFile(path) as archive:
        config = archive.read("config.json")
    write_archive(path, "config.json", config)


def overwrite_weights(path):
    content = path.read_bytes()
    middle = content.rfind(b"\x89HDF")
    path.write_bytes(content[: middle + 40] + bytes(400) + content[middle + 440 :])


DAMAGE = {
    "truncated": (lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]), "is truncated"),
    "text": (lambda path: path.write_text("not a model"), "no zip archive"),
    "empty": (lambda path: path.write_bytes(b""), "is empty"),
    "hdf5": (lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100)), "HDF5"),
    "folder": (lambda path: (path.unlink(), path.mkdir()), "is a folder"),
    "missing": (Path.unlink, "There is no file"),
    "other archive": (lambda path: write_archive(path, "readme.txt", "hello"), "no config.json"),
    "without weights": (keep_the_configuration_alone, "cannot be loaded"),
    "config": (lambda path: write_archive(path, "config.json", "{"), "cannot be loaded"),
    "not a model": (lambda path: write_archive(path, "config.json", "[1, 2]"), ""),
    "flipped": (overwrite_weights, "cannot be loaded"),
}


@pytest.mark.parametrize(("damage", "words"), DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_file_is_refused_in_one_line(damage, words, tmp_path):
    path = tmp_path / "my model.keras"
    save(path, import_keras().layers.Dense(3))
    damage(path)
    message = refusal(path)
    assert words in message and "my model.keras" in message
