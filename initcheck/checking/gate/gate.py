"""The gate: measures a model as its baseline was measured, and says what has changed since."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from initcheck.checking.check import Report, check
from initcheck.checking.gate.baseline import Baseline, Recipe, read_baseline, write_baseline
from initcheck.checking.gate.comparison import DEFAULT_MARGIN, Comparison, compare
from initcheck.checking.gate.seed_plan import plan_seeds
from initcheck.checking.settings import CheckSettings, check_margin, choose_settings
from initcheck.core.errors import UsageError
from initcheck.core.formatting import Progress, no_progress


def record_baseline(
    model: Any,
    path: str | Path,
    x: Any = None,
    y: Any = None,
    *,
    recipe: Recipe | None = None,
    settings: CheckSettings | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> Report:
    """Measure a model and write its baseline: ``record_baseline(build, "baseline.json", seeds=4)``.

    Args:
        model: as for ``initcheck.check``.
        path: the file; one that is there is replaced at once.
        x: the batch; None makes one.
        y: labels.
        recipe: how the same is measured once more; what the settings say of it is filled in.
        settings: how to check.
        progress: as for ``initcheck.check``.
        **options: fields of ``initcheck.checking.settings.CheckSettings``, instead of ``settings``.

    Returns:
        The report of the check, whose findings the baseline knows from now on.

    Raises:
        ModelError: the model cannot be loaded, built or run.
        DataError: the batch or the labels do not fit the model.
        OutputError: the file cannot be written.
    """
    chosen = choose_settings(settings, options)
    report, baseline = measure_baseline(model, x, y, recipe=recipe, settings=chosen, progress=progress)
    write_baseline(baseline, Path(path))
    return report


def measure_baseline(
    model: Any,
    x: Any = None,
    y: Any = None,
    *,
    recipe: Recipe | None = None,
    settings: CheckSettings | None = None,
    progress: Progress | None = None,
) -> tuple[Report, Baseline]:
    """Measure a model as for its baseline, and write nothing; see :func:`record_baseline`."""
    chosen = replace(settings or CheckSettings(), fixes=False, stop_early=False)
    report = check(model, x, y, settings=chosen, progress=progress)
    filled = replace(
        recipe or Recipe(), weights=chosen.weights, batch_size=chosen.batch_size, input_shapes=chosen.input_shapes
    )
    return report, Baseline.from_result(report.result, filled)


def gate_model(
    model: Any,
    baseline: str | Path | Baseline,
    x: Any = None,
    y: Any = None,
    *,
    margin: float = DEFAULT_MARGIN,
    auto_seeds: int | None = None,
    settings: CheckSettings | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> Report:
    """Check a model, and compare it with its baseline.

    Seeds, batch size, input shapes and whether weights are drawn are the baseline's, unless the settings name others.

    Args:
        model: as for ``initcheck.check``.
        baseline: the file, or what was read from it.
        x: the batch; None makes the one that the baseline was made on.
        y: labels.
        margin: the share by which amplitudes may differ and be called the same.
        auto_seeds: draw up to so many seeds where the first do not decide; None draws no more.
        settings: how to check.
        progress: as for ``initcheck.check``.
        **options: fields of ``initcheck.checking.settings.CheckSettings``, instead of ``settings``.

    Returns:
        The report; ``report.comparison`` has what changed, and ``report.exit_code`` counts it.

    Raises:
        BaselineError: the file is missing, damaged, or of a newer schema.
        ModelError: the model cannot be loaded, built or run.
        DataError: the batch or the labels do not fit the model.
        UsageError: the margin or the number of seeds is out of range.
    """
    check_margin(margin)
    known = baseline if isinstance(baseline, Baseline) else read_baseline(Path(baseline))
    given = choose_settings(settings, options)
    chosen = follow_baseline(given, known)
    if auto_seeds is not None and auto_seeds < (chosen.seeds or 0):
        raise UsageError(
            f"auto_seeds must be at least the number of seeds, {chosen.seeds}, of which it draws more. "
            f"Received: {auto_seeds!r}."
        )
    looks = 1 if auto_seeds is None else 2
    report = check(model, x, y, settings=chosen, progress=progress)
    comparison = compare(known, Baseline.from_result(report.result, _recipe_of(known, chosen)), margin, looks)
    more = _seeds_to_draw(comparison, chosen, auto_seeds)
    if more is not None:
        wider = replace(chosen, seeds=more)
        report = check(model, x, y, settings=wider, progress=progress or no_progress)
        comparison = compare(known, Baseline.from_result(report.result, _recipe_of(known, wider)), margin, looks)
    return Report(report.result, comparison)


def follow_baseline(settings: CheckSettings, baseline: Baseline) -> CheckSettings:
    """Take from a baseline what the settings leave open: seeds, batch size, shapes, and whether weights are drawn."""
    recipe = baseline.recipe
    count = len(baseline.seeds)
    seeds = settings.seeds or (count if count > 1 else None)
    return replace(
        settings,
        seeds=seeds,
        first_seed=baseline.seeds[0] if settings.first_seed is None else settings.first_seed,
        weights=recipe.weights,  # type: ignore[arg-type]  # the schema has checked it
        batch_size=settings.batch_size or recipe.batch_size,
        input_shapes=settings.input_shapes or recipe.input_shapes,
        fixes=False,
    )


def _recipe_of(baseline: Baseline, settings: CheckSettings) -> Recipe:
    return replace(baseline.recipe, batch_size=settings.batch_size, input_shapes=settings.input_shapes)


def _seeds_to_draw(comparison: Comparison, settings: CheckSettings, most: int | None) -> int | None:
    """Count the seeds that the second look takes; None where there is none."""
    if most is None or settings.seeds is None or comparison.verdict != "inconclusive" or most <= settings.seeds:
        return None
    plan = plan_seeds(comparison)
    return most if plan is None or plan.high is None else min(most, plan.high)
