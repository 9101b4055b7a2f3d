"""What to sweep: cells as a grid or a list, read from TOML or from Python, with every name and number checked."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from initcheck.backend.runtime import BACKEND_LIBRARIES
from initcheck.core.errors import InitcheckError, SpecError, name_unknown
from initcheck.core.files import digest_arrays
from initcheck.core.seeds import FEWEST_SEEDS
from initcheck.models.data import SOURCES, load_set
from initcheck.models.initializers import parse_initializer
from initcheck.models.networks import NETWORKS, check_activation, find_network, make_network

DTYPES: Final = ("float32", "float64", "float16", "bfloat16", "mixed_float16", "mixed_bfloat16")
"""The dtype policies of Keras that a network can be measured under."""

VERSIONED: Final = ("initcheck", "keras", *BACKEND_LIBRARIES, "numpy")
"""What a cell's numbers depend on besides itself: a change of one of these versions makes it stale."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One network under one initializer, with all seeds."""

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
        """The digest of content and versions: what was measured under one key is still valid under it."""
        return _digest(self.content + json.dumps(keep_versions(versions)) + data_digest)

    @property
    def setting(self) -> tuple[Any, ...]:
        """What cells have in common that differ in initializer and activation function alone."""
        return (self.network, self.depth, self.width, self.data, self.batch_size, self.dtype, self.seeds)

    @property
    def graph(self) -> tuple[Any, ...]:
        """What cells have in common that are measured on one traced graph."""
        return (self.setting, self.activation)

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
"""The axes of a sweep, in the order of the pages."""


def order_cells(cells: Sequence[Cell]) -> list[Cell]:
    """Order cells so that those which share a traced graph are together, the cheaper networks first.

    The order depends on the cells alone, so that a sweep and its resumption agree on it.
    """
    return sorted(cells, key=lambda cell: (cell.depth * cell.width**2, cell.setting, cell.activation, cell.initializer))


def keep_versions(versions: Mapping[str, str]) -> dict[str, str]:
    """Keep of some versions those that a result depends on; of backends there is only the one in use."""
    return {name: versions[name] for name in VERSIONED if name in versions}


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


DEFAULT_SEEDS: Final = 16
_REQUIRED: Final = ("network", "initializer", "activation")
_TABLES: Final = ("grid", "cell")
_FIRST_INITIALIZER: Final = "GlorotUniform"


@dataclass(frozen=True)
class SweepSpec:
    """A sweep."""

    cells: tuple[Cell, ...]
    source: str
    data_folder: Path


def read_spec(path: Path) -> SweepSpec:
    """Read a sweep from a TOML file.

    ``[grid]`` gives the values of each axis (a list, or a single value) and stands for all combinations; each
    ``[[cell]]`` is a combination, or a small grid, of its own. Axes: ``network``, ``initializer``, ``activation``
    (these three are required), ``depth``, ``width``, ``data``, ``batch_size``, ``dtype``; and ``seeds``, a number of
    seeds or a list of them.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise SpecError(f"There is no file {str(path)!r}. Check the path.") from None
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text in UTF-8"
        raise SpecError(f"{str(path)!r} cannot be read: {reason}. Check the file.") from None
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"line (\d+)", str(error))
        line = int(found[1]) if found else text.count("\n") + 1
        raise SpecError(f"{path}:{line}: not valid TOML: {error}. Correct this line.") from None
    return _read_document(document, _Source(str(path), text), path.absolute().parent)


def make_spec(document: Mapping[str, Any], data_folder: Path | None = None) -> SweepSpec:
    """Make a sweep of plain data, as TOML would give them; paths of data files begin at the folder."""
    return _read_document(document, _Source("", ""), data_folder or Path.cwd())


class _Source:
    """Finds the line of a table, of a key in it, and of a value of that key."""

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self._lines = text.splitlines()

    def fail(self, message: str, table: str = "", number: int = 0, key: str = "", value: object = None) -> SpecError:
        """Word an error with the place that it is about."""
        if not self.name:
            return SpecError(message)
        return SpecError(f"{self.name}:{self._find(table, number, key, value)}: {message}")

    def _find(self, table: str, number: int, key: str, value: object) -> int:
        begins = [
            place for place, line in enumerate(self._lines) if re.match(rf"\s*\[+\s*{re.escape(table)}\s*\]+", line)
        ]
        start = begins[number] if table and number < len(begins) else 0
        if not key:
            return start + 1
        spelled = rf"""\s*(["']?){re.escape(key)}\1\s*="""
        places = (place for place in range(start, len(self._lines)) if re.match(spelled, self._lines[place]))
        at = next(places, start)
        if value is None:
            return at + 1
        wanted = (f'"{value}"', f"'{value}'") if isinstance(value, str) else (str(value),)
        for place in range(at, len(self._lines)):
            if place > at and re.match(r"\s*(\[+[a-z_]+\]|[a-z_]+\s*=)", self._lines[place]):
                break
            # The later of two equal ones is the one too many.
            if any(token in self._lines[place] for token in wanted):
                at = place
        return at + 1


def _read_document(document: Mapping[str, Any], source: _Source, folder: Path) -> SweepSpec:
    for table in document:
        if table not in _TABLES:
            # A key at the top of the file is looked for as a key, a table as a table.
            is_table = isinstance(document[table], dict | list)
            place = {"table": table} if is_table else {"key": table}
            raise source.fail(f"{name_unknown('table', table, _TABLES)}", **place)  # type: ignore[arg-type]
    grid, single = document.get("grid"), document.get("cell", [])
    if grid is not None and not isinstance(grid, Mapping):
        raise source.fail("grid must be a table: write [grid].", key="grid")
    if not isinstance(single, list) or not all(isinstance(each, Mapping) for each in single):
        raise source.fail("cell must be a list of tables: write [[cell]].", table="cell", key="cell")
    if grid is None and not single:
        raise source.fail("Nothing to sweep. Write a table [grid], or [[cell]].")
    parts = [("grid", 0, grid)] if grid is not None else []
    parts += [("cell", number, each) for number, each in enumerate(single)]
    seen: dict[Cell, str] = {}
    for table, number, part in parts:
        title = table if table == "grid" else f"cell {number + 1}"
        for cell in _Reader(source, table, number, folder).expand(part):
            if cell in seen:
                raise source.fail(f"{cell.label} is there twice: here and in {seen[cell]}. Remove one.", table, number)
            seen[cell] = title
    return SweepSpec(tuple(order_cells(list(seen))), source.name or "Python", folder)


class _Reader:
    """Reads one table."""

    def __init__(self, source: _Source, table: str, number: int, folder: Path) -> None:
        self._source, self._table, self._number = source, table, number
        self._folder = folder

    def expand(self, part: Mapping[str, Any]) -> Iterator[Cell]:
        """Yield the cells of a table: all combinations of its axes."""
        known = (*AXES, "seeds")
        for key in part:
            if key not in known:
                raise self._fail(key, None, str(name_unknown("key", key, known)))
        for key in _REQUIRED:
            if key not in part:
                raise self._source.fail(f"{key} is missing. Give a name or a list.", self._table, self._number)
        axes: dict[str, list[Any]] = {key: self._read_axis(key, part[key]) for key in AXES if key in part}
        seeds = self._read_seeds(part.get("seeds", DEFAULT_SEEDS))
        for values in itertools.product(*axes.values()):
            yield self._make(dict(zip(axes, values, strict=True)), seeds)

    def _read_axis(self, key: str, given: Any) -> list[Any]:
        values = given if isinstance(given, list) else [given]
        if not values:
            raise self._fail(key, None, f"{key} is empty. Give at least one value, or leave it out.")
        read = [self._read_value(key, value) for value in values]
        for place, value in enumerate(read):
            if value in read[:place]:
                first = values[read.index(value)]
                same = "" if first == values[place] else f" ({first!r} is the same)"
                raise self._fail(key, values[place], f"{key} names {values[place]!r} twice{same}. Remove one.")
        return read

    def _read_value(self, key: str, value: Any) -> Any:
        if key in ("depth", "width", "batch_size"):
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                message = f"{key} must be a whole number of at least 1. Received: {value!r}. Write such as 10."
                raise self._fail(key, value, message)
            return value
        if not isinstance(value, str):
            raise self._fail(key, value, f"{key} must be text. Received: {value!r}. Write it in quotes.")
        try:
            if key == "initializer":
                return parse_initializer(value).label
            if key == "activation":
                return check_activation(value)
            known = {"network": tuple(NETWORKS), "dtype": DTYPES}.get(key)
            if known is not None and value not in known:
                raise name_unknown(key, value, known)
            if key == "data" and value not in SOURCES:
                return self._find_data(value)
        except SpecError:
            raise
        except InitcheckError as error:
            raise self._fail(key, value, str(error)) from None
        return value

    def _find_data(self, value: str) -> str:
        if not value.lower().endswith(".npz"):
            raise name_unknown("data source", value, (*SOURCES, "PATH.npz"))
        path = self._folder / value
        if not path.is_file():
            raise self._fail("data", value, f"There is no file {str(path)!r}. Check the path.")
        return value

    def _read_seeds(self, given: Any) -> tuple[int, ...]:
        numbers = given if isinstance(given, list) else None
        if numbers is None:
            if not isinstance(given, int) or isinstance(given, bool) or given < FEWEST_SEEDS:
                raise self._fail(
                    "seeds",
                    given,
                    f"seeds must be a number of at least {FEWEST_SEEDS}, or a list: an interval needs two networks. "
                    f"Received: {given!r}.",
                )
            return tuple(range(given))
        for place, number in enumerate(numbers):
            if not isinstance(number, int) or isinstance(number, bool) or number < 0:
                raise self._fail("seeds", number, f"A seed is a whole number of at least 0. Received: {number!r}.")
            if number in numbers[:place]:
                raise self._fail("seeds", number, f"seeds names {number} twice. Remove one.")
        if len(numbers) < FEWEST_SEEDS:
            message = f"seeds must name at least {FEWEST_SEEDS}: an interval needs two networks. Received: {numbers!r}."
            raise self._fail("seeds", None, message)
        return tuple(numbers)

    def _make(self, values: dict[str, Any], seeds: tuple[int, ...]) -> Cell:
        """Fill in what is not given: the depth and the width of the network, and its data."""
        own = {key: values[key] for key in ("depth", "width") if key in values}
        first = parse_initializer(_FIRST_INITIALIZER)
        kind = find_network(values["network"])
        for key in own:
            if key not in kind.ADJUSTABLE:
                message = f"The {values['network']} network has a fixed {key}. Leave {key} out, or this network."
                raise self._fail(key, None, message)
        network = make_network(values["network"], initializer=first, activation=values["activation"], **own)
        values = {"data": kind.DATA, **values}
        return Cell(**{**values, "depth": network.depth, "width": network.width}, seeds=seeds)

    def _fail(self, key: str, value: object, message: str) -> SpecError:
        return self._source.fail(message, self._table, self._number, key, value)


def digest_files(cells: Iterable[Cell], data_folder: Path) -> dict[str, str]:
    """Digest the data files of some cells."""
    paths = {name: data_folder / name for name in sorted({cell.data for cell in cells} - set(SOURCES))}
    return {name: _digest_file(path, _read_state(path)) for name, path in paths.items()}


@lru_cache(maxsize=16)
def _digest_file(path: Path, state: tuple[int, int]) -> str:  # noqa: ARG001 - a file that was changed is read again
    return digest_arrays(load_set(str(path))[:2])


def _read_state(path: Path) -> tuple[int, int]:
    try:
        state = path.stat()
    except OSError:
        return 0, 0  # reading it says what is wrong
    return state.st_mtime_ns, state.st_size
