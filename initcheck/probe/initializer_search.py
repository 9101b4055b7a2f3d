"""With which initializer each weight of a model was made."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from initcheck.keras_runtime import import_keras
from initcheck.probe.fans import einsum_axes
from initcheck.probe.paths import PathNamer, own_variables
from initcheck.random_state import preserved_random_state


@contextmanager
def recorded_initializers() -> Iterator[dict[int, Any]]:
    """Record with which initializer each Keras variable is created inside the context.

    Yields:
        A dictionary from ``id(variable)`` to the initializer, filled as variables are created.
    """
    from keras.src.backend.common.variables import Variable as KerasVariable

    recorded: dict[int, Any] = {}
    original = KerasVariable.__init__

    def record(self: Any, initializer: Any, *args: Any, **kwargs: Any) -> None:
        if isinstance(initializer, str):
            initializer = import_keras().initializers.get(initializer)
        if callable(initializer):
            recorded[id(self)] = initializer
        original(self, initializer, *args, **kwargs)

    KerasVariable.__init__ = record
    try:
        yield recorded
    finally:
        KerasVariable.__init__ = original


def find_initializers(model: Any, namer: PathNamer) -> dict[str, Any]:
    """Find the initializer of every weight of a built model.

    The layers of Keras name the initializer of ``kernel`` ``kernel_initializer``, and so on; that is
    the quick way. Recurrent layers (whose forget-gate bias is not what the attribute says) and layers
    that Keras does not ship are rebuilt once from the model's configuration, while the creation of
    their variables is watched.

    Returns:
        Initializers by variable path; variables whose initializer cannot be found are missing.
    """
    paths = namer.variable_paths()
    found: dict[str, Any] = {}
    doubtful = False
    for _, layer in namer.members():
        trusted = is_keras_layer(layer)
        for variable in own_variables(layer):
            initializer = getattr(layer, f"{variable.name}_initializer", None)
            if initializer is not None:
                found[paths[id(variable)]] = _as_called(layer, variable, initializer)
            if initializer is None or not trusted:
                doubtful = True
    return {**found, **watch_rebuild(model)} if doubtful else found


def _as_called(layer: Any, variable: Any, initializer: Any) -> Any:
    """Return the initializer as the layer calls it.

    From Keras 3.15 on, EinsumDense calls a copy that knows which axes of the kernel are inputs: the variance of every
    projection of MultiHeadAttention depends on it.
    """
    inform = getattr(layer, "_update_kernel_initializer", None)
    unknown = [getattr(initializer, name, ()) is None for name in ("input_axes", "output_axes")]
    if variable.name != "kernel" or inform is None or not any(unknown):
        return initializer
    axes = einsum_axes(str(layer.equation), len(variable.shape))
    return initializer if axes is None else inform(*axes)


def is_keras_layer(layer: Any) -> bool:
    """Tell whether Keras ships this layer and its initializer attributes say what they do."""
    module = type(layer).__module__
    return module.startswith("keras.") and ".rnn" not in module and ".applications" not in module


def watch_rebuild(model: Any) -> dict[str, Any]:
    """Build the model a second time from its configuration and watch with what it fills its weights.

    Returns:
        Initializers by variable path; empty where the model cannot be rebuilt from its configuration
        or comes out with other weights.
    """
    with preserved_random_state(), recorded_initializers() as recorded:
        try:
            twin = type(model).from_config(model.get_config())
            if not twin.built:
                twin.build_from_config(model.get_build_config())
        except (NotImplementedError, TypeError, ValueError, AttributeError, KeyError):
            return {}  # a model without a configuration: only the layers' attributes are left
        if [tuple(weight.shape) for weight in twin.weights] != [tuple(weight.shape) for weight in model.weights]:
            return {}
        paths = PathNamer(twin).variable_paths()
        return {paths[id(weight)]: recorded[id(weight)] for weight in twin.weights if id(weight) in recorded}
