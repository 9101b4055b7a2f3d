"""The comparison that the project began with: networks that differ in their initializer alone, trained side by side."""

from __future__ import annotations

import io
import itertools
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from initcheck.backend.runtime import BACKEND_LIBRARIES, import_keras, versions
from initcheck.core.columns import HISTORY_COLUMNS
from initcheck.core.errors import DataError, StoreError, UsageError
from initcheck.core.files import digest_arrays, publish_files
from initcheck.core.formatting import Progress, no_progress
from initcheck.core.seeds import check_seed
from initcheck.models.initializers import InitializerSpec, parse_initializer
from initcheck.models.networks import NotebookSpec
from initcheck.probe import RedrawPlan
from initcheck.training.data import LabelledData, load_labelled
from initcheck.training.engine import METRICS, Descent, Trainer, train

if TYPE_CHECKING:
    from pandas import DataFrame

DEFAULT_INITIALIZERS: Final = (
    "HeNormal",
    "GlorotUniform",
    "GlorotNormal",
    "LecunNormal",
    "RandomNormal(stddev=0.05)",
    "RandomNormal(stddev=1.0)",
    "Zeros",
)
"""The three of the notebook that the project began with, and controls."""

DEFAULT_SEEDS: Final = 5

DEFAULT_EPOCHS: Final = 10

DEFAULT_BATCH: Final = 32

CLASSES: Final = 10

_NETWORK: Final = (
    "the notebook's network: Flatten, Dense 300 and 100 with ReLU, Dense with softmax; "
    "the output layer is always initialized by GlorotUniform"
)

TABLE: Final = "history.parquet"

SETTINGS: Final = "training.json"


@dataclass(frozen=True)
class TrainingOptions:
    """What to compare, and how.

    Attributes:
        learning_rate: of plain stochastic gradient descent; None for Keras' default.
        validation: samples held out; None for the default.
    """

    initializers: tuple[str, ...] = DEFAULT_INITIALIZERS
    seeds: tuple[int, ...] = tuple(range(DEFAULT_SEEDS))
    epochs: int = DEFAULT_EPOCHS
    batch_size: int = DEFAULT_BATCH
    learning_rate: float | None = None
    data: str | None = None
    validation: int | None = None
    command_line: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        if not self.initializers or not self.seeds:
            raise UsageError("A comparison needs at least one initializer and one seed. Received: none.")
        for seed in self.seeds:
            check_seed(seed)
        for name, value in (("epochs", self.epochs), ("batch_size", self.batch_size)):
            if value < 1:
                raise UsageError(f"{name} must be at least 1. Received: {value!r}.")
        if self.learning_rate is not None and not 0.0 < self.learning_rate < float("inf"):
            raise UsageError(f"learning_rate must be finite and above 0. Received: {self.learning_rate!r}.")


@dataclass(frozen=True, eq=False)
class TrainingRecord:
    """The learning curves of all networks, and how they were made.

    Attributes:
        notebook: whether the notebook's comparison was repeated, so that its statement is judged.
    """

    history: DataFrame = field(repr=False)
    initializers: tuple[str, ...]
    seeds: tuple[int, ...]
    epochs: int
    network: str
    data: str
    chance: float
    chance_loss: float
    descent: str
    versions: Mapping[str, str]
    command_line: str
    seconds: float
    resumed: int
    notebook: bool = False


def run_training(
    options: TrainingOptions, store: HistoryStore | None = None, progress: Progress = no_progress
) -> TrainingRecord:
    """Train the notebook's network from each initializer and each seed.

    All initializers see the same batches in the same order for one seed, so that they can be compared in pairs. What is
    finished is kept in the store as soon as it is; a second run with the same settings trains what is missing.
    """
    started = time.perf_counter()
    specs = {spec.label: spec for spec in map(parse_initializer, options.initializers)}
    data = load_labelled(options.data, options.validation)
    if data.classes > CLASSES:
        raise DataError(
            f"{data.name!r} has {data.classes} classes, and the notebook's network distinguishes {CLASSES} classes. "
            "Give data of at most so many."
        )
    rate = options.learning_rate or _default_rate()
    descent = Descent(rate, options.batch_size)
    kept = _empty() if store is None else store.open(_settings(options, data, rate))
    missing = {label: _missing(kept, label, options) for label in specs}
    resumed = sum(len(options.seeds) - len(seeds) for seeds in missing.values())
    total = sum(bool(seeds) for seeds in missing.values()) * (options.epochs + 1)
    finished = itertools.count()

    def report(what: str) -> None:
        progress(next(finished), total, what)

    for label, seeds in missing.items():
        if seeds:
            fresh = _train_one(specs[label], seeds, data, descent, options.epochs, report)
            kept = fresh if kept.empty else pd.concat([kept, fresh], ignore_index=True)
            if store is not None:
                store.save(kept)
    wanted = (
        kept["initializer"].isin(list(specs)) & kept["seed"].isin(options.seeds) & (kept["epoch"] <= options.epochs)
    )
    return TrainingRecord(
        history=kept[wanted].reset_index(drop=True),
        initializers=tuple(specs),
        seeds=options.seeds,
        epochs=options.epochs,
        network=_NETWORK,
        data=data.description,
        chance=data.chance,
        chance_loss=data.chance_loss,
        descent=f"stochastic gradient descent, learning rate {rate:g}, batches of {options.batch_size}, "
        f"{options.epochs} epochs",
        versions=versions(),
        command_line=options.command_line,
        seconds=time.perf_counter() - started,
        resumed=resumed,
        notebook=options.initializers == DEFAULT_INITIALIZERS,
    )


class HistoryStore:
    """A folder that holds the learning curves of finished networks and the settings they were trained with."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._settings: Mapping[str, Any] = {}

    def open(self, settings: Mapping[str, Any]) -> pd.DataFrame:
        """Read what is there."""
        self._settings = dict(settings)
        if not (self.folder / TABLE).exists() and not (self.folder / SETTINGS).exists():
            return _empty()
        try:
            held = json.loads((self.folder / SETTINGS).read_text(encoding="utf-8"))
            table = _conform(pd.read_parquet(self.folder / TABLE))
        except (OSError, ValueError, KeyError, TypeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise StoreError(
                f"The run in {str(self.folder)!r} cannot be read: {reason}. Choose another folder, or remove it."
            ) from error
        differing = [name for name in settings if held.get(name) != settings[name]]
        if differing:
            changed = ", ".join(f"{name} {_short(held.get(name))} -> {_short(settings[name])}" for name in differing)
            raise StoreError(
                f"The run in {str(self.folder)!r} was made with other settings: {changed}. "
                "Choose another folder with --out, or give the same settings."
            )
        return table

    def save(self, table: pd.DataFrame) -> None:
        """Replace the table and the settings, both at once."""
        content = io.BytesIO()
        table.to_parquet(content, index=False)
        settings = json.dumps(self._settings, indent=1, sort_keys=True) + "\n"
        publish_files(self.folder, {SETTINGS: settings, TABLE: content.getvalue()})


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 20 else f"{text[:12]}..."


def _train_one(
    spec: InitializerSpec,
    seeds: Sequence[int],
    data: LabelledData,
    descent: Descent,
    epochs: int,
    report: Callable[[str], None],
) -> pd.DataFrame:
    """Train the networks of one initializer together."""
    network = NotebookSpec(initializer=spec)
    model = network.build(data.sample_shape, seeds[0])
    trainer = Trainer(model, data, descent)
    weights = RedrawPlan(model).sample(seeds)
    frames = []
    report(spec.label)
    for epoch, metrics in enumerate(train(trainer, weights, seeds, len(data.x), epochs)):
        frames.append(_tabulate(spec.label, seeds, epoch, metrics))
        if epoch < epochs:
            report(f"{spec.label}, epoch {epoch + 1}")
    return pd.concat(frames, ignore_index=True)


def _tabulate(label: str, seeds: Sequence[int], epoch: int, metrics: NDArray[np.float64]) -> pd.DataFrame:
    columns: dict[str, Any] = {"initializer": label, "seed": list(seeds), "epoch": epoch}
    columns.update({name: metrics[:, place] for place, name in enumerate(METRICS)})
    return _conform(pd.DataFrame(columns))


def _conform(frame: pd.DataFrame) -> pd.DataFrame:
    """Take the columns of a history in their order and with their dtypes."""
    dtypes = {column.name: column.dtype for column in HISTORY_COLUMNS}
    return frame[list(dtypes)].astype(dtypes)


def _empty() -> pd.DataFrame:
    return pd.DataFrame({column.name: pd.Series(dtype=column.dtype) for column in HISTORY_COLUMNS})


def _missing(kept: pd.DataFrame, label: str, options: TrainingOptions) -> list[int]:
    of_label = kept[(kept["initializer"] == label) & (kept["epoch"] == options.epochs)]
    finished = set(of_label["seed"].tolist())
    return [seed for seed in options.seeds if seed not in finished]


def _settings(options: TrainingOptions, data: LabelledData, rate: float) -> dict[str, Any]:
    """List what a finished network depends on, apart from its initializer and its seed."""
    found = versions()
    return {
        "network": "notebook",
        "data": digest_arrays([data.x, data.y, data.x_valid, data.y_valid]),
        "epochs": options.epochs,
        "batch_size": options.batch_size,
        "learning_rate": rate,
        "keras": found["keras"],
        **{name: found[name] for name in BACKEND_LIBRARIES if name in found},
    }


def _default_rate() -> float:
    return float(np.asarray(import_keras().optimizers.SGD().learning_rate))
