"""What is not random of a model's layers: the class and the configuration of each, and the code of the user's own.

It is what a baseline compares exactly. Names are left out, and so are initializers, which are compared weight by
weight, and regularizers, which no signal passes. The code of a class or function of the user's own, and the plain
values that its layers hold as attributes, decide nothing: another spelling is no other model. They say where a change
that was measured comes from.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import json
import math
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any, Final

from initcheck.audit.findings import LayerFacts
from initcheck.backend.runtime import BACKEND_LIBRARIES, import_keras
from initcheck.core.loading import RaisedError, run_user_code
from initcheck.probe.paths import PathNamer

_LEFT_OUT: Final = frozenset({"name", "trainable", "seed", "build_config", "layers", "input_layers", "output_layers"})
_ENDS_LEFT_OUT: Final = ("initializer", "regularizer")
_OWN_TO_KERAS: Final = frozenset({"built", "autocast", "supports_jit", "supports_masking", "stop_training"})
_LONGEST: Final = 80
_PLAIN: Final = (bool, int, float, str)
_LIBRARIES: Final = frozenset({"keras", *BACKEND_LIBRARIES, "builtins", "typing", "abc"})


def describe_layers(namer: PathNamer, arguments: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, LayerFacts]:
    """Describe the model, each of its layers, and each operation of its graph, by structural path.

    Args:
        arguments: what each call was given besides tensors; it stands among the settings of the layer.
    """
    read_once = cache(_read_code)  # to find a class, Python may parse all of its file
    return {path: _describe(member, arguments.get(path, ()), read_once) for path, member in namer.members()}


def _describe(layer: Any, calls: Sequence[Mapping[str, Any]], read_code: Callable[[Any], str]) -> LayerFacts:
    keras = import_keras()
    config: Mapping[str, Any] | None = {}
    # What a functional model is made of is described layer by layer.
    if type(layer) not in (keras.Model, keras.Sequential) and not _is_functional(layer):
        try:
            config = run_user_code(layer.get_config)
        except RaisedError:
            config = None  # a layer of the user's own may have none, or one that fails
    return LayerFacts(
        kind=type(layer).__name__,
        config=None if config is None else _simplify_config(config) | _number_arguments(layer, calls),
        code=_digest_code(layer, read_code),
        attributes=dict(_find_attributes(layer)) if _is_own(type(layer)) else {},
    )


def _number_arguments(layer: Any, calls: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Write what the calls were given besides tensors: the second call's bear ``#2``."""
    found = {
        f"{name}#{number}" if number > 1 else name: simplify_value(value)
        for number, given in enumerate(calls, 1)
        for name, value in given.items()
    }
    # In a functional model the call of the model replaces what its layers were called with.
    nodes = getattr(layer, "_inbound_nodes", None)
    if nodes and nodes[0].arguments.kwargs.get("training") is False:
        found["training"] = False
    return found


def _is_own(made: Any) -> bool:
    """Find whether a class or function is the user's own."""
    return str(getattr(made, "__module__", "")).partition(".")[0] not in _LIBRARIES


def _is_functional(layer: Any) -> bool:
    return type(layer).__name__ == "Functional" and not _is_own(type(layer))


# --- configurations ---------------------------------------------------------------------------------------------------


def _simplify_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Keep what shapes the signal, as JSON."""
    return {
        str(name): simplify_value(value)
        for name, value in config.items()
        if name not in _LEFT_OUT and not str(name).endswith(_ENDS_LEFT_OUT)
    }


def simplify_value(value: Any) -> Any:
    """Write a value of a configuration as JSON, without the names of objects; what has no JSON is its class."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)  # JSON has no infinity
    if isinstance(value, Mapping):
        return _simplify_object(value) if "class_name" in value else _simplify_config(value)
    if isinstance(value, list | tuple):
        return _shorten([simplify_value(each) for each in value])
    if hasattr(value, "tolist"):  # a number or an array of NumPy
        return simplify_value(value.tolist())
    return getattr(value, "__name__", type(value).__name__)


def _simplify_object(value: Mapping[str, Any]) -> Any:
    """Write a serialized object as a person would: ``MaxNorm(max_value=2)``; a policy or a function by its name."""
    kind, config = str(value["class_name"]), value.get("config")
    if isinstance(config, str):
        return config
    if kind.startswith("__"):  # a lambda, whose code is compared apart
        return kind.strip("_")
    if not isinstance(config, Mapping):
        return kind
    if kind == "DTypePolicy":
        return config.get("name")
    module = str(value.get("module", ""))
    if ".layers" in module or ".models" in module:
        return kind  # described by itself
    inside = ", ".join(f"{name}={each}" for name, each in _simplify_config(config).items())
    return f"{kind}({inside})"


def _shorten(values: list[Any]) -> Any:
    text = json.dumps(values)
    if len(text) <= _LONGEST:
        return values
    return f"{len(values)} values ({hashlib.sha256(text.encode()).hexdigest()[:12]})"


# --- the user's own code ----------------------------------------------------------------------------------------------


def _digest_code(layer: Any, read_code: Callable[[Any], str]) -> str:
    """Digest the code of a layer's classes, and of the functions that it holds, as far as they are the user's."""
    kinds = [kind for kind in type(layer).__mro__ if _is_own(kind)]
    functions = [value for value in vars(layer).values() if inspect.isfunction(value) and _is_own(value)]
    parts = [read_code(each) for each in (*kinds, *functions)]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16] if any(parts) else ""


def _read_code(owner: Any) -> str:
    """Read the source of a class or function without comments, docstrings and layout; empty where there is none."""
    try:
        text = textwrap.dedent(inspect.getsource(owner))
    except (OSError, TypeError):
        return ""
    try:
        tree = ast.parse(text)
    except SyntaxError:  # a lambda in the middle of an expression
        return "".join(text.split())
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node, clean=False) is not None:
            del node.body[0]
    return ast.unparse(tree)


def _find_attributes(layer: Any) -> Iterator[tuple[str, Any]]:
    for name, value in vars(layer).items():
        if not name.startswith("_") and name not in _OWN_TO_KERAS | _LEFT_OUT and isinstance(value, _PLAIN):
            yield name, simplify_value(value)
