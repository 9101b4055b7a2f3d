"""Baselines on disk: they come back as they were, and what is damaged is refused in one line."""

from __future__ import annotations

import contextlib
import json
import random
import subprocess
import sys

import pytest
from gate_baselines import change_weight, make_baseline, shift

from initcheck.checking.gate.baseline import (
    SCHEMA_VERSION,
    Metric,
    Recipe,
    format_baseline,
    read_baseline,
    write_baseline,
)
from initcheck.core.errors import BaselineError

RECIPE = Recipe("models.py:build", None, {"depth": 3, "name": 'a "name"'}, "redraw", 8, ("x=4,4",), "batch.npz")
BASELINE = make_baseline(recipe=RECIPE, findings=(("IC101", "dense_1"), ("IC601", "")))


@pytest.fixture
def path(tmp_path):
    place = tmp_path / "a baseline.json"
    write_baseline(BASELINE, place)
    return place


def refusal(path):
    with pytest.raises(BaselineError) as caught:
        read_baseline(path)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2
    return str(caught.value)


def with_logarithms(*logs):
    return change_weight(BASELINE, "dense_1/kernel", scale=Metric(logs))


BASELINES = {
    "of four layers": BASELINE,
    "without layers": make_baseline(layers=0, seeds=[3]),
    "of one layer": make_baseline(layers=1, seeds=[3]),
    "with names like lists": make_baseline(label="[ 1,\n 2 ]", recipe=Recipe(arguments={"a": ["[  x  ]", "b,  c"]})),
    "of a weight that is zero": with_logarithms(*("zero",) * 16),
    "of a weight that is undefined": with_logarithms(*("undefined",) * 16),
    "zero but for the last seed": with_logarithms(*("zero",) * 15, 0.25),
    "zero but for the first seed": with_logarithms(0.5, *("zero",) * 15),
}


@pytest.mark.parametrize("baseline", BASELINES.values(), ids=BASELINES)
def test_a_baseline_comes_back_as_it_was(baseline, tmp_path):
    write_baseline(baseline, tmp_path / "a baseline.json")
    assert read_baseline(tmp_path / "a baseline.json") == baseline


def test_the_text_is_sorted_and_a_figure_takes_a_line_a_key(path):
    text = path.read_text(encoding="utf-8")
    document = json.loads(text)
    assert list(document) == sorted(document)
    assert list(document["sites"]) == sorted(document["sites"])
    assert text.endswith("}\n")
    logs = [line for line in text.splitlines() if '"logs"' in line]
    assert all(line.rstrip(",").endswith("]") for line in logs)
    assert json.loads(text) == json.loads(format_baseline(BASELINE))


def test_one_changed_weight_changes_the_lines_of_that_weight_only():
    before, after = format_baseline(BASELINE), format_baseline(shift(BASELINE, "dense_2/kernel", 0.1))
    changed = [pair for pair in zip(before.splitlines(), after.splitlines(), strict=True) if pair[0] != pair[1]]
    assert len(changed) == 2  # the logarithms and their mean: the spread has not moved


def test_a_missing_file_names_the_command_that_makes_it(tmp_path):
    message = refusal(tmp_path / "none.json")
    assert "initcheck baseline MODEL -o" in message


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_a_truncated_file_is_refused(path, share):
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    assert "damaged" in refusal(path)


@pytest.mark.parametrize("content", ["[]", "3", "{}", '{"format": "other"}', '{"schema_version": 1}'])
def test_a_foreign_file_is_refused(path, content):
    path.write_text(content)
    assert "is no baseline of initcheck" in refusal(path)


def test_a_newer_schema_is_refused_with_both_versions(path):
    document = json.loads(path.read_text())
    path.write_text(json.dumps({**document, "schema_version": SCHEMA_VERSION + 1, "news": 1}))
    message = refusal(path)
    assert f"schema version {SCHEMA_VERSION + 1}" in message
    assert f"reads {SCHEMA_VERSION}" in message
    assert "newer initcheck" in message


def forward_of(document):
    return document["sites"]["dense_1"]["figures"]["forward"]


DAMAGE = {
    "no variance": lambda document: document["weights"]["dense_1/kernel"].pop("variance"),
    "text for a number": lambda document: forward_of(document)["logs"].__setitem__(3, "0.1"),
    "a logarithm too few": lambda document: forward_of(document)["logs"].pop(),
    "another mean": lambda document: forward_of(document).update(mean=forward_of(document)["mean"] + 0.01),
    "an unknown metric": lambda document: document["sites"]["dense_1"]["figures"].update(sideward={"state": "zero"}),
    "a seed twice": lambda document: document["seeds"].__setitem__(1, document["seeds"][0]),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_document_is_refused(path, damage):
    document = json.loads(path.read_text())
    damage(document)
    path.write_text(json.dumps(document))
    assert "damaged" in refusal(path)


@pytest.mark.parametrize(
    ("old", "new"), [("-1.7", "NaN"), ('"seeds"', '"model"'), ("{", "\x00{"), ('"zero"', '"Zero"')]
)
def test_text_that_is_no_strict_json_of_this_form_is_refused(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    refusal(path)


def test_bytes_that_are_no_text_and_folders_are_refused(path, tmp_path):
    path.write_bytes(b"\xff\xfe" + path.read_bytes())
    assert "cannot be read" in refusal(path)
    assert "cannot be read" in refusal(tmp_path)


def test_random_damage_is_refused_or_leaves_a_baseline(path):
    """2,000 files with up to three random bytes changed: never another exception."""
    generator = random.Random(0)
    data = path.read_bytes()
    refused = 0
    for _ in range(2000):
        damaged = bytearray(data)
        for _ in range(generator.randint(1, 3)):
            damaged[generator.randrange(len(damaged))] = generator.randrange(256)
        path.write_bytes(damaged)
        with contextlib.suppress(BaselineError):
            read_baseline(path)
            continue
        refused += 1
    assert refused > 1000


def test_reading_loads_neither_keras_nor_pandas(path):
    program = (
        "import sys, pathlib; from initcheck.checking.gate.baseline import read_baseline;"
        f"read_baseline(pathlib.Path({str(path)!r}));"
        "print(sorted({'keras', 'tensorflow', 'pandas', 'scipy', 'numpy'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
