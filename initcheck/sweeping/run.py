"""A sweep from its spec to its store: what is finished is skipped, what is stale is done anew."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from initcheck.backend.runtime import limit_threads, versions
from initcheck.core.errors import EngineError
from initcheck.core.formatting import Progress
from initcheck.sweeping.measurement import Engine, InProcess, describe_replaced_file
from initcheck.sweeping.spec import VERSIONED, Cell, SweepSpec, digest_files, make_spec, read_spec
from initcheck.sweeping.store import SweepStore


@dataclass(frozen=True, eq=False)
class SweepResult:
    """What a sweep has come to.

    Attributes:
        spec: what was swept.
        store: the file of the finished cells.
        skipped: cells that were finished before.
        stale: cells that were measured again because a version had changed.
        changed: what had changed, in words; empty where nothing had.
        measured: cells that were measured.
        refused: cells that cannot be measured, with reasons.
        failed: cells in which something broke, with reasons.
        summary: one row per measured cell, ``SUMMARY_COLUMNS`` with ``dtype``.
        versions: of what it was measured with.
        cell_seconds: the time of all measured cells, added up over runs and workers.
        seconds: how long this run took.
    """

    spec: SweepSpec
    store: Path
    skipped: int
    stale: int
    changed: str
    measured: int
    refused: tuple[tuple[Cell, str], ...] = field(repr=False)
    failed: tuple[tuple[Cell, str], ...] = field(repr=False)
    summary: pd.DataFrame = field(repr=False)
    versions: Mapping[str, str] = field(repr=False)
    cell_seconds: float
    seconds: float

    @property
    def table(self) -> pd.DataFrame:
        """The measurement table of all cells, read from the store: one row per seed and site."""
        with SweepStore(self.store, readonly=True) as store:
            parts = list(store.read_tables([cell.identity for cell in self.spec.cells]))
        return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()

    def _repr_html_(self) -> str:
        from initcheck.pages.document import Document
        from initcheck.pages.html import render_fragment
        from initcheck.sweeping.answer import TITLE, write_answer

        return render_fragment(Document(TITLE, (), (), write_answer(self)))


@dataclass(frozen=True)
class SweepPlan:
    """What is left to do."""

    left: tuple[Cell, ...]
    skipped: int
    stale: int
    changed: str


def sweep(
    spec: SweepSpec | str | Path | Mapping[str, Any],
    store: str | Path = "sweep.sqlite",
    *,
    engine: Engine | None = None,
    progress: Progress | None = None,
) -> SweepResult:
    """Measure all cells of a sweep that the store does not hold yet.

    Each cell is recorded as soon as it is finished, by this process alone. Killed at any moment, a sweep loses the
    cells that were being measured; run again, it goes on with them.

    Numbers are the same to the last bit on any engine if each operation of the backend uses one thread. Where it can
    still be told, this process is set so, for its whole life; where it cannot, the last digits of what this process
    measures may differ, and a warning is logged. The backend's own variable for threads (``TF_NUM_INTRAOP_THREADS``,
    ``PJRT_NPROC`` or ``OMP_NUM_THREADS``) overrides it.

    Args:
        spec: the sweep, the path of its TOML file, or a mapping as in TOML:
            see ``initcheck.sweeping.spec.read_spec``.
        store: the file of finished cells, made if it is missing. Several sweeps may use one file, one after the other.
        engine: who does the work: ``initcheck.LocalEngine`` or ``initcheck.DaskEngine``; None for this
            process.
        progress: called once before the first cell and after each.

    Returns:
        What the sweep has come to, with the summary of all its cells.

    Raises:
        SpecError: the spec is not right.
        StoreError: the store cannot be used.
        EngineError: the engine cannot be had or was lost, or a data file was replaced meanwhile; what is finished is
            kept.
    """
    limit_threads()
    if isinstance(spec, Mapping):
        spec = make_spec(spec)
    elif not isinstance(spec, SweepSpec):
        spec = read_spec(Path(spec))
    return run_sweep(spec, Path(store), engine or InProcess(), progress)


def run_sweep(spec: SweepSpec, path: Path, engine: Engine, progress: Progress | None = None) -> SweepResult:
    """Do what :func:`sweep` does, on a spec that is read already."""
    started, installed = datetime.datetime.now(datetime.UTC), versions()
    digests = digest_files(spec.cells, spec.data_folder)
    identities = [cell.identity for cell in spec.cells]
    with SweepStore(path) as store:
        plan = plan_sweep(spec, store, installed, digests)
        total, done = len(spec.cells), plan.skipped
        if progress is not None:
            progress(done, total, "starting")
        with engine.open(spec.data_folder, installed) as measure:
            for result in measure(plan.left):
                digest = digests.get(result.cell.data, "")
                if result.data_digest not in (None, digest):
                    raise EngineError(describe_replaced_file(spec.data_folder / result.cell.data))
                now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
                store.record(result, installed, digest, now)
                done += 1
                if progress is not None:
                    progress(done, total, result.cell.label)
        return SweepResult(
            spec=spec,
            store=path,
            skipped=plan.skipped,
            stale=plan.stale,
            changed=plan.changed,
            measured=store.count(identities)["measured"],
            refused=tuple(store.read_reasons(identities, "refused")),
            failed=tuple(store.read_reasons(identities, "failed")),
            summary=store.read_summary(identities),
            versions=installed,
            cell_seconds=store.sum_seconds(identities),
            seconds=(datetime.datetime.now(datetime.UTC) - started).total_seconds(),
        )


def plan_sweep(
    spec: SweepSpec, store: SweepStore | None, installed: Mapping[str, str], digests: Mapping[str, str]
) -> SweepPlan:
    """Find out what is left of a sweep; all of it where there is no store."""
    if store is None:
        return SweepPlan(spec.cells, 0, 0, "")
    keys = {cell.identity: cell.key(installed, digests.get(cell.data, "")) for cell in spec.cells}
    finished, stale = store.find_finished(keys)
    left = tuple(cell for cell in spec.cells if cell.identity not in finished)
    return SweepPlan(
        left, len(finished), len(stale), _describe_change(store.read_versions(sorted(stale)), installed, stale)
    )


def _describe_change(former: Mapping[str, str], installed: Mapping[str, str], stale: Sequence[str] | set[str]) -> str:
    if not stale:
        return ""
    changes = [
        f"{name} {former.get(name, 'not in use')} -> {installed.get(name, 'not in use')}"
        for name in VERSIONED
        if former.get(name) != installed.get(name)
    ]
    return ", ".join(changes) or "the data file"
