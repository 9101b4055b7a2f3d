"""The batch on which a model is measured: the user's own, or one made from what the model takes."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from initcheck.diagnosis.arrays import check_values, flatten, to_arrays
from initcheck.diagnosis.given_inputs import check_inputs
from initcheck.diagnosis.input_specs import InputSpec, find_specs, map_leaves, settle_shapes, specs_from_shapes
from initcheck.diagnosis.lookups import IndexRange, find_ranges, looks_up, record_lookups
from initcheck.diagnosis.preprocessing import undo_preprocessing
from initcheck.diagnosis.user_code import RaisedError, initializers_by_path, run_user_code
from initcheck.errors import DataError, ModelError, UsageError
from initcheck.keras_runtime import import_keras
from initcheck.probe.initializer_search import recorded_initializers
from initcheck.random_state import preserved_random_state
from initcheck.seeds import check_seed

LARGEST_BATCH: Final = 2**31
"""The largest number of values in one input that is made: 8 GiB of float32."""

_TEXT: Final = "string"


@dataclass(frozen=True, eq=False)
class ModelBatch:
    """One batch for a model, and what is to be known of it.

    Attributes:
        inputs: NumPy arrays of shape [samples, ...] in the structure that the model takes.
        labels: the user's labels as NumPy arrays in their structure; None without.
        description: the inputs in words, for the report.
        made: whether initcheck made the inputs.
        initializers: the initializer of each weight by its structural path where :func:`make_batch` built the model,
            as far as they can be known: it has precedence over what the loading of the model told. Empty where the
            model was built already.
    """

    inputs: Any
    labels: Any
    description: str
    made: bool
    initializers: Mapping[str, Any] = field(default_factory=dict)


def make_batch(
    model: Any,
    x: Any = None,
    y: Any = None,
    *,
    batch_size: int = 32,
    input_shapes: Sequence[str] | None = None,
    seed: int = 0,
) -> ModelBatch:
    """Make the batch on which a model is measured, and build the model if it is not built.

    Inputs that are not given are made: floats normal with variance 1; whole numbers uniform within the range of the
    Embedding (or CategoryEncoding) that they reach, the smallest of several, without 0 where that is masked as
    padding; 0 and 1 where they reach none (0 to 255 for images in uint8); booleans with equal chance. Inputs declared
    as floats that reach an Embedding are whole numbers too. Axes that the model leaves open are 64 for the height and
    width of images, else 16.

    The same arguments give the same inputs, bit for bit, and no global random state moves on. A model that is built
    already is not changed. One that is not is called once on the batch; its initializers are recorded on the way.

    Args:
        model: a Keras model.
        x: the batch to use, whole; alone or in dicts, lists or tuples.
        y: its labels.
        batch_size: number of samples to make; a batch size that the model fixes has precedence.
        input_shapes: shapes of one sample, ``"224,224,3"`` or, by the name of the input, ``"tokens=128"``.
        seed: seed of the inputs.

    Returns:
        The batch.

    Raises:
        UsageError: batch size, seed or shapes are out of range or do not fit the model.
        DataError: x or y cannot be used; see :func:`initcheck.diagnosis.given_inputs.check_inputs`.
        ModelError: the shape of the inputs is unknown, or the model cannot be built on them.
    """
    seed = check_seed(seed)
    if x is not None:
        if input_shapes:
            raise UsageError(
                f"Shapes are for inputs that are made, and x is given. Received: {', '.join(input_shapes)}. "
                "Leave out x or the shapes."
            )
        return _take_given(model, x, y)
    if y is not None:
        raise UsageError("Labels y without x: nothing says what belongs to them. Give x too, or leave out y.")
    size = _check_batch_size(batch_size)
    specs = find_specs(model)
    if specs is None and not input_shapes:
        raise ModelError(
            f"The input shape of the model {model.name!r} is unknown, for it was never called. "
            "Give --input-shape (for example --input-shape 224,224,3), or a batch of your own."
        )
    settled = specs_from_shapes(input_shapes or ()) if specs is None else settle_shapes(specs, input_shapes)
    size = _fixed_batch(settled) or size
    _check_makeable(settled, size)
    initializers: Mapping[str, Any] = {}
    if _is_unbuilt(model):
        settled, initializers = _build_on_zeros(model, settled)
    return _draw(model, settled, size, seed, initializers)


# --- the user's own batch ---------------------------------------------------------------------------------------------


def _take_given(model: Any, x: Any, y: Any) -> ModelBatch:
    specs = find_specs(model)
    inputs = check_inputs(x, specs)
    leaves = flatten(inputs)
    labels = None if y is None else _check_labels(y, len(leaves[0]))
    initializers = _build(model, inputs) if _is_unbuilt(model) else {}
    if looks_up(model):
        _check_indices(model, inputs)
    names = [spec.name for spec in flatten(specs)] if specs is not None else [f"input_{i}" for i in range(len(leaves))]
    told = [(name, "", leaf.shape[1:], "") for name, leaf in zip(names, leaves, strict=True)]
    return ModelBatch(inputs, labels, _describe("given", len(leaves[0]), told), False, initializers)


def _check_labels(y: Any, samples: int) -> Any:
    labels = to_arrays(y, "y")
    for position, leaf in enumerate(leaves := flatten(labels)):
        name = "y" if len(leaves) == 1 else f"y, labels {position},"
        if leaf.dtype.kind in "US":
            raise DataError(f"{name} must hold numbers. Received: dtype {leaf.dtype}. Encode the labels as numbers.")
        check_values(leaf, name)
        if len(leaf) != samples:
            raise DataError(
                f"{name} must have one label for each sample of x. "
                f"Received: {samples} samples, {len(leaf)} labels. Cut both to one length."
            )
    return labels


def _check_indices(model: Any, inputs: Any) -> None:
    for lookup in record_lookups(model, inputs):
        if lookup.indices is None or not lookup.indices.size:
            continue
        low, high = lookup.indices.min(), lookup.indices.max()
        if low < 0 or high >= lookup.rows:
            raise DataError(
                f"The inputs lead {lookup.path!r}, which has the rows 0 to {lookup.rows - 1}, to the row "
                f"{int(low if low < 0 else high)}. Encode the inputs within that range, or give the layer more rows."
            )


# --- a batch that is made ---------------------------------------------------------------------------------------------


def _check_batch_size(batch_size: Any) -> int:
    try:
        size = 0 if isinstance(batch_size, bool) else operator.index(batch_size)
    except TypeError:
        size = 0
    if size < 1:
        raise UsageError(f"The batch size must be a whole number of at least 1. Received: batch_size={batch_size!r}.")
    return size


def _fixed_batch(specs: Any) -> int | None:
    return next((spec.batch for spec in flatten(specs) if spec.batch is not None), None)


def _check_makeable(specs: Any, size: int) -> None:
    for spec in flatten(specs):
        if spec.dtype == _TEXT:
            raise ModelError(
                f"Input {spec.name!r} of the model takes text, which initcheck does not make. Give a batch of your own."
            )
        values = size * math.prod(spec.lengths)
        if values > LARGEST_BATCH:
            raise UsageError(
                f"A batch of {size} samples of shape {spec.shape} has {values:,} values; at most {LARGEST_BATCH:,} "
                "are made. Lower --batch-size or --input-shape."
            )


def _draw(model: Any, specs: Any, size: int, seed: int, initializers: Mapping[str, Any]) -> ModelBatch:
    leaves = flatten(specs)
    ranges = find_ranges(model, len(leaves), lambda position: _plain_batch(specs, _fixed_batch(specs) or 1, position))
    numbers = {id(leaf): position for position, leaf in enumerate(leaves)}
    words: dict[int, str] = {}

    def draw(spec: InputSpec) -> NDArray[Any]:
        position = numbers[id(spec)]
        # A stream of its own for each input: what one of them draws does not depend on the others.
        random = np.random.default_rng([seed, position])
        array, words[position] = _draw_input(spec, (size, *spec.lengths), ranges.get(position), random)
        if array.dtype.kind != "f":
            return array
        array, undone = undo_preprocessing(model, position, array)
        words[position] += " behind the model's own preprocessing" if undone else ""
        return array

    inputs = map_leaves(draw, specs)
    told = [(spec.name, words[place], spec.shape, _chosen(spec)) for place, spec in enumerate(leaves)]
    return ModelBatch(inputs, None, _describe("", size, told), True, initializers)


def _draw_input(
    spec: InputSpec, shape: tuple[int, ...], indices: IndexRange | None, random: np.random.Generator
) -> tuple[NDArray[Any], str]:
    """Draw one input, and say in words what it is."""
    dtype = "float32" if spec.dtype in (None, "bfloat16") else str(spec.dtype)
    whole = not import_keras().backend.is_float_dtype(dtype)
    if dtype == "bool":
        return random.random(shape) < 0.5, "True and False with equal chance"
    if indices is not None:
        words = f"whole numbers from {indices.low} to {indices.high}, the range of {' and '.join(indices.layers)}"
        words += ", without 0, which is padding" if indices.padding else ""
        # Indices stay whole numbers where the input is declared as floats: Keras casts them.
        values = random.integers(indices.low, indices.high, shape, endpoint=True)
        return values.astype(dtype if whole else "int32"), words
    if whole and dtype == "uint8" and len(spec.shape) >= 3:
        return random.integers(0, 255, shape, endpoint=True).astype(dtype), "whole numbers from 0 to 255"
    if whole:
        words = "whole numbers 0 and 1, because no Embedding tells their range"
        return random.integers(0, 1, shape, endpoint=True).astype(dtype), words
    if dtype == "float64":
        return random.standard_normal(shape), "normal with variance 1"
    return random.standard_normal(shape, dtype=np.float32).astype(dtype, copy=False), "normal with variance 1"


def _chosen(spec: InputSpec) -> str:
    if not spec.chosen:
        return ""
    lengths = " × ".join(str(spec.shape[axis]) for axis in spec.chosen)
    noun = "axis that the model leaves open" if len(spec.chosen) == 1 else "axes that the model leaves open"
    return f"{lengths} chosen for the {noun}"


def _describe(origin: str, size: int, told: list[tuple[str, str, tuple[int | None, ...], str]]) -> str:
    samples = f"{size} sample{'s' if size > 1 else ''}"
    if len(told) == 1:
        _, words, shape, chosen = told[0]
        parts = [origin, words, f"{samples} of shape {shape}", chosen]
        return ", ".join(part for part in parts if part)
    inputs = [
        f"{name!r}: " + ", ".join(part for part in (words, f"shape {shape}", chosen) if part)
        for name, words, shape, chosen in told
    ]
    return "; ".join([", ".join(part for part in (origin, samples) if part), *inputs])


# --- building the model -----------------------------------------------------------------------------------------------


def _is_unbuilt(model: Any) -> bool:
    """Tell whether a model, or any layer inside it, is not built; ``build`` may mark a model and build nothing."""
    return not model.built or any(not layer.built for layer in model._flatten_layers(include_self=False))


def _build_on_zeros(model: Any, specs: Any) -> tuple[Any, Mapping[str, Any]]:
    """Build a model on zeros, which are valid floats and valid indices.

    Returns:
        The specs, with the dtype int32 where the model takes no floats; and the initializers.
    """
    size = _fixed_batch(specs) or 2
    try:
        return specs, _build(model, _plain_batch(specs, size))
    except ModelError:
        if any(spec.dtype is not None for spec in flatten(specs)):
            raise
        whole = map_leaves(lambda spec: replace(spec, dtype="int32"), specs)
        try:
            return whole, _build(model, _plain_batch(whole, size))
        except ModelError:
            pass
        raise  # the first error tells more: floats are what most models take


def _build(model: Any, inputs: Any) -> Mapping[str, Any]:
    """Call a model once, and record the initializers of the weights that it makes."""
    with preserved_random_state(), recorded_initializers() as recorded:
        try:
            run_user_code(lambda: model(inputs, training=False))
        except RaisedError as error:
            shapes = ", ".join(str(leaf.shape) for leaf in flatten(inputs))
            raise ModelError(
                f"The model {model.name!r} cannot be built on inputs of shape {shapes}: {error}. "
                "Give the shape or the batch that it takes."
            ) from error
        return initializers_by_path(model, recorded)


def _plain_batch(specs: Any, size: int, ones: int | None = None) -> Any:
    """Make a batch of zeros, with ones for the input of one position."""
    numbers = {id(leaf): position for position, leaf in enumerate(flatten(specs))}
    fill: Callable[[InputSpec], NDArray[Any]] = lambda spec: np.full(  # noqa: E731
        (size, *spec.lengths),
        int(numbers[id(spec)] == ones),
        "float32" if spec.dtype in (None, "bfloat16") else spec.dtype,
    )
    return map_leaves(fill, specs)
