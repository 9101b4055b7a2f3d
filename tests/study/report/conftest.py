"""Studies that never were, and the report of one that is as large as the default one."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
import pytest
from simulated_study import ACTIVATIONS, INITIALIZERS, WrittenReport, make_study, simulate_table
from simulated_theory import predict_study

from initcheck.pages.document import Document
from initcheck.study import report
from initcheck.study.record import NotMeasured, StudyRecord
from initcheck.study.report import build_document, write_report


@pytest.fixture(scope="session")
def full_study() -> StudyRecord:
    """A study of the size of the default one, with predictions: of two activations less is known, or nothing."""
    mlp = simulate_table("mlp", INITIALIZERS, ACTIVATIONS, depth=20, width=256, seeds=16)
    relu = {"relu": ACTIVATIONS["relu"]}
    notebook = simulate_table("notebook", INITIALIZERS, relu, depth=2, width=300, seeds=16, data="digits")
    refused = tuple(
        NotMeasured("mlp", "Identity", activation, "Keras refuses Identity: the kernel has 4 axes.")
        for activation in ("relu", "tanh")
    )
    measured = make_study(pd.concat([mlp, notebook], ignore_index=True), {"mlp": 20, "notebook": 2}, refused)
    bases = {"gelu": "mean field, restarted from the measured value at hidden_03", "mish": "it bends <twice> | oddly"}
    return predict_study(measured, bases=bases)


@pytest.fixture
def small_study() -> Callable[..., StudyRecord]:
    """Make a study of a few pairs: ``small_study(initializers=("HeNormal",), activations=("relu",), depth=6)``."""

    def make(
        initializers: tuple[str, ...] = ("HeNormal", "Zeros"),
        activations: tuple[str, ...] = ("relu", "tanh"),
        depth: int = 6,
        network: str = "mlp",
        not_measured: tuple[NotMeasured, ...] = (),
    ) -> StudyRecord:
        table = simulate_table(
            network,
            {name: INITIALIZERS.get(name, (2.0, False)) for name in initializers},
            {name: ACTIVATIONS.get(name, (0.5, 0.5, False)) for name in activations},
            depth=depth,
            width=64,
            seeds=6,
        )
        return make_study(table, {network: depth}, not_measured)

    return make


@pytest.fixture(scope="session")
def full_document(full_study: StudyRecord) -> Document:
    """The report of the full study, as plain data."""
    return build_document(full_study)


@pytest.fixture(scope="session")
def full_report(
    full_study: StudyRecord, full_document: Document, tmp_path_factory: pytest.TempPathFactory
) -> WrittenReport:
    """The report of the full study, written once."""
    folder = tmp_path_factory.mktemp("full") / "report"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "build_document", lambda _: full_document)  # to draw its pictures once
        return WrittenReport(folder, write_report(full_study, folder))
