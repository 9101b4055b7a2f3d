"""``initcheck check``: measures a model of the user's own, and says what is wrong, where, and what fixes it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from initcheck.cli.measuring import (
    Measuring,
    echo_written,
    finding_options,
    finding_words,
    gathered_options,
    measuring_options,
    show_progress,
)
from initcheck.core.errors import OutputError, UsageError
from initcheck.core.files import check_writable, publish_files

if TYPE_CHECKING:
    from initcheck.audit.findings import Failing
    from initcheck.checking.check import Report
    from initcheck.checking.settings import CheckSettings
    from initcheck.checking.widths.run import WidthReport

_WIDTH_OPTIONS: Final = {
    "widths": click.option(
        "--widths", metavar="N,N,N...", help="Check instead how sizes scale with the width; see docs/widths.md."
    ),
    "width_arg": click.option(
        "--width-arg", metavar="NAME", help="Argument of the factory that is the width.  [default: width]"
    ),
    "steps": click.option("--steps", type=int, help="Steps of training between the measurements.  [default: 5]"),
    "optimizer": click.option("--optimizer", type=click.Choice(["sgd", "adam"]), help="What trains.  [default: sgd]"),
    "learning_rate": click.option(
        "--learning-rate", type=float, help="At all widths.  [default: Keras', 0.01 and 0.001]"
    ),
}


def _gather_widths(given: dict[str, Any]) -> dict[str, Any] | None:
    """Gather the arguments of ``check_widths`` that were given; None without ``--widths``."""
    widths = given.pop("widths")
    settings = {name: value for name, value in given.items() if value is not None}
    if widths is not None:
        return {"widths": _read_widths(widths), **settings}
    if settings:
        names = " and ".join(f"--{name.replace('_', '-')}" for name in settings)
        raise UsageError(f"{names} go with --widths. Give --widths 64,128,256 too, or leave them out.")
    return None


@click.command()
@click.argument("model")
@measuring_options
@finding_options
@click.option("--no-fixes", is_flag=True, help="Do not try changes that might fix the findings.")
@click.option("--prove", is_flag=True, help="Train the model as it is and with each fix, and compare the losses.")
@click.option("--prove-steps", type=click.IntRange(1), metavar="N", help="Steps of this training.  [default: 100]")
@click.option(
    "--baseline",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Compare with this baseline; its findings are known, and no fixes are tried.",
)
@click.option("--margin", type=float, help="Share by which an amplitude may differ from the baseline.  [default: 0.05]")
@click.option("--auto-seeds", type=int, metavar="MAX", help="Draw up to MAX seeds where the first do not decide.")
@gathered_options("request", _WIDTH_OPTIONS, _gather_widths)
@click.option("--full", is_flag=True, help="All layers in the table, not only those that matter.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder for check.html, check.md, check.json, check.sarif and measurements.csv.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "concise", "json", "markdown", "github", "sarif"]),
    default="text",
    show_default=True,
    help="What is printed; concise: path:line: CODE text; github: annotations for a pull request; sarif: for code "
    "scanning.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object; the same as --format json.")
@click.option(
    "--summary",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Append what --format markdown prints to FILE, such as $GITHUB_STEP_SUMMARY.",
)
@click.option(
    "--fail-on",
    type=click.Choice(["problem", "note"]),
    help="Exit with 1 for problems alone, or for notes too.  [default: problem]",
)
@click.option("--exit-zero", is_flag=True, help="Exit with 0 whatever is found; bad usage or input still exits with 2.")
@click.option("--quiet", is_flag=True, help="Show no progress, and no text; the exit code says it all.")
def check(
    model: str,
    measuring: Measuring,
    select: tuple[str, ...],
    ignore: tuple[str, ...],
    waive: tuple[str, ...],
    allow_inconclusive: bool,
    no_fixes: bool,
    prove: bool,
    prove_steps: int | None,
    baseline: Path | None,
    margin: float | None,
    auto_seeds: int | None,
    request: dict[str, Any] | None,
    full: bool,
    out: Path | None,
    form: str,
    as_json: bool,
    summary: Path | None,
    fail_on: Failing | None,
    exit_zero: bool,
    quiet: bool,
) -> None:
    """Check a model at initialization.

    MODEL is package.module:factory, path/file.py:factory, a .keras file (nothing in it is executed), or
    applications:NAME, a model of keras.applications without pretrained weights.

    Its weights are drawn anew for several seeds, by its own initializers, and each draw is measured: how the signal
    changes from layer to layer, how the gradient changes on its way back, which weights are equal, which units are
    dead. What is wrong is reported with the layer where it begins, the value with its interval, and a fix that was
    tried and helped.
    The model itself is left as it was. Weights that its initializers cannot have drawn were loaded or trained: they are
    kept as they are, unless --weights redraw is given.

    With --prove the model is trained on the batch as it is, and with the fix of each problem, from the same draws: does
    the problem matter, does the fix help? With labels (y in --data) by the model's compiled optimizer and loss, else by
    Adam on a task that is made. Ctrl-C ends the training and keeps the steps that were made.

    With --baseline the same is compared with what 'initcheck baseline' recorded: what has changed, and whether the
    library or the model caused it.

    With --widths the factory makes the model at several widths, and what is checked is how the sizes of activations,
    and of what training changes in them, scale with the width.

    Settings are also read from [tool.initcheck] in pyproject.toml: seeds, batch-size, select, ignore, waive,
    allow-inconclusive, and the table limits.

    With --fail-on note a note exits with 1 too; with --exit-zero only what cannot be used does not exit with 0.

    Exit codes: 0 healthy, and the same as the baseline, or at all widths; 1 a finding, or a change; 2 cannot judge (bad
    input, something unmeasured, or undecided).
    """
    if baseline is None and (margin is not None or auto_seeds is not None):
        raise UsageError("--margin and --auto-seeds are for the comparison with a baseline. Give --baseline FILE too.")
    if baseline is not None and prove:
        raise UsageError("With --baseline no fixes are tried, so there is nothing to prove. Leave --baseline out.")
    if prove_steps is not None and not prove:
        raise UsageError("--prove-steps goes with --prove. Give --prove too, or leave it out.")
    if exit_zero and fail_on is not None:
        raise UsageError("--exit-zero lets nothing fail, so there is no --fail-on. Leave one of them out.")
    if out is not None:
        check_writable(out)
    if summary is not None:
        check_writable(summary.absolute().parent)
    if request is not None:
        given = {
            "--select": select,
            "--ignore": ignore,
            "--waive": waive,
            "--allow-inconclusive": allow_inconclusive,
            "--no-fixes": no_fixes,
            "--prove": prove,
            "--baseline": baseline,
            "--full": full,
            "--summary": summary,
            "--fail-on": fail_on,
            f"--format {form}": form not in ("text", "json"),
        }
        refused = [name for name, value in given.items() if value]
        as_json = as_json or form == "json"
        _check_widths(model, measuring, request, refused, out=out, as_json=as_json, exit_zero=exit_zero, quiet=quiet)
        return

    # Imported only now: these bring SciPy, pandas and Keras along.
    from initcheck.checking.settings import (
        DEFAULT_STEPS,
        leave_to_baseline,
        override,
        read_project_settings,
        split_words,
    )

    project = read_project_settings(Path.cwd())
    if baseline is not None:
        project = leave_to_baseline(project)
    settings = override(
        project,
        **measuring.settings,
        select=split_words(select),
        ignore=split_words(ignore),
        waive=waive,
        allow_inconclusive=allow_inconclusive or None,
        fixes=not no_fixes,
        prove=(prove_steps or DEFAULT_STEPS) if prove else None,
    )
    report = _measure(model, measuring, settings, baseline, margin, auto_seeds, quiet=quiet)
    words = [*measuring.to_words(), *finding_words(select, ignore, waive, allow_inconclusive=allow_inconclusive)]
    report = report.with_fix_command(shlex.join(["initcheck", "fix", model, *words, "--write"]))
    report = report.failing_on("nothing" if exit_zero else fail_on or "problem")
    if out is not None:
        _publish(report, out, "check", "measurements", quiet=quiet, sarif=report.to_sarif())
    if summary is not None:
        _append(f"{report.to_summary()}\n", summary)
    if as_json or form == "json":
        click.echo(report.to_json())
    elif form == "github":
        click.echo(report.to_annotations())
    elif form == "sarif":
        click.echo(report.to_sarif(), nl=False)
    elif form == "concise":
        click.echo(report.to_concise(), nl=False)
    elif form == "markdown":
        click.echo(report.to_summary())
    elif not quiet:
        click.echo(report.to_text(full=full))
    if report.exit_code:
        raise click.exceptions.Exit(report.exit_code)


def _measure(
    model: str,
    measuring: Measuring,
    settings: CheckSettings,
    baseline: Path | None,
    margin: float | None,
    auto_seeds: int | None,
    *,
    quiet: bool,
) -> Report:
    from initcheck.checking.check import check as check_model
    from initcheck.checking.load_model import load_model

    if baseline is None:
        x, y = measuring.read_batch()
        loaded = load_model(model, measuring.arguments)
        with show_progress(quiet=quiet) as progress:
            return check_model(loaded, x, y, settings=settings, progress=progress)

    from initcheck.checking.gate.baseline import read_baseline
    from initcheck.checking.gate.comparison import DEFAULT_MARGIN
    from initcheck.checking.gate.gate import gate_model
    from initcheck.checking.settings import check_margin

    margin = DEFAULT_MARGIN if margin is None else margin
    check_margin(margin)
    known = read_baseline(baseline)
    asked = measuring.settings.get("weights", known.recipe.weights)
    if asked not in ("auto", known.recipe.weights):
        raise UsageError(
            f"{str(baseline)!r} was recorded with --weights {known.recipe.weights}. Received: --weights {asked}. "
            "Leave --weights out."
        )
    measuring = measuring.completed(known.recipe, baseline, model)
    x, y = measuring.read_batch()
    loaded = load_model(model, measuring.arguments)
    with show_progress(quiet=quiet) as progress:
        return gate_model(
            loaded, known, x, y, margin=margin, auto_seeds=auto_seeds, settings=settings, progress=progress
        ).named(str(baseline))


def _publish(report: Report | WidthReport, folder: Path, name: str, table: str, *, quiet: bool, **more: str) -> None:
    """Write the report into a folder, with the texts of more files by their suffixes."""
    files = {
        f"{name}.html": report.to_html(),
        f"{name}.md": report.to_markdown(),
        **report.pictures(),
        f"{name}.json": report.to_json() + "\n",
        f"{table}.csv": report.table.to_csv(index=False, lineterminator="\n"),
        **{f"{name}.{suffix}": text for suffix, text in more.items()},
    }
    paths = publish_files(folder, files)
    if not quiet:
        echo_written(paths)


def _append(text: str, path: Path) -> None:
    """Add to what other steps have written to the same file."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8", newline="\n") as file:
            file.write(text)
    except OSError as error:
        reason = error.strerror or error
        raise OutputError(f"Cannot write to {str(path)!r}: {reason}. Choose another file for --summary.") from error


# --- --widths ---------------------------------------------------------------------------------------------------------


def _check_widths(
    model: str,
    measuring: Measuring,
    request: dict[str, Any],
    refused: Sequence[str],
    *,
    out: Path | None,
    as_json: bool,
    exit_zero: bool,
    quiet: bool,
) -> None:
    """Check how a model scales with its width, and print or write the result; ``refused`` have no meaning here."""
    if "weights" in measuring.settings:
        refused = [*refused, "--weights"]
    if refused:
        raise UsageError(f"With --widths there is no {' and no '.join(refused)}. Leave it out.")

    # Imported only now: it brings SciPy, pandas and Keras along.
    from initcheck.checking.widths import run

    x, y = measuring.read_batch()
    with show_progress(quiet=quiet) as progress:
        report = run.check_widths(
            model, x=x, y=y, arguments=measuring.arguments, progress=progress, **request, **measuring.settings
        )
    if out is not None:
        _publish(report, out, "widths", "widths", quiet=quiet)
    if as_json:
        click.echo(report.to_json())
    elif not quiet:
        click.echo(report.to_text())
    if report.exit_code and not exit_zero:
        raise click.exceptions.Exit(report.exit_code)


def _read_widths(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"--widths takes whole numbers with commas between. Received: {text!r}.") from None
