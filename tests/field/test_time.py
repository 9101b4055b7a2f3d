"""Layers over time: what their last output owes to early inputs, and what is said where it is nothing or explodes.

The first model is that of keras issue 1322: what matters lies in the first of many steps, and the recurrent kernel is
small. Figures are compared with TensorFlow's own gradients, with sums in float64.
"""

from __future__ import annotations

import keras
import numpy as np
import pytest

import initcheck
from initcheck.probe import Probe, random_loss_gradient

tf = pytest.importorskip("tensorflow", reason="what it is compared with is computed by TensorFlow")

layers, initializers = keras.layers, keras.initializers


def sequence_model(*hidden, steps=30, features=4):
    return keras.Sequential([keras.Input((steps, features)), *hidden, layers.Dense(2, name="label")])


def small(deviation=0.05):
    return initializers.RandomNormal(stddev=deviation)


def check(model, x=None):
    return initcheck.check(model, x, seeds=4, fixes=False)


def over_time(report):
    return [(each.code, each.severity, each.layer) for each in report.findings if each.code in ("IC204", "IC205")]


def measure_as_drawn(model, inputs):
    """The squared gradients of the model's own weights by layer, of one draw."""
    measured = Probe(model, inputs, every_weight=True, over_time=True).measure_current_all()
    return {each.layer: each.squares[0] for each in measured.over_time}


def differentiate(layer, inputs, **call):
    """The same by TensorFlow: one sample's squared gradient of the last output, by steps, the last one first."""
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = layer(inputs, **call)
        last = outputs[:, -1] if layer.return_sequences else outputs
        loss = tf.reduce_sum(last * random_loss_gradient(last.shape))
    gradient = tape.gradient(loss, inputs).numpy().astype(np.float64)
    squares = (gradient**2).sum(axis=tuple(range(2, gradient.ndim))).mean(axis=0)
    return squares if layer.go_backwards else squares[::-1]


def normal(*shape):
    return tf.constant(np.random.default_rng(1).normal(size=shape).astype(np.float32))


class Decay(layers.Layer):
    """A cell of nobody's own: the state decays and takes up the input."""

    def __init__(self, keeps, **options):
        super().__init__(**options)
        self.keeps, self.state_size = keeps, 6

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], 6), initializer="glorot_uniform", name="kernel")

    def call(self, inputs, states):
        state = self.keeps * states[0] + keras.ops.matmul(inputs, self.kernel)
        return state, [state]


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (lambda: layers.SimpleRNN(5), (3, 7, 4)),
        (lambda: layers.LSTM(5, return_sequences=True, go_backwards=True), (3, 7, 4)),
        (lambda: layers.GRU(5, return_sequences=True, unroll=True), (3, 7, 4)),
        (lambda: layers.RNN([layers.GRUCell(3), layers.LSTMCell(5)]), (3, 7, 4)),
        (lambda: layers.ConvLSTM1D(2, 3), (2, 5, 6, 2)),
    ],
    ids=["SimpleRNN", "LSTM backwards", "GRU", "stack", "ConvLSTM"],
)
def test_the_gradient_by_steps_is_that_of_tensorflow(make, shape):
    layer, inputs = make(), normal(*shape)
    model = keras.Sequential([keras.Input(shape[1:]), layer, layers.Flatten(), layers.Dense(2)])
    (measured,) = measure_as_drawn(model, inputs).values()
    np.testing.assert_allclose(measured, differentiate(layer, inputs), rtol=1e-4)


def test_steps_are_counted_back_from_the_last_that_no_mask_leaves_out():
    """Two samples of 5 and of 3 steps are what both are by themselves, padded behind or not."""
    layer, inputs = layers.GRU(4, return_sequences=True), np.array(normal(2, 5, 3))
    inputs[1, 3:] = 0.0
    model = sequence_model(layers.Masking(), layer, steps=5, features=3)
    (measured,) = measure_as_drawn(model, inputs).values()
    direction = random_loss_gradient((2, 4)).numpy()
    expected = np.zeros((2, 5))
    for sample, steps in enumerate((5, 3)):
        alone = tf.constant(inputs[sample : sample + 1, :steps])
        with tf.GradientTape() as tape:
            tape.watch(alone)
            loss = tf.reduce_sum(layer(alone)[:, -1] * direction[sample])
        expected[sample, :steps] = (tape.gradient(loss, alone).numpy().astype(np.float64) ** 2).sum(axis=2)[0, ::-1]
    np.testing.assert_allclose(measured, expected.sum(axis=0) / [2, 2, 2, 1, 1], rtol=1e-4)


def test_a_recurrent_kernel_that_forgets_at_once_is_found_with_its_horizon_and_cause():
    model = sequence_model(layers.SimpleRNN(24, recurrent_initializer=small(), name="rnn"), steps=60)
    report = check(model)
    (finding,) = report.findings
    assert (finding.code, finding.severity, finding.layer, report.exit_code) == ("IC204", "wrong", "rnn", 1)
    squares = [differentiate(sequence_model_layer(model, seed), normal(32, 60, 4)) for seed in range(4)]
    rates = [np.log(each[8] / each[0]) / 8 for each in squares]
    assert np.log(finding.measured.value) == pytest.approx(np.mean(rates), rel=0.1)
    assert f"a hundredth in {np.log(100) / -np.log(finding.measured.value):#.3g} of 59 steps" in finding.message
    assert "it is exactly 0 from" in finding.message
    assert finding.cause.kind == "spread"
    assert finding.cause.layers[0].endswith("recurrent_kernel")
    assert "multiplies the state by 0.24" in finding.cause.message  # .05 * sqrt(24) = .245


def sequence_model_layer(model, seed):
    """A new layer of the same kind, drawn by Keras with another seed."""
    keras.utils.set_random_seed(seed)
    return type(model.layers[0]).from_config(model.layers[0].get_config())


@pytest.mark.parametrize(
    "make",
    [
        lambda: layers.SimpleRNN(24),
        lambda: layers.SimpleRNN(24, "relu"),
        lambda: layers.LSTM(16, unit_forget_bias=False),
        lambda: layers.GRU(16, recurrent_initializer=small(0.01)),
    ],
    ids=["orthogonal tanh", "orthogonal relu", "LSTM", "GRU"],
)
def test_sound_cells_of_moderate_length_are_green(make):
    report = check(sequence_model(make()))
    assert report.exit_code == 0
    assert over_time(report) == []


def test_a_sequence_much_longer_than_what_is_remembered_of_it_is_a_note():
    report = check(sequence_model(layers.LSTM(12, name="lstm"), steps=150))
    assert over_time(report) == [("IC204", "note", "lstm")]
    assert report.exit_code == 0
    message = report.findings[0].message
    rate = report.findings[0].measured.value
    assert 0.5 < rate < 0.75
    assert f"a hundredth in {np.log(100) / -np.log(rate):#.3g} of 149 steps" in message
    assert report.findings[0].cause is None


def test_a_note_names_the_recurrent_kernel_where_it_makes_the_most_of_the_fall():
    short = layers.SimpleRNN(24, recurrent_initializer=small(0.11), return_sequences=True, name="short")
    report = check(sequence_model(short, layers.GRU(8, name="gru"), steps=60))
    (finding,) = [each for each in report.findings if each.code == "IC204"]
    assert (finding.severity, finding.layers, finding.cause.kind) == ("note", ("short", "gru"), "spread")
    assert "; 1 more layer over time does so too" in finding.message


def test_a_loss_on_every_step_hides_nothing_and_both_directions_are_judged():
    """Functional and nested: the gradient with respect to the inputs is as large at all steps, yet memory is none."""
    rnn = layers.SimpleRNN(16, recurrent_initializer=small(0.03), return_sequences=True, name="rnn")
    inside = keras.Sequential([keras.Input((20, 4)), layers.Bidirectional(rnn, name="both")], name="inside")
    inputs = keras.Input((20, 4))
    report = check(keras.Model(inputs, layers.Dense(2)(inside(inputs))))
    found = over_time(report)
    assert [each[:2] for each in found] == [("IC204", "wrong")] * 2
    assert [layer.rpartition("/")[2] for _, _, layer in found] == ["forward_rnn", "backward_rnn"]


@pytest.mark.parametrize(("keeps", "expected"), [(0.1, [("IC204", "wrong")]), (0.9, []), (1.5, [("IC205", "wrong")])])
def test_a_cell_of_ones_own_inside_a_subclassed_model(keeps, expected):
    class Model(keras.Model):
        def __init__(self):
            super().__init__()
            self.memory = layers.RNN(Decay(keeps), name="memory")
            self.label = layers.Dense(2)

        def call(self, inputs):
            return self.label(self.memory(inputs))

    model = Model()
    model(np.zeros((2, 25, 3), np.float32))
    report = check(model, np.asarray(normal(16, 25, 3)))
    assert [each[:2] for each in over_time(report)] == expected
    for finding in report.findings:
        if finding.code.startswith("IC20") and expected:
            assert finding.measured.value == pytest.approx(keeps**2, rel=1e-3)


def test_a_recurrent_kernel_that_makes_the_gradient_explode_is_found():
    grown = layers.SimpleRNN(24, "linear", recurrent_initializer=small(2 / 24**0.5), name="rnn")
    (finding,) = [each for each in check(sequence_model(grown)).findings if each.code == "IC205"]
    assert (finding.severity, finding.layer, finding.cause.kind) == ("wrong", "rnn", "spread")
    assert finding.measured.low < 4.0 < finding.measured.high * 1.1  # the variance times the units is 4
    assert "a hundredfold in" in finding.message
    sound = layers.SimpleRNN(24, "linear", name="rnn")
    assert over_time(check(sequence_model(sound))) == []


def test_a_recurrent_kernel_of_zeros_leaves_the_last_input_alone():
    report = check(sequence_model(layers.SimpleRNN(8, recurrent_initializer="zeros", name="rnn")))
    (finding,) = [each for each in report.findings if each.code == "IC204"]
    assert "every input but the last is exactly 0" in finding.message
    assert finding.severity == "wrong"


def test_an_activation_that_stops_the_gradient_is_the_cause_and_not_the_kernel():
    report = check(sequence_model(layers.SimpleRNN(16, "sigmoid", name="rnn")))
    (finding,) = [each for each in report.findings if each.code == "IC204"]
    assert (finding.cause.kind, finding.cause.layers) == ("saturation", ("rnn",))
    assert finding.measured.value < 1 / 16  # a sigmoid's slope is 1/4 at most


@pytest.mark.parametrize("deviation", [0.25, 3.0])
def test_saturation_is_read_off_the_outputs(deviation):
    layer = layers.SimpleRNN(16, recurrent_initializer=small(deviation), return_sequences=True, name="rnn")
    model = sequence_model(layer)
    saturated = [each for each in check(model).findings if each.code == "IC304"]
    assert [each.layer for each in saturated] == (["rnn"] if deviation == 3.0 else [])
    share = float((np.abs(layer(normal(32, 30, 4))) > 0.95).mean())
    assert (share > 0.5) == bool(saturated)
    for each in saturated:
        assert each.measured.value == pytest.approx(share, abs=0.1)


class OwnLoop(layers.Layer):
    """Steps that Keras does not know of: with the layer's own kernel, or with none."""

    def __init__(self, weighted, **options):
        super().__init__(**options)
        self.weighted = weighted

    def build(self, shape):
        self.mixing = self.add_weight(shape=(shape[-1], shape[-1]), initializer="orthogonal", name="mixing")
        self.mixing_initializer = initializers.get("orthogonal")

    def call(self, inputs):
        def advance(step, state):
            return step + 1, keras.ops.tanh(keras.ops.matmul(state, self.mixing) if self.weighted else state)

        start = inputs if self.weighted else keras.ops.stop_gradient(inputs)
        end = keras.ops.while_loop(lambda step, _: step < 3, advance, (0, start))[1]
        return end + keras.ops.matmul(inputs, self.mixing)


@pytest.mark.parametrize("weighted", [True, False])
def test_a_loop_with_a_layers_own_weights_is_a_gap(weighted):
    model = keras.Sequential([keras.Input((6,)), OwnLoop(weighted, name="own"), layers.Dense(2)])
    report = check(model)
    gaps = [each.path for each in report.coverage.open_gaps if "loop" in each.reason]
    assert gaps == (["own"] if weighted else [])
    assert (report.exit_code == 2) == weighted


def test_a_layer_over_time_that_is_not_followed_is_a_gap():
    inner = layers.TimeDistributed(layers.GRU(3, name="inner"), name="each")
    model = keras.Sequential([keras.Input((2, 4, 3)), inner, layers.Flatten(), layers.Dense(2)])
    report = check(model)
    assert any(each.path == "each/inner" and "over time" in each.reason for each in report.coverage.open_gaps)
    assert report.exit_code == 2
