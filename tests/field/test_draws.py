"""Initializers that people write draw anew from every seed; where they cannot, that is said."""

from __future__ import annotations

import functools
import random

import keras
import numpy as np
import pytest

import initcheck
from initcheck.core.seeds import derive_seeds
from initcheck.probe import RedrawPlan

UNITS = 16


class NumpyNoise(keras.initializers.Initializer):
    """Takes a seed and ignores it (keras-contrib issue 60)."""

    def __init__(self, seed=None):
        self.seed = seed

    def __call__(self, shape, dtype=None):
        return keras.ops.convert_to_tensor(np.random.normal(0.0, (2.0 / shape[0]) ** 0.5, shape), dtype=dtype)


class Halved(keras.initializers.Initializer):
    """Draws half of what another initializer draws."""

    def __init__(self, base):
        self.base = keras.initializers.get(base)

    def __call__(self, shape, dtype=None):
        return 0.5 * self.base(shape, dtype)


class Holding(keras.initializers.Initializer):
    """Holds generators of its own."""

    def __init__(self):
        self.generators = [np.random.default_rng(3), random.Random(4)]
        self.keras_generator = keras.random.SeedGenerator(5)

    def __call__(self, shape, dtype=None):
        numpy, python = self.generators
        values = numpy.normal(size=shape) + python.gauss(0.0, 1.0)
        return keras.ops.cast(values, dtype) + keras.random.normal(shape, dtype=dtype, seed=self.keras_generator)


SHARED = keras.initializers.HeNormal(seed=1)


def quarter(shape, dtype=None, base=SHARED):
    return 0.25 * base(shape, dtype)


def third(shape, dtype=None, *, base=SHARED):
    return base(shape, dtype) / 3.0


def around():
    base = keras.initializers.HeNormal(seed=3)
    return lambda shape, dtype=None: base(shape, dtype)


def from_python(shape, dtype=None):
    values = [random.gauss(0.0, 0.25) for _ in range(int(np.prod(shape)))]
    return keras.ops.convert_to_tensor(np.reshape(values, shape), dtype=dtype)


def with_its_own_seed(shape, dtype=None):
    return keras.random.normal(shape, stddev=0.25, dtype=dtype, seed=1337)


VARYING = {
    "NumPy": NumpyNoise,
    "Python": lambda: from_python,
    "Keras without a seed": lambda: lambda shape, dtype=None: keras.random.normal(shape, dtype=dtype),
    "around another": lambda: Halved("he_normal"),
    "around one around another": lambda: Halved(Halved(keras.initializers.HeNormal(seed=7))),
    "of a closure": around,
    "of a default": lambda: quarter,
    "of a default by name": lambda: third,
    "of a partial": lambda: functools.partial(quarter, base=keras.initializers.LecunNormal()),
    "of a method": lambda: Halved("he_normal").__call__,
    "of a module": lambda: lambda shape, dtype=None: SHARED(shape, dtype),
    "of generators": Holding,
}


def build_dense(initializer):
    return keras.Sequential([keras.Input((UNITS,)), keras.layers.Dense(UNITS, kernel_initializer=initializer)])


@pytest.mark.parametrize("which", VARYING)
def test_what_keras_does_not_ship_draws_other_numbers_from_every_seed(which):
    initializer = VARYING[which]()
    plan = RedrawPlan(build_dense(initializer))
    random.seed(1)
    np.random.seed(1)
    before = random.getstate(), np.random.get_state()[1].tolist(), repr(vars(initializer))
    drawn = np.asarray(plan.sample([0, 1, 2])[0])
    assert len({each.tobytes() for each in drawn}) == 3
    np.testing.assert_array_equal(np.asarray(plan.sample([2, 0])[0]), drawn[[2, 0]])
    assert (random.getstate(), np.random.get_state()[1].tolist(), repr(vars(initializer))) == before
    assert not plan.repeated


def test_the_seed_that_an_initializer_takes_decides_what_it_draws():
    class Normal(keras.initializers.Initializer):
        def __init__(self, seed):
            self.seed = seed

        def __call__(self, shape, dtype=None):
            return keras.random.normal(shape, dtype=dtype, seed=self.seed)

    plan = RedrawPlan(build_dense(Normal(3)))
    expected = Normal(derive_seeds(6, plan.paths)[0])((UNITS, UNITS), "float32")
    np.testing.assert_array_equal(np.asarray(plan.sample([6])[0])[0], np.asarray(expected))


def test_two_initializers_inside_one_draw_apart():
    class Sum(keras.initializers.Initializer):
        def __init__(self):
            self.parts = [keras.initializers.RandomNormal(seed=seed) for seed in (1, 2)]

        def __call__(self, shape, dtype=None):
            return keras.ops.concatenate([part((shape[0] // 2, shape[1]), dtype) for part in self.parts])

    halves = np.asarray(RedrawPlan(build_dense(Sum())).sample([0])[0])[0].reshape(2, -1)
    assert abs(np.corrcoef(halves)[0, 1]) < 0.5


def test_two_initializers_of_one_seed_inside_one_still_draw_alike():
    class Sum(keras.initializers.Initializer):
        def __init__(self):
            self.parts = [keras.initializers.RandomNormal(seed=seed) for seed in (1, 1)]

        def __call__(self, shape, dtype=None):
            return keras.ops.concatenate([part((shape[0] // 2, shape[1]), dtype) for part in self.parts])

    halves = np.asarray(RedrawPlan(build_dense(Sum())).sample([0])[0])[0].reshape(2, -1)
    np.testing.assert_array_equal(*halves)


def build_stack(initializer):
    x = inputs = keras.Input((UNITS,))
    for _ in range(4):
        x = keras.layers.Dense(UNITS, "relu", kernel_initializer=initializer())(x)
    return keras.Model(inputs, keras.layers.Dense(2)(x))


def test_an_interval_over_draws_of_numpy_is_that_of_the_draws():
    report = initcheck.check(lambda: build_stack(NumpyNoise), seeds=16, fixes=False)
    (forward,) = (each for each in report.result.paths if each.path.is_main and each.levels.direction == "forward")
    x = np.random.default_rng(0).normal(size=(32, UNITS))
    changes = []
    for seed in range(300):
        rng, h, squares = np.random.default_rng(seed), x, []
        for _ in range(4):
            z = h @ rng.normal(0.0, (2.0 / UNITS) ** 0.5, (UNITS, UNITS))
            squares.append(np.mean(z**2))
            h = np.maximum(z, 0.0)
        changes.append(np.log(squares[-1] / np.mean(x**2)))
    # Half the width of a 95% interval of 16 draws is 2.13/4 of the standard deviation; within a factor of 2.
    expected = 2.13 / 4.0 * np.std(changes)
    assert 0.5 < (forward.total.high - forward.total.low) / 2.0 / expected < 2.0


def test_a_seed_inside_an_initializer_is_noted_and_fails_nothing():
    def build():
        outside = keras.layers.Dense(UNITS, "relu", kernel_initializer=with_its_own_seed, name="outside")
        return keras.Sequential([keras.Input((UNITS,)), outside, keras.layers.Dense(2)])

    report = initcheck.check(build, seeds=4, fixes=False)
    (note,) = report.findings
    assert (report.exit_code, note.code, note.severity, note.layers) == (0, "IC604", "note", ("outside/kernel",))
    assert "with_its_own_seed gives the same numbers from every seed" in note.message


def test_no_interval_is_printed_where_no_draw_differs():
    report = initcheck.check(lambda: build_stack(lambda: with_its_own_seed), seeds=4, fixes=False)
    lines = [line for line in report.to_text(full=True).split("\n") if line.startswith(("  forward", "  backward"))]
    assert "[" not in lines[0]
    assert "[" in lines[1]  # the last layer is drawn, and the gradient passes it
    assert {"IC301", "IC604"} <= {each.code for each in report.findings}


def test_a_model_of_which_nothing_varies_is_one_draw():
    report = initcheck.check(lambda: build_dense(with_its_own_seed), seeds=4, fixes=False)
    assert (report.result.redrawn, len(report.result.seeds)) == (False, 1)


def test_constants_of_a_function_are_no_random_numbers():
    plan = RedrawPlan(build_dense(lambda shape, dtype=None: keras.ops.eye(*shape, dtype=dtype)))
    assert not plan.repeated
    assert not plan.varies


# --- why weights are equal: netket issue 241 --------------------------------------------------------------------------


def build_ensemble(reset, shared=None):
    inputs = keras.Input((UNITS,))
    outputs = []
    for _ in range(3):
        if reset:
            keras.utils.set_random_seed(42)
        x = keras.layers.Dense(UNITS, "relu", kernel_initializer=shared or "he_normal")(inputs)
        outputs.append(keras.layers.Dense(1, kernel_initializer="glorot_uniform")(x))
    return keras.Model(inputs, keras.layers.Average()(outputs))


def _copies(build):
    report = initcheck.check(build, seeds=4)
    return [each for each in report.findings if each.code == "IC301"]


def test_members_are_independent_unless_the_seed_is_set_between_them():
    assert not _copies(lambda: build_ensemble(reset=False))
    found = _copies(lambda: build_ensemble(reset=True))
    assert {len(each.layers) for each in found} == {3}
    for each in found:
        assert "equal automatic seeds: the global seed was set again between them" in each.message
        assert each.fix is None  # no argument of a layer would part them: the call between them has to go
        assert "keras.utils.set_random_seed" in each.rule.fix


def test_one_instance_in_several_layers_is_called_that():
    (found,) = _copies(lambda: build_ensemble(reset=False, shared=keras.initializers.HeNormal()))
    assert "one instance of HeNormal draws all of them" in found.message
    assert found.fix is not None and found.fix.cures
    written = {each.written for each in found.fix.edits}  # a call each, so that each makes an instance of its own
    assert written == {"kernel_initializer=keras.initializers.HeNormal()"}
