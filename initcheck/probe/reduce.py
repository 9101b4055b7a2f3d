"""Tensors to numbers: on the device, in few passes, and without underflow.

On the device each site becomes a short vector of sums (:data:`PARTS`); the statistics are computed from
these on the host, in float64. The sums are first taken in the tensors' own precision, which hides behind
the matrix products. Where a sum of squares leaves the range in which float32 squares are exact enough,
or a variance would be a small difference of large numbers, they are taken once more from float64
values; the graph decides at run time.

A variance travels as (shift, m, s) with m = mean(x - shift), s = mean((x - shift)^2), so that
var x = s - m^2 holds for any shift: 0 on the quick way, mean(x) on the careful one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from initcheck.keras_runtime import import_keras
from initcheck.probe.gradients import choose, compile_function, half_sum_of_squares
from initcheck.schema import QUANTITIES

SMALLEST_MEAN_SQUARE: Final = 1e-30
"""Below this mean square of float32 values, squares of single values may have been flushed to zero.

TensorFlow flushes float32 denormals (below 1.2e-38), in eager mode as in compiled graphs.
"""

LARGEST_CANCELLATION: Final = 0.9
"""Above this share m^2 / s, the difference s - m^2 has lost a digit and is taken again in float64."""

SATURATION_MARGIN: Final = 0.025
"""Elements within this share of a bounded activation's range from one of its ends count as saturated."""

EXACT_COUNT: Final = 2**24
"""Up to here float32 counts exactly."""

SUMMED_PARTS: Final = (
    "preactivation_mean",
    "weight_mean",
    "preactivation_square",
    "weight_square",
    "gradient_square",
    "weight_gradient_square",
    "batch_square",
    "zero",
    "saturated",
)
"""Parts that are means over all entries of one tensor."""

OTHER_PARTS: Final = (
    "preactivation_shift",
    "weight_shift",
    "batch_mean_square",
    "unit_mean",
    "unit_variance",
    "dead",
    "max_abs",
    "nonfinite",
)

PARTS: Final = SUMMED_PARTS + OTHER_PARTS
"""What the device returns of one site; :func:`finish` makes the quantities from it."""


@dataclass(frozen=True)
class SiteTensors:
    """The tensors of one site.

    Attributes:
        output: h, shape [B, ...]; with three or more axes the features are on ``feature_axis``.
        preactivation: z, or None.
        gradient: dL/dz, or dL/dh without a z; None where the site does not reach the loss.
        kernel: W, or None.
        kernel_gradient: dL/dW, or None.
        bounds: the two ends of the range of a bounded activation, or None.
        feature_axis: the axis of h whose entries are units.
    """

    output: Any
    preactivation: Any
    gradient: Any
    kernel: Any
    kernel_gradient: Any
    bounds: tuple[float, float] | None
    feature_axis: int = -1


def reduce_site(site: SiteTensors) -> Any:
    """Reduce one site to its parts, in a graph that is being traced.

    Sites of the same shapes share one traced function: tracing a network of many equal layers costs
    hardly more than tracing one.

    Returns:
        float64 tensor of shape [len(PARTS)]; NaN for a part that has no tensor.
    """
    tensors = _tensors(site)
    signature = tuple((name, tuple(tensor.shape), tensor.dtype.name) for name, tensor in tensors.items())
    return _compile_reduction(signature, site.bounds, site.feature_axis)(*tensors.values())


@lru_cache(maxsize=1024)
def _compile_reduction(
    signature: tuple[tuple[str, tuple[int | None, ...], str], ...],
    bounds: tuple[float, float] | None,
    feature_axis: int,
) -> Callable[..., Any]:
    """Compile the reduction of sites whose tensors have these names, shapes and dtypes."""
    empty = SiteTensors(None, None, None, None, None, bounds, feature_axis)

    def reduce(*tensors: Any) -> Any:
        site = replace(empty, **{name: tensor for (name, _, _), tensor in zip(signature, tensors, strict=True)})
        if "float64" in {dtype for _, _, dtype in signature}:
            return _reduce_carefully(_cast(site, "float64"))
        site = _cast(site, "float32")
        quick, trusted = _reduce_quickly(site)
        return choose(trusted, lambda: quick, lambda: _reduce_carefully(_cast(site, "float64")))

    return compile_function(reduce, [(shape, dtype) for _, shape, dtype in signature])


def finish(
    parts: NDArray[np.float64],
    units: NDArray[np.float64],
    weights: NDArray[np.float64],
    batched: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """Turn the parts of all sites into the quantities of the measurement table.

    Args:
        parts: shape [seeds, sites, len(PARTS)].
        units: elements of one sample's output by site, shape [sites].
        weights: entries of the kernel by site, shape [sites]; NaN without one.
        batched: whether a site's first axis is the batch of two or more samples, shape [sites].

    Returns:
        Array of shape [seeds, sites, len(QUANTITIES)], in the order of ``schema.QUANTITIES``; NaN where
        a quantity is undefined. All moments of a tensor with inf or NaN are undefined:
        ``nonfinite_fraction`` says why.
    """
    part = {name: parts[..., index] for index, name in enumerate(PARTS)}
    finished: dict[str, NDArray[np.float64]] = {}
    for name in ("preactivation", "weight"):
        mean = part[f"{name}_shift"] + part[f"{name}_mean"]
        variance = np.maximum(part[f"{name}_square"] - part[f"{name}_mean"] ** 2, 0.0)
        finished[f"{name}_mean"] = mean
        finished[f"{name}_variance"] = variance
        finished[f"{name}_second_moment"] = variance + mean**2
    batch_variance = np.maximum(part["batch_square"] - part["batch_mean_square"], 0.0)
    variance = batch_variance + part["unit_variance"]
    finite = np.isfinite(variance)
    finished["activation_mean"] = np.where(finite, part["unit_mean"], np.nan)
    finished["activation_variance"] = variance
    finished["activation_second_moment"] = variance + part["unit_mean"] ** 2
    finished["activation_batch_variance"] = np.where(batched & finite, batch_variance, np.nan)
    finished["zero_fraction"] = part["zero"]
    finished["dead_fraction"] = part["dead"]
    finished["saturated_fraction"] = part["saturated"]
    finished["nonfinite_fraction"] = part["nonfinite"]
    finished["activation_max_abs"] = part["max_abs"]
    finished["gradient_second_moment"] = part["gradient_square"]
    finished["gradient_norm"] = np.sqrt(units * part["gradient_square"])
    finished["weight_norm"] = np.sqrt(weights * finished.pop("weight_second_moment"))
    finished["weight_gradient_norm"] = np.sqrt(weights * part["weight_gradient_square"])
    with np.errstate(divide="ignore", invalid="ignore"):
        finished["gradient_to_weight_ratio"] = finished["weight_gradient_norm"] / finished["weight_norm"]
    return np.stack([finished[name] for name in QUANTITIES], axis=-1)


def _tensors(site: SiteTensors) -> dict[str, Any]:
    names = ("output", "preactivation", "gradient", "kernel", "kernel_gradient")
    return {name: getattr(site, name) for name in names if getattr(site, name) is not None}


def _cast(site: SiteTensors, dtype: str) -> SiteTensors:
    ops = import_keras().ops
    return replace(site, **{name: ops.cast(tensor, dtype) for name, tensor in _tensors(site).items()})


def _reduce_quickly(site: SiteTensors) -> tuple[Any, Any]:
    """Take all sums of float32 tensors in float32.

    Returns:
        The parts, and a boolean tensor: whether each of them is exact enough.
    """
    ops = import_keras().ops
    output = _by_sample(site.output)
    first = output[:1]
    # The variance across samples is taken around the first sample: the difference of two nearly equal
    # floats is exact, so that identical samples give exactly 0.
    change = output - first

    summed = _Sums()
    for name, tensor in (("preactivation", site.preactivation), ("weight", site.kernel)):
        if tensor is not None:
            summed.add(f"{name}_mean", ops.sum(tensor), tensor)
            summed.add(f"{name}_square", 2 * half_sum_of_squares(tensor), tensor)
    for name, tensor in (("gradient", site.gradient), ("weight_gradient", site.kernel_gradient)):
        if tensor is not None:
            summed.add(f"{name}_square", 2 * half_sum_of_squares(tensor), tensor)
    summed.add("batch_square", 2 * half_sum_of_squares(change), change)
    summed.add("zero", count_true(ops.equal(output, 0)), output)
    if site.bounds is not None:
        summed.add("saturated", count_true(_is_saturated(output, site.bounds)), output)
    means = summed.means()

    largest_by_unit = ops.max(ops.abs(_by_unit(site.output, site.feature_axis)), axis=0)
    samples = ops.cast(ops.shape(output)[0], "float64")
    unit_changes = ops.cast(ops.sum(change, axis=0), "float64") / samples
    batch_mean_square = ops.mean(ops.square(unit_changes))
    unit_means = ops.cast(first[0], "float64") + unit_changes
    zero = ops.zeros((), "float64")
    others = _stack_others(zero, zero, batch_mean_square, unit_means, largest_by_unit, zero)

    smallest = np.asarray(
        [SMALLEST_MEAN_SQUARE if name in summed and "square" in name else -np.inf for name in SUMMED_PARTS]
    )
    in_range = ops.logical_and(means > smallest, means < np.inf)
    without_cancellation = ops.logical_and(
        ops.all(ops.square(means[0:2]) <= LARGEST_CANCELLATION * means[2:4]),
        batch_mean_square <= LARGEST_CANCELLATION * means[SUMMED_PARTS.index("batch_square")],
    )
    trusted = ops.logical_and(ops.all(in_range), without_cancellation)
    return ops.concatenate([means + summed.absent(), others]), trusted


def _reduce_carefully(site: SiteTensors) -> Any:
    """Take all sums of float64 tensors in two passes; tensors with inf or NaN have NaN moments."""
    ops = import_keras().ops
    zero = ops.zeros((), "float64")
    summed = _Sums()
    shifts = {"preactivation": zero, "weight": zero}
    for name, tensor in (("preactivation", site.preactivation), ("weight", site.kernel)):
        if tensor is not None:
            # mean(x) first minus one entry, so that a constant tensor has exactly its value as mean.
            anchor = ops.reshape(tensor, (-1,))[0]
            shifts[name] = anchor + ops.mean(tensor - anchor)
            centered = tensor - shifts[name]
            summed.add(f"{name}_mean", ops.sum(centered), tensor)
            summed.add(f"{name}_square", ops.sum(ops.square(centered)), tensor)
    for name, tensor in (("gradient", site.gradient), ("weight_gradient", site.kernel_gradient)):
        if tensor is not None:
            summed.add(f"{name}_square", ops.sum(ops.square(tensor)), tensor)
    output = _by_sample(site.output)
    first = output[:1]
    unit_means = first[0] + ops.mean(output - first, axis=0)
    summed.add("batch_square", ops.sum(ops.square(output - unit_means)), output)
    summed.add("zero", ops.sum(ops.cast(ops.equal(output, 0), "float64")), output)
    if site.bounds is not None:
        summed.add("saturated", ops.sum(ops.cast(_is_saturated(output, site.bounds), "float64")), output)
    nonfinite = _share_nonfinite(output)
    if site.preactivation is not None:
        nonfinite = ops.maximum(nonfinite, _share_nonfinite(site.preactivation))
    known = ops.where(ops.isnan(site.output), ops.zeros_like(site.output), ops.abs(site.output))
    largest_by_unit = ops.max(_by_unit(known, site.feature_axis), axis=0)
    others = _stack_others(shifts["preactivation"], shifts["weight"], zero, unit_means, largest_by_unit, nonfinite)
    return ops.concatenate([summed.means() + summed.absent(), others])


class _Sums:
    """Sums by name, each with the number of terms that makes it a mean."""

    def __init__(self) -> None:
        self._sums: dict[str, Any] = {}
        self._counts: dict[str, Any] = {}

    def add(self, name: str, total: Any, tensor: Any) -> None:
        self._sums[name] = total
        static = tensor.shape.num_elements()
        self._counts[name] = import_keras().ops.size(tensor) if static is None else static

    def __contains__(self, name: str) -> bool:
        return name in self._sums

    def means(self) -> Any:
        """The means in the order of SUMMED_PARTS, as float64; 0 for a part that has no tensor."""
        ops = import_keras().ops
        dtype = next(iter(self._sums.values())).dtype
        zero = ops.zeros((), dtype)
        totals = ops.cast(ops.stack([self._sums.get(name, zero) for name in SUMMED_PARTS]), "float64")
        counts = [self._counts.get(name, 1) for name in SUMMED_PARTS]
        if all(isinstance(count, int) for count in counts):
            return totals / np.asarray(counts, dtype=np.float64)
        return totals / ops.stack([ops.cast(count, "float64") for count in counts])

    def absent(self) -> NDArray[np.float64]:
        """NaN for the parts that have no tensor, 0 for the others."""
        return np.asarray([0.0 if name in self._sums else np.nan for name in SUMMED_PARTS])


def _stack_others(
    preactivation_shift: Any,
    weight_shift: Any,
    batch_mean_square: Any,
    unit_means: Any,
    largest_by_unit: Any,
    nonfinite: Any,
) -> Any:
    """Bring the remaining parts into the order of OTHER_PARTS."""
    ops = import_keras().ops
    unit_mean = ops.mean(unit_means)
    return ops.stack(
        [
            preactivation_shift,
            weight_shift,
            batch_mean_square,
            unit_mean,
            ops.mean(ops.square(unit_means - unit_mean)),
            ops.mean(ops.cast(ops.equal(largest_by_unit, 0), "float64")),
            ops.cast(ops.max(largest_by_unit), "float64"),
            nonfinite,
        ]
    )


def count_true(condition: Any) -> Any:
    """Count the true entries of a tensor, exactly, as float32."""
    ops = import_keras().ops
    ones = ops.cast(condition, "float32")
    static = condition.shape.num_elements()
    if static is not None and static <= EXACT_COUNT:
        return ops.sum(ones)
    return ops.cast(ops.sum(ops.cast(ops.sum(ones, axis=0), "float64")), "float32")


def _is_saturated(output: Any, bounds: tuple[float, float]) -> Any:
    ops = import_keras().ops
    low, high = bounds
    limit = (0.5 - SATURATION_MARGIN) * (high - low)
    return ops.abs(output - 0.5 * (low + high)) >= limit


def _share_nonfinite(tensor: Any) -> Any:
    ops = import_keras().ops
    return ops.mean(ops.cast(ops.logical_not(ops.isfinite(tensor)), "float64"))


def _by_sample(tensor: Any) -> Any:
    """Flatten to [samples, elements of a sample]."""
    ops = import_keras().ops
    if len(tensor.shape) == 2:
        return tensor
    if len(tensor.shape) < 2:
        return ops.reshape(tensor, (-1, 1))
    return ops.reshape(tensor, (ops.shape(tensor)[0], -1))


def _by_unit(tensor: Any, axis: int) -> Any:
    """Flatten to [samples and positions, units]."""
    ops = import_keras().ops
    if len(tensor.shape) <= 2:
        return _by_sample(tensor)
    if axis not in (-1, len(tensor.shape) - 1):
        tensor = ops.moveaxis(tensor, axis, -1)
    return ops.reshape(tensor, (-1, ops.shape(tensor)[-1]))
