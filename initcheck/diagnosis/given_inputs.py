"""The batch that a user gives, held against what the model takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from initcheck.diagnosis.arrays import check_values, flatten, to_arrays
from initcheck.diagnosis.input_specs import InputSpec, map_leaves, show_shape
from initcheck.errors import DataError
from initcheck.keras_runtime import import_keras


def check_inputs(x: Any, specs: Any) -> Any:
    """Check a batch, and bring it into the structure and dtypes that the model takes.

    Args:
        x: arrays of shape [samples, ...], alone or in dicts, lists or tuples.
        specs: :class:`initcheck.diagnosis.input_specs.InputSpec` leaves; None where the model does not say what it
            takes.

    Returns:
        NumPy arrays in the structure of ``specs`` (of ``x`` without specs). Whole numbers become floats where the
        model takes floats and the other way round, where no digit is lost; floats of other dtypes, which Keras would
        cast in a training step too, become Keras' default float.

    Raises:
        DataError: structure, rank, shape, dtype or values do not fit; the message names the input.
    """
    arrays = to_arrays(x, "x")
    if specs is None:
        leaves = flatten(arrays)
        names = ["x"] if len(leaves) == 1 else [f"x, input {position}," for position in range(len(leaves))]
        _check_leaves(leaves, names)
        return map_leaves(_default_float, arrays)
    arranged = _arrange(arrays, specs, "x")
    leaves, wanted = flatten(arranged), flatten(specs)
    _check_leaves(leaves, [f"Input {spec.name!r}" for spec in wanted])
    return map_leaves(_fit, arranged, specs)


def _check_leaves(leaves: list[NDArray[Any]], names: list[str]) -> None:
    if not leaves:
        raise DataError("x is empty. Received: no array. Give one array for each input of the model.")
    for leaf, name in zip(leaves, names, strict=True):
        check_values(leaf, name)
    counts = [len(leaf) for leaf in leaves]
    if len(set(counts)) > 1:
        told = ", ".join(f"{count} in {name}" for count, name in zip(counts, names, strict=True))
        raise DataError(f"All inputs must have the same number of samples. Received: {told}. Cut them to one length.")


def _arrange(arrays: Any, specs: Any, where: str) -> Any:
    """Bring arrays into the structure of the specs, as Keras' own models do."""
    if isinstance(specs, InputSpec):
        leaves = flatten(arrays)
        if len(leaves) != 1:
            raise DataError(
                f"{where} must be one array, for input {specs.name!r}. Received: {_describe(arrays)}. "
                "Join samples with numpy.stack."
            )
        return leaves[0]
    if isinstance(specs, Mapping):
        if not isinstance(arrays, Mapping):
            raise DataError(f"{where} must be a dict with the keys {_keys(specs)}. Received: {_describe(arrays)}.")
        return _by_key(arrays, specs, where)
    names = [spec.name if isinstance(spec, InputSpec) else "" for spec in specs]
    if isinstance(arrays, Mapping) and all(names):
        named = dict(zip(names, specs, strict=True))
        arranged = _by_key(arrays, named, where)
        parts = [arranged[name] for name in names]
    elif isinstance(arrays, list | tuple) and len(arrays) == len(specs):
        pairs = enumerate(zip(arrays, specs, strict=True))
        parts = [_arrange(part, spec, f"{where}[{place}]") for place, (part, spec) in pairs]
    elif len(specs) == 1 and isinstance(arrays, np.ndarray):
        parts = [_arrange(arrays, specs[0], where)]
    else:
        listed = f" ({', '.join(names)})" if all(names) else ""
        raise DataError(
            f"{where} must be a list of {len(specs)} arrays, one for each input{listed}. Received: {_describe(arrays)}."
        )
    return parts if isinstance(specs, list) else tuple(parts)


def _by_key(arrays: Mapping[str, Any], specs: Mapping[str, Any], where: str) -> dict[str, Any]:
    missing = [key for key in specs if key not in arrays]
    unknown = [key for key in arrays if key not in specs]
    if missing or unknown:
        wrong = f"lacks {_keys(missing)}" if missing else f"has unknown inputs: {_keys(unknown)}"
        raise DataError(f"{where} {wrong}. Received: keys {_keys(arrays)}. The model takes {_keys(specs)}.")
    return {key: _arrange(arrays[key], specs[key], f"{where}[{key!r}]") for key in specs}


def _fit(array: NDArray[Any], spec: InputSpec) -> NDArray[Any]:
    return _fit_dtype(_fit_shape(array, spec), spec)


def _fit_shape(array: NDArray[Any], spec: InputSpec) -> NDArray[Any]:
    sample, wanted = array.shape[1:], spec.shape
    # As functional models of Keras do: a last axis of one entry may be left out or be too many.
    if len(sample) == len(wanted) - 1 and wanted[-1] == 1:
        array = array[..., np.newaxis]
    elif len(sample) == len(wanted) + 1 and sample[-1] == 1:
        array = array[..., 0]
    sample = array.shape[1:]
    fits = len(sample) == len(wanted) and (
        not spec.binding or all(size in (None, mine) for size, mine in zip(wanted, sample, strict=True))
    )
    if not fits:
        single = len(array.shape) == len(wanted)
        remedy = "Is the batch axis missing? array[None] adds it." if single else "Reshape the data."
        wanted = wanted if spec.binding else (None,) * len(wanted)
        raise DataError(
            f"Input {spec.name!r} takes samples of shape {show_shape(wanted)}. "
            f"Received: an array of shape {array.shape}, samples of shape {sample}. {remedy}"
        )
    if spec.batch is not None and len(array) != spec.batch:
        raise DataError(
            f"Input {spec.name!r} takes batches of {spec.batch} samples alone. Received: {len(array)} samples. "
            f"Give {spec.batch}."
        )
    return array


def _fit_dtype(array: NDArray[Any], spec: InputSpec) -> NDArray[Any]:
    keras = import_keras()
    if spec.dtype is None:
        return _default_float(array)
    text = array.dtype.kind in "US"
    if text != (spec.dtype == "string"):
        takes = "text" if spec.dtype == "string" else f"numbers ({spec.dtype})"
        raise DataError(f"Input {spec.name!r} takes {takes}. Received: dtype {array.dtype}. Convert the data.")
    if text:
        return array
    if keras.backend.is_float_dtype(spec.dtype):
        # bfloat16 is no dtype of NumPy's own: Keras casts to it.
        dtype = np.dtype("float32" if spec.dtype == "bfloat16" else spec.dtype)
        with np.errstate(over="ignore"):
            converted = array.astype(dtype)
        if not np.isfinite(converted).all():
            raise DataError(
                f"Input {spec.name!r} has values that are too large for {spec.dtype}. "
                f"Received: values up to {float(np.max(np.abs(array))):.3g}. Scale the data."
            )
        return converted
    dtype = np.dtype(spec.dtype)
    converted = array.astype(dtype)
    if not np.array_equal(converted, array):
        what = "True and False" if dtype.kind == "b" else f"whole numbers ({spec.dtype})"
        raise DataError(
            f"Input {spec.name!r} takes {what}. Received: dtype {array.dtype} with other values. Convert the data."
        )
    return converted


def _default_float(array: NDArray[Any]) -> NDArray[Any]:
    if array.dtype.kind != "f":
        return array
    with np.errstate(over="ignore"):
        converted: NDArray[Any] = array.astype(import_keras().config.floatx())
    if not np.isfinite(converted).all():
        raise DataError(
            f"x has values that are too large for {converted.dtype}. "
            f"Received: values up to {float(np.max(np.abs(array))):.3g}. Scale the data."
        )
    return converted


def _describe(arrays: Any) -> str:
    if isinstance(arrays, Mapping):
        return f"a dict with the keys {_keys(arrays)}"
    if isinstance(arrays, list | tuple):
        return f"a {type(arrays).__name__} of {len(arrays)}"
    return f"an array of shape {arrays.shape}"


def _keys(keys: Any) -> str:
    return ", ".join(map(repr, keys)) or "none"
