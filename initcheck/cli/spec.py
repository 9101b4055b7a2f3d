"""``initcheck spec``: run the specification, every documented claim about Keras' initializers, against this Keras."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from initcheck.backend.runtime import single_threaded
from initcheck.cli.measuring import echo_written, show_progress
from initcheck.core.errors import UsageError
from initcheck.core.formatting import format_duration

if TYPE_CHECKING:
    from initcheck.spec.claim import Claim

_EXIT_BROKEN: Final = 1
_EXIT_INCONCLUSIVE: Final = 2
_MOST_WORKERS: Final = 4
"""By default: each takes a gigabyte, and the longest group of claims takes a fifth of the time of all."""


@click.command()
@click.option(
    "-k",
    "expression",
    default="",
    metavar="EXPR",
    help='Only claims whose id matches, as in "he_normal and not dtype".',
)
@click.option("-m", "marks", default="", metavar="EXPR", help="Only claims with these marks: fast, slow.")
@click.option("--seed", default="0", show_default=True, metavar="N|random", help="Seed that all others derive from.")
@click.option(
    "--report",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder for spec.html and spec.md, and in spec/ a page a topic.",
)
@click.option(
    "--power",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="CSV file of planted defects and the claims that caught them, to be shown in the report.",
)
@click.option(
    "--workers", type=click.IntRange(1), help=f"Processes.  [default: one a processor, {_MOST_WORKERS} at most]"
)
@click.option("--junit-xml", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="JUnit XML file.")
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON on standard output.")
@click.option("--list", "only_list", is_flag=True, help="List the claims and run none.")
@click.option("--strict-pinned", is_flag=True, help="Exit with 1 if a pinned claim has changed.")
@click.option("--quiet", is_flag=True, help="Show no progress, and of the results only the exit code.")
@click.pass_obj
@single_threaded()  # so that results are the same to the last bit in any number of processes
def spec(
    command_line: str,
    expression: str,
    marks: str,
    seed: str,
    report: Path | None,
    power: Path | None,
    workers: int | None,
    junit_xml: Path | None,
    as_json: bool,
    only_list: bool,
    strict_pinned: bool,
    quiet: bool,
) -> None:
    """Run the specification against the installed Keras.

    Each documented claim about the initializers is measured and judged, with a negative control. A claim that is
    known to be false counts as fulfilled while it stays refuted. Pinned claims state what this implementation happens
    to do, such as its stream of random numbers: what differs is listed as changed. Claims about other versions of Keras
    than the installed one, or about other backends, are listed as not there, and not measured.

    Exit codes: 0 all claims came out as specified; 1 a claim is broken, or holds now that was refuted; 2 a claim is
    inconclusive or not shown, or none was selected.
    """
    if seed != "random" and not (seed.isascii() and seed.isdigit() and len(seed) <= 10):
        raise UsageError(f"--seed takes a whole number from 0 to 9999999999, or random. Received: {seed!r}.")
    from initcheck.core.files import check_writable

    for folder in (report, None if junit_xml is None else junit_xml.absolute().parent):
        if folder is not None:
            check_writable(folder)

    # Imported only now: these bring pytest along, and the last one but for --list Keras.
    from initcheck.spec.run import Selection, list_claims

    selection = Selection(expression, marks, seed)
    if only_list:
        _show_list(list_claims(selection), as_json=as_json)
        return

    from initcheck.core.forecast import TimeLeft, measure_slowdown
    from initcheck.spec.forecast import follow_claims, forecast_specification, group_claims
    from initcheck.spec.plugin import closing_lines
    from initcheck.spec.records import count_statuses, specification_json
    from initcheck.spec.report import write_specification
    from initcheck.spec.report.defects import read_power_table
    from initcheck.spec.run import run_specification

    power_table = None if power is None else read_power_table(power)
    claims = list_claims(selection)  # a wrong expression is refused at once, before Keras is loaded
    processes = min(workers or min(os.cpu_count() or 1, _MOST_WORKERS), len(group_claims(claims)))
    slowdown = 1.0 if quiet else measure_slowdown()
    if not quiet:
        click.echo(forecast_specification(claims, processes, slowdown).text, err=True)
    left = TimeLeft(processes, slowdown)
    with show_progress(quiet=quiet, left=lambda: left.seconds) as progress:
        record = run_specification(
            selection,
            command_line=command_line,
            workers=processes,
            junit=junit_xml,
            progress=follow_claims(claims, progress, left),
        )
    if not quiet:
        click.echo(f"Took {format_duration(record.duration_seconds)}.", err=True)
    if as_json:
        click.echo(specification_json(record))
    elif not quiet:
        for line in closing_lines(record.claims):
            click.echo(line)
        click.echo(f"initcheck seed: {record.seed} (repeat this run with --seed {record.seed})")
    if report is not None:
        paths = write_specification(record, report, power_table)
        if not quiet:
            echo_written(paths)
    counts = count_statuses(record.claims)
    if counts["broken"] or counts["now holds"] or (strict_pinned and counts["changed"]):
        raise click.exceptions.Exit(_EXIT_BROKEN)
    if counts["inconclusive"] or counts["not shown"]:
        raise click.exceptions.Exit(_EXIT_INCONCLUSIVE)


def _show_list(claims: tuple[Claim, ...], *, as_json: bool) -> None:
    import json
    from dataclasses import asdict

    from initcheck.backend.runtime import backend_name
    from initcheck.spec.versions import describe_setup, installed_keras

    if as_json:
        names = ("id", "statement", "source", "condition", "expected", "slow", "backends")
        facts = [{name: getattr(claim, name) for name in names} | {"keras": asdict(claim.keras)} for claim in claims]
        click.echo(json.dumps(facts, indent=2, ensure_ascii=False))
        return
    for claim in claims:
        there = claim.is_about(installed_keras(), backend_name())
        absent = "" if there else f" (Not there: about {describe_setup(claim.keras, claim.backends)}.)"
        click.echo(f"{claim.id}: {claim.statement}{absent}")
