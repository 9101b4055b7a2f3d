"""One site's output and pre-activation as a few sums: few passes, and hardly a temporary of their size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from initcheck.keras_runtime import import_keras
from initcheck.probe.gradients import choose, sum_bytes
from initcheck.probe.moments import LARGEST_CANCELLATION, careful_moments, count_of, mean, mean_square

SATURATION_MARGIN: Final = 0.025
"""Elements within this share of a bounded activation's range from one of its ends count as saturated."""

EXACT_COUNT: Final = 2**24
"""Up to here float32 counts exactly."""

FORWARD_PARTS: Final = (
    "preactivation_shift",
    "preactivation_mean",
    "preactivation_square",
    "batch_square",
    "batch_mean_square",
    "unit_mean",
    "unit_variance",
    "zero",
    "saturated",
    "dead",
    "max_abs",
    "nonfinite",
    "preactivation_nonfinite",
)


@dataclass(frozen=True)
class OutputForm:
    """What is known of an output when its reduction is traced.

    Attributes:
        small: it has at most ``moments.SMALL`` elements.
        summable: :func:`initcheck.probe.gradients.sum_bytes` can count over its samples.
        bounds: the two ends of the range of a bounded activation, or None.
    """

    small: bool
    summable: bool
    bounds: tuple[float, float] | None


def by_position(output: Any, axis: int) -> Any:
    """Bring an output into the shape [samples, positions, units].

    Args:
        output: shape [B, ...].
        axis: the axis whose entries are units, where there are three axes or more.
    """
    ops = import_keras().ops
    rank = len(output.shape)
    if rank < 3:
        return ops.reshape(output, (-1, 1, 1) if rank < 2 else (-1, 1, ops.shape(output)[1]))
    if axis not in (-1, rank - 1):
        output = ops.moveaxis(output, axis, -1)
    shape = ops.shape(output)
    return ops.reshape(output, (shape[0], -1, shape[-1]))


def reduce_forward_quickly(given: Mapping[str, Any], form: OutputForm) -> tuple[Any, list[tuple[Any, Any | None]]]:
    """Take all sums in float32.

    Args:
        given: by name the ``output`` h, shape [samples, positions, units] or [samples, units], and, where the site has
            one of its own, ``preactivation`` z, of any shape.
        form: of the output.

    Returns:
        float64 tensor of shape [len(FORWARD_PARTS)], NaN for a part that has no tensor; and what ``moments.trust``
        judges it by.
    """
    ops = import_keras().ops
    output = ops.cast(given["output"], "float32")
    flat = _by_sample(output)
    parts = _moments_around_first(flat) if form.small else _moments_around_zero(flat)
    parts |= _find_extremes(output) if form.small else _find_extremes_sparingly(flat, output, form.summable)
    if form.bounds is not None:
        parts["saturated"] = _share(count_true(_is_saturated(flat, form.bounds)), flat)
    squares = [(parts["batch_square"], parts["batch_mean_square"])]
    if "preactivation" in given:
        preactivation = ops.cast(given["preactivation"], "float32")
        parts["preactivation_mean"] = mean(preactivation)
        parts["preactivation_square"] = mean_square(preactivation)
        squares.append((parts["preactivation_square"], ops.square(parts["preactivation_mean"])))
    return _stack(parts, "preactivation" in given), squares


def _moments_around_first(flat: Any) -> dict[str, Any]:
    """Find mean and variance across samples and units from the differences to the first sample.

    The difference of two nearly equal floats is exact, so that identical samples give exactly 0.
    """
    ops = import_keras().ops
    first = flat[:1]
    batch_square, unit_changes = _sum_change(flat, first)
    unit_means = ops.cast(first[0], "float64") + unit_changes
    return {"batch_square": batch_square, "batch_mean_square": mean_square(unit_changes)} | _spread(unit_means)


def _moments_around_zero(flat: Any) -> dict[str, Any]:
    """Find the same from the values as they are, without a temporary, and around the first sample where they cancel."""
    ops = import_keras().ops
    unit_means = ops.cast(ops.sum(flat, axis=0), "float64") / count_of(flat, 0)
    square, square_of_means = mean_square(flat), mean_square(unit_means)

    def around_first() -> tuple[Any, Any]:
        batch_square, unit_changes = _sum_change(flat, flat[:1])
        return batch_square, mean_square(unit_changes)

    kept = square_of_means <= LARGEST_CANCELLATION * square
    batch_square, batch_mean_square = choose(kept, lambda: (square, square_of_means), around_first)
    return {"batch_square": batch_square, "batch_mean_square": batch_mean_square} | _spread(unit_means)


def _sum_change(flat: Any, first: Any) -> tuple[Any, Any]:
    ops = import_keras().ops
    change = flat - first
    return mean_square(change), ops.cast(ops.sum(change, axis=0), "float64") / count_of(change, 0)


def _spread(unit_means: Any) -> dict[str, Any]:
    center = mean(unit_means)
    return {"unit_mean": center, "unit_variance": mean_square(unit_means - center)}


def _find_extremes(output: Any) -> dict[str, Any]:
    """Find the largest size, the share of zeros, and that of units that are zero throughout."""
    ops = import_keras().ops
    largest_by_unit = _max_by_unit(ops.abs(output))
    return {
        "max_abs": ops.max(largest_by_unit),
        "zero": _share(count_true(_by_sample(ops.equal(output, 0))), output),
        "dead": ops.mean(ops.cast(ops.equal(largest_by_unit, 0), "float64")),
    }


def _find_extremes_sparingly(flat: Any, output: Any, summable: bool) -> dict[str, Any]:
    """Find the same with one byte for each element as the only temporary."""
    ops = import_keras().ops
    condition = ops.equal(flat, 0)
    by_element = sum_bytes(condition) if summable else ops.sum(ops.cast(condition, "float32"), axis=0)
    fewest = by_element if len(output.shape) == 2 else ops.min(ops.reshape(by_element, ops.shape(output)[1:]), axis=0)
    dead = ops.equal(fewest, ops.cast(count_of(flat, 0), "float32"))
    return {
        "max_abs": ops.maximum(ops.max(flat), -ops.min(flat)),
        "zero": _share(ops.sum(ops.cast(by_element, "float64")), flat),
        "dead": ops.mean(ops.cast(dead, "float64")),
    }


def reduce_forward_carefully(given: Mapping[str, Any], form: OutputForm) -> Any:
    """Take all sums in float64, in two passes; tensors with inf or NaN have NaN moments.

    See :func:`reduce_forward_quickly`.
    """
    ops = import_keras().ops
    parts: dict[str, Any] = {}
    if "preactivation" in given:
        preactivation = given["preactivation"]
        moments = careful_moments(preactivation)
        for name, moment in zip(("shift", "mean", "square"), moments, strict=True):
            parts[f"preactivation_{name}"] = moment
        parts["preactivation_nonfinite"] = _share_nonfinite(preactivation)
    output = ops.cast(given["output"], "float64")
    flat = _by_sample(output)
    first = flat[:1]
    unit_means = first[0] + ops.mean(flat - first, axis=0)
    parts["batch_square"] = mean_square(flat - unit_means)
    parts |= _spread(unit_means)
    parts["zero"] = _share(ops.sum(ops.cast(ops.equal(flat, 0), "float64")), output)
    if form.bounds is not None:
        parts["saturated"] = _share(ops.sum(ops.cast(_is_saturated(flat, form.bounds), "float64")), output)
    known = ops.where(ops.isnan(output), ops.zeros_like(output), ops.abs(output))
    largest_by_unit = _max_by_unit(known)
    parts["dead"] = ops.mean(ops.cast(ops.equal(largest_by_unit, 0), "float64"))
    parts["max_abs"] = ops.max(largest_by_unit)
    parts["nonfinite"] = _share_nonfinite(output)
    return _stack(parts, "preactivation" in given)


def _stack(parts: dict[str, Any], with_preactivation: bool) -> Any:
    """Bring the parts into the order of FORWARD_PARTS: what is not given is 0, or NaN where it has no tensor."""
    ops = import_keras().ops
    missing = {"saturated": np.nan}
    if not with_preactivation:
        missing |= {"preactivation_mean": np.nan, "preactivation_square": np.nan}
    values = [parts.get(name, np.float64(missing.get(name, 0.0))) for name in FORWARD_PARTS]
    return ops.stack([ops.cast(value, "float64") for value in values])


def count_true(condition: Any) -> Any:
    """Count the true entries of a tensor, exactly, as float64."""
    ops = import_keras().ops
    ones = ops.cast(condition, "float32")
    elements = condition.shape.num_elements()
    if elements is not None and elements <= EXACT_COUNT:
        return ops.cast(ops.sum(ones), "float64")
    return ops.sum(ops.cast(ops.sum(ones, axis=0), "float64"))


def _share(count: Any, tensor: Any) -> Any:
    return import_keras().ops.cast(count, "float64") / count_of(tensor)


def _is_saturated(output: Any, bounds: tuple[float, float]) -> Any:
    ops = import_keras().ops
    low, high = bounds
    limit = (0.5 - SATURATION_MARGIN) * (high - low)
    return ops.abs(output - 0.5 * (low + high)) >= limit


def _share_nonfinite(tensor: Any) -> Any:
    ops = import_keras().ops
    return ops.mean(ops.cast(ops.logical_not(ops.isfinite(tensor)), "float64"))


def _by_sample(output: Any) -> Any:
    """Flatten [samples, positions, units] to [samples, elements of a sample]."""
    ops = import_keras().ops
    return output if len(output.shape) == 2 else ops.reshape(output, (ops.shape(output)[0], -1))


def _max_by_unit(output: Any) -> Any:
    return import_keras().ops.max(output, axis=tuple(range(len(output.shape) - 1)))
