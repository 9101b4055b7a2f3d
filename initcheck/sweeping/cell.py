"""One cell of a sweep: everything that its numbers depend on, as plain data."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Final

DTYPES: Final = ("float32", "float64", "float16", "bfloat16", "mixed_float16", "mixed_bfloat16")
"""The dtype policies of Keras that a network can be measured under."""

VERSIONED: Final = ("initcheck", "keras", "tensorflow", "numpy")
"""What a cell's numbers depend on besides itself: a change of one of these versions makes it stale."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One network under one initializer, with all seeds.

    Attributes:
        network: name of a reference network.
        initializer: as :func:`initcheck.initializers.parse_initializer` reads it, in its canonical spelling.
        activation: name of a Keras activation function.
        depth: hidden layers; the network's own where it is fixed.
        width: units of a hidden layer; the network's own where it is fixed.
        data: a source for :func:`initcheck.data.load_data`.
        batch_size: samples in the batch.
        dtype: name of a dtype policy of Keras.
        seeds: one network is drawn for each.
    """

    network: str
    initializer: str
    activation: str
    depth: int
    width: int
    data: str = "gaussian"
    batch_size: int = 64
    dtype: str = "float32"
    seeds: tuple[int, ...] = tuple(range(16))

    @property
    def content(self) -> str:
        """The cell as JSON with sorted keys: equal cells have equal content."""
        return json.dumps(asdict(self), sort_keys=True)

    @property
    def identity(self) -> str:
        """The digest of :attr:`content` (SHA-256, hexadecimal): the same under all versions."""
        return _digest(self.content)

    def key(self, versions: Mapping[str, str], data_digest: str = "") -> str:
        """The digest of content and versions: what was measured under one key is still valid under it.

        Args:
            versions: by name; those in :data:`VERSIONED` count.
            data_digest: of the data file, where the data come from one.
        """
        return _digest(self.content + json.dumps({name: versions[name] for name in VERSIONED}) + data_digest)

    @property
    def bench(self) -> tuple[Any, ...]:
        """What cells have in common that differ in initializer and activation function alone."""
        return (self.network, self.depth, self.width, self.data, self.batch_size, self.dtype, self.seeds)

    @property
    def graph(self) -> tuple[Any, ...]:
        """What cells have in common that are measured on one traced graph."""
        return (self.bench, self.activation)

    @property
    def label(self) -> str:
        """The cell in words, for progress and messages."""
        return f"{self.network} {self.depth} × {self.width}: {self.initializer} × {self.activation}"

    @classmethod
    def read(cls, content: str) -> Cell:
        """Read a cell back from its :attr:`content`."""
        values = json.loads(content)
        return cls(**{**values, "seeds": tuple(values["seeds"])})


AXES: Final = tuple(field.name for field in fields(Cell) if field.name != "seeds")
"""The axes of a sweep, in the order in which they are told."""


def order_cells(cells: Sequence[Cell]) -> list[Cell]:
    """Order cells so that those which share a traced graph stand together, the cheaper networks first.

    The order depends on the cells alone, so that a sweep and its resumption agree on it.
    """
    return sorted(cells, key=lambda cell: (cell.depth * cell.width**2, cell.bench, cell.activation, cell.initializer))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
