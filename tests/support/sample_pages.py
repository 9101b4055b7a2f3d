"""The pages that are opened, each made by the code as it stands from a small measurement or from a committed one."""

from __future__ import annotations

from collections.abc import Callable

import keras
from keras import layers

import initcheck


def _make_wide(width: int = 64) -> keras.Model:
    narrow = keras.initializers.RandomNormal(stddev=0.2)
    hidden = [layers.Dense(width, "relu", name="first"), layers.Dense(width, "relu", kernel_initializer=narrow)]
    return keras.Sequential([keras.Input((16,)), *hidden, layers.Dense(1, name="out")])


def write_widths() -> str:
    return initcheck.check_widths(_make_wide, [32, 64, 128, 256], seeds=4, steps=1).to_html()


PAGES: dict[str, Callable[[], str]] = {"widths": write_widths}

HEIGHTS: dict[str, float] = {"widths": 3_000.0}
"""How long each page may be at a width of 1,200 pixels, with everything folded."""
