import inspect
import math
import pickle
import random
from typing import Any

import keras
import numpy as np
import pytest
from keras_features import HAS_AXES

from initcheck.cli import main
from initcheck.core.errors import InitializerError, UsageError
from initcheck.models import initializers
from initcheck.models.initializers import (
    Drawn,
    InitializerSpec,
    KnownInitializer,
    in_one_line,
    installed_initializers,
    parse_initializer,
    read,
    read_initializer,
    read_nearest,
    study_initializers,
    uncovered_initializers,
)
from initcheck.prediction import ModelPredictor
from initcheck.probe import Probe
from initcheck.probe.draw import RedrawPlan
from initcheck.probe.weights import describe_weights, name_initializer
from initcheck.spec.subjects import Subject, cite
from initcheck.theory.weights import weight_distribution


def values_of(spec: InitializerSpec, seed: int, shape: tuple[int, ...] = (6, 4)) -> np.ndarray:
    return keras.ops.convert_to_numpy(spec.create(seed)(shape))


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("HeNormal", "HeNormal"),
        ("he_normal", "HeNormal"),
        ("HE_NORMAL", "HeNormal"),
        (" henormal ", "HeNormal"),
        ("HeNormal()", "HeNormal"),
        ("glorot_uniform", "GlorotUniform"),
        ("IdentityInitializer", "Identity"),
        ("OrthogonalInitializer", "Orthogonal"),
        ("random_normal(stddev=1)", "RandomNormal(stddev=1.0)"),
        ("RandomUniform(maxval=2, minval=-1e-3)", "RandomUniform(minval=-0.001, maxval=2.0)"),
        (
            "VarianceScaling(distribution='uniform', mode='fan_avg', scale=2)",
            "VarianceScaling(scale=2.0, mode='fan_avg', distribution='uniform')",
        ),
    ],
)
def test_an_initializer_is_read_in_every_spelling_and_has_one_label(text: str, label: str) -> None:
    assert parse_initializer(text).label == label


@pytest.mark.parametrize("spec", study_initializers(), ids=lambda spec: spec.label)
def test_a_label_of_the_study_reads_back_as_the_same_spec(spec: InitializerSpec) -> None:
    assert parse_initializer(spec.label) == spec


@pytest.mark.parametrize("spec", study_initializers(), ids=lambda spec: spec.label)
def test_an_initializer_of_the_study_draws_what_keras_draws_with_that_seed(spec: InitializerSpec) -> None:
    initializer_class = getattr(keras.initializers, spec.class_name)
    takes_seed = "seed" in inspect.signature(initializer_class).parameters
    arguments = dict(spec.arguments) | ({"seed": 11} if takes_seed else {})
    expected = keras.ops.convert_to_numpy(initializer_class(**arguments)((6, 4)))
    assert np.array_equal(values_of(spec, 11), expected)
    assert np.array_equal(values_of(spec, 12), expected) is not takes_seed


def test_the_defaults_of_the_study_are_those_that_its_comments_name() -> None:
    assert keras.initializers.RandomNormal().stddev == 0.05
    default = keras.initializers.VarianceScaling()
    assert (default.scale, default.mode, default.distribution) == (1.0, "fan_in", "truncated_normal")
    lecun = keras.initializers.LecunNormal()
    assert (lecun.scale, lecun.mode, lecun.distribution) == (1.0, "fan_in", "truncated_normal")


def test_the_study_lists_no_initializer_twice_and_no_variance_scaling_that_has_a_name_of_its_own() -> None:
    labels = [spec.label for spec in study_initializers()]
    assert len(set(labels)) == len(labels) == 19
    draws = {spec.label: values_of(spec, 3, (30, 20)) for spec in study_initializers()}
    equal = {
        (first, second)
        for index, first in enumerate(labels)
        for second in labels[index + 1 :]
        if np.array_equal(draws[first], draws[second])
    }
    assert equal == {("VarianceScaling", "LecunNormal")}


def test_the_study_shows_every_mode_and_every_distribution_of_variance_scaling() -> None:
    created = [spec.create(0) for spec in study_initializers()]
    scaling = [instance for instance in created if isinstance(instance, keras.initializers.VarianceScaling)]
    assert {instance.mode for instance in scaling} == {"fan_in", "fan_out", "fan_avg"}
    assert {instance.distribution for instance in scaling} == {"truncated_normal", "untruncated_normal", "uniform"}


def test_nothing_of_the_installed_keras_is_missing_from_the_study_without_a_reason() -> None:
    covered = {spec.class_name for spec in study_initializers()}
    uncovered = uncovered_initializers()
    assert covered | set(uncovered) == set(installed_initializers())
    assert not covered & set(uncovered)
    assert all(uncovered.values())
    assert uncovered["STFT"] != initializers._GENERIC_REASON


def test_installed_initializers_are_the_exported_classes_each_once() -> None:
    exported = [getattr(keras.initializers, name) for name in dir(keras.initializers)]
    classes = {item for item in exported if inspect.isclass(item) and issubclass(item, keras.Initializer)}
    names = installed_initializers()
    assert len(names) == len(set(names)) == len(classes) - 1  # all but the base class
    assert "Initializer" not in names
    assert {"HeNormal", "Orthogonal", "STFT"} <= set(names)


def test_an_initializer_that_a_newer_keras_brings_is_listed_with_the_generic_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Unheard(keras.initializers.Initializer):
        pass

    monkeypatch.setattr(keras.initializers, "Unheard", Unheard, raising=False)
    monkeypatch.setattr(keras.initializers, "unheard", Unheard, raising=False)
    assert uncovered_initializers()["Unheard"] == "not in the study's list"
    assert list(uncovered_initializers()) == sorted(uncovered_initializers())


def test_a_spec_is_equal_hashed_and_pickled_by_its_content() -> None:
    first = InitializerSpec("VarianceScaling", (("mode", "fan_out"), ("distribution", "uniform")))
    second = InitializerSpec("VarianceScaling", (("distribution", "uniform"), ("mode", "fan_out")))
    assert first == second
    assert hash(first) == hash(second)
    assert first.arguments == (("distribution", "uniform"), ("mode", "fan_out"))
    assert first != InitializerSpec("VarianceScaling", (("mode", "fan_out"),))
    restored = pickle.loads(pickle.dumps(first))
    assert restored == first
    assert np.array_equal(values_of(restored, 5), values_of(first, 5))


@pytest.mark.skipif(not HAS_AXES, reason="this Keras has no input_axes")
def test_list_arguments_are_kept_as_tuples_and_given_to_keras_as_lists() -> None:
    spec = parse_initializer("VarianceScaling(input_axes=[0], output_axes=[1, 2])")
    assert spec.arguments == (("input_axes", (0,)), ("output_axes", (1, 2)))
    assert hash(spec) == hash(parse_initializer(spec.label))
    assert spec.create(1).output_axes == [1, 2]


def test_without_a_seed_keras_draws_one_of_its_own_and_zero_is_a_seed_like_any_other() -> None:
    spec = parse_initializer("he_normal")
    assert not np.array_equal(spec.create(None)((4, 4)), spec.create(None)((4, 4)))
    assert np.array_equal(values_of(spec, 0), values_of(spec, 0))


def test_creating_with_a_seed_does_not_consume_pythons_random_state() -> None:
    state = random.getstate()
    for spec in study_initializers():
        spec.create(1)
    assert random.getstate() == state


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("he_norml", "Unknown initializer 'he_norml'. Did you mean HeNormal"),
        ("he-normal", "Did you mean HeNormal"),
        ("", "Unknown initializer ''. Known: Constant, "),
        ("Initializer", "Unknown initializer 'Initializer'."),
        ("get", "Unknown initializer 'get'."),
        ("xavier(gain=1.0)", "Unknown initializer 'xavier'."),
        ("RandomNormal(std=1.0)", "RandomNormal has no argument 'std'. It takes mean, stddev."),
        ("Zeros(value=1)", "Zeros has no argument 'value'. It takes none."),
        ("RandomNormal(seed=1)", "Leave seed out"),
        ("Zeros(seed=1)", "Leave seed out"),
        ("RandomNormal(1.0)", "Cannot read the initializer 'RandomNormal(1.0)'."),
        ("RandomNormal(stddev=1.0", "Cannot read the initializer"),
        ("RandomNormal(stddev=1, stddev=2)", "Cannot read the initializer"),
        ("RandomNormal(**{'stddev': 1})", "Cannot read the initializer"),
        ("RandomNormal(stddev=__import__('os').getpid())", "Cannot read the initializer"),
        ("RandomNormal(stddev=2*3)", "Cannot read the initializer"),
        ("STFT(window={'a': 1})", "Cannot read the initializer"),
        ("keras.initializers.HeNormal()", "Cannot read the initializer"),
        ("(HeNormal)", "Cannot read the initializer"),
        ("HeNormal(\x00)", "Cannot read the initializer"),
        ("RandomNormal(stddev='large')", "stddev must be a finite number."),
        ("RandomNormal(stddev=True)", "stddev must be a finite number."),
        ("RandomNormal(stddev=1e999)", "stddev must be a finite number."),
        (f"RandomNormal(stddev=1{'0' * 400})", "stddev must be a finite number."),
        ("Constant(value=[1, 2])", "value must be a finite number."),
    ],
)
def test_what_cannot_be_read_is_a_usage_error_in_one_line(text: str, message: str) -> None:
    with pytest.raises(UsageError) as raised:
        parse_initializer(text)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "text", ["VarianceScaling(scale=-1)", "VarianceScaling(mode='fan_all')", "VarianceScaling(distribution=3)"]
)
def test_what_keras_refuses_is_an_initializer_error_in_one_line(text: str) -> None:
    with pytest.raises(InitializerError, match=r"^Keras refuses VarianceScaling\(.*\): .+$"):
        parse_initializer(text)


def test_creating_a_class_that_keras_lacks_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match=r"Unknown initializer 'HeNormall'\. Did you mean HeNormal"):
        InitializerSpec("HeNormall").create(0)
    with pytest.raises(UsageError, match="Unknown initializer 'deserialize'"):
        InitializerSpec("deserialize").create(0)


def test_an_error_of_keras_is_cut_to_one_short_line() -> None:
    assert in_one_line(ValueError("first\n\n  second")) == "first second"
    assert in_one_line(ValueError()) == "ValueError"
    assert len(in_one_line(ValueError("word " * 1000))) <= 300


@keras.saving.register_keras_serializable("tests")
class Wide(keras.initializers.Initializer):
    """A class that a future Keras might bring: uniform weights of a given standard deviation, times a gain."""

    def __init__(self, stddev: float = 0.1, gain: float = 2.0, seed: int | None = None) -> None:
        self.stddev, self.gain, self.seed = stddev, gain, seed

    def __call__(self, shape: tuple[int, ...], dtype: str | None = None) -> Any:
        edge = math.sqrt(3.0) * self.gain * self.stddev
        return keras.random.uniform(shape, -edge, edge, dtype=dtype, seed=self.seed)

    def get_config(self) -> dict[str, Any]:
        return {"stddev": self.stddev, "gain": self.gain, "seed": self.seed}


class TestRecipe:
    """The recipe of CONTRIBUTING.md for a new initializer, followed: one row, and every module knows the class."""

    @pytest.fixture(autouse=True)
    def _row(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(keras.initializers, "Wide", Wide, raising=False)
        row = KnownInitializer(
            "Wide",
            {"stddev": 0.1, "gain": 2.0},
            draw=lambda call: Drawn("uniform", 0.0, (call.settings["gain"] * call.settings["stddev"]) ** 2),
            ignores_size=True,
            source="nobody, never",
            studied=({}, {"gain": 1.0}),
        )
        monkeypatch.setitem(initializers.INITIALIZERS, "Wide", row)

    def test_it_is_read_from_text_and_from_objects_and_has_one_label(self) -> None:
        spec = InitializerSpec("Wide", (("stddev", 0.3),))
        assert parse_initializer("wide(stddev=0.3)") == read_initializer("wide(stddev=0.3)") == spec
        assert read(spec.create(5)) == read_nearest(spec.create(5)) == spec
        assert name_initializer(spec.create(5)) == "Wide(stddev=0.3)"
        assert InitializerSpec("Wide", (("stddev", 0.3), ("gain", 1.0))).label == "Wide(gain=1.0, stddev=0.3)"

    def test_the_report_measures_it(self) -> None:
        assert [spec.label for spec in study_initializers()][-2:] == ["Wide", "Wide(gain=1.0)"]
        assert "Wide" not in uncovered_initializers()

    def test_its_weights_have_the_distribution_of_the_row_and_predict_follows_it(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        weights = weight_distribution(InitializerSpec("Wide"), (200, 100))
        assert (weights.distribution, weights.kurtosis, weights.variance) == ("uniform", 1.8, pytest.approx(0.04))
        drawn = values_of(InitializerSpec("Wide"), 3, (200, 100))
        assert drawn.var() == pytest.approx(weights.variance, rel=5.0 * math.sqrt(0.8 / drawn.size))
        assert main(["predict", "--initializer", "wide(stddev=0.05)", "--width", "50", "--depth", "3"]) == 0
        assert capsys.readouterr().out.startswith("Wide(stddev=0.05), relu: 3 layers of 50 units")

    def test_a_model_that_uses_it_is_described_and_predicted(self) -> None:
        dense = keras.layers.Dense(30, "relu", kernel_initializer=Wide(stddev=0.2), name="hidden")
        model = keras.Sequential([keras.Input((20,)), dense, keras.layers.Dense(2, name="output")])
        facts = {each.path: each for each in describe_weights(model, RedrawPlan(model))}["hidden/kernel"]
        assert (facts.initializer, facts.constant, facts.mode) == ("Wide(stddev=0.2)", False, "")
        assert facts.variance == pytest.approx(0.16)
        x = np.random.default_rng(0).normal(size=(4, 20)).astype("float32")
        prediction = ModelPredictor(model, x).predict(Probe(model, x).measure([0]))
        assert prediction.sites["hidden", 0].values["weight_variance"] == pytest.approx(0.16)

    def test_its_source_is_cited(self) -> None:
        cited = cite(Subject("wide", InitializerSpec("Wide")))
        assert cited == "Keras, keras.initializers.Wide; nobody, never"
