"""The initializers of Keras that the specification speaks of, each with its place in the documentation."""

from __future__ import annotations

import itertools
from typing import Any, Final

from initcheck.claims.sampling import Subject
from initcheck.initializers import InitializerSpec


def _subject(slug: str, class_name: str, **arguments: Any) -> Subject:
    return Subject(slug, InitializerSpec(class_name, tuple(arguments.items())))


FAMILY: Final = (
    _subject("glorot_normal", "GlorotNormal"),
    _subject("glorot_uniform", "GlorotUniform"),
    _subject("he_normal", "HeNormal"),
    _subject("he_uniform", "HeUniform"),
    _subject("lecun_normal", "LecunNormal"),
    _subject("lecun_uniform", "LecunUniform"),
)
"""The named initializers that scale with the fans."""

VARIANCE_SCALING: Final = (
    _subject("variance_scaling", "VarianceScaling"),
    *(
        _subject(
            f"variance_scaling_{mode}_{distribution}",
            "VarianceScaling",
            scale=1.7,
            mode=mode,
            distribution=distribution,
        )
        for mode, distribution in itertools.product(
            ("fan_in", "fan_out", "fan_avg"), ("truncated_normal", "untruncated_normal", "uniform")
        )
    ),
)
"""VarianceScaling by default, and in all of its modes and distributions."""

FIXED_SPREAD: Final = (
    _subject("random_normal", "RandomNormal"),
    _subject("random_normal_with_arguments", "RandomNormal", mean=0.3, stddev=0.2),
    _subject("random_uniform", "RandomUniform"),
    _subject("random_uniform_with_arguments", "RandomUniform", minval=-0.1, maxval=0.3),
    _subject("truncated_normal", "TruncatedNormal"),
    _subject("truncated_normal_with_arguments", "TruncatedNormal", mean=-0.3, stddev=0.2),
)
"""The initializers whose spread the user sets."""

INDEPENDENT: Final = (*FAMILY, *VARIANCE_SCALING, *FIXED_SPREAD)
"""All whose entries are independent draws from one law."""

ORTHOGONAL: Final = (
    _subject("orthogonal", "Orthogonal"),
    _subject("orthogonal_with_gain", "Orthogonal", gain=1.5),
)

FIXED_VALUES: Final = (
    _subject("zeros", "Zeros"),
    _subject("ones", "Ones"),
    _subject("constant", "Constant"),
    _subject("constant_with_value", "Constant", value=0.37),
    _subject("identity", "Identity"),
    _subject("identity_with_gain", "Identity", gain=1.7),
    _subject("stft", "STFT"),
    _subject("stft_imaginary_spectrum", "STFT", side="imag", window="hamming", scaling="spectrum", periodic=True),
    _subject("stft_without_window", "STFT", window=None, scaling=None),
)
"""Those that leave nothing to chance."""

ALL: Final = (*INDEPENDENT, *ORTHOGONAL, *FIXED_VALUES)

CLASSES: Final = tuple(
    sorted({subject.target.class_name for subject in ALL if isinstance(subject.target, InitializerSpec)})
)
"""The classes of Keras that the specification knows."""


def cite(subject: Subject) -> str:
    """Name the documentation of a subject's class, and the paper behind it."""
    target = subject.target
    name = target.class_name if isinstance(target, InitializerSpec) else target.label
    for start, paper in _PAPERS.items():
        if name.startswith(start):
            return f"Keras, keras.initializers.{name}; {paper}"
    return f"Keras, keras.initializers.{name}"


_PAPERS: Final = {
    "Glorot": "Glorot & Bengio, 2010, AISTATS, eq. 12 and 16",
    "He": "He, Zhang, Ren & Sun, 2015, ICCV, eq. 10",
    "Lecun": "LeCun, Bottou, Orr & Müller, 1998, Efficient BackProp, section 4.6",
    "Orthogonal": "Saxe, McClelland & Ganguli, 2014, ICLR",
}
