"""Edits of six models: sixty sabotages, with the words that name the cause of each, and some that change nothing.

The models are the files of ``sabotaged/``. Words are regular expressions, each a token of its own: ``relu`` is not
found in ``leaky_relu``, nor ``1`` in ``1.5``. They are all to stand within the first line of the gate's answer; where
several wordings are honest the expression allows them, but none that would fit another cause.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).with_name("sabotaged")
LONGEST_LINE = 200
"""Characters of the first line that count: one that lists everything names no cause."""

_START, _END = r"(?<![\w.-])", r"(?!\w|\.\d)"
_MOVED = r"order|moved|swapped|reordered|before|behind|in front|after|precedes?|follows?|feeds?|fed|takes"
_CODE = r"code|source|function|call\(\)"
_HE, _GLOROT = r"he_?normal", r"glorot_?uniform"
_NORM = r"(?:layer_?normalizations?|\w*norm)"
_NUMBERS = {2: "two|both", 3: "three", 4: "four", 6: "six"}


def to(before: str, after: str) -> str:
    """Match one value that became another, in this order and close to each other."""
    return rf"(?:{before}){_END}.{{1,30}}?{_START}(?:{after})"


def several(count: int) -> str:
    """Match that all of several layers are concerned."""
    return rf"{count}|{_NUMBERS[count]}|all|every|each"


def pair(number: int) -> str:
    """Match what Keras makes of one number for both sides of an image."""
    return rf"[\[(]?{number}(?:, ?{number}[\])])?"


@dataclass(frozen=True)
class Edit:
    """What is changed in the source of one model.

    Attributes:
        model: the file of the model in ``sabotaged/``, without its ending.
        edits: what stands in the source, once, and what is written in its place.
        expected: regular expressions that the first line has to hold, each of them; empty where nothing has changed.
        structural: whether it is a matter of the layers, and not of what draws the weights.
    """

    model: str
    name: str
    edits: tuple[tuple[str, str], ...]
    expected: tuple[str, ...]
    structural: bool = True

    def source(self) -> str:
        """Write the source of the model as it is after the change."""
        text = read_source(self.model)
        for before, after in self.edits:
            if text.count(before) != 1:
                raise AssertionError(f"{self.name}: {before!r} stands {text.count(before)} times in {self.model}.py.")
            text = text.replace(before, after)
        return text

    def is_named(self, line: str) -> bool:
        """Find whether a line names the cause."""
        shown = line[:LONGEST_LINE]
        return all(re.search(rf"{_START}(?:{each}){_END}", shown, re.IGNORECASE) for each in self.expected)


def read_source(model: str) -> str:
    """Read the source of a model."""
    return (FOLDER / f"{model}.py").read_text(encoding="utf-8")


def _change(
    model: str, name: str, before: str, after: str, *expected: str, structural: bool = True, also: tuple = ()
) -> Edit:
    return Edit(model, name, ((before, after), *also), expected, structural)


_MIDDLE, _CONVOLVED = 'hidden(name="middle")', 'convolve(hidden, name="middle")'
_BATCH_NORMALIZATION = "hidden = keras.layers.BatchNormalization(axis=-1, momentum=0.99)(hidden)\n"
_LEAKY = "return keras.layers.LeakyReLU(negative_slope=0.1)(hidden)"
_NORMALIZED = 'branch = keras.layers.LayerNormalization(epsilon=1e-3, name=f"{name}_norm")(hidden)'
_UP = 'branch = keras.layers.Dense(64, activation="gelu", name=f"{name}_up")(branch)'
_ADDED = 'return keras.layers.Add(name=f"{name}_add")([hidden, branch])'
_HEAD = 'keras.layers.Dense(3, name="head")'

SABOTAGES = (
    # --- mlp
    _change("mlp", "relu to leaky_relu in all layers", '"relu"', '"leaky_relu"', several(6), to("relu", "leaky_relu")),
    _change(
        "mlp",
        "HeNormal to GlorotUniform in all layers",
        '"he_normal"',
        '"glorot_uniform"',
        several(6),
        to(_HE, _GLOROT),
        structural=False,
    ),
    _change(
        "mlp",
        "HeNormal to GlorotUniform in one layer",
        _MIDDLE,
        'hidden(initializer="glorot_uniform", name="middle")',
        "middle",
        to(_HE, _GLOROT),
        structural=False,
    ),
    _change(
        "mlp",
        "one initializer instance for all layers",
        '"he_normal"',
        "keras.initializers.HeNormal()",
        r"IC301|cop(?:y|ies)|shared?\b.{0,40}(?:initializer|instance|seed|HeNormal)"
        r"|(?:initializer|instance|seed|HeNormal)\b.{0,40}\b(?:shared?|same|one)",
        structural=False,
    ),
    _change("mlp", "another integer seed", "(seed=1)", "(seed=2)", "seed", to("1", "2"), structural=False),
    _change("mlp", "width of one layer", _MIDDLE, 'hidden(80, name="middle")', "middle", "units|width", to("64", "80")),
    _change("mlp", "width of all hidden layers", "WIDTH = 64", "WIDTH = 80", several(6), "units|width", to("64", "80")),
    _change("mlp", "a layer more", "range(4)", "range(5)", "Dense", "added"),
    _change("mlp", "two layers fewer", "range(4)", "range(2)", several(2), "Dense", "removed"),
    _change("mlp", "dropout rate", "Dropout(0.1)", "Dropout(0.5)", "rate", to(r"0\.1", r"0\.5")),
    _change(
        "mlp",
        "bias initializer",
        '"zeros"',
        '"random_normal"',
        several(6),
        r"bias(?:es|_initializer)?",
        to("zeros", r"random_?normal"),
        structural=False,
    ),
    _change(
        "mlp",
        "kernel constraint of one layer",
        _MIDDLE,
        'hidden(name="middle", kernel_constraint=keras.constraints.MaxNorm(2.0))',
        "middle",
        r"(?:kernel_)?constraint",
        r"max_?norm",
    ),
    _change("mlp", "a frozen layer", _MIDDLE, 'hidden(name="middle", trainable=False)', "middle", r"trainable|frozen"),
    _change(
        "mlp",
        "softmax at the output",
        "keras.layers.Dense(10, ",
        'keras.layers.Dense(10, activation="softmax", ',
        to("linear|none", "softmax"),
    ),
    # --- convolutional
    _change(
        "convolutional",
        "gain of all convolutions",
        "VarianceScaling(2.0,",
        "VarianceScaling(3.0,",
        several(3),
        "scale|gain",
        to(r"2(?:\.0)?", r"3(?:\.0)?"),
        structural=False,
    ),
    _change(
        "convolutional",
        "stride of one convolution",
        _CONVOLVED,
        'convolve(hidden, name="middle", strides=2)',
        "middle",
        "strides?",
        to(pair(1), pair(2)),
    ),
    _change(
        "convolutional",
        "dilation of one convolution",
        _CONVOLVED,
        'convolve(hidden, name="middle", dilation_rate=2)',
        "middle",
        "dilation(?:_rate)?",
        to(pair(1), pair(2)),
    ),
    _change(
        "convolutional",
        "groups of one convolution",
        _CONVOLVED,
        'convolve(hidden, name="middle", groups=2)',
        "middle",
        "groups",
        to("1", "2"),
    ),
    _change(
        "convolutional",
        "padding",
        'padding="same"',
        'padding="valid"',
        several(3),
        "padding",
        to("same", "valid"),
    ),
    _change(
        "convolutional",
        "kernel size",
        "kernel_size=3",
        "kernel_size=5",
        several(3),
        "kernel[_ ]size",
        to(pair(3), pair(5)),
    ),
    _change("convolutional", "pooling size", "pool_size=2", "pool_size=4", r"pool(?:ing|_size)?", to(pair(2), pair(4))),
    _change(
        "convolutional",
        "BatchNormalization to LayerNormalization",
        _BATCH_NORMALIZATION,
        "hidden = keras.layers.LayerNormalization()(hidden)\n",
        several(3),
        to("BatchNormalizations?", "LayerNormalizations?"),
    ),
    _change(
        "convolutional",
        "momentum",
        "momentum=0.99",
        "momentum=0.9",
        several(3),
        "momentum",
        to(r"0\.99", r"0\.9"),
    ),
    _change(
        "convolutional",
        "axis, on equal sizes",
        "axis=-1",
        "axis=1",
        several(3),
        "axis",
        to("-1|3", "1"),
    ),
    _change(
        "convolutional",
        "training mode pinned",
        "momentum=0.99)(hidden)",
        "momentum=0.99)(hidden, training=False)",
        several(3),
        "training",
        "False",
    ),
    _change(
        "convolutional",
        "normalization behind the activation",
        _BATCH_NORMALIZATION + "    " + _LEAKY,
        "hidden = keras.layers.LeakyReLU(negative_slope=0.1)(hidden)\n    "
        + _BATCH_NORMALIZATION.replace("hidden =", "return"),
        "batch_?normalizations?|leaky_?re_?lus?",
        _MOVED,
    ),
    _change(
        "convolutional",
        "negative slope",
        "negative_slope=0.1",
        "negative_slope=0.3",
        several(3),
        "negative_slope",
        to(r"0\.1", r"0\.3"),
    ),
    _change(
        "convolutional",
        "shape of the input",
        "(8, 8, 4)",
        "(8, 8, 3)",
        "inputs?|input_layer|shape|channels",
        to("4", "3"),
    ),
    # --- residual
    _change(
        "residual",
        "LayerNormalization removed",
        _NORMALIZED + "\n    " + _UP,
        _UP.replace("(branch)", "(hidden)"),
        several(4),
        "LayerNormalizations?",
        "removed",
    ),
    _change(
        "residual",
        "normalization from before the block to behind it",
        _NORMALIZED + "\n    " + _UP,
        _UP.replace("(branch)", "(hidden)"),
        _NORM,
        _MOVED,
        also=(
            (
                _ADDED,
                _ADDED.replace("return", "branch =")
                + '\n    return keras.layers.LayerNormalization(epsilon=1e-3, name=f"{name}_norm")(branch)',
            ),
        ),
    ),
    _change(
        "residual",
        "epsilon",
        "epsilon=1e-3",
        "epsilon=1e-6",
        several(4),
        "epsilon",
        to(r"0\.001|1e-0?3", r"1e-0?6|0\.000001"),
    ),
    _change(
        "residual",
        "normalization without a scale",
        "epsilon=1e-3",
        "epsilon=1e-3, scale=False",
        several(4),
        _NORM,
        r"scale.{1,10}?True.{1,30}?False|gamma\b.{0,40}removed|removed\b.{0,40}gamma",
    ),
    _change("residual", "gelu to relu", '"gelu"', '"relu"', several(4), to("gelu", "relu")),
    _change(
        "residual",
        "no residual connection",
        _ADDED,
        "return branch",
        several(4),
        r"Add|residuals?|\w*_add",
        "removed",
    ),
    _change(
        "residual",
        "branch scaled by a layer",
        "[hidden, branch]",
        '[hidden, keras.layers.Rescaling(0.5, name=f"{name}_scale")(branch)]',
        several(4),
        "Rescalings?",
        "added",
    ),
    _change(
        "residual",
        "branch scaled by an operation",
        "[hidden, branch]",
        "[hidden, 0.5 * branch]",
        several(4),
        "Multiply|Multiplications?",
        "added",
    ),
    _change(
        "residual",
        "concatenate for add",
        'keras.layers.Add(name="join")',
        'keras.layers.Concatenate(name="join")',
        to("Add", "Concatenate"),
    ),
    _change(
        "residual",
        "dropout added",
        _UP,
        _UP + "\n    branch = keras.layers.Dropout(0.2)(branch)",
        several(4),
        "Dropouts?",
        "added",
    ),
    _change(
        "residual",
        "dtype policy of the whole model",
        "    inputs = keras.Input((32,))",
        '    keras.config.set_dtype_policy("mixed_bfloat16")\n    inputs = keras.Input((32,))',
        r"dtype|policy",
        to("float32", r"(?:mixed_)?bfloat16"),
    ),
    _change(
        "residual",
        "last layer of the branch starts at zero",
        "Dense(32, name=",
        'Dense(32, kernel_initializer="zeros", name=',
        several(4),
        to(_GLOROT, "zeros"),
        structural=False,
    ),
    # --- transformer
    _change(
        "transformer",
        "heads at equal width",
        "num_heads=4, key_dim=8",
        "num_heads=2, key_dim=16",
        several(2),
        r"(?:num_)?heads",
        to("4", "2"),
    ),
    _change(
        "transformer",
        "size of the keys",
        "key_dim=8",
        "key_dim=16",
        several(2),
        "key_dim",
        to("8", "16"),
    ),
    _change(
        "transformer",
        "scale of the embedding",
        "stddev=0.02",
        "stddev=1.0",
        "tokens",
        "stddev",
        to(r"0\.02", r"1(?:\.0)?"),
        structural=False,
    ),
    _change(
        "transformer",
        "no causal mask",
        "use_causal_mask=True",
        "use_causal_mask=False",
        several(2),
        r"(?:use_)?causal(?:_mask)?",
        to("True", "False"),
    ),
    _change(
        "transformer",
        "HeNormal to GlorotUniform in the up projections",
        '"he_normal"',
        '"glorot_uniform"',
        r"\w*_up|up",
        to(_HE, _GLOROT),
        structural=False,
    ),
    _change(
        "transformer",
        "width of the up projections",
        "Dense(64,",
        "Dense(96,",
        r"\w*_up|up",
        "units|width",
        to("64", "96"),
    ),
    _change("transformer", "a block more", "range(2)", "range(3)", "added", r"block2\w*|blocks?|MultiHeadAttention"),
    _change(
        "transformer",
        "attention without biases",
        "key_dim=8,",
        "key_dim=8, use_bias=False,",
        several(2),
        r"use_bias\b.{1,10}?True.{1,30}?False|bias(?:es)?\b.{0,60}removed|removed\b.{0,60}bias",
    ),
    # --- recurrent
    _change(
        "recurrent",
        "bias of the forget gate",
        "unit_forget_bias=True",
        "unit_forget_bias=False",
        r"unit_forget_bias|forget[ _]?bias",
        to("True", "False"),
    ),
    _change(
        "recurrent",
        "recurrent activation",
        'recurrent_activation="sigmoid"',
        'recurrent_activation="hard_sigmoid"',
        "recurrent[_ ]activation",
        to("sigmoid", "hard_sigmoid"),
    ),
    _change(
        "recurrent",
        "direction of the GRU",
        "keras.layers.GRU(16,",
        "keras.layers.GRU(16, go_backwards=True,",
        "go_backwards",
        to("False", "True"),
    ),
    _change(
        "recurrent",
        "recurrent initializer",
        '"orthogonal"',
        '"glorot_uniform"',
        r"recurrent\w*",
        to(r"orthogonal\w*", _GLOROT),
        structural=False,
    ),
    _change(
        "recurrent",
        "dtype of one layer",
        _HEAD,
        'keras.layers.Dense(3, dtype="mixed_bfloat16", name="head")',
        "head",
        r"dtype|policy",
        to("float32", r"(?:mixed_)?bfloat16"),
    ),
    # --- custom
    _change("custom", "constant in the code of a layer", "0.5 * inputs", "0.7 * inputs", "Damping", _CODE),
    _change(
        "custom",
        "argument of a layer with a configuration",
        "factor=0.8",
        "factor=1.2",
        "factor",
        to(r"0\.8", r"1\.2"),
    ),
    _change(
        "custom",
        "attribute of a layer without a configuration",
        "amount=0.1",
        "amount=0.3",
        "amount",
        to(r"0\.1", r"0\.3"),
    ),
    _change("custom", "function of a Lambda", "0.1 * values**2", "0.4 * values**2", "Lambda", _CODE),
    _change(
        "custom",
        "a shared layer is made two",
        "self.again = self.repeated",
        'self.again = keras.layers.Dense(32, activation="tanh", name="again")',
        "again|repeated",
        r"(?:un)?shared|called|twice|calls?|reused|weights of its own",
    ),
    _change(
        "custom",
        "two layers share their weights",
        'self.right = keras.layers.Dense(32, name="right")',
        "self.right = self.left",
        "left|right",
        r"shared?|called|twice|calls?|reused",
    ),
    _change(
        "custom",
        "another sub-model",
        '[keras.layers.Dense(48, activation="relu"), keras.layers.Dense(32)]',
        '[keras.layers.LayerNormalization(), keras.layers.Dense(64, activation="tanh"), keras.layers.Dense(32)]',
        r"encoder(?:/\w+)?",
        "replaced|added|changed to|LayerNormalization|tanh",
    ),
)

_DAMPING = "class Damping(keras.layers.Layer):\n" + '    """Its constant stands in the code alone."""\n'

_LEFT, _RIGHT = (f'        self.{name} = keras.layers.Dense(32, name="{name}")\n' for name in ("left", "right"))

HARMLESS = (
    _change(
        "mlp",
        "an initializer as an object",
        "kernel_initializer=initializer",
        "kernel_initializer=keras.initializers.get(initializer)",
    ),
    _change("mlp", "an activation as a function", 'activation="relu"', "activation=keras.activations.relu"),
    _change("convolutional", "a size for each side", "kernel_size=3", "kernel_size=(3, 3)"),
    _change("residual", "another name of the model", 'name="head")(hidden)', 'name="head")(hidden), name="renamed"'),
    _change(
        "transformer",
        "sums as operations",
        "return hidden + keras",
        "return keras.ops.add(hidden, keras",
        also=((")(branch)", ")(branch))"),),
    ),
    _change("recurrent", "a default that is spelled out", "GRU(16, ", 'GRU(16, activation="tanh", '),
    _change(
        "custom",
        "another comment",
        _DAMPING,
        _DAMPING.replace("constant", "only constant") + "    # It has no weights.\n",
    ),
    _change(
        "custom",
        "layers made in another order",
        _LEFT + _RIGHT,
        _RIGHT + _LEFT,
    ),
)
"""Edits that change nothing of the model."""
