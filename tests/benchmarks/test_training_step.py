"""What the initializer, the network and the way of running it do to the time of a step, and of an initialization.

Asserted is what an initializer may not do (change the step) and what training several seeds together must bring; how
much slower or faster the rest is depends on the machine, and is only reported.
"""

from __future__ import annotations

from functools import cache

import keras
import numpy as np
import pytest
import tensorflow as tf
from interleaved import estimate_ratio, time_in_turns

from initcheck.core.seeds import derive_seeds
from initcheck.models.initializers import InitializerSpec, parse_initializer, study_initializers
from initcheck.models.networks import ConvSpec, MlpSpec, NotebookSpec
from initcheck.probe import RedrawPlan
from initcheck.training.data import LabelledData
from initcheck.training.engine import Descent, Trainer, orders_of

REFERENCE = "GlorotUniform"
TRAINED = ("Zeros", "RandomNormal", REFERENCE, "HeNormal", "Orthogonal")
SHAPES = {"784 x 300": (784, 300), "512 x 512": (512, 512), "3 x 3 x 64 x 64": (3, 3, 64, 64)}
RANDOM = [spec for spec in study_initializers() if spec.class_name not in ("Zeros", "Ones", "Constant", "Identity")]
BATCH = 32
WITHIN = (0.9, 1.1)
ROUNDS = 200

SEEDS = tuple(range(8))
SAMPLES = 1600
TINY = (1e-39, 1e-40, 1e-41)
"""Below 1.18e-38, the smallest normal number of float32."""


def build_transformer(initializer):
    """A transformer block on 16 tokens of 32 numbers: attention and a dense part, both with a normalized sum."""
    layers = keras.layers
    seeds = iter(derive_seeds(0, [f"layer {place}" for place in range(5)]))
    inputs = x = keras.Input((16, 32))
    branch = layers.MultiHeadAttention(4, 8, kernel_initializer=initializer.create(next(seeds)))(x, x)
    x = layers.LayerNormalization()(layers.Add()([x, branch]))
    branch = layers.Dense(128, "gelu", kernel_initializer=initializer.create(next(seeds)))(x)
    branch = layers.Dense(32, kernel_initializer=initializer.create(next(seeds)))(branch)
    x = layers.LayerNormalization()(layers.Add()([x, branch]))
    return keras.Model(inputs, layers.Dense(10)(layers.GlobalAveragePooling1D()(x)))


# The shape of a sample, steps of one timing, and what builds the model. Only the notebook's answers are probabilities.
# A timing is short, some milliseconds, and there are many: what interrupts one round leaves the others alone.
NETWORKS = {
    "notebook": ((28, 28), 4, lambda each: NotebookSpec(initializer=each).build((28, 28), seed=0)),
    "20 x 128": (
        (128,),
        2,
        lambda each: MlpSpec(initializer=each, activation="relu", depth=20, width=128).build((128,), seed=0),
    ),
    "conv": (
        (16, 16, 3),
        1,
        lambda each: ConvSpec(initializer=each, activation="relu", depth=4).build((16, 16, 3), seed=0),
    ),
    "transformer": ((16, 32), 2, build_transformer),
}


@cache
def make_training(network, initializer, mode="compiled"):
    """Some steps of ``fit``'s own training function on one batch, after the initialization."""
    shape, steps, build = NETWORKS[network]
    random = np.random.default_rng(0)
    batch = tf.constant(random.random((BATCH, *shape)).astype(np.float32))
    labels = tf.constant(random.integers(0, 10, BATCH))
    model = build(parse_initializer(initializer))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=network != "notebook")
    model.compile(keras.optimizers.SGD(0.001), loss, run_eagerly=mode == "eager", jit_compile=mode == "compiled by XLA")
    iterator = iter(tf.data.Dataset.from_tensors((batch, labels)).repeat())
    model.make_train_function()
    step = model.train_function

    def train():
        for _ in range(steps):
            logs = step(iterator)
        return float(logs["loss"])

    return train


@pytest.mark.parametrize("network", NETWORKS)
def test_the_training_step_takes_as_long_whatever_the_initializer(benchmark, report_ratio, network):
    trainings = {name: make_training(network, name) for name in TRAINED}
    timed = time_in_turns(trainings, rounds=ROUNDS)
    ratios = {name: estimate_ratio(timed[name], timed[REFERENCE]) for name in TRAINED if name != REFERENCE}
    for name, ratio in ratios.items():
        report_ratio(f"{network}, training step: {name} / {REFERENCE}", ratio, "within 0.9 to 1.1")
    benchmark.pedantic(trainings["HeNormal"], rounds=3)
    # Equivalence, not absence of a difference: the whole interval lies within 10%.
    for name, ratio in ratios.items():
        assert WITHIN[0] <= ratio.low and ratio.high <= WITHIN[1], name


@pytest.mark.parametrize("network", NETWORKS)
def test_a_compiled_step_is_faster_than_an_eager_one(benchmark, report_ratio, network):
    """What XLA brings on top depends on the network and the machine; it is reported and not asserted."""
    modes = {mode: make_training(network, REFERENCE, mode) for mode in ("eager", "compiled", "compiled by XLA")}
    timed = time_in_turns(modes, rounds=40)
    eager = estimate_ratio(timed["eager"], timed["compiled"])
    report_ratio(f"{network}, training step: eager / compiled", eager, "above 1")
    report_ratio(
        f"{network}, training step: compiled by XLA / compiled",
        estimate_ratio(timed["compiled by XLA"], timed["compiled"]),
    )
    benchmark.pedantic(modes["compiled"], rounds=3)
    assert eager.low > 1.0


def test_networks_differ_in_the_time_of_a_step(benchmark, report_ratio):
    """For orientation: what a step of each network costs in steps of the notebook's."""
    trainings = {name: make_training(name, REFERENCE) for name in NETWORKS}
    timed = {name: seconds / NETWORKS[name][1] for name, seconds in time_in_turns(trainings, rounds=40).items()}
    for name in NETWORKS:
        if name != "notebook":
            report_ratio(f"training step: {name} / notebook", estimate_ratio(timed[name], timed["notebook"]))
    benchmark.pedantic(trainings["notebook"], rounds=3)
    assert all((seconds > 0.0).all() for seconds in timed.values())


@pytest.mark.parametrize("name", SHAPES)
def test_orthogonal_pays_for_its_decomposition(benchmark, report_ratio, name):
    def make(spec):
        initializer = spec.create(seed=1)
        return lambda: [initializer(SHAPES[name]) for _ in range(4)][-1].numpy()

    draws = {spec.label: make(spec) for spec in RANDOM}
    timed = time_in_turns(draws, rounds=20)
    ratios = {label: estimate_ratio(seconds, timed["RandomNormal"]) for label, seconds in timed.items()}
    for label, ratio in ratios.items():
        if label != "RandomNormal":
            report_ratio(f"initialization of {name}: {label} / RandomNormal", ratio)
    benchmark.pedantic(draws["Orthogonal"], rounds=3)
    assert ratios["Orthogonal"].low > max(ratio.high for label, ratio in ratios.items() if label != "Orthogonal")


class Seeds:
    """One epoch of the notebook's network for several seeds: together, and by ``fit`` one by one."""

    def __init__(self, steps_per_execution=1):
        random = np.random.default_rng(0)
        x = random.random((SAMPLES, 28, 28)).astype(np.float32)
        y = random.integers(0, 10, SAMPLES).astype(np.int32)
        self.data = LabelledData("noise", x, y, x[:BATCH], y[:BATCH], 10)
        self.model = NotebookSpec(initializer=InitializerSpec("HeNormal")).build((28, 28), seed=0)
        self.weights = RedrawPlan(self.model).sample(SEEDS)
        self.starts = [[np.asarray(weight[place]) for weight in self.weights] for place in range(len(SEEDS))]
        self.orders = orders_of(SEEDS, SAMPLES, epoch=1)
        self.trainer = Trainer(self.model, self.data, Descent(0.01, BATCH))
        self.model.compile(
            keras.optimizers.SGD(0.01), "sparse_categorical_crossentropy", steps_per_execution=steps_per_execution
        )

    def together(self):
        return self.trainer.train_steps(self.weights, self.orders)[1].mean(axis=1)

    def one_by_one(self):
        losses = []
        for start, order in zip(self.starts, self.orders, strict=True):
            self.model.set_weights(start)
            x, y = self.data.x[order], self.data.y[order]
            history = self.model.fit(x, y, batch_size=BATCH, shuffle=False, verbose=0)
            losses.append(history.history["loss"][0])
        return np.asarray(losses)


def test_seeds_trained_together_have_twice_the_throughput_of_a_loop_over_fit(benchmark, compare):
    seeds = Seeds()
    name = f"notebook, {len(SEEDS)} seeds: fit one by one / together"
    ratio = compare(name, seeds.one_by_one, seeds.together, rounds=10, limit="at least 2")
    benchmark.pedantic(seeds.together, rounds=3)
    # A fair opponent: it trains the same networks on the same batches.
    np.testing.assert_allclose(seeds.together(), seeds.one_by_one(), rtol=1e-4)
    assert ratio.value >= 2.0


def test_an_epoch_in_one_execution_of_fit_is_reported_beside_it(benchmark, compare):
    """The quickest way of ``fit``, which is seldom used: all steps of an epoch in one call of the compiled function."""
    seeds = Seeds(steps_per_execution=SAMPLES // BATCH)
    name = f"notebook, {len(SEEDS)} seeds: fit, an epoch per execution / together"
    ratio = compare(name, seeds.one_by_one, seeds.together, rounds=10)
    benchmark.pedantic(seeds.one_by_one, rounds=1)
    assert ratio.value > 0.0


def make_pass(size):
    """A compiled gradient step of two dense layers whose weights, or signals, are of one size; nothing is updated."""
    random = np.random.default_rng(0)
    x = tf.constant(random.normal(size=(256, 512)).astype(np.float32))
    start = [(size * random.choice([-1.0, 1.0], (512, 512))).astype(np.float32) for _ in range(2)]
    kernels = [tf.constant(each) for each in start]

    @tf.function
    def step(one, other):
        with tf.GradientTape() as tape:
            tape.watch([one, other])
            loss = tf.reduce_sum(tf.nn.relu(x @ one) @ other)
        return tape.gradient(loss, [one, other])

    return lambda: [step(*kernels) for _ in range(4)][-1][0].numpy()


def test_numbers_below_the_normal_range_do_not_slow_a_step_since_tensorflow_flushes_them(
    benchmark, report_ratio, compare
):
    """NumPy keeps them: how much slower it becomes is a matter of the processor, and reported beside it."""
    passes = {size: make_pass(size) for size in (1e-3, *TINY)}
    timed = time_in_turns(passes, rounds=60)
    ratios = {size: estimate_ratio(timed[size], timed[1e-3]) for size in TINY}
    for size, ratio in ratios.items():
        report_ratio(f"step of two 512 x 512 layers: weights of {size:g} / of 0.001", ratio, "at most 1.1")
    ordinary, tiny = (np.full((512, 512), size, np.float32) for size in (1e-3, 1e-40))
    identity = np.eye(512, dtype=np.float32)
    name = "the same in NumPy, one product: 1e-40 / 0.001"
    compare(name, lambda: tiny @ identity, lambda: ordinary @ identity, rounds=20)
    benchmark.pedantic(passes[1e-3], rounds=3)
    assert tiny.any() and not tf.multiply(tf.constant(tiny), 1.0).numpy().any()
    assert all(ratio.high <= WITHIN[1] for ratio in ratios.values())


def test_a_step_that_is_slower_is_noticed():
    """Negative control: a candidate that does noticeably more work falls out of the bounds of equivalence."""
    train = make_training("notebook", "HeNormal")
    matrix = np.random.default_rng(0).normal(size=(300, 300))

    def busier():
        train()
        for _ in range(20):
            matrix @ matrix

    timed = time_in_turns({"plain": train, "busier": busier}, rounds=ROUNDS)
    assert estimate_ratio(timed["busier"], timed["plain"]).low > WITHIN[1]


@pytest.mark.parametrize("seconds", [0.001, 0.002])
def test_the_ratio_of_a_candidate_to_itself_is_one(seconds):
    same = np.full(20, seconds)
    assert estimate_ratio(same, same).value == pytest.approx(1.0)
