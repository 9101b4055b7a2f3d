"""All planted defects."""

from __future__ import annotations

from typing import Final

import planted_fans
import planted_fixed
import planted_forward
import planted_layers
import planted_seeds
import planted_settings
import planted_values
from planting import Planted

DEFECTS: Final[tuple[Planted, ...]] = (
    *planted_values.DEFECTS,
    *planted_seeds.DEFECTS,
    *planted_fans.DEFECTS,
    *planted_settings.DEFECTS,
    *planted_fixed.DEFECTS,
    *planted_layers.DEFECTS,
    *planted_forward.DEFECTS,
)
