"""Which rule says what a kind of layer does to the signal, forward and backward, in mean-field theory.

A rule takes the signals that enter a layer and returns the signal that leaves it, and a function that takes the second
moment of the gradient at the layer's output to that at each of its inputs. A layer without a rule, or a rule that does
not apply, is said so: the prediction is begun anew behind it, from what was measured.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from initcheck.errors import TheoryError
from initcheck.keras_runtime import import_keras
from initcheck.prediction import joining, normalizing, weighted
from initcheck.prediction.passage import LayerCall, Passage, pass_unchanged

Rule = Callable[[LayerCall], Passage]

_RULES: Final[Mapping[str, Rule]] = {
    "Activation": weighted.pass_activation,
    "ActivityRegularization": pass_unchanged,
    "Add": joining.pass_add,
    "BatchNormalization": normalizing.pass_batch_normalization,
    "Concatenate": joining.pass_concatenate,
    "Conv1D": weighted.pass_convolution,
    "Conv2D": weighted.pass_convolution,
    "Conv3D": weighted.pass_convolution,
    "Dense": weighted.pass_dense,
    "Dropout": joining.pass_dropout,
    "ELU": weighted.pass_activation_layer,
    "Flatten": joining.pass_flatten,
    "Identity": pass_unchanged,
    "LayerNormalization": normalizing.pass_layer_normalization,
    "LeakyReLU": weighted.pass_activation_layer,
    "PReLU": weighted.pass_prelu,
    "ReLU": weighted.pass_activation_layer,
    "Rescaling": joining.pass_rescaling,
    "Reshape": joining.pass_reshape,
}


def find_rule(operation: Any) -> Rule:
    """Find the rule of a layer.

    Args:
        operation: the layer or operation of Keras.

    Returns:
        A function from a call of the layer to what it does; it raises TheoryError where it does not apply.

    Raises:
        TheoryError: there is no theory of this layer; in a few words.
    """
    kind = type(operation)
    name = kind.__name__
    # Only Keras' own classes: one derived from them may do anything in its call.
    if getattr(import_keras().layers, name, None) is kind:
        if name in _RULES:
            return _RULES[name]
        if "Pooling" in name:
            raise TheoryError("pooling needs the joint law of neighbouring places, which is not followed")
    elif kind.__module__.startswith("keras.src.ops"):
        if name in weighted.OPERATIONS:
            return weighted.pass_operation
        if name == "Add":
            return joining.pass_add
    raise TheoryError(f"there is no theory of {name}")
