"""Finished networks on disk, so that an interrupted run loses little and a second one goes on."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pandas as pd

from initcheck.errors import StoreError
from initcheck.output import publish_files
from initcheck.schema import Column

TABLE: Final = "history.parquet"
SETTINGS: Final = "training.json"


class HistoryStore:
    """A folder that holds the learning curves of finished networks and the settings they were trained with.

    Args:
        folder: made when the first network is finished.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._settings: Mapping[str, Any] = {}

    def open(self, settings: Mapping[str, Any], columns: Sequence[Column]) -> pd.DataFrame:
        """Read what is there.

        Args:
            settings: what a finished network depends on; plain values.
            columns: of the table.

        Returns:
            The finished networks; an empty table where there is no store yet.

        Raises:
            StoreError: what is there was trained with other settings, or is damaged.
        """
        self._settings = dict(settings)
        if not (self.folder / TABLE).exists() and not (self.folder / SETTINGS).exists():
            return pd.DataFrame({column.name: pd.Series(dtype=column.dtype) for column in columns})
        try:
            held = json.loads((self.folder / SETTINGS).read_text(encoding="utf-8"))
            table = pd.read_parquet(self.folder / TABLE)
            table = table[[column.name for column in columns]].astype({each.name: each.dtype for each in columns})
        except (OSError, ValueError, KeyError, TypeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise StoreError(
                f"The run in {str(self.folder)!r} cannot be read: {reason}. Choose another folder, or remove it."
            ) from error
        differing = [name for name in settings if held.get(name) != settings[name]]
        if differing:
            told = ", ".join(f"{name} {_short(held.get(name))} -> {_short(settings[name])}" for name in differing)
            raise StoreError(
                f"The run in {str(self.folder)!r} was made with other settings: {told}. "
                "Choose another folder with --out, or give the same settings."
            )
        return table

    def save(self, table: pd.DataFrame) -> None:
        """Replace the table and the settings, both at once.

        Raises:
            OutputError: they cannot be written.
        """
        content = io.BytesIO()
        table.to_parquet(content, index=False)
        settings = json.dumps(self._settings, indent=1, sort_keys=True) + "\n"
        publish_files(self.folder, {SETTINGS: settings, TABLE: content.getvalue()})


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 20 else f"{text[:12]}..."
