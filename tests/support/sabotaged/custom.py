"""A subclassed model with layers of its own: some have a configuration, some have none, one is called twice."""

import keras


class Damping(keras.layers.Layer):
    """Its constant stands in the code alone."""

    def call(self, inputs):
        return 0.5 * inputs


class Gain(keras.layers.Layer):
    """Has a configuration."""

    def __init__(self, factor, **options):
        super().__init__(**options)
        self.factor = factor

    def call(self, inputs):
        return self.factor * inputs

    def get_config(self):
        return {**super().get_config(), "factor": self.factor}


class Shift(keras.layers.Layer):
    """Has an attribute, and no configuration."""

    def __init__(self, amount, **options):
        super().__init__(**options)
        self.amount = amount

    def call(self, inputs):
        return inputs + self.amount


class Custom(keras.Model):
    """Calls its layers in an order of its own."""

    def __init__(self):
        super().__init__()
        self.encoder = keras.Sequential(
            [keras.layers.Dense(48, activation="relu"), keras.layers.Dense(32)], name="encoder"
        )
        self.repeated = keras.layers.Dense(32, activation="tanh", name="repeated")
        self.again = self.repeated
        self.left = keras.layers.Dense(32, name="left")
        self.right = keras.layers.Dense(32, name="right")
        self.damping = Damping(name="damping")
        self.gain = Gain(factor=0.8, name="gain")
        self.shift = Shift(amount=0.1, name="shift")
        self.square = keras.layers.Lambda(lambda values: values + 0.1 * values**2, name="square")
        self.head = keras.layers.Dense(4, name="head")

    def call(self, inputs):
        hidden = self.again(self.repeated(self.encoder(inputs)))
        hidden = self.damping(self.left(hidden)) + self.gain(self.right(hidden))
        return self.head(self.square(self.shift(hidden)))


def build():
    model = Custom()
    model(keras.Input((32,)))
    return model
