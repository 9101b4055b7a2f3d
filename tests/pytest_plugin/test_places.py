"""File names of baselines."""

from __future__ import annotations

import pytest

from initcheck.pytest_plugin.settings import sanitize

READABLE = {
    "test_it": "test_it",
    "test_it[relu-8]": "test_it-relu-8",
    "TestWide.test_it[1.5]": "TestWide.test_it-1.5",
}


@pytest.mark.parametrize("name", READABLE)
def test_plain_names_stay_readable(name):
    assert sanitize(name) == READABLE[name]
    assert sanitize(name, "small") == f"{READABLE[name]}@small"


def test_names_that_lose_letters_are_distinguished():
    names = ["test_it[a/b]", "test_it[a b]", "test_it[a:b]", "test_it[a_b]", "test_it[]", "test_it", "test_it[../x]"]
    names += [f"test_it[{letter}]" for letter in "αβ*?<>|"] + ["test_it[" + "x" * n + "]" for n in (300, 301)]
    files = [sanitize(name) for name in names]
    assert len(set(files)) == len(names)
    assert all(len(file.encode()) <= 160 and not set(file) & set('/\\:*?"<>| ') for file in files)


def test_the_name_of_a_second_baseline_is_not_mistaken_for_a_case():
    assert sanitize("test_it[small]") != sanitize("test_it", "small")
    assert sanitize("test_it", "a/b") != sanitize("test_it", "a b")
