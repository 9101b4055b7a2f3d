"""The law of a kernel's entries: how an initializer of Keras draws them, worked out without Keras.

A law has two pairs of fans to it. Those that the *initializer* assumes come from the kernel's shape and set the
variance of the scaled initializers. The *true* ones say how many terms the layer sums. They differ for depthwise
and transposed convolutions.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

from initcheck.core.errors import TheoryError
from initcheck.models.initializers import InitializerSpec, check_number, fold_name, parse_initializer, split_call

Distribution = Literal["normal", "truncated_normal", "uniform", "orthogonal"]
"""How entries are drawn; ``truncated_normal`` redraws beyond two standard deviations."""


class _KerasClass(NamedTuple):
    """A class of Keras: its arguments with their defaults, and the settings that it makes itself."""

    arguments: Mapping[str, Any]
    fixed: Mapping[str, Any] = {}


def _scaled(scale: float, mode: str, distribution: str) -> _KerasClass:
    return _KerasClass({}, {"scale": scale, "mode": mode, "distribution": distribution})


# All that is known here of Keras' classes. The seed is left out, and so are the axes in _AXES.
_CLASSES: Final[Mapping[str, _KerasClass]] = {
    "Constant": _KerasClass({"value": 0.0}),
    "GlorotNormal": _scaled(1.0, "fan_avg", "truncated_normal"),
    "GlorotUniform": _scaled(1.0, "fan_avg", "uniform"),
    "HeNormal": _scaled(2.0, "fan_in", "truncated_normal"),
    "HeUniform": _scaled(2.0, "fan_in", "uniform"),
    "Identity": _KerasClass({"gain": 1.0}),
    "LecunNormal": _scaled(1.0, "fan_in", "truncated_normal"),
    "LecunUniform": _scaled(1.0, "fan_in", "uniform"),
    "Ones": _KerasClass({}),
    "Orthogonal": _KerasClass({"gain": 1.0}),
    "RandomNormal": _KerasClass({"mean": 0.0, "stddev": 0.05}),
    "RandomUniform": _KerasClass({"minval": -0.05, "maxval": 0.05}),
    "STFT": _KerasClass({"side": "real", "window": "hann", "scaling": "density", "periodic": False}),
    "TruncatedNormal": _KerasClass({"mean": 0.0, "stddev": 0.05}),
    "VarianceScaling": _KerasClass({"scale": 1.0, "mode": "fan_in", "distribution": "truncated_normal"}),
    "Zeros": _KerasClass({}),
}

_ALIASES: Final[Mapping[str, str]] = {
    "IdentityInitializer": "Identity",
    "OrthogonalInitializer": "Orthogonal",
    "STFTInitializer": "STFT",
}

_SPELLINGS: Final = {fold_name(name): name for name in _CLASSES} | {
    fold_name(alias): name for alias, name in _ALIASES.items()
}

# Older versions of Keras do not take these arguments, so a text that has them is left to the installed one to read.
_AXES: Final = ("input_axes", "output_axes")

_MODES: Final = ("fan_in", "fan_out", "fan_avg")
_DISTRIBUTIONS: Final[Mapping[str, Distribution]] = {
    "normal": "truncated_normal",  # the old name, which Keras still reads
    "truncated_normal": "truncated_normal",
    "untruncated_normal": "normal",
    "uniform": "uniform",
}

_WITHOUT_CHANCE: Final[Mapping[str, str]] = {
    "Constant": "all its weights are equal, so all units of a layer are alike",
    "Identity": "each unit is a copy of one of its inputs",
    "Ones": "all its weights are 1, so all units of a layer are alike",
    "STFT": "its weights are the fixed Fourier kernels of a spectrogram",
    "Zeros": "all its weights are 0, so all units of a layer are alike",
}

# Moments of N(0, 1) truncated at ±a, by parts from φ' = -xφ: E x² = 1 - t and E x⁴ = 3 E x² - a² t, where
# t = 2aφ(a) / (Φ(a) - Φ(-a)).
_CUT: Final = 2.0
_CUT_TERM: Final = 2.0 * _CUT * math.exp(-0.5 * _CUT**2) / math.sqrt(2.0 * math.pi) / math.erf(_CUT / math.sqrt(2.0))
_TRUNCATED_VARIANCE: Final = 1.0 - _CUT_TERM
_KURTOSIS: Final[Mapping[Distribution, float]] = {
    "normal": 3.0,
    "truncated_normal": (3.0 * _TRUNCATED_VARIANCE - _CUT**2 * _CUT_TERM) / _TRUNCATED_VARIANCE**2,
    "uniform": 9.0 / 5.0,
    "orthogonal": math.nan,
}


@dataclass(frozen=True)
class WeightLaw:
    """How the entries of one kernel are distributed, and how many of them meet in a unit.

    Attributes:
        distribution: how they are drawn. All have mean zero, and all but the orthogonal are independent.
        variance: E w², the true variance of one entry.
        kurtosis: E w⁴ / (E w²)²: 3 for the normal, 2.3655 for the normal truncated at two standard deviations,
            9/5 for the uniform distribution. NaN for the orthogonal: its entries depend on each other, so that
            no formula for independent entries holds, whatever the kurtosis of one of them (3n/(n + 2) with n
            the longer side).
        fan_in: how many inputs one output unit sums; need not be whole (strided transposed convolutions).
        fan_out: how many outputs one input unit feeds.
    """

    distribution: Distribution
    variance: float
    kurtosis: float
    fan_in: float
    fan_out: float

    @property
    def forward_gain(self) -> float:
        """σ_w² = fan_in · variance: the mean square of a pre-activation over that of its inputs (bias apart)."""
        return self.fan_in * self.variance

    @property
    def backward_gain(self) -> float:
        """fan_out · variance: the mean square *per unit* of the gradient at the inputs over that at the outputs.

        He's and Glorot's backward conditions set this one to 2 and to 1 (Glorot & Bengio, 2010; He et al., 2015).
        """
        return self.fan_out * self.variance

    @property
    def norm_gain(self) -> float:
        """fan_in · variance: the squared *norm* of the gradient at the inputs over that at the outputs.

        With n inputs and m outputs the norm sums n units where it summed m, so the factor per unit, m · variance,
        becomes n · variance: the forward gain once more. A stack that keeps the mean square of its
        pre-activations keeps the gradient's norm, whatever the widths in between.
        """
        return self.fan_in * self.variance


def weight_law(spec: InitializerSpec, shape: tuple[int, ...], fans: tuple[float, float] | None = None) -> WeightLaw:
    """Work out the law of the entries that an initializer draws for one kernel.

    With (n, m) the fans that Keras computes from the shape, the variance of one entry is

    - RandomNormal: stddev²; RandomUniform: (maxval - minval)²/12;
    - TruncatedNormal: 0.77374 stddev², because Keras does not correct for the truncation here;
    - VarianceScaling and its family: scale/n, scale/m or 2 scale/(n + m) by the mode, with the truncation
      corrected for: Glorot 2/(n + m) (Glorot & Bengio, 2010), He 2/n (He et al., 2015), LeCun 1/n
      (LeCun et al., 1998);
    - Orthogonal: gain²/max(rows, columns) of the kernel flattened to (all axes but the last, last axis)
      (Saxe et al., 2014).

    Args:
        spec: the initializer.
        shape: of the kernel, as Keras passes it to the initializer: (in, out) for dense layers,
            (height, width, in, out) for convolutions.
        fans: the true (fan_in, fan_out) of the layer; by default those that Keras computes from the shape, or
            from the axes where the initializer names them.

    Returns:
        The law.

    Raises:
        TheoryError: mean field does not apply (weights without chance; a mean µ other than zero, which adds
            n² µ² (mean x)² to every squared pre-activation of the layer; no variance), the class or an argument
            is unknown, or the shape or the fans are no counts.
        UsageError: an argument that has to be a finite number is none.
    """
    sizes = _check_shape(shape)
    settings = _read_settings(spec)
    assumed = _compute_fans(spec, sizes, settings)
    if fans is None:
        fans = assumed
    elif not all(0 < fan < math.inf for fan in fans):
        raise TheoryError(
            f"The fans must be finite and above 0. Received: {fans!r}. Pass the numbers of inputs that a unit sums and "
            "of outputs that an input feeds."
        )
    distribution, variance = _distribute(spec, sizes, assumed, settings)
    if not (0 < variance < math.inf):
        raise TheoryError(
            f"The weights must have a variance above 0 and finite. Received: {spec.label}, variance {variance:g}. "
            "Use a spread (stddev, minval and maxval, scale or gain) that gives one."
        )
    return WeightLaw(distribution, variance, _KURTOSIS[distribution], float(fans[0]), float(fans[1]))


def count_fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """Count (fan_in, fan_out) as Keras does by the shape alone: the axes before the last two are the kernel's area."""
    if len(shape) < 2:
        return math.prod(shape), math.prod(shape)
    area = math.prod(shape[:-2])
    return area * shape[-2], area * shape[-1]


def read_initializer(text: str) -> InitializerSpec:
    """Read an initializer as a person writes it, without Keras where that can be.

    Args:
        text: as for :func:`initcheck.models.initializers.parse_initializer`: ``HeNormal``, ``he_normal``,
            ``RandomNormal(stddev=1.0)``.

    Returns:
        The spec that ``parse_initializer`` returns. Keras is imported, which takes seconds, only for what the
        table in this module does not know: to read it, or to say what is wrong with it.

    Raises:
        UsageError: unknown name or argument, bad syntax, a value of the wrong type, or a seed.
        InitializerError: Keras refuses the arguments.
    """
    name, arguments = split_call(text)
    class_name = _SPELLINGS.get(fold_name(name))
    if class_name is None:
        return parse_initializer(text)
    defaults = _CLASSES[class_name].arguments
    checked = {}
    for argument, value in arguments.items():
        if argument not in defaults:
            return parse_initializer(text)
        checked[argument] = check_number(argument, value, defaults[argument], text)
        if not _is_accepted(argument, checked[argument]):
            return parse_initializer(text)
    return InitializerSpec(class_name, tuple(checked.items()))


def _check_shape(shape: tuple[Any, ...]) -> tuple[int, ...]:
    """Make the sizes plain integers, and refuse what is no count."""
    try:
        sizes = tuple(operator.index(size) for size in shape)
    except TypeError:
        sizes = (0,)
    if any(size < 1 for size in sizes):
        raise TheoryError(
            f"A kernel's shape must be whole numbers, 1 or more. Received: {shape!r}. Pass the shape that the "
            "initializer is called with."
        )
    return sizes


def _is_accepted(argument: str, value: Any) -> bool:
    """Tell whether Keras surely takes a value; if not, let it say so itself."""
    if argument == "mode":
        return value in _MODES
    if argument == "distribution":
        return isinstance(value, str) and value.lower() in _DISTRIBUTIONS
    if argument == "scale":
        return isinstance(value, float) and value > 0
    return isinstance(value, float)


def _read_settings(spec: InitializerSpec) -> dict[str, Any]:
    """Complete the arguments of a spec with the defaults of its class, after refusing what has no law."""
    known = _CLASSES.get(spec.class_name)
    if known is None:
        drawn = ", ".join(name for name in _CLASSES if name not in _WITHOUT_CHANCE)
        raise TheoryError(f"The law of the weights is not known. Received: {spec.label}. Use one of {drawn}.")
    if spec.class_name in _WITHOUT_CHANCE:
        raise TheoryError(
            f"{spec.class_name} leaves nothing to chance, and mean field averages over random weights: "
            f"{_WITHOUT_CHANCE[spec.class_name]}. Received: {spec.label}. Use an initializer that draws its weights, "
            "such as HeNormal."
        )
    settings = {**known.arguments, **known.fixed}
    allowed = [*known.arguments, *(_AXES if "mode" in settings else ())]
    for name, value in spec.arguments:
        if name not in allowed:
            takes = f"Use {', '.join(allowed)}."
            raise TheoryError(f"{spec.class_name} has no argument {name!r}. Received: {spec.label}. {takes}")
        settings[name] = check_number(name, value, known.arguments.get(name), spec.label)
    return settings


def _compute_fans(spec: InitializerSpec, shape: tuple[int, ...], settings: Mapping[str, Any]) -> tuple[int, int]:
    """Compute the fans that Keras' initializer assumes; one pair of axes without the other is ignored, as there."""
    input_axes, output_axes = (settings.get(name) for name in _AXES)
    if input_axes is not None and output_axes is not None:
        try:
            return math.prod(shape[axis] for axis in input_axes), math.prod(shape[axis] for axis in output_axes)
        except (IndexError, TypeError):
            raise TheoryError(
                f"The axes must be whole numbers that the kernel's shape has. Received: {spec.label} and shape "
                f"{shape!r}. Use numbers from 0 to {len(shape) - 1}."
            ) from None
    return count_fans(shape)


def _distribute(
    spec: InitializerSpec, shape: tuple[int, ...], fans: tuple[int, int], settings: Mapping[str, Any]
) -> tuple[Distribution, float]:
    """Work out the distribution of one entry and its variance, which the caller checks."""
    if spec.class_name == "RandomUniform":
        low, high = settings["minval"], settings["maxval"]
        _check_mean(spec, 0.5 * low + 0.5 * high, "minval=-maxval")
        return "uniform", (high - low) * (high - low) / 12.0
    if spec.class_name in ("RandomNormal", "TruncatedNormal"):
        _check_mean(spec, settings["mean"], "mean=0")
        square = settings["stddev"] * settings["stddev"]
        if spec.class_name == "RandomNormal":
            return "normal", square
        return "truncated_normal", square * _TRUNCATED_VARIANCE
    if spec.class_name == "Orthogonal":
        if len(shape) < 2:
            raise TheoryError(
                f"Orthogonal makes matrices, so the kernel must have two axes or more. Received: shape {shape!r}. Use "
                "another initializer."
            )
        return "orthogonal", settings["gain"] * settings["gain"] / max(math.prod(shape[:-1]), shape[-1])
    return _distribute_scaled(spec, fans, settings)


def _distribute_scaled(
    spec: InitializerSpec, fans: tuple[int, int], settings: Mapping[str, Any]
) -> tuple[Distribution, float]:
    mode, distribution = settings["mode"], settings["distribution"]
    # Keras divides by max(1, fan); here no axis is shorter than 1, so no fan is either.
    divisors = {"fan_in": fans[0], "fan_out": fans[1], "fan_avg": (fans[0] + fans[1]) / 2.0}
    if mode not in divisors:
        raise TheoryError(f"The mode is unknown. Received: {spec.label}. Use one of {', '.join(_MODES)}.")
    drawn = _DISTRIBUTIONS.get(distribution.lower()) if isinstance(distribution, str) else None
    if drawn is None:
        choices = ", ".join(name for name in _DISTRIBUTIONS if name != "normal")
        raise TheoryError(f"The distribution is unknown. Received: {spec.label}. Use one of {choices}.")
    return drawn, settings["scale"] / divisors[mode]


def _check_mean(spec: InitializerSpec, mean: float, remedy: str) -> None:
    if mean != 0:
        raise TheoryError(
            f"A weight mean of {mean:g} adds a rank-one term that grows with the square of the fan-in, and mean field "
            f"leaves it out. Received: {spec.label}. Use {remedy}."
        )
