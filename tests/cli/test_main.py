"""The command line: exit codes, one line an error, and nothing heavy imported to answer ``--help``."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from initcheck import __version__
from initcheck.cli import main
from initcheck.cli.main import command_line
from initcheck.cli.measuring import show_progress
from initcheck.core.errors import DataError

HEAVY = {"keras", "tensorflow", "pandas", "matplotlib", "numpy", "scipy", "rich"}
HEAVY |= {"statsmodels", "jinja2", "pyarrow", "pytest"}
WITH_NUMPY = {"keras", "tensorflow", "pandas", "pyarrow", "statsmodels", "scipy.stats", "matplotlib"}


def _python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def failing_command(monkeypatch: pytest.MonkeyPatch):
    """Replace ``report`` by a command that raises what the test gives it."""

    def install(error: BaseException) -> None:
        @click.command()
        def failing() -> None:
            raise error

        monkeypatch.setattr(type(command_line), "get_command", lambda *_: failing)

    return install


# --- what is imported -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "heavy"),
    [
        ("import initcheck", HEAVY),
        ("import initcheck; initcheck.DataError", HEAVY),
        *(
            (f"from initcheck.cli import main; main({words.split()})", heavy)
            for words, heavy in (
                ("--help", HEAVY),
                ("--version", HEAVY),
                ("report --help", HEAVY),
                ("report --depth 0", HEAVY),
                ("spec --help", HEAVY),
                ("verify --help", HEAVY),
                ("explain", HEAVY),
                ("explain IC101", HEAVY),
                ("explain --help", HEAVY),
                ("explain nonsense", HEAVY),
                ("predict --help", HEAVY),
                ("predict", WITH_NUMPY),
                ("predict --json --activation tanh --initializer glorot_uniform --depth 400", WITH_NUMPY),
                ("predict --initializer Zeros", WITH_NUMPY),
            )
        ),
    ],
)
def test_nothing_heavy_is_imported_by(code: str, heavy: set[str]):
    result = _python(f"{code}\nimport sys; print(*{heavy!r} & set(sys.modules), file=sys.stderr)")
    assert result.returncode == 0
    assert result.stderr.splitlines()[-1] == ""


@pytest.mark.thorough
def test_every_public_name_can_be_had_and_keras_is_imported_by_those_that_need_it():
    code = (
        "import sys, initcheck\n"
        "assert 'SignalMonitor' in initcheck.__all__ and 'keras' not in sys.modules\n"
        "assert initcheck.callbacks.SignalMonitor is initcheck.SignalMonitor and 'keras' in sys.modules\n"
        "for name in initcheck.__all__: getattr(initcheck, name)\n"
        "assert set(initcheck.__all__) <= set(dir(initcheck))"
    )
    result = _python(code)
    assert (result.returncode, result.stderr) == (0, "")


def test_an_unknown_attribute_is_an_ordinary_error():
    assert "has no attribute 'nonsense'" in _python("import initcheck; initcheck.nonsense").stderr


# --- help and usage ---------------------------------------------------------------------------------------------------


def test_help_lists_the_commands(run):
    exit_code, out, err = run("--help")
    assert (exit_code, err) == (0, "")
    listed = dict(line.strip().split(maxsplit=1) for line in out.partition("Commands:")[2].strip().splitlines())
    assert listed["predict"].startswith("Predict what becomes of signal and gradient")
    assert listed["report"].startswith("Measure initializers")
    assert {"baseline", "check", "explain", "spec", "train", "verify"} <= set(listed)


@pytest.mark.parametrize(
    ("command", "words"), [("predict", 'the string "inf"'), ("spec", "--junit-xml"), ("verify", "100,000")]
)
def test_the_help_of_a_command_gives_the_forms_and_limits_of_its_output(command: str, words: str, run):
    code, out, err = run(command, "--help")
    assert (code, err) == (0, "")
    assert words in " ".join(out.split())


def test_version_is_printed(run):
    assert run("--version") == (0, f"initcheck {__version__}\n", "")


def test_no_command_shows_the_help_and_exits_2(run):
    exit_code, out, err = run()
    assert (exit_code, out) == (2, "")
    assert "Usage: initcheck" in err


def test_an_unknown_command_gets_near_matches(refused):
    assert "Unknown command 'reprot'. Did you mean report?" in refused("reprot")


def test_an_unknown_option_says_where_the_help_is(refused):
    assert refused("report", "--nonsense").endswith("Try: initcheck report --help")
    assert refused("--nonsense").endswith("Try: initcheck --help")


def test_a_number_that_is_none_is_refused(refused):
    assert "'--depth': 'deep' is not a valid integer" in refused("report", "--depth", "deep")


@pytest.mark.parametrize(
    ("option", "value", "smallest"),
    [
        ("--depth", "0", "1"),
        ("--width", "0", "1"),
        ("--width", "-3", "1"),
        ("--batch-size", "0", "1"),
        ("--seeds", "1", "2"),
        ("--seeds", "-1", "2"),
        ("--first-seed", "-1", "0"),
    ],
)
def test_a_number_out_of_range_is_refused(option: str, value: str, smallest: str, refused, tmp_path: Path):
    message = refused("report", option, value, "--out", str(tmp_path / "out"))
    assert f"{option} must be at least {smallest}. Received: {value}." in message
    assert list(tmp_path.iterdir()) == []


def test_an_output_folder_that_cannot_be_made_is_refused(refused, tmp_path: Path):
    (tmp_path / "file").write_text("")
    for out in (tmp_path / "file", tmp_path / "file" / "folder"):
        assert f"Cannot write to {str(out)!r}: Not a directory" in refused("report", "--out", str(out))


# --- what ends a command ----------------------------------------------------------------------------------------------


def test_an_error_of_ours_is_one_line_with_its_exit_code(failing_command, run):
    error = DataError("two\nlines")
    error.exit_code = 7
    failing_command(error)
    assert run("report") == (7, "", "initcheck: error: two lines\n")


def test_an_interruption_exits_130(failing_command, run):
    failing_command(KeyboardInterrupt())
    exit_code, out, err = run("report")
    assert (exit_code, out) == (130, "")
    assert err.strip() == "initcheck: error: Interrupted."


def test_a_full_disk_is_one_line(failing_command, refused):
    failing_command(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    assert "The disk is full." in refused("report")


def test_a_broken_pipe_is_silent(failing_command, run):
    failing_command(BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE)))
    assert run("report") == (141, "", "")


@pytest.mark.parametrize("error", [ZeroDivisionError(), OSError(errno.EIO, "input/output error")])
def test_a_bug_keeps_its_traceback(error: Exception, failing_command):
    failing_command(error)
    with pytest.raises(type(error)):
        main(["report"])


# A command whose output is still in Python's buffer when it ends, and help, which click writes through at once.
BUFFERED = """
import sys, click
from initcheck.cli import main
from initcheck.cli.main import command_line
command = click.Command("report", callback=lambda: sys.stdout.write("result"))
type(command_line).get_command = lambda *_: command
sys.exit(main(["report"]))
"""
UNBUFFERED = "import sys; from initcheck.cli import main; sys.exit(main(['--help']))"


def _python_writing_to(stdout: int, code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONUNBUFFERED": ""},
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, which plays a full disk")
@pytest.mark.parametrize("code", [BUFFERED, UNBUFFERED], ids=["buffered", "unbuffered"])
def test_standard_output_on_a_full_disk_is_one_line(code: str):
    with Path("/dev/full").open("w") as full:
        result = _python_writing_to(full.fileno(), code)
    assert result.returncode == 2
    assert result.stderr.startswith("initcheck: error: The disk is full.")
    assert result.stderr.count("\n") == 1


@pytest.mark.skipif(os.name == "nt", reason="pipes break otherwise on Windows")
@pytest.mark.parametrize("code", [BUFFERED, UNBUFFERED], ids=["buffered", "unbuffered"])
def test_a_reader_that_went_away_makes_no_noise(code: str):
    reading, writing = os.pipe()
    os.close(reading)
    try:
        result = _python_writing_to(writing, code)
    finally:
        os.close(writing)
    assert (result.returncode, result.stderr) == (141, "")


# --- progress ---------------------------------------------------------------------------------------------------------


def test_progress_names_what_is_measured_on_standard_error(capsys: pytest.CaptureFixture[str]):
    with show_progress(quiet=False) as progress:
        progress(1, 3, "mlp [he_normal] relu")
        progress(3, 3, "mlp [he_normal] tanh")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "mlp [he_normal] tanh" in captured.err
    assert "3/3" in captured.err


def test_quiet_shows_nothing(capsys: pytest.CaptureFixture[str]):
    with show_progress(quiet=True) as progress:
        progress(1, 3, "mlp")
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")
