"""A slow, independent measurement of any functional model: layer by layer, eagerly, in float64 if wanted.

Of the probe's own code it shares the names of layers, the seeding of Dropout and the random functional, which are
definitions, and nothing that measures. Every layer is made anew from its configuration, without its fused activation,
fed by a walk over the model's graph and followed by the activation; attention is written out; a tape differentiates
with respect to every tensor on the way; statistics are taken by their definitions. A model that is no graph comes with
a forward pass of its own, written by hand.
"""

from __future__ import annotations

import inspect
import math
from collections import Counter
from collections.abc import Callable, Collection
from typing import Any

import keras
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tape import Tape, to_array

from initcheck.probe import RedrawPlan, random_loss_gradient
from initcheck.probe.paths import PathNamer

Array = NDArray[np.float64]
Forward = Callable[["SlowMeasurement", Any, Any], Any]

UNFUSED = (
    "Dense",
    "EinsumDense",
    "Activation",
    "Conv1D",
    "Conv2D",
    "DepthwiseConv2D",
    "Conv2DTranspose",
)
"""The kinds of layers that apply an activation function of their own."""


class SlowMeasurement:
    """One forward and one backward pass of one model with its present weights, in training mode.

    A model that is no graph needs ``forward``, in terms of :meth:`apply` and :meth:`record`. The output of ``spoiled``
    layers is made larger by 1 in 1,000.

    Attributes:
        table: one row per layer and call, in the order of execution; the quantities have the names and the definitions
            of ``initcheck.core.columns``, ``elements`` is the size of the output.
        weights: one row per weight of the model, by its path: the norms of its values and of its gradient (NaN where
            there is none, or where the weight is an integer), and the largest norm of a gradient in the same layer.
    """

    def __init__(
        self,
        model: Any,
        inputs: Any,
        dtype: str = "float64",
        forward: Forward | None = None,
        spoiled: Collection[str] = (),
    ) -> None:
        self.dtype = dtype
        self._namer, self._spoiled = PathNamer(model), spoiled
        plan = RedrawPlan(model)
        self._random = plan.generator_states(plan.derive([0])[0])
        self._twins: dict[int, Any] = {}
        self._calls: Counter[str] = Counter()
        self._rows: list[dict[str, Any]] = []
        self._sources: list[Any] = []
        self._kernels: dict[str, int] = {}
        self._variables: dict[int, Any] = {}
        self.table, self.weights = self._measure(model, inputs, forward or SlowMeasurement.walk)

    def _measure(self, model: Any, inputs: Any, forward: Forward) -> tuple[pd.DataFrame, pd.DataFrame]:
        ops = keras.ops
        flat = [ops.convert_to_tensor(array) for array in keras.tree.flatten(inputs)]
        floating = [keras.backend.is_float_dtype(keras.backend.standardize_dtype(tensor.dtype)) for tensor in flat]
        with Tape() as self._tape:
            for number, tensor in enumerate(flat):
                if floating[number]:
                    name = "input" if len(flat) == 1 else f"input_{number}"
                    if not isinstance(model, keras.Sequential) and getattr(model, "inputs", None):
                        name = keras.tree.flatten(model.inputs)[number]._keras_history.operation.name
                    flat[number] = self.record(name, None, self._tape.watch(ops.cast(tensor, self.dtype)))
            outputs = keras.tree.flatten(forward(self, model, keras.tree.pack_sequence_as(inputs, flat)))
            loss = sum(
                ops.sum(ops.cast(random_loss_gradient(tuple(output.shape), "float32", number), self.dtype) * output)
                for number, output in enumerate(outputs)
            )
        gradients = self._tape.gradient(loss, [*self._sources, *self._variables.values()])
        norms = {
            weight: math.nan if gradient is None else float(np.linalg.norm(_float64(gradient)))
            for weight, gradient in zip(self._variables, gradients[len(self._sources) :], strict=True)
        }
        for row, gradient in zip(self._rows, gradients[: len(self._sources)], strict=True):
            row["gradient_second_moment"] = math.nan if gradient is None else float(np.mean(_float64(gradient) ** 2))
            row["weight_gradient_norm"] = norms.get(self._kernels.get(row["layer"]), math.nan)
        return pd.DataFrame(self._rows).set_index(["layer", "call"]), self._list_weights(model, norms)

    def _list_weights(self, model: Any, norms: dict[int, float]) -> pd.DataFrame:
        paths = self._namer.variable_names()
        weights = pd.DataFrame(
            {
                "layer": paths[id(weight)].rpartition("/")[0],
                "weight_norm": float(np.linalg.norm(_float64(weight.value))) if "float" in weight.dtype else math.nan,
                "gradient_norm": norms.get(id(weight), math.nan),
            }
            for weight in model.weights
        )
        weights["largest_in_layer"] = weights.groupby("layer")["gradient_norm"].transform("max")
        return weights.set_axis([paths[id(weight)] for weight in model.weights])

    def path_of(self, layer: Any) -> str:
        """Give the name that a layer has in the table."""
        return self._namer.name_of(layer)

    def walk(self, model: Any, inputs: Any) -> Any:
        """Run the graph of a functional or sequential model, models inside it included."""
        if isinstance(model, keras.Sequential):
            for layer in model.layers:
                inputs = self.apply(layer, inputs)
            return inputs
        values = dict(zip(map(id, keras.tree.flatten(model.inputs)), keras.tree.flatten(inputs), strict=True))
        for depth in sorted(model._nodes_by_depth, reverse=True):
            for node in model._nodes_by_depth[depth]:
                if node.is_input:
                    continue
                args, kwargs = node.arguments.fill_in(values)
                outputs = self.apply(node.operation, *args, **kwargs)
                values.update(zip(map(id, node.outputs), keras.tree.flatten(outputs), strict=True))
        return keras.tree.map_structure(lambda tensor: values[id(tensor)], model._outputs_struct)

    def apply(self, operation: Any, *args: Any, **kwargs: Any) -> Any:
        """Make one call of a layer or an operation and keep what it returned."""
        layers = keras.layers
        path = self._namer.name_of(operation)
        if isinstance(operation, keras.Model):
            return self.walk(operation, *args)
        if isinstance(operation, layers.MultiHeadAttention):
            return self._attend(operation, *args)
        if not isinstance(operation, layers.Layer):
            return self.record(path, None, operation(*args, **kwargs))
        if isinstance(operation, layers.Dropout):
            return self.record(path, None, args[0] * self._draw_mask(operation, args[0].shape))
        twin = self._twin_of(operation)
        if getattr(operation, "padding", None) == "causal":
            args = (self._pad(operation, args[0]),)
        if "training" in inspect.signature(operation.call).parameters:
            kwargs["training"] = True
        result = twin(*args, **kwargs)
        kernels = [variable for variable in operation.weights if variable.name in ("kernel", "embeddings")]
        if kernels and not isinstance(operation, layers.RNN):
            self._kernels[path] = id(kernels[0])
        if type(operation).__name__ not in UNFUSED:
            return self.record(path, None, result)
        return self.record(path, result, None, operation.activation)

    def record(self, path: str, preactivation: Any, output: Any, activation: Any = None) -> Any:
        """Take the statistics of one call, and return its output for the layers that follow."""
        row: dict[str, Any] = {}
        call = self._calls[path]
        self._calls[path] += 1
        if preactivation is not None:
            preactivation = _copy(preactivation)
            row["preactivation_mean"] = float(np.mean(_float64(preactivation)))
            row["preactivation_second_moment"] = float(np.mean(_float64(preactivation) ** 2))
            output = activation(preactivation)
        output = _copy(output)
        if path in self._spoiled:
            output = 1.001 * output
        self._sources.append(output if preactivation is None else preactivation)
        self._rows.append({"layer": path, "call": call, **row, **_describe(_float64(output))})
        return output

    def _attend(self, layer: Any, query: Any, value: Any) -> Any:
        """Scaled dot-product attention, by its formula."""
        ops = keras.ops
        projected = {}
        for projection, signal in ((layer.query_dense, query), (layer.key_dense, value), (layer.value_dense, value)):
            projected[id(projection)] = self._project(projection, "btd,dnh->btnh", signal)
        q, k, v = projected.values()
        scores = ops.einsum("btnh,bsnh->bnts", q, k) / math.sqrt(layer.key_dim)
        mixed = ops.einsum("bnts,bsnh->btnh", ops.softmax(scores), v)
        return self._project(layer.output_dense, "btnh,nhd->btd", mixed)

    def _project(self, projection: Any, equation: str, signal: Any) -> Any:
        path = self._namer.name_of(projection)
        kernel, bias = (self._tape.watch(keras.ops.cast(weight.value, self.dtype)) for weight in projection.weights)
        self._variables.update(zip(map(id, projection.weights), (kernel, bias), strict=True))
        self._kernels[path] = id(projection.weights[0])
        return self.record(path, keras.ops.einsum(equation, signal, kernel) + bias, None, lambda z: z)

    def _pad(self, layer: Any, signal: Any) -> Any:
        """Pad on the left, as a causal convolution does before anything else."""
        reach = layer.dilation_rate[0] * (layer.kernel_size[0] - 1)
        return keras.ops.pad(signal, [[0, 0], [reach, 0], [0, 0]])

    def _draw_mask(self, layer: Any, shape: Any) -> Any:
        """Draw what Dropout multiplies its input with, in float32 whatever the dtype: the draw depends on it."""
        if not layer.rate:
            return keras.ops.ones(shape, self.dtype)
        with keras.StatelessScope(state_mapping=self._random):
            mask = layer(keras.ops.ones(shape, "float32"), training=True)
        return keras.ops.cast(mask, self.dtype)

    def _twin_of(self, layer: Any) -> Any:
        """Make a layer with the same weights, no fused activation, and the dtype that is computed in."""
        if id(layer) not in self._twins:
            config = {**layer.get_config(), "dtype": self.dtype}
            if type(layer).__name__ in UNFUSED:
                config["activation"] = "linear"
            if config.get("padding") == "causal":
                config["padding"] = "valid"
            twin = type(layer).from_config(config)
            twin.build_from_config(layer.get_build_config() or {"input_shape": None})
            for mine, original in zip(twin.weights, layer.weights, strict=True):
                mine.assign(keras.ops.cast(original.value, mine.dtype))
                self._variables[id(original)] = mine.value
            self._twins[id(layer)] = twin
        return self._twins[id(layer)]


def _copy(tensor: Any) -> Any:
    """Give a tensor with a derivative of its own."""
    return 1.0 * tensor


def _float64(tensor: Any) -> Array:
    return to_array(tensor).astype(np.float64)


def _describe(output: Array) -> dict[str, float]:
    return {
        "activation_mean": float(output.mean()),
        "activation_variance": float(output.var()),
        "activation_second_moment": float((output**2).mean()),
        "activation_batch_variance": float(output.var(axis=0).mean()),
        "zero_fraction": float((output == 0.0).mean()),
        "activation_max_abs": float(np.abs(output).max()),
        "elements": float(output.size),
    }
