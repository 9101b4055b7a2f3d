"""The coordinate check: one model at several widths, measured at the start and after a few steps of training.

References:
    Yang et al., "Tensor Programs V: Tuning Large Neural Networks via Zero-Shot Hyperparameter Transfer", 2022,
    appendix D.1.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from initcheck.audit.width_exponents import WIDTH_KEYS, Exponent, Quantity, WidthScaling, fit_exponents
from initcheck.backend import runtime
from initcheck.backend.gradients import Optimizer
from initcheck.backend.runtime import import_keras
from initcheck.checking.input_specs import flatten
from initcheck.checking.inputs import ModelBatch, make_batch
from initcheck.checking.labels import compiled_loss, make_labelled_loss
from initcheck.checking.load_model import LoadedModel, adopt_model, load_model
from initcheck.checking.session import default_batch_size
from initcheck.checking.widths.report import write_width_json, write_width_text
from initcheck.core.errors import ModelError, UsageError, name_unknown
from initcheck.core.formatting import Progress, no_progress
from initcheck.core.seeds import BATCH_SEED, check_seed, whole_number
from initcheck.probe.draw import find_initializers
from initcheck.probe.paths import PathNamer
from initcheck.probe.widths import LEARNING_RATES, SIZES, WidthProbe

FEWEST_WIDTHS = 3
"""Two points lie on every line."""


@dataclass(frozen=True, eq=False)
class WidthReport:
    """How a model scales with its width.

    Attributes:
        scaling: what was measured and what follows, as plain data.
    """

    scaling: WidthScaling

    @property
    def exponents(self) -> tuple[Exponent, ...]:
        """For each layer call and quantity its exponent with an interval over seeds, and the verdict."""
        return self.scaling.exponents

    @property
    def table(self) -> pd.DataFrame:
        """The sizes, one row per width, seed and layer call."""
        return self.scaling.table

    @property
    def exit_code(self) -> int:
        """0: stable. 1: something grows or shrinks with the width. 2: undecided."""
        return {"stable": 0, "findings": 1, "undecided": 2}[self.scaling.verdict]

    def to_text(self) -> str:
        """Write the result for a terminal."""
        return write_width_text(self.scaling)

    def __str__(self) -> str:
        return self.to_text()

    def to_json(self) -> str:
        """Write everything as one JSON object."""
        return write_width_json(self.scaling)

    def to_html(self) -> str:
        """Write a page that needs nothing from elsewhere."""
        from initcheck.pages.html import render_html

        return render_html(self._document)

    def _repr_html_(self) -> str:
        from initcheck.pages.html import render_fragment

        return render_fragment(self._document)

    def to_markdown(self) -> str:
        """Write the same in Markdown; its pictures are those of ``pictures``."""
        from initcheck.pages.html import render_markdown

        return render_markdown(self._document)

    def pictures(self) -> dict[str, str]:
        """Draw the sizes over the widths: the texts of SVG files by name."""
        from initcheck.pages.html import render_pictures

        return render_pictures(self._document)

    @cached_property
    def _document(self) -> Any:
        from initcheck.checking.widths.report import build_width_document

        return build_width_document(self.scaling)


def check_widths(
    factory: Any,
    widths: Sequence[int],
    *,
    width_arg: str = "width",
    steps: int = 5,
    seeds: int = 16,
    first_seed: int = 0,
    optimizer: Optimizer = "sgd",
    learning_rate: float | None = None,
    x: Any = None,
    y: Any = None,
    batch_size: int | None = None,
    input_shapes: Sequence[str] = (),
    arguments: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> WidthReport:
    """Check how activations, outputs and what training changes in them scale with the width of a network.

    For each width the factory makes a model, whose weights are drawn for each seed by their own initializers. Measured
    are the root mean square and the mean absolute value of what each layer call returns (of an output with an
    activation function: what goes into it) at the start, after the steps, and of the difference. All on one batch.

    With labels the loss is the model's compiled one. Without, labels are made: random classes for outputs of two or
    more units, with cross-entropy; normal numbers for others, with the mean squared error.

    Args:
        factory: a function that makes a Keras model, or text: ``package.module:factory`` or ``path/file.py:factory``.
        widths: at least three, increasing.
        width_arg: the argument of the factory that takes the width.
        steps: steps of training; 0 measures the start alone.
        seeds: networks of each width, at least two.
        first_seed: the first of their seeds.
        optimizer: ``sgd`` or ``adam``; it is made here, whatever the model was compiled with.
        learning_rate: of each step, the same at all widths. None takes Keras' default, 0.01 and 0.001.
        x: the batch; None makes one.
        y: its labels; None makes them.
        batch_size: samples of a batch that is made.
        input_shapes: shapes of inputs that the model leaves open, as ``"128"`` or ``"tokens=128"``.
        arguments: further arguments of the factory.
        progress: called with the networks done, their number, and what is being done.

    Returns:
        The report: ``exponents``, ``table``, ``exit_code``, ``to_html()``.

    Raises:
        UsageError: an argument is out of range, or the factory does not take the width.
        ModelError: a model cannot be made, or models of different widths do not have the same layers.
        DataError: the batch or the labels do not fit.
    """
    sizes = _check_widths(widths)
    steps = _check_count(steps, "steps", 0)
    seeds = _check_count(seeds, "seeds", 2)
    check_seed(first_seed)
    rate = _check_descent(optimizer, learning_rate)
    given = dict(arguments or {})
    if width_arg in given:
        raise UsageError(
            f"The width is given by widths alone. Received: {width_arg}={given[width_arg]!r} too. Leave it out."
        )
    numbers = tuple(range(first_seed, first_seed + seeds))
    show = progress or no_progress
    frames: list[pd.DataFrame] = []
    counts: list[int] = []
    names: dict[str, str] = {}
    first: ModelBatch | None = None
    for place, width in enumerate(sizes):
        loaded = _make_model(factory, {**given, width_arg: width}, width_arg)
        batch = make_batch(
            loaded.model,
            x,
            y,
            batch_size=batch_size or default_batch_size(loaded.model),
            input_shapes=tuple(input_shapes),
            seed=BATCH_SEED,
        )
        first = first or batch
        _check_same_inputs(first, batch, width_arg, sizes[0], width)
        counts.append(sum(math.prod(weight.shape) for weight in loaded.model.weights))
        if counts[-1] in counts[:-1]:
            same = sizes[counts.index(counts[-1])]
            raise UsageError(
                f"The model has as many weights at {width_arg}={width} as at {width_arg}={same}: there its size does "
                "not depend on that argument. Name the one that is the width, or give widths that the factory takes."
            )
        if steps and not loaded.model.trainable_weights:
            raise ModelError(
                f"The model {loaded.label!r} has no weight that is trained, so training changes nothing. "
                "Give 0 steps to check the start alone."
            )
        loss, loss_words = _make_loss(loaded.model, batch)
        probe = WidthProbe(
            loaded.model,
            batch.inputs,
            loss=loss,
            optimizer=optimizer,
            learning_rate=rate,
            initializers=_find_initializers(loaded, batch.initializers),
        )
        _check_drawn(probe, loaded)

        def tell_width(done: int, base: int = place * len(numbers), width: int = width) -> None:
            show(base + done, len(sizes) * len(numbers), f"width {width}")

        frames.append(_measure(probe, width, numbers, steps, names, tell_width))
        _check_same_layers(frames[0], frames[-1], sizes[0], width)
    table = pd.concat(frames, ignore_index=True)
    quantities: tuple[Quantity, ...] = ("start", "trained", "change") if steps else ("start",)
    return WidthReport(
        WidthScaling(
            model=loaded.label,
            width_arg=width_arg,
            widths=sizes,
            seeds=numbers,
            steps=steps,
            optimizer=optimizer,
            learning_rate=rate,
            batch=first.description if first else "",
            loss=loss_words,
            exponents=tuple(fit_exponents(table, quantities)),
            table=table if steps else table.drop(columns=[name for name in SIZES if not name.startswith("start")]),
            versions=runtime.versions(),
        )
    )


def _make_model(factory: Any, settings: Mapping[str, Any], width_arg: str) -> LoadedModel:
    if isinstance(factory, str):
        return load_model(factory, settings)
    keras = import_keras()
    if not callable(factory) or isinstance(factory, keras.Model):
        raise UsageError(
            f"A function that makes the model at each width is needed. Received: {type(factory).__name__}. "
            f"Give one that takes {width_arg}=..., or text: package.module:factory."
        )
    name = str(getattr(factory, "__qualname__", type(factory).__name__))
    parameters = inspect.signature(factory).parameters
    if not any(each.kind is each.VAR_KEYWORD for each in parameters.values()):
        for argument in settings:
            if argument not in parameters:
                takes = f"It takes {', '.join(parameters)}." if parameters else "It takes none."
                raise UsageError(f"{name!r} has no argument {argument!r}. {takes}")

    def make() -> Any:
        return factory(**settings)

    make.__qualname__ = name
    return adopt_model(make)


def _measure(
    probe: WidthProbe,
    width: int,
    seeds: Sequence[int],
    steps: int,
    names: dict[str, str],
    show: Callable[[int], None],
) -> pd.DataFrame:
    """Measure one width; layers are matched by structural path, and bear their names in the first model, ``names``."""
    show(0)
    sizes = []
    for done, seed in enumerate(seeds):
        sizes.append(probe.measure_sizes(seed, steps))
        show(done + 1)
    sites = probe.captured_sites
    keys = {
        "width": np.full(len(sites) * len(seeds), width, dtype=np.int64),
        "seed": np.repeat(np.asarray(seeds, dtype=np.int64), len(sites)),
        "layer": [names.setdefault(each.site.key, each.site.layer) for each in sites] * len(seeds),
        "call": [each.site.call for each in sites] * len(seeds),
        "position": list(range(len(sites))) * len(seeds),
        "kind": [each.site.kind for each in sites] * len(seeds),
        "output": [each.output for each in sites] * len(seeds),
        "trainable": [each.trained for each in sites] * len(seeds),
    }
    values = np.concatenate(sizes)
    numbers = {name: values[:, place] for place, name in enumerate(SIZES)}
    return pd.DataFrame({name: keys[name] for name in WIDTH_KEYS} | numbers)


def _check_same_layers(first: pd.DataFrame, other: pd.DataFrame, first_width: int, other_width: int) -> None:
    mine, theirs = (
        list(frame.drop_duplicates("position")[["layer", "call"]].itertuples(index=False, name=None))
        for frame in (first, other)
    )
    if mine == theirs:
        return
    odd = next((pair for pair in zip(mine, theirs, strict=False) if pair[0] != pair[1]), None)
    if odd is None:
        received = f"{len(mine)} layer calls at width {first_width}, {len(theirs)} at {other_width}"
    else:
        received = f"{odd[0][0]!r} at width {first_width} where {odd[1][0]!r} is at {other_width}"
    raise ModelError(
        f"Models of different widths must have the same layers in the same order. Received: {received}. "
        "Let the width change sizes alone."
    )


def _find_initializers(loaded: LoadedModel, of_batch: Mapping[str, Any]) -> dict[str, Any]:
    known = find_initializers(loaded.model, PathNamer(loaded.model))
    return {**known, **(loaded.initializers or {}), **of_batch}


def _check_drawn(probe: WidthProbe, loaded: LoadedModel) -> None:
    trained = {id(variable) for variable in loaded.model.trainable_variables}
    for name, planned in zip(probe.plan.names, probe.plan.variables, strict=True):
        if planned.initializer is None and id(planned.variable) in trained:
            raise ModelError(
                f"The weight {name!r} of {loaded.label!r} cannot be drawn for each seed: {planned.reason}. "
                "Give its layer an initializer that can be read off it."
            )


def _make_loss(model: Any, batch: ModelBatch) -> tuple[Callable[[Any], Any], str]:
    if batch.labels is None:
        return make_labelled_loss(model, batch.inputs)
    return compiled_loss(model, batch.labels), "the model's compiled loss, with the labels given"


def _check_same_inputs(first: ModelBatch, batch: ModelBatch, width_arg: str, first_width: int, width: int) -> None:
    mine, theirs = _shapes_of(first.inputs), _shapes_of(batch.inputs)
    if mine != theirs:
        raise ModelError(
            f"The inputs of the model must not depend on {width_arg!r}. Received: samples of shape {mine} at width "
            f"{first_width}, and {theirs} at {width}. Let the width change hidden layers alone."
        )


def _shapes_of(inputs: Any) -> list[tuple[int, ...]]:
    return [tuple(leaf.shape[1:]) for leaf in flatten(inputs)]


def _check_widths(widths: Any) -> tuple[int, ...]:
    given = widths if isinstance(widths, Sequence) and not isinstance(widths, str) else []
    sizes = tuple(width for each in given if (width := whole_number(each, 1)) is not None)
    rising = all(low < high for low, high in pairwise(sizes))
    if len(sizes) != len(given) or len(sizes) < FEWEST_WIDTHS or not rising:
        raise UsageError(
            f"The widths must be at least {FEWEST_WIDTHS} whole numbers from 1, increasing. Received: {widths!r}. "
            "Try 64, 128, 256, 512."
        )
    return sizes


def _check_count(value: Any, name: str, least: int) -> int:
    number = whole_number(value, least)
    if number is None:
        raise UsageError(f"{name} must be a whole number of at least {least}. Received: {name}={value!r}.")
    return number


def _check_descent(optimizer: Any, learning_rate: Any) -> float:
    if optimizer not in LEARNING_RATES:
        raise name_unknown("optimizer", str(optimizer), LEARNING_RATES)
    if learning_rate is None:
        return LEARNING_RATES[optimizer]
    number = isinstance(learning_rate, int | float) and not isinstance(learning_rate, bool)
    if not number or not (0.0 < learning_rate < math.inf):
        raise UsageError(f"The learning rate must be a number above 0. Received: learning_rate={learning_rate!r}.")
    return float(learning_rate)
