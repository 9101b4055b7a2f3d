"""``initcheck predict``: theory alone. What becomes of signal and gradient, before a weight is drawn."""

from __future__ import annotations

import operator
import os
import sys
from collections.abc import Callable
from typing import Any

import click

from initcheck.core.errors import InitcheckError, UsageError
from initcheck.core.loading import import_place, user_output_on_stderr


@click.command()
@click.option(
    "--initializer",
    metavar="NAME",
    help='Initializer of the kernels, such as "RandomNormal(stddev=0.1)".  [default: HeNormal]',
)
@click.option(
    "--activation",
    default="relu",
    show_default=True,
    metavar="NAME",
    help="Activation function of every layer: a name of Keras, or a function of Keras tensors as "
    "package.module:function or path/file.py:function.",
)
@click.option("--depth", type=int, help="Layers.  [default: 20, or the number of widths]")
@click.option(
    "--width",
    "widths",
    multiple=True,
    default=("256",),
    show_default=True,
    metavar="N[,N...]",
    help="Units of every layer; or of each, separated by commas or by repeating the option.",
)
@click.option("--inputs", type=int, help="Size of the input.  [default: the first width]")
@click.option(
    "--sigma-w", type=float, help="In place of an initializer: normal weights with fan_in Var(W) = sigma_w squared."
)
@click.option("--sigma-b", type=float, default=0.0, show_default=True, help="Standard deviation of the biases.")
@click.option("--input-second-moment", type=float, default=1.0, show_default=True, help="Mean square of the input.")
@click.option("--effect", type=float, default=1.1, show_default=True, help="Factor for seeds_needed to show.")
@click.option("--alpha", type=float, default=1e-3, show_default=True, help="Rate of false alarms, two-sided.")
@click.option("--power", type=float, default=0.9, show_default=True, help="Probability to see the effect.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, with all layers.")
@click.option("--quiet", is_flag=True, hidden=True, expose_value=False, help="Does nothing.")
def predict(
    activation: str,
    widths: tuple[str, ...],
    as_json: bool,
    **options: Any,
) -> None:
    """Predict what becomes of signal and gradient, from theory alone.

    The network is a stack of dense layers with an activation function behind each. Nothing is drawn or measured; for
    the functions and initializers of Keras, Keras is not even loaded.

    In JSON, an infinite value is the string "inf" or "-inf". What has no value is null, and "reasons" says why, by
    field ("layers.chi" for the field chi of the layers).
    """
    sizes = _read_widths(widths)
    function = _load_function(activation) if ":" in activation else activation

    # Small matrices are multiplied many times over: threads would wait for each other. NumPy reads this as it loads.
    if "numpy" not in sys.modules:
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # Imported only now: it brings NumPy and SciPy along.
    from initcheck.core.formatting import to_json
    from initcheck.theory.forecast import forecast
    from initcheck.theory.report import forecast_as_json, format_forecast

    found = forecast(function, width=sizes, **options)
    click.echo(to_json(forecast_as_json(found)) if as_json else format_forecast(found))


def _read_widths(texts: tuple[str, ...]) -> list[int]:
    words = [word.strip() for text in texts for word in text.split(",")]
    try:
        return [int(word) for word in words]
    except ValueError:
        raise UsageError(
            f"--width takes whole numbers. Received: {','.join(texts)!r}. Write --width 256, or --width 300,100."
        ) from None


def _load_function(text: str) -> Callable[..., Any]:
    """Load an activation function and see whether it can be evaluated."""
    from initcheck.backend.runtime import import_keras
    from initcheck.theory.gaussian import find_activation

    place, _, name = text.rpartition(":")
    # Before the user's code does it, so that it happens quietly.
    import_keras()
    try:
        with user_output_on_stderr():
            function = operator.attrgetter(name)(import_place(place))
            if not callable(function):
                raise TypeError(f"{name} is not callable")
            _ = find_activation(function).breakpoints
    except InitcheckError:
        raise
    except (Exception, SystemExit) as error:
        reason = " ".join(str(error).split())[:200]
        raise UsageError(
            f"The activation {text!r} cannot be used: {type(error).__name__}: {reason}. Give a function of one Keras "
            "tensor as package.module:function or path/file.py:function."
        ) from error
    return function  # type: ignore[no-any-return]
