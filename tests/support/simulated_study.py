"""A study that never was: a measurement table simulated with NumPy, with every kind of fate in it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from initcheck.audit.gains import summarize_propagation
from initcheck.core import columns
from initcheck.pages.document import Block, Bullets, Details, Paragraph, Section
from initcheck.study.record import NetworkDescription, NotMeasured, Provenance, StudyRecord

# Variance of a weight times the width of 256, and whether all weights are alike.
INITIALIZERS = {
    "Zeros": (0.0, True),
    "Ones": (256.0 * 256.0, True),
    "Constant(value=0.05)": (0.05**2 * 256.0 * 256.0, True),
    "RandomNormal": (0.0025 * 256, False),
    "RandomNormal(stddev=1.0)": (256.0, False),
    "RandomUniform": (0.0025 * 256 / 3, False),
    "TruncatedNormal": (0.0019344 * 256, False),
    "VarianceScaling": (1.0, False),
    "VarianceScaling(mode='fan_out')": (1.0, False),
    "VarianceScaling(mode='fan_avg')": (1.0, False),
    "GlorotNormal": (1.0, False),
    "GlorotUniform": (1.0, False),
    "HeNormal": (2.0, False),
    "HeUniform": (2.0, False),
    "LecunNormal": (1.0, False),
    "LecunUniform": (1.0, False),
    "Orthogonal": (1.0, False),
}
# Factors of the forward and of the backward gain, and whether the activation is bounded.
ACTIVATIONS = {
    "linear": (1.0, 1.0, False),
    "relu": (0.5, 0.5, False),
    "leaky_relu": (0.52, 0.52, False),
    "elu": (0.645, 0.67, False),
    "selu": (1.0, 1.072, False),
    "gelu": (0.425, 0.456, False),
    "silu": (0.356, 0.379, False),
    "mish": (0.42, 0.44, False),
    "tanh": (0.96, 0.97, True),
    "sigmoid": (1.0, 0.0557, True),
    "softplus": (0.9, 0.3, False),
    "softsign": (0.93, 0.94, True),
}


def simulate_table(
    network: str,
    initializers: dict[str, tuple[float, bool]],
    activations: dict[str, tuple[float, float, bool]],
    depth: int,
    width: int,
    seeds: int,
    data: str = "gaussian",
) -> pd.DataFrame:
    """Simulate log increments as in a ReLU network: normal, with variance 5 / width and the mean that goes with it."""
    random = np.random.default_rng(20240607)
    frames = []
    for initializer, (scale, symmetric) in initializers.items():
        for activation, (forward, backward, bounded) in activations.items():
            frame = _keys(network, initializer, activation, depth, width, seeds, data)
            shape = (seeds, depth)
            spread = 0.0 if symmetric else np.sqrt(5.0 / width)
            drift = np.log(max(scale, 1e-9)) + np.log([forward, backward])
            if bounded and scale > 2.0:
                drift[0] = 0.0
            steps = random.normal(size=(2, *shape)) * spread - spread**2 / 2.0
            q = np.exp(np.log(max(scale, 1e-9)) - drift[0] + np.cumsum(steps[0] + drift[0], axis=1))
            g = np.exp(np.cumsum(steps[1] + drift[1], axis=1)[:, ::-1])
            if scale == 0.0:
                q = g = np.zeros(shape)
            share = np.clip(np.exp(-0.15 * np.arange(1, depth + 1)) + np.zeros(shape), 0.05, 1.0)
            if activation == "sigmoid":
                share = share * 1e-4
            overflow = q > 1e76
            frame["nonfinite_fraction"] = overflow.astype(float).ravel()
            frame["preactivation_second_moment"] = np.where(overflow, np.nan, q).ravel()
            frame["activation_second_moment"] = np.where(overflow, np.nan, q / 2.0).ravel()
            frame["activation_batch_variance"] = np.where(overflow, np.nan, q / 2.0 * share).ravel()
            frame["gradient_second_moment"] = np.where(overflow.any(axis=1, keepdims=True), np.nan, g).ravel()
            frame["gradient_norm"] = np.sqrt(width * frame["gradient_second_moment"])
            frame["weight_gradient_norm"] = np.sqrt(frame["gradient_second_moment"])
            frame["weight_variance"] = 0.0 if symmetric else scale / width
            frame["dead_fraction"] = 1.0 if scale == 0.0 else (0.03 if "relu" in activation else 0.0)
            if bounded:
                frame["saturated_fraction"] = 0.9 if scale > 2.0 else 0.01
            frames.append(frame)
    table = pd.concat(frames, ignore_index=True)
    table = table.reindex(columns=[column.name for column in columns.MEASUREMENT_COLUMNS])
    return table.astype({column.name: column.dtype for column in columns.MEASUREMENT_COLUMNS})


def _keys(
    network: str, initializer: str, activation: str, depth: int, width: int, seeds: int, data: str
) -> pd.DataFrame:
    position = np.tile(np.arange(1, depth + 1), seeds)
    return pd.DataFrame(
        {
            "network": network,
            "initializer": initializer,
            "activation": activation,
            "depth": depth,
            "width": width,
            "data": data,
            "batch_size": 256,
            "seed": np.repeat(np.arange(seeds), depth),
            "layer": [f"hidden_{number:02d}" for number in position],
            "call": 0,
            "position": position,
            "kind": "Dense",
            "units": width,
            "fan_in": float(width),
            "fan_out": float(width),
        }
    )


def describe_network(name: str, depth: int) -> NetworkDescription:
    return NetworkDescription(
        name=name,
        description=f"{depth} Dense layers and a linear head.",
        layers=depth + 1,
        parameters=1_318_410,
        data="gaussian",
        batch_size=256,
        input_second_moment=0.99871,
    )


def make_study(table: pd.DataFrame, depths: dict[str, int], not_measured: tuple[NotMeasured, ...] = ()) -> StudyRecord:
    layers = {
        network: tuple(f"hidden_{number:02d}" for number in range(1, depth + 1)) for network, depth in depths.items()
    }
    return StudyRecord(
        table=table,
        summary=summarize_propagation(table, layers),
        signal_layers=layers,
        not_measured=not_measured,
        provenance=Provenance(
            versions={"initcheck": "0.1.0", "python": "3.12.3", "keras": "3.15.1", "tensorflow": "2.21.0"},
            command_line="initcheck report --out reports",
            started="2026-11-23T22:00:00+00:00",
            duration_seconds=72.4,
            seeds=(*range(15), 40),
            networks=tuple(describe_network(name, depth) for name, depth in depths.items()),
            loss="a fixed random linear functional of the outputs",
            training_mode="training=True",
            precision="float32 weights and signals, float64 statistics",
        ),
    )


def change_summary(study: StudyRecord, pair: tuple[str, str], **values: object) -> StudyRecord:
    """Copy a study with other values in the summary's row of one pair."""
    summary = study.summary.copy()
    row = (summary["initializer"] == pair[0]) & (summary["activation"] == pair[1])
    assert row.any()
    for column, value in values.items():
        summary.loc[row, column] = value
    return replace(study, summary=summary)


def all_blocks(blocks: tuple[Block, ...]) -> Iterator[Block]:
    """Yield blocks, and those that are folded in them."""
    for block in blocks:
        yield block
        if isinstance(block, Details):
            yield from all_blocks(block.blocks)


def split_names(header: str) -> list[str]:
    """Split a row's header into the initializers that it is about, whose arguments may hold commas too."""
    return re.split(r", (?=[A-Z])", header)


def words_of(section: Section) -> str:
    """Give the paragraphs and bullets of a section, one a line."""
    blocks = list(all_blocks(section.blocks))
    texts = [block.text for block in blocks if isinstance(block, Paragraph)]
    texts += [item for block in blocks if isinstance(block, Bullets) for item in block.items]
    return "\n".join("".join(span.text for span in text) for text in texts)


@dataclass(frozen=True)
class WrittenReport:
    """A report on disk, with the paths that ``write_report`` returned."""

    folder: Path
    paths: list[Path]

    def read(self, name: str) -> str:
        return (self.folder / name).read_text(encoding="utf-8")
