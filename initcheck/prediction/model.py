"""What theory predicts of a model, site by site.

A plain network of Dense layers has a law of finite width, with spreads. Any other functional model is walked layer by
layer in mean-field theory, without.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from initcheck.errors import TheoryError
from initcheck.initializers import InitializerSpec
from initcheck.keras_runtime import import_keras
from initcheck.prediction.chain import describe_chain_batch, find_chain, predict_chain
from initcheck.prediction.columns import average_sites
from initcheck.prediction.graph import Graph, read_graph
from initcheck.prediction.laws import find_laws
from initcheck.prediction.outcome import GainPrediction, ModelPrediction, SitePrediction
from initcheck.prediction.walk import Walk
from initcheck.probe import draw_functional
from initcheck.theory.pieces import Array


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
                gradients = np.asarray(keras.ops.convert_to_numpy(draw_functional(shape)))
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
            table: what the probe measured; predictions begin anew from it behind layers of which there is no theory.
            signal_layers: the layers along which gains are predicted, from the input to the output.
            kernels: from a layer to the initializer of its kernel, where the measured weights were not drawn by the
                model's own.

        Returns:
            The prediction. What cannot be predicted is missing, with the reason.
        """
        if self._graph is None or self._refusal:
            return _refuse((), self._refusal)
        graph, chain, batch = self._graph, self._chain, self._batch
        law_of = find_laws(self._model, graph.namer, kernels)
        measured = average_sites(table)
        if chain is not None and batch is not None:
            try:
                return predict_chain(graph, chain, self._inputs[0], batch, law_of, measured, signal_layers)
            except TheoryError as error:
                return _refuse([node.layer for node in graph.nodes], str(error))
        return Walk(graph, law_of, measured, self._training).run(self._inputs, signal_layers)


def _refuse(layers: Sequence[str], reason: str) -> ModelPrediction:
    sites = {(layer, 0): SitePrediction(basis=reason) for layer in layers}
    return ModelPrediction(sites, {"forward": GainPrediction(), "backward": GainPrediction()}, reason, {})
