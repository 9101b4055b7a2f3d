"""Defects of initializers that are exact in every draw: orthogonal matrices, constants, Fourier kernels."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any
from unittest import mock

import numpy as np
from planting import Change, Planted, call_wrapped, class_default, replaced, source, values


def _unsigned() -> Any:
    """Take Q as the decomposition gives it: the signs of R's diagonal are not made up for."""
    ops = source("ops")
    shim = mock.Mock(wraps=ops)
    shim.sign = ops.ones_like
    return replaced("initializers.random_initializers.ops", lambda _: shim)()


def _independent_if_wide(w: np.ndarray, random: np.random.Generator) -> np.ndarray:
    rows, columns = math.prod(w.shape[:-1]), w.shape[-1]
    if rows >= columns:
        return w
    return (random.standard_normal((rows, columns)) / math.sqrt(columns)).reshape(w.shape)


def _flat(change: Any) -> Change:
    return lambda w, random: change(w.reshape(-1, w.shape[-1]), random).reshape(w.shape)


def _one_column_repeated(w: np.ndarray, _: np.random.Generator) -> np.ndarray:
    changed = w.copy()
    changed[:, -1] = changed[:, 0]
    return changed


def _axes_permuted(w: np.ndarray, random: np.random.Generator) -> np.ndarray:
    return np.eye(*w.shape)[random.permutation(len(w))] * random.choice([-1.0, 1.0], w.shape[1])


def _gain_undone(call: Any) -> Any:
    return lambda self, shape, dtype=None: call(self, shape, dtype) / self.gain


def _orthogonal_of(normal: Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]) -> Change:
    """Factorize another matrix than a normal one, with the signs corrected."""

    def change(w: np.ndarray, random: np.random.Generator) -> np.ndarray:
        rows, columns = w.shape
        found, triangle = np.linalg.qr(normal(random, (max(rows, columns), min(rows, columns))))
        found = found * np.sign(np.diag(triangle))
        return found if rows >= columns else found.T

    return _flat(change)


def _small(change: Change) -> Change:
    """Change square matrices of two and three dimensions alone."""
    return lambda w, random: change(w, random) if w.shape in ((2, 2), (3, 3)) else w


def _rotation(w: np.ndarray, _: np.random.Generator) -> np.ndarray:
    changed = w.copy()
    changed[:, -1] *= np.linalg.det(w)
    return changed


def _by_eighths(w: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Turn the plane by one of eight angles, with or without a reflection."""
    angle = random.integers(8) * math.pi / 4.0
    turned = np.eye(len(w))
    turned[:2, :2] = [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
    turned[:, -1] *= random.choice([-1.0, 1.0])
    return turned


_SMALL_HAAR = "distribution.orthogonal.haar_of_small_matrices"

HAAR = (
    Planted(
        "orthogonal_of_uniform_numbers",
        "Orthogonal factorizes a matrix of uniform numbers",
        values("Orthogonal", _orthogonal_of(lambda random, shape: random.uniform(-1.0, 1.0, shape))),
        (_SMALL_HAAR,),
        ("distribution.orthogonal.orthonormal",),
        ("distribution.orthogonal.haar*",),
    ),
    Planted(
        "orthogonal_of_laplace_numbers",
        "Orthogonal factorizes a matrix of numbers with heavy tails",
        values("Orthogonal", _orthogonal_of(lambda random, shape: random.laplace(size=shape))),
        (_SMALL_HAAR,),
        ("distribution.orthogonal.orthonormal",),
        ("distribution.orthogonal.haar*",),
    ),
    Planted(
        "small_rotations_only",
        "Orthogonal's matrices of two and three dimensions are never reflections",
        values("Orthogonal", _small(_rotation)),
        (_SMALL_HAAR,),
        ("distribution.orthogonal.orthonormal", "distribution.orthogonal.haar"),
    ),
    Planted(
        "small_turns_by_eighths",
        "Orthogonal's matrices of two and three dimensions turn by multiples of 45 degrees",
        values("Orthogonal", _small(_by_eighths)),
        (_SMALL_HAAR,),
        ("distribution.orthogonal.orthonormal", "distribution.orthogonal.haar"),
    ),
)

ORTHOGONAL = (
    Planted(
        "unsigned_qr",
        "Orthogonal does not make up for the signs of R",
        _unsigned,
        ("distribution.orthogonal.haar",),
        ("distribution.orthogonal.orthonormal",),
        named_first=("distribution.orthogonal*.haar*",),
    ),
    Planted(
        "orthogonal_scaled",
        "Orthogonal is off by one part in a thousand",
        values("Orthogonal", lambda w, _: w * 1.001),
        ("distribution.orthogonal.orthonormal",),
        named_first=("distribution.orthogonal*.orthonormal", "distribution.orthogonal*.variance"),
    ),
    Planted(
        "orthogonal_gain_ignored",
        "Orthogonal ignores its gain",
        call_wrapped("Orthogonal", _gain_undone),
        ("distribution.orthogonal_with_gain.orthonormal",),
        ("distribution.orthogonal.orthonormal",),
    ),
    Planted(
        "orthogonal_not_wide",
        "Orthogonal gives wide matrices independent entries of the right variance",
        values("Orthogonal", _independent_if_wide),
        ("distribution.orthogonal.orthonormal",),
        named_first=("distribution.orthogonal*.orthonormal",),
    ),
    Planted(
        "orthogonal_column_repeated",
        "Orthogonal's last column is its first",
        values("Orthogonal", _flat(_one_column_repeated)),
        ("distribution.orthogonal.orthonormal",),
        named_first=("distribution.orthogonal*.orthonormal",),
    ),
    Planted(
        "orthogonal_permutes_axes",
        "Orthogonal permutes and flips the axes only",
        values("Orthogonal", _flat(_axes_permuted)),
        ("distribution.orthogonal.haar",),
        named_first=("distribution.orthogonal*.haar*",),
    ),
)

CONSTANTS = (
    Planted(
        "identity_gain_ignored",
        "Identity ignores its gain",
        call_wrapped("Identity", _gain_undone),
        ("distribution.identity_with_gain.values",),
        ("distribution.identity.values",),
    ),
    Planted(
        "identity_offset",
        "Identity's diagonal is one place to the right",
        values("Identity", lambda w, _: np.roll(w, 1, axis=1)),
        ("distribution.identity.values",),
    ),
    Planted(
        "zeros_not_zero",
        "Zeros returns 1e-8",
        values("Zeros", lambda w, _: w + 1e-8),
        ("distribution.zeros.values",),
        ("distribution.constant.values",),
        named_first=("distribution.zeros.values",),
    ),
    Planted(
        "ones_not_one",
        "Ones returns .999",
        values("Ones", lambda w, _: w * 0.999),
        ("distribution.ones.values",),
    ),
    Planted(
        "constant_ignored",
        "Constant returns 0 whatever its value",
        values("Constant", lambda w, _: w * 0.0),
        ("distribution.constant_with_value.values",),
    ),
    Planted(
        "stft_window",
        "STFT windows with Hamming's function where Hann's is documented as the default",
        class_default("STFT", window="hamming"),
        ("determinism.stft.defaults", "distribution.stft.values"),
        named_first=("determinism.stft.defaults",),
    ),
    Planted(
        "stft_imaginary_sign",
        "STFT's imaginary side has the other sign",
        call_wrapped(
            "STFT",
            lambda call: (
                lambda self, shape, dtype=None: call(self, shape, dtype) * (-1.0 if self.side == "imag" else 1.0)
            ),
        ),
        ("distribution.stft_imaginary_spectrum.values",),
        ("distribution.stft.values",),
    ),
    Planted(
        "constant_takes_scalars_only",
        "a repair: Constant refuses arrays",
        replaced(
            "initializers.constant_initializers.Constant.__init__",
            lambda init: lambda self, value=0.0: init(self, float(value)),
        ),
        ("distribution.constant.scalars_only",),
    ),
)

DEFECTS = (*ORTHOGONAL, *HAAR, *CONSTANTS)
