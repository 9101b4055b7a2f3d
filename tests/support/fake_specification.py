"""A specification of a few invented claims in place of the real one, for whatever process imports this.

It stands in for Keras too, so that a run takes a second. Run as a script it is ``initcheck``; as a plugin of pytest it
serves a whole run, workers included; :func:`replace_specification` serves one test.
"""

from __future__ import annotations

import math
import os
import sys
import types
from dataclasses import dataclass

import pandas as pd
import pytest

from initcheck.backend import runtime
from initcheck.core.errors import BackendError
from initcheck.spec import catalogue, causes
from initcheck.spec.claim import Claim, Evidence, RunContext, Verdict
from initcheck.spec.records import SpecificationRecord, make_record


@dataclass(frozen=True)
class FakeExperiment:
    value: float

    def measure(self, context):
        if self.value == math.inf:
            raise ValueError("Keras says\nno")
        return pd.DataFrame({"value": [self.value], "seed": [context.seed("fake")]})


@dataclass(frozen=True)
class FakeFailure:
    """An experiment during which the process dies, or that finds no backend."""

    dies: bool

    def measure(self, context):
        if self.dies:
            os._exit(7)
        raise BackendError("There is no backend.")


@dataclass(frozen=True)
class FakeDecision:
    """A value of 1 is true, 0 is false, NaN is neither."""

    false_alarm: float = 0.0

    def __call__(self, table):
        value = table["value"].iloc[0]  # NumPy's float, which a worker of pytest-xdist cannot send
        verdict = {1.0: Verdict.PASS, 0.0: Verdict.FAIL}.get(float(value), Verdict.INCONCLUSIVE)
        return Evidence(
            verdict=verdict,
            reason=f"The value is {value}; the seed was {table['seed'].iloc[0]}.",
            quantity="value",
            effect=value,
            low=value - 0.5,
            high=value + 0.5,
            confidence=0.999,
            bounds=(0.25, math.inf),
            count=table["seed"].count(),
            p_value=value * 1e-7,
            members=1,
            worst="<the only one>",
        )


def make_claim(name: str, value: float, control: float | None = None, false_alarm: float = 0.0, **fields) -> Claim:
    """Make a claim whose experiment gives this value; its control is right unless another value is given for it."""
    refuted = fields.get("expected") == "refuted"
    right = 1.0 if refuted else 0.0
    return Claim(
        cause=fields.pop("cause", causes.TRANSPOSED if refuted else None),
        id=name,
        statement=f"The statement of {name} & <others>.",
        source="Nobody, 2001",
        condition="always",
        experiment=FakeExperiment(value),
        decide=FakeDecision(false_alarm),
        control=FakeExperiment(right if control is None else control),
        control_note="the opposite",
        **fields,
    )


CLAIMS = {
    "first": (
        make_claim("first.green.holds", 1.0, false_alarm=1e-6, rows=("A1",)),
        make_claim("first.green.refuted", 0.0, expected="refuted", rows=("A1", "NB2")),
        make_claim("first.green.slow", 1.0, slow=True),
    ),
    "second": (
        make_claim("second.red.broken", 0.0),
        make_claim("second.red.raises", math.inf),
        make_claim("second.red.control", 1.0, control=1.0),
        make_claim("second.red.now_holds", 1.0, control=1.0, expected="refuted"),
        make_claim("second.unclear.inconclusive", math.nan),
        make_claim("second.pinned.changed", 0.0, pinned=True),
    ),
}


def run_fake_specification() -> SpecificationRecord:
    """Judge all of the fake claims."""
    context = RunContext(0)
    return SpecificationRecord(
        claims=tuple(make_record(context.judge(claim)) for group in CLAIMS.values() for claim in group),
        left_out=3,
        seed=5,
        command_line="initcheck spec --report out",
        started="2026-01-02T03:04:05+00:00",
        duration_seconds=61.0,
        versions={"keras": "3.15.1"},
    )


def replace_specification(patch: pytest.MonkeyPatch) -> None:
    """Put the fake specification in the place of the real one, until the patch is undone."""
    for topic, claims in CLAIMS.items():
        module = types.ModuleType(f"initcheck.spec.topics.{topic}")
        module.claims = lambda claims=claims: claims
        patch.setitem(sys.modules, module.__name__, module)
    patch.setattr(catalogue, "TOPICS", tuple(CLAIMS))
    patch.setattr(runtime, "import_keras", lambda: None)
    patch.setattr(runtime, "versions", lambda: {"keras": "0.0"})
    catalogue.catalogue.cache_clear()


if __name__ == "__main__":
    replace_specification(pytest.MonkeyPatch())
    from initcheck.cli import main

    sys.exit(main(sys.argv[1:]))
elif "INITCHECK_FAKE_SPECIFICATION" in __import__("os").environ:
    # As a plugin of pytest, in every worker.
    replace_specification(pytest.MonkeyPatch())
