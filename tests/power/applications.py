"""Checks the models of ``keras.applications`` and writes what is said of each into ``reports/applications.md``.

Run it with ``tox run -e applications``. They were published and train, so that a problem would have to be argued: where
one is found, the model is trained as it is and with the initializer that is advised (``--train``). With models named,
their lines alone are made anew, and the others of the page stay.
"""

from __future__ import annotations

import argparse
import gc
import inspect
import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import numpy as np

import initcheck
from initcheck.backend.runtime import import_keras
from initcheck.core.errors import InitcheckError
from initcheck.core.files import check_writable, publish_files
from initcheck.models.data import load_set
from initcheck.pages.markdown import escape_text

keras = import_keras()

SIZES = (96, 139, 331)
"""Height and width of the images: the first of these that the model takes."""


def list_models() -> list[str]:
    """Name the functions of ``keras.applications`` that make a model."""
    found = []
    for name in dir(keras.applications):
        made = getattr(keras.applications, name)
        if callable(made) and "weights" in inspect.signature(made).parameters:
            found.append(name)
    return found


def build(name: str) -> tuple[object, int]:
    """Make a model of ten classes without pretrained weights, and say for which size of images."""
    for size in SIZES[:-1]:
        try:
            return getattr(keras.applications, name)(weights=None, input_shape=(size, size, 3), classes=10), size
        except ValueError:  # the image is too small for it
            continue
    size = SIZES[-1]
    return getattr(keras.applications, name)(weights=None, input_shape=(size, size, 3), classes=10), size


def describe(name: str, seeds: int) -> str:
    """Check one model, and write its row."""
    model, size = build(name)
    started = time.perf_counter()
    try:
        report = initcheck.check(model, seeds=seeds, batch_size=4, fixes=False)
        result = report.result
        said = [f"{each.level}: {each.title} ({', '.join(each.codes)})" for each in result.problems]
        verdict, paths = str(report.exit_code), len(result.paths) // 2
    except InitcheckError as error:
        said, verdict, paths = [str(error)], "2", 0
    seconds = time.perf_counter() - started
    del model
    keras.backend.clear_session()
    gc.collect()
    what = escape_text("; ".join(said) or "nothing found")
    return f"| {name} | {size} | {verdict} | {paths} | {seconds:.0f} | {what} |"


# --- training ---------------------------------------------------------------------------------------------------------

STEPS, DRAWS, BATCH, SIZE = 30, (0, 1), 16, 32
RATES = {"SGD, momentum 0.9": (0.01, 0.1), "Adam": (1e-4, 1e-3)}
"""The first rate is that of the advised initializer too; as it is, a model has the better of both."""


def make_optimizer(name: str, rate: float) -> Any:
    """Make an optimizer of the table."""
    return keras.optimizers.Adam(rate) if name == "Adam" else keras.optimizers.SGD(rate, momentum=0.9)


def draw_weights(model: Any, seed: int, initializer: str) -> list[np.ndarray]:
    """Draw all weights by their own initializers, and the kernels by another one where it is given."""
    keras.utils.set_random_seed(seed)
    drawn = keras.models.clone_model(model)
    for layer in drawn.layers:
        if initializer and hasattr(layer, "kernel"):
            layer.kernel.assign(keras.initializers.get(initializer)(layer.kernel.shape))
    return drawn.get_weights()


def load_images() -> tuple[np.ndarray, np.ndarray]:
    """Take a batch of handwritten digits, enlarged and scaled to mean 0 and variance 1."""
    x, y, _ = load_set("digits")
    assert y is not None
    images = x[:BATCH].reshape(-1, 8, 8).repeat(SIZE // 8, axis=1).repeat(SIZE // 8, axis=2)
    images = np.repeat(images[..., None], 3, axis=-1).astype("float32")
    return (images - images.mean()) / images.std(), y[:BATCH]


def train(name: str, initializer: str) -> Iterator[str]:
    """Train a model as it is and with an initializer, on one batch from the same seeds: a row for each optimizer."""
    model = getattr(keras.applications, name)(
        weights=None, input_shape=(SIZE, SIZE, 3), classes=10, classifier_activation=None
    )
    x, y = load_images()
    for optimizer, rates in RATES.items():
        losses: dict[str, np.ndarray] = {}
        for rate in rates:
            model.compile(make_optimizer(optimizer, rate), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
            model.optimizer.build(model.trainable_variables)
            fresh = [np.asarray(each) for each in model.optimizer.variables]
            for which in ("", initializer) if rate == rates[0] else ("",):
                found = []
                for seed in DRAWS:
                    model.set_weights(draw_weights(model, seed, which))
                    for variable, value in zip(model.optimizer.variables, fresh, strict=True):
                        variable.assign(value)
                    for _ in range(STEPS):
                        model.train_on_batch(x, y)
                    found.append(float(model.test_on_batch(x, y)))
                last = np.nan_to_num(found, nan=np.inf)
                better = which not in losses or last.mean() < losses[which].mean()
                losses[which] = last if better else losses[which]
        shown = (", ".join(f"{each:.3g}" for each in losses[which]) for which in ("", initializer))
        yield f"| {name} | {optimizer} | {' | '.join(shown)} |"


# --- the page ---------------------------------------------------------------------------------------------------------


def read_rows(page: Path, columns: int) -> dict[str, str]:
    """Read the rows of a table of the page that is there, by the cells that name them."""
    text = page.read_text(encoding="utf-8") if page.exists() else ""
    rows = [
        line for line in text.splitlines() if re.match(r"\| [A-Z]\w+ \|", line) and line.count(" | ") == columns - 1
    ]
    return {name_row(row): row for row in rows}


def name_row(row: str) -> str:
    """Name a row by its model, and one of training by its optimizer as well."""
    cells = row.strip("| ").split(" | ")
    return cells[0] if cells[1].isdigit() else f"{cells[0]} {cells[1]}"


def write(rows: Mapping[str, str], trained: Mapping[str, str], seeds: int) -> Iterator[str]:
    """Write the page."""
    yield "# What is said of published models\n"
    yield (
        f"{len(rows)} models of keras.applications without pretrained weights, {seeds} draws, 4 images of the size "
        "given. They were published and train, so that exit code 1 has to be argued. Of VGG16 and VGG19 it is right: "
        "Glorot's initializer before ReLU halves the square with each layer, and He et al. 2015 drew such networks "
        "otherwise to train them; the last table shows what it costs. A wrong fan in front of a normalization, and "
        "float16's range in a float32 model, are notes.\n"
    )
    missing = [name for name in list_models() if name not in rows]
    if missing:
        yield f"Not measured, for the time that they take on two cores: {', '.join(missing)}.\n"
    yield "| model | size | exit code | paths judged | seconds | what is said |\n|---|---|---|---|---|---|"
    yield from rows.values()
    yield "\n## What training shows of those with a problem\n"
    rates = "; ".join(f"{name} {' and '.join(map(str, each))}" for name, each in RATES.items())
    yield (
        f"The loss of one batch of {BATCH} handwritten digits after {STEPS} steps, for each of {len(DRAWS)} draws of "
        f"the weights; an even choice among the ten classes has ln 10 = 2.30. Learning rates: {rates}. As it is, a "
        "model has the better of the two rates; with HeNormal in all layers it has the first.\n"
    )
    yield "| model | optimizer | as it is | with HeNormal |\n|---|---|---|---|"
    yield from trained.values()
    red = [name for name, row in rows.items() if row.split(" | ")[2] == "1"]
    left = [f"{name} with {each}" for name in red for each in RATES if f"{name} {each}" not in trained]
    if left:
        yield f"\nNot trained yet: {'; '.join(left)}."


def main() -> None:
    """Check the models, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", help="models (default: all)")
    parser.add_argument("--train", action="store_true", help="train the models named, and check nothing")
    parser.add_argument("--seeds", type=int, default=3, help="draws of each (default: 3)")
    parser.add_argument("--out", type=Path, default=Path("reports"), help="folder of the page (default: reports)")
    arguments = parser.parse_args()
    check_writable(arguments.out)
    page = arguments.out / "applications.md"
    rows, trained = read_rows(page, 6), read_rows(page, 4)
    for name in arguments.models or list_models():
        made = train(name, "he_normal") if arguments.train else [describe(name, arguments.seeds)]
        for row in made:
            click.echo(row)
            (trained if arguments.train else rows)[name_row(row)] = row
            # What takes hours is kept as it ends.
            publish_files(arguments.out, {"applications.md": "\n".join(write(rows, trained, arguments.seeds)) + "\n"})


if __name__ == "__main__":
    main()
