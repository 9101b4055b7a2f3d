"""What theory predicts of a Keras model, layer by layer, and the columns that set it beside the measurements."""

from initcheck.prediction.columns import add_gain_predictions, add_site_predictions
from initcheck.prediction.model import ModelPredictor
from initcheck.prediction.outcome import ModelPrediction

__all__ = ["ModelPrediction", "ModelPredictor", "add_gain_predictions", "add_site_predictions"]
