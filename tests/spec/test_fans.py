"""The topic of fans: the formulas and counts that its experiments judge by; its claims are run by the specification."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from initcheck.backend.runtime import import_keras
from initcheck.spec.claim import RunContext
from initcheck.spec.topics.fans import cases, claims, measurement
from initcheck.spec.topics.fans.measurement import SCALINGS, Fans, output_variance, random_signs
from initcheck.spec.topics.fans.special import LowRankAdapter


def test_the_documented_variances_count_inputs_and_outputs() -> None:
    found = {scaling.slug: scaling.variance(Fans(30.0, 70.0)) for scaling in SCALINGS}
    assert found["lecun_normal"] == found["lecun_uniform"] == pytest.approx(1 / 30)
    assert found["he_normal"] == found["he_uniform"] == pytest.approx(2 / 30)
    assert found["glorot_normal"] == found["glorot_uniform"] == pytest.approx(2 / 100)


@pytest.mark.parametrize(("kurtosis", "draw"), [(3.0, "standard_normal"), (1.8, "uniform")])
def test_the_variance_of_an_output_s_mean_square_is_as_stated(kurtosis: float, draw: str) -> None:
    random = np.random.default_rng(1)
    inputs, runs = 9, 4000
    weights = random.standard_normal((runs, inputs)) if draw == "standard_normal" else None
    weights = random.uniform(-np.sqrt(3.0), np.sqrt(3.0), (runs, inputs)) if weights is None else weights
    signs = random_signs(random, (runs, measurement.BATCH, inputs))
    squares = (np.einsum("rbn,rn->rb", signs, weights) ** 2).mean(axis=1) / inputs
    # A sample variance of 4,000 values of kurtosis below 8 is off by less than 4.5 * sqrt(7 / 4000) = .19.
    assert squares.var(ddof=1) == pytest.approx(output_variance(kurtosis, inputs), rel=0.19)


def test_a_layer_whose_fans_agree_has_no_false_sentence() -> None:
    for kind in cases.layer_kinds():
        agree = all(case.fans == case.assumed for case in kind.cases)
        assert agree == (not kind.wrong), kind.slug


def test_every_case_names_its_members_once() -> None:
    for kind in cases.layer_kinds():
        names = [case.name for case in kind.cases]
        assert len(names) == len(set(names)), kind.slug


def _verdict(name: str) -> str:
    claim = next(claim for claim in claims() if claim.id == f"fans.computation.{name}")
    return claim.decide(RunContext(0).measure(claim.experiment)).verdict


def test_what_is_counted_does_not_depend_on_the_scale(monkeypatch: pytest.MonkeyPatch) -> None:
    scaling = import_keras().initializers.VarianceScaling
    call = scaling.__call__
    monkeypatch.setattr(scaling, "__call__", lambda self, shape, dtype=None: 1.3 * call(self, shape, dtype))
    assert (_verdict("modes"), _verdict("rank_2")) == ("pass", "pass")


def test_inputs_taken_for_outputs_are_a_fault_of_shapes_and_not_of_modes(monkeypatch: pytest.MonkeyPatch) -> None:
    scaling = import_keras().initializers.VarianceScaling
    call = scaling.__call__

    def swapped(self: Any, shape: tuple[int, ...], dtype: str | None = None) -> Any:
        return import_keras().ops.transpose(call(self, tuple(reversed(shape)), dtype))

    monkeypatch.setattr(scaling, "__call__", swapped)
    assert (_verdict("modes"), _verdict("rank_2")) == ("pass", "fail")


def test_a_mode_that_is_ignored_is_a_fault_of_modes(monkeypatch: pytest.MonkeyPatch) -> None:
    scaling = import_keras().initializers.VarianceScaling
    call = scaling.__call__

    def ignoring(self: Any, shape: tuple[int, ...], dtype: str | None = None) -> Any:
        monkeypatch.setattr(self, "mode", "fan_in")
        return call(self, shape, dtype)

    monkeypatch.setattr(scaling, "__call__", ignoring)
    assert _verdict("modes") == "fail"


@pytest.mark.parametrize("layer", ["Dense", "EinsumDense", "Embedding"])
def test_a_layer_with_an_adapter_is_the_same_for_the_same_seed(layer: str) -> None:
    first, again = (list(LowRankAdapter(layer, change=0.01).measure(RunContext(3))) for _ in range(2))
    assert first == again
    assert first[0].deviation > first[0].limit
