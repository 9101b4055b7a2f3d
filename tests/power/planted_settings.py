"""Defects of arguments, of names and of configurations."""

from __future__ import annotations

import functools
from typing import Any

from planted_fans import FANS
from planting import (
    Planted,
    attribute,
    call_wrapped,
    class_default,
    entry,
    initializer_class,
    method,
    source,
)

from initcheck.backend.runtime import import_keras

SCALING = "initializers.random_initializers.VarianceScaling"


def _call_with(**changed: Any) -> Any:
    """Call VarianceScaling as if some of its attributes were others."""

    def make(call: Any) -> Any:
        @functools.wraps(call)
        def wrapped(self: Any, shape: Any, dtype: Any = None) -> Any:
            before = {name: getattr(self, name) for name in changed}
            for name, value in changed.items():
                setattr(self, name, value(before[name]) if callable(value) else value)
            try:
                return call(self, shape, dtype=dtype)
            finally:
                for name, value in before.items():
                    setattr(self, name, value)

        return wrapped

    return method(SCALING, "__call__", make)


def _average(function: Any) -> Any:
    """Let fan_avg be another mean of the two fans."""

    def make(call: Any) -> Any:
        @functools.wraps(call)
        def wrapped(self: Any, shape: Any, dtype: Any = None) -> Any:
            drawn = call(self, shape, dtype=dtype)
            if self.mode != "fan_avg" or len(shape) < 2:
                return drawn
            fan_in, fan_out = initializer_fans(shape, self)
            return drawn * ((fan_in + fan_out) / 2.0 / function(fan_in, fan_out)) ** 0.5

        return wrapped

    return method(SCALING, "__call__", make)


def initializer_fans(shape: Any, initializer: Any) -> tuple[int, int]:
    found: tuple[int, int] = source(FANS)(shape, initializer.input_axes, initializer.output_axes)
    return found


ARGUMENTS = (
    Planted(
        "mode_ignored",
        "VarianceScaling always scales by fan_in",
        _call_with(mode="fan_in"),
        (
            "distribution.variance_scaling_fan_out_uniform.variance",
            "distribution.glorot_uniform.variance",
        ),
    ),
    Planted(
        "scale_ignored",
        "VarianceScaling ignores its scale",
        _call_with(scale=1.0),
        ("distribution.he_normal.variance",),
    ),
    Planted(
        "scale_squared",
        "VarianceScaling squares its scale",
        _call_with(scale=lambda s: s * s),
        ("distribution.he_normal.variance",),
    ),
    Planted(
        "distribution_ignored",
        "VarianceScaling always truncates",
        _call_with(distribution="truncated_normal"),
        (
            "distribution.variance_scaling_fan_in_uniform.distribution",
            "distribution.he_uniform.distribution",
        ),
    ),
    Planted(
        "untruncated_is_truncated",
        "untruncated_normal is truncated",
        _call_with(distribution=lambda d: "truncated_normal" if d == "untruncated_normal" else d),
        (
            "distribution.variance_scaling_fan_in_untruncated_normal.distribution",
            "distribution.variance_scaling_fan_in_untruncated_normal.support",
        ),
    ),
    Planted(
        "fan_avg_is_sum",
        "fan_avg is the sum of the fans",
        _average(lambda i, o: i + o),
        ("distribution.glorot_uniform.variance",),
    ),
    Planted(
        "fan_avg_is_geometric",
        "fan_avg is the root of their product",
        _average(lambda i, o: (i * o) ** 0.5),
        (
            "distribution.glorot_uniform.variance",
            "distribution.glorot_normal.variance",
        ),
    ),
    Planted(
        "stddev_ignored",
        "RandomNormal ignores its standard deviation",
        call_wrapped(
            "RandomNormal", lambda call: lambda self, shape, dtype=None: call(self, shape, dtype) * (0.05 / self.stddev)
        ),
        ("distribution.random_normal_with_arguments.variance",),
    ),
    Planted(
        "mean_ignored",
        "RandomNormal ignores its mean",
        call_wrapped("RandomNormal", lambda call: lambda self, shape, dtype=None: call(self, shape, dtype) - self.mean),
        ("distribution.random_normal_with_arguments.mean",),
    ),
    Planted(
        "minval_ignored",
        "RandomUniform is symmetric about zero whatever its minval",
        call_wrapped(
            "RandomUniform",
            lambda call: lambda self, shape, dtype=None: call(self, shape, dtype) - (self.minval + self.maxval) / 2.0,
        ),
        ("distribution.random_uniform_with_arguments.mean",),
    ),
    Planted(
        "default_stddev",
        "RandomNormal's default is .01",
        class_default("RandomNormal", stddev=0.01),
        (
            "determinism.random_normal.defaults",
            "distribution.random_normal.variance",
        ),
    ),
    Planted(
        "default_stddev_truncated",
        "TruncatedNormal's is .02",
        class_default("TruncatedNormal", stddev=0.02),
        (
            "determinism.truncated_normal.defaults",
            "distribution.truncated_normal.variance",
        ),
    ),
    Planted(
        "default_minval",
        "RandomUniform's default is U(0, .05)",
        class_default("RandomUniform", minval=0.0),
        (
            "determinism.random_uniform.defaults",
            "distribution.random_uniform.mean",
        ),
    ),
    Planted(
        "default_mode",
        "VarianceScaling's is fan_avg",
        class_default("VarianceScaling", mode="fan_avg"),
        (
            "determinism.variance_scaling.defaults",
            "distribution.variance_scaling.variance",
        ),
    ),
    Planted(
        "default_gain",
        "Orthogonal's default gain is sqrt(2)",
        class_default("Orthogonal", gain=2.0**0.5),
        (
            "determinism.orthogonal.defaults",
            "distribution.orthogonal.orthonormal",
        ),
    ),
    Planted(
        "default_value",
        "Constant's default is .1",
        class_default("Constant", value=0.1),
        (
            "determinism.constant.defaults",
            "distribution.constant.values",
        ),
    ),
)


def without(class_name: str, *arguments: str) -> Any:
    """Leave arguments out of the configuration."""

    def wrap(get_config: Any) -> Any:
        return lambda self: {key: value for key, value in get_config(self).items() if key not in arguments}

    return call_wrapped(class_name, wrap, "get_config")


def _from_config_without(class_name: str, argument: str) -> Any:
    def planted() -> Any:
        def from_config(cls: Any, config: Any) -> Any:
            return cls(**{key: value for key, value in config.items() if key != argument})

        return attribute(initializer_class(class_name), "from_config", classmethod(from_config))

    return planted


CONFIGURATIONS = (
    Planted(
        "config_without_seed",
        "GlorotUniform's configuration lacks the seed",
        without("GlorotUniform", "seed"),
        ("determinism.glorot_uniform.config_round_trip",),
    ),
    Planted(
        "config_without_scale",
        "VarianceScaling's lacks the scale",
        without("VarianceScaling", "scale"),
        ("determinism.variance_scaling_fan_in_uniform.config_round_trip",),
    ),
    Planted(
        "config_without_mode",
        "VarianceScaling's lacks the mode",
        without("VarianceScaling", "mode"),
        ("determinism.variance_scaling_fan_out_uniform.config_round_trip",),
    ),
    Planted(
        "config_without_gain",
        "Orthogonal's lacks the gain",
        without("Orthogonal", "gain"),
        ("determinism.orthogonal.config_round_trip",),
    ),
    Planted(
        "config_without_stddev",
        "RandomNormal's lacks stddev",
        without("RandomNormal", "stddev"),
        ("determinism.random_normal.config_round_trip",),
    ),
    Planted(
        "config_without_axes",
        "HeNormal's lacks the axes",
        without("HeNormal", "input_axes", "output_axes"),
        ("determinism.he_normal.config_round_trip",),
    ),
    Planted(
        "from_config_without_minval",
        "RandomUniform ignores minval",
        _from_config_without("RandomUniform", "minval"),
        ("determinism.random_uniform.config_round_trip",),
    ),
    Planted(
        "from_config_without_seed",
        "HeNormal.from_config ignores seed",
        _from_config_without("HeNormal", "seed"),
        ("determinism.he_normal.config_round_trip",),
    ),
)


def _named(**classes: str) -> Any:
    return lambda: entry(
        "initializers.ALL_OBJECTS_DICT", **{name: initializer_class(other) for name, other in classes.items()}
    )()


def _exported(name: str, other: str) -> Any:
    return lambda: attribute(import_keras().initializers, name, initializer_class(other))


NAMES = (
    Planted(
        "name_he_normal",
        "the name 'he_normal' gives HeUniform",
        _named(he_normal="HeUniform"),
        ("determinism.he_normal.aliases",),
    ),
    Planted(
        "name_lecun_normal",
        "the name 'lecun_normal' gives GlorotNormal",
        _named(lecun_normal="GlorotNormal"),
        ("determinism.lecun_normal.aliases",),
    ),
    Planted(
        "name_uniform",
        "the name 'uniform' gives GlorotUniform",
        _named(uniform="GlorotUniform"),
        ("determinism.random_uniform.aliases",),
    ),
    Planted("name_zeros", "the name 'zeros' gives Ones", _named(zeros="Ones"), ("determinism.zeros.aliases",)),
    Planted(
        "exported_he_uniform",
        "keras.initializers.he_uniform is HeNormal",
        _exported("he_uniform", "HeNormal"),
        ("determinism.he_uniform.aliases",),
    ),
)

DEFECTS = (*ARGUMENTS, *CONFIGURATIONS, *NAMES)
