"""Tensors to numbers: on the device each site becomes a short vector of sums, and on the host the sums statistics.

The sums are first taken in float32, and where one of them is not exact enough once more in float64 (``moments``); the
graph decides at run time. What belongs to the forward pass is reduced apart from what belongs to the backward pass, so
that no large activation is kept until its gradient is there. The host computes in float64.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from initcheck.keras_runtime import import_keras
from initcheck.probe.gradients import bytes_can_be_summed, choose, compile_function, operation_name, original
from initcheck.probe.moments import SMALL, trust
from initcheck.probe.reduce_backward import (
    BACKWARD_PARTS,
    BACKWARD_TENSORS,
    reduce_backward_carefully,
    reduce_backward_quickly,
)
from initcheck.probe.reduce_forward import (
    FORWARD_PARTS,
    OutputForm,
    by_position,
    reduce_forward_carefully,
    reduce_forward_quickly,
)
from initcheck.schema import QUANTITIES

PARTS: Final = FORWARD_PARTS + BACKWARD_PARTS
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

    Sites share a few traced functions, whatever their shapes, or one for each shape where they are small and dense:
    tracing a deep network costs hardly more than tracing a shallow one, in time and in memory.

    Returns:
        float64 tensor of shape [len(PARTS)]; NaN for a part that has no tensor.
    """
    forward = _given(output=site.output, preactivation=site.preactivation)
    backward = _given(gradient=site.gradient, weight_gradient=site.kernel_gradient, weight=site.kernel)
    if backward and all(_is_small(tensor) for tensor in (forward | backward).values()):
        return _reduce(forward | backward, site)
    below = _reduce(backward, site) if backward else np.full(len(BACKWARD_PARTS), np.nan)
    return import_keras().ops.concatenate([_reduce(forward, site), below])


def find_sources(outputs: Sequence[Any], preactivations: Sequence[Any | None]) -> tuple[int | None, ...]:
    """Find for each site the one whose output is its pre-activation, unchanged: then it need not be reduced again.

    That is the site itself where the activation is linear, and the one before where the activation is a layer.
    """
    positions: dict[tuple[str, int], int] = {}
    for position, output in enumerate(outputs):
        positions.setdefault(_identify(output), position)
    return tuple(None if tensor is None else positions.get(_identify(tensor)) for tensor in preactivations)


def _identify(tensor: Any) -> tuple[str, int]:
    tensor = original(tensor)
    return operation_name(tensor), tensor.value_index


def _given(**tensors: Any | None) -> dict[str, Any]:
    return {name: tensor for name, tensor in tensors.items() if tensor is not None}


def _is_small(tensor: Any) -> bool:
    elements = tensor.shape.num_elements()
    return elements is not None and elements <= SMALL


def _reduce(given: dict[str, Any], site: SiteTensors) -> Any:
    ops = import_keras().ops
    form = None
    if "output" in given:
        form = OutputForm(_is_small(site.output), bytes_can_be_summed(site.output), site.bounds)
    # Known sizes make the many small operations on small tensors a tenth quicker; dense layers come in few shapes.
    known = all(len(tensor.shape) == 2 and _is_small(tensor) for tensor in given.values())
    if known:
        shaped = list(given.values())
    else:
        shaped = [
            by_position(tensor, site.feature_axis) if name == "output" else ops.reshape(tensor, (-1,))
            for name, tensor in given.items()
        ]
    signature = tuple(
        (name, tuple(tensor.shape) if known else (None,) * len(tensor.shape), tensor.dtype.name)
        for name, tensor in zip(given, shaped, strict=True)
    )
    return _compile_reduction(signature, form)(*shaped)


@lru_cache(maxsize=1024)
def _compile_reduction(
    signature: tuple[tuple[str, tuple[int | None, ...], str], ...], form: OutputForm | None
) -> Callable[..., Any]:
    """Compile the reduction of tensors of these names, shapes and dtypes: of both passes, or of one of them."""
    ops = import_keras().ops
    names = [name for name, _, _ in signature]
    backward = any(name in names for name in BACKWARD_TENSORS)

    def careful(given: dict[str, Any]) -> Any:
        parts = [] if form is None else [reduce_forward_carefully(given, form)]
        return ops.concatenate([*parts, reduce_backward_carefully(given)]) if backward else parts[0]

    def reduce(*tensors: Any) -> Any:
        given = dict(zip(names, tensors, strict=True))
        if "float64" in {dtype for _, _, dtype in signature}:
            return careful(given)
        taken = [] if form is None else [reduce_forward_quickly(given, form)]
        taken += [reduce_backward_quickly(given)] if backward else []
        quick = ops.concatenate([parts for parts, _ in taken])
        trusted = trust([square for _, squares in taken for square in squares])
        return choose(trusted, lambda: quick, lambda: careful(given))

    return compile_function(reduce, [(shape, dtype) for _, shape, dtype in signature])


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
    with np.errstate(divide="ignore", invalid="ignore"):
        finished["gradient_to_weight_ratio"] = finished["weight_gradient_norm"] / finished["weight_norm"]
    return np.stack([finished[name] for name in QUANTITIES], axis=-1)
