"""The description of a sweep: what it stands for, and what is refused, with file and line."""

from __future__ import annotations

import itertools
import textwrap
import tomllib

import pytest

from initcheck.core.errors import SpecError
from initcheck.sweeping.spec import Cell, make_spec, order_cells, read_spec

GRID = """
[grid]
network = "mlp"
initializer = ["HeNormal", "GlorotUniform"]
activation = ["relu", "tanh"]
depth = [3, 5]
width = 8
seeds = 4
"""


@pytest.fixture
def read(tmp_path):
    def read(text):
        path = tmp_path / "spec.toml"
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        return read_spec(path)

    return read


def test_a_grid_stands_for_all_combinations(read):
    cells = read(GRID).cells
    assert len(cells) == len(set(cells)) == 8
    assert {(cell.initializer, cell.activation, cell.depth) for cell in cells} == {
        (initializer, activation, depth)
        for initializer in ("HeNormal", "GlorotUniform")
        for activation in ("relu", "tanh")
        for depth in (3, 5)
    }
    assert {(cell.network, cell.width, cell.seeds, cell.data, cell.dtype) for cell in cells} == {
        ("mlp", 8, (0, 1, 2, 3), "gaussian", "float32")
    }


def test_cells_that_share_a_graph_stand_together(read):
    cells = read(GRID).cells
    graphs = [cell.graph for cell in cells]
    changes = sum(one != other for one, other in itertools.pairwise(graphs))
    assert changes == len(set(graphs)) - 1
    assert order_cells(list(reversed(cells))) == list(cells)


def test_single_cells_come_beside_a_grid_and_aliases_get_their_own_names(read):
    spec = read(GRID + '[[cell]]\nnetwork = "notebook"\ninitializer = "he_normal"\nactivation = "swish"\n')
    (cell,) = [cell for cell in spec.cells if cell.network == "notebook"]
    assert cell == Cell(
        network="notebook", initializer="HeNormal", activation="silu", depth=2, width=300, data="digits"
    )


def test_a_mapping_says_the_same_as_a_file(read):
    assert make_spec(tomllib.loads(GRID)).cells == read(GRID).cells


REFUSED = {
    "unknown key": ("depths = [1]", "depth = [3, 5]", 6, "Unknown key 'depths'. Did you mean depth?"),
    "empty axis": ("depth = []", "depth = [3, 5]", 6, "depth is empty"),
    "duplicate": ("depth = [3, 5, 3]", "depth = [3, 5]", 6, "depth names 3 twice"),
    "negative depth": (
        "depth = [3, -5]",
        "depth = [3, 5]",
        6,
        "depth must be a whole number of at least 1. Received: -5.",
    ),
    "depth as text": ('depth = ["3"]', "depth = [3, 5]", 6, "Received: '3'"),
    "depth as yes": ("depth = true", "depth = [3, 5]", 6, "Received: True"),
    "unknown initializer": (
        'initializer = [\n  "HeNormal",\n  "HeNormall",\n]',
        'initializer = ["HeNormal", "GlorotUniform"]',
        6,
        "Unknown initializer 'HeNormall'. Did you mean HeNormal",
    ),
    "an alias of another": (
        'initializer = ["HeNormal", "he_normal"]',
        'initializer = ["HeNormal", "GlorotUniform"]',
        4,
        "initializer names 'he_normal' twice ('HeNormal' is the same)",
    ),
    "unknown activation": ('activation = "rleu"', 'activation = ["relu", "tanh"]', 5, "Unknown activation 'rleu'"),
    "unknown network": ('network = "mpl"', 'network = "mlp"', 3, "Unknown network 'mpl'. Did you mean mlp?"),
    "one seed": ("seeds = 1", "seeds = 4", 8, "seeds must be a number of at least 2"),
    "a seed twice": ("seeds = [1, 2, 1]", "seeds = 4", 8, "seeds names 1 twice"),
    "unknown dtype": ('dtype = "float23"\nseeds = 4', "seeds = 4", 8, "Unknown dtype 'float23'"),
    "missing data": ('data = "nowhere.npz"\nseeds = 4', "seeds = 4", 8, "There is no file"),
    "fixed depth": ('network = "notebook"', 'network = "mlp"', 6, "The notebook network has a fixed depth"),
    "missing axis": ("", 'activation = ["relu", "tanh"]\n', 2, "activation is missing"),
    "unknown table": ("[gird]", "[grid]", 2, "Unknown table 'gird'. Did you mean grid?"),
    "not TOML": ("depth = [3, 5", "depth = [3, 5]", 7, "not valid TOML"),
    "key outside a table": ("x = 1\n[grid]", "[grid]", 2, "Unknown table 'x'"),
}


@pytest.mark.parametrize(("new", "old", "line", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_wrong_is_reported_in_one_line_with_its_place(read, new, old, line, message):
    assert old in GRID
    with pytest.raises(SpecError) as caught:
        read(GRID.replace(old, new))
    reported = str(caught.value)
    assert "\n" not in reported
    assert f"spec.toml:{line}: " in reported
    assert message in reported


def test_a_cell_that_the_grid_holds_already_is_refused_at_its_own_line(read):
    double = (
        '[[cell]]\nnetwork = "mlp"\ninitializer = "HeNormal"\nactivation = "relu"\ndepth = 3\nwidth = 8\nseeds = 4\n'
    )
    with pytest.raises(SpecError, match=r"spec\.toml:9: mlp 3 × 8: HeNormal × relu is there twice: here and in grid"):
        read(GRID + double)


@pytest.mark.parametrize("text", ["", "[grid]\n"])
def test_a_file_without_a_cell_is_refused(read, text):
    with pytest.raises(SpecError):
        read(text)


def test_a_missing_file_and_one_that_is_no_text_are_refused(tmp_path):
    with pytest.raises(SpecError, match="There is no file"):
        read_spec(tmp_path / "nowhere.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SpecError, match="no text in UTF-8"):
        read_spec(tmp_path / "binary.toml")


def test_a_key_depends_on_cell_versions_and_data_and_on_nothing_else():
    cell = Cell(network="mlp", initializer="HeNormal", activation="relu", depth=3, width=8)
    versions = {"initcheck": "1", "keras": "2", "tensorflow": "3", "numpy": "4", "platform": "5"}
    key = cell.key(versions)
    assert key == cell.key({**versions, "platform": "6"})
    assert Cell.read(cell.content) == cell
    others = [cell.key({**versions, name: "0"}) for name in ("initcheck", "keras", "tensorflow", "numpy")]
    others += [cell.key(versions, "digest")]
    others += [Cell.read(cell.content.replace('"depth": 3', '"depth": 4')).key(versions)]
    assert len({key, *others}) == 7
