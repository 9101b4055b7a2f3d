"""``initcheck check`` as a user meets it: exit codes, what goes where, and one line for what cannot be used."""

from __future__ import annotations

import json
import shlex

import numpy as np
import pytest

MODELS = """
import keras
import numpy as np


def plain(depth=4, initializer="he_normal"):
    model = keras.Sequential([keras.Input((24,))])
    for _ in range(depth):
        model.add(keras.layers.Dense(24, activation="relu", kernel_initializer=initializer))
    model.add(keras.layers.Dense(3))
    return model


def noted():
    rigid = lambda shape, dtype=None: np.random.default_rng(0).normal(0.0, 0.2, shape).astype("float32")
    first = keras.layers.Dense(24, kernel_initializer=rigid, name="rigid")
    return keras.Sequential([keras.Input((24,)), first, keras.layers.Dense(3)])


def open_shape():
    return keras.Sequential([keras.layers.Dense(3)])


def tokens():
    inputs = keras.Input((None,), dtype="int32")
    hidden = keras.layers.Embedding(50, 8)(inputs)
    return keras.Model(inputs, keras.layers.Dense(3)(keras.layers.GlobalAveragePooling1D()(hidden)))


def hostile():
    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="<script>alert(1)<|script>")])


def raising():
    raise RuntimeError("no such weights\\nsecond line")
"""


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    folder = tmp_path / "a folder"
    folder.mkdir()
    (folder / "my models.py").write_text(MODELS, encoding="utf-8")
    monkeypatch.chdir(folder)
    return folder


def test_a_healthy_model_exits_with_0_and_says_so_on_standard_output(run):
    code, out, _ = run("check", "my models.py:plain", "--seeds", "16")
    assert code == 0
    assert out.startswith("my models.py:plain: healthy: nothing found\n")


def test_a_finding_exits_with_1_and_names_layer_value_and_fix(run):
    words = ["check", "my models.py:plain", "--arg", "depth=12", "--arg", "initializer=glorot_uniform", "--seeds", "5"]
    code, out, _ = run(*words)
    text = " ".join(out.split())
    assert code == 1
    assert (
        "1 the kernels of 12 layers (dense ...) are drawn up to 1.4" in text
        and "too small my models.py:9 IC101" in text
    )
    verdict, _, command = out.splitlines()[0].partition("; ")
    assert verdict == "my models.py:plain: 1 problem"
    given = ["my models.py:plain", "--arg", "depth=12", "--arg", "initializer=glorot_uniform", "--seeds", "5"]
    assert shlex.split(command) == ["initcheck", "fix", *given, "--write", "writes", "the", "fix"]
    assert "IC101 the signal falls to 1/" in text
    assert "cause in 12 layers, at worst dense" in text and "GlorotUniform: standard deviation 0.20" in text
    assert 'fix kernel_initializer="he_normal" in 12 layers (dense to dense_11)' in text
    assert "a layer (5 fresh draws)" in text
    assert "fix " not in run(*words, "--no-fixes")[1]


def test_sarif_alone_is_on_standard_output_with_the_fix_of_the_file(run):
    words = ["my models.py:plain", "--arg", "depth=12", "--arg", "initializer=glorot_uniform", "--seeds", "5"]
    code, out, _ = run("check", *words, "--format", "sarif", "--quiet")
    (result,) = json.loads(out)["runs"][0]["results"]
    assert (code, result["ruleId"], result["level"]) == (1, "IC101", "error")
    place = result["locations"][0]["physicalLocation"]
    assert (place["artifactLocation"]["uri"], place["region"]["startLine"]) == ("my%20models.py", 9)
    ((change,),) = (each["artifactChanges"] for each in result["fixes"])
    assert [each["insertedContent"]["text"] for each in change["replacements"]] == ['"he_normal"']


def test_json_alone_is_on_standard_output(run):
    code, out, _ = run("check", "my models.py:plain", "--seeds", "16", "--json", "--quiet")
    found = json.loads(out)
    assert (code, found["schema_version"], found["verdict"], found["findings"]) == (0, 3, "healthy", [])


SICK = ["my models.py:plain", "--arg", "depth=12", "--arg", "initializer=glorot_uniform", "--seeds", "5", "--no-fixes"]


def test_a_line_a_problem_alone_is_on_standard_output(run):
    code, out, _ = run("check", *SICK, "--format", "concise")
    path, line, text = out.split(":", 2)
    assert (code, path, line, out.count("\n")) == (1, "my models.py", "9", 1)
    assert text.startswith(" IC101 the kernels of 12 layers (dense ...) are drawn up to 1.4")
    assert run("check", "my models.py:plain", "--seeds", "16", "--format", "concise")[:2] == (0, "")


def test_with_exit_zero_a_problem_is_reported_and_ends_with_0_in_every_output(run, here):
    code, out, _ = run("check", *SICK, "--exit-zero", "--json", "--quiet", "--out", "out", "--summary", "s.md")
    found = json.loads(out)
    assert (code, found["exit_code"], found["fail_on"], found["verdict"]) == (0, 0, "nothing", "findings")
    (log,) = json.loads((here / "out" / "check.sarif").read_text(encoding="utf-8"))["runs"]
    assert (log["invocations"][0]["exitCode"], log["results"][0]["level"]) == (0, "error")
    assert (here / "s.md").read_text(encoding="utf-8").startswith("### initcheck: ❌ ")


def test_what_cannot_be_used_ends_with_2_with_exit_zero_too(refused):
    assert "absent.py" in refused("check", "absent.py:build", "--exit-zero")
    assert "Leave one of them out." in refused("check", "my models.py:plain", "--exit-zero", "--fail-on", "note")


def test_a_note_fails_where_it_is_asked_for(run):
    words = ["check", "my models.py:noted", "--seeds", "16", "--format", "concise"]
    code, out, _ = run(*words)
    assert (code, out.count("\n")) == (0, 1) and out.endswith("(note)\n")
    assert run(*words, "--fail-on", "problem")[:2] == (0, out)
    assert run(*words, "--fail-on", "note")[:2] == (1, out)


def test_the_files_are_written_with_the_picture_that_the_markdown_shows(run, here):
    err = run("check", "my models.py:plain", "--seeds", "3", "--out", "out")[2]
    names = {path.name for path in (here / "out").iterdir()}
    figure = "figure-check-levels.svg"
    assert names == {"check.html", "check.md", "check.json", "check.sarif", "measurements.csv", figure}
    assert json.loads((here / "out" / "check.sarif").read_text(encoding="utf-8"))["version"] == "2.1.0"
    assert "figure-check-levels.svg" in (here / "out" / "check.md").read_text(encoding="utf-8")
    assert err.count("wrote ") == 6


def test_settings_of_the_project_count(run, here):
    (here / "pyproject.toml").write_text("[tool.initcheck]\nseeds = 3\n", encoding="utf-8")
    assert "3 draws" in run("check", "my models.py:plain")[1]
    assert "4 draws" in run("check", "my models.py:plain", "--seeds", "4")[1]


def test_whole_numbers_are_made_within_the_range_of_the_embedding(run):
    out = " ".join(run("check", "my models.py:tokens", "--seeds", "3", "--input-shape", "12")[1].split())
    assert "whole numbers from 0 to 49" in out


def test_a_saved_model_is_checked_and_a_batch_is_taken(run, here):
    names: dict = {}
    exec(MODELS, names)
    names["plain"]().save(here / "model.keras")
    np.savez(here / "batch.npz", x=np.random.default_rng(0).standard_normal((16, 24)).astype("float32"))
    code, out, _ = run("check", "model.keras", "--data", "batch.npz", "--seeds", "16")
    assert code == 0 and "16 samples" in " ".join(out.split())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["my models.py:raising"], "no such weights"),
        (["my models.py:hostile", "--quiet"], "scope name"),  # TensorFlow takes no such name
        (["my models.py:open_shape"], "--input-shape"),
        (["text.keras"], "text.keras"),
        (["my models.py:plain", "--seeds", "0"], "seeds must be at least 2"),
        (["my models.py:plain", "--data", "absent.npz"], "absent.npz"),
        (["my models.py:plain", "--data", "text.keras"], "text.keras"),
        (["my models.py:plain", "--data", "narrow.npz"], "(16, 23)"),
        (["my models.py:plain", "--data", "labelled.npz"], "compile"),
        (["my models.py:plain", "--select", "IC9"], "IC9"),
        (["my models.py:plain", "--out", "text.keras"], "text.keras"),
    ],
    ids=lambda value: " ".join(value[-3:]) if isinstance(value, list) else "",
)
def test_what_cannot_be_used_is_one_line_and_exit_code_2(words, message, refused, here):
    (here / "text.keras").write_text("no archive", encoding="utf-8")
    np.savez(here / "narrow.npz", x=np.ones((16, 23), np.float32))
    np.savez(here / "labelled.npz", x=np.ones((16, 24), np.float32), y=np.zeros(16))
    assert message in refused("check", *words)


def test_what_the_users_code_prints_is_not_in_the_json(run, here):
    (here / "loud.py").write_text(
        MODELS.replace("    model = keras", "    print('loud')\n    model = keras", 1), encoding="utf-8"
    )
    _, out, _ = run("check", "loud.py:plain", "--seeds", "3", "--json", "--quiet")
    assert json.loads(out)["model"] == "loud.py:plain"
