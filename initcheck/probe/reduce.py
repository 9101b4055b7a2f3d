"""Tensors to numbers: on the device each site becomes a short vector of sums, on the host the sums become quantities.

Sums are first taken in float32, where they cost little and hide behind the matrix products. Where a sum of squares
leaves the range in which float32 squares are accurate, or a variance would be a small difference of large numbers, they
are taken once more from float64 values; the graph decides at run time. The host computes in float64.

A variance is handed on as (shift, m, s) with m = mean(x - shift), s = mean((x - shift)^2), so that var x = s - m^2
holds for any shift: 0 in float32, mean(x) in float64.

What belongs to the forward pass is reduced apart from what belongs to the backward pass, so that no large activation is
kept until its gradient is there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from initcheck.backend.interface import RecordedPass, backend
from initcheck.backend.operations import count_entries
from initcheck.backend.runtime import dtype_name, import_keras
from initcheck.core.columns import QUANTITIES

_FORWARD_PARTS: Final = (
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

_BACKWARD_TENSORS: Final = ("gradient", "weight_gradient", "weight")

_BACKWARD_PARTS: Final = (
    "gradient_square",
    "weight_gradient_square",
    "weight_shift",
    "weight_mean",
    "weight_square",
)

PARTS: Final = _FORWARD_PARTS + _BACKWARD_PARTS
"""What the device returns of one site; :func:`finish` makes the quantities from it."""

_SATURATION_MARGIN: Final = 0.025
"""Elements within this share of a bounded activation's range from one of its ends count as saturated."""

_EXACT_COUNT: Final = 2**24
"""Up to here float32 counts exactly."""

SMALLEST_MEAN_SQUARE: Final = 1e-30
"""Below this mean square of float32 values, squares of single values may have been flushed to zero.

TensorFlow flushes float32 denormals (below 1.2e-38), in eager mode as in compiled graphs.
"""

LARGEST_CANCELLATION: Final = 0.9
"""Above this share m^2 / s, the difference s - m^2 has lost a digit and is taken again in float64."""

LARGEST_COPIED: Final = 2**17
"""Of tensors of at most this many elements copies are made freely: what costs is the number of operations on them."""

LARGEST_JOINED: Final = 4096
"""Tensors of at most this many entries are reduced together: for each alone the calls would cost more than the sums."""

FLOAT16_LARGEST: Final = 65504.0

FLOAT16_VANISHES: Final = 2.0**-25
"""Half of float16's smallest number, 2^-24: what is smaller rounds to zero."""

LOSS_SCALE: Final = 2.0**15
"""What Keras' LossScaleOptimizer multiplies the loss by at first: gradients in float16 are always scaled."""


@dataclass(frozen=True)
class SiteTensors:
    """The tensors of one site; None for what it has not.

    Attributes:
        output: h, shape [B, ...]; with three or more axes the features are on ``feature_axis``.
        gradient: dL/dz, or dL/dh without a z; None where the site does not reach the loss.
        feature_axis: the axis of h whose entries are units.
    """

    output: Any
    preactivation: Any
    gradient: Any
    kernel: Any
    kernel_gradient: Any
    bounds: tuple[float, float] | None
    feature_axis: int = -1


@dataclass(frozen=True)
class _OutputForm:
    """What is known of an output when its reduction is traced."""

    small: bool
    summable: bool
    bounds: tuple[float, float] | None


def reduce_site(site: SiteTensors) -> Any:
    """Reduce one site to its parts, in a graph that is being traced.

    Sites share a few traced functions, whatever their shapes, or one for each shape where they are small and dense:
    tracing a deep network costs hardly more than tracing a shallow one, in time and in memory.

    Returns:
        float64 tensor of shape [len(PARTS)]; NaN for a part that has no tensor.
    """
    forward = _given(output=site.output, preactivation=site.preactivation)
    backward = _given(gradient=site.gradient, weight_gradient=site.kernel_gradient, weight=site.kernel)
    with backend().double_precision():
        if backward and all(_is_small(tensor) for tensor in (forward | backward).values()):
            return _reduce(forward | backward, site)
        below = _reduce(backward, site) if backward else np.full(len(_BACKWARD_PARTS), np.nan)
        return import_keras().ops.concatenate([_reduce(forward, site), below])


def find_sources(
    recorded: RecordedPass, outputs: Sequence[Any], preactivations: Sequence[Any | None]
) -> tuple[int | None, ...]:
    """Find for each site the one whose output is its pre-activation, unchanged: then it need not be reduced again.

    That is the site itself where the activation is linear, and the one before where the activation is a layer.
    """
    positions: dict[Hashable, int] = {}
    for position, output in enumerate(outputs):
        positions.setdefault(recorded.identify(output), position)
    return tuple(None if tensor is None else positions.get(recorded.identify(tensor)) for tensor in preactivations)


@np.errstate(divide="ignore", invalid="ignore")
def finish(
    parts: NDArray[np.float64],
    units: NDArray[np.float64],
    weights: NDArray[np.float64],
    batched: NDArray[np.bool_],
    sources: Sequence[int | None] = (),
) -> NDArray[np.float64]:
    """Turn the parts of all sites into the quantities of the measurement table.

    Args:
        parts: shape [seeds, sites, len(PARTS)].
        units: elements of one sample's output by site, shape [sites].
        weights: entries of the kernel by site, shape [sites]; NaN without one.
        batched: whether a site's first axis is the batch of two or more samples, shape [sites].
        sources: for each site the one whose output is this one's pre-activation, so that it was reduced there; None
            for a site without a pre-activation, or with one of its own.

    Returns:
        Array of shape [seeds, sites, len(QUANTITIES)], in the order of ``columns.QUANTITIES``; NaN where
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
    taken = [(place, source) for place, source in enumerate(sources) if source is not None]
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
    preactivation_nonfinite = part["preactivation_nonfinite"].copy()
    for place, source in taken:
        for moment in ("mean", "variance", "second_moment"):
            finished[f"preactivation_{moment}"][..., place] = finished[f"activation_{moment}"][..., source]
        preactivation_nonfinite[..., place] = part["nonfinite"][..., source]
    finished["nonfinite_fraction"] = np.maximum(part["nonfinite"], preactivation_nonfinite)
    finished["activation_max_abs"] = part["max_abs"]
    finished["gradient_second_moment"] = part["gradient_square"]
    finished["gradient_norm"] = np.sqrt(units * part["gradient_square"])
    finished["weight_norm"] = np.sqrt(weights * finished.pop("weight_second_moment"))
    finished["weight_gradient_norm"] = np.sqrt(weights * part["weight_gradient_square"])
    finished["gradient_to_weight_ratio"] = finished["weight_gradient_norm"] / finished["weight_norm"]
    return np.stack([finished[name] for name in QUANTITIES], axis=-1)


def reduce_range(output: Any, gradient: Any | None) -> Any:
    """Count what float16 cannot hold: shares above its largest number, and below what it rounds to zero.

    Tensors that are float16 themselves have neither: what they cannot hold is infinite or zero already.

    Returns:
        float64 tensor: overflow and underflow of the output, then of the gradient; NaN without a gradient.
    """
    ops = import_keras().ops
    vanishes = FLOAT16_VANISHES / LOSS_SCALE
    with backend().double_precision():
        missing = ops.full((2,), float("nan"), dtype="float64")
        shares = missing if gradient is None else _shares(gradient, vanishes)
        return ops.concatenate([_shares(output, FLOAT16_VANISHES), shares])


def reduce_norms(tensors: Sequence[Any]) -> Any:
    """Compute the Frobenius norm of each tensor in float64, while a graph is traced; 0 only where every entry is 0."""
    with backend().double_precision():
        return _reduce_norms(tensors)


def _reduce_norms(tensors: Sequence[Any]) -> Any:
    ops = import_keras().ops
    norms: list[Any] = [None] * len(tensors)
    together = [
        place
        for place, tensor in enumerate(tensors)
        if dtype_name(tensor) != "float64" and math.prod(tensor.shape) <= LARGEST_JOINED
    ]
    if together:
        squares = _sum_squares_together([tensors[place] for place in together])
        for place, norm in zip(together, ops.unstack(ops.sqrt(squares), num=len(together)), strict=True):
            norms[place] = norm
    for place, tensor in enumerate(tensors):
        if norms[place] is None:
            norms[place] = _compile_norm(dtype_name(tensor))(ops.reshape(tensor, (-1,)))
    return ops.stack(norms) if norms else ops.zeros((0,), "float64")


def _given(**tensors: Any | None) -> dict[str, Any]:
    return {name: tensor for name, tensor in tensors.items() if tensor is not None}


def _is_small(tensor: Any) -> bool:
    elements = count_entries(tuple(tensor.shape))
    return elements is not None and elements <= LARGEST_COPIED


def _reduce(given: dict[str, Any], site: SiteTensors) -> Any:
    ops = import_keras().ops
    form = None
    if "output" in given:
        form = _OutputForm(_is_small(site.output), backend().bytes_can_be_summed(site.output), site.bounds)
    # Known sizes make the many small operations on small tensors a tenth quicker; dense layers come in few shapes.
    known = all(len(tensor.shape) == 2 and _is_small(tensor) for tensor in given.values())
    if known:
        shaped = list(given.values())
    else:
        shaped = [
            _by_position(tensor, site.feature_axis) if name == "output" else ops.reshape(tensor, (-1,))
            for name, tensor in given.items()
        ]
    signature = tuple(
        (name, tuple(tensor.shape) if known else (None,) * len(tensor.shape), dtype_name(tensor))
        for name, tensor in zip(given, shaped, strict=True)
    )
    return _compile_reduction(signature, form)(*shaped)


@lru_cache(maxsize=1024)
def _compile_reduction(
    signature: tuple[tuple[str, tuple[int | None, ...], str], ...], form: _OutputForm | None
) -> Callable[..., Any]:
    """Compile the reduction of tensors of these names, shapes and dtypes: of both passes, or of one of them."""
    ops = import_keras().ops
    names = [name for name, _, _ in signature]
    backward = any(name in names for name in _BACKWARD_TENSORS)

    def reduce_float64(given: dict[str, Any]) -> Any:
        parts = [] if form is None else [_reduce_forward_float64(given, form)]
        return ops.concatenate([*parts, _reduce_backward_float64(given)]) if backward else parts[0]

    def reduce(*tensors: Any) -> Any:
        given = dict(zip(names, tensors, strict=True))
        if "float64" in {dtype for _, _, dtype in signature}:
            return reduce_float64(given)
        taken = [] if form is None else [_reduce_forward_float32(given, form)]
        taken += [_reduce_backward_float32(given)] if backward else []
        reduced = ops.concatenate([parts for parts, _ in taken])
        accurate = _is_accurate([square for _, squares in taken for square in squares])
        return backend().cond(accurate, lambda: reduced, lambda: reduce_float64(given))

    return backend().compile_function(reduce, [(shape, dtype) for _, shape, dtype in signature])


def _reduce_forward_float32(given: Mapping[str, Any], form: _OutputForm) -> tuple[Any, list[tuple[Any, Any | None]]]:
    """Take the sums of ``output`` h and, where the site has its own, ``preactivation`` z in float32.

    With the parts comes what :func:`_is_accurate` judges them by.
    """
    ops = import_keras().ops
    output = ops.cast(given["output"], "float32")
    flat = _by_sample(output)
    parts = _moments_around_first(flat) if form.small else _moments_around_zero(flat)
    parts |= _find_extremes(output) if form.small else _find_extremes_in_bytes(flat, output, form.summable)
    if form.bounds is not None:
        parts["saturated"] = _share(_count_true(_is_saturated(flat, form.bounds)), flat)
    squares = [(parts["batch_square"], parts["batch_mean_square"])]
    if "preactivation" in given:
        preactivation = ops.cast(given["preactivation"], "float32")
        parts["preactivation_mean"] = mean_float64(preactivation)
        parts["preactivation_square"] = _mean_square(preactivation)
        squares.append((parts["preactivation_square"], ops.square(parts["preactivation_mean"])))
    return _stack_forward(parts, "preactivation" in given), squares


def _moments_around_first(flat: Any) -> dict[str, Any]:
    """Find mean and variance across samples and units from the differences to the first sample.

    The difference of two nearly equal floats is exact, so that identical samples give exactly 0.
    """
    ops = import_keras().ops
    first = flat[:1]
    batch_square, unit_changes = _sum_change(flat, first)
    unit_means = ops.cast(first[0], "float64") + unit_changes
    return {"batch_square": batch_square, "batch_mean_square": _mean_square(unit_changes)} | _unit_moments(unit_means)


def _moments_around_zero(flat: Any) -> dict[str, Any]:
    """Find the same from the values as they are, without a copy, and around the first sample where they cancel."""
    unit_means = mean_float64(flat, axis=0)
    square, square_of_means = _mean_square(flat), _mean_square(unit_means)

    def around_first() -> tuple[Any, Any]:
        batch_square, unit_changes = _sum_change(flat, flat[:1])
        return batch_square, _mean_square(unit_changes)

    accurate = square_of_means <= LARGEST_CANCELLATION * square
    batch_square, batch_mean_square = backend().cond(accurate, lambda: (square, square_of_means), around_first)
    return {"batch_square": batch_square, "batch_mean_square": batch_mean_square} | _unit_moments(unit_means)


def _sum_change(flat: Any, first: Any) -> tuple[Any, Any]:
    change = flat - first
    return _mean_square(change), mean_float64(change, axis=0)


def _unit_moments(unit_means: Any) -> dict[str, Any]:
    center = mean_float64(unit_means)
    return {"unit_mean": center, "unit_variance": _mean_square(unit_means - center)}


def _find_extremes(output: Any) -> dict[str, Any]:
    """Find the largest size, the share of zeros, and that of units that are zero throughout."""
    ops = import_keras().ops
    largest_by_unit = _max_by_unit(ops.abs(output))
    return {
        "max_abs": ops.max(largest_by_unit),
        "zero": _share(_count_true(_by_sample(ops.equal(output, 0))), output),
        "dead": mean_float64(ops.cast(ops.equal(largest_by_unit, 0), "float64")),
    }


def _find_extremes_in_bytes(flat: Any, output: Any, summable: bool) -> dict[str, Any]:
    """Find the same with one byte for each element as the only copy."""
    ops = import_keras().ops
    condition = ops.equal(flat, 0)
    by_element = backend().sum_bytes(condition) if summable else ops.sum(ops.cast(condition, "float32"), axis=0)
    fewest = by_element if len(output.shape) == 2 else ops.min(ops.reshape(by_element, ops.shape(output)[1:]), axis=0)
    dead = ops.equal(fewest, ops.cast(_count_of(flat, 0), "float32"))
    return {
        "max_abs": ops.maximum(ops.max(flat), -ops.min(flat)),
        "zero": _share(ops.sum(ops.cast(by_element, "float64")), flat),
        "dead": mean_float64(ops.cast(dead, "float64")),
    }


def _reduce_forward_float64(given: Mapping[str, Any], form: _OutputForm) -> Any:
    """Take the same sums in float64, in two passes; tensors with inf or NaN have NaN moments."""
    ops = import_keras().ops
    parts: dict[str, Any] = {}
    if "preactivation" in given:
        preactivation = given["preactivation"]
        moments = _moments_float64(preactivation)
        for name, moment in zip(("shift", "mean", "square"), moments, strict=True):
            parts[f"preactivation_{name}"] = moment
        parts["preactivation_nonfinite"] = _share_nonfinite(preactivation)
    output = ops.cast(given["output"], "float64")
    flat = _by_sample(output)
    first = flat[:1]
    unit_means = first[0] + mean_float64(flat - first, axis=0)
    parts["batch_square"] = _mean_square(flat - unit_means)
    parts |= _unit_moments(unit_means)
    parts["zero"] = _share(ops.sum(ops.cast(ops.equal(flat, 0), "float64")), output)
    if form.bounds is not None:
        parts["saturated"] = _share(ops.sum(ops.cast(_is_saturated(flat, form.bounds), "float64")), output)
    known = ops.where(ops.isnan(output), ops.zeros_like(output), ops.abs(output))
    largest_by_unit = _max_by_unit(known)
    parts["dead"] = mean_float64(ops.cast(ops.equal(largest_by_unit, 0), "float64"))
    parts["max_abs"] = ops.max(largest_by_unit)
    parts["nonfinite"] = _share_nonfinite(output)
    return _stack_forward(parts, "preactivation" in given)


def _stack_forward(parts: dict[str, Any], with_preactivation: bool) -> Any:
    """Bring the parts into the order of _FORWARD_PARTS: what is not given is 0, or NaN where it has no tensor."""
    ops = import_keras().ops
    missing = {"saturated": np.nan}
    if not with_preactivation:
        missing |= {"preactivation_mean": np.nan, "preactivation_square": np.nan}
    values = [parts.get(name, np.float64(missing.get(name, 0.0))) for name in _FORWARD_PARTS]
    return ops.stack([ops.cast(value, "float64") for value in values])


def _reduce_backward_float32(given: Mapping[str, Any]) -> tuple[Any, list[tuple[Any, Any | None]]]:
    """Take the sums of ``gradient``, ``weight`` and ``weight_gradient`` in float32, and what judges them."""
    ops = import_keras().ops
    parts: dict[str, Any] = {}
    squares: list[tuple[Any, Any | None]] = []
    for name in _BACKWARD_TENSORS:
        if name not in given:
            continue
        tensor, square_of_mean = ops.cast(given[name], "float32"), None
        if name == "weight":
            parts["weight_shift"] = np.float64(0.0)
            parts["weight_mean"] = mean_float64(tensor)
            square_of_mean = ops.square(parts["weight_mean"])
        parts[f"{name}_square"] = _mean_square(tensor)
        squares.append((parts[f"{name}_square"], square_of_mean))
    return _stack_backward(parts), squares


def _reduce_backward_float64(given: Mapping[str, Any]) -> Any:
    """Take the same sums in float64."""
    ops = import_keras().ops
    parts: dict[str, Any] = {}
    for name in _BACKWARD_TENSORS:
        if name not in given:
            continue
        if name == "weight":
            parts["weight_shift"], parts["weight_mean"], parts["weight_square"] = _moments_float64(given[name])
        else:
            parts[f"{name}_square"] = _mean_square(ops.cast(given[name], "float64"))
    return _stack_backward(parts)


def _stack_backward(parts: Mapping[str, Any]) -> Any:
    ops = import_keras().ops
    return ops.stack([ops.cast(parts.get(name, np.float64(np.nan)), "float64") for name in _BACKWARD_PARTS])


def _by_position(output: Any, axis: int) -> Any:
    """Bring an output of shape [B, ...], whose ``axis`` holds the units, into the shape [samples, positions, units]."""
    ops = import_keras().ops
    rank = len(output.shape)
    if rank < 3:
        return ops.reshape(output, (-1, 1, 1) if rank < 2 else (-1, 1, ops.shape(output)[1]))
    if axis not in (-1, rank - 1):
        output = ops.moveaxis(output, axis, -1)
    shape = ops.shape(output)
    return ops.reshape(output, (shape[0], -1, shape[-1]))


def _by_sample(output: Any) -> Any:
    """Flatten [samples, positions, units] to [samples, elements of a sample]."""
    ops = import_keras().ops
    return output if len(output.shape) == 2 else ops.reshape(output, (ops.shape(output)[0], -1))


def _max_by_unit(output: Any) -> Any:
    return import_keras().ops.max(output, axis=tuple(range(len(output.shape) - 1)))


def _is_saturated(output: Any, bounds: tuple[float, float]) -> Any:
    ops = import_keras().ops
    low, high = bounds
    limit = (0.5 - _SATURATION_MARGIN) * (high - low)
    return ops.abs(output - 0.5 * (low + high)) >= limit


def _count_true(condition: Any) -> Any:
    """Count the true entries of a tensor, exactly, as float64."""
    ops = import_keras().ops
    ones = ops.cast(condition, "float32")
    elements = count_entries(tuple(condition.shape))
    if elements is not None and elements <= _EXACT_COUNT:
        return ops.cast(ops.sum(ones), "float64")
    return ops.sum(ops.cast(ops.sum(ones, axis=0), "float64"))


def _share(count: Any, tensor: Any) -> Any:
    return import_keras().ops.cast(count, "float64") / _count_of(tensor)


def _share_nonfinite(tensor: Any) -> Any:
    ops = import_keras().ops
    return mean_float64(ops.cast(ops.logical_not(ops.isfinite(tensor)), "float64"))


def _shares(tensor: Any, vanishes: float) -> Any:
    ops = import_keras().ops
    rows = ops.shape(tensor)[0] if len(tensor.shape) > 1 else 1
    return _compile_shares(dtype_name(tensor), vanishes)(ops.reshape(tensor, (rows, -1)))


@lru_cache(maxsize=1024)
def _compile_shares(dtype: str, vanishes: float) -> Callable[..., Any]:
    """Compile the count over a tensor of two axes, of any size: few functions serve all sites."""
    ops = import_keras().ops

    def reduce(tensor: Any) -> Any:
        size = ops.abs(tensor if dtype == "float64" else ops.cast(tensor, "float32"))
        count = ops.cast(ops.size(size), "float64")
        under = _count_true(ops.logical_and(size < vanishes, size > 0))
        # Most tensors are finite and within the range: the sum and the largest show it in fewer passes than counting.
        inside = ops.logical_and(ops.isfinite(ops.sum(size)), ops.max(size) <= FLOAT16_LARGEST)
        over = backend().cond(inside, lambda: ops.zeros((), "float64"), lambda: _share_above(size))
        return ops.stack([over, under / count])

    return backend().compile_function(reduce, [((None, None), dtype)])


def _share_above(size: Any) -> Any:
    """Find the share of the finite elements that are too large; undefined, 0 / 0, without one."""
    ops = import_keras().ops
    finite = ops.isfinite(size)
    return _count_true(ops.logical_and(size > FLOAT16_LARGEST, finite)) / _count_true(finite)


def _mean_square(tensor: Any) -> Any:
    """Return the mean of squares as float64, summed in the tensor's own precision and without storing the squares."""
    return import_keras().ops.cast(backend().half_sum_of_squares(tensor), "float64") / (0.5 * _count_of(tensor))


def mean_float64(tensor: Any, axis: int | None = None) -> Any:
    """Return the mean as float64; ``keras.ops.mean`` takes that of float64 values in float32 on some backends."""
    return backend().sum_float64(tensor, axis) / _count_of(tensor, axis)


def _moments_float64(tensor: Any) -> tuple[Any, Any, Any]:
    """Return shift, mean around it and mean square around it, of float64 values."""
    ops = import_keras().ops
    tensor = ops.cast(tensor, "float64")
    # mean(x) first minus one entry, so that a constant tensor has exactly its value as mean.
    anchor = ops.reshape(tensor, (-1,))[0]
    shift = anchor + mean_float64(tensor - anchor)
    centered = tensor - shift
    return shift, mean_float64(centered), _mean_square(centered)


def _is_accurate(squares: Sequence[tuple[Any, Any | None]]) -> Any:
    """Return whether mean squares of float32 values are all accurate, and the variances that are made of them."""
    ops = import_keras().ops
    total = ops.stack([square for square, _ in squares])
    nothing = ops.zeros((), "float64")
    subtracted = ops.stack([nothing if mean is None else mean for _, mean in squares])
    in_range = ops.logical_and(total > SMALLEST_MEAN_SQUARE, total < float("inf"))
    return ops.all(ops.logical_and(in_range, subtracted <= LARGEST_CANCELLATION * total))


def _count_of(tensor: Any, axis: int | None = None) -> Any:
    """Return the number of elements of a tensor or the length of an axis, as float64 where it is not known yet."""
    ops = import_keras().ops
    static = count_entries(tuple(tensor.shape)) if axis is None else tensor.shape[axis]
    if static is not None:
        return float(static)
    return ops.cast(ops.size(tensor) if axis is None else ops.shape(tensor)[axis], "float64")


def _sum_squares_together(tensors: Sequence[Any]) -> Any:
    """Sum the squares of each of several small tensors in float64, in which squares of float32 do not underflow."""
    ops = import_keras().ops
    sizes = [math.prod(tensor.shape) for tensor in tensors]
    entries = ops.concatenate([ops.reshape(ops.cast(tensor, "float32"), (-1,)) for tensor in tensors])
    owners = np.repeat(np.arange(len(tensors), dtype=np.int32), sizes)
    return backend().sum_segments(ops.square(ops.cast(entries, "float64")), owners, len(tensors))


@lru_cache(maxsize=1024)
def _compile_norm(dtype: str) -> Callable[..., Any]:
    """Compile the norm of a tensor of one axis, of any length."""
    ops = import_keras().ops

    def norm_float64(tensor: Any) -> Any:
        wide = ops.cast(tensor, "float64")
        largest = ops.max(ops.abs(wide))
        scale = ops.where(ops.logical_and(largest > 0, ops.isfinite(largest)), largest, ops.ones_like(largest))
        return scale * ops.sqrt(ops.sum(ops.square(wide / scale)))

    def reduce(tensor: Any) -> Any:
        if dtype == "float64":
            return norm_float64(tensor)
        single = ops.cast(tensor, "float32")
        total = 2 * backend().half_sum_of_squares(single)
        mean_square = ops.cast(total, "float64") / _count_of(single)
        accurate = ops.logical_and(mean_square > SMALLEST_MEAN_SQUARE, ops.isfinite(total))
        return backend().cond(accurate, lambda: ops.sqrt(ops.cast(total, "float64")), lambda: norm_float64(single))

    return backend().compile_function(reduce, [((None,), dtype)])
