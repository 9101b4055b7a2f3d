"""Models in many styles of writing, each with kernels that are drawn far too small, for the tests of ``initcheck fix``.

In each, ``build()`` makes the model, and the layers to be fixed are those that draw their kernels by ``RandomNormal``.
"""

from __future__ import annotations

from dataclasses import dataclass
from textwrap import dedent
from typing import Final

SMALL: Final = "RandomNormal(stddev=1e-4)"


@dataclass(frozen=True)
class WrittenModel:
    """A model as somebody may write it.

    Attributes:
        removed: lines that a fix takes away; 0 where it cannot be written.
        added: lines that it adds.
        reason: a part of the reason why it cannot be written.
    """

    code: str
    removed: int = 1
    added: int = 1
    reason: str = ""


def _model(code: str, removed: int = 1, added: int = 1, reason: str = "") -> WrittenModel:
    return WrittenModel(dedent(code).lstrip("\n").replace("SMALL", SMALL), removed, added, reason)


MODELS: Final[dict[str, WrittenModel]] = {
    "functional": _model("""
        import keras

        def build():
            inputs = keras.Input((16,))
            x = keras.layers.Dense(16, "relu", kernel_initializer=keras.initializers.SMALL)(inputs)
            x = keras.layers.Dense(16, "relu", kernel_initializer="he_normal")(x)
            return keras.Model(inputs, keras.layers.Dense(3)(x))
    """),
    "sequential, list": _model("""
        import keras
        from keras import layers

        def build():
            return keras.Sequential([
                keras.Input((16,)),
                layers.Dense(16, activation="relu", kernel_initializer="he_normal"),
                layers.Dense(16, activation="relu", kernel_initializer=keras.initializers.SMALL),  # as in the paper
                layers.Dense(3),
            ])
    """),
    "sequential, add": _model("""
        import keras

        def build():
            model = keras.Sequential()
            model.add(keras.Input((16,)))
            model.add(keras.layers.Dense(16, activation="relu", kernel_initializer=keras.initializers.SMALL))
            model.add(keras.layers.Dense(3))
            return model
    """),
    "several lines with comments": _model("""
        import keras

        def build():
            inputs = keras.Input((16,))
            x = keras.layers.Dense(
                # a comment
                units=16,  # another one
                activation="relu",
                kernel_initializer=keras.initializers.SMALL,  # and a third
                name="hidden",
            )(inputs)
            return keras.Model(inputs, keras.layers.Dense(3)(x))
    """),
    "positional": _model("""
        import keras

        def build():
            inputs = keras.Input((16,))
            x = keras.layers.Dense(16, "relu", True, keras.initializers.SMALL, "zeros")(inputs)
            return keras.Model(inputs, keras.layers.Dense(3)(x))
    """),
    "nested calls": _model("""
        import keras
        from keras.initializers import RandomNormal
        from keras.layers import Dense as D, Input

        def build():
            inputs = Input((16,))
            return keras.Model(inputs, D(3)(D(16, "relu", kernel_initializer=SMALL)(D(16, "relu")(inputs))))
    """),
    "several calls on one line": _model("""
        from keras import Input, Sequential
        from keras.initializers import RandomNormal as N
        from keras.layers import Dense

        def build(): return Sequential([Input((16,)), Dense(16), Dense(16, kernel_initializer=N(0, 1e-4)), Dense(3)])
    """),
    "alias of Keras": _model("""
        import keras as K

        def build():
            L = K.layers
            i = K.Input((16,))
            return K.Model(i, L.Dense(3)(L.Dense(16, "relu", kernel_initializer=K.initializers.SMALL)(i)))
    """),
    "TensorFlow's Keras": _model("""
        import tensorflow as tf

        def build():
            return tf.keras.Sequential([
                tf.keras.layers.InputLayer(shape=(16,)),
                tf.keras.layers.Dense(16, "relu", kernel_initializer=tf.keras.initializers.SMALL),
                tf.keras.layers.Dense(3),
            ])
    """),
    "from TensorFlow": _model("""
        from tensorflow import keras
        from tensorflow.keras import layers

        def build():
            x = inputs = keras.Input((16,))
            x = layers.Dense(16, "relu", kernel_initializer=keras.initializers.SMALL)(x)
            return keras.Model(inputs, layers.Dense(3)(x))
    """),
    "subclass of Model": _model("""
        import keras

        class Net(keras.Model):
            def __init__(self):
                super().__init__()
                self.first = keras.layers.Dense(16, "relu", kernel_initializer=keras.initializers.SMALL)
                self.second = keras.layers.Dense(3)

            def call(self, x):
                return self.second(self.first(x))

        def build():
            model = Net()
            model.build((None, 16))
            return model
    """),
    "subclass of Sequential": _model("""
        import keras

        class Net(keras.Sequential):
            def __init__(self):
                super().__init__([
                    keras.Input((16,)),
                    keras.layers.Dense(16, "relu", kernel_initializer=keras.initializers.SMALL),
                    keras.layers.Dense(3),
                ])

        def build():
            return Net()
    """),
    "block layer": _model("""
        import keras
        from keras import initializers, layers

        class Block(layers.Layer):
            def __init__(self, units, **kwargs):
                super().__init__(**kwargs)
                self.dense = layers.Dense(units, "relu", kernel_initializer=initializers.SMALL)

            def call(self, x):
                return self.dense(x)

        def build():
            return keras.Sequential([keras.Input((16,)), Block(16), Block(16), layers.Dense(3)])
    """),
    "layer made in build": _model("""
        import keras

        class Lazy(keras.layers.Layer):
            def build(self, shape):
                self.dense = keras.layers.Dense(shape[-1], "relu", kernel_initializer=keras.initializers.SMALL)
                self.dense.build(shape)

            def call(self, x):
                return self.dense(x)

        def build():
            return keras.Sequential([keras.Input((16,)), Lazy(), keras.layers.Dense(3)])
    """),
    "class that derives from Dense": _model("""
        import keras

        class Linear(keras.layers.Dense):
            pass

        def build():
            small = keras.initializers.SMALL
            return keras.Sequential([keras.Input((16,)), Linear(16, kernel_initializer=small), Linear(3)])
    """),
    "loop": _model("""
        import keras

        def build(depth=4):
            x = inputs = keras.Input((16,))
            for _ in range(depth):
                x = keras.layers.Dense(16, "relu", kernel_initializer=keras.initializers.SMALL)(x)
            return keras.Model(inputs, keras.layers.Dense(3)(x))
    """),
    "loop where one differs": _model(
        """
        import keras

        def build(depth=4):
            x = inputs = keras.Input((16,))
            for i in range(depth):
                chosen = keras.initializers.SMALL if i == 2 else "glorot_normal"
                x = keras.layers.Dense(16, "relu", kernel_initializer=chosen)(x)
            return keras.Model(inputs, keras.layers.Dense(3)(x))
    """,
        0,
        0,
        "the same call also makes dense, dense_1 and dense_3, which are not to change",
    ),
    "comprehension": _model("""
        import keras
        from keras.layers import Dense

        def build():
            hidden = [Dense(16, "relu", kernel_initializer=keras.initializers.SMALL) for _ in range(3)]
            return keras.Sequential([keras.Input((16,)), *hidden, Dense(3)])
    """),
    "generator expression": _model("""
        import keras

        def build():
            model = keras.Sequential([keras.Input((16,))])
            for layer in (keras.layers.Dense(n, "relu", kernel_initializer=keras.initializers.SMALL) for n in (16, 8)):
                model.add(layer)
            return model
    """),
    "helper function": _model("""
        import keras

        def dense(units, **kwargs):
            return keras.layers.Dense(units, "relu", kernel_initializer=keras.initializers.SMALL, **kwargs)

        def build():
            return keras.Sequential([keras.Input((16,)), dense(16), dense(16, name="b"), keras.layers.Dense(3)])
    """),
    "helper with a parameter": _model(
        """
        import keras

        def dense(units, init="glorot_normal"):
            return keras.layers.Dense(units, "relu", kernel_initializer=init)

        def build():
            small = keras.initializers.SMALL
            return keras.Sequential([keras.Input((16,)), dense(16), dense(16, small), keras.layers.Dense(3)])
    """,
        0,
        0,
        "the same call also makes dense, which is not to change",
    ),
    "lambda": _model("""
        import keras

        layer = lambda units: keras.layers.Dense(units, "relu", kernel_initializer=keras.initializers.SMALL)

        def build():
            return keras.Sequential([keras.Input((16,)), layer(16), layer(16), keras.layers.Dense(3)])
    """),
    "walrus": _model("""
        import keras

        def build():
            inputs = keras.Input((16,))
            if (layer := keras.layers.Dense(16, "relu", kernel_initializer=keras.initializers.SMALL)).trainable:
                return keras.Model(inputs, keras.layers.Dense(3)(layer(inputs)))
    """),
    "value with a name": _model(
        """
        import keras

        def build():
            inputs = keras.Input((16,))
            x = keras.layers.Dense(16, "relu", kernel_initializer=(init := keras.initializers.SMALL))(inputs)
            return keras.Model(inputs, keras.layers.Dense(3, bias_initializer=init)(x))
    """,
        0,
        0,
        "other code may need the name that init := keras.initializers.RandomNormal(stddev=1e-4) assigns",
    ),
    "conditional expression": _model("""
        import keras

        def build(wide=True):
            inputs = keras.Input((16,))
            small = keras.initializers.SMALL
            x = (keras.layers.Dense(16, kernel_initializer=small) if wide else keras.layers.Dense(8))(inputs)
            return keras.Model(inputs, keras.layers.Dense(3)(x))
    """),
    "partial": _model("""
        from functools import partial

        import keras

        Dense = partial(keras.layers.Dense, activation="relu", kernel_initializer=keras.initializers.SMALL)

        def build():
            return keras.Sequential([keras.Input((16,)), Dense(16), keras.layers.Dense(3)])
    """),
    "mapping of arguments": _model(
        """
        import keras

        COMMON = {"activation": "relu", "kernel_initializer": keras.initializers.SMALL}

        def build():
            return keras.Sequential([keras.Input((16,)), keras.layers.Dense(16, **COMMON), keras.layers.Dense(3)])
    """,
        0,
        0,
        "its value comes from **COMMON",
    ),
    "sequence of arguments": _model(
        """
        import keras

        def build():
            given = (16, "relu", True, keras.initializers.SMALL)
            return keras.Sequential([keras.Input((16,)), keras.layers.Dense(*given), keras.layers.Dense(3)])
    """,
        0,
        0,
        "its value comes from *given",
    ),
    "mapping beside a keyword": _model("""
        import keras

        def build():
            common = {"activation": "relu", "use_bias": False}
            first = keras.layers.Dense(16, kernel_initializer=keras.initializers.SMALL, **common)
            return keras.Sequential([keras.Input((16,)), first, keras.layers.Dense(3)])
    """),
    "class attribute": _model("""
        import keras

        class Net:
            hidden = keras.layers.Dense(16, "relu", kernel_initializer=keras.initializers.SMALL)

        def build():
            return keras.Sequential([keras.Input((16,)), Net.hidden, keras.layers.Dense(3)])
    """),
    "class in an attribute": _model("""
        import keras

        class Net:
            Hidden = keras.layers.Dense
            small = keras.initializers.SMALL

            def make(self):
                hidden = self.Hidden(16, "relu", kernel_initializer=self.small)
                return keras.Sequential([keras.Input((16,)), hidden, self.Hidden(3)])

        def build():
            return Net().make()
    """),
    "dataclass of settings": _model("""
        from dataclasses import dataclass, field

        import keras

        @dataclass
        class Settings:
            units: int = 16
            init: object = field(default_factory=lambda: keras.initializers.SMALL)

        def build(settings=Settings()):
            inputs = keras.Input((settings.units,))
            x = keras.layers.Dense(settings.units, "relu", kernel_initializer=settings.init)(inputs)
            return keras.Model(inputs, keras.layers.Dense(3)(x))
    """),
    "decorated factory": _model("""
        import functools

        import keras

        def traced(function):
            @functools.wraps(function)
            def call(*args, **kwargs):
                return function(*args, **kwargs)
            return call

        @traced
        @functools.lru_cache(maxsize=None)
        def make():
            return keras.layers.Dense(16, "relu", kernel_initializer=keras.initializers.SMALL)

        def build():
            make.__wrapped__.cache_clear()
            return keras.Sequential([keras.Input((16,)), make(), keras.layers.Dense(3)])
    """),
    "table of classes": _model("""
        import keras

        KINDS = {"dense": keras.layers.Dense}

        def build():
            small = keras.initializers.SMALL
            hidden = KINDS["dense"](16, kernel_initializer=small)
            return keras.Sequential([keras.Input((16,)), hidden, KINDS["dense"](3)])
    """),
    "match statement": _model("""
        import keras

        def make(kind):
            match kind:
                case "hidden":
                    return keras.layers.Dense(16, "relu", kernel_initializer=keras.initializers.SMALL)
                case _:
                    return keras.layers.Dense(3)

        def build():
            return keras.Sequential([keras.Input((16,)), make("hidden"), make("output")])
    """),
    "name in another line": _model("""
        import keras

        def build():
            hidden = (keras
                      .layers
                      .Dense(16, "relu",
                             kernel_initializer=keras.initializers.SMALL))
            return keras.Sequential([keras.Input((16,)), hidden, keras.layers.Dense(3)])
    """),
    "convolution": _model("""
        import keras
        from keras.layers import Conv2D, Dense, GlobalAveragePooling2D, Input

        def build():
            inputs = Input((8, 8, 3))
            x = Conv2D(8, 3, activation="relu", kernel_initializer=keras.initializers.SMALL)(inputs)
            return keras.Model(inputs, Dense(3)(GlobalAveragePooling2D()(x)))
    """),
    "wrapper": _model("""
        import keras
        from keras import layers

        def build():
            inputs = keras.Input((5, 16))
            inner = layers.TimeDistributed(layers.Dense(16, "relu", kernel_initializer=keras.initializers.SMALL))
            return keras.Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling1D()(inner(inputs))))
    """),
    "attention": _model("""
        import keras
        from keras import layers

        def build():
            inputs = keras.Input((5, 16))
            x = layers.MultiHeadAttention(2, 8, kernel_initializer=keras.initializers.SMALL)(inputs, inputs)
            return keras.Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling1D()(x)))
    """),
    "two branches": _model("""
        import keras
        from keras import initializers as init, layers

        def tower(x, units):
            x = layers.Dense(units, "relu", kernel_initializer=init.SMALL)(x)
            return layers.Dense(units, "relu")(x)

        def build():
            inputs = keras.Input((16,))
            x = layers.Concatenate()([tower(inputs, 8), tower(inputs, 4)])
            return keras.Model(inputs, layers.Dense(3)(x))
    """),
    "classmethod and semicolons": _model("""
        import keras

        class Factory:
            @classmethod
            def make(cls):
                model = keras.Sequential(); model.add(keras.Input((16,)))
                small = keras.initializers.SMALL
                model.add(keras.layers.Dense(16, kernel_initializer=small)); model.add(keras.layers.Dense(3))
                return model

        def build():
            return Factory.make()
    """),
    "import inside of the function": _model("""
        def build():
            from keras import Input, Sequential, initializers
            from keras.layers import Dense
            return Sequential([Input((16,)), Dense(16, "relu", kernel_initializer=initializers.SMALL), Dense(3)])
    """),
    "list of layers through map": _model("""
        import keras

        def build():
            make = lambda n: keras.layers.Dense(n, "relu", kernel_initializer=keras.initializers.SMALL)
            return keras.Sequential([keras.Input((16,)), *map(make, (16, 8)), keras.layers.Dense(3)])
    """),
    "from a configuration": _model(
        """
        import keras

        def build():
            config = keras.layers.Dense(16, "relu", kernel_initializer=keras.initializers.SMALL).get_config()
            return keras.Sequential([keras.Input((16,)), keras.layers.Dense.from_config(config), keras.layers.Dense(3)])
    """,
        0,
        0,
        "it is made by keras.layers.Dense.from_config(...), not by a call of its class",
    ),
}


INPUTS: Final[dict[str, str]] = {
    name: dedent(code).lstrip("\n")
    for name, code in {
        "functional": """
            import keras
            from keras import layers

            def build():
                inputs = keras.Input((6,), name="pixels")
                x = layers.Dense(5, "relu")(inputs)
                x = layers.Concatenate()([x, inputs])
                return keras.Model(inputs=inputs, outputs=layers.Dense(3)(x))
        """,
        "functional, one name for all": """
            from keras import Input, Model
            from keras.layers import Dense

            def build():
                inputs = Input((6,))
                x = inputs
                for units in (5, 4):
                    x = Dense(units, "relu")(x)
                return Model([inputs], Dense(3)(x))
        """,
        "functional, inside of a class": """
            import keras

            class Net(keras.Model):
                def __init__(self):
                    image = keras.Input((6,))
                    hidden = keras.layers.Dense(5, "relu")(image)
                    super().__init__(inputs=image, outputs=keras.layers.Dense(3)(hidden))

            def build():
                return Net()
        """,
        "list": """
            import keras

            def build():
                return keras.Sequential([
                    keras.Input((6,)),
                    keras.layers.Dense(5, "relu"),
                    keras.layers.Dense(3),
                ])
        """,
        "list, one line": """
            from tensorflow import keras

            def build():
                return keras.Sequential([keras.layers.InputLayer(shape=(6,)), keras.layers.Dense(3)])
        """,
        "list with a name": """
            import keras

            def build():
                parts = [keras.Input((6,))]
                parts += [keras.layers.Dense(5, "relu") for _ in range(2)]
                return keras.Sequential(parts)
        """,
        "add": """
            import keras

            def build():
                model = keras.Sequential()
                model.add(keras.Input((6,)))
                model.add(keras.layers.Dense(3))
                return model
        """,
        "shape in the first layer": """
            import keras

            def build():
                return keras.Sequential([keras.layers.Dense(5, "relu", input_shape=(6,)), keras.layers.Dense(3)])
        """,
        "subclass of Sequential": """
            import keras

            class Net(keras.Sequential):
                def __init__(self):
                    super().__init__([keras.Input((6,)), keras.layers.Dense(3)])

            def build():
                return Net()
        """,
    }.items()
}
"""Models of six numbers whose inputs are made in different ways."""
