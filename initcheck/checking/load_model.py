"""The model that a user names: a factory, a ``.keras`` file, one of ``keras.applications``, or the object itself."""

from __future__ import annotations

import contextlib
import inspect
import operator
import re
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from initcheck.backend.keras_private import automatic_names_from, count_automatic_names, safe_mode
from initcheck.backend.random_state import preserved_random_state
from initcheck.backend.runtime import import_keras
from initcheck.core.errors import ModelError, UsageError, name_unknown
from initcheck.core.loading import RaisedError, folder_of, import_place, run_user_code, search_first
from initcheck.probe.draw import find_initializers, recorded_initializers
from initcheck.probe.paths import PathNamer, plain_name, snake_case
from initcheck.probe.places import NOT_REPEATED, Construction, recorded_places

APPLICATIONS: Final = "applications"

_FORMS: Final = "package.module:factory, path/file.py:factory, a .keras file, or applications:NAME"
_HDF5: Final = b"\x89HDF\r\n\x1a\n"
_ZIP: Final = b"PK"
_FACTORY: Final = "a factory that builds the model: package.module:factory or path/file.py:factory"


def initializers_by_path(model: Any, recorded: Mapping[int, Any]) -> dict[str, Any]:
    """Name the initializers that were recorded while a model's variables were made, by the paths of these.

    Variables that were not recorded have the initializer that their layer names; those where it names none are missing.
    """
    namer = PathNamer(model)
    paths = namer.variable_paths()
    known = {paths[id(weight)]: recorded[id(weight)] for weight in model.weights if id(weight) in recorded}
    if len(known) == len(model.weights):
        return known
    with contextlib.suppress(RaisedError):  # the model may be rebuilt for this, by constructors of the user's own
        return {**run_user_code(lambda: find_initializers(model, namer)), **known}
    return known


def read_model_file(path: Path) -> Any:
    """Load the model of a ``.keras`` file in Keras' safe mode.

    Safe mode holds even where ``keras.config.enable_unsafe_deserialization`` was called. A model whose compiled loss,
    metrics or optimizer cannot be loaded is loaded without them.
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
    # The scope wins over what enable_unsafe_deserialization has set, which in turn wins over the argument.
    with safe_mode():
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
    """Write what Keras raised, and what to do."""
    text = str(error.__cause__)
    unknown = re.search(r"Could not locate (class|function) '([^']*)'", text)
    if unknown is not None:
        return f"it needs the {unknown[1]} {unknown[2]!r}, which a .keras file does not bring along. Give {_FACTORY}."
    if "safe_mode" in text or "safe mode" in text:
        what = "a Lambda layer" if "ambda" in text else "a part"
        return f"it carries {what} with code inside, and code in a file is never executed. Give {_FACTORY}."
    return f"{error}. If the file is damaged, save the model again; otherwise give {_FACTORY}."


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A model and where it came from.

    Attributes:
        initializers: the initializer of each weight by its structural path, recorded while a factory ran. None where
            the making was not watched (files, objects, a module that was imported before) or has not made any weight
            yet: then the model itself has to be asked.
        constructions: how the layers were made, by their ``id``, likewise; see :mod:`initcheck.probe.places`.
        remake: makes the model once more, with the same automatic names; None where there is no factory.
    """

    model: Any
    label: str
    initializers: Mapping[str, Any] | None = None
    constructions: Mapping[int, Construction] = field(default_factory=dict)
    remake: Callable[[], LoadedModel] | None = None


def load_model(reference: str, arguments: Mapping[str, Any] | None = None) -> LoadedModel:
    """Load the model that a reference names: a factory, a model itself, a ``.keras`` file, or ``applications:NAME``.

    What the user's code prints goes to standard error. The global random states are left as they were.
    """
    settings = dict(arguments or {})
    place, colon, name = reference.strip().rpartition(":")
    # Before the user's code does it, so that it happens quietly.
    import_keras()
    with preserved_random_state():
        if place == APPLICATIONS:
            return _make(_find_application(name, settings), {**settings, "weights": None}, reference)
        if reference.strip().lower().endswith(".keras"):
            if settings:
                raise UsageError(f"A .keras file takes no arguments. Received: {_list(settings)} for {reference!r}.")
            return LoadedModel(_check_model(read_model_file(Path(reference.strip())), reference), reference)
        if not colon or not place or not name:
            raise _refuse_form(reference)
        return _load_from_code(place, name, settings, reference)


def adopt_model(model: Any) -> LoadedModel:
    """Take a model that exists already, or the function that makes it."""
    keras = import_keras()
    if callable(model) and not isinstance(model, keras.layers.Layer):
        with preserved_random_state():
            return _make(model, {}, str(getattr(model, "__qualname__", type(model).__name__)))
    _check_model(model, None)
    # Keras numbers the models that nobody named by a counter of the process, and a baseline keeps the label.
    return LoadedModel(model, plain_name(str(model.name), snake_case(type(model).__name__)))


def _load_from_code(place: str, name: str, settings: dict[str, Any], reference: str) -> LoadedModel:
    with recorded_initializers() as recorded, recorded_places() as places, search_first(folder_of(place)):
        try:
            module = run_user_code(lambda: import_place(place))
        except RaisedError as error:
            raise _explain_import(error, place, reference) from error
        try:
            found = run_user_code(lambda: operator.attrgetter(name)(module))
        except RaisedError as error:
            if not isinstance(error.__cause__, AttributeError):
                raise ModelError(f"{reference!r} cannot be loaded: {error}. Fix the module.") from error
            callables = [key for key, value in vars(module).items() if key[0] != "_" and _is_own(value, module)]
            raise name_unknown(f"factory in {place}", name, callables or dir(module)) from error
        if not isinstance(found, import_keras().Model):
            made = _make(found, settings, reference, folder_of(place))
            # A factory may use layers of its module, which it does not make again.
            imported = {key: replace(each, number=NOT_REPEATED) for key, each in places.items()}
            return replace(made, constructions={**imported, **made.constructions})
        if settings:
            raise UsageError(
                f"{reference!r} is a model already and takes no arguments. Received: {_list(settings)}. "
                "Leave them out, or name a factory."
            )
        # A model that an earlier import has made was not watched.
        made_now = any(id(weight) in recorded for weight in found.weights)
        return LoadedModel(found, reference, initializers_by_path(found, recorded) if made_now else None, places)


def _make(factory: Any, settings: dict[str, Any], reference: str, folder: Path | None = None) -> LoadedModel:
    """Run a factory, which may import from a folder when it is run."""
    _check_arguments(factory, settings, reference)
    counts = count_automatic_names()

    def make() -> LoadedModel:
        with recorded_initializers() as recorded, recorded_places() as places:
            try:
                model = run_user_code(lambda: factory(**settings))
            except RaisedError as error:
                raise ModelError(f"{reference!r} raised {error}. Fix the factory or its arguments.") from error
            _check_model(model, reference)
            known = initializers_by_path(model, recorded) if model.weights else None
            return LoadedModel(model, reference, known, places, remake)

    def remake() -> LoadedModel:
        imports = contextlib.nullcontext() if folder is None else search_first(folder)
        with preserved_random_state(), automatic_names_from(counts), imports:
            return make()

    return make()


def _find_application(name: str, settings: Mapping[str, Any]) -> Callable[..., Any]:
    applications = import_keras().applications
    known = [key for key, value in vars(applications).items() if inspect.isfunction(value)]
    if name not in known:
        raise name_unknown("application", name, known)
    if settings.get("weights") is not None:
        raise UsageError(
            f"Applications are made with weights=None: initialization is what is checked, and nothing is downloaded. "
            f"Received: weights={settings['weights']!r}. Leave weights out."
        )
    return getattr(applications, name)  # type: ignore[no-any-return]


def _check_arguments(factory: Any, settings: Mapping[str, Any], reference: str) -> None:
    if not callable(factory):
        raise UsageError(
            f"{reference!r} is neither a model nor a factory. Received: {_name_type(factory)}. "
            "Name a function without required arguments that returns a keras.Model."
        )
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):
        return  # a callable that does not say which arguments it takes: the call will
    named = {each.name: each for each in parameters if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)}
    if not any(each.kind is each.VAR_KEYWORD for each in parameters):
        for argument in settings:
            if argument not in named:
                takes = f"It takes {', '.join(named)}." if named else "It takes none."
                raise UsageError(f"{reference!r} has no argument {argument!r}. {takes}")
    required = [key for key, each in named.items() if each.default is each.empty and key not in settings]
    required += [each.name for each in parameters if each.kind is each.POSITIONAL_ONLY and each.default is each.empty]
    if required:
        raise UsageError(
            f"{reference!r} needs arguments: {', '.join(required)}. Give them by name (--arg {required[0]}=VALUE), "
            "or name a factory without required arguments."
        )


def _check_model(found: Any, reference: str | None) -> Any:
    keras = import_keras()
    if isinstance(found, keras.Model):
        if type(found).call is keras.Model.call:
            parts = [layer.name for layer in found._flatten_layers(include_self=False, recursive=False)]
            listed = f" (Here: {', '.join(parts)}.)" if parts else ""
            raise ModelError(
                f"The model {found.name!r} has no call(), so that nothing says what its outputs are. Check its parts, "
                f"each from a function that returns it.{listed} Received: {_name_type(found)}."
            )
        return found
    subject = "A Keras model is needed" if reference is None else f"{reference!r} gives no Keras model"
    if found is None and reference is not None:
        advice = "Does the factory lack its return?"
    elif isinstance(found, keras.layers.Layer):
        advice = "Wrap the layer: keras.Sequential([layer])."
    elif inspect.isroutine(found) or inspect.isclass(found):
        advice = "Call it, and give the model that it returns."
    elif isinstance(found, tuple | list) and any(isinstance(part, keras.Model) for part in found):
        advice = "Return the model alone."
    elif any(base.__module__.startswith("tf_keras.") for base in type(found).__mro__):
        advice = "This is a model of Keras 2: build it with Keras 3 (import keras)."
    else:
        advice = "Give a keras.Model."
    raise ModelError(f"{subject}. Received: {_name_type(found)}. {advice}")


def _explain_import(error: RaisedError, place: str, reference: str) -> UsageError | ModelError:
    cause = error.__cause__
    if place.endswith(".py"):
        path = Path(place)
        if not path.exists():
            return UsageError(f"There is no file {place!r}. Check the path. Received: {reference!r}.")
        if path.is_dir():
            return UsageError(f"{place!r} is a folder. Give a Python file. Received: {reference!r}.")
    elif isinstance(cause, ModuleNotFoundError) and cause.name and f"{place}.".startswith(f"{cause.name}."):
        return UsageError(
            f"There is no module {place!r} in the working directory or among the installed packages. "
            f"Check the name; a file is given by its path, path/file.py:factory. Received: {reference!r}."
        )
    return ModelError(f"{reference!r} cannot be imported: {error}. Fix the module.")


def _refuse_form(reference: str) -> UsageError:
    text = reference.strip()
    if text and hasattr(import_keras().applications, text):
        return UsageError(f"Unknown model {reference!r}. Did you mean {APPLICATIONS}:{text}?")
    if text.endswith(".py"):
        return UsageError(f"{reference!r} names a file without a factory. Write {text}:FACTORY.")
    if text.endswith((".h5", ".hdf5")):
        return UsageError(
            f"{reference!r} has the format before Keras 3. Load it with Keras, save it as a .keras file, and give that."
        )
    return UsageError(f"A model is given as {_FORMS}. Received: {reference!r}.")


def _is_own(value: Any, module: Any) -> bool:
    """Find whether a module's attribute may be meant as a factory: a model, or a function or class made there."""
    if isinstance(value, import_keras().Model):
        return True
    with contextlib.suppress(Exception):
        return callable(value) and value.__module__ == module.__name__
    return False


def _name_type(found: Any) -> str:
    name = type(found).__name__
    if isinstance(found, tuple | list):
        return f"{name} of {', '.join(type(part).__name__ for part in found[:5]) or 'nothing'}"
    return f"a {found.__name__!r} {name}" if inspect.isroutine(found) or inspect.isclass(found) else name


def _list(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in settings.items())
