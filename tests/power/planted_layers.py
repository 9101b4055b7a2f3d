"""Defects of layers: their default initializers, and what they do with an initializer."""

from __future__ import annotations

import functools
from typing import Any

from planting import Planted, layer_default, method, source, weight

from initcheck.backend.runtime import import_keras


def initializer(name: str, **arguments: Any) -> Any:
    return getattr(import_keras().initializers, name)(**arguments)


def _swapped(layer: str, module: str) -> Any:
    """Let a recurrent layer use each of its two initializers for the other kernel."""

    def make(init: Any) -> Any:
        @functools.wraps(init)
        def changed(self: Any, *args: Any, **kwargs: Any) -> None:  # Keras looks for these names
            init(self, *args, **kwargs)
            self.kernel_initializer, self.recurrent_initializer = self.recurrent_initializer, self.kernel_initializer

        return changed

    return method(f"layers.rnn.{module}.{layer}Cell", "__init__", make)


def _ignored(path: str, name: str, given: str) -> Any:
    """Let a layer ignore the initializer that it is given."""

    def make(init: Any) -> Any:
        @functools.wraps(init)
        def changed(self: Any, *args: Any, **kwargs: Any) -> None:  # Keras looks for these names
            init(self, *args, **kwargs)
            setattr(self, name, source("initializers").get(given))

        return changed

    return method(path, "__init__", make)


def _of_shape(change: Any) -> Any:
    """Make an initializer that draws for another shape, and returns what was asked for."""

    def make(layer: Any, original: Any) -> Any:
        def drawn(shape: Any, dtype: Any = None) -> Any:
            return change(layer, original, shape, dtype)

        return drawn

    return make


def _per_gate(gates: int) -> Any:
    """Draw each gate's kernel by itself: fan_out is the number of units."""

    def change(layer: Any, original: Any, shape: Any, dtype: Any) -> Any:
        ops = import_keras().ops
        rows, columns = shape
        parts = []
        for index in range(gates):
            config = original.get_config()
            if isinstance(config.get("seed"), int):
                config["seed"] += index
            parts.append(original.__class__.from_config(config)((rows, columns // gates), dtype=dtype))
        return ops.concatenate(parts, axis=1)

    return _of_shape(change)


def _transposed(layer: Any, original: Any, shape: Any, dtype: Any) -> Any:
    return import_keras().ops.transpose(original(tuple(reversed(shape)), dtype=dtype))


def _with_axes(input_axes: list[int], output_axes: list[int]) -> Any:
    """Tell an initializer the axes of its fans."""

    def make(layer: Any, original: Any) -> Any:
        return type(original).from_config(
            {**original.get_config(), "input_axes": input_axes, "output_axes": output_axes}
        )

    return make


def _gate(place: int) -> Any:
    """A bias of 1 on another gate than the second."""

    def change(layer: Any, original: Any, shape: Any, dtype: Any) -> Any:
        keras = import_keras()
        zeros = keras.ops.zeros((layer.units,), dtype=dtype)
        parts = [zeros] * 4
        parts[place] = keras.ops.ones((layer.units,), dtype=dtype)
        return keras.ops.concatenate(parts)

    return _of_shape(change)


def _other_bias(layer: Any, original: Any) -> Any:
    return initializer("Constant", value=0.01)


DEFAULTS = (
    Planted(
        "dense_kernel",
        "Dense's default is he_uniform",
        layer_default("Dense", kernel_initializer="he_uniform"),
        ("layer_defaults.dense.kernel_initializer",),
    ),
    Planted(
        "dense_bias",
        "Dense's biases are .01",
        weight("Dense", "bias", _other_bias),
        (
            "layer_defaults.dense.bias_initializer",
            "layer_defaults.dense.bias_initializer_is_used",
        ),
    ),
    Planted(
        "conv_kernel",
        "Conv2D's default is lecun_normal",
        layer_default("Conv2D", kernel_initializer="lecun_normal"),
        ("layer_defaults.conv2d.kernel_initializer",),
    ),
    Planted(
        "conv3d_bias",
        "Conv3D's bias is ones",
        layer_default("Conv3D", bias_initializer="ones"),
        ("layer_defaults.conv3d.bias_initializer",),
    ),
    Planted(
        "depthwise_kernel",
        "DepthwiseConv2D's default is he_normal",
        layer_default("DepthwiseConv2D", depthwise_initializer="he_normal"),
        ("layer_defaults.depthwise_conv2d.depthwise_initializer",),
    ),
    Planted(
        "separable_pointwise",
        "SeparableConv2D's pointwise default is he_uniform",
        layer_default("SeparableConv2D", pointwise_initializer="he_uniform"),
        ("layer_defaults.separable_conv2d.pointwise_initializer",),
    ),
    Planted(
        "transpose_kernel",
        "Conv2DTranspose's default is glorot_normal",
        layer_default("Conv2DTranspose", kernel_initializer="glorot_normal"),
        ("layer_defaults.conv2d_transpose.kernel_initializer",),
    ),
    Planted(
        "embedding_normal",
        "Embedding's default is RandomNormal",
        layer_default("Embedding", embeddings_initializer="normal"),
        ("layer_defaults.embedding.embeddings_initializer",),
    ),
    Planted(
        "batch_gamma_zeros",
        "BatchNormalization's gamma is zeros",
        layer_default("BatchNormalization", gamma_initializer="zeros"),
        ("layer_defaults.batch_normalization.gamma_initializer",),
    ),
    Planted(
        "batch_variance_zeros",
        "BatchNormalization's moving variance is zeros",
        layer_default("BatchNormalization", moving_variance_initializer="zeros"),
        ("layer_defaults.batch_normalization.moving_variance_initializer",),
    ),
    Planted(
        "layer_beta_ones",
        "LayerNormalization's beta is ones",
        layer_default("LayerNormalization", beta_initializer="ones"),
        ("layer_defaults.layer_normalization.beta_initializer",),
    ),
    Planted(
        "group_gamma",
        "GroupNormalization's gamma is zeros",
        layer_default("GroupNormalization", gamma_initializer="zeros"),
        ("layer_defaults.group_normalization.gamma_initializer",),
    ),
    Planted(
        "prelu_ones",
        "PReLU's slope is ones",
        layer_default("PReLU", alpha_initializer="ones"),
        ("layer_defaults.prelu.alpha_initializer",),
    ),
    Planted(
        "lstm_recurrent",
        "LSTM's recurrent default is glorot_uniform",
        layer_default("LSTM", recurrent_initializer="glorot_uniform"),
        ("layer_defaults.lstm.recurrent_initializer",),
    ),
    Planted(
        "gru_kernel",
        "GRU's kernel default is orthogonal",
        layer_default("GRU", kernel_initializer="orthogonal"),
        ("layer_defaults.gru.kernel_initializer",),
    ),
    Planted(
        "simple_rnn_recurrent",
        "SimpleRNN's recurrent default is the identity",
        layer_default("SimpleRNN", recurrent_initializer="identity"),
        ("layer_defaults.simple_rnn.recurrent_initializer",),
    ),
    Planted(
        "attention_kernel",
        "MultiHeadAttention's default is he_uniform",
        layer_default("MultiHeadAttention", kernel_initializer="he_uniform"),
        ("layer_defaults.multi_head_attention.kernel_initializer",),
    ),
    Planted(
        "einsum_kernel",
        "EinsumDense's default is glorot_normal",
        layer_default("EinsumDense", kernel_initializer="glorot_normal"),
        ("layer_defaults.einsum_dense.kernel_initializer",),
    ),
    Planted(
        "no_unit_forget_bias",
        "unit_forget_bias is ignored",
        weight("LSTMCell", "bias", lambda layer, original: layer.bias_initializer),
        ("layer_defaults.lstm.unit_forget_bias",),
    ),
    Planted(
        "forget_bias_on_the_wrong_gate",
        "unit_forget_bias sets the cell's gate",
        weight("LSTMCell", "bias", _gate(2)),
        (
            "layer_defaults.lstm.unit_forget_bias",
            "layer_defaults.lstm_cell.unit_forget_bias",
        ),
    ),
)

WEIGHTS = (
    Planted(
        "lstm_swaps_initializers",
        "LSTM uses each of its two initializers for the other kernel",
        _swapped("LSTM", "lstm"),
        (
            "layer_defaults.lstm.kernel_initializer",
            "layer_defaults.lstm.recurrent_initializer",
        ),
    ),
    Planted(
        "gru_swaps_initializers",
        "GRU uses each of its two initializers for the other kernel",
        _swapped("GRU", "gru"),
        (
            "layer_defaults.gru.kernel_initializer",
            "layer_defaults.gru.recurrent_initializer",
        ),
    ),
    Planted(
        "simple_rnn_swaps_initializers",
        "SimpleRNN uses each of its two initializers for the other kernel",
        _swapped("SimpleRNN", "simple_rnn"),
        (
            "layer_defaults.simple_rnn.kernel_initializer",
            "layer_defaults.simple_rnn.recurrent_initializer",
        ),
    ),
    Planted(
        "conv_ignores_initializer",
        "Conv2D ignores the kernel initializer that it is given",
        _ignored("layers.convolutional.conv2d.Conv2D", "kernel_initializer", "glorot_uniform"),
        ("layer_defaults.conv2d.kernel_initializer_is_used",),
    ),
    Planted(
        "dense_transposes",
        "Dense asks its initializer for the transposed shape",
        weight("Dense", "kernel", _of_shape(_transposed)),
        ("fans.dense.he_normal",),
    ),
    Planted(
        "lstm_kernel_per_gate",
        "LSTM draws each gate's kernel by itself",
        weight("LSTMCell", "kernel", _per_gate(4)),
        (
            "fans.lstm.glorot_uniform",
            "fans.lstm_gate.glorot_uniform",
        ),
    ),
    Planted(
        "recurrent_kernel_per_gate",
        "LSTM draws each gate's recurrent kernel by itself",
        weight("LSTMCell", "recurrent_kernel", _per_gate(4)),
        (
            "fans.lstm.recurrent_kernel_orthogonal",
            "fans.lstm.recurrent_gates_orthogonal",
        ),
    ),
    Planted(
        "gru_kernel_per_gate",
        "GRU draws each gate's kernel by itself",
        weight("GRUCell", "kernel", _per_gate(3)),
        (
            "fans.gru.glorot_uniform",
            "fans.gru_gate.glorot_uniform",
        ),
    ),
    Planted(
        "lora_not_zero",
        "LoRA's second matrix does not start at zero",
        method(
            "layers.core.dense.Dense",
            "enable_lora",
            lambda enable: (
                lambda self, rank, lora_alpha=None, a_initializer="he_uniform", b_initializer="zeros": enable(
                    self, rank, lora_alpha, a_initializer, "glorot_uniform"
                )
            ),
        ),
        ("fans.dense.lora_changes_nothing",),
    ),
    Planted(
        "depthwise_fans_right",
        "a repair: DepthwiseConv2D tells its initializer the axes of its fans",
        weight("DepthwiseConv2D", "kernel", _with_axes([0, 1], [0, 1, 3])),
        ("fans.depthwise_conv2d.he_normal", "fans.depthwise_conv2d.he_normal_as_counted"),
    ),
)

GATES = (
    Planted(
        "forget_bias_is_no_default",
        "unit_forget_bias is off by default",
        layer_default("LSTM", "LSTMCell", unit_forget_bias=False),
        ("layer_defaults.lstm.unit_forget_bias", "layer_defaults.lstm_cell.unit_forget_bias"),
    ),
)

DEFECTS = (*DEFAULTS, *WEIGHTS, *GATES)
