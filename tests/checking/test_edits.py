"""Edits are tried as if they were written: the layer that the changed call would make, and no other one."""

from __future__ import annotations

from functools import partial

import keras
import numpy as np
import pytest

from initcheck.checking.check import check
from initcheck.checking.edits import EditMaker, build_edited
from initcheck.checking.session import prepare_session
from initcheck.checking.settings import CheckSettings

layers = keras.layers
SMALL = keras.initializers.RandomNormal(stddev=1e-3)
SHARED = layers.Dense(8, kernel_initializer=SMALL, name="shared")


class Own(layers.Layer):
    """A layer of the user's own, whose weight is made when it is first called."""

    def build(self, shape):
        self.w = self.add_weight(shape=(shape[-1], 8), initializer=SMALL, name="w")
        self.other = self.add_weight((8,), "zeros", name="other")

    def call(self, x):
        return x @ self.w + self.other


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.own = Own(name="own")
        self.end = layers.Dense(2, name="end")

    def call(self, x):
        return self.end(self.own(x))


def chain(*made, shape=(8,)):
    inputs = x = keras.Input(shape)
    for each in made:
        x = each(x)
    return keras.Model(inputs, layers.Dense(2, name="end")(x))


def make_positional():
    return chain(layers.Dense(8, "relu", True, SMALL, name="small"), layers.Dense(8, name="next"))


def make_bound():
    dense = partial(layers.Dense, kernel_initializer=SMALL)
    return chain(dense(8, name="small"), layers.Dense(8, name="next"))


def make_wrapped():
    steps = layers.TimeDistributed(layers.Dense(8, kernel_initializer=SMALL, name="small"), name="steps")
    return chain(steps, layers.Flatten(), shape=(3, 8))


def make_both_directions():
    rnn = layers.LSTM(4, kernel_initializer=SMALL, name="rnn")
    return chain(layers.Bidirectional(rnn, name="both"), shape=(3, 8))


def make_attention():
    attention = layers.MultiHeadAttention(2, 4, kernel_initializer=SMALL, name="attention")
    inputs = keras.Input((3, 8))
    return keras.Model(inputs, layers.Dense(2, name="end")(attention(inputs, inputs)))


def make_class_inside():
    class Inside(layers.Dense):
        pass

    return chain(Inside(8, kernel_initializer=SMALL, name="small"), layers.Dense(8, name="next"))


class Plain(layers.Dense):
    """Hands on what it is given, as subclasses do."""

    def __init__(self, units, **kwargs):
        super().__init__(units, activation="relu", **kwargs)


class Fixed(layers.Dense):
    """Decides by itself what it hands on."""

    def __init__(self, units, **kwargs):
        super().__init__(units, activation="relu", kernel_initializer=SMALL, **kwargs)


def make_subclass():
    return chain(Plain(8, kernel_initializer=SMALL, name="small"), layers.Dense(8, name="next"))


FACTORIES = {
    "a subclass that hands on": (make_subclass, "small/kernel", "small"),
    "by position": (make_positional, "small/kernel", "small"),
    "by a partial": (make_bound, "small/kernel", "small"),
    "a wrapped layer": (make_wrapped, "steps/small/kernel", "steps/small"),
    "a copied layer": (make_both_directions, "both/forward_rnn/lstm_cell/kernel", "both"),
    "projections": (make_attention, "attention/query/kernel", "attention"),
    "a weight of one's own": (lambda: chain(Own(name="own")), "own/w", "own/w"),
    "a model that is built later": (Subclassed, "own/w", "own/w"),
    "a layer of the module, which is not made again": (lambda: chain(SHARED), "shared/kernel", "shared"),
    "a class that is made anew": (make_class_inside, "small/kernel", "small"),
}


def list_stddevs(session):
    """The standard deviation of each weight over some draws."""
    drawn = session.plan.sample(range(6))
    return {name: float(np.std(np.asarray(each))) for name, each in zip(session.plan.names, drawn, strict=True)}


@pytest.mark.parametrize("kind", FACTORIES)
def test_the_edited_model_draws_the_weight_otherwise_and_all_others_as_before(kind):
    factory, weight, layer = FACTORIES[kind]
    before = {each: each.__init__ for each in (layers.Dense, layers.LSTM, layers.Bidirectional, keras.Operation)}
    x = np.ones((4, 3, 8) if kind in ("a wrapped layer", "a copied layer", "projections") else (4, 8), np.float32)
    session = prepare_session(factory, x, None, CheckSettings(seeds=4))
    held = [np.asarray(each) for each in session.model.weights]
    facts = {each.path: each for each in describe(session)}
    edit = EditMaker(session).set_initializer(facts[weight], "keras.initializers.RandomNormal(stddev=0.5)")
    assert edit is not None and edit.layer == layer
    edited = build_edited(session, [edit])
    assert edited is not None
    old, new = list_stddevs(session), list_stddevs(edited)
    changed = {
        name for name in old if new[edited.plan.names[session.plan.names.index(name)]] != pytest.approx(old[name])
    }
    assert weight in changed
    assert all(0.3 < new[edited.plan.names[session.plan.names.index(name)]] < 0.7 for name in changed), (old, new)
    # Of attention it is all projections, and of a copied layer both copies: they are made by one call.
    assert all(name.startswith(layer.split("/")[0]) for name in changed)
    assert all(np.array_equal(np.asarray(each), value) for each, value in zip(session.model.weights, held, strict=True))
    assert before == {each: each.__init__ for each in before}


def test_a_change_that_the_code_refuses_is_no_fix_and_ends_no_check():
    report = check(lambda: chain(Fixed(8, name="small"), Fixed(8, name="next")), seeds=4, select=("IC101",))
    (problem,) = report.result.problems
    assert problem.level == "wrong" and set(problem.layers) == {"small", "next"}
    assert problem.fix is None and problem.main.tried == 0


def describe(session):
    from initcheck.probe.weights import describe_weights

    return describe_weights(session.model, session.plan, session.places)


def test_a_model_without_a_factory_draws_as_its_layers_call_the_initializer():
    """EinsumDense hands its axes to the initializer: the fan is that of the true axes, 8 x 4, and not 8."""
    einsum = layers.EinsumDense("abcd,cdef->abef", (None, 8, 4), kernel_initializer=SMALL, name="mix")
    model = chain(einsum, shape=(6, 8, 4))
    session = prepare_session(model, np.ones((2, 6, 8, 4), np.float32), None, CheckSettings(seeds=4))
    facts = next(each for each in describe(session) if each.path == "mix/kernel")
    edit = EditMaker(session).set_initializer(facts, '"lecun_normal"')
    assert edit.site is None and edit.new == '"lecun_normal"'
    edited = build_edited(session, [edit])
    written = chain(
        layers.EinsumDense("abcd,cdef->abef", (None, 8, 4), kernel_initializer="lecun_normal", name="mix"),
        shape=(6, 8, 4),
    )
    drawn = list_stddevs(edited)["mix/kernel"]
    assert drawn == pytest.approx(float(np.std(np.asarray(written.get_layer("mix").kernel))), rel=0.1)
    assert drawn == pytest.approx(32**-0.5, rel=0.1)


def test_what_would_not_come_out_the_same_again_cannot_be_tried():
    made = []

    def factory():
        made.append(1)
        return chain(layers.Dense(8 * len(made), kernel_initializer=SMALL, name="small"))

    session = prepare_session(factory, np.ones((2, 8), np.float32), None, CheckSettings(seeds=4))
    edit = EditMaker(session).set_argument("small", "activation", '"linear"', '"relu"')
    # The factory makes another model now; from its configuration this one comes out the same.
    edited = build_edited(session, [edit])
    assert [tuple(each.shape) for each in edited.model.weights] == [tuple(each.shape) for each in session.model.weights]
    assert edited.model.get_layer("small").activation is keras.activations.relu
    assert session.model.get_layer("small").activation is keras.activations.linear
