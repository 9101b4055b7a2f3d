"""One model, gated under two versions of Keras: the library is blamed for what the library did.

The committed baseline was recorded under Keras 3.14.1. ``tox run -e keras314,keras315`` runs this file under both.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from initcheck.backend.runtime import import_keras
from initcheck.checking.gate.baseline import read_baseline
from initcheck.cli import main

HERE = Path(__file__).parent
BASELINE = HERE / "attention-keras-3.14.1.json"
MODEL = f"{HERE / 'attention.py'}:build"


def is_older() -> bool:
    return tuple(int(each) for each in import_keras().__version__.split(".")[:2]) < (3, 15)


def run(capsys, *words):
    code = main(["check", MODEL, "--baseline", *words])
    return code, capsys.readouterr().out


def test_the_baseline_is_of_keras_3_14_1():
    assert read_baseline(BASELINE).versions["keras"] == "3.14.1"


def test_under_the_version_of_the_baseline_the_model_is_the_same(capsys):
    if not is_older():
        pytest.skip("this is about Keras 3.14; tox run -e keras314")
    code, out = run(capsys, str(BASELINE))
    assert code == 0
    assert out.startswith("Gate: same: all 31 metrics")


def test_under_the_next_version_the_fans_of_attention_are_named_and_the_library_is_blamed(capsys):
    if is_older():
        pytest.skip("this is about Keras 3.15; tox run -e keras315")
    code, out = run(capsys, str(BASELINE), "--full")
    text = " ".join(out.split())
    version = import_keras().__version__
    assert code == 1
    assert text.startswith("Gate: changed (12 of 31 metrics, 4 in what draws the weights): the library changed, not")
    assert f"keras 3.14.1 -> {version}" in text
    for role, path in (("query", "query"), ("key", "key"), ("value", "value")):
        assert (
            f"multi_head_attention/{path}/kernel ({role} kernel of EinsumDense): fan_in 512 -> 64, fan_out 512 -> 64, "
            "expected variance 0.00195 -> 0.0156; cause: Keras" in text
        )
    assert "(output kernel of EinsumDense): fan_out 512 -> 64" in text
    # The root of 8: the variance is eight times what it was.
    assert "changed: multi_head_attention/query/kernel (EinsumDense), scale of the weight x 2.83" in text


def test_a_baseline_of_the_installed_version_is_the_same_again(capsys, tmp_path):
    path = tmp_path / "now.json"
    assert main(["baseline", MODEL, "-o", str(path), "--quiet"]) == 0
    code, out = run(capsys, str(path))
    assert code == 0
    assert out.startswith("Gate: same: all 31 metrics")


def test_a_changed_model_under_another_version_is_not_laid_on_the_library_alone(capsys, tmp_path):
    """The negative control: the model has changed as well, and is told apart from what the library did."""
    if is_older():
        pytest.skip("this is about Keras 3.15; tox run -e keras315")
    source = (HERE / "attention.py").read_text(encoding="utf-8")
    changed = tmp_path / "changed.py"
    changed.write_text(source.replace("Dense(10)", 'Dense(10, kernel_initializer="he_normal")'), encoding="utf-8")
    assert main(["check", f"{changed}:build", "--baseline", str(BASELINE)]) == 1
    text = " ".join(capsys.readouterr().out.split())
    assert "the library changed, and so did the model" in text
    assert "dense/kernel (kernel of Dense): initializer GlorotUniform -> HeNormal" in text
    assert "cause: model" in text
