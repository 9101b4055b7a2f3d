"""What is PyTorch's alone: writing in place, fused operators, random numbers of its own."""

from __future__ import annotations

import numpy as np
import pytest

from initcheck.backend.interface import Forward, backend
from initcheck.backend.operations import find_reached, find_softmaxes, find_weight_uses, read_scale_effects
from initcheck.backend.runtime import backend_name
from initcheck.core.errors import ModelError

if backend_name() != "torch":
    pytest.skip("this is of PyTorch", allow_module_level=True)

import torch

BACKEND = backend()
X = np.random.default_rng(0).normal(size=(3, 4)).astype("float32")


def record(forward, *sources, like=None):
    return BACKEND.record_pass(forward, [torch.as_tensor(each) for each in sources], like)


def test_a_copy_that_is_written_to_keeps_its_value_and_its_derivative():
    made = []

    def forward(given):
        made[:] = [BACKEND.copy_tensor(2.0 * given[0])]
        changed = made[0].mul_(3.0).add_(1.0)
        made.append(BACKEND.copy_tensor(changed))
        return Forward([torch.sum(made[1] * made[1])], made)

    recorded = record(forward, X)
    loss = torch.sum(made[1] * made[1])
    assert recorded.find_differentiable(loss, made) == (True, True)
    (first, second), ((of_first, of_second),) = recorded.evaluate(made, [(loss, made)])
    assert np.allclose(first, 2.0 * X) and np.allclose(second, 6.0 * X + 1.0)
    assert np.allclose(of_second, 2.0 * (6.0 * X + 1.0)) and np.allclose(of_first, 3.0 * np.asarray(of_second))


def test_what_is_written_to_memory_feeds_what_reads_it():
    made = []

    def forward(given):
        memory = torch.zeros(3, 4)
        memory[:, :2] = given[0][:, :2]
        made[:] = [memory * 1.0]
        return Forward([torch.sum(made[0])], made)

    recorded = record(forward, X)
    source = recorded.name_of(recorded.sources[0])
    assert recorded.name_of(made[0]) in find_reached(recorded.operations, [source])


@pytest.mark.parametrize(
    "layer",
    [
        lambda x, kernel, bias: torch.nn.functional.conv1d(x[:, None], kernel[:, None], bias),
        lambda x, kernel, bias: torch.addmm(bias, x, kernel.T),
        lambda x, kernel, bias: torch.nn.functional.linear(x, kernel, bias),
    ],
)
def test_a_fused_operator_multiplies_and_then_adds(layer):
    kernel = np.random.default_rng(1).normal(size=(5, 4)).astype("float32")
    recorded = record(lambda given: Forward([torch.sum(layer(*given))]), X, kernel, np.zeros(5, "float32"))
    x, *weights = [recorded.name_of(each) for each in recorded.sources]
    assert find_weight_uses(recorded.operations, weights, {x}) == ["kernel", "added"]


def test_a_fused_normalization_multiplies_and_adds():
    def forward(given):
        return Forward([torch.sum(torch.nn.functional.layer_norm(given[0], (4,), given[1], given[2]))])

    recorded = record(forward, X, np.ones(4, "float32"), np.zeros(4, "float32"))
    x, *weights = [recorded.name_of(each) for each in recorded.sources]
    assert find_weight_uses(recorded.operations, weights, {x}) == ["scale", "added"]
    assert "normalization" in read_scale_effects(recorded.operations).values()


@pytest.mark.parametrize(("mode", "effect"), [(None, "division"), ("floor", "other"), ("trunc", "other")])
def test_a_division_that_rounds_is_none(mode, effect):
    recorded = record(lambda given: Forward([torch.sum(torch.div(given[0], 2.0, rounding_mode=mode))]), X)
    effects = read_scale_effects(recorded.operations)
    assert [effects[name] for name in effects if name.startswith("div/")] == [effect]


def test_an_exponent_that_is_computed_of_weights_is_not_known():
    recorded = record(lambda given: Forward([torch.sum(given[0] ** given[1])]), np.abs(X), np.full((), 2.0, "float32"))
    effects = read_scale_effects(recorded.operations)
    assert [effects[name] for name in effects if name.startswith("pow/")] == ["other"]


def test_a_function_that_computes_something_else_is_refused_where_results_are_asked_for():
    functions = [torch.tanh, torch.tanh, torch.sigmoid]

    def forward(given):
        return Forward([torch.sum(torch.softmax(functions.pop(0)(given[0]), dim=-1))])

    first = record(forward, X)
    first.result_of(find_softmaxes(first.operations)[0])
    again = record(forward, X, like=first.structure)
    assert again.structure is first.structure
    with pytest.raises(ModelError, match="computes something else from one call to the next"):
        record(forward, X, like=first.structure)


def test_draws_without_a_seed_follow_from_the_state_and_leave_the_generator_as_it_was():
    def draw(seed):
        made = []

        def forward(given):
            BACKEND.seed_own_draws(torch.as_tensor([seed, 0], dtype=torch.int32))
            made.append(torch.rand(8))
            return Forward([torch.sum(given[0] * made[0][:4])], made)

        record(forward, X)
        return made[0].tolist()

    before = torch.get_rng_state()
    assert draw(1) == draw(1) != draw(2)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_sparse_tensor_is_not_dense():
    dense = torch.eye(3)
    assert (BACKEND.is_dense(dense), BACKEND.is_dense(dense.to_sparse())) == (True, False)
