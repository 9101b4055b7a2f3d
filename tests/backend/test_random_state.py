import random
import sys
from collections.abc import Iterator

import keras
import numpy as np
import pytest
from keras.src.backend.common import global_state

from initcheck.backend.random_state import preserved_random_state, set_random_seed

tf = pytest.importorskip("tensorflow", reason="its own random state is what most of these tests are about")
tensorflow_context = pytest.importorskip("tensorflow.python.eager.context")

GENERATOR = "global_seed_generator"
SEED = "global_random_seed"


@pytest.fixture(autouse=True)
def _own_random_state() -> Iterator[None]:
    """Give each test known states, and the other tests theirs back by other means than those under test."""
    python, numpy = random.getstate(), np.random.get_state()
    names = (GENERATOR, SEED)
    keras_attributes = [global_state.get_global_attribute(name) for name in names]
    set_random_seed(99)
    yield
    random.setstate(python)
    np.random.set_state(numpy)
    for name, value in zip(names, keras_attributes, strict=True):
        global_state.set_global_attribute(name, value)
    if hasattr(tensorflow_context.context(), "_rng"):
        del tensorflow_context.context()._rng
    tensorflow_context.context()._seed = None


def use_everything() -> None:
    random.random()
    np.random.normal(size=3)
    keras.random.normal((2,))
    tf.random.normal((2,))
    keras.layers.Dense(2).build((None, 2))
    keras.initializers.HeNormal()


def reseed_everything() -> None:
    set_random_seed(7)
    use_everything()


@pytest.mark.parametrize("disturb", [use_everything, reseed_everything])
def test_python_and_numpy_states_are_restored_bit_for_bit(disturb) -> None:
    np.random.normal()  # so that the legacy generator holds a second normal value in reserve
    python, numpy = random.getstate(), np.random.get_state()
    with preserved_random_state():
        disturb()
        assert random.getstate() != python
        assert np.random.get_state()[2:] != numpy[2:]
    assert random.getstate() == python
    after = np.random.get_state()
    assert np.array_equal(after[1], numpy[1])
    assert after[2:] == numpy[2:]


@pytest.mark.parametrize("disturb", [use_everything, reseed_everything])
def test_the_next_values_of_every_generator_are_those_of_an_undisturbed_run(disturb) -> None:
    def draw() -> list[float]:
        # TensorFlow's operation seeds stand for its operations, whose kernels count besides.
        return [
            random.random(),
            float(np.random.normal()),
            float(keras.random.normal(())),
            tensorflow_context.internal_operation_seed(),
            tensorflow_context.global_seed(),
            float(keras.initializers.HeNormal()((1, 1))[0, 0]),
        ]

    set_random_seed(3)
    draw()
    undisturbed = draw()
    set_random_seed(3)
    draw()
    with preserved_random_state():
        disturb()
    assert draw() == undisturbed
    set_random_seed(3)
    draw()
    use_everything()
    # All but the global seed of TensorFlow and the unseeded HeNormal's own: without the context they differ.
    assert all(now != then for now, then in zip(draw()[:4], undisturbed, strict=False))


def test_the_global_seed_generator_of_keras_is_the_same_object_in_the_same_state() -> None:
    keras.random.normal((2,))
    generator = global_state.get_global_attribute(GENERATOR)
    state = generator.state.numpy().copy()
    with preserved_random_state():
        keras.random.normal((2,))
        assert not np.array_equal(generator.state.numpy(), state)
        set_random_seed(1)
        assert global_state.get_global_attribute(GENERATOR) is None
    assert global_state.get_global_attribute(GENERATOR) is generator
    assert np.array_equal(generator.state.numpy(), state)


def test_a_global_seed_generator_that_did_not_exist_does_not_exist_afterwards() -> None:
    assert global_state.get_global_attribute(GENERATOR) is None
    with preserved_random_state():
        keras.random.normal((2,))
        assert global_state.get_global_attribute(GENERATOR) is not None
    assert global_state.get_global_attribute(GENERATOR) is None


def test_the_seed_given_to_set_random_seed_is_restored() -> None:
    with preserved_random_state():
        set_random_seed(5)
    assert keras.src.utils.rng_utils.get_random_seed() == 99


def test_a_seed_of_tensorflow_that_was_not_set_is_not_set_afterwards() -> None:
    context = tensorflow_context.context()
    del context._rng
    context._seed = None
    with preserved_random_state():
        tf.random.set_seed(5)
        assert context._seed == 5
    assert context._seed is None
    assert not hasattr(context, "_rng")


def test_states_are_restored_when_the_context_ends_by_an_exception() -> None:
    def fail() -> None:
        use_everything()
        raise KeyError

    python = random.getstate()
    with pytest.raises(KeyError), preserved_random_state():
        fail()
    assert random.getstate() == python
    assert global_state.get_global_attribute(GENERATOR) is None


def test_contexts_can_be_nested() -> None:
    outer = random.getstate()
    with preserved_random_state():
        use_everything()
        inner = random.getstate()
        with preserved_random_state():
            use_everything()
        assert random.getstate() == inner
    assert random.getstate() == outer


def test_a_generator_made_by_a_keras_imported_inside_the_context_is_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as without_libraries:
        without_libraries.delitem(sys.modules, global_state.__name__)
        without_libraries.delitem(sys.modules, tensorflow_context.__name__)
        preserved = preserved_random_state()
        preserved.__enter__()
    use_everything()
    preserved.__exit__(None, None, None)
    assert global_state.get_global_attribute(GENERATOR) is None
    assert tensorflow_context.context()._seed is None
