"""The page of the published models in small; ``tox run -e applications`` checks and trains them."""

from __future__ import annotations

import applications
import keras
import numpy as np
import pytest

pytestmark = pytest.mark.power


def test_rows_are_read_back_from_the_page_and_what_is_missing_is_named(tmp_path):
    rows = {"VGG16": "| VGG16 | 96 | 1 | 1 | 8 | wrong: 15 layers (IC101, IC201) |"}
    trained = {f"VGG16 {name}": f"| VGG16 | {name} | 2.30, 2.31 | 0.1, 0.2 |" for name in applications.RATES}
    page = tmp_path / "applications.md"
    page.write_text("\n".join(applications.write(rows, trained, 3)))
    assert applications.read_rows(page, 6) == rows
    assert applications.read_rows(page, 4) == trained
    missing = next(line for line in page.read_text().splitlines() if line.startswith("Not measured"))
    assert "ResNet50" in missing and "VGG16" not in missing and "VGG19" in missing
    assert applications.read_rows(tmp_path / "none.md", 6) == {}


def test_kernels_are_drawn_by_the_initializer_given_and_all_else_stays_as_it_is():
    model = keras.Sequential([keras.Input((400,)), keras.layers.Dense(300), keras.layers.Dense(300)])
    own, other = (applications.draw_weights(model, 3, initializer) for initializer in ("", "he_normal"))
    assert np.square(own[0]).mean() == pytest.approx(2 / 700, rel=0.02)
    assert np.square(other[0]).mean() == pytest.approx(2 / 400, rel=0.02)
    assert not np.array_equal(other[0][:300], other[2]) and not other[1].any()
    again = applications.draw_weights(model, 3, "he_normal")
    assert all(np.array_equal(one, two) for one, two in zip(other, again, strict=True))
