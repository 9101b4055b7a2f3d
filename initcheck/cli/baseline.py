"""``initcheck baseline``: records what ``initcheck check --baseline`` compares with."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from initcheck.cli.measuring import Measuring, measuring_options
from initcheck.cli.progress import show_progress
from initcheck.core.errors import BaselineError, InitcheckError, UsageError
from initcheck.core.files import check_writable

if TYPE_CHECKING:
    from initcheck.checking.gate.baseline import Baseline, Recipe

_RECORD: Final = "record"


class _RecordsByDefault(click.Group):
    """A group whose subcommand ``record`` may be left out."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        named = args[:1] and args[0] in (*self.commands, *ctx.help_option_names)
        return super().parse_args(ctx, args if named or not args else [_RECORD, *args])


@click.group(cls=_RecordsByDefault)
def baseline() -> None:
    """Record, renew or check baselines.

    'initcheck baseline MODEL -o FILE' measures a model and writes FILE, to be committed. 'initcheck check MODEL
    --baseline FILE' tells what has changed since.
    """


@baseline.command(_RECORD)
@click.argument("model")
@measuring_options
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="The file to write.",
)
@click.option("--quiet", is_flag=True, help="Show no progress, and print nothing.")
def record(model: str, measuring: Measuring, output: Path, quiet: bool) -> None:
    """Measure MODEL and write its baseline; the word 'record' may be left out.

    MODEL is named as for 'initcheck check'. The file holds for each layer and weight the figures by seed, what draws
    the weights, and the versions of Keras and its backend. Findings that the model has now are recorded as known.

    Exit codes: 0 written; 2 not written.
    """
    from initcheck.checking.gate.baseline import Recipe

    check_writable(output.absolute().parent)
    data = None if measuring.data is None else os.path.relpath(measuring.data, output.absolute().parent)
    recipe = Recipe(model=model, arguments=_check_arguments(measuring.arguments), data=data)
    told = _record(recipe, measuring, output, quiet=quiet)
    if not quiet:
        click.echo(f"wrote {output}: {told}")


@baseline.command("update")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path, dir_okay=False), metavar="FILE...")
@click.option("--quiet", is_flag=True, help="Show no progress, and print nothing.")
def update(files: tuple[Path, ...], quiet: bool) -> None:
    """Measure the models of baselines once more, with the same settings, and replace the FILEs.

    What has changed is printed. A file is replaced as a whole, or stays as it was.

    Exit codes: 0 all replaced; 2 one was not.
    """
    from initcheck.checking.gate.baseline_file import read_baseline
    from initcheck.checking.gate.comparison import compare
    from initcheck.checking.gate.report import gate_line

    known = [(path, read_baseline(path)) for path in files]
    for path, before in known:
        if before.recipe.model is None:
            raise BaselineError(
                f"{str(path)!r} was recorded by a test. Run: pytest {before.recipe.test or 'TEST'} --initcheck-update"
            )
    for path, before in known:
        told = _record(before.recipe, _measuring_of(before, path), path, quiet=quiet)
        if not quiet:
            click.echo(f"wrote {path}: {told}; against the old one {gate_line(compare(before, read_baseline(path)))}")


@baseline.command("verify")
@click.argument("files", nargs=-1, type=click.Path(path_type=Path), metavar="[FILE]...")
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")
def verify(files: tuple[Path, ...], quiet: bool) -> None:
    """Check that FILEs are whole baselines of a known version. Nothing is measured, and Keras is not loaded.

    Exit codes: 0 all are; 2 one is not.
    """
    from initcheck.checking.gate.baseline_file import read_baseline

    failed: list[str] = []
    for path in files:
        try:
            found = read_baseline(path)
        except InitcheckError as error:
            failed.append(str(error))
        else:
            if not quiet:
                click.echo(f"{path}: {found.label}, {len(found.seeds)} seeds, Keras {found.versions.get('keras')}")
    if failed:
        raise BaselineError(" ".join(failed))


def _record(recipe: Recipe, measuring: Measuring, path: Path, *, quiet: bool) -> str:
    from initcheck.checking.gate.gate import record_baseline
    from initcheck.checking.load_model import load_model
    from initcheck.checking.settings import CheckSettings

    x, y = measuring.read_batch()
    loaded = load_model(str(recipe.model), measuring.arguments)
    settings = CheckSettings(**measuring.settings)
    with show_progress(quiet=quiet) as progress:
        report = record_baseline(loaded, path, x, y, recipe=recipe, settings=settings, progress=progress)
    known = len(report.findings)
    draws = len(report.result.seeds)
    return f"{draws} draw{'s' if draws > 1 else ''}, {known or 'no'} known finding{'' if known == 1 else 's'}"


def _measuring_of(known: Baseline, path: Path) -> Measuring:
    """Write the options with which a baseline was recorded."""
    recipe = known.recipe
    settings: dict[str, Any] = {
        "weights": recipe.weights,
        "batch_size": recipe.batch_size,
        "input_shapes": recipe.input_shapes,
        "first_seed": known.seeds[0],
        "seeds": len(known.seeds) if len(known.seeds) > 1 else None,
    }
    data = None if recipe.data is None else path.absolute().parent / recipe.data
    return Measuring(dict(recipe.arguments), data, settings)


def _check_arguments(arguments: dict[str, Any]) -> dict[str, Any]:
    """Refuse arguments that JSON does not give back as they were: the baseline could not be renewed with them."""
    for name, value in arguments.items():
        try:
            kept = json.loads(json.dumps(value, allow_nan=False)) == value
        except (TypeError, ValueError):
            kept = False
        if not kept:
            raise UsageError(
                f"A baseline keeps numbers, texts, lists and dicts as arguments. Received: --arg {name}={value!r}. "
                "Name a factory that takes none."
            )
    return arguments
