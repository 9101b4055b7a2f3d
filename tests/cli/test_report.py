"""``initcheck report`` from the outside: files, streams, exit codes."""

from __future__ import annotations

import errno
import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from initcheck.cli import main
from initcheck.core import files
from initcheck.study.measurement import NetworkMeasurement

FILES = {"measurements.csv", "measurements.parquet", "summary.csv", "report.md", "report.html"}
TINY = ["--network", "mlp", "--initializer", "HeNormal", "--activation", "relu", "--depth", "3", "--width", "8"]
TINY += ["--batch-size", "4", "--seeds", "2"]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    out = tmp_path_factory.mktemp("study") / "report"
    assert main(["report", "--quiet", "--out", str(out), *TINY]) == 0
    return out


def test_all_files_are_written_and_nothing_else_but_pictures(written):
    names = {path.name for path in written.iterdir()}
    assert names >= FILES
    assert all(name.endswith(".svg") for name in names - FILES)


def test_the_report_says_how_it_was_made(written):
    page = (written / "report.html").read_text(encoding="utf-8")
    assert "initcheck report --quiet --out" in page
    assert "HeNormal" in page


def test_json_goes_to_standard_output_and_nothing_else_does(tmp_path, capfd):
    assert main(["report", "--json", "--out", str(tmp_path / "report"), *TINY]) == 0
    captured = capfd.readouterr()
    (row,) = json.loads(captured.out)
    assert row["initializer"] == "HeNormal"
    assert row["forward_steps"] == 2
    assert "1/1" in captured.err  # the progress


def test_quiet_says_nothing(tmp_path, capfd):
    assert main(["report", "--quiet", "--out", str(tmp_path / "report"), *TINY]) == 0
    assert capfd.readouterr() == ("", "")


def test_the_users_own_data_is_measured(tmp_path):
    np.savez(tmp_path / "own.npz", x=np.random.default_rng(0).integers(0, 255, (40, 6, 6), dtype=np.uint8))
    arguments = [*TINY, "--network", "notebook", "--data", str(tmp_path / "own.npz")]
    assert main(["report", "--quiet", "--out", str(tmp_path / "report"), *arguments]) == 0
    table = pd.read_parquet(tmp_path / "report" / "measurements.parquet")
    assert set(table["network"]) == {"mlp", "notebook"}
    assert set(table["data"]) == {"own.npz"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--initializer", "HeNormall"], "Unknown initializer 'HeNormall'. Did you mean HeNormal"),
        (["--activation", "rel"], "Unknown activation 'rel'. Did you mean"),
        (["--network", "nlp"], "Unknown network 'nlp'. Did you mean mlp?"),
        (["--depth", "0"], "--depth must be at least 1. Received: 0"),
        (["--width", "-3"], "--width must be at least 1. Received: -3"),
        (["--seeds", "1"], "--seeds must be at least 2. Received: 1"),
        (["--data", "missing.npz"], "There is no file 'missing.npz'"),
        (["--data", "corrupt.npz"], "is not a valid .npz file, or is damaged"),
        (["--initializer", "Constant(value='x')"], "value"),
    ],
)
def test_bad_input_gives_one_line_and_exit_code_2_and_no_folder(tmp_path, monkeypatch, refused, arguments, message):
    monkeypatch.chdir(tmp_path)
    Path("corrupt.npz").write_bytes(b"PK\x03\x04 not an archive")
    assert message in refused("report", "--out", "report", *TINY, *arguments)
    assert not Path("report").exists()


def test_a_full_disk_leaves_the_earlier_report_as_it_was(tmp_path, monkeypatch, refused):
    out = tmp_path / "report"
    out.mkdir()
    (out / "report.html").write_text("earlier")

    def fail(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files, "_write", fail)
    refused("report", "--quiet", "--out", out, *TINY)
    assert [path.name for path in out.iterdir()] == ["report.html"]
    assert (out / "report.html").read_text() == "earlier"


def test_an_interrupted_run_exits_with_130_and_leaves_no_report(tmp_path, interrupt_after, run):
    interrupt_after(NetworkMeasurement, "measure_sums", 1)
    code, out, err = run("report", "--out", tmp_path / "report", *TINY)
    assert (code, out) == (130, "")
    assert err.endswith("initcheck: error: Interrupted.\n")
    assert "Traceback" not in err
    assert not (tmp_path / "report").exists()


@pytest.mark.cluster
def test_an_interrupt_from_the_terminal_ends_the_process_with_130_and_leaves_no_report(tmp_path):
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    command = [sys.executable, "-c", "import sys; from initcheck.cli import main; sys.exit(main())"]
    terminal, theirs = os.openpty()  # progress is shown on terminals only
    process = subprocess.Popen(
        [*command, "report", "--out", str(tmp_path / "report"), "--network", "mlp", "--seeds", "400"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=theirs,
        env=environment | {"TERM": "xterm"},
        # A job in the background of a script ignores interrupts, and its children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    os.close(theirs)
    try:
        seen = read_until(terminal, b"mlp", seconds=120)
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        seen += read_until(terminal, b"Interrupted.", seconds=120)
        stdout, _ = process.communicate(timeout=60)
    finally:
        process.kill()
        os.close(terminal)
    assert process.returncode == 130
    assert stdout == b""
    assert b"Traceback" not in seen
    assert b"initcheck: error: Interrupted." in seen
    assert not (tmp_path / "report").exists()


def read_until(terminal, text, seconds):
    seen = b""
    deadline = time.monotonic() + seconds
    while text not in seen:
        ready, _, _ = select.select([terminal], [], [], max(0.0, deadline - time.monotonic()))
        assert ready, f"{text!r} did not appear in {seconds} s: {seen[-500:]!r}"
        seen += os.read(terminal, 4096)
    return seen
