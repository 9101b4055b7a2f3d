"""What theory predicts of a model, site by site.

A plain network of Dense layers is predicted at finite width, with standard deviations. Any other functional model is
followed layer by layer in mean-field theory, without.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
from scipy import special, stats

from initcheck.backend.runtime import import_keras
from initcheck.core.columns import DIRECTIONS, PREDICTED_COLUMNS
from initcheck.core.errors import TheoryError
from initcheck.models.initializers import InitializerSpec, is_of_keras, read
from initcheck.prediction.chain import describe_chain_batch, find_chain, predict_chain
from initcheck.prediction.signal import LayerWeights, Measured, ModelPrediction, SiteKey, SitePrediction
from initcheck.prediction.walk import Graph, Walk, read_graph
from initcheck.probe import random_loss_gradient
from initcheck.probe.draw import find_initializers
from initcheck.probe.layer_kinds import count_fans, main_kernel
from initcheck.probe.paths import PathNamer, own_variables
from initcheck.theory.breakpoints import Array
from initcheck.theory.dense_network import Gain
from initcheck.theory.thousandfold import MeasuredChange, count_layers_until
from initcheck.theory.weights import weight_distribution


class ModelPredictor:
    """Predicts what the probe measures of one model on one batch.

    Args:
        model: a built Keras model.
        inputs: the batch that was measured.
        training: the ``training`` argument of the measured call.
    """

    def __init__(self, model: Any, inputs: Any, *, training: bool = True) -> None:
        keras = import_keras()
        self._model = model
        self._inputs: list[Array] = [np.asarray(x, dtype=np.float64) for x in keras.tree.flatten(inputs)]
        self._training = training
        self._graph: Graph | None = None
        self._refusal = ""
        try:
            self._graph = read_graph(model)
            self._chain = find_chain(self._graph)
            self._batch = None
            if self._chain is not None:
                shape = (self._inputs[0].shape[0], *model.output_shape[1:])
                gradients = np.asarray(keras.ops.convert_to_numpy(random_loss_gradient(shape)))
                self._batch = describe_chain_batch(self._chain, self._inputs[0], gradients)
        except TheoryError as error:
            self._refusal = str(error)

    def predict(
        self,
        table: pd.DataFrame,
        signal_layers: Sequence[str] = (),
        kernels: Callable[[Any], InitializerSpec] | None = None,
    ) -> ModelPrediction:
        """Predict the measurements of a table.

        Args:
            table: what the probe measured; predictions restart from it behind layers of which there is no theory.
            signal_layers: the layers along which gains are predicted, from the input to the output.
            kernels: from a layer to the initializer of its kernel, where the measured weights were not drawn by the
                model's own.

        Returns:
            The prediction. What cannot be predicted is missing, with the reason.
        """
        if self._graph is None or self._refusal:
            return _refuse((), self._refusal)
        graph, chain, batch = self._graph, self._chain, self._batch
        weights_of = _find_layer_weights(self._model, graph.namer, kernels)
        measured = _average_sites(table)
        if chain is not None and batch is not None:
            try:
                return predict_chain(graph, chain, self._inputs[0], batch, weights_of, measured, signal_layers)
            except TheoryError as error:
                return _refuse([node.layer for node in graph.nodes], str(error))
        return Walk(graph, weights_of, measured, self._training).run(self._inputs, signal_layers)


def _refuse(layers: Sequence[str], reason: str) -> ModelPrediction:
    sites = {(layer, 0): SitePrediction(basis=reason) for layer in layers}
    return ModelPrediction(sites, {"forward": Gain(), "backward": Gain()}, reason, {})


# --- how the weights of a model are distributed -----------------------------------------------------------------------


def _find_layer_weights(
    model: Any, namer: PathNamer, kernels: Callable[[Any], InitializerSpec] | None = None
) -> Callable[[Any], LayerWeights]:
    """Find how the weights of each layer are distributed; where that is not known, the function raises TheoryError."""
    initializers: Mapping[str, Any] = find_initializers(model, namer)
    paths, names = namer.variable_paths(), namer.variable_names()

    def read_of(variable: Any) -> InitializerSpec:
        initializer = initializers.get(paths.get(id(variable), ""))
        if initializer is None:
            raise TheoryError(f"the initializer of {names.get(id(variable), variable.name)} is not known")
        if not is_of_keras(initializer):
            raise TheoryError(
                f"the initializer {read(initializer).class_name} is not one of Keras' own, so its distribution is not "
                "known"
            )
        return read(initializer)

    def weights_of(operation: Any) -> LayerWeights:
        kernel = main_kernel(operation)
        bias = next((variable for variable in own_variables(operation) if variable.name == "bias"), None)
        if kernel is None:
            return LayerWeights(None, 0.0)
        spec = read_of(kernel) if kernels is None else kernels(operation)
        distribution = weight_distribution(spec, tuple(map(int, kernel.shape)), count_fans(operation, kernel))
        return LayerWeights(distribution, 0.0 if bias is None else _bias_variance(read_of(bias), bias))

    return weights_of


def _bias_variance(spec: InitializerSpec, bias: Any) -> float:
    if spec.class_name == "Zeros":
        return 0.0
    return weight_distribution(spec, tuple(map(int, bias.shape))).variance


# --- predictions beside measurements ----------------------------------------------------------------------------------


_RESTART_QUANTITIES = (
    "activation_second_moment",
    "activation_mean",
    "activation_batch_variance",
    "gradient_second_moment",
)
"""What predictions restart from, behind layers of which there is no theory."""


def _average_sites(table: pd.DataFrame) -> Measured:
    """Average what predictions may restart from over the seeds, by site; NaN where a seed has no value."""
    columns = {name: table[name].to_numpy(dtype=np.float64, na_value=np.nan) for name in _RESTART_QUANTITIES}
    rows: dict[SiteKey, list[int]] = {}
    for row, (layer, call) in enumerate(zip(table["layer"].astype(str), table["call"].astype(int), strict=True)):
        rows.setdefault((layer, call), []).append(row)
    return {
        site: {name: float(values[places].mean()) for name, values in columns.items()} for site, places in rows.items()
    }


def add_site_predictions(table: pd.DataFrame, prediction: ModelPrediction) -> pd.DataFrame:
    """Put the predictions beside the measurements of one model.

    Args:
        table: its measurement table.
        prediction: what is predicted of it.

    Returns:
        The table with the columns of ``columns.PREDICTED_COLUMNS`` filled; the other columns are the same objects.
    """
    keys: list[SiteKey] = list(zip(table["layer"].astype(str), table["call"].astype(int), strict=True))
    unique = list(dict.fromkeys(keys))
    inputs = {key for key, kind in zip(keys, table["kind"], strict=True) if kind == "Input"}
    place = {key: index for index, key in enumerate(unique)}
    rows = np.asarray([place[key] for key in keys], dtype=np.intp)
    filled = {}
    for column in PREDICTED_COLUMNS:
        if column.name == "prediction":
            words = [_describe_prediction(prediction, key, key in inputs) for key in unique]
            filled[column.name] = pd.Series(words, dtype="string").array.take(rows)
        else:
            name = column.name.removeprefix("predicted_")
            values = np.asarray(
                [
                    prediction.sites[key].values.get(name, math.nan) if key in prediction.sites else math.nan
                    for key in unique
                ]
            )[rows]
            filled[column.name] = pd.arrays.FloatingArray(values, ~np.isfinite(values))
    return table.assign(**filled)


def _describe_prediction(prediction: ModelPrediction, key: SiteKey, is_input: bool) -> str:
    if key in prediction.sites:
        return prediction.sites[key].basis
    if not prediction.sites:
        return prediction.basis
    return "an input of the model" if is_input else "not predicted: it is not in the model's graph"


Pair = tuple[str, str, str]
"""Network, initializer and activation."""


def add_gain_predictions(summary: pd.DataFrame, predictions: Mapping[Pair, ModelPrediction]) -> pd.DataFrame:
    """Put the predicted gains beside the measured ones, and count the difference in standard errors.

    The standard error is that of the measured gain over the seeds or the one that theory expects, whichever is larger.
    The difference in units of the measured one has Student's distribution with S - 1 degrees of freedom where the
    prediction holds; it is turned into a normal score of the same probability, which is therefore too near to 0 rather
    than too far from it. Where theory can go on with more layers of the same kind, the layers until a thousandfold
    change that was not measured are counted from the last measured layer on.

    Args:
        summary: the table of ``columns.SUMMARY_COLUMNS``.
        predictions: by pair. Pairs without one are left null, with the reason "no prediction".

    Returns:
        The summary with the columns of theory filled.
    """
    columns: dict[str, list[object]] = {}
    deeper: dict[str, list[object]] = {name: list(summary[name]) for name in _THOUSANDFOLD_COLUMNS}
    for place, row in enumerate(summary.to_dict(orient="records")):
        prediction = predictions.get((str(row["network"]), str(row["initializer"]), str(row["activation"])))
        columns.setdefault("prediction", []).append("no prediction" if prediction is None else prediction.basis)
        for name, entry in _continue_layers(row, prediction).items():
            deeper[name][place] = entry
        for direction in DIRECTIONS:
            gain = Gain() if prediction is None else prediction.gains[direction]
            measured = [math.nan if pd.isna(row[name]) else float(row[name]) for name in _gain_columns(direction)]
            of_row = {
                f"textbook_{direction}_gain": gain.textbook,
                f"predicted_{direction}_gain": gain.mean,
                f"predicted_{direction}_gain_sd": gain.standard_deviation,
                f"{direction}_gain_z": score_difference(measured, int(row["seeds"]), gain),
            }
            for name, value in of_row.items():
                columns.setdefault(name, []).append(value if math.isfinite(value) else pd.NA)
    columns |= deeper
    typed = {
        name: pd.Series(values, index=summary.index, dtype=summary[name].dtype) for name, values in columns.items()
    }
    return summary.assign(**typed)


_THOUSANDFOLD_COLUMNS = tuple(
    f"{direction}_{end}" for direction in DIRECTIONS for end in ("layers_until_thousandth", "thousandfold_change")
)


# Several initializers have one distribution, and where they draw alike they have one measurement.
_count_layers = lru_cache(maxsize=512)(count_layers_until)


def _continue_layers(row: Mapping[Any, Any], prediction: ModelPrediction | None) -> dict[str, object]:
    """Count on with theory where no thousandfold change was measured; nothing where the signal or theory ends."""
    missing = [direction for direction in DIRECTIONS if pd.isna(row[f"{direction}_layers_until_thousandth"])]
    if not missing or prediction is None or prediction.repeated is None:
        return {}
    repeated, steps = prediction.repeated, {int(row[f"{direction}_steps"]) for direction in DIRECTIONS}
    rates = [row[f"{direction}_log_gain"] for direction in DIRECTIONS]
    if steps != {len(repeated.layers) - 1} or any(map(pd.isna, rates)):
        return {}
    (layers,) = steps
    measured = MeasuredChange(layers, *(float(rate) * layers for rate in rates))
    found = _count_layers(repeated.layers, repeated.input_second_moment, measured)
    filled: dict[str, object] = {}
    for direction in missing:
        change = found.forward if direction == "forward" else found.backward
        if change is not None:
            filled[f"{direction}_layers_until_thousandth"] = math.inf if change.layers is None else change.layers
            filled[f"{direction}_thousandfold_change"] = change.direction
    return filled


def _gain_columns(direction: str) -> tuple[str, str, str]:
    return f"{direction}_gain", f"{direction}_gain_low", f"{direction}_gain_high"


SMALLEST_DEVIATION = 1e-5
"""Relative standard deviation over seeds below which only rounding varies, so that there is no standard error.

Orthogonal weights keep the signal of a linear network exactly; in float32 it varies by about 1e-7 per layer.
"""


def score_difference(measured: Sequence[float], seeds: int, predicted: Gain) -> float:
    """Turn the difference between a mean over seeds and its prediction into a standard normal score.

    It has the probability of t = (mean - expected) / standard error at S - 1 degrees of freedom, with the measured or
    the predicted standard error, whichever is larger; NaN where nothing varies from seed to seed, or nothing is
    predicted.
    """
    value, _, high = measured
    expected, deviation = predicted.mean, predicted.standard_deviation
    if seeds < 2 or not all(map(math.isfinite, (value, high, expected, deviation))):
        return math.nan
    # By the upper end, since the lower one of a gain is cut at 0.
    error = (high - value) / float(stats.t.ppf(0.975, seeds - 1))
    if not (deviation > SMALLEST_DEVIATION * abs(expected) and error > 0.0):
        return math.nan
    error = max(error, deviation / math.sqrt(seeds))
    t = (value - expected) / error
    # By the logarithm of the tail's probability, which does not underflow.
    return math.copysign(-float(special.ndtri_exp(stats.t.logsf(abs(t), seeds - 1))), t)
