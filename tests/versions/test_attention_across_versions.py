"""One model, gated under two versions of Keras: the library is blamed for what the library did, and for nothing else.

The committed baseline was recorded under Keras 3.12.0. The installed Keras is gated against it; ``tox run -e keras312``
and its like run this file under each version.
"""

from __future__ import annotations

import math

import pytest
from documentation import ROOT, check_printed, read_blocks, run_initcheck

from initcheck.backend.runtime import import_keras
from initcheck.checking.gate.baseline import SCHEMA_VERSION, read_baseline
from initcheck.checking.gate.causes import find_origin
from initcheck.checking.gate.gate import gate_model

MODEL = "examples/keras-upgrade/attention.py:build"
BASELINE = "examples/keras-upgrade/keras-3.12.0.json"


@pytest.fixture(scope="module", autouse=True)
def in_the_checkout():
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        yield


@pytest.fixture(scope="module")
def gated() -> tuple[int, str]:
    return run_initcheck(["check", MODEL, "--baseline", BASELINE])


@pytest.fixture
def older() -> None:
    if not is_older():
        pytest.skip("this is about Keras before 3.15; tox run -e keras312 or keras314")


@pytest.fixture
def newer() -> None:
    if is_older():
        pytest.skip("this is about Keras 3.15 and newer; tox run -e keras315")


def is_older() -> bool:
    return tuple(int(each) for each in import_keras().__version__.split(".")[:2]) < (3, 15)


def test_the_baseline_is_of_keras_3_12_and_of_the_newest_schema():
    assert read_baseline(ROOT / BASELINE).versions["keras"] == "3.12.0"
    assert f'"schema_version": {SCHEMA_VERSION},' in (ROOT / BASELINE).read_text(encoding="utf-8")


@pytest.mark.usefixtures("older")
def test_under_the_version_of_the_baseline_and_the_next_the_model_is_the_same(gated):
    code, out = gated
    assert code == 0, out
    assert out.startswith("Gate: same: all 31 metrics")


@pytest.mark.usefixtures("newer")
@pytest.mark.parametrize("page", ["README.md", "docs/gate.md"])
def test_under_the_next_version_the_gate_prints_what_the_pages_show(gated, page):
    code, out = gated
    assert code == 1, out
    blocks = read_blocks((ROOT / page).read_text(encoding="utf-8"))
    (command,) = [place for place, each in enumerate(blocks) if BASELINE in each.text]
    assert "changed by Keras: fan_in 128 -> 32 in query" in blocks[command + 1].text
    # The pages show a release; the nightly version has to print the same, but for its own name.
    check_printed(blocks[command + 1], out.replace(f"-> {import_keras().__version__}", "-> 3.15.1"))


@pytest.mark.usefixtures("newer")
def test_the_library_is_blamed_for_the_fans_of_attention_and_for_nothing_else():
    comparison = gate_model(MODEL, BASELINE).comparison
    assert find_origin(comparison) == "library"
    assert {each.path.rpartition("/")[0] for each in comparison.facts} == {
        f"multi_head_attention/{part}" for part in ("query", "key", "value", "attention_output")
    }
    assert {each.fact for each in comparison.facts} == {"fan_in", "fan_out", "variance"}
    assert not comparison.layers
    assert not comparison.structure
    (query,) = [each for each in comparison.differences if each.path == "multi_head_attention/query/kernel"]
    # The variance is six times what it was: that of 2 / (32 + 32) against that of 2 / (128 + 256).
    assert query.shift.value == pytest.approx(0.5 * math.log(6.0), abs=0.05)


@pytest.mark.usefixtures("newer")
def test_a_changed_model_under_another_version_is_not_laid_on_the_library_alone(tmp_path):
    """The negative control: the model has changed as well, and is told apart from what the library did."""
    changed = tmp_path / "changed.py"
    source = (ROOT / MODEL.partition(":")[0]).read_text(encoding="utf-8")
    changed.write_text(source.replace("Dense(10)", 'Dense(10, kernel_initializer="he_normal")'), encoding="utf-8")
    code, out = run_initcheck(["check", f"{changed}:build", "--baseline", BASELINE])
    text = " ".join(out.split())
    assert code == 1
    assert "the library changed, and so did the model" in text
    assert "initializer GlorotUniform -> HeNormal in kernel of dense; cause: model" in text
