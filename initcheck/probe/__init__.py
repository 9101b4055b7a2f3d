"""The measuring engine: every layer call of a model, forward and backward, for weights drawn by seed."""

from initcheck.probe.draw import DrawingLoops, RedrawPlan
from initcheck.probe.measure import Measurement, Probe, random_loss_gradient, tabulate

__all__ = ["DrawingLoops", "Measurement", "Probe", "RedrawPlan", "random_loss_gradient", "tabulate"]
