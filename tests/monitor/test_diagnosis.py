"""What the monitor says at the end: true sentences where a training run went wrong, and nothing where it did not."""

from __future__ import annotations

import math
import re
from functools import cache

import keras
import numpy as np
import pytest
from keras import layers

from initcheck.callbacks import SignalMonitor
from initcheck.core.formatting import format_number
from initcheck.monitor.diagnosis import _find_rise, diagnose
from initcheck.monitor.quantities import Roles

BATCH = 32
LOGITS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


@cache
def classes():
    """Noisy copies of ten patterns, with the number of the pattern as label."""
    random = np.random.default_rng(0)
    patterns, labels = random.uniform(size=(10, 64)), random.integers(0, 10, 1280)
    return np.clip(patterns[labels] + 0.2 * random.normal(size=(1280, 64)), 0, 1).astype("float32"), labels


def build(activation="relu", depth=3, initializer="he_normal", outputs=10, **settings):
    hidden = [
        layers.Dense(48, activation, kernel_initializer=initializer, name=f"h{place + 1}", **settings)
        for place in range(depth)
    ]
    return keras.Sequential([keras.Input((64,)), *hidden, layers.Dense(outputs, name="out")])


def train(model, optimizer="adam", data=None, loss=LOGITS, *, every=5, epochs=1, callbacks=()):
    x, y = data or classes()
    model.compile(optimizer, loss)
    monitor = SignalMonitor(x[:BATCH], y[:BATCH], every=every, verbose=0)
    model.fit(x, y, batch_size=BATCH, epochs=epochs, shuffle=False, verbose=0, callbacks=[monitor, *callbacks])
    return monitor


def exploding_recurrence():
    x = np.random.default_rng(0).normal(size=(640, 50, 4)).astype("float32")
    recurrent = layers.SimpleRNN(16, activation="linear", name="rnn")
    model = keras.Sequential([keras.Input((50, 4)), recurrent, layers.Dense(1, name="out")])
    return train(model, keras.optimizers.SGD(0.05), (x, x[:, 0, :1]), "mse", every=1)


def spike():
    class Rate(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            self.model.optimizer.learning_rate.assign(3.0 if batch == 32 else 1e-3)

    return train(build(), callbacks=[Rate()])


def cut_off():
    inputs = keras.Input((64,))
    hidden = layers.Dense(32, "relu", name="h1")(inputs)
    hidden = layers.Lambda(keras.ops.stop_gradient)(hidden)
    return train(keras.Model(inputs, layers.Dense(10, name="out")(hidden)))


def regression_at_too_high_a_rate():
    x, y = classes()
    target = (50.0 * y).astype("float32")[:, np.newaxis]
    return train(build(depth=2, outputs=1), keras.optimizers.SGD(0.5), (x, target), "mse", every=1)


def raw_inputs():
    x, y = classes()
    return train(build("tanh"), data=((255 * x).astype("float32"), y))


def raw_inputs_of_a_sigmoid():
    x, y = classes()
    return train(build("sigmoid", depth=1), data=((5000 * x).astype("float32"), y))


SICK = {
    "a rate too high for ReLU": (
        lambda: train(build(), keras.optimizers.Adam(0.1)),
        r"\d+% of the units of `h\d`.* died between steps 0 and \d+\.",
    ),
    "a regression at too high a rate": (
        regression_at_too_high_a_rate,
        r"not finite at step \d+.*; at step \d+ all values were finite \(the loss was .*×10.*\)\.",
    ),
    "an exploding recurrence": (
        exploding_recurrence,
        r"The loss on the monitor's batch rose .*|.*not finite at step \d+, first in `rnn`.*",
    ),
    "a vanishing stack": (
        lambda: train(build("sigmoid", 10, "glorot_uniform"), keras.optimizers.SGD(0.1)),
        r"`h1` \(at most 1/.*\), `h2` .* had next to no gradient beside `out` at any measured step",
    ),
    "saturating tanh": (
        lambda: train(build("tanh", initializer="glorot_uniform"), keras.optimizers.Adam(0.5)),
        r"\d+% of the activations of `h1`.* became saturated between steps \d+ and \d+\.",
    ),
    "saturated from the start": (
        raw_inputs,
        r"\d.*% of the activations of `h1`.* were saturated before the first step\.",
    ),
    "saturated to the last digit": (
        raw_inputs_of_a_sigmoid,
        r"\d.*% of the activations of `h1` were saturated before the first step\.",
    ),
    "dead from the start": (
        lambda: train(build(bias_initializer=keras.initializers.Constant(-10.0))),
        r"100% of the units of `h1`, .* were dead before the first step\.",
    ),
    "a rate of nothing": (
        lambda: train(build(), keras.optimizers.SGD(1e-12)),
        r"`h1`, `h2`, `h3` and 1 more had a gradient, but no measured step changed the kernel by .* of its norm\.",
    ),
    "a spike": (spike, r"The loss on the monitor's batch rose from .* between steps 30 and 35\."),
    "a layer that is cut off": (cut_off, r"`h1` had no gradient at any measured step\."),
}


def check_against_table(sentence, table):
    """Look up in the table what a sentence says of measured steps: losses, gradients and growth."""
    measured = {int(step) for step in table["step"]}
    assert {int(step) for step in re.findall(r"\bsteps? (\d+)", sentence)} <= measured
    span = re.search(r"between steps (\d+) and (\d+)", sentence)
    if span is None:
        return
    start, end = (table[table["step"] == int(step)].set_index("layer") for step in span.groups())
    if "The loss" in sentence:
        losses = tuple(format_number(each["loss"].iloc[0]) for each in (start, end))
        assert f"from {losses[0]} to {losses[1]} " in sentence
    for layer, *numbers in re.findall(r"`(\w+)` \(dL/dW (\S+) to (\S+)\)", sentence):
        assert numbers == [format_number(each.loc[layer, "weight_gradient_norm"]) for each in (start, end)]
    for layer, factor in re.findall(r"activations of `(\w+)` \(root mean square, (\S+)-fold\)", sentence):
        ratio = end.loc[layer, "activation_second_moment"] / start.loc[layer, "activation_second_moment"]
        assert factor == format_number(math.sqrt(ratio))


@pytest.mark.parametrize("name", SICK)
def test_what_went_wrong_is_said(name):
    keras.utils.set_random_seed(1)
    run, expected = SICK[name]
    monitor = run()
    sentences = monitor.diagnosis
    for sentence in sentences:
        check_against_table(sentence, monitor.table)
    assert re.search(expected, sentences[0] if "regression" not in name else sentences[-1]), sentences
    died = [sentence for sentence in sentences if "died" in sentence]
    assert not (died and "start" in name), died
    assert len(sentences) <= 6


def normalized_convolutions():
    random = np.random.default_rng(0)
    x = random.normal(size=(640, 12, 12, 1)).astype("float32")
    y = (x[:, :6].mean((1, 2, 3)) > 0).astype(int)
    blocks = [
        layer
        for filters in (8, 16)
        for layer in (
            layers.Conv2D(filters, 3, strides=2, use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
        )
    ]
    model = keras.Sequential([keras.Input((12, 12, 1)), *blocks, layers.GlobalAveragePooling2D(), layers.Dense(2)])
    return train(model, data=(x, y), epochs=2)


def residual_branches_that_start_at_zero():
    inputs = keras.Input((64,))
    stream = layers.Dense(32)(inputs)
    for _ in range(3):
        branch = layers.Dense(64, "relu")(layers.LayerNormalization()(stream))
        stream = layers.Add()([stream, layers.Dense(32, kernel_initializer="zeros")(branch)])
    head = layers.Dense(10, kernel_initializer="zeros")(layers.LayerNormalization()(stream))
    return train(keras.Model(inputs, head), epochs=2)


def attention():
    random = np.random.default_rng(0)
    inputs = keras.Input((12,), dtype="int32")
    stream = layers.Embedding(30, 16)(inputs)
    normalized = layers.LayerNormalization()(stream)
    stream = layers.Add()([stream, layers.MultiHeadAttention(2, 8)(normalized, normalized)])
    model = keras.Model(inputs, layers.Dense(2, "softmax")(layers.GlobalAveragePooling1D()(stream)))
    x = random.integers(0, 30, (640, 12))
    y = ((x < 10).sum(axis=1) > 3).astype(int)
    return train(model, data=(x, y), loss="sparse_categorical_crossentropy", epochs=2)


def long_short_term_memory():
    x = np.random.default_rng(0).normal(size=(640, 10, 4)).astype("float32")
    model = keras.Sequential([keras.Input((10, 4)), layers.LSTM(16), layers.Dense(1)])
    return train(model, data=(x, x[:, -2:, :1].sum(axis=1)), loss="mse", epochs=2)


def autoencoder_with_saturating_outputs():
    x, _ = classes()
    sizes = ((16, "relu"), (6, "tanh"), (16, "relu"), (64, "sigmoid"))
    return train(
        keras.Sequential([keras.Input((64,)), *(layers.Dense(*each) for each in sizes)]), data=(x, x), loss="mse"
    )


def fine_tuning():
    model = build()
    model.get_layer("h1").trainable = False
    return train(model, epochs=2)


def large_targets():
    x, y = classes()
    target = (1000.0 * y).astype("float32")[:, np.newaxis]
    return train(build("swish", 2, outputs=1), keras.optimizers.Adam(0.1), (x, target), "mse", epochs=2)


def adapters():
    model = build()
    model.get_layer("h1").enable_lora(4)
    return train(model, keras.optimizers.Adam(1e-2))


def fit_to_the_last_digit():
    x, y = classes()
    return train(build(depth=1), keras.optimizers.Adam(1e-2), (x[:64], y[:64]), every=20, epochs=150)


SOUND = {
    "a plain network": lambda: train(build(), epochs=4),
    "tanh": lambda: train(build("tanh", 4, "glorot_uniform"), keras.optimizers.Adam(3e-3), epochs=3),
    "selu and momentum": lambda: train(build("selu", 5, "lecun_normal"), keras.optimizers.SGD(0.02, 0.9), epochs=3),
    "a deep network": lambda: train(build(depth=12), keras.optimizers.Adam(1e-4), epochs=2),
    "normalized convolutions": normalized_convolutions,
    "branches that start at zero": residual_branches_that_start_at_zero,
    "attention": attention,
    "long short-term memory": long_short_term_memory,
    "an autoencoder": autoencoder_with_saturating_outputs,
    "fine-tuning": fine_tuning,
    "large targets": large_targets,
    "adapters": adapters,
    "a fit to the last digit": fit_to_the_last_digit,
}


QUICK = (
    "a plain network",
    "tanh",
    "normalized convolutions",
    "branches that start at zero",
    "fine-tuning",
    "large targets",
    "a fit to the last digit",
)


@pytest.mark.parametrize(
    "name", [pytest.param(each, marks=() if each in QUICK else pytest.mark.thorough) for each in SOUND]
)
def test_of_a_sound_training_run_nothing_is_said(name, capsys):
    keras.utils.set_random_seed(1)
    monitor = SOUND[name]()
    assert monitor.diagnosis == []
    losses = monitor.table.groupby("step")["loss"].first()
    assert losses.iloc[-1] < losses.iloc[0]  # it did learn
    assert "Nothing wrong was seen in" in monitor.to_html()


def test_the_shares_are_those_that_a_slow_count_finds_at_the_same_steps():
    x, _ = classes()
    counts = {}

    class Count(keras.callbacks.Callback):
        steps = 0

        def on_train_begin(self, logs=None):
            self.count()

        def on_train_batch_end(self, batch, logs=None):
            self.steps += 1
            self.count()

        def count(self):
            signal = x[:BATCH]
            for layer in self.model.layers:
                signal = keras.ops.convert_to_numpy(layer(signal))
                counts[layer.name, self.steps] = np.mean(np.all(signal == 0.0, axis=0))

    keras.utils.set_random_seed(1)
    sentences = train(build(), keras.optimizers.Adam(0.1), callbacks=[Count()]).diagnosis
    found = 0
    for sentence in sentences:
        steps = re.search(r"died between steps (\d+) and (\d+)\.$", sentence)
        if steps is None:
            continue
        start, end = map(int, steps.groups())
        for share, layer in re.findall(r"([\d.]+)% of the units of `(\w+)`", sentence):
            assert counts[layer, end] - counts[layer, start] == pytest.approx(float(share) / 100, abs=0.0051)
            found += 1
        for share, step in re.findall(r"\(([\d.]+)% are dead at step (\d+)\)", sentence):
            assert float(share) / 100 in [
                pytest.approx(counts[f"h{place}", int(step)], abs=0.0051) for place in (1, 2, 3)
            ]
    assert found >= 2


def test_what_went_wrong_is_printed_at_the_end_and_stands_first_on_the_page(capsys):
    x, y = classes()
    for verbose in (0, 1):
        keras.utils.set_random_seed(1)
        model = build()
        model.compile(keras.optimizers.Adam(0.1), LOGITS)
        monitor = SignalMonitor(x[:BATCH], y[:BATCH], every=5, stop_on="dead>0.6", verbose=verbose)
        model.fit(x, y, verbose=0, callbacks=[monitor])
        expected = [monitor.stopped, *monitor.diagnosis] if verbose else []
        assert capsys.readouterr().out.splitlines() == expected
    page = monitor.to_html()
    assert 0 < page.index("Stopped at step") < page.index("Activations (root mean square)")
    assert "of the units of <code>h" in page


def test_layers_whose_kernels_are_not_judged_are_named_on_the_page_with_the_reason():
    assert "not judged: <code>h1</code>." in fine_tuning().to_html()
    page = long_short_term_memory().to_html()
    assert "gradients and steps are not measured: <code>lstm" in page and "not judged" not in page


def test_a_gradient_that_ceases_to_be_finite_is_reported_though_all_activations_are():
    table = train(build(), every=10, epochs=1).table
    lost = (table["step"] == 20) & table["layer"].isin(["h1", "h2"])
    table.loc[lost, "weight_gradient_norm"] = np.nan
    loss = table[table["step"] == 10]["loss"].iloc[0]
    (sentence,) = diagnose(table, Roles(connected=frozenset(range(4))))
    # What comes back from the outputs reaches h2 first.
    assert sentence.startswith(
        "The gradient of `h2` is not finite at step 20; at step 10 all values were finite (the loss"
    )
    assert f"was {loss:.3g}"[:7] in sentence


def test_a_gradient_that_is_never_finite_is_not_called_missing():
    x, _ = classes()
    monitor = train(build(), data=(x, 0.0 * x[:, :10]), loss=lambda true, made: keras.ops.sqrt(0.0 * made) + true)
    assert monitor.diagnosis == ["The gradient of `out` is not finite before the first step."]
    model = build()
    model.compile("sgd", lambda true, made: keras.ops.sqrt(0.0 * made) + true)
    stopped = SignalMonitor(x[:BATCH], x[:BATCH, :10], stop_on="nonfinite", verbose=0)
    model.fit(x, x[:, :10], verbose=0, callbacks=[stopped])
    assert stopped.stopped.startswith("Stopped at step 0 by stop_on='nonfinite'")


def test_gradients_that_float16_rounds_to_zero_are_not_called_missing():
    x, _ = classes()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = keras.Sequential([keras.Input((64,)), layers.Dense(8, "tanh", name="h1"), layers.Dense(1, name="out")])
        # Without the scaling that fit does, the gradients are far below the smallest number of float16.
        loss = lambda true, made: 1e-9 * keras.ops.square(true - made)  # noqa: E731
        monitor = train(model, keras.optimizers.SGD(1e5), (x, x[:, :1]), loss)
    finally:
        keras.config.set_dtype_policy("float32")
    kernels = monitor.table[monitor.table["layer"] == "h1"]
    assert (kernels["weight_gradient_norm"] == 0.0).all() and (kernels["update_norm"].iloc[1:] > 0.0).any()
    assert monitor.diagnosis == []


@cache
def sound_table():
    """The table of a sound training run, measured at steps 0, 10, 20, 30 and 40, for tests to change values in."""
    keras.utils.set_random_seed(1)
    return train(build(), every=10).table


def change(column, values, layer=None):
    """Set a quantity, of one layer or of all, at the measured steps given with their values; say what is diagnosed."""
    table = sound_table().copy()
    for step, value in values.items():
        chosen = (table["step"] == step) & ((table["layer"] == layer) if layer else True)
        table.loc[chosen, column] = value
    return diagnose(table, Roles(clipping=frozenset(range(3)), connected=frozenset(range(4))))


def test_a_loss_rose_only_if_it_is_above_what_it_was_before_training():
    assert change("loss", {0: 2.0, 10: 0.1, 20: 1.9, 30: 1.0, 40: 1.5}) == []
    sentence = "The loss on the monitor's batch rose from 0.100 to 2.10 (1.50 at step 40) between steps 10 and 30."
    assert change("loss", {0: 2.0, 10: 0.1, 20: 1.9, 30: 2.1, 40: 1.5}) == [sentence]
    assert change("loss", {0: 2.0, 10: 0.3, 20: 0.3, 30: 2.1, 40: 1.5}) == []  # not tenfold


def test_the_largest_single_step_is_named_from_the_tenth_on():
    update = "update_to_weight_ratio"
    sentence = "The kernel of `h2` (by 0.70 of its norm) changed in the single step that ends at step 20."
    assert change(update, {10: 0.6, 20: 0.7, 30: 0.1}, "h2") == [sentence]
    assert change(update, {10: 0.5, 20: 0.49}, "h2") == []
    table = sound_table().copy()
    table.loc[table["step"] == 20, update] = 0.7
    early = table.assign(step=table["step"] // 4)  # the same at step 5
    several = table.assign(update_steps=4)  # the change of four steps
    assert diagnose(early, Roles(connected=frozenset(range(4)))) == []
    assert diagnose(several, Roles(connected=frozenset(range(4)))) == []


def test_units_that_were_dead_from_the_start_did_not_die():
    dead = "dead_fraction"
    still = dict.fromkeys((0, 10, 20, 30), 0.55)
    were = ["55% of the units of `h2` (80% are dead at step 40) were dead before the first step."]
    assert change(dead, {**still, 40: 0.8}, "h2") == were
    assert (
        change(dead, {0: 0.25, 10: 0.25, 20: 0.3, 30: 0.54, 40: 0.54}, "h2") == []
    )  # neither from the start nor risen
    assert change(dead, {0: 0.2, 10: 0.2, 20: 0.5, 30: 0.51, 40: 0.52}, "h2") == [
        "30% of the units of `h2` (52% are dead at step 40) died between steps 10 and 20."
    ]
    assert change(dead, {0: 0.0, 10: 0.0, 20: 0.9, 30: 0.9, 40: 0.1}, "h2") == []  # they came back
    assert change(dead, {0: 0.0, 10: 0.0, 20: 0.9, 30: 0.9, 40: 0.9}, "out") == []  # nothing there can die


def test_growth_is_that_of_the_root_mean_square():
    moment = "activation_second_moment"
    assert change(moment, {0: 1.0, 10: 1.0, 20: 1.0, 30: 1.0, 40: 0.9e6}, "h2") == []
    grew = ["The activations of `h2` (root mean square, 2000-fold) grew between steps 30 and 40."]
    assert change(moment, {0: 1.0, 10: 1.0, 20: 1.0, 30: 1.0, 40: 4e6}, "h2") == grew


def test_a_kernel_that_shrank_has_not_lost_its_gradient():
    table = sound_table().copy()
    table["weight_norm"] = table["weight_norm"].mask((table["layer"] == "h2") & (table["step"] >= 20), 1e-6)
    roles = Roles(connected=frozenset(range(4)))
    assert diagnose(table, roles) == []
    table["weight_gradient_norm"] = table["weight_gradient_norm"].mask(table["weight_norm"] == 1e-6, 1e-6)
    (sentence,) = diagnose(table, roles)
    assert sentence.startswith("The gradient of `h2` (dL/dW ")
    assert " to 1.00×10⁻⁶) vanished between steps 10 and 20 beside that of `" in sentence


@pytest.mark.parametrize("seed", range(20))
def test_the_span_that_is_named_is_the_shortest_with_such_a_rise(seed):
    random = np.random.default_rng(seed)
    values = random.normal(size=30).cumsum()
    values[random.integers(0, 30, 3)] = np.nan
    least = 2.0
    spans = [(end - start, end) for end in range(30) for start in range(end) if values[end] - values[start] >= least]
    found = _find_rise(values, least)
    assert (found is None) == (not spans)
    if found is not None:
        assert (found[1] - found[0], found[1]) == min(spans)
