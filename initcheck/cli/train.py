"""``initcheck train``: initializers compared by training one network from each, with several seeds."""

from __future__ import annotations

from pathlib import Path

import click

from initcheck.cli.measuring import echo_written, names_option, out_option, show_progress
from initcheck.core.errors import UsageError
from initcheck.core.files import check_writable


@click.command()
@out_option("training", "Folder for the pages and the learning curves; a second run goes on with what is there.")
@names_option(
    "--initializer",
    "initializers",
    "Initializer to compare; may be repeated.  [default: the notebook's three and four controls]",
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
@click.option("--validation", type=int, help="Samples held out.  [default: the first 5000; a fifth of small sets]")
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
    whoever interrupts a run (Ctrl-C) loses the one that was being trained, and goes on with the same command.

    Exit codes: 0 done; 2 not done (bad input, or a folder with other settings); 130 interrupted.
    """
    if seeds < 1:
        raise UsageError(f"--seeds must be at least 1. Received: {seeds}. With two or more there are intervals.")
    check_writable(out)

    # Imported only now: these bring Keras and pandas along.
    from initcheck.training.report import training_json, training_text, write_training
    from initcheck.training.run import DEFAULT_INITIALIZERS, HistoryStore, TrainingOptions, run_training

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
        echo_written(paths)
        click.echo(training_text(record))


@click.command()
@out_option("trainability", "Folder for the pages and the tables.")
@names_option(
    "--initializer",
    "initializers",
    "Initializer to try; may be repeated.  [default: nine, from far below criticality to far above]",
)
@names_option(
    "--activation", "activations", "Activation function to try; may be repeated.  [default: relu, tanh, selu, gelu]"
)
@click.option(
    "--depths", default="4,8,16,32,64", show_default=True, metavar="N,N", help="Hidden layers, separated by commas."
)
@click.option("--width", type=int, default=64, show_default=True, help="Units of each hidden layer.")
@click.option("--seeds", type=int, default=3, show_default=True, help="Networks for each configuration.")
@click.option("--steps", type=int, default=200, show_default=True, help="Of plain gradient descent, 32 samples each.")
@click.option(
    "--learning-rates",
    default="0.1,0.01,0.001",
    show_default=True,
    metavar="R,R",
    help="Tried for each configuration, of which the best counts; separated by commas.",
)
@click.option("--data", default="digits", show_default=True, metavar="SOURCE", help="digits, mnist, or a .npz file.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")
@click.option("--quiet", is_flag=True, help="Show no progress, and no text.")
@click.pass_obj
def trainability(
    command_line: str,
    out: Path,
    initializers: tuple[str, ...],
    activations: tuple[str, ...],
    depths: str,
    width: int,
    seeds: int,
    steps: int,
    learning_rates: str,
    data: str,
    as_json: bool,
    quiet: bool,
) -> None:
    """Measure networks before the first step, train them, and relate the two.

    Plain networks over initializers, activation functions and depths: how signal and gradient change along the layers
    at initialization, what theory's depth scales say, and the loss after some steps of gradient descent at the best of
    a few learning rates. The pages show what trained beside theory's border, rank correlations with intervals, and
    where theory fails.

    Exit codes: 0 done; 2 not done (bad input); 130 interrupted.
    """
    if seeds < 1:
        raise UsageError(f"--seeds must be at least 1. Received: {seeds}. Give such as 3.")
    wanted = tuple(int(each) for each in _read_numbers(depths, "--depths", whole=True))
    rates = _read_numbers(learning_rates, "--learning-rates", whole=False)
    check_writable(out)

    # Imported only now: these bring Keras and pandas along.
    from initcheck.training.trainability import (
        DEFAULT_ACTIVATIONS,
        DEFAULT_INITIALIZERS,
        TrainabilityOptions,
        relate,
        run_trainability,
    )
    from initcheck.training.trainability_report import trainability_json, trainability_text, write_trainability

    options = TrainabilityOptions(
        initializers=initializers or DEFAULT_INITIALIZERS,
        activations=activations or DEFAULT_ACTIVATIONS,
        depths=wanted,
        width=width,
        seeds=tuple(range(seeds)),
        steps=steps,
        learning_rates=rates,
        data=data,
        command_line=command_line,
    )
    with show_progress(quiet=quiet) as progress:
        record = run_trainability(options, progress)
    relations = relate(record)
    paths = write_trainability(relations, out)
    if as_json:
        click.echo(trainability_json(relations))
    elif not quiet:
        echo_written(paths)
        click.echo(trainability_text(relations))


def _read_numbers(text: str, option: str, *, whole: bool) -> tuple[float, ...]:
    """Read numbers that are separated by commas."""
    read = int if whole else float
    try:
        numbers = tuple(dict.fromkeys(read(part) for part in text.split(",")))
    except ValueError:
        such = "4,8,16" if whole else "0.1,0.01"
        kind = "whole numbers" if whole else "numbers"
        raise UsageError(f"{option} takes {kind} separated by commas, such as {such}. Received: {text!r}.") from None
    return numbers
