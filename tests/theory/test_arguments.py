"""Checked arguments: what passes, and what is refused in one line."""

from __future__ import annotations

import math

import numpy as np
import pytest
from refusals import assert_refused

from initcheck.theory.arguments import check_array, check_count, check_counts, check_number


@pytest.mark.parametrize("value", [3, np.int64(3), np.uint8(3), np.asarray(3)])
def test_whole_numbers_of_python_and_numpy_pass(value: object) -> None:
    count = check_count("width", value)
    assert count == 3 and type(count) is int


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0"), (3.0, "3.0"), (True, "True"), (math.nan, "nan"), ("3", "'3'"), (None, "None"), (np.int64(-1), "-1")],
)
def test_what_is_no_count_is_refused(value: object, shown: str) -> None:
    assert_refused(lambda: check_count("width", value), f"width={shown}. Give an integer >= 1.")


def test_sequences_of_any_kind_pass_as_an_array() -> None:
    for values in ([2, 3], (2, 3), np.asarray([2, 3]), iter([2, 3])):
        np.testing.assert_array_equal(check_counts("widths", values), [2, 3])


@pytest.mark.parametrize("value", [0.5, 1, np.float32(0.5), np.asarray(0.5), True])
def test_numbers_pass_as_floats(value: object) -> None:
    assert type(check_number("keep", value, 0.0, 1.0)) is float


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (math.nan, "nan"),
        (np.float64("nan"), "nan"),
        (-math.inf, "-inf"),
        (-0.1, "-0.1"),
        ("0.5", "'0.5'"),
        (None, "None"),
        (0.5j, "0.5j"),
        (10**400, "1000"),
        (np.zeros((3, 3)), "array("),
    ],
)
def test_what_is_no_number_within_the_bounds_is_refused(value: object, shown: str) -> None:
    assert_refused(lambda: check_number("keep", value, 0.0, 1.0), f"keep={shown}")


def test_a_bound_can_be_left_out() -> None:
    assert check_number("keep", 1.0, 0.0, 1.0, low_included=False) == 1.0
    assert_refused(
        lambda: check_number("keep", 0.0, 0.0, 1.0, low_included=False), "keep=0.0. Give a finite number > 0"
    )
    assert_refused(lambda: check_number("keep", 1.0, 0.0, 1.0, high_included=False), "keep=1.0")
    assert_refused(lambda: check_number("alpha", math.inf), "alpha=inf. Give a finite number.")


def test_arrays_keep_their_shape_and_hold_no_nan() -> None:
    assert check_array("correlation", [[0.1, 0.2]], -1.0, 1.0).shape == (1, 2)
    assert check_array("correlation", 0.1).shape == ()
    assert_refused(lambda: check_array("correlation", [0.1, math.nan]), "correlation=nan among 2")
    assert_refused(lambda: check_array("correlation", [0.1, 1.2], -1.0, 1.0), "correlation=1.2 among 2")
    assert_refused(lambda: check_array("correlation", []), "correlation=[]")
    assert_refused(lambda: check_array("correlation", ["a"]), "correlation=['a']")
