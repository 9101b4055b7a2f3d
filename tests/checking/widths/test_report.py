"""What the page of widths says of exponents, without a model: those that are alike are one line."""

from __future__ import annotations

import pandas as pd

from initcheck.audit.width_exponents import Exponent, WidthScaling
from initcheck.checking.widths.report import describe_undecided, write_width_text
from initcheck.core.statistics import Estimate

_WIDE = Estimate(value=0.1, low=-0.2, high=0.4, confidence=0.95, count=2, standard_error=0.02)


def make_scaling(*reasons):
    """Make a result with an undecided exponent for each reason; an empty one stands for a stable exponent."""
    exponents = tuple(
        Exponent(
            layer=f"dense_{place}",
            call=0,
            kind="Dense",
            output=False,
            quantity="start",
            estimate=_WIDE,
            mean_abs=_WIDE,
            verdict="undecided" if reason else "stable",
            reason=reason,
            margin=0.1,
        )
        for place, reason in enumerate(reasons)
    )
    return WidthScaling(
        model="model",
        width_arg="width",
        widths=(32, 64, 128),
        seeds=(0, 1),
        steps=0,
        optimizer="sgd",
        learning_rate=0.01,
        batch="a batch",
        loss="a loss",
        exponents=exponents,
        table=pd.DataFrame(),
        versions={},
    )


def test_undecided_exponents_of_one_reason_are_one_line():
    scaling = make_scaling("too few seeds", "", "exactly zero", *["too few seeds"] * 4)
    many, one = describe_undecided(scaling)
    names = "size at the start in dense_0, size at the start in dense_3, size at the start in dense_4"
    assert many == f"Undecided, 5 exponents ({names} and 2 more): too few seeds."
    assert one == "Undecided, 1 exponent (size at the start in dense_2): exactly zero."
    assert write_width_text(scaling).count("too few seeds") == 1


def test_of_what_is_decided_nothing_is_said():
    assert describe_undecided(make_scaling("", "")) == []
