"""``initcheck.check`` and the assertions: green for what is right, red with the reason for what is not."""

from __future__ import annotations

import re

import pytest

from initcheck.pytest_plugin.settings import spell_options


def test_a_healthy_model_passes_and_the_report_is_returned(project):
    project.passes("report = initcheck.check(build(3), seeds=6)", "assert report.verdict == 'healthy'", "print(report)")


def test_a_model_that_is_made_too_small_fails_with_the_report_and_what_reproduces_it(project, monkeypatch):
    monkeypatch.setenv("GAIN", "0.01")
    text = project.fails("initcheck.check(build, ignore='IC2')")
    assert re.search(r"^IC101 the kernels of .* are drawn .* times too small$", text, re.MULTILINE)
    assert re.search(r"^1  the kernels of .* are drawn .* times too small  models.py:\d+  IC101$", text, re.MULTILINE)
    assert "   IC101  the signal falls to 1/" in text
    assert "4 draws (seeds 0 to 3)" in text
    assert "   fix    " not in text
    assert "IC201" not in text.partition("Left out on request:")[0]
    assert "\nReproduce: pytest 'test_models.py::test_it'\n" in text
    text = project.fails("initcheck.check('models.py:build', ignore=['IC2'], seeds=3, fixes=True)")
    assert "   fix    " in text
    assert "\nReproduce: pytest 'test_models.py::test_it'\n" in text


def test_findings_may_be_ignored_or_waived(project):
    project.passes("initcheck.check(twins, waive=['hidden_*'])", "initcheck.check(twins, select='IC4')")


def test_the_call_wins_over_the_marker_the_marker_over_pytest_and_that_over_the_project(project):
    project.write("pyproject.toml", "[tool.initcheck]\nseeds = 5\nignore = ['IC301']\n")
    lines = [
        "assert len(initcheck.check(twins, seeds=2).result.seeds) == 2",
        "assert len(initcheck.check(twins).result.seeds) == SEEDS",
    ]
    project.passes(*lines, marker="SEEDS = 3\n\n@pytest.mark.initcheck(seeds=3)")
    project.passes(lines[1], marker="SEEDS = 4")
    project.write("pytest.ini", "[pytest]\npythonpath = .\n")
    project.passes(lines[1], marker="SEEDS = 5")


def test_an_orthogonal_stack_preserves_and_a_gain_does_not(project):
    project.passes("initcheck.assert_preserves(orthogonal())")
    text = project.fails("initcheck.assert_preserves(orthogonal(1.2), 'forward')")
    printed = "does not preserve the signal forward: a factor of 1.44 [1.44, 1.44] a layer in squares, over 3 layers"
    assert f"{printed} between the input of hidden_0 and hidden_2 (90% interval, 4 seeds)" in text
    assert "backward" not in text
    text = project.fails("initcheck.assert_preserves(build(4), 'forward', 0.01)")
    assert "undecided whether the signal is preserved forward" in text
    assert " seeds would decide" in text
    assert "Unknown direction 'sideways'. Known: backward, both, forward." in project.fails(
        "initcheck.assert_preserves(build, 'sideways')"
    )


def test_one_initializer_in_two_layers_is_not_independent(project):
    project.passes("initcheck.assert_independent_weights(build())")
    assert "IC301 identical-weights: hidden_0/kernel and hidden_1/kernel hold the same numbers" in project.fails(
        "initcheck.assert_independent_weights(twins())"
    )


def test_equal_units_are_not_independent(project):
    text = project.fails(
        "hidden = keras.layers.Dense(16, 'tanh', kernel_initializer='ones')",
        "head = keras.layers.Dense(3, kernel_initializer='ones')",
        "model = keras.Sequential([keras.Input((16,)), hidden, head])",
        "initcheck.assert_independent_weights(model)",
    )
    assert "IC302 symmetric-units" in text


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("np.full((16, 16), np.nan)", "hidden_0/kernel: it holds values that are not finite."),
        ("np.sign(np.random.default_rng(0).normal(size=(16, 16)))", "have 2 different values, too few to show"),
    ],
    ids=["not finite", "signs"],
)
def test_weights_that_cannot_be_compared_are_no_pass(project, value, words):
    lines = ["import numpy as np", "model = build()", f"model.layers[0].kernel.assign({value})"]
    assert words in project.fails(*lines, "initcheck.assert_independent_weights(model)")
    project.passes(*lines, "initcheck.assert_independent_weights(model, waive='hidden_0')")


def test_the_bias_of_an_lstm_is_no_obstacle(project):
    project.passes(
        "model = keras.Sequential([keras.Input((3, 8)), keras.layers.LSTM(8)])",
        "initcheck.assert_independent_weights(model)",
    )


def test_a_claim_holds_and_one_run_context_serves_the_session(project):
    claim = "layer_defaults.dense.kernel_initializer"
    project.write(
        "test_claims.py",
        "import pytest\nfrom initcheck.spec.claim import RunContext\n\nOPENED = []\n"
        "first = RunContext.__init__\n"
        "def opened(self, seed=0):\n    OPENED.append(seed)\n    first(self, seed)\n\n"
        "@pytest.mark.parametrize('again', [0, 1])\n"
        "def test_it(initcheck, monkeypatch, again):\n"
        "    monkeypatch.setattr(RunContext, '__init__', opened)\n"
        f"    initcheck.assert_claim({claim!r})\n"
        "    assert len(OPENED) == 1\n",
    )
    printed = project.run().stdout.str()
    assert "2 passed" in printed, printed
    assert re.search(rf"test_claims.py::test_it\[0\] \({re.escape(claim)}\) +holds", printed)


def test_a_claim_that_is_broken_fails_and_an_unknown_one_is_named(project):
    project.write(
        "test_models.py",
        "import pytest\nfrom initcheck.spec import catalogue\nfrom fake_specification import make_claim\n"
        "from initcheck.spec.versions import KerasVersions\n\n"
        "def test_broken(initcheck, monkeypatch):\n"
        "    monkeypatch.setattr(catalogue, 'find_claim', lambda name: make_claim(name, 0.0))\n"
        "    initcheck.assert_claim('second.red.broken')\n\n"
        "def test_of_another_version(initcheck, monkeypatch):\n"
        "    later = make_claim('second.later.holds', 1.0, keras=KerasVersions(since='99.0'))\n"
        "    monkeypatch.setattr(catalogue, 'find_claim', lambda name: later)\n"
        "    initcheck.assert_claim('second.later.holds')\n\n"
        "def test_unknown(initcheck):\n"
        "    initcheck.assert_claim('distribution.he_normal.varance')\n",
    )
    text = project.failure()
    assert "second.red.broken is broken: The value is 0.0; the seed was " in text
    assert "Reproduce: initcheck spec -k second.red.broken" in text
    assert "Unknown claim 'distribution.he_normal.varance'. Did you mean distribution.he_normal.variance" in text
    assert "second.later.holds is not there: It is about Keras 99.0 and newer; " in text
    assert "3 failed" in text


@pytest.mark.parametrize(
    ("marker", "words"),
    [
        ("sees=3", "Unknown keyword of @pytest.mark.initcheck 'sees'. Did you mean seeds or select?"),
        ("3", "@pytest.mark.initcheck takes keywords only, such as seeds=8. Received: 3."),
        ("seeds='many'", "seeds must be a whole number. Received: 'many'."),
    ],
)
def test_a_marker_that_nobody_understands_is_refused_even_where_nothing_is_measured(project, marker, words):
    project.test("pass", marker=f"@pytest.mark.initcheck({marker})")
    result = project.run()
    result.assert_outcomes(errors=1)
    assert words in result.stdout.str()
    assert "Traceback" not in result.stdout.str()


SPELLED = {
    "Give --input-shape (for example --input-shape 224,224,3), or a batch.": (
        'Give input_shapes (for example input_shapes="224,224,3"), or a batch.',
        'Give input_shapes (for example input_shapes=["224,224,3"]), or a batch.',
    ),
    "Lower --batch-size.": ("Lower batch_size.", "Lower batch-size in [tool.initcheck]."),
    "record it with --seeds 36, then": (
        "record it with seeds=36, then",
        "record it with seeds = 36 in [tool.initcheck], then",
    ),
    "by name: --waive LAYER.": ('by name: waive="LAYER".', 'by name: waive = ["LAYER"] in [tool.initcheck].'),
    "accept it: --allow-inconclusive.": (
        "accept it: allow_inconclusive=True.",
        "accept it: allow-inconclusive = true in [tool.initcheck].",
    ),
    "pytest 'test_a.py::test_b[--seeds 3]' --initcheck-update": (
        "pytest 'test_a.py::test_b[--seeds 3]' --initcheck-update",
    )
    * 2,
}


@pytest.mark.parametrize("text", SPELLED)
def test_options_are_those_of_a_test_or_of_the_settings(text):
    assert (spell_options(text), spell_options(text, in_settings=True)) == SPELLED[text]


def test_no_advice_of_a_test_is_an_option_of_the_command_line(project):
    project.write("sized.py", "import keras\n\n\ndef build(width):\n    return keras.Sequential()\n")
    advice = "Give them by name (a function that calls it with width=VALUE), or name a factory"
    assert f"\n'sized.py:build' needs arguments: width. {advice}" in project.fails("initcheck.check('sized.py:build')")
    text = project.fails("initcheck.check(build, input_shapes='wide')")
    assert "\ninput_shapes takes the shape of one sample" in text and "--input" not in text
