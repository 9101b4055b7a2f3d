"""The models of this project."""

from __future__ import annotations

import keras


def build_classifier(classes: int = 10) -> keras.Model:
    """Build a small network for images of 8 x 8 pixels.

    Args:
        classes: how many classes there are.
    """
    return keras.Sequential(
        [
            keras.Input((64,), name="pixels"),
            keras.layers.Dense(48, activation="relu", kernel_initializer="he_normal", name="first"),
            keras.layers.Dense(
                32, activation="relu", kernel_initializer=keras.initializers.RandomNormal(stddev=0.2), name="second"
            ),
            keras.layers.Dense(classes, name="classes"),
        ],
        name="classifier",
    )
