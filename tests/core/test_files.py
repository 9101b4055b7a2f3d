"""Files appear together and complete, or not at all."""

from __future__ import annotations

import errno
import ntpath
import os
from pathlib import Path, PureWindowsPath

import pytest

from initcheck.core import files
from initcheck.core.errors import OutputError
from initcheck.core.files import check_writable, publish_files, relative_path, replace_files


def _contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def _disk_full(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_bytes_text_and_functions_become_files(tmp_path: Path):
    paths = publish_files(
        tmp_path, {"a.bin": b"\x00", "b.txt": "σ² = 1\n", "c.csv": lambda path: path.write_text("x\n")}
    )
    assert paths == [tmp_path / "a.bin", tmp_path / "b.txt", tmp_path / "c.csv"]
    assert _contents(tmp_path) == {"a.bin": b"\x00", "b.txt": "σ² = 1\n".encode(), "c.csv": b"x\n"}


def test_a_missing_folder_is_made_with_its_parents(tmp_path: Path):
    publish_files(tmp_path / "a" / "b", {"c": b"1"})
    assert _contents(tmp_path / "a" / "b") == {"c": b"1"}


def test_old_files_are_replaced_and_others_stay(tmp_path: Path):
    (tmp_path / "old").write_bytes(b"old")
    (tmp_path / "other").write_bytes(b"other")
    publish_files(tmp_path, {"old": b"new"})
    assert _contents(tmp_path) == {"old": b"new", "other": b"other"}


def test_published_files_have_ordinary_permissions(tmp_path: Path):
    (tmp_path / "plain").write_bytes(b"")
    publish_files(tmp_path, {"published": b""})
    assert (tmp_path / "published").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_full_disk_leaves_the_old_files_untouched(tmp_path: Path):
    publish_files(tmp_path, {"a": b"old", "b": b"old"})
    with pytest.raises(OutputError, match="No space left on device") as caught:
        publish_files(tmp_path, {"a": b"new", "b": _disk_full})
    assert _contents(tmp_path) == {"a": b"old", "b": b"old"}
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, which plays a full disk")
def test_a_disk_that_is_full_when_bytes_are_written_is_reported(tmp_path: Path):
    def write_to_full_device(path: Path) -> None:
        path.symlink_to("/dev/full")
        path.write_bytes(b"1")

    with pytest.raises(OutputError, match="No space left on device"):
        publish_files(tmp_path, {"a": write_to_full_device})
    assert _contents(tmp_path) == {}


def test_a_disk_that_is_full_when_it_is_synchronised_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(files.os, "fsync", _disk_full)
    with pytest.raises(OutputError, match="No space left on device"):
        publish_files(tmp_path, {"a": b"new"})
    assert _contents(tmp_path) == {}


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit, ZeroDivisionError])
def test_an_interruption_leaves_nothing_behind_and_passes_through(tmp_path: Path, interruption: type[BaseException]):
    def interrupt(path: Path) -> None:
        path.write_bytes(b"half")
        raise interruption

    with pytest.raises(interruption):
        publish_files(tmp_path / "new" / "folder", {"a": b"1", "b": interrupt})
    assert _contents(tmp_path) == {}


def test_a_folder_below_a_file_is_refused(tmp_path: Path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match="Not a directory"):
        publish_files(tmp_path / "file" / "folder", {"a": b"1"})


def test_a_folder_in_the_place_of_a_file_is_refused_before_any_file_is_replaced(tmp_path: Path):
    (tmp_path / "a").write_bytes(b"old")
    (tmp_path / "b").mkdir()
    with pytest.raises(OutputError, match="it is a folder"):
        publish_files(tmp_path, {"a": b"new", "b": b"new"})
    assert (tmp_path / "a").read_bytes() == b"old"


def test_a_function_that_writes_nothing_is_an_error(tmp_path: Path):
    with pytest.raises(OutputError, match="No such file"):
        publish_files(tmp_path, {"a": lambda path: None})


def test_files_of_several_folders_are_replaced_together(tmp_path: Path):
    paths = [tmp_path / "a" / "old", tmp_path / "b" / "new"]
    assert replace_files(dict.fromkeys(paths, b"1")) == paths
    assert [path.read_bytes() for path in paths] == [b"1", b"1"]
    assert [[each.name for each in path.parent.iterdir()] for path in paths] == [["old"], ["new"]]


@pytest.mark.parametrize("linked", [True, False], ids=["with hard links", "without"])
@pytest.mark.parametrize("error", [OSError(errno.EIO, "input/output error"), KeyboardInterrupt()], ids=repr)
def test_where_the_third_move_fails_the_first_two_are_undone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, linked: bool
):
    first, second, third = tmp_path / "a" / "1", tmp_path / "b" / "2", tmp_path / "a" / "3"
    replace_files({first: b"old", third: b"old"})
    replace = Path.replace

    def fail_at_the_third(self: Path, target: Path) -> Path:
        if target == third:
            raise error
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", fail_at_the_third)
    if not linked:
        monkeypatch.setattr(files.os, "link", _disk_full)
    with pytest.raises(OutputError if isinstance(error, OSError) else type(error)):
        replace_files({first: b"new", second: b"new", third: b"new"})
    assert _contents(tmp_path / "a") == {"1": b"old", "3": b"old"}
    assert not (tmp_path / "b").exists()


def test_a_path_is_written_with_slashes_on_every_platform(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert relative_path(tmp_path / "a" / "b.npz", tmp_path / "c") == "../a/b.npz"
    with monkeypatch.context() as windows:
        windows.setattr(files.os.path, "relpath", ntpath.relpath)
        windows.setattr(files, "Path", PureWindowsPath)
        assert relative_path(PureWindowsPath("D:/x/a/b.npz"), PureWindowsPath("D:/x/c")) == "../a/b.npz"

    def refuse(*_: object) -> str:
        raise ValueError("path is on mount 'D:', start on mount 'C:'")

    monkeypatch.setattr(files.os.path, "relpath", refuse)
    assert relative_path(tmp_path / "a", tmp_path) == (tmp_path / "a").as_posix()


@pytest.mark.parametrize("name", ["", ".", "..", "../up", "in/folder"])
def test_names_with_folders_are_refused(tmp_path: Path, name: str):
    with pytest.raises(ValueError, match="must not hold a folder"):
        publish_files(tmp_path, {name: b""})


def test_checking_leaves_no_trace(tmp_path: Path):
    check_writable(tmp_path)
    check_writable(tmp_path / "not" / "yet")
    assert _contents(tmp_path) == {}


def test_checking_finds_a_file_in_the_way(tmp_path: Path):
    (tmp_path / "file").write_bytes(b"")
    for path in (tmp_path / "file", tmp_path / "file" / "folder"):
        with pytest.raises(OutputError, match="Not a directory") as caught:
            check_writable(path)
        assert str(path) in str(caught.value)


def test_checking_finds_a_folder_that_may_not_be_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(**_: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    # A stand-in for chmod, which does not stop the superuser.
    monkeypatch.setattr(files.tempfile, "TemporaryFile", refuse)
    with pytest.raises(OutputError, match="Permission denied"):
        check_writable(tmp_path)


def test_a_name_too_long_for_the_file_system_is_one_line(tmp_path: Path):
    for act in (check_writable, lambda folder: publish_files(folder, {"a": b""})):
        with pytest.raises(OutputError, match="too long"):
            act(tmp_path / ("x" * 5000))
