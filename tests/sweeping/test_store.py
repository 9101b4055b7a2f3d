"""The store: what was recorded is there, once, whoever is looking."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import textwrap
from dataclasses import replace

import pandas as pd
import pytest
import sweep_stub as stub

from initcheck.core.columns import MEASUREMENT_COLUMNS, SUMMARY_COLUMNS
from initcheck.core.errors import StoreError
from initcheck.sweeping.spec import Cell
from initcheck.sweeping.store import VERSION, SweepStore

CELLS = stub.make_cells(4)
NOW = "2026-01-01T00:00:00+00:00"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "cells.sqlite"


def record(store, *results, versions=stub.VERSIONS):
    for result in results:
        store.record(result, versions, "", NOW)


def keys_of(cells, versions=stub.VERSIONS):
    return {cell.identity: cell.key(versions) for cell in cells}


def test_a_table_comes_back_to_the_last_bit(path):
    results = [stub.measure(cell) for cell in CELLS]
    with SweepStore(path) as store:
        record(store, *results)
        tables = list(store.read_tables([cell.identity for cell in CELLS]))
        summary = store.read_summary([cell.identity for cell in CELLS])
    for result, table in zip(results, tables, strict=True):
        assert list(table["dtype"].unique()) == ["float32"]
        pd.testing.assert_frame_equal(table.drop(columns="dtype"), result.table, check_exact=True)
        assert dict(table.drop(columns="dtype").dtypes.astype(str)) == {
            column.name: column.dtype for column in MEASUREMENT_COLUMNS
        }
    assert list(summary["forward_gain"]) == [result.summary["forward_gain"] for result in results]
    assert (summary["forward_layers_until_thousandth"] == float("inf")).all()
    assert summary["backward_gain"].isna().all()
    assert [str(summary[column.name].dtype) for column in SUMMARY_COLUMNS] == [each.dtype for each in SUMMARY_COLUMNS]


def test_a_table_that_was_measured_in_parts_can_be_kept(path):
    """The text of such a table lies in several pieces, as does that of a network too large for one chunk of seeds."""
    result = stub.measure(CELLS[0])
    table = pd.concat([result.table.assign(layer="a"), result.table.assign(layer="b")], ignore_index=True)
    parts = [part.astype({"layer": "string"}) for part in (table.iloc[:2], table.iloc[2:])]
    whole = pd.concat(parts, ignore_index=True)
    with SweepStore(path) as store:
        record(store, replace(result, table=whole))
        (found,) = store.read_tables([CELLS[0].identity])
    assert found["layer"].tolist() == ["a", "a", "b", "b"]


def test_a_cell_that_is_recorded_again_has_one_row(path):
    with SweepStore(path) as store:
        record(store, stub.measure(CELLS[0], "failed", "broke"))
        assert store.count() == {"measured": 0, "refused": 0, "failed": 1}
        record(store, stub.measure(CELLS[0]), stub.measure(CELLS[0]))
        assert store.count() == {"measured": 1, "refused": 0, "failed": 0}
        assert len(list(store.read_tables([CELLS[0].identity]))) == 1


def test_failed_cells_are_not_finished_and_refused_ones_are(path):
    with SweepStore(path) as store:
        record(store, stub.measure(CELLS[0]), stub.measure(CELLS[1], "refused", "no"), stub.measure(CELLS[2], "failed"))
        finished, stale = store.find_finished(keys_of(CELLS))
    assert finished == {CELLS[0].identity, CELLS[1].identity}
    assert stale == set()


def test_a_change_of_a_version_makes_cells_stale(path):
    newer = {**stub.VERSIONS, "keras": "3"}
    with SweepStore(path) as store:
        record(store, stub.measure(CELLS[0]))
        record(store, stub.measure(CELLS[1]), versions=newer)
        finished, stale = store.find_finished(keys_of(CELLS, newer))
        assert finished == {CELLS[1].identity}
        assert stale == {CELLS[0].identity}
        assert store.read_versions(stale) == stub.VERSIONS
        record(store, stub.measure(CELLS[0]), versions=newer)
        assert store.find_finished(keys_of(CELLS, newer)) == ({CELLS[0].identity, CELLS[1].identity}, set())
        assert store.count()["measured"] == 2


def test_it_can_be_read_while_it_is_written_and_not_written_by_two(path):
    with SweepStore(path) as writer:
        record(writer, stub.measure(CELLS[0]))
        with SweepStore(path, readonly=True) as reader:
            assert reader.count()["measured"] == 1
            record(writer, stub.measure(CELLS[1]))
            assert reader.count()["measured"] == 2
            with pytest.raises(StoreError, match="cannot be used"):
                record(reader, stub.measure(CELLS[2]))
        with pytest.raises(StoreError, match="Another sweep is using the store"):
            SweepStore(path)
    with SweepStore(path) as store:
        assert store.count()["measured"] == 2


def test_a_store_in_use_by_another_process_is_refused(path):
    program = """
        import sys
        from pathlib import Path
        from initcheck.sweeping.store import SweepStore
        with SweepStore(Path(sys.argv[1])):
            print("open", flush=True)
            sys.stdin.read()
    """
    other = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program), str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with other:
        assert other.stdout.readline() == "open\n"
        with pytest.raises(StoreError, match="Another sweep is using the store"):
            SweepStore(path)
        other.kill()
    with SweepStore(path) as store:  # the lock of a killed process is nobody's
        assert store.count()["measured"] == 0


def test_a_store_of_a_newer_version_is_left_alone(path):
    SweepStore(path).close()
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {VERSION + 1}")
    connection.commit()
    connection.close()
    before = path.read_bytes()
    for readonly in (False, True):
        with pytest.raises(StoreError, match="written by a newer initcheck"):
            SweepStore(path, readonly=readonly)
    assert path.read_bytes() == before


def test_what_is_no_store_is_refused_and_left_alone(path):
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE mine (x)")
    connection.commit()
    connection.close()
    before = path.read_bytes()
    with pytest.raises(StoreError, match="database of another program"):
        SweepStore(path)
    assert path.read_bytes() == before
    path.write_bytes(b"no database at all" * 1000)
    with pytest.raises(StoreError, match="no store, or is damaged"):
        SweepStore(path)


def test_a_missing_store_cannot_be_read(path):
    with pytest.raises(StoreError, match="There is no store"):
        SweepStore(path, readonly=True)
    assert not path.exists()


def test_a_full_disk_is_reported_and_costs_no_recorded_cell(path):
    with SweepStore(path) as store:
        record(store, stub.measure(CELLS[0]))
        pages = store._connection.execute("PRAGMA page_count").fetchone()[0]
        store._connection.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(StoreError, match=r"The disk of the store .* is full. Make room"):
            record(store, *map(stub.measure, stub.make_cells(200)))
    with SweepStore(path, readonly=True) as store:
        assert store.count()["measured"] >= 1
        assert len(list(store.read_tables([CELLS[0].identity]))) == 1


def test_reasons_and_times_are_reported_by_cell(path):
    with SweepStore(path) as store:
        record(store, stub.measure(CELLS[0]), stub.measure(CELLS[1], "refused", "no kernel"))
        assert store.read_reasons([cell.identity for cell in CELLS], "refused") == [(CELLS[1], "no kernel")]
        assert store.read_seconds() == [(CELLS[0], 0.5)]
        assert isinstance(store.read_seconds()[0][0], Cell)
