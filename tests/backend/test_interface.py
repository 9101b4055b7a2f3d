"""What every backend has to do: these tests run on whichever one Keras runs on."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from initcheck.backend.interface import Forward, backend
from initcheck.backend.operations import (
    find_constant_softmaxes,
    find_loops,
    find_reached,
    find_softmaxes,
    find_weight_uses,
    read_connections,
    read_scale_effects,
)
from initcheck.backend.runtime import backend_name, dtype_name

ops = keras.ops
BACKEND = backend()
X = np.random.default_rng(0).normal(size=(3, 4)).astype("float32")
W = np.random.default_rng(1).normal(size=(4, 5)).astype("float32")


def array(tensor):
    return np.asarray(ops.convert_to_numpy(tensor))


class Pass:
    """One pass that is recorded and evaluated in a compiled function.

    Args:
        forward: from the sources to the losses, and a dict of other tensors.
    """

    def __init__(self, forward, sources, read=(), wanted=()):
        def run(*given):
            made = {}

            def record(inner):
                losses, tensors = forward(inner)
                made.update(tensors)
                self.losses, self.tensors = losses, made
                return Forward(losses, list(made.values()))

            self.recorded = BACKEND.record_pass(record, given)
            self.tensors |= {f"source {place}": each for place, each in enumerate(self.recorded.sources)}
            pairs = [(self.losses[number], [self.tensors[name] for name in names]) for number, names in wanted]
            extra = [self.recorded.result_of(each) for each in find_softmaxes(self.recorded.operations)]
            values, found = self.recorded.evaluate([self.tensors[name] for name in read] + extra, pairs)
            self.connected = {
                name: self.recorded.find_differentiable(self.losses[0], [tensor])[0]
                for name, tensor in self.tensors.items()
            }
            self.missing = [[each is None for each in gradients] for gradients in found]
            return values, [[each for each in gradients if each is not None] for gradients in found]

        signature = [(each.shape, str(each.dtype)) for each in sources]
        values, gradients = BACKEND.compile_once(run, signature)(*map(ops.convert_to_tensor, sources))
        self.values = [array(each) for each in values]
        self.gradients = [[array(each) for each in row] for row in gradients]

    @property
    def operations(self):
        return self.recorded.operations

    def name(self, name):
        return self.recorded.name_of(self.tensors[name])

    def effects_between(self, first, last):
        """List what the operations between two tensors do to the scale."""
        connections, effects = read_connections(self.operations), read_scale_effects(self.operations)
        below = find_reached(self.operations, [self.name(first)])
        between = (below & find_above(connections, self.name(last))) - {self.name(first)}
        return {effects[name] for name in between} - {"homogeneous"}


def find_above(connections, end):
    """List what an operation is made of, by way of others."""
    stack, seen = [end], set()
    while stack:
        name = stack.pop()
        stack += [] if name in seen else connections[name]
        seen.add(name)
    return seen


def dense(given):
    w, x = given
    x = BACKEND.copy_tensor(x)
    z = BACKEND.copy_tensor(ops.matmul(x, w))
    h = BACKEND.copy_tensor(ops.relu(z))
    return [BACKEND.copy_tensor(ops.sum(ops.square(h)))], {"x": x, "z": z, "h": h}


def test_values_and_derivatives_of_copies_and_sources_are_those_of_the_chain_rule():
    made = Pass(dense, [W, X], ["x", "z", "h", "source 0"], [(0, ["h", "z", "x", "source 0"])])
    z = X @ W
    for found, expected in zip(made.values, [X, z, np.maximum(z, 0), W], strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)
    dh = 2 * np.maximum(z, 0)
    for found, expected in zip(made.gradients[0], [dh, dh, dh @ W.T, X.T @ dh], strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_a_copy_has_a_derivative_of_its_own():
    def forward(given):
        first = BACKEND.copy_tensor(given[0])
        second = BACKEND.copy_tensor(first)
        return [ops.sum(first) + 3.0 * ops.sum(second)], {"first": first, "second": second}

    made = Pass(forward, [X], ["first", "second"], [(0, ["first", "second"])])
    assert [np.unique(each).tolist() for each in made.gradients[0]] == [[4.0], [3.0]]
    assert np.array_equal(made.values[0], X) and np.array_equal(made.values[1], X)
    first, second = (made.recorded.identify(made.tensors[name]) for name in ("first", "second"))
    assert first == second == made.recorded.identify(made.recorded.sources[0])


def test_negative_zeros_pass_a_copy_bit_for_bit():
    x = np.asarray([0.0, -0.0, 1.0], dtype="float32")

    def forward(given):
        copy = BACKEND.copy_tensor(given[0])
        return [ops.sum(copy)], {"copy": copy}

    made = Pass(forward, [x], ["copy"], [(0, ["copy"])])
    assert np.array_equal(np.signbit(made.values[0]), np.signbit(x))


def test_several_losses_are_differentiated_each_by_itself():
    def forward(given):
        x = BACKEND.copy_tensor(given[0])
        y = BACKEND.copy_tensor(x * x)
        last = BACKEND.copy_tensor(3.0 * y)
        return [ops.sum(last), ops.sum(y[:, 0]), ops.sum(given[0][:1])], {"x": x, "y": y, "last": last}

    made = Pass(forward, [X], [], [(0, ["x", "y"]), (1, ["x"]), (2, ["x", "source 0"]), (0, ["y"]), (0, ["x"])])
    np.testing.assert_allclose(made.gradients[0][0], 6 * X, rtol=1e-6)
    np.testing.assert_allclose(made.gradients[1][0], np.hstack([2 * X[:, :1], 0 * X[:, 1:]]), rtol=1e-6)
    np.testing.assert_allclose(made.gradients[3][0], np.full_like(X, 3.0), rtol=1e-6)
    np.testing.assert_allclose(made.gradients[4][0], made.gradients[0][0], rtol=1e-6)
    last = made.gradients[2][-1]
    assert np.array_equal(last, np.vstack([np.ones((1, 4)), np.zeros((2, 4))]))


def test_what_no_differentiable_path_leads_from_is_missing_and_zero_is_not():
    def forward(given):
        used, _, stopped, rounded, zero = given
        total = ops.sum(used) + ops.sum(ops.stop_gradient(stopped)) + ops.sum(0.0 * zero)
        whole = ops.cast(ops.cast(rounded, "int32"), "float32")
        return [total + ops.sum(whole)], {}

    names = [f"source {place}" for place in range(5)]
    made = Pass(forward, [X] * 5, [], [(0, names)])
    assert made.missing == [[False, True, True, True, False]]
    assert np.array_equal(made.gradients[0][1], np.zeros_like(X))
    assert [made.connected[name] for name in names] == [True, False, False, False, True]


def test_paths_are_followed_through_loops_and_branches():
    def forward(given):
        x, y, z, w, _ = given

        def step(carry, row):
            return carry + row * ops.stop_gradient(y[0]), carry

        last, _ = ops.scan(step, ops.zeros(4), x)
        chosen = BACKEND.cond(ops.sum(x) > 0, lambda: ops.sum(z), lambda: ops.sum(z * w))
        return [ops.sum(last) + 0.0 * chosen], {}

    # The branch is chosen when the function runs, but for PyTorch, where what is not computed has no path.
    made = Pass(forward, [X, X, X, X, X], [], [])
    found = [made.connected[f"source {place}"] for place in range(5)]
    assert found == [True, False, True, backend_name() != "torch", False]


def test_paths_are_followed_through_loops_whose_length_is_not_known():
    def forward(given):
        x, factor, stopped, _, count = given
        _, last = ops.while_loop(
            lambda number, _: number < count,
            lambda number, now: (number + 1, now * factor + ops.stop_gradient(stopped)),
            (0, x),
        )
        return [ops.sum(last)], {}

    made = Pass(forward, [X, X, X, X, np.asarray(3, "int32")])
    assert [made.connected[f"source {place}"] for place in range(5)] == [True, True, False, False, False]


def test_operations_come_after_those_whose_values_they_take():
    made = Pass(dense, [W, X])
    seen = set()
    for operation in made.operations:
        assert seen.issuperset(operation.inputs)
        assert len(operation.inputs) == len(operation.input_shapes)
        seen.add(operation.name)
    assert len(seen) == len(made.operations)
    assert made.name("h") in find_reached(made.operations, [made.name("source 0")])
    assert made.name("x") not in find_reached(made.operations, [made.name("source 0")])


def normalized(x):
    return keras.layers.LayerNormalization(scale=False, center=False)(x)


@pytest.mark.parametrize(
    ("function", "effects"),
    [
        (lambda x: ops.relu(x), set()),
        (lambda x: ops.reshape(ops.transpose(x), (-1,)), set()),
        (lambda x: 2.0 * x + x[:1] - ops.max(x), set()),
        (lambda x: x / 2.0, {"division"}),
        (lambda x: ops.softmax(x), {"softmax"}),
        (lambda x: ops.log_softmax(x), {"softmax"}),
        (lambda x: ops.tanh(x), {"other"}),
        (lambda x: ops.exp(x), {"other"}),
        (lambda x: ops.relu6(x), {"other"}),
        (lambda x: x**2 + ops.power(x, 2.0) + ops.square(x) + ops.sqrt(x * x), set()),
        (lambda x: x**3, {"other"}),
        (lambda x: ops.power(x, 3.0), {"other"}),
        (lambda x: ops.rsqrt(x * x), {"normalization"}),
        (lambda x: ops.reciprocal(x), {"normalization"}),
        (lambda x: x**-1 + ops.power(x, -0.5), {"normalization"}),
        (lambda x: ops.floor(x / 2.0), {"other", "division"}),
        (normalized, {"normalization", "division"}),
    ],
)
def test_what_an_operation_does_to_the_scale_is_known(function, effects):
    def forward(given):
        x = BACKEND.copy_tensor(given[0])
        y = BACKEND.copy_tensor(function(x))
        return [ops.sum(y)], {"x": x, "y": y}

    found = Pass(forward, [X]).effects_between("x", "y")
    assert found - {"division"} == effects - {"division"}
    assert found <= effects | {"division"}


@pytest.mark.parametrize("axis", [-1, 1])
def test_the_result_of_a_softmax_can_be_read(axis):
    x = np.random.default_rng(2).normal(size=(2, 3, 4)).astype("float32")

    def forward(given):
        y = BACKEND.copy_tensor(ops.softmax(given[0], axis=axis))
        return [ops.sum(ops.square(y))], {"y": y}

    made = Pass(forward, [x], ["y"], [(0, ["source 0"])])
    expected = np.exp(x) / np.exp(x).sum(axis=axis, keepdims=True)
    np.testing.assert_allclose(made.values[0], expected, rtol=1e-5)
    np.testing.assert_allclose(made.values[1], np.moveaxis(expected, axis, -1), rtol=1e-5)
    (softmax,) = find_softmaxes(made.operations)
    assert softmax.shape[-1] == x.shape[axis]


def test_a_softmax_inside_a_call_with_a_derivative_of_its_own_is_one():
    def forward(given):
        y = BACKEND.copy_tensor(keras.remat(lambda x: ops.softmax(x))(given[0]))
        return [ops.sum(ops.square(y))], {"x": BACKEND.copy_tensor(given[0]), "y": y}

    made = Pass(forward, [X], ["y"])  # which reads all softmaxes that it finds
    assert set(read_scale_effects(made.operations).values()) >= {"softmax"}
    for found in made.values:
        np.testing.assert_allclose(found, np.exp(X) / np.exp(X).sum(axis=-1, keepdims=True), rtol=1e-5)


def test_the_softmax_of_an_attention_can_be_read():
    query = np.random.default_rng(3).normal(size=(2, 5, 1, 4)).astype("float32")

    def forward(given):
        return [ops.sum(ops.square(ops.dot_product_attention(*given[:1] * 3)))], {}

    (found,) = Pass(forward, [query]).values
    scores = np.exp(np.einsum("bqhd,bkhd->bhqk", query, query) / 2.0)
    expected = scores / scores.sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(found.reshape(expected.shape), expected, rtol=1e-5)  # JAX groups the heads


@pytest.mark.filterwarnings("ignore:.*softmax over axis")
def test_a_softmax_over_one_entry_is_constant():
    def forward(given):
        y = BACKEND.copy_tensor(ops.softmax(given[0][:, :1]))
        return [ops.sum(y)], {"y": y}

    made = Pass(forward, [X])
    assert len(find_constant_softmaxes(made.operations)) == 1
    assert not find_softmaxes(made.operations)


def test_weights_are_used_in_sums_as_factors_or_added():
    def forward(given):
        kernel, scale, bias, table, x, places = given
        y = ops.matmul(x, kernel) * scale + bias
        return [ops.sum(y) + ops.sum(ops.take(table, places, axis=0))], {}

    given = [W, np.ones(5, "float32"), np.ones(5, "float32"), W, X, np.asarray([0, 2], "int32")]
    made = Pass(forward, given)
    names = [made.recorded.name_of(each) for each in made.recorded.sources]
    assert find_weight_uses(made.operations, names[:4], set(names[4:])) == ["kernel", "scale", "added", "kernel"]


def test_loops_belong_to_the_innermost_layer_call():
    def loop(x):
        return ops.scan(lambda carry, row: (carry + row, row), ops.zeros(4), x)[0]

    def forward(given):
        with BACKEND.layer_call(3):
            first = loop(given[0])
            with BACKEND.layer_call(7):
                second = loop(given[0] + first)
        return [ops.sum(second) + ops.sum(loop(given[0] * second))], {}

    found = find_loops(Pass(forward, [X]).operations)
    if backend_name() == "torch":
        assert not found  # its loops are those of Python
    else:
        assert sorted(found.values()) == [3, 7]


def test_operations_belong_to_the_innermost_layer_call():
    def forward(given):
        with BACKEND.layer_call(3):
            first = BACKEND.copy_tensor(ops.tanh(given[0]))
            with BACKEND.layer_call(7):
                second = BACKEND.copy_tensor(ops.tanh(first))
            third = BACKEND.copy_tensor(ops.tanh(second))
        return [ops.sum(third)], {"first": first, "second": second, "third": third}

    made = Pass(forward, [X])
    layers = {each.name: each.layer for each in made.operations}
    assert [layers[made.name(name)] for name in ("first", "second", "third", "source 0")] == [3, 7, 3, None]


def test_whole_numbers_pass_on_no_signal():
    def forward(given):
        x = BACKEND.copy_tensor(given[0])
        whole = ops.cast(ops.cast(x, "int32"), "float32")
        return [ops.sum(x)], {"x": x, "whole": BACKEND.copy_tensor(whole)}

    made = Pass(forward, [X])
    assert made.name("x") not in find_above(read_connections(made.operations), made.name("whole"))
    assert made.name("x") in find_above(read_connections(made.operations), made.recorded.name_of(made.losses[0]))


def test_the_body_of_a_loop_is_another_place():
    seen = []

    def forward(given):
        place = BACKEND.current_place()

        def step(carry, row):
            inner = row * 2.0
            seen.append((BACKEND.current_place() == place, BACKEND.made_at(inner, place)))
            return carry + inner, row

        last, _ = ops.scan(step, ops.zeros(4), given[0])
        assert BACKEND.current_place() == place
        assert BACKEND.made_at(last, place)
        return [ops.sum(last)], {}

    Pass(forward, [X])
    alike = backend_name() == "torch"
    assert {each == (alike, alike) for each in seen} == {True}


def test_a_later_pass_of_the_same_function_is_read_like_the_first():
    def forward(given):
        y = BACKEND.copy_tensor(ops.softmax(given[0]))
        return Forward([ops.sum(ops.square(y))], [y])

    def run(x):
        like, found = None, []
        for factor in (1.0, 2.0):
            recorded = BACKEND.record_pass(forward, [factor * x], like)
            like = recorded.structure
            # The last one: a graph lists all that was recorded in it.
            found += recorded.evaluate([recorded.result_of(find_softmaxes(recorded.operations)[-1])])[0]
        return found

    found = BACKEND.compile_once(run, [(X.shape, "float32")])(ops.convert_to_tensor(X))
    for values, x in zip(found, (X, 2.0 * X), strict=True):
        np.testing.assert_allclose(array(values), np.exp(x) / np.exp(x).sum(axis=-1, keepdims=True), rtol=1e-5)


def test_differentiate_gives_loss_extra_and_derivatives():
    def function(given):
        a, b, _ = given
        return ops.sum(a * a), {"b": (b + 1.0, None)}

    found = BACKEND.differentiate(function, [ops.convert_to_tensor(each) for each in (X, W, X)])
    np.testing.assert_allclose(array(found.loss), np.sum(X * X), rtol=1e-6)
    np.testing.assert_allclose(array(found.extra["b"][0]), W + 1.0, rtol=1e-6)
    assert found.extra["b"][1] is None
    np.testing.assert_allclose(array(found.gradients[0]), 2 * X, rtol=1e-6)
    assert found.gradients[1:] == [None, None]


@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_loop_over_replicates_gives_what_each_gives(count):
    def function(number, row):
        return ops.cast(number, "float32") + ops.sum(row), row

    loop = BACKEND.compile_over_replicates(function, [((), "int32"), ((4,), "float32")], ("float32", "float32"))
    numbers, rows = np.arange(count, dtype="int32"), np.random.default_rng(0).normal(size=(count, 4)).astype("float32")
    sums, again = loop(ops.convert_to_tensor(numbers), ops.convert_to_tensor(rows))
    np.testing.assert_allclose(array(sums), numbers + rows.sum(axis=1), rtol=1e-5)
    assert np.array_equal(array(again), rows)


@pytest.mark.skipif(backend_name() == "torch", reason="PyTorch has no graphs: functions run each time")
def test_functions_are_traced_once_whatever_the_number_of_replicates():
    calls = []

    def function(row):
        calls.append(1)
        return 2.0 * row

    loop = BACKEND.compile_over_replicates(function, [((4,), "float32")], "float32")
    for count in (3, 1, 5, 3):
        loop(ops.ones((count, 4)))
    assert len(calls) == 1


def test_double_precision_is_double_inside_a_compiled_function():
    small = np.full(1000, 1e-4, dtype="float32")

    def function(x):
        with BACKEND.double_precision():
            wide = ops.cast(x, "float64") + 1.0
            narrow = ops.cast(x, "float32")
            return ops.sum(wide) - 1000.0, narrow

    total, narrow = BACKEND.compile_once(function, [((1000,), "float32")])(ops.convert_to_tensor(small))
    assert (dtype_name(total), dtype_name(narrow)) == ("float64", "float32")
    np.testing.assert_allclose(array(total), np.sum(small, dtype="float64"), rtol=1e-9)


def test_a_branch_is_chosen_when_the_function_runs():
    function = BACKEND.compile_once(
        lambda x: BACKEND.cond(ops.sum(x) > 0, lambda: x * 2.0, lambda: -x), [((4,), "float32")]
    )
    assert array(function(ops.ones(4))).tolist() == [2.0] * 4
    assert array(function(-ops.ones(4))).tolist() == [1.0] * 4


def test_steps_are_repeated_one_after_the_other():
    def function(x):
        def step(number, current, pair, rows):
            total = ops.sum(current)
            return current * 2.0, [pair[0] + 1.0, pair[1]], rows.write(number, total)

        current, pair, rows = BACKEND.repeat(step, 4, x, [ops.zeros(()), x], BACKEND.make_rows(4, "float32"))
        return current, pair[0], pair[1], rows.stack()

    current, count, kept, sums = BACKEND.compile_once(function, [((2,), "float32")])(ops.ones(2))
    assert array(current).tolist() == [16.0, 16.0]
    assert (float(count), array(kept).tolist()) == (4.0, [1.0, 1.0])
    assert array(sums).tolist() == [2.0, 4.0, 8.0, 16.0]


def test_rows_are_taken_and_the_first_largest_is_found():
    assert np.array_equal(array(BACKEND.take_rows(ops.convert_to_tensor(X), ops.convert_to_tensor([2, 0]))), X[[2, 0]])
    tied = np.asarray([[-0.0, 0.0, -1.0], [1.0, 3.0, 3.0]], dtype="float32")
    assert array(BACKEND.find_largest(ops.convert_to_tensor(tied))).tolist() == [0, 1]


def test_squares_are_summed_without_losing_digits():
    values = np.random.default_rng(0).normal(size=100_000).astype("float32")
    found = float(BACKEND.half_sum_of_squares(ops.convert_to_tensor(values)))
    np.testing.assert_allclose(found, 0.5 * np.sum(np.square(values, dtype="float64")), rtol=1e-6)


@pytest.mark.parametrize("rows", [3, 127])
def test_bytes_are_counted_by_column_where_they_can_be(rows):
    output = ops.convert_to_tensor(np.random.default_rng(0).integers(0, 2, (rows, 8)).astype("float32"))
    found = array(BACKEND.sum_bytes(ops.equal(output, 0)))
    assert found.tolist() == (array(output) == 0).sum(axis=0).tolist()


def test_entries_are_added_up_by_owner():
    values, owners = np.asarray([1.0, 2.0, 4.0, 8.0], dtype="float32"), np.asarray([0, 2, 0, 2], dtype="int32")
    found = BACKEND.sum_segments(ops.convert_to_tensor(values), owners, 3)
    assert array(found).tolist() == [5.0, 0.0, 10.0]


def test_a_compiled_function_can_be_called_by_another_one():
    inner = BACKEND.compile_function(lambda x: ops.sum(x * x), [((None,), "float32")])
    outer = BACKEND.compile_once(lambda x: inner(x) + inner(x[:2]), [((4,), "float32")])
    assert float(outer(ops.ones(4))) == 6.0


def test_what_is_computed_outside_of_a_trace_is_known_at_once():
    seen = []

    def function(x):
        with BACKEND.outside_trace():
            seen.append(array(keras.activations.get("relu")(np.asarray([-1.0, 2.0], "float32"))).tolist())
        return x

    BACKEND.compile_once(function, [((2,), "float32")])(ops.ones(2))
    assert seen == [[0.0, 2.0]]


def test_variables_and_arrays_are_read_as_they_are():
    variable = keras.Variable(X)
    assert np.array_equal(array(BACKEND.read_variable(variable)), X)
    assert np.array_equal(BACKEND.as_array(variable), X)
    assert np.array_equal(BACKEND.as_array(variable.value), X)
    assert BACKEND.as_array(X) is X
    half = BACKEND.as_array(ops.cast(variable.value, "bfloat16"))
    np.testing.assert_allclose(half.astype("float32"), X, rtol=2**-8)
    assert BACKEND.is_dense(X) is False


def test_a_seed_draws_what_the_initializer_draws_that_is_called_with_it():
    class Given(keras.random.SeedGenerator):
        given = None

        def next(self, ordered=True):
            return BACKEND.make_seed(self.given)

    given = Given(0)

    def draw(state):
        given.given = state
        return keras.initializers.HeNormal(seed=given)((3, 4), dtype="float32")

    loop = BACKEND.compile_over_replicates(draw, [((2,), "int32")], "float32")
    states = np.asarray([[seed, 0] for seed in (1, 77, 2**31 - 3)], dtype="int32")
    for state, values in zip(states, array(loop(ops.convert_to_tensor(states))), strict=True):
        alone = keras.initializers.HeNormal(seed=int(state[0]))((3, 4), dtype="float32")
        assert np.array_equal(values, array(alone))
        assert np.array_equal(values, array(draw(ops.convert_to_tensor(state))))
    given.given = None


def test_draws_that_are_alike_have_one_description():
    def trace(initializer):
        return BACKEND.describe_graph(BACKEND.trace(lambda x: initializer((2, 2)) * x, [((), "float32")]))

    one, other, alike = (trace(keras.initializers.Constant(value)) for value in (1.0, 2.0, 1.0))
    if one is not None:
        assert one == alike != other


def test_a_compiled_function_finds_variables_as_they_are_when_it_is_called():
    variable = keras.Variable(np.ones(2, "float32"))
    once = BACKEND.compile_once(lambda x: x + BACKEND.read_variable(variable), [((2,), "float32")])
    traced = BACKEND.trace(lambda: [BACKEND.read_variable(variable) * 1.0], [])
    assert array(once(ops.zeros(2))).tolist() == array(traced()[0]).tolist() == [1.0, 1.0]
    variable.assign([5.0, 6.0])
    assert array(once(ops.zeros(2))).tolist() == array(traced()[0]).tolist() == [5.0, 6.0]


def test_steps_that_assign_to_variables_leave_them_their_values():
    weight, other = keras.Variable(np.ones(2, "float32")), keras.Variable(np.zeros(2, "float32"))

    def function(count, *values):
        def step(number, rows):
            rows = rows.write(number, ops.sum(BACKEND.read_variable(weight)))
            weight.assign(BACKEND.read_variable(weight) * 2.0)
            return rows

        rows = BACKEND.make_rows(count, "float32", 8)
        after, rows = BACKEND.repeat_on_variables(step, count, [weight, other], values, rows)
        return [rows.stack(), *after]

    compiled = BACKEND.compile_once(function, [((), "int32"), ((2,), "float32"), ((2,), "float32")])
    first, second = (ops.convert_to_tensor(np.full(2, value, "float32")) for value in (3.0, 7.0))
    counts = (3, 2)
    found = [compiled(ops.convert_to_tensor(np.int32(count)), first, second) for count in counts]
    for count, (sums, doubled, kept) in zip(counts, found, strict=True):
        assert array(sums)[:count].tolist() == [6.0 * 2**number for number in range(count)]
        assert array(doubled).tolist() == [3.0 * 2**count] * 2
        assert array(kept).tolist() == [7.0, 7.0]


def test_sums_are_float64_in_double_precision():
    values = np.random.default_rng(0).normal(2.0, 1.0, size=(1000, 20)).astype("float32")

    def function(x):
        with BACKEND.double_precision():
            return [BACKEND.sum_float64(x), BACKEND.sum_float64(x, 0)]

    total, by_column = BACKEND.compile_once(function, [((1000, 20), "float32")])(ops.convert_to_tensor(values))
    assert dtype_name(total) == dtype_name(by_column) == "float64"
    np.testing.assert_allclose(array(total), np.sum(values, dtype="float64"), rtol=1e-6)
    np.testing.assert_allclose(array(by_column), np.sum(values, axis=0, dtype="float64"), rtol=1e-6)
