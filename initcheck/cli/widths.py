"""The option ``--widths`` of ``initcheck check``, and those that go with it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from initcheck.cli.measuring import Measuring
from initcheck.cli.progress import show_progress
from initcheck.core.errors import UsageError
from initcheck.core.files import publish_files

if TYPE_CHECKING:
    from initcheck.checking.widths.run import WidthReport

_OPTIONS: Final = (
    click.option(
        "--widths", metavar="N,N,N...", help="Check instead how sizes scale with the width; see docs/widths.md."
    ),
    click.option("--width-arg", metavar="NAME", help="Argument of the factory that is the width.  [default: width]"),
    click.option("--steps", type=int, help="Steps of training between the measurements.  [default: 5]"),
    click.option("--optimizer", type=click.Choice(["sgd", "adam"]), help="What trains.  [default: sgd]"),
    click.option("--learning-rate", type=float, help="At all widths.  [default: Keras', 0.01 and 0.001]"),
)


@dataclass(frozen=True)
class WidthRequest:
    """What ``--widths`` asks for: the widths, and the arguments of ``check_widths`` that were given."""

    widths: tuple[int, ...]
    settings: dict[str, Any]


def width_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options; it takes one argument ``request`` for all of them, None without ``--widths``."""

    @functools.wraps(command)
    def gathered(
        *positional: Any,
        widths: str | None,
        width_arg: str | None,
        steps: int | None,
        optimizer: str | None,
        learning_rate: float | None,
        **others: Any,
    ) -> None:
        settings = {
            "width_arg": width_arg,
            "steps": steps,
            "optimizer": optimizer,
            "learning_rate": learning_rate,
        }
        given = {name: value for name, value in settings.items() if value is not None}
        if widths is None and given:
            names = " and ".join(f"--{name.replace('_', '-')}" for name in given)
            raise UsageError(f"{names} go with --widths. Give --widths 64,128,256 too, or leave them out.")
        request = None if widths is None else WidthRequest(_read_widths(widths), given)
        command(*positional, request=request, **others)

    for option in reversed(_OPTIONS):
        gathered = option(gathered)
    return gathered


def check_widths(
    model: str,
    measuring: Measuring,
    request: WidthRequest,
    refused: Sequence[str],
    *,
    out: Path | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Check how a model scales with its width, and print or write the result.

    Args:
        refused: options that were given and have no meaning here.
    """
    if "weights" in measuring.settings:
        refused = [*refused, "--weights"]
    if refused:
        raise UsageError(f"With --widths there is no {' and no '.join(refused)}. Leave it out.")

    # Imported only now: it brings SciPy, pandas and Keras along.
    from initcheck.checking.widths import run

    x, y = measuring.read_batch()
    with show_progress(quiet=quiet) as progress:
        report = run.check_widths(
            model,
            request.widths,
            x=x,
            y=y,
            arguments=measuring.arguments,
            progress=progress,
            **request.settings,
            **measuring.settings,
        )
    if out is not None:
        for path in publish_files(out, _files(report)):
            if not quiet:
                click.echo(f"wrote {path}", err=True)
    if as_json:
        click.echo(report.to_json())
    elif not quiet:
        click.echo(report.to_text())
    if report.exit_code:
        raise click.exceptions.Exit(report.exit_code)


def _files(report: WidthReport) -> dict[str, str]:
    return {
        "widths.html": report.to_html(),
        "widths.md": report.to_markdown(),
        **report.pictures(),
        "widths.json": report.to_json() + "\n",
        "widths.csv": report.table.to_csv(index=False, lineterminator="\n"),
    }


def _read_widths(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"--widths takes whole numbers with commas between. Received: {text!r}.") from None
