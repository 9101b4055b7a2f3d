"""The pages that ``tox run -e docs`` writes are current."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner
from generate.__main__ import PAGES, main
from keras_features import HAS_AXES

DOCS = Path(__file__).parents[2] / "docs"


def test_the_committed_pages_are_current():
    done = CliRunner().invoke(main, ["--folder", str(DOCS), "--check"])
    if not HAS_AXES:  # some claims are of the installed Keras, and the page is of the one in constraints.txt
        assert done.output == f"Error: out of date in {DOCS}: claims.md. Run: tox run -e docs\n"
        return
    assert done.exit_code == 0, done.output


def test_pages_that_are_out_of_date_are_named_and_left(tmp_path):
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
