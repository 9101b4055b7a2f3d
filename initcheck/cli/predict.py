"""``initcheck predict``: theory alone. What becomes of signal and gradient, before a weight is drawn."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import operator
import os
import sys
import textwrap
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import click

from initcheck.core.errors import InitcheckError, UsageError
from initcheck.core.loading import import_place

if TYPE_CHECKING:
    from initcheck.theory.forecast import Forecast
    from initcheck.theory.phase import ThousandfoldChange

# The field's name in JSON, which no attribute of Python can have.
_LAYERS_UNTIL: Final = "layers_until_1e-3"

_SHOWN_WHOLE: Final = 20
_SHOWN_BETWEEN: Final = 15
_LINE: Final = 100

_MEANINGS: Final = {
    "fixed_point": "q*, where the variance q of the pre-activations settles",
    "chi_forward": "V'(q*): a deviation of q is multiplied by this in each layer",
    "chi_backward": "chi_1 at q*: the gradient's squared norm is multiplied by this in each layer",
    "xi_q": "layers in which a deviation of q shrinks e-fold; negative where it grows",
    "xi_c": "the same for the correlation of two inputs",
    "xi_gradient": "the same for the gradient's squared norm",
    "correlation_fixed_point": "c*, where the correlation of two inputs settles",
    "trainable_depth": "6 xi_c, the depth up to which such networks were seen to train",
    "power_law": "q falls as 1/(decay l), the gradient's squared norm as l^-exponent",
    "log_variance": "variance over seeds of ln M, M the mean square that the last layer hands on",
    "seeds_needed": "seeds that show that M is off by a factor of {effect:g} (alpha {alpha:g}, power {power:g})",
    "dead_input_probability": "probability over seeds that some layer is all zeros for a given input",
}

_COLUMNS: Final = (
    ("q", "q", "variance of the pre-activations z, infinitely wide"),
    ("z^2", "second_moment", "mean z^2 at this width"),
    ("phi^2", "activation_second_moment", "mean phi(z)^2, what the layer hands on"),
    ("chi", "chi", "factor of the gradient's squared norm from the next layer down"),
    ("chi/unit", "chi_per_unit", "factor of the gradient's mean square over the units"),
    ("grad^2", "gradient_norm2", "squared norm of dL/dz over that in the last layer"),
    ("grad^2/unit", "gradient_second_moment", "mean square of dL/dz over that in the last layer"),
    ("dW^2", "weight_gradient_norm2", "squared norm of dL/dW over that of dL/dz in the last layer"),
)
_ONLY_WHERE_WIDTHS_DIFFER: Final = ("chi_per_unit", "gradient_second_moment")


_CONSEQUENCES: Final = {
    "ordered": "gradients vanish exponentially with depth",
    "critical": "gradients change more slowly than exponentially",
    "chaotic": "gradients explode exponentially with depth",
}


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
@click.option("--quiet", is_flag=True, help="Show no progress; there is none here, and the answer is printed anyway.")
def predict(
    activation: str,
    widths: tuple[str, ...],
    as_json: bool,
    quiet: bool,  # noqa: ARG001 - every command takes it
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
    from initcheck.theory.forecast import forecast

    found = forecast(function, width=sizes, **options)
    click.echo(json.dumps(_to_json(found), indent=2, allow_nan=False) if as_json else _write(found))


def _read_widths(texts: tuple[str, ...]) -> list[int]:
    words = [word.strip() for text in texts for word in text.split(",")]
    try:
        return [int(word) for word in words]
    except ValueError:
        raise UsageError(
            f"--width takes whole numbers. Received: {','.join(texts)!r}. Write --width 256, or --width 300,100."
        ) from None


# --- activation functions of the user's own ---------------------------------------------------------------------------


def _load_function(text: str) -> Callable[..., Any]:
    """Load an activation function and see whether it can be evaluated.

    Raises:
        UsageError: it cannot be loaded or evaluated.
        TheoryError: it does not work element by element, or is not smooth enough.
    """
    from initcheck.backend.runtime import import_keras
    from initcheck.theory.gaussian import find_activation

    place, _, name = text.rpartition(":")
    # Before the user's code does it, so that it happens quietly.
    import_keras()
    try:
        # Standard output is for the answer alone, and standard error for one line.
        with contextlib.redirect_stdout(sys.stderr), warnings.catch_warnings(action="ignore"):
            function = operator.attrgetter(name)(import_place(place))
            if not callable(function):
                raise TypeError(f"{name} is not callable")
            _ = find_activation(function).pieces
    except InitcheckError:
        raise
    except (Exception, SystemExit) as error:
        reason = " ".join(str(error).split())[:200]
        raise UsageError(
            f"The activation {text!r} cannot be used: {type(error).__name__}: {reason}. Give a function of one Keras "
            "tensor as package.module:function or path/file.py:function."
        ) from error
    return function  # type: ignore[no-any-return]


# --- the answer as JSON -----------------------------------------------------------------------------------------------


def _to_json(found: Forecast) -> dict[str, Any]:
    """Make a forecast one flat object of plain values."""
    fields = _plain(found)
    reasons, phase = fields.pop("reasons"), fields.pop("phase")
    reasons |= phase.pop("reasons")
    layers = fields.pop("layers")
    fields |= {_rename(name): value for name, value in phase.items()}
    return {**fields, "layers": layers, "reasons": {_rename(name): reason for name, reason in reasons.items()}}


def _rename(name: str) -> str:
    return name.replace("layers_until", _LAYERS_UNTIL)


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return dict(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else ("inf" if value > 0.0 else "-inf")
    return value


# --- the answer in words and tables -----------------------------------------------------------------------------------


def _write(found: Forecast) -> str:
    """Write a forecast for reading: the answer in words, the figures of the whole network, those of its layers."""
    parts = (_write_answer(found), _write_scalars(found), _write_layers(found))
    return "\n\n".join("\n".join(lines) for lines in parts)


def _write_answer(found: Forecast) -> list[str]:
    """Say what the network is, and what becomes of signal and gradient."""
    phase, first, last = found.phase, found.layers[0], found.layers[-1]
    weights = found.initializer or f"sigma_w^2 = {_number(found.sigma_w2[0])}"
    biases = f", sigma_b^2 = {_number(found.sigma_b2)}" if found.sigma_b2 > 0.0 else ""
    one_width = len(set(found.widths)) == 1
    units = (
        f"{found.widths[0]:,}" if one_width else "-".join(str(found.widths[place]) for place in _choose(found.depth))
    )
    noun = "unit" if set(found.widths) == {1} else "units"
    layers = f"{_count(found.depth, 'layer')} of {units} {noun}, {_count(found.inputs, 'input')}"
    told = [("", f"{weights}{biases}, {found.activation}: {layers}.")]
    if phase.regime is None:
        told.append(("Regime", f"none: {phase.reasons['regime']}."))
    else:
        at = f"chi_1 = {_number(phase.chi_backward)} at q* = {_number(phase.fixed_point)}"
        told.append(("Regime", f"{phase.regime} ({at}): in the end {_CONSEQUENCES[phase.regime]}."))
    if phase.layers_until is not None:
        told.append(("Forward", _word_change("the signal", "mean square", phase.layers_until.forward)))
        told.append(("Backward", _word_change("the gradient", "squared norm", phase.layers_until.backward)))
    if found.depth > 1:
        course = f"q goes from {_number(found.q[0])} to {_number(found.q[-1])} on its way through these layers"
        factor = f"the gradient's squared norm is multiplied by {_number(first.gradient_norm2)} on its way back"
        told.append(("Here", f"{course}, {factor}."))
    spread = _divide(last.activation_second_moment_sd, last.activation_second_moment)
    if math.isfinite(spread):
        what = "the mean square that the last layer hands on"
        told.append(("Seeds", f"at this width, {what} varies by {_percent(spread)} from seed to seed."))
    return [
        line
        for heading, text in told
        for line in textwrap.wrap(f"{heading + ':':<10}{text}" if heading else text, _LINE, subsequent_indent=" " * 10)
    ]


def _word_change(what: str, size: str, change: ThousandfoldChange | None) -> str:
    from initcheck.theory.phase import MOST_LAYERS

    if change is None:
        return f"{what} cannot be followed."
    if change.layers is None:
        return f"{what} keeps its size: no thousandfold change of its {size} within {MOST_LAYERS:,} layers."
    layers = _count(change.layers, "layer")
    if change.direction == "vanishes":
        return f"{what} vanishes: 1/1000 of its {size} is left after {layers}."
    return f"{what} explodes: its {size} is 1,000 times as large after {layers}."


def _write_scalars(found: Forecast) -> list[str]:
    reasons = {**found.reasons, **found.phase.reasons}
    rows = []
    for name, meaning in _MEANINGS.items():
        value = getattr(found, name, None) if hasattr(found, name) else getattr(found.phase, name)
        if name == "power_law" and value is not None:
            value = f"{_number(value.decay)}, {_number(value.gradient_exponent)}"
        if found.phase.layers_until is None and name in found.phase.reasons:
            continue  # one reason for all, which has been told
        written = value if isinstance(value, str) else _number(math.nan if value is None else value)
        text = meaning.format(effect=found.effect, alpha=found.alpha, power=found.power)
        rows.append((name, written, reasons.get(name, text)))
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    margin = sum(widths) + 4
    return [
        line
        for name, value, text in rows
        for line in textwrap.wrap(
            f"{name:<{widths[0]}}  {value:<{widths[1]}}  {text}", _LINE, subsequent_indent=" " * margin
        )
    ]


def _write_layers(found: Forecast) -> list[str]:
    """Write the table of the layers, and what its columns are."""
    places = _choose(found.depth)
    widths_differ = len(set(found.widths)) > 1
    columns = [("layer", [f"{found.layers[place].layer:,}" for place in places])]
    if widths_differ:
        columns.append(("units", [f"{found.layers[place].units:,}" for place in places]))
    legend, has_spreads = [], False
    for heading, field, meaning in _COLUMNS:
        if field in _ONLY_WHERE_WIDTHS_DIFFER and not widths_differ:
            continue
        values = found.q if field == "q" else [getattr(layer, field) for layer in found.layers]
        legend.append(f"{heading:<11}  {meaning}")
        columns.append((heading, [_number(values[place], 3) for place in places]))
        spreads = [getattr(layer, f"{field}_sd", math.nan) for layer in found.layers]
        if any(not math.isnan(spread) for spread in spreads):
            pairs = [(spreads[place], values[place]) for place in places]
            columns.append(("sd", [_percent(_divide(spread, value)) for spread, value in pairs]))
            has_spreads = True
    if has_spreads:
        legend.append(f"{'sd':<11}  standard deviation from seed to seed of what stands before it, in per cent")
    cells = [[heading, *values] for heading, values in columns]
    sizes = [max(map(len, column)) for column in cells]
    lines = [
        "  ".join(cell.rjust(size) for cell, size in zip(row, sizes, strict=True)) for row in zip(*cells, strict=True)
    ]
    if len(places) < found.depth:
        lines.append(f"({len(places)} of {found.depth:,} layers; --json gives all)")
    reason = found.reasons.get("layers.second_moment_sd")
    return [*lines, *([] if reason is None else [f"(no sd: {reason})"]), "", *legend]


def _choose(depth: int) -> list[int]:
    """Choose the layers to show: all of a few; else the first, the last, and some between at equal distances."""
    if depth <= _SHOWN_WHOLE:
        return list(range(depth))
    return [round(place * (depth - 1) / (_SHOWN_BETWEEN + 1)) for place in range(_SHOWN_BETWEEN + 2)]


def _number(value: float, digits: int = 4) -> str:
    return "-" if math.isnan(value) else f"{value:.{digits}g}"


def _divide(spread: float, value: float) -> float:
    return spread / value if value else math.nan


def _percent(share: float) -> str:
    if math.isnan(share):
        return "-"
    return f"{100.0 * share:.0f}%" if 0.0995 <= share < 1e4 else f"{100.0 * share:.2g}%"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")
