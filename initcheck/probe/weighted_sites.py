"""Which calls of layers multiply a signal by weights, and which weights a forward pass reads."""

from __future__ import annotations

from collections.abc import Container
from functools import cache
from typing import Any, Final

from initcheck.keras_runtime import import_keras
from initcheck.probe.paths import child_operations, own_variables

ELEMENTWISE_NAMES: Final = frozenset({"bias", "gamma", "beta"})
"""Weights that are added to a signal, or scale it element by element, whatever their number of axes."""

ELEMENTWISE_LAYERS: Final = (
    "BatchNormalization",
    "GroupNormalization",
    "LayerNormalization",
    "PReLU",
    "RMSNormalization",
)
"""Layers of Keras that have no other weights."""


def is_weighted(operation: Any, captured: Container[int], read: Container[int]) -> bool:
    """Tell whether a site's layer multiplies by a weight of two or more axes.

    The weight may belong to a layer inside that is not captured by itself: the cell of a recurrent layer, the layer
    in TimeDistributed. A frozen weight counts: the signal passes it like any other. State that the layer declares as
    not trainable does not count.

    Args:
        operation: the layer or operation of the site; None for an input.
        captured: the ``id`` of each layer whose calls were captured.
        read: the ``id`` of each variable that the forward pass has read.
    """
    for variable in getattr(operation, "_trainable_variables", ()):
        if len(variable.shape) >= 2 and id(variable) in read and not _is_elementwise(operation, variable):
            return True
    return any(is_weighted(child, captured, read) for child in child_operations(operation) if id(child) not in captured)


def reads_weights(operation: Any, read: Container[int]) -> bool:
    """Tell whether the forward pass has read a weight that the layer holds itself."""
    return any(id(variable) in read for variable in own_variables(operation))


def _is_elementwise(operation: Any, variable: Any) -> bool:
    if variable.name in ELEMENTWISE_NAMES:
        return True
    layers = import_keras().layers
    return isinstance(operation, tuple(getattr(layers, name) for name in ELEMENTWISE_LAYERS if hasattr(layers, name)))


def make_recording_scope(state: Any) -> Any:
    """Make a scope in which variables have other values, and which notes what is read of them.

    Args:
        state: pairs of a Keras variable and its value.

    Returns:
        A ``keras.StatelessScope``, with ``read``: the set of the ``id`` of each variable that was read inside.
    """
    return _recording_scope_class()(state, initialize_variables=False)


@cache
def _recording_scope_class() -> Any:
    scope: Any = import_keras().StatelessScope

    class RecordingScope(scope):  # type: ignore[misc]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.read: set[int] = set()

        def get_current_value(self, variable: Any) -> Any:
            self.read.add(id(variable))
            return super().get_current_value(variable)

    return RecordingScope
