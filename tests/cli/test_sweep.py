"""``initcheck sweep`` as a user meets it: files, figures, errors in one line, exit codes."""

from __future__ import annotations

import json
import re

import numpy as np
import pandas as pd
import pytest

from initcheck.cli import main
from initcheck.core.columns import MEASUREMENT_COLUMNS, SUMMARY_COLUMNS
from initcheck.sweeping.report import choose_axes
from initcheck.sweeping.store import SweepStore

SPEC = """
[grid]
network = "mlp"
initializer = ["HeNormal", "GlorotUniform", "Zeros"]
activation = ["relu", "tanh"]
depth = [2, 3]
width = 8
batch_size = 16
seeds = 3

[[cell]]
network = "conv"
initializer = "Identity"
activation = "relu"
depth = 1
width = 2
seeds = 2
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "spec.toml").write_text(SPEC, encoding="utf-8")
    return tmp_path


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    (folder / "spec.toml").write_text(SPEC, encoding="utf-8")
    assert main(["sweep", str(folder / "spec.toml"), "--out", str(folder / "sweep"), "--quiet"]) == 0
    return folder


def test_it_writes_pages_and_the_summary(finished):
    names = {path.name for path in (finished / "sweep").iterdir()}
    assert {"sweep.html", "sweep.md", "summary.csv", "summary.parquet", "cells.sqlite"} <= names
    table, parquet = (
        pd.read_csv(finished / "sweep" / "summary.csv"),
        pd.read_parquet(finished / "sweep/summary.parquet"),
    )
    assert len(table) == len(parquet) == 12
    assert set(parquet.columns) == {column.name for column in SUMMARY_COLUMNS} | {"dtype"}
    page = (finished / "sweep" / "sweep.md").read_text(encoding="utf-8")
    assert "12 cells of 13 measured, 1 cannot be measured." in page
    assert "can only be used for 2D matrices" in page


def test_every_gain_on_the_page_is_that_of_the_summary(finished):
    page = (finished / "sweep" / "sweep.md").read_text(encoding="utf-8")
    summary = pd.read_parquet(finished / "sweep" / "summary.parquet").set_index(["activation", "initializer", "depth"])
    checked = 0
    for activation in ("relu", "tanh"):
        part = page[page.index(f"<summary>{activation}: kept in") :]
        for direction in ("forward", "backward"):
            table = part[part.index(f"{direction.capitalize()}, by hidden layers.") :].splitlines()[2:7]
            assert table[0] == "| Initializer | 2 | 3 |"
            for line in table[2:]:
                name, *cells = (cell.strip() for cell in line.strip()[1:-1].split("|"))
                for depth, cell in zip((2, 3), cells, strict=True):
                    row = summary.loc[(activation, name.strip("`"), depth)]
                    text, _, note = cell.partition("<br>")
                    checked += 1
                    if name == "`Zeros`":
                        assert text == "dead"
                        continue
                    gain = np.exp(row[f"{direction}_log_gain_deep_half"])
                    assert float(text.strip("*")) == pytest.approx(gain, abs=0.0051)
                    assert text.startswith("**") == (row[f"{direction}_verdict"] == "preserves")
                    score = row[f"{direction}_gain_z"]
                    assert note == f"z {score:+.1f}".replace("-", "−")
    assert checked == 24


def test_the_answer_says_what_is_kept_and_counts_measurements(finished):
    page = (finished / "sweep" / "sweep.md").read_text(encoding="utf-8")
    summary = pd.read_parquet(finished / "sweep" / "summary.parquet")
    kept = (summary["verdict"] == "preserves in both directions").sum()
    assert f"- measurements keep the signal in both directions: {kept} of 12" in page
    assert "- cells could not be measured: 1" in page
    answer = page[: page.index("- [")]
    for activation in ("relu", "tanh"):
        assert activation in answer.split("**")[1]


def test_every_count_of_the_page_is_that_of_the_summary(finished):
    page = (finished / "sweep" / "sweep.md").read_text(encoding="utf-8")
    summary = pd.read_parquet(finished / "sweep" / "summary.parquet")
    lines = [[cell.strip() for cell in line.strip()[1:-1].split("|")] for line in page.splitlines() if line[:1] == "|"]
    (head,) = (line for line in lines if line[:2] == ["Initializer", "Both kept"])
    rows = {line[0].strip("`"): dict(zip(head[1:], line[1:], strict=True)) for line in lines if len(line) == len(head)}
    counted = 0
    for name, part in summary.groupby("initializer"):
        found = {key: int(value or 0) for key, value in rows[name].items()}
        assert found.pop("Both kept") == (part["verdict"] == "preserves in both directions").sum()
        for key, number in found.items():
            direction, _, verdict = key.partition(" ")
            assert number == (part[f"{direction}_verdict"] == verdict).sum()
            counted += number
    assert counted == 2 * len(summary)  # no verdict without a column

    for direction in ("forward", "backward"):
        scores = summary[f"{direction}_gain_z"].dropna()
        found = re.search(rf"{direction}: (\d+) measurements with a score; (\d+) beyond ±2 .*?, (\d+) beyond ±3", page)
        assert [int(number) for number in found.groups()] == [
            len(scores),
            (scores.abs() > 2.0).sum(),
            (scores.abs() > 3.0).sum(),
        ]


def test_a_second_run_measures_nothing_and_draws_other_axes(finished, run):
    before = (finished / "sweep" / "summary.csv").read_bytes()
    arguments = (finished / "spec.toml", "--out", finished / "sweep")
    code, out, _ = run("sweep", *arguments, "--x", "activation", "--y", "depth", "--json")
    document = json.loads(out)
    assert code == 0
    assert (document["cells"], document["skipped"], document["measured"]) == (13, 13, 12)
    assert document["refused"][0]["initializer"] == "Identity"
    assert len(document["summary"]) == 12
    assert (finished / "sweep" / "summary.csv").read_bytes() == before
    assert "Gains by depth and activation" in (finished / "sweep" / "sweep.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_the_table_of_all_layers_is_exported(finished, tmp_path, run, ending):
    path = tmp_path / f"layers.{ending}"
    code, _, err = run("sweep", finished / "spec.toml", "--out", finished / "sweep", "--export", path)
    rows = 6 * 3 * (4 + 5)  # pairs x seeds x (input, hidden layers, head), at depths 2 and 3
    assert code == 0
    assert f"{rows:,} rows" in err
    table = pd.read_csv(path) if ending == "csv" else pd.read_parquet(path)
    names = [column.name for column in MEASUREMENT_COLUMNS]
    assert list(table.columns) == [*names[:7], "dtype", *names[7:]]
    assert len(table) == rows


def test_a_dry_run_measures_and_writes_nothing(folder, run):
    code, out, _ = run("sweep", "spec.toml", "--dry-run")
    assert code == 0
    assert "13 cells, 13 to measure, on 5 traced graphs." in out
    assert re.search(r"Time: about .* in 1 process", out)
    assert re.search(r"Memory: about [\d.]+ GiB", out)
    assert [path.name for path in folder.iterdir()] == ["spec.toml"]


def test_a_dry_run_goes_by_what_is_finished(finished, run):
    code, out, _ = run("sweep", finished / "spec.toml", "--out", finished / "sweep", "--dry-run", "--json")
    forecast = json.loads(out)
    assert code == 0
    assert (forecast["cells"], forecast["left"], forecast["observed"], forecast["seconds"]) == (13, 0, 12, 0)


REFUSED = {
    "unknown key": (SPEC.replace("depth = [2, 3]", "depths = [2, 3]"), (), r"spec\.toml:6: Unknown key 'depths'"),
    "empty axis": (SPEC.replace("[2, 3]", "[]"), (), r"spec\.toml:6: depth is empty"),
    "negative depth": (SPEC.replace("[2, 3]", "[2, -3]"), (), r"spec\.toml:6: depth must be .* Received: -3"),
    "no scheduler": (SPEC, ("--engine", "dask"), "needs the address of a scheduler"),
    "a scheduler for nothing": (SPEC, ("--scheduler", "tcp://127.0.0.1:1"), "belongs to --engine dask"),
    "workers for nothing": (SPEC, ("--workers", "2"), "belongs to --engine local"),
    "unknown axis": (SPEC, ("--x", "dept"), "Unknown axis 'dept'. Did you mean depth"),
    "one axis twice": (SPEC, ("--x", "depth", "--y", "depth"), "two different axes"),
    "nothing to export": (SPEC, ("--export", "x.csv"), "There is no store"),
}


@pytest.mark.parametrize(("spec", "options", "message"), REFUSED.values(), ids=REFUSED)
def test_bad_input_is_one_line_with_exit_code_2_and_leaves_nothing(folder, refused, spec, options, message):
    (folder / "spec.toml").write_text(spec, encoding="utf-8")
    assert re.search(message, refused("sweep", "spec.toml", *options))
    assert [path.name for path in folder.iterdir()] == ["spec.toml"]


def test_another_ending_is_not_exported(finished, tmp_path, refused):
    words = (finished / "spec.toml", "--out", finished / "sweep", "--export", tmp_path / "x.xlsx")
    assert "ends in .parquet or .csv" in refused("sweep", *words)
    assert list(tmp_path.iterdir()) == []


def test_too_many_maps_are_refused_with_the_way_out(finished):
    summary = pd.read_parquet(finished / "sweep" / "summary.parquet")
    many = pd.concat([summary.assign(width=width) for width in range(40)])
    with pytest.raises(ValueError, match="Choose the axes with the most values"):
        choose_axes(many, "depth", "initializer")
    plan = choose_axes(many, None, "width")
    assert (plan.x, plan.y, plan.facets) == ("depth", "width", ("initializer", "activation"))


def test_interrupted_it_keeps_what_is_finished(folder, interrupt_after, run):
    interrupt_after(SweepStore, "record", 3)
    code, out, err = run("sweep", "spec.toml", "--quiet")
    assert (code, out, err) == (130, "", "initcheck: error: Interrupted.\n")
    with SweepStore(folder / "sweep" / "cells.sqlite", readonly=True) as reader:
        assert sum(reader.count().values()) == 3
    assert not (folder / "sweep" / "sweep.html").exists()
