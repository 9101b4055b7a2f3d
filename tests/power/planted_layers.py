"""Defects of layers: their default initializers, and what they do with an initializer."""

from __future__ import annotations

from typing import Any

from planting import Planted, before_build, layer_default, replaced, source, weight

from initcheck.backend.runtime import import_keras
from initcheck.spec.topics.layer_defaults.table import Layer


def _swapped(layer: Any) -> None:
    layer.kernel_initializer, layer.recurrent_initializer = layer.recurrent_initializer, layer.kernel_initializer


def _swaps(layer: str, module: str) -> Planted:
    subject = f"layer_defaults.{module}"
    return Planted(
        f"{module}_swaps_initializers",
        f"{layer} uses each of its two initializers for the other kernel",
        before_build(f"layers.rnn.{module}.{layer}Cell", _swapped),
        (f"{subject}.kernel_initializer_is_used", f"{subject}.recurrent_initializer_is_used"),
    )


def _ignores(layer: Any) -> None:
    layer.kernel_initializer = source("initializers").get("glorot_uniform")


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
        parts = [layer.bias_initializer((layer.units,), dtype=dtype)] * 4
        parts[place] = keras.ops.ones((layer.units,), dtype=dtype)
        return keras.ops.concatenate(parts)

    return _of_shape(change)


def _default(name: str, note: str, layer: str, argument: str, value: str) -> Planted:
    claim = f"layer_defaults.{Layer(layer, (), (), ()).subject}.{argument}"
    return Planted(name, note, layer_default(layer, **{argument: value}), (claim,))


DEFAULTS = (
    _default("dense_kernel", "Dense's default is he_uniform", "Dense", "kernel_initializer", "he_uniform"),
    Planted(
        "dense_bias",
        "Dense's biases are .01",
        weight("Dense", "bias", lambda layer, original: import_keras().initializers.Constant(0.01)),
        ("layer_defaults.dense.bias_initializer", "layer_defaults.dense.bias_initializer_is_used"),
    ),
    _default("conv_kernel", "Conv2D's default is lecun_normal", "Conv2D", "kernel_initializer", "lecun_normal"),
    _default("conv3d_bias", "Conv3D's bias is ones", "Conv3D", "bias_initializer", "ones"),
    _default(
        "depthwise_kernel",
        "DepthwiseConv2D's default is he_normal",
        "DepthwiseConv2D",
        "depthwise_initializer",
        "he_normal",
    ),
    _default(
        "separable_pointwise",
        "SeparableConv2D's pointwise default is he_uniform",
        "SeparableConv2D",
        "pointwise_initializer",
        "he_uniform",
    ),
    _default(
        "transpose_kernel",
        "Conv2DTranspose's default is glorot_normal",
        "Conv2DTranspose",
        "kernel_initializer",
        "glorot_normal",
    ),
    _default(
        "embedding_normal", "Embedding's default is RandomNormal", "Embedding", "embeddings_initializer", "normal"
    ),
    _default(
        "batch_gamma_zeros", "BatchNormalization's gamma is zeros", "BatchNormalization", "gamma_initializer", "zeros"
    ),
    _default(
        "batch_variance_zeros",
        "BatchNormalization's moving variance is zeros",
        "BatchNormalization",
        "moving_variance_initializer",
        "zeros",
    ),
    _default("layer_beta_ones", "LayerNormalization's beta is ones", "LayerNormalization", "beta_initializer", "ones"),
    _default("group_gamma", "GroupNormalization's gamma is zeros", "GroupNormalization", "gamma_initializer", "zeros"),
    _default("prelu_ones", "PReLU's slope is ones", "PReLU", "alpha_initializer", "ones"),
    _default(
        "lstm_recurrent",
        "LSTM's recurrent default is glorot_uniform",
        "LSTM",
        "recurrent_initializer",
        "glorot_uniform",
    ),
    _default("gru_kernel", "GRU's kernel default is orthogonal", "GRU", "kernel_initializer", "orthogonal"),
    _default(
        "simple_rnn_recurrent",
        "SimpleRNN's recurrent default is the identity",
        "SimpleRNN",
        "recurrent_initializer",
        "identity",
    ),
    _default(
        "attention_kernel",
        "MultiHeadAttention's default is he_uniform",
        "MultiHeadAttention",
        "kernel_initializer",
        "he_uniform",
    ),
    _default(
        "einsum_kernel", "EinsumDense's default is glorot_normal", "EinsumDense", "kernel_initializer", "glorot_normal"
    ),
    Planted(
        "no_unit_forget_bias",
        "unit_forget_bias is ignored",
        weight("LSTMCell", "bias", lambda layer, original: layer.bias_initializer),
        ("layer_defaults.lstm.unit_forget_bias",),
        named_first=("layer_defaults.lstm*.unit_forget_bias*",),
    ),
    Planted(
        "forget_bias_on_the_wrong_gate",
        "unit_forget_bias sets the cell's gate",
        weight("LSTMCell", "bias", _gate(2)),
        ("layer_defaults.lstm.unit_forget_bias", "layer_defaults.lstm_cell.unit_forget_bias"),
        named_first=("layer_defaults.lstm*.unit_forget_bias*",),
    ),
)

WEIGHTS = (
    _swaps("LSTM", "lstm"),
    _swaps("GRU", "gru"),
    _swaps("SimpleRNN", "simple_rnn"),
    Planted(
        "conv_ignores_initializer",
        "Conv2D ignores the kernel initializer that it is given",
        before_build("layers.convolutional.conv2d.Conv2D", _ignores),
        ("layer_defaults.conv2d.kernel_initializer_is_used",),
    ),
    Planted(
        "dense_transposes",
        "Dense asks its initializer for the transposed shape",
        weight("Dense", "kernel", _of_shape(_transposed)),
        ("fans.dense.he_normal",),
        named_first=("fans.dense.*",),
    ),
    Planted(
        "lstm_kernel_per_gate",
        "LSTM draws each gate's kernel by itself",
        weight("LSTMCell", "kernel", _per_gate(4)),
        ("fans.lstm.glorot_uniform", "fans.lstm_gate.glorot_uniform"),
        named_first=("fans.lstm.glorot_*", "fans.lstm.he_*", "fans.lstm_gate.*"),
    ),
    Planted(
        "recurrent_kernel_per_gate",
        "LSTM draws each gate's recurrent kernel by itself",
        weight("LSTMCell", "recurrent_kernel", _per_gate(4)),
        ("fans.lstm.recurrent_kernel_orthogonal", "fans.lstm.recurrent_gates_orthogonal"),
        named_first=("fans.lstm.recurrent_*",),
    ),
    Planted(
        "gru_kernel_per_gate",
        "GRU draws each gate's kernel by itself",
        weight("GRUCell", "kernel", _per_gate(3)),
        ("fans.gru.glorot_uniform", "fans.gru_gate.glorot_uniform"),
        named_first=("fans.gru.glorot_*", "fans.gru.he_*", "fans.gru_gate.*"),
    ),
    Planted(
        "lora_not_zero",
        "LoRA's second matrix does not start at zero",
        replaced(
            "layers.core.dense.Dense.enable_lora",
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
        named_first=("fans.depthwise_conv2d.*",),
    ),
)


def _of_the_kernel(layer: Any, original: Any, shape: Any, dtype: Any) -> Any:
    """Draw a bias with the fans of the kernel beside it."""
    return original((layer._kernel.shape[0], *shape), dtype=dtype)[0]


BIASES = (
    Planted(
        "bias_fans_of_the_kernel",
        "a repair: Dense's bias is drawn with the fans of its kernel",
        weight("Dense", "bias", _of_shape(_of_the_kernel)),
        ("fans.dense_bias.he_normal", "fans.dense_bias.he_normal_as_counted"),
        ("fans.dense.he_normal",),
        named_first=("fans.dense_bias.*",),
    ),
    Planted(
        "bias_one_input",
        "Dense's bias is drawn as a row with one input",
        weight("Dense", "bias", _of_shape(lambda _, original, shape, dtype: original((1, *shape), dtype=dtype)[0])),
        ("fans.dense_bias.he_normal_as_counted",),
        ("fans.dense.he_normal", "layer_defaults.dense.bias_initializer"),
        named_first=("fans.dense_bias.*",),
    ),
)

GATES = (
    Planted(
        "forget_bias_is_no_default",
        "unit_forget_bias is off by default",
        layer_default("LSTM", "LSTMCell", unit_forget_bias=False),
        ("layer_defaults.lstm.unit_forget_bias", "layer_defaults.lstm_cell.unit_forget_bias"),
        named_first=("layer_defaults.lstm*.unit_forget_bias*",),
    ),
)

DEFECTS = (*DEFAULTS, *WEIGHTS, *BIASES, *GATES)
