"""Large models: one draw of the weights at a time, and no second copy of what is only looked at."""

from __future__ import annotations

import tracemalloc
import weakref

import keras
import numpy as np
import pandas as pd
import pytest

from initcheck.probe import Probe, RedrawPlan, draw, measure, session
from initcheck.probe.draw import find_initializers
from initcheck.probe.loaded_weights import read_present_weights
from initcheck.probe.paths import PathNamer
from initcheck.probe.session import Session
from initcheck.probe.weight_copies import compare_weights
from initcheck.probe.weights import describe_weights

WIDTH = 1500
BYTES = 4 * WIDTH**2


def build(width=20):
    layers = [keras.layers.Dense(width, activation="relu") for _ in range(3)]
    return keras.Sequential([keras.Input((width,)), *layers, keras.layers.Dense(2)])


def batch(width=20):
    return np.random.default_rng(0).normal(size=(8, width)).astype(np.float32)


def peak_of(function):
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_weight_drawn_by_itself_is_the_one_that_the_loop_draws(monkeypatch):
    model = build()
    expected = [np.asarray(each) for each in RedrawPlan(model).sample([3, 4])]
    monkeypatch.setattr(draw, "_LARGE", 1)
    alone = RedrawPlan(model).sample([4])
    for drawn, of_two in zip(alone, expected, strict=True):
        np.testing.assert_array_equal(np.asarray(drawn)[0], of_two[1])


def test_a_draw_measured_by_itself_is_measured_as_in_the_loop(monkeypatch):
    model, x = build(), batch()
    plan = RedrawPlan(model)
    together = Probe(model, x).measure_weights_all([3, 4], plan.sample([3, 4]))
    monkeypatch.setattr(measure, "MOST_BYTES_DRAWN", 1)
    alone = Probe(model, x).measure_weights_all([4], plan.sample([4]))
    expected = together.table[together.table["seed"] == 4].reset_index(drop=True)
    pd.testing.assert_frame_equal(alone.table, expected)
    assert alone.losses == together.losses[1:]


def test_of_a_large_model_one_draw_is_alive_at_a_time(monkeypatch):
    monkeypatch.setattr(session, "MOST_BYTES_DRAWN", 1)
    model = build()
    plan, drawn, alive = RedrawPlan(model), [], []

    def sample(seeds):
        alive.append(sum(each() is not None for each in drawn))
        values = plan.sample(seeds)
        drawn.append(weakref.ref(values[0]))
        return values

    Session([Probe(model, batch())]).measure_all(sample, range(4))
    assert alive == [0, 0, 0, 0]


@pytest.mark.parametrize("loaded", [False, True])
def test_present_weights_are_read_without_a_copy(loaded):
    model = keras.Sequential([keras.Input((WIDTH,)), keras.layers.Dense(WIDTH)])
    if loaded:
        model.layers[0].kernel.assign(3.0 * model.layers[0].kernel)
    initializers = find_initializers(model, PathNamer(model))
    read_present_weights(model, initializers)  # what is imported and traced at first is no copy
    assert peak_of(lambda: read_present_weights(model, initializers)) < 0.7 * BYTES
    assert bool(read_present_weights(model, initializers).loaded) == loaded


def test_weights_are_compared_without_a_copy():
    model = keras.Sequential([keras.Input((WIDTH,)), keras.layers.Dense(WIDTH), keras.layers.Dense(WIDTH)])
    facts = describe_weights(model, RedrawPlan(model), {})
    compare_weights(model, facts)
    assert peak_of(lambda: compare_weights(model, facts)) < 0.5 * BYTES
