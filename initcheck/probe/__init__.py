"""The measuring engine: every layer call of a model, forward and backward, for weights drawn by seed."""

from initcheck.probe.measure import Probe, draw_functional
from initcheck.probe.redraw import RedrawPlan
from initcheck.probe.tables import Measurement, tabulate

__all__ = ["Measurement", "Probe", "RedrawPlan", "draw_functional", "tabulate"]
