"""Claims on orthogonal kernels inside layers, and on adapters of low rank: exact, without fans to count."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from initcheck.claims.base import Claim
from initcheck.claims.decisions import AllWithin
from initcheck.claims.sampling import to_numpy
from initcheck.keras_runtime import import_keras

if TYPE_CHECKING:
    from pandas import DataFrame

    from initcheck.claims.laboratory import Laboratory

_UNITS: Final = 64
_SEEDS: Final = 4
_GATES: Final = {"SimpleRNN": 1, "GRU": 3, "LSTM": 4}
_LIMIT: Final = 8.0 * math.sqrt(4 * _UNITS) * 2.0**-23
"""Of an entry of Q'Q - I; see :class:`initcheck.claims.orthogonality.Orthonormality`."""


@dataclass(frozen=True)
class RecurrentKernel:
    """How far a recurrent kernel, or each of its gates' blocks, is from having orthonormal rows.

    Attributes:
        layer: the class in ``keras.layers``.
        by_gate: look at each gate's square block, and not at all of them together.
        initializer: of the recurrent kernel.
    """

    layer: str
    by_gate: bool
    initializer: str = "Orthogonal"

    def measure(self, laboratory: Laboratory) -> DataFrame:
        """Measure; the deviation is the largest entry of K K' - I."""
        import pandas as pd

        keras = import_keras()
        rows: list[tuple[object, ...]] = []
        for seed in laboratory.seeds(f"recurrent/{self.layer}", _SEEDS):
            initializer = getattr(keras.initializers, self.initializer)(seed=seed)
            layer = getattr(keras.layers, self.layer)(_UNITS, recurrent_initializer=initializer)
            layer.build((None, 3, 5))
            weights: list[Any] = layer.cell.get_weights()
            kernel = next(each for each in weights if each.shape == (_UNITS, _GATES[self.layer] * _UNITS))
            blocks = np.split(kernel.astype(np.float64), _GATES[self.layer] if self.by_gate else 1, axis=1)
            deviation = max(float(np.abs(block @ block.T - np.eye(_UNITS)).max()) for block in blocks)
            rows.append((f"seed {len(rows)}", deviation, _LIMIT, kernel.size))
        return pd.DataFrame(rows, columns=["member", "deviation", "limit", "count"])


@dataclass(frozen=True)
class LowRankAdapter:
    """How much enabling LoRA changes a layer's output, relative to the output.

    Attributes:
        layer: the class in ``keras.layers``: Dense, EinsumDense or Embedding.
        change: added to every entry of the adapter's second factor, for a control.
    """

    layer: str
    change: float = 0.0

    def measure(self, laboratory: Laboratory) -> DataFrame:
        """Measure; see :class:`~initcheck.claims.decisions.AllWithin` for the columns."""
        import pandas as pd

        keras = import_keras()
        random = np.random.default_rng(laboratory.seed(f"adapter/{self.layer}"))
        made: dict[str, tuple[Any, Any]] = {
            "Dense": (lambda: keras.layers.Dense(24), random.normal(size=(8, 16)).astype(np.float32)),
            "EinsumDense": (
                lambda: keras.layers.EinsumDense("ab,bc->ac", output_shape=24),
                random.normal(size=(8, 16)).astype(np.float32),
            ),
            "Embedding": (lambda: keras.layers.Embedding(30, 24), random.integers(0, 30, (8, 3))),
        }
        build, x = made[self.layer]
        layer = build()
        before = to_numpy(layer(x)).astype(np.float64)
        layer.enable_lora(4)
        # The second factor is the one that starts at zero; Keras names it after the kernel or the embeddings.
        second = next(
            weight for weight in layer.weights if weight.name.startswith("lora") and weight.name.endswith("_b")
        )
        second.assign(second + self.change)
        after = to_numpy(layer(x)).astype(np.float64)
        deviation = float(np.abs(after - before).max() / np.abs(before).max())
        row = (self.layer, deviation, 8.0 * 16.0 * 2.0**-23, before.size)
        return pd.DataFrame([row], columns=["member", "deviation", "limit", "count"])


def claims() -> tuple[Claim, ...]:
    """List the claims."""
    listed: list[Claim] = []
    for layer, gates in _GATES.items():
        slug = {"SimpleRNN": "simple_rnn"}.get(layer, layer.lower())
        source = f"Keras, keras.layers.{layer}, argument recurrent_initializer"
        condition = f"{_UNITS} units, {_SEEDS} seeds"
        listed.append(
            Claim(
                id=f"fans.{slug}.recurrent_kernel_orthogonal",
                statement=f"{layer}'s recurrent kernel has orthonormal rows, over all of its gates together.",
                experiment=RecurrentKernel(layer, by_gate=False),
                decide=AllWithin("entry of K K' - I", "entries"),
                control=RecurrentKernel(layer, by_gate=False, initializer="GlorotUniform"),
                control_note="GlorotUniform in its place",
                source=source,
                condition=condition,
                rows=("B10",),
            )
        )
        if gates == 1:
            continue
        listed.append(
            Claim(
                id=f"fans.{slug}.recurrent_gates_orthogonal",
                statement=f"The recurrent matrix of each gate of {layer} is orthogonal.",
                experiment=RecurrentKernel(layer, by_gate=True),
                decide=AllWithin("entry of K K' - I", "entries"),
                control=RecurrentKernel("SimpleRNN", by_gate=True),
                control_note="SimpleRNN, whose only matrix is",
                expected="refuted",
                source=source,
                condition=condition,
                rows=("B10",),
            )
        )
    listed += [
        Claim(
            id=f"fans.{slug}.lora_changes_nothing",
            statement=f"Enabling LoRA leaves the output of {layer} as it was.",
            source=f"Keras, keras.layers.{layer}.enable_lora; Hu and others, 2022, ICLR, section 4.1",
            condition="rank 4, before any training",
            experiment=LowRankAdapter(layer),
            decide=AllWithin("largest change of the output, relative", "entries"),
            control=LowRankAdapter(layer, change=0.01),
            control_note="a second factor of .01 instead of zero",
            rows=("B11",),
        )
        for slug, layer in (("dense", "Dense"), ("einsum_dense", "EinsumDense"), ("embedding", "Embedding"))
    ]
    return tuple(listed)
