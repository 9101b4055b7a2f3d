"""The object behind the fixture ``initcheck``."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import pytest

from initcheck.audit.findings import is_waived
from initcheck.audit.preservation import check_request, judge_preservation
from initcheck.audit.rules import RULES
from initcheck.backend.runtime import import_keras
from initcheck.core.errors import BaselineError, InitcheckError, UsageError
from initcheck.core.files import relative_path
from initcheck.probe.weight_copies import FEWEST, FEWEST_VALUES
from initcheck.pytest_plugin import RECORDS_OF_ITEM, without_warnings
from initcheck.pytest_plugin.settings import (
    Layers,
    baseline_of_test,
    list_exemptions,
    load_reference,
    pytest_command,
    read_layers,
    spell_options,
    test_id,
    updates_baseline,
)
from initcheck.pytest_plugin.summary import Record, describe_report, name_verdict, summarize_problems

if TYPE_CHECKING:
    from initcheck.checking.check import Report
    from initcheck.probe.weights import WeightFacts
    from initcheck.pytest_plugin.unused import Exemption
    from initcheck.spec.claim import Outcome


class Initcheck:
    """Measures how Keras models start, inside one test, and fails the test for what is wrong.

    What is measured is kept for the table at the end of the run, and for the JUnit file. Settings that a call leaves
    out are the marker's (``@pytest.mark.initcheck(seeds=8)``), else pytest's (``initcheck_seeds``), else those of
    ``[tool.initcheck]`` in the nearest pyproject.toml.
    """

    def __init__(self, item: pytest.Item) -> None:
        """Start with a test that has gated nothing yet."""
        self._item = item
        self._config = item.config
        self._gated: set[str | None] = set()

    def check(self, model: Any, x: Any = None, y: Any = None, **options: Any) -> Report:
        """Measure a model, and fail the test unless it is proven healthy.

        Args:
            model: a Keras model, a function that makes one, or text: ``package.module:factory``,
                ``path/file.py:factory``, a ``.keras`` file, or ``applications:NAME``.
            x: the batch; None makes one.
            y: labels; with them the loss is the model's compiled one.
            **options: fields of ``CheckSettings``: ``seeds``, ``select``, ``ignore``, ``waive``,
                ``allow_inconclusive``... Fixes are tried with ``fixes=True`` only.

        Returns:
            The report of a healthy model.
        """
        from initcheck.checking.check import check

        with self._reporting("check", model):
            layers = read_layers(self._item, options, gate=False)
            report = check(self._load(model), x, y, settings=layers.for_checking())
            text = "\n\n".join([summarize_problems(report), report.to_text(), self._reproduce()])
            allowed = list_exemptions(self._item, layers, report.result.unneeded)
            failed = report.exit_code != 0
            self._keep("check", report, report.verdict, failed=failed, message=text, exemptions=allowed)
        return report

    def gate(
        self,
        model: Any,
        x: Any = None,
        y: Any = None,
        *,
        margin: float | None = None,
        name: str | None = None,
        auto_seeds: int | None = None,
        **options: Any,
    ) -> Report:
        """Compare a model with its baseline beside the test, and fail the test unless it starts from the same.

        The file is ``initcheck-baselines/<test file>/<test>.json``. ``pytest --initcheck-update`` writes it, and the
        test then passes. Without it the test fails.

        Args:
            model: as for ``check``.
            x: the batch; None makes one.
            y: labels.
            margin: the share by which amplitudes may differ and be called the same; None takes the marker's, else
                ``initcheck_margin``, else 0.05.
            name: distinguishes several baselines of one test.
            auto_seeds: draw up to so many seeds where the first do not decide.
            **options: as for ``check``. Seeds, batch size and shapes are the baseline's unless the call or the
                marker says otherwise.

        Returns:
            The report; ``report.comparison`` is None where the baseline was written.
        """
        from initcheck.checking.gate.baseline import Recipe, read_baseline
        from initcheck.checking.gate.comparison import DEFAULT_MARGIN
        from initcheck.checking.gate.gate import gate_model, record_baseline
        from initcheck.checking.settings import check_margin

        with self._reporting("gate", model):
            self._claim_name(name)
            layers = read_layers(self._item, {**options, "margin": margin, "auto_seeds": auto_seeds}, gate=True)
            wanted = layers.get("margin")
            wanted = DEFAULT_MARGIN if wanted is None else wanted
            check_margin(wanted)
            path = baseline_of_test(self._item, name)
            shown = relative_path(path, self._config.invocation_params.dir)
            if updates_baseline(self._config):
                verdict = "updated" if path.exists() else "written"
                recipe, settings = Recipe(test=test_id(self._item)), layers.for_checking()
                report = record_baseline(self._load(model), path, x, y, recipe=recipe, settings=settings).named(shown)
                allowed = list_exemptions(self._item, layers, report.result.unneeded)
                self._keep("gate", report, verdict, failed=False, exemptions=allowed)
                return report
            if not path.exists():
                raise _MissingBaselineError(f"There is no baseline {shown!r}. Record and commit it: {self._update()}")
            try:
                known = read_baseline(path)
            except BaselineError as error:
                raise BaselineError(f"{error} Record it: {self._update()}") from error
            asked = layers.get("weights") or known.recipe.weights
            if asked not in ("auto", known.recipe.weights):
                raise UsageError(
                    f"The baseline {shown!r} was recorded with weights={known.recipe.weights!r}. Received: "
                    f"weights={asked!r}. Leave it out, or record anew: {self._update()}"
                )
            report = gate_model(
                self._load(model),
                known,
                x,
                y,
                margin=wanted,
                auto_seeds=layers.get("auto_seeds"),
                settings=layers.for_comparing(),
            ).named(shown)
            self._keep_gate(report, layers)
        return report

    def assert_preserves(
        self,
        model: Any,
        direction: str = "both",
        within: float = 0.05,
        x: Any = None,
        y: Any = None,
        **options: Any,
    ) -> Report:
        """Fail the test unless signal and gradient keep their size from layer to layer.

        Judged is the factor a layer along the main path, in squares (second moments, squared norms of gradients): the
        90% interval of its logarithm over seeds has to lie within ±ln(1 + within), which is an equivalence test at 5%.
        In amplitude the factor is its root.

        Args:
            model: as for ``check``.
            direction: ``forward``, ``backward`` or ``both``.
            within: the share by which the square may change a layer.
            x: the batch; None makes one.
            y: labels.
            **options: as for ``check``.

        Returns:
            The report.
        """
        from initcheck.checking.check import check

        with self._reporting("assert_preserves", model):
            check_request(direction, within)
            layers = read_layers(self._item, options, gate=False)
            report = check(self._load(model), x, y, settings=layers.for_checking())
            judged = judge_preservation(report.result.paths, direction, within)
            lines = [each.sentence for each in judged if each.verdict != "preserved"]
            verdict = next((each.verdict for each in judged if each.verdict != "preserved"), "preserved")
            text = "\n".join([*lines, *self._name_model(report), self._reproduce()])
            self._keep("assert_preserves", report, verdict, failed=bool(lines), message=text)
        return report

    def assert_independent_weights(self, model: Any, x: Any = None, y: Any = None, **options: Any) -> Report:
        """Fail the test if weights are copies of each other (IC301), or units of a layer are alike (IC302).

        The weights are judged as they are. A weight that cannot be compared fails the test too, unless it is waived:
        one whose entries are not all finite, or take a few values only.

        Args:
            model: as for ``check``.
            x: the batch; None makes one.
            y: labels.
            **options: as for ``check``.

        Returns:
            The report.
        """
        from initcheck.checking.check import check
        from initcheck.checking.load_model import adopt_model

        with self._reporting("assert_independent_weights", model):
            layers = read_layers(self._item, options, gate=False)
            loaded = self._load(model)
            loaded = adopt_model(loaded) if loaded is model else loaded
            codes = tuple(code for code, rule in RULES.items() if rule.compares_weights)
            settings = replace(layers.for_checking(), select=codes, ignore=(), weights="keep")
            report = check(loaded, x, y, settings=settings)
            incomparable = _find_incomparable(loaded.model, report.result.facts)
            unclear = [reason for path, reason in incomparable if not is_waived(path, settings.waive)]
            unneeded = [
                (setting, word)
                for setting, word in report.result.unneeded
                if not any(is_waived(path, (word,)) for path, _ in incomparable)
            ]
            allowed = [each for each in list_exemptions(self._item, layers, unneeded) if each.setting == "waive"]
            lines = [f"{each.code} {each.name}: {each.message}" for each in report.findings]
            verdict = "not independent" if lines else "cannot judge" if unclear else "independent"
            lines += [f"cannot judge {each}" for each in unclear]
            text = "\n".join([*lines, *self._name_model(report), self._reproduce()])
            failed = bool(lines)
            self._keep("assert_independent_weights", report, verdict, failed=failed, message=text, exemptions=allowed)
        return report

    def assert_claim(self, claim_id: str) -> Outcome:
        """Fail the test unless a claim of the specification comes out as specified on the installed Keras.

        A claim that is about other versions of Keras alone fails, too. All tests of a run share one run context: what a
        claim has measured, others of its group need not.

        Args:
            claim_id: such as ``distribution.he_normal.variance``; ``initcheck spec --list`` lists them.

        Returns:
            The outcome.
        """
        from initcheck.backend import runtime
        from initcheck.spec.catalogue import find_claim
        from initcheck.spec.plugin import run_context_of

        with self._reporting("assert_claim", None):
            claim = find_claim(claim_id)
            runtime.import_keras()
            outcome = run_context_of(self._config).judge(claim)
            # What was asked for and cannot be measured is no success.
            failed = not outcome.green or outcome.status == "not there"
            text = "\n".join(
                [
                    f"{claim.id} is {outcome.status}: {outcome.reason}",
                    f"Claimed: {claim.statement} ({claim.source})",
                    "",
                    f"Reproduce: initcheck spec -k {claim.id}",
                ]
            )
            record = Record(
                self._subject(),
                "assert_claim",
                outcome.status,
                failed=failed,
                model=claim.id,
                keras=runtime.versions()["keras"],
                message=text if failed else "",
            )
            self._finish(record)
        return outcome

    def _load(self, model: Any) -> Any:
        if not isinstance(model, str):
            return model
        return load_reference(self._config, model, self._item.path.parent, self._config.invocation_params.dir)

    def _claim_name(self, name: str | None) -> None:
        if name is not None and not name.strip():
            raise UsageError(f"name must be a text that distinguishes baselines. Received: {name!r}.")
        if name in self._gated:
            taken = "has gated a model already" if name is None else f"has a baseline of the name {name!r} already"
            raise UsageError(
                f"This test {taken}, and a second one would replace its baseline. "
                'Name it: initcheck.gate(model, name="second").'
            )
        self._gated.add(name)

    @contextmanager
    def _reporting(self, call: str, model: Any) -> Iterator[None]:
        """Turn initcheck's own errors into a failure of one line, and let no warning of a library become an error."""
        try:
            with without_warnings():
                yield
        except InitcheckError as error:
            message = " ".join(str(error).split())
            verdict = "missing" if isinstance(error, _MissingBaselineError) else "error"
            named = model if isinstance(model, str) else ""
            self._finish(Record(self._subject(), call, verdict, failed=True, model=named, message=message))

    def _keep_gate(self, report: Report, layers: Layers) -> None:
        from initcheck.checking.gate.report import format_gate

        comparison = report.comparison
        assert comparison is not None
        lines = [format_gate(comparison, in_test=True).removeprefix("Gate: "), *self._name_model(report)]
        lines += [f"Baseline:  {report.baseline}", self._reproduce(), f"Update:    {self._update()}"]
        failed, verdict = report.exit_code != 0, name_verdict(report, comparison)
        allowed = list_exemptions(self._item, layers, report.result.unneeded)
        self._keep("gate", report, verdict, failed=failed, message="\n".join(lines), exemptions=allowed)

    def _keep(
        self,
        call: str,
        report: Report,
        verdict: str,
        *,
        failed: bool,
        message: str = "",
        exemptions: Iterable[Exemption] = (),
    ) -> None:
        paged, page = self._config.getoption("initcheck_report"), ""
        if failed and paged:
            from initcheck.pytest_plugin.page import pack_page

            page = pack_page(report)
        # The report's own summary is about findings and the gate; what else was asked is in the message.
        markdown = report.to_summary() if failed and call in ("check", "gate") else ""
        record = Record(
            self._subject(),
            call,
            verdict,
            failed=failed,
            message=message if failed or paged else "",
            markdown=markdown,
            page=page,
            exemptions=tuple(exemptions),
            **describe_report(report),
        )
        self._finish(record)

    def _finish(self, record: Record) -> None:
        """Keep a record, and fail the test if it says so."""
        record = replace(record, message=spell_options(record.message), markdown=spell_options(record.markdown))
        self._item.stash.setdefault(RECORDS_OF_ITEM, []).append(record.to_plain())
        if record.failed:
            _fail(record.message)

    def _subject(self) -> str:
        return test_id(self._item)

    def _update(self) -> str:
        return pytest_command(self._item, update=True)

    def _reproduce(self) -> str:
        return f"Reproduce: {pytest_command(self._item)}"

    def _name_model(self, report: Report) -> list[str]:
        return ["", f"Model:     {report.result.model}"]


class _MissingBaselineError(BaselineError):
    """There is no baseline yet."""


def _fail(message: str) -> NoReturn:
    # From None: else pytest reports this failure as one during the handling of the error that it words.
    raise pytest.fail.Exception(message, pytrace=False) from None


# --- which weights cannot be judged -----------------------------------------------------------------------------------


def _find_incomparable(model: Any, facts: Sequence[WeightFacts]) -> list[tuple[str, str]]:
    """List the weights that may be copies of others, and could not be compared with them, each with the reason."""
    weights = zip(facts, model.weights, strict=True)
    return [(each.path, reason) for each, variable in weights for reason in _explain(each, variable)]


def _explain(facts: WeightFacts, variable: Any) -> Iterator[str]:
    if "float" not in facts.dtype:
        return
    held = np.asarray(import_keras().ops.convert_to_numpy(variable.value)).astype(np.float64)
    if not np.isfinite(held).all():
        yield f"{facts.path}: it holds values that are not finite."
    elif held.ndim > 1 and math.prod(facts.shape) >= FEWEST and not facts.constant and len(np.unique(held)) > 1:
        values = len(np.unique(held.reshape(-1)[:FEWEST]))
        if values < FEWEST_VALUES:
            yield f"{facts.path}: its first {FEWEST} entries have {values} different values, too few to show copies."
