"""What Keras documents of the initializers' constructors: arguments with their defaults, and the names they go by."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any, Final

Arguments = tuple[tuple[str, Any], ...]
"""Names and values; a list of axes is a tuple here, because experiments are hashable."""

_AXES: Final[Arguments] = (("input_axes", (0,)), ("output_axes", (1, 2)))


@dataclass(frozen=True)
class Constructor:
    """A constructor of initializers, or one of VarianceScaling's modes.

    Attributes:
        slug: the subject in the ids of claims.
        class_name: the class in ``keras.initializers``.
        defaults: the documented arguments of the constructor, in their order, with their defaults.
        aliases: the strings that name it.
        others: a value unlike the default for every argument but the seed.
        arguments: what the subject itself fixes.
        shape: of the weights that are drawn.
        changed_shape: of those drawn with ``others``.
    """

    slug: str
    class_name: str
    defaults: Arguments
    aliases: tuple[str, ...]
    others: Arguments
    arguments: Arguments = ()
    shape: tuple[int, ...] = (24, 40)
    changed_shape: tuple[int, ...] = (24, 40)

    @property
    def random(self) -> bool:
        """Whether it draws its values, and takes a seed."""
        return ("seed", None) in self.defaults

    @property
    def source(self) -> str:
        """Where it is documented."""
        return f"Keras, keras.initializers.{self.class_name}"


def _scaled(class_name: str, slug: str) -> Constructor:
    defaults = (("seed", None), ("input_axes", None), ("output_axes", None))
    return Constructor(slug, class_name, defaults, (class_name, slug), _AXES, changed_shape=(6, 4, 5))


def _scaling(slug: str, **arguments: Any) -> Constructor:
    fixed = tuple(arguments.items())
    return Constructor(
        slug,
        "VarianceScaling",
        (
            ("scale", 1.0),
            ("mode", "fan_in"),
            ("distribution", "truncated_normal"),
            ("seed", None),
            ("input_axes", None),
            ("output_axes", None),
        ),
        ("VarianceScaling", "variance_scaling"),
        (("scale", 1.7), *(fixed or (("mode", "fan_avg"), ("distribution", "uniform"))), *_AXES),
        fixed,
        changed_shape=(6, 4, 5),
    )


FIXED: Final = (
    Constructor("zeros", "Zeros", (), ("Zeros", "zeros", "zero"), ()),
    Constructor("ones", "Ones", (), ("Ones", "ones", "one"), ()),
    Constructor("constant", "Constant", (("value", 0.0),), ("Constant", "constant"), (("value", 0.37),)),
    Constructor(
        "identity",
        "Identity",
        (("gain", 1.0),),
        ("Identity", "identity", "IdentityInitializer"),
        (("gain", 1.7),),
    ),
    Constructor(
        "stft",
        "STFT",
        (("side", "real"), ("window", "hann"), ("scaling", "density"), ("periodic", False)),
        ("STFT", "stft", "STFTInitializer"),
        (("side", "imag"), ("window", "hamming"), ("scaling", "spectrum"), ("periodic", True)),
        shape=(16, 1, 9),
        changed_shape=(16, 1, 9),
    ),
)
"""The initializers that leave nothing to chance."""

CLASSES: Final = (
    *FIXED,
    Constructor(
        "random_normal",
        "RandomNormal",
        (("mean", 0.0), ("stddev", 0.05), ("seed", None)),
        ("RandomNormal", "random_normal", "normal"),
        (("mean", 0.3), ("stddev", 0.2)),
    ),
    Constructor(
        "random_uniform",
        "RandomUniform",
        (("minval", -0.05), ("maxval", 0.05), ("seed", None)),
        ("RandomUniform", "random_uniform", "uniform"),
        (("minval", -0.1), ("maxval", 0.3)),
    ),
    Constructor(
        "truncated_normal",
        "TruncatedNormal",
        (("mean", 0.0), ("stddev", 0.05), ("seed", None)),
        ("TruncatedNormal", "truncated_normal"),
        (("mean", -0.3), ("stddev", 0.2)),
    ),
    _scaling("variance_scaling"),
    _scaled("GlorotNormal", "glorot_normal"),
    _scaled("GlorotUniform", "glorot_uniform"),
    _scaled("HeNormal", "he_normal"),
    _scaled("HeUniform", "he_uniform"),
    _scaled("LecunNormal", "lecun_normal"),
    _scaled("LecunUniform", "lecun_uniform"),
    Constructor(
        "orthogonal",
        "Orthogonal",
        (("gain", 1.0), ("seed", None)),
        ("Orthogonal", "orthogonal", "OrthogonalInitializer"),
        (("gain", 1.5),),
    ),
)
"""One subject a class, with its default arguments."""

MODES: Final = tuple(
    _scaling(f"variance_scaling_{mode}_{distribution}", mode=mode, distribution=distribution)
    for mode, distribution in itertools.product(
        ("fan_in", "fan_out", "fan_avg"), ("truncated_normal", "untruncated_normal", "uniform")
    )
)
"""VarianceScaling in all of its modes and distributions."""

ALL: Final = (*CLASSES, *MODES)
RANDOM: Final = tuple(subject for subject in ALL if subject.random)
