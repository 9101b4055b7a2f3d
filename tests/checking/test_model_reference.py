"""Every form in which a model is named, and one line with a remedy where there is none to be had."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import numpy as np
import pytest
from input_models import expect_message

from initcheck.backend.runtime import import_keras
from initcheck.checking.load_model import adopt_model, load_model
from initcheck.core.errors import InitcheckError, ModelError, UsageError
from initcheck.probe import RedrawPlan
from initcheck.probe.paths import PathNamer

CODE = """
from __future__ import annotations
import dataclasses
import sys
import keras

import beside
print("loaded")


@dataclasses.dataclass
class Settings:
    units: int = 3


def build(units=3, *, activation="relu"):
    print("building")
    import lazily
    keras.utils.set_random_seed(5)
    return keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(units, activation, kernel_initializer="he_normal", name="first")]
    )


class Scaled(keras.layers.Layer):
    def build(self, shape):
        self.scale = self.add_weight(shape=(shape[-1],), initializer=keras.initializers.Constant(0.25), name="scale")

    def call(self, inputs):
        return inputs * self.scale


class Own(keras.Model):
    def __init__(self, units=2):
        super().__init__()
        self.layer = keras.layers.Dense(units)

    def call(self, inputs):
        return self.layer(inputs)


def scaled():
    return keras.Sequential([keras.Input((4,)), Scaled(name="scaled")])


def needs(units, depth):
    return build(units)


def positional(units, /):
    return build(units)


def failing():
    raise ValueError("first line\\nsecond line")


def leaving():
    sys.exit(3)


class Worst(BaseException):
    pass


def worst():
    raise Worst("of all")


def stopping():
    raise KeyboardInterrupt


def nothing():
    build()


def pair():
    return build(), 3


def layer():
    return keras.layers.Dense(3)


def number():
    return 5


ready = build()
three = 3
group = Settings
"""

FILES = {
    "own_models.py": CODE,
    "beside.py": "value = 1\n",
    "lazily.py": "value = 2\n",
    "syntax.py": "def f(:\n",
    "lacking.py": "import no_such_module_at_all\n",
    "leaving.py": "raise SystemExit\n",
    "stopped.py": "raise KeyboardInterrupt\n",
    "my models/my net.py": CODE.replace("import beside\n", "").replace("    import lazily\n", ""),
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    for name in ("own_models", "beside", "lazily"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "reference",
    [
        *(f"own_models{ending}:{name}" for ending in ("", ".py") for name in ("build", "ready")),
        "my models/my net.py:build",
    ],
)
def test_a_reference_to_code_gives_its_model(reference, folder, capsys):
    loaded = load_model(reference)
    assert loaded.label == reference
    assert [tuple(weight.shape) for weight in loaded.model.weights] == [(4, 3), (3,)]
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "building" in captured.err


def test_an_absolute_path_is_taken_from_anywhere(folder, monkeypatch, tmp_path_factory):
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    assert load_model(f"{folder / 'own_models.py'}:build").model.count_params() == 15


def test_arguments_reach_the_factory(folder):
    loaded = load_model("own_models.py:build", {"units": 7, "activation": "tanh"})
    assert loaded.model.get_layer("first").units == 7
    assert loaded.model.get_layer("first").activation.__name__ == "tanh"


def test_a_class_of_the_users_own_may_come_unbuilt(folder):
    loaded = load_model("own_models.py:Own", {"units": 5})
    assert not loaded.model.built
    assert loaded.initializers is None


@pytest.mark.parametrize("reference", ["own_models.py:build", "own_models.py:ready"])
def test_the_initializers_are_recorded_by_path_while_code_makes_the_model(reference, folder):
    loaded = load_model(reference)
    assert set(loaded.initializers) == {"first/kernel", "first/bias"}
    assert type(loaded.initializers["first/kernel"]).__name__ == "HeNormal"
    assert RedrawPlan(loaded.model, loaded.initializers).kept == {}


def test_an_initializer_that_no_attribute_names_is_known_by_the_recording_alone(folder):
    loaded = load_model("own_models.py:scaled")
    assert loaded.initializers["scaled/scale"].value == 0.25
    plan = RedrawPlan(loaded.model, loaded.initializers)
    np.testing.assert_array_equal(np.asarray(plan.sample([0])[0])[0], np.full(4, 0.25, np.float32))
    # The negative control: the layer itself says nothing of it.
    assert not hasattr(loaded.model.layers[0], "scale_initializer")


def test_a_module_imported_before_was_not_watched(folder):
    assert load_model("own_models:ready").initializers is not None
    again = load_model("own_models:ready")
    assert again.initializers is None
    assert RedrawPlan(again.model, again.initializers).kept == {}


def test_global_random_states_are_left_as_they_were(folder):
    random.seed(1)
    np.random.seed(1)
    before = random.getstate(), np.random.get_state()[1].tolist()
    load_model("own_models.py:build")
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before


def test_an_application_is_made_without_pretrained_weights():
    loaded = load_model("applications:MobileNetV3Small", {"input_shape": (32, 32, 3), "classes": 7, "alpha": 0.35})
    assert loaded.model.output_shape == (None, 7)
    assert set(loaded.initializers) == set(PathNamer(loaded.model).variable_paths().values())


@pytest.mark.parametrize(
    ("reference", "arguments", "words"),
    [
        ("applications:resnet50v2", {}, "Did you mean ResNet50V2"),
        ("applications:NoSuchThing", {}, "Known: "),
        ("applications:imagenet_utils", {}, "Unknown application"),
        ("applications:VGG16", {"weights": "imagenet"}, "weights='imagenet'"),
        ("applications:VGG16", {"sizes": 3}, "no argument 'sizes'"),
        ("VGG16", {}, "applications:VGG16"),
        ("", {}, "package.module:factory"),
        ("own_models", {}, "package.module:factory"),
        (":build", {}, "package.module:factory"),
        ("own_models.py:", {}, "package.module:factory"),
        ("own_models.py", {}, "own_models.py:FACTORY"),
        ("old.h5", {}, "before Keras 3"),
        ("missing.py:build", {}, "no file 'missing.py'"),
        ("no_such_module_at_all:build", {}, "no module 'no_such_module_at_all'"),
        ("no_such.module.at_all:build", {}, "no module"),
        ("own models:build", {}, "no module"),
        ("own_models.py:biuld", {}, "Did you mean build"),
        ("own_models.py:Settings.x", {}, "Unknown factory"),
        ("own_models.py:three", {}, "neither a model nor a factory"),
        ("own_models.py:needs", {}, "needs arguments: units, depth"),
        ("own_models.py:needs", {"depth": 3}, "needs arguments: units. "),
        ("own_models.py:positional", {}, "needs arguments: units"),
        ("own_models.py:build", {"size": 3}, "no argument 'size'. It takes units, activation"),
        ("own_models.py:ready", {"size": 3}, "model already"),
        ("absent.keras", {"size": 3}, "takes no arguments"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_wrong_usage_is_refused_in_one_line(reference, arguments, words):
    assert words in expect_message(UsageError, lambda: load_model(reference, arguments))


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("own_models.py:failing", "ValueError: first line second line (own_models.py, line "),
        ("own_models.py:leaving", "SystemExit: 3"),
        ("own_models.py:worst", "Worst: of all"),
        ("own_models.py:nothing", "Received: NoneType. Does the factory lack its return?"),
        ("own_models.py:pair", "Received: tuple of Sequential, int. Return the model alone."),
        ("own_models.py:layer", "Received: Dense. Wrap the layer"),
        ("own_models.py:number", "Received: int"),
        ("own_models.py:Settings", "Received: Settings"),
        ("syntax.py:f", "SyntaxError"),
        ("lacking.py:f", "No module named 'no_such_module_at_all'"),
        ("lacking:f", "No module named 'no_such_module_at_all'"),
        ("leaving.py:f", "SystemExit (leaving.py, line 1)"),
        ("leaving:f", "SystemExit"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_code_that_gives_no_model_is_refused_in_one_line(reference, words):
    assert words in expect_message(ModelError, lambda: load_model(reference, None))


@pytest.mark.parametrize("reference", ["own_models.py:stopping", "stopped.py:f"])
def test_stopping_by_the_keyboard_passes_through(reference, folder):
    with pytest.raises(KeyboardInterrupt):
        load_model(reference)


# --- objects ----------------------------------------------------------------------------------------------------------


def test_an_object_is_taken_as_it_is():
    keras = import_keras()
    model = keras.Sequential([keras.layers.Dense(3)], name="mine")
    loaded = adopt_model(model)
    assert loaded.model is model and loaded.label == "mine" and loaded.initializers is None


def test_a_factory_that_is_given_as_an_object_is_called():
    keras = import_keras()

    def build_net():
        return keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="first")])

    loaded = adopt_model(build_net)
    assert loaded.label.endswith("build_net")
    assert set(loaded.initializers) == {"first/kernel", "first/bias"}


def test_a_model_without_a_call_is_refused_and_its_parts_are_named():
    keras = import_keras()

    class Adversarial(keras.Model):
        def __init__(self):
            super().__init__()
            self.generator = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4)], name="generator")
            self.critic = keras.layers.Dense(1, name="critic")

    class Whole(Adversarial):
        def call(self, inputs):
            return self.critic(self.generator(inputs))

    with pytest.raises(ModelError, match=r"has no call\(\).* \(Here: generator, critic\.\)"):
        adopt_model(Adversarial())
    assert adopt_model(Whole()).label == "whole"


@pytest.mark.parametrize("thing", [None, 3, "VGG16", [1, 2], object(), lambda units: None])
def test_an_object_that_is_no_model_is_refused(thing):
    with pytest.raises(InitcheckError, match=r"^[^\n]*$"):
        adopt_model(thing)


def test_a_bare_layer_is_refused_with_the_fix():
    with pytest.raises(ModelError, match=r"Received: Dense\. Wrap the layer: keras\.Sequential"):
        adopt_model(import_keras().layers.Dense(3))
