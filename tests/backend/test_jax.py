"""What is JAX's alone: side effects, and variables that are arguments of what is compiled."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from initcheck.backend.interface import Forward, backend
from initcheck.backend.runtime import backend_name

if backend_name() != "jax":
    pytest.skip("this is of JAX", allow_module_level=True)

import jax
from jax import numpy as jnp

BACKEND = backend()
X = np.random.default_rng(0).normal(size=(3, 4)).astype("float32")


def test_side_effects_of_a_pass_happen_when_it_is_evaluated():
    seen = []

    def forward(given):
        jax.debug.callback(lambda x: seen.append(float(x)), jnp.max(given[0]))
        return Forward([jnp.sum(given[0])])

    def run(x):
        recorded = BACKEND.record_pass(forward, [x])
        return recorded.evaluate([recorded.sources[0]])[0]

    compiled = BACKEND.compile_once(run, [((3, 4), "float32")])
    for factor in (1.0, 2.0):
        jax.block_until_ready(compiled(jnp.asarray(factor * X)))
    jax.effects_barrier()
    assert seen == [X.max(), 2.0 * X.max()]


def test_what_reads_variables_is_not_described():
    variable = keras.Variable(X)
    functions = (lambda x: x * 2.0, lambda x: x * BACKEND.read_variable(variable))
    described = [BACKEND.describe_graph(BACKEND.trace(each, [((), "float32")])) for each in functions]
    assert described[0] is not None
    assert described[1] is None


def test_a_number_of_jax_may_be_a_constant():
    """It has neither shape nor dtype, as a number of Python has none."""

    def run(x):
        return x * jnp.asarray(2.0)

    compiled = BACKEND.compile_function(run, [((None,), "float32")])
    for number in (jnp.ones(3), 3, 2.5):
        assert np.asarray(compiled(number)).tolist() == (2.0 * np.asarray(number)).tolist()
