"""Defects of arguments, of names and of configurations."""

from __future__ import annotations

import functools
from typing import Any
from unittest import mock

from keras_features import HAS_AXES
from planted_fans import FANS
from planting import Plant, Planted, call_wrapped, class_default, initializer_class, replaced, slug, source

from initcheck.backend.runtime import import_keras

SCALING = "initializers.random_initializers.VarianceScaling"


def _call_with(**changed: Any) -> Any:
    """Call VarianceScaling as if some of its attributes were others."""

    def make(call: Any) -> Any:
        @functools.wraps(call)
        def wrapped(self: Any, shape: Any, dtype: Any = None) -> Any:
            others = {name: new(getattr(self, name)) if callable(new) else new for name, new in changed.items()}
            with mock.patch.multiple(self, **others):
                return call(self, shape, dtype=dtype)

        return wrapped

    return replaced(f"{SCALING}.__call__", make)


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

    return replaced(f"{SCALING}.__call__", make)


def initializer_fans(shape: Any, initializer: Any) -> tuple[int, int]:
    axes = (initializer.input_axes, initializer.output_axes) if HAS_AXES else ()
    found: tuple[int, int] = source(FANS)(shape, *axes)
    return found


def _default(name: str, note: str, class_name: str, quantity: str, **changed: Any) -> Planted:
    """A default of another value, and the property of the weights that shows it."""
    claims = (f"determinism.{slug(class_name)}.defaults", f"distribution.{slug(class_name)}.{quantity}")
    return Planted(name, note, class_default(class_name, **changed), claims, named_first=claims[:1])


ARGUMENTS = (
    Planted(
        "mode_ignored",
        "VarianceScaling always scales by fan_in",
        _call_with(mode="fan_in"),
        ("distribution.variance_scaling_fan_out_uniform.variance", "distribution.glorot_uniform.variance"),
        named_first=(
            "fans.computation.modes",
            "distribution.variance_scaling_fan_out_*.variance",
            "distribution.variance_scaling_fan_avg_*.variance",
        ),
    ),
    Planted(
        "scale_ignored",
        "VarianceScaling ignores its scale",
        _call_with(scale=1.0),
        ("distribution.he_normal.variance",),
        named_first=("distribution.variance_scaling_*.variance", "determinism.variance_scaling*.arguments"),
    ),
    Planted(
        "scale_squared",
        "VarianceScaling squares its scale",
        _call_with(scale=lambda s: s * s),
        ("distribution.he_normal.variance",),
        named_first=("distribution.variance_scaling_*.variance", "determinism.variance_scaling*.arguments"),
    ),
    Planted(
        "distribution_ignored",
        "VarianceScaling always truncates",
        _call_with(distribution="truncated_normal"),
        ("distribution.variance_scaling_fan_in_uniform.distribution", "distribution.he_uniform.distribution"),
        named_first=(
            "distribution.variance_scaling_*_uniform.distribution",
            "distribution.variance_scaling_*_untruncated_normal.distribution",
            "distribution.variance_scaling_*_uniform.support",
            "distribution.variance_scaling_*_untruncated_normal.support",
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
        named_first=(
            "distribution.variance_scaling_*_untruncated_normal.distribution",
            "distribution.variance_scaling_*_untruncated_normal.support",
            "distribution.variance_scaling_*_untruncated_normal.tails",
        ),
    ),
    Planted(
        "fan_avg_is_sum",
        "fan_avg is the sum of the fans",
        _average(lambda i, o: i + o),
        ("distribution.glorot_uniform.variance",),
        named_first=("fans.computation.modes", "distribution.variance_scaling_fan_avg_*.variance"),
    ),
    Planted(
        "fan_avg_is_geometric",
        "fan_avg is the root of their product",
        _average(lambda i, o: (i * o) ** 0.5),
        ("distribution.glorot_uniform.variance", "distribution.glorot_normal.variance"),
        named_first=("fans.computation.modes", "distribution.variance_scaling_fan_avg_*.variance"),
    ),
    Planted(
        "stddev_ignored",
        "RandomNormal ignores its standard deviation",
        call_wrapped(
            "RandomNormal",
            lambda call: (
                lambda self, shape, dtype=None: (
                    self.mean + (call(self, shape, dtype) - self.mean) * (0.05 / self.stddev)
                )
            ),
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
    _default("default_stddev", "RandomNormal's default is .01", "RandomNormal", "variance", stddev=0.01),
    _default("default_stddev_truncated", "TruncatedNormal's is .02", "TruncatedNormal", "variance", stddev=0.02),
    _default("default_minval", "RandomUniform's default is U(0, .05)", "RandomUniform", "mean", minval=0.0),
    _default("default_mode", "VarianceScaling's is fan_avg", "VarianceScaling", "variance", mode="fan_avg"),
    _default("default_gain", "Orthogonal's default gain is sqrt(2)", "Orthogonal", "orthonormal", gain=2.0**0.5),
    _default("default_value", "Constant's default is .1", "Constant", "values", value=0.1),
)


def _without(class_name: str, *arguments: str) -> Plant:
    """Leave arguments out of the configuration."""

    def wrap(get_config: Any) -> Any:
        return lambda self: {key: value for key, value in get_config(self).items() if key not in arguments}

    return call_wrapped(class_name, wrap, "get_config")


def _from_config_without(class_name: str, argument: str) -> Plant:
    def from_config(cls: Any, config: Any) -> Any:
        return cls(**{key: value for key, value in config.items() if key != argument})

    return lambda: mock.patch.object(initializer_class(class_name), "from_config", classmethod(from_config))


def _config(name: str, note: str, subject: str, plant: Plant) -> Planted:
    return Planted(name, note, plant, (f"determinism.{subject}.config_round_trip",))


CONFIGURATIONS = (
    _config(
        "config_without_seed",
        "GlorotUniform's configuration lacks the seed",
        "glorot_uniform",
        _without("GlorotUniform", "seed"),
    ),
    _config(
        "config_without_scale",
        "VarianceScaling's lacks the scale",
        "variance_scaling_fan_in_uniform",
        _without("VarianceScaling", "scale"),
    ),
    _config(
        "config_without_mode",
        "VarianceScaling's lacks the mode",
        "variance_scaling_fan_out_uniform",
        _without("VarianceScaling", "mode"),
    ),
    _config("config_without_gain", "Orthogonal's lacks the gain", "orthogonal", _without("Orthogonal", "gain")),
    _config(
        "config_without_stddev", "RandomNormal's lacks stddev", "random_normal", _without("RandomNormal", "stddev")
    ),
    _config(
        "config_without_axes",
        "HeNormal's lacks the axes",
        "he_normal",
        _without("HeNormal", "input_axes", "output_axes"),
    ),
    _config(
        "from_config_without_minval",
        "RandomUniform ignores minval",
        "random_uniform",
        _from_config_without("RandomUniform", "minval"),
    ),
    _config(
        "from_config_without_seed",
        "HeNormal.from_config ignores seed",
        "he_normal",
        _from_config_without("HeNormal", "seed"),
    ),
)


def _named(name: str, subject: str, other: str) -> Planted:
    def plant() -> Any:
        return mock.patch.dict(source("initializers.ALL_OBJECTS_DICT"), {name: initializer_class(other)})

    return Planted(f"name_{name}", f"the name '{name}' gives {other}", plant, (f"determinism.{subject}.aliases",))


NAMES = (
    _named("he_normal", "he_normal", "HeUniform"),
    _named("lecun_normal", "lecun_normal", "GlorotNormal"),
    _named("uniform", "random_uniform", "GlorotUniform"),
    _named("zeros", "zeros", "Ones"),
    Planted(
        "exported_he_uniform",
        "keras.initializers.he_uniform is HeNormal",
        lambda: mock.patch.object(import_keras().initializers, "he_uniform", initializer_class("HeNormal")),
        ("determinism.he_uniform.aliases",),
    ),
)

DEFECTS = (*ARGUMENTS, *CONFIGURATIONS, *NAMES)
