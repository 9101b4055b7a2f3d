"""Names in findings are those of the user's own layers, and the places are where they were made."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import keras
import numpy as np
import pytest

import initcheck
from initcheck.checking.check import check
from initcheck.checking.gate.baseline import Baseline, Recipe, read_baseline, write_baseline
from initcheck.checking.gate.comparison import compare
from initcheck.checking.gate.gate import gate_model
from initcheck.checking.gate.report import format_gate
from initcheck.checking.load_model import load_model
from initcheck.cli import main
from initcheck.core.errors import UsageError
from initcheck.probe import Probe, RedrawPlan
from initcheck.probe.paths import PathNamer
from initcheck.probe.places import name_places

FEW = {"seeds": 4, "fixes": False, "batch_size": 8}


def find_layer(model, name):
    """Walk from the model down as a user does."""
    for part in name.split("/"):
        model = model.get_layer(part) if hasattr(model, "get_layer") else {x.name: x for x in inside(model)}[part]
    return model


def inside(layer):
    return layer._flatten_layers(include_self=False, recursive=False)


def misleading(stddev=1e-4):
    """``dense_70`` is not the seventieth Dense layer, and draws too small; all others are sound."""
    keras.layers.Dense(1)
    x = inputs = keras.Input((32,))
    x = keras.layers.Dense(32, "relu", kernel_initializer="he_normal")(x)
    x = keras.layers.Dense(32, "relu", kernel_initializer="he_normal")(x)
    small = keras.initializers.RandomNormal(stddev=stddev)
    x = keras.layers.Dense(32, "relu", kernel_initializer=small, name="dense_70")(x)
    for name in ("dense_80", "dense_40", "dense_90"):
        x = keras.layers.Dense(32, "relu", kernel_initializer="he_normal", name=name)(x)
    return keras.Model(inputs, x)


def nested(stddev=1e-4):
    """A functional model in a sequential one in a subclassed one, none of them named."""

    class Outer(keras.Model):
        def __init__(self):
            super().__init__()
            inputs = keras.Input((16,))
            small = keras.initializers.RandomNormal(stddev=stddev)
            first = keras.layers.Dense(16, kernel_initializer="lecun_normal")(inputs)
            inner = keras.Model(inputs, keras.layers.Dense(16, kernel_initializer=small)(first))
            more = [keras.layers.Dense(16, kernel_initializer="lecun_normal") for _ in range(3)]
            self.body = keras.Sequential([keras.Input((16,)), inner, *more])

        def call(self, x):
            return self.body(x)

    model = Outer()
    model(np.zeros((1, 16)))
    return model


class Twins(keras.Model):
    """Two layers of one name, which subclassed models may have."""

    def __init__(self):
        super().__init__()
        self.left = keras.layers.Dense(8, name="dense", kernel_initializer="zeros")
        self.right = keras.layers.Dense(8, name="dense")
        self.rest = [keras.layers.Dense(8, name="dense")]

    def call(self, x):
        return self.rest[0](self.left(x) + self.right(x))


def measure_small(model, layer):
    """Divide the mean square of a layer's outputs by that of its inputs, in plain Keras and float64."""
    seen = {}
    call = layer.call
    layer.call = lambda x: seen.setdefault("pair", (x, call(x)))[1]
    try:
        model(np.random.default_rng(0).normal(size=(64, *model.inputs[0].shape[1:])).astype("float32"))
    finally:
        del layer.call
    before, after = (np.mean(np.asarray(each, dtype=np.float64) ** 2) for each in seen["pair"])
    return after / before


def test_the_layer_of_a_finding_is_the_one_that_get_layer_finds():
    model = misleading()
    report = check(model, **FEW)
    names = {layer for finding in report.findings for layer in finding.named}
    assert all(find_layer(model, name) for name in names)
    first = next(each for each in report.findings if each.code == "IC101")
    assert "dense_70" in first.message
    assert measure_small(model, model.get_layer("dense_70")) < 1e-6
    assert set(report.table["layer"]) == {layer.name for layer in model.layers}
    assert set(report.result.weights["weight"]) == {
        f"{layer.name}/{weight.name}" for layer in model.layers for weight in layer.weights
    }
    assert check(misleading(0.25), **FEW).exit_code == 0


def test_nested_models_are_walked_by_slashes():
    model = nested()
    report = check(model, np.ones((8, 16), np.float32), **FEW)
    finding = next(each for each in report.findings if each.code == "IC101")
    functional = next(layer for layer in model.body.layers if isinstance(layer, keras.Model))
    assert {f"{model.body.name}/{functional.name}/{functional.layers[-1].name}"} <= set(report.table["layer"])
    for name in finding.named:
        assert isinstance(find_layer(model, name), keras.layers.Dense)


def test_inputs_bear_the_names_of_their_layers_where_get_layer_finds_them():
    left, right = keras.Input((4,)), keras.Input((4,), name="right")
    outputs = keras.layers.Dense(2, name="input")(keras.layers.Add(name="sum")([left, right]))
    both = keras.Model({"a": right, "b": left}, outputs)
    batch = {"a": np.zeros((3, 4), np.float32), "b": np.ones((3, 4), np.float32)}
    table = Probe(both, batch).measure_current().set_index("layer")
    squares = table.loc[table["kind"] == "Input", "activation_second_moment"].to_dict()
    assert squares == {"right": 0.0, left._keras_history.operation.name: 1.0}
    chain = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, name="input")])
    assert both.get_layer(left._keras_history.operation.name)
    layers = list(Probe(chain, np.ones((3, 4), np.float32)).measure_current()["layer"])
    assert layers == ["input@2", "input"]


def test_layers_of_one_name_are_distinguished_and_the_first_is_the_one_that_get_layer_finds():
    model = Twins()
    model(np.zeros((1, 8)))
    namer = PathNamer(model)
    assert [namer.name_of(each) for each in (model.left, model.right, model.rest[0])] == [
        "dense",
        "dense@right",
        "dense@2",
    ]
    assert model.get_layer("dense") is model.left
    report = check(model, np.ones((8, 8), np.float32), **FEW)
    assert {"dense", "dense@right", "dense@2"} <= set(report.table["layer"])
    assert report.table.set_index("layer").loc["dense", "weight_norm"].eq(0.0).all()
    assert len(set(report.result.weights["weight"])) == len(model.weights)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_name_that_a_number_would_make_is_no_path_of_two_layers(place):
    """Structural paths number the Dense layers: the second is dense_1, as the normalization is called here."""
    layers = [keras.layers.Dense(16, "tanh", name=name) for name in ("dense_70", "dense_80")]
    layers.insert(place, keras.layers.LayerNormalization(name="dense_1"))
    model = keras.Sequential([keras.Input((16,)), *layers, keras.layers.Dense(3, name="last")])
    paths = list(PathNamer(model).variable_paths().values())
    assert len(set(paths)) == len(paths) == 8
    report = check(model, **FEW)
    assert (report.exit_code, report.findings) == (0, ())
    assert {weight.layer for weight in report.result.facts} == {"dense_70", "dense_80", "dense_1", "last"}


class Named(keras.layers.Layer):
    """Names what it makes after itself, whose name Keras numbers."""

    def __init__(self):
        super().__init__()
        self.inner = keras.layers.Dense(8, name=f"{self.name}_inner")

    def build(self, shape):
        self.shift = self.add_weight(shape=(shape[-1],), initializer="zeros", name=f"{self.name}_shift")

    def call(self, inputs):
        return self.inner(inputs + self.shift)


@pytest.mark.parametrize("make", [Named, lambda: keras.layers.Bidirectional(keras.layers.LSTM(4))])
def test_names_that_are_made_of_numbered_names_are_no_part_of_a_path(make):
    first, second = (keras.Sequential([keras.Input((5, 8)), make(), keras.layers.Dense(2)]) for _ in range(2))
    names, others = (list(PathNamer(model).variable_names().values()) for model in (first, second))
    paths, again = (list(PathNamer(model).variable_paths().values()) for model in (first, second))
    assert names != others
    assert paths == again
    assert len(set(paths)) == len(first.weights)


def test_two_builds_in_one_process_draw_the_same_and_agree_in_the_gate(tmp_path):
    first, second = misleading(), misleading()
    assert [layer.name for layer in first.layers] != [layer.name for layer in second.layers]
    draws = [RedrawPlan(model).sample([3]) for model in (first, second)]
    assert all(np.array_equal(one, other) for one, other in zip(*draws, strict=True))
    path = tmp_path / "baseline.json"
    result = check(first, **FEW).result
    write_baseline(Baseline.from_result(result, Recipe()), path)
    report = gate_model(second, path, settings=initcheck.checking.settings.CheckSettings(**FEW))
    assert (report.comparison.verdict, report.exit_code) == ("same", 0)
    shown = {each.path for each in report.comparison.differences}
    assert {layer.name for layer in second.layers[1:]} <= shown


def test_messages_of_the_gate_bear_the_names_of_now(tmp_path):
    before = Baseline.from_result(check(misleading(0.25), **FEW).result, Recipe())
    model = misleading(0.1)
    after = Baseline.from_result(check(model, **FEW).result, Recipe())
    text = format_gate(compare(before, after), full=True)
    assert "dense_70/kernel" in text
    changed = {each.path for each in compare(before, after).of_verdict("changed")}
    assert changed and all(find_layer(model, name.removesuffix("/kernel")) for name in changed)


def test_a_layer_that_is_gone_is_not_taken_for_one_that_bears_its_name_now():
    result = check(misleading(0.25), **FEW).result
    baseline = Baseline.from_result(result, Recipe())
    *_, other, key = [each for each in baseline.sites if each in baseline.names]

    def leave_out(records):
        return {each: record for each, record in records.items() if each.partition("/")[0] != key}

    gone = replace(
        baseline,
        sites=leave_out(baseline.sites),
        layers=leave_out(baseline.layers),
        weights=leave_out(baseline.weights),
        calls=tuple(each for each in baseline.calls if each != key),
        names={**leave_out(baseline.names), other: baseline.names[key]},
    )
    structure = compare(baseline, gone).structure
    assert [(each.before, each.after) for each in structure] == [(f"{baseline.names[key]} (as recorded)", "")]


def test_a_baseline_without_names_is_read(tmp_path):
    path = tmp_path / "old.json"
    baseline = Baseline.from_result(check(misleading(0.25), **FEW).result, Recipe())
    write_baseline(baseline, path)
    document = json.loads(path.read_text())
    for name in ("names", "layers", "calls", "paths"):
        assert document.pop(name)
    document["findings"] = [[each["code"], each["layers"][0]] for each in document["findings"]]
    path.write_text(json.dumps({**document, "schema_version": 1}))
    comparison = compare(read_baseline(path), baseline)
    assert comparison.verdict == "same"
    assert "not compared: the settings and the order of layers" in format_gate(comparison)


# --- places -----------------------------------------------------------------------------------------------------------

MODELS = """
import keras


class Block(keras.layers.Layer):
    def __init__(self):
        super().__init__()
        self.inner = keras.layers.Dense(8)  # inner

    def call(self, x):
        return self.inner(x)


def build(stddev=1e-4):
    small = keras.initializers.RandomNormal(stddev=stddev)
    x = inputs = keras.Input((6, 8))
    x = Block()(x)  # block
    x = keras.layers.Dense(8, kernel_initializer=small, name="small")(x)  # small
    for name in ("one", "two", "three"):
        x = keras.layers.Dense(8, name=name)(x)
    return keras.Model(inputs, x)


def attend():
    inputs = keras.Input((6, 8))
    layer = keras.layers.MultiHeadAttention(2, 4, name="attention")  # attention
    return keras.Model(inputs, layer(inputs, inputs))
"""


@pytest.fixture
def models(tmp_path, monkeypatch):
    (tmp_path / "models.py").write_text(MODELS)
    monkeypatch.chdir(tmp_path)

    def line_of(mark):
        number = next(n for n, line in enumerate(MODELS.splitlines(), 1) if line.endswith(f"# {mark}"))
        return f"models.py:{number}"

    return line_of


def places_of(loaded):
    made = name_places(PathNamer(loaded.model), loaded.constructions)
    return {name: str(each.site) for name, each in made.items()}


def test_each_layer_knows_the_line_that_made_it(models):
    loaded = load_model("models.py:build")
    places = places_of(loaded)
    block = loaded.model.layers[1].name
    assert places["small"] == models("small")
    assert places[block] == models("block")
    assert places[f"{block}/dense"] == models("inner")
    loaded = load_model("models.py:attend")
    places = places_of(loaded)
    assert places["attention/query"] == places["attention"] == models("attention")


def test_a_file_elsewhere_is_named_without_its_folder(models, tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    loaded = load_model("../models.py:build")
    assert places_of(loaded)["small"] == models("small")


def test_the_places_reach_findings_sites_and_weights_and_the_annotations(models):
    report = check(load_model("models.py:build"), **FEW)
    lines = [int(each) for each in re.findall(r"::error file=models.py,line=(\d+),", report.to_annotations())]
    assert lines and all("keras.layers" in MODELS.splitlines()[line - 1] for line in lines)
    result = report.result
    assert result.places["small/kernel"] == models("small")
    assert {node.place for node in result.nodes if node.layer == "small"} == {models("small")}
    assert {each.place for each in result.facts if each.layer == "small"} == {models("small")}


def test_what_existed_before_has_no_place_and_the_annotation_stands_where_it_did():
    model = misleading()
    report = check(model, **FEW)
    assert report.result.places == {}
    assert "line=" not in report.to_annotations()


def test_each_layer_knows_the_call_that_made_it_and_what_was_given(models):
    loaded = load_model("models.py:build")
    small = name_places(PathNamer(loaded.model), loaded.constructions)["small"]
    line = MODELS.splitlines()[small.site.line - 1]
    call = line[small.site.column : small.site.end_column]
    assert call.startswith("keras.layers.Dense(") and call.endswith(")")
    assert {"units", "kernel_initializer", "name"} <= small.given and "bias_initializer" not in small.given
    loaded = load_model("models.py:attend")
    query = name_places(PathNamer(loaded.model), loaded.constructions)["attention/query"]
    assert type(query.made).__name__ == "MultiHeadAttention"


def test_keras_is_left_as_it_was(models):
    before = keras.Operation.__init__
    load_model("models.py:build")
    assert keras.Operation.__init__ is before


# --- patterns that fit nothing ----------------------------------------------------------------------------------------


def test_a_waiver_that_fits_nothing_is_refused_with_the_near_matches():
    with pytest.raises(UsageError, match=r"Unknown layer or weight in waive 'dense_88'\. Did you mean dense_8"):
        check(misleading(), waive=("dense_88",), **FEW)
    report = check(misleading(), waive=("dense*", "dense_80/kernel"), **FEW)
    assert (report.exit_code, bool(report.result.waived)) == (0, True)


def test_on_the_command_line_it_exits_with_2(models, capsys):
    command = ["check", "models.py:build", "--seeds", "4", "--no-fixes", "--quiet"]
    assert main([*command, "--waive", "smal"]) == 2
    assert "Did you mean small" in capsys.readouterr().err


def test_a_waiver_of_the_project_serves_several_models_and_is_reported_where_it_fits_none(models, tmp_path, capsys):
    (tmp_path / "pyproject.toml").write_text('[tool.initcheck]\nwaive = ["smal", "one"]\n')
    assert main(["check", "models.py:build", "--seeds", "4", "--no-fixes", "--arg", "stddev=0.35"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "'smal', which [tool.initcheck] waives, fits no layer or weight of this model. Did you mean small" in text
    assert "'one'" not in text


def test_the_probe_maps_names_to_paths_that_no_build_changes():
    probes = [Probe(misleading(), np.ones((4, 32), np.float32)) for _ in range(2)]
    tables = [probe.measure([0]) for probe in probes]
    assert list(tables[0]["layer"]) != list(tables[1]["layer"])
    assert set(probes[0].keys().values()) == set(probes[1].keys().values())
