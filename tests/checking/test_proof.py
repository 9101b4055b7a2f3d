"""Training a model as it is and with a fix: what trains, on what, that nothing else is changed, and what is shown."""

from __future__ import annotations

import random

import numpy as np
import pytest
from examined_model import make_fix, make_result
from tape import to_array

from initcheck.audit.findings import Finding
from initcheck.audit.proofs import LossCurves, Proof, describe_proof
from initcheck.backend.runtime import import_keras
from initcheck.checking.proof import MOST_DRAWS, prove, prove_problems
from initcheck.checking.session import prepare_session
from initcheck.checking.settings import CheckSettings
from initcheck.core.errors import ModelError, UsageError

INPUTS = np.random.default_rng(0).standard_normal((48, 12)).astype(np.float32)
LABELS = (INPUTS @ np.random.default_rng(1).standard_normal((12, 4))).argmax(axis=-1)
NOTE = Finding("IC303", "layer_1", "a few units are dead", note=True)


def make_stack(spread, *, depth=4, width=32, prefix="hidden", ending="softmax", compiled=True, optimizer="adam"):
    """Make a factory of a classifier whose hidden kernels are a number of times as large as He's."""
    keras = import_keras()

    def build():
        drawn = keras.initializers.VarianceScaling(2.0 * spread**2, distribution="untruncated_normal")
        layers = [
            keras.layers.Dense(width, "relu", kernel_initializer=drawn, name=f"{prefix}_{number}")
            for number in range(depth)
        ]
        head = keras.layers.Dense(4, ending, name=f"{prefix}_head")
        model = keras.Sequential([keras.Input((12,)), *layers, head])
        if compiled:
            model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=ending is None))
        return model

    return build


def make_session(factory, x=INPUTS, y=LABELS, **settings):
    return prepare_session(factory, x, y, CheckSettings(**{"seeds": 4, "fixes": False, **settings}))


def draw_into(session, seed):
    """Give the model the weights that a seed draws."""
    model = session.model
    model.set_weights([np.asarray(each[0]) for each in session.plan.sample([seed])])
    return model


# --- what trains ------------------------------------------------------------------------------------------------------


def _with_everything(optimizer):
    """Make a model with a normalization, a regularizer, a loss of its own and two outputs."""
    keras = import_keras()

    def build():
        inputs = keras.Input((12,))
        x = keras.layers.Dense(16, kernel_regularizer=keras.regularizers.L2(0.1))(inputs)
        x = keras.layers.BatchNormalization()(x)
        x = keras.layers.ActivityRegularization(l1=0.01)(keras.layers.Activation("relu")(x))
        outputs = {"kind": keras.layers.Dense(4)(x), "size": keras.layers.Dense(1, kernel_constraint="non_neg")(x)}
        model = keras.Model(inputs, outputs)
        losses = {"kind": keras.losses.SparseCategoricalCrossentropy(from_logits=True), "size": "mse"}
        model.compile(optimizer(), losses, loss_weights={"kind": 1.0, "size": 0.3})
        return model

    return build


def _optimizers():
    optimizers = import_keras().optimizers
    schedule = import_keras().optimizers.schedules.ExponentialDecay(0.05, 2, 0.5)
    return {
        "momentum": lambda: optimizers.SGD(0.05, momentum=0.9, nesterov=True, clipnorm=1.0),
        "weight decay": lambda: optimizers.AdamW(0.01, weight_decay=0.1),
        "schedule": lambda: optimizers.RMSprop(schedule),
    }


@pytest.mark.parametrize("name", ["momentum", "weight decay", "schedule"])
def test_the_losses_are_those_of_keras_own_training_with_the_compiled_optimizer_and_loss(name):
    labels = {"kind": LABELS, "size": INPUTS[:, :1]}
    session = make_session(_with_everything(_optimizers()[name]), y=labels, seeds=2)
    proof = prove(session, None, 5)
    assert proof.task == "with the compiled loss on the batch and labels given"
    for draw, seed in enumerate(session.seeds):
        model = draw_into(make_session(_with_everything(_optimizers()[name]), y=labels, seeds=2), seed)
        model.compile(model.optimizer, model.loss, loss_weights={"kind": 1.0, "size": 0.3}, run_eagerly=True)
        losses = []
        for _ in range(6):
            model.reset_metrics()
            losses.append(float(model.train_on_batch(INPUTS, labels, return_dict=True)["loss"]))
        np.testing.assert_allclose(proof.as_it_is.losses[draw], losses, rtol=2e-5)


def test_layers_that_only_the_call_tells_of_training_train():
    """A subclassed model without an argument for it: its dropout drops all the same, another unit at each step."""
    keras = import_keras()

    class Dropping(keras.Model):
        def __init__(self):
            super().__init__()
            self.drop, self.head = keras.layers.Dropout(0.5, seed=1), keras.layers.Dense(1, trainable=True)

        def call(self, inputs):
            return self.head(self.drop(inputs))

    def build():
        model = Dropping()
        model.compile(keras.optimizers.SGD(0.0), "mse")
        return model

    proof = prove(make_session(build, y=INPUTS[:, :1]), None, 4)
    assert len(np.unique(proof.as_it_is.losses[0])) == 5  # nothing is learned: what differs is what was dropped


def test_without_labels_adam_trains_on_a_made_task():
    session = make_session(make_stack(1.0, optimizer="sgd"), x=None, y=None)
    proof = prove(session, None, 3)
    assert proof.optimizer == "Adam (learning rate 0.001)"
    assert proof.task == "on a made task: classes (cross-entropy) made by a fixed random function of the inputs"


def test_the_model_its_optimizer_and_all_random_states_stay_as_they_are():
    keras = import_keras()
    model = _with_everything(_optimizers()["momentum"])()
    model.fit(INPUTS, {"kind": LABELS, "size": INPUTS[:, :1]}, epochs=1, verbose=0)
    session = make_session(model, y={"kind": LABELS, "size": INPUTS[:, :1]}, weights="redraw")
    keras.utils.set_random_seed(3)

    def read():
        variables = [*model.variables, *model.optimizer.variables, *model.metrics_variables]
        return [to_array(each).tobytes() for each in variables]

    before, state = read(), (random.getstate(), np.random.get_state()[1].tobytes())
    prove(session, session, 3)
    assert read() == before
    assert (random.getstate(), np.random.get_state()[1].tobytes()) == state
    drawn = np.asarray(keras.random.normal((3,)))
    keras.utils.set_random_seed(3)
    np.testing.assert_array_equal(drawn, np.asarray(keras.random.normal((3,))))


def test_the_same_proof_twice_has_the_same_losses():
    session, fixed = (make_session(make_stack(spread)) for spread in (0.3, 1.0))
    first, second = (prove(session, fixed, 5) for _ in range(2))
    np.testing.assert_array_equal(first.as_it_is.losses, second.as_it_is.losses)
    np.testing.assert_array_equal(first.fixed.losses, second.fixed.losses)


def test_kept_weights_are_trained_as_they_are():
    session = make_session(make_stack(1.0), weights="keep")
    proof = prove(session, None, 3)
    assert proof.outcome == "one draw"
    loss = session.model.evaluate(INPUTS, LABELS, verbose=0, batch_size=len(INPUTS))
    assert proof.as_it_is.losses[0, 0] == pytest.approx(loss, rel=1e-5)


# --- the made task is learned -----------------------------------------------------------------------------------------


def _forms():
    keras = import_keras()
    layers = keras.layers

    def dense(units, activation=None):
        def build():
            x = keras.Input((12,))
            return keras.Model(
                x, layers.Dense(units, activation)(layers.Dense(64, "relu", kernel_initializer="he_normal")(x))
            )

        return build

    def words():
        x = keras.Input((10,), dtype="int32")
        return keras.Model(x, layers.Dense(20)(layers.LSTM(32, return_sequences=True)(layers.Embedding(20, 32)(x))))

    def picture():
        x = keras.Input((8, 8, 3))
        y = layers.Conv2D(16, 3, padding="same", activation="relu", kernel_initializer="he_normal")(x)
        small = layers.Conv2D(4, 3, strides=2, padding="same", activation="softmax")(y)
        return keras.Model(x, {"whole": layers.Conv2D(3, 1)(y), "small": small})

    return {
        "probabilities": dense(5, "softmax"),
        "logits": dense(5),
        "a sigmoid": dense(1, "sigmoid"),
        "a number": dense(1),
        "words": words,
        "pictures": picture,
    }


@pytest.mark.parametrize("form", ["probabilities", "logits", "a sigmoid", "a number", "words", "pictures"])
def test_a_sound_model_learns_the_made_task(form):
    proof = prove(make_session(_forms()[form], None, None), None, 60)
    assert proof.outcome == "lower"
    assert proof.after.high < 0.9 * proof.before


# --- what is shown ----------------------------------------------------------------------------------------------------


def test_a_network_in_which_the_signal_dies_trains_worse_than_the_fixed_one():
    sick, sound = (make_session(make_stack(spread, depth=8), seeds=6) for spread in (0.1, 1.0))
    proof = prove(sick, sound, 60)
    assert proof.outcome == "lower"
    assert proof.after.high < 0.5 * proof.before
    assert prove(sound, sick, 60).outcome == "higher"


def test_equal_networks_with_other_names_show_a_difference_as_seldom_as_is_said(monkeypatch):
    """The names change the draws alone: 20 comparisons of 5 draws each, of which a twentieth may show a difference."""
    first, second = (
        make_session(make_stack(1.0, depth=2, width=8, prefix=prefix), seeds=100) for prefix in ("one", "other")
    )
    monkeypatch.setattr("initcheck.checking.proof.MOST_DRAWS", 100)
    proof = prove(first, second, 12)
    before, after = proof.as_it_is.losses, proof.fixed.losses
    assert not np.isclose(before[:, 0], after[:, 0]).any()
    outcomes = [
        Proof(
            proof.seeds[k : k + 5], 12, 12, "", "", LossCurves(before[k : k + 5]), LossCurves(after[k : k + 5])
        ).outcome
        for k in range(0, 100, 5)
    ]
    shown = sum(each != "no difference" for each in outcomes)
    assert shown <= 4  # with probability 0.05 for each of 20, more come in 0.3% of all cases


def test_a_loss_that_is_not_finite_is_said_plainly():
    session, fixed = make_session(make_stack(1e12, ending=None)), make_session(make_stack(1.0, ending=None))
    proof = prove(session, fixed, 3)
    assert proof.as_it_is.failed == len(proof.seeds)
    assert "not finite from step 0 in 4 of 4 draws as it is" in describe_proof(proof)
    assert proof.outcome == "lower"


def test_no_more_draws_are_trained_than_are_needed():
    assert len(prove(make_session(make_stack(1.0), seeds=16), None, 1).seeds) == MOST_DRAWS


# --- progress and stopping --------------------------------------------------------------------------------------------


def test_the_time_that_is_left_is_said_after_the_first_steps():
    said = []
    prove(make_session(make_stack(1.0)), None, 30, lambda done, total, what: said.append((done, total, what)))
    assert all(done <= total == 4 * 30 for done, total, _ in said)
    assert [done for done, *_ in said] == sorted(done for done, *_ in said)
    first = next(done for done, _, what in said if "left of 30 steps" in what)
    assert first == 4 * 3


def test_what_is_stopped_keeps_the_steps_that_all_draws_have_made():
    def stop(done, _total, what):
        if "left" in what and done > 2 * 4 * 3:
            raise KeyboardInterrupt

    session, fixed = (make_session(make_stack(spread)) for spread in (0.1, 1.0))
    proof = prove(session, fixed, 100, stop)
    assert (proof.steps, proof.asked) == (2, 100)
    assert proof.as_it_is.losses.shape == proof.fixed.losses.shape == (4, 3)
    assert describe_proof(proof).startswith("stopped after 2 of 100 steps: ")
    whole = prove(session, fixed, 2)
    np.testing.assert_array_equal(proof.fixed.losses, whole.fixed.losses)


def test_what_is_stopped_before_the_first_step_is_not_kept():
    def stop(_done, _total, _what):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prove(make_session(make_stack(1.0)), None, 10, stop)


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [0, -1, 1.5, True])
def test_a_number_of_steps_that_is_none_is_refused(steps):
    with pytest.raises(UsageError, match="whole number of steps, at least 1"):
        prove(make_session(make_stack(1.0)), None, steps)


def test_an_optimizer_that_cannot_be_copied_is_refused_in_one_line():
    keras = import_keras()

    class Own(keras.optimizers.SGD):
        def __init__(self, *, needed):
            super().__init__(needed)

    with pytest.raises(ModelError, match="cannot be made again from its configuration: TypeError"):
        prove(make_session(make_stack(1.0, optimizer=Own(needed=0.1))), None, 2)


# --- the problems of a check ------------------------------------------------------------------------------------------


def check_sick(**changes):
    """Give the result of a check with two problems, of which the first has a fix, and the session it was made in."""
    session = make_session(make_stack(0.1), seeds=3)
    result = make_result(forward=0.2, backward=0.2, extra=[NOTE], **{"fix": make_fix(), **changes})
    assert [each.level for each in result.problems] == ["wrong", "wrong", "note"]
    return result, session


def test_each_problem_with_a_fix_is_proven_and_the_others_together_once():
    result, session = check_sick()
    sound = make_session(make_stack(1.0), seeds=3)
    proven = prove_problems(result, session, lambda fix: sound, 3)
    assert [(each.problems, each.change) for each in proven.proofs] == [((0,), make_fix().change), ((1,), "")]
    assert [each.fixed is None for each in proven.proofs] == [False, True]
    assert proven.hints == ()
    unbuilt = prove_problems(result, session, lambda fix: None, 3)
    assert [each.problems for each in unbuilt.proofs] == [(0, 1)]


def test_without_a_problem_nothing_is_trained_and_that_is_said():
    proven = prove_problems(make_result(), make_session(make_stack(1.0), seeds=3), lambda fix: None, 3)
    assert proven.proofs == ()
    assert proven.hints == ("Nothing was trained: there is no problem to prove.",)


def test_a_model_that_cannot_be_trained_is_said_and_the_check_is_kept():
    result, session = check_sick()
    session.loss_function = _raise
    proven = prove_problems(result, session, lambda fix: None, 3)
    assert proven.proofs == () and proven.findings == result.findings
    (hint,) = proven.hints
    assert hint.startswith("Not proven in training: The model 'sequential' cannot be trained: ZeroDivisionError")


def _raise(_outputs):
    raise ZeroDivisionError("a loss that raises")


def test_who_stops_keeps_what_was_trained_and_stops_what_would_follow():
    result, session = check_sick()
    calls = []

    def stop(done, total, what):
        calls.append(what)
        if "left" in what and done > 2 * 3 * 3:
            raise KeyboardInterrupt

    sound = make_session(make_stack(1.0), seeds=3)
    proven = prove_problems(result, session, lambda fix: sound, 50, stop)
    assert [each.problems for each in proven.proofs] == [(0,)]
    assert proven.proofs[0].steps == 2
    assert proven.hints == ("Training was stopped: what was not trained until then is not proven.",)

    def stop_at_once(_done, _total, _what):
        raise KeyboardInterrupt

    assert prove_problems(result, session, lambda fix: sound, 50, stop_at_once).proofs == ()


COPIES = Finding("IC301", "hidden_0/kernel", "copies", layers=("hidden_0/kernel", "hidden_1/kernel"))


def make_copies():
    """Make a factory of a model in which one instance draws the same numbers for all hidden kernels."""
    keras = import_keras()

    def build():
        drawn = keras.initializers.HeNormal()
        hidden = [keras.layers.Dense(12, "relu", kernel_initializer=drawn) for _ in range(3)]
        return keras.Sequential([keras.Input((12,)), *hidden, keras.layers.Dense(4)])

    return build


def test_copies_stay_copies_and_the_factory_draws_them_anew_from_each_seed(monkeypatch):
    given = []

    def record(*arguments, made):
        given.append(made)
        return prove(*arguments, made=made)

    monkeypatch.setattr("initcheck.checking.proof.prove", record)
    session = make_session(make_copies(), None, None, seeds=3)
    proven = prove_problems(make_result(extra=[COPIES]), session, lambda fix: None, 2)
    ((draws,),) = given
    kernels = [[np.asarray(each) for each in values[:6:2]] for values in draws]
    assert len(draws) == 3 == len(proven.proofs[0].seeds)
    for first, *others in kernels:
        assert all(np.array_equal(first, other) for other in others)
    assert not np.array_equal(kernels[0][0], kernels[1][0])
    model = make_copies()()
    given.clear()
    alone = prove_problems(make_result(extra=[COPIES]), make_session(model, None, None, seeds=3), lambda fix: None, 2)
    assert alone.proofs[0].outcome == "one draw"
    ((draws,),) = given
    np.testing.assert_array_equal(draws[0][0], model.weights[0])
