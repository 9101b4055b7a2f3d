"""``initcheck sweep``: a grid of networks, resumable, in this process, in several, or on a Dask cluster."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from initcheck.cli.measuring import echo_written, out_option, show_progress
from initcheck.core.errors import UsageError
from initcheck.core.files import check_writable
from initcheck.core.formatting import to_json

if TYPE_CHECKING:
    from initcheck.sweeping.measurement import Engine

_STORE = "cells.sqlite"
_FAILED = 2


@click.command()
@click.argument("spec", type=click.Path(path_type=Path), metavar="SPEC.toml")
@out_option("sweep", "Folder for the pages, the summary and the store.")
@click.option(
    "--store",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help=f"File of the finished cells.  [default: {_STORE} in the folder of --out]",
)
@click.option(
    "--engine",
    type=click.Choice(["process", "local", "dask"]),
    default="process",
    show_default=True,
    help="Measure in this process, in worker processes of this machine, or on a Dask cluster.",
)
@click.option("--workers", type=click.IntRange(1), help="Processes of --engine local.  [default: one a processor]")
@click.option("--scheduler", metavar="ADDRESS", help="Of --engine dask, such as tcp://10.0.0.1:8786.")
@click.option("--x", metavar="AXIS", help="Axis of the tables from left to right.  [default: depth, if it varies]")
@click.option("--y", metavar="AXIS", help="Axis from top to bottom.  [default: initializer, if it varies]")
@click.option("--dry-run", is_flag=True, help="Measure nothing: say how many cells, how long, how much memory.")
@click.option(
    "--export",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Measure nothing: write the table of the cells finished so far as .parquet or .csv.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")
@click.option("--quiet", is_flag=True, help="Show no progress, and no text.")
@click.pass_obj
def sweep(
    command_line: str,
    spec: Path,
    out: Path,
    store: Path | None,
    engine: str,
    workers: int | None,
    scheduler: str | None,
    x: str | None,
    y: str | None,
    dry_run: bool,
    export: Path | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Measure many networks: all combinations of the axes in SPEC.toml.

    Every finished cell is recorded at once. Interrupted or killed, the same command goes on where it was; cells that
    were measured under other versions are measured again.

    Exit codes: 0 all cells measured, or proven not to be measurable; 2 a cell failed, or bad input; 130 interrupted.
    """
    _check_options(engine, workers, scheduler)
    path = store or out / _STORE
    if not dry_run and export is None:
        check_writable(out)
        check_writable(path.parent)
    # Imported only now: these bring Keras and pandas along.
    from initcheck.backend.runtime import limit_threads
    from initcheck.sweeping.spec import read_spec

    limit_threads()

    cells = read_spec(spec)
    if dry_run:
        from initcheck.sweeping.forecast import forecast_sweep

        forecast = forecast_sweep(cells, path, _count_workers(engine, workers))
        click.echo(to_json(forecast) if as_json else forecast.text)
        return
    from initcheck.core.forecast import TimeLeft, measure_slowdown
    from initcheck.sweeping.forecast import TimedEngine
    from initcheck.sweeping.report import check_axes, export_cells, sweep_json, sweep_text, write_sweep
    from initcheck.sweeping.run import run_sweep
    from initcheck.sweeping.store import SweepStore

    if export is not None:
        with SweepStore(path, readonly=True) as finished:
            rows = export_cells(finished, [cell.identity for cell in cells.cells], export)
        if not quiet:
            click.echo(f"wrote {export}: {rows:,} rows", err=True)
        return
    check_axes(x, y)
    path.parent.mkdir(parents=True, exist_ok=True)
    left = TimeLeft(_count_workers(engine, workers), 1.0 if quiet else measure_slowdown())
    timed = TimedEngine(_choose_engine(engine, workers, scheduler), left, os.cpu_count() or 1)
    with show_progress(quiet=quiet, left=lambda: left.seconds) as progress:
        result = run_sweep(cells, path, timed, progress)
    paths = write_sweep(result, out, command_line, x, y)
    if as_json:
        click.echo(sweep_json(result))
    elif not quiet:
        echo_written(paths)
        click.echo(sweep_text(result))
    if result.failed:
        click.echo(
            f"initcheck: error: {len(result.failed)} cells failed, the first: {result.failed[0][0].label}: "
            f"{result.failed[0][1]}. Run the command again to try them once more.",
            err=True,
        )
        raise click.exceptions.Exit(_FAILED)


def _check_options(engine: str, workers: int | None, scheduler: str | None) -> None:
    if engine == "dask" and scheduler is None:
        raise UsageError("--engine dask needs the address of a scheduler: --scheduler tcp://HOST:8786.")
    if scheduler is not None and engine != "dask":
        raise UsageError(f"--scheduler belongs to --engine dask. Received: --engine {engine}.")
    if workers is not None and engine != "local":
        raise UsageError(f"--workers belongs to --engine local. Received: --engine {engine}.")


def _choose_engine(engine: str, workers: int | None, scheduler: str | None) -> Engine:
    from initcheck.sweeping.measurement import InProcess

    if engine == "process":
        return InProcess()
    from initcheck.sweeping.dask_engine import DaskEngine, LocalEngine

    return DaskEngine(scheduler or "") if engine == "dask" else LocalEngine(workers)


def _count_workers(engine: str, workers: int | None) -> int:
    """Count the processes that share the work; of a cluster nothing is known."""
    return (workers or os.cpu_count() or 1) if engine == "local" else 1
