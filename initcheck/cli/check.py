"""``initcheck check``: measures a model of the user's own, and says what is wrong, where, and what mends it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from initcheck.cli.arguments import read_arguments
from initcheck.cli.progress import show_progress
from initcheck.errors import DataError
from initcheck.output import check_writable, publish_files

if TYPE_CHECKING:
    from initcheck.diagnosis.report import Report


@click.command()
@click.argument("model")
@click.option("--arg", "arguments", multiple=True, metavar="NAME=VALUE", help="Argument of the factory; repeatable.")
@click.option(
    "--weights",
    type=click.Choice(["redraw", "keep"]),
    default="redraw",
    show_default=True,
    help="Draw from the model's own initializers for each seed, or measure the weights as they are.",
)
@click.option("--seeds", type=int, help="Draws.  [default: 16; 8 or 5 for large models]")
@click.option("--first-seed", type=click.IntRange(0), default=0, show_default=True, help="The first of their seeds.")
@click.option("--batch-size", type=int, help="Samples of the batch that is made.  [default: 32; 8 for large samples]")
@click.option(
    "--input-shape",
    "input_shapes",
    multiple=True,
    metavar="[NAME=]N,N...",
    help="Shape of one sample, where the model leaves it open; repeatable.",
)
@click.option(
    "--data", type=click.Path(path_type=Path), metavar="FILE.npz", help="Batch: arrays x (or by input) and y."
)
@click.option("--select", multiple=True, metavar="CODES", help="Only these findings: IC1, vanishing-gradients...")
@click.option("--ignore", multiple=True, metavar="CODES", help="Not these findings.")
@click.option("--waive", multiple=True, metavar="LAYER", help="Accept findings of a layer or weight; * and ? work.")
@click.option("--allow-inconclusive", is_flag=True, help="Let pass what the seeds do not suffice to decide.")
@click.option("--no-remedies", is_flag=True, help="Do not try what would mend the findings.")
@click.option("--emit-patch", is_flag=True, help="Print the code of the remedies that helped, and nothing else.")
@click.option("--full", is_flag=True, help="All layers in the table, not only those that matter.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder for check.html, check.md, check.json and measurements.csv.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--quiet", is_flag=True, help="Show no progress, and no text; the exit code tells.")
def check(
    model: str,
    arguments: tuple[str, ...],
    weights: str,
    seeds: int | None,
    first_seed: int,
    batch_size: int | None,
    input_shapes: tuple[str, ...],
    data: Path | None,
    select: tuple[str, ...],
    ignore: tuple[str, ...],
    waive: tuple[str, ...],
    allow_inconclusive: bool,
    no_remedies: bool,
    emit_patch: bool,
    full: bool,
    out: Path | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Check a model at initialization.

    MODEL is package.module:factory, path/file.py:factory, a .keras file (nothing in it is executed), or
    applications:NAME, a model of keras.applications without pretrained weights.

    Its weights are drawn anew for several seeds, by its own initializers, and each draw is measured: how the signal
    travels from layer to layer, how the gradient travels back, which weights are equal, which units are dead. What is
    wrong is told with the layer where it begins, the figure with its interval, and a change that was tried and helped.
    The model itself is left as it was.

    Settings are also read from [tool.initcheck] in pyproject.toml: seeds, batch-size, select, ignore, waive,
    allow-inconclusive, and the table limits.

    Exit codes: 0 healthy; 1 a finding; 2 cannot judge (bad input, something unmeasured, or undecided).
    """
    settings_given = read_arguments(arguments, "--arg")
    if out is not None:
        check_writable(out)

    # Imported only now: these bring SciPy, pandas and Keras along.
    from initcheck.diagnosis.check import check as check_model
    from initcheck.diagnosis.model_reference import load_model
    from initcheck.diagnosis.settings import override, read_project_settings, split_words

    settings = override(
        read_project_settings(Path.cwd()),
        seeds=seeds,
        first_seed=first_seed,
        weights=weights,
        batch_size=batch_size,
        input_shapes=input_shapes,
        select=split_words(select),
        ignore=split_words(ignore),
        waive=waive,
        allow_inconclusive=allow_inconclusive or None,
        remedies=not no_remedies,
    )
    x, y = (None, None) if data is None else _read_batch(data)
    loaded = load_model(model, settings_given)
    with show_progress(quiet=quiet) as progress:
        report = check_model(loaded, x, y, settings=settings, progress=progress)
    if out is not None:
        for path in _publish(report, out):
            if not quiet:
                click.echo(f"wrote {path}", err=True)
    if emit_patch:
        click.echo(_patch(report))
    elif as_json:
        click.echo(report.to_json())
    elif not quiet:
        click.echo(report.to_text(full=full))
    if report.exit_code:
        raise click.exceptions.Exit(report.exit_code)


def _read_batch(path: Path) -> tuple[Any, Any]:
    """Read ``x`` (or arrays by the names of the inputs) and ``y`` of an .npz file; nothing in it is executed."""
    import zipfile

    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except FileNotFoundError as error:
        raise DataError(f"There is no file {str(path)!r}. Give an .npz file with the arrays x and y.") from error
    except (OSError, ValueError, zipfile.BadZipFile, EOFError, AttributeError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise DataError(
            f"{str(path)!r} is no .npz file of plain arrays: {reason}. Write it with numpy.savez."
        ) from error
    y = arrays.pop("y", None)
    if not arrays:
        raise DataError(f"{str(path)!r} holds no inputs. Received: {'y alone' if y is not None else 'nothing'}.")
    return (arrays["x"] if set(arrays) == {"x"} else arrays), y


def _publish(report: Report, folder: Path) -> list[Path]:
    files = {
        "check.html": report.to_html(),
        "check.md": report.to_markdown(),
        **report.pictures(),
        "check.json": report.to_json() + "\n",
        "measurements.csv": report.table.to_csv(index=False, lineterminator="\n"),
    }
    return publish_files(folder, files)


def _patch(report: Report) -> str:
    blocks = [
        f"# {each.code} {each.name}: {each.remedy.change}\n{each.remedy.code}"
        for each in report.findings
        if each.remedy is not None
    ]
    return "\n\n".join(dict.fromkeys(blocks)) or "# No change that was tried helped."
