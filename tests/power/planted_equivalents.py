"""Changes of Keras that break no law: another stream of random numbers, another algorithm, another speed.

Nothing may turn red with them. What is pinned to the present implementation is reported as changed.
"""

from __future__ import annotations

import functools
import time
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
from planting import Planted, call_wrapped, replaced, together

from initcheck.backend.runtime import import_keras

CLASSES = (
    "GlorotNormal GlorotUniform HeNormal HeUniform LecunNormal LecunUniform Orthogonal RandomNormal RandomUniform "
    "TruncatedNormal VarianceScaling"
)
NORMAL, TRUNCATED, UNIFORM = (f"backend.tensorflow.random.{name}" for name in ("normal", "truncated_normal", "uniform"))
Draw = Callable[..., Any]


def _drawn(path: str, change: Callable[[Draw, Any, float, float, Any, Any], Any]) -> Any:
    """Plant another way to draw: the change gets the original, and shape, two parameters, dtype and seed."""

    def make(original: Draw) -> Draw:
        @functools.wraps(original)
        def changed(shape: Any, one: float, other: float, dtype: Any = None, seed: Any = None) -> Any:
            return change(original, shape, one, other, dtype, seed)

        # Keras calls with keywords of its own names.
        names = ("minval", "maxval") if path == UNIFORM else ("mean", "stddev")
        defaults = (0.0, 1.0)

        @functools.wraps(original)
        def called(shape: Any, *given: Any, dtype: Any = None, seed: Any = None, **named: Any) -> Any:
            values = [*given, *(named.get(name, default) for name, default in zip(names, defaults, strict=True))][:2]
            return changed(shape, *values, dtype=dtype, seed=seed)

        return called

    return replaced(path, make)


def _mirrored(path: str) -> Any:
    def change(original: Draw, shape: Any, one: float, other: float, dtype: Any, seed: Any) -> Any:
        ends = one + other if path == UNIFORM else 2.0 * one
        return ends - original(shape, one, other, dtype=dtype, seed=seed)

    return _drawn(path, change)


def _in_float64(path: str) -> Any:
    def change(original: Draw, shape: Any, one: float, other: float, dtype: Any, seed: Any) -> Any:
        keras = import_keras()
        wanted = dtype or keras.config.floatx()
        if wanted != "float32":
            return original(shape, one, other, dtype=dtype, seed=seed)
        return keras.ops.cast(original(shape, one, other, dtype="float64", seed=seed), wanted)

    return _drawn(path, change)


def _transposed(path: str) -> Any:
    def change(original: Draw, shape: Any, one: float, other: float, dtype: Any, seed: Any) -> Any:
        drawn = original(tuple(reversed(shape)), one, other, dtype=dtype, seed=seed)
        return import_keras().ops.transpose(drawn)

    return _drawn(path, change)


def _more_than_asked(path: str) -> Any:
    """Draw more numbers than needed, and leave the first ones out."""

    def change(original: Draw, shape: Any, one: float, other: float, dtype: Any, seed: Any) -> Any:
        count = int(np.prod(shape))
        drawn = original((count + 100,), one, other, dtype=dtype, seed=seed)
        return import_keras().ops.reshape(drawn[100:], shape)

    return _drawn(path, change)


def _by_inverse(original: Draw, shape: Any, mean: float, stddev: float, dtype: Any, seed: Any) -> Any:
    """Draw normal numbers by the inverse of the distribution function."""
    keras = import_keras()
    wanted = dtype or keras.config.floatx()
    uniform = keras.src.backend.random.uniform(shape, -1.0, 1.0, dtype="float64", seed=seed)
    # 2^-53 off the ends, where the inverse is infinite.
    inside = keras.ops.clip(uniform, -1.0 + 2.0**-52, 1.0 - 2.0**-52)
    return keras.ops.cast(mean + stddev * np.sqrt(2.0) * keras.ops.erfinv(inside), wanted)


def _polar(call: Any) -> Any:
    """Take the polar factor of a normal matrix, which has the Haar distribution too, in place of its QR factor."""

    @functools.wraps(call)
    def changed(self: Any, shape: Any, dtype: Any = None) -> Any:
        # Of narrower dtypes there is no QR factorization, and a refusal is claimed.
        if len(shape) < 2 or (dtype or "float32") not in ("float32", "float64"):
            return call(self, shape, dtype=dtype)
        keras = import_keras()
        rows, columns = int(np.prod(shape[:-1])), shape[-1]
        normal = keras.src.backend.random.normal((rows, columns), dtype="float64", seed=self.seed)
        left, _, right = keras.ops.svd(normal, full_matrices=False)
        return keras.ops.cast(self.gain * keras.ops.reshape(left @ right, shape), dtype or keras.config.floatx())

    return changed


def _of_transpose(call: Any) -> Any:
    """Factorize the transposed matrix: rows first and not columns, another order of the same distribution."""

    @functools.wraps(call)
    def changed(self: Any, shape: Any, dtype: Any = None) -> Any:
        if len(shape) != 2:
            return call(self, shape, dtype=dtype)
        return import_keras().ops.transpose(call(self, tuple(reversed(shape)), dtype=dtype))

    return changed


def _slower(call: Any) -> Any:
    @functools.wraps(call)
    def changed(self: Any, *given: Any, **named: Any) -> Any:
        time.sleep(1e-4)
        return call(self, *given, **named)

    return changed


def _with_attribute(init: Any) -> Any:
    @functools.wraps(init)
    def changed(self: Any, *given: Any, **named: Any) -> None:
        init(self, *given, **named)
        self.note_of_a_later_version = ("anything", 1)

    return changed


def _config_reordered(get_config: Any) -> Any:
    @functools.wraps(get_config)
    def changed(self: Any) -> Any:
        return dict(reversed(get_config(self).items()))

    return changed


def _other_stream(cast: Any) -> Any:
    """Change the seeds on their way to the generator, one to one: whoever asks gets other numbers."""

    @functools.wraps(cast)
    def changed(seed: Any) -> Any:
        return import_keras().ops.bitwise_xor(cast(seed), 0x2A5F1B7)

    return changed


def _by_class(init: Any) -> Any:
    """Give every class a stream of its own: its seeds are other ones, one to one."""

    @functools.wraps(init)
    def changed(self: Any, seed: Any = None) -> None:
        own = zlib.crc32(type(self).__name__.encode()) % 2**24
        init(self, seed ^ own if isinstance(seed, int) else seed)
        self._init_seed = seed

    return changed


def _by_shape(path: str) -> Any:
    """Give every shape a stream of its own."""

    def change(original: Draw, shape: Any, one: float, other: float, dtype: Any, seed: Any) -> Any:
        own = zlib.crc32(str(tuple(shape)).encode()) % 2**24
        return original(shape, one, other, dtype=dtype, seed=seed ^ own if isinstance(seed, int) else seed)

    return _drawn(path, change)


EQUIVALENTS = tuple(
    Planted(name, note, plant, ())
    for name, note, plant in (
        (
            "other_stream",
            "all seeds give other numbers",
            replaced("backend.tensorflow.random._cast_seed", _other_stream),
        ),
        ("mirrored_normals", "normal numbers with the other sign", _mirrored(NORMAL)),
        ("mirrored_truncated", "truncated normal numbers with the other sign", _mirrored(TRUNCATED)),
        ("mirrored_uniforms", "uniform numbers counted from the other end", _mirrored(UNIFORM)),
        ("normals_in_float64", "normal numbers drawn in float64, then rounded", _in_float64(NORMAL)),
        ("truncated_in_float64", "truncated normal numbers drawn in float64, then rounded", _in_float64(TRUNCATED)),
        ("uniforms_in_float64", "uniform numbers drawn in float64, then rounded", _in_float64(UNIFORM)),
        ("normals_by_inverse", "normal numbers by the inverse distribution function", _drawn(NORMAL, _by_inverse)),
        (
            "columns_first",
            "numbers put into the weight column by column",
            together(*map(_transposed, (NORMAL, TRUNCATED, UNIFORM))),
        ),
        (
            "numbers_left_out",
            "the first hundred numbers of each draw left out",
            together(*map(_more_than_asked, (NORMAL, TRUNCATED, UNIFORM))),
        ),
        ("polar_factor", "Orthogonal by the polar factor of a normal matrix", call_wrapped("Orthogonal", _polar)),
        (
            "factor_of_transpose",
            "Orthogonal factorizes the transposed matrix",
            call_wrapped("Orthogonal", _of_transpose),
        ),
        (
            "streams_by_class",
            "every class has a stream of its own",
            replaced("initializers.random_initializers.RandomInitializer.__init__", _by_class),
        ),
        (
            "streams_by_shape",
            "every shape has a stream of its own",
            together(*map(_by_shape, (NORMAL, TRUNCATED, UNIFORM))),
        ),
        ("slower", "every call takes longer", call_wrapped(CLASSES, _slower)),
        ("more_attributes", "instances with an attribute more", call_wrapped(CLASSES, _with_attribute, "__init__")),
        (
            "other_order_of_config",
            "configurations in another order",
            call_wrapped(CLASSES, _config_reordered, "get_config"),
        ),
    )
)
"""The changes; no claim may catch one."""
