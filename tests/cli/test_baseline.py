"""``initcheck baseline`` and ``initcheck check --baseline`` as a user meets them."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from gate_baselines import make_baseline

from initcheck.backend.runtime import import_keras
from initcheck.checking.gate.baseline import format_baseline, read_baseline, write_baseline
from initcheck.cli import main

MODELS = """
import os

import keras


def plain(gain=1.0, depth=3, name="hidden", initializer=None):
    model = keras.Sequential([keras.Input((16,))])
    for layer in range(depth):
        scale = 2.0 * (gain if layer == 1 else 1.0) ** 2
        chosen = initializer or keras.initializers.VarianceScaling(scale, "fan_in")
        model.add(keras.layers.Dense(16, activation="relu", kernel_initializer=chosen, name=f"{name}_{layer}"))
    model.add(keras.layers.Dense(3))
    return model


def secret():
    # What no configuration says: the gain comes from outside.
    class Own(keras.initializers.Initializer):
        def __init__(self, seed=None):
            self.seed = seed

        def __call__(self, shape, dtype=None):
            return float(os.environ.get("GAIN", "1")) * keras.random.normal(shape, 0.0, 0.3, seed=self.seed)

        def get_config(self):
            return {"seed": self.seed}

    model = keras.Sequential([keras.Input((16,))])
    for layer in range(3):
        model.add(keras.layers.Dense(16, activation="relu", kernel_initializer=Own(), name=f"secret_{layer}"))
    model.add(keras.layers.Dense(3))
    return model


def vanishing():
    return plain(depth=12, initializer="glorot_uniform")
"""


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    folder = tmp_path / "a folder"
    folder.mkdir()
    (folder / "models.py").write_text(MODELS, encoding="utf-8")
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture(scope="module")
def baseline(tmp_path_factory):
    """The baseline of the plain model, recorded once."""
    folder = tmp_path_factory.mktemp("recorded")
    (folder / "models.py").write_text(MODELS, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(["baseline", "models.py:plain", "-o", "b.json", "--seeds", "6", "--quiet"]) == 0
    sys.modules.pop("models", None)
    return (folder / "b.json").read_bytes()


@pytest.fixture
def recorded(here, baseline):
    path = Path("b.json")
    path.write_bytes(baseline)
    return path


def test_an_unchanged_model_is_the_same_and_exits_with_0(run, recorded):
    code, out, _ = run("check", "models.py:plain", "--baseline", "b.json", "--quiet", "--format", "markdown")
    assert code == 0
    assert "Gate: same: all 20 metrics within 0.05" in out
    assert read_baseline(recorded).seeds == tuple(range(6))


def test_a_changed_gain_is_found_and_named_in_all_forms_with_the_model_as_its_cause(run, recorded):
    code, out, _ = run("check", "models.py:plain", "--arg", "gain=1.1", "--baseline", "b.json", "--out", "out")
    assert code == 1
    assert out.startswith("Gate: changed: VarianceScaling scale 2 -> 2.42 in kernel of hidden_1\n  the model changed")
    assert "3 of 20 metrics changed:" in out
    assert "- scale of the weight hidden_1/kernel x 1.10 [1.10, 1.10]" in out
    for name in ("check.html", "check.md"):
        page = Path("out", name).read_text(encoding="utf-8")
        assert "Against the baseline" in page
        assert "VarianceScaling scale 2 " in page
    assert json.loads(Path("out/check.json").read_text())["gate"]["verdict"] == "changed"


def test_a_gain_that_no_configuration_tells_is_found_by_the_figures(run, monkeypatch):
    assert main(["baseline", "models.py:secret", "-o", "s.json", "--seeds", "6", "--quiet"]) == 0
    assert main(["check", "models.py:secret", "--baseline", "s.json", "--quiet"]) == 0
    monkeypatch.setenv("GAIN", "1.3")
    code, out, _ = run("check", "models.py:secret", "--baseline", "s.json", "--json", "--quiet")
    gate = json.loads(out)["gate"]
    assert (code, gate["verdict"], gate["origin"], gate["weights"]) == (1, "changed", "model", [])
    changed = {(each["path"], each["quantity"]) for each in gate["figures"] if each["verdict"] == "changed"}
    assert ("secret_1/kernel", "scale") in changed


def test_another_name_or_another_layer_fails(run, recorded):
    code, out, _ = run("check", "models.py:plain", "--arg", "name=gate", "--baseline", "b.json")
    assert code == 1
    assert "renamed: hidden_0 -> gate_0, hidden_1 -> gate_1 and hidden_2 -> gate_2" in out
    code, out, _ = run("check", "models.py:plain", "--arg", "depth=4", "--baseline", "b.json")
    assert code == 1
    assert "changed: hidden_3 (Dense) was added" in out


def test_arguments_of_the_baseline_are_used_unless_others_are_given():
    assert main(["baseline", "models.py:plain", "--arg", "depth=2", "-o", "d.json", "--seeds", "4", "--quiet"]) == 0
    assert read_baseline(Path("d.json")).recipe.arguments == {"depth": 2}
    assert main(["check", "models.py:plain", "--baseline", "d.json", "--quiet"]) == 0
    assert main(["check", "models.py:plain", "--arg", "depth=3", "--baseline", "d.json", "--quiet"]) == 1


WITH_BATCH = ["baseline", "models.py:plain", "--data", "batch.npz", "-o", "kept/b.json", "--seeds", "4", "--quiet"]


@pytest.fixture
def batch():
    np.savez("batch.npz", x=np.random.default_rng(0).normal(size=(8, 16)).astype("float32"))


@pytest.mark.usefixtures("batch")
def test_the_batch_of_the_baseline_is_found_again_from_any_folder(run, here, monkeypatch):
    assert main(WITH_BATCH) == 0
    assert read_baseline(Path("kept/b.json")).recipe.data == "../batch.npz"
    monkeypatch.chdir(here / "kept")
    assert main(["check", "../models.py:plain", "--baseline", "b.json", "--quiet"]) == 0
    np.savez("../batch.npz", x=np.zeros((8, 16), "float32"))
    code, out, _ = run("check", "../models.py:plain", "--baseline", "b.json")
    assert code == 1
    assert "values of the batch (SHA-256)" in out or "batch:" in out


@pytest.mark.usefixtures("batch")
def test_the_batch_of_a_baseline_is_found_whichever_platform_wrote_its_path():
    assert main(WITH_BATCH) == 0
    text = Path("kept/b.json").read_text()
    assert '"../batch.npz"' in text
    Path("kept/b.json").write_text(text.replace("../batch.npz", r"..\\batch.npz"))
    assert read_baseline(Path("kept/b.json")).recipe.data == r"..\batch.npz"
    assert main(["check", "models.py:plain", "--baseline", "kept/b.json", "--quiet"]) == 0
    assert main(["baseline", "update", "kept/b.json", "--quiet"]) == 0


@pytest.mark.usefixtures("batch")
def test_a_batch_on_another_drive_is_kept_with_its_whole_path(here, monkeypatch):
    def refuse(*_):
        raise ValueError("path is on mount 'D:', start on mount 'C:'")

    monkeypatch.setattr(os.path, "relpath", refuse)
    assert main(WITH_BATCH) == 0
    assert read_baseline(Path("kept/b.json")).recipe.data == (here / "batch.npz").as_posix()
    assert main(["check", "models.py:plain", "--baseline", "kept/b.json", "--quiet"]) == 0


def test_a_first_seed_of_0_is_not_taken_for_none(run):
    words = ["baseline", "models.py:plain", "-o", "f.json", "--seeds", "4", "--first-seed", "50", "--quiet"]
    assert main(words) == 0
    for words, first in ((["--first-seed", "0"], 0), (["--first-seed", "7"], 7), ([], 50)):
        _, out, _ = run("check", "models.py:plain", "--baseline", "f.json", *words, "--json", "--quiet")
        assert json.loads(out)["seeds"] == list(range(first, first + 4)), words


def test_findings_of_the_baseline_are_known_and_do_not_fail(run):
    assert main(["check", "models.py:vanishing", "--quiet", "--no-fixes", "--seeds", "8"]) == 1
    assert main(["baseline", "models.py:vanishing", "-o", "v.json", "--seeds", "8", "--quiet"]) == 0
    code, out, _ = run("check", "models.py:vanishing", "--baseline", "v.json", "--no-fixes")
    assert code == 0
    assert re.search(r"^1  the kernels of 12 layers \(.*\) are drawn .* times too small \(known\)", out, re.MULTILINE)
    assert "   IC101  the signal falls to 1/" in out
    document = json.loads(Path("v.json").read_text())
    document["findings"] = []
    Path("v.json").write_text(json.dumps(document))
    code, out, _ = run("check", "models.py:vanishing", "--baseline", "v.json", "--no-fixes")
    assert code == 1
    assert "new finding: IC101 vanishing-activations at" in out


def test_undecided_says_how_many_seeds_would_decide_and_auto_seeds_draws_them(run, recorded):
    words = ["check", "models.py:plain", "--baseline", "b.json", "--first-seed", "50", "--margin", "0.2"]
    code, out, _ = run(*words)
    assert code == 2
    assert "If nothing has changed, about " in out
    assert main([*words, "--allow-inconclusive", "--quiet"]) == 0
    code, out, _ = run(*words, "--auto-seeds", "40", "--json", "--quiet")
    assert len(json.loads(out)["seeds"]) > 6
    assert code in (0, 2)


def test_update_renews_the_file_and_tells_what_it_accepts(run, recorded, here):
    # Of another length: within one second, Python takes a source of the same size for the one it has compiled.
    source = (here / "models.py").read_text().replace("scale = 2.0", "scale = 3.25")
    (here / "models.py").write_text(source)
    sys.modules.pop("models", None)
    assert main(["check", "models.py:plain", "--baseline", "b.json", "--quiet"]) == 1
    code, out, _ = run("baseline", "update", "b.json")
    assert code == 0
    assert "against the old one changed" in out
    assert main(["check", "models.py:plain", "--baseline", "b.json", "--quiet"]) == 0


@pytest.mark.parametrize("failure", ["the third model", "the third file"])
def test_where_the_third_of_three_fails_none_is_renewed(refused, recorded, here, monkeypatch, failure):
    for name in ("c.json", "d.json"):
        Path(name).write_text(recorded.read_text().replace("b.json", name))
    if failure == "the third model":
        Path("d.json").write_text(recorded.read_text().replace("models.py:plain", "models.py:plane"))
    else:
        replace = Path.replace

        def refuse_the_third(self, target):
            if Path(target).name == "d.json" and self.parent.name == "new":
                raise OSError(28, "No space left on device")
            return replace(self, target)

        monkeypatch.setattr(Path, "replace", refuse_the_third)
    before = {name: Path(name).read_text() for name in ("b.json", "c.json", "d.json")}
    (here / "models.py").write_text(MODELS.replace("scale = 2.0", "scale = 3.25"))
    sys.modules.pop("models", None)
    message = refused("baseline", "update", *before)
    assert ("plain" if failure == "the third model" else "No space left on device") in message
    assert {name: Path(name).read_text() for name in before} == before
    assert sorted(path.name for path in here.iterdir() if path.name.startswith(".initcheck")) == []


def test_verify_reads_all_files_and_fails_for_a_damaged_one(run, recorded):
    code, out, _ = run("baseline", "verify", "b.json")
    assert (code, out.strip()) == (0, f"b.json: models.py:plain, 6 seeds, Keras {import_keras().__version__}")
    Path("bad.json").write_text(recorded.read_text()[:-100])
    code, out, err = run("baseline", "verify", "b.json", "bad.json", "--quiet")
    assert code == 2
    assert "'bad.json' is damaged" in err
    assert len(err.strip().splitlines()) == 1


def test_annotations_are_lines_that_github_reads(run, recorded):
    words = ["check", "models.py:plain", "--arg", "gain=1.1", "--baseline", "b.json", "--format", "github", "--quiet"]
    code, out, _ = run(*words)
    (line,) = out.splitlines()
    assert code == 1
    assert line.startswith("::error file=models.py,line=")
    assert ",title=initcheck%3A VarianceScaling scale 2 -> 2.42 in" in line
    assert "%0A- scale of the weight hidden_1/kernel" in line
    code, out, _ = run("check", "models.py:plain", "--baseline", "b.json", "--format", "github", "--quiet")
    assert (code, out.startswith("::notice file=b.json,title=initcheck::models.py:plain: same")) == (0, True)
    code, out, _ = run("check", "models.py:vanishing", "--format", "github", "--quiet", "--seeds", "5", "--no-fixes")
    assert code == 1
    title, _, text = out.partition("::")[2].partition("::")
    place = r"error file=models.py,line=\d+,endLine=\d+,col=\d+,endColumn=\d+,"
    assert re.match(place + "title=initcheck%3A the kernels of .* are drawn .* times too small", title)
    assert "IC101" in title and text.startswith("cause: ") and "%0AIC101: the signal falls to 1/" in text


BAD = {
    "missing": (["check", "models.py:plain", "--baseline", "none.json"], "There is no baseline 'none.json'"),
    "folder": (["check", "models.py:plain", "--baseline", "."], "is a directory"),
    "margin alone": (["check", "models.py:plain", "--margin", "0.1"], "Give --baseline FILE too"),
    "margin 0": (["check", "models.py:plain", "--baseline", "b.json", "--margin", "0"], "margin must be above 0"),
    "margin nan": (["check", "models.py:plain", "--baseline", "b.json", "--margin", "nan"], "margin must be above 0"),
    "few seeds": (
        ["check", "models.py:plain", "--baseline", "b.json", "--auto-seeds", "3"],
        "auto_seeds must be at least the number of seeds, 6",
    ),
    "other weights": (["check", "models.py:plain", "--baseline", "b.json", "--weights", "keep"], "--weights redraw"),
    "no output": (["baseline", "models.py:plain"], "Missing option '-o'"),
    "no model": (["baseline", "-o", "c.json"], "Missing argument 'MODEL'"),
    "unknown model": (["baseline", "models.py:plane", "-o", "c.json"], "plain"),
    "set as argument": (["baseline", "models.py:plain", "--arg", "depth={1}", "-o", "c.json"], "depth={1}"),
    "update nothing": (["baseline", "update"], "Missing argument 'FILE...'"),
    "update of a test's": (["baseline", "update", "t.json"], "pytest tests/test_a.py::test_b --initcheck-update"),
    "output in a file": (["baseline", "models.py:plain", "-o", "models.py/c.json"], "Cannot write to"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_used_is_refused_in_one_line(refused, recorded, name):
    made = make_baseline()
    of_a_test = replace(made.recipe, model=None, test="tests/test_a.py::test_b")
    write_baseline(replace(made, recipe=of_a_test), Path("t.json"))
    words, message = BAD[name]
    before = recorded.read_text()
    assert message in refused(*words)
    assert not Path("c.json").exists()
    assert recorded.read_text() == before


KILLED = """
import json, os, signal, sys
from pathlib import Path

from gate_baselines import make_baseline
from initcheck.checking.gate.baseline import format_baseline, write_baseline

CALLS = [0, 0]


def deadly(original):
    def call(*args, **options):
        CALLS[0] += 1
        if CALLS[0] == CALLS[1]:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*args, **options)
    return call


path, seen = Path(sys.argv[1]), []
old, new = make_baseline(layers=6), make_baseline(layers=6, draw=1)
for number in range(1, 40):
    path.write_text(format_baseline(old))
    child = os.fork()
    if not child:
        for name in ("fsync", "open", "close", "replace", "rename", "mkdir"):
            setattr(os, name, deadly(getattr(os, name)))
        CALLS[1] = number
        write_baseline(new, path)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    seen.append((code, path.read_text()))
    if code != -signal.SIGKILL:
        break
print(json.dumps(seen))
"""


def test_a_kill_at_any_moment_leaves_the_old_baseline_or_the_new_one(tmp_path):
    """A process kills itself before its 1st, 2nd, 3rd... call of the operating system for files."""
    path = tmp_path / "b.json"
    old, new = format_baseline(make_baseline(layers=6)), format_baseline(make_baseline(layers=6, draw=1))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    result = subprocess.run(
        [sys.executable, "-c", KILLED, str(path)], env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    seen = json.loads(result.stdout)
    assert all(text in (old, new) for _, text in seen), seen
    assert seen[0] == [-signal.SIGKILL, old]
    assert seen[-1] == [0, new]
    assert sum(code == -signal.SIGKILL for code, _ in seen) >= 4
    assert read_baseline(path) == make_baseline(layers=6, draw=1)


@pytest.mark.cluster
def test_a_command_that_is_killed_while_it_writes_leaves_the_old_baseline(recorded, here):
    before = recorded.read_bytes()
    program = (
        "import os, signal, sys; from initcheck.cli import main\n"
        "os.fsync = lambda descriptor: os.kill(os.getpid(), signal.SIGKILL)\n"
        "main(['baseline', 'update', 'b.json', '--quiet'])"
    )
    environment = {**os.environ, "PYTHONPATH": str(here)}
    result = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, check=False)
    assert result.returncode == -signal.SIGKILL
    assert recorded.read_bytes() == before
    assert main(["check", "models.py:plain", "--baseline", "b.json", "--quiet"]) == 0
