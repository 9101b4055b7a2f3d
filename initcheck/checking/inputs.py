"""The batch on which a model is measured: the user's own, or one made from what the model takes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from initcheck.backend.random_state import preserved_random_state
from initcheck.backend.runtime import import_keras
from initcheck.checking.input_specs import (
    IndexRange,
    InputSpec,
    check_values,
    find_ranges,
    find_specs,
    flatten,
    looks_up,
    map_leaves,
    read_labels,
    record_lookups,
    settle_shapes,
    show_shape,
    specs_from_shapes,
    to_arrays,
)
from initcheck.checking.load_model import initializers_by_path
from initcheck.core.errors import DataError, ModelError, UsageError
from initcheck.core.loading import RaisedError, run_user_code
from initcheck.core.seeds import check_seed, whole_number
from initcheck.probe.draw import recorded_initializers

LARGEST_BATCH: Final = 2**31
"""The largest number of values in one input that is made: 8 GiB of float32."""


def check_inputs(x: Any, specs: Any) -> Any:
    """Check a batch, and bring it into the structure and dtypes that the model takes.

    Whole numbers become floats where the model takes floats and the other way round, where no digit is lost; floats of
    other dtypes, which Keras would cast in a training step too, become Keras' default float.
    """
    arrays = to_arrays(x, "x")
    if specs is None:
        leaves = flatten(arrays)
        names = ["x"] if len(leaves) == 1 else [f"x, input {position}," for position in range(len(leaves))]
        _check_leaves(leaves, names)
        return map_leaves(_default_float, arrays)
    arranged = _arrange(arrays, specs, "x")
    leaves, wanted = flatten(arranged), flatten(specs)
    _check_leaves(leaves, [f"Input {spec.name!r}" for spec in wanted])
    return map_leaves(lambda array, spec: _fit_dtype(_fit_shape(array, spec), spec), arranged, specs)


def _check_leaves(leaves: list[NDArray[Any]], names: list[str]) -> None:
    if not leaves:
        raise DataError("x is empty. Received: no array. Give one array for each input of the model.")
    for leaf, name in zip(leaves, names, strict=True):
        check_values(leaf, name)
    counts = [len(leaf) for leaf in leaves]
    if len(set(counts)) > 1:
        received = ", ".join(f"{count} in {name}" for count, name in zip(counts, names, strict=True))
        raise DataError(
            f"All inputs must have the same number of samples. Received: {received}. Cut them to one length."
        )


def _arrange(arrays: Any, specs: Any, where: str) -> Any:
    """Bring arrays into the structure of the specs, as Keras' own models do."""
    if isinstance(specs, InputSpec):
        leaves = flatten(arrays)
        if len(leaves) != 1:
            raise DataError(
                f"{where} must be one array, for input {specs.name!r}. Received: {_describe_given(arrays)}. "
                "Join samples with numpy.stack."
            )
        return leaves[0]
    if isinstance(specs, Mapping):
        if not isinstance(arrays, Mapping):
            raise DataError(
                f"{where} must be a dict with the keys {_keys(specs)}. Received: {_describe_given(arrays)}."
            )
        return _by_key(arrays, specs, where)
    names = [spec.name if isinstance(spec, InputSpec) else "" for spec in specs]
    if isinstance(arrays, Mapping) and all(names):
        named = dict(zip(names, specs, strict=True))
        arranged = _by_key(arrays, named, where)
        parts = [arranged[name] for name in names]
    elif isinstance(arrays, list | tuple) and len(arrays) == len(specs):
        pairs = enumerate(zip(arrays, specs, strict=True))
        parts = [_arrange(part, spec, f"{where}[{place}]") for place, (part, spec) in pairs]
    elif len(specs) == 1 and isinstance(arrays, np.ndarray):
        parts = [_arrange(arrays, specs[0], where)]
    else:
        listed = f" ({', '.join(names)})" if all(names) else ""
        raise DataError(
            f"{where} must be a list of {len(specs)} arrays, one for each input{listed}. "
            f"Received: {_describe_given(arrays)}."
        )
    return parts if isinstance(specs, list) else tuple(parts)


def _by_key(arrays: Mapping[str, Any], specs: Mapping[str, Any], where: str) -> dict[str, Any]:
    missing = [key for key in specs if key not in arrays]
    unknown = [key for key in arrays if key not in specs]
    if missing or unknown:
        wrong = f"lacks {_keys(missing)}" if missing else f"has unknown inputs: {_keys(unknown)}"
        raise DataError(f"{where} {wrong}. Received: keys {_keys(arrays)}. The model takes {_keys(specs)}.")
    return {key: _arrange(arrays[key], specs[key], f"{where}[{key!r}]") for key in specs}


def _fit_shape(array: NDArray[Any], spec: InputSpec) -> NDArray[Any]:
    sample, wanted = array.shape[1:], spec.shape
    # As functional models of Keras do: a last axis of one entry may be left out or be too many.
    if len(sample) == len(wanted) - 1 and wanted[-1] == 1:
        array = array[..., np.newaxis]
    elif len(sample) == len(wanted) + 1 and sample[-1] == 1:
        array = array[..., 0]
    sample = array.shape[1:]
    if not spec.fits(sample):
        single = len(array.shape) == len(wanted)
        advice = "Is the batch axis missing? array[None] adds it." if single else "Reshape the data."
        wanted = wanted if spec.binding else (None,) * len(wanted)
        raise DataError(
            f"Input {spec.name!r} takes samples of shape {show_shape(wanted)}. "
            f"Received: an array of shape {array.shape}, samples of shape {sample}. {advice}"
        )
    if spec.batch is not None and len(array) != spec.batch:
        raise DataError(
            f"Input {spec.name!r} takes batches of {spec.batch} samples alone. Received: {len(array)} samples. "
            f"Give {spec.batch}."
        )
    return array


def _fit_dtype(array: NDArray[Any], spec: InputSpec) -> NDArray[Any]:
    keras = import_keras()
    if spec.dtype is None:
        return _default_float(array)
    text = array.dtype.kind in "US"
    if text != (spec.dtype == "string"):
        takes = "text" if spec.dtype == "string" else f"numbers ({spec.dtype})"
        raise DataError(f"Input {spec.name!r} takes {takes}. Received: dtype {array.dtype}. Convert the data.")
    if text:
        return array
    if keras.backend.is_float_dtype(spec.dtype):
        # bfloat16 is no dtype of NumPy's own: Keras casts to it.
        own = "float32" if spec.dtype == "bfloat16" else spec.dtype
        return _to_float(array, own, f"Input {spec.name!r}", spec.dtype)
    dtype = np.dtype(spec.dtype)
    converted = array.astype(dtype)
    if not np.array_equal(converted, array):
        what = "True and False" if dtype.kind == "b" else f"whole numbers ({spec.dtype})"
        raise DataError(
            f"Input {spec.name!r} takes {what}. Received: dtype {array.dtype} with other values. Convert the data."
        )
    return converted


def _default_float(array: NDArray[Any]) -> NDArray[Any]:
    if array.dtype.kind != "f":
        return array
    dtype = import_keras().config.floatx()
    return _to_float(array, dtype, "x", dtype)


def _to_float(array: NDArray[Any], dtype: str, subject: str, called: str) -> NDArray[Any]:
    with np.errstate(over="ignore"):
        converted = array.astype(dtype)
    if not np.isfinite(converted).all():
        raise DataError(
            f"{subject} has values that are too large for {called}. "
            f"Received: values up to {float(np.max(np.abs(array))):.3g}. Scale the data."
        )
    return converted


def _describe_given(arrays: Any) -> str:
    if isinstance(arrays, Mapping):
        return f"a dict with the keys {_keys(arrays)}"
    if isinstance(arrays, list | tuple):
        return f"a {type(arrays).__name__} of {len(arrays)}"
    return f"an array of shape {arrays.shape}"


def _keys(keys: Any) -> str:
    return ", ".join(map(repr, keys)) or "none"


def undo_preprocessing(model: Any, number: int, values: NDArray[Any]) -> tuple[NDArray[Any], bool]:
    """Undo the preprocessing at one input of a functional or sequential model, from what should come out of it."""
    chain = _leading_layers(model, number)
    for layer in reversed(chain):
        scale, offset = _read_affine(layer)
        values = ((values - offset) / scale).astype(values.dtype)
    return values, bool(chain)


def _leading_layers(model: Any, number: int) -> list[Any]:
    """List the preprocessing layers between an input and the first other layer."""
    keras = import_keras()
    inputs = keras.tree.flatten(getattr(model, "inputs", None) or [])
    if number >= len(inputs):
        return []
    kinds = (keras.layers.Rescaling, keras.layers.Normalization)
    tensor = inputs[number]
    found: list[Any] = []
    while True:
        takers = [layer for layer in getattr(model, "layers", ()) if _takes(layer, tensor)]
        if len(takers) != 1 or not isinstance(takers[0], kinds):
            return found
        found.append(takers[0])
        tensor = takers[0].output


def _takes(layer: Any, tensor: Any) -> bool:
    nodes = getattr(layer, "_inbound_nodes", ())
    return any(any(each is tensor for each in node.input_tensors) for node in nodes)


def _read_affine(layer: Any) -> tuple[Any, Any]:
    """Read the scale and the offset of y = scale * x + offset."""
    keras = import_keras()
    if isinstance(layer, keras.layers.Rescaling):
        return np.asarray(layer.scale, dtype=np.float64), np.asarray(layer.offset, dtype=np.float64)
    mean = np.asarray(keras.ops.convert_to_numpy(layer.mean), dtype=np.float64)
    deviation = np.sqrt(np.asarray(keras.ops.convert_to_numpy(layer.variance), dtype=np.float64))
    deviation = np.maximum(deviation, keras.config.epsilon())
    if layer.invert:
        return deviation, mean
    return 1.0 / deviation, -mean / deviation


@dataclass(frozen=True, eq=False)
class ModelBatch:
    """One batch for a model, and what is to be known of it.

    Attributes:
        inputs: NumPy arrays of shape [samples, ...] in the structure that the model takes.
        labels: the user's labels as NumPy arrays in their structure; None without.
        initializers: the initializer of each weight by its structural path where :func:`make_batch` built the model,
            as far as they can be known: it has precedence over what the loading of the model said. Empty where the
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
        input_shapes: shapes of one sample, ``"224,224,3"`` or, by the name of the input, ``"tokens=128"``.
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
    size = whole_number(batch_size, 1)
    if size is None:
        raise UsageError(f"The batch size must be a whole number of at least 1. Received: batch_size={batch_size!r}.")
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
    labels = None if y is None else read_labels(y, "y", "labels", len(leaves[0]))
    initializers = _build(model, inputs) if _is_unbuilt(model) else {}
    if looks_up(model):
        _check_indices(model, inputs)
    names = [spec.name for spec in flatten(specs)] if specs is not None else [f"input_{i}" for i in range(len(leaves))]
    parts = [(name, "", leaf.shape[1:], "") for name, leaf in zip(names, leaves, strict=True)]
    return ModelBatch(inputs, labels, _describe("given", len(leaves[0]), parts), False, initializers)


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


def _fixed_batch(specs: Any) -> int | None:
    return next((spec.batch for spec in flatten(specs) if spec.batch is not None), None)


def _check_makeable(specs: Any, size: int) -> None:
    for spec in flatten(specs):
        if spec.dtype == "string":
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
    is_float_dtype = import_keras().backend.is_float_dtype
    whole = [spec.dtype is not None and not is_float_dtype(spec.dtype) for spec in leaves]
    ranges = find_ranges(model, whole, lambda *filled: _plain_batch(specs, _fixed_batch(specs) or 1, filled))
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
    parts = [(spec.name, words[place], spec.shape, _chosen(spec)) for place, spec in enumerate(leaves)]
    return ModelBatch(inputs, None, _describe("", size, parts), True, initializers)


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
        # Baselines keep this description and compare it: another wording would count as another batch.
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


def _describe(origin: str, size: int, inputs: list[tuple[str, str, tuple[int | None, ...], str]]) -> str:
    samples = f"{size} sample{'s' if size > 1 else ''}"
    if len(inputs) == 1:
        _, words, shape, chosen = inputs[0]
        parts = [origin, words, f"{samples} of shape {shape}", chosen]
        return ", ".join(part for part in parts if part)
    described = [
        f"{name!r}: " + ", ".join(part for part in (words, f"shape {shape}", chosen) if part)
        for name, words, shape, chosen in inputs
    ]
    return "; ".join([", ".join(part for part in (origin, samples) if part), *described])


# --- building the model -----------------------------------------------------------------------------------------------


def _is_unbuilt(model: Any) -> bool:
    """Find whether a model, or any layer inside it, is not built; ``build`` may mark a model and build nothing."""
    return not model.built or any(not layer.built for layer in model._flatten_layers(include_self=False))


def _build_on_zeros(model: Any, specs: Any) -> tuple[Any, Mapping[str, Any]]:
    """Build a model on zeros, which are valid floats and valid indices."""
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
        raise  # the first error says more: floats are what most models take


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


def _plain_batch(specs: Any, size: int, filled: tuple[int, int] = (0, 0)) -> Any:
    """Make a batch of zeros; the input of one position is filled with a number, or the largest one of its dtype."""
    numbers = {id(leaf): position for position, leaf in enumerate(flatten(specs))}

    def fill(spec: InputSpec) -> NDArray[Any]:
        dtype = np.dtype("float32" if spec.dtype in (None, "bfloat16") else spec.dtype)
        value = filled[1] if numbers[id(spec)] == filled[0] else 0
        most = 1 if dtype.kind == "b" else np.iinfo(dtype).max if dtype.kind in "iu" else np.finfo(dtype).max
        return np.full((size, *spec.lengths), min(value, most), dtype)

    return map_leaves(fill, specs)
