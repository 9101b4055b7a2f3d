import itertools
import subprocess
import sys

import numpy as np
import pytest

from initcheck.core import seeds
from initcheck.core.errors import UsageError
from initcheck.core.seeds import LARGEST_SEED, derive_seed, derive_seeds

# Recorded once. They may never change: every committed report and baseline depends on them.
REFERENCE = {
    (0, "hidden_01/kernel"): 1106962203,
    (1, "hidden_01/kernel"): 1983533012,
    (0, "output/kernel"): 47399015,
    (2**63, "block_01_dense/kernel"): 61308050,
    (7, "Schicht_ä/kernel"): 1720446253,
}


@pytest.mark.parametrize(("arguments", "expected"), REFERENCE.items())
def test_derived_seeds_have_their_recorded_values(arguments: tuple[int, str], expected: int) -> None:
    assert derive_seed(*arguments) == expected


def test_derived_seeds_do_not_depend_on_the_process_hash_seed() -> None:
    code = "from initcheck.core.seeds import derive_seed; print(derive_seed(1, 'hidden_01/kernel'))"
    environments = [{"PYTHONHASHSEED": "1"}, {"PYTHONHASHSEED": "2"}]
    printed = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**environment, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for environment in environments
    }
    assert printed == {str(REFERENCE[1, "hidden_01/kernel"])}


def test_derived_seeds_stay_below_the_modulus_of_tensorflow(monkeypatch: pytest.MonkeyPatch) -> None:
    tensorflow_modulus = 2**31 - 2
    assert tensorflow_modulus - 1 == LARGEST_SEED
    for digest, expected in [(0, 1), (LARGEST_SEED - 1, LARGEST_SEED), (LARGEST_SEED, 1), (2**64 - 1, None)]:
        monkeypatch.setattr(seeds, "_digest", lambda _text, _salt, value=digest: value)
        derived = derive_seed(0, "kernel")
        assert 1 <= derived < tensorflow_modulus
        assert expected is None or derived == expected


def test_derived_seeds_spread_evenly_over_their_range() -> None:
    values = np.array([derive_seed(seed, f"layer_{layer}/kernel") for seed in range(40) for layer in range(100)])
    counts = np.histogram(values, bins=16, range=(1, LARGEST_SEED))[0]
    # Chi-square with 15 degrees of freedom exceeds 56.5 once in a million.
    assert np.sum((counts - 250) ** 2 / 250) < 56.5


def test_every_pair_of_seed_and_path_has_its_own_derived_seed() -> None:
    pairs = list(itertools.product(range(12), [f"{layer}/kernel" for layer in ("1", "11", "2", "a/1", "a")]))
    assert len({derive_seed(*pair) for pair in pairs}) == len(pairs)


def test_seeds_of_a_network_are_those_derived_one_by_one_where_none_collide() -> None:
    paths = [f"hidden_{number:02d}/kernel" for number in range(1, 151)]
    assert derive_seeds(5, paths) == tuple(derive_seed(5, path) for path in paths)
    assert derive_seeds(5, []) == ()


def test_the_later_of_two_colliding_paths_is_derived_again_with_a_salt(monkeypatch: pytest.MonkeyPatch) -> None:
    table = {
        ("3/a", 0): 10,
        ("3/b", 0): 10,  # collides with a
        ("3/b", 1): 20,
        ("3/c", 0): 20,  # collides with the salted b
        ("3/c", 1): 10 + LARGEST_SEED,  # collides with a, after the reduction
        ("3/c", 2): 30,
        ("3/d", 0): 40,
    }
    monkeypatch.setattr(seeds, "_digest", lambda text, salt: table[text, salt])
    assert derive_seeds(3, ["a", "b", "c", "d"]) == (11, 21, 31, 41)
    assert derive_seeds(3, ["b", "d"]) == (11, 41)


def test_a_path_that_occurs_twice_gets_two_seeds() -> None:
    first, second = derive_seeds(0, ["kernel", "kernel"])
    assert first == derive_seed(0, "kernel")
    assert second != first


def test_numpy_integers_are_accepted_and_give_python_integers() -> None:
    derived = derive_seed(np.int64(4), "kernel")
    assert derived == derive_seed(4, "kernel")
    assert type(derived) is int
    assert derive_seeds(np.uint32(4), ["kernel"]) == (derived,)


@pytest.mark.parametrize("seed", [-1, np.int64(-3), 1.0, "1", None, True, np.float64(2)])
def test_a_seed_that_is_no_whole_number_from_zero_is_refused(seed: object) -> None:
    with pytest.raises(UsageError, match=r"whole number of at least 0\. Received: seed="):
        derive_seed(seed, "kernel")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="Received"):
        derive_seeds(seed, [])  # type: ignore[arg-type]
