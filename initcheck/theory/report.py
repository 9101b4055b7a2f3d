"""The forecast of ``initcheck predict`` as text and as JSON."""

from __future__ import annotations

import math
import textwrap
from typing import Any, Final

from initcheck.core.columns import Direction
from initcheck.core.formatting import count, format_factor, to_plain
from initcheck.theory.forecast import Forecast
from initcheck.theory.mean_field import PRODUCT_LAYERS
from initcheck.theory.thousandfold import MOST_LAYERS, ThousandfoldChange

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
    "log_chi_product": f"ln of the product of chi_1 over the first {PRODUCT_LAYERS} layers",
    "correlation_fixed_point": "c*, where the correlation of two inputs settles",
    "trainable_depth": "6 xi_c, the depth up to which such networks were seen to train",
    "power_law": "q falls as 1/(decay l), the gradient's squared norm as l^-exponent",
    "log_variance": "variance over seeds of ln M, M the mean square that the last layer passes on",
    "seeds_needed": "seeds that show that M is off by a factor of {effect:g} (alpha {alpha:g}, power {power:g})",
    "dead_input_probability": "probability over seeds that some layer is all zeros for a given input",
}

_COLUMNS: Final = (
    ("q", "q", "variance of the pre-activations z, infinitely wide"),
    ("z^2", "second_moment", "mean z^2 at this width"),
    ("phi^2", "activation_second_moment", "mean phi(z)^2, what the layer passes on"),
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
_TYPICAL: Final = (
    "Forward and Backward are about the geometric mean over seeds at this width, the regime is about infinite width."
)


def format_forecast(found: Forecast) -> str:
    """Format a forecast for reading: the answer in words, the values of the whole network, those of its layers."""
    parts = (_describe_answer(found), _format_scalars(found), _format_layers(found))
    return "\n\n".join("\n".join(lines) for lines in parts)


def forecast_as_json(found: Forecast) -> dict[str, Any]:
    """Make a forecast one flat object of plain values, as :func:`initcheck.core.formatting.to_json` writes it."""
    fields = to_plain(found)
    reasons, phase = fields.pop("reasons"), fields.pop("phase")
    reasons |= phase.pop("reasons")
    layers = fields.pop("layers")
    fields |= phase
    fields = {_name_field(name): value for name, value in fields.items()}
    return {**fields, "layers": layers, "reasons": {_name_field(name): reason for name, reason in reasons.items()}}


def _name_field(name: str) -> str:
    """Name a field in JSON, where names may hold what no attribute of Python can."""
    return name.replace("layers_until", "layers_until_1e-3")


def _describe_answer(found: Forecast) -> list[str]:
    """Say what the network is, and what becomes of signal and gradient."""
    phase, first, last = found.phase, found.layers[0], found.layers[-1]
    weights = found.initializer or f"sigma_w^2 = {_format_number(found.sigma_w2[0])}"
    biases = f", sigma_b^2 = {_format_number(found.sigma_b2)}" if found.sigma_b2 > 0.0 else ""
    one_width = len(set(found.widths)) == 1
    units = (
        f"{found.widths[0]:,}"
        if one_width
        else "-".join(str(found.widths[place]) for place in _choose_layers(found.depth))
    )
    noun = "unit" if set(found.widths) == {1} else "units"
    layers = f"{count(found.depth, 'layer')} of {units} {noun}, {count(found.inputs, 'input')}"
    lines = [("", f"{weights}{biases}, {found.activation}: {layers}.")]
    if phase.regime is None:
        lines.append(("Regime", f"none: {phase.reasons['regime']}."))
    elif phase.regime == "no fixed point":
        text = f"no fixed point: q grows without limit, and chi_1 tends to {_format_number(phase.chi_backward)}"
        if not math.isnan(phase.log_chi_product):
            factor = format_factor(phase.log_chi_product)
            text += f"; over {PRODUCT_LAYERS} layers chi_1 multiplies the gradient's squared norm by {factor}"
        lines.append(("Regime", f"{text}."))
    else:
        at = f"chi_1 = {_format_number(phase.chi_backward)} at q* = {_format_number(phase.fixed_point)}"
        lines.append(("Regime", f"{phase.regime} ({at}): in the end {_CONSEQUENCES[phase.regime]}."))
    if found.layers_until is not None:
        lines.append(("Forward", _describe_change(found, "forward", "the signal", "mean square")))
        lines.append(("Backward", _describe_change(found, "backward", "the gradient", "squared norm")))
        lines.append(("Typical", _TYPICAL))
    if found.depth > 1:
        forward = (
            f"q goes from {_format_number(found.q[0])} to {_format_number(found.q[-1])} on its way through these layers"
        )
        backward = (
            f"the gradient's squared norm is multiplied by {_format_number(first.gradient_norm2)} on its way back"
        )
        lines.append(("Here", f"{forward}, {backward}."))
    deviation = _divide(last.activation_second_moment_sd, last.activation_second_moment)
    if math.isfinite(deviation):
        what = "the mean square that the last layer passes on"
        lines.append(("Seeds", f"at this width, {what} varies by {_format_percent(deviation)} from seed to seed."))
    return [
        line
        for heading, text in lines
        for line in textwrap.wrap(f"{heading + ':':<10}{text}" if heading else text, _LINE, subsequent_indent=" " * 10)
    ]


def _describe_change(found: Forecast, direction: Direction, what: str, size: str) -> str:
    change: ThousandfoldChange | None = getattr(found.layers_until, direction)
    if change is None:
        return f"{what} cannot be followed: {found.reasons[f'layers_until.{direction}']}."
    if change.layers is None:
        return f"{what} keeps its size: no thousandfold change of its {size} within {MOST_LAYERS:,} layers."
    layers = count(change.layers, "layer")
    if change.direction == "vanishes":
        return f"{what} vanishes: 1/1000 of its {size} is left after {layers}."
    return f"{what} explodes: its {size} is 1,000 times as large after {layers}."


def _format_scalars(found: Forecast) -> list[str]:
    reasons = {**found.reasons, **found.phase.reasons}
    rows = []
    for name, meaning in _MEANINGS.items():
        value = getattr(found, name, None) if hasattr(found, name) else getattr(found.phase, name)
        if name == "power_law" and value is not None:
            value = f"{_format_number(value.decay)}, {_format_number(value.gradient_exponent)}"
        if found.phase.regime is None and name in found.phase.reasons:
            continue  # one reason for all, which was given above
        written = value if isinstance(value, str) else _format_number(math.nan if value is None else value)
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


def _format_layers(found: Forecast) -> list[str]:
    """Write the table of the layers, and what its columns are."""
    places = _choose_layers(found.depth)
    widths_differ = len(set(found.widths)) > 1
    columns = [("layer", [f"{found.layers[place].layer:,}" for place in places])]
    if widths_differ:
        columns.append(("units", [f"{found.layers[place].units:,}" for place in places]))
    legend, has_deviations = [], False
    for heading, field, meaning in _COLUMNS:
        if field in _ONLY_WHERE_WIDTHS_DIFFER and not widths_differ:
            continue
        values = found.q if field == "q" else [getattr(layer, field) for layer in found.layers]
        legend.append(f"{heading:<11}  {meaning}")
        columns.append((heading, [_format_number(values[place], 3) for place in places]))
        deviations = [getattr(layer, f"{field}_sd", math.nan) for layer in found.layers]
        if any(not math.isnan(deviation) for deviation in deviations):
            pairs = [(deviations[place], values[place]) for place in places]
            columns.append(("sd", [_format_percent(_divide(deviation, value)) for deviation, value in pairs]))
            has_deviations = True
    if has_deviations:
        legend.append(f"{'sd':<11}  standard deviation from seed to seed of what stands before it, in percent")
    cells = [[heading, *values] for heading, values in columns]
    sizes = [max(map(len, column)) for column in cells]
    lines = [
        "  ".join(cell.rjust(size) for cell, size in zip(row, sizes, strict=True)) for row in zip(*cells, strict=True)
    ]
    if len(places) < found.depth:
        lines.append(f"({len(places)} of {found.depth:,} layers; --json gives all)")
    reason = found.reasons.get("layers.second_moment_sd")
    return [*lines, *([] if reason is None else [f"(no sd: {reason})"]), "", *legend]


def _choose_layers(depth: int) -> list[int]:
    """Choose the layers to show: all of a few; else the first, the last, and some between at equal distances."""
    if depth <= _SHOWN_WHOLE:
        return list(range(depth))
    return [round(place * (depth - 1) / (_SHOWN_BETWEEN + 1)) for place in range(_SHOWN_BETWEEN + 2)]


def _format_number(value: float, digits: int = 4) -> str:
    return "-" if math.isnan(value) else f"{value:.{digits}g}"


def _divide(deviation: float, value: float) -> float:
    return deviation / value if value else math.nan


def _format_percent(share: float) -> str:
    if math.isnan(share):
        return "-"
    return f"{100.0 * share:.0f}%" if 0.0995 <= share < 1e4 else f"{100.0 * share:.2g}%"
