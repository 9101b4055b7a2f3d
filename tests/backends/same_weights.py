"""The same weights on each backend give the same table: what differs is listed, with its reason.

Run it with ``tox run -e tables-tensorflow,tables-jax,tables-torch,backends``. ``measure FOLDER`` writes the tables of
the backend that Keras runs on; ``write FOLDER`` compares those of all backends and leaves ``backends.csv`` and
``backends.md`` in ``reports/``. It ends with 1 if a number differs without a reason, with 2 if a backend is missing.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from initcheck.core.files import publish_files

BACKENDS: Final = ("tensorflow", "jax", "torch")
TOLERANCE: Final = 1e-5
SEEDS: Final = (0, 1)
BATCH: Final = 16

MEANS: Final = {
    "preactivation_mean": "preactivation_second_moment",
    "activation_mean": "activation_second_moment",
    "weight_mean": "weight_variance",
}
"""A mean of numbers of both signs is judged by their size and not by that of their nearly cancelling sum."""

HALF_PRECISION: Final = (
    "layers compute in float16, and each backend rounds to its 11 bits at other places: one such rounding is 5e-4"
)
REASONS: Final = {"mixed precision": (5e-3, HALF_PRECISION)}
"""Up to which relative difference a model may differ, and why."""

NOTHING: Final = TOLERANCE
"""What is that much smaller than another gradient of its layer is below the rounding that all are compared with."""
NO_GRADIENT: Final = (
    "the true gradient is zero (a bias in front of a normalization, or of the keys of an attention), and what is "
    f"computed of it is rounding: below {NOTHING:g} of the largest gradient of the same layer on every backend"
)

Array = NDArray[Any]


@dataclass(frozen=True)
class Compared:
    """One quantity of one model, over all sites and draws.

    Attributes:
        numbers: how many were compared, between each two backends.
        largest: the largest relative difference.
        between: of which backends.
        where: in which layer.
        rounding: how many numbers are left out, since they are nothing but rounding; see :data:`NO_GRADIENT`.
    """

    model: str
    quantity: str
    numbers: int
    largest: float
    between: str
    where: str
    rounding: int


# --- the models ------------------------------------------------------------------------------------------------------


def build_models() -> dict[str, Callable[[], Any]]:
    import keras
    from keras import layers

    def dense() -> Any:
        hidden = [layers.Dense(32, activation=name) for name in ("relu", "tanh", "gelu", "sigmoid", "selu")]
        return keras.Sequential([keras.Input((24,)), *hidden, layers.Dense(5, activation="softmax")])

    def convolutional() -> Any:
        convolutions = [layers.Conv2D(8, 3, activation="relu"), layers.Conv2D(12, 3, strides=2, padding="same")]
        rest = [layers.ReLU(), layers.MaxPooling2D(), layers.Flatten(), layers.Dense(5)]
        return keras.Sequential([keras.Input((14, 14, 3)), *convolutions, *rest])

    def transposed() -> Any:
        convolutions = [layers.Conv2DTranspose(6, 3, strides=2, activation="relu"), layers.Conv2DTranspose(3, 4)]
        return keras.Sequential([keras.Input((5, 5, 4)), *convolutions])

    def depthwise() -> Any:
        convolutions = [layers.DepthwiseConv2D(3, activation="relu"), layers.SeparableConv2D(8, 3)]
        return keras.Sequential([keras.Input((10, 10, 4)), *convolutions, layers.GlobalAveragePooling2D()])

    def recurrent() -> Any:
        recurrences = [layers.LSTM(12, return_sequences=True), layers.Bidirectional(layers.LSTM(8))]
        return keras.Sequential([keras.Input((7, 6)), *recurrences, layers.Dense(3)])

    def attention() -> Any:
        tokens = keras.Input((9,), dtype="int32")
        x = layers.Embedding(20, 16)(tokens)
        x = layers.Add()([x, layers.MultiHeadAttention(2, 8)(x, x)])
        return keras.Model(tokens, layers.Dense(4)(layers.Dense(24, activation="gelu")(x)))

    def normalized() -> Any:
        kinds = [layers.BatchNormalization(), layers.LayerNormalization(), layers.GroupNormalization(4)]
        stack = [each for kind in kinds for each in (layers.Dense(16), kind, layers.Activation("relu"))]
        return keras.Sequential([keras.Input((12,)), *stack, layers.RMSNormalization(), layers.Dense(3)])

    def nested() -> Any:
        inner = keras.Sequential([layers.Dense(16, activation="relu"), layers.Dense(16)], name="inner")
        inputs = keras.Input((16,))
        return keras.Model(inputs, layers.Dense(3)(layers.Add()([inputs, inner(inputs)])))

    def mixed_precision() -> Any:
        hidden = [layers.Dense(32, activation="relu", dtype="mixed_float16") for _ in range(3)]
        return keras.Sequential([keras.Input((24,)), *hidden, layers.Dense(5, dtype="float32")])

    def shared() -> Any:
        inputs = keras.Input((16,))
        layer = layers.Dense(16, activation="tanh")
        return keras.Model(inputs, layers.Dense(3)(layer(layer(layer(inputs)))))

    return {
        "dense": dense,
        "convolutional": convolutional,
        "transposed": transposed,
        "depthwise": depthwise,
        "LSTM": recurrent,
        "attention": attention,
        "normalization": normalized,
        "nested": nested,
        "mixed precision": mixed_precision,
        "shared": shared,
    }


def draw_weights(weight: Any, random: np.random.Generator) -> Array:
    """Draw values for all seeds, the same on any backend."""
    shape = tuple(weight.shape)
    normal = random.normal(size=(len(SEEDS), *shape))
    if weight.name.endswith("variance"):
        values = np.square(normal) + 0.5
    elif weight.name == "gamma" or weight.name == "scale":
        values = 1.0 + 0.1 * normal
    elif len(shape) < 2:
        values = 0.1 * normal
    else:
        values = normal * math.sqrt(1.5 / math.prod(shape[:-1]))
    return values.astype(weight.dtype)


def draw_inputs(model: Any, random: np.random.Generator) -> Array:
    (given,) = model.inputs
    shape = (BATCH, *given.shape[1:])
    if given.dtype == "int32":
        return random.integers(0, 20, size=shape).astype(np.int32)
    return random.normal(size=shape).astype(np.float32)


def measure_model(model: Any, number: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Measure weights that NumPy draws, with a loss whose directions it draws too."""
    from initcheck.backend.runtime import import_keras
    from initcheck.probe import Probe

    ops, random = import_keras().ops, np.random.default_rng(number)
    inputs = draw_inputs(model, random)
    direction = random.normal(size=(BATCH, *model.outputs[0].shape[1:])).astype(np.float32)

    def loss(outputs: Any) -> Any:
        return ops.sum(ops.convert_to_tensor(direction) * ops.cast(outputs, "float32"))

    values = [draw_weights(weight, random) for weight in model.weights]
    probe = Probe(model, inputs, loss=loss, precision_range=True, every_weight=True)
    found = probe.measure_weights_all(list(SEEDS), [ops.convert_to_tensor(each) for each in values])
    return found.table, found.weights


def measure(folder: Path) -> None:
    """Write the tables of the backend that Keras runs on."""
    from initcheck.backend.runtime import backend_name, versions

    tables, weights = [], []
    for number, (name, build) in enumerate(build_models().items()):
        table, of_weights = measure_model(build(), number)
        tables.append(table.assign(model=name))
        weights.append(of_weights.assign(model=name))
    backend = backend_name()
    folder.mkdir(parents=True, exist_ok=True)
    pd.concat(tables).to_parquet(folder / f"{backend}.parquet", index=False)
    pd.concat(weights).to_parquet(folder / f"{backend}-weights.parquet", index=False)
    (folder / f"{backend}.json").write_text(json.dumps(versions()), encoding="utf-8")


# --- comparing -------------------------------------------------------------------------------------------------------


def compare_tables(tables: dict[str, pd.DataFrame], keys: list[str]) -> list[Compared]:
    """Compare the numbers of tables that list the same things, of each model and quantity."""
    first = next(iter(tables.values()))
    quantities = [name for name in first.columns if first[name].dtype == "Float64"]
    facts = [name for name in first.columns if name not in quantities]
    for backend, table in tables.items():
        pd.testing.assert_frame_equal(table[facts], first[facts], obj=f"what {backend} lists")
    found = []
    noise = find_rounding(tables)
    for model, rows in first.reset_index(drop=True).groupby("model", sort=False):
        for quantity in quantities:
            numbers, largest, between, where = 0, 0.0, "", ""
            rounding = noise[rows.index] if quantity == "gradient_norm" else np.zeros(len(rows), dtype=bool)
            for one, other in combinations(tables, 2):
                a, b, size = (
                    np.asarray(tables[each].iloc[rows.index][name], dtype=np.float64)
                    for each, name in ((one, quantity), (other, quantity), (one, MEANS.get(quantity, quantity)))
                )
                size = np.sqrt(size) if quantity in MEANS else np.maximum(np.abs(a), np.abs(b))
                known = ~(np.isnan(a) & np.isnan(b)) & ~rounding
                with np.errstate(divide="ignore", invalid="ignore"):
                    differences = np.where(a == b, 0.0, np.abs(a - b) / size)[known]
                numbers += len(differences)
                differences = np.where(np.isnan(differences), np.inf, differences)
                if len(differences) and differences.max() > largest:
                    place = int(np.argmax(differences))
                    largest, between = float(differences[place]), f"{one}, {other}"
                    where = str(rows[known].iloc[place][keys[0]])
            if numbers:
                found.append(Compared(str(model), quantity, numbers, largest, between, where, int(rounding.sum())))
    return found


def find_rounding(tables: dict[str, pd.DataFrame]) -> NDArray[np.bool_]:
    """Find the gradients that are nothing but rounding on every backend: tiny beside another of the same layer."""
    found = np.ones(len(next(iter(tables.values()))), dtype=bool)
    for table in tables.values():
        if "weight" not in table:
            return np.zeros(len(table), dtype=bool)
        norms = table["gradient_norm"].astype(float).reset_index(drop=True)
        table = table.reset_index(drop=True)
        largest = norms.groupby([table["model"], table["layer"], table["seed"]]).transform("max")
        found &= (norms < NOTHING * largest).to_numpy()
    return found


def limit_of(model: str) -> float:
    return REASONS.get(model, (TOLERANCE, ""))[0]


def as_markdown(found: list[Compared], versions: dict[str, dict[str, str]]) -> str:
    models = list(dict.fromkeys(each.model for each in found))
    within = [model for model in models if all(each.largest <= TOLERANCE for each in found if each.model == model)]
    unexplained = [each for each in found if each.largest > limit_of(each.model)]
    lines = [
        "# The same weights on three backends",
        "",
        (
            f"NumPy draws the weights of {len(models)} models, their inputs and the directions of their loss, "
            f"{len(SEEDS)} draws each; each backend measures them in a process of its own. Compared is every number of "
            "the measurement table and of the table of all weights, between each two backends: the difference relative "
            "to the larger one, of a mean relative to the root mean square. All backends list the same layers, weights "
            "and missing gradients."
        ),
        "",
        "Versions: "
        + "; ".join(
            ", ".join(f"{name} {version}" for name, version in each.items() if name in ("keras", *BACKENDS, "jaxlib"))
            for each in versions.values()
        )
        + ".",
        "",
        f"{len(within)} of {len(models)} models agree to {TOLERANCE:g}. "
        + (
            "No number differs without a reason."
            if not unexplained
            else f"{len(unexplained)} quantities differ without a reason."
        ),
        "",
        "| model | numbers compared | largest difference | of | in | between |",
        "|---|---|---|---|---|---|",
    ]
    for model in models:
        rows = [each for each in found if each.model == model]
        worst = max(rows, key=lambda each: each.largest)
        numbers = sum(each.numbers for each in rows)
        lines.append(
            f"| {model} | {numbers:,} | {worst.largest:.1e} | `{worst.quantity}` | `{worst.where}` | {worst.between} |"
        )
    lines += ["", f"## What differs by more than {TOLERANCE:g}, and why", ""]
    for model in (each for each in models if each not in within):
        rows = [each for each in found if each.model == model and each.largest > TOLERANCE]
        reason = REASONS.get(model, (TOLERANCE, "**no reason is known**"))[1]
        most = max(each.largest for each in rows)
        lines.append(f"- {model}: {len(rows)} of the quantities, by {most:.1e} at most: {reason}.")
    rounding = {each.model: each.rounding for each in found if each.rounding}
    for model, count in rounding.items():
        lines.append(f"- {model}: {count} gradients, of {len(SEEDS)} draws, are left out: {NO_GRADIENT}.")
    return "\n".join(lines) + "\n"


def write(folder: Path, out: Path) -> int:
    """Compare the tables of all backends, and write what was found."""
    missing = [each for each in BACKENDS if not (folder / f"{each}.json").exists()]
    if missing:
        sys.stderr.write(f"There are no tables of {', '.join(missing)} in {folder}: measure them first.\n")
        return 2
    found = []
    for suffix, keys in (("", ["layer"]), ("-weights", ["weight"])):
        tables = {each: pd.read_parquet(folder / f"{each}{suffix}.parquet") for each in BACKENDS}
        found += compare_tables(tables, keys)
    versions = {each: json.loads((folder / f"{each}.json").read_text(encoding="utf-8")) for each in BACKENDS}
    page = as_markdown(found, versions)
    rows = pd.DataFrame(found).to_csv(index=False, lineterminator="\n", float_format="%.2e")
    publish_files(
        out,
        {
            "backends.csv": lambda path: path.write_text(rows, encoding="utf-8"),
            "backends.md": lambda path: path.write_text(page, encoding="utf-8"),
        },
    )
    sys.stdout.write(page)
    return int(any(each.largest > limit_of(each.model) for each in found))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("task", choices=["measure", "write"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, default=Path("reports"))
    options = parser.parse_args(arguments)
    if options.task == "measure":
        measure(options.folder)
        return 0
    return write(options.folder, options.out)


if __name__ == "__main__":
    sys.exit(main())
