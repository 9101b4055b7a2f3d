"""What stands in ``docs/``, README and CONTRIBUTING is true: code runs, commands are accepted, links lead somewhere."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from urllib.parse import unquote

import pytest
from documentation import ROOT, SYBIL, apply_change, check_accepted, check_printed, follow, read_blocks, read_commands
from sybil import Example

DOCS = ROOT / "docs"

FOLLOWED = (
    "architectures.md",
    "extending.md",
    "gate.md",
    "getting-started.md",
    "signal-propagation.md",
    "statistics.md",
    "sweeps.md",
    "troubleshooting.md",
    "upgrading-keras.md",
)
"""Pages that are followed from top to bottom in an empty folder, as a reader does."""

READ = (
    "README.md",
    "architecture.md",
    "backends.md",
    "benchmarks.md",
    "check.md",
    "ci.md",
    "cluster.md",
    "command-line.md",
    "cost.md",
    "in-the-wild.md",
    "monitor.md",
    "report.md",
    "training.md",
    "widths.md",
)
"""Pages whose blocks are taken one by one."""

TESTED_ELSEWHERE = {
    "api.md": "docs/test_site.py",
    "claims.md": "docs/test_claims_page.py",
    "scale.md": "docs/test_sweep_simulation.py",
    "findings.md": "docs/test_findings_page.py",
    "glossary.md": "docs/test_generated_pages.py",
    "tutorial.md": "docs/test_tutorial.py",
    "which-initializer.md": "docs/test_numbers_of_pages.py",
}


def test_every_page_is_tested():
    assert {path.name for path in DOCS.glob("*.md")} == {*FOLLOWED, *READ, *TESTED_ELSEWHERE}
    assert all((ROOT / "tests" / name).is_file() for name in TESTED_ELSEWHERE.values())


@pytest.mark.parametrize("page", [ROOT / "README.md", *(DOCS / name for name in FOLLOWED)], ids=lambda page: page.name)
@pytest.mark.followed
def test_the_page_can_be_followed(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    shutil.copytree(ROOT / "examples" / "keras-upgrade", folder / "examples" / "keras-upgrade")
    follow(page.read_text(encoding="utf-8"), folder)


def _examples() -> list[object]:
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(DOCS / name for name in READ)]
    return [
        pytest.param(example, id=f"{page.relative_to(ROOT).as_posix()}-line-{example.line}")
        for page in pages
        for example in SYBIL.parse(page)
    ]


@pytest.mark.parametrize("example", _examples())
def test_the_example_is_true(example: Example, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(ROOT)
    example.evaluate()


@pytest.mark.parametrize(("page", "blocks"), [("report.md", 2), ("monitor.md", 2)])
def test_what_the_page_prints_is_printed(page: str, blocks: int, capsys: pytest.CaptureFixture[str], monkeypatch):
    monkeypatch.chdir(ROOT)
    names: dict[str, object] = {}
    printed = ""
    seen = 0
    for block in read_blocks((DOCS / page).read_text(encoding="utf-8")):
        if block.language == "python":
            exec(block.text, names)
            printed = capsys.readouterr().out
        elif block.language == "text":
            check_printed(block, printed)
            seen += 1
    assert seen == blocks


@pytest.mark.parametrize("page", sorted([*DOCS.rglob("*.md"), *ROOT.glob("*.md")]), ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path):
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for link in re.findall(r"(?<!!)\[[^]]*\]\(([^)\s]+)\)", text):
        path, _, anchor = unquote(link).partition("#")
        if re.match(r"[a-z]+:", link):
            continue
        target = (page.parent / path) if path else page
        assert target.exists(), f"{page.name}: {link}"
        if anchor:
            there = target.read_text(encoding="utf-8")
            assert f'<a id="{anchor}">' in there or f"\n::: {anchor}\n" in there or anchor in _headings(there), (
                f"{page.name}: {link}"
            )


def _headings(page: str) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", page, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title).strip().lower().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("environment", ["report", "py"])
def test_readme_gives_the_main_job_and_the_tests_as_one_command_each(environment: str):
    assert f"\npip install tox && tox run -e {environment}\n" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_index_names_every_page():
    index = (DOCS / "README.md").read_text(encoding="utf-8")
    assert [path.name for path in DOCS.glob("*.md") if f"]({path.name})" not in index] == ["README.md"]


# That the pages above can fail:


@pytest.mark.parametrize(
    ("page", "message"),
    [
        ("```shell\ninitcheck explain IC999\n```\n", "IC999 ended with 2"),
        ("```shell\ninitcheck explain IC101  # exit code 1\n```\n", "IC101 ended with 0"),
        ("```shell\ninitcheck explain IC101\n```\n\n```text\nIC102 ...\n```\n", "'IC102 ...' not in"),
        ("```python\nprint(1)\n```\n\n```text\n2\n```\n", "'2' not in"),
        ("```python\nassert 1 == 2, 'no'\n```\n", "no"),
        ("```shell\ninitcheck explain IC101\n```\n```text\n...\nWhy it matters\nWhat\n```\n", "'What' not in"),
    ],
)
def test_a_page_that_is_not_true_is_found(page: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(AssertionError, match=re.escape(message)):
        follow(page, tmp_path)


def test_files_and_changes_of_a_page_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    page = "```python\n# a/one.py\nx = 1\ny = 2\n```\n\n```diff\n x = 1\n-y = 2\n+y = 3\n```\n"
    follow(page, tmp_path)
    assert (tmp_path / "a" / "one.py").read_text() == "# a/one.py\nx = 1\ny = 3\n"
    with pytest.raises(ValueError, match="not enough values"):
        apply_change("-y = 2\n+y = 3\n", tmp_path)


def test_commands_are_read_as_a_shell_reads_them():
    shell = "A=1 initcheck check \\\n  'm.py:f'  # exit code 1\n# initcheck nothing\npip install x && pytest -k 'a b'\n"
    assert list(read_commands(shell)) == [
        (["initcheck", "check", "m.py:f"], 1),
        (["pip", "install", "x"], 0),
        (["pytest", "-k", "a b"], 0),
    ]


@pytest.mark.parametrize("words", ["--help", "baseline --help", "baseline verify --help", "baseline m.py:f -o b.json"])
def test_what_the_program_accepts_is_accepted(words: str):
    check_accepted(words.split())


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ("report --nonsense", "No such option"),
        ("baseline model.py:build -o b.json --nonsense", "No such option"),
        ("baseline record model.py:build -o b.json --nonsense", "No such option"),
        ("baseline verify b.json --nonsense", "No such option"),
        ("baseline model.py:build", "Missing parameter: output"),
        ("bassline model.py:build", "Unknown command"),
    ],
)
def test_a_command_that_the_program_refuses_would_be_found(words: str, error: str):
    with pytest.raises(Exception, match=error):
        check_accepted(words.split())
