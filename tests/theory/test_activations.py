import math
import subprocess
import sys
from fractions import Fraction

import keras
import numpy as np
import pytest

from initcheck.backend.runtime import backend_name, versions
from initcheck.theory.activations import NOT_ELEMENTWISE, TWINS

KINKS = np.array([-3.0, -1.0, -0.5, 0.0, 0.5, 1.0, 3.0, 6.0])
SIZES = np.logspace(-300.0, 6.0, 1225)
POINTS = np.unique(
    np.concatenate(
        [
            np.linspace(-40.0, 40.0, 16001),
            KINKS,
            np.nextafter(KINKS, -np.inf),
            np.nextafter(KINKS, np.inf),
            SIZES,
            -SIZES,
        ]
    )
)
EPSILON = float(np.finfo(np.float64).eps)


def version_of(library):
    return tuple(map(int, versions().get(library, "9999.0").split(".")[:2]))


OLD_GELU = version_of("tensorflow") < (2, 21) or backend_name() == "torch"
# How far Keras itself is off, beyond the 1e-7 that all are compared with. It subtracts numbers of the size of x in two
# functions, and takes exp(x) - 1 literally in two others. In gelu TensorFlow rounds 1/√2 to float32, by 1.7e-8, which
# erfc(-x/√2) multiplies by x² in its tail; before 2.21, and PyTorch, add erf(x/√2) to 1, and
# x multiplies what that rounds.
ERROR_OF_KERAS = {
    "squareplus": 4.0 * EPSILON * np.abs(POINTS),
    "tanh_shrink": 4.0 * EPSILON * np.abs(POINTS),
    "elu": 4.0 * EPSILON,
    "selu": 4.0 * EPSILON,
    "gelu": 2e-8 * np.minimum(POINTS, 0.0) ** 2 * np.abs(TWINS["gelu"](POINTS))
    + (EPSILON * np.abs(np.minimum(POINTS, 0.0)) if OLD_GELU else 0.0),
}


def exported_functions() -> set[str]:
    names = set(dir(keras.activations)) - {"get", "serialize", "deserialize"}
    return {name for name in names if not name.startswith("_") and callable(getattr(keras.activations, name))}


@pytest.mark.float64
@pytest.mark.parametrize("name", sorted(TWINS))
def test_a_twin_gives_what_keras_gives_in_float64(name: str) -> None:
    given = keras.ops.convert_to_tensor(POINTS, dtype="float64")
    expected = keras.ops.convert_to_numpy(getattr(keras.activations, name)(given))
    assert expected.dtype == np.float64
    twin = TWINS[name](POINTS)
    with np.errstate(invalid="ignore"):  # inf - inf
        error = np.where(twin == expected, 0.0, np.abs(twin - expected))
    # TensorFlow takes what is below the smallest normal number for 0, and in gelu then multiplies by x.
    allowed = 1e-7 * np.abs(expected) + ERROR_OF_KERAS.get(name, 0.0) + 1e-306
    assert np.all(error <= allowed), POINTS[~(error <= allowed)]


@pytest.mark.parametrize("name", sorted(TWINS))
def test_a_twin_neither_warns_nor_gives_nan_and_returns_a_new_float64_array(name: str) -> None:
    points = POINTS.reshape(1, -1)
    before = points.copy()
    with np.errstate(all="raise", under="ignore"):
        values = TWINS[name](points)
    assert values.dtype == np.float64 and values.shape == points.shape
    assert not np.any(np.isnan(values))
    assert not np.shares_memory(values, points)
    assert np.array_equal(points, before)


@pytest.mark.parametrize("name", sorted(set(TWINS) - {"exponential"}))
def test_only_the_exponential_overflows(name: str) -> None:
    assert np.all(np.isfinite(TWINS[name](POINTS)))


def test_every_activation_of_keras_has_a_twin_or_a_reason_for_none() -> None:
    assert not set(TWINS) & set(NOT_ELEMENTWISE)
    assert set(TWINS) | set(NOT_ELEMENTWISE) == exported_functions()
    assert all(reason and "\n" not in reason for reason in NOT_ELEMENTWISE.values())


def test_two_names_share_a_twin_just_where_keras_has_one_function_for_both() -> None:
    names = sorted(TWINS)
    for first in names:
        for second in names:
            same = getattr(keras.activations, first) is getattr(keras.activations, second)
            assert (TWINS[first] is TWINS[second]) is same, (first, second)


def test_gelu_keeps_its_digits_in_the_tail() -> None:
    # The condition number of erfc grows as x², which is up to 1e3 here.
    for x in (-30.0, -12.3, -2.0, -1e-9, 1e-200, 0.4, 7.0):
        exact = 0.5 * x * math.erfc(-x / math.sqrt(2.0))
        assert TWINS["gelu"](np.array(x)) == pytest.approx(exact, rel=1e-12, abs=0)


@pytest.mark.parametrize(
    ("name", "slope"), [("elu", 1.0), ("celu", 1.0), ("selu", 1.0507009873554805 * 1.6732632423543772)]
)
def test_the_exponential_units_keep_their_digits_near_zero(name: str, slope: float) -> None:
    for x in (-1e-300, -1e-100, -1e-17):
        assert TWINS[name](np.array(x)) == pytest.approx(slope * x, rel=1e-15, abs=0)


def test_squareplus_keeps_its_digits_where_its_formula_cancels() -> None:
    # The value at x is the positive root of y² - x y - 1, whose roots have the product -1.
    assert TWINS["squareplus"](-SIZES) * TWINS["squareplus"](SIZES) == pytest.approx(1.0, rel=1e-15)
    for x in (-1e6, -1234.5):
        root = Fraction(float(TWINS["squareplus"](np.array(x))))
        assert abs(float(root * root - Fraction(x) * root - 1)) < 1e-15


def test_tanh_shrink_keeps_its_digits_near_zero() -> None:
    for x in (1e-100, 1e-9, 1e-3, 0.1, 0.7, 0.999, -0.3):
        # Exact rational sums of sinh and cosh, whose quotient is tanh; at 60 terms the rest is below 1e-150.
        exact = Fraction(x)
        sine = sum((exact ** (2 * k + 1) / math.factorial(2 * k + 1) for k in range(60)), Fraction(0))
        cosine = sum((exact ** (2 * k) / math.factorial(2 * k) for k in range(60)), Fraction(0))
        assert TWINS["tanh_shrink"](np.array(x)) == pytest.approx(float(exact - sine / cosine), rel=1e-15, abs=0)


def test_the_twins_load_neither_keras_nor_other_slow_libraries() -> None:
    code = (
        "import sys, initcheck.theory.activations;"
        "assert not {'keras', 'tensorflow', 'pandas', 'scipy.stats'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
