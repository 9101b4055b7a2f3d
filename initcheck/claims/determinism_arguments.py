"""The effect of every argument of an initializer's constructor, against the documented formula in double precision."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from scipy import stats

from initcheck.claims.determinism_bench import Bench, Row, Values, closeness, draw, plain
from initcheck.keras_runtime import import_keras

_Case = tuple[dict[str, Any], tuple[int, ...], Values, float]
"""Arguments, shape, the expected values, and the roundings they may be off by."""


def argument_effects(bench: Bench) -> list[Row]:
    """Compare weights with those that the documented formula makes of the standard law and of the arguments."""
    rows = [
        closeness(f"{arguments}, shape {shape}", draw(bench.type(**arguments, **bench.seeded), shape), expected, ulps)
        for arguments, shape, expected, ulps in _EXPECTED.get(bench.subject.class_name, _scaled)(bench)
    ]
    shape = bench.subject.shape
    floats = import_keras().config.floatx()
    for dtype in ("float16", "float32", "float64", None):
        if bench.subject.class_name == "Orthogonal" and dtype == "float16":
            continue  # there is no QR factorization of half precision
        made = bench.make(**bench.seeded)(shape, dtype=dtype)
        name = import_keras().backend.standardize_dtype(made.dtype)
        right = tuple(made.shape) == shape and name == (dtype or floats)
        rows.append((f"dtype {dtype}", float(not right), 0.0, 1, f"{name} of shape {tuple(made.shape)}"))
    return rows


def _standard(bench: Bench, kind: str, shape: tuple[int, ...]) -> Values:
    """Draw the standard normal, the standard normal within two, or the uniform from 0 to 1, of the same seed."""
    initializers = import_keras().initializers
    made = {
        "untruncated_normal": lambda: initializers.RandomNormal(0.0, 1.0, seed=bench.seed),
        "truncated_normal": lambda: initializers.TruncatedNormal(0.0, 1.0, seed=bench.seed),
        "uniform": lambda: initializers.RandomUniform(0.0, 1.0, seed=bench.seed),
    }[kind]()
    return draw(made, shape).astype(np.float64)


def _normal(bench: Bench) -> list[_Case]:
    kind = "untruncated_normal" if bench.subject.class_name == "RandomNormal" else "truncated_normal"
    shape = bench.subject.shape
    pairs = ((0.3, 0.2), (-2.0, 1.0), (0.0, 3.0))
    standard = _standard(bench, kind, shape)
    cases = [({"mean": mean, "stddev": spread}, shape, mean + spread * standard, 16.0) for mean, spread in pairs]
    return [*cases, ({"stddev": 0.5}, shape, 0.5 * standard, 16.0), ({"mean": 0.5}, shape, 0.5 + 0.05 * standard, 16.0)]


def _uniform(bench: Bench) -> list[_Case]:
    shape = bench.subject.shape
    standard = _standard(bench, "uniform", shape)
    pairs = ((-0.1, 0.3), (2.0, 5.0))
    cases = [({"minval": low, "maxval": high}, shape, low + (high - low) * standard, 16.0) for low, high in pairs]
    return [
        *cases,
        ({"minval": -1.0}, shape, -1.0 + 1.05 * standard, 16.0),
        ({"maxval": 1.0}, shape, -0.05 + 1.05 * standard, 16.0),
    ]


_NAMED: Final = {"Glorot": (1.0, "fan_avg"), "He": (2.0, "fan_in"), "Lecun": (1.0, "fan_in")}


def _scaled(bench: Bench) -> list[_Case]:
    """Expect sqrt(scale / n) times the standard law, with n of every mode and by every choice of axes."""
    name = bench.subject.class_name
    fixed = plain(bench.subject.arguments)
    named = next((value for start, value in _NAMED.items() if name.startswith(start)), None)
    scale, mode = named or (1.0, fixed.get("mode", "fan_in"))
    law = fixed.get("distribution", "uniform" if name.endswith("Uniform") else "truncated_normal")
    axes: tuple[dict[str, Any], ...] = (
        {},
        {"input_axes": [0], "output_axes": [1, 2]},
        {"input_axes": [0, 2], "output_axes": [1]},
    )
    cases: list[_Case] = [
        (given, shape, _scaled_values(bench, scale, mode, law, shape, given), 16.0)
        for given, shape in ((fixed | each, (6, 4, 5)) for each in axes)
    ]
    if named is None:
        for factor in (0.3, 1.7):
            values = _scaled_values(bench, factor, mode, law, (24, 40), {})
            cases.append((fixed | {"scale": factor}, (24, 40), values, 16.0))
    if bench.subject.slug == "variance_scaling":
        for changed in ("fan_in", "fan_out", "fan_avg"):
            values = _scaled_values(bench, 1.0, changed, law, (24, 40), {})
            cases.append(({"mode": changed}, (24, 40), values, 16.0))
        for changed in ("truncated_normal", "untruncated_normal", "uniform", "normal"):
            kind = "truncated_normal" if changed == "normal" else changed
            values = _scaled_values(bench, 1.0, mode, kind, (24, 40), {})
            cases.append(({"distribution": changed}, (24, 40), values, 16.0))
    return cases


def _scaled_values(
    bench: Bench, scale: float, mode: str, law: str, shape: tuple[int, ...], axes: dict[str, Any]
) -> Values:
    area = math.prod(shape[:-2])
    fans = [area * shape[-2], area * shape[-1]]
    if "input_axes" in axes:
        fans = [math.prod(shape[axis] for axis in axes[side]) for side in ("input_axes", "output_axes")]
    count = {"fan_in": fans[0], "fan_out": fans[1], "fan_avg": sum(fans) / 2.0}[mode]
    values = _standard(bench, law, shape)
    if law == "uniform":
        values = math.sqrt(3.0) * (2.0 * values - 1.0)
    elif law == "truncated_normal":
        values = values / float(stats.truncnorm(-2.0, 2.0).std())
    return np.asarray(math.sqrt(scale / count) * values)


def _orthogonal(bench: Bench) -> list[_Case]:
    shape = bench.subject.shape
    values = bench.draw(bench.type(seed=bench.seed)).astype(np.float64)
    return [({"gain": gain}, shape, gain * values, 16.0) for gain in (1.0, 1.5, 0.2)]


def _constant(bench: Bench) -> list[_Case]:
    shape = bench.subject.shape
    return [({"value": value}, shape, np.full(shape, value), 1.0) for value in (0.37, -2.0, 0.0)]


def _identity(_: Bench) -> list[_Case]:
    return [
        ({"gain": gain}, shape, gain * np.eye(*shape), 1.0)
        for gain in (1.0, 1.7, -0.5)
        for shape in ((6, 6), (4, 7), (7, 4))
    ]


def _stft(_: Bench) -> list[_Case]:
    """Expect cos or sin of -2 pi t k / n, by the window over its norm; rounding grows with the angle, below 16 pi."""
    from scipy import signal

    shape = (16, 1, 9)
    cases: list[_Case] = []
    angle = -2.0 * math.pi * np.arange(16.0)[:, None, None] * np.arange(9.0) / 16.0
    for side, wave in (("real", np.cos(angle)), ("imag", np.sin(angle))):
        for window, scaling, periodic in (
            ("hann", "density", False),
            ("hann", "density", True),
            ("hamming", "spectrum", True),
            ("hann", None, False),
            (None, "density", False),
        ):
            values = wave
            if window is not None:
                weights = signal.get_window(window, 16, periodic)
                norm = {"density": math.sqrt(np.square(weights).sum()), "spectrum": np.abs(weights).sum(), None: 1.0}
                values = wave * weights[:, None, None] / norm[scaling]
            arguments = {"side": side, "window": window, "scaling": scaling, "periodic": periodic}
            cases.append((arguments, shape, values, 4.0 * 16.0 * math.pi))
    return cases


_EXPECTED: Final[dict[str, Callable[[Bench], list[_Case]]]] = {
    "Zeros": lambda bench: [({}, bench.subject.shape, np.zeros(bench.subject.shape), 1.0)],
    "Ones": lambda bench: [({}, bench.subject.shape, np.ones(bench.subject.shape), 1.0)],
    "Constant": _constant,
    "Identity": _identity,
    "STFT": _stft,
    "RandomNormal": _normal,
    "TruncatedNormal": _normal,
    "RandomUniform": _uniform,
    "Orthogonal": _orthogonal,
}
