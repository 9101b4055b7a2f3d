"""What theory predicts of a Keras model, layer by layer, and the columns that set it beside the measurements."""

from initcheck.prediction.model import ModelPredictor, Pair, add_gain_predictions, add_site_predictions
from initcheck.prediction.signal import ModelPrediction

__all__ = ["ModelPrediction", "ModelPredictor", "Pair", "add_gain_predictions", "add_site_predictions"]
