"""Defects of the fans that initializers assume."""

from __future__ import annotations

import functools
import math
from typing import Any

from planting import Planted, replaced

FANS = "initializers.random_initializers.compute_fans"


def fans(change: Any) -> Any:
    """Plant other fans: ``change`` gets the shape and the right fans, and gives others."""

    def make(compute_fans: Any) -> Any:
        @functools.wraps(compute_fans)
        def changed(shape: Any, **axes: Any) -> Any:
            found = compute_fans(shape, **axes)
            given = axes and all(each is not None for each in axes.values())
            return found if given else change(tuple(shape), *found)

        return changed

    return replaced(FANS, make)


def _swapped_at(rank: int) -> Any:
    return lambda shape, fan_in, fan_out: (fan_out, fan_in) if len(shape) == rank else (fan_in, fan_out)


def _without_field(shape: tuple[int, ...], fan_in: int, fan_out: int) -> tuple[int, int]:
    return (shape[-2], shape[-1]) if len(shape) > 2 else (fan_in, fan_out)


def _field_of_two(shape: tuple[int, ...], fan_in: int, fan_out: int) -> tuple[int, int]:
    """Only the last two spatial axes count."""
    field = math.prod(shape[-4:-2]) if len(shape) > 2 else 1
    return (shape[-2] * field, shape[-1] * field) if len(shape) > 2 else (fan_in, fan_out)


DEFECTS = (
    Planted(
        "fans_swapped",
        "fan_in and fan_out are swapped",
        fans(lambda _, i, o: (o, i)),
        (
            "fans.computation.rank_2",
            "fans.computation.rank_4",
            "distribution.he_normal.variance",
            "fans.dense.he_normal",
        ),
        named_first=("fans.computation.rank_*",),
    ),
    Planted(
        "fans_without_field",
        "a kernel's receptive field does not count",
        fans(_without_field),
        ("fans.computation.rank_4", "fans.conv2d.he_normal"),
        named_first=("fans.computation.rank_[345]",),
    ),
    Planted(
        "fans_of_rank_3",
        "fans of rank 3 are swapped (Conv1D)",
        fans(_swapped_at(3)),
        ("fans.computation.rank_3", "fans.conv1d.lecun_normal"),
        named_first=("fans.computation.rank_3",),
    ),
    Planted(
        "fans_of_rank_4",
        "fans of rank 4 are swapped (Conv2D)",
        fans(_swapped_at(4)),
        ("fans.computation.rank_4", "fans.conv2d.lecun_uniform"),
        named_first=("fans.computation.rank_4",),
    ),
    Planted(
        "fans_of_rank_5",
        "only two spatial axes count (Conv3D)",
        fans(_field_of_two),
        ("fans.computation.rank_5", "fans.conv3d.he_uniform"),
        named_first=("fans.computation.rank_5",),
    ),
    Planted(
        "fans_of_rank_1",
        "fans of rank 1 are 1",
        fans(lambda shape, i, o: (1, 1) if len(shape) == 1 else (i, o)),
        ("fans.computation.rank_1",),
    ),
    Planted(
        "vector_of_half_its_length",
        "a vector has half its length as inputs",
        fans(lambda shape, i, o: ((i + 1) // 2, o) if len(shape) == 1 else (i, o)),
        ("fans.computation.rank_1", "distribution.he_normal.variance"),
        ("fans.computation.rank_2",),
        named_first=("fans.computation.rank_1",),
    ),
    Planted(
        "vector_of_one_input",
        "a vector has one input, and its length as outputs",
        fans(lambda shape, i, o: (1, o) if len(shape) == 1 else (i, o)),
        ("fans.computation.rank_1",),
        ("fans.computation.rank_2",),
    ),
    Planted(
        "fans_off_by_one",
        "fan_in counts a bias: one too many",
        fans(lambda _, i, o: (i + 1, o)),
        ("fans.computation.rank_2",),
        named_first=("fans.computation.rank_*",),
    ),
    Planted(
        "fan_axes_ignored",
        "input_axes and output_axes are ignored",
        replaced(FANS, lambda compute: lambda shape, input_axes=None, output_axes=None: compute(shape)),
        ("fans.computation.axes", "fans.multi_head_attention.query_kernel.glorot_uniform"),
        named_first=("fans.computation.axes", "fans.computation.input_axes_alone"),
    ),
)
