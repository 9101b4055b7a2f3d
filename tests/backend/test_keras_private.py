"""A method of Keras is watched by the threads that ask for it, and is its own again when the last one has ended."""

from __future__ import annotations

import threading

import keras

from initcheck.backend.keras_private import MethodWatch, variable_class
from initcheck.probe.draw import recorded_initializers


def make_variable():
    return keras.Variable(keras.initializers.Zeros(), shape=(2,), dtype="float32")


class Counter:
    def count(self, step=1):
        return step


def test_a_call_is_handled_inside_the_context_alone():
    watch = MethodWatch(lambda: Counter, "count")
    original = Counter.count
    with watch.watch(lambda original, counter, step=1: 10 * original(counter, step)):
        assert (Counter().count(), Counter().count(step=3)) == (10, 30)
    assert Counter().count() == 1
    assert Counter.count is original


def test_of_two_contexts_the_inner_one_handles_the_call():
    watch = MethodWatch(lambda: Counter, "count")
    with watch.watch(lambda *_: "outer"):
        with watch.watch(lambda *_: "inner"):
            assert Counter().count() == "inner"
        assert Counter().count() == "outer"


def test_two_threads_that_record_initializers_leave_keras_variables_as_they_were():
    """The second begins before the first has ended, and ends after it."""
    original = variable_class().__init__
    begun, first_ended = threading.Event(), threading.Event()
    found = {}

    def second():
        with recorded_initializers() as recorded:
            begun.set()
            assert first_ended.wait(60)
            found["second"] = (recorded, make_variable())

    thread = threading.Thread(target=second)
    with recorded_initializers() as recorded:
        thread.start()
        assert begun.wait(60)
        found["first"] = (recorded, make_variable())
    first_ended.set()
    thread.join()
    assert variable_class().__init__ is original
    for recorded, variable in found.values():
        assert list(recorded) == [id(variable)]


def test_a_thread_that_comes_while_another_replaces_the_method_waits_for_it():
    """Else it would run on while the method is still the class's own, and its calls would not be handled."""
    found = []

    def work():
        with watch.watch(lambda *_: "handled"):
            found.append(Counter().count())

    second = threading.Thread(target=work)

    def find_class():
        if second.ident is None:
            second.start()
            second.join(0.2)
        return Counter

    watch = MethodWatch(find_class, "count")
    work()
    second.join()
    assert found == ["handled", "handled"]
    assert Counter().count() == 1


def test_a_thread_that_does_not_record_is_not_recorded():
    with recorded_initializers() as recorded:
        thread = threading.Thread(target=make_variable)
        thread.start()
        thread.join()
    assert recorded == {}
