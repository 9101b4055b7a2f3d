"""The laws of a model's weights, from the initializers that its layers bear."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from initcheck.errors import TheoryError
from initcheck.initializers import InitializerSpec
from initcheck.keras_runtime import import_keras
from initcheck.prediction.passage import Laws
from initcheck.probe.fans import count_fans, main_kernel
from initcheck.probe.initializer_search import find_initializers
from initcheck.probe.paths import PathNamer, own_variables
from initcheck.theory.weights import weight_law


def find_laws(
    model: Any, namer: PathNamer, kernels: Callable[[Any], InitializerSpec] | None = None
) -> Callable[[Any], Laws]:
    """Find the laws of the weights of every layer of a model.

    Args:
        model: a built Keras model.
        namer: its structural paths.
        kernels: from a layer to the initializer of its kernel, where the caller knows better than the model.

    Returns:
        A function from a layer to the laws of its weights. It raises TheoryError where an initializer is not Keras'
        own, is not known, or has no law.
    """
    initializers: Mapping[str, Any] = find_initializers(model, namer)
    paths = namer.variable_paths()

    def read(variable: Any) -> InitializerSpec:
        initializer = initializers.get(paths.get(id(variable), ""))
        if initializer is None:
            raise TheoryError(f"the initializer of {paths.get(id(variable), variable.name)} is not known")
        return specify_initializer(initializer)

    def law_of(operation: Any) -> Laws:
        kernel = main_kernel(operation)
        bias = next((variable for variable in own_variables(operation) if variable.name == "bias"), None)
        if kernel is None:
            return Laws(None, 0.0)
        spec = read(kernel) if kernels is None else kernels(operation)
        law = weight_law(spec, tuple(map(int, kernel.shape)), count_fans(operation, kernel))
        return Laws(law, 0.0 if bias is None else _bias_variance(read(bias), bias))

    return law_of


def specify_initializer(initializer: Any) -> InitializerSpec:
    """Write an initializer of Keras as plain data.

    Args:
        initializer: an instance.

    Returns:
        Its class and those of its arguments that are not None, without the seed.

    Raises:
        TheoryError: it is not one of Keras' own classes.
    """
    kind = type(initializer)
    if getattr(import_keras().initializers, kind.__name__, None) is not kind:
        name = getattr(initializer, "__name__", kind.__name__)
        raise TheoryError(f"the initializer {name} is not one of Keras' own, so its law is not known")
    config = {name: value for name, value in initializer.get_config().items() if name != "seed" and value is not None}
    return InitializerSpec(kind.__name__, tuple(config.items()))


def _bias_variance(spec: InitializerSpec, bias: Any) -> float:
    if spec.class_name == "Zeros":
        return 0.0
    return weight_law(spec, tuple(map(int, bias.shape))).variance
