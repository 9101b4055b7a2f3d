"""Checks of arguments, shared by the modules of theory: what is out of range is refused in one line, as is NaN."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from initcheck.core.errors import TheoryError
from initcheck.core.seeds import whole_number


def check_count(name: str, value: object, least: int = 1) -> int:
    """Take a whole number."""
    count = whole_number(value, least)
    if count is None:
        raise TheoryError(
            f"{name} has to be a whole number >= {least}. Received: {name}={_show(value)}. Give an integer >= {least}."
        )
    return count


def check_counts(name: str, values: Iterable[object], least: int = 1) -> NDArray[np.int64]:
    """Take a sequence of whole numbers, one for each layer or axis."""
    try:
        received = list(values)
    except TypeError:
        received = []
    if not received:
        raise TheoryError(
            f"{name} has to be a sequence of whole numbers, and not empty. Received: {name}={_show(values)}. "
            f"Give a list, such as [{max(least, 1)}]."
        )
    return np.asarray([check_count(name, value, least) for value in received], dtype=np.int64)


def check_number(
    name: str,
    value: object,
    low: float = -math.inf,
    high: float = math.inf,
    *,
    low_included: bool = True,
    high_included: bool = True,
) -> float:
    """Take a finite number within bounds."""
    try:
        number = math.nan if isinstance(value, str | bytes) else float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    above = number >= low if low_included else number > low
    below = number <= high if high_included else number < high
    if not (math.isfinite(number) and above and below):
        bounds = _format_bounds(low, high, low_included, high_included)
        raise TheoryError(
            f"{name} has to be a finite number{bounds}. Received: {name}={_show(value)}. Give a finite number{bounds}."
        )
    return number


def check_array(name: str, values: ArrayLike, low: float = -math.inf, high: float = math.inf) -> NDArray[np.float64]:
    """Take an array of finite numbers within bounds, at least one."""
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        array = np.empty(0)
    if not array.size:
        raise TheoryError(
            f"{name} has to be numbers, and at least one. Received: {name}={_show(values)}. Give a number or an array."
        )
    bad = ~(np.isfinite(array) & (array >= low) & (array <= high))
    if bad.any():
        bounds = _format_bounds(low, high, True, True)
        raise TheoryError(
            f"{name} has to hold finite numbers{bounds}. Received: {name}={_show(array[bad][0])} among {array.size}. "
            f"Give only finite numbers{bounds}."
        )
    return array


def _show(value: object) -> str:
    """Write a value on one line, NumPy's numbers as Python's."""
    return " ".join(reprlib.repr(value.item() if isinstance(value, np.generic) else value).split())


def _format_bounds(low: float, high: float, low_included: bool, high_included: bool) -> str:
    words = []
    if low > -math.inf:
        words.append(f"{'>=' if low_included else '>'} {low:g}")
    if high < math.inf:
        words.append(f"{'<=' if high_included else '<'} {high:g}")
    return " " + " and ".join(words) if words else ""
