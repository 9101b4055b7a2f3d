"""Initializers with planted defects: each must be found, and by the rule that it breaks."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest

from initcheck.core.errors import InitcheckError, TheoryError, UsageError
from initcheck.models.initializers import parse_initializer
from initcheck.verify.statistics import Expected, evaluate_formula
from initcheck.verify.target import keras_target, read_target
from initcheck.verify.verify import Verification, verify

SHAPES = ((200, 350), (3, 3, 32, 56))
NORMAL = Expected(variance="0.01", distribution="normal")


class Sound(keras.initializers.Initializer):  # type: ignore[misc] # Keras has no types
    """Independent normal entries of standard deviation 0.1; the defects below are planted in it."""

    def __init__(self, stddev: float = 0.1, seed: int | None = None) -> None:
        self.stddev, self.seed = stddev, seed

    def __call__(self, shape: tuple[int, ...], dtype: str | None = None) -> Any:
        return keras.ops.convert_to_tensor(self.draw(tuple(shape)).astype("float64"), dtype=dtype or "float32")

    def draw(self, shape: tuple[int, ...]) -> Any:
        return self.random().standard_normal(shape) * self.stddev

    def random(self) -> np.random.Generator:
        return np.random.default_rng(self.seed)

    def get_config(self) -> dict[str, Any]:
        return {"stddev": self.stddev, "seed": self.seed}


def planted(**changes: Any) -> type[Sound]:
    return type("Planted", (Sound,), changes)


def altered(change: Callable[[Any, np.random.Generator], Any]) -> type[Sound]:
    """Plant a change of what is drawn."""
    return planted(
        draw=lambda self, shape: change(Sound.draw(self, shape), np.random.default_rng((self.seed or 0) + 7))
    )


def _raise(error: BaseException) -> Any:
    raise error


def _without_seed(**config: Any) -> type:
    def initialize(self: Any, stddev: float = 0.1) -> None:
        self.stddev, self.seed = stddev, None

    def random(self: Any) -> np.random.Generator:
        return np.random.default_rng(np.random.randint(2**31))

    return planted(__init__=initialize, random=random, get_config=lambda self: {"stddev": self.stddev}, **config)


def _first_rows_again(values: Any, _: np.random.Generator) -> Any:
    flat = values.reshape(-1, values.shape[-1]) if values.ndim > 1 else values.reshape(-1, 1)
    half = len(flat) // 2
    return np.concatenate([flat[: len(flat) - half], flat[:half]]).reshape(values.shape)


def _shared(axis: int) -> Callable[[Any, np.random.Generator], Any]:
    def change(values: Any, random: np.random.Generator) -> Any:
        sizes = [1] * values.ndim
        sizes[axis] = values.shape[axis]
        return 0.6 * values + 0.8 * 0.1 * random.standard_normal(sizes) if values.ndim > 1 else values

    return change


def _smooth(values: Any, _: np.random.Generator) -> Any:
    flat = values.ravel()
    return ((flat + 0.2 * np.roll(flat, 1)) / math.sqrt(1.04)).reshape(values.shape)


class HalfHe(keras.initializers.HeNormal):  # type: ignore[misc]
    """He's distribution with half its variance."""

    def __call__(self, shape: Any, dtype: Any = None) -> Any:
        return super().__call__(shape, dtype) * math.sqrt(0.5)


class HeFanOut(keras.initializers.VarianceScaling):  # type: ignore[misc]
    """Fans taken for each other."""

    def __init__(self, seed: int | None = None) -> None:
        super().__init__(2.0, "fan_in", "truncated_normal", seed)

    def __call__(self, shape: Any, dtype: Any = None) -> Any:
        other = keras.initializers.VarianceScaling(2.0, "fan_out", "truncated_normal", self.seed)
        return other(shape, dtype)

    def get_config(self) -> dict[str, Any]:
        return {"seed": self.seed}


class NotQuiteOrthogonal(keras.initializers.Orthogonal):  # type: ignore[misc]
    """Stretched by a hundredth."""

    def __call__(self, shape: Any, dtype: Any = None) -> Any:
        return super().__call__(shape, dtype) * 1.01


class UnsignedOrthogonal(keras.initializers.Orthogonal):  # type: ignore[misc]
    """The orthogonal factor as LAPACK returns it: some signs are never drawn."""

    def __call__(self, shape: Any, dtype: Any = None) -> Any:
        normal = keras.random.normal((math.prod(shape[:-1]), shape[-1]), seed=self.seed)
        wide = normal.shape[0] < normal.shape[1]
        factor, _ = keras.ops.qr(keras.ops.transpose(normal) if wide else normal)
        return keras.ops.cast(keras.ops.reshape(keras.ops.transpose(factor) if wide else factor, shape), dtype)


class FrozenGenerator(keras.initializers.HeNormal):  # type: ignore[misc]
    """A SeedGenerator is asked for its seed once."""

    def __init__(self, seed: Any = None) -> None:
        super().__init__(seed=seed.get_config()["seed"] if isinstance(seed, keras.random.SeedGenerator) else seed)


class LostMode(keras.initializers.VarianceScaling):  # type: ignore[misc]
    """The mode is not in the config, and comes back as the default."""

    def __init__(self, mode: str = "fan_in", seed: Any = None) -> None:
        super().__init__(2.0, mode, "truncated_normal", seed)

    def get_config(self) -> dict[str, Any]:
        return {"seed": self.seed}


class WrongOnes(keras.initializers.Ones):  # type: ignore[misc]
    """Ones that are no ones."""

    def __call__(self, shape: Any, dtype: Any = None) -> Any:
        return super().__call__(shape, dtype) * 0.999


_calls = 0


def _changes_with_calls(values: Any, _: np.random.Generator) -> Any:
    global _calls
    _calls += 1
    return values + 1e-3 * _calls


DEFECTS: dict[str, tuple[Any, Expected, str]] = {
    "raises": (planted(draw=lambda *_: _raise(RuntimeError("two\nlines"))), NORMAL, "call"),
    "refuses everything": (planted(draw=lambda *_: _raise(ValueError("no"))), NORMAL, "call"),
    "raises an error of initcheck": (planted(draw=lambda *_: _raise(TheoryError("no variance"))), NORMAL, "call"),
    "its config raises an error of initcheck": (
        planted(get_config=lambda _: _raise(InitcheckError("no config"))),
        NORMAL,
        "config_round_trip",
    ),
    "exits": (planted(draw=lambda *_: _raise(SystemExit(3))), NORMAL, "call"),
    "takes no dtype": (planted(__call__=lambda self, shape: self.draw(shape)), NORMAL, "call"),
    "crashes on kernels": (altered(lambda v, _: v if v.ndim < 4 else _raise(KeyError("rank"))), NORMAL, "call"),
    "shape reversed": (altered(lambda v, _: v.T), NORMAL, "shape"),
    "shape flat": (altered(lambda v, _: v.ravel()), NORMAL, "shape"),
    "NumPy array": (planted(__call__=lambda self, shape, dtype=None: self.draw(shape).astype(dtype)), NORMAL, "tensor"),
    "text": (planted(__call__=lambda *_, **__: "weights"), NORMAL, "numbers"),
    "None": (planted(__call__=lambda *_, **__: None), NORMAL, "numbers"),
    "always float32": (
        planted(__call__=lambda self, shape, dtype=None: Sound.__call__(self, shape, "float32")),
        NORMAL,
        "other_dtype",
    ),
    "always float16": (
        planted(__call__=lambda self, shape, dtype=None: Sound.__call__(self, shape, "float16")),
        NORMAL,
        "dtype",
    ),
    "NaN": (altered(lambda v, _: np.where(v > 0.25, np.nan, v)), NORMAL, "finite"),
    "infinite": (altered(lambda v, _: v / 0.0 if v.ndim == 2 else v), NORMAL, "finite"),
    "constant": (altered(lambda v, _: np.full_like(v, 0.1)), NORMAL, "not_constant"),
    "ignores the seed": (planted(random=lambda _: np.random.default_rng(1)), NORMAL, "seed_sensitivity"),
    "random in spite of the seed": (planted(random=lambda _: np.random.default_rng()), NORMAL, "determinism"),
    "changes with calls": (altered(_changes_with_calls), NORMAL, "determinism"),
    "no seed argument": (_without_seed(), NORMAL, "takes_seed"),
    "config without stddev": (planted(get_config=lambda self: {"seed": self.seed}), NORMAL, "config_round_trip"),
    "config without seed": (planted(get_config=lambda self: {"stddev": self.stddev}), NORMAL, "config_round_trip"),
    "config with more": (planted(get_config=lambda _: {"name": "x"}), NORMAL, "config_round_trip"),
    "no config": (planted(get_config=lambda _: None), NORMAL, "config_round_trip"),
    "variance a tenth too large": (altered(lambda v, _: v * math.sqrt(1.1)), NORMAL, "variance"),
    "variance a twentieth too small": (
        altered(lambda v, _: v * math.sqrt(0.95)),
        Expected(variance="0.01"),
        "variance",
    ),
    "mean a twentieth off": (altered(lambda v, _: v + 0.005), NORMAL, "mean"),
    "mean off, distribution unknown": (altered(lambda v, _: v + 0.005), Expected(mean="0"), "mean"),
    "uniform for normal": (
        altered(lambda v, r: 0.1 * r.uniform(-math.sqrt(3), math.sqrt(3), v.shape)),
        NORMAL,
        "distribution",
    ),
    "signs for normal": (altered(lambda v, _: 0.1 * np.sign(v)), NORMAL, "distribution"),
    "normal for truncated": (Sound, Expected(variance="0.01", distribution="truncated_normal"), "support"),
    "rows repeated": (altered(_first_rows_again), NORMAL, "independence_within_columns"),
    "rows share": (altered(_shared(0)), NORMAL, "independence_within_rows"),
    "columns share": (altered(_shared(-1)), NORMAL, "independence_within_columns"),
    "columns share, distribution unknown": (altered(_shared(-1)), Expected(), "independence_within_columns"),
    "smooth": (altered(_smooth), NORMAL, "independence_of_neighbours"),
    "draws share": (
        planted(draw=lambda self, s: 0.8 * Sound.draw(self, s) + 0.06 * np.random.default_rng(5).standard_normal(s)),
        NORMAL,
        "independence_across_draws",
    ),
    "half of He's variance": (HalfHe, Expected(), "variance"),
    "fans exchanged": (HeFanOut, Expected(), "variance"),
    "not quite orthogonal": (NotQuiteOrthogonal, Expected(), "orthogonal"),
    "signs of a factorization": (UnsignedOrthogonal, Expected(), "haar"),
    "coarse": (altered(lambda v, _: v.astype(np.float16)), NORMAL, "resolution"),
    "a seed by default": (
        planted(__init__=lambda self, stddev=0.1, seed=7: Sound.__init__(self, stddev, seed)),
        NORMAL,
        "unseeded",
    ),
    "a generator asked once": (FrozenGenerator, Expected(), "seed_generator"),
    "a clone with another seed": (
        planted(clone=lambda self: type(self)(self.stddev, self.seed + 1)),
        NORMAL,
        "clone",
    ),
    "not quite ones": (WrongOnes, Expected(), "values"),
    "not constant as expected": (Sound, Expected(distribution="constant"), "values"),
}


def run(found: Any, expected: Expected, **options: Any) -> Verification:
    return verify(read_target(found, "it", {}, 10.0), expected=expected, **options)


@pytest.mark.parametrize("name", DEFECTS)
def test_a_planted_defect_is_found_by_its_rule(name: str):
    found, expected, rule = DEFECTS[name]
    result = run(found, expected, shapes=SHAPES)
    assert result.exit_code == 1
    assert rule in [each.rule for each in result.results if each.status == "fail"], result.results
    assert all("\n" not in each.reason for each in result.results)


@pytest.mark.parametrize("shapes", [(), ((60, 60),)])
def test_a_mode_that_the_config_loses_shows_where_the_fans_differ(shapes: tuple[tuple[int, ...], ...]):
    target = read_target(LostMode, "it", {"mode": "fan_out"}, 10.0)
    result = verify(target, expected=Expected(variance="2/fan_out"), shapes=shapes)
    # A clone is made by way of the configuration.
    assert [each.rule for each in result.results if each.status == "fail"] == ["config_round_trip", "clone"]


def function(shape: tuple[int, ...], dtype: str | None = None) -> Any:
    return keras.random.normal(shape, stddev=0.1, dtype=dtype or "float32")


def seeded(shape: tuple[int, ...], dtype: str | None = None, seed: int = 0) -> Any:
    return keras.random.normal(shape, stddev=0.1, dtype=dtype or "float32", seed=seed)


def factory(stddev: float = 0.1, seed: int | None = None) -> Any:
    return keras.initializers.RandomNormal(stddev=stddev, seed=seed)


@pytest.mark.parametrize(
    ("found", "form", "expected"),
    [
        (Sound(seed=3), "instance", NORMAL),
        (function, "function", NORMAL),
        (factory, "factory", Expected()),
        (Sound, "class", Expected(variance="0.01", mean="0")),
        pytest.param(Sound, "class", NORMAL, marks=pytest.mark.thorough),
        pytest.param(seeded, "function", NORMAL, marks=pytest.mark.thorough),
        pytest.param(keras.initializers.HeUniform(seed=1), "instance", Expected(), marks=pytest.mark.thorough),
        pytest.param(Sound, "class", Expected(), marks=pytest.mark.thorough),
    ],
)
def test_sound_initializers_pass(found: Any, form: str, expected: Expected):
    target = read_target(found, "it", {}, 10.0)
    assert target.form == form
    result = verify(target, expected=expected)
    assert result.exit_code == 0, result.results


@pytest.mark.parametrize(
    "text",
    ["RandomNormal(mean=1.0, stddev=0.01)", "GlorotUniform", "Orthogonal(gain=1.5)", "Constant(value=0.3)", "STFT"],
)
def test_initializers_of_keras_pass(text: str):
    result = verify(keras_target(parse_initializer(text)))
    assert result.exit_code == 0, result.results


def test_of_identity_nothing_but_the_config_may_fail():
    result = verify(keras_target(parse_initializer("Identity(gain=1.7)")))
    # Keras 3.15 leaves the gain out of its config.
    assert {each.rule for each in result.results if each.status != "pass"} <= {"config_round_trip"}


def test_a_wrong_variance_is_not_taken_for_dependence():
    result = run(HalfHe, Expected())
    failed = {each.rule for each in result.results if each.status == "fail"}
    assert failed == {"variance", "support"}


def test_what_is_not_declared_is_reported_and_not_judged():
    result = run(Sound, Expected())
    reasons = {each.rule: each.reason for each in result.results if each.status == "not declared"}
    assert result.declared == ""
    assert set(reasons) == {"mean", "variance", "distribution", "seed_generator"}


@pytest.mark.parametrize(
    "random",
    [
        lambda _: np.random.default_rng(),
        # Of the global seed alone: under one global seed original and copy are equal, whatever the config.
        lambda _: np.random.default_rng(np.random.randint(2**31)),
    ],
    ids=["of the system", "of the global seed"],
)
def test_the_config_of_an_initializer_that_is_not_deterministic_cannot_be_judged(random: Any):
    results = {each.rule: each for each in run(planted(random=random), NORMAL, shapes=SHAPES).results}
    assert results["determinism"].status == "fail"
    assert results["config_round_trip"].status == "inconclusive"
    assert "cannot be compared" in results["config_round_trip"].reason


def test_a_config_that_makes_no_copy_is_found_though_nothing_is_deterministic():
    class_ = planted(random=lambda _: np.random.default_rng(), get_config=lambda _: {"name": "x"})
    results = {each.rule: each.status for each in run(class_, NORMAL, shapes=SHAPES).results}
    assert results["determinism"] == results["config_round_trip"] == "fail"


def test_a_slow_call_is_stopped_and_named():
    start = time.perf_counter()
    result = run(altered(lambda v, _: time.sleep(30) or v), NORMAL, seconds=0.3)
    assert time.perf_counter() - start < 10
    assert [(each.rule, each.status) for each in result.results] == [("time", "fail")]
    assert "more than 0.3 s" in result.results[0].reason


def test_too_few_entries_cannot_be_judged():
    result = run(Sound, NORMAL, shapes=((2,),))
    assert result.exit_code == 2
    assert "variance" in [each.rule for each in result.results if each.status == "inconclusive"]


def test_a_refused_rank_is_reported_unless_it_was_asked_for():
    only_matrices = altered(lambda v, _: v if v.ndim == 2 else _raise(ValueError("matrices only")))
    assert "matrices only" in run(only_matrices, NORMAL).results[0].reason
    assert run(only_matrices, NORMAL, shapes=((200, 350),)).exit_code == 0
    assert run(only_matrices, NORMAL, shapes=((300,),)).exit_code == 1


def test_formulas():
    assert evaluate_formula("2/fan_in", (3, 3, 4, 5), "--x") == 2 / 36
    assert evaluate_formula("-fan_avg**2", (3, 5), "--x") == -16.0
    for text in ("", "fan", "1/0", "__import__('os')", "1 if 1 else 2", "1e999", "True"):
        with pytest.raises(UsageError, match="Received"):
            evaluate_formula(text, (3, 5), "--x")
