"""Files that are written completely or not at all, and folders that are moved."""

from __future__ import annotations

import contextlib
import errno
import json
import lzma
import math
import mmap
import os
import pathlib
import struct
import tempfile
import tokenize
import zipfile
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from ganformer_jax.errors import UserError, os_reason

_POSIX = os.name == "posix"
_UNSUPPORTED = {errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}
# What file systems answer that cannot wait for the disk, such as some of those in user space.
_CANNOT_SYNC = {errno.EINVAL, *_UNSUPPORTED}
# What file systems answer that cannot rename a folder, such as mounted buckets.
_CANNOT_RENAME = {errno.EMFILE, errno.EPERM, errno.EXDEV, *_UNSUPPORTED}
CANNOT_WRITE = {errno.EACCES, errno.EDQUOT, errno.ENOSPC, errno.EPERM, errno.EROFS}
_MOVING = ".moving"
TEMPORARY = ".writing"
"""Suffix of an incomplete file, which may be deleted when no process writes it."""
DAMAGED_NPZ = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, tokenize.TokenError)
DAMAGED_NPZ += (ValueError, EOFError, LookupError, TypeError, SyntaxError, RuntimeError)
DAMAGED_NPZ += (OverflowError, MemoryError)
"""What NumPy raises for an npz file that is damaged, beside `OSError`."""


def plain(value: Any) -> Any:
    """Return a value as JSON has it: arrays as lists, and scalars of numpy and jax as numbers."""
    if isinstance(value, Mapping):
        return {name: plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    return value.tolist() if hasattr(value, "tolist") else value


def json_line(record: Mapping[str, Any]) -> str:
    """Return a record as one line of JSON, which has null for NaN and infinity."""
    return json.dumps(_finite(record), allow_nan=False) + "\n"


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _finite(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[pathlib.Path]:
    """Yield a temporary path beside `path`, which is renamed to `path` at the end of the block.

    Missing folders above it are made. A file of the final name is complete on the disk, after a
    power cut too; if the block raises, no file remains.

    Raises:
        UserError: If the file cannot be written.
    """
    path = pathlib.Path(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=TEMPORARY)
        os.close(handle)
        temporary = pathlib.Path(name)
        yield temporary
        os.chmod(temporary, 0o666 & ~_umask())  # mkstemp lets only the owner read
        sync(temporary)
        os.replace(temporary, path)
    except OSError as error:
        raise UserError(f"cannot write {path}: {os_reason(error)}") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def write_atomically(path: str | os.PathLike[str], contents: bytes | str) -> None:
    """Write a complete file or none; text as UTF-8."""
    data = contents.encode("utf-8", "replace") if isinstance(contents, str) else contents
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def remove_cut_off(paths: Iterable[pathlib.Path]) -> None:
    """Delete incomplete files that killed processes left of these, which nobody may write now.

    Raises:
        OSError: If that fails.
    """
    wanted = set(paths)
    for folder in {path.parent for path in wanted}:
        for left in folder.glob(f".*{TEMPORARY}"):
            name, _, _random = left.stem[1:].rpartition(".")
            if folder / name in wanted:
                left.unlink(missing_ok=True)


def map_file(path: str | os.PathLike[str]) -> memoryview:
    """Return the bytes of a file that is not empty, mapped into memory and not writable."""
    try:
        with open(path, "rb") as file:
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except OSError as error:
        raise UserError(f"cannot read {path}: {os_reason(error)}") from error
    except ValueError as error:  # no empty maps
        raise UserError(f"{path} is empty") from error


def move_folder(source: pathlib.Path, target: pathlib.Path, last: Collection[str] = ()) -> None:
    """Rename a folder or, where the disk cannot rename folders, move its files one by one.

    Call it again to finish a move that was cut off (`is_moving`).

    Args:
        source: The folder.
        target: Its new place, which must not exist, or be empty.
        last: Names of files to move after all others, such as the one that readers look for first.

    Raises:
        OSError: If that fails.
    """
    if not is_moving(source):
        try:
            os.rename(source, target)
            return
        except OSError as error:
            if not cannot_rename(error):
                raise
        (source / _MOVING).touch()
    _move_files(source, target, last)
    (source / _MOVING).unlink()
    source.rmdir()


def renames_folders(folder: pathlib.Path) -> bool:
    """Return whether the disk of an existing folder can rename folders."""
    with tempfile.TemporaryDirectory(dir=folder, prefix=".renaming.") as name:
        source, target = pathlib.Path(name, "a"), pathlib.Path(name, "b")
        source.mkdir()
        try:
            os.rename(source, target)
        except OSError as error:
            if not cannot_rename(error):
                raise
            return False
    return True


def cannot_rename(error: OSError) -> bool:
    """Return whether an error may be that of a disk that cannot rename folders."""
    return error.errno in _CANNOT_RENAME


def is_moving(folder: pathlib.Path) -> bool:
    """Return whether a move of this folder by `move_folder` was begun and not finished."""
    return (folder / _MOVING).exists()


def _move_files(source: pathlib.Path, target: pathlib.Path, last: Collection[str]) -> None:
    target.mkdir(exist_ok=True)
    for path in sorted(source.iterdir(), key=lambda path: path.name in last):
        if path.is_dir():
            _move_files(path, target / path.name, last)
            path.rmdir()
        elif path.name != _MOVING:
            os.replace(path, target / path.name)


def sync(path: str | os.PathLike[str]) -> None:
    """Wait until a file, or the names in a folder, are on the disk, where the system can tell."""
    if _POSIX:
        handle = os.open(path, os.O_RDONLY)
    elif os.path.isdir(path):
        return
    else:
        handle = os.open(path, os.O_RDWR)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _CANNOT_SYNC:
            raise
    finally:
        os.close(handle)


def allow_open_files() -> None:
    """Raise this process's limit of open files as far as it may, for datasets of many shards."""
    try:
        import resource
    except ImportError:  # outside POSIX
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(OSError, ValueError):  # macOS allows fewer than it says
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
