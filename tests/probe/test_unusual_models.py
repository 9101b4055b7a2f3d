"""What Keras allows and few people use: captured, right, and left as it was."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import unusual_models
from marked import first_only
from plain_gradients import differentiate_weights

from initcheck.probe import Probe
from initcheck.probe.measure import random_loss

UNIT_ROUNDOFF = {"mixed_float16": 2.0**-11, "float16": 2.0**-11, "mixed_bfloat16": 2.0**-8}


@pytest.mark.parametrize("policy", first_only("thorough", UNIT_ROUNDOFF))
def test_low_precision_equals_a_float32_twin_with_the_same_weights(policy):
    """Each of the 7 layers rounds its input, its weights and its output, forward and once more backward."""
    if keras.backend.backend() == "jax" and policy == "mixed_float16":
        pytest.skip("JAX computes no attention in float16 on a processor")
    model, inputs = unusual_models.build_in_precision(policy)
    twin, _ = unusual_models.build_in_precision("float32")
    probe, twin_probe = Probe(model, inputs), Probe(twin, inputs)
    drawn = [np.asarray(keras.ops.cast(each, "float32")) for each in probe.plan.sample([0])]
    low = probe.measure_weights_all([0], probe.plan.sample([0]))
    high = twin_probe.measure_weights_all([0], drawn)
    assert list(low.table["layer"]) == list(high.table["layer"])
    # A square has twice the relative error; the roundings, three in each of 2 * 7 layers, are as often up as down.
    tolerance = 2 * (2 * 7 * 3) ** 0.5 * UNIT_ROUNDOFF[policy]
    for quantity in ("activation_second_moment", "gradient_second_moment", "weight_gradient_norm", "weight_norm"):
        got, expected = (each.table[quantity].to_numpy(float, na_value=np.nan) for each in (low, high))
        np.testing.assert_array_equal(np.isnan(got), np.isnan(expected))
        np.testing.assert_allclose(got, expected, rtol=tolerance, err_msg=quantity)
        if quantity != "weight_norm":
            assert not np.allclose(got[1:], expected[1:], rtol=1e-7, equal_nan=True)  # it is another precision
    assert list(low.weights["has_gradient"]) == list(high.weights["has_gradient"])
    # What cancels in exact arithmetic (a bias before a normalization, the keys' bias) is rounding on both sides.
    got, expected = (each.weights["gradient_norm"].to_numpy(float, na_value=np.nan) for each in (low, high))
    np.testing.assert_allclose(got, expected, rtol=tolerance, atol=tolerance * np.nanmax(expected))
    assert (low.table["nonfinite_fraction"].to_numpy(float) == 0.0).all()


@pytest.mark.parametrize("policy", ["mixed_float16", "float16"])
def test_an_overflow_of_float16_is_reported_where_bfloat16_has_none(policy):
    def measure(dtype):
        layers = [
            keras.layers.Dense(4, kernel_initializer=keras.initializers.Constant(300.0), dtype=dtype, name=name)
            for name in ("first", "second")
        ]
        model = keras.Sequential([keras.Input((4,)), *layers])
        return Probe(model, np.ones((3, 4), np.float32)).measure_all([0]).table.set_index("layer")

    rows = measure(policy)
    assert rows["nonfinite_fraction"].to_dict() == {"input": 0.0, "first": 0.0, "second": 1.0}
    assert rows["activation_second_moment"].isna()["second"]
    assert measure("mixed_bfloat16")["nonfinite_fraction"].max() == 0.0


def test_a_saved_and_loaded_model_is_measured_alike(tmp_path):
    model, inputs = unusual_models.build_frozen()
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    before, after = (Probe(each, inputs).measure_all([0, 1]) for each in (model, loaded))
    assert list(before.table["layer"]) == list(after.table["layer"])
    assert list(before.weights["weight"]) == list(after.weights["weight"])
    for quantity in ("activation_second_moment", "gradient_second_moment", "weight_gradient_norm"):
        np.testing.assert_allclose(before.table[quantity].to_numpy(float), after.table[quantity].to_numpy(float), 1e-6)
    assert list(before.weights["trainable"]) == list(after.weights["trainable"])


def test_a_table_that_is_the_output_matrix_too_gets_the_gradient_of_both_uses():
    model, inputs = unusual_models.build_tied()
    row = Probe(model, inputs).measure_current_all().weights.set_index("weight").loc["table/embeddings"]
    loss = lambda: random_loss(model(inputs, training=True))  # noqa: E731
    (gradient,) = differentiate_weights(loss, [model.table.embeddings])
    assert row["gradient_norm"] == pytest.approx(np.linalg.norm(gradient), rel=1e-5)
    table = Probe(model, inputs).measure([0])
    assert list(table[table["layer"] == "hidden"]["call"]) == [0, 1]


def test_frozen_layers_are_measured_in_both_directions():
    rows = Probe(*unusual_models.build_frozen()).measure([0]).set_index("layer")
    assert float(rows.loc["body/convolution", "gradient_second_moment"]) > 0
    assert float(rows.loc["body/convolution", "weight_gradient_norm"]) > 0


def test_random_numbers_of_a_layer_differ_by_seed_and_repeat_by_seed():
    model, inputs = unusual_models.build_custom()
    values = [np.stack([np.asarray(weight)] * 3) for weight in model.weights]
    rows = Probe(model, inputs).measure_weights([0, 1, 0], values)
    moments = rows[rows["layer"] == "noisy"]["activation_second_moment"].to_numpy(float)
    assert moments[0] == moments[2] != moments[1]
