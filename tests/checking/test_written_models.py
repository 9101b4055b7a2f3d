"""Fixes written into models of many styles: what changes is what has to, and the model then draws as it should."""

from __future__ import annotations

import ast
import subprocess
from pathlib import Path

import numpy as np
import pytest
from tape import to_array
from written_models import INPUTS, MODELS

from initcheck.audit.findings import Edit
from initcheck.checking.load_model import load_model
from initcheck.checking.rewrite import write_edits, write_files
from initcheck.probe.places import find_defaults

WRITABLE = [name for name, each in MODELS.items() if each.added]


def find_small(model):
    """Find the layers that draw their kernels by ``RandomNormal``."""
    return [
        layer
        for layer in model._flatten_layers()
        if type(getattr(layer, "kernel_initializer", None)).__name__ == "RandomNormal"
    ]


def find_call(loaded, made):
    """Find how the user's code made a layer, or the one that made it for itself."""
    found = loaded.constructions[id(made)]
    return found if found.maker is None else find_call(loaded, found.maker)


def make_edits(loaded, new):
    """Make the edits for these layers, as they follow from how the layers were made."""
    callers = {key: find_call(loaded, each.made) for key, each in loaded.constructions.items()}
    members = list(loaded.model._flatten_layers())
    small = {id(callers[id(layer)].made) for layer in find_small(loaded.model)}
    made = list({id(callers[id(each)].made): callers[id(each)] for each in members if id(each) in callers}.values())
    edits = []
    for each in made:
        if id(each.made) in small:
            others = [other.made.name for other in made if other.site == each.site and id(other.made) not in small]
            place = list(find_defaults(type(each.made))[0]).index("kernel_initializer")
            given = "kernel_initializer" in each.given
            edits.append(Edit(each.made.name, "kernel_initializer", "", new, each.site, place, given, tuple(others)))
    return edits


def write_model(code, folder, monkeypatch):
    """Write a model's code into a folder, and work there."""
    if "tensorflow" in code:
        pytest.importorskip("tensorflow", reason="the model is written with TensorFlow's Keras")
    (folder / "models.py").write_text(code, encoding="utf-8")
    monkeypatch.chdir(folder)


@pytest.fixture
def written(tmp_path, monkeypatch, request):
    write_model(MODELS[request.param].code, tmp_path, monkeypatch)
    return request.param


@pytest.mark.parametrize("written", WRITABLE, indirect=True)
@pytest.mark.parametrize("new", ['"he_normal"', "keras.initializers.HeNormal()"])
def test_the_model_draws_by_what_was_written_and_no_more_lines_have_changed(written, new):
    loaded = load_model("models.py:build")
    edits = make_edits(loaded, new)
    result = write_edits(edits, Path.cwd())
    assert edits and not result.unwritten, result.unwritten
    ast.parse(result.files[0].new)
    changed = [line[:1] for line in result.diff.splitlines()[2:]]
    imported = result.files[0].new.count(b"import keras\n") - result.files[0].old.count(b"import keras\n")
    assert (changed.count(b"-"), changed.count(b"+") - imported) == (MODELS[written].removed, MODELS[written].added)
    done = subprocess.run(["git", "apply", "--check", "-"], input=result.diff, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    write_files(result.files)
    again = load_model("models.py:build").model
    assert not find_small(again)
    kinds = [type(layer) for layer in again._flatten_layers()]
    assert [kind.__name__ for kind in kinds] == [type(layer).__name__ for layer in loaded.model._flatten_layers()]


@pytest.mark.parametrize("written", [name for name in MODELS if name not in WRITABLE], indirect=True)
def test_what_would_be_a_guess_is_not_written_and_the_reason_is_given(written):
    result = write_edits(make_edits(load_model("models.py:build"), '"he_normal"'), Path.cwd())
    assert result.files == () and MODELS[written].reason in result.unwritten[0].reason


@pytest.mark.parametrize("name", INPUTS)
def test_a_layer_behind_an_input_scales_what_all_others_receive(name, tmp_path, monkeypatch):
    write_model(INPUTS[name], tmp_path, monkeypatch)
    loaded = load_model("models.py:build")
    made = [each for each in loaded.constructions.values() if type(each.made).__name__ == "InputLayer"]
    edit = Edit("input", "", "", "keras.layers.Rescaling(1 / 255)", find_call(loaded, made[0].made).site)
    result = write_edits([edit], Path.cwd())
    assert not result.unwritten, result.unwritten
    write_files(result.files)
    again = load_model("models.py:build").model
    again.set_weights(loaded.model.get_weights())
    x = np.random.default_rng(0).random((4, 6)).astype("float32")
    np.testing.assert_allclose(to_array(again(255 * x)), to_array(loaded.model(x)), rtol=1e-5, atol=1e-6)
