"""The pages that ``tox run -e docs`` writes are current."""

from __future__ import annotations

import re
from pathlib import Path

from click.testing import CliRunner
from generate.__main__ import PAGES, main
from keras_features import HAS_AXES

DOCS = Path(__file__).parents[2] / "docs"


def test_the_committed_pages_are_current():
    done = CliRunner().invoke(main, ["--folder", str(DOCS), "--check"])
    if not HAS_AXES:  # an older Keras has other claims, and an older matplotlib writes the same pictures in other words
        stale = ", ".join(name for name in PAGES if name == "claims.md" or name.startswith("figures/"))
        assert done.output == f"Error: out of date in {DOCS}: {stale}. Run: tox run -e docs\n"
        return
    assert done.exit_code == 0, done.output


def test_pages_that_are_out_of_date_are_named_and_left(tmp_path):
    (tmp_path / "figures").mkdir()
    for name, write_page in PAGES.items():
        (tmp_path / name).write_text(write_page(), encoding="utf-8")
    (tmp_path / "claims.md").unlink()
    (tmp_path / "findings.md").write_text("old")
    done = CliRunner().invoke(main, ["--folder", str(tmp_path), "--check"])
    assert done.exit_code == 1
    assert "claims.md, findings.md. Run: tox run -e docs" in done.output
    assert (tmp_path / "findings.md").read_text() == "old" and not (tmp_path / "claims.md").exists()
    assert CliRunner().invoke(main, ["--folder", str(tmp_path)]).exit_code == 0
    assert (tmp_path / "findings.md").read_text(encoding="utf-8") == PAGES["findings.md"]()


def test_the_pictures_can_be_read_on_a_phone_and_in_the_dark():
    for path in (DOCS / "figures").glob("*.svg"):
        picture = path.read_text(encoding="utf-8")
        scale = min(1.0, 358 / int(re.search(r'<svg [^>]*width="(\d+)"', picture)[1]))
        assert min(map(float, re.findall(r"font-size: ([\d.]+)px", picture))) * scale >= 11
        assert "prefers-color-scheme:dark" in picture
        assert "DejaVu" not in picture  # matplotlib's own font, which a reader may not have
