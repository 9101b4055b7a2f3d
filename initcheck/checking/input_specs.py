"""What inputs a model takes: names, shapes and dtypes, as the model or the command line says, and which are indices."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from initcheck.backend.random_state import preserved_random_state
from initcheck.backend.runtime import import_keras
from initcheck.core.errors import DataError, UsageError, name_unknown
from initcheck.core.loading import RaisedError, run_user_code
from initcheck.models.data import find_nonfinite
from initcheck.probe.layer_kinds import count_rows
from initcheck.probe.paths import PathNamer

DEFAULT_LENGTH: Final = 16
"""Length of an axis that the model leaves open."""

DEFAULT_SIDE: Final = 64
"""Height and width of images where the model leaves both open."""

DEFAULT_CHANNELS: Final = 3
"""Channels of images where the model leaves all of the shape open."""

_AUTOMATIC: Final = re.compile(r"(keras_tensor|input_layer|input)(_\d+)?")

Shape = tuple[int | None, ...]


@dataclass(frozen=True)
class InputSpec:
    """One input of a model.

    Attributes:
        shape: shape of one sample, without the batch axis; None for an axis that the model leaves open.
        dtype: name of the dtype; None where the model does not say.
        binding: whether the model refuses other shapes. A subclassed model only remembers what it was built with.
        chosen: the axes whose length initcheck chose.
    """

    name: str
    shape: Shape
    dtype: str | None = None
    batch: int | None = None
    binding: bool = True
    chosen: tuple[int, ...] = ()

    @property
    def lengths(self) -> tuple[int, ...]:
        """The shape of one sample, once no axis is open."""
        return tuple(size for size in self.shape if size is not None)

    def fits(self, lengths: tuple[int, ...]) -> bool:
        """Find whether samples of this shape can be given."""
        return len(lengths) == len(self.shape) and (not self.binding or matches(lengths, self.shape))


def matches(lengths: tuple[int, ...], shape: Shape) -> bool:
    """Find whether lengths are those of a shape, whatever stands at its open axes."""
    return len(lengths) == len(shape) and all(size in (None, own) for size, own in zip(shape, lengths, strict=True))


def find_specs(model: Any) -> Any:
    """Find what inputs a model takes: :class:`InputSpec` leaves in its structure; None where it does not say."""
    keras = import_keras()
    if isinstance(model, keras.Sequential):
        if not model.built or not model.inputs:
            return None
        # Built by a call, it bears that call's batch size; only stateful layers hold on to it.
        fixed = any(getattr(layer, "stateful", False) for layer in model.layers)
        spec = _name_leaves(model.inputs[0], _read_tensor)
        return spec if fixed else replace(spec, batch=None)
    if getattr(model, "_inputs_struct", None) is not None:  # a functional model
        return _name_leaves(model._inputs_struct, _read_tensor)
    if not model.built:
        return None
    config = model.get_build_config() or {}
    shapes = config.get("input_shape")
    return _name_leaves(shapes, _read_shape) if _is_structure_of_shapes(shapes) else None


def read_shapes(texts: Sequence[str]) -> list[tuple[str | None, tuple[int, ...]]]:
    """Read the name (or None) and the shape of each text of the command line, ``NAME=224,224,3`` or the shape alone."""
    found: list[tuple[str | None, tuple[int, ...]]] = []
    for text in texts:
        name, equals, sizes = text.rpartition("=")
        words = sizes.strip().strip("()[]").strip().rstrip(",").split(",")
        try:
            shape = tuple(int(word) for word in words)
        except ValueError:
            shape = (0,)
        if any(size < 1 for size in shape) or (equals and not name.strip()):
            raise UsageError(
                "--input-shape takes the shape of one sample in whole numbers of at least 1, with the input's name "
                f"where there are several: 224,224,3 or tokens=128. Received: {text!r}."
            )
        if equals and name.strip() in [earlier for earlier, _ in found]:
            raise UsageError(f"--input-shape names {name.strip()!r} twice. Received: {text!r}. Give each input once.")
        found.append((name.strip() if equals else None, shape))
    names = [name for name, _ in found]
    if None in names and any(name is not None for name in names):
        raise UsageError(f"--input-shape takes names for all inputs or for none. Received: {', '.join(texts)}.")
    return found


def specs_from_shapes(texts: Sequence[str]) -> Any:
    """Make specs for a model that does not say what it takes; named shapes make a dict, several unnamed ones a list."""
    shapes = read_shapes(texts)
    if shapes[0][0] is not None:
        return {name: InputSpec(str(name), shape, binding=False) for name, shape in shapes}
    if len(shapes) == 1:
        return InputSpec("input", shapes[0][1], binding=False)
    return [InputSpec(f"input_{position}", shape, binding=False) for position, (_, shape) in enumerate(shapes)]


def settle_shapes(specs: Any, texts: Sequence[str] | None) -> Any:
    """Give every axis a length: the user's, the model's own, or a default."""
    leaves = flatten(specs)
    names = [leaf.name for leaf in leaves]
    given: dict[str, tuple[int, ...]] = {}
    for position, (name, shape) in enumerate(read_shapes(texts or ())):
        if name is None and len(texts or ()) != len(leaves):
            raise UsageError(
                f"The model has {len(leaves)} input{'s' if len(leaves) > 1 else ''} ({', '.join(names)}). "
                f"Received: {len(texts or ())} shapes without names. Write --input-shape {names[0]}=SHAPE."
            )
        if name is not None and name not in names:
            raise name_unknown("input", name, names)
        given[names[position] if name is None else name] = shape
    return map_leaves(lambda leaf: _settle(leaf, given.get(leaf.name)), specs)


def map_leaves(function: Callable[..., Any], structure: Any, *others: Any) -> Any:
    """Apply a function to each leaf of dicts, lists and tuples of equal structure."""
    if isinstance(structure, Mapping):
        return {key: map_leaves(function, structure[key], *(other[key] for other in others)) for key in structure}
    if isinstance(structure, list | tuple):
        parts = [map_leaves(function, *row) for row in zip(structure, *others, strict=True)]
        return parts if isinstance(structure, list) else tuple(parts)
    return function(structure, *others)


def _settle(spec: InputSpec, given: tuple[int, ...] | None) -> InputSpec:
    if given is None:
        chosen = tuple(axis for axis, size in enumerate(spec.shape) if size is None)
        return replace(spec, shape=_fill(spec.shape), chosen=chosen)
    if not spec.fits(given):
        more = " Leave out the batch axis." if len(given) == len(spec.shape) + 1 else " Give a shape that fits."
        raise UsageError(
            f"Input {spec.name!r} takes samples of shape {show_shape(spec.shape)}. "
            f"Received: --input-shape {','.join(map(str, given))}.{more}"
        )
    return replace(spec, shape=given)


def show_shape(shape: Shape) -> str:
    """Write a shape as a tuple, an open axis as ``any``."""
    return str(shape).replace("None", "any")


def _fill(shape: Shape) -> tuple[int, ...]:
    """Choose lengths for the open axes."""
    side = DEFAULT_LENGTH
    if len(shape) == 3 and (shape[:2] == (None, None) or shape[1:] == (None, None)):
        side = DEFAULT_SIDE
    if shape == (None, None, None):
        first = import_keras().config.image_data_format() == "channels_first"
        return (DEFAULT_CHANNELS, side, side) if first else (side, side, DEFAULT_CHANNELS)
    return tuple(side if size is None else size for size in shape)


def _name_leaves(structure: Any, read: Callable[[Any, str | None], InputSpec]) -> Any:
    """Read all leaves and give numbers to those without a name."""
    specs = _read_structure(structure, None, read)
    leaves = flatten(specs)
    numbers = {id(leaf): position for position, leaf in enumerate(leaves)}

    def name(leaf: InputSpec) -> InputSpec:
        if leaf.name:
            return leaf
        return replace(leaf, name="input" if len(leaves) == 1 else f"input_{numbers[id(leaf)]}")

    return map_leaves(name, specs)


def _read_structure(structure: Any, key: str | None, read: Callable[[Any, str | None], InputSpec]) -> Any:
    if isinstance(structure, Mapping):
        return {key: _read_structure(part, str(key), read) for key, part in structure.items()}
    if isinstance(structure, list | tuple) and not _is_shape(structure):
        parts = [_read_structure(part, None, read) for part in structure]
        return parts if isinstance(structure, list) else tuple(parts)
    return read(structure, key)


def _read_tensor(tensor: Any, key: str | None) -> InputSpec:
    batch, *shape = tuple(tensor.shape) or (None,)
    name = key or ("" if _AUTOMATIC.fullmatch(tensor.name) else tensor.name)
    return InputSpec(name, tuple(shape), import_keras().backend.standardize_dtype(tensor.dtype), batch)


def _read_shape(shape: Any, key: str | None) -> InputSpec:
    return InputSpec(key or "", tuple(shape[1:]), binding=False)


def _is_shape(structure: Any) -> bool:
    return isinstance(structure, list | tuple) and all(size is None or isinstance(size, int) for size in structure)


def _is_structure_of_shapes(structure: Any) -> bool:
    if isinstance(structure, Mapping):
        return bool(structure) and all(_is_structure_of_shapes(part) for part in structure.values())
    if not isinstance(structure, list | tuple) or not structure:
        return False
    return _is_shape(structure) or all(_is_structure_of_shapes(part) for part in structure)


# --- inputs that are indices ------------------------------------------------------------------------------------------


# Neither the dtype of an input (`keras.Input((7,))` is a float even before an Embedding) nor the graph says which are
# indices: a subclassed model has none, and a layer may hold an Embedding of tokens beside one of positions. So the
# model is run, on batches that differ in one input alone. An input is one of indices if a number beyond all tables
# leads beyond the end of a table. What is picked by argmax, or put into bins, stays within: the input in front of it
# holds real numbers. If it is declared as whole numbers, which a hash or a remainder may bring into the range, it is
# enough that it changes what is looked up.


@dataclass(frozen=True, eq=False)
class Lookup:
    """One call of a layer that looks up rows; its indices are None where they cannot be read."""

    path: str
    rows: int
    padding: bool
    indices: NDArray[Any] | None


@dataclass(frozen=True)
class IndexRange:
    """The whole numbers that an input of indices may take."""

    low: int
    high: int
    layers: tuple[str, ...]
    padding: bool


def looks_up(model: Any) -> bool:
    """Find whether any layer of a model looks up rows by index."""
    return bool(_tables(model))


def record_lookups(model: Any, inputs: Any) -> list[Lookup]:
    """Run a built model once, eagerly and without changing it, and record what it looks up."""
    keras = import_keras()
    lookups: list[Lookup] = []
    with (
        # An index out of range, as a rule; whoever measures the model will hear of anything else.
        suppress(RaisedError),
        _watched(model, lookups),
        preserved_random_state(),
        keras.StatelessScope(initialize_variables=False),
    ):
        run_user_code(lambda: model(inputs, training=False))
    return lookups


def find_ranges(model: Any, whole: Sequence[bool], build: Callable[[int, int], Any]) -> dict[int, IndexRange]:
    """Find the inputs that are indices, and the numbers for which every look-up of them is in range.

    An offset between input and index, as one table for several features needs it, is allowed for.

    Args:
        whole: of each input, whether it takes whole numbers alone.
        build: makes a batch of zeros, but for one input (the first argument) that is a number (the second).
    """
    if not looks_up(model):
        return {}
    beyond = 2 * max(rows for _, _, rows in _tables(model))
    plain = _by_layer(record_lookups(model, build(0, 0)))
    ranges: dict[int, IndexRange] = {}
    for position, takes_whole in enumerate(whole):
        changed = _by_layer(record_lookups(model, build(position, beyond)))
        reached = [path for path, calls in changed.items() if any(map(_leaves_table, calls))]
        if not reached and takes_whole:
            changed = _by_layer(record_lookups(model, build(position, 1)))
            reached = [path for path, calls in changed.items() if not _are_equal(calls, plain.get(path, []))]
        if reached:
            ranges[position] = _range_of([call for path in reached for call in plain.get(path) or changed[path]])
    return ranges


def _leaves_table(call: Lookup) -> bool:
    return call.indices is not None and call.indices.size > 0 and int(call.indices.max()) >= call.rows


def _range_of(calls: list[Lookup]) -> IndexRange:
    low, high = 0, min(call.rows for call in calls) - 1
    for call in calls:
        if call.indices is not None and call.indices.size:
            low = max(low, -int(call.indices.min()))
            high = min(high, call.rows - 1 - int(call.indices.max()))
    padding = any(call.padding for call in calls) and low == 0 and high > 0
    return IndexRange(low + padding, max(high, low), tuple(dict.fromkeys(call.path for call in calls)), padding)


def _by_layer(lookups: list[Lookup]) -> dict[str, list[Lookup]]:
    found: dict[str, list[Lookup]] = {}
    for lookup in lookups:
        found.setdefault(lookup.path, []).append(lookup)
    return found


def _are_equal(left: list[Lookup], right: list[Lookup]) -> bool:
    if len(left) != len(right):
        return False
    return all(
        mine.indices is not None and other.indices is not None and np.array_equal(mine.indices, other.indices)
        for mine, other in zip(left, right, strict=True)
    )


def _tables(model: Any) -> list[tuple[str, Any, int]]:
    """List name, layer and number of rows of the layers that look up rows."""
    namer = PathNamer(model)
    counted = ((namer.name_of(member), member, count_rows(member)) for _, member in namer.members())
    return [(name, member, rows) for name, member, rows in counted if rows is not None]


@contextmanager
def _watched(model: Any, lookups: list[Lookup]) -> Iterator[None]:
    """Record the calls of the layers that look up rows; the layers are restored afterwards."""
    with ExitStack() as undo:
        for path, layer, rows in _tables(model):
            # Past Keras' __setattr__, which tracks what is assigned.
            own = vars(layer)
            if "call" in own:  # put there by the user
                undo.callback(own.__setitem__, "call", own["call"])
            else:
                undo.callback(own.pop, "call", None)
            own["call"] = _recording(layer, path, rows, lookups)
        yield


def _recording(layer: Any, path: str, rows: int, lookups: list[Lookup]) -> Callable[..., Any]:
    original = layer.call
    padding = bool(getattr(layer, "mask_zero", False))

    def call(inputs: Any, *args: Any, **kwargs: Any) -> Any:
        # ReversibleEmbedding(reverse=True) multiplies by the table and looks nothing up.
        if not (kwargs.get("reverse") or (args and args[0] is True)):
            indices = _read_indices(inputs)
            lookups.append(Lookup(path, rows, padding, indices))
            if indices is not None and indices.size and (indices.min() < 0 or indices.max() >= rows):
                inputs = import_keras().ops.clip(inputs, 0, rows - 1)  # so that later look-ups are seen too
        return original(inputs, *args, **kwargs)

    return call


def _read_indices(inputs: Any) -> NDArray[Any] | None:
    try:
        return np.asarray(import_keras().ops.convert_to_numpy(inputs))
    except Exception:  # noqa: BLE001 - symbolic tensors inside a loop, and all that a user may pass
        return None


# --- arrays in the structure that a model takes -----------------------------------------------------------------------


def to_arrays(data: Any, name: str) -> Any:
    """Turn all arrays of a structure into NumPy arrays."""
    if isinstance(data, Mapping):
        return {key: to_arrays(value, f"{name}[{key!r}]") for key, value in data.items()}
    if isinstance(data, list | tuple) and any(_holds_arrays(part) for part in data):
        parts = [to_arrays(part, f"{name}[{position}]") for position, part in enumerate(data)]
        return parts if isinstance(data, list) else tuple(parts)
    return _to_array(data, name)


def read_labels(data: Any, name: str, part: str, samples: int | None = None) -> Any:
    """Turn labels or their weights into NumPy arrays, and check them; ``part`` names one of several arrays."""
    arrays = to_arrays(data, name)
    leaves = flatten(arrays)
    for position, leaf in enumerate(leaves):
        title = name if len(leaves) == 1 else f"{name}, {part} {position},"
        if leaf.dtype.kind in "US":
            raise DataError(f"{title} must hold numbers. Received: dtype {leaf.dtype}. Encode the labels as numbers.")
        check_values(leaf, title)
        if samples is not None and len(leaf) != samples:
            raise DataError(
                f"{title} must have one label for each sample of x. "
                f"Received: {samples} samples, {len(leaf)} labels. Cut both to one length."
            )
    return arrays


def flatten(structure: Any) -> list[Any]:
    """List the leaves of dicts (in the order of their sorted keys), lists and tuples."""
    if isinstance(structure, Mapping):
        return [leaf for key in sorted(structure, key=str) for leaf in flatten(structure[key])]
    if isinstance(structure, list | tuple):
        return [leaf for part in structure for leaf in flatten(part)]
    return [structure]


def check_values(array: NDArray[Any], name: str) -> None:
    """Check that an array has samples along its first axis, none of them NaN or infinite."""
    if array.ndim == 0:
        raise DataError(f"{name} needs a first axis of samples. Received: a single value. Give an array of samples.")
    if array.size == 0:
        raise DataError(f"{name} is empty. Received: shape {array.shape}. Give at least one sample.")
    if array.dtype.kind != "f":
        return
    count, first = find_nonfinite(array)
    if count:
        raise DataError(
            f"{name} has {count} {'value that is' if count == 1 else 'values that are'} NaN or infinite, the first at "
            f"index {first}. Remove or correct them."
        )


def _holds_arrays(part: Any) -> bool:
    if isinstance(part, Mapping):
        return True
    if isinstance(part, list | tuple):
        return any(_holds_arrays(each) for each in part)
    return len(getattr(part, "shape", None) or ()) > 0


def _to_array(data: Any, name: str) -> NDArray[Any]:
    kind = type(data).__name__
    if data is None or hasattr(data, "__next__") or kind.endswith(("Dataset", "DataLoader")):
        raise DataError(f"{name} must be an array. Received: {kind}. Give one batch of it, as an array.")
    try:
        array = np.asarray(data)
    except Exception as error:  # tensors and frames of any library, each with its own errors
        raise DataError(
            f"{name} cannot be made an array. Received: {kind}. Samples of unequal length must be padded first."
        ) from error
    if array.dtype.name == "bfloat16":  # known to NumPy by an extension alone
        array = array.astype(np.float32)
    if array.dtype.kind == "O" and array.size and all(isinstance(each, str | bytes) for each in array.flat):
        array = array.astype(str) if isinstance(array.flat[0], str) else array.astype(bytes)
    if array.dtype.kind not in "biufUS":
        raise DataError(
            f"{name} must hold numbers. Received: {kind} of dtype {array.dtype}. "
            "Convert it; samples of unequal length must be padded first."
        )
    return array
