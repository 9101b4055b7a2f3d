"""Values that Keras' initializers give for one seed on TensorFlow, pinned to notice a change between versions."""

from __future__ import annotations

from typing import Any, Final

PINNED: Final[tuple[tuple[str, str, tuple[tuple[str, Any], ...], tuple[float, ...]], ...]] = (
    ("random_normal", "RandomNormal", (("stddev", 1.0),), (0.015817076, -1.5900869, 0.10359446, 0.81174594)),
    (
        "random_uniform",
        "RandomUniform",
        (("minval", 0.0), ("maxval", 1.0)),
        (0.28243315, 0.4984169, 0.7154585, 0.02020204),
    ),
    ("truncated_normal", "TruncatedNormal", (("stddev", 1.0),), (0.015817076, -1.5900869, 0.10359446, 0.81174594)),
    ("variance_scaling", "VarianceScaling", (), (0.010381681, -1.043668, 0.06799516, 0.5327968)),
    ("glorot_normal", "GlorotNormal", (), (0.009611569, -0.9662488, 0.06295129, 0.493274)),
    ("glorot_uniform", "GlorotUniform", (), (-0.40285552, -0.0029313564, 0.39895165, -0.8884132)),
    ("he_normal", "HeNormal", (), (0.014681915, -1.4759694, 0.09615968, 0.7534885)),
    ("he_uniform", "HeUniform", (), (-0.61537194, -0.0044777393, 0.60940874, -1.3570735)),
    ("lecun_normal", "LecunNormal", (), (0.010381681, -1.043668, 0.06799516, 0.5327968)),
    ("lecun_uniform", "LecunUniform", (), (-0.4351337, -0.0031661987, 0.43091702, -0.9595959)),
    ("orthogonal", "Orthogonal", (), (0.007243991, 0.37176356, 0.30415645, 0.8770567)),
    (
        "variance_scaling_fan_in_truncated_normal",
        "VarianceScaling",
        (("mode", "fan_in"), ("distribution", "truncated_normal")),
        (0.010381681, -1.043668, 0.06799516, 0.5327968),
    ),
    (
        "variance_scaling_fan_in_untruncated_normal",
        "VarianceScaling",
        (("mode", "fan_in"), ("distribution", "untruncated_normal")),
        (0.009131993, -0.9180371, 0.05981029, 0.46866173),
    ),
    (
        "variance_scaling_fan_in_uniform",
        "VarianceScaling",
        (("mode", "fan_in"), ("distribution", "uniform")),
        (-0.4351337, -0.0031661987, 0.43091702, -0.9595959),
    ),
    (
        "variance_scaling_fan_out_truncated_normal",
        "VarianceScaling",
        (("mode", "fan_out"), ("distribution", "truncated_normal")),
        (0.0089908, -0.903843, 0.058885537, 0.46141556),
    ),
    (
        "variance_scaling_fan_out_untruncated_normal",
        "VarianceScaling",
        (("mode", "fan_out"), ("distribution", "untruncated_normal")),
        (0.007908538, -0.79504347, 0.05179723, 0.40587297),
    ),
    (
        "variance_scaling_fan_out_uniform",
        "VarianceScaling",
        (("mode", "fan_out"), ("distribution", "uniform")),
        (-0.37683684, -0.0027419925, 0.3731851, -0.8310344),
    ),
    (
        "variance_scaling_fan_avg_truncated_normal",
        "VarianceScaling",
        (("mode", "fan_avg"), ("distribution", "truncated_normal")),
        (0.009611569, -0.9662488, 0.06295129, 0.493274),
    ),
    (
        "variance_scaling_fan_avg_untruncated_normal",
        "VarianceScaling",
        (("mode", "fan_avg"), ("distribution", "untruncated_normal")),
        (0.008454583, -0.8499372, 0.055373568, 0.43389645),
    ),
    (
        "variance_scaling_fan_avg_uniform",
        "VarianceScaling",
        (("mode", "fan_avg"), ("distribution", "uniform")),
        (-0.40285552, -0.0029313564, 0.39895165, -0.8884132),
    ),
)
"""Constructor, class, arguments, and the first entries of a float32 weight of shape (3, 4) with seed 42.

Recorded once from Keras 3.15.1 and TensorFlow 2.21 on a CPU: TensorFlow's stateless generators (Philox) promise the
same values for the same seed in every version. Other backends give other values.
"""
