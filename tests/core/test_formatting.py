"""Digits follow from the interval, and what is no number is a word."""

from __future__ import annotations

import json
import math
import re

import numpy as np
import pandas as pd
import pytest

from initcheck.core.formatting import (
    LINE_WIDTH,
    count,
    exponential,
    format_duration,
    format_estimate,
    format_factor,
    format_interval,
    format_names,
    format_number,
    format_share,
    format_short,
    format_signed,
    is_missing,
    shorten,
    to_json,
    to_plain,
    wrap,
)

NAN, INF = math.nan, math.inf


@pytest.mark.parametrize(
    ("value", "low", "high", "shown", "interval", "margin"),
    [
        (0.4987, 0.4903, 0.5071, "0.499", "[0.490, 0.507]", "±0.008"),
        (127.5, 125.6, 129.4, "128", "[126, 129]", "±2"),
        (1234.0, 1180.0, 1290.0, "1230", "[1180, 1290]", "±60"),
        (1.0, 0.9, 1.3, "1.0", "[0.9, 1.3]", "[0.9, 1.3]"),
        (1.23e40, 1.1e40, 1.36e40, "1.2×10⁴⁰", "[1.1, 1.4]×10⁴⁰", "±0.1×10⁴⁰"),
        (2.0e-9, 1.9e-9, 2.1e-9, "2.0×10⁻⁹", "[1.9, 2.1]×10⁻⁹", "±0.1×10⁻⁹"),
        (163.84, 163.84, 163.84, "163.8", "no variation", "no variation"),
        (163.84, 163.8399, 163.8401, "163.8", "[163.8, 163.8]", "±<0.1"),
        (0.0, 0.0, 0.0, "0", "no variation", "no variation"),
    ],
)
def test_an_estimate_is_written_to_the_digits_its_interval_supports(
    value: float, low: float, high: float, shown: str, interval: str, margin: str
):
    estimate = format_estimate(value, low, high)
    assert (estimate.value, estimate.interval, estimate.margin) == (shown, interval, margin)


@pytest.mark.parametrize(
    ("value", "low", "high", "shown", "interval"),
    [
        (NAN, 0.0, 1.0, "no rate", "no interval"),
        (INF, 0.0, INF, "infinite", "no interval"),
        (5.123, NAN, NAN, "5.1", "no interval"),
        (5.123, 1.0, INF, "5.1", "no interval"),
    ],
)
def test_what_has_no_value_or_no_interval_says_so_in_words(
    value: float, low: float, high: float, shown: str, interval: str
):
    estimate = format_estimate(value, low, high)
    assert (estimate.value, estimate.interval) == (shown, interval)


def test_no_digit_is_printed_that_the_interval_does_not_support():
    """The last decimal stands where the half-width begins, unless that is the first or beyond the fourth digit."""
    random = np.random.default_rng(1)
    for _ in range(2000):
        value = 10.0 ** random.uniform(-3, 4.9)
        half = value * 10.0 ** random.uniform(-5, 1)
        leading, place = math.floor(math.log10(value)), math.floor(math.log10((value + half) - value))
        last = min(max(place, leading - 3), leading)
        shown = format_estimate(value, value - half, value + half).value
        assert len(shown.partition(".")[2]) == max(0, -last), (value, half, shown)
        assert abs(float(shown) - value) <= 0.51 * 10.0**last, (value, half, shown)


@pytest.mark.parametrize("value", [1e300, 5e-324, 1e-310, 1.7e308])
def test_numbers_at_the_end_of_the_float_range_can_be_written(value: float):
    assert re.fullmatch(r"\d(\.\d+)?×10⁻?[⁰¹²³⁴⁵⁶⁷⁸⁹]+", format_estimate(value, value * 0.9, value * 1.01).value)
    assert "10" in format_estimate(value, 0.0, 1.79e308).interval


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (-0.0, "0"), (0.5, "0.500"), (-1e-7, "−1.00×10⁻⁷"), (NAN, "no value"), (-INF, "minus infinite")],
)
def test_a_number_without_interval_is_written_to_three_digits(value: float, text: str):
    assert format_number(value) == text


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0.0, "0%"),
        (1.0, "100%"),
        (0.37, "37%"),
        (0.005, "0.5%"),
        (5e-5, "below 0.1%"),
        (0.9995, "above 99.9%"),
        (NAN, "no value"),
    ],
)
def test_a_share_that_is_almost_none_or_all_is_told_from_none_and_all(share: float, text: str):
    assert format_share(share) == text


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [(0.5**10, 1, "0.001"), (0.00099996, 3, "0.00100"), (9.999e-7, 2, "1.0×10⁻⁶"), (99999.6, 3, "1.00×10⁵")],
)
def test_rounding_carries_into_the_next_power_of_ten(value: float, digits: int, text: str):
    assert format_number(value, digits) == text


def test_durations_and_counts_are_words():
    assert format_duration(8.13) == "8.1 s"
    assert format_duration(72.4) == "1 min 12 s"
    assert format_duration(7500.0) == "2 h 5 min"
    assert (count(1, "pair"), count(65280, "row"), count(2, "entry", "entries")) == (
        "1 pair",
        "65,280 rows",
        "2 entries",
    )


@pytest.mark.parametrize("missing", [None, NAN, np.float64(NAN), pd.NA, pd.NaT])
def test_what_is_missing_is_a_word_of_the_callers_and_null_in_json(missing: object):
    assert is_missing(missing)
    assert format_number(missing, missing="none") == format_share(missing, "none") == "none"  # type: ignore[arg-type]
    assert (format_signed(missing), format_short(missing), format_interval(0.0, missing)) == ("none", "no value", "")
    assert to_plain([missing]) == [None]


def test_differences_have_their_sign_and_exact_values_no_trailing_zeros():
    assert [format_signed(value) for value in (0.123, -0.5, INF, -INF)] == ["+0.12", "−0.50", "+∞", "−∞"]
    assert format_signed(-1.2345e-4, ".3g") == "−0.000123"
    assert format_signed(-6.4211e-5, ".3g") == "−6.42×10⁻⁵"
    assert [format_short(value) for value in (0.5, -2.0, 1.2e-6, INF)] == ["0.5", "−2", "1.200×10⁻⁶", "infinite"]
    assert format_interval(-0.5, 0.25, format_signed) == "[−0.50, +0.25]"


def test_an_exponential_without_a_float_is_infinite():
    assert exponential(0.0) == 1.0 and math.isfinite(exponential(709.78)) and exponential(709.8) == INF
    assert (format_factor(math.log(2.0)), format_factor(1e4), exponential(-INF)) == ("2.00", "infinite", 0.0)
    assert exponential(NAN) != exponential(NAN)


def test_names_are_listed_and_many_are_counted():
    assert [format_names("abcde"[:size]) for size in range(6)] == [
        "",
        "a",
        "a and b",
        "a, b and c",
        "a, b, c and 1 more",
        "a, b, c and 2 more",
    ]


def test_long_texts_are_cut_at_one_end_and_broken_into_lines():
    assert (shorten("abcdef", 6), shorten("abcdef", 4), shorten("abcdef", 4, keep_end=True)) == (
        "abcdef",
        "abc…",
        "…def",
    )
    lines = wrap("word " * 50, indent="  ", hanging="      ")
    assert max(map(len, lines)) <= LINE_WIDTH and lines[0].startswith("  w") and lines[1].startswith("      w")


def test_json_has_text_for_infinity_and_null_for_what_is_no_number():
    value = {"all": (np.float32(0.5), np.int64(3), np.bool_(True), INF, -INF, np.float64(INF), NAN, pd.NA, "nan")}
    assert json.loads(to_json(value)) == {"all": [0.5, 3, True, "inf", "-inf", "inf", None, None, "nan"]}
