"""Data that a user hands over, as NumPy arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from initcheck.errors import DataError


def to_arrays(data: Any, name: str) -> Any:
    """Turn all arrays of a structure into NumPy arrays.

    Args:
        data: an array or tensor of any library, nested lists of numbers, or dicts, lists and tuples of these.
        name: what the data are, for messages.

    Returns:
        The same structure of dicts, lists and tuples, with arrays of booleans, whole numbers, floats or text.

    Raises:
        DataError: a part is not an array of these.
    """
    if isinstance(data, Mapping):
        return {key: to_arrays(value, f"{name}[{key!r}]") for key, value in data.items()}
    if isinstance(data, list | tuple) and any(_holds_arrays(part) for part in data):
        parts = [to_arrays(part, f"{name}[{position}]") for position, part in enumerate(data)]
        return parts if isinstance(data, list) else tuple(parts)
    return _to_array(data, name)


def flatten(structure: Any) -> list[Any]:
    """List the leaves of dicts (in the order of their sorted keys), lists and tuples."""
    if isinstance(structure, Mapping):
        return [leaf for key in sorted(structure, key=str) for leaf in flatten(structure[key])]
    if isinstance(structure, list | tuple):
        return [leaf for part in structure for leaf in flatten(part)]
    return [structure]


def check_values(array: NDArray[Any], name: str) -> None:
    """Check that an array has samples along its first axis, none of them NaN or infinite.

    Raises:
        DataError: it is a single number, empty, or not finite.
    """
    if array.ndim == 0:
        raise DataError(f"{name} needs a first axis of samples. Received: a single value. Give an array of samples.")
    if array.size == 0:
        raise DataError(f"{name} is empty. Received: shape {array.shape}. Give at least one sample.")
    if array.dtype.kind != "f":
        return
    bad = ~np.isfinite(array)
    count = int(np.count_nonzero(bad))
    if count:
        first = tuple(int(place) for place in np.unravel_index(int(np.argmax(bad)), array.shape))
        raise DataError(
            f"{name} has {count} {'value that is' if count == 1 else 'values that are'} NaN or infinite, the first at "
            f"index {first}. Remove or mend them."
        )


def _holds_arrays(part: Any) -> bool:
    if isinstance(part, Mapping):
        return True
    if isinstance(part, list | tuple):
        return any(_holds_arrays(each) for each in part)
    return len(getattr(part, "shape", None) or ()) > 0


def _to_array(data: Any, name: str) -> NDArray[Any]:
    kind = type(data).__name__
    if data is None or hasattr(data, "__next__") or kind.endswith(("Dataset", "DataLoader")):
        raise DataError(f"{name} must be an array. Received: {kind}. Give one batch of it, as an array.")
    try:
        array = np.asarray(data)
    except Exception as error:  # tensors and frames of any library, each with its own errors
        raise DataError(
            f"{name} cannot be made an array. Received: {kind}. Samples of unequal length must be padded first."
        ) from error
    if array.dtype.name == "bfloat16":  # known to NumPy by an extension alone
        array = array.astype(np.float32)
    if array.dtype.kind == "O" and array.size and all(isinstance(each, str | bytes) for each in array.flat):
        array = array.astype(str) if isinstance(array.flat[0], str) else array.astype(bytes)
    if array.dtype.kind not in "biufUS":
        raise DataError(
            f"{name} must hold numbers. Received: {kind} of dtype {array.dtype}. "
            "Convert it; samples of unequal length must be padded first."
        )
    return array
