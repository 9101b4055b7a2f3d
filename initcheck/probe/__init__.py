"""The measuring engine: every layer call of a model, forward and backward, for weights drawn by seed."""

from initcheck.probe.draw import DrawingLoops, RedrawPlan
from initcheck.probe.measure import Probe
from initcheck.probe.random_loss import random_loss_gradient
from initcheck.probe.tables import Measurement, tabulate

__all__ = ["DrawingLoops", "Measurement", "Probe", "RedrawPlan", "random_loss_gradient", "tabulate"]
