"""``initcheck report``: the main job. Measures initializers on reference networks and writes the report."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click

from initcheck.backend.runtime import import_keras, no_garbage_sought_in
from initcheck.cli.measuring import echo_written, names_option, out_option, show_progress
from initcheck.core.errors import UsageError
from initcheck.core.files import check_writable
from initcheck.core.seeds import FEWEST_SEEDS


@click.command()
@out_option("report", "Folder for the report.")
@names_option(
    "--network",
    "networks",
    "Reference network to measure; may be repeated.",
    default=("mlp", "notebook"),
    show_default=True,
)
@names_option("--initializer", "initializers", "Initializer to measure; may be repeated.  [default: all of Keras']")
@names_option(
    "--activation",
    "activations",
    "Activation function of the hidden layers; may be repeated.  [default: the main twelve]",
)
@click.option("--depth", type=int, help="Hidden layers of the networks that take a depth.  [default: 20 for mlp]")
@click.option(
    "--width",
    "widths",
    type=int,
    multiple=True,
    help="Units of their hidden layers; may be repeated.  [default: 256 for mlp]",
)
@click.option("--batch-size", type=int, default=64, show_default=True, help="Samples that go through it together.")
@click.option("--seeds", type=int, default=16, show_default=True, help="Networks drawn for each pair.")
@click.option("--first-seed", type=int, default=0, show_default=True, help="The first of their seeds.")
@click.option(
    "--data",
    metavar="SOURCE",
    help="gaussian, digits, mnist, or the path of a .npz file.  [default: what suits each network]",
)
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON on standard output.")
@click.option("--quiet", is_flag=True, help="Show no progress.")
@click.pass_obj
def report(
    command_line: str,
    out: Path,
    networks: tuple[str, ...],
    initializers: tuple[str, ...],
    activations: tuple[str, ...],
    depth: int | None,
    widths: tuple[int, ...],
    batch_size: int,
    seeds: int,
    first_seed: int,
    data: str | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Measure initializers on reference networks and write a report.

    Each pair of an initializer and an activation function is measured on networks drawn from several seeds: how the
    signal changes from layer to layer, forward and backward, with its interval over the seeds.
    """
    _require_at_least("--depth", depth, 1, "Give the number of hidden layers")
    for width in widths:
        _require_at_least("--width", width, 1, "Give the number of units of a layer")
    _require_at_least("--batch-size", batch_size, 1, "Give the number of samples")
    _require_at_least("--seeds", seeds, FEWEST_SEEDS, "An interval needs two networks or more")
    _require_at_least("--first-seed", first_seed, 0, "Seeds are counted from 0")
    check_writable(out)

    with no_garbage_sought_in(_load_libraries):
        from initcheck.core.forecast import TimeLeft, measure_slowdown
        from initcheck.study.report import summary_json, write_report
        from initcheck.study.run import StudyOptions, run_study
        from initcheck.sweeping.forecast import follow_study

        options = StudyOptions(
            networks=_without_repeats(networks),
            initializers=_without_repeats(initializers),
            activations=_without_repeats(activations),
            depth=depth,
            widths=widths,
            batch_size=batch_size,
            seeds=tuple(range(first_seed, first_seed + seeds)),
            data=data,
            command_line=command_line,
        )
        left = TimeLeft(slowdown=1.0 if quiet else measure_slowdown())
        with show_progress(quiet=quiet, left=lambda: left.seconds) as progress:
            study = run_study(options, progress=follow_study(options, progress, left, os.cpu_count() or 1))
            paths = write_report(study, out)
    if as_json:
        click.echo(summary_json(study.summary))
    elif not quiet:
        echo_written(paths)


def _load_libraries() -> None:
    # Keras takes seconds to load: a thread does it while this one loads what the report is written with. Should that
    # fail, the study says why.
    with ThreadPoolExecutor(max_workers=1) as thread:
        thread.submit(import_keras)
        import initcheck.study.report
        import initcheck.study.run
        import initcheck.sweeping.forecast  # noqa: F401


def _without_repeats(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))


def _require_at_least(option: str, value: int | None, smallest: int, advice: str) -> None:
    if value is not None and value < smallest:
        raise UsageError(f"{option} must be at least {smallest}. Received: {value}. {advice}.")
