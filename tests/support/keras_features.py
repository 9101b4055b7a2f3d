"""What the installed Keras has, for tests of what changed between the versions that are allowed."""

from __future__ import annotations

import inspect
import re

import keras

HAS_AXES = "input_axes" in inspect.signature(keras.initializers.HeNormal).parameters
"""Whether scaling initializers take the axes of their fans, and EinsumDense gives them its own: from Keras 3.15 on."""

_VERSION = tuple(int(number) for number in re.findall(r"\d+", keras.__version__)[:2])

DROPS_ALL = _VERSION >= (3, 14)
"""Whether Dropout takes a rate of 1 on TensorFlow."""
