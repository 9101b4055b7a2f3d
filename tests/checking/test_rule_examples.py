"""The example of every rule makes a model that the rule finds."""

from __future__ import annotations

from typing import Any

import pytest

from initcheck.audit.rules import RULES
from initcheck.backend.runtime import import_keras

HEALTHY = """
import keras

model = keras.Sequential([keras.Input((64,))])
for _ in range(6):
    model.add(keras.layers.Dense(64, activation="relu", kernel_initializer="he_normal"))
model.add(keras.layers.Dense(8))
"""


def _codes(example: str) -> set[str]:
    from initcheck.checking.check import check

    import_keras().backend.clear_session()
    names: dict[str, Any] = {}
    exec(example, names)
    return {finding.code for finding in check(names["model"], names.get("x"), fixes=False).findings}


@pytest.mark.parametrize("code", sorted(RULES))
def test_the_example_has_the_finding(code: str):
    assert code in _codes(RULES[code].example)


def test_a_healthy_model_has_none_of_them():
    assert _codes(HEALTHY) == set()
