"""The experiments on drawn weights, fed with NumPy's own numbers: distributions are right, and defects are seen."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
import pytest
from marked import first_only
from scipy import stats

from initcheck.core.errors import InitializerError, UsageError
from initcheck.models.initializers import InitializerSpec
from initcheck.spec.claim import RunContext
from initcheck.spec.decisions import EstimateWithin, NoDifference
from initcheck.spec.subjects import DEFECTS, KINDS, Draws, EntryDistribution, Subject, entry_distribution
from initcheck.spec.topics.entries import Beyond, Extremes, Finite, Fit, Independence, Moments, Repeats
from initcheck.spec.topics.orthogonality import FourthPowers, Haar, Orthonormality

MEAN, DEVIATION = 0.2, 0.3
STANDARD_ERRORS = 5
STANDARD_ERRORS_SEEN = float(stats.norm.isf(1e-6 / 80.0) + stats.norm.ppf(0.999))
"""By a test of 40 at the strictest level of Holm's correction for one false alarm in a million."""


@dataclass(frozen=True)
class NumpyTarget:
    """An initializer that never saw Keras."""

    kind: str

    @property
    def label(self):
        return f"numpy {self.kind}"

    def create(self, seed):
        random = np.random.default_rng(seed)

        def draw(shape, dtype=None):
            if self.kind == "orthogonal":
                matrix = random.standard_normal((max(shape), min(shape)))
                q, r = np.linalg.qr(matrix)
                q = q * np.sign(np.diag(r))
                return q if shape[0] >= shape[1] else q.T
            if self.kind == "truncated_normal":
                values = stats.truncnorm(-2, 2).rvs(shape, random_state=random) / stats.truncnorm(-2, 2).std()
            elif self.kind == "uniform":
                values = random.uniform(-math.sqrt(3), math.sqrt(3), shape)
            else:
                values = random.standard_normal(shape)
            return MEAN + DEVIATION * values

        return draw


def subject(kind):
    return Subject(f"numpy_{kind}", NumpyTarget(kind), EntryDistribution(kind, MEAN, DEVIATION))


def draws(kind, shape=(60, 80), count=8, defect=""):
    return Draws(subject(kind), shape, count, defect=defect)


@pytest.mark.parametrize("kind", KINDS)
def test_the_moments_and_the_distribution_function_are_those_of_drawn_numbers(kind):
    entry = EntryDistribution(kind, MEAN, DEVIATION)
    drawn = np.asarray(NumpyTarget(kind).create(1)((200_000,)))
    x = entry.standardize(drawn)
    for order in (1, 2, 3, 4, 6):
        error = np.std(x**order) / math.sqrt(x.size)
        assert abs(np.mean(x**order) - entry.moment(order)) <= STANDARD_ERRORS * error
    assert stats.kstest(entry.cdf(drawn), "uniform").pvalue > 1e-5
    low, high = entry.support
    assert low <= drawn.min() and drawn.max() <= high


def test_the_documented_distribution_of_a_shifted_initializer_keeps_its_mean():
    entry = entry_distribution(InitializerSpec("RandomUniform", (("maxval", 0.3), ("minval", -0.1))), (3, 4))
    assert entry.support == pytest.approx((-0.1, 0.3))
    assert entry_distribution(InitializerSpec("TruncatedNormal", (("mean", -0.3), ("stddev", 0.2))), (3,)).mean == -0.3


def test_orthogonal_matrices_have_no_distribution_of_entries():
    with pytest.raises(UsageError, match="no distribution of their own"):
        entry_distribution(InitializerSpec("Orthogonal"), (3, 4))


@pytest.mark.parametrize("kind", first_only("montecarlo", KINDS))
@pytest.mark.parametrize("between", first_only("montecarlo", ["columns", "rows", "draws", "order"]))
def test_independent_numbers_give_p_values_that_are_seldom_small(kind, between):
    """Over fresh seeds: at most one in twenty below .05, for each test by itself; bounds and raised ones are below."""
    p_values = {}
    for seed in range(60):
        table = RunContext(seed).measure(Independence((draws(kind, (40, 50), 6),), between))
        for member, p_value in zip(table["member"], table["p_value"], strict=True):
            p_values.setdefault(member, []).append(p_value)
    for member, found in p_values.items():
        small = np.mean(np.asarray(found) < 0.05)
        assert small <= 0.05 + STANDARD_ERRORS * math.sqrt(0.05 * 0.95 / len(found)), member


@pytest.mark.parametrize(
    ("shape", "count", "between"),
    [
        ((12,), 12, "order"),
        ((12,), 12, "draws"),
        *(
            (shape, count, each)
            for shape, count in (((7, 2), 400), ((31, 32), 30))
            for each in ("order", "rows", "draws")
        ),
    ],
)
def test_draws_of_few_entries_are_taken_for_dependent_as_seldom_as_others(shape, count, between):
    """One in a million for each of at most 22 tests: their counts of p < .1 and of p < .01 over 200 seeds."""
    p_values = {}
    for seed in range(200):
        table = RunContext(seed).measure(Independence((draws("normal", shape, count),), between))
        for member, p_value in zip(table["member"], table["p_value"], strict=True):
            p_values.setdefault(member, []).append(p_value)
    # P-values that were raised for their tails are ten times those of the test.
    factor = 10.0 if between == "order" else 1.0
    for member, found in p_values.items():
        for level in (0.1, 0.01):
            small = int(np.sum(np.asarray(found) < factor * level))
            assert stats.binom.sf(small - 1, len(found), level) > 1e-6, (member, level, small)


@pytest.mark.parametrize("kind", first_only("montecarlo", KINDS))
@pytest.mark.parametrize("moment", first_only("montecarlo", ["variance", "mean", "tails", "sign"]))
def test_the_standard_errors_of_moments_are_their_standard_deviations_over_seeds(kind, moment):
    tables = [RunContext(seed).measure(Moments((draws(kind, (50, 40), 1),), moment)) for seed in range(300)]
    found = np.asarray([float(table["estimate"].iloc[0]) for table in tables])
    error = float(tables[0]["standard_error"].iloc[0])
    # The standard deviation of 300 numbers is known to 4% (a little worse for the skewed fourth moment).
    assert abs(found.std() / error - 1.0) <= (0.35 if moment == "tails" else 0.22)
    centre = 0.0 if moment in ("mean", "sign") else 1.0
    assert abs(found.mean() - centre) <= STANDARD_ERRORS * error / math.sqrt(300)


@pytest.mark.parametrize("kind", KINDS)
def test_extremes_of_the_documented_distribution_pass(kind):
    decide = NoDifference("extreme", level=1e-3)
    passed = [decide(RunContext(seed).measure(Extremes((draws(kind),)))).verdict == "pass" for seed in range(40)]
    assert sum(passed) >= 39


SEEN_BY = {
    "variance": lambda member: (Moments((member,), "variance"), EstimateWithin("variance", 0.97, 1.03)),
    "mean": lambda member: (Moments((member,), "mean"), EstimateWithin("mean", -0.03, 0.03)),
    "positive": lambda member: (Moments((member,), "sign"), EstimateWithin("share", -0.015, 0.015)),
    "half": lambda member: (Fit((member,)), NoDifference("distance")),
    "distribution": lambda member: (Fit((member,)), NoDifference("distance")),
    "support": lambda member: (Extremes((member,)), NoDifference("extreme")),
    "rows": lambda member: (Independence((member,), "rows"), NoDifference("statistic")),
    "columns": lambda member: (Independence((member,), "columns"), NoDifference("statistic")),
    "draws": lambda member: (Independence((member,), "draws"), NoDifference("statistic")),
    "order": lambda member: (Independence((member,), "order"), NoDifference("statistic")),
}


@pytest.mark.parametrize("kind", ["uniform", "truncated_normal"])
def test_entries_beyond_the_support_are_counted(kind):
    weights = {defect: draws(kind, (200, 250), 6, defect=defect) for defect in ("", "support", "clipped", "variance")}
    counted = {name: int(RunContext(3).measure(Beyond((each,)))["deviation"].iloc[0]) for name, each in weights.items()}
    # One entry in a thousand of 300,000 was put there: binomial, within five standard deviations.
    assert abs(counted["support"] - 300) <= 5 * math.sqrt(300)
    assert (counted[""], counted["clipped"]) == (0, 0)
    # By another way, on either side.
    values = weights["variance"].draw(RunContext(3)).ravel()
    low, high = weights["variance"].subject.distribution((200, 250)).support
    below, above = (int(np.sum(side)) for side in (values < low - 1e-6, values > high + 1e-6))
    assert counted["variance"] == below + above and min(below, above) > 100


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("defect", SEEN_BY)
def test_a_defect_is_seen_and_its_absence_too(kind, defect):
    for name in ("", defect):
        member = draws(kind, (200, 250), 6, defect=name)
        experiment, decide = SEEN_BY[defect](member)
        assert decide(RunContext(3).measure(experiment)).verdict == ("fail" if name else "pass")


@pytest.mark.parametrize("between", ["columns", "rows", "draws", "order"])
@pytest.mark.parametrize("defect", ["variance", "mean", "positive", "half", "distribution"])
def test_no_other_distribution_is_taken_for_dependence(defect, between):
    member = draws("normal", (60, 80), 8, defect=defect)
    assert NoDifference("statistic")(RunContext(3).measure(Independence((member,), between))).verdict == "pass"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("defect", ["variance", "mean"])
def test_mean_and_variance_have_no_part_in_the_shape_of_a_distribution(kind, defect):
    member = draws(kind, (200, 250), 6, defect=defect)
    assert NoDifference("distance")(RunContext(3).measure(Fit((member,)))).verdict == "pass"
    tails = EstimateWithin("kurtosis", 0.9, 1.1)
    assert tails(RunContext(3).measure(Moments((member,), "tails"))).verdict == "pass"


@dataclass(frozen=True)
class Given:
    """An initializer whose values are known."""

    values: tuple[float, ...]

    @property
    def label(self):
        return "given"

    def create(self, _):
        return lambda shape, dtype: np.asarray(self.values, dtype).reshape(shape)


def given(*values, mean=0.0):
    member = Draws(Subject("given", Given(values), EntryDistribution("normal", mean, 1.0)), (len(values),), 2)
    return (member,)


@dataclass(frozen=True)
class Sequence:
    """Weights that are given, one after the other in the order in which they are asked for."""

    weights: tuple[tuple[float, ...], ...]
    label = "a sequence"

    def create(self, seed):
        place = _PLACES.setdefault(self, itertools.cycle(self.weights))
        return lambda shape, dtype=None: np.asarray(next(place)).reshape(shape)


_PLACES = {}


def test_entries_that_are_not_finite_are_counted():
    table = RunContext(0).measure(Finite(given(1.0, math.nan, -math.inf)))
    assert table["deviation"].tolist() == [4.0]
    assert RunContext(0).measure(Finite(given(1.0, 2.0)))["deviation"].tolist() == [0.0]


def test_equal_pairs_are_compared_with_those_of_so_many_bits_and_of_rounding():
    # Two draws of (0, 0, 1): four zeros and two ones, 6 + 1 pairs of 15.
    found = float(RunContext(0).measure(Repeats(given(0.0, 0.0, 1.0), bits=2))["deviation"].iloc[0])
    chance = 2.0**-2 + 2.0 * 0.5 * 2.0**-23 / 3.0
    assert found == pytest.approx(7.0 / (15.0 * chance))
    # Around 10^6 all normal numbers of deviation 1 are multiples of 1/16: that is counted, and no fault.
    rounded = Repeats(given(1e6, 1e6, 1e6 + 1.0, mean=1e6), bits=40)
    expected = 15.0 * 2.0**-23 * (3e6 + 1.0) / 3.0
    assert float(RunContext(0).measure(rounded)["deviation"].iloc[0]) == pytest.approx(7.0 / expected, rel=1e-4)


@pytest.mark.parametrize("centre", [0.0, 3.0])
def test_tails_are_the_kurtosis_around_the_entries_own_mean(centre):
    values = np.random.default_rng(0).standard_normal(2000).astype(np.float32)
    member = Draws(
        Subject("given", Given(tuple(values.tolist())), EntryDistribution("normal", centre, 2.0)), (2000,), 1
    )
    found = float(RunContext(0).measure(Moments((member,), "tails"))["estimate"].iloc[0])
    assert found == pytest.approx(stats.kurtosis(values.astype(np.float64), fisher=False) / 3.0, rel=1e-6)


def test_a_handful_of_vectors_has_the_distribution_that_its_fixed_sum_leaves():
    """Of four draws sums and sizes have three degrees of freedom, of which the mean square is one."""
    found = {}
    for seed in range(400):
        table = RunContext(seed).measure(Independence((draws("normal", (30, 40), 4),), "draws"))
        for member, effect in zip(table["member"], table["effect"], strict=True):
            found.setdefault(member.partition(" of (")[0], []).append(effect)
    for name in ("variance of sums", "variance of sizes"):
        error = math.sqrt(2.0 / 3.0 / 400)
        assert abs(np.mean(found[name]) - 1.0) <= STANDARD_ERRORS * error, name


def test_vectors_of_a_draw_have_one_degree_of_freedom_less_in_each():
    found = {}
    for seed in range(60):
        table = RunContext(seed).measure(Independence((draws("normal", (4, 40), 30),), "rows"))
        for member, effect in zip(table["member"], table["effect"], strict=True):
            found.setdefault(member.partition(" of (")[0], []).append(effect)
    for name in ("variance of sums", "variance of sizes"):
        error = math.sqrt(2.0 / (3.0 * 30) / 60)
        assert abs(np.mean(found[name]) - 1.0) <= STANDARD_ERRORS * error, name


def test_draws_of_unequal_size_depend_on_each_other_and_not_within():
    values = np.random.default_rng(3).standard_normal((4, 30, 50)) * np.sqrt([0.7, 1.3, 0.7, 1.3])[:, None, None]
    member = Draws(Subject("sizes", Sequence(tuple(map(tuple, values.reshape(4, -1))))), (30, 50), 4)
    decide = NoDifference("statistic")
    for between in ("columns", "rows", "order"):
        assert decide(RunContext(0).measure(Independence((member,), between))).verdict == "pass", between
    assert decide(RunContext(0).measure(Independence((member,), "draws"))).verdict == "fail"


def test_matrices_that_are_rotations_alone_and_turns_by_eighths_are_seen():
    angles = np.random.default_rng(4).uniform(0.0, 2.0 * np.pi, 2000)
    eighths = np.round(angles / (np.pi / 4.0)) * (np.pi / 4.0)
    decide = NoDifference("distance")
    for turns, test in ((angles, "determinant"), (eighths, "first entry")):
        rows = [[np.cos(turns), -np.sin(turns)], [np.sin(turns), np.cos(turns)]]
        matrices = np.moveaxis(np.asarray(rows), 2, 0).reshape(len(turns), -1)
        member = Draws(Subject(test, Sequence(tuple(map(tuple, matrices)))), (2, 2), len(turns))
        table = RunContext(0).measure(FourthPowers((member,)))
        assert decide(table).verdict == "fail"
        assert table.set_index("member")["p_value"][f"{test} of (2,2)"] < 1e-6
        assert table.set_index("member")["p_value"]["fourth powers of (2,2)"] > 1e-3


def test_sums_of_fourth_powers_have_their_documented_mean_and_deviation():
    for shape in ((2, 2), (3, 3)):
        member = Draws(Subject("numpy_orthogonal", NumpyTarget("orthogonal")), shape, 400)
        tables = [RunContext(seed).measure(FourthPowers((member,))) for seed in range(60)]
        found = np.asarray([float(table["effect"].iloc[0]) for table in tables])
        columns = np.random.default_rng(0).standard_normal((200_000, shape[0]))
        sums = np.sum((columns / np.linalg.norm(columns, axis=1, keepdims=True)) ** 4, axis=1)
        error = sums.std() / sums.mean() / math.sqrt(400)
        assert abs(found.mean() - 1.0) <= STANDARD_ERRORS * error / math.sqrt(60)
        assert abs(found.std() / error - 1.0) <= STANDARD_ERRORS / math.sqrt(2 * 60)
        # What is surely seen is so many standard errors away, the number being that of Haar's other tests.
        assert float(tables[0]["detectable"].iloc[0]) - 1.0 == pytest.approx(STANDARD_ERRORS_SEEN * error, rel=0.01)


def test_factorized_uniform_entries_are_off_by_what_the_integral_says():
    member = Draws(Subject("numpy_orthogonal", NumpyTarget("orthogonal")), (2, 2), 2000)
    table = RunContext(0).measure(FourthPowers((member,), of_uniform=True))
    # The mean of cos 4t is 3 - pi for t the angle of a uniform point of the square.
    assert float(table["effect"].iloc[0]) == pytest.approx((3.0 + 3.0 - math.pi) / 3.0, abs=0.02)
    assert NoDifference("sum")(table).verdict == "fail"
    assert NoDifference("sum")(RunContext(0).measure(FourthPowers((member,)))).verdict == "pass"


def test_every_defect_has_its_note():
    assert all(defect.note for defect in DEFECTS.values())


@pytest.mark.parametrize("shape", [(9, 9), (12, 5), (5, 12)])
def test_uniform_orthogonal_matrices_pass_and_unsigned_ones_fail(shape):
    member = Draws(Subject("numpy_orthogonal", NumpyTarget("orthogonal")), shape, 300)
    decide = NoDifference("distance")
    assert decide(RunContext(0).measure(Haar((member,)))).verdict == "pass"
    assert decide(RunContext(0).measure(Haar((member,), unsigned=True))).verdict == "fail"
    table = RunContext(0).measure(Orthonormality((Draws(member.subject, shape, 3, "float64"),)))
    assert (table["deviation"] <= table["limit"]).all()


def test_another_shape_than_the_one_asked_for_is_refused():
    wrong = Subject("wrong", NumpyTarget("normal"), EntryDistribution("normal", 0.0, 1.0))

    class Transposed:
        label = "transposed"

        def create(self, seed):
            return lambda shape, dtype=None: np.zeros(shape[::-1])

    with pytest.raises(InitializerError, match=r"returned the shape \(3, 2\)"):
        Draws(Subject(wrong.slug, Transposed()), (2, 3), 1).draw(RunContext(0))


@pytest.mark.parametrize("kind", first_only("montecarlo", KINDS))
def test_the_largest_entry_has_the_stated_law(kind):
    entry = EntryDistribution(kind, 0.0, 1.0)
    drawn = np.asarray([NumpyTarget(kind).create(seed)((2000,)).max() for seed in range(400)])
    largest = (drawn - MEAN) / DEVIATION
    for probability in (0.1, 0.5, 0.9):
        share = np.mean(largest <= entry.largest(probability, 2000))
        assert abs(share - probability) <= STANDARD_ERRORS * math.sqrt(probability * (1 - probability) / 400)


@pytest.mark.parametrize("kind", KINDS)
def test_tails_that_are_shorter_by_what_is_called_detectable_are_seen(kind):
    member = draws(kind, (200, 250), 4)
    table = RunContext(0).measure(Extremes((member,)))
    detectable = float(table["detectable"].iloc[0])
    entry = member.subject.distribution(member.shape)
    reach = entry.support[1] - entry.mean if math.isfinite(entry.support[1]) else entry.standard_deviation
    largest = entry.largest(0.999, member.entries) * entry.standard_deviation / reach
    assert 0.0 < detectable < largest / 2.0
    shrunk = Draws(
        Subject(f"shrunk_{kind}", Shrunk(NumpyTarget(kind), 1.0 - detectable / largest), entry), member.shape, 4
    )
    assert NoDifference("extreme")(RunContext(0).measure(Extremes((shrunk,)))).verdict == "fail"


@dataclass(frozen=True)
class Shrunk:
    """An initializer whose values are drawn nearer to the mean."""

    target: NumpyTarget
    factor: float

    @property
    def label(self):
        return "shrunk"

    def create(self, seed):
        draw = self.target.create(seed)
        return lambda shape, dtype=None: MEAN + self.factor * (draw(shape) - MEAN)
