"""Edits written into source: what a file becomes, what is refused, and what lies on the disk afterwards."""

from __future__ import annotations

import ast
import os
import random
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import pytest

import initcheck
from initcheck.audit.findings import Edit
from initcheck.checking.rewrite import put_back, write_edits, write_files, write_fixes
from initcheck.checking.source_code import edit_source
from initcheck.core.errors import OutputError
from initcheck.probe.places import CallSite

HE = '"he_normal"'
OBJECT = "keras.initializers.HeNormal()"
SCALED = "keras.layers.Rescaling(1 / 255)"


def find_site(text, call, file="models.py"):
    """Find the call that begins so, as Python itself places it; the innermost, and there has to be one."""
    found = [
        node
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call) and (ast.get_source_segment(text, node) or "").startswith(call)
    ]
    sizes = [len(ast.get_source_segment(text, node)) for node in found]
    assert sizes.count(min(sizes)) == 1, call
    node = found[sizes.index(min(sizes))]
    return CallSite(str(file), str(file), node.lineno, node.col_offset, node.end_lineno, node.end_col_offset)


def edit_of(text, call, new=HE, argument="kernel_initializer", layer="dense", position=3, given=True, **more):
    return Edit(layer, argument, "", new, find_site(text, call), position if argument else None, given, **more)


def rewritten(text, call, new=HE, argument="kernel_initializer", **more):
    text = textwrap.dedent(text).lstrip("\n")
    changed, unwritten = edit_source(text, [edit_of(text, call, new, argument, **more)])
    assert not unwritten, unwritten[0].reason
    ast.parse(changed)
    return changed


def refusal(text, call, new=HE, argument="kernel_initializer", **more):
    text = textwrap.dedent(text).lstrip("\n")
    changed, unwritten = edit_source(text, [edit_of(text, call, new, argument, **more)])
    assert changed == text and len(unwritten) == 1
    return unwritten[0].reason


# --- arguments --------------------------------------------------------------------------------------------------------

ARGUMENTS = {
    "a keyword is replaced": (
        'Dense(8, kernel_initializer="zeros", name="a")',
        'Dense(8, kernel_initializer="he_normal", name="a")',
    ),
    "spaces around the equals sign stay": (
        'Dense( 8 , kernel_initializer = "zeros" )',
        'Dense( 8 , kernel_initializer = "he_normal" )',
    ),
    "a value in brackets": ("Dense(8, kernel_initializer=(Zeros()))", 'Dense(8, kernel_initializer=("he_normal"))'),
    "a conditional value": (
        "Dense(8, kernel_initializer=A() if deep else B())",
        'Dense(8, kernel_initializer="he_normal")',
    ),
    "a positional argument": (
        'Dense(8, "relu", True, Zeros(), name="a")',
        'Dense(8, "relu", True, "he_normal", name="a")',
    ),
    "a positional argument in front of a star": (
        'Dense(8, "relu", True, Zeros(), *more)',
        'Dense(8, "relu", True, "he_normal", *more)',
    ),
    "one line": ('Dense(8, "relu")', 'Dense(8, "relu", kernel_initializer="he_normal")'),
    "no arguments": ("Dense()", 'Dense(kernel_initializer="he_normal")'),
    "one line with a comma behind": ("Dense(8,)", 'Dense(8, kernel_initializer="he_normal",)'),
    "arguments in a line of their own": (
        'Dense(\n    8, activation="relu"\n)',
        'Dense(\n    8, activation="relu", kernel_initializer="he_normal"\n)',
    ),
    "one argument a line": (
        'Dense(\n    8,\n    activation="relu",\n)',
        'Dense(\n    8,\n    activation="relu",\n    kernel_initializer="he_normal",\n)',
    ),
    "one argument a line, with comments": (
        'Dense(\n    8,  # units\n    activation="relu",  # as ever\n    # end\n)',
        'Dense(\n    8,  # units\n    activation="relu",  # as ever\n    kernel_initializer="he_normal",\n    # end\n)',
    ),
    "no comma in front of a comment": (
        'Dense(\n    8,\n    activation="relu"  # as ever\n)',
        'Dense(\n    8,\n    activation="relu",  # as ever\n    kernel_initializer="he_normal"\n)',
    ),
    "arguments below one another": (
        'Dense(8,\n      activation="relu")',
        'Dense(8,\n      activation="relu",\n      kernel_initializer="he_normal")',
    ),
    "a tab before each": (
        'Dense(\n\t8,\n\tactivation="relu",\n)',
        'Dense(\n\t8,\n\tactivation="relu",\n\tkernel_initializer="he_normal",\n)',
    ),
    "a value in several lines": (
        "Dense(\n    8,\n    kernel_initializer=RandomNormal(\n        stddev=1.0,\n    ),\n)",
        'Dense(\n    8,\n    kernel_initializer="he_normal",\n)',
    ),
    "nothing but a comment": (
        "Dense(\n    # units come later\n)",
        'Dense(\n    # units come later\n    kernel_initializer="he_normal",\n)',
    ),
    "other characters in the line": (
        'Dense(8, name="schön", kernel_initializer="zeros")',
        'Dense(8, name="schön", kernel_initializer="he_normal")',
    ),
}


@pytest.mark.parametrize("case", ARGUMENTS)
def test_an_argument_is_written_as_the_call_is(case):
    before, after = ARGUMENTS[case]
    assert rewritten(f"ä = {before}  # ü\n", "Dense(") == f"ä = {after}  # ü\n"


def test_an_argument_goes_in_front_of_a_mapping_that_does_not_hold_it():
    assert rewritten("Dense(8, **common)\n", "Dense(", given=False) == (
        'Dense(8, kernel_initializer="he_normal", **common)\n'
    )
    lines = "Dense(\n    8,\n    **common,\n)\n"
    assert rewritten(lines, "Dense(", given=False) == (
        'Dense(\n    8,\n    kernel_initializer="he_normal",\n    **common,\n)\n'
    )


def test_what_a_mapping_or_a_star_gives_is_not_written():
    assert refusal("Dense(8, **common)\n", "Dense(") == "its value comes from **common"
    assert refusal("Dense(*arguments)\n", "Dense(") == "its value comes from *arguments"
    assert refusal("Dense(8, kernel_initializer=(w := Zeros()))\n", "Dense(").startswith("other code may need the name")


def test_a_keyword_that_is_given_beside_a_mapping_is_replaced():
    assert rewritten('Dense(8, kernel_initializer="zeros", **common)\n', "Dense(") == (
        'Dense(8, kernel_initializer="he_normal", **common)\n'
    )


def test_several_arguments_of_one_call_are_written_together():
    text = 'Dense(\n    8,\n    kernel_initializer="zeros",\n)\n'
    edits = [
        edit_of(text, "Dense("),
        edit_of(text, "Dense(", '"zeros"', "bias_initializer", position=4),
        edit_of(text, "Dense(", '"relu"', "activation", position=1),
    ]
    changed, unwritten = edit_source(text, edits)
    assert not unwritten and changed == (
        'Dense(\n    8,\n    kernel_initializer="he_normal",\n    bias_initializer="zeros",\n'
        '    activation="relu",\n)\n'
    )


def test_only_the_call_that_is_meant_changes_among_several_on_one_line():
    text = "x = Dense(8)(Dense(8)(x)); y = [Dense(1), Dense(2)]\n"
    assert rewritten(text, "Dense(2)") == (
        'x = Dense(8)(Dense(8)(x)); y = [Dense(1), Dense(2, kernel_initializer="he_normal")]\n'
    )


def test_a_call_whose_name_stands_in_another_line_is_found_where_python_says_that_it_begins():
    text = "x = (keras\n     .layers\n     .Dense(8))\n"
    site = CallSite("models.py", "models.py", 3, 6, 3, 14)  # a method's call begins at its name
    changed, unwritten = edit_source(text, [replace(edit_of(text, "keras"), site=site)])
    assert not unwritten and changed == 'x = (keras\n     .layers\n     .Dense(8, kernel_initializer="he_normal"))\n'


# --- one call, many layers --------------------------------------------------------------------------------------------

LOOP = "for _ in range(3):\n    x = Dense(8)(x)\n"


def test_one_call_of_several_layers_is_written_once_if_all_change_alike():
    names = ["dense", "dense_1", "dense_2"]
    edits = [edit_of(LOOP, "Dense(8)", layer=name, others=tuple({*names} - {name})) for name in names]
    changed, unwritten = edit_source(LOOP, edits)
    assert not unwritten
    assert changed == 'for _ in range(3):\n    x = Dense(8, kernel_initializer="he_normal")(x)\n'


def test_one_call_of_layers_that_change_differently_is_not_written_and_the_others_are_named():
    edits = [edit_of(LOOP, "Dense(8)", new, layer=name) for name, new in (("dense", HE), ("dense_1", '"zeros"'))]
    changed, unwritten = edit_source(LOOP, edits)
    assert changed == LOOP
    assert [each.reason for each in unwritten] == [
        "the same call makes dense_1, which needs another value",
        "the same call makes dense, which needs another value",
    ]


def test_one_call_of_layers_some_of_which_stay_is_not_written():
    assert refusal(LOOP, "Dense(8)", others=("dense_1", "dense_2")) == (
        "the same call also makes dense_1 and dense_2, which are not to change"
    )


def test_two_edits_of_one_argument_of_one_layer_contradict_each_other():
    edits = [edit_of(LOOP, "Dense(8)", new) for new in (HE, '"zeros"')]
    changed, unwritten = edit_source(LOOP, edits)
    assert changed == LOOP
    assert [each.reason for each in unwritten] == [
        'another edit writes kernel_initializer="zeros"',
        'another edit writes kernel_initializer="he_normal"',
    ]


def test_an_edit_that_two_problems_share_is_written_once():
    edit = edit_of(LOOP, "Dense(8)")
    assert edit_source(LOOP, [edit, edit])[0].count(HE) == 1


# --- the name of Keras ------------------------------------------------------------------------------------------------

SPELLED = {
    "import keras": "keras.initializers.HeNormal()",
    "import keras as K": "K.initializers.HeNormal()",
    "import keras.layers": "keras.initializers.HeNormal()",
    "from keras import layers, initializers": "initializers.HeNormal()",
    "from keras import initializers as init, layers": "init.HeNormal()",
    "from keras.initializers import HeNormal": "HeNormal()",
    "from keras.initializers import HeNormal as He": "He()",
    "from tensorflow import keras": "keras.initializers.HeNormal()",
    "from tensorflow import keras as tfk": "tfk.initializers.HeNormal()",
    "from tensorflow.keras import initializers": "initializers.HeNormal()",
    "import tensorflow as tf\nbase = tf.keras.layers.Layer": "tf.keras.initializers.HeNormal()",
    "import tensorflow as tf\nfrom tensorflow import keras": "keras.initializers.HeNormal()",
    "try:\n    import keras\nexcept ImportError:\n    from tensorflow import keras": "keras.initializers.HeNormal()",
}


@pytest.mark.parametrize("imports", SPELLED)
def test_an_object_is_written_by_what_the_file_imports(imports):
    text = f"{imports}\n\n\ndef build(Dense):\n    return Dense(8)\n"
    assert rewritten(text, "Dense(8)", OBJECT) == text.replace(
        "Dense(8)", f"Dense(8, kernel_initializer={SPELLED[imports]})"
    )


IMPORTED = {
    "beside a from": (
        "from keras.layers import Dense\n\nDense(8)\n",
        "import keras\nfrom keras.layers import Dense\n\nDense(8, kernel_initializer=keras.initializers.HeNormal())\n",
    ),
    "in order": (
        "import json\n\nimport numpy as np\nfrom keras.layers import Dense\n\nDense(8)\n",
        (
            "import json\n\nimport keras\nimport numpy as np\nfrom keras.layers import Dense\n\n"
            "Dense(8, kernel_initializer=keras.initializers.HeNormal())\n"
        ),
    ),
    "behind the smaller ones": (
        "import dask  # much\nfrom keras.layers import Dense\nDense(8)\n",
        (
            "import dask  # much\nimport keras\nfrom keras.layers import Dense\n"
            "Dense(8, kernel_initializer=keras.initializers.HeNormal())\n"
        ),
    ),
    "after the docstring and what is from the future": (
        '"""Models."""\n\nfrom __future__ import annotations\n\n# layers\nfrom keras.layers import Dense\n\nDense(8)\n',
        (
            '"""Models."""\n\nfrom __future__ import annotations\n\n# layers\nimport keras\n'
            "from keras.layers import Dense\n\nDense(8, kernel_initializer=keras.initializers.HeNormal())\n"
        ),
    ),
    "inside of the function that imports": (
        "def build():\n    from keras.layers import Dense\n    return Dense(8)\n",
        (
            "def build():\n    import keras\n    from keras.layers import Dense\n"
            "    return Dense(8, kernel_initializer=keras.initializers.HeNormal())\n"
        ),
    ),
    "from a module of one's own": (
        '"""Models."""\nfrom blocks import *\n\nDense(8)\n',
        (
            '"""Models."""\nimport keras\nfrom blocks import *\n\n'
            "Dense(8, kernel_initializer=keras.initializers.HeNormal())\n"
        ),
    ),
    "no import at all": (
        '"""Models."""\n\nDense(8)\n',
        '"""Models."""\n\nimport keras\n\nDense(8, kernel_initializer=keras.initializers.HeNormal())\n',
    ),
    "not what type checkers alone import": (
        (
            "from typing import TYPE_CHECKING\nimport numpy\n"
            "if TYPE_CHECKING:\n    from keras import initializers\nDense(8)\n"
        ),
        (
            "from typing import TYPE_CHECKING\nimport keras\nimport numpy\n"
            "if TYPE_CHECKING:\n    from keras import initializers\n"
            "Dense(8, kernel_initializer=keras.initializers.HeNormal())\n"
        ),
    ),
}


@pytest.mark.parametrize("case", IMPORTED)
def test_keras_is_imported_where_the_file_has_no_name_for_it(case):
    before, after = IMPORTED[case]
    assert rewritten(before, "Dense(8)", OBJECT) == after


def test_keras_is_imported_once_for_several_edits():
    text = "from keras.layers import Dense\n\nx = [Dense(1), Dense(2)]\n"
    edits = [edit_of(text, call, OBJECT, layer=call) for call in ("Dense(1)", "Dense(2)")]
    changed, unwritten = edit_source(text, edits)
    assert not unwritten and changed.count("import keras\n") == 1 and changed.count("HeNormal()") == 2


def test_a_text_needs_no_import():
    assert "import keras\n" not in rewritten("from keras.layers import Dense\nDense(8)\n", "Dense(8)")


@pytest.mark.parametrize("name", ["def build(keras):", "def build():\n    keras = 1"])
def test_a_variable_named_keras_is_not_taken_for_the_library(name):
    text = f"from keras.layers import Dense\n\n\n{name}\n    return Dense(8)\n"
    assert refusal(text, "Dense(8)", OBJECT) == "the name keras stands for something else there"
    assert rewritten(text, "Dense(8)") == text.replace("Dense(8)", f"Dense(8, kernel_initializer={HE})")


# --- a layer behind an input ------------------------------------------------------------------------------------------

BEHIND = {
    "an element in one line": (
        "m = keras.Sequential([keras.Input((4,)), Dense(3)])",
        "m = keras.Sequential([keras.Input((4,)), keras.layers.Rescaling(1 / 255), Dense(3)])",
    ),
    "an element in its own line": (
        "m = keras.Sequential(\n    [\n        keras.Input((4,)),  # pixels\n        Dense(3),\n    ]\n)",
        (
            "m = keras.Sequential(\n    [\n        keras.Input((4,)),  # pixels\n"
            "        keras.layers.Rescaling(1 / 255),\n        Dense(3),\n    ]\n)"
        ),
    ),
    "elements below one another": (
        "m = keras.Sequential([keras.Input((4,)),\n                      Dense(3)])",
        (
            "m = keras.Sequential([keras.Input((4,)),\n                      keras.layers.Rescaling(1 / 255),\n"
            "                      Dense(3)])"
        ),
    ),
    "the only element": (
        "m = keras.Sequential([keras.Input((4,))])",
        "m = keras.Sequential([keras.Input((4,)), keras.layers.Rescaling(1 / 255)])",
    ),
    "a tuple by keyword": (
        "m = keras.Sequential(layers=(keras.Input((4,)), Dense(3)))",
        "m = keras.Sequential(layers=(keras.Input((4,)), keras.layers.Rescaling(1 / 255), Dense(3)))",
    ),
    "lists that are added": (
        "m = keras.Sequential([keras.Input((4,))] + [Dense(3) for _ in range(2)])",
        "m = keras.Sequential([keras.Input((4,)), keras.layers.Rescaling(1 / 255)] + [Dense(3) for _ in range(2)])",
    ),
    "a list with a name": (
        "parts = [keras.Input((4,)), Dense(3)]\nm = keras.Sequential(parts)",
        "parts = [keras.Input((4,)), keras.layers.Rescaling(1 / 255), Dense(3)]\nm = keras.Sequential(parts)",
    ),
    "a class that derives": (
        (
            "class Net(keras.Sequential):\n    def __init__(self):\n"
            "        super().__init__([keras.Input((4,)), Dense(3)])"
        ),
        (
            "class Net(keras.Sequential):\n    def __init__(self):\n"
            "        super().__init__([keras.Input((4,)), keras.layers.Rescaling(1 / 255), Dense(3)])"
        ),
    ),
    "one more add": (
        "def f():\n    m = keras.Sequential()\n    m.add(keras.Input((4,)))  # pixels\n    m.add(Dense(3))",
        (
            "def f():\n    m = keras.Sequential()\n    m.add(keras.Input((4,)))  # pixels\n"
            "    m.add(keras.layers.Rescaling(1 / 255))\n    m.add(Dense(3))"
        ),
    ),
    "one more add in the same line": (
        "m.add(keras.Input((4,))); m.add(Dense(3))",
        "m.add(keras.Input((4,))); m.add(keras.layers.Rescaling(1 / 255)); m.add(Dense(3))",
    ),
    "add in several lines": (
        "m.add(\n    keras.Input((4,))\n)\nm.add(Dense(3))",
        "m.add(\n    keras.Input((4,))\n)\nm.add(keras.layers.Rescaling(1 / 255))\nm.add(Dense(3))",
    ),
    "a functional model": (
        "inputs = keras.Input((4,))\nx = Dense(3)(inputs)\nm = keras.Model(inputs, x)",
        (
            "inputs = keras.Input((4,))\nscaled = keras.layers.Rescaling(1 / 255)(inputs)\nx = Dense(3)(scaled)\n"
            "m = keras.Model(inputs, x)"
        ),
    ),
    "inputs by keyword, in a list, with a branch": (
        (
            "def f():\n    a = keras.Input((4,))\n    scaled = 1\n    y = Add()([Dense(3)(a), a])\n"
            "    return keras.Model(inputs=[a], outputs=y)"
        ),
        (
            "def f():\n    a = keras.Input((4,))\n    scaled_2 = keras.layers.Rescaling(1 / 255)(a)\n    scaled = 1\n"
            "    y = Add()([Dense(3)(scaled_2), scaled_2])\n    return keras.Model(inputs=[a], outputs=y)"
        ),
    ),
    "an output inside of the model's call": (
        "a = keras.Input((4,))\nm = keras.Model({'a': a}, Dense(3)(a))",
        (
            "a = keras.Input((4,))\nscaled = keras.layers.Rescaling(1 / 255)(a)\n"
            "m = keras.Model({'a': a}, Dense(3)(scaled))"
        ),
    ),
    "a name that goes on": (
        "a: object = keras.Input((4,))\nx = a\nfor _ in range(3):\n    x = Dense(3)(x)\nm = keras.Model(a, x)",
        (
            "a: object = keras.Input((4,))\nscaled = keras.layers.Rescaling(1 / 255)(a)\nx = scaled\n"
            "for _ in range(3):\n    x = Dense(3)(x)\nm = keras.Model(a, x)"
        ),
    ),
    "a second name that goes on": (
        "x = a = keras.Input((4,))\nfor _ in range(3):\n    x = Dense(3)(x)\nm = keras.Model(a, x)",
        (
            "x = a = keras.Input((4,))\nx = keras.layers.Rescaling(1 / 255)(a)\n"
            "for _ in range(3):\n    x = Dense(3)(x)\nm = keras.Model(a, x)"
        ),
    ),
    "inside of a comprehension": (
        "a = keras.Input((4,))\nm = keras.Model(a, [Dense(3)(a) for _ in range(2)])",
        (
            "a = keras.Input((4,))\nscaled = keras.layers.Rescaling(1 / 255)(a)\n"
            "m = keras.Model(a, [Dense(3)(scaled) for _ in range(2)])"
        ),
    ),
    "a subclass that is given inputs": (
        "class Net(keras.Model):\n    pass\na = keras.Input((4,))\nm = Net(a, Dense(3)(a))",
        (
            "class Net(keras.Model):\n    pass\na = keras.Input((4,))\n"
            "scaled = keras.layers.Rescaling(1 / 255)(a)\nm = Net(a, Dense(3)(scaled))"
        ),
    ),
}


@pytest.mark.parametrize("case", BEHIND)
def test_a_layer_is_put_behind_an_input(case):
    before, after = (f"import keras\n{each}\n" for each in BEHIND[case])
    assert rewritten(before, "keras.Input(", SCALED, "") == after


IN_FRONT = {
    "an element": (
        "m = keras.Sequential([Flatten(), Dense(3)])",
        "m = keras.Sequential([keras.layers.Rescaling(1 / 255), Flatten(), Dense(3)])",
    ),
    "an element in its own line": (
        "m = keras.Sequential([\n    Flatten(),\n    Dense(3),\n])",
        "m = keras.Sequential([\n    keras.layers.Rescaling(1 / 255),\n    Flatten(),\n    Dense(3),\n])",
    ),
    "an add with the shape of the input": (
        "m.add(Flatten(input_shape=(4, 4)))",
        "m.add(keras.layers.Rescaling(1 / 255, input_shape=(4, 4)))\nm.add(Flatten(input_shape=(4, 4)))",
    ),
    "an add": (
        "if True:\n    m.add(Flatten())\n    m.add(Dense(3))",
        "if True:\n    m.add(keras.layers.Rescaling(1 / 255))\n    m.add(Flatten())\n    m.add(Dense(3))",
    ),
}


@pytest.mark.parametrize("case", IN_FRONT)
def test_a_layer_is_put_in_front_of_the_first_one_of_a_model_without_input(case):
    before, after = (f"import keras\n{each}\n" for each in IN_FRONT[case])
    assert rewritten(before, "Flatten(", SCALED, "") == after


def test_the_layer_is_written_by_the_names_of_the_file():
    text = "from keras import Input as I, Sequential as S, layers\nm = S([I((4,)), layers.Dense(3)])\n"
    assert rewritten(text, "I(", SCALED, "") == text.replace("I((4,)),", "I((4,)), layers.Rescaling(1 / 255),")


@pytest.mark.parametrize(
    "code",
    [
        "x = a = keras.Input((4,))\nm = keras.Model(a, Add()([Dense(3)(x), a]))",
        "x = a = keras.Input((4,))\nm = keras.Model(a, keras.Model(x, Dense(3)(x))(a))",
        "x, a = b = keras.Input((4,)), 1\nm = keras.Model(x, Dense(3)(x))",
        "a = keras.Input((4,))\nx = a\nb = a\nm = keras.Model(b, Dense(3)(x))",
        "a = keras.Input((4,))\na = Dense(3)(a)\nm = keras.Model(a, a)",
        "a = keras.Input((4,))\nm = make(a, Dense(3)(a))",
        "def f():\n    a = keras.Input((4,))\n    m = keras.Model(a, Dense(3)(a))\n    return a, m",
        "ins = [keras.Input((4,)) for _ in range(2)]",
        "ins = [keras.Input((4,)), 1]\nm = keras.Model(ins, join(ins))",
        "self.a = keras.Input((4,))",
        "x = Dense(3)(keras.Input((4,)))",
        "m = keras.Sequential([wrap(keras.Input((4,))), Dense(3)])",
        "a = keras.Input((4,))\nm = make(Dense(3)(inputs=a))",
    ],
)
def test_what_is_not_understood_around_an_input_is_not_written(code):
    assert refusal(f"import keras\n{code}\n", "keras.Input(", SCALED, "")


@pytest.mark.parametrize("call", ["keras.Sequential(", "Dense("])
def test_the_shape_of_the_input_is_given_to_the_layer_that_becomes_the_first(call):
    text = "import keras\nm = keras.Sequential([Dense(3, input_shape=(4,)), keras.layers.Flatten()])\n"
    assert rewritten(text, call, SCALED, "") == text.replace(
        "([Dense", "([keras.layers.Rescaling(1 / 255, input_shape=(4,)), Dense"
    )


# --- what is not the call that makes the layer ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "code",
    [
        "import keras\nm = list(map(keras.layers.Dense, (8, 8)))",
        "import keras\nm = keras.applications.VGG16(weights=None)",
        "import keras\nm = keras.models.clone_model(other)",
        "from tensorflow.keras.layers import deserialize\nm = deserialize(config)",
        "m = type(layer).from_config(config)",
    ],
)
def test_a_call_that_makes_a_layer_inside_is_not_changed(code):
    call = code.rpartition("m = ")[2]
    assert "not by a call of its class" in refusal(f"{code}\n", call)


@pytest.mark.parametrize("code", ["make = partial(Dense, 8)\nmake()", "kinds['d'](8)", "self.kind(8)", "(A or B)(8)"])
def test_a_call_by_another_name_is_changed(code):
    call = code.rpartition("\n")[2]
    comma = "" if call.endswith("()") else ", "
    assert rewritten(f"{code}\n", call).rstrip().endswith(f'{comma}kernel_initializer="he_normal")')


def test_a_line_that_is_not_what_was_run_is_not_changed():
    text = "x = Dense(8)\n"
    edit = edit_of(text, "Dense(")
    for changed in ("\nx = Dense(8)\n", "x = Dense(80)\n", "xy = Dense(8)\n", ""):
        assert edit_source(changed, [edit]) == (changed, [edit_source(changed, [edit])[1][0]])
        assert edit_source(changed, [edit])[1][0].reason == "line 1 is not what was run"


def test_without_columns_a_line_serves_that_makes_one_layer():
    site = CallSite("models.py", "models.py", 1)
    for before, after in (
        ("m.add(layers.Dense(8))\n", 'm.add(layers.Dense(8, kernel_initializer="he_normal"))\n'),
        ("x = Dense(8)(x)\n", 'x = Dense(8, kernel_initializer="he_normal")(x)\n'),
        ("x = make()\n", 'x = make(kernel_initializer="he_normal")\n'),
    ):
        assert edit_source(before, [Edit("dense", "kernel_initializer", "", HE, site, 3)]) == (after, [])
    for text in ("x = [Dense(8), Dense(8)]\n", "x = 1\n"):
        changed, unwritten = edit_source(text, [Edit("dense", "kernel_initializer", "", HE, site, 3)])
        assert changed == text and "Python kept no columns" in unwritten[0].reason


def test_a_place_that_is_not_known_is_a_reason(tmp_path):
    result = write_edits([Edit("dense", "kernel_initializer", "", HE)], tmp_path)
    assert [each.reason for each in result.unwritten] == ["the line that makes it is not known"]


def test_code_that_cannot_be_parsed_is_left():
    text = "x = Dense(8)\n"
    changed, unwritten = edit_source(f"{text}match = = 1\n", [edit_of(text, "Dense(")])
    assert changed.endswith("= = 1\n") and unwritten[0].reason.startswith("the file cannot be parsed: ")


SYNTAX = """\
from __future__ import annotations


def build(size, /, *, deep=False):
    match size:
        case {"units": int(units), **rest} if units > 0:
            name = f"dense_{units:>{len(rest)}}"
        case _:
            name = "dense"
    try:
        layer = Dense(8, name=name) if (many := size) else None
    except* ValueError as group:
        raise group
    return [lambda x, layer=layer: layer(x), *(each async for each in many)]
"""


def test_syntax_of_the_oldest_python_is_known():
    assert rewritten(SYNTAX, "Dense(8") == SYNTAX.replace("name=name)", f"name=name, kernel_initializer={HE})")


@pytest.mark.skipif(sys.version_info < (3, 12), reason="the syntax came with Python 3.12")
def test_type_parameters_and_nested_quotes_are_known():
    text = 'type Pair[T] = tuple[T, T]\n\n\ndef build[T: int](n: T):\n    return Dense(8, name=f"a{"b"}")\n'
    assert rewritten(text, "Dense(8").endswith(f'name=f"a{{"b"}}", kernel_initializer={HE})\n')


def test_what_would_be_no_python_is_not_written():
    assert "no valid Python" in refusal("Dense(x for x in y)\n", "Dense(")


@pytest.mark.thorough
def test_an_argument_is_all_that_changes_in_calls_of_any_form():
    drawn = random.Random(0)
    count = 0
    for path in drawn.sample(sorted(Path(initcheck.__file__).parent.rglob("*.py")), 50):
        text = path.read_text(encoding="utf-8")
        tree = ast.parse(text)
        quoted = {id(inner) for each in ast.walk(tree) if isinstance(each, ast.JoinedStr) for inner in ast.walk(each)}
        calls = [each for each in ast.walk(tree) if isinstance(each, ast.Call) and id(each) not in quoted]
        # No second argument may stand beside a generator without brackets.
        calls = [each for each in calls if not any(isinstance(one, ast.GeneratorExp) for one in each.args)]
        for call in drawn.sample(calls, min(1, len(calls))):
            place = (call.lineno, call.col_offset, call.end_lineno, call.end_col_offset)
            site = CallSite("any.py", "any.py", *place)
            changed, unwritten = edit_source(text, [Edit("dense", "added", "", "1", site, given=False)])
            if unwritten:
                assert "not by a call of its class" in unwritten[0].reason
                continue
            mappings = [number for number, each in enumerate(call.keywords) if each.arg is None]
            call.keywords.insert(min([*mappings, len(call.keywords)]), ast.keyword("added", ast.Constant(1)))
            assert ast.dump(ast.parse(changed)) == ast.dump(tree), (path, place)
            call.keywords = [each for each in call.keywords if each.arg != "added"]
            count += 1
    assert count > 15


# --- files ------------------------------------------------------------------------------------------------------------

MODEL = 'import keras\n\n\ndef build():\n    return keras.layers.Dense(8, name="schön")\n'
AFTER = MODEL.replace('"schön")', '"schön", kernel_initializer="he_normal")')


def file_edit(path, text=MODEL):
    return Edit("dense", "kernel_initializer", "", HE, find_site(text, "keras.layers.Dense(", path), 3)


@pytest.mark.parametrize(
    ("encode", "what"),
    [
        (lambda text: text.encode(), "plain"),
        (lambda text: text.replace("\n", "\r\n").encode(), "CRLF"),
        (lambda text: text.replace("\n", "\r").encode(), "CR"),
        (lambda text: b"\xef\xbb\xbf" + text.encode(), "byte order mark"),
        (lambda text: f"# -*- coding: latin-1 -*-{text}".encode("latin-1"), "latin-1"),
        (lambda text: f"# vim: set fileencoding=cp1252 :{text}".encode("cp1252"), "cp1252"),
        (lambda text: text.replace("    ", "\t").encode(), "tabs"),
        (lambda text: text.replace("\n\n\n", "\n\n\f\n").encode(), "form feed"),
        (lambda text: text.rstrip("\n").encode(), "no newline at the end"),
        (lambda text: text.replace("\n\n\n", " \n\t\n\n").encode(), "white space at the ends of lines"),
    ],
)
def test_the_bytes_around_an_edit_stay_and_git_takes_the_diff(tmp_path, encode, what):
    path = tmp_path / "my models.py"
    first = "# -*- coding" if what == "latin-1" else "#"
    text = MODEL if what not in ("latin-1", "cp1252") else f"\n{MODEL}"
    path.write_bytes(encode(text))
    compile(path.read_bytes(), str(path), "exec")
    shown = "\n" * (what in ("latin-1", "cp1252")) + MODEL
    placed = shown.replace("    ", "\t") if what == "tabs" else shown
    result = write_edits([file_edit(path, placed)], tmp_path)
    assert not result.unwritten, (first, result.unwritten)
    expected = encode(AFTER if text == MODEL else f"\n{AFTER}")
    assert [each.new for each in result.files] == [expected]
    assert path.read_bytes() == encode(text)
    if what != "CR":  # git knows no lines that end so
        changed = [line for line in result.diff.split(b"\n") if line[:1] in (b"-", b"+")]
        assert len(changed) == 4
    git_apply(tmp_path, result.diff)
    assert path.read_bytes() == expected


def git_apply(folder, diff):
    done = subprocess.run(["git", "apply", "-"], cwd=folder, input=diff, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()


@pytest.mark.parametrize("name", ['a "quoted" name.py', "back\\slash.py", "tab\there.py", "größe.py", "in/a/folder.py"])
@pytest.mark.skipif(os.name == "nt", reason="Windows has no such names")
def test_git_takes_the_diff_of_a_file_of_any_name(tmp_path, name):
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(MODEL, encoding="utf-8")
    git_apply(tmp_path, write_edits([file_edit(path)], tmp_path).diff)
    assert path.read_text(encoding="utf-8") == AFTER


def test_edits_of_several_files_are_one_diff(tmp_path):
    paths = [tmp_path / name for name in ("one.py", "two.py")]
    for path in paths:
        path.write_text(MODEL, encoding="utf-8")
    result = write_edits([file_edit(path) for path in paths], tmp_path)
    assert [each.shown for each in result.files] == ["one.py", "two.py"] and len(result.written) == 2
    git_apply(tmp_path, result.diff)
    assert all(path.read_text(encoding="utf-8") == AFTER for path in paths)


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "work" / "models.py"
    path.parent.mkdir()
    path.write_text(MODEL, encoding="utf-8")
    return path


def test_a_file_outside_of_the_folder_is_left_unless_asked_for(model, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    edits = [file_edit(model)]
    refused = write_edits(edits, tmp_path / "elsewhere")
    assert (refused.files, refused.diff) == ((), b"")
    assert refused.unwritten[0].reason == "../work/models.py lies outside of the working folder"
    assert write_edits(edits, tmp_path / "elsewhere", anywhere=True).files[0].new == AFTER.encode()


def test_a_link_that_leads_out_of_the_folder_is_outside(model, tmp_path):
    inside = tmp_path / "elsewhere"
    inside.mkdir()
    (inside / "models.py").symlink_to(model)
    assert "outside" in write_edits([file_edit(inside / "models.py")], inside).unwritten[0].reason


def test_an_installed_package_is_never_rewritten(tmp_path):
    path = tmp_path / "site-packages" / "nets" / "models.py"
    path.parent.mkdir(parents=True)
    path.write_text(MODEL, encoding="utf-8")
    result = write_edits([file_edit(path)], tmp_path, anywhere=True)
    assert result.unwritten[0].reason == "models.py belongs to an installed package"


def test_a_file_that_is_gone_or_cannot_be_read_is_a_reason(model, tmp_path):
    model.write_bytes(b"# coding: latin-12\n" + MODEL.encode())
    assert "cannot be read: unknown encoding" in write_edits([file_edit(model)], tmp_path).unwritten[0].reason
    model.write_bytes(b"x = '\xff'\n")
    assert "cannot be read" in write_edits([file_edit(model)], tmp_path).unwritten[0].reason
    edit = file_edit(model)
    model.unlink()
    assert "cannot be read: No such file" in write_edits([edit], tmp_path).unwritten[0].reason


def test_a_file_that_changed_after_it_was_loaded_is_left(model, tmp_path):
    changed = model.stat().st_mtime
    assert write_edits([file_edit(model)], tmp_path, loaded_at=changed).files
    refused = write_edits([file_edit(model)], tmp_path, loaded_at=changed - 1)
    assert refused.unwritten[0].reason == "work/models.py has changed since it was loaded"


def test_written_files_keep_their_mode_and_come_back_to_the_byte(model, tmp_path):
    model.chmod(0o750)
    files = write_edits([file_edit(model)], tmp_path).files
    write_files(files)
    assert (model.read_text(encoding="utf-8"), model.stat().st_mode & 0o777) == (AFTER, 0o750)
    put_back(files)
    assert (model.read_text(encoding="utf-8"), model.stat().st_mode & 0o777) == (MODEL, 0o750)
    put_back(files)
    assert [each.name for each in model.parent.iterdir()] == ["models.py"]


def test_a_file_of_the_same_size_is_younger_by_whole_seconds(model, tmp_path):
    text = MODEL.replace(")\n", ', kernel_initializer="he_uniform")\n')
    model.write_text(text, encoding="utf-8")
    edit = replace(file_edit(model, text), new='"orthogonal"')
    before = int(model.stat().st_mtime)
    files = write_edits([edit], tmp_path).files
    write_files(files)
    assert len(files[0].new) == len(files[0].old) and int(model.stat().st_mtime) > before
    before = int(model.stat().st_mtime)
    put_back(files)
    assert int(model.stat().st_mtime) != before


def test_a_link_stays_and_its_target_is_written(model, tmp_path):
    link = tmp_path / "link.py"
    link.symlink_to(model)
    write_files(write_edits([file_edit(link)], tmp_path).files)
    assert link.is_symlink() and model.read_text(encoding="utf-8") == AFTER


def test_a_read_only_file_is_not_written(model, tmp_path):
    files = write_edits([file_edit(model)], tmp_path).files
    model.chmod(0o444)
    with pytest.raises(OutputError, match=r"^Cannot write 'work/models.py': it is read-only\. Make it writable"):
        write_files(files)
    assert model.read_text(encoding="utf-8") == MODEL


def test_a_file_that_changed_meanwhile_is_neither_written_nor_put_back(model, tmp_path):
    files = write_edits([file_edit(model)], tmp_path).files
    model.write_text("x = 1\n", encoding="utf-8")
    for change in (write_files, put_back):
        with pytest.raises(OutputError, match=r"^'work/models.py' has changed meanwhile, and is left as it is\."):
            change(files)
    assert model.read_text(encoding="utf-8") == "x = 1\n"


def test_of_two_files_none_is_written_if_one_cannot_be(model, tmp_path):
    other = tmp_path / "other.py"
    other.write_text(MODEL, encoding="utf-8")
    files = write_edits([file_edit(model), file_edit(other)], tmp_path).files
    other.chmod(0o444)
    with pytest.raises(OutputError):
        write_files(files)
    assert model.read_text(encoding="utf-8") == MODEL


# --- several fixes ----------------------------------------------------------------------------------------------------

SEVERAL = """\
import keras

a = keras.layers.Dense(1)
for _ in range(2):
    b = keras.layers.Dense(2)
"""


def fix_of(path, *calls, new=HE, **more):
    return [
        Edit(layer, "kernel_initializer", "", new, find_site(SEVERAL, f"keras.layers.Dense({call})", path), 3, **more)
        for layer, call in calls
    ]


@pytest.fixture
def several(tmp_path):
    path = tmp_path / "several.py"
    path.write_text(SEVERAL, encoding="utf-8")
    return path


def test_a_fix_is_written_whole_or_not_at_all(several, tmp_path):
    whole = fix_of(several, ("dense", 1))
    part = fix_of(several, ("dense", 1), ("dense_1", 2), others=("dense_2",))
    rewriting, refused = write_fixes([part], tmp_path)
    assert rewriting.files == () and [each.edit.layer for each in refused[0]] == ["dense", "dense_1"]
    rewriting, refused = write_fixes([part, whole], tmp_path)
    assert rewriting.written == tuple(whole) and list(refused) == [0]


def test_of_two_fixes_that_contradict_each_other_the_first_is_written(several, tmp_path):
    first, second = fix_of(several, ("dense", 1)), fix_of(several, ("dense", 1), new='"zeros"')
    rewriting, refused = write_fixes([first, second], tmp_path)
    assert rewriting.written == tuple(first) and list(refused) == [1]
    assert refused[1][0].reason == 'another edit writes kernel_initializer="he_normal"'


def test_two_fixes_may_change_together_what_neither_may_alone(several, tmp_path):
    first = fix_of(several, ("dense_1", 2), others=("dense_2",))
    second = fix_of(several, ("dense_2", 2), others=("dense_1",))
    rewriting, refused = write_fixes([first, second], tmp_path)
    assert len(rewriting.written) == 2 and refused == {}
    assert list(write_fixes([first], tmp_path)[1]) == [0]


def test_a_fix_is_written_after_all_when_what_stood_against_it_is_not(several, tmp_path):
    impossible = fix_of(several, ("dense", 1), ("dense_1", 2), new='"zeros"', others=("dense_2",))
    rewriting, refused = write_fixes([impossible, fix_of(several, ("dense", 1))], tmp_path)
    assert [each.new for each in rewriting.written] == [HE] and list(refused) == [0]
