"""``initcheck train``: the founding notebook's comparison, for any initializers, with several seeds."""

from __future__ import annotations

from pathlib import Path

import click

from initcheck.cli.progress import show_progress
from initcheck.errors import UsageError
from initcheck.output import check_writable


@click.command()
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("training"),
    show_default=True,
    metavar="DIR",
    help="Folder for the pages and the learning curves; a second run goes on with what is there.",
)
@click.option(
    "--initializer",
    "initializers",
    multiple=True,
    metavar="NAME",
    help="Initializer to compare; may be repeated.  [default: the notebook's three and four controls]",
)
@click.option("--seeds", type=int, default=5, show_default=True, help="Networks for each initializer.")
@click.option("--first-seed", type=click.IntRange(0), default=0, show_default=True, help="The first of their seeds.")
@click.option("--epochs", type=int, default=10, show_default=True, help="Times that all samples are seen.")
@click.option("--batch-size", type=int, default=32, show_default=True, help="Samples of a step.")
@click.option("--learning-rate", type=float, help="Of plain gradient descent.  [default: Keras' for SGD, 0.01]")
@click.option(
    "--data",
    metavar="SOURCE",
    help="digits, mnist, or the path of a .npz file.  [default: mnist if Keras has it already, else digits]",
)
@click.option("--validation", type=int, help="Samples kept back.  [default: the first 5000; a fifth of small sets]")
@click.option("--json", "as_json", is_flag=True, help="Print the comparison as one JSON object.")
@click.option("--quiet", is_flag=True, help="Show no progress, and no text.")
@click.pass_obj
def train(
    command_line: str,
    out: Path,
    initializers: tuple[str, ...],
    seeds: int,
    first_seed: int,
    epochs: int,
    batch_size: int,
    learning_rate: float | None,
    data: str | None,
    validation: int | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Train the notebook's network from several initializers and compare what they learn.

    300 and 100 hidden units on pictures of digits, plain stochastic gradient descent. For one seed all initializers see
    the same batches in the same order, so that they are compared in pairs. Finished networks are kept in the folder:
    whoever interrupts a run (Ctrl-C) loses the one that was being trained, and goes on by the same command.

    Exit codes: 0 done; 2 not done (bad input, or a folder with other settings); 130 interrupted.
    """
    if seeds < 1:
        raise UsageError(f"--seeds must be at least 1. Received: {seeds}. With two or more there are intervals.")
    check_writable(out)

    # Imported only now: these bring Keras and pandas along.
    from initcheck.report.training_page import training_json, training_text, write_training
    from initcheck.training.run import DEFAULT_INITIALIZERS, TrainingOptions, run_training
    from initcheck.training.store import HistoryStore

    options = TrainingOptions(
        initializers=tuple(dict.fromkeys(initializers)) or DEFAULT_INITIALIZERS,
        seeds=tuple(range(first_seed, first_seed + seeds)),
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        data=data,
        validation=validation,
        command_line=command_line,
    )
    with show_progress(quiet=quiet) as progress:
        record = run_training(options, HistoryStore(out), progress)
    paths = write_training(record, out)
    if as_json:
        click.echo(training_json(record))
    elif not quiet:
        for path in paths:
            click.echo(f"wrote {path}", err=True)
        click.echo(training_text(record))
