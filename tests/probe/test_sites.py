"""Which sites are weighted, and what feeds what: by the traced graph and not by the order of execution."""

from __future__ import annotations

import example_models as models
import keras
import numpy as np
import zoo_models
from traced_models import measured, trace

from initcheck.probe.capture import find_parents


def measure(model, inputs, **options):
    probe = trace(lambda: (model, inputs), **options)
    probe.measure([0])
    return probe


def weighted_calls(probe):
    return [(site.layer, site.call) for site in probe.sites if site.weighted]


def weighted_layers(model, inputs):
    return [layer for layer, _ in weighted_calls(measure(model, inputs))]


def weighted_layers_of(build):
    return [layer for layer, _ in weighted_calls(measured(build)[0])]


def test_all_dense_layers_of_a_plain_network_are_weighted():
    layers = [keras.layers.Dense(6, activation="relu", name=f"hidden_{index}") for index in range(20)]
    model = keras.Sequential([keras.Input((6,)), *layers, keras.layers.Dense(2, name="out")])
    assert weighted_layers(model, np.ones((4, 6), np.float32)) == [*(f"hidden_{index}" for index in range(20)), "out"]


def test_the_weighted_layers_of_a_u_net_are_its_convolutions():
    model, inputs = zoo_models.build_unet()
    found = weighted_layers(model, inputs)
    convolutions = [layer.name for layer in model.layers if "conv2d" in layer.name]
    assert len(found) == len(convolutions) == 13
    assert [name.rstrip("_0123456789") for name in found].count("conv2d_transpose") == 2


def test_a_subclassed_residual_model_runs_its_first_block_twice():
    calls = [call for _, call in weighted_calls(measured(zoo_models.build_subclassed_residual)[0])]
    assert len(calls) == 1 + 2 * 5 + 1
    assert calls[-3:-1] == [1, 1]


def test_recurrent_layers_count_by_the_weights_of_their_cells():
    found = weighted_layers_of(models.build_recurrent)
    assert found[0] == "embedding"
    assert found[1].startswith("both_ways/forward")
    assert found[-2:] == ["recurrent", "head"]


def test_a_layer_inside_time_distributed_counts_for_it():
    inner = keras.layers.TimeDistributed(keras.layers.Dense(5), name="each_step")
    model = keras.Sequential([keras.Input((4, 6)), inner, keras.layers.Dense(2, name="head")])
    assert weighted_layers(model, np.ones((3, 4, 6), np.float32)) == ["each_step", "head"]


def test_attention_counts_by_its_projections():
    found = weighted_layers_of(models.build_attention)
    projections = {f"attention/{name}" for name in ("query", "key", "value", "attention_output")}
    assert set(found) == {*projections, "hidden"}
    assert found[-2:] == ["attention/attention_output", "hidden"]


def test_normalization_scales_and_slopes_do_not_count():
    layers = [
        keras.layers.LayerNormalization(axis=[1, 2], name="normal"),
        keras.layers.PReLU(name="slope"),
        keras.layers.Dense(3, name="dense"),
    ]
    model = keras.Sequential([keras.Input((4, 6)), *layers])
    assert weighted_layers(model, np.ones((3, 4, 6), np.float32)) == ["dense"]
    assert len(layers[0].gamma.shape) == 2


def test_a_frozen_layer_counts_and_a_layer_beside_the_loss_feeds_no_output():
    inputs = keras.Input((6,))
    frozen = keras.layers.Dense(6, name="frozen", trainable=False)(inputs)
    kept = keras.layers.Dense(2, name="kept")(frozen)
    aside = keras.layers.Dense(6, name="aside_2")(keras.layers.Dense(6, name="aside_1")(frozen))
    model = keras.Model(inputs, [kept, aside])
    batch = np.ones((4, 6), np.float32)
    assert set(weighted_layers(model, batch)) == {"frozen", "aside_1", "aside_2", "kept"}
    for loss, last in ((None, {"aside_2", "kept"}), (lambda outputs: keras.ops.sum(outputs[0]), {"kept"})):
        probe = measure(model, batch, loss=loss)
        assert {probe.sites[position].layer for position in probe.output_sites} == last


def test_a_chain_that_starts_at_a_learned_table_has_no_parents():
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

    probe = measure(Prompted(), np.ones((4, 6), np.float32))
    names = [site.layer for site in probe.sites]
    parents = {names[place]: [names[parent] for parent, _ in found] for place, found in enumerate(probe.parents)}
    assert parents["tower_0"] == []
    assert parents["tower_1"] == ["tower_0"]
    assert set(parents["head"]) == {"input", "tower_2"}


def test_parents_and_output_sites_are_those_of_the_graph():
    probe, _ = measured(models.build_attention)
    names = [site.layer for site in probe.sites]
    parents = {names[position]: {names[parent] for parent, _ in found} for position, found in enumerate(probe.parents)}
    assert parents["input_layer"] == set()
    assert parents["sum"] == {"input_layer", "attention/attention_output"}
    assert {"attention/query", "attention/key", "attention/value"} >= parents["attention/attention_output"]
    assert [names[position] for position in probe.output_sites] == ["hidden"]


def test_the_parents_in_a_diamond_are_the_ends_of_both_its_paths():
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
    parents, output_sites = find_parents(operations, {}, ["a", "light", "b", "c", "d"], "loss")
    assert [[site for site, _ in found] for found in parents] == [[], [0], [0], [2], [1, 3]]
    assert output_sites == (4,)
