"""Models as people build them: those of keras.applications with random weights, and the usual kinds by hand.

Each builder returns (model, inputs): a built model and one batch for it. The last feature maps of the convolutional
ones are 2 x 2 pixels: BatchNormalization needs more than a few values a channel to have a derivative worth comparing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

Built = tuple[Any, Any]
Builder = Callable[[], Built]

BATCH = 4
SIDE = 64
CLASSES = 10


def _normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(20).normal(size=shape).astype(np.float32)


def _pixels(batch: int = BATCH, side: int = SIDE) -> np.ndarray:
    """Give images as the models with a preprocessing of their own take them."""
    return np.random.default_rng(21).integers(0, 256, size=(batch, side, side, 3)).astype(np.float32)


def _tokens(vocabulary: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(22).integers(0, vocabulary, size=shape).astype(np.int32)


def build_application(name: str, side: int = SIDE, classes: int = CLASSES) -> Any:
    """Build a model of keras.applications with weights of its own initializers."""
    return getattr(keras.applications, name)(weights=None, input_shape=(side, side, 3), classes=classes)


def build_vgg16() -> Built:
    return build_application("VGG16"), _normal(BATCH, SIDE, SIDE, 3)


def build_resnet50v2() -> Built:
    return build_application("ResNet50V2"), _normal(BATCH, SIDE, SIDE, 3)


def build_mobilenetv3small() -> Built:
    return build_application("MobileNetV3Small"), _pixels()


def build_efficientnetb0() -> Built:
    """Dropout of single elements and of whole samples (stochastic depth)."""
    return build_application("EfficientNetB0"), _pixels()


def build_densenet121() -> Built:
    return build_application("DenseNet121"), _normal(BATCH, SIDE, SIDE, 3)


def build_convnexttiny() -> Built:
    """Sequential models inside a functional one, and a layer (LayerScale) of the application's own."""
    return build_application("ConvNeXtTiny"), _pixels(batch=2)


def build_lstm_classifier() -> Built:
    model = keras.Sequential(
        [
            keras.Input((12,), dtype="int32"),
            keras.layers.Embedding(50, 16),
            keras.layers.LSTM(24, return_sequences=True),
            keras.layers.LSTM(24),
            keras.layers.Dense(CLASSES, activation="softmax"),
        ]
    )
    return model, _tokens(50, 8, 12)


def _build_transformer(pre_normalized: bool) -> Any:
    layers, width = keras.layers, 32
    inputs = keras.Input((12, width))
    signal = inputs
    for _ in range(3):
        branch = layers.LayerNormalization()(signal) if pre_normalized else signal
        signal = layers.Add()([signal, layers.MultiHeadAttention(4, 8)(branch, branch)])
        if not pre_normalized:
            signal = layers.LayerNormalization()(signal)
        branch = layers.LayerNormalization()(signal) if pre_normalized else signal
        branch = layers.Dense(width)(layers.Dense(4 * width, activation="gelu")(branch))
        signal = layers.Add()([signal, layers.Dropout(0.1)(branch)])
        if not pre_normalized:
            signal = layers.LayerNormalization()(signal)
    pooled = layers.GlobalAveragePooling1D()(signal)
    return keras.Model(inputs, layers.Dense(CLASSES)(pooled))


def build_preln_transformer() -> Built:
    return _build_transformer(pre_normalized=True), _normal(8, 12, 32)


def build_postln_transformer() -> Built:
    return _build_transformer(pre_normalized=False), _normal(8, 12, 32)


def build_unet() -> Built:
    layers = keras.layers

    def convolve(signal: Any, channels: int) -> Any:
        for _ in range(2):
            signal = layers.Conv2D(channels, 3, padding="same", use_bias=False)(signal)
            signal = layers.ReLU()(layers.BatchNormalization()(signal))
        return signal

    inputs = keras.Input((32, 32, 3))
    signal, skipped = inputs, []
    for channels in (8, 16):
        signal = convolve(signal, channels)
        skipped.append(signal)
        signal = layers.MaxPooling2D()(signal)
    signal = convolve(signal, 32)
    for channels in (16, 8):
        signal = layers.Conv2DTranspose(channels, 2, strides=2, padding="same", activation="relu")(signal)
        signal = convolve(layers.Concatenate()([signal, skipped.pop()]), channels)
    return keras.Model(inputs, layers.Conv2D(2, 1, activation="sigmoid")(signal)), _normal(BATCH, 32, 32, 3)


def build_wavenet() -> Built:
    """Dilated causal grouped convolutions, gated by nodes of keras.ops, with residual and skipping paths."""
    layers, ops = keras.layers, keras.ops
    inputs = keras.Input((64, 1))
    signal = layers.Conv1D(16, 2, padding="causal")(inputs)
    skips = []
    for dilation in (1, 2, 4, 8, 16):
        gate = layers.Conv1D(16, 2, padding="causal", dilation_rate=dilation, groups=4, activation="sigmoid")(signal)
        filtered = layers.Conv1D(16, 2, padding="causal", dilation_rate=dilation, groups=4, activation="tanh")(signal)
        gated = ops.multiply(filtered, gate)
        skips.append(layers.Conv1D(16, 1)(gated))
        signal = signal + layers.Conv1D(16, 1)(gated)
    summed = ops.relu(layers.Add()(skips))
    return keras.Model(inputs, layers.Conv1D(8, 1)(summed)), _normal(BATCH, 64, 1)


def build_autoencoder() -> Built:
    """A functional encoder and a functional decoder, joined."""
    layers = keras.layers
    images = keras.Input((16, 16, 1))
    signal = layers.Conv2D(8, 3, strides=2, padding="same", activation="relu")(images)
    signal = layers.Conv2D(16, 3, strides=2, padding="same", activation="relu")(signal)
    encoder = keras.Model(images, layers.Dense(6)(layers.Flatten()(signal)), name="encoder")
    code = keras.Input((6,))
    signal = layers.Reshape((4, 4, 16))(layers.Dense(256, activation="relu")(code))
    signal = layers.Conv2DTranspose(8, 3, strides=2, padding="same", activation="relu")(signal)
    signal = layers.Conv2DTranspose(1, 3, strides=2, padding="same", activation="sigmoid")(signal)
    decoder = keras.Model(code, signal, name="decoder")
    inputs = keras.Input((16, 16, 1))
    return keras.Model(inputs, decoder(encoder(inputs))), _normal(8, 16, 16, 1)


def build_two_tower() -> Built:
    """Inputs by name, one of them integer; two outputs by name."""
    layers = keras.layers
    item = keras.Input((5,), dtype="int32", name="item")
    user = keras.Input((7,), name="user")
    left = layers.GlobalAveragePooling1D()(layers.Embedding(30, 12, name="items")(item))
    left = layers.Dense(16, activation="relu")(left)
    right = layers.Dense(16, activation="elu")(layers.Dense(24, activation="relu")(user))
    score = layers.Dot(axes=1, normalize=True, name="similarity")([left, right])
    rating = layers.Dense(1, name="rating")(layers.Concatenate()([left, right]))
    model = keras.Model({"user": user, "item": item}, {"score": score, "rating": rating})
    return model, {"user": _normal(16, 7), "item": _tokens(30, 16, 5)}


def build_subclassed_residual() -> Built:
    """Blocks that are layers of the user's own, kept in a list, called in a loop; the first one is used twice."""

    class Block(keras.layers.Layer):
        def __init__(self, width: int, **options: Any) -> None:
            super().__init__(**options)
            self.outer = keras.layers.Dense(width)  # declared first, called last
            self.inner = keras.layers.Dense(2 * width, activation="relu")
            self.normalization = keras.layers.BatchNormalization()

        def call(self, inputs: Any, training: Any = None) -> Any:
            hidden = self.inner(self.normalization(inputs, training=training))
            return inputs + self.outer(hidden)

    class Residual(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.head = keras.layers.Dense(3, activation="tanh")
            self.blocks = [Block(12) for _ in range(4)]
            self.stem = keras.layers.Dense(12)

        def call(self, inputs: Any, training: Any = None) -> Any:
            signal = self.stem(inputs)
            for block in [*self.blocks, self.blocks[0]]:
                signal = block(signal, training=training)
            return self.head(signal)

    model, inputs = Residual(), _normal(16, 10)
    model(inputs)
    return model, inputs


SMALL: tuple[Builder, ...] = (build_autoencoder, build_two_tower, build_subclassed_residual)
"""Quick enough for every run of the tests, and of three kinds: nested, several inputs, subclassed."""

OWN: tuple[Builder, ...] = (
    build_lstm_classifier,
    build_preln_transformer,
    build_postln_transformer,
    build_unet,
    build_wavenet,
    *SMALL,
)
APPLICATIONS: tuple[Builder, ...] = (
    build_vgg16,
    build_resnet50v2,
    build_mobilenetv3small,
    build_efficientnetb0,
    build_densenet121,
    build_convnexttiny,
)
ALL = (*OWN, *APPLICATIONS)


def name_of(builder: Builder) -> str:
    return builder.__name__.removeprefix("build_")
