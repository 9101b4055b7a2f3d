"""The measuring engine: every layer call of a model, forward and backward, for weights drawn by seed."""

from initcheck.probe.measure import Probe, draw_functional, tabulate
from initcheck.probe.redraw import RedrawPlan

__all__ = ["Probe", "RedrawPlan", "draw_functional", "tabulate"]
