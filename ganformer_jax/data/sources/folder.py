"""A folder of images, subfolders included."""

from __future__ import annotations

import os
import pathlib

from ganformer_jax.data.sources.source import (
    MAX_BYTES,
    Source,
    Unreadable,
    checksum,
    file_facts,
    interrupted,
    refusal,
)
from ganformer_jax.data.sources.walk import FolderWalk


class FolderSource(Source):
    """Images in a folder, ordered by path.

    Args:
        path: Path of the folder.
        follow_links: Follow links to any place; a folder that several links lead to is read once.
            By default links to folders and links out of the folder are skipped.

    Raises:
        UserError: If there is no such folder, or it cannot be listed.
    """

    of_files = True
    options = frozenset({"follow_links"})

    def __init__(self, path: str | os.PathLike[str], follow_links: bool = False):
        self.root = pathlib.Path(path)
        self._walk = FolderWalk(self.root, follow_links)
        self.description, self.paths = f"folder {self.root}", (self.root,)
        self.names, self.skipped = self._walk.files(refusal)

    def read(self, index: int) -> bytes:
        """Read a file; raise Unreadable."""
        return read_file(self.root / self.names[index])

    def start(self, index: int, size: int) -> bytes:
        """Read the first `size` bytes of a file; raise Unreadable."""
        return read_file(self.root / self.names[index], size)

    def fingerprint(self) -> str:
        """Return a checksum of names, sizes and modification times."""
        return checksum((name, *file_facts(self.root / name)) for name in self.names)

    def companion(self, name: str) -> bytes | None:
        """Read a file at the top of the folder."""
        path = self.root / name
        readable = path.is_file() and not self._walk.file_refusal(str(path))
        return path.read_bytes() if readable else None


def read_file(path: pathlib.Path, size: int | None = None) -> bytes:
    """Read an image file, or its first `size` bytes.

    Raises:
        Unreadable: If the file is too large or forbidden.
        UserError: If the disk fails.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise Unreadable(f"larger than {MAX_BYTES >> 20} MiB")
        with path.open("rb") as file:
            return file.read(size)
    except PermissionError as error:
        raise Unreadable("cannot be read: Permission denied") from error
    except OSError as error:
        raise interrupted(path, error) from error
