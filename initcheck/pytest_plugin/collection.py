"""Tests without any test code: ``pytest --initcheck-model=package.module:factory``.

A model is one collector with one test for each family of findings, and one for what was not measured. It is measured
once, when the first of them runs. Where a baseline of the model lies in ``initcheck-baselines/models``, or is to be
written, one more test compares with it, and the findings that the baseline knows are let pass, as on the command line.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from initcheck.audit.rules import FAMILIES, direction_of_family
from initcheck.checking.settings import read_project_settings
from initcheck.core.errors import InitcheckError, name_unknown
from initcheck.core.files import relative_path
from initcheck.pytest_plugin import IDS, RECORDS_OF_ITEM, ROOT, without_warnings
from initcheck.pytest_plugin.settings import (
    Layers,
    baseline_of_model,
    list_exemptions,
    load_reference,
    locate_all,
    pytest_command,
    read_ini,
    spell_options,
    updates_baseline,
)
from initcheck.pytest_plugin.summary import Record, describe_report, name_verdict, summarize_problems

if TYPE_CHECKING:
    from initcheck.audit.findings import CheckResult, Finding
    from initcheck.checking.check import Report
    from initcheck.checking.gate.baseline import Baseline
    from initcheck.checking.gate.comparison import Comparison

_BASELINE: Final = "baseline"


def collect_models(session: pytest.Session) -> list[pytest.Item]:
    """Make the tests of all models that were named, and report them as collected."""
    ids = session.config.stash.get(IDS, [])
    references = _references(session.config)
    items: list[pytest.Item] = []
    made: list[str] = []
    for reference in dict.fromkeys([*references, *(each.split("::")[1] for each in ids)]):
        model = ModelCollector.from_parent(session, name=reference, nodeid=f"{ROOT}::{reference}")
        found = list(session.genitems(model))
        made += [item.nodeid for item in found]
        items += [item for item in found if reference in references or _is_named(item, ids)]
    for each in ids:
        if not any(_is_named(item, [each]) for item in items):
            raise pytest.UsageError(str(name_unknown("test of a model", each, made)))
    return items


def _is_named(item: pytest.Item, ids: Iterable[str]) -> bool:
    return any(f"{item.nodeid}::".startswith(f"{each}::") for each in ids)


def _references(config: pytest.Config) -> list[str]:
    named: list[str] = list(config.getoption("initcheck_model"))
    if any(not each.strip() for each in named):
        raise pytest.UsageError("--initcheck-model needs a model: package.module:factory. Received: ''.")
    references = locate_all(config, named)
    # Whoever runs a single test by its id does not ask for the models of the settings.
    arguments = [*config.args, *config.stash.get(IDS, [])]
    if not (arguments and all("::" in each for each in arguments)):
        references += locate_all(config, config.getini("initcheck_models"), typed=False)
    return list(dict.fromkeys(references))


class ModelCollector(pytest.Collector):
    """One model: what is measured of it, once in each process, and its tests."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._measured: Report | None = None
        self._error = ""
        self.baseline_measured: Baseline | None = None

    def collect(self) -> Iterator[pytest.Item]:
        """Make one test for each family of findings, one for coverage, and one for the baseline."""
        for family, words in FAMILIES.items():
            yield self._prepare(FamilyItem.from_parent(self, name=words, family=family))
        if self.updates or self.baseline_path.exists():
            yield self._prepare(BaselineItem.from_parent(self, name=_BASELINE))

    @property
    def baseline_path(self) -> Path:
        """The file of its baseline, which may be there or not."""
        return baseline_of_model(self.config, self.name)

    @property
    def baseline_shown(self) -> str:
        """The same as seen from where pytest was called."""
        return relative_path(self.baseline_path, self.config.invocation_params.dir)

    def measure(self) -> Report:
        """Measure the model, unless that was done or tried before."""
        if self._error:
            raise InitcheckError(self._error)
        if self._measured is None:
            try:
                self._measured = self._measure()
            except InitcheckError as error:
                self._error = " ".join(str(error).split())
                raise InitcheckError(self._error) from error
        return self._measured

    @property
    def layers(self) -> Layers:
        """The settings."""
        return Layers({}, {}, read_ini(self.config), read_project_settings(self.config.rootpath))

    @property
    def updates(self) -> bool:
        """Whether its baseline is to be written."""
        return updates_baseline(self.config, self.name)

    @property
    def baseline_known(self) -> Baseline | None:
        """The baseline that is compared with; None where there is none, or it is about to be replaced."""
        from initcheck.checking.gate.baseline import read_baseline

        if self.updates or not self.baseline_path.exists():
            return None
        return read_baseline(self.baseline_path)

    def _measure(self) -> Report:
        from initcheck.checking.check import Report, check
        from initcheck.checking.gate.baseline import Recipe
        from initcheck.checking.gate.comparison import DEFAULT_MARGIN, compare
        from initcheck.checking.gate.gate import gate_model, measure_baseline

        layers, known = self.layers, self.baseline_known
        model = load_reference(self.config, self.name)
        if self.updates:
            recipe, settings = Recipe(model=self.name), layers.for_checking()
            report, measured = measure_baseline(model, recipe=recipe, settings=settings)
            self.baseline_measured = measured
            # What is written knows all findings.
            return Report(report.result, compare(measured, measured))
        if known is None:
            return check(model, settings=layers.for_checking())
        margin = layers.get("margin")
        margin = DEFAULT_MARGIN if margin is None else margin
        return gate_model(model, known, margin=margin, settings=layers.for_comparing()).named(self.baseline_shown)

    def _prepare(self, item: pytest.Item) -> pytest.Item:
        item.extra_keyword_matches.add(ROOT)
        if self.config.pluginmanager.hasplugin("xdist"):
            item.add_marker(pytest.mark.xdist_group(f"{ROOT} {self.name}"))
        return item


class _ModelItem(pytest.Item):
    """A test of a model."""

    model: ModelCollector

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        assert isinstance(self.parent, ModelCollector)
        self.model = self.parent

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """Say where the test stands: in no file."""
        return self.config.rootpath / ROOT, None, f"{self.model.name}: {self.name}"

    def runtest(self) -> None:
        """Judge, and keep what came out."""
        try:
            with without_warnings():
                report = self.model.measure()
                allowed = list_exemptions(self.model, self.model.layers, report.result.unneeded)
                record = replace(self.judge(report), exemptions=allowed)
                if self.config.getoption("initcheck_report"):
                    from initcheck.pytest_plugin.page import pack_page

                    text, page = record.message or report.to_text(), pack_page(report) if record.failed else ""
                    record = replace(record, message=text, page=page)
        except InitcheckError as error:
            message = " ".join(str(error).split())
            record = Record(self.model.name, "", "error", failed=True, model=self.model.name, message=message)
        message, markdown = (spell_options(each, in_settings=True) for each in (record.message, record.markdown))
        record = replace(record, part=self.name, message=message, markdown=markdown)
        self.stash.setdefault(RECORDS_OF_ITEM, []).append(record.to_plain())
        if record.failed:
            pytest.fail(record.message, pytrace=False)

    def judge(self, report: Report) -> Record:
        """Judge what was measured."""
        raise NotImplementedError


class FamilyItem(_ModelItem):
    """The findings of one family."""

    def __init__(self, *args: Any, family: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.family = family

    def judge(self, report: Report) -> Record:
        """Fail for findings of the family that no baseline knows."""
        from initcheck.checking.check import Report as FullReport

        whole, comparison = report.result, report.comparison
        passing: frozenset[tuple[str, str]] = frozenset()
        worse: set[tuple[str, str]] = set()
        if comparison is not None:
            worse = {(now.code, now.layers[0]) for _, now in comparison.worse_findings}
            passing = comparison.known.union(comparison.unconfirmed) - worse
        mine = tuple(each for each in whole.findings if self._is_mine(each, whole))
        others = tuple(each for each in whole.findings if (each.code, each.layer) not in passing)
        new = tuple(each for each in mine if each in others)
        waived = tuple(each for each in whole.waived if self._is_mine(each, whole))
        part = FullReport(replace(whole, findings=new, waived=waived))
        failed = part.exit_code != 0
        fields = describe_report(report)
        codes = tuple(each.code for each in mine if each not in new)
        known = tuple(each for each in fields["known"] if each.startswith(codes))
        fixed = tuple(each for each in fields["fixed"] if each.removeprefix("fixed: ").startswith(self.family))
        fields |= {"findings": describe_report(part)["findings"], "gate": "", "known": known, "fixed": fixed}
        text = markdown = ""
        if failed:
            trend = "got worse: " if all((each.code, each.layer) in worse for each in new) else ""
            lines = [summarize_problems(part, trend), part.to_text(), f"Reproduce: {pytest_command(self)}"]
            text = "\n\n".join(lines)
            # The page of the job has one entry for all tests of the model.
            markdown = FullReport(replace(whole, findings=others)).to_summary()
        verdict = "known" if known and part.verdict == "healthy" else part.verdict
        return Record(self.model.name, "check", verdict, failed=failed, message=text, markdown=markdown, **fields)

    def _is_mine(self, finding: Finding, result: CheckResult) -> bool:
        if finding.rule.family == self.family:
            return True
        # What the seeds do not decide of the signal is no pass for the signal, whichever family the code belongs to.
        direction = direction_of_family(self.family)
        if direction is None or not finding.rule.inconclusive:
            return False
        layers = {finding.layer, *finding.layers} - {""}
        undecided = [each for each in result.paths if each.outcome == "undecided"]
        return not result.paths or any(
            each.levels.direction == direction and layers <= set(each.levels.layers) for each in undecided
        )


class BaselineItem(_ModelItem):
    """The comparison with the baseline, or its writing."""

    def judge(self, report: Report) -> Record:
        """Fail for what changed; with ``--initcheck-update`` write the file."""
        comparison = report.comparison
        assert comparison is not None
        if self.model.updates:
            return self._write(report)
        failed = report.exit_code != 0
        text = self._word(comparison) if failed else ""
        verdict = name_verdict(report, comparison)
        markdown = report.to_summary() if failed else ""
        fields = describe_report(report)
        return Record(self.model.name, "gate", verdict, failed=failed, message=text, markdown=markdown, **fields)

    def _write(self, report: Report) -> Record:
        from initcheck.checking.check import Report
        from initcheck.checking.gate.baseline import write_baseline

        path, measured = self.model.baseline_path, self.model.baseline_measured
        assert measured is not None
        verdict = "updated" if path.exists() else "written"
        write_baseline(measured, path)
        fields = {**describe_report(Report(report.result)), "baseline": self.model.baseline_shown}
        return Record(self.model.name, "gate", verdict, failed=False, **fields)

    def _word(self, comparison: Comparison) -> str:
        from initcheck.checking.gate.report import format_gate

        lines = [
            format_gate(comparison, in_test=True).removeprefix("Gate: "),
            "",
            f"Baseline:  {self.model.baseline_shown}",
        ]
        lines += [f"Reproduce: {pytest_command(self)}", f"Update:    {pytest_command(self, update=True)}"]
        return "\n".join(lines)
