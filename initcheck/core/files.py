"""Results on disk: all of a command's files appear together, complete, or none does."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from initcheck.core.errors import OutputError

Content = bytes | str | Callable[[Path], object]
"""What a file holds: its bytes, its text (written as UTF-8), or a function that writes it to the path it is given."""


def check_writable(directory: Path) -> None:
    """Find whether files can be written to a folder or, if it does not exist, its nearest parent; nothing is left."""
    try:
        existing = _nearest_existing(directory)
        with tempfile.TemporaryFile(dir=existing) as probe:
            # A full disk lets a file be made, but not filled.
            probe.write(b"initcheck")
            probe.flush()
    except OSError as error:
        raise _cannot_write(directory, error) from error


def publish_files(directory: Path, files: Mapping[str, Content]) -> list[Path]:
    """Write files to a folder so that nothing half-written can be seen there; see :func:`replace_files`."""
    for name in files:
        if name in ("", ".", "..") or Path(name).name != name:
            raise ValueError(f"A file's name must not hold a folder. Received: name={name!r}")
    return replace_files({directory / name: content for name, content in files.items()}, [directory])


def replace_files(files: Mapping[Path, Content], folders: Iterable[Path] = ()) -> list[Path]:
    """Write files, wherever they are, so that all of them are replaced or none is.

    All files are written to temporary folders on the same file systems and forced to the disk first, then moved into
    place one by one, each move replacing the old file at once. Whatever fails before the moves (a full disk, an
    interruption, an error in a function that writes) leaves everything as it was; where a move fails, those before it
    are undone. Only a process that is killed between two moves leaves a mixed set.
    """
    with contextlib.ExitStack() as undo:
        staging: dict[Path, Path] = {}
        for folder in dict.fromkeys([*folders, *(path.parent for path in files)]):
            with _worded(folder):
                staging[folder] = _stage(folder, undo)
        for path, content in files.items():
            with _worded(path.parent):
                _refuse_folder(path)
                _write(staging[path.parent] / "new" / path.name, content)
        with contextlib.ExitStack() as back:
            for path in files:
                with _worded(path.parent):
                    back.callback(_restore, path, _keep(path, staging[path.parent] / "old"))
                    (staging[path.parent] / "new" / path.name).replace(path)
            back.pop_all()
        for folder in staging:
            with _worded(folder):
                _force_to_disk(folder)
    return list(files)


def _stage(folder: Path, undo: contextlib.ExitStack) -> Path:
    """Make a temporary folder for new and old files in a folder; both are removed in the end, unless files came."""
    undo.callback(_remove_empty, _missing_folders(folder))
    folder.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=".initcheck-", dir=folder))
    undo.callback(shutil.rmtree, staging, ignore_errors=True)
    for name in ("new", "old"):
        (staging / name).mkdir()
    return staging


def _keep(path: Path, folder: Path) -> Path | None:
    """Keep the file that is about to be replaced in a folder; None where there is none."""
    if not path.exists():
        return None
    old = folder / path.name
    try:
        os.link(path, old)
    except OSError:  # a file system without hard links
        shutil.copy2(path, old)
    return old


def _restore(path: Path, old: Path | None) -> None:
    with contextlib.suppress(OSError):
        if old is None:
            path.unlink(missing_ok=True)
        else:
            old.replace(path)


@contextlib.contextmanager
def _worded(folder: Path) -> Iterator[None]:
    """Report an error of the operating system in one line."""
    try:
        yield
    except OutputError:
        raise
    except OSError as error:
        raise _cannot_write(folder, error) from error


def relative_path(path: Path, folder: Path) -> str:
    """Write a path as seen from a folder, with slashes on every platform; one on another drive stays whole."""
    try:
        return Path(os.path.relpath(path, folder)).as_posix()
    except ValueError:
        return path.absolute().as_posix()


def _write(path: Path, content: Content) -> None:
    if isinstance(content, str):
        content = content.encode()
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        content(path)
    _force_to_disk(path)


def _force_to_disk(path: Path) -> None:
    if path.is_dir() and os.name == "nt":
        # Windows cannot open folders; it has no need to.
        return
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _refuse_folder(path: Path) -> None:
    if path.is_dir():
        raise OutputError(f"Cannot write {str(path)!r}: it is a folder. Choose another output folder.")


def _nearest_existing(directory: Path) -> Path:
    directory = directory.absolute()
    return next(path for path in (directory, *directory.parents) if path.exists())


def _missing_folders(directory: Path) -> list[Path]:
    """List the folders that making this one will make, the deepest first."""
    directory = directory.absolute()
    return [path for path in (directory, *directory.parents) if not path.exists()]


def _remove_empty(folders: list[Path]) -> None:
    """Take back folders made for files that never came; those that hold something stay."""
    with contextlib.suppress(OSError):
        for folder in folders:
            folder.rmdir()


def _cannot_write(directory: Path, error: OSError) -> OutputError:
    reason = error.strerror or " ".join(str(error).split())
    return OutputError(f"Cannot write to {str(directory)!r}: {reason}. Make room or choose another output folder.")


def digest_arrays(arrays: Iterable[Any]) -> str:
    """Digest arrays of numbers or text by SHA-256: equal digests mean equal dtypes, shapes and values."""
    # Imported only now: each command writes files, and --help needs no arrays.
    import numpy as np

    digest = hashlib.sha256()
    for each in arrays:
        if each is None:
            continue
        array = np.asarray(each)
        text = array.dtype.kind in "OSU"
        digest.update(f"{'text' if text else array.dtype.newbyteorder('<').str}{array.shape}".encode())
        digest.update(repr(array.tolist()).encode() if text else array.astype(array.dtype.newbyteorder("<")).tobytes())
    return digest.hexdigest()
