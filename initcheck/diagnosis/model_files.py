"""Models in ``.keras`` files, of which nothing is ever executed."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import Any, Final

from initcheck.diagnosis.user_code import RaisedError, run_user_code
from initcheck.errors import ModelError
from initcheck.keras_runtime import import_keras

_HDF5: Final = b"\x89HDF\r\n\x1a\n"
_ZIP: Final = b"PK"
_FACTORY: Final = "a factory that builds the model: package.module:factory or path/file.py:factory"


def read_model_file(path: Path) -> Any:
    """Load the model of a ``.keras`` file in Keras' safe mode.

    Safe mode holds even where ``keras.config.enable_unsafe_deserialization`` was called. A model whose compiled loss,
    metrics or optimizer cannot be loaded is loaded without them.

    Args:
        path: the file.

    Returns:
        What the file holds: a model, if nobody saved a bare layer.

    Raises:
        ModelError: the file is missing, unreadable, truncated or no zip archive, or needs code that it must not bring:
            a class of the user's own, or a Lambda.
    """
    shown = repr(str(path))
    _check_archive(path, shown)
    try:
        return run_user_code(lambda: _load(path, with_compilation=True))
    except RaisedError:
        pass
    try:
        return run_user_code(lambda: _load(path, with_compilation=False))
    except RaisedError as error:
        raise ModelError(f"{shown} cannot be loaded: {_explain(error)}") from error


def _load(path: Path, *, with_compilation: bool) -> Any:
    keras = import_keras()
    from keras.src.saving.serialization_lib import SafeModeScope

    # The scope wins over what enable_unsafe_deserialization has set, which in turn wins over the argument.
    with SafeModeScope(True):
        return keras.saving.load_model(path, compile=with_compilation, safe_mode=True)


def _check_archive(path: Path, shown: str) -> None:
    if path.is_dir():
        raise ModelError(f"{shown} is a folder. Give a .keras file, saved with model.save('model.keras').")
    try:
        with path.open("rb") as file:
            head = file.read(len(_HDF5))
        names = zipfile.ZipFile(path).namelist() if zipfile.is_zipfile(path) else None
    except FileNotFoundError as error:
        raise ModelError(f"There is no file {shown}. Check the path.") from error
    except (OSError, zipfile.BadZipFile) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ModelError(f"{shown} cannot be read: {reason}. Check the file, or save the model again.") from error
    again = "Save the model again with model.save('model.keras')."
    if not head:
        raise ModelError(f"{shown} is empty. {again}")
    if head.startswith(_HDF5):
        raise ModelError(f"{shown} is an HDF5 file of the format before Keras 3. Load it with Keras and save it anew.")
    if names is None:
        what = "is truncated" if head.startswith(_ZIP) else "is no .keras file, because it is no zip archive"
        raise ModelError(f"{shown} {what}. {again}")
    if "config.json" not in names:
        raise ModelError(f"{shown} is no .keras file: the archive holds no config.json. {again}")


def _explain(error: RaisedError) -> str:
    """Word what Keras raised, with the remedy."""
    text = str(error.__cause__)
    unknown = re.search(r"Could not locate (class|function) '([^']*)'", text)
    if unknown is not None:
        return f"it needs the {unknown[1]} {unknown[2]!r}, which a .keras file does not bring along. Give {_FACTORY}."
    if "safe_mode" in text or "safe mode" in text:
        what = "a Lambda layer" if "ambda" in text else "a part"
        return f"it carries {what} with code inside, and code in a file is never executed. Give {_FACTORY}."
    return f"{error}. If the file is damaged, save the model again; otherwise give {_FACTORY}."
