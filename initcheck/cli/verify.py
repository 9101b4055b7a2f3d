"""``initcheck verify``: judges one initializer, of Keras or of the user's own."""

from __future__ import annotations

import math
import operator
import re
from typing import TYPE_CHECKING, Any, Final

import click

from initcheck.cli.measuring import read_arguments
from initcheck.core.errors import UsageError
from initcheck.core.loading import RaisedError, import_place, run_user_code

if TYPE_CHECKING:
    from initcheck.verify.target import VerifyTarget

_PLACE: Final = re.compile(r"[^()]+:[\w.]+")
_DTYPES: Final = ("float16", "bfloat16", "float32", "float64")
_DISTRIBUTIONS: Final = ("normal", "truncated_normal", "uniform", "constant", "orthogonal")


@click.command()
@click.argument("initializer")
@click.option("--shape", "shapes", multiple=True, metavar="N,N...", help="Shape to judge it on; may be repeated.")
@click.option("--dtype", type=click.Choice(_DTYPES), default="float32", show_default=True, help="Dtype asked for.")
@click.option("--arg", "arguments", multiple=True, metavar="NAME=VALUE", help="Constructor argument; may be repeated.")
@click.option("--expect-variance", metavar="VALUE", help="Variance, or a formula of fan_in, fan_out and fan_avg.")
@click.option("--expect-mean", metavar="VALUE", help="Mean, as for the variance.")
@click.option("--expect-distribution", type=click.Choice(_DISTRIBUTIONS), help="Distribution of the entries.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed that all others derive from.")
@click.option("--timeout", default=10.0, show_default=True, metavar="SECONDS", help="Limit of one call.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--quiet", is_flag=True, help="Print nothing but JSON; the exit code is the answer.")
def verify(
    initializer: str,
    shapes: tuple[str, ...],
    dtype: str,
    arguments: tuple[str, ...],
    expect_variance: str | None,
    expect_mean: str | None,
    expect_distribution: str | None,
    seed: int,
    timeout: float,
    as_json: bool,
    quiet: bool,
) -> None:
    """Judge an initializer by what it declares and by the rules of all.

    INITIALIZER is a name of Keras ("HeNormal", "RandomNormal(stddev=0.1)"), or package.module:object or
    path/file.py:object: a class, an instance, a function of shape and dtype, or a function that makes an initializer.

    Initializers of Keras, and subclasses of them, are compared with the documented distribution; others with
    --expect-...; all are judged by the rules of every initializer: shape, dtype, finite values, seeds, config,
    independent entries. Where nothing is declared, the moments are only reported. By default, shapes of one to five
    dimensions are tried, except those that the initializer refuses with ValueError; a shape that you name must work.

    A sound initializer is reported in at most one run in 100,000.

    Exit codes: 0 all rules pass; 1 a finding; 2 something could not be judged, or the initializer not be loaded.
    """
    sizes = tuple(_read_shape(text) for text in shapes)
    settings = read_arguments(arguments, "--arg", forbidden=("seed",))
    if not (0.0 < timeout < math.inf):
        raise UsageError(f"--timeout must be above 0 and finite. Received: {timeout:g}.")

    # Imported only now: these bring SciPy, pandas and Keras along.
    from initcheck.core.loading import TookTooLongError
    from initcheck.verify.statistics import Expected
    from initcheck.verify.verify import format_verification, verification_json
    from initcheck.verify.verify import verify as run_rules

    expected = Expected(expect_variance, expect_mean, expect_distribution)
    try:
        target = _load(initializer, settings, timeout)
    except TookTooLongError:
        raise UsageError(f"Loading {initializer!r} took more than {timeout:g} s. Raise --timeout.") from None
    found = run_rules(target, expected=expected, shapes=sizes, dtype=dtype, seed=seed, seconds=timeout)
    if as_json:
        click.echo(verification_json(found))
    elif not quiet:
        click.echo(format_verification(found))
    if found.exit_code:
        raise click.exceptions.Exit(found.exit_code)


def _read_shape(text: str) -> tuple[int, ...]:
    try:
        sizes = tuple(int(word) for word in text.strip().strip("()").rstrip(",").split(","))
    except ValueError:
        sizes = (0,)
    if any(size < 1 for size in sizes):
        raise UsageError(f"--shape takes whole numbers of at least 1. Received: {text!r}. Write --shape 784,300.")
    return sizes


def _load(text: str, arguments: dict[str, Any], seconds: float) -> VerifyTarget:
    from initcheck.backend.runtime import import_keras
    from initcheck.models.initializers import parse_initializer, split_call
    from initcheck.verify.target import keras_target, read_target

    # Before the user's code does it, so that it happens quietly.
    import_keras()
    if not _PLACE.fullmatch(text):
        if arguments:
            name, written = split_call(text)
            text = f"{name}({', '.join(f'{key}={value!r}' for key, value in {**written, **arguments}.items())})"
        return keras_target(parse_initializer(text))
    place, _, name = text.rpartition(":")
    try:
        found = run_user_code(lambda: operator.attrgetter(name)(import_place(place)), seconds)
    except RaisedError as error:
        raise UsageError(
            f"{text!r} cannot be loaded: {error}. Give package.module:object or path/file.py:object."
        ) from error
    return read_target(found, text, arguments, seconds)
