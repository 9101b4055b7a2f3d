"""The claims of layers' defaults notice what they are there to notice."""

import dataclasses

import numpy as np
import pytest

from initcheck.backend.runtime import import_keras
from initcheck.spec.claim import RunContext, Verdict, make_table
from initcheck.spec.decisions import AllWithin, NoDifference
from initcheck.spec.topics.layer_defaults import claims
from initcheck.spec.topics.layer_defaults.measurement import Declared, declared_rows, exact_rows, fit_rows, limit_of
from initcheck.spec.topics.layer_defaults.table import LAYERS, WITHOUT_ARGUMENT, Argument, layer_named

EXACT = AllWithin("deviation")
FIT = NoDifference("distance", largest_detectable=0.2)
CLAIMS = {claim.id: claim for claim in claims()}
ENTRIES = 3600


def outcome(claim_id):
    return RunContext(0).judge(CLAIMS[claim_id], with_control=False)


def test_every_argument_has_its_claims():
    for layer in LAYERS:
        for argument in layer.arguments:
            stem = f"layer_defaults.{layer.subject}.{argument.name}"
            assert {stem, f"{stem}_is_used"} <= CLAIMS.keys()


def test_claims_are_values():
    assert hash(tuple(claims())) == hash(tuple(claims()))
    assert all(dataclasses.is_dataclass(claim.experiment) for claim in claims())
    assert {claim.false_alarm for claim in claims()} == {0.0, 1e-6}


@pytest.mark.parametrize(
    ("name", "subject"),
    [
        ("Conv2DTranspose", "conv2d_transpose"),
        ("SimpleRNNCell", "simple_rnn_cell"),
        ("ConvLSTM3D", "conv_lstm3d"),
        ("PReLU", "prelu"),
        ("GRU", "gru"),
        ("RMSNormalization", "rms_normalization"),
    ],
)
def test_subjects_are_words(name, subject):
    assert layer_named(name).subject == subject
    assert len({layer.subject for layer in (*LAYERS, *WITHOUT_ARGUMENT)}) == len((*LAYERS, *WITHOUT_ARGUMENT))


@pytest.mark.parametrize(
    ("law", "shape", "input_axes", "fans"),
    [
        ("glorot_uniform", (40, 120), 0, 160),
        ("glorot_uniform", (3, 3, 2, 600), 0, 9 * 602),
        ("glorot_uniform", (5000,), 0, 10000),
        ("glorot_uniform", (40, 5, 24), 1, 160),
        ("glorot_uniform", (5, 24, 40), 2, 160),
    ],
)
def test_limit_of_glorots_law(law, shape, input_axes, fans):
    assert limit_of(law, shape, input_axes) == pytest.approx((6 / fans) ** 0.5)


@pytest.mark.parametrize(
    ("factor", "verdict"), [(1.0, Verdict.PASS), (0.95**0.5, Verdict.FAIL), (1.05**0.5, Verdict.FAIL)]
)
def test_a_variance_five_per_cent_off_is_noticed(factor, verdict):
    for seed in range(20):
        values = factor * np.random.default_rng(seed).uniform(-0.05, 0.05, ENTRIES)
        assert FIT(make_table(fit_rows("w", values, 0.05, 2))).verdict is verdict


def test_another_shape_on_the_same_support_is_noticed():
    values = np.random.default_rng(0).triangular(-0.05, 0.0, 0.05, ENTRIES)
    found = FIT(make_table(fit_rows("w", values, 0.05, 2)))
    assert (found.verdict, found.worst) == (Verdict.FAIL, "w: shape")


ORTHOGONAL = np.linalg.qr(np.random.default_rng(0).normal(size=(30, 30)))[0].astype(np.float32).astype(np.float64)


@pytest.mark.parametrize(
    ("values", "distribution", "verdict"),
    [
        (ORTHOGONAL, "orthogonal", Verdict.PASS),
        (ORTHOGONAL[:10], "orthogonal", Verdict.PASS),
        (ORTHOGONAL[:, :10], "orthogonal", Verdict.PASS),
        (1.001 * ORTHOGONAL, "orthogonal", Verdict.FAIL),
        (np.eye(30), "orthogonal", Verdict.FAIL),
        (np.zeros(0), "zeros", Verdict.INCONCLUSIVE),
    ],
    ids=["square", "fewer rows", "fewer columns", "stretched", "identity", "no entries"],
)
def test_exact_values_are_judged(values, distribution, verdict):
    assert EXACT(make_table(exact_rows("w", values, distribution))).verdict is verdict


@pytest.mark.parametrize(
    ("where", "name", "settings", "deviation"),
    [
        ("signature", "glorot_uniform", None, 0.0),
        ("signature", "GlorotUniform", None, 0.0),
        ("signature", "he_uniform", None, 1.0),
        ("get_config", "GlorotUniform", {"seed": None, "input_axes": None}, 0.0),
        ("get_config", "GlorotUniform", {"seed": 1}, 1.0),
        ("get_config", "GlorotNormal", {"seed": None}, 1.0),
        ("initializer", "GlorotUniform", {}, 1.0),
    ],
)
def test_declarations_are_compared(where, name, settings, deviation):
    argument = Argument("kernel_initializer", "glorot_uniform", ("kernel",))
    (row,) = declared_rows(argument, [Declared(where, name, settings)])
    assert row.deviation == deviation


def test_another_default_in_the_signature_is_noticed(monkeypatch):
    layers = import_keras().layers

    class Dense(layers.Dense):
        def __init__(self, units, kernel_initializer="he_uniform", **others):
            super().__init__(units, kernel_initializer=kernel_initializer, **others)

    monkeypatch.setattr(layers, "Dense", Dense)
    found = outcome("layer_defaults.dense.kernel_initializer")
    assert found.status == "broken"
    assert "5 of 5" in found.reason


def test_a_layer_that_exchanges_its_initializers_is_noticed(monkeypatch):
    layers = import_keras().layers

    class GRUCell(layers.GRUCell):
        def build(self, input_shape):
            self.kernel_initializer, self.recurrent_initializer = self.recurrent_initializer, self.kernel_initializer
            super().build(input_shape)

    monkeypatch.setattr(layers, "GRUCell", GRUCell)
    for argument in ("kernel", "recurrent"):
        assert outcome(f"layer_defaults.gru_cell.{argument}_initializer_is_used").status == "broken"
        assert outcome(f"layer_defaults.gru_cell.{argument}_initializer").status == "broken"
    assert outcome("layer_defaults.gru_cell.bias_initializer_is_used").green


def test_a_seed_that_all_layers_share_is_noticed(monkeypatch):
    keras = import_keras()
    monkeypatch.setattr("keras.src.initializers.random_initializers.random.make_default_seed", lambda: 7)
    assert keras.initializers.GlorotUniform()((2, 2)).shape == (2, 2)
    for layer in ("dense", "multi_head_attention", "separable_conv2d", "bidirectional"):
        assert outcome(f"layer_defaults.{layer}.independent_weights").status == "broken"


def test_forced_zeros_would_turn_the_refuted_claims(monkeypatch):
    layers = import_keras().layers

    class LSTMCell(layers.LSTMCell):
        def build(self, input_shape):
            if self.unit_forget_bias:
                self.bias_initializer = import_keras().initializers.Zeros()
            super().build(input_shape)

    monkeypatch.setattr(layers, "LSTMCell", LSTMCell)
    assert outcome("layer_defaults.lstm_cell.unit_forget_bias_forces_zeros").status == "now holds"
    assert outcome("layer_defaults.lstm_cell.unit_forget_bias_sets_one").status == "broken"


def test_a_layer_that_is_new_or_that_keras_no_longer_has_is_named(monkeypatch):
    layers = import_keras().layers

    class Novel(layers.Layer):
        def __init__(self, gain_initializer="ones", **others):
            super().__init__(**others)

    with monkeypatch.context() as patch:
        patch.setattr(layers, "Novel", Novel, raising=False)
        found = outcome("layer_defaults.catalogue.complete")
    assert found.status == "broken"
    assert "Novel" in found.reason
    assert "gain_initializer" in found.reason
    monkeypatch.delattr(layers, "ReversibleEmbedding")
    found = outcome("layer_defaults.catalogue.complete")
    assert found.status == "broken"
    assert "ReversibleEmbedding" in found.reason
