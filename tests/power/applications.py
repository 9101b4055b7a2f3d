"""Checks the models of ``keras.applications`` and writes what is said of each into ``reports/applications.md``.

Run it with ``tox run -e applications``. They were published and train, so that a problem would have to be argued.
"""

from __future__ import annotations

import argparse
import gc
import inspect
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

import initcheck
from initcheck.backend.runtime import import_keras
from initcheck.core.errors import InitcheckError
from initcheck.core.files import check_writable, publish_files
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


def write(rows: Sequence[str], seeds: int) -> Iterator[str]:
    """Write the page."""
    yield "# What is said of published models\n"
    yield (
        f"{len(rows)} models of keras.applications without pretrained weights, {seeds} draws, 4 images of the size "
        "given. They were published and train, so that exit code 1 has to be argued. Of VGG16 and VGG19 it is right: "
        "Glorot's initializer before ReLU halves the square with each layer, and He et al. 2015 drew such networks "
        "otherwise to train them. A wrong fan in front of a normalization, and float16's range in a float32 model, are "
        "notes.\n"
    )
    yield "| model | size | exit code | paths judged | seconds | what is said |\n|---|---|---|---|---|---|"
    yield from rows


def main() -> None:
    """Check the models, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", help="models (default: all)")
    parser.add_argument("--seeds", type=int, default=3, help="draws of each (default: 3)")
    parser.add_argument("--out", type=Path, default=Path("reports"), help="folder of the page (default: reports)")
    arguments = parser.parse_args()
    check_writable(arguments.out)
    rows = []
    for name in arguments.models or list_models():
        rows.append(describe(name, arguments.seeds))
        click.echo(rows[-1])
    publish_files(arguments.out, {"applications.md": "\n".join(write(rows, arguments.seeds)) + "\n"})


if __name__ == "__main__":
    main()
