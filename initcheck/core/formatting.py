"""Values as text: the only place that decides how many digits are printed, and what stands where there is no number.

A value with an interval is printed to the digit in which the interval's half-width begins, so that no digit is printed
which the interval does not support; at least one significant digit is kept, and at most four.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os.path
import re
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

LINE_WIDTH: Final = 110
"""Characters of a line that a command prints."""

Progress = Callable[[int, int, str], None]
"""Called with the number of steps done, the number of all steps, and what is being done now."""

_MOST_DIGITS = 4
_DIGITS_WITHOUT_INTERVAL = 2
_SCIENTIFIC_FROM = 5
_WIDEST_SHARED_POWER = 3
_SCIENTIFIC_BELOW = -3
_LARGEST_LOG = math.log(sys.float_info.max)
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def no_progress(done: int, total: int, what: str) -> None:
    """Show no progress."""


@dataclass(frozen=True)
class FormattedEstimate:
    """A value and its interval as text, or words where there is none."""

    value: str
    interval: str
    margin: str


def format_number(value: Any, digits: int = 3, missing: str = "no value") -> str:
    """Write a number to significant digits: ``0.500``, ``1.20×10⁻⁶``, ``infinite``; missing for NaN, None and NA."""
    if is_missing(value):
        return missing
    value = float(value)
    if math.isinf(value):
        return "infinite" if value > 0 else "minus infinite"
    if value == 0.0:
        return "0"
    # Rounding can carry into the next power of ten: .00099 to one digit is .001.
    place = _round(value, _exponent(value) - digits + 1).adjusted() - digits + 1
    return _write(value, place, _scientific_exponent(value, place))


def format_short(value: Any, digits: int = 4, missing: str = "no value") -> str:
    """Write a number to significant digits without trailing zeros, since it may be exact: ``0.5``, ``1.2×10⁻⁶``."""
    if is_missing(value):
        return missing
    text = f"{value:.{digits}g}"
    return format_number(value, digits, missing) if "e" in text or "n" in text else text.replace("-", "−")


def format_signed(value: Any, form: str = ".2f", missing: str = "none") -> str:
    """Write a difference with its sign, in a format of Python's: ``+0.12``, ``−0.50``, ``−6.42×10⁻⁵``, ``+∞``."""
    if is_missing(value):
        return missing
    text = f"{value:+{form}}".replace("-", "−").replace("inf", "∞")
    return text[0] + format_number(abs(value)) if "e" in text else text


def format_interval(low: Any, high: Any, write: Callable[[Any], str] = format_number) -> str:
    """Write an interval in brackets, ``[0.49, 0.51]``; nothing where there is none."""
    return "" if is_missing(low) or is_missing(high) else f"[{write(low)}, {write(high)}]"


def format_estimate(value: float, low: float, high: float) -> FormattedEstimate:
    """Write a value and the ends of its interval to the digits that the interval supports.

    A NaN value gives ``no rate``; an end that is NaN or infinite gives the value to two digits and ``no interval``.
    """
    if math.isnan(value):
        return FormattedEstimate("no rate", "no interval", "no interval")
    if not (math.isfinite(value) and math.isfinite(low) and math.isfinite(high)):
        return FormattedEstimate(format_number(value, _DIGITS_WITHOUT_INTERVAL), "no interval", "no interval")
    half_width = (high - low) / 2.0
    if half_width <= 0.0:
        return FormattedEstimate(format_number(value, _MOST_DIGITS), "no variation", "no variation")
    place = _exponent(half_width)
    if value != 0.0:
        leading = _exponent(value)
        place = min(max(place, leading - _MOST_DIGITS + 1), leading)
    exponent = _scientific_exponent(value, place)
    if exponent is not None and _exponent(max(abs(low), abs(high))) > exponent + _WIDEST_SHARED_POWER:
        # The ends lie orders of magnitude apart: a power of ten shared by them would be unreadable.
        interval = format_interval(low, high, lambda end: format_number(end, _DIGITS_WITHOUT_INTERVAL))
        return FormattedEstimate(_write(value, place, exponent), interval, interval)
    interval = format_interval(low, high, lambda end: _write(end, place, exponent, with_power=False))
    if exponent is not None:
        interval += f"×{power_of_ten(exponent)}"
    unit = float(Decimal(1).scaleb(place))
    if half_width < unit / 2.0:
        margin = f"±<{_write(unit, place, exponent)}"
    elif abs((value - low) - (high - value)) <= unit:
        margin = f"±{_write(half_width, place, exponent)}"
    else:
        margin = interval
    return FormattedEstimate(_write(value, place, exponent), interval, margin)


def format_share(share: float, missing: str = "no value") -> str:
    """Write a share in percent; a tiny share is not none: ``37%``, ``0.5%``, ``below 0.1%``, ``0%``."""
    if is_missing(share):
        return missing
    percent = 100.0 * share
    if 0.0 < percent < 0.1:
        return "below 0.1%"
    if 99.9 < percent < 100.0:
        return "above 99.9%"
    if percent == 0.0 or percent == 100.0 or 10.0 <= percent <= 99.0:
        return f"{percent:.0f}%"
    return f"{percent:.1f}%"


def exponential(log: float) -> float:
    """Raise e to a power; infinite where no float holds it."""
    return math.inf if log > _LARGEST_LOG else math.exp(log)


def format_factor(log: float) -> str:
    """Write the factor of which this is the logarithm: ``1.28``."""
    return format_number(exponential(log))


def format_change(log_change: float) -> str:
    """Write a change, given as a logarithm, in words: ``12.2-fold`` for growth, ``to 1/3550`` for a fall."""
    size = abs(log_change)
    # exp overflows from there on; fewer digits suffice.
    amount = format_number(math.exp(size)) if size < 700 else power_of_ten(round(size / math.log(10)))
    return f"to 1/{amount}" if log_change < 0 else f"{amount}-fold"


def format_level(level: float) -> str:
    """Write the decimal logarithm of a size, ``10^-1.5``, or the state that has none."""
    if math.isnan(level):
        return "not measured"
    if math.isinf(level):
        return "not finite" if level > 0 else "exactly 0"
    return f"10^{level:.1f}"


def format_duration(seconds: float) -> str:
    """Write a duration in words: ``8.1 s``, ``1 min 12 s``, ``2 h 5 min``."""
    if seconds < 60.0:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"


def power_of_ten(exponent: int) -> str:
    """Write a power of ten with a superscript, as in 10⁻³."""
    return "10" + str(exponent).translate(_SUPERSCRIPTS)


def count(number: int, singular: str, plural: str | None = None) -> str:
    """Write a number with its noun: ``1 seed``, ``16 seeds``, ``65,280 rows``."""
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"


def format_names(names: Sequence[str], most: int = 3) -> str:
    """List some names, ``a, b and c``, and count the others: ``a, b, c and 3 more``."""
    if len(names) > most:
        return f"{', '.join(names[:most])} and {len(names) - most:,} more"
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def name_alike(names: Sequence[str]) -> str:
    """Name several layers: by one pattern where their names differ in numbers only, else up to three of them."""
    for number, mark in ((r"\d+", "*"), (r"_\d+(?=/|$)", "")):  # block0, block1; dense, dense_1
        patterns = {re.sub(number, mark, name) for name in names}
        if len(names) > 2 and len(patterns) == 1:
            return patterns.pop() if mark else re.sub(number, "*", max(names, key=len))
    shared = re.match(r".*[/_.]", os.path.commonprefix(list(names)))  # noqa: RUF071 - "block2_" is what is wanted
    if len(names) > 2 and shared is not None:
        return f"{shared[0]}*"
    return format_names(list(names))


def shorten(text: str, length: int, *, keep_end: bool = False) -> str:
    """Cut a text to a number of characters, with an ellipsis at the cut; of a path the end says the most."""
    if len(text) <= length:
        return text
    return f"…{text[1 - length :]}" if keep_end else f"{text[: length - 1]}…"


def wrap(text: str, indent: str = "", hanging: str | None = None) -> list[str]:
    """Break a text into lines of the terminal's width; hanging is the indent of all but the first."""
    return textwrap.wrap(
        text,
        LINE_WIDTH,
        initial_indent=indent,
        subsequent_indent=indent if hanging is None else hanging,
        break_on_hyphens=False,
    )


def is_missing(value: Any) -> bool:
    """Find NaN, None and the nulls of pandas, without importing pandas."""
    return value is None or type(value).__name__ in ("NAType", "NaTType") or bool(value != value)


def to_plain(value: Any) -> Any:
    """Turn a value into what JSON has: NaN and nulls are None, infinity is ``"inf"``, NumPy's scalars are Python's."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: to_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(item) for item in value]
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        value = value.item()
    if is_missing(value):
        return None
    return str(value) if isinstance(value, float) and math.isinf(value) else value


def to_json(value: Any) -> str:
    """Write a value as indented JSON; see :func:`to_plain` for what JSON has no numbers for."""
    return json.dumps(to_plain(value), indent=2, allow_nan=False, ensure_ascii=False)


def _round(value: float, place: int) -> Decimal:
    """Round to the decimal place 10**place."""
    return Decimal(round(Decimal(value).scaleb(-place))).scaleb(place)


def _exponent(value: float) -> int:
    return math.floor(math.log10(abs(value)))


def _scientific_exponent(value: float, place: int) -> int | None:
    """Give the exponent of scientific notation, or None where plain digits read better."""
    if value == 0.0:
        return None if place > _SCIENTIFIC_BELOW - _MOST_DIGITS else place
    exponent = _round(value, place).adjusted()
    return exponent if exponent >= _SCIENTIFIC_FROM or exponent < _SCIENTIFIC_BELOW else None


def _write(value: float, place: int, exponent: int | None, *, with_power: bool = True) -> str:
    """Write a value rounded to the decimal place 10**place, in scientific notation where an exponent is given."""
    if exponent is None:
        rounded = round(value, -place)
        text = f"{rounded:.{max(0, -place)}f}"
    else:
        decimals = max(0, exponent - place)
        text = f"{Decimal(value).scaleb(-exponent):.{decimals}f}"  # a float power of ten can overflow here
    if float(text) == 0.0:
        text = text.removeprefix("-")
    text = text.replace("-", "−")
    return text if exponent is None or not with_power else f"{text}×{power_of_ten(exponent)}"
