"""Differences between backends are found, judged by their size, and what is nothing but rounding is left out."""

from __future__ import annotations

import pandas as pd
from same_weights import TOLERANCE, as_markdown, compare_tables, limit_of, main


def make_table(**changed: float) -> pd.DataFrame:
    """Make a table of weights: of the second, the true gradient is zero."""
    rows = pd.DataFrame(
        {
            "model": ["dense", "dense"],
            "layer": ["one", "one"],
            "weight": ["one/kernel", "one/bias"],
            "seed": [0, 0],
            "weight_norm": [2.0, 1.0],
            "gradient_norm": [changed.get("kernel", 3.0), changed.get("bias", 3e-7)],
        }
    )
    return rows.astype({"weight_norm": "Float64", "gradient_norm": "Float64"})


def compare(**changed: float):
    tables = {"tensorflow": make_table(), "jax": make_table(), "torch": make_table(**changed)}
    found = compare_tables(tables, ["weight"])
    return {each.quantity: each for each in found}, as_markdown(found, {each: {"keras": "3"} for each in tables})


def test_a_difference_is_found_and_named():
    found, page = compare(kernel=3.0003)
    worst = found["gradient_norm"]
    assert 0.9e-4 < worst.largest < 1.1e-4 > limit_of("dense") == TOLERANCE
    assert (worst.where, worst.between) == ("one/kernel", "tensorflow, torch")
    assert "1 quantities differ without a reason" in page


def test_equal_tables_do_not_differ():
    found, page = compare()
    assert all(each.largest == 0.0 for each in found.values())
    assert "No number differs without a reason" in page


def test_rounding_of_a_gradient_that_is_zero_is_left_out_and_counted():
    found, page = compare(bias=9e-7)
    assert (found["gradient_norm"].largest, found["gradient_norm"].rounding) == (0.0, 1)
    assert "dense: 1 gradients" in page


def test_a_gradient_that_only_one_backend_has_is_no_rounding():
    found, _ = compare(bias=0.1)
    assert found["gradient_norm"].largest > 0.9
    assert found["gradient_norm"].where == "one/bias"


def test_a_backend_without_tables_is_named(tmp_path, capsys):
    assert main(["write", str(tmp_path)]) == 2
    assert "tensorflow, jax, torch" in capsys.readouterr().err
