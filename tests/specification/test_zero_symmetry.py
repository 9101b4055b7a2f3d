"""Claim: zero initialization never breaks the symmetry between the units of a layer.

With every kernel zero, the head's included:

- relu, tanh, linear (activation 0 at 0): every kernel's gradient is exactly 0.0, the head's too, at any depth from one
  hidden layer on. Only the output's bias ever learns; the network predicts the same for every input, for ever.
- sigmoid (activation 1/2 at 0): kernels do move, but all units of a layer alike.

With a random head over zero hidden kernels, as in the founding notebook, the first statement still holds from two
hidden layers on, and the second for every hidden layer but the last.

Seeds: the weights have no chance in them, so seeds draw the samples (and their order) of scikit-learn's digits. Any one
seed refutes the claim; ten find what happens in half of all draws with probability 1 - 2^-10 > .999. False alarms:
none. Zeros are exact by arithmetic (0 x = 0). Units are told apart only by the order in which their sums are taken,
which is the same for all columns of a matrix on some processors (`exact` in the evidence) and not on others: there the
units of a trained network differ by up to 1e-5. What is allowed for is the bound that rounding obeys on any of them.
"""

from __future__ import annotations

import numpy as np
import pytest
from claims_by_seeds import judge_equality, judge_zero

from initcheck.backend.runtime import import_keras
from initcheck.models.data import load_data
from initcheck.models.initializers import InitializerSpec
from initcheck.models.networks import MlpSpec, NotebookSpec

pytestmark = pytest.mark.slow


SEEDS = 10
STEPS, BATCH = 25, 32
LEARNING_RATE = 0.5
INPUTS = 64
TRAINED_ROUNDING = STEPS * (INPUTS + BATCH) * float(np.finfo(np.float32).eps)
"""A sum of k terms is off by at most k eps, relative to the sum of their sizes, in whatever order it is taken (Higham,
"Accuracy and stability of numerical algorithms", 2002, section 4.2). A step takes sums over the inputs and over the
batch, and the errors of the steps add up: 2.9e-4. Units of a random kernel differ by 1."""
ZEROS, GLOROT = InitializerSpec("Zeros"), InitializerSpec("GlorotUniform")
CONSTANT = InitializerSpec("Constant", (("value", 0.05),))

zero_at_zero = pytest.mark.parametrize("activation", ["relu", "tanh", "linear"])


def build(hidden, head, activation, depth=2):
    # 37 units: a width that no vectorized loop divides evenly.
    spec = MlpSpec(initializer=hidden, head_initializer=head, activation=activation, depth=depth, width=37)
    return spec.build((8, 8), seed=0)


def cross_entropy(model):
    """Keras' loss for the model's outputs: logits in the MLP, probabilities in the notebook's network."""
    logits = model.layers[-1].activation.__name__ == "linear"
    return import_keras().losses.SparseCategoricalCrossentropy(from_logits=logits)


def kernel_paths(model):
    return [f"{layer.name}/kernel" for layer in model.layers if layer.weights]


def take_gradients(model, seeds, samples=64):
    """Gradients of the training loss by path of the weight, [seeds, ...] each, on another batch for each seed."""
    keras = import_keras()
    import tensorflow as tf

    loss = cross_entropy(model)
    variables = [weight.value for weight in model.trainable_weights]
    taken = []
    for seed in seeds:
        batch = load_data("digits", batch_size=samples, seed=seed)
        x = keras.ops.reshape(batch.x, (samples, *model.input_shape[1:]))
        with tf.GradientTape() as tape:
            value = loss(batch.y, model(x, training=True))
        taken.append([gradient.numpy() for gradient in tape.gradient(value, variables)])
    paths = [f"{layer.name}/{weight.name}" for layer in model.layers for weight in layer.weights]
    return {path: np.stack(gradients) for path, gradients in zip(paths, zip(*taken, strict=True), strict=True)}


def flatten(arrays):
    """Bring several arrays [seeds, ...] into one."""
    return np.concatenate([array.reshape(len(array), -1) for array in arrays], axis=1)


class Trained:
    """What training with plain SGD makes of a network, over seeds: kernels, hidden outputs and predictions."""

    def __init__(self, model, seeds):
        keras = import_keras()
        start = model.get_weights()
        model.compile(keras.optimizers.SGD(LEARNING_RATE), cross_entropy(model))
        outputs = keras.Model(model.input, [layer.output for layer in model.layers if layer.weights])
        self.kernels = {path: [] for path in kernel_paths(model)}
        self.moved = {path: [] for path in self.kernels}
        self.outputs = {path.removesuffix("/kernel"): [] for path in self.kernels}
        for seed in seeds:
            model.set_weights(start)
            batch = load_data("digits", batch_size=STEPS * BATCH, seed=seed)
            model.fit(batch.x, batch.y, batch_size=BATCH, epochs=1, shuffle=False, verbose=0)
            for path, weight, before in zip(self.kernels, model.get_weights()[::2], start[::2], strict=True):
                self.kernels[path].append(weight)
                self.moved[path].append(np.abs(weight - before).max() / np.abs(weight).max() if weight.any() else 0.0)
            for values, output in zip(self.outputs.values(), outputs(batch.x[:64]), strict=True):
                values.append(np.asarray(output))

    def asymmetry(self, layer):
        """By seed, the largest difference between two units of a layer, relative: in their weights and outputs."""
        pairs = zip(self.kernels[f"{layer}/kernel"], self.outputs[layer], strict=True)
        return np.asarray(
            [max(difference_between_columns(kernel), difference_between_columns(h)) for kernel, h in pairs]
        )


def difference_between_columns(matrix):
    largest = np.abs(matrix).max()
    return float(np.abs(matrix - matrix[:, :1]).max() / largest) if largest else 0.0


@zero_at_zero
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_zero_kernels_have_gradients_of_exactly_zero(activation, depth, take_seeds, record):
    model = build(ZEROS, ZEROS, activation, depth)
    gradients = take_gradients(model, take_seeds(SEEDS))
    judged = record(judge_zero(flatten(gradients[path] for path in kernel_paths(model))), false_alarm=0.0)
    assert judged.verdict == "pass", judged.reason
    # The loss does reach the network: the output's bias has a gradient, in every seed.
    assert (np.abs(gradients["output/bias"]).max(axis=1) > 0).all()


@zero_at_zero
def test_glorot_kernels_have_gradients(activation, take_seeds, record):
    """Negative control: the same decision, where the claim is false."""
    model = build(GLOROT, GLOROT, activation)
    gradients = take_gradients(model, take_seeds(SEEDS))
    for path in kernel_paths(model):
        assert record(judge_zero(gradients[path]), path).verdict == "fail"


@zero_at_zero
def test_zero_kernels_are_zero_for_ever_and_the_network_predicts_the_same_for_every_input(
    activation, take_seeds, record
):
    trained = Trained(build(ZEROS, ZEROS, activation), take_seeds(SEEDS))
    judged = record(judge_zero(flatten(np.stack(kernels) for kernels in trained.kernels.values())), false_alarm=0.0)
    assert judged.verdict == "pass", judged.reason
    predictions = np.stack(trained.outputs["output"])
    assert judge_zero(predictions - predictions[:, :1]).verdict == "pass"
    # Training took place: the output's bias, which is the prediction, has moved in every seed.
    assert (np.abs(predictions[:, 0]).max(axis=1) > 0).all()


@zero_at_zero
def test_the_notebooks_zero_kernels_have_gradients_of_exactly_zero_under_its_random_head(
    activation, take_seeds, record
):
    model = NotebookSpec(initializer=ZEROS, activation=activation).build((8, 8), seed=0)
    gradients = take_gradients(model, take_seeds(SEEDS))
    judged = record(judge_zero(flatten(gradients[path] for path in kernel_paths(model))), false_alarm=0.0)
    assert judged.verdict == "pass", judged.reason
    assert np.abs(model.get_layer("output").kernel.numpy()).max() > 0


@pytest.mark.parametrize("activation", ["tanh", "linear"])
def test_one_zero_layer_under_a_random_head_does_learn(activation, take_seeds, record):
    """Negative control, and the bound of the claim above: it takes two hidden layers."""
    model = build(ZEROS, GLOROT, activation, depth=1)
    gradients = take_gradients(model, take_seeds(SEEDS))
    assert record(judge_zero(gradients["hidden_01/kernel"])).verdict == "fail"


@pytest.mark.parametrize(
    ("initializer", "activation"),
    [(ZEROS, "sigmoid"), (CONSTANT, "sigmoid"), (CONSTANT, "relu"), (CONSTANT, "tanh")],
    ids=lambda value: getattr(value, "label", value),
)
def test_equal_units_stay_equal_through_training(initializer, activation, take_seeds, record):
    trained = Trained(build(initializer, initializer, activation), take_seeds(SEEDS))
    for layer in ("hidden_01", "hidden_02"):
        judged = record(judge_equality(trained.asymmetry(layer), TRAINED_ROUNDING), layer, false_alarm=0.0)
        assert judged.verdict == "pass", judged.reason
        # Not because nothing happened: the kernel has moved by far more than the rounding allowed for.
        assert min(trained.moved[f"{layer}/kernel"]) > 10 * TRAINED_ROUNDING


@pytest.mark.parametrize("activation", ["sigmoid", "relu"])
def test_glorot_units_differ_after_training(activation, take_seeds, record):
    """Negative control: the same decision, where the claim is false."""
    trained = Trained(build(GLOROT, GLOROT, activation), take_seeds(SEEDS))
    for layer in ("hidden_01", "hidden_02"):
        assert record(judge_equality(trained.asymmetry(layer), TRAINED_ROUNDING), layer).verdict == "fail"


def test_a_random_head_parts_the_units_of_the_last_hidden_layer_alone(take_seeds, record):
    trained = Trained(build(ZEROS, GLOROT, "sigmoid", depth=3), take_seeds(SEEDS))
    verdicts = {
        layer: record(judge_equality(trained.asymmetry(layer), TRAINED_ROUNDING), layer).verdict
        for layer in ("hidden_01", "hidden_02", "hidden_03")
    }
    assert verdicts == {"hidden_01": "pass", "hidden_02": "pass", "hidden_03": "fail"}
