"""The longest chain of weighted sites, by what feeds what and not by the order of execution."""

from __future__ import annotations

import example_models as models
import numpy as np
import pytest
import zoo_models

from initcheck.backend.runtime import import_keras
from initcheck.probe import Probe
from initcheck.probe.sites import connect_sites, find_longest_chain


def measured(model, inputs, **options):
    if not model.built:
        model(inputs)
    probe = Probe(model, inputs, **options)
    probe.measure([0])
    return probe


def trunk_of(model, inputs, **options):
    probe = measured(model, inputs, **options)
    return [(probe.sites[position].layer, probe.sites[position].call) for position in probe.trunk]


def layers_of(trunk):
    return [layer for layer, _ in trunk]


def test_the_trunk_of_a_plain_network_is_all_its_dense_layers():
    keras = import_keras()
    hidden = [keras.layers.Dense(6, activation="relu", name=f"hidden_{index}") for index in range(20)]
    model = keras.Sequential([keras.Input((6,)), *hidden, keras.layers.Dropout(0.1), keras.layers.Dense(2, name="out")])
    trunk = trunk_of(model, np.ones((4, 6), np.float32))
    assert layers_of(trunk) == [*(f"hidden_{index}" for index in range(20)), "out"]


def test_the_trunk_of_vgg16_is_its_convolutions_and_dense_layers():
    keras = import_keras()
    model = keras.applications.VGG16(weights=None, input_shape=(32, 32, 3), classes=3)
    probe = measured(model, np.ones((2, 32, 32, 3), np.float32))
    kinds = [probe.sites[position].kind for position in probe.trunk]
    assert kinds == ["Conv2D"] * 13 + ["Dense"] * 3


def test_a_trunk_goes_through_the_branches_of_a_residual_network():
    keras = import_keras()
    inputs = keras.Input((6,))
    signal = keras.layers.Dense(6, name="stem")(inputs)
    for block in range(3):
        branch = keras.layers.Dense(12, activation="relu", name=f"inner_{block}")(signal)
        branch = keras.layers.Dense(6, name=f"outer_{block}")(branch)
        signal = keras.layers.Add()([signal, branch])
    trunk = trunk_of(keras.Model(inputs, keras.layers.Dense(2, name="head")(signal)), np.ones((4, 6), np.float32))
    blocks = [f"{part}_{block}" for block in range(3) for part in ("inner", "outer")]
    assert layers_of(trunk) == ["stem", *blocks, "head"]


def test_the_trunk_of_two_towers_is_the_longer_one_and_the_head_whichever_runs_first():
    keras = import_keras()
    left, right = keras.Input((6,)), keras.Input((6,))
    long = left
    for index in range(3):
        long = keras.layers.Dense(6, name=f"long_{index}")(long)
    short = keras.layers.Dense(6, name="short")(right)
    for order in ([long, short], [short, long]):
        head = keras.layers.Dense(1, name="head")(keras.layers.Concatenate()(order))
        trunk = trunk_of(keras.Model([left, right], head), [np.ones((4, 6), np.float32)] * 2)
        assert layers_of(trunk) == ["long_0", "long_1", "long_2", "head"]


def test_of_two_towers_of_one_length_the_first_argument_decides():
    keras = import_keras()
    left, right = keras.Input((6,)), keras.Input((6,))
    towers = [keras.layers.Dense(6, name=name)(side) for name, side in (("left", left), ("right", right))]
    heads = {}
    for first in (0, 1):
        joined = keras.layers.Concatenate()([towers[first], towers[1 - first]])
        model = keras.Model([left, right], keras.layers.Dense(1, name="head")(joined))
        trunks = {tuple(layers_of(trunk_of(model, [np.ones((4, 6), np.float32)] * 2))) for _ in range(2)}
        assert len(trunks) == 1
        heads[first] = trunks.pop()
    assert heads == {0: ("left", "head"), 1: ("right", "head")}


def test_the_trunk_of_a_u_net_goes_down_and_up_again():
    model, inputs = zoo_models.build_unet()
    trunk = layers_of(trunk_of(model, inputs))
    convolutions = [layer.name for layer in model.layers if "conv2d" in layer.name]
    assert len(trunk) == len(convolutions) == 13
    assert [name.rstrip("_0123456789") for name in trunk].count("conv2d_transpose") == 2


def test_a_layer_called_twice_appears_twice():
    model, inputs = models.build_shared()
    assert trunk_of(model, inputs) == [("shared", 0), ("shared", 1)]


def test_the_layers_of_a_nested_model_appear_at_each_of_its_calls():
    model, inputs = models.build_nested()
    assert trunk_of(model, inputs) == [("block/inside", 0), ("block/inside", 1)]


def test_the_trunk_of_a_subclassed_model_follows_its_calls_and_not_its_declarations():
    model, inputs = models.build_subclassed()
    assert layers_of(trunk_of(model, inputs)) == ["first", "stage_0", "stage_1", "last"]


def test_a_subclassed_residual_model_runs_its_first_block_twice():
    model, inputs = zoo_models.build_subclassed_residual()
    probe = measured(model, inputs)
    assert len(probe.trunk) == 1 + 2 * 5 + 1
    calls = [probe.sites[position].call for position in probe.trunk]
    assert calls[-3:-1] == [1, 1]


def test_recurrent_layers_count_by_the_weights_of_their_cells():
    model, inputs = models.build_recurrent()
    trunk = layers_of(trunk_of(model, inputs))
    assert len(trunk) == 4
    assert trunk[0] == "embedding"
    assert trunk[1].startswith("both_ways/forward")
    assert trunk[2:] == ["recurrent", "head"]


def test_a_layer_inside_time_distributed_counts_for_it():
    keras = import_keras()
    inner = keras.layers.TimeDistributed(keras.layers.Dense(5), name="each_step")
    model = keras.Sequential([keras.Input((4, 6)), inner, keras.layers.Dense(2, name="head")])
    assert layers_of(trunk_of(model, np.ones((3, 4, 6), np.float32))) == ["each_step", "head"]


def test_attention_counts_by_its_projections():
    model, inputs = models.build_attention()
    trunk = layers_of(trunk_of(model, inputs))
    assert len(trunk) == 3
    assert trunk[1:] == ["attention/attention_output", "hidden"]


def test_normalization_scales_and_slopes_do_not_count():
    keras = import_keras()
    layers = [
        keras.layers.LayerNormalization(axis=[1, 2], name="normal"),
        keras.layers.PReLU(name="slope"),
        keras.layers.Dense(3, name="dense"),
    ]
    probe = measured(keras.Sequential([keras.Input((4, 6)), *layers]), np.ones((3, 4, 6), np.float32))
    assert len(layers[0].gamma.shape) == 2
    assert [probe.sites[position].layer for position in probe.trunk] == ["dense"]


def test_a_frozen_layer_counts_and_a_layer_beside_the_loss_does_not():
    keras = import_keras()
    inputs = keras.Input((6,))
    frozen = keras.layers.Dense(6, name="frozen", trainable=False)(inputs)
    kept = keras.layers.Dense(2, name="kept")(frozen)
    aside = keras.layers.Dense(6, name="aside_2")(keras.layers.Dense(6, name="aside_1")(frozen))
    model = keras.Model(inputs, [kept, aside])
    batch = np.ones((4, 6), np.float32)
    assert layers_of(trunk_of(model, batch)) == ["frozen", "aside_1", "aside_2"]
    loss = lambda outputs: keras.ops.sum(outputs[0])  # noqa: E731
    assert layers_of(trunk_of(model, batch, loss=loss)) == ["frozen", "kept"]


def test_a_chain_that_starts_at_no_input_is_no_trunk():
    """A tower over a learned table is longer than the path of the input, and no signal enters it."""
    keras = import_keras()

    class Prompted(keras.Model):
        def __init__(self):
            super().__init__()
            self.prompt = self.add_weight(shape=(1, 6), name="prompt", initializer="random_normal")
            self.tower = [keras.layers.Dense(6, name=f"tower_{index}") for index in range(3)]
            self.head = keras.layers.Dense(2, name="head")

        def call(self, inputs):
            signal = self.prompt
            for layer in self.tower:
                signal = layer(signal)
            return self.head(inputs + signal)

    model = Prompted()
    assert layers_of(trunk_of(model, np.ones((4, 6), np.float32))) == ["head"]


def test_parents_and_output_sites_are_those_of_the_graph():
    model, inputs = models.build_attention()
    probe = measured(model, inputs)
    names = [site.layer for site in probe.sites]
    parents = {names[position]: {names[parent] for parent in found} for position, found in enumerate(probe.parents)}
    assert parents["input"] == set()
    assert parents["sum"] == {"input", "attention/attention_output"}
    assert {"attention/query", "attention/key", "attention/value"} >= parents["attention/attention_output"]
    assert [names[position] for position in probe.output_sites] == ["hidden"]


def test_the_chain_takes_the_heavier_path_of_a_diamond():
    operations = {
        "x": (),
        "a": ("x",),
        "light": ("a",),
        "b": ("a",),
        "c": ("b",),
        "sum": ("light", "c"),
        "d": ("sum",),
        "loss": ("d",),
    }
    sites = ["a", "light", "b", "c", "d"]
    found = connect_sites(operations, sites, [True] * 5, ["x"], "loss")
    assert found.trunk == (0, 2, 3, 4)
    assert found.parents == ((), (0,), (0,), (2,), (1, 3))
    assert found.output_sites == (4,)
    lighter = [True, True, False, False, True]
    assert find_longest_chain(operations, sites, lighter, ["x"], "loss") == (0, 1, 4)


@pytest.mark.parametrize("inputs", [[], ["elsewhere"]])
def test_without_a_path_from_an_input_there_is_no_chain(inputs):
    assert find_longest_chain({"a": (), "loss": ("a",)}, ["a"], [True], inputs, "loss") == ()
