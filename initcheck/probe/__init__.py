"""The measuring engine: every layer call of a model, forward and backward, for weights drawn by seed."""

from initcheck.probe.capture import draw_functional
from initcheck.probe.draw import DrawingLoops, RedrawPlan
from initcheck.probe.measure import Probe
from initcheck.probe.tables import Measurement, tabulate

__all__ = ["DrawingLoops", "Measurement", "Probe", "RedrawPlan", "draw_functional", "tabulate"]
