"""``initcheck baseline``: records what ``initcheck check --baseline`` compares with."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from initcheck.cli.measuring import Measuring, measuring_options, show_progress
from initcheck.core.errors import BaselineError, InitcheckError, UsageError
from initcheck.core.files import check_writable, relative_path
from initcheck.core.formatting import count

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
    --baseline FILE' reports what has changed since.
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

    MODEL is named as for 'initcheck check'. The file holds for each layer and weight the metrics by seed, what draws
    the weights, and the versions of Keras and its backend. Findings that the model has now are recorded as known.

    Exit codes: 0 written; 2 not written.
    """
    from initcheck.checking.gate.baseline import Recipe, write_baseline

    folder = output.absolute().parent
    check_writable(folder)
    data = None if measuring.data is None else relative_path(measuring.data, folder)
    recipe = Recipe(model=model, arguments=_check_arguments(measuring.arguments), data=data)
    baseline, found = _measure(recipe, measuring, quiet=quiet)
    write_baseline(baseline, output)
    if not quiet:
        click.echo(f"wrote {output}: {found}")


@baseline.command("update")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path, dir_okay=False), metavar="FILE...")
@click.option("--quiet", is_flag=True, help="Show no progress, and print nothing.")
def update(files: tuple[Path, ...], quiet: bool) -> None:
    """Measure the models of baselines once more, with the same settings, and replace the FILEs.

    What has changed is printed. All files are replaced once all models are measured, or none is.

    Exit codes: 0 all replaced; 2 none.
    """
    from initcheck.checking.gate.baseline import read_baseline, write_baselines
    from initcheck.checking.gate.comparison import compare
    from initcheck.checking.gate.report import format_verdict

    known = {path: read_baseline(path) for path in files}
    for path, old in known.items():
        if old.recipe.model is None:
            test = shlex.quote(old.recipe.test or "TEST")  # the id of a test with parameters holds brackets
            raise BaselineError(f"{str(path)!r} was recorded by a test. Run: pytest {test} --initcheck-update")
    for path in known:
        check_writable(path.absolute().parent)
    renewed = {path: _measure(old.recipe, _measuring_of(old, path), quiet=quiet) for path, old in known.items()}
    write_baselines({path: new for path, (new, _) in renewed.items()})
    if quiet:
        return
    for path, (new, found) in renewed.items():
        click.echo(f"wrote {path}: {found}; against the old one {format_verdict(compare(known[path], new))}")


@baseline.command("verify")
@click.argument("files", nargs=-1, type=click.Path(path_type=Path), metavar="[FILE]...")
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")
def verify(files: tuple[Path, ...], quiet: bool) -> None:
    """Check that FILEs are whole baselines of a known version. Nothing is measured, and Keras is not loaded.

    Exit codes: 0 all are; 2 one is not.
    """
    from initcheck.checking.gate.baseline import read_baseline

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


def _measure(recipe: Recipe, measuring: Measuring, *, quiet: bool) -> tuple[Baseline, str]:
    """Measure a model; return its baseline, and the numbers of draws and findings in words."""
    from initcheck.checking.gate.gate import measure_baseline
    from initcheck.checking.load_model import load_model
    from initcheck.checking.settings import CheckSettings

    x, y = measuring.read_batch()
    loaded = load_model(str(recipe.model), measuring.arguments)
    settings = CheckSettings(**measuring.settings)
    with show_progress(quiet=quiet) as progress:
        report, measured = measure_baseline(loaded, x, y, recipe=recipe, settings=settings, progress=progress)
    findings = count(len(report.findings), "known finding") if report.findings else "no known findings"
    return measured, f"{count(len(measured.seeds), 'draw')}, {findings}"


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
    return Measuring(dict(recipe.arguments), recipe.data_file(path.absolute().parent), settings)


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
