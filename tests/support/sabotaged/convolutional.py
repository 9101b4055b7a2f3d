"""Three convolutions, each with BatchNormalization: images and channels have one size, so that axes can be mistaken."""

import keras


def convolve(inputs, **options):
    drawn = keras.initializers.VarianceScaling(2.0, "fan_in", "truncated_normal")
    hidden = keras.layers.Conv2D(8, kernel_size=3, padding="same", use_bias=False, kernel_initializer=drawn, **options)(
        inputs
    )
    hidden = keras.layers.BatchNormalization(axis=-1, momentum=0.99)(hidden)
    return keras.layers.LeakyReLU(negative_slope=0.1)(hidden)


def build():
    inputs = keras.Input((8, 8, 4))
    hidden = convolve(inputs)
    hidden = convolve(hidden, name="middle")
    hidden = convolve(hidden)
    hidden = keras.layers.MaxPooling2D(pool_size=2)(hidden)
    return keras.Model(inputs, keras.layers.Dense(5)(keras.layers.GlobalAveragePooling2D()(hidden)))
