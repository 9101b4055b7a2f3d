"""The coordinate check on networks whose exponents theory knows, and its sizes against a slow training."""

from __future__ import annotations

import json

import numpy as np
import pytest
import width_models as models
from marked import slow

import initcheck
from initcheck.backend.runtime import import_keras
from initcheck.checking.inputs import make_batch
from initcheck.checking.labels import make_labelled_loss
from initcheck.core.errors import DataError, InitcheckError, ModelError, UsageError
from initcheck.probe.widths import SIZES, WidthProbe

WIDTHS = (64, 128, 256, 512)


def check(factory, widths=WIDTHS, **settings):
    return initcheck.check_widths(factory, widths, **{"seeds": 8, **settings})


def exponent_of(report, layer, quantity):
    (found,) = [each for each in report.exponents if (each.layer, each.quantity) == (layer, quantity)]
    return found


# --- what theory knows ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("activation", "initializer"),
    [("tanh", "lecun_normal"), pytest.param("relu", "he_normal", marks=pytest.mark.thorough)],
)
def test_the_standard_parametrization_is_stable_at_the_start(activation, initializer):
    def factory(width):
        return models.make_standard(width, activation, initializer)

    report = check(factory, steps=0, seeds=16)
    assert [(each.layer, each.quantity, each.verdict) for each in report.exponents] == [
        ("first", "start", "stable"),
        ("second", "start", "stable"),
        ("last", "start", "stable"),
    ]
    assert report.exit_code == 0
    assert not any(name.startswith(("trained", "change")) for name in report.table.columns)


def test_a_step_at_one_learning_rate_changes_wider_standard_networks_more():
    """At finite width the slopes are still below those of the wide limit."""
    report = check(models.make_standard, steps=1)
    output, hidden = exponent_of(report, "last", "change"), exponent_of(report, "second", "change")
    assert output.verdict == "grows" and output.estimate.low > 0.75 and output.estimate.high < 1.05
    assert hidden.verdict == "grows" and hidden.estimate.low > 0.2 and hidden.estimate.high < 0.55
    assert exponent_of(report, "first", "change").estimate.value == pytest.approx(-0.5, abs=0.1)
    assert report.exit_code == 1


@pytest.mark.montecarlo
def test_the_slopes_of_wide_networks_are_those_of_the_limit():
    """Yang and Hu 2021, section 3: the output changes by about width, a hidden layer by width^1/2."""
    report = check(models.make_standard, (512, 1024, 2048, 4096), steps=1, seeds=4)
    assert exponent_of(report, "last", "change").estimate.value == pytest.approx(1.0, abs=0.05)
    assert exponent_of(report, "second", "change").estimate.value == pytest.approx(0.5, abs=0.07)


@pytest.mark.thorough
def test_enough_steps_let_the_outputs_of_wider_standard_networks_grow():
    report = check(models.make_standard, steps=10, learning_rate=0.05)
    trained = exponent_of(report, "last", "trained")
    assert trained.verdict == "grows" and trained.wanted is False


@pytest.mark.parametrize("steps", [5, pytest.param(1, marks=pytest.mark.thorough)])
def test_the_maximal_update_parametrization_changes_alike_at_all_widths(steps):
    report = check(models.make_maximal_update, steps=steps, learning_rate=0.05, seeds=16)
    for each in report.exponents:
        if each.layer == "last" and each.quantity == "start":
            assert each.estimate.value == pytest.approx(-0.5, abs=0.06)  # Yang and Hu 2021: it starts at width^-1/2
            assert each.verdict == "shrinks" and each.wanted
        elif each.layer != "last" or each.quantity == "change":
            assert each.verdict == "stable", (each.layer, each.quantity, each.estimate)
    assert report.exit_code == 0


def test_a_deviation_that_does_not_know_the_width_grows_as_its_root():
    """The planted mistake: the variance of the sum of width terms grows with the width, its size as the root."""
    report = check(models.make_fixed_deviation, steps=0)
    assert exponent_of(report, "first", "start").verdict == "stable"
    for layer in ("second", "last"):
        found = exponent_of(report, layer, "start")
        assert found.verdict == "grows"
        assert found.estimate.value == pytest.approx(0.5, abs=0.05)
    assert report.exit_code == 1


@pytest.mark.thorough
def test_adam_moves_wider_standard_networks_further():
    """Each weight moves by the learning rate, so a hidden unit by a sum of width of them (Yang et al. 2022)."""
    report = check(models.make_standard, steps=1, optimizer="adam")
    hidden = exponent_of(report, "second", "change")
    assert hidden.verdict == "grows" and 0.75 < hidden.estimate.value < 1.05
    assert exponent_of(report, "first", "change").estimate.value == pytest.approx(0.0, abs=0.05)


def test_too_large_a_learning_rate_is_undecided_and_says_so():
    report = check(models.make_unsettled, (8, 16, 32), steps=60, learning_rate=1e8, seeds=2)
    assert exponent_of(report, "last", "trained").verdict == "undecided"
    assert "not finite" in exponent_of(report, "last", "trained").reason
    assert report.scaling.undecided and report.exit_code != 0
    assert "lower the learning rate" in report.to_text()
    json.loads(report.to_json())


# --- the sizes themselves ---------------------------------------------------------------------------------------------


def train_slowly(model, inputs, loss, optimizer, steps):
    """Train the model itself, with Keras' optimizer and an eager tape."""
    from plain_gradients import differentiate_weights

    variables = model.trainable_variables
    for _ in range(steps):
        gradients = differentiate_weights(lambda: loss(model(inputs, training=True)), variables)
        optimizer.apply([import_keras().ops.convert_to_tensor(each) for each in gradients], variables)


@pytest.mark.parametrize("name", ["sgd", "adam"])
@pytest.mark.parametrize(
    "factory", [models.make_maximal_update, *slow("thorough", models.make_standard, models.make_compiled)]
)
def test_sizes_are_those_of_a_training_by_keras(name, factory):
    keras = import_keras()
    model = factory(12)
    inputs = make_batch(model).inputs
    loss, _ = make_labelled_loss(model, inputs)
    rate = 0.1
    probe = WidthProbe(model, inputs, loss=loss, optimizer=name, learning_rate=rate)
    measured = probe.measure_sizes(seed=3, steps=3)
    for weight, drawn in zip(model.weights, probe.plan.sample([3]), strict=True):
        weight.assign(drawn[0])
    before = look_inside(model, inputs)
    make = {"sgd": keras.optimizers.SGD, "adam": keras.optimizers.Adam}[name]
    train_slowly(model, inputs, loss, make(rate), 3)
    after = look_inside(model, inputs)
    assert [each.site.layer for each in probe.captured_sites] == ["first", "second", "last"]
    assert [each.output for each in probe.captured_sites] == [False, False, True]
    assert all(each.trained for each in probe.captured_sites)
    for row, old, new in zip(measured, before, after, strict=True):
        expected = [size for x in (old, new, new - old) for size in (np.sqrt(np.mean(x**2)), np.mean(np.abs(x)))]
        np.testing.assert_allclose(row, expected, rtol=2e-4, err_msg=str(SIZES))
    assert measured[-1, SIZES.index("change_rms")] > 1e-3


def look_inside(model, inputs):
    """What each layer returns, and of the last what goes into its activation function."""
    signal, found = inputs, []
    for layer in model.layers[1:]:
        kernel = np.asarray(layer.kernel, np.float64)
        bias = np.asarray(layer.bias, np.float64) if getattr(layer, "bias", None) is not None else 0.0
        z = getattr(layer, "multiplier", 1.0) * (np.asarray(signal, np.float64) @ kernel) + bias
        last = layer is model.layers[-1]
        signal = z if last else np.tanh(z)
        found.append(signal)
    return found


def test_a_model_with_normalization_dropout_and_one_output_is_measured():
    made = []

    def factory(width):
        made.append(models.make_unsettled(width))
        return made[-1]

    report = check(factory, (16, 32, 64), steps=2)
    assert [each.layer for each in report.exponents[::3]] == ["first", "normalization", "relu", "dropout", "last"]
    assert exponent_of(report, "normalization", "start").verdict == "stable"
    assert report.table["change_rms"].gt(0.0).all()
    assert "mean squared error of normal targets made at random" in report.to_text()
    for model in made:  # what the factory made is measured, not trained
        assert np.asarray(model.get_layer("normalization").moving_variance).tolist() == [1.0] * model.layers[1].units


def test_layers_before_the_first_trained_weight_do_not_change_and_leave_it_decided():
    report = check(models.make_flattened, (16, 32, 64), steps=1, seeds=4)
    assert exponent_of(report, "flat", "start").verdict == "stable"
    assert exponent_of(report, "flat", "change").verdict == "untrained"
    assert exponent_of(report, "hidden", "change").verdict not in ("untrained", "undecided")
    assert "nothing before it is trained" in report.to_text() and "nothing before it is trained" in report.to_html()


def test_logits_are_an_output_where_the_softmax_is_a_layer_of_its_own():
    report = check(models.make_flattened, (16, 32, 64), steps=1, seeds=2)
    logits, softmax = (exponent_of(report, layer, "start") for layer in ("logits", "softmax"))
    assert logits.output and softmax.output
    assert logits.estimate == softmax.estimate
    assert not exponent_of(report, "hidden", "start").output


def test_labels_that_are_given_are_used_with_the_compiled_loss():
    random = np.random.default_rng(0)
    x, y = random.normal(size=(8, models.INPUTS)).astype(np.float32), random.integers(0, models.CLASSES, 8)
    report = check(models.make_compiled, (8, 16, 32), x=x, y=y, steps=1)
    assert report.scaling.loss == "the model's compiled loss, with the labels given"
    assert "8 samples" in report.scaling.batch
    other = check(models.make_compiled, (8, 16, 32), x=x, y=(y + 1) % models.CLASSES, steps=1)
    assert (other.table["change_rms"] != report.table["change_rms"]).any()
    assert (other.table["start_rms"] == report.table["start_rms"]).all()


@pytest.mark.thorough
def test_the_same_arguments_give_the_same_table_and_other_seeds_another():
    first, again = (check(models.make_standard, (8, 16, 32), steps=2) for _ in range(2))
    assert first.table.equals(again.table)
    assert not check(models.make_standard, (8, 16, 32), steps=2, first_seed=8).table.equals(first.table)


def test_random_state_of_the_process_is_left():
    np.random.seed(1)
    expected = np.random.random(3)
    np.random.seed(1)
    check(models.make_standard, (8, 16, 32), steps=1, seeds=2)
    np.testing.assert_array_equal(np.random.random(3), expected)


# --- how it is reported -----------------------------------------------------------------------------------------------


def test_text_json_and_page_tell_the_same():
    report = check(models.make_fixed_deviation, (16, 32, 64), steps=1, seeds=4)
    document = json.loads(report.to_json())
    assert document["verdict"] == "findings"
    assert len(document["sizes"]) == 3 * 4 * 3
    text, page, markdown = report.to_text(), report.to_html(), report.to_markdown()
    assert str(report) == text
    assert "classes made at random" in text and "classes made at random" in page
    for each in document["exponents"]:
        figure = f"{each['rms']['value']:+.2f}".replace("-", "−")
        assert figure in text and figure in page and figure in markdown
    (picture,) = report.pictures().values()
    assert picture.startswith("<svg") and "Size of the change" in picture


# --- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "widths", [(64, 128), (64, 64, 128), (128, 64, 256), (), (0, 1, 2), (8.0, 16.0, 32.0), 64, "64", (True, 2, 3)]
)
def test_widths_that_are_too_few_or_do_not_increase_are_refused(widths):
    with pytest.raises(UsageError, match=r"at least 3 whole numbers from 1, increasing\. Received: ") as caught:
        check(models.make_standard, widths)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("factory", "settings", "kind", "words"),
    [
        (models.make_without_width, {}, UsageError, "'make_without_width' has no argument 'width'. It takes none."),
        (models.make_standard, {"width_arg": "units"}, UsageError, "no argument 'units'. It takes width, activation"),
        (models.make_regardless, {}, UsageError, "as many weights at width=16 as at width=8"),
        (lambda width: models.make_standard(min(width, 16)), {}, UsageError, "at width=128 as at width=16: there"),
        (models.make_frozen, {}, ModelError, "no weight that is trained"),
        (models.make_deeper_when_wider, {}, ModelError, "'last' at width 8 where 'extra' is at 128"),
        (models.make_wider_inputs, {}, ModelError, "inputs of the model must not depend on 'width'"),
        (models.make_standard, {"steps": -1}, UsageError, "steps must be a whole number of at least 0"),
        (models.make_standard, {"steps": 1.5}, UsageError, "Received: steps=1.5"),
        (models.make_standard, {"seeds": 1}, UsageError, "seeds must be a whole number of at least 2"),
        (models.make_standard, {"optimizer": "adaam"}, UsageError, "Unknown optimizer 'adaam'. Did you mean adam?"),
        (models.make_standard, {"learning_rate": 0.0}, UsageError, "learning rate must be a number above 0"),
        (models.make_standard, {"learning_rate": float("nan")}, UsageError, "learning rate must be a number above 0"),
        (models.make_standard, {"arguments": {"width": 3}}, UsageError, "given by widths alone"),
        (models.make_standard, {"arguments": {"depth": 3}}, UsageError, "no argument 'depth'"),
        (models.make_standard, {"x": np.zeros((4, 5), np.float32)}, DataError, "samples of shape (16,)"),
        (models.make_standard, {"x": np.zeros((4, 16)), "y": np.zeros(4)}, ModelError, "not compiled, so its loss is"),
        (lambda width: 1 / 0, {}, ModelError, "ZeroDivisionError"),
        (lambda width: "model", {}, ModelError, "gives no Keras model"),
        ("initcheck:nothing", {}, InitcheckError, "nothing"),
    ],
)
def test_bad_input_is_refused_in_one_line(factory, settings, kind, words):
    with pytest.raises(kind) as caught:
        check(factory, (8, 16, 128), **settings)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_a_model_in_place_of_a_factory_is_refused():
    with pytest.raises(UsageError, match=r"A function that makes the model at each width is needed\. Received: Func"):
        check(models.make_standard(8))
