"""Weights that were loaded or trained are kept and said to be; fresh ones are drawn anew."""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest

import initcheck
from initcheck.models.initializers import INITIALIZERS
from initcheck.probe.loaded_weights import LEVEL, _distribution, _fits, read_present_weights

SEEDS = {"seeds": 4, "fixes": False}


def build_dense(depth=3, **settings):
    layers = [keras.layers.Dense(24, "relu", name=f"hidden{place}", **settings) for place in range(depth)]
    return keras.Sequential([keras.Input((24,)), *layers, keras.layers.Dense(3, name="head")])


def train(model, steps=30):
    rng = np.random.default_rng(0)
    model.compile(keras.optimizers.SGD(0.2), "mse")
    x = rng.normal(size=(32, 24)).astype("float32")
    model.fit(x, x[:, :3], epochs=steps, batch_size=32, verbose=0)
    return model


def loaded(report):
    return report.result.loaded


# --- NaN: keras issue 9055 --------------------------------------------------------------------------------------------


def build_holed():
    model = build_dense()
    kernel = model.get_layer("hidden1").kernel
    values = keras.ops.convert_to_numpy(kernel).copy()
    values[5] = np.nan
    kernel.assign(values)
    return model


def test_nan_in_the_weights_is_found_where_it_is():
    report = initcheck.check(build_holed, **SEEDS)
    assert report.exit_code == 1
    finding = report.findings[0]
    assert (finding.code, finding.layer) == ("IC501", "hidden1")
    assert loaded(report) == ("hidden1/kernel",)
    second = report.to_text().split("\n")[1]
    assert second.startswith("1 of 8 weights not drawn by the initializers (loaded or trained): kept as they are.")
    document = json.loads(report.to_json())["coverage"]
    assert document["loaded"] == document["not_finite"] == ["hidden1/kernel"]
    assert document["gaps"] == []


def test_weights_that_are_drawn_anew_in_place_of_nan_are_named():
    report = initcheck.check(build_holed, weights="redraw", **SEEDS)
    assert report.exit_code == 0
    assert loaded(report) == ()
    assert "The model's own weights hold NaN or infinity: hidden1/kernel." in " ".join(report.to_text().split())


def test_fresh_weights_are_drawn_without_a_word():
    report = initcheck.check(build_dense, **SEEDS)
    assert report.exit_code == 0
    assert (report.result.redrawn, loaded(report)) == (True, ())
    assert not any(word in report.to_text() for word in ("not drawn by", "kept as they are", "NaN"))


# --- trained, set on purpose, saved -----------------------------------------------------------------------------------


def test_a_trained_model_is_one_draw():
    model = train(build_dense(kernel_initializer="he_normal"))
    report = initcheck.check(model, **SEEDS)
    assert not report.result.redrawn
    assert len(report.result.seeds) == 1
    assert set(loaded(report)) == {weight for layer in (*"012",) for weight in _of(f"hidden{layer}")} | {*_of("head")}
    norm = float(np.linalg.norm(model.get_layer("hidden0").kernel.numpy().astype(np.float64)))
    row = report.result.weights.set_index("weight").loc["hidden0/kernel"]
    assert float(row["weight_norm"]) == pytest.approx(norm, rel=1e-6)


def _of(layer):
    return f"{layer}/kernel", f"{layer}/bias"


def test_a_bias_that_is_set_on_purpose_stays_and_all_else_is_drawn():
    model = build_dense()
    model.get_layer("head").bias.assign([-4.0, 0.0, 4.0])
    report = initcheck.check(model, **SEEDS)
    assert loaded(report) == ("head/bias",)
    norms = report.result.weights.pivot(index="seed", columns="weight", values="weight_norm")
    assert norms["head/bias"].nunique() == 1
    assert float(norms["head/bias"].iloc[0]) == pytest.approx(32.0**0.5, rel=1e-6)
    assert norms["head/kernel"].nunique() == norms["hidden0/kernel"].nunique() == 4
    again = initcheck.check(model, weights="redraw", **SEEDS)
    assert again.result.weights.set_index("weight").loc["head/bias", "weight_norm"].eq(0.0).all()


class Branches(keras.Model):
    """Two branches, one of which is handed over trained; not a functional model."""

    def __init__(self):
        super().__init__()
        self.backbone = build_dense(1, kernel_initializer="lecun_normal")
        self.fresh = keras.layers.Dense(3, kernel_initializer="orthogonal", name="fresh")

    def call(self, inputs):
        return self.backbone(inputs) + self.fresh(inputs)


def test_a_trained_part_is_kept_and_a_fresh_one_is_drawn():
    model = Branches()
    x = np.random.default_rng(1).normal(size=(16, 24)).astype("float32")
    model(x)
    train(model.backbone)
    report = initcheck.check(model, x, **SEEDS)
    assert {path.rpartition("/")[0].rpartition("/")[2] for path in loaded(report)} == {"hidden0", "head"}
    assert report.result.redrawn
    norms = report.result.weights.pivot(index="seed", columns="weight", values="gradient_norm")
    assert norms.nunique().min() >= 1
    assert not any("fresh" in path for path in loaded(report))


def test_a_saved_model_is_drawn_if_fresh_and_kept_if_trained(tmp_path):
    fresh, trained = build_dense(), train(build_dense())
    reports = []
    for name, model in (("fresh", fresh), ("trained", trained)):
        model.save(tmp_path / f"{name}.keras")
        reports.append(initcheck.check(str(tmp_path / f"{name}.keras"), **SEEDS))
    assert [report.result.redrawn for report in reports] == [True, False]


def test_moving_statistics_are_kept_without_a_word():
    model = keras.Sequential(
        [keras.Input((8,)), keras.layers.Dense(8), keras.layers.BatchNormalization(), keras.layers.Dense(2)]
    )
    norm = model.layers[1]
    norm.moving_mean.assign(np.full(8, 3.0))
    report = initcheck.check(model, **SEEDS)
    assert loaded(report) == ()
    kept = report.result.weights.set_index("weight").loc["batch_normalization/moving_mean", "weight_norm"]
    np.testing.assert_allclose(kept.to_numpy(float), 72.0**0.5, rtol=1e-6)


def test_a_baseline_says_how_the_weights_come_about_once_more():
    from initcheck.checking.gate.gate import gate_model, measure_baseline
    from initcheck.checking.settings import CheckSettings

    model = build_dense(1)
    ways = []
    for change in (lambda: model.get_layer("head").bias.assign([1.0, 2.0, 3.0]), lambda: train(model)):
        change()
        _, baseline = measure_baseline(model, settings=CheckSettings(seeds=4))
        ways.append(baseline.recipe.weights)
        assert gate_model(model, baseline).comparison.verdict == "same"
    assert ways == ["auto", "keep"]


# --- how often the test is right --------------------------------------------------------------------------------------

DRAWN = {
    "RandomNormal": {"stddev": 0.02},
    "RandomUniform": {"minval": -1.0, "maxval": 3.0},
    "TruncatedNormal": {"mean": 0.5, "stddev": 0.1},
    "GlorotUniform": {},
    "HeNormal": {},
    "VarianceScaling": {"mode": "fan_out", "distribution": "untruncated_normal"},
}


def _draws(name, shape, count):
    made = [getattr(keras.initializers, name)(**DRAWN[name], seed=seed) for seed in range(count)]
    drawn = _distribution(made[0], INITIALIZERS[name], shape)
    return drawn, [keras.ops.convert_to_numpy(each(shape)) for each in made]


@pytest.mark.parametrize("name", DRAWN)
def test_fresh_weights_are_seldom_doubted(name):
    """At a level of 1 in 10 at most 60 of 300 draws may be doubted: 5 standard deviations above the mean of 30."""
    for shape in ((3,), (7, 9)):
        drawn, values = _draws(name, shape, 150)
        assert sum(not _fits(each, drawn, "float32", 0.1) for each in values) <= 30
        assert all(_fits(each, drawn, "float32", LEVEL) for each in values)


@pytest.mark.parametrize("name", DRAWN)
def test_a_scale_that_is_off_by_a_tenth_shows_in_twenty_thousand_entries(name):
    drawn, values = _draws(name, (100, 200), 5)
    for factor in (0.9, 1.1):
        assert not any(
            _fits(((each - drawn.mean) * factor + drawn.mean).astype("float32"), drawn, "float32", LEVEL)
            for each in values
        )
    shifted = [(each + 0.1 * drawn.variance**0.5).astype("float32") for each in values]
    assert not any(_fits(each, drawn, "float32", LEVEL) for each in shifted)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_the_grain_of_a_half_precision_is_no_evidence(dtype):
    for name in ("GlorotUniform", "HeNormal", "RandomNormal"):
        initializer = getattr(keras.initializers, name)(seed=1)
        values = keras.ops.convert_to_numpy(initializer((300, 300), dtype=dtype)).astype("float32")
        drawn = _distribution(initializer, INITIALIZERS[name], (300, 300))
        assert _fits(values, drawn, dtype, LEVEL)
        assert not _fits(1.2 * values, drawn, dtype, LEVEL)


def _is_loaded(initializer, change):
    """Find whether a kernel counts as loaded once its fresh values were changed."""
    model = keras.Sequential([keras.Input((12,)), keras.layers.Dense(12, kernel_initializer=initializer)])
    from initcheck.probe.draw import find_initializers
    from initcheck.probe.paths import PathNamer

    found = find_initializers(model, PathNamer(model))
    model.layers[0].kernel.assign(change(keras.ops.convert_to_numpy(model.layers[0].kernel)))
    return bool(read_present_weights(model, found).loaded)


def _plain(shape, dtype=None):
    return keras.random.normal(shape, dtype=dtype)


@pytest.mark.parametrize(
    ("initializer", "change", "loaded"),
    [
        ("orthogonal", lambda values: values, False),
        ("orthogonal", lambda values: values[::-1], False),
        ("orthogonal", lambda values: 1.5 * values, True),
        ("orthogonal", lambda values: values + 0.1, True),
        (_plain, lambda values: 7.0 * values, False),
        (_plain, lambda values: values * np.nan, True),
        (_plain, lambda values: values * 0.0 + 3.0, True),
    ],
)
def test_what_no_draw_can_give_counts_as_loaded(initializer, change, loaded):
    """An orthogonal matrix keeps lengths; of an initializer that is not known, draws are finite and vary."""
    assert _is_loaded(initializer, change) == loaded


def test_every_layer_of_keras_is_fresh_when_it_is_made():
    inputs = keras.Input((6, 8))
    x = keras.layers.MultiHeadAttention(2, 4, kernel_initializer="orthogonal")(inputs, inputs)
    x = keras.layers.LayerNormalization()(keras.layers.Bidirectional(keras.layers.LSTM(5, return_sequences=True))(x))
    x = keras.layers.GRU(4, return_sequences=True)(keras.layers.EinsumDense("abc,cd->abd", (6, 7), bias_axes="d")(x))
    x = keras.layers.Conv1D(6, 3)(keras.layers.SeparableConv1D(6, 2)(x))
    tokens = keras.Input((3,))
    y = keras.layers.Embedding(11, 6)(tokens)
    model = keras.Model(
        [inputs, tokens], [keras.layers.PReLU()(x), keras.layers.SpectralNormalization(keras.layers.Dense(2))(y)]
    )
    from initcheck.probe.draw import find_initializers
    from initcheck.probe.paths import PathNamer

    found = find_initializers(model, PathNamer(model))
    assert len(found) > 20
    assert read_present_weights(model, found).loaded == ()
