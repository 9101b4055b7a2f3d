"""Files that programs read: every value comes back, in a fixed order."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from simulated_study import WrittenReport

from initcheck.core import columns as schema
from initcheck.pages.export import write_measurements_csv, write_measurements_parquet, write_summary_csv
from initcheck.study.record import StudyRecord


def _dtypes(columns: tuple[schema.Column, ...]) -> dict[str, str]:
    return {column.name: column.dtype for column in columns}


def _read_csv(path: Path, columns: tuple[schema.Column, ...]) -> pd.DataFrame:
    """Read a CSV with Python's own float(), which rounds correctly; an empty cell is a null."""
    frame = pd.read_csv(path, dtype=str, keep_default_na=False, na_values=[""])
    for column in columns:
        values = frame[column.name]
        if column.dtype == "Float64":
            values = values.map(float, na_action="ignore")
        elif column.dtype == "boolean":
            values = values.map({"True": True, "False": False})
        frame[column.name] = values.astype(column.dtype)
    return frame


def _sorted(frame: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    return frame.sort_values(by, kind="stable", ignore_index=True)


def test_the_measurements_read_back_from_csv_to_the_last_bit(full_study: StudyRecord, full_report: WrittenReport):
    back = _read_csv(full_report.folder / "measurements.csv", schema.MEASUREMENT_COLUMNS)
    assert full_study.table.isna().to_numpy().any()
    assert "NA" not in full_report.read("measurements.csv")  # a null is an empty cell
    keys = ["network", "initializer", "activation", "seed", "position"]
    pd.testing.assert_frame_equal(_sorted(back, keys), _sorted(full_study.table, keys), check_exact=True)


def test_the_measurements_read_back_from_parquet_with_the_schemas_dtypes(
    full_study: StudyRecord, full_report: WrittenReport
):
    back = pd.read_parquet(full_report.folder / "measurements.parquet")
    assert {name: str(dtype) for name, dtype in back.dtypes.items()} == _dtypes(schema.MEASUREMENT_COLUMNS)
    keys = ["network", "initializer", "activation", "seed", "position"]
    pd.testing.assert_frame_equal(_sorted(back, keys), _sorted(full_study.table, keys), check_exact=True)


def test_the_summary_reads_back_from_csv_to_the_last_bit(full_study: StudyRecord, full_report: WrittenReport):
    back = _read_csv(full_report.folder / "summary.csv", schema.SUMMARY_COLUMNS)
    keys = ["network", "initializer", "activation"]
    pd.testing.assert_frame_equal(_sorted(back, keys), _sorted(full_study.summary, keys), check_exact=True)


@pytest.fixture(scope="module")
def few(full_study: StudyRecord) -> pd.DataFrame:
    """The measurements of three initializers: dead, ordinary and growing beyond all numbers."""
    table = full_study.table
    return table[table["initializer"].isin(["Zeros", "HeNormal", "RandomNormal(stddev=1.0)"])].reset_index(drop=True)


def _written(write: Callable[[pd.DataFrame, Path], None], frame: pd.DataFrame, folder: Path) -> bytes:
    write(frame, folder / "file")
    return (folder / "file").read_bytes()


def test_the_order_of_rows_does_not_depend_on_the_order_of_the_table(
    full_study: StudyRecord, few: pd.DataFrame, tmp_path: Path
):
    shuffled = few.sample(frac=1.0, random_state=3)
    for write in (write_measurements_csv, write_measurements_parquet):
        assert _written(write, shuffled, tmp_path) == _written(write, few, tmp_path)
    turned = full_study.summary.iloc[::-1]
    assert _written(write_summary_csv, turned, tmp_path) == _written(write_summary_csv, full_study.summary, tmp_path)


def test_an_empty_table_is_written_with_its_columns(full_study: StudyRecord, tmp_path: Path):
    empty = full_study.table.iloc[:0]
    header = _written(write_measurements_csv, empty, tmp_path).decode()
    assert header.strip().split(",") == [column.name for column in schema.MEASUREMENT_COLUMNS]
    write_measurements_parquet(empty, tmp_path / "empty.parquet")
    assert len(pd.read_parquet(tmp_path / "empty.parquet")) == 0


def test_rows_are_sorted_by_keys_and_then_by_position(full_report: WrittenReport):
    back = pd.read_csv(full_report.folder / "measurements.csv")
    first = back[(back["network"] == back["network"][0]) & (back["initializer"] == back["initializer"][0])]
    first = first[(first["activation"] == first["activation"].iloc[0]) & (first["seed"] == first["seed"].iloc[0])]
    assert first.index.tolist() == list(range(len(first)))
    assert first["position"].is_monotonic_increasing


def test_nulls_are_empty_cells(few: pd.DataFrame, tmp_path: Path):
    header, *rows = _written(write_measurements_csv, few, tmp_path).decode().splitlines()
    place = header.split(",").index("zero_fraction")
    assert few["zero_fraction"].isna().all()
    assert {row.split(",")[place] for row in rows} == {""}


def test_columns_of_others_are_left_out(full_study: StudyRecord, tmp_path: Path):
    extended = full_study.summary.assign(secret=1)
    assert _written(write_summary_csv, extended, tmp_path) == _written(write_summary_csv, full_study.summary, tmp_path)
